//! A host directory as the upper layer of an overlay, in the form in which Linux overlayfs keeps one: what either wrote
//! the other can go on with.
//!
//! The form, from `Documentation/filesystems/overlayfs.rst` of Linux: a whiteout is a character device 0:0, an opaque
//! directory has the extended attribute `trusted.overlay.opaque` with the value `y`. Who may not set `trusted`
//! attributes uses `user.overlay.` instead, as Linux does with the option `userxattr`; both are read.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use bytes::Bytes;

use crate::attr::{Attr, Device, FileType, SetAttr};
use crate::errno::Errno;
use crate::error::Result;
use crate::fs::{
    Allocate, Cookie, DirBatch, DirEntry, Entry, Extent, FileSystem, FileSystemExt, FsInfo, NewKind, NewNode, NodeId,
    OpenFile, RenameMode, Snapshot, SyncScope, WritableFileSystem, WriteAt, Written, XattrMode,
};
use crate::name::Name;

const TRUSTED: &[u8] = b"trusted.overlay.";
const USER: &[u8] = b"user.overlay.";
const OPAQUE: &[u8] = b"opaque";

const WHITEOUT: Device = Device { major: 0, minor: 0 };

/// Entries asked for at a time.
const BATCH: usize = 256;

/// See the module.
#[derive(Debug)]
pub struct LinuxUpper {
    fs: Arc<dyn FileSystem>,
    /// What the names of attributes begin with when they are written.
    prefix: &'static [u8],
    /// User and group of everything that is made, if owners cannot be given.
    owner: Option<(u32, u32)>,
}

impl LinuxUpper {
    /// Takes `fs`, a host directory. With an `owner`, user and group, all that is made is theirs, whatever is asked for:
    /// Linux lets nobody but root give files away.
    ///
    /// # Errors
    /// `EROFS` if it cannot be written to; `ENOTSUP` if it keeps no extended attributes.
    pub fn new(fs: Arc<dyn FileSystem>, owner: Option<(u32, u32)>) -> Result<Self> {
        let probe = |prefix: &[u8]| -> Result<()> {
            let (to, name) = (fs.writable()?, [prefix, b"probe"].concat());
            to.set_xattr(fs.root(), &name, b"y", XattrMode::Set)?;
            to.remove_xattr(fs.root(), &name)
        };
        let prefix = match probe(TRUSTED) {
            Ok(()) => TRUSTED,
            Err(error) if error == Errno::NotPermitted => probe(USER).map(|()| USER)?,
            Err(error) => return Err(error),
        };
        Ok(Self { fs, prefix, owner })
    }

    fn to(&self) -> Result<&dyn WritableFileSystem> {
        self.fs.writable()
    }

    fn is_whiteout(&self, file_type: FileType, node: NodeId) -> Result<bool> {
        Ok(file_type == FileType::Char && self.fs.attr(node)?.rdev == Some(WHITEOUT))
    }

    /// The value of one of overlayfs's own attributes, by its last word.
    fn own(&self, node: NodeId, word: &[u8]) -> Result<Option<Bytes>> {
        for prefix in [TRUSTED, USER] {
            match self.fs.xattr(node, &[prefix, word].concat()) {
                Ok(value) => return Ok(Some(value)),
                // Others may not see those of root.
                Err(error)
                    if [Errno::NoAttribute, Errno::NotSupported, Errno::NotPermitted].contains(&error.errno()) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// The name on the host of an attribute that the overlay calls `trusted.overlay.…`.
    fn host_name<'n>(&self, name: &'n [u8]) -> alloc::borrow::Cow<'n, [u8]> {
        match name.strip_prefix(TRUSTED) {
            Some(word) if self.prefix != TRUSTED => [self.prefix, word].concat().into(),
            _ => name.into(),
        }
    }

    fn shown(&self, mut attr: Attr, node: NodeId) -> Result<Attr> {
        if attr.rdev == Some(WHITEOUT) && attr.file_type == FileType::Char {
            (attr.file_type, attr.rdev) = (FileType::Whiteout, None);
        }
        if attr.file_type == FileType::Dir {
            attr.opaque = self.own(node, OPAQUE)?.is_some_and(|value| *value == *b"y");
        }
        Ok(attr)
    }

    fn set_opaque(&self, node: NodeId, opaque: bool) -> Result<()> {
        let name = [self.prefix, OPAQUE].concat();
        if opaque {
            return self.to()?.set_xattr(node, &name, b"y", XattrMode::Set);
        }
        match self.to()?.remove_xattr(node, &name) {
            Err(error) if error == Errno::NoAttribute => Ok(()),
            other => other,
        }
    }
}

impl FileSystem for LinuxUpper {
    fn root(&self) -> NodeId {
        self.fs.root()
    }

    fn lookup(&self, dir: NodeId, name: Name<'_>) -> Result<Entry> {
        let entry = self.fs.lookup(dir, name)?;
        match self.is_whiteout(entry.file_type, entry.node) {
            Ok(false) => Ok(entry),
            Ok(true) => Ok(Entry { file_type: FileType::Whiteout, ..entry }),
            Err(error) => {
                self.fs.forget(entry.node, 1);
                Err(error)
            }
        }
    }

    fn forget(&self, node: NodeId, count: u64) {
        self.fs.forget(node, count);
    }

