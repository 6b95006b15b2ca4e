//! The writing half of [`HostFs`].

use alloc::sync::Arc;
use core::ops::Range;
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::PoisonError;

use bytes::Bytes;
use cap_std::fs::{Dir, DirBuilder, DirBuilderExt};
use rustix::fs::{AtFlags, CWD, FallocateFlags, Gid, Mode, RenameFlags, Stat, Uid, chmodat, chownat};
use rustix::io::ReadWriteFlags;

use super::HostFs;
use super::attr::{self, from_stat, mode_of, size_of};
use super::errno::{from_io, from_raw};
use super::node::{self, Handle, On, path};
use super::xattr;
use crate::attr::{Attr, Device, FileType, SetAttr};
use crate::checked::{min_len, to_u64};
use crate::errno::Errno;
use crate::error::Result;
use crate::fs::{
    Allocate, Entry, NewKind, NewNode, NodeId, OpenFile, RenameMode, SyncScope, WritableFileSystem, WriteAt, Written,
    XattrMode,
};
use crate::limits::{FILE_SIZE_MAX, SYMLINK_MAX};
use crate::name::Name;

type Owner = (Option<Uid>, Option<Gid>);

fn set_owner(on: &On<'_>, (uid, gid): Owner) -> Result<()> {
    let (dir, name, flags) = on.at();
    chownat(dir, name, uid, gid, flags).map_err(from_raw)
}

/// Sets permission bits of anything but a symbolic link, and never of what a link leads to.
fn set_mode(on: &On<'_>, mode: u16) -> Result<()> {
    let mode = Mode::from_raw_mode(u32::from(mode) & 0o7777);
    let by_number = |fd: &dyn AsFd| {
        // Linux has no call for a node that is not open, but takes the node behind a link in /proc.
        let number = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
        match chmodat(CWD, number, mode, AtFlags::empty()) {
            Err(rustix::io::Errno::NOENT) => Err(Errno::NotSupported.into()),
            other => other.map_err(from_raw),
        }
    };
    match on {
        On::Open(fd) => match rustix::fs::fchmod(fd, mode) {
            // A directory that may be walked but not read.
            Err(rustix::io::Errno::BADF) => by_number(fd),
            other => other.map_err(from_raw),
        },
        On::Node(fd) => by_number(fd),
        On::Name(dir, name) => {
            let opened = node::open_node(dir, name)?;
            let stat = rustix::fs::fstat(&opened).map_err(from_raw)?;
            if attr::file_type_of(&stat)? == FileType::Symlink {
                return Err(Errno::Stale.into());
            }
            by_number(&opened)
        }
    }
}

/// Gives a new node the owner and mode asked for, which neither the umask nor the directory's group shall change.
fn finish(on: &On<'_>, new: &NewNode<'_>) -> Result<Stat> {
    let mut stat = on.stat()?;
    if (stat.st_uid, stat.st_gid) != (new.uid, new.gid) {
        set_owner(on, attr::owner(Some(new.uid), Some(new.gid))?)?;
        stat = on.stat()?;
    }
    if !matches!(new.kind, NewKind::Symlink(_)) && mode_of(&stat) != new.mode & 0o7777 {
        set_mode(on, new.mode)?;
        stat = on.stat()?;
    }
    Ok(stat)
}

