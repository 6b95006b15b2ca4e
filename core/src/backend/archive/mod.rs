//! Archives as read-only filesystems: an index over bytes that stay where they are.
//!
//! Opening replays the archive once and keeps a table of nodes; file contents are ranges of the sources they came in
//! and are never copied. Nothing changes afterwards, so nothing is locked.

mod ahead;
mod build;
mod build_tar;
mod cpio;
mod cpio_old;
mod embedded;
mod extras;
mod heads;
mod index;
mod known;
mod packed;
mod prefault;
mod report;
mod scouts;
mod tar;
#[cfg(test)]
mod tests;
mod unpack;
mod walk;
mod window;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use self::build_tar::TarRules;
pub use self::embedded::NothingEmbedded;
use self::extras::{Extras, SparseFile};
use self::index::{Content, Dir, Index, Node, NodeIndex, Stored, bytes_of};
pub use self::report::{ArchiveReport, EmbeddedPlace, LimitExceeded, Part, SkipReason, Skipped};
pub(crate) use self::unpack::unpacked_head;
use crate::attr::{Attr, Defaults};
use crate::checked::{min_len, to_u64};
use crate::errno::Errno;
use crate::error::Result;
use crate::fs::{
    Cookie, DirBatch, DirEntry, Entry, Extent, FileSystem, FsInfo, NodeId, Snapshot, WritableFileSystem, shared_zeros,
};
use crate::limits::{READ_SHARED_MAX, UNPACKED_IN_MEMORY_MAX, UNPACKED_MAX};
use crate::name::Name;
use crate::source::{BytesSource, Source, WindowSource};

/// What to do with damage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Unpack {
    /// Read everything that is sound; an archive that is damaged anywhere is an error, with the offset of the damage.
    #[default]
    Strict,
    /// Give the tree that Linux would boot with: some damage is passed over, at other damage the archive ends.
    AsLinux,
}

/// How to open an archive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArchiveOptions {
    /// What to do with damage.
    pub unpack: Unpack,
    /// Bytes that compressed parts may have in total when decompressed.
    pub max_unpacked: u64,
    /// Bytes of those that may be kept in memory; what is longer goes to temporary files.
    pub max_in_memory: u64,
    /// What stands in for attributes that the archive does not record.
    pub defaults: Defaults,
}

impl Default for ArchiveOptions {
    /// Strict, with the limits [`UNPACKED_MAX`] and [`UNPACKED_IN_MEMORY_MAX`].
    fn default() -> Self {
        Self {
            unpack: Unpack::Strict,
            max_unpacked: UNPACKED_MAX,
            max_in_memory: UNPACKED_IN_MEMORY_MAX,
            defaults: Defaults::default(),
        }
    }
}

/// An archive as a filesystem.
///
/// Node ids are dealt in the order of the archive; the root is 1, and `ino` is the node id.
pub struct ArchiveFs {
    index: Index,
    sources: Box<[Arc<dyn Source>]>,
    extras: Extras,
    kind: &'static str,
    total_bytes: u64,
}

impl ArchiveFs {
    /// Opens an initial RAM filesystem: cpio archives and compressed cpio archives, one behind the other.
    ///
    /// # Errors
    /// `EIO` with a [`Corrupt`](crate::error::Corrupt) for a damaged archive; `ENOTSUP` with an
    /// [`Unsupported`](crate::format::Unsupported) for layouts and compressions not read yet; with [`LimitExceeded`]:
    /// `EFBIG` when decompressed it is too long, `ENOMEM` for too many entries, names or parts, `ELOOP` for
    /// compressions or symbolic links through too many others.
    pub fn open_cpio(source: Arc<dyn Source>, options: &ArchiveOptions) -> Result<(Self, ArchiveReport)> {
        let replayed = cpio::replay(source, options)?;
        tracing::debug!(entries = replayed.report.entries, found_ahead = replayed.found_ahead, "archive opened");
        let total_bytes = replayed.sources.iter().fold(0, |sum: u64, source| sum.saturating_add(source.len()));
        let sources = replayed.sources.into_boxed_slice();
        let extras = Extras::default();
        Ok((Self { index: replayed.index, sources, extras, kind: "cpio", total_bytes }, replayed.report))
    }

    /// Opens a tar archive, plain or compressed, as GNU tar would unpack it into an empty directory.
    ///
    /// # Errors
    /// As [`open_cpio`](Self::open_cpio).
    pub fn open_tar(source: Arc<dyn Source>, options: &ArchiveOptions) -> Result<(Self, ArchiveReport)> {
        Self::open_tar_as(source, TarRules::Tar, None, options)
    }

    /// Opens a tar archive that is a layer of an image: names that mark something hidden become whiteouts and opaque
    /// directories. Hard links may lead to what `lower`, the layers below, shows.
    ///
    /// # Errors
    /// As [`open_cpio`](Self::open_cpio).
    pub fn open_layer(
        source: Arc<dyn Source>,
        lower: Option<&dyn FileSystem>,
        options: &ArchiveOptions,
    ) -> Result<(Self, ArchiveReport)> {
        Self::open_tar_as(source, TarRules::Layer, lower, options)
    }

