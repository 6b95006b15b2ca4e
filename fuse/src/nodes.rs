//! What the kernel references: its node ids, each with a location of the namespace and a count.
//!
//! The id is the number that the node shows as its `ino`, and not our `NodeId`: fuser sends one number for both, and
//! programs see it. An `ino` is stable, equal to the one in listings and to what the other commands show, which the ids
//! of an overlay's nodes are not. In the rare case that two nodes show the same number (filesystems of the host below
//! one another), or the number 1, which is the root's, the later one is displaced to a number of its own.
//!
//! # Locks, outermost first
//! 1. `displaced`, held only while there is any or one is about to be;
//! 2. one shard of the table.
//!
//! Locations are dropped outside of both, since that calls `forget` on filesystems.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use mountless::namespace::Location;
use mountless::{Errno, Result};

/// The kernel's number for the root.
pub(crate) const ROOT: u64 = 1;

const SHARDS: usize = 16;

struct Slot {
    location: Location,
    /// Times that the kernel was told of it and did not forget.
    lookups: u64,
}

type Shard = HashMap<u64, Slot, RandomState>;

pub(crate) struct Nodes {
    root: Location,
    shards: [RwLock<Shard>; SHARDS],
    /// Ids of displaced nodes by the number they show.
    displaced: Mutex<HashMap<u64, Vec<u64>, RandomState>>,
    any_displaced: AtomicBool,
}

impl Nodes {
    pub(crate) fn new(root: Location) -> Self {
        Self {
            root,
            shards: core::array::from_fn(|_| RwLock::default()),
            displaced: Mutex::default(),
            any_displaced: AtomicBool::new(false),
        }
    }

    fn shard(&self, id: u64) -> &RwLock<Shard> {
        // Neighbours in an image are asked for together, so the low bits spread best.
        &self.shards[usize::try_from(id % 16).unwrap_or(0)]
    }