/// Runs [`finish`]; if it fails, removes the node again.
pub(super) fn finish_or_undo(dir: &Dir, name: Name<'_>, on: &On<'_>, new: &NewNode<'_>) -> Result<Stat> {
    finish(on, new).inspect_err(|_| {
        let flags = if new.kind.file_type().is_dir() { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        // Nothing better to tell than the first error.
        let _ = rustix::fs::unlinkat(dir, name.as_bytes(), flags);
    })
}

/// Makes a node that has no content.
fn make_special(dir: &Dir, name: Name<'_>, kind: NewKind<'_>) -> Result<()> {
    let number = |device: Device| rustix::fs::makedev(device.major, device.minor);
    let (raw, device) = match kind {
        NewKind::Char(device) => (rustix::fs::FileType::CharacterDevice, number(device)),
        NewKind::Block(device) => (rustix::fs::FileType::BlockDevice, number(device)),
        NewKind::Fifo => (rustix::fs::FileType::Fifo, 0),
        NewKind::Socket => (rustix::fs::FileType::Socket, 0),
        _ => return Err(Errno::NotSupported.into()),
    };
    let owner_alone = Mode::RUSR | Mode::WUSR;
    rustix::fs::mknodat(dir, name.as_bytes(), raw, owner_alone, device).map_err(from_raw)
}

/// Writes `buf` piece by piece with `write`; an error after the first piece makes it short.
pub(super) fn write_full(buf: &[u8], mut write: impl FnMut(&[u8], u64) -> rustix::io::Result<usize>) -> Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match write(&buf[done..], to_u64(done)) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) if done == 0 => return Err(from_raw(error)),
            Err(_) => break,
        }
    }
    Ok(done)
}

impl WritableFileSystem for HostFs {
    fn create(&self, dir: NodeId, name: Name<'_>, new: &NewNode<'_>) -> Result<Entry> {
        let parent = self.table.node(dir)?;
        let _names = self.names();
        let dir = &*parent.dir()?;
        match new.kind {
            NewKind::File => {
                let file = node::create_file(dir, name, new.mode)?;
                let stat = finish_or_undo(dir, name, &On::Open(file.as_fd()), new)?;
                self.enter(&parent, name, &stat, None, Handle::File { file: file.into(), writable: true })
            }
            NewKind::Dir => {
                let mut builder = DirBuilder::new();
                builder.mode(0o700);
                dir.create_dir_with(path(name.as_bytes()), &builder).map_err(from_io)?;
                let opened = node::open_dir(dir, name)?;
                let stat = finish_or_undo(dir, name, &On::Open(opened.as_fd()), new)?;
                self.enter(&parent, name, &stat, Some(opened), Handle::None)
            }
            NewKind::Symlink(target) => {
                if target.len() > SYMLINK_MAX {
                    return Err(Errno::NameTooLong.into());
                }
                dir.symlink_contents(path(target), path(name.as_bytes())).map_err(from_io)?;
                let stat = finish_or_undo(dir, name, &On::Name(dir, name.as_bytes()), new)?;
                self.enter(&parent, name, &stat, None, Handle::None)
            }
            special => {
                make_special(dir, name, special)?;
                let stat = finish_or_undo(dir, name, &On::Name(dir, name.as_bytes()), new)?;
                self.enter(&parent, name, &stat, None, Handle::None)
            }
        }
    }

    fn link(&self, node: NodeId, dir: NodeId, name: Name<'_>) -> Result<()> {
        let (node, parent) = (self.table.node(node)?, self.table.node(dir)?);
        let _names = self.names();
        let dir = &*parent.dir()?;
        if node.file_type.is_dir() {
            return Err(Errno::NotPermitted.into());
        }
        let new = path(name.as_bytes());
        match node.at_place(|from, old, _| from.hard_link(path(old), dir, new).map_err(from_io)) {
            Err(error) if error == Errno::Stale => node.with(|on| match on {
                // It may have names that were never looked up; if not, the host says ENOENT.
                On::Open(fd) | On::Node(fd) => {
                    let number = format!("/proc/self/fd/{}", fd.as_raw_fd());
                    let follow = AtFlags::SYMLINK_FOLLOW;
                    rustix::fs::linkat(CWD, number, dir, name.as_bytes(), follow).map_err(from_raw)
                }
                On::Name(..) => Err(error),
            })?,
            other => other?,
        }
        node.add_place(&parent, name);
        Ok(())
    }

    fn unlink(&self, dir: NodeId, name: Name<'_>) -> Result<()> {
        let parent = self.table.node(dir)?;
        let _names = self.names_mut();
        let dir = &*parent.dir()?;
        let known = self.known(dir, name)?.ok_or(Errno::NotFound)?;
        if known.file_type.is_dir() {
            return Err(Errno::IsDir.into());
        }
        if let Some(node) = &known.node {
            node.hold()?;
        }
        dir.remove_file(path(name.as_bytes())).map_err(from_io)?;
        if let Some(node) = &known.node {
            node.remove_place(&parent, name);
        }
        Ok(())
    }

