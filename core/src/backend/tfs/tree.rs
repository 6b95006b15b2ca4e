//! The tree that a log gives: nodes in an arena, found by number, entries of directories by name.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use std::sync::OnceLock;

use bytes::Bytes;
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashTable};

use super::attribute::Attribute;
use super::extents::{Extents, Run};
use super::nodes::{Nodes, Seen};
use super::symbols::{Symbol, Symbols};
use super::time::Time;
use crate::attr::{Attr, Defaults, Device, FileType, Recorded};
use crate::checked::{min_len, to_u64};
use crate::errno::Errno;
use crate::error::{Corrupt, Result};
use crate::format::tfs::{Damage, SECTOR, TfsCorrupt};
use crate::fs::{Cookie, DirBatch, DirEntry, Entry, Extent, NodeId, shared_zeros};
use crate::limits::READ_SHARED_MAX;
use crate::name::Name;
use crate::source::Source;

/// Number of a node in the arena.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Slot(pub(super) u32);

impl Slot {
    pub(super) const ROOT: Self = Self(0);

    pub(super) fn index(self) -> usize {
        // OK: usize has at least 32 bits wherever this runs.
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// A node.
#[derive(Debug)]
pub(super) struct Node {
    /// Its number in the log's dictionary.
    pub(super) tuple: u32,
    /// Names; directories have one.
    pub(super) names: u32,
    pub(super) mtime: Time,
    pub(super) atime: Time,
    pub(super) meta: Option<Box<Meta>>,
    pub(super) body: Body,
}

/// What most nodes do not have.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Meta {
    pub(super) mode: Option<u16>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) opaque: bool,
    /// A change time that was given, until the next change.
    pub(super) ctime: Option<Time>,
    /// Everything that has no field of its own, by name.
    pub(super) attributes: Vec<(Bytes, Attribute)>,
}

/// What a node is.
#[derive(Debug)]
pub(super) enum Body {
    File(File),
    Dir(Box<Dir>),
    Symlink(Box<[u8]>),
    Socket,
    /// To Nanos an empty file.
    Special(Special),
}

/// Kinds of nodes that TFS does not have, kept as attributes of empty files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Special {
    Char(Device),
    Block(Device),
    Fifo,
    Whiteout,
}

impl Body {
    pub(super) const fn file_type(&self) -> FileType {
        match self {
            Self::File(_) => FileType::File,
            Self::Dir(_) => FileType::Dir,
            Self::Symlink(_) => FileType::Symlink,
            Self::Socket => FileType::Socket,
            Self::Special(Special::Char(_)) => FileType::Char,
            Self::Special(Special::Block(_)) => FileType::Block,
            Self::Special(Special::Fifo) => FileType::Fifo,
            Self::Special(Special::Whiteout) => FileType::Whiteout,
        }
    }
}

/// Content of a regular file.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) size: u64,
    pub(super) extents: Extents,
    /// Number of the tuple of extents in the log's dictionary; 0 if there is none.
    pub(super) extents_tuple: u32,
}

/// A directory.
#[derive(Debug)]
pub(super) struct Dir {
    pub(super) parent: Slot,
    /// Number of the tuple of entries in the log's dictionary.
    pub(super) children_tuple: u32,
    pub(super) subdirs: u32,
    pub(super) entries: Entries,
}

/// An entry of a directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named {
    /// Ascends within the directory, is never used again, and is the entry's cookie.
    serial: u64,
    pub(super) name: Symbol,
    /// `None` if the entry was removed.
    pub(super) node: Option<core::num::NonZeroU32>,
}

impl Named {
    pub(super) fn slot(&self) -> Option<Slot> {
        self.node.map(|node| Slot(node.get().saturating_sub(1)))
    }
}

/// Directories with more entries than this are searched by hash.
const LINEAR_MAX: usize = 8;

/// Names whose symbols follow one another, of nodes whose slots do.
#[derive(Clone, Copy, Debug)]
struct NameRun {
    name: Symbol,
    slot: Slot,
    /// 0 if there is none.
    count: u32,
}

impl Default for NameRun {
    fn default() -> Self {
        Self { name: Symbol(0), slot: Slot(0), count: 0 }
    }
}

