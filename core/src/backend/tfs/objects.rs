//! The tuples of a log while it is replayed: everything it says, whatever it means.
//!
//! Entries live in one arena, chained per tuple, so that a log of a million records takes a handful of allocations; the
//! whole is dropped when the tree has been made of it.

use alloc::vec::Vec;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::symbols::{Symbol, Symbols};
use crate::checked::{to_u64, to_usize};
use crate::errno::Errno;
use crate::error::{Error, Result};
use crate::format::tfs::{Change, Damage, Dictionary, Key, Kind, NewValue, Record, Token, ValueReader};

/// Number of a tuple or vector in its arena.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TupleId(pub(super) u32);

/// A value. Strings are ranges of one buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Value {
    /// Removed; never seen outside.
    Absent,
    Null,
    Tuple(TupleId),
    String {
        start: u32,
        len: u32,
    },
    Symbol(Symbol),
    Integer(u64),
    Negative(u64),
}

/// A tuple, or a vector, whose keys are positions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tuple {
    /// Its number in the log's dictionary.
    pub(super) index: u32,
    /// Where its head stands, in bytes of the file system.
    pub(super) offset: u64,
    first: u32,
    last: u32,
    /// Entries, removed ones included; counted up to where it makes a difference.
    count: u8,
    pub(super) is_vector: bool,
    /// Whether its entries are found by hash.
    indexed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: u32,
    next: u32,
    value: Packed,
}

/// A value in 8 bytes: what it is in the highest bits, and what fits into the others. What does not fit is in a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Packed(u64);

impl Packed {
    const TAG_SHIFT: u32 = 60;
    const MAX: u64 = (1 << Self::TAG_SHIFT) - 1;
    const STRING_LEN_MAX: u32 = (1 << 28) - 1;

    const ABSENT: u64 = 0;
    const NULL: u64 = 1;
    const TUPLE: u64 = 2;
    const STRING: u64 = 3;
    const SYMBOL: u64 = 4;
    const INTEGER: u64 = 5;
    const NEGATIVE: u64 = 6;
    /// In the table.
    const OTHER: u64 = 7;

    #[inline]
    fn new(value: Value, others: &mut Vec<Value>) -> Self {
        let (tag, payload) = match value {
            Value::Absent => (Self::ABSENT, 0),
            Value::Null => (Self::NULL, 0),
            Value::Tuple(id) => (Self::TUPLE, id.0.into()),
            Value::Symbol(symbol) => (Self::SYMBOL, symbol.0.into()),
            Value::String { start, len } if len <= Self::STRING_LEN_MAX => {
                (Self::STRING, u64::from(len) << 32 | u64::from(start))
            }
            Value::Integer(number) if number <= Self::MAX => (Self::INTEGER, number),
            Value::Negative(number) if number <= Self::MAX => (Self::NEGATIVE, number),
            Value::String { .. } | Value::Integer(_) | Value::Negative(_) => {
                let at = to_u64(others.len());
                others.push(value);
                (Self::OTHER, at)
            }
        };
        Self(tag << Self::TAG_SHIFT | payload)
    }

    const fn is_absent(self) -> bool {
        self.0 >> Self::TAG_SHIFT == Self::ABSENT
    }

    fn value(self, others: &[Value]) -> Value {
        let payload = self.0 & Self::MAX;
        // OK: what has 32 bits was made of 32 bits.
        let low = u32::try_from(payload & 0xffff_ffff).unwrap_or(0);
        match self.0 >> Self::TAG_SHIFT {
            Self::NULL => Value::Null,
            Self::TUPLE => Value::Tuple(TupleId(low)),
            Self::STRING => Value::String { start: low, len: u32::try_from(payload >> 32).unwrap_or(0) },
            Self::SYMBOL => Value::Symbol(Symbol(low)),
            Self::INTEGER => Value::Integer(payload),
            Self::NEGATIVE => Value::Negative(payload),
            Self::OTHER => to_usize(payload).ok().and_then(|at| others.get(at).copied()).unwrap_or(Value::Absent),
            _ => Value::Absent,
        }
    }
}

