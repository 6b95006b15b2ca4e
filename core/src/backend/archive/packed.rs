//! Heads of entries, packed: what scouts hand to the replay, and what is kept of an archive for the next time.
//!
//! Heads that follow one another are much alike, and few bytes matter here: what one processor writes another one reads
//! slowly. So a record says only what differs from the one before it:
//!
//! - 16 bits: bit n is set if field n of the header (counted in their order in an archive) is not the expected one, bit
//!   [`IS_CRC`] if the layout is the one with sums, bit [`HAS_OFFSET`] if the entry does not begin where the one before
//!   ends;
//! - the offset, 8 bytes, and each of those fields, 4 bytes, as far as these bits are set;
//! - a byte that says how many bytes the name begins with that of the record before has in common with it;
//! - the rest of the name, as long as its field says, and of a symbolic link the target, as long as its field says.
//!
//! All low byte first. The inode number is expected to be the next one, the other fields to be the same as before. In
//! front of the first record all is 0.

use alloc::vec::Vec;
use core::ops::Range;

use super::heads::Head;
use crate::attr::FileType;
use crate::format::cpio::{EntryRef, FIELDS, Header, Variant};

/// The bits of the fields.
const CHANGED: u16 = (1 << FIELDS) - 1;

/// The bit of the layout with sums.
const IS_CRC: u16 = 1 << FIELDS;

/// The bit of an offset that is given.
const HAS_OFFSET: u16 = 1 << (FIELDS + 1);

/// Place of the inode number among the fields.
const INO: usize = 0;

/// What the next record is compared with.
#[derive(Debug, Default)]
struct Before {
    fields: [u32; FIELDS],
    name: Vec<u8>,
    /// Where the entry ends.
    end: u64,
}

impl Before {
    /// The fields that the next record should have.
    fn expected(&self) -> [u32; FIELDS] {
        let mut expected = self.fields;
        if let Some(ino) = expected.get_mut(INO) {
            *ino = ino.wrapping_add(1);
        }
        expected
    }
}

/// Writes records.
#[derive(Debug, Default)]
pub(super) struct HeadPacker {
    records: Vec<u8>,
    count: usize,
    before: Before,
}

impl HeadPacker {
    /// Adds the head of the entry at `at`, which must be [complete](Head::is_complete). Offsets must go up.
    pub(super) fn push(&mut self, at: u64, head: &Head<'_>) {
        let EntryRef { header, name_field } = head.entry;
        let fields = header.fields();
        let differs = fields.iter().zip(self.before.expected()).map(|(field, expected)| *field != expected);
        let changed = differs.rev().fold(0, |bits: u16, differs| bits << 1 | u16::from(differs));
        let layout = match header.variant {
            Variant::Newc => 0,
            Variant::Crc => IS_CRC,
        };
        let offset = if at == self.before.end { 0 } else { HAS_OFFSET };
        self.records.extend_from_slice(&(changed | layout | offset).to_le_bytes());
        if offset != 0 {
            self.records.extend_from_slice(&at.to_le_bytes());
        }
        for field in numbers(changed) {
            self.records.extend_from_slice(&fields.get(field).copied().unwrap_or_default().to_le_bytes());
        }
        let shared = u8::try_from(common_len(&self.before.name, name_field)).unwrap_or(u8::MAX);
        let rest = name_field.get(usize::from(shared)..).unwrap_or_default();
        self.records.push(shared);
        self.records.extend_from_slice(rest);
        self.records.extend_from_slice(head.target);
        self.count = self.count.saturating_add(1);
        self.before.fields = fields;
        self.before.name.truncate(shared.into());
        self.before.name.extend_from_slice(rest);
        self.before.end = at.saturating_add(header.entry_len());
    }

    /// Records so far.
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// The records.
    pub(super) fn records(&self) -> &[u8] {
        &self.records
    }

    /// The records.
    pub(super) fn into_records(self) -> Vec<u8> {
        self.records
    }

    /// Begins again, in the same memory.
    pub(super) fn clear(&mut self) {
        let Self { records, count, before: Before { fields, name, end } } = self;
        records.clear();
        name.clear();
        (*count, *fields, *end) = (0, [0; FIELDS], 0);
    }
}

