//! The overlay's own nodes: which nodes of which layers make up one merged node.
//!
//! A merged node is found by the lower node it comes from, so that all hard links of a lower file are one node before
//! and after copy-up; and by its upper node, so that a copied-up or renamed node remembers what it merges.
//!
//! Nodes that nobody references stay for a while, since most are looked up again; a sweep drops them once there are
//! [`IDLE_MAX`]. A node that was copied up stays as long as it has a name: nothing else remembers where it came from.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::attr::{FileType, Recorded};
use crate::checked::to_u64;
use crate::errno::Errno;
use crate::error::{Error, Result};
use crate::fs::{FileSystem, NodeId, NodeRef};

/// Unreferenced nodes kept for the next lookup.
const IDLE_MAX: u64 = 4096;

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// The first of a directory's layers that records any of its attributes; if none does, the first.
pub(super) fn attr_layer<'n>(mut layers: impl Iterator<Item = &'n NodeRef> + Clone) -> Result<&'n NodeRef> {
    let says = |layer: &NodeRef| Ok::<_, Error>(layer.fs().attr(layer.node())?.recorded != Recorded::NONE);
    for layer in layers.clone() {
        if says(layer)? {
            return Ok(layer);
        }
    }
    layers.next().ok_or_else(|| Errno::Stale.into())
}

/// A node of a lower layer, referenced.
#[derive(Debug)]
pub(super) struct LowerRef {
    /// 0 is the lowest.
    pub(super) layer: u64,
    pub(super) node: NodeRef,
}

impl LowerRef {
    fn key(&self) -> (u64, NodeId) {
        (self.layer, self.node.node())
    }
}

/// A node of the merged tree.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) file_type: FileType,
    pub(super) ino: u64,
    /// Set once, by creation or copy-up.
    upper: OnceLock<NodeRef>,
    /// Highest first; more than one for merged directories only. Never changes.
    pub(super) lowers: SmallVec<[LowerRef; 1]>,
    /// For directories from lowers: the path by which these have it, without slashes at the ends. Never changes.
    pub(super) origin: Box<[u8]>,
    /// References of callers and of the nodes placed in this one.
    refs: AtomicU64,
    /// Names gained and lost since the lower was made. Counts for nodes from a lower only.
    nlink_change: AtomicI64,
    /// Directories: removed. Others from a lower: the last name is gone.
    removed: AtomicBool,
    /// Directories without lowers: a node from a lower was moved or linked in, so listings must ask for its `ino`.
    has_migrants: AtomicBool,
    place: Mutex<Place>,
    /// Directories made of several: the merged listing, built when first read.
    pub(super) list: Mutex<Option<List>>,
}

/// Where a node is.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// One of its names, for copy-up: the directory (referenced) and the name in it.
    pub(super) dentry: Option<Dentry>,
    /// Set at copy-up, for those who hold the lower's content; made when first asked for.
    copied_up: Option<Arc<AtomicBool>>,
    /// Its name in `work`, if its upper node has no name in the tree although the merged node has.
    pub(super) parked: Option<Box<[u8]>>,
}

#[derive(Debug, Clone)]
pub(super) struct Dentry {
    pub(super) dir: Arc<Node>,
    pub(super) name: Box<[u8]>,
}

/// A merged listing. Serials are the cookies.
#[derive(Debug, Default)]
pub(super) struct List {
    pub(super) by_serial: BTreeMap<u64, Listed>,
    serials: Map<Arc<[u8]>, u64>,
}

#[derive(Debug)]
pub(super) struct Listed {
    pub(super) name: Arc<[u8]>,
    pub(super) file_type: FileType,
    pub(super) ino: u64,
}

impl List {
    /// Puts a name into the list, in the place it has if it has one.
    pub(super) fn set(&mut self, name: &[u8], file_type: FileType, ino: u64) {
        let last = self.by_serial.last_key_value().map_or(0, |(&serial, _)| serial);
        let serial = self.serials.get(name).copied().unwrap_or_else(|| last.saturating_add(1));
        self.set_at(serial, name, file_type, ino);
    }

