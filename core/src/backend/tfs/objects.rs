//! The tuples of a log while it is replayed: everything it says, whatever it means.
//!
//! Entries live in one arena, chained per tuple, so that a log of a million records takes a handful of allocations; the
//! whole is dropped when the tree has been made of it.

mod apply;
mod change;
mod runs;
mod tuple;
mod tuples;
mod value;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::OnceCell;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use self::apply::Level;
use self::tuple::{Form, NONE};
pub(super) use self::tuple::{Tuple, TupleId};
pub(super) use self::tuples::Hint;
use self::tuples::Tuples;
use self::value::Packed;
pub(super) use self::value::Value;
use super::nodes::NewFileList;
use super::replay::LogAgain;
use super::symbols::{Symbol, Symbols};
use crate::checked::to_usize;
use crate::errno::Errno;
use crate::error::{Error, Result};
use crate::format::tfs::{Damage, Dictionary, SymbolRef};

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: u32,
    next: u32,
    value: Packed,
}

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

/// Everything a log says.
#[derive(Debug)]
pub(super) struct Objects {
    pub(super) symbols: Symbols,
    pub(super) dictionary: Dictionary,
    /// All entries of the dictionary, by number.
    tuples: Tuples,
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
    /// Which of the symbols that are always there, a bit each, the log has spelled out.
    spelled: u64,
    /// The keys of the last extent, and those that were last set to a number, an empty tuple and an extent: the next ones
    /// nearly always are the same.
    extent_keys: Option<[SymbolRef; 3]>,
    recent_keys: [Option<(SymbolRef, Symbol)>; 3],
    /// Where the log can be read once more, for what few ask for.
    pub(super) again: Option<LogAgain>,
    offsets: OnceCell<Vec<u64>>,
    /// Records that are no tuples.
    pub(super) ignored_records: u64,
}

impl Objects {
    pub(super) fn new() -> Self {
        Self {
            symbols: Symbols::new(),
            dictionary: Dictionary::default(),
            tuples: Tuples::default(),
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
            spelled: 0,
            extent_keys: None,
            recent_keys: [None; 3],
            again: None,
            offsets: OnceCell::new(),
            ignored_records: 0,
        }
    }

    #[inline]
    pub(super) fn tuple(&self, id: TupleId) -> Option<Tuple> {
        self.tuples.get(id.0).filter(|tuple| tuple.form != Form::Symbol)
    }

    #[inline]
    fn tuple_mut(&mut self, id: TupleId) -> Option<&mut Tuple> {
        self.tuples.get_mut(id.0)
    }

    /// Entries of the dictionary: tuples, vectors and symbols.
    pub(super) fn count(&self) -> usize {
        to_usize(self.tuples.len().into()).unwrap_or(usize::MAX)
    }

    /// Where the head of a tuple stands, in bytes of the file system: found by reading the log again, since only damage
    /// asks for it.
    pub(super) fn offset(&self, id: TupleId) -> u64 {
        let offsets = self.offsets.get_or_init(|| {
            self.again.as_ref().map(|again| again.offsets(self.dictionary.count())).unwrap_or_default()
        });
        usize::try_from(id.0).ok().and_then(|at| offsets.get(at)).copied().unwrap_or(0)
    }

    /// The first number of each symbol in the dictionary; 0 for those not in it.
    pub(super) fn symbol_numbers(&self) -> Vec<u32> {
        let mut numbers = alloc::vec![0; self.symbols.count()];
        for (index, entry) in (1..).zip(self.tuples.iter()) {
            if let Form::Symbol = entry.form
                && let [symbol, _] = entry.pair
                && let Some(number @ 0) = usize::try_from(symbol).ok().and_then(|at| numbers.get_mut(at))
            {
                *number = index;
            }
        }
        numbers
    }

    /// The first object of the log, if it is a tuple.
    pub(super) fn root(&self) -> Option<TupleId> {
        // OK: the first entry of the dictionary is the first tuple, vector or symbol; symbols only occur in tuples.
        self.tuple(TupleId(0)).filter(|tuple| !tuple.is_vector).map(|_| TupleId(0))
    }

    pub(super) fn string(&self, start: u32, len: u32) -> &[u8] {
        let range = to_usize(start.into()).ok().zip(to_usize(len.into()).ok());
        range.and_then(|(start, len)| self.strings.get(start..start.checked_add(len)?)).unwrap_or_default()
    }

