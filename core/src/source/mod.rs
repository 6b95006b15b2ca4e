//! Where bytes live: [`Source`] to read, [`Storage`] to write.
//!
//! Offsets and lengths are bytes, always 64 bits. Everything takes `&self`, so that one source serves many threads, and
//! a test that injects faults is just another implementation.

mod behind;
mod bytes;
mod file;
mod followed;
mod memo;
mod mmap;
mod replace;
mod window;

use core::fmt::Debug;
use core::ops::Range;

use ::bytes::Bytes;

pub(crate) use self::behind::WriteBehind;
pub use self::bytes::{BytesSource, MemStorage};
pub use self::file::FileSource;
pub(crate) use self::followed::FollowedSource;
pub use self::memo::Memo;
pub use self::mmap::MmapSource;
pub use self::replace::Replacement;
pub use self::window::WindowSource;
use crate::errno::Errno;
use crate::error::{Error, Result};

/// Bytes that can be read at any offset.
pub trait Source: Debug + Send + Sync + 'static {
    /// Length in bytes. Constant for plain sources; a [`Storage`] may change it.
    fn len(&self) -> u64;

    /// Fills `buf` from `offset`.
    ///
    /// # Errors
    /// `EINVAL` if the range passes the end (nothing is read then), `EIO` if the medium fails.
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// The bytes of `range`: a slice of what is in memory or mapped, a copy from a file.
    ///
    /// # Errors
    /// As [`read_exact_at`](Self::read_exact_at).
    fn bytes_at(&self, range: Range<u64>) -> Result<Bytes>;

    /// A hint that `range` will not be read again soon, so that a mapped source can give its pages back. Never changes
    /// what is read.
    fn release(&self, range: Range<u64>);

    /// All bytes at once, if they are in memory or mapped: for readers that jump about, or read with several threads.
    fn as_slice(&self) -> Option<&[u8]> {
        None
    }

    /// Where readers keep what they found out about these bytes, for whoever opens them next.
    fn memo(&self) -> Option<&Memo> {
        None
    }

    /// Whether there are no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Bytes that can also be written.
pub trait Storage: Source {
    /// Writes all of `buf` at `offset`, extending the length if needed.
    ///
    /// # Errors
    /// `ENOSPC`, `EFBIG` or `EIO`; a part may have been written.
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()>;

    /// Cuts, or extends with zeros.
    ///
    /// # Errors
    /// `ENOSPC`, `EFBIG` or `EIO`.
    fn set_len(&self, len: u64) -> Result<()>;

    /// Returns when everything written before is durable.
    ///
    /// # Errors
    /// `EIO`: it is then unknown what is durable.
    fn sync(&self) -> Result<()>;
}

/// The error for a range outside a source.
fn out_of_range(offset: u64, len: u64, end: u64) -> Error {
    Error::new(Errno::Invalid, format!("{len} bytes at {offset} pass the end at {end}"))
}

/// What the host answered.
pub(crate) fn from_io(error: std::io::Error) -> Error {
    let errno = match error.kind() {
        std::io::ErrorKind::NotFound => Errno::NotFound,
        std::io::ErrorKind::PermissionDenied => Errno::Access,
        std::io::ErrorKind::IsADirectory => Errno::IsDir,
        std::io::ErrorKind::NotADirectory => Errno::NotDir,
        std::io::ErrorKind::StorageFull => Errno::NoSpace,
        std::io::ErrorKind::FileTooLarge => Errno::FileTooBig,
        std::io::ErrorKind::ReadOnlyFilesystem => Errno::ReadOnly,
        _ => Errno::Io,
    };
    Error::new(errno, error)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use super::*;

    /// Every kind of source over the same ten bytes.
    fn sources(file: &std::fs::File) -> Vec<Arc<dyn Source>> {
        let bytes = Bytes::from_static(b"0123456789");
        let storage = MemStorage::new();
        storage.write_at(0, &bytes).unwrap();
        let padded = BytesSource::new(Bytes::from_static(b"--0123456789---"));
        vec![
            Arc::new(BytesSource::new(bytes)),
            Arc::new(storage),
            Arc::new(FileSource::new(file.try_clone().unwrap()).unwrap()),
            Arc::new(MmapSource::new(file).unwrap()),
            Arc::new(WindowSource::new(Arc::new(padded), 2..12).unwrap()),
        ]
    }

    #[test]
    fn every_source_reads_the_same() {
        let mut file = tempfile();
        file.write_all(b"0123456789").unwrap();
        for source in sources(&file) {
            assert_eq!(source.len(), 10, "{source:?}");
            let mut buf = [0; 4];
            source.read_exact_at(3, &mut buf).unwrap();
            assert_eq!(&buf, b"3456", "{source:?}");
            source.release(0..10);
            assert_eq!(source.bytes_at(6..10).unwrap(), "6789", "{source:?}");
            assert_eq!(source.bytes_at(10..10).unwrap(), "", "{source:?}");
            assert!(source.as_slice().is_none_or(|bytes| bytes == b"0123456789"), "{source:?}");
            for (offset, len) in [(7, 4), (10, 1), (11, 0), (u64::MAX, 4)] {
                let mut buf = vec![0; len];
                assert_eq!(source.read_exact_at(offset, &mut buf).unwrap_err(), Errno::Invalid, "{source:?}");
            }
            for range in [7..11, 11..11, u64::MAX - 1..u64::MAX] {
                assert_eq!(source.bytes_at(range).unwrap_err(), Errno::Invalid, "{source:?}");
            }
        }
    }

    #[test]
    fn storages_grow_cut_and_zero() {
        for storage in [&MemStorage::new() as &dyn Storage, &FileSource::new(tempfile()).unwrap()] {
            storage.write_at(4, b"xy").unwrap();
            assert_eq!(storage.bytes_at(0..6).unwrap(), "\0\0\0\0xy");
            storage.set_len(5).unwrap();
            storage.set_len(8).unwrap();
            assert_eq!(storage.bytes_at(0..8).unwrap(), "\0\0\0\0x\0\0\0", "no stale bytes after cut and growth");
            storage.sync().unwrap();
        }
    }

    #[test]
    fn only_one_writes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let first = FileSource::open_exclusive(file.path()).unwrap();
        assert_eq!(FileSource::open_exclusive(file.path()).unwrap_err(), Errno::Busy);
        drop(first);
        FileSource::open_exclusive(file.path()).unwrap();
        assert_eq!(FileSource::open_exclusive("/nonexistent").unwrap_err(), Errno::NotFound);
    }

    fn tempfile() -> std::fs::File {
        tempfile::tempfile().unwrap()
    }
}
