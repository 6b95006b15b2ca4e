//! A file mapped into memory.
//!
//! One of the two homes of `unsafe` in this library.

use alloc::sync::Arc;
use core::fmt;
use core::ops::Range;
use std::fs::File;

use bytes::Bytes;
use memmap2::{Mmap, UncheckedAdvice};

use super::bytes::slice;
use super::{Memo, Source, from_io};
use crate::checked::to_u64;
use crate::error::Result;

/// A file mapped read-only; slices share the mapping.
///
/// The risk, as with every mapped file: while it is open, another process that **shortens** the file makes a read of
/// the lost pages end this process with `SIGBUS`; one that writes to it changes what is read. Where images are changed
/// under running readers, use [`FileSource`](super::FileSource).
pub struct MmapSource {
    map: Arc<Mmap>,
    bytes: Bytes,
    memo: Option<Memo>,
}

struct Shared(Arc<Mmap>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl MmapSource {
    /// Maps `file`, which may be closed afterwards.
    ///
    /// # Errors
    /// `EIO` or `ENOMEM`, `ENODEV` for what cannot be mapped (pipes, some devices).
    #[expect(unsafe_code, reason = "mapping a file is the purpose of this module")]
    pub fn new(file: &File) -> Result<Self> {
        // SAFETY: the mapping is private and read-only, and lives as long as its slices through the shared `Arc`. The
        // one risk left, a file shortened by somebody else, is stated in the type's documentation.
        let map = Arc::new(unsafe { Mmap::map(file) }.map_err(from_io)?);
        let bytes = Bytes::from_owner(Shared(Arc::clone(&map)));
        Ok(Self { map, bytes, memo: None })
    }

    /// The same, with a place for what readers find out about the file.
    #[must_use]
    pub fn with_memo(self, memo: Option<Memo>) -> Self {
        Self { memo, ..self }
    }
}

impl fmt::Debug for MmapSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MmapSource({} bytes)", self.bytes.len())
    }
}

impl Source for MmapSource {
    fn len(&self) -> u64 {
        to_u64(self.bytes.len())
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let range = slice(&self.bytes, offset, to_u64(buf.len()))?;
        buf.copy_from_slice(&self.bytes[range]);
        Ok(())
    }

    fn as_slice(&self) -> Option<&[u8]> {
        Some(&self.bytes)
    }

    fn bytes_at(&self, range: Range<u64>) -> Result<Bytes> {
        let range = slice(&self.bytes, range.start, range.end.saturating_sub(range.start))?;
        Ok(self.bytes.slice(range))
    }

    fn memo(&self) -> Option<&Memo> {
        self.memo.as_ref()
    }

    #[expect(unsafe_code, reason = "giving pages back is part of mapping")]
    fn release(&self, range: Range<u64>) {
        let len = range.end.saturating_sub(range.start);
        if let Ok(range) = slice(&self.bytes, range.start, len) {
            // SAFETY: the mapping is file-backed and never written, so dropped pages are read again from the file with
            // the same content. Failure (a kernel without the advice) costs memory only.
            let _ = unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len()) };
        }
    }
}