    fn remove_dir(&self, dir: NodeId, name: Name<'_>) -> Result<()> {
        let parent = self.table.node(dir)?;
        let _names = self.names_mut();
        let dir = &*parent.dir()?;
        // It stays what it is for those who hold it, but by no name any more.
        let known = self.known(dir, name)?.and_then(|known| known.node).filter(|node| node.file_type.is_dir());
        if let Some(node) = &known {
            node.hold()?;
        }
        dir.remove_dir(path(name.as_bytes())).map_err(from_io)
    }

    fn rename(&self, from_dir: NodeId, from: Name<'_>, to_dir: NodeId, to: Name<'_>, mode: RenameMode) -> Result<()> {
        let (from_parent, to_parent) = (self.table.node(from_dir)?, self.table.node(to_dir)?);
        let _names = self.names_mut();
        let (from_dir, to_dir) = (&*from_parent.dir()?, &*to_parent.dir()?);
        let moved = self.known(from_dir, from)?.ok_or(Errno::NotFound)?;
        let other = self.known(to_dir, to)?;
        let is_same = other.as_ref().is_some_and(|other| other.key == moved.key);
        let replaced = other.and_then(|other| other.node).filter(|_| !is_same);
        let flags = match mode {
            RenameMode::Replace => RenameFlags::empty(),
            RenameMode::NoReplace => RenameFlags::NOREPLACE,
            RenameMode::Exchange => RenameFlags::EXCHANGE,
        };
        if let Some(node) = &replaced {
            node.hold()?;
        }
        let (old, new) = (from.as_bytes(), to.as_bytes());
        rustix::fs::renameat_with(from_dir, old, to_dir, new, flags).map_err(from_raw)?;
        if is_same {
            return Ok(());
        }
        if let Some(node) = &moved.node {
            node.remove_place(&from_parent, from);
            node.add_place(&to_parent, to);
        }
        if let Some(node) = &replaced {
            node.remove_place(&to_parent, to);
            if mode == RenameMode::Exchange {
                node.add_place(&from_parent, from);
            }
        }
        Ok(())
    }

    fn write_at(&self, node: NodeId, at: WriteAt, buf: &[u8]) -> Result<Written> {
        let file = self.content(node, true)?;
        let node = self.table.node(node)?;
        let size = || rustix::fs::fstat(&file).map(|stat| size_of(&stat)).map_err(from_raw);
        let within = |offset: u64| match FILE_SIZE_MAX.saturating_sub(offset) {
            0 if !buf.is_empty() => Err(Errno::FileTooBig),
            room => Ok(&buf[..min_len(buf.len(), room)]),
        };
        match at {
            WriteAt::Offset(offset) => {
                let _shared = node.appending.read().unwrap_or_else(PoisonError::into_inner);
                let write = |piece: &[u8], done| rustix::io::pwrite(&file, piece, offset + done);
                let count = write_full(within(offset)?, write)?;
                Ok(Written { count, end: offset.saturating_add(to_u64(count)) })
            }
            WriteAt::End => {
                let _alone = node.appending.write().unwrap_or_else(PoisonError::into_inner);
                // The host appends atomically with other processes, too; only they can make `end` inexact.
                let append =
                    |piece: &[u8], _| rustix::io::pwritev2(&file, &[IoSlice::new(piece)], 0, ReadWriteFlags::APPEND);
                let count = write_full(within(size()?)?, append)?;
                Ok(Written { count, end: size()? })
            }
        }
    }

    fn open_file(&self, _: NodeId) -> Result<Option<Arc<dyn OpenFile>>> {
        Ok(None)
    }

    fn write_shared(&self, node: NodeId, offset: u64, data: Bytes) -> Result<()> {
        let file = self.content(node, true)?;
        let node = self.table.node(node)?;
        offset.checked_add(to_u64(data.len())).filter(|end| *end <= FILE_SIZE_MAX).ok_or(Errno::FileTooBig)?;
        let _shared = node.appending.read().unwrap_or_else(PoisonError::into_inner);
        let count = write_full(&data, |piece, done| rustix::io::pwrite(&file, piece, offset + done))?;
        if count < data.len() { Err(Errno::NoSpace.into()) } else { Ok(()) }
    }

