//! Which changes a power cut may undo, and how.

use alloc::vec::Vec;

use super::record::{Change, NodeNumber, Recording, Step, Synced};
use crate::checked::to_u64;

/// Changes that a cut may lose at most; older ones are taken for written out, as every kernel does after some seconds.
const PENDING_MAX: usize = 256;

/// Changes at the end, each of which is lost alone, and kept alone.
const SINGLE_MAX: usize = 16;

/// What a disk writes whole or not at all.
const SECTOR_LEN: u64 = 512;

/// What a filesystem promises of changes that were not synced, and of names in particular.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Promises {
    /// What POSIX says: a file's content by syncing the file, its name by syncing the directory.
    #[default]
    Posix,
    /// What ext4, XFS and btrfs do: names change in the order in which they were changed, and any sync makes all earlier
    /// ones durable. Content still needs a sync of its own file.
    Journal,
}

/// What becomes of a change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Fate {
    /// It is on the disk.
    Kept,
    /// It is not.
    Lost,
    /// Of a write, only the file's new size is.
    Zeroed,
    /// Of a write, only so many bytes are.
    Torn(usize),
}

/// A change that is not, or not wholly, on the disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Loss {
    /// Its place in the recording.
    pub step: usize,
    /// What became of it.
    pub fate: Fate,
}

/// Follows a recording, and knows which of the changes so far are not durable.
#[derive(Clone, Debug)]
pub struct Durability<'r> {
    recording: &'r Recording,
    promises: Promises,
    at: usize,
    /// Ascending.
    pending: Vec<usize>,
    /// Of all changes so far, as if they were kept.
    fingerprint: u64,
}

impl<'r> Durability<'r> {
    /// At the beginning of a recording.
    #[must_use]
    pub const fn new(recording: &'r Recording, promises: Promises) -> Self {
        Self { recording, promises, at: 0, pending: Vec::new(), fingerprint: 0 }
    }

    /// How many steps were made.
    #[must_use]
    pub const fn at(&self) -> usize {
        self.at
    }

    /// The changes so far that a cut now may lose.
    #[must_use]
    pub fn pending(&self) -> &[usize] {
        &self.pending
    }

    /// All changes before this step are durable.
    #[must_use]
    pub fn durable(&self) -> usize {
        self.pending.first().copied().unwrap_or(self.at)
    }

    /// Goes on to the next step; `false` at the end.
    pub fn advance(&mut self) -> bool {
        let Some(Step { change, .. }) = self.recording.steps().get(self.at) else { return false };
        match change {
            Change::Sync(synced) => self.settle(*synced),
            _ => {
                self.fingerprint ^= mixed(self.at, Fate::Kept);
                if is_data(change).is_some() || is_name(change) {
                    self.pending.push(self.at);
                }
            }
        }
        if self.pending.len() > PENDING_MAX {
            self.pending.remove(0);
        }
        self.at = self.at.saturating_add(1);
        true
    }

    /// A sync makes changes durable.
    fn settle(&mut self, synced: Synced) {
        let (recording, promises) = (self.recording, self.promises);
        let is_covered = |change: &Change| match synced {
            Synced::All => true,
            _ if promises == Promises::Journal && is_name(change) => true,
            Synced::Data(node) => is_data(change) == Some(node),
            Synced::Node(node) => is_data(change) == Some(node) || dirs(change).contains(&Some(node)),
        };
        // An entry that is durable rests on all that was done to it, and to where it came from.
        let mut entries: Vec<(NodeNumber, &[u8])> = Vec::new();
        let mut left: Vec<usize> = Vec::with_capacity(self.pending.len());
        for &step in self.pending.iter().rev() {
            let Some(change) = recording.steps().get(step).map(|step| &step.change) else { continue };
            let touched = entries_of(change);
            if is_covered(change) || touched.iter().flatten().any(|entry| entries.contains(entry)) {
                entries.extend(touched.into_iter().flatten());
            } else {
                left.push(step);
            }
        }
        left.reverse();
        self.pending = left;
    }

    /// `losses`, and what cannot be kept without them.
    #[must_use]
    pub fn closed(&self, losses: impl IntoIterator<Item = Loss>) -> Vec<Loss> {
        let mut losses: Vec<Loss> = losses.into_iter().filter(|loss| loss.fate != Fate::Kept).collect();
        losses.sort_unstable();
        losses.dedup_by_key(|loss| loss.step);
        let mut closed: Vec<Loss> = Vec::with_capacity(losses.len());
        let mut given = losses.into_iter().peekable();
        let mut entries: Vec<(NodeNumber, &[u8])> = Vec::new();
        for &step in &self.pending {
            let own = given.next_if(|loss| loss.step == step);
            let Some(change) = self.recording.steps().get(step).map(|step| &step.change) else { continue };
            let touched = entries_of(change);
            let is_undermined = match self.promises {
                Promises::Posix => touched.iter().flatten().any(|entry| entries.contains(entry)),
                Promises::Journal => is_name(change) && !entries.is_empty(),
            };
            match own {
                Some(loss) if is_data(change).is_some() => closed.push(loss),
                None if !is_undermined => {}
                _ => {
                    closed.push(Loss { step, fate: Fate::Lost });
                    entries.extend(touched.into_iter().flatten());
                }
            }
        }
        closed
    }

