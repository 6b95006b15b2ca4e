//! The one interface: a filesystem is a set of nodes.
//!
//! Everything below the walk and above the bytes speaks only this. Operations take node ids and single names, never
//! paths; all take `&self`; all are synchronous ([`FsInfo::may_block`] tells adapters when to use another thread).
//!
//! # References
//! [`lookup`](FileSystem::lookup) and the creating operations hand out one reference on the node they return, and
//! [`forget`](FileSystem::forget) takes references back. While at least one is held the node stays readable, even after
//! its last name is gone. The root needs no reference. [`NodeRef`] is the guard that does the counting; images ignore
//! it all.
//!
//! # Who implements, who calls
//! Implementers write [`FileSystem`] and, if they can, [`WritableFileSystem`]: neither has default bodies, so a wrapper
//! that forgets a method does not compile. Callers also get [`FileSystemExt`], which nobody implements.

mod batch;
mod node_ref;
mod snapshot;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Debug;
use core::ops::Range;

use bytes::Bytes;

pub use self::batch::{Cookie, DirBatch, DirEntry};
pub use self::node_ref::NodeRef;
pub use self::snapshot::Snapshot;
use crate::attr::{Attr, Device, FileType, SetAttr};
use crate::checked::{min_len, to_u64};
use crate::errno::Errno;
use crate::error::Result;
use crate::limits::READ_SHARED_MAX;
use crate::name::Name;

/// Our handle on a node of any kind: unique within one filesystem and never reused, so there is no generation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(u64);

impl NodeId {
    /// An id from a number that only the filesystem interprets.
    #[must_use]
    pub const fn new(id: u64) -> Self {
        Self(id)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// What a name names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The node; one reference on it came with this entry.
    pub node: NodeId,
    /// Its kind, which never changes.
    pub file_type: FileType,
}

/// A run of a file that is all data or all hole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// Stored bytes up to offset `end` (exclusive).
    Data {
        /// Offset in bytes of the first byte behind the run.
        end: u64,
    },
    /// Nothing stored, reads as zeros.
    Hole {
        /// Offset in bytes of the first byte behind the run.
        end: u64,
    },
}

impl Extent {
    /// Offset in bytes of the first byte behind the run.
    #[must_use]
    pub const fn end(self) -> u64 {
        match self {
            Self::Data { end } | Self::Hole { end } => end,
        }
    }
}

/// What a filesystem is, and how full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FsInfo {
    /// Kind of filesystem, for example `"cpio"`.
    pub kind: &'static str,
    /// Calls may wait for a device: adapters inside an event loop should move them to another thread.
    pub may_block: bool,
    /// Bytes it can hold, or holds if it cannot grow; `None` if unknown or unlimited.
    pub total_bytes: Option<u64>,
    /// Bytes still free.
    pub free_bytes: Option<u64>,
    /// Nodes it can hold, or holds if it cannot grow.
    pub total_nodes: Option<u64>,
    /// Nodes still free.
    pub free_nodes: Option<u64>,
}

