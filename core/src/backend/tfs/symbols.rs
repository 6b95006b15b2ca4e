//! The symbols of a log: every distinct key once, found by its bytes or by its number.

use alloc::vec::Vec;

use bytes::Bytes;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::checked::{to_u64, to_usize};
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

/// All symbols. 8 bytes, the name, and about 6 bytes for its place in the hash table each.
#[derive(Debug)]
pub(super) struct Symbols {
    names: Names,
    table: HashTable<u32>,
    hasher: RandomState,
}

/// Names by number.
#[derive(Debug, Default)]
struct Names {
    /// What was kept of the log, in which most names of a large tree are.
    kept: Bytes,
    /// All others, one behind the other.
    others: Vec<u8>,
    /// Where each begins and how long it is; the others are behind what was kept.
    spans: Vec<(u32, u32)>,
}

impl Names {
    fn get(&self, number: u32) -> &[u8] {
        let span = usize::try_from(number).ok().and_then(|at| self.spans.get(at)).copied();
        span.and_then(|(start, len)| {
            let (start, len) = (usize::try_from(start).ok()?, usize::try_from(len).ok()?);
            match start.checked_sub(self.kept.len()) {
                None => self.kept.get(start..start.checked_add(len)?),
                Some(start) => self.others.get(start..start.checked_add(len)?),
            }
        })
        .unwrap_or_default()
    }

    /// Adds a name; its number. `None` when there are 4 GiB of names.
    fn push(&mut self, name: &[u8]) -> Option<u32> {
        let number = u32::try_from(self.spans.len()).ok()?;
        // What is kept needs no copy. OK: a slice that begins inside of it, and does not pass its end, is of it.
        let within = name.as_ptr().addr().checked_sub(self.kept.as_ptr().addr());
        let within = within.filter(|at| at.checked_add(name.len()).is_some_and(|end| end <= self.kept.len()));
        let is_kept = within.is_some() && !name.is_empty();
        let start = within.filter(|_| is_kept).or_else(|| self.kept.len().checked_add(self.others.len()))?;
        start.checked_add(name.len()).filter(|end| u32::try_from(*end).is_ok())?;
        self.spans.push((u32::try_from(start).ok()?, u32::try_from(name.len()).ok()?));
        if !is_kept {
            self.others.extend_from_slice(name);
        }
        Some(number)
    }
}

impl Symbols {
    pub(super) fn new() -> Self {
        let mut symbols = Self { names: Names::default(), table: HashTable::new(), hasher: RandomState::default() };
        for name in KNOWN {
            // Never fails: they are short and few.
            let _ = symbols.intern(name);
        }
        symbols
    }

    pub(super) const fn count(&self) -> usize {
        self.names.spans.len()
    }

    pub(super) fn name(&self, symbol: Symbol) -> &[u8] {
        self.names.get(symbol.0)
    }

    pub(super) fn get(&self, wanted: &[u8]) -> Option<Symbol> {
        let hash = hash(&self.hasher, wanted);
        self.table.find(hash, |&at| self.names.get(at) == wanted).copied().map(Symbol)
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
        let Self { names, table, hasher } = self;
        let is = |&at: &u32| names.get(at) == wanted;
        let vacant = match table.entry(hash(hasher, wanted), is, |&at| hash(hasher, names.get(at))) {
            Entry::Occupied(found) => return Ok((Symbol(*found.get()), false)),
            Entry::Vacant(vacant) => vacant,
        };
        let number = names.push(wanted).ok_or_else(|| Error::new(Errno::NoMemory, "more than 4 GiB of names"))?;
        vacant.insert(number);
        Ok((Symbol(number), true))
    }

    /// Keeps bytes of the log whose names come next, if none are kept: these need not be copied then.
    pub(super) fn keep(&mut self, bytes: &Bytes) {
        let Names { kept, others, spans } = &mut self.names;
        let Ok(len) = u32::try_from(bytes.len()) else { return };
        let last = u32::try_from(others.len()).ok().and_then(|others| others.checked_add(len));
        if !kept.is_empty() || last.is_none() {
            return;
        }
        *kept = bytes.clone();
        for (start, _) in spans {
            // OK: as for the last.
            *start = start.saturating_add(len);
        }
    }

    /// Makes room for so many more.
    pub(super) fn reserve(&mut self, more: usize) {
        let Self { names, table, hasher } = self;
        table.reserve(more, |&at| hash(hasher, names.get(at)));
        names.spans.reserve(more);
    }

    pub(super) fn shrink(&mut self) {
        let Names { kept, spans, .. } = &self.names;
        let in_kept = spans.iter().filter(|(start, _)| to_usize((*start).into()).is_ok_and(|start| start < kept.len()));
        let used: u64 = in_kept.map(|(_, len)| u64::from(*len)).sum();
        // Not worth keeping where it is mostly something else.
        if used < to_u64(kept.len()) / 2 {
            let mut copied = Names::default();
            let all = (0..).map_while(|number| spans.get(usize::try_from(number).ok()?).map(|_| number));
            for number in all {
                // Never fails: they are less than before.
                let _ = copied.push(self.names.get(number));
            }
            self.names = copied;
        }
        self.names.others.shrink_to_fit();
        self.names.spans.shrink_to_fit();
    }
}

fn hash(hasher: &RandomState, name: &[u8]) -> u64 {
    use core::hash::{BuildHasher, Hasher};

    let mut hasher = hasher.build_hasher();
    hasher.write(name);
    hasher.finish()
}
