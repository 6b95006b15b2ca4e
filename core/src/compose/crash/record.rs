//! Changes of a tree, written down in the order in which they happen.
//!
//! # Lock
//! The log's. Changes are made under it, against the rule that nobody else is called under a lock: that is what puts
//! them down in their true order. The filesystem below knows nothing of the recorder, so it cannot come back.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::attr::{Attr, SetAttr};
use crate::checked::to_u64;
use crate::error::Result;
use crate::fs::{
    Allocate, Cookie, DirBatch, Entry, Extent, FileSystem, FileSystemExt, FsInfo, NewKind, NewNode, NodeId, OpenFile,
    RenameMode, Snapshot, SyncScope, WritableFileSystem, WriteAt, Written, XattrMode,
};
use crate::name::{Name, escape};

/// Changes that are recorded at most, and bytes that they may write.
const STEPS_MAX: usize = 1_000_000;
const BYTES_MAX: u64 = 1 << 30;

/// A node of a recording, by the order in which nodes were first seen; the root is the first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeNumber(u32);

impl NodeNumber {
    pub(super) const ROOT: Self = Self(0);
}

/// A change, and where the recording stood otherwise.
#[derive(Clone, Debug)]
pub struct Step {
    /// What was changed.
    pub change: Change,
    /// What the recorder's mark said just before.
    pub mark: u64,
}

/// A change of the tree, or a wish that changes be durable. All were successful.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "fields are called as the arguments of the calls on `WritableFileSystem`")]
pub enum Change {
    /// A node was made.
    Create { dir: NodeNumber, name: Box<[u8]>, node: NodeNumber, kind: Kind, mode: u16, uid: u32, gid: u32 },
    /// A node got one more name.
    Link { node: NodeNumber, dir: NodeNumber, name: Box<[u8]> },
    /// A name of a node that is no directory was removed.
    Unlink { dir: NodeNumber, name: Box<[u8]>, node: Option<NodeNumber> },
    /// A directory was removed.
    RemoveDir { dir: NodeNumber, name: Box<[u8]>, node: Option<NodeNumber> },
    /// An entry was moved; `replaced` is what had the new name.
    Rename {
        from_dir: NodeNumber,
        from: Box<[u8]>,
        to_dir: NodeNumber,
        to: Box<[u8]>,
        mode: RenameMode,
        node: Option<NodeNumber>,
        replaced: Option<NodeNumber>,
    },
    /// Bytes were written.
    Write { node: NodeNumber, offset: u64, data: Bytes },
    /// Attributes were changed.
    SetAttr { node: NodeNumber, changes: SetAttr },
    /// A range was reserved or freed.
    Allocate { node: NodeNumber, what: Allocate, range: Range<u64> },
    /// An extended attribute was set.
    SetXattr { node: NodeNumber, name: Box<[u8]>, value: Bytes, mode: XattrMode },
    /// An extended attribute was removed.
    RemoveXattr { node: NodeNumber, name: Box<[u8]> },
    /// What was asked for is durable.
    Sync(Synced),
}

/// [`SyncScope`], of a recording.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Synced {
    /// Content.
    Data(NodeNumber),
    /// Content and attributes; of a directory, its entries.
    Node(NodeNumber),
    /// Everything.
    All,
}

/// [`NewKind`], owning its target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Symbolic link with this target.
    Symlink(Box<[u8]>),
    /// Anything else.
    Other(NewKind<'static>),
}

impl Kind {
    fn of(kind: NewKind<'_>) -> Self {
        Self::Other(match kind {
            NewKind::Symlink(target) => return Self::Symlink(target.into()),
            NewKind::File => NewKind::File,
            NewKind::Dir => NewKind::Dir,
            NewKind::Char(device) => NewKind::Char(device),
            NewKind::Block(device) => NewKind::Block(device),
            NewKind::Fifo => NewKind::Fifo,
            NewKind::Socket => NewKind::Socket,
            NewKind::Whiteout => NewKind::Whiteout,
        })
    }

    pub(super) fn borrowed(&self) -> NewKind<'_> {
        match self {
            Self::Symlink(target) => NewKind::Symlink(target),
            Self::Other(kind) => *kind,
        }
    }
}

/// A name in a directory.
pub(super) type Place = (NodeNumber, Box<[u8]>);