    /// Puts a name into the list with a serial of its own.
    pub(super) fn set_at(&mut self, serial: u64, name: &[u8], file_type: FileType, ino: u64) {
        let name: Arc<[u8]> = name.into();
        self.serials.insert(Arc::clone(&name), serial);
        self.by_serial.insert(serial, Listed { name, file_type, ino });
    }

    pub(super) fn remove(&mut self, name: &[u8]) {
        if let Some(serial) = self.serials.remove(name) {
            self.by_serial.remove(&serial);
        }
    }

    pub(super) fn contains(&self, name: &[u8]) -> bool {
        self.serials.contains_key(name)
    }
}

impl Node {
    pub(super) fn upper(&self) -> Option<NodeId> {
        self.upper.get().map(NodeRef::node)
    }

    pub(super) fn upper_ref(&self) -> Option<&NodeRef> {
        self.upper.get()
    }

    /// The layer that answers for this node: the upper once there is one, else the highest lower.
    #[inline]
    pub(super) fn source(&self) -> (&dyn FileSystem, NodeId) {
        // OK to index by `first`: a node has an upper or at least one lower; the table makes no other.
        let node = self.upper.get().or_else(|| self.lowers.first().map(|lower| &lower.node));
        match node {
            Some(node) => (&**node.fs(), node.node()),
            None => unreachable!("a merged node has at least one layer"),
        }
    }

    /// The layer whose attributes the node shows: for a directory the highest that records any, since layers of images
    /// have directories of which they say nothing but what is in them.
    pub(super) fn attr_layer(&self) -> Result<&NodeRef> {
        match self.file_type {
            FileType::Dir if self.lowers.len() > 1 => attr_layer(self.layers()),
            _ => self.layers().next().ok_or_else(|| Errno::Stale.into()),
        }
    }

    /// All layers of the node, highest first.
    pub(super) fn layers(&self) -> impl Iterator<Item = &NodeRef> + Clone {
        self.upper.get().into_iter().chain(self.lowers.iter().map(|lower| &lower.node))
    }

    /// How many names the node has, when its layer says `inner`.
    pub(super) fn nlink(&self, inner: u64) -> u64 {
        match self.lowers.first() {
            None => inner,
            Some(lower) => {
                let original = match self.upper.get() {
                    None => inner,
                    Some(_) => lower.node.fs().attr(lower.node.node()).map_or(1, |attr| attr.nlink),
                };
                original.saturating_add_signed(self.nlink_change.load(Ordering::Relaxed))
            }
        }
    }

    pub(super) fn change_nlink(&self, by: i64) {
        self.nlink_change.fetch_add(by, Ordering::Relaxed);
    }

    pub(super) fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }

    pub(super) fn set_removed(&self) {
        self.removed.store(true, Ordering::Release);
    }

    pub(super) fn has_migrants(&self) -> bool {
        self.has_migrants.load(Ordering::Acquire)
    }

    pub(super) fn set_has_migrants(&self) {
        self.has_migrants.store(true, Ordering::Release);
    }

    /// What will be set at copy-up; `None` if there is an upper already.
    pub(super) fn copied_up(&self) -> Option<Arc<AtomicBool>> {
        let mut place = self.place();
        // Under the lock of `set_upper`: either it finds the flag, or this finds the upper.
        self.upper.get().is_none().then(|| Arc::clone(place.copied_up.get_or_insert_default()))
    }

    fn set_upper(&self, upper: NodeRef) {
        let place = self.place();
        // Only one thread copies a node up, under the structure lock, so it is not set yet.
        let _ = self.upper.set(upper);
        if let Some(copied_up) = &place.copied_up {
            copied_up.store(true, Ordering::Release);
        }
    }

    pub(super) fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn list(&self) -> MutexGuard<'_, Option<List>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets or clears the name by which copy-up finds the node, keeping its directory referenced.
    pub(super) fn set_dentry(&self, dentry: Option<Dentry>) {
        if let Some(dentry) = &dentry {
            dentry.dir.refs.fetch_add(1, Ordering::Relaxed);
        }
        let old = core::mem::replace(&mut self.place().dentry, dentry);
        if let Some(old) = old {
            old.dir.refs.fetch_sub(1, Ordering::Release);
        }
    }

    pub(super) fn dentry(&self) -> Option<Dentry> {
        self.place().dentry.clone()
    }

    pub(super) fn has_dentry(&self) -> bool {
        self.place().dentry.is_some()
    }

    /// Whether dropping the node from the table loses nothing.
    fn is_disposable(&self) -> bool {
        self.refs.load(Ordering::Acquire) == 0
            && (self.upper.get().is_none() || self.is_removed() || self.lowers.is_empty() && !self.has_migrants())
    }
}

