//! Conversions between integer widths, each with a reason to succeed or an errno.

use crate::errno::Errno;
use crate::error::Result;

/// A length or offset as an index into memory.
///
/// # Errors
/// `EOVERFLOW` where memory is narrower than `value`.
pub(crate) fn to_usize(value: u64) -> Result<usize> {
    usize::try_from(value).map_err(|_| Errno::Overflow.into())
}

/// A length of something in memory. `usize` has at most 64 bits on every platform Rust supports, so this is exact.
#[expect(clippy::as_conversions, reason = "usize is never wider than 64 bits")]
pub(crate) const fn to_u64(value: usize) -> u64 {
    value as u64
}

/// The shorter of a length in memory and a 64-bit length.
pub(crate) fn min_len(len: usize, other: u64) -> usize {
    usize::try_from(other).map_or(len, |other| len.min(other))
}
