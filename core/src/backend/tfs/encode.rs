//! Encodes records, and deals the numbers of the dictionary on the way.

use alloc::vec::Vec;

use super::attribute::Attribute;
use super::symbols::{Symbol, Symbols};
use crate::checked::to_u64;
use crate::error::Result;
use crate::format::tfs::RecordWriter;

/// The dictionary of a log that is written, and one record of it.
#[derive(Debug)]
pub(super) struct Encoder {
    /// The next number of the dictionary.
    next_number: u32,
    /// The number of each symbol; 0 for those that the log has not spelled out.
    numbers: Vec<u32>,
    record: RecordWriter,
    /// Entries set, as Nanos counts them.
    pub(super) total: u64,
}

impl Encoder {
    /// Goes on behind `count` entries of the dictionary, among them symbols with these numbers.
    pub(super) fn new(count: u32, numbers: Vec<u32>) -> Self {
        Self { next_number: count.saturating_add(1), numbers, record: RecordWriter::new(), total: 0 }
    }

    /// The number that comes next.
    pub(super) const fn next_number(&self) -> u32 {
        self.next_number
    }

    /// The record.
    pub(super) fn bytes(&self) -> &[u8] {
        self.record.bytes()
    }

    /// Begins a record.
    pub(super) fn clear(&mut self) {
        self.record.clear();
    }

    /// Begins the record that sets `key` in tuple `tuple`; its value follows.
    pub(super) fn set(&mut self, tuple: u32, symbols: &Symbols, key: Symbol) {
        self.record.clear();
        self.record.tuple_ref(tuple, 1);
        self.entry(symbols, key);
    }

    /// A key that counts as an entry: outside of whole trees, those of new tuples do not.
    pub(super) fn entry(&mut self, symbols: &Symbols, key: Symbol) {
        self.total = self.total.saturating_add(1);
        self.key(symbols, key);
    }

    /// A key of a tuple, spelled out if the log does not know it; its value follows.
    pub(super) fn key(&mut self, symbols: &Symbols, key: Symbol) {
        let at = usize::try_from(key.0).unwrap_or(usize::MAX);
        if self.numbers.len() <= at {
            self.numbers.resize(symbols.count(), 0);
        }
        match self.numbers.get_mut(at) {
            Some(number @ 0) => {
                *number = self.next_number;
                self.next_number = self.next_number.saturating_add(1);
                self.record.symbol(symbols.name(key));
            }
            Some(number) => self.record.symbol_ref(*number),
            None => {}
        }
    }

    /// A value without entries of its own.
    pub(super) const fn value(&mut self) -> &mut RecordWriter {
        &mut self.record
    }

    /// A new tuple of `count` entries, which follow; returns its number.
    pub(super) fn tuple(&mut self, count: u64) -> u32 {
        self.record.tuple(count);
        let number = self.next_number;
        self.next_number = self.next_number.saturating_add(1);
        number
    }

    fn vector(&mut self, count: u64) {
        self.record.vector(count);
        self.next_number = self.next_number.saturating_add(1);
    }

    /// Any value. Its depth was limited when it was read.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn attribute(&mut self, symbols: &mut Symbols, value: &Attribute) -> Result<()> {
        match value {
            Attribute::Null => self.record.null(),
            Attribute::Integer(number) => self.record.number(*number),
            Attribute::Negative(number) => self.record.integer(true, *number),
            Attribute::String(bytes) => self.record.string(bytes),
            Attribute::Tuple(entries) => {
                let _ = self.tuple(to_u64(entries.len()));
                for (name, value) in entries {
                    let key = symbols.intern(name)?;
                    self.entry(symbols, key);
                    self.attribute(symbols, value)?;
                }
            }
            Attribute::Vector(elements) => {
                self.vector(to_u64(elements.len()));
                for element in elements {
                    match element {
                        Some(element) => self.attribute(symbols, element)?,
                        None => self.record.delete(),
                    }
                }
            }
        }
        Ok(())
    }
}