/// A tree of nodes that can be read.
///
/// Every method that takes a node answers `ESTALE` for an id that this filesystem never dealt or that was forgotten,
/// and `EIO` for a damaged image or a failing medium; the lists of errors name only the others.
pub trait FileSystem: Debug + Send + Sync + 'static {
    /// The root directory. It exists as long as the filesystem, without a reference.
    fn root(&self) -> NodeId;

    /// Finds `name` in `dir` and takes one reference on the node.
    ///
    /// # Errors
    /// `ENOENT` if there is none, `ENOTDIR` if `dir` is no directory.
    fn lookup(&self, dir: NodeId, name: Name<'_>) -> Result<Entry>;

    /// Gives `count` references back. A node without names and references is freed.
    fn forget(&self, node: NodeId, count: u64);

    /// Attributes.
    ///
    /// # Errors
    /// None of its own.
    fn attr(&self, node: NodeId) -> Result<Attr>;

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// `EINVAL` if it is no symbolic link.
    fn read_link(&self, node: NodeId) -> Result<Bytes>;

    /// Adds the entries after `from` to `batch` until it is full; adding none means the end. `.` and `..` are not
    /// entries.
    ///
    /// Cookies ascend within one listing and stay below [`Cookie::END`]. A cookie stays valid while entries come and
    /// go: an entry that exists from start to end of a scan is returned exactly once.
    ///
    /// # Errors
    /// `ENOTDIR`.
    fn read_dir(&self, dir: NodeId, from: Cookie, batch: &mut DirBatch) -> Result<()>;

    /// Reads into `buf` from `offset` and returns the count of bytes, short only at the end of the file.
    ///
    /// # Errors
    /// `EISDIR`; `EINVAL` for other nodes without content.
    fn read_at(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize>;

    /// Up to `len` bytes from `offset` without copying where the store allows it; may be short at the end of an extent,
    /// empty only at the end of the file or for `len` 0.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    fn read_shared(&self, node: NodeId, offset: u64, len: usize) -> Result<Bytes>;

    /// The whole content of a file, where it lies in memory in one piece; then a reader needs no call for each read.
    /// `None` where it does not, where it may change at any time, and from filesystems that want to see every read.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    fn snapshot(&self, node: NodeId) -> Result<Option<Snapshot>>;

    /// The run of data or hole that contains `offset`.
    ///
    /// # Errors
    /// `ENXIO` at or behind the end of the file, else as [`read_at`](Self::read_at).
    fn extent_at(&self, node: NodeId, offset: u64) -> Result<Extent>;

    /// The value of an extended attribute.
    ///
    /// # Errors
    /// `ENODATA` if there is none of that name.
    fn xattr(&self, node: NodeId, name: &[u8]) -> Result<Bytes>;

    /// The names of all extended attributes, sorted by bytes.
    ///
    /// # Errors
    /// None of its own.
    fn xattr_names(&self, node: NodeId) -> Result<Vec<Bytes>>;

    /// A number that grows whenever a name comes to mean something else: what was looked up stays true as long as it
    /// stays. `None` while a change is running, and where names may change unnoticed.
    fn names_version(&self) -> Option<u64>;

    /// Kind and capacity.
    fn info(&self) -> FsInfo;

    /// The same filesystem's writing half, or `None` if it has none: the caller's answer is then `EROFS`.
    fn as_writable(&self) -> Option<&dyn WritableFileSystem>;
}

/// A node to create.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewNode<'a> {
    /// What kind, with what the kind needs.
    pub kind: NewKind<'a>,
    /// Permission bits: 0 to 0o7777, not reduced by any umask.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// The kind of a node to create.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NewKind<'a> {
    /// Empty file.
    File,
    /// Empty directory.
    Dir,
    /// Symbolic link with this target, which is data and may be empty.
    Symlink(&'a [u8]),
    /// Character device.
    Char(Device),
    /// Block device.
    Block(Device),
    /// Named pipe.
    Fifo,
    /// Socket.
    Socket,
    /// Marker that hides a name of the layers below.
    Whiteout,
}

impl NewKind<'_> {
    /// The type the node will have.
    #[must_use]
    pub const fn file_type(self) -> FileType {
        match self {
            Self::File => FileType::File,
            Self::Dir => FileType::Dir,
            Self::Symlink(_) => FileType::Symlink,
            Self::Char(_) => FileType::Char,
            Self::Block(_) => FileType::Block,
            Self::Fifo => FileType::Fifo,
            Self::Socket => FileType::Socket,
            Self::Whiteout => FileType::Whiteout,
        }
    }
}

/// Where a write goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteAt {
    /// At this offset in bytes; a gap behind the old end becomes a hole.
    Offset(u64),
    /// At the end of the file as it is when the write happens, atomically with other writers.
    End,
}

/// What a write did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Written {
    /// Bytes written; short only when space ran out half-way.
    pub count: usize,
    /// Offset in bytes behind the last byte written.
    pub end: u64,
}

/// How a rename treats an existing target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RenameMode {
    /// Replaces it, as rename(2).
    Replace,
    /// Fails with `EEXIST`.
    NoReplace,
    /// Swaps the two, which must both exist.
    Exchange,
}

