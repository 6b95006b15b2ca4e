//! Runs of new files, as mkfs writes them: three records a file, which differ in numbers only.

use alloc::vec::Vec;

use super::change::{Cursor, SymbolRef, WINDOW};
use super::frame::FrameReader;
use super::frame::types::RECORD;
use super::layout::Version;
use super::log::Record;
use crate::checked::to_u64;

/// What the three records of a file say: it gets a new tuple of extents, that gets one new extent, all of which is used,
/// and the file gets its length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewFile {
    /// The tuple of the file.
    pub tuple: u32,
    /// Its length.
    pub size: u32,
    /// The first sector of its extent.
    pub sector: u32,
    /// Sectors of its extent.
    pub count: u32,
}

/// Keys in the records of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileKeys {
    /// Of the tuple of extents.
    pub extents: SymbolRef,
    /// Of the extent.
    pub block: SymbolRef,
    /// Of what an extent says: the sector, how many there are, and once more.
    pub extent: [SymbolRef; 3],
    /// Of the length of the file.
    pub size: SymbolRef,
}

/// New files whose records follow one another and have the same keys. Nothing is known yet of what the numbers stand for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NewFiles {
    /// Number of the first file's tuple of extents. Its extent has the next number, and then come those of the second.
    pub first: u32,
    /// Their keys; some if there are files.
    pub keys: Option<FileKeys>,
    /// The files.
    pub files: Vec<NewFile>,
}

impl NewFiles {
    /// Forgets all.
    pub fn clear(&mut self) {
        (self.first, self.keys) = (0, None);
        self.files.clear();
    }

    /// The number that the next file's tuple of extents has to have.
    fn next(&self) -> Option<u32> {
        u32::try_from(self.files.len()).ok()?.checked_mul(2)?.checked_add(self.first)
    }

    /// Adds a file, if it follows the others.
    #[inline(always)]
    fn push(&mut self, extents: u32, keys: FileKeys, file: NewFile) -> bool {
        match self.keys {
            Some(known) if known == keys && self.next() == Some(extents) => {}
            None => (self.first, self.keys) = (extents, Some(keys)),
            Some(_) => return false,
        }
        self.files.push(file);
        true
    }
}

/// The records of one file that could not be read in place.
#[derive(Debug)]
pub(crate) struct FileRecords {
    /// One behind the other, as frames, and room for more: a file is only looked for where there is enough.
    bytes: [u8; WINDOW],
    len: usize,
}

impl FileRecords {
    pub(crate) const COUNT: usize = 3;

    pub(crate) const fn new() -> Self {
        Self { bytes: [0; WINDOW], len: 0 }
    }

    /// Adds the next record; `None` if it is none of a file.
    pub(crate) fn add(&mut self, record: &Record<'_>) -> Option<()> {
        let len = u8::try_from(record.bytes.len()).ok().filter(|len| *len < 0x80 && record.version == Version::V5)?;
        let (head, rest) = self.bytes.get_mut(self.len..)?.split_first_chunk_mut()?;
        *head = [RECORD, len, len];
        rest.get_mut(..record.bytes.len())?.copy_from_slice(record.bytes);
        self.len = self.len.checked_add(head.len())?.checked_add(record.bytes.len())?;
        Some(())
    }

    /// Adds the file to `run`, if the records are those of one that follows it.
    pub(crate) fn add_to(&self, run: &mut NewFiles) -> bool {
        decode(&self.bytes).is_some_and(|(extents, keys, file, len)| len == self.len && run.push(extents, keys, file))
    }
}

/// The three records at the beginning of `bytes`, and how long they are; `key` reads the keys, which it is told by their
/// places.
#[inline(always)]
fn decode_with(
    bytes: &[u8],
    key: impl Fn(&mut Cursor<'_>, usize) -> Option<SymbolRef>,
) -> Option<(u32, FileKeys, NewFile, usize)> {
    let mut cursor = Cursor::new(bytes.first_chunk()?);
    let entry = |cursor: &mut Cursor<'_>, at| {
        let key = key(cursor, at)?;
        if cursor.byte() != 0xb0 {
            return None;
        }
        Some((key, cursor.number()?))
    };
    let (end, tuple) = cursor.change()?;
    let extents = key(&mut cursor, 0)?;
    if cursor.byte() != 0x90 || cursor.at != end {
        return None;
    }
    let (end, list) = cursor.change()?;
    let block = key(&mut cursor, 1)?;
    if cursor.byte() != 0x93 {
        return None;
    }
    let (a, sector) = entry(&mut cursor, 2)?;
    let (b, count) = entry(&mut cursor, 3)?;
    let (c, used) = entry(&mut cursor, 4)?;
    if cursor.at != end || used != count {
        return None;
    }
    let (end, again) = cursor.change()?;
    let (key, size) = entry(&mut cursor, 5)?;
    let keys = FileKeys { extents, block, extent: [a, b, c], size: key };
    (again == tuple && cursor.at == end).then_some((list, keys, NewFile { tuple, size, sector, count }, cursor.at))
}

/// The three records at the beginning of `bytes`, whatever their keys are.
fn decode(bytes: &[u8]) -> Option<(u32, FileKeys, NewFile, usize)> {
    decode_with(bytes, |cursor, _| cursor.symbol())
}

