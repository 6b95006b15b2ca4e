//! The symbols of a log: every distinct key once, found by its bytes or by its number.

use alloc::vec::Vec;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::errno::Errno;
use crate::error::{Error, Result};

/// Number of a symbol. Unlike numbers of the log's dictionary, equal symbols have equal ones.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Symbol(pub(super) u32);

macro_rules! known {
    ($($constant:ident $name:literal $number:literal,)*) => {
        impl Symbol {
            $(pub(super) const $constant: Self = Self($number);)*
        }
        const KNOWN: &[&[u8]] = &[$($name,)*];
    };
}

// Numbered in this order.
known! {
    CHILDREN b"children" 0,
    LINKTARGET b"linktarget" 1,
    SOCKET b"socket" 2,
    EXTENTS b"extents" 3,
    FILELENGTH b"filelength" 4,
    MTIME b"mtime" 5,
    ATIME b"atime" 6,
    NLINK b"nlink" 7,
    OFFSET b"offset" 8,
    LENGTH b"length" 9,
    ALLOCATED b"allocated" 10,
    UNINITED b"uninited" 11,
    PARENT b".." 12,
    EMPTY b"" 13,
}

impl Symbol {
    /// Whether it is one of those above, which are there before the log says so.
    pub(super) fn is_known(self) -> bool {
        usize::try_from(self.0).is_ok_and(|at| at < KNOWN.len())
    }
}

/// All symbols. 4 bytes, the name, and about 6 bytes for its place in the hash table each.
#[derive(Debug)]
pub(super) struct Symbols {
    names: Vec<u8>,
    /// Where each name ends; it begins where the one before ends.
    ends: Vec<u32>,
    table: HashTable<u32>,
    hasher: RandomState,
}

impl Symbols {
    pub(super) fn new() -> Self {
        let mut symbols =
            Self { names: Vec::new(), ends: Vec::new(), table: HashTable::new(), hasher: RandomState::default() };
        for name in KNOWN {
            // Never fails: they are short and few.
            let _ = symbols.intern(name);
        }
        symbols
    }

    pub(super) const fn count(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn name(&self, symbol: Symbol) -> &[u8] {
        name(&self.names, &self.ends, symbol.0)
    }

    pub(super) fn get(&self, wanted: &[u8]) -> Option<Symbol> {
        let hash = hash(&self.hasher, wanted);
        self.table.find(hash, |&at| name(&self.names, &self.ends, at) == wanted).copied().map(Symbol)
    }

    /// The number of `wanted`, new if need be.
    ///
    /// # Errors
    /// `ENOMEM` when there are 4 GiB of names.
    pub(super) fn intern(&mut self, wanted: &[u8]) -> Result<Symbol> {
        self.intern_or_find(wanted).map(|(symbol, _)| symbol)
    }

    /// The number of `wanted`, and whether it is new.
    ///
    /// # Errors
    /// As [`intern`](Self::intern).
    pub(super) fn intern_or_find(&mut self, wanted: &[u8]) -> Result<(Symbol, bool)> {
        let Self { names, ends, table, hasher } = self;
        let is = |&at: &u32| name(names, ends, at) == wanted;
        let vacant = match table.entry(hash(hasher, wanted), is, |&at| hash(hasher, name(names, ends, at))) {
            Entry::Occupied(found) => return Ok((Symbol(*found.get()), false)),
            Entry::Vacant(vacant) => vacant,
        };
        let full = || Error::new(Errno::NoMemory, "more than 4 GiB of names");
        let end = names.len().checked_add(wanted.len()).and_then(|end| u32::try_from(end).ok()).ok_or_else(full)?;
        let number = u32::try_from(ends.len()).map_err(|_| full())?;
        vacant.insert(number);
        names.extend_from_slice(wanted);
        ends.push(end);
        Ok((Symbol(number), true))
    }

    /// Makes room for so many more, of so many bytes.
    pub(super) fn reserve(&mut self, more: usize, bytes: usize) {
        let Self { names, ends, table, hasher } = self;
        table.reserve(more, |&at| hash(hasher, name(names, ends, at)));
        ends.reserve(more);
        names.reserve(bytes);
    }

    pub(super) fn shrink(&mut self) {
        self.names.shrink_to_fit();
        self.ends.shrink_to_fit();
    }
}

fn name<'a>(names: &'a [u8], ends: &[u32], number: u32) -> &'a [u8] {
    let end_of = |number: u32| {
        let end = usize::try_from(number).ok().and_then(|at| ends.get(at)).copied();
        end.and_then(|end| usize::try_from(end).ok())
    };
    let start = number.checked_sub(1).and_then(end_of).unwrap_or(0);
    end_of(number).and_then(|end| names.get(start..end)).unwrap_or_default()
}

fn hash(hasher: &RandomState, name: &[u8]) -> u64 {
    use core::hash::{BuildHasher, Hasher};

    let mut hasher = hasher.build_hasher();
    hasher.write(name);
    hasher.finish()
}
