//! The entries of one directory.
//!
//! Each entry has a serial number that is its cookie in listings: given when the name is added, ascending, never used
//! again. A listing resumes with the next serial, so it costs O(log n) and does not care what came and went in between.
//! An entry keeps its serial when its name or its node is replaced: whoever is listing meets it exactly once.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::ops::Bound;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::attr::FileType;
use crate::errno::Errno;
use crate::error::Result;
use crate::fs::{Cookie, DirBatch, DirEntry, NodeId};
use crate::name::Name;

/// What a name names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Target {
    pub(super) node: NodeId,
    pub(super) file_type: FileType,
}

struct Slot {
    target: Target,
    serial: u64,
}

struct Listed {
    name: Arc<[u8]>,
    target: Target,
}

/// The entries, by name and by serial: both maps always hold the same ones, and share the bytes of the names.
pub(super) struct Entries {
    by_name: HashMap<Arc<[u8]>, Slot, RandomState>,
    by_serial: BTreeMap<u64, Listed>,
    last_serial: u64,
}

impl Entries {
    pub(super) fn new() -> Self {
        Self { by_name: HashMap::default(), by_serial: BTreeMap::new(), last_serial: Cookie::START.get() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    pub(super) fn get(&self, name: Name<'_>) -> Option<Target> {
        self.by_name.get(name.as_bytes()).map(|slot| slot.target)
    }

    /// Adds an entry, or gives an existing one another node.
    pub(super) fn put(&mut self, name: Name<'_>, target: Target) {
        if let Some(slot) = self.by_name.get_mut(name.as_bytes()) {
            slot.target = target;
            if let Some(listed) = self.by_serial.get_mut(&slot.serial) {
                listed.target = target;
            }
            return;
        }
        // OK: 2^62 additions take a century, so serials stay below `Cookie::END`.
        self.last_serial += 1;
        self.insert(name, target, self.last_serial);
    }

    pub(super) fn remove(&mut self, name: Name<'_>) {
        if let Some(slot) = self.by_name.remove(name.as_bytes()) {
            self.by_serial.remove(&slot.serial);
        }
    }

    /// Gives the entry `from` the name `to`, which is free.
    pub(super) fn rename(&mut self, from: Name<'_>, to: Name<'_>) {
        if let Some(slot) = self.by_name.remove(from.as_bytes()) {
            self.insert(to, slot.target, slot.serial);
        }
    }

    fn insert(&mut self, name: Name<'_>, target: Target, serial: u64) {
        let name: Arc<[u8]> = name.as_bytes().into();
        self.by_serial.insert(serial, Listed { name: Arc::clone(&name), target });
        self.by_name.insert(name, Slot { target, serial });
    }

    pub(super) fn list(&self, from: Cookie, batch: &mut DirBatch) -> Result<()> {
        for (&serial, listed) in self.by_serial.range((Bound::Excluded(from.get()), Bound::Unbounded)) {
            let entry = DirEntry {
                name: Name::proven(&listed.name),
                ino: listed.target.node.get(),
                file_type: listed.target.file_type,
                cookie: Cookie::new(serial),
            };
            if !batch.push(entry) {
                break;
            }
        }
        Ok(())
    }

    /// The entry's target, or `ENOENT`.
    pub(super) fn find(&self, name: Name<'_>) -> Result<Target> {
        self.get(name).ok_or_else(|| Errno::NotFound.into())
    }
}
