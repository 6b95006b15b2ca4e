//! The tree of an archive: nodes, entries and names in three arenas, found by hash.
//!
//! Nodes and entries are numbered in the order in which they came and never move, so that node ids are stable and an
//! entry's number serves as its cookie. A node takes 80 bytes, an entry 20, its name once its length, and its place in
//! the hash table about 6.

use alloc::vec::Vec;

use bytes::Bytes;
use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::LimitExceeded;
use crate::attr::{Device, FileType, Recorded};
use crate::checked::to_u64;
use crate::clock::Timestamp;
use crate::errno::Errno;
use crate::error::Result;
use crate::limits::IMAGE_ENTRIES_MAX;

/// Number of a node in its arena.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NodeIndex(pub(super) u32);

/// Number of an entry in its arena.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct EntryIndex(u32);

impl EntryIndex {
    /// In the place of an entry that is none.
    const NONE: Self = Self(u32::MAX);

    fn some(self) -> Option<Self> {
        (self != Self::NONE).then_some(self)
    }
}

impl NodeIndex {
    /// The root directory.
    pub(super) const ROOT: Self = Self(0);
}

/// A range of bytes in one of the sources.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stored {
    /// Which source.
    pub(super) source: u32,
    /// First byte.
    pub(super) offset: u64,
    /// Count of bytes.
    pub(super) len: u64,
}

/// What a node consists of besides its attributes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Content {
    /// A file of `size` bytes; those that are not stored are zeros.
    File { data: Stored, size: u64 },
    /// A directory.
    Dir(Dir),
    /// The target of a symbolic link.
    Symlink(Stored),
    /// A character device.
    Char(Device),
    /// A block device.
    Block(Device),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A file of which runs are stored, as the table of such files says.
    Sparse { table: u32, size: u64 },
    /// A marker that hides what lower layers have.
    Whiteout,
}

impl Content {
    /// A directory without entries, whose parent is set when it is added.
    pub(super) const EMPTY_DIR: Self = Self::Dir(Dir {
        parent: NodeIndex::ROOT,
        first: EntryIndex::NONE,
        last: EntryIndex::NONE,
        count: 0,
        subdirs: 0,
    });

    pub(super) const fn file_type(&self) -> FileType {
        match self {
            Self::File { .. } | Self::Sparse { .. } => FileType::File,
            Self::Dir(_) => FileType::Dir,
            Self::Symlink(_) => FileType::Symlink,
            Self::Char(_) => FileType::Char,
            Self::Block(_) => FileType::Block,
            Self::Fifo => FileType::Fifo,
            Self::Socket => FileType::Socket,
            Self::Whiteout => FileType::Whiteout,
        }
    }
}

/// A directory: a chain of entries in the order in which they came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Dir {
    pub(super) parent: NodeIndex,
    first: EntryIndex,
    last: EntryIndex,
    /// Entries that are there.
    pub(super) count: u32,
    /// Directories among them.
    pub(super) subdirs: u32,
}

/// A node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Node {
    pub(super) content: Content,
    pub(super) mtime: Timestamp,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Names; 0 for a node that was replaced. The root and every other directory have one.
    pub(super) names: u32,
    pub(super) mode: u16,
    pub(super) recorded: Recorded,
}

/// A name in a directory.
#[derive(Clone, Copy, Debug)]
struct Entry {
    dir: NodeIndex,
    node: NodeIndex,
    /// The next one in the same directory.
    next: EntryIndex,
    name_start: u32,
    name_len: u8,
    /// Of the node, which keeps it: listings need not look there.
    file_type: FileType,
    /// Whether it was removed again; such entries stay in the chain until [`Index::finish`].
    removed: bool,
}

/// All nodes of an archive.
#[derive(Debug)]
pub(super) struct Index {
    nodes: Vec<Node>,
    entries: Vec<Entry>,
    names: Vec<u8>,
    table: HashTable<EntryIndex>,
    hasher: RandomState,
    removals: u64,
}

impl Index {
    /// An index with a root directory and room for about `entries` more nodes.
    pub(super) fn new(root: Node, entries: usize) -> Self {
        let mut nodes = Vec::with_capacity(entries);
        nodes.push(root);
        Self {
            nodes,
            entries: Vec::with_capacity(entries),
            names: Vec::with_capacity(entries.saturating_mul(12)),
            table: HashTable::with_capacity(entries),
            hasher: RandomState::default(),
            removals: 0,
        }
    }

    /// How often an entry was removed. While this stays the same, a path that led somewhere leads there still: new
    /// entries never hide old ones.
    pub(super) const fn removals(&self) -> u64 {
        self.removals
    }

    pub(super) fn node(&self, node: NodeIndex) -> Option<&Node> {
        self.nodes.get(usize::try_from(node.0).ok()?)
    }

    pub(super) fn node_mut(&mut self, node: NodeIndex) -> Option<&mut Node> {
        self.nodes.get_mut(usize::try_from(node.0).ok()?)
    }

