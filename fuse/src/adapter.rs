//! Requests of the kernel as calls on the tree.
//!
//! Longer than most files here because one trait of `fuser` has all requests; each is a few lines.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, FileAttr, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenAccMode, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request,
    TimeOrNow, WriteFlags,
};
use mountless::attr::{FileType, SetAttr};
use mountless::fs::{Allocate, Cookie, DirBatch, Extent, NewKind, NewNode, RenameMode, SyncScope, WriteAt, XattrMode};
use mountless::limits::{FILE_SIZE_MAX, NAME_MAX, READ_SHARED_MAX};
use mountless::name::Name;
use mountless::namespace::Location;
use mountless::{Errno, Error, Namespace, Result};

use crate::convert::{BLOCK_LEN, attributes, file_type, from_system, new_kind, permissions, set_time};
use crate::errno::number;
use crate::nodes::Nodes;

/// Nodes and handles are the same thing here, so all handles are this one.
const NO_HANDLE: FileHandle = FileHandle(0);

/// Ids are never given twice for different nodes while the kernel holds one, see [`Nodes`].
const GENERATION: Generation = Generation(0);

/// As much as the kernel reads or writes at once with its usual limit of 256 pages.
const REQUEST_MAX: u32 = 1 << 20;

/// Entries asked for at once; more than fit the kernel's buffer for a listing.
const LISTED_MAX: usize = 512;

/// `O_APPEND` and the numbers of lseek(2), xattr(7) and fallocate(2), the same on every Linux.
const O_APPEND: i32 = 0o2000;
const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;
const XATTR_CREATE: i32 = 1;
const XATTR_REPLACE: i32 = 2;
const FALLOC_KEEP_SIZE: i32 = 1;
const FALLOC_PUNCH_HOLE: i32 = 2;
const FALLOC_ZERO_RANGE: i32 = 0x10;

/// What the kernel may keep, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caching {
    pub(crate) names: Duration,
    pub(crate) attributes: Duration,
    /// Nobody else changes the tree: content and listings may stay in the kernel.
    pub(crate) exclusive: bool,
    /// So may writes.
    pub(crate) writes: bool,
}

pub(crate) struct Adapter {
    namespace: Namespace,
    nodes: Nodes,
    caching: Caching,
    /// Opening needs no request: nothing depends on it.
    skip_open: bool,
}

