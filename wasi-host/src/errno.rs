//! The one table from our errors to the numbers of preview 1.

use mountless::errno::Errno;

/// The preview 1 number of an error.
#[must_use]
pub const fn number(errno: Errno) -> u16 {
    match errno {
        Errno::Access => 2,
        Errno::Again => 6,
        Errno::BadFd => 8,
        Errno::Busy => 10,
        Errno::Quota => 19,
        Errno::Exists => 20,
        Errno::Fault => 21,
        Errno::FileTooBig => 22,
        Errno::IllegalSequence => 25,
        Errno::Interrupted => 27,
        Errno::Invalid => 28,
        Errno::Io => 29,
        Errno::IsDir => 31,
        Errno::Loop => 32,
        Errno::TooManyFiles => 33,
        Errno::TooManyLinks => 34,
        Errno::NameTooLong => 37,
        Errno::NoDevice => 43,
        // Preview 1 has no extended attributes and no ENODATA: what is asked for is not there.
        Errno::NotFound | Errno::NoAttribute => 44,
        Errno::NoMemory => 48,
        Errno::NoSpace => 51,
        Errno::NotImplemented => 52,
        Errno::NotDir => 54,
        Errno::NotEmpty => 55,
        Errno::NotSocket => 57,
        Errno::NotSupported => 58,
        Errno::NoSuchDevice => 60,
        Errno::Overflow => 61,
        Errno::NotPermitted => 63,
        Errno::Pipe => 64,
        Errno::Range => 68,
        Errno::ReadOnly => 69,
        Errno::IllegalSeek => 70,
        Errno::Stale => 72,
        Errno::TextBusy => 74,
        Errno::CrossDevice => 75,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_valid_and_distinct() {
        let mut seen = [false; 77];
        for &errno in Errno::ALL {
            let number = usize::from(number(errno));
            assert!(number != 0, "{} reads as success", errno.name());
            let twice = std::mem::replace(&mut seen[number], true);
            assert!(!twice || errno == Errno::NoAttribute, "{} shares its number", errno.name());
        }
    }
}