    fn set_attr(&self, node: NodeId, changes: &SetAttr) -> Result<Attr> {
        let node = self.table.node(node)?;
        let is_link = node.file_type == FileType::Symlink;
        if changes.ctime.is_some() || changes.opaque == Some(true) || (changes.mode.is_some() && is_link) {
            return Err(Errno::NotSupported.into());
        }
        let owner = attr::owner(changes.uid, changes.gid)?;
        let _names = self.names();
        let file = changes.size.map(|_| node.open(true)).transpose()?;
        if changes.size.is_some_and(|size| size > FILE_SIZE_MAX) {
            return Err(Errno::FileTooBig.into());
        }
        node.with(|on| {
            // First what is refused most often, and can be taken back.
            let before = on.stat()?;
            if owner != (None, None) {
                set_owner(on, owner)?;
            }
            if let (Some(size), Some(file)) = (changes.size, &file)
                && let Err(error) = rustix::fs::ftruncate(file, size)
            {
                if owner != (None, None) {
                    set_owner(on, attr::owner(Some(before.st_uid), Some(before.st_gid))?)?;
                }
                return Err(from_raw(error));
            }
            // A change of owner may have taken set-uid away.
            let mode = changes.mode.unwrap_or_else(|| mode_of(&before));
            let may_differ = owner != (None, None) && !is_link;
            if (changes.mode.is_some() && !is_link) || (may_differ && mode_of(&on.stat()?) != mode) {
                set_mode(on, mode)?;
            }
            if let Some(times) = attr::timestamps(changes) {
                let (dir, name, flags) = on.at();
                rustix::fs::utimensat(dir, name, &times, flags).map_err(from_raw)?;
            }
            from_stat(&on.stat()?)
        })
    }

    fn allocate(&self, node: NodeId, what: Allocate, range: Range<u64>) -> Result<()> {
        let file = self.content(node, true)?;
        if range.is_empty() {
            return Err(Errno::Invalid.into());
        }
        let (flags, end) = match what {
            Allocate::Extend => (FallocateFlags::empty(), range.end),
            Allocate::KeepSize => (FallocateFlags::KEEP_SIZE, range.end),
            // There is nothing to free behind the greatest size.
            Allocate::PunchHole => {
                (FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, range.end.min(FILE_SIZE_MAX))
            }
        };
        if end > FILE_SIZE_MAX {
            return Err(Errno::FileTooBig.into());
        }
        if range.start >= end {
            return Ok(());
        }
        rustix::fs::fallocate(&file, flags, range.start, end - range.start).map_err(from_raw)
    }

    fn set_xattr(&self, node: NodeId, name: &[u8], value: &[u8], mode: XattrMode) -> Result<()> {
        self.with_xattrs(node, |fd| xattr::set(fd, name, value, mode))
    }

    fn remove_xattr(&self, node: NodeId, name: &[u8]) -> Result<()> {
        self.with_xattrs(node, |fd| xattr::remove(fd, name))
    }

    fn sync(&self, scope: SyncScope) -> Result<()> {
        let (id, data_only) = match scope {
            SyncScope::Data(node) => (node, true),
            SyncScope::Node(node) => (node, false),
            SyncScope::All => {
                return rustix::fs::syncfs(&*self.table.node(super::table::ROOT)?.dir()?).map_err(from_raw);
            }
        };
        let node = self.table.node(id)?;
        match node.file_type {
            FileType::File => {
                let file = self.content(id, false)?;
                if data_only { rustix::fs::fdatasync(&file) } else { rustix::fs::fsync(&file) }.map_err(from_raw)
            }
            FileType::Dir => {
                let _names = self.names();
                rustix::fs::fsync(&*node.dir()?).map_err(from_raw)
            }
            // The host has no call for these; they become durable with their directory.
            _ => Ok(()),
        }
    }
}