impl FrameReader<'_> {
    /// Adds the files to `run` whose records come next and follow it, as far as they end at byte `until` of the file
    /// system or before.
    pub(super) fn new_files(&mut self, until: u64, run: &mut NewFiles) {
        let until = until.saturating_sub(self.base);
        let Some(rest) = self.bytes.get(self.pos..) else { return };
        let keys = match run.keys.or_else(|| decode(rest).map(|(_, keys, ..)| keys)) {
            Some(FileKeys { extents, block, extent: [a, b, c], size }) => [extents, block, a, b, c, size],
            None => return,
        };
        // Most of a record are keys, which all files have in common.
        let known = keys.map(|key| (key, key.pattern()));
        let expect = |cursor: &mut Cursor<'_>, at: usize| known.get(at).and_then(|key| cursor.expect(key));
        while let Some((extents, keys, file, len)) =
            self.bytes.get(self.pos..).and_then(|bytes| decode_with(bytes, expect))
        {
            let end = self.pos.wrapping_add(len);
            if to_u64(end) > until || !run.push(extents, keys, file) {
                return;
            }
            self.pos = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::tfs::{FrameWriter, LogReader, RecordWriter, Volume, extension_start};

    /// The records of a file whose tuple of extents has the number `extents`, and keys from `keys` on.
    fn records(extents: u32, keys: u32, file: NewFile) -> [RecordWriter; 3] {
        let NewFile { tuple, size, sector, count } = file;
        let mut records = [const { RecordWriter::new() }; 3];
        let [first, second, third] = &mut records;
        first.tuple_ref(tuple, 1);
        first.symbol_ref(keys);
        first.tuple(0);
        second.tuple_ref(extents, 1);
        second.symbol_ref(keys + 1);
        second.tuple(3);
        for (key, value) in [(2, sector), (3, count), (4, count)] {
            second.symbol_ref(keys + key);
            second.number(value.into());
        }
        third.tuple_ref(tuple, 1);
        third.symbol_ref(keys + 5);
        third.number(size.into());
        records
    }

    fn file(number: u32) -> NewFile {
        NewFile { tuple: 3 + 40 * number, size: 1000 * number, sector: number * number, count: number }
    }

    /// What is read of a log of these records, up to a byte, and where it stands then.
    fn read<'r>(records: impl IntoIterator<Item = &'r RecordWriter>, until: u64) -> (NewFiles, u64) {
        let mut frames = FrameWriter::new(extension_start(8, Some(&Volume::default())), 4096);
        for record in records {
            assert_eq!(frames.record(record.bytes(), 0), record.bytes().len());
        }
        let mut bytes = frames.end();
        bytes.resize(4096, 0);
        let mut log = LogReader::new(100, false);
        let (_, mut frames) = log.begin(crate::format::tfs::Link { sector: 0, count: 8 }, &bytes).unwrap();
        let mut run = NewFiles::default();
        log.next_files(&mut frames, until, &mut run);
        (run, frames.offset())
    }

    #[test]
    fn files_that_follow_one_another_are_read_at_once() {
        let all: Vec<_> = (0..20).flat_map(|number| records(900 + 2 * number, 7, file(number))).collect();
        let (run, end) = read(&all, u64::MAX);
        assert_eq!(run.files, (0..20).map(file).collect::<Vec<_>>());
        assert_eq!(run.first, 900);
        let keys = run.keys.unwrap();
        let [a, b, c] = keys.extent;
        assert_eq!([keys.extents, keys.block, a, b, c, keys.size].map(SymbolRef::number), [7, 8, 9, 10, 11, 12]);
        // Wherever it has to stop, it stops in front of the file that it cannot read whole.
        let mut ends = alloc::vec![];
        for until in 0..=end {
            let (part, stopped) = read(&all, until);
            assert!(stopped <= until.max(ends.first().copied().unwrap_or(stopped)), "{until}");
            assert_eq!(part.files, run.files[..part.files.len()]);
            ends.push(stopped);
        }
        ends.dedup();
        assert_eq!(ends.len(), 21);
    }

    #[test]
    fn a_file_that_does_not_follow_ends_the_run() {
        let good = || (0..3).flat_map(|number| records(900 + 2 * number, 7, file(number)));
        let short = |records: [RecordWriter; 3], left_out: usize| {
            let kept = records.into_iter().enumerate().filter(move |(at, _)| *at != left_out);
            kept.map(|(_, record)| record).collect::<Vec<_>>()
        };
        let [first, second, _] = records(906, 7, file(3));
        let [_, _, other_tuple] = records(906, 7, file(4));
        let mut unused = RecordWriter::new();
        unused.tuple_ref(906, 1);
        unused.symbol_ref(8);
        unused.tuple(3);
        for (key, value) in [(9, 5), (10, 5), (11, 4)] {
            unused.symbol_ref(key);
            unused.number(value);
        }
        let [before, _, after] = records(906, 7, file(3));
        let endings = [
            records(908, 7, file(3)).into_iter().collect(),
            records(906, 8, file(3)).into_iter().collect(),
            short(records(906, 7, file(3)), 0),
            short(records(906, 7, file(3)), 1),
            short(records(906, 7, file(3)), 2),
            alloc::vec![first, second, other_tuple],
            alloc::vec![before, unused, after],
        ];
        for (at, ending) in endings.into_iter().enumerate() {
            let all: Vec<_> = good().chain(ending).collect();
            assert_eq!(read(&all, u64::MAX).0.files.len(), 3, "{at}");
        }
        let all: Vec<_> = good().chain(records(906, 7, file(3))).collect();
        assert_eq!(read(&all, u64::MAX).0.files.len(), 4);
    }
}