    pub(super) fn dir(&self, node: NodeIndex) -> Option<&Dir> {
        match &self.node(node)?.content {
            Content::Dir(dir) => Some(dir),
            _ => None,
        }
    }

    fn dir_mut(&mut self, node: NodeIndex) -> Option<&mut Dir> {
        match &mut self.node_mut(node)?.content {
            Content::Dir(dir) => Some(dir),
            _ => None,
        }
    }

    /// Count of nodes, replaced ones included.
    pub(super) fn node_count(&self) -> u64 {
        to_u64(self.nodes.len())
    }

    /// The entry called `name` in `dir`, and its node.
    pub(super) fn lookup(&self, dir: NodeIndex, name: &[u8]) -> Option<(EntryIndex, NodeIndex)> {
        let hash = hash(&self.hasher, dir, name);
        let entry = *self.table.find(hash, |&entry| is(&self.entries, &self.names, entry, dir, name))?;
        Some((entry, self.entry(entry)?.node))
    }

    /// Adds a node. It has no name yet.
    ///
    /// # Errors
    /// [`LimitExceeded::Entries`].
    pub(super) fn add_node(&mut self, node: Node) -> Result<NodeIndex> {
        let index = u32::try_from(self.nodes.len()).ok().filter(|count| *count < IMAGE_ENTRIES_MAX);
        let index = index.ok_or(LimitExceeded::Entries { max: IMAGE_ENTRIES_MAX })?;
        self.nodes.push(Node { names: 0, ..node });
        Ok(NodeIndex(index))
    }

    /// Gives `node` a name. The caller has looked: there is no such entry in `dir`, and `name` is at most 255 bytes.
    ///
    /// # Errors
    /// [`LimitExceeded`].
    pub(super) fn add_entry(&mut self, dir: NodeIndex, name: &[u8], node: NodeIndex) -> Result<EntryIndex> {
        let max = IMAGE_ENTRIES_MAX;
        let number = u32::try_from(self.entries.len()).ok().filter(|count| *count < max);
        let added = EntryIndex(number.ok_or(LimitExceeded::Entries { max })?);
        let name_start = u32::try_from(self.names.len()).map_err(|_| LimitExceeded::Names { max: u32::MAX })?;
        // OK: see above.
        let name_len = u8::try_from(name.len()).map_err(|_| LimitExceeded::Names { max: u32::MAX })?;
        let file_type = self.node(node).ok_or(Errno::Stale)?.content.file_type();
        self.names.extend_from_slice(name);
        let next = EntryIndex::NONE;
        self.entries.push(Entry { dir, node, next, name_start, name_len, file_type, removed: false });

        let hash = hash(&self.hasher, dir, name);
        let Self { table, entries, names, hasher, .. } = self;
        table.insert_unique(hash, added, |&entry| rehash(hasher, entries, names, entry));

        let mut is_dir = false;
        if let Some(node) = self.node_mut(node) {
            node.names = node.names.saturating_add(1);
            if let Content::Dir(child) = &mut node.content {
                child.parent = dir;
                is_dir = true;
            }
        }
        let mut before = None;
        if let Some(dir) = self.dir_mut(dir) {
            dir.count = dir.count.saturating_add(1);
            dir.subdirs = dir.subdirs.saturating_add(u32::from(is_dir));
            before = dir.last.some();
            dir.last = added;
            if before.is_none() {
                dir.first = added;
            }
        }
        if let Some(before) = before.and_then(|before| self.entry_mut(before)) {
            before.next = added;
        }
        Ok(added)
    }

    /// Takes a name away again. For a directory the caller has checked that it is empty.
    pub(super) fn remove_entry(&mut self, removed: EntryIndex) {
        let Some(&Entry { dir, node, .. }) = self.entry(removed) else { return };
        let hash = rehash(&self.hasher, &self.entries, &self.names, removed);
        if let Ok(found) = self.table.find_entry(hash, |&entry| entry == removed) {
            found.remove();
        }
        if let Some(entry) = self.entry_mut(removed) {
            entry.removed = true;
        }
        let mut was_dir = false;
        if let Some(node) = self.node_mut(node) {
            node.names = node.names.saturating_sub(1);
            was_dir = node.content.file_type().is_dir();
        }
        if let Some(dir) = self.dir_mut(dir) {
            dir.count = dir.count.saturating_sub(1);
            dir.subdirs = dir.subdirs.saturating_sub(u32::from(was_dir));
        }
        self.removals = self.removals.saturating_add(1);
    }

