//! A filesystem in memory.
//!
//! The upper layer of choice: starts empty in no time, takes over bytes of images without copying them, and is gone
//! when dropped. Everything POSIX asks of a local filesystem holds, sparse files, hard links and open but unlinked
//! files included; the parts are `tree` (names), `dir` (entries of a directory), `data` (content of a file), `segment`
//! (bytes written here).
//!
//! # Locks, outermost first
//! 1. the tree's `RwLock`: written to add, remove or move names and to free nodes; read by everything else, so that
//!    reads and writes of different files run in parallel;
//! 2. a node's `RwLock`: its attributes and content;
//! 3. the quotas, which are atomics.
//!
//! The clock is asked before any of them is taken (for the time of a write, under 1 alone: clocks know nothing of trees),
//! and removed nodes are dropped after all are released. Who has a file open goes to its lock at once, without 1.

mod data;
mod dir;
mod opened;
mod quota;
mod segment;
mod tree;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use self::opened::Opened;
use self::quota::Quota;
use self::tree::{Body, Content, Limits, Node, ROOT, State, Tree};
use crate::attr::{Attr, FileType, SetAttr, SetTime};
use crate::checked::to_u64;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::errno::Errno;
use crate::error::Result;
use crate::fs::{
    Allocate, Cookie, DirBatch, Entry, Extent, FileSystem, FsInfo, NewKind, NewNode, NodeId, OpenFile, RenameMode,
    Snapshot, SyncScope, WritableFileSystem, WriteAt, Written, XattrMode,
};
use crate::limits::{NAME_MAX, XATTR_VALUE_MAX, XATTRS_TOTAL_MAX};
use crate::name::Name;

/// How a [`MemFs`] shall be; the default has no limits, the machine's clock and a root of mode 0755 owned by 0:0.
#[derive(Clone, Debug)]
pub struct MemOptions {
    clock: Arc<dyn Clock>,
    max_bytes: Option<u64>,
    max_nodes: Option<u64>,
    root_mode: u16,
    root_uid: u32,
    root_gid: u32,
}

impl Default for MemOptions {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            max_bytes: None,
            max_nodes: None,
            root_mode: 0o755,
            root_uid: 0,
            root_gid: 0,
        }
    }
}

impl MemOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes all times from `clock`.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Holds at most `count` bytes: content written here, targets of symbolic links and extended attributes. Shared
    /// bytes and holes cost nothing.
    #[must_use]
    pub const fn max_bytes(mut self, count: u64) -> Self {
        self.max_bytes = Some(count);
        self
    }

    /// Holds at most `count` nodes, the root included. Further names of a node count as nodes.
    #[must_use]
    pub const fn max_nodes(mut self, count: u64) -> Self {
        self.max_nodes = Some(count);
        self
    }

    /// As on a disk of `count` bytes: that many of content at most, and a node for each KiB of it, but a thousand in any
    /// case. So whoever makes empty files without end comes to one.
    #[must_use]
    pub const fn disk(self, count: u64) -> Self {
        self.max_bytes(count).max_nodes((count / 1024).saturating_add(1000))
    }

    /// Permission bits of the root directory.
    #[must_use]
    pub const fn root_mode(mut self, mode: u16) -> Self {
        self.root_mode = mode;
        self
    }

    /// Owner and group of the root directory.
    #[must_use]
    pub const fn root_owner(mut self, uid: u32, gid: u32) -> Self {
        self.root_uid = uid;
        self.root_gid = gid;
        self
    }

    /// The filesystem, with nothing but a root directory.
    #[must_use]
    pub fn build(self) -> MemFs {
        let root = NewNode { kind: NewKind::Dir, mode: self.root_mode, uid: self.root_uid, gid: self.root_gid };
        let limits = Limits { bytes: Quota::new(self.max_bytes), nodes: Quota::new(self.max_nodes) };
        // The root is there even if the limit is 0.
        let _ = limits.nodes.charge(1);
        MemFs {
            tree: RwLock::new(Tree::new(&root, self.clock.now())),
            common: Arc::new(Common { limits, clock: self.clock }),
            names_version: AtomicU64::new(0),
        }
    }
}

