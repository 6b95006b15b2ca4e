//! Layers merged into one tree, as Linux overlayfs does: lowers that are never changed, and at most one upper that
//! takes every change.
//!
//! - A name is what the highest layer says; directories of the same name merge, unless one is opaque or something else
//!   lies between. A whiteout hides a name of the layers below. Both are typed ([`FileType::Whiteout`],
//!   [`Attr::opaque`]); no name is magic.
//! - The first change to a lower node copies it up: attributes are copied, **data is shared** (`copy_up`).
//! - A merged node keeps its id, its `ino` and its cookies across copy-up, and hard links of a lower stay links of
//!   each other (`table`).
//! - A lower directory can be renamed: its node remembers which lower directories it merges, wherever it is, and the
//!   upper keeps where that is (`marks`).
//!
//! # Inside
//! The upper filesystem has two directories below its root: `upper` holds the tree, `work` things half made. What is
//! made in `work` is moved into place in one step, so that an error half-way (no space, say) leaves the tree as it was.
//!
//! # Locks, outermost first
//! 1. `structure`: held by everything that changes names and by copy-up. Lookups do not take it: they read its change
//!    counter before and after, and only if that moved (or a change is running) repeat under the lock.
//! 2. a directory's `list`, the cached merged listing.
//! 3. the table's `RwLock`, held only to find, enter or drop a node.
//! 4. a node's `place`.
//!
//! Other filesystems are called under `structure` alone; never under 2 to 4.

mod change;
mod copy_up;
mod marks;
mod merge;
mod rename;
mod table;
#[cfg(test)]
mod tests;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use self::table::{LowerRef, Node, Table, attr_layer};
use crate::attr::{Attr, FileType, SetAttr, SetTime};
use crate::errno::Errno;
use crate::error::{Error, Result};
use crate::fs::{
    Cookie, DirBatch, Entry, Extent, FileSystem, FileSystemExt, FsInfo, NewKind, NewNode, NodeId, NodeRef, Snapshot,
    WritableFileSystem, XattrMode,
};
use crate::limits::LAYERS_MAX;
use crate::name::Name;

/// Merged layers.
#[derive(Debug)]
pub struct Overlay {
    table: Table,
    root: Arc<Node>,
    upper: Option<Upper>,
    structure: Structure,
    /// How many lowers; the upper's layer number for `ino`.
    lower_count: u64,
    /// No layer changes names unnoticed.
    names_hold: bool,
}

/// The layer that takes the changes.
#[derive(Debug)]
struct Upper {
    fs: Arc<dyn FileSystem>,
    work: NodeRef,
    /// For names in `work`.
    serial: AtomicU64,
}

impl Upper {
    fn fs(&self) -> Result<&dyn WritableFileSystem> {
        self.fs.writable()
    }

    /// A name in `work` that is not in use.
    fn work_name(&self) -> Vec<u8> {
        format!("#{:x}", self.serial.fetch_add(1, Ordering::Relaxed)).into_bytes()
    }
}

/// The lock on names, with the counter that lets lookups do without it.
#[derive(Debug, Default)]
struct Structure {
    lock: Mutex<()>,
    /// Odd while a change is running.
    changes: AtomicU64,
}

/// Proof that the structure lock is held.
struct Changing<'a> {
    structure: &'a Structure,
    _guard: MutexGuard<'a, ()>,
}

impl Structure {
    fn change(&self) -> Changing<'_> {
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.changes.fetch_add(1, Ordering::AcqRel);
        Changing { structure: self, _guard: guard }
    }

    /// The counter, unless a change is running.
    fn version(&self) -> Option<u64> {
        Some(self.changes.load(Ordering::Acquire)).filter(|changes| changes.is_multiple_of(2))
    }

    /// Runs `read` so that it sees the names as they were at one moment.
    fn read<T>(&self, mut read: impl FnMut() -> Result<T>) -> Result<T> {
        let before = self.changes.load(Ordering::Acquire);
        if before.is_multiple_of(2) {
            let result = read();
            if self.changes.load(Ordering::Acquire) == before {
                return result;
            }
        }
        let _guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        read()
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.structure.changes.fetch_add(1, Ordering::AcqRel);
    }
}

impl Overlay {
    /// Merges `lowers`, lowest first, into a tree that cannot be changed.
    ///
    /// # Errors
    /// `EINVAL` without layers or beyond [`LAYERS_MAX`], and those of the layers.
    pub fn read_only(lowers: Vec<Arc<dyn FileSystem>>) -> Result<Self> {
        Self::new(lowers, None)
    }

    /// Merges `lowers`, lowest first, under `upper`, which must be writable and used by nobody else; its directories
    /// `upper` and `work` are made if missing, and what an earlier overlay left half made in `work` is left alone.
    ///
    /// # Errors
    /// `EROFS` if `upper` is not writable, `EINVAL` beyond [`LAYERS_MAX`], and those of the layers.
    pub fn with_upper(lowers: Vec<Arc<dyn FileSystem>>, upper: Arc<dyn FileSystem>) -> Result<Self> {
        Self::new(lowers, Some(upper))
    }