/// Whether setting an extended attribute may create or replace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum XattrMode {
    /// Both.
    Set,
    /// Only create: `EEXIST` if it exists.
    Create,
    /// Only replace: `ENODATA` if it does not exist.
    Replace,
}

/// What to do with a range of a file's store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Allocate {
    /// Make sure the range can be written; extends the file to its end.
    Extend,
    /// Make sure the range can be written; the size stays.
    KeepSize,
    /// Turn the range into a hole; the size stays.
    PunchHole,
}

/// What must be durable when a sync returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyncScope {
    /// Content of one node, and what is needed to read it back.
    Data(NodeId),
    /// Content and attributes of one node; for a directory, its entries.
    Node(NodeId),
    /// The whole filesystem.
    All,
}

/// A filesystem that can be changed.
///
/// Times follow POSIX: a write or a change of size sets mtime and ctime; changes of attributes, names or links set the
/// node's ctime; adding, removing and renaming entries sets the directory's mtime and ctime. Writing 0 bytes changes
/// nothing. Permission is not checked here.
///
/// Besides the errors listed, each method may answer `ENOSPC` when a limit on space or nodes is reached (nothing has
/// changed then, short writes excepted), and everything that [`FileSystem`] says of `ESTALE` and `EIO`. Adding an entry
/// to a directory that was removed but is still referenced answers `ENOENT`.
pub trait WritableFileSystem: FileSystem {
    /// Creates a node called `name` in `dir`, never replacing, and takes one reference on it.
    ///
    /// # Errors
    /// `EEXIST`, `ENOTDIR`, `ENAMETOOLONG` for a target above [`SYMLINK_MAX`](crate::limits::SYMLINK_MAX), `ENOTSUP`
    /// for kinds it cannot store.
    fn create(&self, dir: NodeId, name: Name<'_>, node: &NewNode<'_>) -> Result<Entry>;

