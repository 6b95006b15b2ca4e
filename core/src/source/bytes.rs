//! Bytes in memory.

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;

use super::{Source, Storage, out_of_range};
use crate::checked::{to_u64, to_usize};
use crate::errno::Errno;
use crate::error::Result;

/// A source in memory; slices share it.
#[derive(Clone)]
pub struct BytesSource(Bytes);

impl BytesSource {
    /// Wraps `bytes`.
    #[must_use]
    pub const fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for BytesSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BytesSource({} bytes)", self.0.len())
    }
}

/// The part of `bytes` that starts at `offset` and has `len` bytes.
pub(super) fn slice(bytes: &[u8], offset: u64, len: u64) -> Result<Range<usize>> {
    let range = to_usize(offset).ok().zip(to_usize(len).ok()).and_then(|(start, len)| {
        let end = start.checked_add(len)?;
        (end <= bytes.len()).then_some(start..end)
    });
    range.ok_or_else(|| out_of_range(offset, len, to_u64(bytes.len())))
}

impl Source for BytesSource {
    fn len(&self) -> u64 {
        to_u64(self.0.len())
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let range = slice(&self.0, offset, to_u64(buf.len()))?;
        buf.copy_from_slice(&self.0[range]);
        Ok(())
    }

    fn as_slice(&self) -> Option<&[u8]> {
        Some(&self.0)
    }

    fn bytes_at(&self, range: Range<u64>) -> Result<Bytes> {
        let range = slice(&self.0, range.start, range.end.saturating_sub(range.start))?;
        Ok(self.0.slice(range))
    }

    fn release(&self, _range: Range<u64>) {}
}

/// A storage in memory, for tests and for images built before they are written out.
#[derive(Default)]
pub struct MemStorage(RwLock<Vec<u8>>);

impl MemStorage {
    /// An empty storage.
    #[must_use]
    pub const fn new() -> Self {
        Self(RwLock::new(Vec::new()))
    }
}

impl fmt::Debug for MemStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemStorage({} bytes)", self.len())
    }
}

impl Source for MemStorage {
    fn len(&self) -> u64 {
        to_u64(self.0.read().unwrap_or_else(PoisonError::into_inner).len())
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let bytes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let range = slice(&bytes, offset, to_u64(buf.len()))?;
        buf.copy_from_slice(&bytes[range]);
        Ok(())
    }

    fn bytes_at(&self, range: Range<u64>) -> Result<Bytes> {
        let bytes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let range = slice(&bytes, range.start, range.end.saturating_sub(range.start))?;
        Ok(Bytes::copy_from_slice(&bytes[range]))
    }

    fn release(&self, _range: Range<u64>) {}
}

impl Storage for MemStorage {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let mut bytes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let start = to_usize(offset)?;
        let end = start.checked_add(buf.len()).ok_or(Errno::FileTooBig)?;
        if end > bytes.len() {
            grow(&mut bytes, end)?;
        }
        bytes[start..end].copy_from_slice(buf);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<()> {
        let mut bytes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let len = to_usize(len)?;
        if len > bytes.len() {
            grow(&mut bytes, len)?;
        }
        bytes.truncate(len);
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }
}

fn grow(bytes: &mut Vec<u8>, len: usize) -> Result<()> {
    bytes.try_reserve(len.saturating_sub(bytes.len())).map_err(|_| Errno::NoSpace)?;
    bytes.resize(len, 0);
    Ok(())
}
