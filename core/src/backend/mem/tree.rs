//! The nodes and how names connect them.
//!
//! Everything here runs under the lock of the [`Tree`]: what takes `&mut self` under its write lock, what takes `&self`
//! under its read lock. Attributes and content are behind the node's own lock in either case.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::data::FileData;
use super::dir::{Entries, Target};
use super::quota::Quota;
use crate::attr::{Attr, Device, FileType, Recorded};
use crate::checked::to_u64;
use crate::clock::Timestamp;
use crate::errno::Errno;
use crate::error::Result;
use crate::fs::{Entry, NewKind, NewNode, NodeId, RenameMode};
use crate::limits::SYMLINK_MAX;
use crate::name::Name;

pub(super) const ROOT: NodeId = NodeId::new(1);

/// What can change under a node's own lock.
pub(super) struct State {
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) atime: Timestamp,
    pub(super) mtime: Timestamp,
    pub(super) ctime: Timestamp,
    pub(super) opaque: bool,
    pub(super) xattrs: BTreeMap<Bytes, Bytes>,
    pub(super) content: Content,
    /// Whether somebody asked for the times since the last change of content: the next must have another time then.
    pub(super) seen: AtomicBool,
}

/// What a node holds besides attributes; a directory's entries are in [`Node::dir`].
pub(super) enum Content {
    None,
    File(FileData),
    Symlink(Bytes),
    Device(Device),
}

impl State {
    /// Something about the content changed.
    pub(super) const fn touch(&mut self, now: Timestamp) {
        self.mtime = now;
        self.ctime = now;
    }

    pub(super) fn file(&self, file_type: FileType) -> Result<&FileData> {
        match &self.content {
            Content::File(data) => Ok(data),
            _ => Err(no_content(file_type).into()),
        }
    }

    pub(super) fn file_mut(&mut self, file_type: FileType) -> Result<&mut FileData> {
        match &mut self.content {
            Content::File(data) => Ok(data),
            _ => Err(no_content(file_type).into()),
        }
    }

    /// Bytes charged for the node.
    fn charged(&self) -> u64 {
        let content = match &self.content {
            Content::File(data) => data.charged(),
            Content::Symlink(target) => to_u64(target.len()),
            Content::None | Content::Device(_) => 0,
        };
        content + self.xattrs.iter().map(|(name, value)| to_u64(name.len() + value.len())).sum::<u64>()
    }
}

const fn no_content(file_type: FileType) -> Errno {
    if file_type.is_dir() { Errno::IsDir } else { Errno::Invalid }
}

/// What only directories have.
pub(super) struct Dir {
    pub(super) entries: Entries,
    /// Where `..` leads; a directory has one name, so one parent.
    parent: NodeId,
    subdirs: u64,
}

pub(super) struct Node {
    pub(super) file_type: FileType,
    /// Names; for a directory 1 as long as it has its own. Changes under the tree's write lock only.
    names: u64,
    refs: AtomicU64,
    dir: Option<Dir>,
    /// Shared with those who have the file open.
    body: Arc<Body>,
}

/// What is behind a node's own lock.
pub(super) struct Body(RwLock<State>);

impl Body {
    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.body.read()
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.body.write()
    }

    pub(super) const fn body(&self) -> &Arc<Body> {
        &self.body
    }

    pub(super) fn dir(&self) -> Result<&Dir> {
        self.dir.as_ref().ok_or_else(|| Errno::NotDir.into())
    }

    pub(super) fn attr(&self, id: NodeId, state: &State) -> Attr {
        if !state.seen.load(Ordering::Relaxed) {
            state.seen.store(true, Ordering::Relaxed);
        }
        let (size, allocated) = match &state.content {
            Content::File(data) => (data.size(), data.stored()),
            Content::Symlink(target) => (to_u64(target.len()), to_u64(target.len())),
            Content::None | Content::Device(_) => (0, 0),
        };
        let nlink = match &self.dir {
            Some(dir) if self.names > 0 => 2 + dir.subdirs,
            _ => self.names,
        };
        Attr {
            ino: id.get(),
            file_type: self.file_type,
            mode: state.mode,
            nlink,
            uid: state.uid,
            gid: state.gid,
            size,
            allocated,
            rdev: match state.content {
                Content::Device(device) => Some(device),
                _ => None,
            },
            atime: state.atime,
            mtime: state.mtime,
            ctime: state.ctime,
            opaque: state.opaque,
            recorded: Recorded::ALL,
        }
    }
}

