//! Values: numbers, strings, tuples and vectors, as tokens in the order in which they stand.

use alloc::vec::Vec;

use super::corrupt::{Damage, TfsCorrupt};
use super::layout::Version;
use super::log::{Dictionary, Kind, Record};
use crate::checked::to_u64;

/// Types of values in version 5, in bits 4 to 6 of the header byte.
pub(super) mod types {
    pub(crate) const BUFFER: u8 = 0;
    pub(crate) const TUPLE: u8 = 1;
    pub(crate) const VECTOR: u8 = 2;
    pub(crate) const INTEGER: u8 = 3;
    pub(crate) const STRING: u8 = 4;
}

/// Most bytes of a number: 64 bits in groups of 7.
const NUMBER_BYTES_MAX: usize = 10;

/// Why a number could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NumberError {
    /// The bytes end inside it.
    Short,
    /// More than 64 bits, or more than 10 bytes.
    TooLong,
}

impl NumberError {
    /// Whether the bytes end inside the number.
    #[must_use]
    pub const fn is_short(self) -> bool {
        matches!(self, Self::Short)
    }

    pub(super) const fn at(self, offset: u64) -> Damage {
        match self {
            Self::Short => Damage::new(offset, TfsCorrupt::ValueBeyondRecord { missing: 1 }),
            Self::TooLong => Damage::new(offset, TfsCorrupt::NumberTooLong),
        }
    }
}

/// Reads groups of 7 bits, the most significant first, behind those in `value`.
fn groups(bytes: &[u8], mut value: u64) -> Result<(u64, usize), NumberError> {
    for (at, &byte) in bytes.iter().enumerate().take(NUMBER_BYTES_MAX) {
        if value >> 57 != 0 {
            return Err(NumberError::TooLong);
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Ok((value, at.saturating_add(1)));
        }
    }
    Err(if bytes.len() < NUMBER_BYTES_MAX { NumberError::Short } else { NumberError::TooLong })
}

/// Reads a number and tells how many bytes it takes.
///
/// # Errors
/// `NumberError`.
#[inline]
pub fn varint(bytes: &[u8]) -> Result<(u64, usize), NumberError> {
    match bytes {
        [a @ 0..=0x7f, ..] => Ok((u64::from(*a), 1)),
        [a, b @ 0..=0x7f, ..] => Ok((u64::from(a & 0x7f) << 7 | u64::from(*b), 2)),
        _ => groups(bytes, 0),
    }
}

/// Appends a number in its shortest form.
pub fn put_varint(out: &mut Vec<u8>, value: u64) {
    let bits = 64_u32.saturating_sub(value.leading_zeros()).max(1);
    put_groups(out, value, bits.div_ceil(7));
}

/// Appends the lowest `count` groups of 7 bits, the most significant first.
pub(super) fn put_groups(out: &mut Vec<u8>, value: u64, count: u32) {
    for group in (0..count).rev() {
        let bits = (value >> group.saturating_mul(7)) & 0x7f;
        let more = if group > 0 { 0x80 } else { 0 };
        // OK: 7 bits.
        out.push(u8::try_from(bits).unwrap_or(0) | more);
    }
}

/// The header of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Header {
    immediate: bool,
    kind: u8,
    len: u64,
}

impl Header {
    fn read(bytes: &[u8], version: Version) -> Result<(Self, usize), NumberError> {
        let (&first, rest) = bytes.split_first().ok_or(NumberError::Short)?;
        let immediate = first & 0x80 != 0;
        let (kind, more, len) = match version {
            Version::V5 => ((first >> 4) & 7, first & 8 != 0, first & 7),
            Version::V4 => ((first >> 6) & 1, first & 0x20 != 0, first & 0x1f),
        };
        let (len, more) = if more { groups(rest, len.into())? } else { (len.into(), 0) };
        Ok((Self { immediate, kind, len }, more.saturating_add(1)))
    }
}

