//! Tuples, and how their entries are kept.

use super::Value;
use crate::backend::tfs::symbols::Symbol;

/// In the place of an entry that is none.
pub(super) const NONE: u32 = u32::MAX;

/// Which entry of the log's dictionary a tuple or vector is, counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::backend::tfs) struct TupleId(pub(in crate::backend::tfs) u32);

impl TupleId {
    /// Of the one with a number of the dictionary, which counts from 1.
    pub(super) const fn of(index: u32) -> Self {
        Self(index.saturating_sub(1))
    }

    /// The number in the dictionary.
    pub(in crate::backend::tfs) const fn index(self) -> u32 {
        self.0.saturating_add(1)
    }
}

/// A tuple, or a vector, whose keys are positions; or, in the arena that has them all by number, a symbol.
#[derive(Clone, Copy, Debug)]
pub(in crate::backend::tfs) struct Tuple {
    pub(super) form: Form,
    /// What the form says.
    pub(super) pair: [u32; 2],
    /// Entries, removed ones included; counted up to where it makes a difference.
    pub(super) count: u8,
    pub(in crate::backend::tfs) is_vector: bool,
}

/// How the entries of a tuple are kept. Most tuples of most logs are those of files, which need no entries in the arena.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// No tuple at all: the symbol with this number.
    Symbol,
    /// In the arena, chained: the first and the last.
    Chain,
    /// So too, and some of them are many: see [`Packed::run`](super::value::Packed::run).
    Runs,
    /// As in a chain, and they are found by hash.
    Indexed,
    /// One entry, a tuple: its key and the tuple.
    One,
    /// `extents`, a tuple, and `filelength`, an integer.
    File,
    /// `offset`, an integer; `allocated` and `length`, the same integer.
    Extent,
}

impl Tuple {
    #[inline]
    pub(super) const fn new(is_vector: bool) -> Self {
        Self { form: Form::Chain, pair: [NONE; 2], count: 0, is_vector }
    }

    /// Of an extent, all of which is used.
    #[inline]
    pub(super) const fn extent(sector: u32, len: u32) -> Self {
        Self { form: Form::Extent, pair: [sector, len], count: 3, is_vector: false }
    }

    /// Of a file: its tuple of extents, and its length.
    #[inline]
    pub(super) const fn file(extents: u32, size: u32) -> Self {
        Self { form: Form::File, pair: [extents, size], count: 2, is_vector: false }
    }

    /// With one entry, a tuple.
    #[inline]
    pub(super) const fn one(key: u32, id: TupleId) -> Self {
        Self { form: Form::One, pair: [key, id.0], count: 1, is_vector: false }
    }

    #[inline]
    pub(super) const fn symbol(symbol: Symbol) -> Self {
        Self { form: Form::Symbol, pair: [symbol.0, NONE], count: 0, is_vector: false }
    }

    #[inline]
    pub(super) const fn in_arena(&self) -> bool {
        matches!(self.form, Form::Chain | Form::Runs | Form::Indexed)
    }

    /// The first entry in the arena.
    pub(super) const fn first(&self) -> u32 {
        let [first, _] = self.pair;
        if self.in_arena() { first } else { NONE }
    }

    /// Entry `at` of those that are not in the arena.
    #[inline]
    pub(super) fn few(&self, at: u8) -> Option<(u32, Value)> {
        let [a, b] = self.pair;
        let tuple = |id: u32| Value::Tuple(TupleId(id));
        let number = |number: u32| Value::Integer(number.into());
        Some(match (self.form, at) {
            (Form::One, 0) => (a, tuple(b)),
            (Form::File, 0) => (Symbol::EXTENTS.0, tuple(a)),
            (Form::File, 1) => (Symbol::FILELENGTH.0, number(b)),
            (Form::Extent, 0) => (Symbol::OFFSET.0, number(a)),
            (Form::Extent, 1) => (Symbol::ALLOCATED.0, number(b)),
            (Form::Extent, 2) => (Symbol::LENGTH.0, number(b)),
            _ => return None,
        })
    }

    /// Sets an entry if it then still needs none in the arena, and says how many others that made useless.
    #[inline(always)]
    pub(super) fn set(&mut self, key: u32, value: Value) -> Option<u64> {
        let small = |number: u64| u32::try_from(number).ok();
        let [a, b] = self.pair;
        let (form, pair, dead) = match (self.form, Symbol(key), value) {
            (Form::Chain, _, Value::Tuple(id)) if a == NONE && !self.is_vector => (Form::One, [key, id.0], 0),
            (Form::One, _, Value::Tuple(id)) if a == key => (Form::One, [key, id.0], 1),
            (Form::One, Symbol::FILELENGTH, Value::Integer(len)) if a == Symbol::EXTENTS.0 => {
                (Form::File, [b, small(len)?], 0)
            }
            (Form::File, Symbol::FILELENGTH, Value::Integer(len)) => (Form::File, [a, small(len)?], 1),
            _ => return None,
        };
        (self.form, self.pair) = (form, pair);
        self.count = self.count.saturating_add(u8::from(dead == 0));
        Some(dead)
    }
}
