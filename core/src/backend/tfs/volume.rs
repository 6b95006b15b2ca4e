//! A file system that can be changed in place.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use super::TfsOptions;
use super::attribute::Attribute;
use super::build::build;
use super::compact::{Compaction, LogSize};
use super::disk::find_part;
use super::log::{Device, Log, first_sector};
use super::make::check_label;
use super::meta;
use super::replay::{LogExtension, Replayed, replay};
use super::state::State;
use super::time::Time;
use super::tree::Slot;
use crate::attr::{Attr, SetAttr, SetTime};
use crate::checked::{to_u64, to_usize};
use crate::clock::{Clock, Timestamp};
use crate::errno::Errno;
use crate::error::{Error, Result};
use crate::format::tfs::{EXTENSION_SECTORS, FrameWriter, Link, RecordWriter, SECTOR, Uuid, Volume, extension_start};
use crate::fs::{
    Allocate, Cookie, DirBatch, Entry, Extent, FileSystem, FsInfo, NewNode, NodeId, OpenFile, RenameMode, Snapshot,
    SyncScope, WritableFileSystem, WriteAt, Written, XattrMode,
};
use crate::limits::{FILE_SIZE_MAX, NAME_MAX, XATTR_VALUE_MAX, XATTRS_TOTAL_MAX};
use crate::name::Name;
use crate::source::{Source, Storage};

/// An empty file system to make.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewVolume {
    /// Bytes it shall have; a multiple of 512, and at least 1 MiB.
    pub len: u64,
    /// Identifies it.
    pub uuid: Uuid,
    /// Names it: UTF-8 without a zero, at most [`LABEL_MAX`](crate::format::tfs::LABEL_MAX) bytes.
    pub label: Vec<u8>,
}

/// A file system, open for reading and writing.
///
/// Changes are in memory and in free sectors until [`sync`](WritableFileSystem::sync), or until the log has no room
/// for more of them: then they are committed, all at once. A crash at any moment leaves the state of a commit, never a
/// part of one, never one older than the last `sync`. Dropping it without a `sync` gives up what was not committed.
///
/// One lock: written to by changes, read by everything else.
pub struct TfsVolume {
    state: RwLock<State>,
    clock: Arc<dyn Clock>,
    sectors: u64,
}

impl TfsVolume {
    /// Makes an empty file system in `storage`, which is set to its length, and opens it.
    ///
    /// # Errors
    /// `EINVAL` for a length or label that cannot be; those of the storage.
    pub fn make(storage: Arc<dyn Storage>, new: &NewVolume, clock: Arc<dyn Clock>) -> Result<Self> {
        if !new.len.is_multiple_of(SECTOR) || new.len < 1 << 20 {
            return Err(Error::new(Errno::Invalid, format!("a length of {} bytes", new.len)));
        }
        check_label(&new.label)?;
        let volume = Volume { uuid: new.uuid, label: new.label.clone() };
        // Numbers 1 to 3 of the dictionary.
        let mut root = RecordWriter::new();
        root.tuple(1);
        root.symbol(b"children");
        root.tuple(0);
        let room = to_usize(EXTENSION_SECTORS.saturating_mul(SECTOR))?;
        let mut frames = FrameWriter::new(extension_start(EXTENSION_SECTORS, None), room);
        let _ = frames.record(root.bytes(), 0);
        let mut extension = frames.end();
        extension.resize(to_usize(SECTOR)?, 0);
        storage.set_len(new.len)?;
        storage.write_at(SECTOR, &extension)?;
        storage.sync()?;
        storage.write_at(0, &first_sector(&volume, Link { sector: 1, count: EXTENSION_SECTORS }))?;
        storage.sync()?;
        Self::open(storage, &TfsOptions::default(), clock)
    }

