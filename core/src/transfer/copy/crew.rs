//! Those who copy content, and what is handed to them.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::AtomicBool;
use std::sync::mpsc::SyncSender;

use super::Step;
use crate::errno::Errno;
use crate::error::Result;

/// Who copies content while the tree is walked.
pub(super) struct Crew<'a> {
    pub(super) sender: SyncSender<Vec<Step>>,
    /// Files that are yet to be sent.
    pub(super) batch: Vec<Step>,
    pub(super) has_failed: &'a AtomicBool,
    /// What to do when all content is there.
    pub(super) left: Vec<Step>,
}

/// Files that go to a worker at once: those of one directory, in which two would only wait for each other, unless they
/// are many or few.
const BATCH_FILES: usize = 4096;
pub(super) const BATCH_FILES_MIN: usize = 64;

impl<'a> Crew<'a> {
    pub(super) const fn new(sender: SyncSender<Vec<Step>>, has_failed: &'a AtomicBool) -> Self {
        Self { sender, batch: Vec::new(), has_failed, left: Vec::new() }
    }

    pub(super) fn take(&mut self, step: Step) -> Result<()> {
        let is_elsewhere = self.batch.last().is_some_and(|last| !Arc::ptr_eq(last.to(), step.to()));
        if self.batch.len() >= if is_elsewhere { BATCH_FILES_MIN } else { BATCH_FILES } {
            self.sender.send(core::mem::take(&mut self.batch)).map_err(|_| Errno::Io)?;
        }
        self.batch.push(step);
        Ok(())
    }
}