/// What was recorded.
#[derive(Debug, Default)]
pub struct Recording {
    steps: Vec<Step>,
    /// Where a node was at the beginning, by its number; `None` for those that were made later, and the root.
    origins: Vec<Option<Place>>,
    is_cut_off: bool,
}

impl Recording {
    /// The changes, in their order.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Whether there were more changes than a recording holds.
    #[must_use]
    pub const fn is_cut_off(&self) -> bool {
        self.is_cut_off
    }

    pub(super) fn origins(&self) -> impl Iterator<Item = (NodeNumber, &Place)> {
        let number = |(at, origin): (usize, _)| Some((NodeNumber(u32::try_from(at).ok()?), origin));
        self.origins
            .iter()
            .enumerate()
            .filter_map(number)
            .filter_map(|(node, origin): (_, &Option<_>)| origin.as_ref().map(|origin| (node, origin)))
    }

    /// A change in words: `write /etc/motd 0..12`. Paths are those that the nodes had then.
    #[must_use]
    pub fn describe(&self, step: usize) -> String {
        let names = self.names_before(step);
        let path = |node: NodeNumber| path_of(&names, node);
        let entry = |dir: NodeNumber, name: &[u8]| {
            let dir = path(dir);
            format!("{}/{}", if dir == "/" { "" } else { &dir }, escape(name))
        };
        let Some(Step { change, .. }) = self.steps.get(step) else { return String::new() };
        match change {
            Change::Create { dir, name, kind, .. } => {
                let word = match kind.borrowed() {
                    NewKind::File => "create",
                    NewKind::Dir => "mkdir",
                    NewKind::Symlink(_) => "symlink",
                    _ => "mknod",
                };
                format!("{word} {}", entry(*dir, name))
            }
            Change::Link { node, dir, name } => format!("link {} to {}", path(*node), entry(*dir, name)),
            Change::Unlink { dir, name, .. } => format!("unlink {}", entry(*dir, name)),
            Change::RemoveDir { dir, name, .. } => format!("rmdir {}", entry(*dir, name)),
            Change::Rename { from_dir, from, to_dir, to, .. } => {
                format!("rename {} to {}", entry(*from_dir, from), entry(*to_dir, to))
            }
            Change::Write { node, offset, data } => {
                format!("write {} {offset}..{}", path(*node), offset.saturating_add(to_u64(data.len())))
            }
            Change::SetAttr { node, changes } => match changes.size {
                Some(size) => format!("truncate {} to {size}", path(*node)),
                None => format!("setattr {}", path(*node)),
            },
            Change::Allocate { node, range, .. } => format!("allocate {} {}..{}", path(*node), range.start, range.end),
            Change::SetXattr { node, .. } => format!("setxattr {}", path(*node)),
            Change::RemoveXattr { node, .. } => format!("rmxattr {}", path(*node)),
            Change::Sync(Synced::Data(node)) => format!("sync data of {}", path(*node)),
            Change::Sync(Synced::Node(node)) => format!("sync {}", path(*node)),
            Change::Sync(Synced::All) => "sync everything".to_string(),
        }
    }

    fn names_before(&self, step: usize) -> HashMap<NodeNumber, Place, RandomState> {
        let mut names: HashMap<_, _, RandomState> = self.origins().map(|(node, place)| (node, place.clone())).collect();
        for Step { change, .. } in self.steps.iter().take(step) {
            match change {
                Change::Create { dir, name, node, .. } | Change::Link { dir, name, node } => {
                    names.insert(*node, (*dir, name.clone()));
                }
                Change::Rename { from_dir, from, to_dir, to, node, replaced, mode } => {
                    if let Some(node) = node {
                        names.insert(*node, (*to_dir, to.clone()));
                    }
                    if let Some(replaced) = replaced.filter(|_| *mode == RenameMode::Exchange) {
                        names.insert(replaced, (*from_dir, from.clone()));
                    }
                }
                _ => {}
            }
        }
        names
    }
}

fn path_of(names: &HashMap<NodeNumber, Place, RandomState>, node: NodeNumber) -> String {
    let mut parts = Vec::new();
    let mut at = node;
    // No deeper than there are names: a rename of a directory into itself is refused, so there is no ring.
    while let Some((dir, name)) = names.get(&at).filter(|_| parts.len() <= names.len()) {
        parts.push(escape(name).to_string());
        at = *dir;
    }
    parts.reverse();
    format!("/{}", parts.join("/"))
}