    /// Opens the file system in `storage`, a disk or a bare file system, for writing.
    ///
    /// # Errors
    /// As [`TfsFs::open`](super::TfsFs::open). Besides, whatever is not quite sound is not written to: `EIO` with the
    /// damage for files whose extents make no sense, share sectors or pass the end; `ENOTSUP` for directories with
    /// several names and for attributes too large to be kept.
    pub fn open(storage: Arc<dyn Storage>, options: &TfsOptions, clock: Arc<dyn Clock>) -> Result<Self> {
        let image: Arc<dyn Source> = Arc::clone(&storage) as Arc<dyn Source>;
        let found = find_part(&image, options.part)?;
        let in_image = |damage: crate::format::tfs::Damage| damage.in_image(found.start);
        let replayed = replay(&found.source, false)?.map_err(in_image)?;
        let Replayed { objects, volume, extensions, end, .. } = replayed;
        let (count, total, obsolete) = (objects.dictionary.count(), objects.total, objects.obsolete);
        let repeated = objects.repeated_symbols > 0;
        let symbol_numbers = objects.symbol_numbers();
        let built = build(objects, options.defaults, found.start, false).map_err(in_image)?;
        if let Some(fault) = built.faults.first() {
            return Err(in_image(fault.damage).into());
        }
        let unsupported = |sentence: &'static str| Err(Error::new(Errno::NotSupported, sentence));
        if built.shared_dirs {
            return unsupported("a directory has several names; such an image is only read");
        }
        if built.incomplete {
            return unsupported(
                "attributes are too large to be kept, or contain themselves; such an image is only read",
            );
        }
        let mut log = Log::new(volume, extensions, end, count, symbol_numbers);
        log.set_counts(total, obsolete);
        let device = Device { storage, start: found.start };
        let sectors = found.source.len() / SECTOR;
        let mut state = State::new(built, log, device, found.source).map_err(in_image)?;
        if repeated {
            // The next write by Nanos would ruin such a log. Where there is no space to write it anew it is left alone.
            let _ = state.compact();
        }
        Ok(Self { state: RwLock::new(state), clock, sectors })
    }

    /// Writes the log anew, without what is dead in it, and makes everything durable. Whether that pays, tells
    /// [`log_size`](Self::log_size); a [`sync`](WritableFileSystem::sync) does it by itself where most is dead.
    ///
    /// # Errors
    /// `ENOSPC` if there are not enough free sectors in a row, and then the log stays as it is; `EIO`.
    pub fn compact(&self) -> Result<Compaction> {
        let mut state = self.write();
        state.commit()?;
        let before = state.log_size();
        state.compact()?;
        Ok(Compaction { before, after: state.log_size() })
    }

    /// How large the log is, and how much of it is of use.
    #[must_use]
    pub fn log_size(&self) -> LogSize {
        self.read().log_size()
    }

    /// The extensions of the log as it is on disk.
    #[must_use]
    pub fn log_extensions(&self) -> Vec<LogExtension> {
        self.read().log.extensions.clone()
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State, Timestamp) -> Result<T>) -> Result<T> {
        let now = self.clock.now();
        let mut state = self.write();
        state.check()?;
        change(&mut state, now)
    }
}

impl fmt::Debug for TfsVolume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TfsVolume({} sectors)", self.sectors)
    }
}

impl FileSystem for TfsVolume {
    fn root(&self) -> NodeId {
        NodeId::new(1)
    }

    fn lookup(&self, dir: NodeId, name: Name<'_>) -> Result<Entry> {
        let state = self.read();
        let entry = state.tree.lookup(dir, name)?;
        state.refer(state.tree.slot(entry.node)?);
        Ok(entry)
    }

    fn forget(&self, node: NodeId, count: u64) {
        let unused = self.read().forget(node, count);
        if let Some(slot) = unused {
            let mut state = self.write();
            // Somebody may have been quicker.
            if state.tree.slot(node).is_ok_and(|found| found == slot) {
                state.release(slot);
            }
        }
    }

    fn attr(&self, node: NodeId) -> Result<Attr> {
        self.read().attr(node)
    }

    fn read_link(&self, node: NodeId) -> Result<Bytes> {
        self.read().tree.read_link(node)
    }

    fn read_dir(&self, dir: NodeId, from: Cookie, batch: &mut DirBatch) -> Result<()> {
        self.read().tree.read_dir(dir, from, batch)
    }

    fn read_at(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let state = self.read();
        state.tree.read_at(&state.source, node, offset, buf)
    }

    fn read_shared(&self, node: NodeId, offset: u64, len: usize) -> Result<Bytes> {
        let state = self.read();
        state.tree.read_shared(&state.source, node, offset, len)
    }

    fn snapshot(&self, node: NodeId) -> Result<Option<Snapshot>> {
        // May change at any time.
        self.read().tree.file(node).map(|_| None)
    }

    fn extent_at(&self, node: NodeId, offset: u64) -> Result<Extent> {
        self.read().tree.extent_at(node, offset)
    }

    fn xattr(&self, node: NodeId, name: &[u8]) -> Result<Bytes> {
        self.read().tree.xattr(node, name)
    }

    fn xattr_names(&self, node: NodeId) -> Result<Vec<Bytes>> {
        self.read().tree.xattr_names(node)
    }

    fn names_version(&self) -> Option<u64> {
        None
    }

    fn info(&self) -> FsInfo {
        let state = self.read();
        FsInfo {
            kind: "tfs",
            may_block: true,
            total_bytes: Some(state.sectors.saturating_mul(SECTOR)),
            free_bytes: Some(state.free.count().saturating_mul(SECTOR)),
            total_nodes: None,
            free_nodes: None,
        }
    }

