//! The bytes of one extent that were written here.

use alloc::vec::Vec;
use core::ops::{Deref, DerefMut};

use crate::errno::Errno;
use crate::error::Result;

/// What processors move between memory and their caches.
const LINE: usize = 64;

/// From here on, the bytes begin with a cache line; below, the lines saved are not worth the padding.
const ALIGNED_FROM: usize = 1 << 10;

/// Bytes that begin with a cache line, if there is room for many. A guest's page, which begins with one too, is then
/// copied in two thirds of the time, since no load and no store touches two lines.
#[derive(Default)]
pub(super) struct Segment {
    /// The padding, then the bytes.
    padded: Vec<u8>,
    padding: usize,
}

impl Segment {
    /// Room, used and not.
    pub(super) const fn capacity(&self) -> usize {
        self.padded.capacity() - self.padding
    }

    /// Makes room for `capacity` bytes in all.
    ///
    /// # Errors
    /// `ENOSPC` if there is no memory.
    pub(super) fn reserve(&mut self, capacity: usize) -> Result<()> {
        if capacity <= self.capacity() {
            return Ok(());
        }
        if capacity < ALIGNED_FROM {
            return self.padded.try_reserve_exact(capacity - self.len()).map_err(|_| Errno::NoSpace.into());
        }
        let mut padded = Vec::<u8>::new();
        padded.try_reserve_exact(capacity + LINE - 1).map_err(|_| Errno::NoSpace)?;
        // Less than a line wherever addresses are numbers, which they are not while constants are computed.
        let padding = padded.as_ptr().align_offset(LINE).min(LINE - 1);
        padded.resize(padding, 0);
        padded.extend_from_slice(self);
        *self = Self { padded, padding };
        Ok(())
    }

    /// Cuts it, or extends it with zeros.
    pub(super) fn resize(&mut self, len: usize) {
        self.padded.resize(self.padding + len, 0);
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.padded.truncate(self.padding + len);
    }

    pub(super) fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.padded.extend_from_slice(bytes);
    }

    /// Cuts it to its first `at` bytes and returns the rest. `at` is at most its length.
    pub(super) fn split_off(&mut self, at: usize) -> Self {
        Self { padded: self.padded.split_off(self.padding + at), padding: 0 }
    }
}

impl Deref for Segment {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // OK: the padding is never cut off.
        &self.padded[self.padding..]
    }
}

impl DerefMut for Segment {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.padded[self.padding..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_bytes_begin_with_a_line_and_stay_the_same_as_they_move() {
        let mut segment = Segment::default();
        let mut model = Vec::new();
        for len in [1, 5, 100, 1 << 10, 5000, 60_000] {
            segment.reserve(len).unwrap();
            assert!(segment.capacity() >= len, "{} for {len}", segment.capacity());
            assert!(segment.capacity() < len + LINE, "{} for {len}", segment.capacity());
            assert!(len < ALIGNED_FROM || segment.as_ptr().align_offset(LINE) == 0, "{len} at {:p}", segment.as_ptr());
            let at = segment.as_ptr();
            let more: Vec<u8> = (model.len()..len).map(|byte| byte.to_le_bytes()[0]).collect();
            segment.extend_from_slice(&more);
            model.extend_from_slice(&more);
            assert_eq!(segment.as_ptr(), at, "what was reserved is used");
            assert!(segment[..] == model, "after {len}");
        }
        segment.resize(60_010);
        model.resize(60_010, 0);
        let rest = segment.split_off(59_999);
        assert!(rest[..] == model[59_999..] && segment[..] == model[..59_999]);
        segment.truncate(10);
        segment[9] = 77;
        assert_eq!((&segment[..9], segment.last(), segment.len()), (&model[..9], Some(&77), 10));
    }
}