/// All merged nodes that are known.
#[derive(Debug)]
pub(super) struct Table {
    nodes: RwLock<Nodes>,
    /// About how many nodes became unreferenced since the last sweep.
    idle: AtomicU64,
    /// How many it takes for the next: never fewer than stayed last time, so that sweeps cost O(1) a node.
    sweep_at: AtomicU64,
}

#[derive(Debug, Default)]
struct Nodes {
    by_id: Map<NodeId, Arc<Node>>,
    by_lower: Map<(u64, NodeId), Arc<Node>>,
    by_upper: Map<NodeId, Arc<Node>>,
    last_id: u64,
}

/// A node about to enter the table.
pub(super) struct NewRecord {
    pub(super) file_type: FileType,
    pub(super) ino: u64,
    pub(super) upper: Option<NodeRef>,
    pub(super) lowers: SmallVec<[LowerRef; 1]>,
    pub(super) origin: Box<[u8]>,
    pub(super) dentry: Dentry,
}

impl Table {
    pub(super) fn new(upper: Option<NodeRef>, lowers: alloc::vec::Vec<LowerRef>) -> (Self, Arc<Node>) {
        let mut nodes = Nodes::default();
        let root = nodes.enter(FileType::Dir, 1, upper, lowers.into(), Box::default());
        (Self { nodes: RwLock::new(nodes), idle: AtomicU64::new(0), sweep_at: AtomicU64::new(IDLE_MAX) }, root)
    }

    #[inline]
    pub(super) fn get(&self, node: NodeId) -> Option<Arc<Node>> {
        self.nodes.read().unwrap_or_else(PoisonError::into_inner).by_id.get(&node).cloned()
    }

    /// The node whose upper is `upper`, with one more reference.
    pub(super) fn by_upper(&self, upper: NodeId) -> Option<Arc<Node>> {
        self.reuse(|nodes| nodes.by_upper.get(&upper))
    }

    /// The node that comes from `node` of `layer`, with one more reference.
    #[inline]
    pub(super) fn by_lower(&self, layer: u64, node: NodeId) -> Option<Arc<Node>> {
        self.reuse(|nodes| nodes.by_lower.get(&(layer, node)))
    }

    fn reuse(&self, find: impl FnOnce(&Nodes) -> Option<&Arc<Node>>) -> Option<Arc<Node>> {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        let node = find(&nodes)?;
        // Under the read lock: a sweep, which needs the write lock, cannot drop it in between.
        if node.refs.fetch_add(1, Ordering::Relaxed) == 0 {
            // Only an estimate, so it may not wrap below zero.
            let _ = self.idle.try_update(Ordering::Relaxed, Ordering::Relaxed, |idle| idle.checked_sub(1));
        }
        Some(Arc::clone(node))
    }

    /// Enters a node with one reference, unless somebody else entered the same in between: then that one.
    pub(super) fn enter(&self, record: NewRecord) -> Arc<Node> {
        let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        let known = match (&record.upper, record.lowers.first()) {
            (Some(upper), _) => nodes.by_upper.get(&upper.node()),
            (None, Some(lower)) => nodes.by_lower.get(&lower.key()),
            (None, None) => None,
        };
        if let Some(known) = known {
            known.refs.fetch_add(1, Ordering::Relaxed);
            return Arc::clone(known);
        }
        let node = nodes.enter(record.file_type, record.ino, record.upper, record.lowers, record.origin);
        drop(nodes);
        node.set_dentry(Some(record.dentry));
        node
    }

