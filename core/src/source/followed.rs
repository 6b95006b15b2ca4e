//! A source that tells how far it was read.

use alloc::sync::Arc;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::{Memo, Source};
use crate::checked::to_u64;
use crate::error::Result;
use crate::progress::Progress;

/// Another source, read from its start to its end while somebody watches: what lies before the last byte that was read
/// counts as done.
#[derive(Debug)]
pub(crate) struct FollowedSource {
    inner: Arc<dyn Source>,
    progress: Arc<Progress>,
    /// Bytes that were told.
    reached: AtomicU64,
}

impl FollowedSource {
    /// Its bytes are to be expected by `progress` already.
    pub(crate) const fn new(inner: Arc<dyn Source>, progress: Arc<Progress>) -> Self {
        Self { inner, progress, reached: AtomicU64::new(0) }
    }

    fn reach(&self, end: u64) {
        let before = self.reached.fetch_max(end, Ordering::Relaxed);
        self.progress.advance(end.saturating_sub(before));
    }
}

impl Source for FollowedSource {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.inner.read_exact_at(offset, buf)?;
        self.reach(offset.saturating_add(to_u64(buf.len())));
        Ok(())
    }

    fn bytes_at(&self, range: Range<u64>) -> Result<Bytes> {
        let end = range.end;
        let bytes = self.inner.bytes_at(range)?;
        self.reach(end);
        Ok(bytes)
    }

    fn release(&self, range: Range<u64>) {
        self.inner.release(range);
    }

    fn as_slice(&self) -> Option<&[u8]> {
        self.inner.as_slice()
    }

    fn memo(&self) -> Option<&Memo> {
        self.inner.memo()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::BytesSource;

    #[test]
    fn what_is_read_again_counts_once() {
        let progress = Arc::new(Progress::new());
        let inner = Arc::new(BytesSource::new(vec![7; 100].into()));
        let source = FollowedSource::new(inner, Arc::clone(&progress));
        progress.expect(100);
        source.bytes_at(0..10).unwrap();
        source.bytes_at(5..10).unwrap();
        source.read_exact_at(10, &mut [0; 30]).unwrap();
        source.bytes_at(90..101).unwrap_err();
        assert_eq!(progress.get(), (40, 100));
    }
}
