//! Listings: cookies, entries and the batch they are delivered in.

use alloc::vec::Vec;
use core::fmt;

use crate::attr::FileType;
use crate::name::Name;

/// Resume point of a listing: "the entries after this one". Never a position in a changing list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Cookie(u64);

impl Cookie {
    /// Before the first entry.
    pub const START: Self = Self(0);

    /// Above every cookie: 2^62, so that wrappers and adapters have room for their own numbers.
    pub const END: Self = Self(1 << 62);

    /// A cookie from a number that only the filesystem interprets.
    #[must_use]
    pub const fn new(cookie: u64) -> Self {
        Self(cookie)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// An entry of a listing. Holds no reference on the node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirEntry<'a> {
    /// The name.
    pub name: Name<'a>,
    /// The number that [`Attr::ino`](crate::attr::Attr::ino) of the node shows.
    pub ino: u64,
    /// The node's kind.
    pub file_type: FileType,
    /// Where to go on after this entry.
    pub cookie: Cookie,
}

/// A caller's buffer for a part of a listing; reused, it does not allocate.
pub struct DirBatch {
    names: Vec<u8>,
    entries: Vec<Packed>,
    max_entries: usize,
    max_bytes: usize,
    entry_overhead: usize,
    used_bytes: usize,
    whiteout_count: usize,
}

struct Packed {
    /// End of the name in `names`; it starts where the one before ends.
    name_end: usize,
    ino: u64,
    cookie: Cookie,
    file_type: FileType,
}

impl DirBatch {
    /// Takes up to `count` entries.
    #[must_use]
    pub const fn with_max_entries(count: usize) -> Self {
        Self::new(count, usize::MAX, 0)
    }

    /// Takes entries until `bytes` are filled when each costs `entry_overhead` and its name: the last one may reach
    /// over, so that a caller can fill a buffer to the brim.
    #[must_use]
    pub const fn with_max_bytes(bytes: usize, entry_overhead: usize) -> Self {
        Self::new(usize::MAX, bytes, entry_overhead)
    }

    const fn new(max_entries: usize, max_bytes: usize, entry_overhead: usize) -> Self {
        Self {
            names: Vec::new(),
            entries: Vec::new(),
            max_entries,
            max_bytes,
            entry_overhead,
            used_bytes: 0,
            whiteout_count: 0,
        }
    }

    /// Empties it and sets a new limit in bytes, keeping its memory.
    pub fn reset_max_bytes(&mut self, bytes: usize) {
        self.clear();
        self.max_bytes = bytes;
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.names.clear();
        self.entries.clear();
        self.used_bytes = 0;
        self.whiteout_count = 0;
    }

    /// Whether [`push`](Self::push) would refuse. An empty batch takes at least one entry.
    #[inline]
    #[must_use]
    pub fn is_full(&self) -> bool {
        !self.entries.is_empty() && (self.entries.len() >= self.max_entries || self.used_bytes >= self.max_bytes)
    }

    /// Adds an entry; `false` if the batch is full and the entry was not taken.
    #[inline]
    pub fn push(&mut self, entry: DirEntry<'_>) -> bool {
        if self.is_full() {
            return false;
        }
        let name = entry.name.as_bytes();
        self.whiteout_count += usize::from(entry.file_type == FileType::Whiteout);
        self.names.extend_from_slice(name);
        self.used_bytes = self.used_bytes.saturating_add(name.len()).saturating_add(self.entry_overhead);
        self.entries.push(Packed {
            name_end: self.names.len(),
            ino: entry.ino,
            cookie: entry.cookie,
            file_type: entry.file_type,
        });
        true
    }

