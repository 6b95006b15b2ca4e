//! An open node: access mode, position, append.

use alloc::sync::Arc;
use core::ops::Range;
use std::io::SeekFrom;
use std::sync::OnceLock;

use bytes::Bytes;

use super::at::OpenHow;
use super::location::Location;
use crate::attr::{Attr, Device, FileType, SetAttr};
use crate::checked::{min_len, to_u64, to_usize};
use crate::errno::Errno;
use crate::error::Result;
use crate::fs::{Allocate, Cookie, DirBatch, DirEntry, OpenFile, Snapshot, SyncScope, WriteAt, Written, shared_zeros};
use crate::limits::FILE_SIZE_MAX;

/// An open file or directory. The position is its own; two opens of one file have two.
#[derive(Debug)]
pub struct Descriptor {
    location: Location,
    content: Content,
    access: Access,
    position: u64,
    /// Bytes to which the file may be made to grow through this.
    len_max: u64,
    /// The file's bytes, if they can be had for longer than a call; asked for by the first read.
    snapshot: OnceLock<Option<Snapshot>>,
    /// The file itself, once it was written, if its filesystem lends it.
    written: OnceLock<Option<Arc<dyn OpenFile>>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Content {
    File,
    Dir,
    /// `/dev/null`: reads nothing, swallows everything.
    Null,
    /// `/dev/zero`: reads zeros, swallows everything.
    Zero,
    /// `/dev/full`: reads zeros, has no space.
    Full,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Access {
    read: bool,
    write: bool,
    append: bool,
}

impl Content {
    fn of(location: &Location) -> Result<Self> {
        match location.file_type() {
            FileType::File => Ok(Self::File),
            FileType::Dir => Ok(Self::Dir),
            FileType::Symlink => Err(Errno::Loop.into()),
            FileType::Char => match location.attr()?.rdev {
                // The memory devices of Linux's driver 1.
                Some(Device { major: 1, minor: 3 }) => Ok(Self::Null),
                Some(Device { major: 1, minor: 5 }) => Ok(Self::Zero),
                Some(Device { major: 1, minor: 7 }) => Ok(Self::Full),
                _ => Err(Errno::NotSupported.into()),
            },
            FileType::Block | FileType::Fifo | FileType::Socket | FileType::Whiteout => Err(Errno::NotSupported.into()),
        }
    }
}

impl Descriptor {
    /// Opens a node that was walked to; `how`'s flags about the path have been dealt with.
    pub(super) fn open(location: Location, how: &OpenHow) -> Result<Self> {
        let is_dir = location.file_type().is_dir();
        if how.directory && !is_dir {
            return Err(Errno::NotDir.into());
        }
        if is_dir && (how.write || how.truncate) {
            return Err(Errno::IsDir.into());
        }
        let content = Content::of(&location)?;
        if content == Content::File && (how.write || how.truncate) {
            let writable = location.writable()?;
            if how.truncate {
                writable.set_attr(location.node(), &SetAttr { size: Some(0), ..SetAttr::default() })?;
            }
        }
        let access = Access { read: how.read, write: how.write, append: how.append };
        Ok(Self {
            location,
            content,
            access,
            position: 0,
            len_max: FILE_SIZE_MAX,
            snapshot: OnceLock::new(),
            written: OnceLock::new(),
        })
    }

    /// The same node open once more in the same way, with a position of its own at the start.
    #[must_use]
    pub fn again(&self) -> Self {
        Self {
            location: self.location.clone(),
            position: 0,
            snapshot: OnceLock::new(),
            written: OnceLock::new(),
            ..*self
        }
    }

    /// A directory as a descriptor, for preopens.
    ///
    /// # Errors
    /// `ENOTDIR` if it is none.
    pub fn open_dir(location: Location) -> Result<Self> {
        Self::open(location, &OpenHow { directory: true, ..OpenHow::READ })
    }

    /// The node.
    #[must_use]
    pub const fn location(&self) -> &Location {
        &self.location
    }

    /// The node's kind.
    #[must_use]
    pub fn file_type(&self) -> FileType {
        self.location.file_type()
    }

    /// Whether it was opened for reading.
    #[must_use]
    pub const fn readable(&self) -> bool {
        self.access.read
    }

    /// Whether it was opened for writing.
    #[must_use]
    pub const fn writable(&self) -> bool {
        self.access.write
    }

    /// Whether every write goes to the end.
    #[must_use]
    pub const fn append(&self) -> bool {
        self.access.append
    }

    /// Switches appending on or off.
    pub const fn set_append(&mut self, append: bool) {
        self.access.append = append;
    }

    /// Does not let the file grow over `len` bytes through this descriptor: `EFBIG`, as RLIMIT_FSIZE has it.
    pub const fn limit_len(&mut self, len: u64) {
        self.len_max = len;
    }

    /// Attributes, with an `ino` that is unique in the namespace.
    ///
    /// # Errors
    /// As [`Location::attr`].
    pub fn attr(&self) -> Result<Attr> {
        self.location.attr()
    }

    /// Changes attributes; no access mode is needed for that.
    ///
    /// # Errors
    /// `EROFS`, and those of [`set_attr`](crate::fs::WritableFileSystem::set_attr).
    pub fn set_attr(&self, changes: &SetAttr) -> Result<Attr> {
        self.location.writable()?.set_attr(self.location.node(), changes)
    }

    /// Reads at the position and moves it.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    #[inline]
    pub fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        let count = self.read_at(self.position, buf)?;
        self.position = self.position.saturating_add(to_u64(count));
        Ok(count)
    }

    /// Reads at `offset`, straight into `buf`.
    ///
    /// # Errors
    /// `EBADF` if it is not open for reading, `EISDIR`, and those of the filesystem.
    #[inline]
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        if !self.access.read {
            return Err(Errno::BadFd.into());
        }
        match self.content {
            Content::File => self.read_file(offset, buf),
            Content::Dir => Err(Errno::IsDir.into()),
            Content::Null => Ok(0),
            Content::Zero | Content::Full => {
                buf.fill(0);
                Ok(buf.len())
            }
        }
    }

