//! A place in a namespace: a node of a mount.

use alloc::sync::Arc;
use core::fmt;

use bytes::Bytes;

use super::mount::Mount;
use crate::attr::{Attr, FileType};
use crate::error::Result;
use crate::fs::{FileSystem, FsInfo, NodeId, NodeRef, WritableFileSystem};

/// A referenced node of a mount. Clones share the reference, which is given back with the last of them.
#[derive(Clone)]
pub struct Location(Arc<Place>);

/// The same, not yet shared: what a walk carries.
pub(super) struct Place {
    pub(super) mount: Arc<Mount>,
    pub(super) node: NodeId,
    pub(super) file_type: FileType,
    /// Whether a reference is held; roots need none.
    counted: bool,
    /// Whose reference it is, if it is another's: only kept.
    _of: Option<Location>,
}

impl Place {
    pub(super) const fn counted(mount: Arc<Mount>, node: NodeId, file_type: FileType) -> Self {
        Self { mount, node, file_type, counted: true, _of: None }
    }

    pub(super) fn root_of(mount: Arc<Mount>) -> Self {
        let node = mount.fs().root();
        Self { mount, node, file_type: FileType::Dir, counted: false, _of: None }
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.node == other.node && self.mount.id() == other.mount.id()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.counted {
            self.mount.fs().forget(self.node, 1);
        }
    }
}

impl Location {
    pub(super) fn new(place: Place) -> Self {
        Self(Arc::new(place))
    }

    pub(super) fn mount_root(mount: Arc<Mount>) -> Self {
        Self::new(Place::root_of(mount))
    }

    pub(super) fn place(&self) -> &Place {
        &self.0
    }

    pub(super) fn mount(&self) -> &Mount {
        &self.0.mount
    }

    pub(super) fn is_mount_root(&self) -> bool {
        self.node() == self.fs().root()
    }

    /// The node, in the filesystem of [`fs`](Self::fs).
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.0.node
    }

    /// The node's kind.
    #[must_use]
    pub fn file_type(&self) -> FileType {
        self.0.file_type
    }

    /// The filesystem, for operations on nodes.
    #[must_use]
    pub fn fs(&self) -> &dyn FileSystem {
        self.0.mount.fs()
    }

    /// The node with its filesystem, for what works on nodes of any. Mounts on and below it are not seen there.
    #[must_use]
    pub fn node_ref(&self) -> NodeRef {
        let fs = self.0.mount.shared_fs();
        NodeRef::held(fs, self.node(), self.file_type(), Arc::<Place>::clone(&self.0))
    }

    /// The same node, from which nothing can be changed: not it, not what is below, not by any path, and not in what is
    /// mounted there.
    #[must_use]
    pub fn read_only(&self) -> Self {
        let Place { mount, node, file_type, .. } = &*self.0;
        let view = Arc::new(mount.read_only_view());
        // Its own reference would have to be asked for by a name, which it need not have: this one is held instead.
        let held = Place { mount: view, node: *node, file_type: *file_type, counted: false, _of: Some(self.clone()) };
        Self::new(held)
    }

    /// The writing half of the filesystem.
    ///
    /// # Errors
    /// `EROFS` if it has none or is mounted read-only.
    pub fn writable(&self) -> Result<&dyn WritableFileSystem> {
        self.0.mount.writable()
    }

    /// Attributes, with an `ino` that is unique in the namespace.
    ///
    /// # Errors
    /// As [`FileSystem::attr`].
    pub fn attr(&self) -> Result<Attr> {
        // Changed where it lies: moving it out of the result takes longer than anything else here.
        let mut attr = self.fs().attr(self.node());
        if let Ok(attr) = &mut attr {
            attr.ino = self.unique_ino(attr.ino);
        }
        attr
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// `EINVAL` if it is none.
    pub fn read_link(&self) -> Result<Bytes> {
        self.fs().read_link(self.node())
    }

    /// Kind and capacity of the filesystem here.
    #[must_use]
    pub fn info(&self) -> FsInfo {
        self.fs().info()
    }

    /// Whether both are the same node.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.0.is_same(&other.0)
    }

    /// Whether both are of the same mount, so that a node can be linked or moved from one to the other.
    #[must_use]
    pub fn is_same_mount(&self, other: &Self) -> bool {
        self.mount().id() == other.mount().id()
    }

    /// An `ino` of this location's filesystem, for example from a listing, as the namespace shows it.
    #[must_use]
    pub fn unique_ino(&self, ino: u64) -> u64 {
        self.0.mount.unique_ino(ino)
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Location({:?} {:?} {})", self.0.mount, self.0.file_type, self.0.node.get())
    }
}
