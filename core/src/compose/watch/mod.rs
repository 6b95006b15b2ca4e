//! A filesystem with somebody watching: each call can be seen, refused, cut short or slowed down before it reaches the
//! filesystem below.
//!
//! Filesystems know no paths; here the path is remembered by which each node was found last, so that a [`Watcher`] can
//! speak of `/var/log/x`. [`trace`](super::trace) and [`fault`](super::fault) are watchers.
//!
//! The one lock is the table of paths; neither the watcher nor the filesystem below is called under it.

mod op;
mod places;
#[cfg(test)]
mod tests;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Debug;
use core::ops::Range;
use core::time::Duration;
use std::time::Instant;

use bytes::Bytes;

pub use self::op::{Args, Done, Op, OpKind};
use self::places::Places;
use crate::attr::{Attr, SetAttr};
use crate::checked::to_u64;
use crate::error::{Error, Result};
use crate::fs::{
    Allocate, Cookie, DirBatch, Entry, Extent, FileSystem, FileSystemExt, FsInfo, NewNode, NodeId, OpenFile,
    RenameMode, Snapshot, SyncScope, WritableFileSystem, WriteAt, Written, XattrMode,
};
use crate::name::Name;

/// Who watches.
pub trait Watcher: Debug + Send + Sync + 'static {
    /// Whether calls of this kind are of any interest; the others are passed on at once.
    fn watches(&self, kind: OpKind) -> bool;

    /// Is asked before a call, and answers how many bytes it may read or write at most.
    ///
    /// # Errors
    /// The call is not made, and answers this.
    fn before(&self, op: &Op<'_>) -> Result<usize>;

    /// Is told how the call ended, refused ones included, and how long it took.
    fn after(&self, op: &Op<'_>, result: core::result::Result<Done<'_>, &Error>, took: Duration);
}

/// See the module.
#[derive(Debug)]
pub struct Watched {
    fs: Arc<dyn FileSystem>,
    watcher: Arc<dyn Watcher>,
    places: Places,
}

impl Watched {
    /// `fs`, watched by `watcher`.
    #[must_use]
    pub fn new(fs: Arc<dyn FileSystem>, watcher: Arc<dyn Watcher>) -> Self {
        let places = Places::new(fs.root());
        Self { fs, watcher, places }
    }

    fn watches(&self, kind: OpKind) -> bool {
        self.watcher.watches(kind)
    }

    fn run<T>(
        &self,
        op: &Op<'_>,
        call: impl FnOnce(usize) -> Result<T>,
        done: impl FnOnce(&T) -> Done<'_>,
    ) -> Result<T> {
        let start = Instant::now();
        let result = self.watcher.before(op).and_then(call);
        self.watcher.after(op, result.as_ref().map(done), start.elapsed());
        result
    }

    fn on_node<T>(
        &self,
        kind: OpKind,
        node: NodeId,
        args: Args<'_>,
        call: impl FnOnce(usize) -> Result<T>,
        done: impl FnOnce(&T) -> Done<'_>,
    ) -> Result<T> {
        if !self.watches(kind) {
            return call(usize::MAX);
        }
        self.run(&Op { kind, path: &self.places.path(node), args }, call, done)
    }

    fn on_name<T>(
        &self,
        kind: OpKind,
        dir: NodeId,
        name: Name<'_>,
        args: Args<'_>,
        call: impl FnOnce() -> Result<T>,
        done: impl FnOnce(&T) -> Done<'_>,
    ) -> Result<T> {
        if !self.watches(kind) {
            return call();
        }
        self.run(&Op { kind, path: &self.places.path_in(dir, name), args }, |_| call(), done)
    }

    fn writable(&self) -> Result<&dyn WritableFileSystem> {
        self.fs.writable()
    }

    /// The node called `name`, for telling where it is after a rename.
    fn peek(&self, dir: NodeId, name: Name<'_>) -> Option<NodeId> {
        let entry = self.fs.lookup(dir, name).ok()?;
        self.fs.forget(entry.node, 1);
        Some(entry.node)
    }
}

const fn nothing(_: &()) -> Done<'_> {
    Done::Nothing
}

