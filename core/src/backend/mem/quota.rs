//! What a memory filesystem may hold, counted without a lock.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::errno::Errno;
use crate::error::Result;

/// A limit and what is used of it. Never over the limit, not even for an instant.
#[derive(Debug)]
pub(super) struct Quota {
    limit: Option<u64>,
    used: AtomicU64,
}

impl Quota {
    pub(super) const fn new(limit: Option<u64>) -> Self {
        Self { limit, used: AtomicU64::new(0) }
    }

    pub(super) const fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// What is left, if there is a limit.
    pub(super) fn free(&self) -> Option<u64> {
        self.limit.map(|limit| limit.saturating_sub(self.used.load(Ordering::Relaxed)))
    }

    /// Takes `count`, all or nothing.
    ///
    /// # Errors
    /// `ENOSPC`.
    pub(super) fn charge(&self, count: u64) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        let limit = self.limit.unwrap_or(u64::MAX);
        let mut used = self.used.load(Ordering::Relaxed);
        loop {
            let sum = used.checked_add(count).filter(|sum| *sum <= limit).ok_or(Errno::NoSpace)?;
            match self.used.compare_exchange_weak(used, sum, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => used = now,
            }
        }
    }

    /// Gives back `count` that was charged before.
    pub(super) fn refund(&self, count: u64) {
        if count > 0 {
            let before = self.used.fetch_sub(count, Ordering::Relaxed);
            debug_assert!(before >= count, "refund of {count} with {before} charged");
        }
    }
}