    /// Gives `node` one more name. A node without names left cannot get one.
    ///
    /// # Errors
    /// `EEXIST`, `ENOTDIR`, `EPERM` if `node` is a directory, `ENOENT` if it has no names left, `EMLINK`.
    fn link(&self, node: NodeId, dir: NodeId, name: Name<'_>) -> Result<()>;

    /// Removes a name of anything but a directory.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `EISDIR`.
    fn unlink(&self, dir: NodeId, name: Name<'_>) -> Result<()>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `ENOTEMPTY`.
    fn remove_dir(&self, dir: NodeId, name: Name<'_>) -> Result<()>;

    /// Moves an entry, atomically. Two names of the same node: success, nothing done.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `EISDIR`, `ENOTEMPTY`; `EEXIST` as [`RenameMode`] says; `EINVAL` for a directory into
    /// itself or below itself.
    fn rename(&self, from_dir: NodeId, from: Name<'_>, to_dir: NodeId, to: Name<'_>, mode: RenameMode) -> Result<()>;

    /// Writes `buf`.
    ///
    /// # Errors
    /// `EISDIR`, `EINVAL` for other nodes without content, `EFBIG` if it would start at or behind
    /// [`FILE_SIZE_MAX`](crate::limits::FILE_SIZE_MAX); a write across it is short.
    fn write_at(&self, node: NodeId, at: WriteAt, buf: &[u8]) -> Result<Written>;

    /// The file, for whoever writes and reads it many times: the node is found, and copied up where layers are merged,
    /// only once. `None` where nothing would come of it, and from filesystems that want to see every call.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    fn open_file(&self, node: NodeId) -> Result<Option<Arc<dyn OpenFile>>>;

    /// Writes all of `data` at `offset`, keeping a reference to it instead of a copy where the store can.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at), but never short.
    fn write_shared(&self, node: NodeId, offset: u64, data: Bytes) -> Result<()>;

    /// Changes attributes, all or none, and returns the new ones.
    ///
    /// # Errors
    /// For a size: `EISDIR`, `EINVAL`, `EFBIG`. `ENOTSUP` for what cannot be stored.
    fn set_attr(&self, node: NodeId, changes: &SetAttr) -> Result<Attr>;

    /// Reserves or frees a range of a file's store.
    ///
    /// # Errors
    /// `EISDIR`, `EINVAL` for an empty range, `EFBIG`, `ENOTSUP`.
    fn allocate(&self, node: NodeId, what: Allocate, range: Range<u64>) -> Result<()>;

    /// Sets an extended attribute.
    ///
    /// # Errors
    /// As [`XattrMode`] says; `ERANGE` for an empty or overlong name, `E2BIG`-like `ENOSPC` beyond the limits,
    /// `ENOTSUP`.
    fn set_xattr(&self, node: NodeId, name: &[u8], value: &[u8], mode: XattrMode) -> Result<()>;

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// `ENODATA`, `ENOTSUP`.
    fn remove_xattr(&self, node: NodeId, name: &[u8]) -> Result<()>;

    /// Returns when what `scope` says is durable, in the sense of the store: for memory that is at once.
    ///
    /// # Errors
    /// `EIO`: it is then unknown what is durable.
    fn sync(&self, scope: SyncScope) -> Result<()>;
}

/// A file that was found. Only for as long as a reference on the node is held; what else is done to the node, by whatever
/// way, shows here at once, and the other way round.
pub trait OpenFile: Debug + Send + Sync {
    /// As [`FileSystem::read_at`].
    ///
    /// # Errors
    /// As there.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize>;

    /// As [`WritableFileSystem::write_at`].
    ///
    /// # Errors
    /// As there.
    fn write_at(&self, at: WriteAt, buf: &[u8]) -> Result<Written>;
}

/// Conveniences for callers, written once over the trait.
pub trait FileSystemExt: FileSystem {
    /// The writing half.
    ///
    /// # Errors
    /// `EROFS` if there is none: the one place where "no writer" becomes an errno.
    fn writable(&self) -> Result<&dyn WritableFileSystem> {
        self.as_writable().ok_or_else(|| Errno::ReadOnly.into())
    }

    /// The whole content of a file.
    ///
    /// # Errors
    /// As [`FileSystem::read_at`]; `ENOMEM` if it does not fit.
    fn read_to_vec(&self, node: NodeId) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        self.for_each_run(node, |run| {
            content.try_reserve(run.len()).map_err(|_| Errno::NoMemory)?;
            content.extend_from_slice(&run);
            Ok(())
        })?;
        Ok(content)
    }

    /// Calls `visit` with the content of a file, run by run, in order and without copying where the store allows it.
    ///
    /// # Errors
    /// As [`FileSystem::read_shared`], and what `visit` answers.
    fn for_each_run(&self, node: NodeId, mut visit: impl FnMut(Bytes) -> Result<()>) -> Result<()> {
        let mut offset: u64 = 0;
        loop {
            let run = self.read_shared(node, offset, READ_SHARED_MAX)?;
            if run.is_empty() {
                return Ok(());
            }
            offset = offset.checked_add(to_u64(run.len())).ok_or(Errno::Overflow)?;
            visit(run)?;
        }
    }

    /// Calls `visit` with each entry of a directory, outside of any lock.
    ///
    /// # Errors
    /// As [`FileSystem::read_dir`], and what `visit` answers.
    fn for_each_entry(&self, dir: NodeId, mut visit: impl FnMut(DirEntry<'_>) -> Result<()>) -> Result<()> {
        let mut batch = DirBatch::with_max_entries(256);
        let mut from = Cookie::START;
        loop {
            batch.clear();
            self.read_dir(dir, from, &mut batch)?;
            let Some(last) = batch.last_cookie() else { return Ok(()) };
            from = last;
            batch.iter().try_for_each(&mut visit)?;
        }
    }
}

impl<F: FileSystem + ?Sized> FileSystemExt for F {}

/// Zeros to share: what [`FileSystem::read_shared`] returns for a hole, cut to `len`.
#[must_use]
pub fn shared_zeros(len: u64) -> Bytes {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    Bytes::from_static(&ZEROS).slice(..min_len(ZEROS.len(), len))
}
