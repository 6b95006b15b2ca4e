//! Names and their content, read by a thread of its own while others are written: to a host, half of packing is asking
//! for files and half is writing them.
//!
//! What was read goes from one thread to the other in batches, of which a few are on their way at a time.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::{IntoIter, Vec};
use core::iter::Enumerate;
use core::ops::Range;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::Scope;

use super::super::copy::at;
use super::feed::{Reader, Ready};
use super::found::Found;
use crate::checked::{min_len, to_u64};
use crate::error::{Error, Result};
use crate::format::tar::Piece;
use crate::limits::{PACK_READ_LEN, PACK_READ_NAMES_MAX};

/// What comes next in a batch.
enum Step {
    Name(Box<Ready>),
    /// Content of the last name: these bytes of the batch.
    Run(Range<usize>),
    Failed(Error),
}

#[derive(Default)]
struct Batch {
    steps: VecDeque<Step>,
    bytes: Vec<u8>,
}

/// The end that takes what was read.
pub(super) struct Ahead {
    full: Receiver<Batch>,
    empty: Sender<Batch>,
    now: Batch,
}

impl Ahead {
    /// Begins to read, in a thread of `scope` that ends with the last name, with an error, or when nobody takes any more.
    pub(super) fn new<'scope, 'a: 'scope>(
        found: Enumerate<IntoIter<Found>>,
        reader: Reader<'a>,
        scope: &'scope Scope<'scope, '_>,
    ) -> Self {
        // One is being read, two wait, one is being written.
        let (send_full, full) = sync_channel(2);
        let (empty, take_empty) = channel();
        let mut filling = Filling { batch: Batch::default(), len: 0, full: send_full, empty: take_empty };
        scope.spawn(move || {
            if let Err(Stop::Failed(error)) = filling.read(found, &reader) {
                filling.batch.steps.push_back(Step::Failed(error));
            }
            // An error if nobody takes any more.
            let _ = filling.send();
        });
        Self { full, empty, now: Batch::default() }
    }

    /// The next name; `None` when there are no more.
    pub(super) fn next(&mut self) -> Result<Option<Ready>> {
        loop {
            match self.now.steps.pop_front() {
                Some(Step::Name(ready)) => return Ok(Some(*ready)),
                // Content that nobody wanted.
                Some(Step::Run(_)) => {}
                Some(Step::Failed(error)) => return Err(error),
                None if self.turn() => {}
                None => return Ok(None),
            }
        }
    }

    /// Calls `visit` with the content of the last name.
    pub(super) fn content(&mut self, mut visit: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        loop {
            match self.now.steps.front() {
                Some(Step::Run(range)) => visit(self.now.bytes.get(range.clone()).unwrap_or_default())?,
                Some(_) => return Ok(()),
                None => {
                    if !self.turn() {
                        return Ok(());
                    }
                    continue;
                }
            }
            self.now.steps.pop_front();
        }
    }

    /// Goes on to the next batch, if there is one.
    fn turn(&mut self) -> bool {
        let Ok(next) = self.full.recv() else { return false };
        let done = core::mem::replace(&mut self.now, next);
        // An error if no more is read.
        let _ = self.empty.send(done);
        true
    }
}

/// Why the reading thread ends early.
enum Stop {
    Failed(Error),
    /// Nobody takes any more.
    Unwanted,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The end that reads.
struct Filling {
    batch: Batch,
    /// Of the batch's bytes, those filled.
    len: usize,
    full: SyncSender<Batch>,
    empty: Receiver<Batch>,
}

impl Filling {
    fn read(&mut self, found: Enumerate<IntoIter<Found>>, reader: &Reader<'_>) -> Result<(), Stop> {
        for (index, found) in found {
            let ready = reader.ready(index, &found)?;
            let pieces: Option<Vec<Piece>> = ready.has_content.then(|| ready.stored().collect());
            let path = ready.path.clone();
            self.push(Step::Name(Box::new(ready)))?;
            for piece in pieces.unwrap_or_default() {
                if !self.read_piece(&found, &path, piece)? {
                    break;
                }
            }
            // Here `found` is given back: what was opened for it is closed.
        }
        Ok(())
    }

    /// Whether all of it was there.
    fn read_piece(&mut self, found: &Found, path: &[u8], piece: Piece) -> Result<bool, Stop> {
        let Piece { mut offset, mut len } = piece;
        while len > 0 {
            // A small rest of the room is not worth a call of its own.
            let room = PACK_READ_LEN.saturating_sub(self.len);
            if room < min_len(PACK_READ_LEN / 4, len) {
                self.send()?;
                continue;
            }
            self.batch.bytes.resize(PACK_READ_LEN, 0);
            let end = self.len.saturating_add(min_len(room, len));
            let buffer = self.batch.bytes.get_mut(self.len..end).unwrap_or_default();
            let count = found.node.fs().read_at(found.node.node(), offset, buffer).map_err(|error| at(path, error))?;
            if count == 0 {
                return Ok(false);
            }
            let start = self.len;
            self.len = start.saturating_add(count);
            self.push(Step::Run(start..self.len))?;
            (offset, len) = (offset.saturating_add(to_u64(count)), len.saturating_sub(to_u64(count)));
        }
        Ok(true)
    }

    fn push(&mut self, step: Step) -> Result<(), Stop> {
        self.batch.steps.push_back(step);
        if self.batch.steps.len() >= PACK_READ_NAMES_MAX { self.send() } else { Ok(()) }
    }

    /// Hands the batch on, and begins another.
    fn send(&mut self) -> Result<(), Stop> {
        let mut next = self.empty.try_recv().unwrap_or_default();
        next.steps.clear();
        self.len = 0;
        self.full.send(core::mem::replace(&mut self.batch, next)).map_err(|_| Stop::Unwanted)
    }
}