impl NameRun {
    /// That of all of these, if it is one.
    fn of(named: &[(Symbol, Slot)]) -> Option<Self> {
        let [(name, slot), ..] = *named else { return None };
        let follow = |[(name, slot), (next_name, next_slot)]: &[(Symbol, Slot); 2]| {
            name.0.checked_add(1) == Some(next_name.0) && slot.0.checked_add(1) == Some(next_slot.0)
        };
        let is_run = named.array_windows().all(follow);
        let count = u32::try_from(named.len()).ok().filter(|_| is_run && named.len() > LINEAR_MAX)?;
        Some(Self { name, slot, count })
    }

    fn at(self, at: u32) -> Option<Named> {
        if at >= self.count {
            return None;
        }
        let node = core::num::NonZeroU32::new(self.slot.0.saturating_add(at).saturating_add(1));
        Some(Named { serial: u64::from(at).saturating_add(1), name: Symbol(self.name.0.saturating_add(at)), node })
    }

    fn find(self, name: Symbol) -> Option<Named> {
        self.at(name.0.checked_sub(self.name.0)?)
    }
}

/// The entries of one directory, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// All of them, as long as nothing changes, in a tree that came as a whole; then the list is empty.
    run: NameRun,
    list: Vec<Named>,
    /// Positions in the list; made when a name is looked for first, and only of a long list.
    table: OnceLock<Box<HashTable<u32>>>,
    live: u32,
    last_serial: u64,
}

/// Spreads symbol numbers, which are dense, over the table.
fn hash(name: Symbol) -> u64 {
    let product = u64::from(name.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ product >> 32
}

/// Where the names of a list are.
fn index(list: &[Named]) -> HashTable<u32> {
    let mut table = HashTable::with_capacity(list.len());
    for (position, _) in list.iter().enumerate().filter(|(_, named)| named.node.is_some()) {
        index_at(&mut table, list, position);
    }
    table
}

fn index_at(table: &mut HashTable<u32>, list: &[Named], position: usize) {
    let name_at = |position: u32| usize::try_from(position).ok().and_then(|at| list.get(at)).map(|named| named.name);
    // OK: a list of 2^32 entries is more than all symbols there can be.
    let Ok(position) = u32::try_from(position) else { return };
    let Some(name) = name_at(position) else { return };
    table.insert_unique(hash(name), position, |&at| name_at(at).map_or(0, hash));
}

impl Entries {
    pub(super) const fn is_empty(&self) -> bool {
        self.live == 0
    }

    pub(super) const fn count(&self) -> u32 {
        self.live
    }

    /// Makes the list, if there is none yet.
    fn list(&mut self) {
        let run = core::mem::take(&mut self.run);
        if run.count > 0 {
            self.list = (0..run.count).filter_map(|at| run.at(at)).collect();
        }
    }

    fn position(&self, name: Symbol) -> Option<usize> {
        let is = |named: &Named| named.name == name && named.node.is_some();
        if self.list.len() <= LINEAR_MAX && self.table.get().is_none() {
            return self.list.iter().position(is);
        }
        let table = self.table.get_or_init(|| Box::new(index(&self.list)));
        let at = |position: u32| self.list.get(usize::try_from(position).ok()?);
        let found = table.find(hash(name), |&position| at(position).is_some_and(is))?;
        usize::try_from(*found).ok()
    }

    pub(super) fn get(&self, name: Symbol) -> Option<Slot> {
        if self.run.count > 0 {
            return self.run.find(name)?.slot();
        }
        self.list.get(self.position(name)?)?.slot()
    }

    /// Adds an entry, or gives an existing one another node.
    pub(super) fn put(&mut self, name: Symbol, node: Slot) {
        self.list();
        if let Some(named) = self.position(name).and_then(|at| self.list.get_mut(at)) {
            named.node = core::num::NonZeroU32::new(node.0.saturating_add(1));
            return;
        }
        self.push(name, node);
    }

    /// Adds an entry with a name that is not there.
    fn push(&mut self, name: Symbol, node: Slot) {
        let node = core::num::NonZeroU32::new(node.0.saturating_add(1));
        self.last_serial = self.last_serial.saturating_add(1);
        self.list.push(Named { serial: self.last_serial, name, node });
        self.live = self.live.saturating_add(1);
        self.index(self.list.len().saturating_sub(1));
    }

    /// Entries with a name each.
    pub(super) fn of_unique(named: &[(Symbol, Slot)]) -> Self {
        let live = u32::try_from(named.len()).unwrap_or(u32::MAX);
        let (last_serial, table) = (live.into(), OnceLock::new());
        if let Some(run) = NameRun::of(named) {
            return Self { run, list: Vec::new(), table, live, last_serial };
        }
        let list = (1..).zip(named).map(|(serial, &(name, Slot(slot)))| {
            let node = core::num::NonZeroU32::new(slot.saturating_add(1));
            Named { serial, name, node }
        });
        Self { run: NameRun::default(), list: list.collect(), table, live, last_serial }
    }

    pub(super) fn remove(&mut self, name: Symbol) {
        self.list();
        let Some(position) = self.position(name) else { return };
        self.unindex(name, position);
        if let Some(named) = self.list.get_mut(position) {
            named.node = None;
        }
        self.live = self.live.saturating_sub(1);
        // Removed entries keep the order of the others; they go when they are the most.
        if self.list.len() > LINEAR_MAX && to_u64(self.list.len()) > u64::from(self.live).saturating_mul(2) {
            self.list.retain(|named| named.node.is_some());
            self.table = OnceLock::new();
        }
    }

    /// Gives the entry `from` the name `to`, which is free; it keeps its place in a listing.
    pub(super) fn rename(&mut self, from: Symbol, to: Symbol) {
        self.list();
        let Some(position) = self.position(from) else { return };
        self.unindex(from, position);
        if let Some(named) = self.list.get_mut(position) {
            named.name = to;
        }
        self.index(position);
    }

    /// Puts an entry into the table, if there is one.
    fn index(&mut self, position: usize) {
        if let Some(table) = self.table.get_mut() {
            index_at(table, &self.list, position);
        }
    }

    fn unindex(&mut self, name: Symbol, position: usize) {
        if let Some(table) = self.table.get_mut()
            && let Ok(found) = table.find_entry(hash(name), |&at| usize::try_from(at) == Ok(position))
        {
            found.remove();
        }
    }

    /// The entries behind a resume point.
    pub(super) fn after(&self, cookie: u64) -> impl Iterator<Item = (Named, Slot)> {
        let from = self.list.partition_point(|named| named.serial <= cookie);
        let rest = self.list.get(from..).unwrap_or_default().iter().copied();
        let run = self.run;
        // OK: the serial of an entry of a run is its place, counted from 1.
        let of_run = (u32::try_from(cookie).unwrap_or(u32::MAX)..run.count).filter_map(move |at| run.at(at));
        of_run.chain(rest).filter_map(|named| Some((named, named.slot()?)))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Named, Slot)> {
        self.after(0)
    }
}

/// All nodes.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) symbols: Symbols,
    pub(super) nodes: Nodes,
    /// How often each slot was used before; only trees that change have these.
    pub(super) generations: Vec<u32>,
    /// Files whose content cannot be read, and why.
    pub(super) damaged: HashMap<Slot, Damage, RandomState>,
    pub(super) defaults: Defaults,
    /// Where the file system begins in its image, for messages.
    pub(super) start: u64,
}