/// A filesystem in memory.
pub struct MemFs {
    tree: RwLock<Tree>,
    common: Arc<Common>,
    /// See [`FileSystem::names_version`]; counted up under the tree's write lock, before the change.
    names_version: AtomicU64,
}

/// What writing to any of the files takes, besides the file.
#[derive(Debug)]
struct Common {
    limits: Limits,
    clock: Arc<dyn Clock>,
}

impl Common {
    fn write(&self, body: &Body, file_type: FileType, at: WriteAt, buf: &[u8]) -> Result<Written> {
        // The current time takes as long to be had as a page to be copied. A recent one does, as it does for Linux, unless
        // somebody has seen what time there is: that a file was written again must show.
        let recent = self.clock.recent();
        let mut now = recent.unwrap_or_else(|| self.clock.now());
        let mut state = body.write();
        if recent.is_some() && *state.seen.get_mut() {
            drop(state);
            now = self.clock.now();
            state = body.write();
        }
        let data = state.file_mut(file_type)?;
        let offset = match at {
            WriteAt::Offset(offset) => offset,
            WriteAt::End => data.size(),
        };
        let count = data.write(offset, buf, &self.limits.bytes)?;
        if count > 0 {
            state.touch(now);
            *state.seen.get_mut() = false;
        }
        Ok(Written { count, end: offset.saturating_add(to_u64(count)) })
    }
}

impl MemFs {
    /// An empty filesystem without limits.
    #[must_use]
    pub fn new() -> Self {
        MemOptions::new().build()
    }

    fn tree(&self) -> RwLockReadGuard<'_, Tree> {
        self.tree.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn tree_mut(&self) -> RwLockWriteGuard<'_, Tree> {
        self.tree.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tree, for changing names.
    fn names_mut(&self) -> RwLockWriteGuard<'_, Tree> {
        let tree = self.tree_mut();
        self.names_version.fetch_add(1, Ordering::Release);
        tree
    }

    /// Runs `change` on the tree under its write lock, and drops what it removed afterwards.
    fn change(&self, change: impl FnOnce(&mut Tree, Timestamp) -> Result<tree::Removed>) -> Result<()> {
        let now = self.common.clock.now();
        let removed = change(&mut self.names_mut(), now)?;
        drop(removed);
        Ok(())
    }

    /// Runs `change` on one node under its lock.
    fn change_node<T>(
        &self,
        node: NodeId,
        change: impl FnOnce(&Node, &mut State, Timestamp) -> Result<T>,
    ) -> Result<T> {
        let now = self.common.clock.now();
        let tree = self.tree();
        let node = tree.node(node)?;
        change(node, &mut node.write(), now)
    }
}

impl Default for MemFs {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemFs").field("limits", &self.common.limits).finish_non_exhaustive()
    }
}

impl FileSystem for MemFs {
    fn root(&self) -> NodeId {
        ROOT
    }

    fn lookup(&self, dir: NodeId, name: Name<'_>) -> Result<Entry> {
        self.tree().lookup(dir, name)
    }

    fn forget(&self, node: NodeId, count: u64) {
        let unused = self.tree().forget(node, count);
        if unused {
            let removed = self.tree_mut().free(node, &self.common.limits);
            drop(removed);
        }
    }

    fn attr(&self, node: NodeId) -> Result<Attr> {
        let tree = self.tree();
        let found = tree.node(node)?;
        Ok(found.attr(node, &found.read()))
    }

    fn read_link(&self, node: NodeId) -> Result<Bytes> {
        match &self.tree().node(node)?.read().content {
            Content::Symlink(target) => Ok(target.clone()),
            _ => Err(Errno::Invalid.into()),
        }
    }