    /// Drops removed entries from the chains and gives unused memory back.
    pub(super) fn finish(&mut self) {
        if self.removals > 0 {
            for node in &mut self.nodes {
                if let Content::Dir(dir) = &mut node.content {
                    dir.first = EntryIndex::NONE;
                    dir.last = EntryIndex::NONE;
                }
            }
            for number in 0..u32::try_from(self.entries.len()).unwrap_or(u32::MAX) {
                let kept = EntryIndex(number);
                let Some(entry) = self.entry_mut(kept).filter(|entry| !entry.removed) else { continue };
                entry.next = EntryIndex::NONE;
                let dir = entry.dir;
                let Some(dir) = self.dir_mut(dir) else { continue };
                let before = dir.last.some();
                dir.last = kept;
                if before.is_none() {
                    dir.first = kept;
                }
                if let Some(before) = before.and_then(|before| self.entry_mut(before)) {
                    before.next = kept;
                }
            }
        }
        self.nodes.shrink_to_fit();
        self.entries.shrink_to_fit();
        self.names.shrink_to_fit();
    }

    /// The first entry of a directory.
    pub(super) fn first(&self, dir: &Dir) -> Option<EntryIndex> {
        dir.first.some()
    }

    /// The entry after `entry` in the same directory.
    pub(super) fn next(&self, entry: EntryIndex) -> Option<EntryIndex> {
        self.entry(entry)?.next.some()
    }

    /// Name of an entry, and its node with the type that it has.
    pub(super) fn get(&self, entry: EntryIndex) -> Option<(&[u8], NodeIndex, FileType)> {
        let found = self.entry(entry)?;
        Some((name(&self.names, found), found.node, found.file_type))
    }

    /// A resume point behind `entry`.
    pub(super) fn cookie(entry: EntryIndex) -> u64 {
        u64::from(entry.0).saturating_add(1)
    }

    /// The entry of `dir` that a resume point stands behind.
    pub(super) fn entry_at_cookie(&self, dir: NodeIndex, cookie: u64) -> Option<EntryIndex> {
        let entry = EntryIndex(u32::try_from(cookie.checked_sub(1)?).ok()?);
        let found = self.entry(entry)?;
        (found.dir == dir && !found.removed).then_some(entry)
    }

    fn entry(&self, entry: EntryIndex) -> Option<&Entry> {
        entry_of(&self.entries, entry)
    }

    fn entry_mut(&mut self, entry: EntryIndex) -> Option<&mut Entry> {
        self.entries.get_mut(usize::try_from(entry.0).ok()?)
    }
}

fn entry_of(entries: &[Entry], entry: EntryIndex) -> Option<&Entry> {
    entries.get(usize::try_from(entry.0).ok()?)
}

fn name<'a>(names: &'a [u8], entry: &Entry) -> &'a [u8] {
    let Ok(start) = usize::try_from(entry.name_start) else { return &[] };
    names.get(start..start.saturating_add(usize::from(entry.name_len))).unwrap_or_default()
}

fn is(entries: &[Entry], names: &[u8], entry: EntryIndex, dir: NodeIndex, wanted: &[u8]) -> bool {
    entry_of(entries, entry).is_some_and(|entry| entry.dir == dir && name(names, entry) == wanted)
}

fn hash(hasher: &RandomState, dir: NodeIndex, name: &[u8]) -> u64 {
    use core::hash::{BuildHasher, Hasher};

    let mut hasher = hasher.build_hasher();
    hasher.write_u32(dir.0);
    hasher.write(name);
    hasher.finish()
}

fn rehash(hasher: &RandomState, entries: &[Entry], names: &[u8], entry: EntryIndex) -> u64 {
    entry_of(entries, entry).map_or(0, |entry| hash(hasher, entry.dir, name(names, entry)))
}

/// Bytes of `stored`: a slice of a source.
pub(super) fn bytes_of(sources: &[alloc::sync::Arc<dyn crate::source::Source>], stored: Stored) -> Result<Bytes> {
    if stored.len == 0 {
        return Ok(Bytes::new());
    }
    let source = usize::try_from(stored.source).ok().and_then(|source| sources.get(source));
    let source = source.ok_or(Errno::Io)?;
    source.bytes_at(stored.offset..stored.offset.saturating_add(stored.len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_know_the_types_of_their_nodes() {
        let root = Node {
            content: Content::EMPTY_DIR,
            mtime: Timestamp::default(),
            uid: 0,
            gid: 0,
            names: 1,
            mode: 0o755,
            recorded: Recorded::NONE,
        };
        let mut index = Index::new(root, 0);
        for (name, content) in [(b"a", Content::Fifo), (b"b", Content::EMPTY_DIR), (b"c", Content::Whiteout)] {
            let node = index.add_node(Node { content, ..root }).unwrap();
            let entry = index.add_entry(NodeIndex::ROOT, name, node).unwrap();
            assert_eq!(index.get(entry), Some((&name[..], node, content.file_type())));
        }
        index.add_entry(NodeIndex::ROOT, b"d", NodeIndex(9)).expect_err("there is no such node");
        assert!(index.lookup(NodeIndex::ROOT, b"d").is_none());
    }

    #[test]
    fn records_stay_small() {
        assert!(size_of::<Node>() <= 80, "{}", size_of::<Node>());
        assert!(size_of::<Entry>() <= 20, "{}", size_of::<Entry>());
    }
}
