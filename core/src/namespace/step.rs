//! One name at a time: for adapters whose caller walks paths by itself, as a kernel does.

use alloc::sync::Arc;

use super::Namespace;
use super::location::{Location, Place};
use crate::errno::Errno;
use crate::error::Result;
use crate::fs::Entry;
use crate::name::Name;

impl Namespace {
    /// What `name` names in `dir`; a mount that covers it is entered, a symbolic link is not followed.
    ///
    /// # Errors
    /// As [`FileSystem::lookup`](crate::fs::FileSystem::lookup).
    pub fn step(&self, dir: &Location, name: Name<'_>) -> Result<Location> {
        let entry = dir.fs().lookup(dir.node(), name)?;
        let found = self.adopt(dir, entry);
        Ok(match self.mounts.covering(dir.mount(), entry.node) {
            Some(mount) => Location::mount_root(mount),
            None => found,
        })
    }

    /// The location of `entry`, just created in the filesystem of `dir`, whose reference it takes over.
    #[must_use]
    pub fn adopt(&self, dir: &Location, entry: Entry) -> Location {
        Location::new(Place::counted(Arc::clone(&dir.place().mount), entry.node, entry.file_type))
    }

    /// Makes sure that `name` in `dir` may be removed, moved or replaced.
    ///
    /// # Errors
    /// `EBUSY` if it is a mount.
    pub fn refuse_mount(&self, dir: &Location, name: Name<'_>) -> Result<()> {
        if self.has_mounts() && self.step(dir, name).is_ok_and(|found| !found.is_same_mount(dir)) {
            return Err(Errno::Busy.into());
        }
        Ok(())
    }

    /// Whether anything is mounted besides the root.
    #[must_use]
    pub fn has_mounts(&self) -> bool {
        self.mounts.any()
    }
}
