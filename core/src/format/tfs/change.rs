//! The commonest frames, decoded at once: records that tell where the content of a file is.

use super::frame::types::RECORD;

/// A record that sets one entry of a known tuple, all by numbers of the dictionary that are yet to be looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// The tuple.
    pub tuple: u32,
    /// The symbol.
    pub key: SymbolRef,
    /// What it is set to.
    pub value: NewValue,
}

/// What a [`Change`] sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NewValue {
    /// A number from 0 on.
    Number(u32),
    /// A new tuple without entries.
    Empty,
    /// A new tuple of three symbols and numbers.
    Three([(SymbolRef, u32); 3]),
}

/// A symbol of the dictionary, as it is written. What is equal is the same symbol; the reverse need not hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SymbolRef(u32);

impl SymbolRef {
    /// How it stands in a record.
    pub(super) const fn pattern(self) -> Pattern {
        let (len, shift) = match self.0 {
            0..=0xff => (1, 24),
            0x100..=0xffff => (2, 16),
            0x1_0000..=0xff_ffff => (3, 8),
            _ => (4, 0),
        };
        Pattern { bytes: self.0 << shift, mask: u32::MAX << shift, len }
    }

    /// The number in the dictionary.
    #[inline(always)]
    #[must_use]
    pub const fn number(self) -> u32 {
        // Without the bit that says that groups follow the header, which is the highest, and always in the first byte.
        let bytes = match self.0 {
            bytes @ 0..=7 => bytes,
            bytes => bytes & !(1 << (31 - bytes.leading_zeros())),
        };
        bytes & 0x7f | bytes >> 1 & 0x3f80 | bytes >> 2 & 0x1f_c000 | bytes >> 3 & 0xfe0_0000
    }
}

/// A symbol as it stands at the beginning of four bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pattern {
    bytes: u32,
    mask: u32,
    len: usize,
}

/// Bytes that are looked at: more than the longest of these frames has. Where fewer are left in an extension, frames are
/// read in the ordinary way.
pub(super) const WINDOW: usize = MASK + 5;

/// What is read begins in the first 128 bytes.
const MASK: usize = 127;

impl Change {
    /// The change that the frame at the beginning of a window is, and the bytes that it takes, if it is one of version 5;
    /// all others are for [`ValueReader`](super::ValueReader).
    #[inline(always)]
    pub(super) fn in_window(window: &[u8; WINDOW]) -> Option<(Self, usize)> {
        let mut cursor = Cursor::new(window);
        let (end, tuple) = cursor.change()?;
        let key = cursor.symbol()?;
        let value = match cursor.byte() {
            0xb0 => NewValue::Number(cursor.number()?),
            0x90 => NewValue::Empty,
            0x93 => NewValue::Three([cursor.entry()?, cursor.entry()?, cursor.entry()?]),
            _ => return None,
        };
        // What was read behind the record, if it is shorter, was for nothing.
        (cursor.at == end).then_some((Self { tuple, key, value }, cursor.at))
    }
}