    fn attr(&self, node: NodeId) -> Result<Attr> {
        self.shown(self.fs.attr(node)?, node)
    }

    fn read_link(&self, node: NodeId) -> Result<Bytes> {
        self.fs.read_link(node)
    }

    fn read_dir(&self, dir: NodeId, mut from: Cookie, batch: &mut DirBatch) -> Result<()> {
        loop {
            let mut inner = DirBatch::with_max_entries(BATCH);
            self.fs.read_dir(dir, from, &mut inner)?;
            for entry in inner.iter() {
                let file_type = match entry.file_type {
                    // It may have gone meanwhile.
                    FileType::Char => self.lookup(dir, entry.name).map_or(FileType::Char, |found| {
                        self.fs.forget(found.node, 1);
                        found.file_type
                    }),
                    other => other,
                };
                if !batch.push(DirEntry { file_type, ..entry }) {
                    return Ok(());
                }
            }
            match inner.last_cookie() {
                Some(last) if !batch.is_full() => from = last,
                _ => return Ok(()),
            }
        }
    }

    fn read_at(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.fs.read_at(node, offset, buf)
    }

    fn read_shared(&self, node: NodeId, offset: u64, len: usize) -> Result<Bytes> {
        self.fs.read_shared(node, offset, len)
    }

    fn snapshot(&self, node: NodeId) -> Result<Option<Snapshot>> {
        self.fs.snapshot(node)
    }

    fn extent_at(&self, node: NodeId, offset: u64) -> Result<Extent> {
        self.fs.extent_at(node, offset)
    }

    fn xattr(&self, node: NodeId, name: &[u8]) -> Result<Bytes> {
        match name.strip_prefix(TRUSTED) {
            Some(word) => self.own(node, word)?.ok_or_else(|| Errno::NoAttribute.into()),
            None => self.fs.xattr(node, name),
        }
    }

    fn xattr_names(&self, node: NodeId) -> Result<Vec<Bytes>> {
        self.fs.xattr_names(node)
    }

    fn names_version(&self) -> Option<u64> {
        self.fs.names_version()
    }

    fn info(&self) -> FsInfo {
        self.fs.info()
    }

    fn as_writable(&self) -> Option<&dyn WritableFileSystem> {
        self.fs.as_writable().map(|_| self as &dyn WritableFileSystem)
    }
}

impl WritableFileSystem for LinuxUpper {
    fn create(&self, dir: NodeId, name: Name<'_>, new: &NewNode<'_>) -> Result<Entry> {
        let to = self.to()?;
        let kind = match new.kind {
            // It would hide the name, not show it.
            NewKind::Char(WHITEOUT) => return Err(Errno::NotPermitted.into()),
            NewKind::Whiteout => NewKind::Char(WHITEOUT),
            kind => kind,
        };
        let (uid, gid) = self.owner.unwrap_or((new.uid, new.gid));
        let entry = to.create(dir, name, &NewNode { kind, uid, gid, ..*new })?;
        Ok(Entry { file_type: new.kind.file_type(), ..entry })
    }

    fn link(&self, node: NodeId, dir: NodeId, name: Name<'_>) -> Result<()> {
        self.to()?.link(node, dir, name)
    }

    fn unlink(&self, dir: NodeId, name: Name<'_>) -> Result<()> {
        self.to()?.unlink(dir, name)
    }

    fn remove_dir(&self, dir: NodeId, name: Name<'_>) -> Result<()> {
        self.to()?.remove_dir(dir, name)
    }

    fn rename(&self, from_dir: NodeId, from: Name<'_>, to_dir: NodeId, to: Name<'_>, mode: RenameMode) -> Result<()> {
        self.to()?.rename(from_dir, from, to_dir, to, mode)
    }

    fn write_at(&self, node: NodeId, at: WriteAt, buf: &[u8]) -> Result<Written> {
        self.to()?.write_at(node, at, buf)
    }

    fn open_file(&self, node: NodeId) -> Result<Option<Arc<dyn OpenFile>>> {
        self.to()?.open_file(node)
    }

    fn write_shared(&self, node: NodeId, offset: u64, data: Bytes) -> Result<()> {
        self.to()?.write_shared(node, offset, data)
    }

    fn set_attr(&self, node: NodeId, changes: &SetAttr) -> Result<Attr> {
        if let Some(opaque) = changes.opaque {
            self.set_opaque(node, opaque)?;
        }
        let (uid, gid) = if self.owner.is_some() { (None, None) } else { (changes.uid, changes.gid) };
        let changes = SetAttr { uid, gid, opaque: None, ..*changes };
        if changes == SetAttr::default() {
            return self.attr(node);
        }
        self.shown(self.to()?.set_attr(node, &changes)?, node)
    }

    fn allocate(&self, node: NodeId, what: Allocate, range: Range<u64>) -> Result<()> {
        self.to()?.allocate(node, what, range)
    }

    fn set_xattr(&self, node: NodeId, name: &[u8], value: &[u8], mode: XattrMode) -> Result<()> {
        self.to()?.set_xattr(node, &self.host_name(name), value, mode)
    }

    fn remove_xattr(&self, node: NodeId, name: &[u8]) -> Result<()> {
        self.to()?.remove_xattr(node, &self.host_name(name))
    }

    fn sync(&self, scope: SyncScope) -> Result<()> {
        self.to()?.sync(scope)
    }
}
