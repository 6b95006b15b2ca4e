//! The mount table: which filesystem covers which directory.

use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use hashbrown::HashMap;

use super::location::Location;
use crate::errno::Errno;
use crate::error::Result;
use crate::fs::{FileSystem, FileSystemExt, NodeId, SyncScope, WritableFileSystem};
use crate::limits::MOUNTS_MAX;

/// How a filesystem is mounted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MountOptions {
    /// Every change through this mount answers `EROFS`, whatever the filesystem could do.
    pub read_only: bool,
}

/// A filesystem in its place.
pub(super) struct Mount {
    /// 0 for the root mount, then counting up; never reused.
    id: u64,
    fs: Arc<dyn FileSystem>,
    options: MountOptions,
    /// As it is seen from a read-only location: nothing here may be changed, nor in what is mounted below.
    is_read_only_view: bool,
}

impl Mount {
    /// The same mount, seen read-only.
    pub(super) fn read_only_view(&self) -> Self {
        let options = MountOptions { read_only: true };
        Self { id: self.id, fs: Arc::clone(&self.fs), options, is_read_only_view: true }
    }

    pub(super) const fn is_read_only_view(&self) -> bool {
        self.is_read_only_view
    }

    pub(super) const fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn fs(&self) -> &dyn FileSystem {
        &*self.fs
    }

    pub(super) fn shared_fs(&self) -> Arc<dyn FileSystem> {
        Arc::clone(&self.fs)
    }

    /// The writing half.
    ///
    /// # Errors
    /// `EROFS` if it has none, or is mounted read-only.
    pub(super) fn writable(&self) -> Result<&dyn WritableFileSystem> {
        if self.options.read_only {
            return Err(Errno::ReadOnly.into());
        }
        self.fs.writable()
    }

    /// Makes `ino` unique in the namespace. Within one mount this is a bijection, the identity for the root mount; two
    /// mounts meet with the probability of two random 64-bit numbers.
    pub(super) const fn unique_ino(&self, ino: u64) -> u64 {
        /// 2^64 divided by the golden ratio: multiples of it are spread evenly.
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        match ino ^ self.id.wrapping_mul(SPREAD) {
            0 => SPREAD,
            unique => unique,
        }
    }
}

impl fmt::Debug for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mount({} {}{})", self.id, self.fs.info().kind, if self.options.read_only { " ro" } else { "" })
    }
}

/// All mounts of a namespace.
#[derive(Debug)]
pub(super) struct MountTable {
    /// Set with the first mount, so that namespaces without any pay one relaxed load a lookup.
    any: AtomicBool,
    covered: RwLock<HashMap<(u64, NodeId), Covered, foldhash::fast::RandomState>>,
}

#[derive(Debug)]
struct Covered {
    by: Arc<Mount>,
    /// Keeps the covered node referenced, so that its id means the same directory for ever.
    _at: Location,
}

impl MountTable {
    pub(super) fn new(fs: Arc<dyn FileSystem>) -> (Self, Arc<Mount>) {
        let root = Arc::new(Mount { id: 0, fs, options: MountOptions::default(), is_read_only_view: false });
        (Self { any: AtomicBool::new(false), covered: RwLock::default() }, root)
    }

    pub(super) fn add(&self, at: Location, fs: Arc<dyn FileSystem>, options: MountOptions) -> Result<()> {
        if at.is_mount_root() {
            return Err(Errno::Busy.into());
        }
        let mut covered = self.covered.write().unwrap_or_else(PoisonError::into_inner);
        // The table holds every mount but the root's; ids count from 1.
        if covered.len() >= MOUNTS_MAX.saturating_sub(1) {
            return Err(Errno::NoSpace.into());
        }
        let id = crate::checked::to_u64(covered.len()).saturating_add(1);
        let key = (at.mount().id(), at.node());
        if covered.contains_key(&key) {
            return Err(Errno::Busy.into());
        }
        let by = Arc::new(Mount { id, fs, options, is_read_only_view: false });
        covered.insert(key, Covered { by, _at: at });
        self.any.store(true, Ordering::Release);
        Ok(())
    }

    /// The mount that covers `node` of `mount`.
    pub(super) fn covering(&self, mount: &Mount, node: NodeId) -> Option<Arc<Mount>> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let covered = self.covered.read().unwrap_or_else(PoisonError::into_inner);
        let by = &covered.get(&(mount.id, node))?.by;
        Some(if mount.is_read_only_view { Arc::new(by.read_only_view()) } else { Arc::clone(by) })
    }

    /// Sum of the versions of all filesystems, `root` among them, and the count of mounts. None of these ever falls.
    #[inline]
    pub(super) fn names_version(&self, root: &dyn FileSystem) -> Option<u64> {
        let version = root.names_version()?;
        if !self.any() {
            return Some(version);
        }
        let covered = self.covered.read().unwrap_or_else(PoisonError::into_inner);
        covered
            .values()
            .try_fold(version, |sum, covered| Some(sum.wrapping_add(covered.by.fs.names_version()?).wrapping_add(1)))
    }

    /// Makes durable what was changed in any of them.
    pub(super) fn sync(&self, root: &Mount) -> Result<()> {
        let covered = self.covered.read().unwrap_or_else(PoisonError::into_inner);
        let mounts = covered.values().map(|covered| &*covered.by);
        core::iter::once(root).chain(mounts).try_for_each(|mount| match mount.writable() {
            Ok(writable) => writable.sync(SyncScope::All),
            Err(_) => Ok(()),
        })
    }

    /// Whether anything is mounted besides the root.
    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }
}