    fn as_writable(&self) -> Option<&dyn WritableFileSystem> {
        Some(self)
    }
}

impl WritableFileSystem for TfsVolume {
    fn create(&self, dir: NodeId, name: Name<'_>, node: &NewNode<'_>) -> Result<Entry> {
        self.change(|state, now| state.create(dir, name, node, now))
    }

    fn link(&self, node: NodeId, dir: NodeId, name: Name<'_>) -> Result<()> {
        self.change(|state, now| state.link(node, dir, name, now))
    }

    fn unlink(&self, dir: NodeId, name: Name<'_>) -> Result<()> {
        self.change(|state, now| state.unlink(dir, name, now))
    }

    fn remove_dir(&self, dir: NodeId, name: Name<'_>) -> Result<()> {
        self.change(|state, now| state.remove_dir(dir, name, now))
    }

    fn rename(&self, from_dir: NodeId, from: Name<'_>, to_dir: NodeId, to: Name<'_>, mode: RenameMode) -> Result<()> {
        self.change(|state, now| state.rename((from_dir, from), (to_dir, to), mode, now))
    }

    fn write_at(&self, node: NodeId, at: WriteAt, buf: &[u8]) -> Result<Written> {
        self.change(|state, now| {
            let (slot, size) = state.file(node)?;
            let offset = match at {
                WriteAt::Offset(offset) => offset,
                WriteAt::End => size,
            };
            let count = state.write(slot, offset, buf, now)?;
            Ok(Written { count, end: offset.saturating_add(to_u64(count)) })
        })
    }

    fn open_file(&self, _: NodeId) -> Result<Option<Arc<dyn OpenFile>>> {
        Ok(None)
    }

    fn write_shared(&self, node: NodeId, offset: u64, data: Bytes) -> Result<()> {
        self.change(|state, now| {
            let (slot, _) = state.file(node)?;
            let len = to_u64(data.len());
            if len == 0 {
                return Ok(());
            }
            if offset >= FILE_SIZE_MAX || len > FILE_SIZE_MAX.saturating_sub(offset) {
                return Err(Errno::FileTooBig.into());
            }
            // Every block may need a new sector: it must be clear before that none will be missing.
            let needed = len.div_ceil(SECTOR).saturating_add(1);
            if state.free.count() < needed {
                state.commit()?;
            }
            if state.free.count() < needed {
                return Err(Errno::NoSpace.into());
            }
            let written = state.write(slot, offset, &data, now)?;
            if written < data.len() { Err(Errno::NoSpace.into()) } else { Ok(()) }
        })
    }

    fn set_attr(&self, id: NodeId, changes: &SetAttr) -> Result<Attr> {
        self.change(|state, now| {
            let slot = state.tree.slot(id)?;
            let is_dir = state.tree.file_type(slot)?.is_dir();
            if changes.opaque == Some(true) && !is_dir {
                return Err(Errno::NotSupported.into());
            }
            if *changes == SetAttr::default() {
                return state.attr(id);
            }
            state.admit(600)?;
            if let Some(size) = changes.size {
                let (slot, _) = state.file(id)?;
                state.resize(slot, size, now)?;
                // That may have used what was admitted.
                state.admit(600)?;
            }
            let time = |set| match set {
                SetTime::Now => now,
                SetTime::At(time) => time,
            };
            if changes.mtime.is_some() || changes.atime.is_some() {
                state.touch(slot)?;
                let node = state.tree.at_mut(slot)?;
                node.mtime = changes.mtime.map_or(node.mtime, |set| Time::from(time(set)));
                node.atime = changes.atime.map_or(node.atime, |set| Time::from(time(set)));
            }
            state.set_meta(slot, changes)?;
            match changes.ctime {
                Some(time) => state.given_ctime(slot, Some(Time::from(time)))?,
                None => state.changed(slot, now)?,
            }
            state.attr(id)
        })
    }

    fn allocate(&self, node: NodeId, what: Allocate, range: Range<u64>) -> Result<()> {
        self.change(|state, now| {
            let (slot, _) = state.file(node)?;
            if range.is_empty() {
                return Err(Errno::Invalid.into());
            }
            match what {
                Allocate::Extend => state.reserve(slot, range, true, now),
                Allocate::KeepSize => state.reserve(slot, range, false, now),
                Allocate::PunchHole => state.punch(slot, range, now),
            }
        })
    }

