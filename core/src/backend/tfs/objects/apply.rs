//! Records, applied token by token.

use alloc::vec::Vec;

use super::runs::NameRun;
use super::tuple::Tuple;
use super::{Objects, Stop, TupleId, Value};
use crate::backend::tfs::symbols::Symbol;
use crate::errno::Errno;
use crate::error::{Error, Result};
use crate::format::tfs::{Dictionary, Key, NewEmpty, Record, Token, ValueReader};

/// Bytes of a record that is taken for a tree of many nodes.
const LARGE_RECORD: usize = 4096;

/// A tuple that is being read, and the key that the next value is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    id: TupleId,
    key: Option<u32>,
    /// The tuple cannot have that key yet.
    is_new_key: bool,
    /// For vectors, the next position.
    position: Option<u32>,
}

impl Objects {
    /// Does what a record says. When it is damaged, a part of it may have been done.
    pub(in crate::backend::tfs) fn apply(&mut self, record: Record<'_>) -> Result<(), Stop> {
        // Lent for the time of the call, so that tokens can be looked up while they are read.
        let mut dictionary = core::mem::take(&mut self.dictionary);
        let mut levels = core::mem::take(&mut self.levels);
        levels.clear();
        if record.bytes.len() > LARGE_RECORD {
            record.shared().into_iter().for_each(|bytes| self.symbols.keep(bytes));
            self.expect_tree(record.bytes.len(), &mut dictionary);
        }
        let done = self.apply_tokens(&mut ValueReader::new(record, &mut dictionary), &mut levels);
        (self.dictionary, self.levels) = (dictionary, levels);
        done
    }

    /// Makes room for what a record of `len` bytes may bring, which is a whole tree. What is not used of it is never
    /// touched.
    fn expect_tree(&mut self, len: usize, dictionary: &mut Dictionary) {
        // Most of it are names of nodes, a node each, for which two more tuples may follow.
        let nodes = len / 16;
        self.symbols.reserve(nodes / 2);
        self.entries.reserve(nodes);
        self.tuples.reserve(nodes.saturating_mul(4));
        dictionary.reserve(nodes.saturating_mul(4));
    }

    fn apply_tokens(&mut self, reader: &mut ValueReader<'_, '_>, levels: &mut Vec<Level>) -> Result<(), Stop> {
        loop {
            self.apply_names(reader, levels.last().map(|level| level.id))?;
            let Some(token) = reader.next_token()? else { return Ok(()) };
            let value = match token {
                Token::Tuple { index, is_new, .. } | Token::Vector { index, is_new, .. } => {
                    let is_vector = matches!(token, Token::Vector { .. });
                    let id = if is_new { self.new_tuple(index, is_vector) } else { TupleId::of(index) };
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
                Token::Symbol(index) => Value::Symbol(self.symbol(index.into()).ok_or(Error::from(Errno::Io))?),
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
    }

    /// Does what the entries say that come next, as far as each is a new name for a new, empty tuple.
    #[inline]
    fn apply_names(&mut self, reader: &mut ValueReader<'_, '_>, parent: Option<TupleId>) -> Result<()> {
        let mut run: Option<NameRun> = None;
        while let Some(NewEmpty { name, tuple, .. }) = reader.next_new_empty() {
            let (Symbol(symbol), is_new_key) = self.named_key(name, reader)?;
            let is_plain = is_new_key && Symbol(symbol) != Symbol::EMPTY;
            match &mut run {
                // OK: the numbers of names and tuples follow one another as long as nothing else comes between.
                Some(run) if is_plain && run.symbol.checked_add(run.count) == Some(symbol) => {
                    run.count = run.count.saturating_add(1);
                    continue;
                }
                _ => {}
            }
            if let Some(run) = run.take() {
                self.add_names(parent, run)?;
            }
            if is_plain {
                run = Some(NameRun { symbol, tuple: TupleId::of(tuple), count: 1 });
                continue;
            }
            self.tuples.push_pairs([(symbol, TupleId::of(tuple))].into_iter());
            if let (Some(parent), true) = (parent, Symbol(symbol) != Symbol::EMPTY) {
                self.set(parent, symbol, false, Value::Tuple(TupleId::of(tuple)))?;
            }
        }
        run.map_or(Ok(()), |run| self.add_names(parent, run))
    }

    #[inline]
    pub(super) fn new_tuple(&mut self, index: u32, is_vector: bool) -> TupleId {
        // OK: whatever gets a number is entered at once, so that it has the place of that number.
        self.tuples.push(Tuple::new(is_vector));
        TupleId::of(index)
    }

    /// The symbol of a key, if it has a name: old versions of ops wrote entries without. And whether no tuple can have
    /// it yet.
    fn key(&mut self, key: Key<'_>, reader: &ValueReader<'_, '_>) -> Result<(Option<Symbol>, bool)> {
        let name = match key {
            Key::Known { index } => {
                let symbol = self.symbol(index.into()).ok_or(Errno::Io)?;
                return Ok((Some(symbol).filter(|symbol| *symbol != Symbol::EMPTY), false));
            }
            Key::New { name, .. } => name,
        };
        let (symbol, is_new) = self.named_key(name, reader)?;
        self.tuples.push(Tuple::symbol(symbol));
        Ok((Some(symbol).filter(|symbol| *symbol != Symbol::EMPTY), is_new))
    }

    /// The symbol of a key that is spelled out, and whether no tuple can have it yet.
    #[inline]
    fn named_key(&mut self, name: &[u8], reader: &ValueReader<'_, '_>) -> Result<(Symbol, bool)> {
        let (symbol, is_first) = self.symbols.intern_or_find(name)?;
        let is_new = is_first || self.spell_known(symbol);
        if !is_new {
            self.repeated_symbols = self.repeated_symbols.saturating_add(1);
            self.first_repeated.get_or_insert(reader.token_offset());
        }
        Ok((symbol, is_new))
    }
}

impl Objects {
    /// Notes that one of the symbols that are always there was spelled out; whether it was for the first time.
    #[cold]
    fn spell_known(&mut self, symbol: Symbol) -> bool {
        let Some(bit) = 1_u64.checked_shl(symbol.0).filter(|_| symbol.is_known()) else { return false };
        let is_first = self.spelled & bit == 0;
        self.spelled |= bit;
        is_first
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