    /// A filesystem with nothing in it but the root.
    ///
    /// # Errors
    /// None in practice.
    pub fn empty(options: &ArchiveOptions) -> Result<Self> {
        Ok(Self::open_tar(Arc::new(BytesSource::new(Bytes::new())), options)?.0)
    }

    /// The bytes of a file as a source of their own.
    ///
    /// # Errors
    /// `EINVAL` for what is stored in pieces; as [`read_at`](FileSystem::read_at).
    pub fn source_of_file(&self, node: NodeId) -> Result<Arc<dyn Source>> {
        match self.file(node)? {
            FileContent::Start(data, size) if data.len == size => {
                let range = data.offset..data.offset.saturating_add(data.len);
                Ok(Arc::new(WindowSource::new(Arc::clone(self.source(data)?), range)?))
            }
            _ => Err(Errno::Invalid.into()),
        }
    }

    /// The archive itself, decompressed.
    ///
    /// # Errors
    /// `EINVAL` if there is none.
    pub fn archive_source(&self) -> Result<&Arc<dyn Source>> {
        self.sources.first().ok_or_else(|| Errno::Invalid.into())
    }

    fn open_tar_as(
        source: Arc<dyn Source>,
        rules: TarRules,
        lower: Option<&dyn FileSystem>,
        options: &ArchiveOptions,
    ) -> Result<(Self, ArchiveReport)> {
        let replayed = tar::replay_tar(source, rules, lower, options)?;
        let total_bytes = replayed.sources.iter().fold(0, |sum: u64, source| sum.saturating_add(source.len()));
        let sources = replayed.sources.into_boxed_slice();
        let (index, extras) = (replayed.index, replayed.extras);
        Ok((Self { index, sources, extras, kind: "tar", total_bytes }, replayed.report))
    }

    fn node(&self, node: NodeId) -> Result<(NodeIndex, &Node)> {
        let index = node.get().checked_sub(1).and_then(|index| u32::try_from(index).ok()).map(NodeIndex);
        let found = index.and_then(|index| Some((index, self.index.node(index)?)));
        found.filter(|(_, node)| node.names > 0).ok_or_else(|| Errno::Stale.into())
    }

    fn dir(&self, node: NodeId) -> Result<(NodeIndex, &Dir)> {
        match self.node(node)? {
            (index, Node { content: Content::Dir(dir), .. }) => Ok((index, dir)),
            _ => Err(Errno::NotDir.into()),
        }
    }

    /// The content of a file.
    fn file(&self, node: NodeId) -> Result<FileContent<'_>> {
        match self.node(node)?.1.content {
            Content::File { data, size } => Ok(FileContent::Start(data, size)),
            Content::Sparse { table, .. } => Ok(FileContent::Runs(self.extras.sparse(table)?)),
            Content::Dir(_) => Err(Errno::IsDir.into()),
            _ => Err(Errno::Invalid.into()),
        }
    }

    fn source(&self, stored: Stored) -> Result<&Arc<dyn Source>> {
        let source = usize::try_from(stored.source).ok().and_then(|source| self.sources.get(source));
        source.ok_or_else(|| Errno::Io.into())
    }
}

/// What a file consists of.
enum FileContent<'a> {
    /// What is stored of it, from its start, and its size.
    Start(Stored, u64),
    /// Runs of it are stored.
    Runs(&'a SparseFile),
}

const fn id(node: NodeIndex) -> NodeId {
    // OK: widens.
    NodeId::new(node.0 as u64 + 1)
}

impl FileSystem for ArchiveFs {
    fn root(&self) -> NodeId {
        id(NodeIndex::ROOT)
    }

    fn lookup(&self, dir: NodeId, name: Name<'_>) -> Result<Entry> {
        let (dir, _) = self.dir(dir)?;
        let (_, node) = self.index.lookup(dir, name.as_bytes()).ok_or(Errno::NotFound)?;
        let file_type = self.index.node(node).ok_or(Errno::Stale)?.content.file_type();
        Ok(Entry { node: id(node), file_type })
    }

    fn forget(&self, _node: NodeId, _count: u64) {}

    fn attr(&self, node: NodeId) -> Result<Attr> {
        let (index, found) = self.node(node)?;
        let (size, allocated) = match found.content {
            Content::File { data, size } => (size, data.len),
            Content::Sparse { table, size } => (size, self.extras.sparse(table)?.stored_len()),
            Content::Symlink(target) => (target.len, target.len),
            _ => (0, 0),
        };
        Ok(Attr {
            ino: node.get(),
            file_type: found.content.file_type(),
            mode: found.mode,
            nlink: match found.content {
                Content::Dir(dir) => u64::from(dir.subdirs).saturating_add(2),
                _ => found.names.into(),
            },
            uid: found.uid,
            gid: found.gid,
            size,
            allocated,
            rdev: match found.content {
                Content::Char(device) | Content::Block(device) => Some(device),
                _ => None,
            },
            atime: found.mtime,
            mtime: found.mtime,
            ctime: found.mtime,
            opaque: self.extras.is_opaque(index),
            recorded: found.recorded,
        })
    }