/// A key of a tuple.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Key<'a> {
    /// Spelled out, and with that a new entry of the dictionary.
    New {
        /// Its number in the dictionary.
        index: u32,
        /// Its bytes.
        name: &'a [u8],
    },
    /// One of the dictionary.
    Known {
        /// Its number.
        index: u32,
    },
}

/// A piece of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Token<'a> {
    /// A tuple begins: `count` pairs of [`Key`](Self::Key) and value follow, then [`End`](Self::End).
    Tuple {
        /// Its number in the dictionary.
        index: u32,
        /// Whether it is new; else the entries change it.
        is_new: bool,
        /// Entries that follow.
        count: u64,
    },
    /// A vector begins: `count` values follow, then [`End`](Self::End).
    Vector {
        /// Its number in the dictionary.
        index: u32,
        /// Whether it is new; else the elements change it, from the first on.
        is_new: bool,
        /// Elements that follow.
        count: u64,
    },
    /// The key of the value that follows.
    Key(Key<'a>),
    /// A string.
    String(&'a [u8]),
    /// Bytes without a type, as version 4 has nothing else; to be taken as a string.
    Buffer(&'a [u8]),
    /// A symbol in the place of a value.
    Symbol(u32),
    /// An integer.
    Integer {
        /// Whether it is below 0.
        negative: bool,
        /// How far from 0.
        magnitude: u64,
    },
    /// A value without content.
    Null,
    /// Removes the entry.
    Delete,
    /// The tuple or vector ends.
    End,
}

/// An entry with a new key, whose value is a new tuple without entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewEmpty<'a> {
    /// Number of the key in the dictionary.
    pub key: u32,
    /// Bytes of the key.
    pub name: &'a [u8],
    /// Number of the tuple.
    pub tuple: u32,
}

/// A tuple or vector that has begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    /// Entries that have not begun.
    left: u64,
    is_tuple: bool,
    /// A key was read, its value was not.
    at_value: bool,
}

/// Takes a record apart, and adds what is new to the dictionary on the way.
///
/// It needs no recursion, so that depth is only bounded by the record's own length. Logs have millions of tokens, so
/// that what is common is decoded in line, and damage is put together elsewhere.
#[derive(Debug)]
pub struct ValueReader<'r, 'd> {
    record: Record<'r>,
    dictionary: &'d mut Dictionary,
    /// What is not read yet.
    rest: &'r [u8],
    /// How much of the record was not read when the last token began.
    token_left: usize,
    begun: bool,
    damage: Option<Damage>,
}

/// The record is damaged, as [`ValueReader::damage`] says.
struct Damaged;

impl<'r, 'd> ValueReader<'r, 'd> {
    /// A reader of `record`, whose references `dictionary` explains.
    #[must_use]
    pub fn new(record: Record<'r>, dictionary: &'d mut Dictionary) -> Self {
        dictionary.levels.clear();
        let rest = record.bytes;
        Self { record, dictionary, rest, token_left: rest.len(), begun: false, damage: None }
    }

    /// Where the last token begins, in bytes from the start of the file system.
    #[must_use]
    pub fn token_offset(&self) -> u64 {
        self.record.offset_of(self.record.bytes.len().saturating_sub(self.token_left))
    }

