//! TFS, the file system of the Nanos unikernel.
//!
//! Opening replays the log into a tree, which then answers everything but reads of content; content is read from where
//! it is. A file system opened for reading never changes, so nothing is locked.
//!
//! [`TfsFs`] reads; [`TfsVolume`] changes in place and [compacts](TfsVolume::compact); [`make_image`] makes images, of
//! trees ([`NewTree`]) and [manifests](from_manifest); [`check`] finds what is wrong, and [`repair`] makes a sound image
//! of what can be read.

mod attribute;
mod build;
mod check;
mod compact;
mod content;
mod disk;
mod encode;
mod extents;
mod free;
mod log;
mod make;
mod meta;
mod names;
mod nodes;
mod objects;
mod repair;
mod replay;
mod report;
mod state;
mod symbols;
mod time;
mod tree;
mod volume;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

pub use self::attribute::Attribute;
use self::build::{Built, build, root_attributes};
pub use self::check::{CheckReport, Fault, FaultClass, FaultReason, check};
pub use self::compact::{Compaction, LogSize};
pub use self::disk::{crash_log, find_part};
pub use self::make::{
    BootOptions, EfiLoader, HostFiles, ImageOptions, KeepOptions, KeepReport, Loss, MadeImage, ManifestTrees, NewTree,
    NotKept, Written, configuration_from_manifest, from_manifest, make_image, random_uuid,
};
pub use self::repair::{Lost, LostItem, RepairReport, RepairedPart, repair};
pub use self::replay::LogExtension;
use self::replay::{Replayed, replay};
pub use self::report::{Part, TfsReport};
use self::tree::Tree;
pub use self::volume::{NewVolume, TfsVolume};
use crate::attr::{Attr, Defaults};
use crate::checked::{to_u64, to_usize};
use crate::error::Result;
use crate::fs::{Cookie, DirBatch, Entry, Extent, FileSystem, FsInfo, NodeId, Snapshot, WritableFileSystem};
use crate::name::Name;
use crate::source::Source;

/// How to open a file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TfsOptions {
    /// Which file system of a disk; an image without partitions has one only.
    pub part: Option<Part>,
    /// Give what can be read of a damaged file system: the log up to the damage, without the entries that make no
    /// sense. What is lost stands in the report.
    pub recover: bool,
    /// What stands in for attributes that are not recorded.
    pub defaults: Defaults,
}

impl Default for TfsOptions {
    /// The root file system, and damage is an error.
    fn default() -> Self {
        Self { part: None, recover: false, defaults: Defaults::default() }
    }
}

/// A file system, open for reading.
///
/// Node ids are dealt in the order of the tree; the root is 1, and `ino` is the node id.
pub struct TfsFs {
    tree: Tree,
    source: Arc<dyn Source>,
}

impl TfsFs {
    /// Opens the file system in `image`, a disk or a bare file system.
    ///
    /// # Errors
    /// `EIO` with a [`Corrupt`](crate::error::Corrupt), whose offset counts from the start of the image: everything
    /// that makes the log unreadable or the tree less than the log says. Files whose extents make no sense are there,
    /// and answer it when read. `EINVAL` for a part that the image does not have; `ENOMEM` beyond the limits.
    pub fn open(image: Arc<dyn Source>, options: &TfsOptions) -> Result<(Self, TfsReport)> {
        let found = find_part(&image, options.part)?;
        let in_image = |damage: crate::format::tfs::Damage| damage.in_image(found.start);
        let replayed = replay(&found.source, options.recover)?.map_err(in_image)?;
        let mut report = report(&replayed, &found);
        let built = build(replayed.objects, options.defaults, found.start, options.recover).map_err(in_image)?;
        let Built { tree, faults, .. } = built;
        report.faults = faults.into_iter().map(|fault| fault.damage).collect();
        report.root_attributes = root_attributes(&tree).to_vec();
        report.root_attributes.sort_by(|a, b| a.0.cmp(&b.0));
        Ok((Self { tree, source: found.source }, report))
    }

