//! Heads of entries that are at hand before the replay comes to them: guessed just now, or kept from the last time.

use alloc::boxed::Box;

use super::heads::Head;
use super::known::KnownHeads;
use super::scouts::Scouted;

/// Where they come from.
pub(super) enum Ahead<'a> {
    /// Threads look for them.
    Scouted(Box<Scouted<'a>>),
    /// Somebody read the archive before.
    Known(Box<KnownHeads>),
}

impl Ahead<'_> {
    /// Moves to the head of the entry at `at`, if it is at hand. Offsets must not go down.
    pub(super) fn seek(&mut self, at: u64) -> bool {
        match self {
            Self::Scouted(scouted) => scouted.seek(at),
            Self::Known(known) => known.seek(at),
        }
    }

    /// The head moved to, if it is the one at `at`.
    pub(super) fn get(&self, at: u64) -> Option<Head<'_>> {
        match self {
            Self::Scouted(scouted) => scouted.get(at),
            Self::Known(known) => known.get(at),
        }
    }
}