/// A filesystem whose changes are recorded.
pub struct Recorder {
    fs: Arc<dyn FileSystem>,
    log: Mutex<Log>,
    mark: Box<dyn Fn() -> u64 + Send + Sync>,
}

#[derive(Default)]
struct Log {
    known: HashMap<NodeId, Known, RandomState>,
    recording: Recording,
    bytes: u64,
}

/// A node that was seen. It is kept, so that its id stays what it is, until it has no name any more.
struct Known {
    number: NodeNumber,
    /// References that callers hold.
    refs: u64,
    /// One more is held here.
    is_kept: bool,
}

impl Recorder {
    /// Records the changes of `fs`, which nobody else changes meanwhile. `mark` is asked before each.
    #[must_use]
    pub fn new(fs: Arc<dyn FileSystem>, mark: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        let mut log = Log::default();
        log.known.insert(fs.root(), Known { number: NodeNumber::ROOT, refs: 0, is_kept: false });
        log.recording.origins.push(None);
        Self { fs, log: Mutex::new(log), mark: Box::new(mark) }
    }

    /// What was recorded so far; nothing of it is kept.
    #[must_use]
    pub fn take(&self) -> Recording {
        let mut log = self.log();
        let origins = log.recording.origins.clone();
        let steps = core::mem::take(&mut log.recording.steps);
        Recording { steps, origins, is_cut_off: log.recording.is_cut_off }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writable(&self) -> Result<&dyn WritableFileSystem> {
        self.fs.writable()
    }

    /// Makes a change and writes it down, if it is done.
    fn change<T>(
        &self,
        make: impl FnOnce(&mut Log) -> Result<T>,
        change: impl FnOnce(&mut Log, &T) -> Option<Change>,
    ) -> Result<T> {
        let mut log = self.log();
        let mark = (self.mark)();
        let made = make(&mut log)?;
        if let Some(change) = change(&mut log, &made) {
            log.push(change, mark);
        }
        Ok(made)
    }

    /// The node called `name`, which is seen thereby.
    fn peek(&self, log: &mut Log, dir: NodeId, name: Name<'_>) -> Option<(NodeId, NodeNumber)> {
        let Entry { node, .. } = self.fs.lookup(dir, name).ok()?;
        if let Some(known) = log.known.get(&node) {
            self.fs.forget(node, 1);
            return Some((node, known.number));
        }
        let number = log.see(node, log.origin(dir, name))?;
        if let Some(known) = log.known.get_mut(&node) {
            known.is_kept = true;
        }
        Some((node, number))
    }

    /// Lets go of a node that lost a name, if it was the last one and nobody holds it; its number, for the record.
    fn let_go(&self, log: &mut Log, seen: Option<(NodeId, NodeNumber)>) -> Option<NodeNumber> {
        let (node, number) = seen?;
        let is_held_here = log.known.get(&node).is_some_and(|known| known.is_kept && known.refs == 0);
        if is_held_here && self.fs.attr(node).is_ok_and(|attr| attr.nlink == 0) {
            log.known.remove(&node);
            self.fs.forget(node, 1);
        }
        Some(number)
    }

    /// A change of a node that is referenced, and so was seen.
    fn on_node<T>(
        &self,
        node: NodeId,
        make: impl FnOnce() -> Result<T>,
        change: impl FnOnce(NodeNumber, &T) -> Option<Change>,
    ) -> Result<T> {
        self.change(|_| make(), |log, made| change(log.number(node)?, made))
    }
}

impl Log {
    fn number(&self, node: NodeId) -> Option<NodeNumber> {
        self.known.get(&node).map(|known| known.number)
    }

    fn origin(&self, dir: NodeId, name: Name<'_>) -> Option<Place> {
        Some((self.number(dir)?, name.as_bytes().into()))
    }

    fn see(&mut self, node: NodeId, origin: Option<Place>) -> Option<NodeNumber> {
        let number = NodeNumber(u32::try_from(self.recording.origins.len()).ok()?);
        self.recording.origins.push(origin);
        self.known.insert(node, Known { number, refs: 0, is_kept: false });
        Some(number)
    }

