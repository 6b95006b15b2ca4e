//! A directory of the host, through cap-std (Linux).
//!
//! Everything starts at one opened directory and goes one proven [`Name`] at a time, never through a symbolic link: so
//! nothing outside can be reached, whoever changes what meanwhile. A node is what the host calls the same file (device
//! and inode number), so hard links are one node. Whatever is opened by name is checked to be the node that was meant,
//! and is `ESTALE` if not.
//!
//! # What stays open
//! A directory from its first lookup, a file from its first use, or from the loss of a name, to the last reference; but
//! not more than the process can bear: the `opened` longest ago are closed then, and opened again by name.
//!
//! # What it cannot do
//! Times of change cannot be set; whiteouts, opaque directories and attributes of links (mode, extended ones) cannot be
//! stored: `ENOTSUP`. Nobody else's changes are noticed until they are looked up; a listing is taken when its scan starts.
//!
//! # Locks, outermost first
//! 1. `names`: written by what takes a name away (so that nobody is about to open by it), read by what uses one;
//! 2. a node's `appending`;
//! 3. a node's listing, its handle, then its places, then those of the directories above;
//! 4. the table.

mod attr;
mod errno;
mod listing;
mod new_files;
mod node;
mod opened;
mod table;
#[cfg(test)]
mod tests;
mod write;
mod xattr;

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use cap_std::fs::Dir;
use rustix::fs::{AtFlags, Mode, SeekFrom, Stat};

use self::attr::{Key, file_type_of, from_stat, size_of};
use self::errno::{from_io, from_raw};
pub(crate) use self::new_files::NewFiles;
use self::node::{Handle, Node};
use self::opened::Opened;
use self::table::{ROOT, Table};
use crate::attr::{Attr, FileType};
use crate::checked::{min_len, to_u64};
use crate::errno::Errno;
use crate::error::Result;
use crate::fs::{
    Cookie, DirBatch, Entry, Extent, FileSystem, FsInfo, NodeId, Snapshot, WritableFileSystem, shared_zeros,
};
use crate::limits::{FILE_SIZE_MAX, READ_SHARED_MAX};
use crate::name::Name;

/// A directory of the host as a filesystem.
#[derive(Debug)]
pub struct HostFs {
    table: Table,
    names: RwLock<()>,
    read_only: bool,
}

/// What a name means on the host right now.
struct Known {
    key: Key,
    file_type: FileType,
    /// The node, if it is referenced.
    node: Option<Arc<Node>>,
}

impl HostFs {
    /// Opens the directory at `path`; the path itself may lead through links.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `EACCES`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let dir = Dir::open_ambient_dir(path, cap_std::ambient_authority()).map_err(from_io)?;
        Self::from_dir(&dir)
    }

    /// A directory that is open already.
    ///
    /// # Errors
    /// `EACCES` if it may not be read.
    pub fn from_dir(dir: &Dir) -> Result<Self> {
        Self::with_opened(dir, Opened::new())
    }

    fn with_opened(dir: &Dir, opened: Opened) -> Result<Self> {
        // cap-std opens directories as mere nodes, which can be neither listed nor synced.
        let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        let file = rustix::fs::openat(dir, c".", flags, Mode::empty()).map_err(from_raw)?;
        let stat = rustix::fs::fstat(&file).map_err(from_raw)?;
        let dir = Dir::from_std_file(file.into());
        let table = Table::new(Key::of(&stat), dir, opened);
        Ok(Self { table, names: RwLock::new(()), read_only: false })
    }

    /// The same, but refusing every change with `EROFS`.
    #[must_use]
    pub const fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    fn names(&self) -> RwLockReadGuard<'_, ()> {
        self.names.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn names_mut(&self) -> RwLockWriteGuard<'_, ()> {
        self.names.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The content of a file, opened.
    fn content(&self, node: NodeId, write: bool) -> Result<Arc<OwnedFd>> {
        let node = self.table.node(node)?;
        let _names = self.names();
        node.open(write)
    }

    fn stat(&self, node: &Arc<Node>) -> Result<Stat> {
        let _names = self.names();
        node.stat()
    }

    /// What `name` means, if anything.
    fn known(&self, dir: &Dir, name: Name<'_>) -> Result<Option<Known>> {
        let stat = match rustix::fs::statat(dir, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => return Err(from_raw(error)),
        };
        let (key, file_type) = (Key::of(&stat), file_type_of(&stat)?);
        Ok(Some(Known { key, file_type, node: self.table.find(key, file_type) }))
    }

    /// Enters what was just created as `name`, of which `handle` may be open.
    fn enter(
        &self,
        parent: &Arc<Node>,
        name: Name<'_>,
        stat: &Stat,
        dir: Option<Dir>,
        handle: Handle,
    ) -> Result<Entry> {
        let file_type = file_type_of(stat)?;
        let node = self.table.enter(Key::of(stat), file_type, dir, handle);
        node.add_place(parent, name);
        Ok(Entry { node: node.id, file_type })
    }
}

/// Reads until `buf` is full or the file ends.
fn read_full(file: &OwnedFd, offset: u64, buf: &mut [u8]) -> Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        let Some(at) = offset.checked_add(to_u64(done)).filter(|at| *at < FILE_SIZE_MAX) else { break };
        match rustix::io::pread(file, &mut buf[done..], at) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(from_raw(error)),
        }
    }
    Ok(done)
}

impl FileSystem for HostFs {
    fn root(&self) -> NodeId {
        ROOT
    }

