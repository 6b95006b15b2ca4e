//! Errors: an errno for programs and, where there is something to tell, a detail for people.

use alloc::boxed::Box;
use core::error::Error as StdError;
use core::fmt;

use crate::errno::Errno;

/// The result of nearly everything in this crate.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// An errno with an optional detail.
///
/// An everyday `ENOENT` allocates nothing; a damaged image carries its typed [`Corrupt`] as
/// [`source`](StdError::source).
pub struct Error {
    errno: Errno,
    detail: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error with a detail: a typed error, or a sentence.
    pub fn new(errno: Errno, detail: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { errno, detail: Some(detail.into()) }
    }

    /// What a program should be told.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        self.errno
    }

    /// The damage, if a damaged image is the reason.
    #[must_use]
    pub fn corrupt(&self) -> Option<&Corrupt> {
        let mut next = self.detail.as_deref().map(|detail| detail as &(dyn StdError + 'static));
        while let Some(error) = next {
            if let Some(corrupt) = error.downcast_ref() {
                return Some(corrupt);
            }
            next = error.source();
        }
        None
    }
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        Self { errno, detail: None }
    }
}

impl From<Corrupt> for Error {
    fn from(corrupt: Corrupt) -> Self {
        Self::new(Errno::Io, corrupt)
    }
}

impl PartialEq<Errno> for Error {
    fn eq(&self, other: &Errno) -> bool {
        self.errno == *other
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.detail {
            Some(detail) => detail.fmt(f),
            None => self.errno.fmt(f),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.errno.name())?;
        match &self.detail {
            Some(detail) => write!(f, " ({detail})"),
            None => Ok(()),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.detail.as_deref().map(|detail| detail as &(dyn StdError + 'static))
    }
}

/// Damage found in an image: which format, at which byte, and which rule is broken.
///
/// The reason is the format's own enum (for example [`format::cpio::CpioCorrupt`](crate::format::cpio::CpioCorrupt)),
/// reached through [`source`](StdError::source).
#[derive(Debug)]
pub struct Corrupt {
    format: &'static str,
    offset: u64,
    reason: Box<dyn StdError + Send + Sync>,
}

impl Corrupt {
    /// Damage at byte `offset`, counted from the start of the data that `format` describes.
    pub fn new(format: &'static str, offset: u64, reason: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { format, offset, reason: reason.into() }
    }

    /// The format that was being read, for example `"cpio"`.
    #[must_use]
    pub const fn format(&self) -> &'static str {
        self.format
    }

    /// Where the damage is, in bytes. For compressed images this is an offset in the decompressed data, unless the
    /// format named is the compression itself.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "damaged {} data at byte {}: {}", self.format, self.offset, self.reason)
    }
}

impl StdError for Corrupt {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.reason)
    }
}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        use std::io::ErrorKind as Kind;

        let kind = match error.errno {
            Errno::Access | Errno::NotPermitted => Kind::PermissionDenied,
            Errno::Again => Kind::WouldBlock,
            Errno::Busy => Kind::ResourceBusy,
            Errno::Quota => Kind::QuotaExceeded,
            Errno::Exists => Kind::AlreadyExists,
            Errno::FileTooBig => Kind::FileTooLarge,
            Errno::IllegalSequence => Kind::InvalidData,
            Errno::Interrupted => Kind::Interrupted,
            Errno::Invalid => Kind::InvalidInput,
            Errno::IsDir => Kind::IsADirectory,
            Errno::NameTooLong => Kind::InvalidFilename,
            Errno::TooManyLinks => Kind::TooManyLinks,
            Errno::NotFound => Kind::NotFound,
            Errno::NoMemory => Kind::OutOfMemory,
            Errno::NoSpace => Kind::StorageFull,
            Errno::NotDir => Kind::NotADirectory,
            Errno::NotEmpty => Kind::DirectoryNotEmpty,
            Errno::NotImplemented | Errno::NotSupported => Kind::Unsupported,
            Errno::Pipe => Kind::BrokenPipe,
            Errno::ReadOnly => Kind::ReadOnlyFilesystem,
            Errno::IllegalSeek => Kind::NotSeekable,
            Errno::Stale => Kind::StaleNetworkFileHandle,
            Errno::TextBusy => Kind::ExecutableFileBusy,
            Errno::CrossDevice => Kind::CrossesDevices,
            Errno::BadFd
            | Errno::Fault
            | Errno::Io
            | Errno::Loop
            | Errno::TooManyFiles
            | Errno::NoAttribute
            | Errno::NoDevice
            | Errno::NotSocket
            | Errno::NoSuchDevice
            | Errno::Overflow
            | Errno::Range => Kind::Other,
        };
        Self::new(kind, error)
    }
}