    fn read(&self, id: u64) -> RwLockReadGuard<'_, Shard> {
        self.shard(id).read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, id: u64) -> RwLockWriteGuard<'_, Shard> {
        self.shard(id).write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where `id` is.
    ///
    /// # Errors
    /// `ESTALE` if the kernel was never told of it, or forgot it.
    pub(crate) fn get(&self, id: u64) -> Result<Location> {
        if id == ROOT {
            return Ok(self.root.clone());
        }
        self.read(id).get(&id).map(|slot| slot.location.clone()).ok_or_else(|| Errno::Stale.into())
    }

    /// The id of a location that shows the number `ino`, counted once more.
    pub(crate) fn enter(&self, location: Location, ino: u64) -> u64 {
        if self.any_displaced.load(Ordering::Acquire) {
            return self.enter_displaced(location, ino);
        }
        match self.enter_as(ino, location) {
            Ok(()) => ino,
            Err(location) => self.enter_displaced(location, ino),
        }
    }

    /// Enters a location under `id` unless another has it.
    fn enter_as(&self, id: u64, location: Location) -> Result<(), Location> {
        // 0 means "no entry" to the kernel.
        if id == ROOT || id == 0 {
            return Err(location);
        }
        match self.write(id).entry(id) {
            Entry::Vacant(vacant) => {
                vacant.insert(Slot { location, lookups: 1 });
                return Ok(());
            }
            Entry::Occupied(mut slot) if slot.get().location.is_same(&location) => {
                let slot = slot.get_mut();
                slot.lookups = slot.lookups.saturating_add(1);
            }
            Entry::Occupied(_) => return Err(location),
        }
        // The slot has a location already: this one is dropped here, after the lock.
        drop(location);
        Ok(())
    }

    fn enter_displaced(&self, mut location: Location, ino: u64) -> u64 {
        /// An odd constant with bits spread evenly, another than the mount table's and the overlay's.
        const SPREAD: u64 = 0xa076_1d64_78bd_642f;

        let mut displaced = self.displaced.lock().unwrap_or_else(PoisonError::into_inner);
        self.any_displaced.store(true, Ordering::Release);
        let known = displaced
            .get(&ino)
            .into_iter()
            .flatten()
            .copied()
            .find(|id| self.read(*id).get(id).is_some_and(|slot| slot.location.is_same(&location)));
        let mut id = known.unwrap_or(ino);
        loop {
            match self.enter_as(id, location) {
                Ok(()) => break,
                Err(other) => location = other,
            }
            id = id.wrapping_add(SPREAD);
        }
        if id != ino && known.is_none() {
            displaced.entry(ino).or_default().push(id);
        }
        id
    }

    /// Takes back what the kernel forgot.
    pub(crate) fn forget(&self, id: u64, count: u64) {
        if id == ROOT {
            return;
        }
        let removed = match self.write(id).entry(id) {
            Entry::Occupied(mut slot) if slot.get().lookups > count => {
                slot.get_mut().lookups -= count;
                None
            }
            Entry::Occupied(slot) => Some(slot.remove()),
            Entry::Vacant(_) => None,
        };
        if removed.is_some() && self.any_displaced.load(Ordering::Acquire) {
            let mut displaced = self.displaced.lock().unwrap_or_else(PoisonError::into_inner);
            // The lock of the shard was given back in between: the id may be in use again.
            if !self.read(id).contains_key(&id) {
                displaced.retain(|_, ids| {
                    ids.retain(|other| *other != id);
                    !ids.is_empty()
                });
                self.any_displaced.store(!displaced.is_empty(), Ordering::Release);
            }
        }
        drop(removed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mountless::Namespace;
    use mountless::backend::mem::MemFs;
    use mountless::namespace::Follow;

    use super::*;

    fn three_files() -> (Namespace, [Location; 3]) {
        let namespace = Namespace::new(Arc::new(MemFs::new()));
        let files = ["/a", "/b", "/c"].map(|path| {
            namespace.write(path, b"").unwrap();
            namespace.locate(path, Follow::No).unwrap()
        });
        (namespace, files)
    }

    #[test]
    fn counts_until_the_last_is_forgotten() {
        let (namespace, [a, ..]) = three_files();
        let nodes = Nodes::new(namespace.root().clone());
        assert_eq!(nodes.enter(a.clone(), 7), 7);
        assert_eq!(nodes.enter(a.clone(), 7), 7);
        assert_eq!(nodes.enter(a.clone(), 7), 7);
        nodes.forget(7, 2);
        assert!(nodes.get(7).unwrap().is_same(&a));
        nodes.forget(7, 1);
        assert_eq!(nodes.get(7).unwrap_err(), Errno::Stale);
        nodes.forget(7, 1);
    }

    #[test]
    fn the_root_is_always_there() {
        let (namespace, [a, ..]) = three_files();
        let nodes = Nodes::new(namespace.root().clone());
        nodes.forget(ROOT, 100);
        assert!(nodes.get(ROOT).unwrap().is_same(namespace.root()));
        let id = nodes.enter(a.clone(), ROOT);
        assert_ne!(id, ROOT);
        assert!(nodes.get(id).unwrap().is_same(&a));
    }

    #[test]
    fn nodes_that_show_one_number_get_several() {
        let (namespace, [a, b, c]) = three_files();
        let nodes = Nodes::new(namespace.root().clone());
        let ids = [&a, &b, &c].map(|location| nodes.enter(location.clone(), 9));
        assert_eq!(ids[0], 9);
        assert!(ids[1] != 9 && ids[2] != 9 && ids[1] != ids[2]);
        // The number's first owner goes; the displaced keep theirs.
        nodes.forget(9, 1);
        assert_eq!(nodes.enter(b.clone(), 9), ids[1]);
        assert_eq!(nodes.enter(a.clone(), 9), 9);
        nodes.forget(ids[1], 1);
        assert!(nodes.get(ids[1]).unwrap().is_same(&b));
        nodes.forget(ids[1], 1);
        nodes.forget(ids[2], 1);
        nodes.forget(9, 1);
        assert!(!nodes.any_displaced.load(Ordering::Relaxed));
        assert_eq!(nodes.enter(c, 9), 9);
    }

    #[test]
    fn unlinked_nodes_live_until_forgotten() {
        let (namespace, [a, ..]) = three_files();
        let nodes = Nodes::new(namespace.root().clone());
        let (fs, node) = (namespace.root().clone(), a.node());
        nodes.enter(a, 7);
        namespace.remove_file("/a").unwrap();
        assert_eq!(fs.fs().attr(node).unwrap().nlink, 0);
        nodes.forget(7, 1);
        assert_eq!(fs.fs().attr(node).unwrap_err(), Errno::Stale);
    }
}
