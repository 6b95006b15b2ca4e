//! Codecs: bytes to values and back, without I/O and without locks.

pub mod compress;
pub mod cpio;
pub mod detect;
pub mod executable;
#[cfg(feature = "oci")]
pub mod oci;
pub mod tar;
pub mod tfs;

use core::ffi::CStr;

use crate::errno::Errno;
use crate::error::Error;

/// What stands before the first NUL: what a name is to those who read it as text in C.
#[must_use]
pub fn cut_at_nul(bytes: &[u8]) -> &[u8] {
    CStr::from_bytes_until_nul(bytes).map_or(bytes, CStr::to_bytes)
}

/// A format that is recognised but that this version does not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{format} at byte {offset} is recognised but not supported yet")]
pub struct Unsupported {
    /// What was recognised.
    pub format: &'static str,
    /// Where it begins, in bytes.
    pub offset: u64,
}

impl From<Unsupported> for Error {
    fn from(unsupported: Unsupported) -> Self {
        Self::new(Errno::NotSupported, unsupported)
    }
}
