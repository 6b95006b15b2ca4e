//! The guard that counts references.

use alloc::sync::Arc;
use core::any::Any;
use core::fmt;

use super::{Entry, FileSystem, NodeId};
use crate::attr::FileType;
use crate::error::Result;
use crate::name::Name;

/// One reference on a node, given back when dropped.
pub struct NodeRef {
    fs: Arc<dyn FileSystem>,
    node: NodeId,
    file_type: FileType,
    counted: bool,
    /// Who holds the reference, if this guard does not.
    _holder: Option<Arc<dyn Any + Send + Sync>>,
}

impl NodeRef {
    /// Takes over the reference that came with `entry`.
    #[must_use]
    pub fn from_entry(fs: Arc<dyn FileSystem>, entry: Entry) -> Self {
        Self { fs, node: entry.node, file_type: entry.file_type, counted: true, _holder: None }
    }

    /// The root, which needs no reference.
    #[must_use]
    pub fn root(fs: Arc<dyn FileSystem>) -> Self {
        let node = fs.root();
        Self { fs, node, file_type: FileType::Dir, counted: false, _holder: None }
    }

    /// A node whose reference `holder` has, which is kept alive for that.
    #[must_use]
    pub fn held(
        fs: Arc<dyn FileSystem>,
        node: NodeId,
        file_type: FileType,
        holder: Arc<dyn Any + Send + Sync>,
    ) -> Self {
        Self { fs, node, file_type, counted: false, _holder: Some(holder) }
    }

    /// Looks `name` up in `dir`.
    ///
    /// # Errors
    /// As [`FileSystem::lookup`].
    pub fn lookup(fs: &Arc<dyn FileSystem>, dir: NodeId, name: Name<'_>) -> Result<Self> {
        let entry = fs.lookup(dir, name)?;
        Ok(Self::from_entry(Arc::clone(fs), entry))
    }

    /// The node.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// Its kind.
    #[must_use]
    pub const fn file_type(&self) -> FileType {
        self.file_type
    }

    /// The filesystem it belongs to.
    #[must_use]
    pub fn fs(&self) -> &Arc<dyn FileSystem> {
        &self.fs
    }

    /// Hands the reference over to whoever counts elsewhere (a kernel, with FUSE) and will call `forget`.
    #[must_use]
    pub fn leak(mut self) -> NodeId {
        self.counted = false;
        self.node
    }
}

impl Drop for NodeRef {
    fn drop(&mut self) {
        if self.counted {
            self.fs.forget(self.node, 1);
        }
    }
}

impl fmt::Debug for NodeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeRef({:?} {})", self.file_type, self.node.get())
    }
}