    fn push(&mut self, change: Change, mark: u64) {
        if let Change::Write { data, .. } = &change {
            self.bytes = self.bytes.saturating_add(to_u64(data.len()));
        }
        let recording = &mut self.recording;
        recording.is_cut_off |= recording.steps.len() >= STEPS_MAX || self.bytes > BYTES_MAX;
        if !recording.is_cut_off {
            recording.steps.push(Step { change, mark });
        }
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("fs", &self.fs).finish_non_exhaustive()
    }
}

impl FileSystem for Recorder {
    fn root(&self) -> NodeId {
        self.fs.root()
    }

    fn lookup(&self, dir: NodeId, name: Name<'_>) -> Result<Entry> {
        let mut log = self.log();
        let entry = self.fs.lookup(dir, name)?;
        if !log.known.contains_key(&entry.node) {
            // What nobody saw was never moved: it is where it always was.
            let origin = log.origin(dir, name);
            log.see(entry.node, origin);
        }
        if let Some(known) = log.known.get_mut(&entry.node) {
            known.refs = known.refs.saturating_add(1);
        }
        Ok(entry)
    }

    fn forget(&self, node: NodeId, count: u64) {
        let mut log = self.log();
        let Some(known) = log.known.get_mut(&node).filter(|_| node != self.fs.root()) else { return };
        known.refs = known.refs.saturating_sub(count);
        if known.refs > 0 {
            return self.fs.forget(node, count);
        }
        if self.fs.attr(node).is_ok_and(|attr| attr.nlink == 0) {
            let kept = u64::from(known.is_kept);
            log.known.remove(&node);
            return self.fs.forget(node, count.saturating_add(kept));
        }
        let keep = u64::from(!known.is_kept);
        known.is_kept = true;
        if count > keep {
            self.fs.forget(node, count.saturating_sub(keep));
        }
    }

    fn attr(&self, node: NodeId) -> Result<Attr> {
        self.fs.attr(node)
    }

    fn read_link(&self, node: NodeId) -> Result<Bytes> {
        self.fs.read_link(node)
    }

    fn read_dir(&self, dir: NodeId, from: Cookie, batch: &mut DirBatch) -> Result<()> {
        self.fs.read_dir(dir, from, batch)
    }

    fn read_at(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.fs.read_at(node, offset, buf)
    }

    fn read_shared(&self, node: NodeId, offset: u64, len: usize) -> Result<Bytes> {
        self.fs.read_shared(node, offset, len)
    }

    fn snapshot(&self, node: NodeId) -> Result<Option<Snapshot>> {
        self.fs.snapshot(node)
    }

    fn extent_at(&self, node: NodeId, offset: u64) -> Result<Extent> {
        self.fs.extent_at(node, offset)
    }

    fn xattr(&self, node: NodeId, name: &[u8]) -> Result<Bytes> {
        self.fs.xattr(node, name)
    }

    fn xattr_names(&self, node: NodeId) -> Result<Vec<Bytes>> {
        self.fs.xattr_names(node)
    }

    fn names_version(&self) -> Option<u64> {
        self.fs.names_version()
    }

    fn info(&self) -> FsInfo {
        self.fs.info()
    }

    fn as_writable(&self) -> Option<&dyn WritableFileSystem> {
        self.fs.as_writable().map(|_| self as &dyn WritableFileSystem)
    }
}

impl WritableFileSystem for Recorder {
    fn create(&self, dir: NodeId, name: Name<'_>, node: &NewNode<'_>) -> Result<Entry> {
        self.change(
            |_| self.writable()?.create(dir, name, node),
            |log, entry| {
                let number = log.see(entry.node, None)?;
                if let Some(known) = log.known.get_mut(&entry.node) {
                    known.refs = 1;
                }
                let kind = Kind::of(node.kind);
                let NewNode { mode, uid, gid, .. } = *node;
                let dir = log.number(dir)?;
                Some(Change::Create { dir, name: name.as_bytes().into(), node: number, kind, mode, uid, gid })
            },
        )
    }

    fn link(&self, node: NodeId, dir: NodeId, name: Name<'_>) -> Result<()> {
        self.change(
            |_| self.writable()?.link(node, dir, name),
            |log, ()| {
                let (node, dir) = (log.number(node)?, log.number(dir)?);
                Some(Change::Link { node, dir, name: name.as_bytes().into() })
            },
        )
    }

    fn unlink(&self, dir: NodeId, name: Name<'_>) -> Result<()> {
        let remove = |log: &mut Log| {
            let node = self.peek(log, dir, name);
            self.writable()?.unlink(dir, name)?;
            Ok(self.let_go(log, node))
        };
        let change = |log: &mut Log, node: &Option<NodeNumber>| {
            Some(Change::Unlink { dir: log.number(dir)?, name: name.as_bytes().into(), node: *node })
        };
        self.change(remove, change).map(drop)
    }

