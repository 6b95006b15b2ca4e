//! Heads of entries that an earlier reader of the same archive kept.
//!
//! A record is the offset of the entry (8 bytes), the fields of its header (14 times 4 bytes, the layout first), all low
//! byte first, then the name and, of a symbolic link, the target, as long as the fields say. As with
//! [guessed](super::heads) ones, nothing is concluded from these heads but what a reader finds who comes to their
//! offsets in its own way.

use alloc::vec::Vec;
use core::ops::Range;

use bytes::Bytes;

use super::heads::Head;
use crate::attr::FileType;
use crate::format::cpio::{EntryRef, FIELDS, Header, Variant};
use crate::limits::MEMO_LEN_MAX;

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
    let (header_bytes, _) = rest.split_first_chunk::<KEPT_LEN>()?;
    let header = header(header_bytes)?;
    let name_start = start.checked_add(8 + KEPT_LEN)?;
    let name_end = name_start.checked_add(usize::try_from(header.namesize).ok()?)?;
    let target_len = match header.file_type() {
        Some(FileType::Symlink) => usize::try_from(header.filesize).ok()?,
        _ => 0,
    };
    let end = name_end.checked_add(target_len)?;
    let (name, target) = (name_start..name_end, name_end..end);
    let head = Head {
        entry: EntryRef { header, name_field: records.get(name.clone())? },
        target: records.get(target.clone())?,
    };
    head.is_complete().then_some((Known { at: u64::from_le_bytes(*at), header, name, target }, end))
}

/// Bytes of a header: a number for its layout, and its fields.
const KEPT_LEN: usize = (1 + FIELDS) * 4;

fn header(bytes: &[u8; KEPT_LEN]) -> Option<Header> {
    let (variant, rest) = bytes.split_first_chunk::<4>()?;
    let variant = match u32::from_le_bytes(*variant) {
        1 => Variant::Newc,
        2 => Variant::Crc,
        _ => return None,
    };
    let mut fields = [0; FIELDS];
    for (field, bytes) in fields.iter_mut().zip(rest.as_chunks::<4>().0) {
        *field = u32::from_le_bytes(*bytes);
    }
    Some(Header::from_fields(variant, fields))
}

/// Heads to be kept, up to [`MEMO_LEN_MAX`]; of longer archives none.
#[derive(Default)]
pub(super) struct HeadsToKeep {
    records: Vec<u8>,
    count: usize,
    is_too_long: bool,
}

impl HeadsToKeep {
    /// Adds the head of the entry at `at`. Offsets must go up.
    pub(super) fn push(&mut self, at: u64, head: &Head<'_>) {
        if self.is_too_long || !head.is_complete() {
            return;
        }
        let EntryRef { header, name_field } = head.entry;
        let variant: u32 = match header.variant {
            Variant::Newc => 1,
            Variant::Crc => 2,
        };
        let (offset, variant, fields) =
            (at.to_le_bytes(), variant.to_le_bytes(), header.fields().map(u32::to_le_bytes));
        let parts = [&offset[..], &variant, fields.as_flattened(), name_field, head.target];
        let len = parts.iter().fold(self.records.len(), |sum, part| sum.saturating_add(part.len()));
        if len > MEMO_LEN_MAX {
            self.is_too_long = true;
            self.records = Vec::new();
            return;
        }
        for part in parts {
            self.records.extend_from_slice(part);
        }
        self.count = self.count.saturating_add(1);
    }

    /// Whether they are enough to be of use, and not too many.
    pub(super) const fn is_useful(&self) -> bool {
        self.count >= ENTRIES_MIN && !self.is_too_long
    }

    /// All records.
    pub(super) fn finish(self) -> Vec<u8> {
        self.records
    }
}