    fn set_xattr(&self, node: NodeId, name: &[u8], value: &[u8], mode: XattrMode) -> Result<()> {
        if name.is_empty() || name.len() > NAME_MAX {
            return Err(Errno::Range.into());
        }
        if value.len() > XATTR_VALUE_MAX {
            return Err(Errno::NoSpace.into());
        }
        // What has no dot is no extended attribute to Nanos, and these are our own.
        if !name.contains(&b'.') || name == b".." || name.starts_with(meta::PREFIX) {
            return Err(Errno::NotSupported.into());
        }
        self.change(|state, now| {
            let old = match state.tree.xattr(node, name) {
                Ok(value) => Some(value.len().saturating_add(name.len())),
                Err(error) if error == Errno::NoAttribute => None,
                Err(error) => return Err(error),
            };
            match (mode, old) {
                (XattrMode::Create, Some(_)) => return Err(Errno::Exists.into()),
                (XattrMode::Replace, None) => return Err(Errno::NoAttribute.into()),
                _ => {}
            }
            let slot = state.tree.slot(node)?;
            let node = state.tree.at(slot)?;
            let attributes = node.meta.as_deref().map(|meta| &*meta.attributes).unwrap_or_default();
            let total = attributes.iter().fold(0_usize, |sum, (name, value)| match value {
                Attribute::String(value) => sum.saturating_add(name.len()).saturating_add(value.len()),
                _ => sum,
            });
            let new = name.len().saturating_add(value.len());
            if total.saturating_sub(old.unwrap_or(0)).saturating_add(new) > XATTRS_TOTAL_MAX {
                return Err(Errno::NoSpace.into());
            }
            state.admit(new.saturating_add(64))?;
            let key = state.tree.symbols.intern(name)?;
            let node = state.tree.at_mut(slot)?;
            State::put_attribute(node, name, value);
            let (tuple, names) = (node.tuple, node.names);
            if names > 0 {
                state.log.set_string(tuple, &state.tree.symbols, key, value);
            }
            state.changed(slot, now)?;
            Ok(())
        })
    }

    fn remove_xattr(&self, node: NodeId, name: &[u8]) -> Result<()> {
        self.change(|state, now| {
            state.tree.xattr(node, name)?;
            let slot = state.tree.slot(node)?;
            state.admit(name.len().saturating_add(64))?;
            let key = state.tree.symbols.intern(name)?;
            let node = state.tree.at_mut(slot)?;
            let _ = State::take_attribute(node, name);
            let (tuple, names) = (node.tuple, node.names);
            if names > 0 {
                state.log.delete(tuple, &state.tree.symbols, key);
            }
            state.changed(slot, now)?;
            Ok(())
        })
    }

    fn sync(&self, scope: SyncScope) -> Result<()> {
        let mut state = self.write();
        if let SyncScope::Data(node) | SyncScope::Node(node) = scope {
            state.tree.node(node)?;
        }
        state.commit()?;
        if state.log_size().is_mostly_dead()
            && let Err(error) = state.compact()
            && error != Errno::NoSpace
        {
            return Err(error);
        }
        Ok(())
    }
}

impl State {
    /// Sets mode, owner and opacity, in memory and in the log.
    fn set_meta(&mut self, slot: Slot, changes: &SetAttr) -> Result<()> {
        let defaults = self.tree.defaults;
        let Self { tree, log, .. } = self;
        let node = tree.nodes.get_mut(slot).ok_or(Errno::Stale)?;
        let mut records: Vec<(&[u8], Option<alloc::string::String>)> = Vec::new();
        if let Some(mode) = changes.mode {
            let mode = mode & 0o7777;
            node.meta.get_or_insert_default().mode = Some(mode);
            records.push((meta::MODE, Some(format!("{mode:o}"))));
        }
        if changes.uid.is_some() || changes.gid.is_some() {
            let meta = node.meta.get_or_insert_default();
            let uid = changes.uid.or(meta.uid).unwrap_or(defaults.uid);
            let gid = changes.gid.or(meta.gid).unwrap_or(defaults.gid);
            (meta.uid, meta.gid) = (Some(uid), Some(gid));
            records.push((meta::OWNER, Some(format!("{uid}:{gid}"))));
        }
        if let Some(opaque) = changes.opaque
            && opaque != node.meta.as_deref().is_some_and(|meta| meta.opaque)
        {
            node.meta.get_or_insert_default().opaque = opaque;
            records.push((meta::OPAQUE, opaque.then(alloc::string::String::new)));
        }
        if node.names == 0 {
            return Ok(());
        }
        for (name, value) in records {
            let key = tree.symbols.intern(name)?;
            match value {
                Some(value) => log.set_string(node.tuple, &tree.symbols, key, value.as_bytes()),
                None => log.delete(node.tuple, &tree.symbols, key),
            }
        }
        Ok(())
    }
}