thread_local! {
    /// For reads that do not lie in one piece; grows to the longest read.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Adapter {
    pub(crate) fn new(namespace: Namespace, caching: Caching) -> Self {
        let nodes = Nodes::new(namespace.root().clone());
        // A mount that is read-only in a tree that is not answers at open, not when it is too late to tell anybody.
        let skip_open = caching.exclusive && !namespace.has_mounts();
        Self { namespace, nodes, caching, skip_open }
    }

    fn at(&self, ino: INodeNo) -> Result<Location> {
        self.nodes.get(ino.0)
    }

    /// Tells the kernel of a location, which it then references.
    fn entered(&self, location: Location) -> Result<FileAttr> {
        let attr = location.attr()?;
        let id = self.nodes.enter(location, attr.ino);
        Ok(attributes(id, &attr))
    }

    fn found(&self, parent: INodeNo, name: &OsStr) -> Result<FileAttr> {
        let dir = self.at(parent)?;
        self.entered(self.namespace.step(&dir, named(name)?)?)
    }

    fn create_node(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        kind: NewKind<'_>,
        mode: u32,
    ) -> Result<FileAttr> {
        let (dir, name) = (self.at(parent)?, named(name)?);
        let writable = dir.writable()?;
        let mut node = NewNode { kind, mode: permissions(mode), uid: request.uid(), gid: request.gid() };
        // The group is the directory's where that is marked so; the kernel leaves this to us.
        let above = dir.attr()?;
        if above.mode & SET_GID != 0 {
            node.gid = above.gid;
            if node.kind == NewKind::Dir {
                node.mode |= SET_GID;
            }
        }
        let entry = writable.create(dir.node(), name, &node)?;
        self.entered(self.namespace.adopt(&dir, entry))
    }

    fn attr_of(&self, ino: INodeNo) -> Result<FileAttr> {
        Ok(attributes(ino.0, &self.at(ino)?.attr()?))
    }

    fn change(&self, ino: INodeNo, changes: &SetAttr) -> Result<FileAttr> {
        let at = self.at(ino)?;
        let writable = at.writable()?;
        let changed = match writable.set_attr(at.node(), changes) {
            // With cached writes the kernel tells when they happened; not every store can keep that.
            Err(error) if error == Errno::NotSupported && changes.ctime.is_some() => {
                writable.set_attr(at.node(), &SetAttr { ctime: None, ..*changes })
            }
            other => other,
        }?;
        Ok(attributes(ino.0, &changed))
    }

    fn remove(&self, parent: INodeNo, name: &OsStr, is_dir: bool) -> Result<()> {
        let (dir, name) = (self.at(parent)?, named(name)?);
        let writable = dir.writable()?;
        self.namespace.refuse_mount(&dir, name)?;
        if is_dir { writable.remove_dir(dir.node(), name) } else { writable.unlink(dir.node(), name) }
    }

    fn move_entry(&self, from: (INodeNo, &OsStr), to: (INodeNo, &OsStr), flags: RenameFlags) -> Result<()> {
        let mode = match flags {
            flags if flags.is_empty() => RenameMode::Replace,
            RenameFlags::RENAME_NOREPLACE => RenameMode::NoReplace,
            RenameFlags::RENAME_EXCHANGE => RenameMode::Exchange,
            _ => return Err(Errno::Invalid.into()),
        };
        let (from_dir, to_dir) = (self.at(from.0)?, self.at(to.0)?);
        let (from, to) = (named(from.1)?, named(to.1)?);
        if !from_dir.is_same_mount(&to_dir) {
            return Err(Errno::CrossDevice.into());
        }
        let writable = from_dir.writable()?;
        self.namespace.refuse_mount(&from_dir, from)?;
        self.namespace.refuse_mount(&to_dir, to)?;
        writable.rename(from_dir.node(), from, to_dir.node(), to, mode)
    }

    fn add_name(&self, ino: INodeNo, parent: INodeNo, name: &OsStr) -> Result<FileAttr> {
        let (at, dir) = (self.at(ino)?, self.at(parent)?);
        if !at.is_same_mount(&dir) {
            return Err(Errno::CrossDevice.into());
        }
        dir.writable()?.link(at.node(), dir.node(), named(name)?)?;
        self.entered(at)
    }

    /// Whether `at` may be opened like this.
    fn check_open(at: &Location, flags: OpenFlags) -> Result<()> {
        if flags.acc_mode() != OpenAccMode::O_RDONLY {
            at.writable()?;
        }
        Ok(())
    }

    fn opened_flags(&self) -> FopenFlags {
        if self.caching.exclusive { FopenFlags::FOPEN_KEEP_CACHE } else { FopenFlags::empty() }
    }

    fn read_into(&self, ino: INodeNo, offset: u64, size: u32, reply: ReplyData) {
        let len = usize::try_from(size).unwrap_or(usize::MAX);
        // To the kernel, fewer bytes than asked for are the end of the file.
        let whole = self.at(ino).and_then(|at| {
            let first = at.fs().read_shared(at.node(), offset, len)?;
            let is_whole = first.len() >= len || first.is_empty();
            Ok((at, first, is_whole))
        });
        match whole {
            Ok((_, bytes, true)) => reply.data(&bytes),
            Ok((at, first, false)) => BUFFER.with_borrow_mut(|buffer| {
                // OK to allocate: the kernel asks for no more than it was told to.
                if buffer.len() < len {
                    buffer.resize(len, 0);
                }
                let buffer = &mut buffer[..len];
                buffer[..first.len()].copy_from_slice(&first);
                let rest = offset.saturating_add(len_u64(first.len()));
                match at.fs().read_at(at.node(), rest, &mut buffer[first.len()..]) {
                    Ok(count) => reply.data(&buffer[..first.len() + count]),
                    Err(error) => reply.error(number(&error)),
                }
            }),
            Err(error) => reply.error(number(&error)),
        }
    }

    fn write_to(&self, ino: INodeNo, offset: u64, data: &[u8], appends: bool) -> Result<u32> {
        let at = self.at(ino)?;
        let to = if appends { WriteAt::End } else { WriteAt::Offset(offset) };
        let written = at.writable()?.write_at(at.node(), to, data)?;
        u32::try_from(written.count).map_err(|_| Errno::Overflow.into())
    }

    /// Entries after `offset`, with `.` and `..` in front: 0 is before them, 2 behind.
    fn list(&self, dir: &Location, offset: u64, mut add: impl FnMut(Listed<'_>) -> Result<bool>) -> Result<()> {
        for (own, name) in [(1, &b"."[..]), (2, b"..")] {
            if offset < own && add(Listed { name, offset: own, file_type: FileType::Dir, ino: None })? {
                return Ok(());
            }
        }
        let mut from = Cookie::new(offset.saturating_sub(2));
        let mut batch = DirBatch::with_max_entries(LISTED_MAX);
        loop {
            batch.clear();
            dir.fs().read_dir(dir.node(), from, &mut batch)?;
            let Some(last) = batch.last_cookie() else { return Ok(()) };
            from = last;
            for entry in batch.iter() {
                let listed = Listed {
                    name: entry.name.as_bytes(),
                    offset: entry.cookie.get().saturating_add(2),
                    file_type: entry.file_type,
                    ino: Some(dir.unique_ino(entry.ino)),
                };
                if add(listed)? {
                    return Ok(());
                }
            }
        }
    }

    fn list_plus(&self, ino: INodeNo, offset: u64, reply: &mut ReplyDirectoryPlus) -> Result<()> {
        let dir = self.at(ino)?;
        let own = self.attr_of(ino)?;
        self.list(&dir, offset, |listed| {
            let name = OsStr::from_bytes(listed.name);
            if listed.ino.is_none() {
                // The kernel takes nothing but the number from these two, and counts no reference.
                return Ok(reply.add(ino, listed.offset, name, &Duration::ZERO, &own, GENERATION));
            }
            let attr = match self.found(ino, name) {
                Ok(attr) => attr,
                // Removed since it was listed.
                Err(error) if error == Errno::NotFound => return Ok(false),
                Err(error) => return Err(error),
            };
            let is_full = reply.add(attr.ino, listed.offset, name, &self.caching.names, &attr, GENERATION);
            if is_full {
                self.nodes.forget(attr.ino.0, 1);
            }
            Ok(is_full)
        })
    }

    fn seek(&self, ino: INodeNo, offset: i64, whence: i32) -> Result<i64> {
        let mut offset = u64::try_from(offset).map_err(|_| Errno::NoSuchDevice)?;
        let at = self.at(ino)?;
        loop {
            let extent = at.fs().extent_at(at.node(), offset);
            match (whence, extent) {
                (SEEK_DATA, Ok(Extent::Data { .. })) | (SEEK_HOLE, Ok(Extent::Hole { .. })) => break,
                (SEEK_DATA | SEEK_HOLE, Ok(other)) => offset = other.end(),
                // There is a hole behind the end of every file, but nowhere else behind it.
                (SEEK_HOLE, Err(error)) if error == Errno::NoSuchDevice && at.attr()?.size == offset => break,
                (SEEK_DATA | SEEK_HOLE, Err(error)) => return Err(error),
                _ => return Err(Errno::Invalid.into()),
            }
        }
        i64::try_from(offset).map_err(|_| Errno::Overflow.into())
    }

    fn allocate(&self, ino: INodeNo, offset: u64, length: u64, mode: i32) -> Result<()> {
        let at = self.at(ino)?;
        let (writable, node) = (at.writable()?, at.node());
        let range = offset..offset.checked_add(length).ok_or(Errno::FileTooBig)?;
        match mode {
            0 => writable.allocate(node, Allocate::Extend, range),
            FALLOC_KEEP_SIZE => writable.allocate(node, Allocate::KeepSize, range),
            mode if mode == FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE => writable.allocate(node, Allocate::PunchHole, range),
            mode if mode & !FALLOC_KEEP_SIZE == FALLOC_ZERO_RANGE => {
                writable.allocate(node, Allocate::PunchHole, range.clone())?;
                let keeps = mode & FALLOC_KEEP_SIZE != 0;
                writable.allocate(node, if keeps { Allocate::KeepSize } else { Allocate::Extend }, range)
            }
            _ => Err(Errno::NotSupported.into()),
        }
    }

    /// Copies a range by reference where both stores can; holes stay holes.
    fn copy(&self, from: (INodeNo, u64), to: (INodeNo, u64), len: u64) -> Result<u32> {
        let (source, target) = (self.at(from.0)?, self.at(to.0)?);
        let (fs, writable) = (source.fs(), target.writable()?);
        // As with write(2), not more than fits the answer.
        let len = len.min(u64::from(u32::MAX >> 1)).min(source.attr()?.size.saturating_sub(from.1));
        to.1.checked_add(len).filter(|end| *end <= FILE_SIZE_MAX).ok_or(Errno::FileTooBig)?;
        let mut done = 0;
        while done < len {
            let (offset, to_offset) = (from.1.saturating_add(done), to.1.saturating_add(done));
            let run = fs.extent_at(source.node(), offset)?;
            let run_len = run.end().saturating_sub(offset).min(len - done);
            match run {
                Extent::Hole { .. } => {
                    let end = to_offset.saturating_add(run_len);
                    if target.attr()?.size < end {
                        let longer = SetAttr { size: Some(end), ..SetAttr::default() };
                        writable.set_attr(target.node(), &longer)?;
                    }
                    writable.allocate(target.node(), Allocate::PunchHole, to_offset..end)?;
                    done += run_len;
                }
                Extent::Data { .. } => {
                    let wanted = usize::try_from(run_len).unwrap_or(READ_SHARED_MAX).min(READ_SHARED_MAX);
                    let data = fs.read_shared(source.node(), offset, wanted)?;
                    if data.is_empty() {
                        break;
                    }
                    let count = len_u64(data.len());
                    match writable.write_shared(target.node(), to_offset, data) {
                        Ok(()) => done += count,
                        Err(_) if done > 0 => break,
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        u32::try_from(done).map_err(|_| Errno::Overflow.into())
    }

    fn sync(&self, ino: INodeNo, data_only: bool) -> Result<()> {
        let at = self.at(ino)?;
        // What cannot be changed is as durable as it will ever be.
        let Ok(writable) = at.writable() else { return Ok(()) };
        writable.sync(if data_only { SyncScope::Data(at.node()) } else { SyncScope::Node(at.node()) })
    }

    fn set_attribute(&self, ino: INodeNo, name: &OsStr, value: &[u8], flags: i32) -> Result<()> {
        let mode = match flags {
            0 => XattrMode::Set,
            XATTR_CREATE => XattrMode::Create,
            XATTR_REPLACE => XattrMode::Replace,
            _ => return Err(Errno::Invalid.into()),
        };
        let at = self.at(ino)?;
        at.writable()?.set_xattr(at.node(), name.as_bytes(), value, mode)
    }
}

const NOTHING: FileAttr = FileAttr {
    ino: INodeNo(0),
    size: 0,
    blocks: 0,
    atime: SystemTime::UNIX_EPOCH,
    mtime: SystemTime::UNIX_EPOCH,
    ctime: SystemTime::UNIX_EPOCH,
    crtime: SystemTime::UNIX_EPOCH,
    kind: fuser::FileType::RegularFile,
    perm: 0,
    nlink: 0,
    uid: 0,
    gid: 0,
    rdev: 0,
    blksize: 0,
    flags: 0,
};

const SET_GID: u16 = 0o2000;

/// An entry of a listing as the kernel counts them. `.` and `..` have no number of their own here.
struct Listed<'a> {
    name: &'a [u8],
    offset: u64,
    file_type: FileType,
    ino: Option<u64>,
}

fn named(name: &OsStr) -> Result<Name<'_>> {
    Name::new(name.as_bytes())
}

fn len_u64(len: usize) -> u64 {
    // OK: no pointer is wider than 64 bits.
    len as u64
}

/// Sends `$result` through `$reply`: what `$ok` does with it, or the error's number.
macro_rules! answer {
    ($reply:ident, $result:expr, $value:pat => $ok:expr) => {
        match $result {
            Ok($value) => $ok,
            Err(error) => refuse!($reply, error),
        }
    };
}

macro_rules! refuse {
    ($reply:ident, $error:expr) => {{
        let error: Error = $error;
        if error == Errno::Io {
            tracing::warn!(%error, "a request failed");
        }
        $reply.error(number(&error))
    }};
}

/// Sends `value` as far as `size` says: 0 asks for the length alone.
fn reply_sized(reply: ReplyXattr, size: u32, value: &[u8]) {
    match u32::try_from(value.len()) {
        Ok(len) if size == 0 => reply.size(len),
        Ok(len) if len <= size => reply.data(value),
        _ => reply.error(number(&Errno::Range.into())),
    }
}

impl Filesystem for Adapter {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        let mut wanted = vec![
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_ASYNC_DIO,
        ];
        if self.caching.exclusive {
            wanted.push(InitFlags::FUSE_CACHE_SYMLINKS);
        } else {
            wanted.push(InitFlags::FUSE_AUTO_INVAL_DATA);
        }
        if self.caching.writes {
            wanted.push(InitFlags::FUSE_WRITEBACK_CACHE);
        }
        for capability in wanted {
            // An older kernel does without.
            if config.add_capabilities(capability).is_err() {
                tracing::debug!(?capability, "the kernel cannot");
            }
        }
        let open_support = InitFlags::FUSE_NO_OPEN_SUPPORT | InitFlags::FUSE_NO_OPENDIR_SUPPORT;
        self.skip_open &= config.capabilities().contains(open_support);
        // Both are within what fuser takes; if not, its own are as good.
        let _ = config.set_max_write(REQUEST_MAX);
        let _ = config.set_max_background(64);
        Ok(())
    }

    fn destroy(&mut self) {
        if let Err(error) = self.namespace.sync() {
            tracing::error!(%error, "what was written may not be durable");
        }
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.found(parent, name) {
            Ok(attr) => self.reply_entry(reply, &attr),
            // That there is nothing can be relied upon, too: a node of number 0, which is counted nowhere.
            Err(error) if error == Errno::NotFound && self.caching.exclusive => {
                reply.entry(&self.caching.names, &NOTHING, GENERATION);
            }
            Err(error) => refuse!(reply, error),
        }
    }

    fn forget(&self, _: &Request, ino: INodeNo, count: u64) {
        self.nodes.forget(ino.0, count);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        answer!(reply, self.attr_of(ino), attr => reply.attr(&self.caching.attributes, &attr));
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        ctime: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let changes = SetAttr {
            mode: mode.map(permissions),
            uid,
            gid,
            size,
            atime: atime.map(set_time),
            mtime: mtime.map(set_time),
            ctime: ctime.map(from_system),
            opaque: None,
        };
        answer!(reply, self.change(ino, &changes), attr => reply.attr(&self.caching.attributes, &attr));
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        answer!(reply, self.at(ino).and_then(|at| at.read_link()), target => reply.data(&target));
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let made = match new_kind(mode, rdev) {
            Some(kind) => self.create_node(request, parent, name, kind, mode),
            None => Err(Errno::Invalid.into()),
        };
        answer!(reply, made, attr => self.reply_entry(reply, &attr));
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, _umask: u32, reply: ReplyEntry) {
        let made = self.create_node(request, parent, name, NewKind::Dir, mode);
        answer!(reply, made, attr => self.reply_entry(reply, &attr));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, self.remove(parent, name, false), () => reply.ok());
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, self.remove(parent, name, true), () => reply.ok());
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let kind = NewKind::Symlink(target.as_os_str().as_bytes());
        let made = self.create_node(request, parent, name, kind, 0o777);
        answer!(reply, made, attr => self.reply_entry(reply, &attr));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        answer!(reply, self.move_entry((parent, name), (new_parent, new_name), flags), () => reply.ok());
    }

    fn link(&self, _: &Request, ino: INodeNo, new_parent: INodeNo, new_name: &OsStr, reply: ReplyEntry) {
        answer!(reply, self.add_name(ino, new_parent, new_name), attr => self.reply_entry(reply, &attr));
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if self.skip_open {
            // The kernel takes this as "never ask again, and keep what you know".
            return reply.error(fuser::Errno::ENOSYS);
        }
        let opened = self.at(ino).and_then(|at| Self::check_open(&at, flags));
        answer!(reply, opened, () => reply.opened(NO_HANDLE, self.opened_flags()));
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.read_into(ino, offset, size, reply);
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        // Where the kernel knows the end of the file it has put the offset there already.
        let knows_end = self.caching.exclusive || write_flags.contains(WriteFlags::FUSE_WRITE_CACHE);
        let appends = flags.0 & O_APPEND != 0 && !knows_end;
        answer!(reply, self.write_to(ino, offset, data, appends), count => reply.written(count));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // Closing does nothing here; the kernel need not ask again.
        reply.error(fuser::Errno::ENOSYS);
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, data_only: bool, reply: ReplyEmpty) {
        answer!(reply, self.sync(ino, data_only), () => reply.ok());
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        if self.skip_open {
            return reply.error(fuser::Errno::ENOSYS);
        }
        let keep = FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR;
        reply.opened(NO_HANDLE, if self.caching.exclusive { keep } else { FopenFlags::empty() });
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let listed = self.at(ino).and_then(|dir| {
            self.list(&dir, offset, |listed| {
                let shown = INodeNo(listed.ino.unwrap_or(ino.0));
                Ok(reply.add(shown, listed.offset, file_type(listed.file_type), OsStr::from_bytes(listed.name)))
            })
        });
        answer!(reply, listed, () => reply.ok());
    }

    fn readdirplus(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectoryPlus) {
        answer!(reply, self.list_plus(ino, offset, &mut reply), () => reply.ok());
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, data_only: bool, reply: ReplyEmpty) {
        answer!(reply, self.sync(ino, data_only), () => reply.ok());
    }

    fn statfs(&self, _: &Request, ino: INodeNo, reply: ReplyStatfs) {
        /// What stands for "no limit": as long as a file can be.
        const UNLIMITED: u64 = FILE_SIZE_MAX / BLOCK_LEN as u64;

        answer!(reply, self.at(ino), at => {
            let info = at.info();
            let blocks = |bytes: Option<u64>| bytes.map_or(UNLIMITED, |bytes| bytes / u64::from(BLOCK_LEN));
            let (total, free) = (blocks(info.total_bytes), blocks(info.free_bytes));
            let (nodes, free_nodes) = (info.total_nodes.unwrap_or(UNLIMITED), info.free_nodes.unwrap_or(UNLIMITED));
            let name_max = u32::try_from(NAME_MAX).unwrap_or(u32::MAX);
            reply.statfs(total, free, free, nodes, free_nodes, BLOCK_LEN, name_max, BLOCK_LEN);
        });
    }

    fn setxattr(
        &self,
        _: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        answer!(reply, self.set_attribute(ino, name, value, flags), () => reply.ok());
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let value = self.at(ino).and_then(|at| at.fs().xattr(at.node(), name.as_bytes()));
        answer!(reply, value, value => reply_sized(reply, size, &value));
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let names = self.at(ino).and_then(|at| at.fs().xattr_names(at.node()));
        answer!(reply, names, names => {
            let mut list = Vec::new();
            for name in names {
                list.extend_from_slice(&name);
                list.push(0);
            }
            reply_sized(reply, size, &list);
        });
    }

    fn removexattr(&self, _: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let removed = self.at(ino).and_then(|at| at.writable()?.remove_xattr(at.node(), name.as_bytes()));
        answer!(reply, removed, () => reply.ok());
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        if self.skip_open {
            // The kernel then makes a node, which needs no release.
            return reply.error(fuser::Errno::ENOSYS);
        }
        let made = self.create_node(request, parent, name, NewKind::File, mode);
        answer!(reply, made, attr => {
            reply.created(&self.caching.names, &attr, GENERATION, NO_HANDLE, self.opened_flags());
        });
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        answer!(reply, self.allocate(ino, offset, length, mode), () => reply.ok());
    }

    fn lseek(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        if self.caching.writes {
            // Linux asks without writing out what it holds, and would take new data for a hole. Told that nobody knows,
            // it takes everything for data, which is always true.
            return reply.error(fuser::Errno::ENOSYS);
        }
        answer!(reply, self.seek(ino, offset, whence), offset => reply.offset(offset));
    }

    fn copy_file_range(
        &self,
        _: &Request,
        from: INodeNo,
        _: FileHandle,
        from_offset: u64,
        to: INodeNo,
        _: FileHandle,
        to_offset: u64,
        len: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        answer!(reply, self.copy((from, from_offset), (to, to_offset), len), count => reply.written(count));
    }
}

impl Adapter {
    fn reply_entry(&self, reply: ReplyEntry, attr: &FileAttr) {
        reply.entry_with_ttls(&self.caching.attributes, &self.caching.names, attr, GENERATION);
    }
}