/// In the place of an entry that is none.
const NONE: u32 = u32::MAX;

/// Tuples with more entries than this are searched by hash.
const CHAIN_MAX: u8 = 8;

/// Why a record could not be applied.
pub(super) enum Stop {
    /// It is damaged.
    Damage(Damage),
    /// It does not fit in memory.
    Fail(Error),
}

impl From<Damage> for Stop {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Fail(error)
    }
}

/// A tuple that is being read, and the key that the next value is for.
#[derive(Clone, Copy, Debug)]
struct Level {
    id: TupleId,
    key: Option<u32>,
    /// The tuple cannot have that key yet.
    is_new_key: bool,
    /// For vectors, the next position.
    position: Option<u32>,
}

/// Everything a log says.
#[derive(Debug)]
pub(super) struct Objects {
    pub(super) symbols: Symbols,
    pub(super) dictionary: Dictionary,
    /// For each entry of the dictionary, the number of its symbol or tuple.
    numbers: Vec<u32>,
    tuples: Vec<Tuple>,
    entries: Vec<Entry>,
    /// Values that do not fit into an entry.
    others: Vec<Value>,
    strings: Vec<u8>,
    large: HashTable<(u32, u32)>,
    /// Used while a record is applied.
    levels: Vec<Level>,
    hasher: RandomState,
    /// Entries set, and those among them that are of no use any more, as Nanos counts them.
    pub(super) total: u64,
    pub(super) obsolete: u64,
    /// Symbols that were spelled out again though they had a number already, and where the first was.
    pub(super) repeated_symbols: u64,
    pub(super) first_repeated: Option<u64>,
    /// Symbols and the first number of each in the dictionary; 0 for those not in it.
    pub(super) symbol_numbers: Vec<u32>,
    /// Records that are no tuples.
    pub(super) ignored_records: u64,
}

impl Objects {
    pub(super) fn new() -> Self {
        Self {
            symbols: Symbols::new(),
            dictionary: Dictionary::default(),
            numbers: Vec::new(),
            tuples: Vec::new(),
            entries: Vec::new(),
            others: Vec::new(),
            strings: Vec::new(),
            large: HashTable::new(),
            levels: Vec::new(),
            hasher: RandomState::default(),
            total: 0,
            obsolete: 0,
            repeated_symbols: 0,
            first_repeated: None,
            symbol_numbers: Vec::new(),
            ignored_records: 0,
        }
    }

    #[inline]
    pub(super) fn tuple(&self, id: TupleId) -> Option<&Tuple> {
        self.tuples.get(usize::try_from(id.0).ok()?)
    }

    pub(super) const fn tuple_count(&self) -> usize {
        self.tuples.len()
    }

    /// The first object of the log, if it is a tuple.
    pub(super) fn root(&self) -> Option<TupleId> {
        // OK: the first entry of the dictionary is the first tuple, vector or symbol; symbols only occur in tuples.
        self.tuples.first().filter(|tuple| !tuple.is_vector && tuple.index == 1).map(|_| TupleId(0))
    }

    pub(super) fn string(&self, start: u32, len: u32) -> &[u8] {
        let range = to_usize(start.into()).ok().zip(to_usize(len.into()).ok());
        range.and_then(|(start, len)| self.strings.get(start..start.checked_add(len)?)).unwrap_or_default()
    }