    /// What a cut now may lose, one way after the other: nothing, everything, all content, all names, single changes, and
    /// `random` mixtures that follow from `seed`. No way comes twice.
    #[must_use]
    pub fn outcomes(&self, random: u32, seed: u64) -> Vec<Vec<Loss>> {
        let change = |step: &usize| self.recording.steps().get(*step).map(|step| &step.change);
        let lose = |step: usize| Loss { step, fate: Fate::Lost };
        let all = || self.pending.iter().copied();
        let (names, data): (Vec<usize>, Vec<usize>) = all().partition(|step| change(step).is_some_and(is_name));
        let mut outcomes = vec![Vec::new()];
        outcomes.push(self.closed(all().map(lose)));
        outcomes.push(self.closed(data.iter().copied().map(lose)));
        let writes = || data.iter().copied().filter(|step| matches!(change(step), Some(Change::Write { .. })));
        outcomes.push(self.closed(writes().map(|step| Loss { step, fate: Fate::Zeroed })));
        outcomes.push(self.closed(names.iter().copied().map(lose)));
        for step in all().rev().take(SINGLE_MAX) {
            outcomes.push(self.closed([lose(step)]));
            outcomes.push(self.closed(all().filter(|&other| other != step).map(lose)));
            if let Some(tear) = change(&step).and_then(|change| torn(change, 1, 2)) {
                outcomes.push(self.closed([Loss { step, fate: tear }]));
            }
        }
        let mut random_bits = Random(seed ^ mixed(self.at, Fate::Kept));
        for _ in 0..random {
            // Some mixtures lose little, some most.
            let share = [2, 8, 14].get(random_bits.below(3)).copied().unwrap_or(8);
            let toss = |step: usize| {
                let fate = if random_bits.below(16) >= share {
                    Fate::Kept
                } else {
                    match random_bits.below(8) {
                        0 => Fate::Zeroed,
                        1 => change(&step)
                            .and_then(|change| torn(change, random_bits.below(64), 64))
                            .unwrap_or(Fate::Lost),
                        _ => Fate::Lost,
                    }
                };
                Loss { step, fate }
            };
            let tossed: Vec<Loss> = all().map(toss).collect();
            outcomes.push(self.closed(tossed));
        }
        let mut seen = Vec::with_capacity(outcomes.len());
        outcomes.retain(|losses| {
            let fingerprint = self.fingerprint(losses);
            let is_new = !seen.contains(&fingerprint);
            seen.push(fingerprint);
            is_new
        });
        outcomes
    }

    /// A number that is the same for cuts at different points after which the disk holds the same.
    #[must_use]
    pub fn fingerprint(&self, losses: &[Loss]) -> u64 {
        losses.iter().fold(self.fingerprint, |fingerprint, loss| {
            let lost = fingerprint ^ mixed(loss.step, Fate::Kept);
            if loss.fate == Fate::Lost { lost } else { lost ^ mixed(loss.step, loss.fate) }
        })
    }
}

/// The file whose content it changes.
fn is_data(change: &Change) -> Option<NodeNumber> {
    match change {
        Change::Write { node, .. } | Change::Allocate { node, .. } => Some(*node),
        Change::SetAttr { node, changes } if changes.size.is_some() => Some(*node),
        _ => None,
    }
}

fn is_name(change: &Change) -> bool {
    dirs(change) != [None, None]
}

/// The directories whose entries it changes.
fn dirs(change: &Change) -> [Option<NodeNumber>; 2] {
    entries_of(change).map(|entry| entry.map(|(dir, _)| dir))
}

fn entries_of(change: &Change) -> [Option<(NodeNumber, &[u8])>; 2] {
    match change {
        Change::Create { dir, name, .. }
        | Change::Link { dir, name, .. }
        | Change::Unlink { dir, name, .. }
        | Change::RemoveDir { dir, name, .. } => [Some((*dir, name)), None],
        Change::Rename { from_dir, from, to_dir, to, .. } => [Some((*from_dir, from)), Some((*to_dir, to))],
        _ => [None, None],
    }
}

/// A write that stops at about this share of it, between two sectors.
fn torn(change: &Change, share: usize, of: usize) -> Option<Fate> {
    let Change::Write { offset, data, .. } = change else { return None };
    let end = offset.saturating_add(to_u64(data.len().saturating_mul(share) / of.max(1)));
    let cut = end - end % SECTOR_LEN;
    let kept = usize::try_from(cut.checked_sub(*offset)?).ok()?;
    (kept > 0 && kept < data.len()).then_some(Fate::Torn(kept))
}

/// A number for a change and its fate (splitmix64).
fn mixed(step: usize, fate: Fate) -> u64 {
    let fate = match fate {
        Fate::Kept => 0,
        Fate::Lost => 1,
        Fate::Zeroed => 2,
        Fate::Torn(len) => to_u64(len).saturating_add(3),
    };
    Random(to_u64(step) ^ fate.rotate_left(32)).next()
}

/// Numbers that repeat (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let bits = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Below `count`, which is small.
    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % to_u64(count.max(1))).unwrap_or_default()
    }
}