    fn read_link(&self, node: NodeId) -> Result<Bytes> {
        match self.node(node)?.1.content {
            Content::Symlink(target) => bytes_of(&self.sources, target),
            _ => Err(Errno::Invalid.into()),
        }
    }

    fn read_dir(&self, dir: NodeId, from: Cookie, batch: &mut DirBatch) -> Result<()> {
        let (index, found) = self.dir(dir)?;
        let mut next = match from {
            Cookie::START => self.index.first(found),
            // A cookie that was never dealt for this directory has nothing behind it.
            _ => self.index.entry_at_cookie(index, from.get()).and_then(|entry| self.index.next(entry)),
        };
        while let Some(entry) = next {
            let (name, node, file_type) = self.index.get(entry).ok_or(Errno::Io)?;
            let cookie = Cookie::new(Index::cookie(entry));
            // The components of paths, which are names, are what gets in.
            let name = Name::proven(name);
            if !batch.push(DirEntry { name, ino: id(node).get(), file_type, cookie }) {
                break;
            }
            next = self.index.next(entry);
        }
        Ok(())
    }

    fn read_at(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let (data, size) = match self.file(node)? {
            FileContent::Start(data, size) => (data, size),
            FileContent::Runs(file) => return file.read_at(&self.sources, offset, buf),
        };
        let count = min_len(buf.len(), size.saturating_sub(offset));
        let stored = min_len(count, data.len.saturating_sub(offset));
        let (from_source, zeros) = buf.split_at_mut_checked(stored).ok_or(Errno::Io)?;
        if stored > 0 {
            self.source(data)?.read_exact_at(data.offset.saturating_add(offset), from_source)?;
        }
        zeros.get_mut(..count.saturating_sub(stored)).unwrap_or_default().fill(0);
        Ok(count)
    }

    fn read_shared(&self, node: NodeId, offset: u64, len: usize) -> Result<Bytes> {
        let len = to_u64(len.min(READ_SHARED_MAX));
        let (data, size) = match self.file(node)? {
            FileContent::Start(data, size) => (data, size),
            FileContent::Runs(file) => return file.read_shared(&self.sources, offset, len),
        };
        let len = len.min(size.saturating_sub(offset));
        let stored = len.min(data.len.saturating_sub(offset));
        if stored > 0 {
            return bytes_of(&self.sources, Stored { offset: data.offset.saturating_add(offset), len: stored, ..data });
        }
        Ok(shared_zeros(len))
    }

    fn snapshot(&self, node: NodeId) -> Result<Option<Snapshot>> {
        let FileContent::Start(data, size) = self.file(node)? else { return Ok(None) };
        if size == 0 {
            return Ok(Some(Snapshot::fixed(Bytes::new())));
        }
        if size != data.len {
            return Ok(None);
        }
        let source = self.source(data)?;
        // What lies in memory is sliced, not copied.
        if source.as_slice().is_none() {
            return Ok(None);
        }
        source.bytes_at(data.offset..data.offset.saturating_add(data.len)).map(|bytes| Some(Snapshot::fixed(bytes)))
    }

    fn extent_at(&self, node: NodeId, offset: u64) -> Result<Extent> {
        let (data, size) = match self.file(node)? {
            FileContent::Start(data, size) => (data, size),
            FileContent::Runs(file) => return file.extent_at(offset),
        };
        match () {
            () if offset < data.len => Ok(Extent::Data { end: data.len }),
            () if offset < size => Ok(Extent::Hole { end: size }),
            () => Err(Errno::NoSuchDevice.into()),
        }
    }

    fn xattr(&self, node: NodeId, name: &[u8]) -> Result<Bytes> {
        let xattrs = self.extras.xattrs(self.node(node)?.0);
        let found = xattrs.iter().find(|(of, _)| **of == *name);
        found.map(|(_, value)| value.clone()).ok_or_else(|| Errno::NoAttribute.into())
    }

    fn xattr_names(&self, node: NodeId) -> Result<Vec<Bytes>> {
        let xattrs = self.extras.xattrs(self.node(node)?.0);
        Ok(xattrs.iter().map(|(name, _)| Bytes::copy_from_slice(name)).collect())
    }

    fn names_version(&self) -> Option<u64> {
        Some(0)
    }

    fn info(&self) -> FsInfo {
        FsInfo {
            kind: self.kind,
            may_block: false,
            total_bytes: Some(self.total_bytes),
            free_bytes: Some(0),
            total_nodes: Some(self.index.node_count()),
            free_nodes: Some(0),
        }
    }

    fn as_writable(&self) -> Option<&dyn WritableFileSystem> {
        None
    }
}

impl fmt::Debug for ArchiveFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ArchiveFs({}, {} nodes, {} sources)", self.kind, self.index.node_count(), self.sources.len())
    }
}
