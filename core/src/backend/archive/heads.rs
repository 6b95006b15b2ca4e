//! Heads of entries, collected by guessing where entries begin.
//!
//! In a large archive every header stands in a page of its own, and each tells where the next one is: reading them in
//! order waits for memory once for each. A [`Segment`] of the archive is read in several places at a time instead. In
//! each of them, whatever looks like a header is taken for one, and the chain that begins there is followed.
//!
//! A guess may be wrong (an archive inside a file of the archive looks just like one), so nothing is concluded from
//! what is found: a head is a copy of the bytes at an offset, for a reader that comes to this offset in its own way.

use core::hint::black_box;
use core::ops::Range;

use super::packed::{HeadPacker, HeadReader};
use crate::attr::FileType;
use crate::checked::{min_len, to_u64, to_usize};
use crate::format::cpio::{EntryRef, HEADER_LEN, Header, LONGEST_HEAD, NAME_SIZE_MAX, TARGET_SIZE_MAX, read_entry};
use crate::limits::{HEAD_SEARCH_MAX, HEADS_PER_LANE_MAX};

/// Places of a segment that are read at a time.
pub(super) const LANES: usize = 8;

/// The head of an entry: its header, its name and, of a symbolic link, the target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Head<'a> {
    /// Header and name.
    pub(super) entry: EntryRef<'a>,
    /// The bytes of a symbolic link's target; empty for everything else.
    pub(super) target: &'a [u8],
}

impl<'a> Head<'a> {
    /// Reads the head of the entry at the start of `window`, as [`read_entry`] does.
    ///
    /// # Errors
    /// Those of [`read_entry`].
    pub(super) fn read(window: &'a [u8]) -> Result<Self, crate::format::cpio::CpioCorrupt> {
        let entry = read_entry(window)?;
        let target = match entry.header.file_type() {
            Some(FileType::Symlink) => {
                let data = to_usize(entry.header.data_offset()).ok().and_then(|start| window.get(start..));
                let data = data.unwrap_or_default();
                data.get(..min_len(data.len(), entry.header.filesize.into())).unwrap_or_default()
            }
            _ => &[],
        };
        Ok(Self { entry, target })
    }

    /// Whether all that a reader may want to see of it is there.
    pub(super) fn is_complete(&self) -> bool {
        let Header { namesize, filesize, .. } = self.entry.header;
        let is_link = self.entry.header.file_type() == Some(FileType::Symlink);
        namesize <= NAME_SIZE_MAX
            && to_u64(self.entry.name_field.len()) == u64::from(namesize)
            && (!is_link || filesize <= TARGET_SIZE_MAX && to_u64(self.target.len()) == u64::from(filesize))
    }
}

/// One of the places where a segment is read.
#[derive(Debug, Default)]
struct Lane {
    /// Those found, in the order of their offsets.
    heads: HeadPacker,
    reader: HeadReader,
    /// Where the chain goes on.
    at: u64,
    end: u64,
    /// Bytes that may still be searched for the start of a chain.
    search_left: usize,
}

/// The heads found in a range of an archive.
#[derive(Debug, Default)]
pub(super) struct Segment {
    /// The lane that the reader is in.
    lane: usize,
    lanes: [Lane; LANES],
}

impl Segment {
    /// Collects the heads of the entries that seem to begin in `range`.
    pub(super) fn collect(&mut self, image: &[u8], range: Range<u64>) {
        let lane_len = range.end.saturating_sub(range.start).div_ceil(to_u64(LANES));
        let mut start = range.start;
        self.lane = 0;
        for lane in &mut self.lanes {
            let end = start.saturating_add(lane_len).min(range.end);
            lane.begin(image, start..end);
            start = end;
        }
        // In turns, and with a glance at all headers before the first is read: so their memory is waited for together.
        loop {
            black_box(self.lanes.iter().fold(0, |seen, lane| seen ^ lane.glance(image)));
            let mut more = false;
            for lane in &mut self.lanes {
                more |= lane.step(image);
            }
            if !more {
                return;
            }
        }
    }

    /// Moves to the head at `at`, if there is one. Offsets must not go down.
    pub(super) fn seek(&mut self, at: u64) -> bool {
        loop {
            match self.lanes.get_mut(self.lane) {
                Some(lane) if at < lane.end => return lane.reader.seek(lane.heads.records(), at),
                Some(_) => self.lane = self.lane.saturating_add(1),
                None => return false,
            }
        }
    }

    /// The head moved to, if it is the one at `at`.
    pub(super) fn get(&self, at: u64) -> Option<Head<'_>> {
        let lane = self.lanes.get(self.lane)?;
        lane.reader.get(lane.heads.records(), at)
    }
}

impl Lane {
    fn begin(&mut self, image: &[u8], range: Range<u64>) {
        self.heads.clear();
        self.reader.clear();
        self.at = range.start;
        self.end = range.end;
        self.search_left = HEAD_SEARCH_MAX;
        self.search(image);
    }

    /// Moves on to something that looks like a header, or to the end.
    fn search(&mut self, image: &[u8]) {
        let at = self.at.next_multiple_of(4);
        let len = min_len(self.search_left, self.end.saturating_sub(at));
        let bytes = to_usize(at).ok().and_then(|at| image.get(at..)?.get(..len)).unwrap_or_default();
        let (words, _) = bytes.as_chunks::<4>();
        match words.iter().position(|word| word == b"0707") {
            Some(word) => {
                let passed = word.saturating_mul(4);
                self.search_left = self.search_left.saturating_sub(passed.max(4));
                self.at = at.saturating_add(to_u64(passed));
            }
            None => self.at = self.end,
        }
    }

    /// Reads a byte of each cache line that the next head begins in.
    fn glance(&self, image: &[u8]) -> u8 {
        let byte = |offset| to_usize(self.at.saturating_add(offset)).ok().and_then(|at| image.get(at));
        [0, 64, 128].into_iter().filter_map(byte).fold(0, |seen, byte| seen ^ byte)
    }

    /// Takes one head; `false` at the end.
    fn step(&mut self, image: &[u8]) -> bool {
        if self.at >= self.end {
            return false;
        }
        let window = to_usize(self.at).ok().and_then(|at| image.get(at..)).unwrap_or_default();
        let window = window.get(..LONGEST_HEAD).unwrap_or(window);
        match Head::read(window) {
            Ok(head) => {
                if head.is_complete() {
                    self.heads.push(self.at, &head);
                }
                self.at = match self.heads.count() < HEADS_PER_LANE_MAX {
                    true => self.at.saturating_add(head.entry.header.entry_len()),
                    false => self.end,
                };
            }
            Err(_) => {
                self.at = self.at.saturating_add(4);
                self.search(image);
            }
        }
        true
    }
}

const _: () = assert!(HEADER_LEN > 4, "an entry is longer than a step of the search");
