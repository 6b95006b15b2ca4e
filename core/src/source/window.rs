//! A part of another source: a partition, an embedded archive.

use alloc::sync::Arc;
use core::ops::Range;

use bytes::Bytes;

use super::{Source, out_of_range};
use crate::checked::{to_u64, to_usize};
use crate::error::Result;

/// The bytes of `range` in another source, counted from 0.
#[derive(Debug)]
pub struct WindowSource {
    inner: Arc<dyn Source>,
    range: Range<u64>,
}

impl WindowSource {
    /// A window on `inner`.
    ///
    /// # Errors
    /// `EINVAL` if `range` passes the end or runs backwards.
    pub fn new(inner: Arc<dyn Source>, range: Range<u64>) -> Result<Self> {
        if range.start > range.end || range.end > inner.len() {
            return Err(out_of_range(range.start, range.end.saturating_sub(range.start), inner.len()));
        }
        Ok(Self { inner, range })
    }

    fn outer(&self, offset: u64, len: u64) -> Result<Range<u64>> {
        let start = self.range.start.checked_add(offset);
        start
            .and_then(|start| start.checked_add(len).map(|end| start..end))
            .filter(|outer| outer.end <= self.range.end)
            .ok_or_else(|| out_of_range(offset, len, self.len()))
    }
}

impl Source for WindowSource {
    fn len(&self) -> u64 {
        self.range.end.saturating_sub(self.range.start)
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let outer = self.outer(offset, to_u64(buf.len()))?;
        self.inner.read_exact_at(outer.start, buf)
    }

    fn bytes_at(&self, range: Range<u64>) -> Result<Bytes> {
        let outer = self.outer(range.start, range.end.saturating_sub(range.start))?;
        self.inner.bytes_at(outer)
    }

    fn as_slice(&self) -> Option<&[u8]> {
        self.inner.as_slice()?.get(to_usize(self.range.start).ok()?..to_usize(self.range.end).ok()?)
    }

    fn release(&self, range: Range<u64>) {
        if let Ok(outer) = self.outer(range.start, range.end.saturating_sub(range.start)) {
            self.inner.release(outer);
        }
    }
}
