//! How many nodes may be open at once: a process has a limit on descriptors, a tree has none.
//!
//! Beyond the limit, those not used for longest are closed, as far as they can be opened again by a name: neither the
//! root nor what lost a name through us, nor what has none left. So a file or directory that somebody else moves
//! meanwhile may be lost (`ESTALE`), which it never is below the limit.

use alloc::collections::VecDeque;
use alloc::sync::{Arc, Weak};
use std::sync::{Mutex, PoisonError};

use rustix::process::{Resource, getrlimit};

use super::node::Node;

/// The least and the most kept open, whatever the process may have.
const OPEN_MIN: usize = 32;
const OPEN_MAX: usize = 4096;

#[derive(Debug)]
pub(super) struct Opened {
    /// In the order of opening; what was forgotten or closed otherwise is still among them.
    queue: Mutex<VecDeque<Weak<Node>>>,
    max: usize,
}

impl Opened {
    /// A quarter of what the process may have open.
    pub(super) fn new() -> Self {
        let process_max = getrlimit(Resource::Nofile).current.and_then(|max| usize::try_from(max).ok());
        Self::with_max(process_max.unwrap_or(usize::MAX) / 4)
    }

    pub(super) fn with_max(max: usize) -> Self {
        Self { queue: Mutex::default(), max: max.clamp(OPEN_MIN, OPEN_MAX) }
    }

    /// Counts `node`, just opened, and closes others for it if there are too many. The caller holds the lock on
    /// names, so that none of them is about to lose one.
    pub(super) fn enter(&self, node: &Arc<Node>) {
        let mut left = {
            let mut queue = self.queue();
            queue.push_back(Arc::downgrade(node));
            queue.len()
        };
        // Once around at most: all may be in use, or not to be closed.
        while left > 0 {
            let oldest = {
                let mut queue = self.queue();
                if queue.len() <= self.max {
                    return;
                }
                queue.pop_front().and_then(|oldest| oldest.upgrade())
            };
            left -= 1;
            let Some(oldest) = oldest else { continue };
            if oldest.take_used() || !oldest.close() {
                self.queue().push_back(Arc::downgrade(&oldest));
            }
        }
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, VecDeque<Weak<Node>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
