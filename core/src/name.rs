//! Names of directory entries, proven once.

use core::fmt;

use crate::errno::Errno;
use crate::error::Result;
use crate::limits::NAME_MAX;

/// One component of a path: not empty, at most [`NAME_MAX`] bytes, without `/` and NUL, and neither `.` nor `..`.
///
/// Names are bytes; whether they are UTF-8 is the business of the adapters that care.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name<'a>(&'a [u8]);

impl<'a> Name<'a> {
    /// Checks `bytes`.
    ///
    /// # Errors
    /// `ENOENT` if empty, `ENAMETOOLONG` above [`NAME_MAX`] bytes, `EINVAL` for `.`, `..`, a slash or a NUL.
    pub fn new(bytes: &'a [u8]) -> Result<Self> {
        if bytes.is_empty() {
            return Err(Errno::NotFound.into());
        }
        if bytes.len() > NAME_MAX {
            return Err(Errno::NameTooLong.into());
        }
        if has_slash_or_nul(bytes) || bytes == b"." || bytes == b".." {
            return Err(Errno::Invalid.into());
        }
        Ok(Self(bytes))
    }

    /// A name again, from bytes that were taken out of one.
    #[inline]
    pub(crate) fn proven(bytes: &'a [u8]) -> Self {
        debug_assert!(Self::new(bytes).is_ok());
        Self(bytes)
    }

    /// The bytes.
    #[inline]
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}

/// Not ended early: names are short.
fn has_slash_or_nul(bytes: &[u8]) -> bool {
    // In each byte the highest bit, if it is 0 and those below it are too. In bytes above one that is, it may be wrong.
    let zeros = |eight: u64| eight.wrapping_sub(0x0101_0101_0101_0101) & !eight & 0x8080_8080_8080_8080;
    let found = |eight: &[u8; 8]| {
        let eight = u64::from_ne_bytes(*eight);
        zeros(eight) | zeros(eight ^ u64::from_ne_bytes([b'/'; 8]))
    };
    let (eights, rest) = bytes.as_chunks();
    let found = eights.iter().fold(0, |all, eight| all | found(eight))
        | match bytes.last_chunk() {
            // Some of them a second time, rather than the last one by one.
            Some(last) => found(last),
            None => rest.iter().fold(0, |all, &byte| all | u64::from((byte == b'/') | (byte == 0))),
        };
    found != 0
}

impl AsRef<[u8]> for Name<'_> {
    fn as_ref(&self) -> &[u8] {
        self.0
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(self.0).fmt(f)
    }
}

impl fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

/// Shows bytes as text: valid UTF-8 as it is; other bytes, control bytes and backslashes as `\ooo`, as mtree(5) does.
#[must_use]
pub const fn escape(bytes: &[u8]) -> Escape<'_> {
    Escape(bytes)
}

/// What [`escape`] returns.
#[derive(Clone, Copy)]
pub struct Escape<'a>(&'a [u8]);

impl fmt::Display for Escape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            let mut plain_from = 0;
            let valid = chunk.valid();
            for (at, character) in valid.char_indices() {
                if character.is_control() || character == '\\' {
                    f.write_str(valid.get(plain_from..at).unwrap_or_default())?;
                    let end = at.saturating_add(character.len_utf8());
                    for byte in valid.as_bytes().get(at..end).unwrap_or_default() {
                        write!(f, "\\{byte:03o}")?;
                    }
                    plain_from = end;
                }
            }
            f.write_str(valid.get(plain_from..).unwrap_or_default())?;
            for byte in chunk.invalid() {
                write!(f, "\\{byte:03o}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_and_nuls_are_found_wherever_they_are() {
        for len in 1..=40 {
            for fill in [1, b'.' - 1, b'0', 0x7f, 0x80, 0xaf, 0xff] {
                let mut bytes = vec![fill; len];
                assert!(Name::new(&bytes).is_ok(), "{bytes:?}");
                for at in 0..len {
                    for bad in [0, b'/'] {
                        bytes[at] = bad;
                        assert_eq!(Name::new(&bytes).unwrap_err(), Errno::Invalid, "{bytes:?}");
                    }
                    bytes[at] = fill;
                }
            }
        }
    }

    #[test]
    fn names_are_proven() {
        for (bytes, errno) in [
            (&b""[..], Errno::NotFound),
            (b".", Errno::Invalid),
            (b"..", Errno::Invalid),
            (b"a/b", Errno::Invalid),
            (b"a\0", Errno::Invalid),
            (&[b'x'; 256], Errno::NameTooLong),
        ] {
            assert_eq!(Name::new(bytes).unwrap_err(), errno, "{}", escape(bytes));
        }
        for bytes in [&b"a"[..], b"...", b" ", b"\xff", &[b'x'; 255]] {
            assert_eq!(Name::new(bytes).unwrap().as_bytes(), bytes);
        }
    }

    #[test]
    fn escapes_what_a_terminal_or_a_parser_would_trip_over() {
        assert_eq!(escape("grün\\a".as_bytes()).to_string(), "grün\\134a");
        assert_eq!(escape(b"a\xffb\n\x7f").to_string(), "a\\377b\\012\\177");
        assert_eq!(escape("\u{85}".as_bytes()).to_string(), "\\302\\205");
    }
}
