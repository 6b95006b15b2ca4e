//! Which nodes are referenced, by id and by what the host calls the same file.

use alloc::sync::Arc;
use core::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cap_std::fs::Dir;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::attr::Key;
use super::node::{Handle, Node};
use super::opened::Opened;
use crate::attr::FileType;
use crate::errno::Errno;
use crate::error::Result;
use crate::fs::NodeId;

pub(super) const ROOT: NodeId = NodeId::new(1);

struct Counted {
    node: Arc<Node>,
    refs: u64,
}

struct Maps {
    by_id: HashMap<NodeId, Counted, RandomState>,
    by_key: HashMap<Key, NodeId, RandomState>,
    last_id: u64,
}

/// The referenced nodes; the root is always one of them.
pub(super) struct Table {
    maps: Mutex<Maps>,
    opened: Arc<Opened>,
}

impl Table {
    pub(super) fn new(key: Key, dir: Dir, opened: Opened) -> Self {
        let opened = Arc::new(opened);
        let root = Node::new(ROOT, key, FileType::Dir, Some(dir), Handle::None, Arc::clone(&opened));
        let mut maps = Maps { by_id: HashMap::default(), by_key: HashMap::default(), last_id: ROOT.get() };
        maps.by_key.insert(root.key, ROOT);
        maps.by_id.insert(ROOT, Counted { node: Arc::new(root), refs: 1 });
        Self { maps: Mutex::new(maps), opened }
    }

    fn lock(&self) -> MutexGuard<'_, Maps> {
        self.maps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn node(&self, id: NodeId) -> Result<Arc<Node>> {
        self.lock().by_id.get(&id).map(|counted| Arc::clone(&counted.node)).ok_or_else(|| Errno::Stale.into())
    }

    /// The node of this key and kind, if it is referenced. Another kind means that the host has used the number again.
    pub(super) fn find(&self, key: Key, file_type: FileType) -> Option<Arc<Node>> {
        let maps = self.lock();
        let counted = maps.by_id.get(maps.by_key.get(&key)?)?;
        (counted.node.file_type == file_type).then(|| Arc::clone(&counted.node))
    }

    /// As [`find`](Self::find), and takes a reference.
    pub(super) fn take(&self, key: Key, file_type: FileType) -> Option<Arc<Node>> {
        let mut maps = self.lock();
        let id = *maps.by_key.get(&key)?;
        let counted = maps.by_id.get_mut(&id).filter(|counted| counted.node.file_type == file_type)?;
        counted.refs = counted.refs.saturating_add(1);
        Some(Arc::clone(&counted.node))
    }

    /// Enters a node with one reference, unless another thread was quicker: then the reference is on that one's.
    pub(super) fn enter(&self, key: Key, file_type: FileType, dir: Option<Dir>, handle: Handle) -> Arc<Node> {
        let mut maps = self.lock();
        let known = maps.by_key.get(&key).copied();
        if let Some(counted) = known.and_then(|id| maps.by_id.get_mut(&id))
            && counted.node.file_type == file_type
        {
            counted.refs = counted.refs.saturating_add(1);
            return Arc::clone(&counted.node);
        }
        maps.last_id += 1;
        let id = NodeId::new(maps.last_id);
        let is_open = dir.is_some() || !matches!(handle, Handle::None);
        let node = Arc::new(Node::new(id, key, file_type, dir, handle, Arc::clone(&self.opened)));
        maps.by_key.insert(key, id);
        maps.by_id.insert(id, Counted { node: Arc::clone(&node), refs: 1 });
        drop(maps);
        if is_open {
            self.opened.enter(&node);
        }
        node
    }

    /// Gives references back; at the last one everything open of the node is closed.
    pub(super) fn forget(&self, id: NodeId, count: u64) {
        if id == ROOT {
            return;
        }
        let mut maps = self.lock();
        let Some(counted) = maps.by_id.get_mut(&id) else { return };
        counted.refs = counted.refs.saturating_sub(count);
        if counted.refs > 0 {
            return;
        }
        let removed = maps.by_id.remove(&id);
        if let Some(key) = removed.as_ref().map(|counted| counted.node.key)
            && maps.by_key.get(&key) == Some(&id)
        {
            maps.by_key.remove(&key);
        }
        drop(maps);
        // Closes outside of the lock.
        drop(removed);
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({} nodes)", self.lock().by_id.len())
    }
}
