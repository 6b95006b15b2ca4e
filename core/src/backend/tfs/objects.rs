//! The tuples of a log while it is replayed: everything it says, whatever it means.
//!
//! Entries live in one arena, chained per tuple, so that a log of a million records takes a handful of allocations; the
//! whole is dropped when the tree has been made of it.

use alloc::vec::Vec;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::symbols::{Symbol, Symbols};
use crate::checked::to_usize;
use crate::errno::Errno;
use crate::error::{Error, Result};
use crate::format::tfs::{Damage, Dictionary, Key, Record, Token, ValueReader};

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
    /// Entries, removed ones included.
    count: u32,
    pub(super) is_vector: bool,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: u32,
    next: u32,
    value: Value,
}

/// In the place of an entry that is none.
const NONE: u32 = u32::MAX;

/// Tuples with more entries than this are searched by hash.
const CHAIN_MAX: u32 = 8;

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

/// Everything a log says.
#[derive(Debug)]
pub(super) struct Objects {
    pub(super) symbols: Symbols,
    pub(super) dictionary: Dictionary,
    /// For each entry of the dictionary, the number of its symbol or tuple.
    numbers: Vec<u32>,
    tuples: Vec<Tuple>,
    entries: Vec<Entry>,
    strings: Vec<u8>,
    large: HashTable<(u32, u32)>,
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
            strings: Vec::new(),
            large: HashTable::new(),
            hasher: RandomState::default(),
            total: 0,
            obsolete: 0,
            repeated_symbols: 0,
            first_repeated: None,
            symbol_numbers: Vec::new(),
            ignored_records: 0,
        }
    }

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
        .filter(|(_, value)| *value != Value::Absent)
    }

    /// The value of `key` in a tuple.
    pub(super) fn get(&self, id: TupleId, key: Symbol) -> Option<Value> {
        let entry = self.entry(self.find(id, key.0)?)?;
        (entry.value != Value::Absent).then_some(entry.value)
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

    fn entry(&self, at: u32) -> Option<&Entry> {
        self.entries.get(usize::try_from(at).ok()?)
    }

    fn find(&self, id: TupleId, key: u32) -> Option<u32> {
        let tuple = self.tuple(id)?;
        if tuple.count > CHAIN_MAX {
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

    /// Sets an entry, or removes it.
    fn set(&mut self, id: TupleId, key: u32, value: Value) -> Result<()> {
        let found = self.find(id, key);
        self.total = self.total.saturating_add(1);
        if let Some(entry) = found.and_then(|at| self.entries.get_mut(usize::try_from(at).ok()?)) {
            let old = core::mem::replace(&mut entry.value, value);
            let dead = match (old, value) {
                (Value::Absent, _) => 0,
                (_, Value::Absent) => 2,
                _ => 1,
            };
            self.obsolete = self.obsolete.saturating_add(dead);
            return Ok(());
        }
        if value == Value::Absent {
            return Ok(());
        }
        let added = u32::try_from(self.entries.len()).ok().filter(|at| *at != NONE).ok_or_else(too_many)?;
        self.entries.push(Entry { key, next: NONE, value });
        let tuple = usize::try_from(id.0).ok().and_then(|at| self.tuples.get_mut(at)).ok_or(Errno::Io)?;
        let last = core::mem::replace(&mut tuple.last, added);
        if tuple.first == NONE {
            tuple.first = added;
        }
        tuple.count = tuple.count.saturating_add(1);
        let (first, count) = (tuple.first, tuple.count);
        if let Some(last) = usize::try_from(last).ok().and_then(|at| self.entries.get_mut(at)) {
            last.next = added;
        }
        if count == CHAIN_MAX.saturating_add(1) {
            let mut next = first;
            while let Some(entry) = self.entry(next).copied() {
                self.index_entry(id, entry.key, next);
                next = entry.next;
            }
        } else if count > CHAIN_MAX {
            self.index_entry(id, key, added);
        }
        Ok(())
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
        times.filter_map(|entry| self.number_of(entry.value)).max().unwrap_or(0)
    }

    /// Does what a record says. When it is damaged, a part of it may have been done.
    pub(super) fn apply(&mut self, record: Record<'_>) -> Result<(), Stop> {
        // Lent for the time of the call, so that tokens can be looked up while they are read.
        let mut dictionary = core::mem::take(&mut self.dictionary);
        let done = self.apply_tokens(&mut ValueReader::new(record, &mut dictionary));
        self.dictionary = dictionary;
        done
    }

    fn apply_tokens(&mut self, reader: &mut ValueReader<'_, '_>) -> Result<(), Stop> {
        /// A tuple that is being read, and the key that the next value is for.
        struct Level {
            id: TupleId,
            key: Option<u32>,
            /// For vectors, the next position.
            position: Option<u32>,
        }
        let mut levels: Vec<Level> = Vec::new();
        while let Some(token) = reader.next_token()? {
            let value = match token {
                Token::Tuple { index, is_new, .. } | Token::Vector { index, is_new, .. } => {
                    let is_vector = matches!(token, Token::Vector { .. });
                    let id = if is_new {
                        self.new_tuple(index, reader.token_offset(), is_vector)?
                    } else {
                        TupleId(self.number(index).ok_or(Error::from(Errno::Io))?)
                    };
                    if let Some(Level { id: parent, key: Some(key), .. }) = levels.last() {
                        self.set(*parent, *key, Value::Tuple(id))?;
                    }
                    levels.push(Level { id, key: is_vector.then_some(0), position: is_vector.then_some(0) });
                    continue;
                }
                Token::End => {
                    levels.pop();
                    step(levels.last_mut().map(|level| (&mut level.key, &mut level.position)));
                    continue;
                }
                Token::Key(key) => {
                    let symbol = self.key(key, reader.token_offset())?;
                    if let Some(level) = levels.last_mut() {
                        // Old versions of ops wrote entries without a name.
                        level.key = (!self.symbols.name(symbol).is_empty()).then_some(symbol.0);
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
                    let (id, key) = (level.id, level.key);
                    step(Some((&mut level.key, &mut level.position)));
                    if let Some(key) = key {
                        self.set(id, key, value)?;
                    }
                }
                None => self.ignored_records = self.ignored_records.saturating_add(1),
            }
        }
        Ok(())
    }

    fn new_tuple(&mut self, index: u32, offset: u64, is_vector: bool) -> Result<TupleId> {
        let id = u32::try_from(self.tuples.len()).map_err(|_| too_many())?;
        self.tuples.push(Tuple { index, offset, first: NONE, last: NONE, count: 0, is_vector });
        self.numbers.push(id);
        Ok(TupleId(id))
    }

    fn key(&mut self, key: Key<'_>, offset: u64) -> Result<Symbol> {
        match key {
            Key::Known { index } => Ok(Symbol(self.number(index).ok_or(Errno::Io)?)),
            Key::New { index, name } => {
                let symbol = self.symbols.intern(name)?;
                self.numbers.push(symbol.0);
                if self.symbol_numbers.len() < self.symbols.count() {
                    self.symbol_numbers.resize(self.symbols.count(), 0);
                }
                match usize::try_from(symbol.0).ok().and_then(|at| self.symbol_numbers.get_mut(at)) {
                    Some(number @ 0) => *number = index,
                    _ => {
                        self.repeated_symbols = self.repeated_symbols.saturating_add(1);
                        self.first_repeated.get_or_insert(offset);
                    }
                }
                Ok(symbol)
            }
        }
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