/// Reads a window. What it reads takes less than 128 bytes, so that nothing has to be compared for each byte.
pub(super) struct Cursor<'a> {
    window: &'a [u8; WINDOW],
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    #[inline(always)]
    pub(super) const fn new(window: &'a [u8; WINDOW]) -> Self {
        Self { window, at: 0 }
    }

    #[inline(always)]
    pub(super) fn byte(&mut self) -> u8 {
        // OK: the mask changes nothing, but bounds what may be read.
        let byte = self.window.get(self.at & MASK).copied().unwrap_or(0);
        self.at = self.at.wrapping_add(1);
        byte
    }

    /// The next four bytes, the first of them highest.
    #[inline(always)]
    fn peek(&self) -> u32 {
        let at = self.at & MASK;
        u32::from_be_bytes(self.window.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default())
    }

    /// The beginning of a short record in one piece that changes one entry of a tuple: where it has to end, and the tuple.
    #[inline(always)]
    pub(super) fn change(&mut self) -> Option<(usize, u32)> {
        let [kind, total, here, head] = self.peek().to_be_bytes();
        // OK: these are numbers of one byte, or what is read does not end where it has to.
        if kind != RECORD || total != here || head != 0x11 {
            return None;
        }
        let end = self.at.wrapping_add(usize::from(here)).wrapping_add(3);
        self.at = self.at.wrapping_add(4);
        Some((end, self.number()?))
    }

    /// Groups of 7 bits; `None` for more than there usually are.
    ///
    /// How many they are is found by branches, which a processor foresees: what comes next would else have to wait.
    #[inline(always)]
    pub(super) fn number(&mut self) -> Option<u32> {
        let bytes = self.peek();
        let group = |shift: u32| bytes >> shift & 0x7f;
        let (value, len) = match () {
            () if bytes & 0x8000_0000 == 0 => (group(24), 1),
            () if bytes & 0x0080_0000 == 0 => (group(24) << 7 | group(16), 2),
            () if bytes & 0x8000 == 0 => (group(24) << 14 | group(16) << 7 | group(8), 3),
            () if bytes & 0x80 == 0 => (group(24) << 21 | group(16) << 14 | group(8) << 7 | group(0), 4),
            () => return None,
        };
        self.at = self.at.wrapping_add(len);
        Some(value)
    }

    #[inline(always)]
    pub(super) fn symbol(&mut self) -> Option<SymbolRef> {
        let bytes = self.peek();
        let (bytes, len) = match () {
            () if bytes & 0xf880_8080 == 0x0880_8000 => (bytes, 4),
            () if bytes & 0xf880_8000 == 0x0880_0000 => (bytes >> 8, 3),
            () if bytes & 0xf880_0000 == 0x0800_0000 => (bytes >> 16, 2),
            () if bytes & 0xf800_0000 == 0 => (bytes >> 24, 1),
            () => return None,
        };
        self.at = self.at.wrapping_add(len);
        Some(SymbolRef(bytes))
    }

    /// A symbol, if it is this one.
    #[inline(always)]
    pub(super) fn expect(&mut self, &(key, pattern): &(SymbolRef, Pattern)) -> Option<SymbolRef> {
        let Pattern { bytes, mask, len } = pattern;
        if self.peek() & mask != bytes {
            return None;
        }
        self.at = self.at.wrapping_add(len);
        Some(key)
    }

    /// A symbol, and a number from 0 on.
    #[inline(always)]
    fn entry(&mut self) -> Option<(SymbolRef, u32)> {
        let key = self.symbol()?;
        if self.byte() != 0xb0 {
            return None;
        }
        Some((key, self.number()?))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::format::tfs::{FrameWriter, LogReader, RecordWriter, Volume, extension_start};

    /// The changes that are found in a log of one record.
    fn changes(record: &RecordWriter) -> Vec<Change> {
        let mut frames = FrameWriter::new(extension_start(1, Some(&Volume::default())), 512);
        assert_eq!(frames.record(record.bytes(), 0), record.bytes().len());
        let mut bytes = frames.end();
        bytes.resize(512, 0);
        let mut log = LogReader::new(1, false);
        let (_, mut frames) = log.begin(LogReader::FIRST, &bytes).unwrap();
        let mut found = Vec::new();
        let take = |change| {
            found.push(change);
            Ok::<_, ()>(true)
        };
        let count = log.next_changes(&mut frames, u64::MAX, take).unwrap();
        assert_eq!(count, found.len() as u64);
        found
    }

    #[test]
    fn numbers_of_every_length_are_read_up_to_four_groups() {
        let numbers = [0, 1, 7, 8, 127, 128, 1023, 1024, 16_383, 16_384, (1 << 21) - 1, 1 << 21, (1 << 28) - 1];
        for tuple in numbers {
            for number in numbers {
                // Of a symbol, three bits stand in the header; in four bytes there is room for 24.
                let key = number % (1 << 24);
                let mut record = RecordWriter::new();
                record.tuple_ref(tuple, 1);
                record.symbol_ref(key);
                record.tuple(3);
                for value in [number, tuple, 3] {
                    record.symbol_ref(key);
                    record.number(value.into());
                }
                let found = changes(&record);
                let [Change { tuple: found_tuple, key: found_key, value: NewValue::Three(entries) }] = found[..] else {
                    panic!("{tuple} {number}: {found:?}");
                };
                let entries = entries.map(|(key, number)| (key.number(), number));
                assert_eq!((found_tuple, found_key.number()), (tuple, key));
                assert_eq!(entries, [(key, number), (key, tuple), (key, 3)]);
            }
        }
        for (tuple, key, number) in [(1 << 28, 1, 1), (1, 1 << 24, 1), (1, 1, 1 << 28)] {
            let mut record = RecordWriter::new();
            record.tuple_ref(tuple, 1);
            record.symbol_ref(key);
            record.number(number);
            assert_eq!(changes(&record), []);
        }
    }
}