    fn new(lowers: Vec<Arc<dyn FileSystem>>, upper: Option<Arc<dyn FileSystem>>) -> Result<Self> {
        let layers = lowers.len().saturating_add(usize::from(upper.is_some()));
        if layers == 0 || layers > LAYERS_MAX {
            return Err(Error::new(
                Errno::Invalid,
                format!("a stack needs 1 to {LAYERS_MAX} layers, this one has {layers}"),
            ));
        }
        let lower_count = crate::checked::to_u64(lowers.len());
        let names_hold = lowers.iter().chain(&upper).all(|fs| fs.names_version().is_some());
        let mut roots: Vec<LowerRef> = Vec::with_capacity(lowers.len());
        // Highest first, as lookups ask them; an opaque root hides the roots below it.
        for (layer, fs) in lowers.into_iter().enumerate().rev() {
            let layer = crate::checked::to_u64(layer);
            let root = fs.root();
            let opaque = fs.attr(root)?.opaque;
            roots.push(LowerRef { layer, node: NodeRef::root(fs) });
            if opaque {
                break;
            }
        }
        let (upper, upper_root) = match upper {
            Some(fs) => {
                let lower = attr_layer(roots.iter().map(|lower| &lower.node)).ok();
                let (upper, root) = Upper::prepare(fs, lower)?;
                (Some(upper), Some(root))
            }
            None => (None, None),
        };
        let (table, root) = Table::new(upper_root, roots);
        Ok(Self { table, root, upper, structure: Structure::default(), lower_count, names_hold })
    }

    fn upper(&self) -> Result<&Upper> {
        self.upper.as_ref().ok_or_else(|| Errno::ReadOnly.into())
    }

    fn node(&self, node: NodeId) -> Result<Arc<Node>> {
        self.table.get(node).ok_or_else(|| Errno::Stale.into())
    }

    /// `ino` of a node of layer `layer` in the merged tree: unchanged for the lowest, a bijection for each.
    fn merged_ino(layer: u64, ino: u64) -> u64 {
        /// An odd constant with bits spread evenly, another than the mount table's.
        const SPREAD: u64 = 0xd1b5_4a32_d192_ed03;
        match ino ^ layer.wrapping_mul(SPREAD) {
            0 => SPREAD,
            merged => merged,
        }
    }
}

impl Upper {
    fn prepare(fs: Arc<dyn FileSystem>, lower_root: Option<&NodeRef>) -> Result<(Self, NodeRef)> {
        let (tree, made) = subdirectory(&fs, b"upper")?;
        let (work, _) = subdirectory(&fs, b"work")?;
        if let (true, Some(lower)) = (made, lower_root) {
            let to = fs.writable()?;
            copy_xattrs(lower, to, tree.node())?;
            copy_attributes(to, tree.node(), &copied_attributes(&lower.fs().attr(lower.node())?))?;
        }
        Ok((Self { fs, work, serial: AtomicU64::new(0) }, tree))
    }
}

/// The directory `name` below the root, made if missing, and whether it was.
fn subdirectory(fs: &Arc<dyn FileSystem>, name: &[u8]) -> Result<(NodeRef, bool)> {
    let name = Name::new(name)?;
    match NodeRef::lookup(fs, fs.root(), name) {
        Ok(found) if found.file_type().is_dir() => Ok((found, false)),
        Ok(_) => Err(Error::new(Errno::NotDir, format!("the upper layer's `{name}` is not a directory"))),
        Err(error) if error == Errno::NotFound => {
            let node = NewNode { kind: NewKind::Dir, mode: 0o755, uid: 0, gid: 0 };
            let entry = fs.writable()?.create(fs.root(), name, &node)?;
            Ok((NodeRef::from_entry(Arc::clone(fs), entry), true))
        }
        Err(error) => Err(error),
    }
}

fn copy_xattrs(lower: &NodeRef, to: &dyn WritableFileSystem, node: NodeId) -> Result<()> {
    for name in lower.fs().xattr_names(lower.node())?.iter().filter(|name| !marks::is_own(name)) {
        to.set_xattr(node, name, &lower.fs().xattr(lower.node(), name)?, XattrMode::Set)?;
    }
    Ok(())
}

/// What makes a copy equal to the original, besides type, content and extended attributes.
fn copied_attributes(attr: &Attr) -> SetAttr {
    SetAttr {
        mode: Some(attr.mode),
        uid: Some(attr.uid),
        gid: Some(attr.gid),
        size: None,
        atime: Some(SetTime::At(attr.atime)),
        mtime: Some(SetTime::At(attr.mtime)),
        ctime: Some(attr.ctime),
        opaque: None,
    }
}

