//! A file, read and written with explicit offsets.

use alloc::vec;
use core::ops::Range;
use std::fs::{File, TryLockError};
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;

use super::{Source, Storage, from_io, out_of_range};
use crate::checked::{to_u64, to_usize};
use crate::errno::Errno;
use crate::error::{Error, Result};

/// A file on the host. Reads copy; use [`MmapSource`](super::MmapSource) for zero copies.
///
/// Opened read-only it is only a source; its [`Storage`] methods then fail with the host's error.
#[derive(Debug)]
pub struct FileSource {
    file: File,
}

impl FileSource {
    /// Wraps an open file.
    ///
    /// # Errors
    /// `EIO` if its length cannot be read.
    pub fn new(file: File) -> Result<Self> {
        file.metadata().map_err(from_io)?;
        Ok(Self { file })
    }

    /// Opens a file for reading and writing that nobody else writes to: others who ask for it this way are refused as
    /// long as this one is open. Readers are not kept out.
    ///
    /// # Errors
    /// `EBUSY` if somebody else has it open this way; what the host answers.
    pub fn open_exclusive(path: impl AsRef<Path>) -> Result<Self> {
        let file = File::options().read(true).write(true).open(path).map_err(from_io)?;
        match file.try_lock() {
            Ok(()) => Self::new(file),
            Err(TryLockError::WouldBlock) => {
                Err(Error::new(Errno::Busy, "another process, or another part of this one, has it open for writing"))
            }
            Err(TryLockError::Error(error)) => Err(from_io(error)),
        }
    }

    fn check(&self, offset: u64, len: u64) -> Result<()> {
        let end = self.len();
        match offset.checked_add(len) {
            Some(last) if last <= end => Ok(()),
            _ => Err(out_of_range(offset, len, end)),
        }
    }
}

impl Source for FileSource {
    fn len(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| metadata.len())
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.check(offset, to_u64(buf.len()))?;
        self.file.read_exact_at(buf, offset).map_err(from_io)
    }

    fn bytes_at(&self, range: Range<u64>) -> Result<Bytes> {
        let len = range.end.saturating_sub(range.start);
        self.check(range.start, len)?;
        // OK to allocate: bounded by the file's own length, checked above.
        let mut buf = vec![0; to_usize(len)?];
        self.file.read_exact_at(&mut buf, range.start).map_err(from_io)?;
        Ok(buf.into())
    }

    fn release(&self, _range: Range<u64>) {}
}

impl Storage for FileSource {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.file.write_all_at(buf, offset).map_err(from_io)
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.file.set_len(len).map_err(from_io)
    }

    fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(from_io)
    }
}