    fn read_dir(&self, dir: NodeId, from: Cookie, batch: &mut DirBatch) -> Result<()> {
        self.tree().entries(dir)?.list(from, batch)
    }

    fn read_at(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let tree = self.tree();
        let node = tree.node(node)?;
        Ok(node.read().file(node.file_type)?.read(offset, buf))
    }

    fn read_shared(&self, node: NodeId, offset: u64, len: usize) -> Result<Bytes> {
        let tree = self.tree();
        let node = tree.node(node)?;
        Ok(node.read().file(node.file_type)?.read_shared(offset, len))
    }

    fn snapshot(&self, node: NodeId) -> Result<Option<Snapshot>> {
        let tree = self.tree();
        let node = tree.node(node)?;
        // Written in place, whoever reads: it has to be asked each time.
        node.read().file(node.file_type).map(|_| None)
    }

    fn extent_at(&self, node: NodeId, offset: u64) -> Result<Extent> {
        let tree = self.tree();
        let node = tree.node(node)?;
        node.read().file(node.file_type)?.extent_at(offset)
    }

    fn xattr(&self, node: NodeId, name: &[u8]) -> Result<Bytes> {
        let tree = self.tree();
        let state = tree.node(node)?.read();
        state.xattrs.get(name).cloned().ok_or_else(|| Errno::NoAttribute.into())
    }

    fn xattr_names(&self, node: NodeId) -> Result<Vec<Bytes>> {
        Ok(self.tree().node(node)?.read().xattrs.keys().cloned().collect())
    }

    fn names_version(&self) -> Option<u64> {
        Some(self.names_version.load(Ordering::Acquire))
    }

    fn info(&self) -> FsInfo {
        FsInfo {
            kind: "mem",
            may_block: false,
            total_bytes: self.common.limits.bytes.limit(),
            free_bytes: self.common.limits.bytes.free(),
            total_nodes: self.common.limits.nodes.limit(),
            free_nodes: self.common.limits.nodes.free(),
        }
    }

    fn as_writable(&self) -> Option<&dyn WritableFileSystem> {
        Some(self)
    }
}

impl WritableFileSystem for MemFs {
    fn create(&self, dir: NodeId, name: Name<'_>, node: &NewNode<'_>) -> Result<Entry> {
        let now = self.common.clock.now();
        self.names_mut().create(dir, name, node, &self.common.limits, now)
    }

    fn link(&self, node: NodeId, dir: NodeId, name: Name<'_>) -> Result<()> {
        let now = self.common.clock.now();
        self.names_mut().link(node, dir, name, &self.common.limits, now)
    }

    fn unlink(&self, dir: NodeId, name: Name<'_>) -> Result<()> {
        self.change(|tree, now| tree.unlink(dir, name, &self.common.limits, now))
    }

    fn remove_dir(&self, dir: NodeId, name: Name<'_>) -> Result<()> {
        self.change(|tree, now| tree.remove_dir(dir, name, &self.common.limits, now))
    }

    fn rename(&self, from_dir: NodeId, from: Name<'_>, to_dir: NodeId, to: Name<'_>, mode: RenameMode) -> Result<()> {
        self.change(|tree, now| tree.rename((from_dir, from), (to_dir, to), mode, &self.common.limits, now))
    }

    fn write_at(&self, node: NodeId, at: WriteAt, buf: &[u8]) -> Result<Written> {
        let tree = self.tree();
        let node = tree.node(node)?;
        self.common.write(node.body(), node.file_type, at, buf)
    }

    fn open_file(&self, node: NodeId) -> Result<Option<Arc<dyn OpenFile>>> {
        let tree = self.tree();
        let node = tree.node(node)?;
        node.read().file(node.file_type)?;
        Ok(Some(Arc::new(Opened { body: Arc::clone(node.body()), common: Arc::clone(&self.common) })))
    }