/// Reads records one after the other. They are given each time, and must be the same ones; whatever bytes they are, what
/// comes out are complete heads.
#[derive(Debug, Default)]
pub(super) struct HeadReader {
    /// Where the next record begins.
    next: usize,
    /// Offset of the current entry, if there is one.
    at: Option<u64>,
    header: Header,
    before: Before,
    target: Range<usize>,
}

impl HeadReader {
    /// Moves to the head at `at`, if there is one. Offsets must not go down.
    pub(super) fn seek(&mut self, records: &[u8], at: u64) -> bool {
        while self.at.is_none_or(|current| current < at) {
            if self.advance(records).is_none() {
                // Nothing behind a broken record means anything.
                self.next = records.len();
                self.at = None;
                return false;
            }
        }
        self.at == Some(at)
    }

    /// The head moved to, if it is the one at `at`.
    pub(super) fn get<'a>(&'a self, records: &'a [u8], at: u64) -> Option<Head<'a>> {
        self.at.filter(|current| *current == at)?;
        let entry = EntryRef { header: self.header, name_field: &self.before.name };
        Some(Head { entry, target: records.get(self.target.clone())? })
    }

    /// Begins again.
    pub(super) fn clear(&mut self) {
        let Self { next, at, header: _, before: Before { fields, name, end }, target } = self;
        name.clear();
        (*next, *at, *fields, *end, *target) = (0, None, [0; FIELDS], 0, 0..0);
    }

    /// Moves to the next record.
    fn advance(&mut self, records: &[u8]) -> Option<()> {
        let (bits, mut rest) = records.get(self.next..)?.split_first_chunk::<2>()?;
        let bits = u16::from_le_bytes(*bits);
        let mut at = self.before.end;
        if bits & HAS_OFFSET != 0 {
            let (offset, behind) = rest.split_first_chunk::<8>()?;
            (at, rest) = (u64::from_le_bytes(*offset), behind);
        }
        let mut fields = self.before.expected();
        for field in numbers(bits & CHANGED) {
            let (value, behind) = rest.split_first_chunk::<4>()?;
            *fields.get_mut(field)? = u32::from_le_bytes(*value);
            rest = behind;
        }
        let variant = if bits & IS_CRC == 0 { Variant::Newc } else { Variant::Crc };
        let header = Header::from_fields(variant, fields);
        let (shared, rest) = rest.split_first()?;
        let shared = usize::from(*shared);
        let (name, rest) = rest.split_at_checked(usize::try_from(header.namesize).ok()?.checked_sub(shared)?)?;
        if shared > self.before.name.len() {
            return None;
        }
        self.before.name.truncate(shared);
        self.before.name.extend_from_slice(name);
        let target_len = match header.file_type() {
            Some(FileType::Symlink) => usize::try_from(header.filesize).ok()?,
            _ => 0,
        };
        let (target, rest) = rest.split_at_checked(target_len)?;
        let head = Head { entry: EntryRef { header, name_field: &self.before.name }, target };
        if !head.is_complete() {
            return None;
        }
        self.next = records.len().checked_sub(rest.len())?;
        self.target = self.next.checked_sub(target_len)?..self.next;
        self.header = header;
        self.before.fields = fields;
        self.before.end = at.saturating_add(header.entry_len());
        self.at = Some(at);
        Some(())
    }
}

/// The numbers of the bits that are set, from the lowest one on.
fn numbers(mut bits: u16) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let number = usize::try_from(bits.trailing_zeros()).ok().filter(|_| bits != 0)?;
        bits &= bits.wrapping_sub(1);
        Some(number)
    })
}

/// How many bytes both begin with.
fn common_len(one: &[u8], other: &[u8]) -> usize {
    let (words, others) = (one.as_chunks::<8>().0, other.as_chunks::<8>().0);
    let same = words.iter().zip(others).take_while(|(one, other)| one == other).count().saturating_mul(8);
    let (one, other) = (one.get(same..).unwrap_or_default(), other.get(same..).unwrap_or_default());
    same.saturating_add(one.iter().zip(other).take_while(|(one, other)| one == other).count())
}

const _: () = assert!(FIELDS + 2 <= 16, "a bit for each field, for the layout and for the offset");

#[cfg(test)]
mod tests {
    use super::*;

