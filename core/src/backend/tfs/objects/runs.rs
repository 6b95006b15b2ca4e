//! What comes in long runs: new files, and names of a new tree.

use alloc::vec::Vec;

use super::tuple::{Form, NONE, TupleId};
use super::value::Packed;
use super::{Entry, Objects};
use crate::backend::tfs::symbols::Symbol;
use crate::checked::to_u64;
use crate::error::Result;
use crate::format::tfs::{FileKeys, NewFiles, SymbolRef};

/// Runs that are shorter are not kept as such.
pub(in crate::backend::tfs) const RUN_MIN: u32 = 16;

/// New names in one tuple, each of a new tuple, that follow one another.
#[derive(Clone, Copy, Debug)]
pub(super) struct NameRun {
    /// The symbol and the tuple of the first.
    pub(super) symbol: u32,
    pub(super) tuple: TupleId,
    pub(super) count: u32,
}

impl Objects {
    /// Does what the records of new files say, if they are sound and unless there is something uncommon about one of them:
    /// `false`, and nothing is done, if there is.
    pub(in crate::backend::tfs) fn apply_files(&mut self, run: NewFiles) -> bool {
        let NewFiles { first, keys: Some(keys), files } = run else { return true };
        let Some(block) = self.block_of(keys).filter(|_| Some(first) == self.dictionary.count().checked_add(1)) else {
            return false;
        };
        let count = to_u64(files.len());
        if !self.dictionary.define_tuples(count.saturating_mul(2)) {
            return false;
        }
        if !self.tuples.push_files(block.0, files) {
            self.dictionary.truncate(first.saturating_sub(1));
            return false;
        }
        // The tuple of extents and the length, the extent, and three numbers of it.
        self.total = self.total.saturating_add(count.saturating_mul(6));
        true
    }

    /// The symbol of the extent, if the others are those of a file and its extent.
    fn block_of(&self, keys: FileKeys) -> Option<Symbol> {
        let FileKeys { extents, block, extent, size } = keys;
        let is = |key: SymbolRef, symbol: Symbol| self.named_symbol(key) == Some(symbol);
        let [offset, allocated, length] = extent;
        let are_known = is(extents, Symbol::EXTENTS)
            && is(offset, Symbol::OFFSET)
            && is(allocated, Symbol::ALLOCATED)
            && is(length, Symbol::LENGTH)
            && is(size, Symbol::FILELENGTH);
        self.named_symbol(block).filter(|_| are_known)
    }

    /// Enters names into the dictionary, and, if they have a tuple to be in, into that.
    pub(super) fn add_names(&mut self, parent: Option<TupleId>, run: NameRun) -> Result<()> {
        let NameRun { symbol, tuple, count } = run;
        let pairs =
            (0..count).map(|at| (symbol.saturating_add(at), TupleId(tuple.0.saturating_add(at.saturating_mul(2)))));
        if count < RUN_MIN {
            self.tuples.push_pairs(pairs.clone());
        } else {
            self.tuples.push_named(symbol, count);
        }
        let Some(parent) = parent else { return Ok(()) };
        let form = self.tuple(parent).map(|tuple| tuple.form);
        if let Some(packed) = Packed::run(tuple, count).filter(|_| count >= RUN_MIN && form != Some(Form::Indexed)) {
            self.total = self.total.saturating_add(count.into());
            return self.append_run(parent, symbol, packed);
        }
        for (key, new) in pairs {
            if !self.append(parent, key, new) {
                self.set(parent, key, true, super::Value::Tuple(new))?;
            }
        }
        Ok(())
    }

    fn append_run(&mut self, id: TupleId, key: u32, run: Packed) -> Result<()> {
        if self.tuple(id).is_some_and(|tuple| !tuple.in_arena()) {
            self.spread(id)?;
        }
        if let Some(tuple) = self.tuple_mut(id) {
            tuple.form = Form::Runs;
        }
        self.push(id, key, run).map(drop)
    }

    /// Gives every entry of a tuple its own place in the arena.
    #[cold]
    pub(super) fn expand(&mut self, id: TupleId) -> Result<()> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut next = self.tuple(id).map_or(NONE, |tuple| tuple.first());
        while let Some(entry) = self.entry(next).copied() {
            next = entry.next;
            match entry.value.as_run() {
                Some((first, count)) => entries.extend((0..count).map(|at| Entry {
                    key: entry.key.saturating_add(at),
                    next: NONE,
                    value: Packed::tuple(TupleId(first.0.saturating_add(at.saturating_mul(2)))),
                })),
                None => entries.push(entry),
            }
        }
        if let Some(tuple) = self.tuple_mut(id) {
            (tuple.form, tuple.pair, tuple.count) = (Form::Chain, [NONE; 2], 0);
        }
        for Entry { key, value, .. } in entries {
            self.push(id, key, value)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