    fn write_shared(&self, node: NodeId, offset: u64, data: Bytes) -> Result<()> {
        self.change_node(node, |node, state, now| {
            let is_empty = data.is_empty();
            state.file_mut(node.file_type)?.write_shared(offset, data, &self.common.limits.bytes)?;
            if !is_empty {
                state.touch(now);
            }
            Ok(())
        })
    }

    fn set_attr(&self, id: NodeId, changes: &SetAttr) -> Result<Attr> {
        self.change_node(id, |node, state, now| {
            if changes.opaque == Some(true) && !node.file_type.is_dir() {
                return Err(Errno::NotSupported.into());
            }
            // The size is the only change that can fail, so it comes first.
            if let Some(size) = changes.size {
                state.file_mut(node.file_type)?.set_size(size, &self.common.limits.bytes)?;
                state.mtime = now;
            }
            let time = |set| match set {
                SetTime::Now => now,
                SetTime::At(time) => time,
            };
            state.mode = changes.mode.map_or(state.mode, |mode| mode & 0o7777);
            state.uid = changes.uid.unwrap_or(state.uid);
            state.gid = changes.gid.unwrap_or(state.gid);
            state.atime = changes.atime.map_or(state.atime, time);
            state.mtime = changes.mtime.map_or(state.mtime, time);
            state.opaque = changes.opaque.unwrap_or(state.opaque);
            if *changes != SetAttr::default() {
                state.ctime = changes.ctime.unwrap_or(now);
            }
            Ok(node.attr(id, state))
        })
    }

    fn allocate(&self, node: NodeId, what: Allocate, range: Range<u64>) -> Result<()> {
        self.change_node(node, |node, state, now| {
            let data = state.file_mut(node.file_type)?;
            if range.is_empty() {
                return Err(Errno::Invalid.into());
            }
            match what {
                Allocate::Extend => data.reserve(range, true, &self.common.limits.bytes)?,
                Allocate::KeepSize => data.reserve(range, false, &self.common.limits.bytes)?,
                Allocate::PunchHole => data.punch(range, &self.common.limits.bytes),
            }
            state.touch(now);
            Ok(())
        })
    }

    fn set_xattr(&self, node: NodeId, name: &[u8], value: &[u8], mode: XattrMode) -> Result<()> {
        if name.is_empty() || name.len() > NAME_MAX {
            return Err(Errno::Range.into());
        }
        if value.len() > XATTR_VALUE_MAX {
            return Err(Errno::NoSpace.into());
        }
        self.change_node(node, |_, state, now| {
            let old = state.xattrs.get(name).map(|value| name.len() + value.len());
            match (mode, old) {
                (XattrMode::Create, Some(_)) => return Err(Errno::Exists.into()),
                (XattrMode::Replace, None) => return Err(Errno::NoAttribute.into()),
                _ => {}
            }
            let total: usize = state.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
            let (new, old) = (name.len() + value.len(), old.unwrap_or(0));
            if total - old + new > XATTRS_TOTAL_MAX {
                return Err(Errno::NoSpace.into());
            }
            self.common.limits.bytes.charge(to_u64(new.saturating_sub(old)))?;
            self.common.limits.bytes.refund(to_u64(old.saturating_sub(new)));
            state.xattrs.insert(Bytes::copy_from_slice(name), Bytes::copy_from_slice(value));
            state.ctime = now;
            Ok(())
        })
    }

    fn remove_xattr(&self, node: NodeId, name: &[u8]) -> Result<()> {
        self.change_node(node, |_, state, now| {
            let value = state.xattrs.remove(name).ok_or(Errno::NoAttribute)?;
            self.common.limits.bytes.refund(to_u64(name.len() + value.len()));
            state.ctime = now;
            Ok(())
        })
    }

    fn sync(&self, scope: SyncScope) -> Result<()> {
        match scope {
            SyncScope::Data(node) | SyncScope::Node(node) => self.tree().node(node).map(drop),
            SyncScope::All => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