    /// The entries of a tuple, removed ones left out.
    pub(super) fn entries(&self, id: TupleId) -> impl Iterator<Item = (u32, Value)> + '_ {
        let mut next = self.tuple(id).map_or(NONE, |tuple| tuple.first);
        core::iter::from_fn(move || {
            let entry = self.entry(next)?;
            next = entry.next;
            Some((entry.key, entry.value))
        })
        .filter(|(_, value)| !value.is_absent())
        .map(|(key, value)| (key, value.value(&self.others)))
    }

    /// The value of `key` in a tuple.
    pub(super) fn get(&self, id: TupleId, key: Symbol) -> Option<Value> {
        let entry = self.entry(self.find(id, key.0)?)?;
        (!entry.value.is_absent()).then(|| entry.value.value(&self.others))
    }

    /// A value as bytes, if it is a string of any kind.
    pub(super) fn bytes_of(&self, value: Value) -> Option<&[u8]> {
        match value {
            Value::String { start, len } => Some(self.string(start, len)),
            Value::Symbol(symbol) => Some(self.symbols.name(symbol)),
            _ => None,
        }
    }

    /// A value as a number: an integer, or digits up to the first that is none, as old writers have it.
    pub(super) fn number_of(&self, value: Value) -> Option<u64> {
        if let Value::Integer(number) = value {
            return Some(number);
        }
        digits(self.bytes_of(value)?)
    }

    #[inline]
    fn entry(&self, at: u32) -> Option<&Entry> {
        self.entries.get(usize::try_from(at).ok()?)
    }

    fn find(&self, id: TupleId, key: u32) -> Option<u32> {
        let tuple = self.tuple(id)?;
        if tuple.indexed {
            let hash = hash(&self.hasher, id.0, key);
            let is = |&(tuple, entry): &(u32, u32)| tuple == id.0 && self.entry(entry).is_some_and(|it| it.key == key);
            return self.large.find(hash, is).map(|(_, entry)| *entry);
        }
        let mut next = tuple.first;
        while let Some(entry) = self.entry(next) {
            if entry.key == key {
                return Some(next);
            }
            next = entry.next;
        }
        None
    }

    /// Sets an entry, or removes it. With `is_new_key`, the tuple is known to have no entry with that key yet.
    fn set(&mut self, id: TupleId, key: u32, is_new_key: bool, value: Value) -> Result<()> {
        self.total = self.total.saturating_add(1);
        let found = if is_new_key {
            None
        } else {
            self.index_if_large(id);
            self.find(id, key)
        };
        let packed = Packed::new(value, &mut self.others);
        if let Some(entry) = found.and_then(|at| self.entries.get_mut(usize::try_from(at).ok()?)) {
            let old = core::mem::replace(&mut entry.value, packed);
            let dead = match (old.is_absent(), packed.is_absent()) {
                (true, _) => 0,
                (false, true) => 2,
                (false, false) => 1,
            };
            self.obsolete = self.obsolete.saturating_add(dead);
            return Ok(());
        }
        if packed.is_absent() {
            return Ok(());
        }
        let added = u32::try_from(self.entries.len()).ok().filter(|at| *at != NONE).ok_or_else(too_many)?;
        self.entries.push(Entry { key, next: NONE, value: packed });
        let tuple = usize::try_from(id.0).ok().and_then(|at| self.tuples.get_mut(at)).ok_or(Errno::Io)?;
        let last = core::mem::replace(&mut tuple.last, added);
        if tuple.first == NONE {
            tuple.first = added;
        }
        tuple.count = tuple.count.saturating_add(1);
        let indexed = tuple.indexed;
        if let Some(last) = usize::try_from(last).ok().and_then(|at| self.entries.get_mut(at)) {
            last.next = added;
        }
        if indexed {
            self.index_entry(id, key, added);
        }
        Ok(())
    }

    /// Puts the entries of a tuple into the hash table, if they are many: only now that one of them is looked for.
    fn index_if_large(&mut self, id: TupleId) {
        let tuple = usize::try_from(id.0).ok().and_then(|at| self.tuples.get_mut(at));
        let Some(tuple) = tuple.filter(|tuple| tuple.count > CHAIN_MAX && !tuple.indexed) else { return };
        tuple.indexed = true;
        let mut next = tuple.first;
        while let Some(entry) = self.entry(next).copied() {
            self.index_entry(id, entry.key, next);
            next = entry.next;
        }
    }

    fn index_entry(&mut self, id: TupleId, key: u32, at: u32) {
        let Self { large, entries, hasher, .. } = self;
        large.insert_unique(hash(hasher, id.0, key), (id.0, at), |&(tuple, entry)| {
            let key = usize::try_from(entry).ok().and_then(|at| entries.get(at)).map_or(0, |entry| entry.key);
            hash(hasher, tuple, key)
        });
    }

    fn keep_string(&mut self, bytes: &[u8]) -> Result<Value> {
        let start = u32::try_from(self.strings.len()).map_err(|_| too_many())?;
        let len = u32::try_from(bytes.len()).map_err(|_| too_many())?;
        self.strings.extend_from_slice(bytes);
        Ok(Value::String { start, len })
    }

    #[inline]
    fn number(&self, index: u32) -> Option<u32> {
        self.numbers.get(usize::try_from(index.checked_sub(1)?).ok()?).copied()
    }

    /// The tuple with a number of the dictionary.
    pub(super) fn by_index(&self, index: u32) -> Option<TupleId> {
        let id = TupleId(self.number(index)?);
        self.tuple(id).filter(|tuple| tuple.index == index).map(|_| id)
    }

    /// How many tuples cannot be reached from those that have the numbers `from`.
    pub(super) fn orphans(&self, from: impl Iterator<Item = u32>) -> usize {
        let mut reached = alloc::vec![false; self.tuples.len()];
        let mut pending: Vec<_> = from.filter_map(|index| self.by_index(index)).collect();
        while let Some(id) = pending.pop() {
            match usize::try_from(id.0).ok().and_then(|at| reached.get_mut(at)) {
                Some(seen @ false) => *seen = true,
                _ => continue,
            }
            pending.extend(self.entries(id).filter_map(|(_, value)| match value {
                Value::Tuple(id) => Some(id),
                _ => None,
            }));
        }
        reached.iter().filter(|reached| !**reached).count()
    }

    /// The latest time of modification of any node.
    pub(super) fn latest_time(&self) -> u64 {
        let times = self.entries.iter().filter(|entry| entry.key == Symbol::MTIME.0);
        times.filter_map(|entry| self.number_of(entry.value.value(&self.others))).max().unwrap_or(0)
    }

    /// Does what a record says. When it is damaged, a part of it may have been done.
    pub(super) fn apply(&mut self, record: Record<'_>) -> Result<(), Stop> {
        if let Some(change) = Change::of(&record)
            && self.apply_change(&change, &record)?
        {
            return Ok(());
        }
        self.apply_any(record)
    }

    fn apply_any(&mut self, record: Record<'_>) -> Result<(), Stop> {
        // Lent for the time of the call, so that tokens can be looked up while they are read.
        let mut dictionary = core::mem::take(&mut self.dictionary);
        let mut levels = core::mem::take(&mut self.levels);
        levels.clear();
        let done = self.apply_tokens(&mut ValueReader::new(record, &mut dictionary), &mut levels);
        (self.dictionary, self.levels) = (dictionary, levels);
        done
    }

    /// Does what a record of the commonest kind says, if it is sound: `false`, and nothing is done, if it is not.
    fn apply_change(&mut self, change: &Change, record: &Record<'_>) -> Result<bool> {
        let Some((tuple, Kind::Tuple)) = self.dictionary.find(change.tuple) else { return Ok(false) };
        let symbol = |index| match self.dictionary.find(index) {
            Some((index, Kind::Symbol)) => self.number(index).map(Symbol).filter(|symbol| *symbol != Symbol::EMPTY),
            _ => None,
        };
        let Some((id, key)) = self.number(tuple).map(TupleId).zip(symbol(change.key)) else { return Ok(false) };
        let (count, entries) = match change.value {
            NewValue::Number(number) => {
                self.set(id, key.0, false, Value::Integer(number))?;
                return Ok(true);
            }
            NewValue::Tuple { count, entries } => (count, entries),
        };
        let mut keys = [Symbol::EMPTY; 3];
        for (key, (index, _)) in keys.iter_mut().zip(entries).take(count) {
            let Some(symbol) = symbol(index) else { return Ok(false) };
            *key = symbol;
        }
        let Ok(index) = self.dictionary.define(Kind::Tuple) else { return Ok(false) };
        let new = self.new_tuple(index, record.offset_of(change.value_pos), false)?;
        self.set(id, key.0, false, Value::Tuple(new))?;
        let [a, b, c] = keys;
        let distinct = count < 2 || (a != b && (count < 3 || (a != c && b != c)));
        for (key, (_, number)) in keys.iter().zip(entries).take(count) {
            self.set(new, key.0, distinct, Value::Integer(number))?;
        }
        Ok(true)
    }

    fn apply_tokens(&mut self, reader: &mut ValueReader<'_, '_>, levels: &mut Vec<Level>) -> Result<(), Stop> {
        while let Some(token) = reader.next_token()? {
            let value = match token {
                Token::Tuple { index, is_new, .. } | Token::Vector { index, is_new, .. } => {
                    let is_vector = matches!(token, Token::Vector { .. });
                    let id = if is_new {
                        self.new_tuple(index, reader.token_offset(), is_vector)?
                    } else {
                        TupleId(self.number(index).ok_or(Error::from(Errno::Io))?)
                    };
                    if let Some(Level { id: parent, key: Some(key), is_new_key, .. }) = levels.last() {
                        self.set(*parent, *key, *is_new_key, Value::Tuple(id))?;
                    }
                    let position = is_vector.then_some(0);
                    levels.push(Level { id, key: position, is_new_key: false, position });
                    continue;
                }
                Token::End => {
                    levels.pop();
                    step(levels.last_mut().map(|level| (&mut level.key, &mut level.position)));
                    continue;
                }
                Token::Key(key) => {
                    let (symbol, is_new_key) = self.key(key, reader)?;
                    if let Some(level) = levels.last_mut() {
                        level.key = symbol.map(|symbol| symbol.0);
                        level.is_new_key = is_new_key;
                    }
                    continue;
                }
                Token::String(bytes) | Token::Buffer(bytes) => self.keep_string(bytes)?,
                Token::Symbol(index) => Value::Symbol(Symbol(self.number(index).ok_or(Error::from(Errno::Io))?)),
                Token::Integer { negative: false, magnitude } => Value::Integer(magnitude),
                Token::Integer { negative: true, magnitude } => Value::Negative(magnitude),
                Token::Null => Value::Null,
                Token::Delete => Value::Absent,
            };
            match levels.last_mut() {
                Some(level) => {
                    let (id, key, is_new_key) = (level.id, level.key, level.is_new_key);
                    step(Some((&mut level.key, &mut level.position)));
                    if let Some(key) = key {
                        self.set(id, key, is_new_key, value)?;
                    }
                }
                None => self.ignored_records = self.ignored_records.saturating_add(1),
            }
        }
        Ok(())
    }

    #[inline]
    fn new_tuple(&mut self, index: u32, offset: u64, is_vector: bool) -> Result<TupleId> {
        let id = u32::try_from(self.tuples.len()).map_err(|_| too_many())?;
        self.tuples.push(Tuple { index, offset, first: NONE, last: NONE, count: 0, is_vector, indexed: false });
        self.numbers.push(id);
        Ok(TupleId(id))
    }

    /// The symbol of a key, if it has a name: old versions of ops wrote entries without. And whether no tuple can have
    /// it yet.
    fn key(&mut self, key: Key<'_>, reader: &ValueReader<'_, '_>) -> Result<(Option<Symbol>, bool)> {
        let (index, name) = match key {
            Key::Known { index } => {
                let symbol = Symbol(self.number(index).ok_or(Errno::Io)?);
                return Ok((Some(symbol).filter(|symbol| *symbol != Symbol::EMPTY), false));
            }
            Key::New { index, name } => (index, name),
        };
        let symbol = self.symbols.intern(name)?;
        self.numbers.push(symbol.0);
        if self.symbol_numbers.len() < self.symbols.count() {
            self.symbol_numbers.resize(self.symbols.count(), 0);
        }
        let number = usize::try_from(symbol.0).ok().and_then(|at| self.symbol_numbers.get_mut(at));
        let is_new = match number {
            Some(number @ 0) => {
                *number = index;
                true
            }
            _ => {
                self.repeated_symbols = self.repeated_symbols.saturating_add(1);
                self.first_repeated.get_or_insert(reader.token_offset());
                false
            }
        };
        Ok((Some(symbol).filter(|symbol| *symbol != Symbol::EMPTY), is_new))
    }
}