    fn lookup(&self, dir: NodeId, name: Name<'_>) -> Result<Entry> {
        let parent = self.table.node(dir)?;
        let _names = self.names();
        let dir = &*parent.dir()?;
        let stat = rustix::fs::statat(dir, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW).map_err(from_raw)?;
        let file_type = file_type_of(&stat)?;
        if let Some(node) = self.table.take(Key::of(&stat), file_type) {
            node.add_place(&parent, name);
            return Ok(Entry { node: node.id, file_type });
        }
        if !file_type.is_dir() {
            return self.enter(&parent, name, &stat, None, Handle::None);
        }
        let opened = node::open_dir(dir, name)?;
        let stat = rustix::fs::fstat(&opened).map_err(from_raw)?;
        self.enter(&parent, name, &stat, Some(opened), Handle::None)
    }

    fn forget(&self, node: NodeId, count: u64) {
        self.table.forget(node, count);
    }

    fn attr(&self, node: NodeId) -> Result<Attr> {
        from_stat(&self.stat(&self.table.node(node)?)?)
    }

    fn read_link(&self, node: NodeId) -> Result<Bytes> {
        let node = self.table.node(node)?;
        if node.file_type != FileType::Symlink {
            return Err(Errno::Invalid.into());
        }
        let _names = self.names();
        let target = node.with(|on| {
            let (dir, name, _) = on.at();
            rustix::fs::readlinkat(dir, name, Vec::new()).map_err(from_raw)
        })?;
        Ok(target.into_bytes().into())
    }

    fn read_dir(&self, dir: NodeId, from: Cookie, batch: &mut DirBatch) -> Result<()> {
        let node = self.table.node(dir)?;
        let Some(state) = &node.dir else { return Err(Errno::NotDir.into()) };
        let _names = self.names();
        let mut listing = state.listing.lock().unwrap_or_else(PoisonError::into_inner);
        if from == Cookie::START || listing.is_new() {
            listing.refresh(&*node.dir()?)?;
        }
        listing.list(from, batch)
    }

    fn read_at(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        read_full(&*self.content(node, false)?, offset, buf)
    }

    fn read_shared(&self, node: NodeId, offset: u64, len: usize) -> Result<Bytes> {
        let file = self.content(node, false)?;
        let stat = rustix::fs::fstat(&file).map_err(from_raw)?;
        let size = size_of(&stat);
        let len = min_len(len.min(READ_SHARED_MAX), size.saturating_sub(offset));
        if len == 0 {
            return Ok(Bytes::new());
        }
        // Where everything is stored there is no hole to look for.
        if is_sparse(&stat)
            && let Ok(Extent::Hole { end }) = extent_within(&file, offset, size)
        {
            return Ok(shared_zeros(end.saturating_sub(offset).min(to_u64(len))));
        }
        // OK to allocate: bounded by the file's length and READ_SHARED_MAX.
        let mut buf = vec![0; len];
        let count = read_full(&file, offset, &mut buf)?;
        buf.truncate(count);
        Ok(buf.into())
    }

    fn snapshot(&self, node: NodeId) -> Result<Option<Snapshot>> {
        match self.table.node(node)?.file_type {
            FileType::File => Ok(None),
            FileType::Dir => Err(Errno::IsDir.into()),
            _ => Err(Errno::Invalid.into()),
        }
    }

    fn extent_at(&self, node: NodeId, offset: u64) -> Result<Extent> {
        extent_at(&*self.content(node, false)?, offset)
    }

    fn xattr(&self, node: NodeId, name: &[u8]) -> Result<Bytes> {
        self.with_xattrs(node, |fd| xattr::read(fd, name)).map_err(|error| match error.errno() {
            Errno::NotSupported | Errno::Range => Errno::NoAttribute.into(),
            _ => error,
        })
    }

    fn xattr_names(&self, node: NodeId) -> Result<Vec<Bytes>> {
        match self.with_xattrs(node, xattr::names) {
            Err(error) if error == Errno::NotSupported => Ok(Vec::new()),
            other => other,
        }
    }

    fn names_version(&self) -> Option<u64> {
        None
    }

    fn info(&self) -> FsInfo {
        let stat = self.table.node(ROOT).and_then(|root| rustix::fs::fstatvfs(&*root.dir()?).map_err(from_raw)).ok();
        // Filesystems without a fixed count of nodes say 0.
        let nodes = stat.as_ref().filter(|stat| stat.f_files > 0);
        FsInfo {
            kind: "dir",
            may_block: true,
            total_bytes: stat.as_ref().map(|stat| stat.f_blocks.saturating_mul(stat.f_frsize)),
            free_bytes: stat.as_ref().map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize)),
            total_nodes: nodes.map(|stat| stat.f_files),
            free_nodes: nodes.map(|stat| stat.f_favail),
        }
    }

    fn as_writable(&self) -> Option<&dyn WritableFileSystem> {
        (!self.read_only).then_some(self)
    }
}

fn extent_at(file: &OwnedFd, offset: u64) -> Result<Extent> {
    extent_within(file, offset, size_of(&rustix::fs::fstat(file).map_err(from_raw)?))
}

/// Whether less is stored than the file is long. Compression makes it look so, too.
fn is_sparse(stat: &Stat) -> bool {
    u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512) < size_of(stat)
}

fn extent_within(file: &OwnedFd, offset: u64, size: u64) -> Result<Extent> {
    if offset >= size {
        return Err(Errno::NoSuchDevice.into());
    }
    match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(data) if data > offset => Ok(Extent::Hole { end: data.min(size) }),
        Ok(_) => {
            let hole = rustix::fs::seek(file, SeekFrom::Hole(offset)).map_err(from_raw)?;
            Ok(Extent::Data { end: hole.min(size) })
        }
        Err(rustix::io::Errno::NXIO) => Ok(Extent::Hole { end: size }),
        // A filesystem that knows no holes.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP) => Ok(Extent::Data { end: size }),
        Err(error) => Err(from_raw(error)),
    }
}
