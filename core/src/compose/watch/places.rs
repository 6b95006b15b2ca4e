//! By which paths nodes were found.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::fs::NodeId;
use crate::name::Name;

/// The last known name of every referenced node, and of the directories above it.
pub(super) struct Places {
    known: Mutex<HashMap<NodeId, Known, RandomState>>,
    root: NodeId,
}

struct Known {
    place: Arc<Place>,
    refs: u64,
}

/// Locked under the table's lock only.
struct Place {
    id: NodeId,
    at: Mutex<Option<At>>,
}

/// Where a node is; the root is nowhere.
struct At {
    dir: Arc<Place>,
    name: Box<[u8]>,
}

impl Place {
    fn at(&self) -> MutexGuard<'_, Option<At>> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, dir: &Arc<Self>, name: Name<'_>) {
        *self.at() = Some(At { dir: Arc::clone(dir), name: name.as_bytes().into() });
    }

    /// Adds the path to `out`, which stays empty for the root.
    fn write(&self, out: &mut Vec<u8>) {
        if let Some(at) = &*self.at() {
            at.dir.write(out);
            out.push(b'/');
            out.extend_from_slice(&at.name);
        }
    }
}

impl Places {
    pub(super) fn new(root: NodeId) -> Self {
        let mut known = HashMap::default();
        known.insert(root, Known { place: Arc::new(Place { id: root, at: Mutex::new(None) }), refs: 1 });
        Self { known: Mutex::new(known), root }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<NodeId, Known, RandomState>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn path(&self, node: NodeId) -> Vec<u8> {
        if node == self.root {
            return b"/".to_vec();
        }
        let mut path = Vec::new();
        match self.known().get(&node) {
            Some(known) => known.place.write(&mut path),
            None => path.push(b'?'),
        }
        path
    }

    pub(super) fn path_in(&self, dir: NodeId, name: Name<'_>) -> Vec<u8> {
        let mut path = self.path(dir);
        if dir != self.root {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_bytes());
        path
    }

    /// `node` was found as `name` in `dir`, and has one reference more.
    pub(super) fn found(&self, dir: NodeId, name: Name<'_>, node: NodeId) {
        let mut known = self.known();
        let Some(dir) = known.get(&dir).map(|dir| Arc::clone(&dir.place)) else { return };
        let entry = known.entry(node).or_insert_with(|| {
            let place = Arc::new(Place { id: node, at: Mutex::new(None) });
            Known { place, refs: 0 }
        });
        entry.refs = entry.refs.saturating_add(1);
        if node != self.root {
            entry.place.put(&dir, name);
        }
    }

    /// A node that may be known has another name now.
    pub(super) fn moved(&self, node: NodeId, dir: NodeId, name: Name<'_>) {
        let known = self.known();
        if let (Some(moved), Some(dir)) = (known.get(&node), known.get(&dir)) {
            moved.place.put(&dir.place, name);
        }
    }

    /// `count` references are given back.
    pub(super) fn forget(&self, node: NodeId, count: u64) {
        let mut known = self.known();
        if node == self.root {
            return;
        }
        let Some(entry) = known.get_mut(&node) else { return };
        entry.refs = entry.refs.saturating_sub(count);
        let mut next = Some(node);
        // A directory stays for those below it; all clones are made under the table's lock, so they can be counted.
        while let Some(id) = next.take() {
            if known.get(&id).is_some_and(|entry| entry.refs == 0 && Arc::strong_count(&entry.place) == 1)
                && let Some(gone) = known.remove(&id)
                && let Some(at) = gone.place.at().take()
            {
                next = Some(at.dir.id);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.known().len()
    }
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Places({} nodes)", self.known().len())
    }
}