    fn remove_dir(&self, dir: NodeId, name: Name<'_>) -> Result<()> {
        let remove = |log: &mut Log| {
            let node = self.peek(log, dir, name);
            self.writable()?.remove_dir(dir, name)?;
            Ok(self.let_go(log, node))
        };
        let change = |log: &mut Log, node: &Option<NodeNumber>| {
            Some(Change::RemoveDir { dir: log.number(dir)?, name: name.as_bytes().into(), node: *node })
        };
        self.change(remove, change).map(drop)
    }

    fn rename(&self, from_dir: NodeId, from: Name<'_>, to_dir: NodeId, to: Name<'_>, mode: RenameMode) -> Result<()> {
        let rename = |log: &mut Log| {
            let (node, replaced) = (self.peek(log, from_dir, from), self.peek(log, to_dir, to));
            self.writable()?.rename(from_dir, from, to_dir, to, mode)?;
            Ok((node.map(|(_, number)| number), self.let_go(log, replaced)))
        };
        let change = |log: &mut Log, (node, replaced): &(Option<NodeNumber>, Option<NodeNumber>)| {
            let (from_dir, to_dir) = (log.number(from_dir)?, log.number(to_dir)?);
            let (from, to) = (from.as_bytes().into(), to.as_bytes().into());
            // Two names of one node: nothing is done.
            (node != replaced || node.is_none()).then_some(Change::Rename {
                from_dir,
                from,
                to_dir,
                to,
                mode,
                node: *node,
                replaced: *replaced,
            })
        };
        self.change(rename, change).map(drop)
    }

    fn write_at(&self, node: NodeId, at: WriteAt, buf: &[u8]) -> Result<Written> {
        self.on_node(
            node,
            || self.writable()?.write_at(node, at, buf),
            |node, written| {
                let data = Bytes::copy_from_slice(buf.get(..written.count).filter(|data| !data.is_empty())?);
                Some(Change::Write { node, offset: written.end.saturating_sub(to_u64(written.count)), data })
            },
        )
    }

    /// Every write is to be recorded.
    fn open_file(&self, _: NodeId) -> Result<Option<Arc<dyn OpenFile>>> {
        Ok(None)
    }

    fn write_shared(&self, node: NodeId, offset: u64, data: Bytes) -> Result<()> {
        let written = data.clone();
        self.on_node(
            node,
            || self.writable()?.write_shared(node, offset, data),
            |node, ()| (!written.is_empty()).then_some(Change::Write { node, offset, data: written }),
        )
    }

    fn set_attr(&self, node: NodeId, changes: &SetAttr) -> Result<Attr> {
        let set = || self.writable()?.set_attr(node, changes);
        self.on_node(node, set, |node, _| Some(Change::SetAttr { node, changes: *changes }))
    }

    fn allocate(&self, node: NodeId, what: Allocate, range: Range<u64>) -> Result<()> {
        let allocate = || self.writable()?.allocate(node, what, range.clone());
        self.on_node(node, allocate, |node, ()| Some(Change::Allocate { node, what, range: range.clone() }))
    }

    fn set_xattr(&self, node: NodeId, name: &[u8], value: &[u8], mode: XattrMode) -> Result<()> {
        let set = || self.writable()?.set_xattr(node, name, value, mode);
        self.on_node(node, set, |node, ()| {
            Some(Change::SetXattr { node, name: name.into(), value: Bytes::copy_from_slice(value), mode })
        })
    }

    fn remove_xattr(&self, node: NodeId, name: &[u8]) -> Result<()> {
        let remove = || self.writable()?.remove_xattr(node, name);
        self.on_node(node, remove, |node, ()| Some(Change::RemoveXattr { node, name: name.into() }))
    }

    fn sync(&self, scope: SyncScope) -> Result<()> {
        self.change(
            |_| self.writable()?.sync(scope),
            |log, ()| {
                Some(Change::Sync(match scope {
                    SyncScope::Data(node) => Synced::Data(log.number(node)?),
                    SyncScope::Node(node) => Synced::Node(log.number(node)?),
                    SyncScope::All => Synced::All,
                }))
            },
        )
    }
}