    /// Where the blocks of a file are, by block.
    ///
    /// # Errors
    /// `EISDIR`; `EINVAL` for other nodes without content; `EIO` for a file whose extents make no sense.
    pub fn extents(&self, node: NodeId) -> Result<Vec<FileExtent>> {
        let file = self.tree.file(node)?;
        Ok(file
            .extents
            .0
            .iter()
            .map(|extent| FileExtent {
                block: extent.block,
                count: extent.count,
                sector: extent.sector,
                allocated: extent.allocated,
                uninited: extent.uninited,
            })
            .collect())
    }
}

/// A run of blocks of a file in consecutive sectors of 512 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileExtent {
    /// First block of the file.
    pub block: u64,
    /// Blocks of the file.
    pub count: u32,
    /// First sector, from the start of the file system.
    pub sector: u64,
    /// Sectors owned, at least `count`.
    pub allocated: u32,
    /// Never written: reads as zeros, whatever the sectors hold.
    pub uninited: bool,
}

fn report(replayed: &Replayed, found: &disk::Found) -> TfsReport {
    TfsReport {
        part: found.part,
        start: found.start,
        len: found.source.len(),
        uuid: replayed.volume.uuid,
        label: replayed.volume.label.clone(),
        extensions: replayed.extensions.clone(),
        records: replayed.records,
        segments: replayed.segments,
        dictionary_len: replayed.objects.dictionary.count(),
        entries_set: replayed.objects.total,
        entries_dead: replayed.objects.obsolete,
        root_attributes: Vec::new(),
        lost: replayed.damage,
        log_end: replayed.end,
        faults: Vec::new(),
    }
}

impl FileSystem for TfsFs {
    fn root(&self) -> NodeId {
        self.tree.id(tree::Slot::ROOT)
    }

    fn lookup(&self, dir: NodeId, name: Name<'_>) -> Result<Entry> {
        self.tree.lookup(dir, name)
    }

    fn forget(&self, _node: NodeId, _count: u64) {}

    fn attr(&self, node: NodeId) -> Result<Attr> {
        self.tree.attr(node)
    }

    fn read_link(&self, node: NodeId) -> Result<Bytes> {
        self.tree.read_link(node)
    }

    fn read_dir(&self, dir: NodeId, from: Cookie, batch: &mut DirBatch) -> Result<()> {
        self.tree.read_dir(dir, from, batch)
    }

    fn read_at(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.tree.read_at(&self.source, node, offset, buf)
    }

    fn read_shared(&self, node: NodeId, offset: u64, len: usize) -> Result<Bytes> {
        self.tree.read_shared(&self.source, node, offset, len)
    }

    fn snapshot(&self, node: NodeId) -> Result<Option<Snapshot>> {
        let size = if self.source.as_slice().is_some() { self.tree.attr(node)?.size } else { 0 };
        // Asked even where it cannot be had, for the errors of nodes without content.
        let run = self.read_shared(node, 0, to_usize(size).unwrap_or(usize::MAX))?;
        Ok((to_u64(run.len()) == size && size > 0).then(|| Snapshot::fixed(run)))
    }

    fn extent_at(&self, node: NodeId, offset: u64) -> Result<Extent> {
        self.tree.extent_at(node, offset)
    }

    fn xattr(&self, node: NodeId, name: &[u8]) -> Result<Bytes> {
        self.tree.xattr(node, name)
    }

    fn xattr_names(&self, node: NodeId) -> Result<Vec<Bytes>> {
        self.tree.xattr_names(node)
    }

    fn names_version(&self) -> Option<u64> {
        Some(0)
    }

    fn info(&self) -> FsInfo {
        FsInfo {
            kind: "tfs",
            may_block: false,
            total_bytes: Some(self.source.len()),
            free_bytes: Some(0),
            total_nodes: Some(to_u64(self.tree.nodes.len())),
            free_nodes: Some(0),
        }
    }

    fn as_writable(&self) -> Option<&dyn WritableFileSystem> {
        None
    }
}

impl fmt::Debug for TfsFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TfsFs({} nodes, {:?})", self.tree.nodes.len(), self.source)
    }
}
