//! The host's error numbers in our names: the only such table of this backend.

use rustix::io::Errno as Raw;

use crate::errno::Errno;
use crate::error::Error;

/// Pairs of names that mean the same. The first of ours wins where the host has one number for two.
const TABLE: &[(Raw, Errno)] = &[
    (Raw::ACCESS, Errno::Access),
    (Raw::AGAIN, Errno::Again),
    (Raw::BADF, Errno::BadFd),
    (Raw::BUSY, Errno::Busy),
    (Raw::DQUOT, Errno::Quota),
    (Raw::EXIST, Errno::Exists),
    (Raw::FAULT, Errno::Fault),
    (Raw::FBIG, Errno::FileTooBig),
    (Raw::ILSEQ, Errno::IllegalSequence),
    (Raw::INTR, Errno::Interrupted),
    (Raw::INVAL, Errno::Invalid),
    (Raw::IO, Errno::Io),
    (Raw::ISDIR, Errno::IsDir),
    (Raw::LOOP, Errno::Loop),
    (Raw::MFILE, Errno::TooManyFiles),
    (Raw::NFILE, Errno::TooManyFiles),
    (Raw::MLINK, Errno::TooManyLinks),
    (Raw::NAMETOOLONG, Errno::NameTooLong),
    (Raw::NODATA, Errno::NoAttribute),
    (Raw::NODEV, Errno::NoDevice),
    (Raw::NOENT, Errno::NotFound),
    (Raw::NOMEM, Errno::NoMemory),
    (Raw::NOSPC, Errno::NoSpace),
    // Said of extended attributes only.
    (Raw::TOOBIG, Errno::NoSpace),
    (Raw::NOSYS, Errno::NotImplemented),
    (Raw::NOTDIR, Errno::NotDir),
    (Raw::NOTEMPTY, Errno::NotEmpty),
    (Raw::NOTSOCK, Errno::NotSocket),
    (Raw::NOTSUP, Errno::NotSupported),
    (Raw::NXIO, Errno::NoSuchDevice),
    (Raw::OVERFLOW, Errno::Overflow),
    (Raw::PERM, Errno::NotPermitted),
    (Raw::PIPE, Errno::Pipe),
    (Raw::RANGE, Errno::Range),
    (Raw::ROFS, Errno::ReadOnly),
    (Raw::SPIPE, Errno::IllegalSeek),
    (Raw::STALE, Errno::Stale),
    (Raw::TXTBSY, Errno::TextBusy),
    (Raw::XDEV, Errno::CrossDevice),
];

/// What a failed system call says.
pub(super) fn from_raw(raw: Raw) -> Error {
    match TABLE.iter().find(|(host, _)| *host == raw) {
        Some((_, errno)) => (*errno).into(),
        // Nothing a program could act on; people get the number.
        None => Error::new(Errno::Io, std::io::Error::from(raw)),
    }
}

/// What the standard library or cap-std says.
pub(super) fn from_io(error: std::io::Error) -> Error {
    if let Some(raw) = Raw::from_io_error(&error) {
        return from_raw(raw);
    }
    let errno = match error.kind() {
        // cap-std: a path that would lead outside.
        std::io::ErrorKind::PermissionDenied => Errno::NotPermitted,
        // A NUL in a target.
        std::io::ErrorKind::InvalidInput => Errno::Invalid,
        _ => Errno::Io,
    };
    Error::new(errno, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_ours_has_a_number() {
        for errno in Errno::ALL {
            assert!(TABLE.iter().any(|(_, ours)| ours == errno), "{}", errno.name());
        }
    }

    #[test]
    fn unknown_numbers_keep_their_text() {
        let error = from_raw(Raw::NOTTY);
        assert_eq!(error, Errno::Io);
        assert!(error.to_string().contains("ioctl"), "{error}");
        assert_eq!(from_io(std::io::Error::other("odd")), Errno::Io);
        assert_eq!(from_io(std::io::Error::from_raw_os_error(2)), Errno::NotFound);
    }
}
