//! Changes of single entries, which most records of most logs are, done with as few steps as can be.

use super::tuple::{Form, Tuple, TupleId};
use super::{Objects, Value};
use crate::backend::tfs::symbols::Symbol;
use crate::error::Result;
use crate::format::tfs::{Change, Kind, NewValue, SymbolRef};

impl Objects {
    /// Does what a record of the commonest kinds says, if it is sound: `false`, and nothing is done, if it is not.
    #[inline(always)]
    pub(in crate::backend::tfs) fn apply_change(&mut self, change: Change) -> Result<bool> {
        let (kind, defines, more) = match change.value {
            NewValue::Number(_) => (0, false, 1),
            NewValue::Empty => (1, true, 1),
            NewValue::Three([(a, _), (b, allocated), (c, len)]) => {
                let keys = [a, b, c];
                if allocated != len || self.extent_keys != Some(keys) && !self.are_extent_keys(keys) {
                    return Ok(false);
                }
                (2, true, 4)
            }
        };
        let key = match self.recent_keys.get(kind) {
            Some(Some((recent, symbol))) if *recent == change.key => *symbol,
            _ => match self.recent_key(kind, change.key) {
                Some(symbol) => symbol,
                None => return Ok(false),
            },
        };
        // OK: 0, which is no number, becomes one that nothing has.
        let id = TupleId(change.tuple.wrapping_sub(1));
        let next = TupleId(self.dictionary.count());
        let is_tuple = |tuple: &&mut Tuple| tuple.form != Form::Symbol && !tuple.is_vector;
        let Some(tuple) = self.tuples.get_mut(id.0).filter(is_tuple) else {
            return Ok(false);
        };
        if defines && self.dictionary.define(Kind::Tuple).is_err() {
            return Ok(false);
        }
        let value = match change.value {
            NewValue::Number(number) => Value::Integer(number.into()),
            // OK: an entry of the dictionary is entered below, in the place of its number.
            NewValue::Empty | NewValue::Three(_) => Value::Tuple(next),
        };
        let dead = tuple.set(key.0, value);
        match change.value {
            NewValue::Number(_) => {}
            NewValue::Empty => self.tuples.push(Tuple::new(false)),
            NewValue::Three([(_, sector), (_, len), _]) => self.tuples.push(Tuple::extent(sector, len)),
        }
        self.total = self.total.saturating_add(more);
        match dead {
            Some(dead) => self.obsolete = self.obsolete.saturating_add(dead),
            None => self.set_in_arena(id, key.0, false, value)?,
        }
        Ok(true)
    }

    /// The symbol with a number of the dictionary, if it has a name.
    pub(super) fn named_symbol(&self, key: SymbolRef) -> Option<Symbol> {
        self.symbol(key.number().into()).filter(|symbol| *symbol != Symbol::EMPTY)
    }

    /// The symbol of a key, which is kept as that of the last change of its kind.
    #[cold]
    fn recent_key(&mut self, kind: usize, key: SymbolRef) -> Option<Symbol> {
        let symbol = self.named_symbol(key)?;
        *self.recent_keys.get_mut(kind)? = Some((key, symbol));
        Some(symbol)
    }

    /// Whether these keys are those of an extent, in the usual order; then they are kept.
    #[cold]
    fn are_extent_keys(&mut self, keys: [SymbolRef; 3]) -> bool {
        let extent = [Symbol::OFFSET, Symbol::ALLOCATED, Symbol::LENGTH].map(Some);
        let found = keys.map(|key| self.named_symbol(key)) == extent;
        if found {
            self.extent_keys = Some(keys);
        }
        found
    }
}