const fn entry_type(entry: &Entry) -> Done<'_> {
    Done::Type(entry.file_type)
}

const fn type_and_size(attr: &Attr) -> Done<'_> {
    Done::Attr(attr.file_type, attr.size)
}

fn written_count(written: &Written) -> Done<'_> {
    Done::Count(to_u64(written.count))
}

impl FileSystem for Watched {
    fn root(&self) -> NodeId {
        self.fs.root()
    }

    fn lookup(&self, dir: NodeId, name: Name<'_>) -> Result<Entry> {
        let entry = self.on_name(OpKind::Lookup, dir, name, Args::None, || self.fs.lookup(dir, name), entry_type)?;
        self.places.found(dir, name, entry.node);
        Ok(entry)
    }

    fn forget(&self, node: NodeId, count: u64) {
        self.places.forget(node, count);
        self.fs.forget(node, count);
    }

    fn attr(&self, node: NodeId) -> Result<Attr> {
        self.on_node(OpKind::Attr, node, Args::None, |_| self.fs.attr(node), type_and_size)
    }

    fn read_link(&self, node: NodeId) -> Result<Bytes> {
        self.on_node(OpKind::ReadLink, node, Args::None, |_| self.fs.read_link(node), |target| Done::Bytes(target))
    }

    fn read_dir(&self, dir: NodeId, from: Cookie, batch: &mut DirBatch) -> Result<()> {
        let before = batch.len();
        let listed = |_| {
            self.fs.read_dir(dir, from, batch)?;
            Ok(batch.len().saturating_sub(before))
        };
        self.on_node(OpKind::ReadDir, dir, Args::From(from), listed, |&count| Done::Count(to_u64(count))).map(drop)
    }

    fn read_at(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let args = Args::Read(offset, buf.len());
        let read = |max: usize| {
            let len = buf.len().min(max);
            self.fs.read_at(node, offset, buf.get_mut(..len).unwrap_or_default())
        };
        self.on_node(OpKind::Read, node, args, read, |&count| Done::Count(to_u64(count)))
    }

    fn read_shared(&self, node: NodeId, offset: u64, len: usize) -> Result<Bytes> {
        let read = |max: usize| self.fs.read_shared(node, offset, len.min(max));
        self.on_node(OpKind::Read, node, Args::Read(offset, len), read, |bytes| Done::Count(to_u64(bytes.len())))
    }

    fn snapshot(&self, node: NodeId) -> Result<Option<Snapshot>> {
        if self.watches(OpKind::Read) { self.fs.snapshot(node).map(|_| None) } else { self.fs.snapshot(node) }
    }

    fn extent_at(&self, node: NodeId, offset: u64) -> Result<Extent> {
        self.fs.extent_at(node, offset)
    }

    fn xattr(&self, node: NodeId, name: &[u8]) -> Result<Bytes> {
        let value = |_| self.fs.xattr(node, name);
        self.on_node(OpKind::Xattr, node, Args::Xattr(name), value, |value| Done::Count(to_u64(value.len())))
    }

    fn xattr_names(&self, node: NodeId) -> Result<Vec<Bytes>> {
        let names = |_| self.fs.xattr_names(node);
        self.on_node(OpKind::XattrNames, node, Args::None, names, |names| Done::Count(to_u64(names.len())))
    }

    fn names_version(&self) -> Option<u64> {
        // Who remembers a walk looks nothing up.
        if self.watches(OpKind::Lookup) { None } else { self.fs.names_version() }
    }

    fn info(&self) -> FsInfo {
        self.fs.info()
    }

    fn as_writable(&self) -> Option<&dyn WritableFileSystem> {
        self.fs.as_writable().map(|_| self as &dyn WritableFileSystem)
    }
}

impl WritableFileSystem for Watched {
    fn create(&self, dir: NodeId, name: Name<'_>, node: &NewNode<'_>) -> Result<Entry> {
        let create = || self.writable()?.create(dir, name, node);
        let entry = self.on_name(OpKind::Create, dir, name, Args::New(node), create, entry_type)?;
        self.places.found(dir, name, entry.node);
        Ok(entry)
    }