    fn heads() -> Vec<(u64, Header, Vec<u8>, Vec<u8>)> {
        let file = Header { mode: 0o100_644, nlink: 1, filesize: 7, ..Header::default() };
        let link = Header { mode: 0o120_777, nlink: 1, filesize: 3, ..Header::default() };
        let name = |header: Header, name: &[u8]| (Header { namesize: name.len() as u32, ..header }, name.to_vec());
        let long = [&[b'n'; 300][..], b"\0"].concat();
        let longer = [&[b'n'; 400][..], b"\0"].concat();
        let all = [
            (name(Header { ino: 1, ..file }, b"dir/one\0"), &b""[..]),
            (name(Header { ino: 2, ..file }, b"dir/other\0\0\0"), b""),
            (name(Header { ino: 2, uid: u32::MAX, check: 9, variant: Variant::Crc, ..file }, b""), b""),
            (name(Header { ino: u32::MAX, ..link }, b"dir/link\0"), b"../"),
            (name(Header { ino: 0, ..link }, b"dir/link\0"), b"abc"),
            (name(file, &long), b""),
            (name(file, &longer), b""),
        ];
        let mut at = 0;
        all.into_iter()
            .enumerate()
            .map(|(number, ((header, name), target))| {
                let start = at;
                // Each third is followed by a gap.
                at += header.entry_len() + if number % 3 == 2 { 512 } else { 0 };
                (start, header, name, target.to_vec())
            })
            .collect()
    }

    fn packed() -> HeadPacker {
        let mut packer = HeadPacker::default();
        for (at, header, name, target) in &heads() {
            packer.push(*at, &Head { entry: EntryRef { header: *header, name_field: name }, target });
        }
        packer
    }

    fn read_all(reader: &mut HeadReader, records: &[u8]) {
        for (at, header, name, target) in &heads() {
            assert!(!reader.seek(records, at.saturating_sub(1)) || *at == 0, "nothing begins before {at}");
            assert!(reader.seek(records, *at), "at {at}");
            let head = Head { entry: EntryRef { header: *header, name_field: name }, target };
            assert_eq!(reader.get(records, *at), Some(head));
            assert_eq!(reader.get(records, at + 1), None);
        }
        assert!(!reader.seek(records, u64::MAX));
        assert_eq!(reader.get(records, u64::MAX), None);
    }

    #[test]
    fn heads_come_out_as_they_went_in() {
        let mut packer = packed();
        assert_eq!(packer.count(), heads().len());
        let mut reader = HeadReader::default();
        read_all(&mut reader, packer.records());
        let records = packer.records().to_vec();
        packer.clear();
        reader.clear();
        for (at, header, name, target) in &heads() {
            packer.push(*at, &Head { entry: EntryRef { header: *header, name_field: name }, target });
        }
        assert_eq!(packer.records(), records, "in the same memory again");
        read_all(&mut reader, &packer.into_records());
    }

    #[test]
    fn what_is_common_is_counted_exactly() {
        for len in 0..40 {
            for same in 0..=len {
                let (one, mut other) = (vec![7; len], vec![7; len + 3]);
                other[same..].fill(8);
                assert_eq!((common_len(&one, &other), common_len(&other, &one)), (same, same));
            }
        }
    }

    #[test]
    fn records_of_like_entries_are_short() {
        let mut packer = HeadPacker::default();
        for number in 0..100_u32 {
            let name = format!("usr/lib/package/file-{number:03}\0");
            let header = Header { ino: number, namesize: name.len() as u32, ..Header::default() };
            packer.push(
                u64::from(number) * header.entry_len(),
                &Head { entry: EntryRef { header, name_field: name.as_bytes() }, target: b"" },
            );
        }
        assert!(packer.records().len() < 100 * 7, "{} bytes", packer.records().len());
    }

    #[test]
    fn broken_records_give_complete_heads_or_none() {
        let records = packed().into_records();
        for len in 0..records.len() {
            let cut = &records[..len];
            let mut reader = HeadReader::default();
            let found = heads().iter().filter(|(at, ..)| reader.seek(cut, *at)).count();
            assert!(found < heads().len(), "{len} bytes");
        }
        for place in 0..records.len() {
            for byte in [0, 1, 0x7f, 0x80, 0xff] {
                let mut records = records.clone();
                records[place] = byte;
                let mut reader = HeadReader::default();
                for at in 0..4096 {
                    if reader.seek(&records, at) {
                        assert!(reader.get(&records, at).is_some_and(|head| head.is_complete()));
                    }
                }
            }
        }
    }
}
