//! Heads of entries that an earlier reader of the same archive kept.
//!
//! As with [guessed](super::heads) ones, nothing is concluded from these heads but what a reader finds who comes to
//! their offsets in its own way.

use alloc::vec::Vec;

use bytes::Bytes;

use super::heads::Head;
use super::packed::{HeadPacker, HeadReader};
use crate::limits::MEMO_LEN_MAX;

/// With fewer entries there is little to gain.
const ENTRIES_MIN: usize = 1000;

/// Kept heads, in the order of their offsets.
pub(super) struct KnownHeads {
    records: Bytes,
    reader: HeadReader,
}

impl KnownHeads {
    pub(super) fn new(records: Bytes) -> Self {
        Self { records, reader: HeadReader::default() }
    }

    /// Moves to the head at `at`, if there is one. Offsets must not go down.
    pub(super) fn seek(&mut self, at: u64) -> bool {
        self.reader.seek(&self.records, at)
    }

    /// The head moved to, if it is the one at `at`.
    pub(super) fn get(&self, at: u64) -> Option<Head<'_>> {
        self.reader.get(&self.records, at)
    }
}

/// Heads to be kept, up to [`MEMO_LEN_MAX`]; of longer archives none.
#[derive(Default)]
pub(super) struct HeadsToKeep {
    packer: HeadPacker,
    is_too_long: bool,
}

impl HeadsToKeep {
    /// Adds the head of the entry at `at`. Offsets must go up.
    pub(super) fn push(&mut self, at: u64, head: &Head<'_>) {
        if self.is_too_long || !head.is_complete() {
            return;
        }
        self.packer.push(at, head);
        if self.packer.records().len() > MEMO_LEN_MAX {
            self.is_too_long = true;
            self.packer = HeadPacker::default();
        }
    }

    /// Whether they are enough to be of use, and not too many.
    pub(super) const fn is_useful(&self) -> bool {
        self.packer.count() >= ENTRIES_MIN && !self.is_too_long
    }

    /// All records.
    pub(super) fn finish(self) -> Vec<u8> {
        self.packer.into_records()
    }
}