impl Tree {
    /// The id of the node in a slot.
    pub(super) fn id(&self, slot: Slot) -> NodeId {
        let generation = self.generations.get(slot.index()).copied().unwrap_or(0);
        NodeId::new(u64::from(generation) << 32 | u64::from(slot.0).saturating_add(1))
    }

    pub(super) fn slot(&self, id: NodeId) -> Result<Slot> {
        let low = id.get() & 0xffff_ffff;
        let slot = low.checked_sub(1).and_then(|slot| u32::try_from(slot).ok()).map(Slot).ok_or(Errno::Stale)?;
        if self.id(slot) == id { Ok(slot) } else { Err(Errno::Stale.into()) }
    }

    pub(super) fn at(&self, slot: Slot) -> Result<Seen<'_, Node>> {
        self.nodes.get(slot).ok_or_else(|| Errno::Stale.into())
    }

    pub(super) fn at_mut(&mut self, slot: Slot) -> Result<&mut Node> {
        self.nodes.get_mut(slot).ok_or_else(|| Errno::Stale.into())
    }

    pub(super) fn file_type(&self, slot: Slot) -> Result<FileType> {
        self.nodes.file_type(slot).ok_or_else(|| Errno::Stale.into())
    }

    /// A node that is no plain file: what plain files do not have, none of them has.
    fn other(&self, id: NodeId) -> Result<Option<&Node>> {
        let slot = self.slot(id)?;
        self.file_type(slot)?;
        Ok(self.nodes.get_other(slot))
    }

    pub(super) fn node(&self, id: NodeId) -> Result<Seen<'_, Node>> {
        self.at(self.slot(id)?)
    }

    pub(super) fn dir(&self, id: NodeId) -> Result<&Dir> {
        self.dir_at(self.slot(id)?)
    }

    pub(super) fn dir_at(&self, slot: Slot) -> Result<&Dir> {
        self.file_type(slot)?;
        match self.nodes.get_other(slot).map(|node| &node.body) {
            Some(Body::Dir(dir)) => Ok(dir),
            _ => Err(Errno::NotDir.into()),
        }
    }

    /// The content of a file.
    pub(super) fn file(&self, id: NodeId) -> Result<Seen<'_, File>> {
        let slot = self.slot(id)?;
        let file = self.file_at(slot)?;
        match self.damaged.get(&slot) {
            None => Ok(file),
            Some(damage) => Err(damage.in_image(self.start).into()),
        }
    }

    /// So too, be it damaged.
    pub(super) fn file_at(&self, slot: Slot) -> Result<Seen<'_, File>> {
        match self.nodes.file(slot) {
            Some(file) => Ok(file),
            None if self.file_type(slot)?.is_dir() => Err(Errno::IsDir.into()),
            None => Err(Errno::Invalid.into()),
        }
    }

    pub(super) fn lookup(&self, dir: NodeId, name: Name<'_>) -> Result<Entry> {
        let entries = &self.dir(dir)?.entries;
        let slot = self.symbols.get(name.as_bytes()).and_then(|name| entries.get(name)).ok_or(Errno::NotFound)?;
        Ok(Entry { node: self.id(slot), file_type: self.file_type(slot)? })
    }

    pub(super) fn read_dir(&self, dir: NodeId, from: Cookie, batch: &mut DirBatch) -> Result<()> {
        for (named, slot) in self.dir(dir)?.entries.after(from.get()) {
            let entry = DirEntry {
                // OK: only proven names get in.
                name: Name::proven(self.symbols.name(named.name)),
                ino: self.id(slot).get(),
                file_type: self.file_type(slot)?,
                cookie: Cookie::new(named.serial),
            };
            if !batch.push(entry) {
                break;
            }
        }
        Ok(())
    }

    /// Attributes, as far as the tree has them: unless it was given, the change time is the time of modification.
    pub(super) fn attr(&self, id: NodeId) -> Result<Attr> {
        let node = self.node(id)?;
        let (size, allocated) = match &node.body {
            Body::File(file) => (file.size, file.extents.allocated().saturating_mul(SECTOR)),
            Body::Symlink(target) => (to_u64(target.len()), 0),
            _ => (0, 0),
        };
        let (file_type, defaults) = (node.body.file_type(), &self.defaults);
        let meta = node.meta.as_deref();
        let mode = meta.and_then(|meta| meta.mode);
        let (uid, gid) = (meta.and_then(|meta| meta.uid), meta.and_then(|meta| meta.gid));
        let mtime = node.mtime.get();
        Ok(Attr {
            ino: id.get(),
            file_type,
            mode: mode.unwrap_or(defaults.mode(file_type)),
            nlink: match &node.body {
                Body::Dir(dir) if node.names > 0 => u64::from(dir.subdirs).saturating_add(2),
                _ => node.names.into(),
            },
            uid: uid.unwrap_or(defaults.uid),
            gid: gid.unwrap_or(defaults.gid),
            size,
            allocated,
            rdev: match &node.body {
                Body::Special(Special::Char(device) | Special::Block(device)) => Some(*device),
                _ => None,
            },
            atime: node.atime.get().or(mtime).unwrap_or(defaults.time),
            mtime: mtime.unwrap_or(defaults.time),
            ctime: meta.and_then(|meta| meta.ctime?.get()).or(mtime).unwrap_or(defaults.time),
            opaque: meta.is_some_and(|meta| meta.opaque),
            recorded: Recorded { mode: mode.is_some(), owner: uid.is_some() || gid.is_some(), mtime: mtime.is_some() },
        })
    }

    pub(super) fn read_link(&self, id: NodeId) -> Result<Bytes> {
        match self.other(id)?.map(|node| &node.body) {
            Some(Body::Symlink(target)) => Ok(Bytes::copy_from_slice(target)),
            _ => Err(Errno::Invalid.into()),
        }
    }

    pub(super) fn read_at(&self, source: &Arc<dyn Source>, id: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let file = self.file(id)?;
        let count = min_len(buf.len(), file.size.saturating_sub(offset));
        let mut rest = buf.get_mut(..count).unwrap_or_default();
        let mut offset = offset;
        while !rest.is_empty() {
            let (run, end) = match file.extents.run_at(offset) {
                Run::Data { at, end } => (Some(at), end),
                Run::Hole { end } => (None, end),
            };
            let (here, behind) = rest.split_at_mut(min_len(rest.len(), end.saturating_sub(offset)));
            match run {
                Some(at) => {
                    source.read_exact_at(at, here).map_err(|error| self.past_end(source, at, here.len(), error))?
                }
                None => here.fill(0),
            }
            offset = offset.saturating_add(to_u64(here.len()));
            rest = behind;
        }
        Ok(count)
    }

    pub(super) fn read_shared(&self, source: &Arc<dyn Source>, id: NodeId, offset: u64, len: usize) -> Result<Bytes> {
        let file = self.file(id)?;
        let len = to_u64(len.min(READ_SHARED_MAX)).min(file.size.saturating_sub(offset));
        if len == 0 {
            return Ok(Bytes::new());
        }
        match file.extents.run_at(offset) {
            Run::Data { at, end } => {
                let len = len.min(end.saturating_sub(offset));
                let bytes = source.bytes_at(at..at.saturating_add(len));
                bytes.map_err(|error| self.past_end(source, at, min_len(usize::MAX, len), error))
            }
            Run::Hole { end } => Ok(shared_zeros(len.min(end.saturating_sub(offset)))),
        }
    }

    /// Says that an extent is damaged where a read failed because the image ends.
    fn past_end(
        &self,
        source: &Arc<dyn Source>,
        at: u64,
        len: usize,
        error: crate::error::Error,
    ) -> crate::error::Error {
        let len = to_u64(len);
        if at.checked_add(len).is_some_and(|end| end <= source.len()) {
            return error;
        }
        let (sector, count, end) = (at / SECTOR, len.div_ceil(SECTOR), source.len() / SECTOR);
        Corrupt::new("tfs", at.saturating_add(self.start), TfsCorrupt::ExtentBeyondEnd { sector, count, end }).into()
    }

    pub(super) fn extent_at(&self, id: NodeId, offset: u64) -> Result<Extent> {
        let file = self.file(id)?;
        if offset >= file.size {
            return Err(Errno::NoSuchDevice.into());
        }
        let is_data = |offset| matches!(file.extents.run_at(offset), Run::Data { .. });
        let data = is_data(offset);
        let mut end = offset;
        // Runs that touch are one to the caller. Each step is an extent, of which there are finitely many.
        while end < file.size && is_data(end) == data {
            end = match file.extents.run_at(end) {
                Run::Data { end, .. } | Run::Hole { end } => end,
            };
        }
        let end = end.min(file.size);
        Ok(if data { Extent::Data { end } } else { Extent::Hole { end } })
    }

    /// The extended attributes of a node: everything called `namespace.name` that is a string.
    fn xattrs(&self, id: NodeId) -> Result<impl Iterator<Item = (&Bytes, &Bytes)>> {
        let meta = self.other(id)?.and_then(|node| node.meta.as_deref());
        let attributes = meta.map(|meta| &*meta.attributes).unwrap_or_default();
        Ok(attributes.iter().filter_map(|(name, value)| match value {
            Attribute::String(value) if name.contains(&b'.') => Some((name, value)),
            _ => None,
        }))
    }

    pub(super) fn xattr(&self, id: NodeId, name: &[u8]) -> Result<Bytes> {
        let found = self.xattrs(id)?.find(|(found, _)| **found == name);
        found.map(|(_, value)| value.clone()).ok_or_else(|| Errno::NoAttribute.into())
    }

    pub(super) fn xattr_names(&self, id: NodeId) -> Result<Vec<Bytes>> {
        let mut names: Vec<_> = self.xattrs(id)?.map(|(name, _)| name.clone()).collect();
        names.sort();
        Ok(names)
    }
}
