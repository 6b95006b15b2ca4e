//! The only place with paths: a root filesystem, mounts on it, and the walk that turns paths into nodes.
//!
//! A [`Namespace`] is what a guest sees. It offers two families of operations:
//! - `*_at`: a directory [`Location`] and a relative path that **cannot leave it**, whatever the path and the symbolic
//!   links say. WASI adapters use only these.
//! - the others: `std::fs`-like, with paths from the root, as a process chrooted there would see them.
//!
//! # Escape rules of `*_at`
//! A leading `/` and a `..` that would pop past the start are `EPERM`, also in the middle of a path that would come
//! back. `..` never asks the tree: it pops the stack of directories walked through, so that a concurrent rename cannot
//! lead outside. A symbolic link with an absolute target is resolved against the root if the start **is** the
//! namespace's root, and is `EPERM` otherwise.
//!
//! # Locks, outermost first
//! - the mount table's `RwLock`, held only to look one mount up or to add one; never while a filesystem is called.
//!
//! Everything else is immutable or owned by the caller; filesystems lock for themselves.

mod at;
mod cache;
mod descriptor;
mod ext;
mod location;
mod mount;
mod step;
#[cfg(test)]
mod tests;
mod walk;

use alloc::sync::Arc;

pub use self::at::OpenHow;
pub use self::cache::WalkCache;
pub use self::descriptor::Descriptor;
pub use self::ext::OwnedEntry;
pub use self::location::Location;
pub use self::mount::MountOptions;
use self::mount::MountTable;
pub use self::walk::Follow;
use crate::errno::Errno;
use crate::error::Result;
use crate::fs::FileSystem;

/// A tree of mounted filesystems, addressed by path. Clones share it.
#[derive(Clone, Debug)]
pub struct Namespace {
    mounts: Arc<MountTable>,
    root: Location,
}

impl Namespace {
    /// A namespace whose root is the root of `fs`.
    #[must_use]
    pub fn new(fs: Arc<dyn FileSystem>) -> Self {
        let (mounts, root) = MountTable::new(fs);
        Self { mounts: Arc::new(mounts), root: Location::mount_root(root) }
    }

    /// The root directory.
    #[must_use]
    pub const fn root(&self) -> &Location {
        &self.root
    }

    /// A number that grows with every change of names and of mounts: what was walked to stays true as long as it stays.
    /// `None` while a change is running, and where names may change unnoticed.
    #[must_use]
    pub fn names_version(&self) -> Option<u64> {
        self.mounts.names_version(self.root.fs())
    }

    /// Puts `fs` over the directory at `path`, hiding what is there until the namespace is dropped.
    ///
    /// # Errors
    /// Those of a walk; `ENOTDIR` if `path` is no directory, `EBUSY` if it is the root or a mount already, `ENOSPC`
    /// beyond [`MOUNTS_MAX`](crate::limits::MOUNTS_MAX).
    pub fn mount(&self, path: impl AsRef<[u8]>, fs: Arc<dyn FileSystem>, options: MountOptions) -> Result<()> {
        let at = self.locate(path.as_ref(), Follow::Yes)?;
        if !at.file_type().is_dir() {
            return Err(Errno::NotDir.into());
        }
        self.mounts.add(at, fs, options)
    }

    /// Makes every change so far durable, in all that is mounted, as sync(2) does.
    ///
    /// # Errors
    /// `EIO`, or what the host says, for the first filesystem that fails.
    pub fn sync(&self) -> Result<()> {
        self.mounts.sync(self.root.mount())
    }
}