/// Moves on to the next position of a vector; in a tuple, the key has been used.
fn step(level: Option<(&mut Option<u32>, &mut Option<u32>)>) {
    if let Some((key, position)) = level {
        if let Some(position) = position {
            *position = position.saturating_add(1);
        }
        *key = *position;
    }
}

/// The number that bytes begin with.
pub(super) fn digits(bytes: &[u8]) -> Option<u64> {
    let count = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    core::str::from_utf8(bytes.get(..count)?).ok()?.parse().ok()
}

fn too_many() -> Error {
    Error::new(Errno::NoMemory, "the log has more entries than can be counted")
}

fn hash(hasher: &RandomState, tuple: u32, key: u32) -> u64 {
    use core::hash::BuildHasher;

    hasher.hash_one((tuple, key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::tfs::{FrameWriter, Item, LogReader, RecordWriter, Volume, extension_start};

    /// What a log of one record gives, on top of three: a tuple with two symbols, and an entry that is a tuple.
    fn applied(record: &RecordWriter, apply: impl Fn(&mut Objects, Record<'_>) -> Result<(), Stop>) -> String {
        let mut first = RecordWriter::new(); // #1
        first.tuple(2);
        first.symbol(b"a"); // #2
        first.number(5);
        first.symbol(b""); // #3
        first.vector(0); // #4
        let mut second = RecordWriter::new();
        second.tuple_ref(1, 1);
        second.symbol(b"b"); // #5
        second.tuple(0); // #6
        let mut frames = FrameWriter::new(extension_start(1, Some(&Volume::default())), 512);
        for record in [&first, &second, record] {
            assert_eq!(frames.record(record.bytes(), 0), record.bytes().len());
        }
        let bytes = frames.end();
        let mut log = LogReader::new(100, false);
        let mut objects = Objects::new();
        let (_, mut frames) = log.begin(LogReader::FIRST, &bytes).unwrap();
        let mut result = "sound".to_owned();
        while let Ok(Item::Record(record)) = log.next_item(&mut frames) {
            if let Err(Stop::Damage(damage)) = apply(&mut objects, record) {
                result = damage.to_string();
            }
        }
        // Of a record that is damaged a part may have been done.
        if result != "sound" {
            return result;
        }
        let Objects { dictionary, numbers, tuples, total, obsolete, .. } = &objects;
        let entries: Vec<Vec<_>> =
            (0..tuples.len()).map(|id| objects.entries(TupleId(u32::try_from(id).unwrap())).collect()).collect();
        let tuples: Vec<_> = tuples.iter().map(|tuple| (tuple.index, tuple.offset, tuple.count)).collect();
        format!("{} {numbers:?} {tuples:?} {entries:?} {total} {obsolete}", dictionary.count())
    }

    #[test]
    fn the_quick_way_is_the_same_as_the_long_way() {
        let mut quick = 0;
        let values: [&dyn Fn(&mut RecordWriter); 9] = [
            &|record| record.number(7),
            &|record| record.number(u64::MAX),
            &|record| record.integer(true, 7),
            &|record| record.string(b"x"),
            &|record| record.delete(),
            &|record| record.null(),
            &|record| record.tuple(0),
            &|record| {
                record.tuple(2);
                for (key, value) in [(2, 300), (5, u64::MAX >> 2)] {
                    record.symbol_ref(key);
                    record.number(value);
                }
            },
            &|record| {
                record.tuple(3);
                for key in [2, 5, 2] {
                    record.symbol_ref(key);
                    record.number(key.into());
                }
            },
        ];
        for tuple in 0..9 {
            for key in [0, 1, 2, 3, 4, 5, 6, 7, 9, 200, 100_000] {
                for value in values {
                    let mut record = RecordWriter::new();
                    record.tuple_ref(tuple, 1);
                    record.symbol_ref(key);
                    value(&mut record);
                    let long = applied(&record, Objects::apply_any);
                    assert_eq!(applied(&record, Objects::apply), long, "{tuple} {key}");
                    quick += usize::from(!long.contains("byte"));
                }
            }
        }
        assert!(quick > 50, "{quick}");
    }
}