    #[inline]
    fn read_file(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        if let Some(Some(file)) = self.written.get() {
            return file.read_at(offset, buf);
        }
        match self.snapshot() {
            Some(bytes) => Ok(copy_from(bytes, offset, buf)),
            None => self.location.fs().read_at(self.location.node(), offset, buf),
        }
    }

    /// The file's bytes, if they lie in one piece and are still the same.
    #[inline]
    fn snapshot(&self) -> Option<&Bytes> {
        // Any failure is the read's to report.
        let snapshot = self.snapshot.get_or_init(|| self.location.fs().snapshot(self.location.node()).ok().flatten());
        snapshot.as_ref().and_then(Snapshot::current)
    }

    /// Up to `len` bytes from `offset`, without copying where the store allows it; short at the end of an extent, empty
    /// only at the end of the file or for `len` 0.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    pub fn read_shared(&self, offset: u64, len: usize) -> Result<Bytes> {
        if !self.access.read {
            return Err(Errno::BadFd.into());
        }
        match self.content {
            Content::File => match self.snapshot() {
                Some(bytes) => {
                    let start = min_len(bytes.len(), offset);
                    Ok(bytes.slice(start..start.saturating_add(len).min(bytes.len())))
                }
                None => self.location.fs().read_shared(self.location.node(), offset, len),
            },
            Content::Dir => Err(Errno::IsDir.into()),
            Content::Null => Ok(Bytes::new()),
            Content::Zero | Content::Full => Ok(shared_zeros(to_u64(len))),
        }
    }

    /// Writes at the position, or at the end when appending, and moves the position behind what was written.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    #[inline]
    pub fn write(&mut self, buf: &[u8]) -> Result<usize> {
        let written = self.write_to(self.target(self.position), buf)?;
        if written.count > 0 {
            self.position = written.end;
        }
        Ok(written.count)
    }

    /// Writes at `offset`; when appending, at the end all the same, as Linux does.
    ///
    /// # Errors
    /// `EBADF` if it is not open for writing, `EROFS`, `ENOSPC`, `EFBIG`, and those of the filesystem.
    #[inline]
    pub fn write_at(&self, offset: u64, buf: &[u8]) -> Result<usize> {
        self.write_to(self.target(offset), buf).map(|written| written.count)
    }

    /// Writes at the end, as when appending; the position stays.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    #[inline]
    pub fn write_end(&self, buf: &[u8]) -> Result<usize> {
        self.write_to(WriteAt::End, buf).map(|written| written.count)
    }

    const fn target(&self, offset: u64) -> WriteAt {
        if self.access.append { WriteAt::End } else { WriteAt::Offset(offset) }
    }

    #[inline]
    fn write_to(&self, at: WriteAt, buf: &[u8]) -> Result<Written> {
        if !self.access.write {
            return Err(Errno::BadFd.into());
        }
        match self.content {
            Content::File => {
                let buf = if self.len_max < FILE_SIZE_MAX { self.within_len(at, buf)? } else { buf };
                match self.written.get() {
                    Some(Some(file)) => file.write_at(at, buf),
                    _ => self.write_to_fs(at, buf),
                }
            }
            Content::Dir => Err(Errno::IsDir.into()),
            Content::Null | Content::Zero => {
                let start = if let WriteAt::Offset(offset) = at { offset } else { 0 };
                Ok(Written { count: buf.len(), end: start.saturating_add(to_u64(buf.len())) })
            }
            Content::Full => Err(Errno::NoSpace.into()),
        }
    }

    /// Writes, and asks for the file if that was not done yet.
    fn write_to_fs(&self, at: WriteAt, buf: &[u8]) -> Result<Written> {
        let (writable, node) = (self.location.writable()?, self.location.node());
        let written = writable.write_at(node, at, buf)?;
        // Only after something was written: until then a merged node is the lower's. Any failure is the write's to report.
        if written.count > 0 && self.written.get().is_none() {
            let _ = self.written.set(writable.open_file(node).ok().flatten());
        }
        Ok(written)
    }

    /// What of `buf` may be written. Where several append at once, each may come to the limit by itself.
    fn within_len<'b>(&self, at: WriteAt, buf: &'b [u8]) -> Result<&'b [u8]> {
        let start = match at {
            WriteAt::Offset(offset) => offset,
            WriteAt::End => self.attr()?.size,
        };
        match self.len_max.checked_sub(start) {
            None | Some(0) if !buf.is_empty() => Err(Errno::FileTooBig.into()),
            room => Ok(buf.get(..min_len(buf.len(), room.unwrap_or(0))).unwrap_or(buf)),
        }
    }

    /// Moves the position and returns it, in bytes. Behind the end is fine.
    ///
    /// # Errors
    /// `EINVAL` before 0 or behind [`FILE_SIZE_MAX`]: the position is unchanged then; `EISDIR`.
    pub fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        let (base, by) = match to {
            SeekFrom::Start(offset) => (offset, 0),
            SeekFrom::Current(by) => (self.position, by),
            SeekFrom::End(by) => (self.attr()?.size, by),
        };
        if self.content == Content::Dir {
            return Err(Errno::IsDir.into());
        }
        let position = base.checked_add_signed(by).filter(|&position| position <= FILE_SIZE_MAX);
        self.position = position.ok_or(Errno::Invalid)?;
        Ok(self.position)
    }

    /// The position, in bytes.
    #[must_use]
    pub const fn tell(&self) -> u64 {
        self.position
    }

    /// Cuts, or extends with a hole. The position stays.
    ///
    /// # Errors
    /// `EINVAL` if it is not open for writing, `EISDIR`, `EFBIG`, `EROFS`, `ENOSPC`.
    pub fn set_len(&self, len: u64) -> Result<()> {
        match self.content {
            Content::Dir => Err(Errno::IsDir.into()),
            Content::File if self.access.write && len > self.len_max => Err(Errno::FileTooBig.into()),
            Content::File if self.access.write => {
                self.set_attr(&SetAttr { size: Some(len), ..SetAttr::default() }).map(drop)
            }
            _ => Err(Errno::Invalid.into()),
        }
    }

    /// Reserves or frees a range of the file's store.
    ///
    /// # Errors
    /// `EBADF` if it is not open for writing, and those of [`allocate`](crate::fs::WritableFileSystem::allocate).
    pub fn allocate(&self, what: Allocate, range: Range<u64>) -> Result<()> {
        if !self.access.write {
            return Err(Errno::BadFd.into());
        }
        if what == Allocate::Extend && range.end > self.len_max {
            return Err(Errno::FileTooBig.into());
        }
        self.location.writable()?.allocate(self.location.node(), what, range)
    }

    /// Returns when the content (`data_only`), or content and attributes, are durable. What cannot be written is
    /// durable already.
    ///
    /// # Errors
    /// `EIO`.
    pub fn sync(&self, data_only: bool) -> Result<()> {
        let node = self.location.node();
        match self.location.fs().as_writable() {
            Some(writable) => writable.sync(if data_only { SyncScope::Data(node) } else { SyncScope::Node(node) }),
            None => Ok(()),
        }
    }

    /// Adds the entries after `from` to `batch`; none means the end. See
    /// [`FileSystem::read_dir`](crate::fs::FileSystem::read_dir); numbers of nodes still need
    /// [`Location::unique_ino`].
    ///
    /// # Errors
    /// `ENOTDIR`.
    pub fn read_dir(&self, from: Cookie, batch: &mut DirBatch) -> Result<()> {
        self.location.fs().read_dir(self.location.node(), from, batch)
    }

    /// An entry of [`read_dir`](Self::read_dir) with the `ino` that the namespace shows.
    #[must_use]
    pub fn shown<'e>(&self, entry: DirEntry<'e>) -> DirEntry<'e> {
        DirEntry { ino: self.location.unique_ino(entry.ino), ..entry }
    }
}

/// Copies what there is from `offset` on, and returns the count of bytes.
#[inline]
fn copy_from(bytes: &[u8], offset: u64, buf: &mut [u8]) -> usize {
    let from = to_usize(offset).ok().and_then(|start| bytes.get(start..)).unwrap_or_default();
    let count = from.len().min(buf.len());
    // OK to index: at most the length of either.
    buf[..count].copy_from_slice(&from[..count]);
    count
}

impl std::io::Read for Descriptor {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        Ok(Self::read(self, buf)?)
    }
}

impl std::io::Write for Descriptor {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        Ok(Self::write(self, buf)?)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl std::io::Seek for Descriptor {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        Ok(Self::seek(self, to)?)
    }
}