    /// Records that `node` was copied up.
    pub(super) fn set_upper(&self, node: &Arc<Node>, upper: NodeRef) {
        let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        nodes.by_upper.insert(upper.node(), Arc::clone(node));
        node.set_upper(upper);
    }

    pub(super) fn forget(&self, id: NodeId, count: u64) {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        let Some(node) = nodes.by_id.get(&id) else { return };
        if node.refs.fetch_sub(count, Ordering::AcqRel) > count {
            return;
        }
        // A removed node goes at once: its data should not outlive the last descriptor.
        let sweep = node.is_removed() || node.lowers.is_empty() && !node.has_dentry();
        drop(nodes);
        if sweep || self.idle.fetch_add(1, Ordering::Relaxed) > self.sweep_at.load(Ordering::Relaxed) {
            self.sweep(if sweep { Some(id) } else { None });
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.nodes.read().unwrap_or_else(PoisonError::into_inner).by_id.len()
    }

    /// Drops `only`, or all nodes that can be dropped.
    fn sweep(&self, only: Option<NodeId>) {
        // Dropped outside of the lock: dropping calls `forget` on other filesystems.
        let mut dropped = alloc::vec::Vec::new();
        let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        let nodes = &mut *nodes;
        let mut candidates: alloc::vec::Vec<NodeId> = match only {
            Some(id) => alloc::vec![id],
            None => nodes.by_id.keys().copied().collect(),
        };
        // Dropping a node gives back its reference on its directory, which may then go too.
        while let Some(id) = candidates.pop() {
            let Some(node) = nodes.by_id.get(&id).filter(|node| node.is_disposable()) else { continue };
            let node = Arc::clone(node);
            nodes.leave(&node);
            if let Some(dentry) = node.dentry() {
                candidates.push(dentry.dir.id);
            }
            node.set_dentry(None);
            dropped.push(node);
        }
        if only.is_none() {
            self.idle.store(0, Ordering::Relaxed);
            self.sweep_at.store(to_u64(nodes.by_id.len()).max(IDLE_MAX), Ordering::Relaxed);
        }
    }
}

impl Nodes {
    fn enter(
        &mut self,
        file_type: FileType,
        ino: u64,
        upper: Option<NodeRef>,
        lowers: SmallVec<[LowerRef; 1]>,
        origin: Box<[u8]>,
    ) -> Arc<Node> {
        self.last_id = self.last_id.wrapping_add(1);
        let id = NodeId::new(self.last_id);
        let node = Arc::new(Node {
            id,
            file_type,
            ino,
            upper: upper.map_or_else(OnceLock::new, OnceLock::from),
            lowers,
            origin,
            refs: AtomicU64::new(1),
            nlink_change: AtomicI64::new(0),
            removed: AtomicBool::new(false),
            has_migrants: AtomicBool::new(false),
            place: Mutex::default(),
            list: Mutex::new(None),
        });
        if let Some(upper) = node.upper() {
            self.by_upper.insert(upper, Arc::clone(&node));
        }
        // A lower that is already the origin of another node stays that one's: directories merged under two names.
        if let Some(lower) = node.lowers.first() {
            self.by_lower.entry(lower.key()).or_insert_with(|| Arc::clone(&node));
        }
        self.by_id.insert(id, Arc::clone(&node));
        node
    }

    fn leave(&mut self, node: &Arc<Node>) {
        self.by_id.remove(&node.id);
        if let Some(upper) = node.upper() {
            self.by_upper.remove(&upper);
        }
        if let Some(lower) = node.lowers.first()
            && self.by_lower.get(&lower.key()).is_some_and(|known| Arc::ptr_eq(known, node))
        {
            self.by_lower.remove(&lower.key());
        }
    }
}