/// Sets what can be set: a host has its own mind about times of change, and about the modes of links.
fn copy_attributes(to: &dyn WritableFileSystem, node: NodeId, changes: &SetAttr) -> Result<()> {
    let set = |changes: &SetAttr| to.set_attr(node, changes).map(drop);
    let without_ctime = SetAttr { ctime: None, ..*changes };
    [*changes, without_ctime, SetAttr { mode: None, ..without_ctime }]
        .iter()
        .map(set)
        .find(|set| !matches!(set, Err(error) if *error == Errno::NotSupported))
        .unwrap_or_else(|| Err(Errno::NotSupported.into()))
}

impl FileSystem for Overlay {
    fn root(&self) -> NodeId {
        self.root.id
    }

    fn lookup(&self, dir: NodeId, name: Name<'_>) -> Result<Entry> {
        let dir = self.node(dir)?;
        let node = self.structure.read(|| self.found(&dir, name))?.keep();
        Ok(Entry { node: node.id, file_type: node.file_type })
    }

    fn forget(&self, node: NodeId, count: u64) {
        self.table.forget(node, count);
    }

    fn attr(&self, node: NodeId) -> Result<Attr> {
        self.merged_attr(&*self.node(node)?)
    }

    fn read_link(&self, node: NodeId) -> Result<Bytes> {
        let node = self.node(node)?;
        let (fs, inner) = node.source();
        fs.read_link(inner)
    }

    fn read_dir(&self, dir: NodeId, from: Cookie, batch: &mut DirBatch) -> Result<()> {
        let dir = self.node(dir)?;
        self.list(&dir, from, batch)
    }

    fn read_at(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let node = self.node(node)?;
        let (fs, inner) = node.source();
        fs.read_at(inner, offset, buf)
    }

    fn read_shared(&self, node: NodeId, offset: u64, len: usize) -> Result<Bytes> {
        let node = self.node(node)?;
        let (fs, inner) = node.source();
        fs.read_shared(inner, offset, len)
    }

    fn snapshot(&self, node: NodeId) -> Result<Option<Snapshot>> {
        let node = self.node(node)?;
        // First, so that a copy-up after this question is noticed.
        let copied_up = node.copied_up();
        let (fs, inner) = node.source();
        let snapshot = fs.snapshot(inner)?;
        Ok(match copied_up {
            Some(copied_up) => snapshot.filter(Snapshot::is_fixed).map(|snapshot| snapshot.until(copied_up)),
            None => snapshot,
        })
    }

    fn extent_at(&self, node: NodeId, offset: u64) -> Result<Extent> {
        let node = self.node(node)?;
        let (fs, inner) = node.source();
        fs.extent_at(inner, offset)
    }

    fn xattr(&self, node: NodeId, name: &[u8]) -> Result<Bytes> {
        let node = self.node(node)?;
        if marks::is_own(name) {
            return Err(Errno::NoAttribute.into());
        }
        let layer = node.attr_layer()?;
        layer.fs().xattr(layer.node(), name)
    }

    fn xattr_names(&self, node: NodeId) -> Result<Vec<Bytes>> {
        let node = self.node(node)?;
        let layer = node.attr_layer()?;
        let mut names = layer.fs().xattr_names(layer.node())?;
        names.retain(|name| !marks::is_own(name));
        Ok(names)
    }

    fn names_version(&self) -> Option<u64> {
        self.names_hold.then(|| self.structure.version()).flatten()
    }

    fn info(&self) -> FsInfo {
        let layers = self.root.layers();
        let may_block = layers.clone().any(|layer| layer.fs().info().may_block);
        match &self.upper {
            Some(upper) => FsInfo { kind: "overlay", may_block, ..upper.fs.info() },
            None => FsInfo {
                kind: "overlay",
                may_block,
                total_bytes: layers.map(|layer| layer.fs().info().total_bytes).sum(),
                free_bytes: Some(0),
                total_nodes: None,
                free_nodes: Some(0),
            },
        }
    }

    fn as_writable(&self) -> Option<&dyn WritableFileSystem> {
        self.upper.is_some().then_some(self)
    }
}

impl Overlay {
    fn merged_attr(&self, node: &Node) -> Result<Attr> {
        let layer = node.attr_layer()?;
        let mut attr = layer.fs().attr(layer.node());
        if let Ok(attr) = &mut attr {
            attr.ino = node.ino;
            attr.opaque = false;
            attr.nlink = if node.file_type == FileType::Dir {
                // As Linux overlayfs: counting the subdirectories of a merged directory would mean listing it.
                match self.only_layer(node) {
                    _ if node.is_removed() => 0,
                    Some(_) => attr.nlink,
                    None => 1,
                }
            } else {
                node.nlink(attr.nlink)
            };
        }
        attr
    }
}
