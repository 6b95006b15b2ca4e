//! Content copied by several threads, while one walks the tree.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::quick::Quick;
use super::{CopyOptions, CopyReport, Copying, Helper, Step, at, expect};
use crate::attr::FileType;
use crate::backend::host::HostFs;
use crate::errno::Errno;
use crate::error::Result;
use crate::fs::NodeRef;
use crate::limits::SKIPPED_KEPT_MAX;
use crate::progress::Progress;

/// As [`copy_into`](super::copy_into), the content of files being copied by `workers` threads: for targets to which the
/// order does not matter. `host` is the filesystem of `to`, if that is one of the host.
///
/// # Errors
/// As [`copy_into`](super::copy_into); of several errors, any.
pub(in crate::transfer) fn copy_into_by_many(
    from: &Arc<NodeRef>,
    to: &Arc<NodeRef>,
    options: &CopyOptions,
    progress: &Progress,
    workers: usize,
    host: Option<&HostFs>,
) -> Result<CopyReport> {
    expect(progress, from)?;
    let attr = from.fs().attr(from.node())?;
    let has_failed = AtomicBool::new(false);
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel(workers);
        let receiver = Arc::new(Mutex::new(receiver));
        let work = |receiver: Arc<Mutex<Receiver<Vec<Step>>>>| {
            let mut copying = Copying::new(options, progress);
            copying.helper = host.map(|host| Box::new(Quick::new(host)) as _);
            let mut done = Ok(());
            let next = || receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
            while let Ok(batch) = next() {
                // After an error the rest is taken all the same, so that nobody waits for room.
                if !has_failed.load(Ordering::Relaxed) {
                    copying.todo = batch;
                    // The last step is done first.
                    copying.todo.reverse();
                    if let Err(error) = copying.run() {
                        has_failed.store(true, Ordering::Relaxed);
                        done = Err(error);
                    }
                }
            }
            done.map(|()| copying.report)
        };
        let handles: Vec<_> = (0..workers)
            .map(|_| {
                let receiver = Arc::clone(&receiver);
                scope.spawn(move || work(receiver))
            })
            .collect();
        // Theirs alone: should all of them end, there is nobody to send to.
        drop(receiver);
        let pending = RefCell::new(Pending { sender, batch: Vec::new(), left: Vec::new() });
        let (walked, mut report) = {
            let mut copying = Copying::new(options, progress);
            copying.helper = Some(Box::new(Crew { pending: &pending, has_failed: &has_failed }));
            (copying.begin(from, to, attr).and_then(|()| copying.run()), copying.report)
        };
        if walked.is_err() {
            has_failed.store(true, Ordering::Relaxed);
        }
        let Pending { sender, batch, left } = pending.into_inner();
        // OK: it fails when all workers have ended, which they do by panics only; those are passed on below.
        let _ = sender.send(batch);
        drop(sender);
        for handle in handles {
            report.add(handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        walked?;
        // Deepest first, as they came.
        let todo = left.into_iter().rev().collect();
        let mut copying = Copying { report, todo, ..Copying::new(options, progress) };
        copying.run()?;
        copying.report.lost.sort_by(|a, b| a.path.cmp(&b.path));
        copying.report.lost.truncate(SKIPPED_KEPT_MAX);
        Ok(copying.report)
    })
}

impl CopyReport {
    fn add(&mut self, other: Self) {
        self.entries = self.entries.saturating_add(other.entries);
        self.content_len = self.content_len.saturating_add(other.content_len);
        self.lost_count = self.lost_count.saturating_add(other.lost_count);
        self.lost.extend(other.lost);
    }
}

impl Step {
    const fn to(&self) -> &Arc<NodeRef> {
        match self {
            Self::Make { to, .. } | Self::Leave { to, .. } => to,
        }
    }
}

/// What is not done yet.
struct Pending {
    sender: SyncSender<Vec<Step>>,
    /// Files that are yet to be sent.
    batch: Vec<Step>,
    /// What to do when all content is there.
    left: Vec<Step>,
}

/// Files that go to a worker at once: those of one directory, in which two would only wait for each other, unless they
/// are many or few.
const BATCH_FILES: usize = 4096;
pub(super) const BATCH_FILES_MIN: usize = 64;

impl Pending {
    fn take(&mut self, step: Step) -> Result<()> {
        let is_elsewhere = self.batch.last().is_some_and(|last| !Arc::ptr_eq(last.to(), step.to()));
        if self.batch.len() >= if is_elsewhere { BATCH_FILES_MIN } else { BATCH_FILES } {
            self.sender.send(core::mem::take(&mut self.batch)).map_err(|_| Errno::Io)?;
        }
        self.batch.push(step);
        Ok(())
    }
}

/// Who copies content while the tree is walked.
struct Crew<'a> {
    pending: &'a RefCell<Pending>,
    has_failed: &'a AtomicBool,
}

impl Helper for Crew<'_> {
    fn take(&mut self, copying: &mut Copying<'_>, step: Step) -> Result<Option<Step>> {
        if self.has_failed.load(Ordering::Relaxed) {
            // That error is the one to be told.
            copying.todo.clear();
            return Ok(None);
        }
        match &step {
            Step::Leave { .. } => self.pending.borrow_mut().left.push(step),
            Step::Make { path, from, .. } if from.file_type() == FileType::File => {
                // Links are made after what they link to.
                if from.fs().attr(from.node()).map_err(|error| at(&path.to_vec(), error))?.nlink > 1 {
                    return Ok(Some(step));
                }
                self.pending.borrow_mut().take(step)?;
            }
            Step::Make { .. } => return Ok(Some(step)),
        }
        Ok(None)
    }
}