    /// The next token; `None` at the end of the record.
    ///
    /// # Errors
    /// What is wrong with the record. Nothing can be read behind it.
    #[inline(always)]
    pub fn next_token(&mut self) -> Result<Option<Token<'r>>, Damage> {
        self.advance().map_err(|Damaged| self.take_damage())
    }

    #[cold]
    fn take_damage(&mut self) -> Damage {
        self.damage.unwrap_or(Damage::new(self.token_offset(), TfsCorrupt::ValueBeyondRecord { missing: 1 }))
    }

    #[cold]
    fn damaged(&mut self, reason: TfsCorrupt) -> Damaged {
        self.damage = Some(Damage::new(self.token_offset(), reason));
        Damaged
    }

    #[cold]
    fn bad_number(&mut self, error: NumberError) -> Damaged {
        self.damage = Some(error.at(self.token_offset()));
        Damaged
    }

    #[inline(always)]
    fn advance(&mut self) -> Result<Option<Token<'r>>, Damaged> {
        self.token_left = self.rest.len();
        match self.dictionary.levels.last_mut() {
            Some(level) if level.at_value => level.at_value = false,
            Some(level) => {
                let Some(left) = level.left.checked_sub(1) else {
                    self.dictionary.levels.pop();
                    return Ok(Some(Token::End));
                };
                level.left = left;
                if level.is_tuple {
                    level.at_value = true;
                    return self.key().map(|key| Some(Token::Key(key)));
                }
            }
            None if self.begun => return self.at_end(),
            None => self.begun = true,
        }
        self.value().map(Some)
    }

    /// The next entry of the tuple that is being read, if it is a new key and a new, empty tuple, as most entries of a
    /// tree are: instead of a [`Key`](Token::Key), a [`Tuple`](Token::Tuple) and an [`End`](Token::End). Of all others
    /// nothing is read. [`token_offset`](Self::token_offset) is that of the key.
    #[inline]
    pub fn next_new_empty(&mut self) -> Option<NewEmpty<'r>> {
        let level = self.dictionary.levels.last().filter(|level| level.is_tuple && !level.at_value)?;
        let left = level.left.checked_sub(1).filter(|_| self.record.version == Version::V5)?;
        let (len, rest) = match self.rest {
            [head @ 0x80..=0x87, rest @ ..] => (head & 7, rest),
            [0x88, len @ 0..=0x7f, rest @ ..] => (*len, rest),
            _ => return None,
        };
        let (name, [0x90, rest @ ..]) = rest.split_at_checked(usize::from(len))? else { return None };
        let (key, tuple) = self.dictionary.define_symbol_and_tuple()?;
        self.dictionary.levels.last_mut()?.left = left;
        self.token_left = self.rest.len();
        self.rest = rest;
        Some(NewEmpty { key, name, tuple })
    }

    fn at_end(&mut self) -> Result<Option<Token<'r>>, Damaged> {
        match to_u64(self.rest.len()) {
            0 => Ok(None),
            left => Err(self.damaged(TfsCorrupt::RecordTooLong { left })),
        }
    }

    #[inline(always)]
    fn header(&mut self) -> Result<Header, Damaged> {
        if let [first, rest @ ..] = self.rest
            && self.record.version == Version::V5
            && first & 8 == 0
        {
            self.rest = rest;
            return Ok(Header { immediate: first & 0x80 != 0, kind: (first >> 4) & 7, len: u64::from(first & 7) });
        }
        self.long_header()
    }

    fn long_header(&mut self) -> Result<Header, Damaged> {
        match Header::read(self.rest, self.record.version) {
            Ok((header, len)) => {
                self.rest = self.rest.get(len..).unwrap_or_default();
                Ok(header)
            }
            Err(error) => Err(self.bad_number(error)),
        }
    }

    #[inline(always)]
    fn number(&mut self) -> Result<u64, Damaged> {
        match self.rest {
            [a @ 0..=0x7f, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(*a))
            }
            [a, b @ 0..=0x7f, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(a & 0x7f) << 7 | u64::from(*b))
            }
            [a, b, c @ 0..=0x7f, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(a & 0x7f) << 14 | u64::from(b & 0x7f) << 7 | u64::from(*c))
            }
            _ => self.long_number(),
        }
    }

    fn long_number(&mut self) -> Result<u64, Damaged> {
        match varint(self.rest) {
            Ok((value, len)) => {
                self.rest = self.rest.get(len..).unwrap_or_default();
                Ok(value)
            }
            Err(error) => Err(self.bad_number(error)),
        }
    }

    #[inline(always)]
    fn bytes(&mut self, len: u64) -> Result<&'r [u8], Damaged> {
        match usize::try_from(len).ok().and_then(|len| self.rest.split_at_checked(len)) {
            Some((found, rest)) => {
                self.rest = rest;
                Ok(found)
            }
            None => {
                let missing = len.saturating_sub(to_u64(self.rest.len()));
                Err(self.damaged(TfsCorrupt::ValueBeyondRecord { missing }))
            }
        }
    }

    #[inline(always)]
    fn define(&mut self, kind: Kind) -> Result<u32, Damaged> {
        self.dictionary.define(kind).map_err(|reason| self.damaged(reason))
    }

    #[inline(always)]
    fn known(&mut self, index: u64, wanted: Kind) -> Result<u32, Damaged> {
        match self.dictionary.find(index) {
            Some((number, found)) if found == wanted => Ok(number),
            _ => Err(self.unknown(index, wanted)),
        }
    }

    #[cold]
    fn unknown(&mut self, index: u64, wanted: Kind) -> Damaged {
        let reason = match self.dictionary.get(index) {
            Ok((_, found)) => TfsCorrupt::WrongKind { index, found, wanted },
            Err(reason) => reason,
        };
        self.damaged(reason)
    }

    #[inline(always)]
    fn key(&mut self) -> Result<Key<'r>, Damaged> {
        let header = self.header()?;
        if header.immediate {
            let name = self.bytes(header.len)?;
            return Ok(Key::New { index: self.define(Kind::Symbol)?, name });
        }
        Ok(Key::Known { index: self.known(header.len, Kind::Symbol)? })
    }

    #[inline(always)]
    fn value(&mut self) -> Result<Token<'r>, Damaged> {
        let header = self.header()?;
        let (is_tuple, kind) = match header.kind {
            types::TUPLE => (true, Kind::Tuple),
            types::VECTOR => (false, Kind::Vector),
            types::INTEGER if header.immediate => {
                return Ok(Token::Integer { negative: header.len != 0, magnitude: self.number()? });
            }
            _ => return self.scalar(header),
        };
        let index = if header.immediate {
            self.define(kind)?
        } else {
            let index = self.number()?;
            self.known(index, kind)?
        };
        let (is_new, count) = (header.immediate, header.len);
        self.dictionary.levels.push(Level { left: count, is_tuple, at_value: false });
        Ok(if is_tuple { Token::Tuple { index, is_new, count } } else { Token::Vector { index, is_new, count } })
    }

    fn scalar(&mut self, header: Header) -> Result<Token<'r>, Damaged> {
        match (header.kind, header.immediate) {
            (found @ types::INTEGER, _) => Err(self.damaged(TfsCorrupt::ReferenceAsValue { found })),
            (types::STRING, true) => Ok(Token::String(self.bytes(header.len)?)),
            // Nanos takes unknown types for buffers.
            (types::BUFFER | 5.., _) if header.len == 0 => Ok(Token::Delete),
            (_, true) => Ok(match self.bytes(header.len)? {
                [0] => Token::Null,
                bytes => Token::Buffer(bytes),
            }),
            // No writer does this, but Nanos reads it: the dictionary's own object.
            (_, false) => {
                let (index, kind) = self.dictionary.get(header.len).map_err(|reason| self.damaged(reason))?;
                let is_tuple = match kind {
                    Kind::Symbol => return Ok(Token::Symbol(index)),
                    Kind::Tuple => true,
                    Kind::Vector => false,
                };
                self.dictionary.levels.push(Level { left: 0, is_tuple, at_value: false });
                Ok(match kind {
                    Kind::Vector => Token::Vector { index, is_new: false, count: 0 },
                    _ => Token::Tuple { index, is_new: false, count: 0 },
                })
            }
        }
    }
}

#[cfg(test)]
mod tests;