    fn link(&self, node: NodeId, dir: NodeId, name: Name<'_>) -> Result<()> {
        let link = |_| self.writable()?.link(node, dir, name);
        if !self.watches(OpKind::Link) {
            return link(usize::MAX);
        }
        let to = self.places.path_in(dir, name);
        self.on_node(OpKind::Link, node, Args::To(&to), link, nothing)
    }

    fn unlink(&self, dir: NodeId, name: Name<'_>) -> Result<()> {
        self.on_name(OpKind::Unlink, dir, name, Args::None, || self.writable()?.unlink(dir, name), nothing)
    }

    fn remove_dir(&self, dir: NodeId, name: Name<'_>) -> Result<()> {
        self.on_name(OpKind::RemoveDir, dir, name, Args::None, || self.writable()?.remove_dir(dir, name), nothing)
    }

    fn rename(&self, from_dir: NodeId, from: Name<'_>, to_dir: NodeId, to: Name<'_>, mode: RenameMode) -> Result<()> {
        let moved = self.peek(from_dir, from);
        let swapped = if mode == RenameMode::Exchange { self.peek(to_dir, to) } else { None };
        let rename = || self.writable()?.rename(from_dir, from, to_dir, to, mode);
        let target = self.places.path_in(to_dir, to);
        self.on_name(OpKind::Rename, from_dir, from, Args::Rename(&target, mode), rename, nothing)?;
        for (node, dir, name) in [(moved, to_dir, to), (swapped, from_dir, from)] {
            if let Some(node) = node {
                self.places.moved(node, dir, name);
            }
        }
        Ok(())
    }

    fn write_at(&self, node: NodeId, at: WriteAt, buf: &[u8]) -> Result<Written> {
        let write = |max: usize| {
            let len = buf.len().min(max);
            self.writable()?.write_at(node, at, buf.get(..len).unwrap_or_default())
        };
        self.on_node(OpKind::Write, node, Args::Write(at, buf.len()), write, written_count)
    }

    /// Every call is to be seen.
    fn open_file(&self, _: NodeId) -> Result<Option<Arc<dyn OpenFile>>> {
        Ok(None)
    }

    fn write_shared(&self, node: NodeId, offset: u64, data: Bytes) -> Result<()> {
        let args = Args::Write(WriteAt::Offset(offset), data.len());
        let len = data.len();
        let write = |max: usize| {
            // Never short: what may not be written whole is not written.
            if max < len {
                return Err(crate::errno::Errno::NoSpace.into());
            }
            self.writable()?.write_shared(node, offset, data)
        };
        self.on_node(OpKind::Write, node, args, write, move |()| Done::Count(to_u64(len)))
    }

    fn set_attr(&self, node: NodeId, changes: &SetAttr) -> Result<Attr> {
        let set = |_| self.writable()?.set_attr(node, changes);
        self.on_node(OpKind::SetAttr, node, Args::Changes(changes), set, type_and_size)
    }

    fn allocate(&self, node: NodeId, what: Allocate, range: Range<u64>) -> Result<()> {
        let allocate = |_| self.writable()?.allocate(node, what, range.clone());
        self.on_node(OpKind::Allocate, node, Args::Allocate(what, &range), allocate, nothing)
    }

    fn set_xattr(&self, node: NodeId, name: &[u8], value: &[u8], mode: XattrMode) -> Result<()> {
        let set = |_| self.writable()?.set_xattr(node, name, value, mode);
        self.on_node(OpKind::SetXattr, node, Args::Xattr(name), set, nothing)
    }

    fn remove_xattr(&self, node: NodeId, name: &[u8]) -> Result<()> {
        let remove = |_| self.writable()?.remove_xattr(node, name);
        self.on_node(OpKind::RemoveXattr, node, Args::Xattr(name), remove, nothing)
    }

    fn sync(&self, scope: SyncScope) -> Result<()> {
        let (node, word) = match scope {
            SyncScope::Data(node) => (node, "data"),
            SyncScope::Node(node) => (node, "node"),
            SyncScope::All => (self.root(), "all"),
        };
        self.on_node(OpKind::Sync, node, Args::Scope(word), |_| self.writable()?.sync(scope), nothing)
    }
}
