//! How far something long has come, for whoever watches from another thread.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Counts bytes, done and in all: of content, or of an image that is decompressed.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicU64,
    total: AtomicU64,
    wants_total: AtomicBool,
}

impl Progress {
    /// Nothing done yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { done: AtomicU64::new(0), total: AtomicU64::new(0), wants_total: AtomicBool::new(false) }
    }

    /// Asks for the total where it takes a walk over the tree to know it, as when copying. Before the work begins.
    pub fn want_total(&self) {
        self.wants_total.store(true, Ordering::Relaxed);
    }

    pub(crate) fn wants_total(&self) -> bool {
        self.wants_total.load(Ordering::Relaxed)
    }

    /// Bytes done, and how many there are to do; 0 while that is not known.
    #[must_use]
    pub fn get(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }

    pub(crate) fn expect(&self, bytes: u64) {
        self.total.store(bytes, Ordering::Relaxed);
    }

    /// So many more are to be done than was known.
    pub(crate) fn expect_more(&self, bytes: u64) {
        self.total.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn advance(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }
}