/// A node that left the tree; dropped outside the lock, since its content may be large.
#[must_use]
pub(super) struct Removed(#[expect(dead_code, reason = "held only to be dropped later")] Option<(Box<Node>, Content)>);

impl Removed {
    const NOTHING: Self = Self(None);
}

pub(super) struct Tree {
    /// Boxed, so that growing the map moves pointers only.
    nodes: HashMap<NodeId, Box<Node>, RandomState>,
    last_id: u64,
}

impl Tree {
    pub(super) fn new(root: &NewNode<'_>, now: Timestamp) -> Self {
        let mut root = new_node(root, ROOT, Content::None, now);
        *root.refs.get_mut() = 0;
        Self { nodes: [(ROOT, Box::new(root))].into_iter().collect(), last_id: ROOT.get() }
    }

    pub(super) fn node(&self, id: NodeId) -> Result<&Node> {
        self.nodes.get(&id).map(|node| &**node).ok_or_else(|| Errno::Stale.into())
    }

    fn node_mut(&mut self, id: NodeId) -> Result<&mut Node> {
        self.nodes.get_mut(&id).map(|node| &mut **node).ok_or_else(|| Errno::Stale.into())
    }

    fn dir_mut(&mut self, id: NodeId) -> Result<&mut Dir> {
        self.node_mut(id)?.dir.as_mut().ok_or_else(|| Errno::NotDir.into())
    }

    pub(super) fn entries(&self, dir: NodeId) -> Result<&Entries> {
        Ok(&self.node(dir)?.dir()?.entries)
    }

    /// The entries of a directory that can get new ones.
    fn growable(&self, dir: NodeId) -> Result<&Entries> {
        let node = self.node(dir)?;
        let entries = &node.dir()?.entries;
        if node.names == 0 { Err(Errno::NotFound.into()) } else { Ok(entries) }
    }

    pub(super) fn lookup(&self, dir: NodeId, name: Name<'_>) -> Result<Entry> {
        let target = self.entries(dir)?.find(name)?;
        self.node(target.node)?.refs.fetch_add(1, Ordering::Relaxed);
        Ok(Entry { node: target.node, file_type: target.file_type })
    }

    /// Gives references back. Returns whether the node is now without names and references, to be freed by
    /// [`free`](Self::free) under the write lock.
    pub(super) fn forget(&self, id: NodeId, count: u64) -> bool {
        let Ok(node) = self.node(id) else { return false };
        let mut refs = node.refs.load(Ordering::Relaxed);
        loop {
            let rest = refs.saturating_sub(count);
            match node.refs.compare_exchange_weak(refs, rest, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return rest == 0 && node.names == 0,
                Err(now) => refs = now,
            }
        }
    }

    /// Frees a node if nothing holds it any more.
    pub(super) fn free(&mut self, id: NodeId, limits: &Limits) -> Removed {
        let unused = |node: &mut Box<Node>| node.names == 0 && *node.refs.get_mut() == 0;
        if !self.nodes.get_mut(&id).is_some_and(unused) {
            return Removed::NOTHING;
        }
        Removed(self.nodes.remove(&id).map(|node| {
            let mut state = node.write();
            limits.nodes.refund(1);
            limits.bytes.refund(state.charged());
            // Whoever still has it open must not be charged for what nobody gives back.
            let content = core::mem::replace(&mut state.content, Content::None);
            drop(state);
            (node, content)
        }))
    }

    pub(super) fn create(
        &mut self,
        dir: NodeId,
        name: Name<'_>,
        new: &NewNode<'_>,
        limits: &Limits,
        now: Timestamp,
    ) -> Result<Entry> {
        if self.growable(dir)?.get(name).is_some() {
            return Err(Errno::Exists.into());
        }
        let content = match new.kind {
            NewKind::File => Content::File(FileData::default()),
            NewKind::Symlink(target) if target.len() > SYMLINK_MAX => return Err(Errno::NameTooLong.into()),
            NewKind::Symlink(target) => Content::Symlink(Bytes::copy_from_slice(target)),
            NewKind::Char(device) | NewKind::Block(device) => Content::Device(device),
            NewKind::Dir | NewKind::Fifo | NewKind::Socket | NewKind::Whiteout => Content::None,
        };
        let node = new_node(new, dir, content, now);
        limits.nodes.charge(1)?;
        if let Err(error) = limits.bytes.charge(node.read().charged()) {
            limits.nodes.refund(1);
            return Err(error);
        }
        self.last_id += 1;
        let id = NodeId::new(self.last_id);
        let file_type = node.file_type;
        self.nodes.insert(id, Box::new(node));
        self.put(dir, name, Target { node: id, file_type }, now)?;
        Ok(Entry { node: id, file_type })
    }

    /// Makes `name` name `target` in `dir`, whose count of subdirectories the caller has not touched yet.
    fn put(&mut self, dir: NodeId, name: Name<'_>, target: Target, now: Timestamp) -> Result<()> {
        let node = self.node_mut(dir)?;
        node.write().touch(now);
        if let Some(dir) = &mut node.dir {
            dir.entries.put(name, target);
            dir.subdirs += u64::from(target.file_type.is_dir());
        }
        Ok(())
    }

    /// Takes the entry `name` for `target` out of `dir`, but leaves the target as it is.
    fn take(&mut self, dir: NodeId, name: Name<'_>, target: Target, now: Timestamp) -> Result<()> {
        let node = self.node_mut(dir)?;
        node.write().touch(now);
        if let Some(dir) = &mut node.dir {
            dir.entries.remove(name);
            dir.subdirs -= u64::from(target.file_type.is_dir());
        }
        Ok(())
    }

    /// One name less for a node, which may end it.
    fn drop_name(&mut self, id: NodeId, limits: &Limits, now: Timestamp) -> Result<Removed> {
        let node = self.node_mut(id)?;
        node.write().ctime = now;
        node.names -= 1;
        if node.names > 0 {
            // The second and further names are charged as nodes, see `link`.
            limits.nodes.refund(1);
            return Ok(Removed::NOTHING);
        }
        Ok(self.free(id, limits))
    }

    /// A further name is charged as a node: it takes memory, and without a charge there would be no end to it.
    pub(super) fn link(
        &mut self,
        id: NodeId,
        dir: NodeId,
        name: Name<'_>,
        limits: &Limits,
        now: Timestamp,
    ) -> Result<()> {
        let node = self.node(id)?;
        let target = Target { node: id, file_type: node.file_type };
        if node.file_type.is_dir() {
            return Err(Errno::NotPermitted.into());
        }
        if self.growable(dir)?.get(name).is_some() {
            return Err(Errno::Exists.into());
        }
        if node.names == 0 {
            return Err(Errno::NotFound.into());
        }
        limits.nodes.charge(1)?;
        let node = self.node_mut(id)?;
        node.names += 1;
        node.write().ctime = now;
        self.put(dir, name, target, now)
    }

    pub(super) fn unlink(&mut self, dir: NodeId, name: Name<'_>, limits: &Limits, now: Timestamp) -> Result<Removed> {
        let target = self.entries(dir)?.find(name)?;
        if target.file_type.is_dir() {
            return Err(Errno::IsDir.into());
        }
        self.take(dir, name, target, now)?;
        self.drop_name(target.node, limits, now)
    }

    pub(super) fn remove_dir(
        &mut self,
        dir: NodeId,
        name: Name<'_>,
        limits: &Limits,
        now: Timestamp,
    ) -> Result<Removed> {
        let target = self.entries(dir)?.find(name)?;
        if !self.entries(target.node)?.is_empty() {
            return Err(Errno::NotEmpty.into());
        }
        self.take(dir, name, target, now)?;
        self.drop_name(target.node, limits, now)
    }

    pub(super) fn rename(
        &mut self,
        from: (NodeId, Name<'_>),
        to: (NodeId, Name<'_>),
        mode: RenameMode,
        limits: &Limits,
        now: Timestamp,
    ) -> Result<Removed> {
        let moved = self.entries(from.0)?.find(from.1)?;
        let replaced = self.growable(to.0)?.get(to.1);
        match (mode, replaced) {
            (RenameMode::NoReplace, Some(_)) => return Err(Errno::Exists.into()),
            (RenameMode::Exchange, None) => return Err(Errno::NotFound.into()),
            _ => {}
        }
        if replaced == Some(moved) {
            return Ok(Removed::NOTHING);
        }
        if moved.file_type.is_dir() && self.is_within(to.0, moved.node)? {
            return Err(Errno::Invalid.into());
        }
        if let (RenameMode::Exchange, Some(other)) = (mode, replaced) {
            if other.file_type.is_dir() && self.is_within(from.0, other.node)? {
                return Err(Errno::Invalid.into());
            }
            self.exchange(from, moved, to, other, now)?;
            return Ok(Removed::NOTHING);
        }
        if let Some(replaced) = replaced {
            match (moved.file_type.is_dir(), replaced.file_type.is_dir()) {
                (true, false) => return Err(Errno::NotDir.into()),
                (false, true) => return Err(Errno::IsDir.into()),
                (true, true) if !self.entries(replaced.node)?.is_empty() => return Err(Errno::NotEmpty.into()),
                _ => {}
            }
        }
        if from.0 == to.0 && replaced.is_none() {
            // Keeps its place in a listing under way.
            self.dir_mut(from.0)?.entries.rename(from.1, to.1);
            self.node_mut(from.0)?.write().touch(now);
        } else {
            self.take(from.0, from.1, moved, now)?;
            self.put(to.0, to.1, moved, now)?;
        }
        self.moved_to(moved, to.0, now)?;
        let Some(replaced) = replaced else { return Ok(Removed::NOTHING) };
        self.dir_mut(to.0)?.subdirs -= u64::from(replaced.file_type.is_dir());
        self.drop_name(replaced.node, limits, now)
    }

    fn exchange(
        &mut self,
        from: (NodeId, Name<'_>),
        moved: Target,
        to: (NodeId, Name<'_>),
        other: Target,
        now: Timestamp,
    ) -> Result<()> {
        for (dir, name, comes, goes) in [(from.0, from.1, other, moved), (to.0, to.1, moved, other)] {
            self.put(dir, name, comes, now)?;
            self.dir_mut(dir)?.subdirs -= u64::from(goes.file_type.is_dir());
            self.moved_to(comes, dir, now)?;
        }
        Ok(())
    }

    /// `target` has got a name in `dir` instead of one elsewhere.
    fn moved_to(&mut self, target: Target, dir: NodeId, now: Timestamp) -> Result<()> {
        let node = self.node_mut(target.node)?;
        node.write().ctime = now;
        if let Some(moved) = &mut node.dir {
            moved.parent = dir;
        }
        Ok(())
    }

    /// Whether `dir` is `ancestor` or below it.
    fn is_within(&self, mut dir: NodeId, ancestor: NodeId) -> Result<bool> {
        loop {
            if dir == ancestor {
                return Ok(true);
            }
            if dir == ROOT {
                return Ok(false);
            }
            dir = self.node(dir)?.dir()?.parent;
        }
    }

    /// Every node, for tests that check invariants.
    #[cfg(test)]
    pub(super) fn charged(&self) -> (u64, u64) {
        let nodes = self.nodes.values().map(|node| node.names.max(1)).sum();
        let bytes = self.nodes.values().map(|node| node.read().charged()).sum();
        (nodes, bytes)
    }
}

/// What may be stored in total.
#[derive(Debug)]
pub(super) struct Limits {
    pub(super) bytes: Quota,
    pub(super) nodes: Quota,
}

fn new_node(new: &NewNode<'_>, parent: NodeId, content: Content, now: Timestamp) -> Node {
    let file_type = new.kind.file_type();
    Node {
        file_type,
        names: 1,
        refs: AtomicU64::new(1),
        dir: file_type.is_dir().then(|| Dir { entries: Entries::new(), parent, subdirs: 0 }),
        body: Arc::new(Body(RwLock::new(State {
            mode: new.mode & 0o7777,
            uid: new.uid,
            gid: new.gid,
            atime: now,
            mtime: now,
            ctime: now,
            opaque: false,
            xattrs: BTreeMap::new(),
            content,
            seen: AtomicBool::new(false),
        }))),
    }
}
