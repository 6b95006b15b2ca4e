//! A window that slides forward over a source, and lets go of what it has passed.

use alloc::sync::Arc;

use bytes::Bytes;

use crate::checked::{min_len, to_u64, to_usize};
use crate::error::Result;
use crate::source::Source;

/// Bytes taken from the source at once. Slices of mapped sources cost nothing; of others, these many bytes are read.
const WINDOW_LEN: u64 = 64 << 10;

/// Bytes passed over before the source is told that they are not needed any more.
const RELEASE_STEP: u64 = 8 << 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Window {
    source: Arc<dyn Source>,
    len: u64,
    bytes: Bytes,
    /// Offset of `bytes` in the source.
    start: u64,
    released: u64,
}

impl Window {
    pub(super) fn new(source: Arc<dyn Source>) -> Self {
        let len = source.len();
        Self { source, len, bytes: Bytes::new(), start: 0, released: 0 }
    }

    /// Bytes of the source.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// The bytes from `offset` on: at least `want`, or all up to the end.
    ///
    /// # Errors
    /// What the source answers.
    pub(super) fn at(&mut self, offset: u64, want: usize) -> Result<&[u8]> {
        let left = self.len.saturating_sub(offset);
        let want = min_len(want, left);
        if self.cached(offset, want).is_none() {
            let len = left.min(WINDOW_LEN.max(to_u64(want)));
            self.bytes = self.source.bytes_at(offset..offset.saturating_add(len))?;
            self.start = offset;
            if offset.saturating_sub(self.released) >= RELEASE_STEP {
                self.source.release(self.released..offset);
                self.released = offset;
            }
        }
        Ok(self.cached(offset, want).unwrap_or_default())
    }

    fn cached(&self, offset: u64, want: usize) -> Option<&[u8]> {
        let from = to_usize(offset.checked_sub(self.start)?).ok()?;
        self.bytes.get(from..).filter(|bytes| bytes.len() >= want)
    }

    /// Where the first byte that is not zero stands, from `offset` on; the end if there is none.
    ///
    /// # Errors
    /// What the source answers.
    pub(super) fn skip_zeros(&mut self, mut offset: u64) -> Result<u64> {
        loop {
            let bytes = self.at(offset, 1)?;
            let zeros = leading_zeros(bytes);
            let more = zeros == bytes.len() && zeros > 0;
            offset = offset.saturating_add(to_u64(zeros));
            if !more {
                return Ok(offset);
            }
        }
    }

    /// Tells the source that nothing passed so far is needed any more.
    pub(super) fn release(&mut self, offset: u64) {
        self.bytes = Bytes::new();
        self.source.release(self.released..offset.min(self.len));
        self.released = offset;
    }
}

/// Count of zero bytes at the start.
fn leading_zeros(bytes: &[u8]) -> usize {
    let (chunks, _) = bytes.as_chunks::<16>();
    let zeros = chunks.iter().take_while(|chunk| u128::from_ne_bytes(**chunk) == 0).count().saturating_mul(16);
    let rest = bytes.get(zeros..).unwrap_or_default();
    zeros.saturating_add(rest.iter().take_while(|byte| **byte == 0).count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::BytesSource;

    #[test]
    fn zeros_are_counted_exactly() {
        for zeros in [0, 1, 15, 16, 17, 31, 100] {
            let mut bytes = vec![0; zeros];
            assert_eq!(leading_zeros(&bytes), zeros);
            bytes.extend_from_slice(&[1, 0, 0]);
            assert_eq!(leading_zeros(&bytes), zeros);
        }
    }

    #[test]
    fn windows_reach_what_is_asked_for_or_the_end() {
        let mut bytes = vec![0; 200_000];
        bytes.push(7);
        let mut window = Window::new(Arc::new(BytesSource::new(bytes.into())));
        assert_eq!(window.skip_zeros(0).unwrap(), 200_000);
        assert_eq!(window.at(200_000, 10).unwrap(), [7]);
        assert_eq!(window.at(200_001, 10).unwrap(), [0_u8; 0]);
        assert_eq!(window.skip_zeros(200_001).unwrap(), 200_001);
        assert!(window.at(100, 150_000).unwrap().len() >= 150_000);
        assert_eq!(window.at(0, 1).unwrap()[0], 0, "going back is possible");
    }
}