    /// The entries of a tuple, removed ones left out.
    pub(super) fn entries(&self, id: TupleId) -> impl Iterator<Item = (u32, Value)> + '_ {
        let tuple = self.tuple(id);
        let (mut next, mut at) = (tuple.as_ref().map_or(NONE, Tuple::first), 0);
        let mut run: Option<(u32, TupleId, u32)> = None;
        core::iter::from_fn(move || {
            if let Some((key, id, left @ 1..)) = run {
                run = Some((key.saturating_add(1), TupleId(id.0.saturating_add(2)), left.saturating_sub(1)));
                return Some((key, Value::Tuple(id)));
            }
            while let Some(entry) = self.entry(next) {
                next = entry.next;
                if let Some((id, count)) = entry.value.as_run() {
                    let behind = TupleId(id.0.saturating_add(2));
                    run = Some((entry.key.saturating_add(1), behind, count.saturating_sub(1)));
                }
                if !entry.value.is_absent() {
                    return Some((entry.key, entry.value.value(&self.others)));
                }
            }
            let few = tuple.as_ref()?.few(at)?;
            at = at.saturating_add(1);
            Some(few)
        })
    }

    /// Of a file that says nothing else: the tuple of extents and the length.
    #[inline]
    pub(super) fn plain_file(&self, id: TupleId) -> Option<(TupleId, u32)> {
        self.tuple(id).filter(|tuple| tuple.form == Form::File).map(|Tuple { pair: [a, b], .. }| (TupleId(a), b))
    }

    /// Of a file that is as it was when it was new: its number in the list of those, and the key of its only extent.
    #[inline]
    pub(super) fn new_file(&self, id: TupleId, hints: &mut [Hint; 2]) -> Option<(u32, u32)> {
        self.tuples.new_file(id.0, hints)
    }

    /// The list of files that came in runs.
    pub(super) const fn new_files(&self) -> &Arc<NewFileList> {
        self.tuples.new_files()
    }

    /// Of a tuple with one entry, which is a tuple: the key and that.
    #[inline]
    pub(super) fn only_tuple(&self, id: TupleId) -> Option<(u32, TupleId)> {
        self.tuple(id).filter(|tuple| tuple.form == Form::One).map(|Tuple { pair: [a, b], .. }| (a, TupleId(b)))
    }

    /// Of an extent that says nothing else: the first sector, and how many are used and allocated.
    #[inline]
    pub(super) fn plain_extent(&self, id: TupleId) -> Option<(u32, u32)> {
        self.tuple(id).filter(|tuple| tuple.form == Form::Extent).map(|Tuple { pair: [a, b], .. }| (a, b))
    }

    /// The value of `key` in a tuple.
    pub(super) fn get(&self, id: TupleId, key: Symbol) -> Option<Value> {
        if matches!(self.tuple(id)?.form, Form::Runs) || !self.tuple(id)?.in_arena() {
            return self.entries(id).find(|(found, _)| *found == key.0).map(|(_, value)| value);
        }
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

    /// The place in the arena of an entry of a tuple that has its entries there.
    #[inline]
    fn find(&self, id: TupleId, key: u32) -> Option<u32> {
        let tuple = self.tuple(id)?;
        if tuple.form == Form::Indexed {
            return self.find_by_hash(id, key);
        }
        let mut next = tuple.first();
        while let Some(entry) = self.entry(next) {
            if entry.key == key {
                return Some(next);
            }
            next = entry.next;
        }
        None
    }

    fn find_by_hash(&self, id: TupleId, key: u32) -> Option<u32> {
        let hash = hash(&self.hasher, id.0, key);
        let is = |&(tuple, entry): &(u32, u32)| tuple == id.0 && self.entry(entry).is_some_and(|it| it.key == key);
        self.large.find(hash, is).map(|(_, entry)| *entry)
    }

    /// Sets an entry, or removes it. With `is_new_key`, the tuple is known to have no entry with that key yet.
    #[inline(always)]
    fn set(&mut self, id: TupleId, key: u32, is_new_key: bool, value: Value) -> Result<()> {
        self.total = self.total.saturating_add(1);
        let tuple = self.tuple_mut(id).ok_or(Errno::Io)?;
        if let Some(dead) = tuple.set(key, value) {
            self.obsolete = self.obsolete.saturating_add(dead);
            return Ok(());
        }
        self.set_in_arena(id, key, is_new_key, value)
    }

    fn set_in_arena(&mut self, id: TupleId, key: u32, is_new_key: bool, value: Value) -> Result<()> {
        let tuple = self.tuple_mut(id).ok_or(Errno::Io)?;
        let has_runs = tuple.form == Form::Runs;
        let (is_long, in_arena) = (tuple.count > CHAIN_MAX && tuple.form == Form::Chain || has_runs, tuple.in_arena());
        if !in_arena {
            self.spread(id)?;
        }
        let found = if is_new_key {
            None
        } else {
            if has_runs {
                self.expand(id)?;
            }
            if is_long {
                self.index_all(id);
            }
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
        let indexed = self.push(id, key, packed)?;
        if let Some(added) = indexed {
            self.index_entry(id, key, added);
        }
        Ok(())
    }

    /// Adds an entry with a tuple behind others, if that is all there is to do.
    #[inline(always)]
    fn append(&mut self, id: TupleId, key: u32, new: TupleId) -> bool {
        let Self { tuples, entries, .. } = self;
        let Some(tuple) = tuples.get_mut(id.0) else { return false };
        let [_, last] = &mut tuple.pair;
        let Some(added) = u32::try_from(entries.len()).ok().filter(|at| *at != NONE) else { return false };
        if !matches!(tuple.form, Form::Chain | Form::Runs) {
            return false;
        }
        let Some(before) = usize::try_from(*last).ok().and_then(|at| entries.get_mut(at)) else { return false };
        before.next = added;
        *last = added;
        tuple.count = tuple.count.saturating_add(1);
        entries.push(Entry { key, next: NONE, value: Packed::tuple(new) });
        self.total = self.total.saturating_add(1);
        true
    }

    /// Adds an entry in the arena; its place, if the tuple's are found by hash.
    #[inline]
    fn push(&mut self, id: TupleId, key: u32, value: Packed) -> Result<Option<u32>> {
        let added = u32::try_from(self.entries.len()).ok().filter(|at| *at != NONE).ok_or_else(too_many)?;
        self.entries.push(Entry { key, next: NONE, value });
        let tuple = self.tuple_mut(id).ok_or(Errno::Io)?;
        let [first, last] = tuple.pair;
        tuple.pair = [if first == NONE { added } else { first }, added];
        tuple.count = tuple.count.saturating_add(1);
        let indexed = tuple.form == Form::Indexed;
        if let Some(last) = usize::try_from(last).ok().and_then(|at| self.entries.get_mut(at)) {
            last.next = added;
        }
        Ok(indexed.then_some(added))
    }

    /// Puts the entries of a tuple into the arena.
    #[cold]
    fn spread(&mut self, id: TupleId) -> Result<()> {
        let tuple = self.tuple_mut(id).ok_or(Errno::Io)?;
        let before = *tuple;
        (tuple.form, tuple.pair, tuple.count) = (Form::Chain, [NONE; 2], 0);
        for (key, value) in (0..).map_while(|at| before.few(at)) {
            let packed = Packed::new(value, &mut self.others);
            self.push(id, key, packed)?;
        }
        Ok(())
    }

    /// Puts the entries of a tuple into the hash table: they are many, and one of them is looked for.
    #[cold]
    fn index_all(&mut self, id: TupleId) {
        let Some(tuple) = self.tuple_mut(id) else { return };
        tuple.form = Form::Indexed;
        let mut next = tuple.first();
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

    /// The entry of the dictionary with a number, if there is one.
    #[inline]
    fn numbered(&self, index: u64) -> Option<(TupleId, Tuple)> {
        let id = u32::try_from(index.checked_sub(1)?).ok()?;
        self.tuples.get(id).map(|entry| (TupleId(id), entry))
    }

    /// The symbol with a number of the dictionary.
    #[inline]
    fn symbol(&self, index: u64) -> Option<Symbol> {
        let (_, entry) = self.numbered(index).filter(|(_, entry)| entry.form == Form::Symbol)?;
        let [symbol, _] = entry.pair;
        Some(Symbol(symbol))
    }

    /// The tuple or vector with a number of the dictionary.
    #[inline]
    pub(super) fn by_index(&self, index: u32) -> Option<TupleId> {
        self.numbered(index.into()).filter(|(_, entry)| entry.form != Form::Symbol).map(|(id, _)| id)
    }

    /// How many tuples cannot be reached from those that have the numbers `from`.
    pub(super) fn orphans(&self, from: impl Iterator<Item = u32>) -> usize {
        let mut reached = alloc::vec![false; self.count()];
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
        let tuples = self.tuples.iter().zip(&reached).filter(|(entry, _)| entry.form != Form::Symbol);
        tuples.filter(|(_, reached)| !**reached).count()
    }

    /// The latest time of modification of any node.
    pub(super) fn latest_time(&self) -> u64 {
        let times = self.entries.iter().filter(|entry| entry.key == Symbol::MTIME.0);
        times.filter_map(|entry| self.number_of(entry.value.value(&self.others))).max().unwrap_or(0)
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
mod tests;
