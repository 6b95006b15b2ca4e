//! The way back: values into records, records into extensions. Everything is written in version 5.

use alloc::vec::Vec;

use super::frame::{Link, types as frames};
use super::layout::{ExtensionHeader, Volume};
use super::value::{put_groups, put_varint, types};
use crate::checked::to_u64;

/// Bytes that must stay free behind the last record of an extension, for a link and an end mark.
pub const LINK_ROOM: usize = 22;

/// Longest head of a record's frame: a type and two numbers.
const FRAME_HEAD: usize = 21;

/// Least bytes of a record that are worth a frame of their own.
const PIECE_MIN: usize = 32;

/// Builds one record. Tuples and vectors are written as a head with a count, then that many entries.
///
/// The numbers of the dictionary are the caller's: each new tuple, vector and symbol takes the next one, a tuple before
/// what is in it.
#[derive(Clone, Debug, Default)]
pub struct RecordWriter {
    bytes: Vec<u8>,
}

impl RecordWriter {
    /// An empty record.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    /// Its bytes so far.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets them.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    fn header(&mut self, immediate: bool, kind: u8, len: u64) {
        let bits = 64_u32.saturating_sub(len.leading_zeros());
        let groups = bits.saturating_sub(3).div_ceil(7);
        let top = len.checked_shr(groups.saturating_mul(7)).unwrap_or(0) & 7;
        let more = if groups > 0 { 8 } else { 0 };
        // OK: 3 bits.
        let top = u8::try_from(top).unwrap_or(0);
        self.bytes.push(u8::from(immediate) << 7 | kind << 4 | more | top);
        put_groups(&mut self.bytes, len, groups);
    }

    /// A new tuple of `count` entries.
    pub fn tuple(&mut self, count: u64) {
        self.header(true, types::TUPLE, count);
    }

    /// `count` entries to change in tuple `index`; with none it is a plain reference.
    pub fn tuple_ref(&mut self, index: u32, count: u64) {
        self.header(false, types::TUPLE, count);
        put_varint(&mut self.bytes, index.into());
    }

    /// A new vector of `count` elements.
    pub fn vector(&mut self, count: u64) {
        self.header(true, types::VECTOR, count);
    }

    /// A new symbol, as a key.
    pub fn symbol(&mut self, name: &[u8]) {
        self.header(true, types::BUFFER, to_u64(name.len()));
        self.bytes.extend_from_slice(name);
    }

    /// A symbol of the dictionary, as a key.
    pub fn symbol_ref(&mut self, index: u32) {
        self.header(false, types::BUFFER, index.into());
    }

    /// A string.
    pub fn string(&mut self, bytes: &[u8]) {
        self.header(true, types::STRING, to_u64(bytes.len()));
        self.bytes.extend_from_slice(bytes);
    }

    /// An integer.
    pub fn integer(&mut self, negative: bool, magnitude: u64) {
        self.header(true, types::INTEGER, negative.into());
        put_varint(&mut self.bytes, magnitude);
    }

    /// A number.
    pub fn number(&mut self, value: u64) {
        self.integer(false, value);
    }

    /// A value without content.
    pub fn null(&mut self) {
        self.bytes.extend_from_slice(&[0x81, 0]);
    }

    /// In the place of a value, removes the entry.
    pub fn delete(&mut self) {
        self.bytes.push(0x80);
    }
}

/// What an extension of `sectors` sectors begins with.
#[must_use]
pub fn extension_start(sectors: u64, volume: Option<&Volume>) -> Vec<u8> {
    let mut start = Vec::new();
    ExtensionHeader::write(&mut start, sectors, volume);
    start
}

/// Fills an extension, or what is left of one, with records, and always keeps room for a link.
#[derive(Clone, Debug)]
pub struct FrameWriter {
    out: Vec<u8>,
    room: usize,
}

impl FrameWriter {
    /// Writes behind `start`, so that `start` and everything written stay within `room` bytes.
    #[must_use]
    pub const fn new(start: Vec<u8>, room: usize) -> Self {
        Self { out: start, room }
    }

    /// Bytes of records that certainly fit.
    #[must_use]
    pub fn free(&self) -> usize {
        self.room.saturating_sub(self.out.len()).saturating_sub(LINK_ROOM).saturating_sub(FRAME_HEAD)
    }

    /// Adds what fits of `record` from its byte `done` on and returns how far that got; at the record's length, all of
    /// it is written.
    #[must_use]
    pub fn record(&mut self, record: &[u8], done: usize) -> usize {
        let rest = record.get(done..).unwrap_or_default();
        let count = rest.len().min(self.free());
        if count < rest.len() && count < PIECE_MIN {
            return done;
        }
        if done == 0 {
            self.out.push(frames::RECORD);
            put_varint(&mut self.out, to_u64(record.len()));
        } else {
            self.out.push(frames::CONTINUATION);
        }
        put_varint(&mut self.out, to_u64(count));
        self.out.extend_from_slice(rest.get(..count).unwrap_or_default());
        done.saturating_add(count)
    }

    /// Ends the log here. The end mark is the last byte returned.
    #[must_use]
    pub fn end(mut self) -> Vec<u8> {
        self.out.push(frames::END);
        self.out
    }

    /// Lets the log go on at `link`.
    #[must_use]
    pub fn link(mut self, link: Link) -> Vec<u8> {
        self.out.push(frames::LINK);
        put_varint(&mut self.out, link.sector);
        put_varint(&mut self.out, link.count);
        self.end()
    }
}
