//! Content that stays for a while.

use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

/// All bytes of a file, in memory in one piece, for as long as nobody changes the file.
///
/// Holding one keeps neither the node nor its name, only the bytes.
#[derive(Clone)]
pub struct Snapshot {
    bytes: Bytes,
    changed: Option<Arc<AtomicBool>>,
}

impl Snapshot {
    /// Of a file that never changes.
    #[must_use]
    pub const fn fixed(bytes: Bytes) -> Self {
        Self { bytes, changed: None }
    }

    /// The same bytes, until `changed` is set.
    #[must_use]
    pub fn until(self, changed: Arc<AtomicBool>) -> Self {
        Self { bytes: self.bytes, changed: Some(changed) }
    }

    /// Whether the file never changes.
    #[must_use]
    pub const fn is_fixed(&self) -> bool {
        self.changed.is_none()
    }

    /// The file's bytes, if they still are.
    #[inline]
    #[must_use]
    pub fn current(&self) -> Option<&Bytes> {
        match &self.changed {
            Some(changed) if changed.load(Ordering::Acquire) => None,
            _ => Some(&self.bytes),
        }
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.current() {
            Some(bytes) => write!(f, "Snapshot({} bytes)", bytes.len()),
            None => f.write_str("Snapshot(outdated)"),
        }
    }
}