    /// Lets a wrapper correct the entries from index `start` on: `edit` answers the `ino` to show, or `None` to leave
    /// the entry out.
    pub fn edit_from(&mut self, start: usize, mut edit: impl FnMut(&DirEntry<'_>) -> Option<u64>) {
        let mut name_start = start.checked_sub(1).and_then(|at| self.entries.get(at)).map_or(0, |last| last.name_end);
        let mut kept_end = name_start;
        let mut kept = start;
        for at in start..self.entries.len() {
            let Some(packed) = self.entries.get_mut(at) else { break };
            let range = name_start..packed.name_end;
            name_start = packed.name_end;
            let Some(name) = self.names.get(range.clone()) else { continue };
            let entry = DirEntry {
                name: Name::proven(name),
                ino: packed.ino,
                file_type: packed.file_type,
                cookie: packed.cookie,
            };
            match edit(&entry) {
                Some(ino) => {
                    packed.ino = ino;
                    // Nothing moves before something is left out.
                    if kept < at {
                        packed.name_end = kept_end.saturating_add(range.len());
                        let name_end = packed.name_end;
                        self.names.copy_within(range, kept_end);
                        self.entries.swap(kept, at);
                        kept_end = name_end;
                    } else {
                        kept_end = range.end;
                    }
                    kept = kept.saturating_add(1);
                }
                None => {
                    let is_whiteout = packed.file_type == FileType::Whiteout;
                    self.whiteout_count = self.whiteout_count.saturating_sub(usize::from(is_whiteout));
                    self.used_bytes = self.used_bytes.saturating_sub(range.len().saturating_add(self.entry_overhead));
                }
            }
        }
        self.entries.truncate(kept);
        self.names.truncate(kept_end);
    }

    /// The entries, in order.
    pub fn iter(&self) -> impl Iterator<Item = DirEntry<'_>> {
        let mut start = 0;
        self.entries.iter().map(move |packed| {
            // OK to index: every end was the length of `names` once, and they ascend.
            let name = Name::proven(&self.names[start..packed.name_end]);
            start = packed.name_end;
            DirEntry { name, ino: packed.ino, file_type: packed.file_type, cookie: packed.cookie }
        })
    }

    /// Count of entries.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Count of entries that are whiteouts.
    #[must_use]
    pub const fn whiteout_count(&self) -> usize {
        self.whiteout_count
    }

    /// Whether there are none: after a `read_dir` that means the end of the directory.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Where to go on after this batch.
    #[must_use]
    pub fn last_cookie(&self) -> Option<Cookie> {
        self.entries.last().map(|packed| packed.cookie)
    }
}

impl fmt::Debug for DirBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &[u8], number: u64) -> DirEntry<'_> {
        DirEntry { name: Name::new(name).unwrap(), ino: number, file_type: FileType::File, cookie: Cookie(number) }
    }

    fn shown(batch: &DirBatch) -> String {
        batch.iter().map(|entry| format!("{}={}@{} ", entry.name, entry.ino, entry.cookie.get())).collect()
    }

    #[test]
    fn fills_to_the_brim_and_always_takes_one() {
        let mut batch = DirBatch::with_max_bytes(50, 24);
        assert!(batch.push(entry(b"one", 1)) && batch.push(entry(b"two", 2)));
        assert!(!batch.push(entry(b"three", 3)), "54 of 50 bytes are filled");
        batch.reset_max_bytes(0);
        assert!(batch.push(entry(b"one", 1)) && !batch.push(entry(b"two", 2)));
    }

    #[test]
    fn editing_renumbers_and_drops_only_from_start() {
        let mut batch = DirBatch::with_max_entries(5);
        for (name, number) in [(&b"keep"[..], 1), (b"drop", 2), (b"x", 3), (b"drop", 4), (b"last", 5)] {
            assert!(batch.push(entry(name, number)));
        }
        batch.edit_from(1, |entry| (entry.name.as_bytes() != b"drop").then_some(entry.ino + 10));
        assert_eq!(shown(&batch), "keep=1@1 x=13@3 last=15@5 ");
        assert!(batch.push(entry(b"more", 6)));
        assert_eq!(shown(&batch), "keep=1@1 x=13@3 last=15@5 more=6@6 ");
    }
}
