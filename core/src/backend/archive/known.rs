//! Heads of entries that an earlier reader of the same archive kept.
//!
//! A record is the offset of the entry (8 bytes) and the length of what follows (4 bytes), low byte first, and the head
//! as it stands in an archive: header, name, padding and, of a symbolic link, the target. As with
//! [guessed](super::heads) ones, nothing is concluded from these heads but what a reader finds who comes to their
//! offsets in its own way.

use alloc::vec::Vec;
use core::ops::Range;

use bytes::Bytes;

use super::heads::Head;
use crate::checked::to_usize;
use crate::format::cpio::{EntryRef, HEADER_LEN, Header};

/// With fewer entries there is little to gain.
const ENTRIES_MIN: usize = 1000;

/// Kept heads, in the order of their offsets.
pub(super) struct KnownHeads {
    records: Bytes,
    /// Where the record after the current one begins.
    next: usize,
    current: Option<Known>,
}

struct Known {
    at: u64,
    header: Header,
    name: Range<usize>,
    target: Range<usize>,
}

impl KnownHeads {
    pub(super) fn new(records: Bytes) -> Self {
        Self { records, next: 0, current: None }
    }

    /// Moves to the head at `at`, if there is one. Offsets must not go down.
    pub(super) fn seek(&mut self, at: u64) -> bool {
        while self.current.as_ref().is_none_or(|current| current.at < at) {
            let Some((record, next)) = record(&self.records, self.next) else { return false };
            self.next = next;
            self.current = Some(record);
        }
        self.current.as_ref().is_some_and(|current| current.at == at)
    }

    /// The head moved to, if it is the one at `at`.
    pub(super) fn get(&self, at: u64) -> Option<Head<'_>> {
        let Known { header, name, target, .. } = self.current.as_ref().filter(|current| current.at == at)?;
        let entry = EntryRef { header: *header, name_field: self.records.get(name.clone())? };
        Some(Head { entry, target: self.records.get(target.clone())? })
    }
}

/// The record at `start`, and where the next one begins.
fn record(records: &[u8], start: usize) -> Option<(Known, usize)> {
    let (at, rest) = records.get(start..)?.split_first_chunk::<8>()?;
    let (len, rest) = rest.split_first_chunk::<4>()?;
    let raw = rest.get(..usize::try_from(u32::from_le_bytes(*len)).ok()?)?;
    let head = Head::read(raw).ok().filter(Head::is_complete)?;
    let raw_start = start.checked_add(12)?;
    let within = |part: &[u8], offset: usize| {
        let start = raw_start.checked_add(offset)?;
        Some(start..start.checked_add(part.len())?)
    };
    let known = Known {
        at: u64::from_le_bytes(*at),
        header: head.entry.header,
        name: within(head.entry.name_field, HEADER_LEN)?,
        target: match head.target {
            [] => 0..0,
            target => within(target, to_usize(head.entry.header.data_offset()).ok()?)?,
        },
    };
    Some((known, raw_start.checked_add(raw.len())?))
}

/// Heads to be kept.
#[derive(Default)]
pub(super) struct HeadsToKeep {
    records: Vec<u8>,
    count: usize,
}

impl HeadsToKeep {
    /// Adds the head of the entry at `at`. Offsets must go up.
    pub(super) fn push(&mut self, at: u64, head: &Head<'_>) {
        if !head.is_complete() {
            return;
        }
        let header = &head.entry.header;
        let head_len = match head.target {
            [] => HEADER_LEN.saturating_add(head.entry.name_field.len()),
            // OK: a complete name and target are a few thousand bytes.
            target => to_usize(header.data_offset()).unwrap_or(usize::MAX).saturating_add(target.len()),
        };
        let Ok(len) = u32::try_from(head_len) else { return };
        self.records.extend_from_slice(&at.to_le_bytes());
        self.records.extend_from_slice(&len.to_le_bytes());
        let start = self.records.len();
        self.records.extend_from_slice(&header.encode());
        self.records.extend_from_slice(head.entry.name_field);
        if !head.target.is_empty() {
            self.records.resize(start.saturating_add(head_len).saturating_sub(head.target.len()), 0);
            self.records.extend_from_slice(head.target);
        }
        self.count = self.count.saturating_add(1);
    }

    /// Whether there are enough of them to be of use.
    pub(super) const fn is_useful(&self) -> bool {
        self.count >= ENTRIES_MIN
    }

    /// All records.
    pub(super) fn finish(self) -> Vec<u8> {
        self.records
    }
}
