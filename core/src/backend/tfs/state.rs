//! A file system that is being changed: its tree, the sectors that are free, and what its log does not say yet.
//!
//! Names and attributes become records at once. Content, size and times of a node become records when they are
//! committed, by comparison with what the log said before, so that a thousand small writes cost one record.
//!
//! Sectors that the state on disk may show are never written to. What is freed of them is free after the next commit.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::build::Built;
use super::extents::{Extent, Freed};
use super::free::FreeMap;
use super::log::{Device, Log};
use super::meta;
use super::symbols::Symbol;
use super::time::Time;
use super::tree::{Body, File, Node, Slot, Tree};
use crate::attr::Attr;
use crate::clock::Timestamp;
use crate::errno::Errno;
use crate::error::{Error, Result};
use crate::format::tfs::{Damage, SECTOR, TfsCorrupt};
use crate::fs::NodeId;
use crate::source::Source;

/// What a node has besides that while it is open.
#[derive(Debug, Default)]
pub(super) struct Live {
    refs: AtomicU64,
    /// The last change, if it was made here.
    pub(super) ctime: Option<Timestamp>,
}

/// What the log says of a node, records that wait included.
#[derive(Debug)]
pub(super) struct Before {
    mtime: Time,
    atime: Time,
    ctime: Option<Time>,
    pub(super) size: u64,
    extents: Vec<Extent>,
}

/// Bytes of the log that a changed node and a changed extent may take at most.
const NODE_BYTES: usize = 224;
const EXTENT_BYTES: usize = 80;

/// A file system that is being changed.
#[derive(Debug)]
pub(super) struct State {
    pub(super) tree: Tree,
    pub(super) live: Vec<Live>,
    free_slots: Vec<Slot>,
    pub(super) device: Device,
    pub(super) source: Arc<dyn Source>,
    pub(super) log: Log,
    pub(super) free: FreeMap,
    /// Sectors of the file system.
    pub(super) sectors: u64,
    /// To be freed by the next commit.
    freed: Vec<Freed>,
    /// Nodes whose content, size or times the log does not know.
    dirty: HashMap<Slot, Before, RandomState>,
    /// Bytes that their records may take.
    dirty_bytes: usize,
    /// Content was written that is not durable.
    pub(super) unsynced: bool,
    /// A write failed, so that it is unknown what is on disk.
    broken: bool,
}

impl State {
    /// Finds the free sectors of an opened file system.
    ///
    /// # Errors
    /// The first extent that passes the end or shares sectors.
    pub(super) fn new(built: Built, log: Log, device: Device, source: Arc<dyn Source>) -> Result<Self, Damage> {
        let sectors = source.len() / SECTOR;
        let mut free = FreeMap::new(sectors);
        let mut claim = |sector: u64, count: u64| {
            let offset = sector.saturating_mul(SECTOR);
            if sector.checked_add(count).is_none_or(|past| past > sectors) {
                return Err(Damage { offset, reason: TfsCorrupt::ExtentBeyondEnd { sector, count, end: sectors } });
            }
            if free.take(sector, count) {
                return Ok(());
            }
            Err(Damage { offset, reason: TfsCorrupt::SectorsShared { sector, count } })
        };
        for extension in &log.extensions {
            claim(extension.sector, extension.count)?;
        }
        for node in built.tree.nodes.iter() {
            if let Body::File(file) = &node.body {
                for extent in &file.extents.0 {
                    claim(extent.sector, extent.allocated.max(extent.count).into())?;
                }
            }
        }
        let mut live = Vec::new();
        live.resize_with(built.tree.nodes.len(), Live::default);
        let mut tree = built.tree;
        tree.generations = alloc::vec![0; tree.nodes.len()];
        let mut state = Self {
            tree,
            live,
            free_slots: Vec::new(),
            device,
            source,
            log,
            free,
            sectors,
            freed: Vec::new(),
            dirty: HashMap::default(),
            dirty_bytes: 0,
            unsynced: false,
            broken: false,
        };
        state.log.hold(&mut state.free);
        Ok(state)
    }

    pub(super) fn attr(&self, id: NodeId) -> Result<Attr> {
        let mut attr = self.tree.attr(id)?;
        let ctime = self.tree.slot(id).ok().and_then(|slot| self.live.get(slot.index())).and_then(|live| live.ctime);
        attr.ctime = ctime.unwrap_or(attr.ctime);
        Ok(attr)
    }

    /// Answers `EIO` when a write has failed before.
    pub(super) fn check(&self) -> Result<()> {
        if self.broken {
            let sentence = "an earlier write failed; open the image again to see what is on disk";
            return Err(Error::new(Errno::Io, sentence));
        }
        Ok(())
    }

    /// Notes that a write failed.
    pub(super) fn hard<T>(&mut self, result: Result<T>) -> Result<T> {
        self.broken |= result.is_err();
        result
    }

    /// Makes sure that `bytes` more bytes of records can be logged, if need be by committing what waits.
    ///
    /// # Errors
    /// `ENOSPC`; `EIO`.
    pub(super) fn admit(&mut self, bytes: usize) -> Result<()> {
        self.check()?;
        if !self.log.has_room(bytes.saturating_add(self.dirty_bytes)) {
            if self.log.is_waiting() || !self.dirty.is_empty() {
                self.commit()?;
            }
            self.log.hold(&mut self.free);
            if !self.log.has_room(bytes) {
                // A log of dead entries gives space back, if there is space to write it anew.
                if self.log.obsolete > 0 && self.compact().is_ok() {
                    self.log.hold(&mut self.free);
                }
                if !self.log.has_room(bytes) {
                    return Err(Error::new(Errno::NoSpace, "no space for another extension of the log"));
                }
            }
        }
        Ok(())
    }

    /// Counts records that a change of content will take.
    pub(super) fn charge_extents(&mut self, count: usize) {
        self.dirty_bytes = self.dirty_bytes.saturating_add(count.saturating_mul(EXTENT_BYTES));
    }

    /// To be called before content, size or times of a node change.
    pub(super) fn touch(&mut self, slot: Slot) -> Result<()> {
        if self.dirty.contains_key(&slot) {
            return Ok(());
        }
        let node = self.tree.at(slot)?;
        let (size, extents) = match &node.body {
            Body::File(file) => (file.size, file.extents.0.to_vec()),
            _ => (0, Vec::new()),
        };
        let ctime = node.meta.as_deref().and_then(|meta| meta.ctime);
        let before = Before { mtime: node.mtime, atime: node.atime, ctime, size, extents };
        self.dirty.insert(slot, before);
        self.dirty_bytes = self.dirty_bytes.saturating_add(NODE_BYTES);
        Ok(())
    }

    /// Sets modification and change time.
    pub(super) fn modified(&mut self, slot: Slot, now: Timestamp) -> Result<()> {
        self.touch(slot)?;
        self.tree.at_mut(slot)?.mtime = Time::from(now);
        self.changed(slot, now)
    }

    /// Sets the change time.
    pub(super) fn changed(&mut self, slot: Slot, now: Timestamp) -> Result<()> {
        self.given_ctime(slot, None)?;
        if let Some(live) = self.live.get_mut(slot.index()) {
            live.ctime = Some(now);
        }
        Ok(())
    }

    /// Sets a change time that is to be kept, or forgets it.
    pub(super) fn given_ctime(&mut self, slot: Slot, given: Option<Time>) -> Result<()> {
        if self.tree.at(slot)?.meta.as_deref().and_then(|meta| meta.ctime) != given {
            self.touch(slot)?;
            self.tree.at_mut(slot)?.meta.get_or_insert_default().ctime = given;
        }
        if let Some(live) = self.live.get_mut(slot.index()) {
            live.ctime = None;
        }
        Ok(())
    }

    /// Bytes of a file that the state on disk shows.
    pub(super) fn durable_size(&self, slot: Slot) -> u64 {
        match self.dirty.get(&slot) {
            Some(before) => before.size,
            None => self.tree.file_at(slot).map_or(0, |file| file.size),
        }
    }

    /// Gives sectors back: now, or when the state on disk does not show them any more.
    pub(super) fn give(&mut self, freed: &[Freed]) {
        for run in freed {
            if run.durable {
                self.freed.push(*run);
            } else {
                self.free.give(run.sector, run.count);
            }
        }
    }

    /// Takes up to `count` sectors for data.
    ///
    /// # Errors
    /// `ENOSPC`; `EIO`.
    pub(super) fn allocate(&mut self, count: u64, hint: u64) -> Result<(u64, u64)> {
        for attempt in 0..2 {
            self.log.hold(&mut self.free);
            if self.log.holds_all()
                && let Some(run) = self.free.take_some(count, hint)
            {
                return Ok(run);
            }
            if attempt > 0 || self.freed.is_empty() {
                break;
            }
            self.commit()?;
        }
        Err(Errno::NoSpace.into())
    }

    /// Adds a node with one name and one reference.
    pub(super) fn add(&mut self, node: Node, now: Timestamp) -> Result<Slot> {
        let live = Live { refs: AtomicU64::new(1), ctime: Some(now) };
        if let Some(slot) = self.free_slots.pop() {
            if let Some(lived) = self.live.get_mut(slot.index()) {
                *lived = live;
                self.tree.nodes.put(slot, node);
            }
            return Ok(slot);
        }
        let slot = Slot(u32::try_from(self.tree.nodes.len()).map_err(|_| Errno::NoSpace)?);
        self.tree.nodes.push(node);
        self.tree.generations.push(0);
        self.live.push(live);
        Ok(slot)
    }

    pub(super) fn refer(&self, slot: Slot) {
        if let Some(live) = self.live.get(slot.index()) {
            live.refs.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes references back; whether the node is of no use any more.
    pub(super) fn forget(&self, id: NodeId, count: u64) -> Option<Slot> {
        let slot = self.tree.slot(id).ok()?;
        let live = self.live.get(slot.index())?;
        let before =
            live.refs.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |refs| Some(refs.saturating_sub(count)));
        let is_unused =
            before.is_ok_and(|before| before <= count) && self.tree.at(slot).is_ok_and(|node| node.names == 0);
        is_unused.then_some(slot)
    }

    /// Ends a node that has no names if it has no references either.
    pub(super) fn release(&mut self, slot: Slot) {
        let in_use = self.live.get(slot.index()).is_none_or(|live| live.refs.load(Ordering::Relaxed) > 0);
        if in_use || slot == Slot::ROOT || self.tree.at(slot).is_ok_and(|node| node.names > 0) {
            return;
        }
        let Some(node) = self.tree.nodes.take(slot) else { return };
        if let Body::File(mut file) = node.body {
            let mut freed = Vec::new();
            file.extents.carve(0, u64::MAX, &mut freed);
            self.give(&freed);
        }
        self.dirty.remove(&slot);
        if let Some(generation) = self.tree.generations.get_mut(slot.index())
            && let Some(next) = generation.checked_add(1).filter(|next| *next < 1 << 28)
        {
            *generation = next;
            self.free_slots.push(slot);
        }
    }

    /// Makes everything durable.
    ///
    /// # Errors
    /// `EIO`, after which nothing can be changed any more.
    pub(super) fn commit(&mut self) -> Result<()> {
        self.check()?;
        let done = self.try_commit();
        self.hard(done)
    }

    fn try_commit(&mut self) -> Result<()> {
        let mut slots: Vec<_> = self.dirty.keys().copied().collect();
        slots.sort_unstable_by_key(|slot| slot.0);
        for &slot in &slots {
            if let Some(before) = self.dirty.remove(&slot) {
                self.log_node(slot, &before)?;
            }
        }
        self.dirty_bytes = 0;
        if self.log.is_waiting() {
            self.log.commit(&self.device, &mut self.free)?;
        } else if self.unsynced {
            self.device.sync()?;
        }
        self.unsynced = false;
        for slot in slots {
            if let Ok(Node { body: Body::File(file), .. }) = self.tree.at_mut(slot) {
                for extent in &mut file.extents.0 {
                    extent.durable = if extent.uninited { 0 } else { extent.count };
                }
            }
        }
        for run in core::mem::take(&mut self.freed) {
            self.free.give(run.sector, run.count);
        }
        self.log.hold(&mut self.free);
        Ok(())
    }

    /// Logs how a node differs from what the log says.
    fn log_node(&mut self, slot: Slot, before: &Before) -> Result<()> {
        let Self { tree, log, .. } = self;
        let Tree { symbols, nodes, .. } = tree;
        let node = nodes.get_mut(slot).ok_or(Errno::Stale)?;
        if node.names == 0 {
            return Ok(());
        }
        for (key, exact, before, now) in [
            (Symbol::MTIME, meta::MTIME, before.mtime, node.mtime),
            (Symbol::ATIME, meta::ATIME, before.atime, node.atime),
        ] {
            if before == now {
                continue;
            }
            let exact = symbols.intern(exact)?;
            match now.to_raw() {
                Some(raw) => {
                    log.set_number(node.tuple, symbols, key, raw);
                    if before != Time::NONE && before.to_raw().is_none() {
                        log.delete(node.tuple, symbols, exact);
                    }
                }
                None => log.set_string(node.tuple, symbols, exact, now.nanos().as_bytes()),
            }
        }
        let ctime = node.meta.as_deref().and_then(|meta| meta.ctime);
        if before.ctime != ctime {
            let key = symbols.intern(meta::CTIME)?;
            match ctime {
                Some(time) => log.set_string(node.tuple, symbols, key, time.nanos().as_bytes()),
                None => log.delete(node.tuple, symbols, key),
            }
        }
        let Body::File(file) = &mut node.body else { return Ok(()) };
        log_extents(file, node.tuple, &before.extents, symbols, log)?;
        if file.size != before.size {
            log.set_number(node.tuple, symbols, Symbol::FILELENGTH, file.size);
        }
        Ok(())
    }

    /// Forgets an attribute by name, and returns it.
    pub(super) fn take_attribute(node: &mut Node, name: &[u8]) -> Option<super::attribute::Attribute> {
        let meta = node.meta.as_deref_mut()?;
        let at = meta.attributes.iter().position(|(found, _)| found == name)?;
        Some(meta.attributes.swap_remove(at).1)
    }

    /// Sets an attribute by name.
    pub(super) fn put_attribute(node: &mut Node, name: &[u8], value: &[u8]) {
        let _ = Self::take_attribute(node, name);
        let value = super::attribute::Attribute::String(Bytes::copy_from_slice(value));
        node.meta.get_or_insert_default().attributes.push((Bytes::copy_from_slice(name), value));
    }
}

/// Logs how the extents of a file differ: removed ones, changed ones, new ones.
fn log_extents(
    file: &mut File,
    node: u32,
    before: &[Extent],
    symbols: &mut super::symbols::Symbols,
    log: &mut Log,
) -> Result<()> {
    if *before == *file.extents.0 {
        return Ok(());
    }
    if file.extents_tuple == 0 {
        log.set(node, symbols, Symbol::EXTENTS);
        file.extents_tuple = log.tuple(0);
        log.finish();
    }
    let tuple = file.extents_tuple;
    let key = |symbols: &mut super::symbols::Symbols, block: u64| symbols.intern(block.to_string().as_bytes());
    for old in before {
        let at = file.extents.0.binary_search_by_key(&old.block, |extent| extent.block);
        let now = at.ok().and_then(|at| file.extents.0.get(at));
        match now {
            None => {
                let key = key(symbols, old.block)?;
                log.delete(tuple, symbols, key);
            }
            Some(now) if now.tuple == old.tuple => {
                if now.allocated != old.allocated {
                    log.set_number(now.tuple, symbols, Symbol::ALLOCATED, now.allocated.into());
                }
                if now.count != old.count {
                    log.set_number(now.tuple, symbols, Symbol::LENGTH, now.count.into());
                }
                if old.uninited && !now.uninited {
                    log.delete(now.tuple, symbols, Symbol::UNINITED);
                }
            }
            // Another one takes its place, and its key.
            Some(_) => {}
        }
    }
    for extent in &mut file.extents.0 {
        if extent.tuple != 0 {
            continue;
        }
        let key = key(symbols, extent.block)?;
        log.set(tuple, symbols, key);
        extent.tuple = log.tuple(if extent.uninited { 4 } else { 3 });
        for (key, value) in [
            (Symbol::OFFSET, extent.sector),
            (Symbol::LENGTH, extent.count.into()),
            (Symbol::ALLOCATED, extent.allocated.into()),
        ] {
            log.key(symbols, key);
            log.value().number(value);
        }
        if extent.uninited {
            log.key(symbols, Symbol::UNINITED);
            log.value().null();
        }
        log.finish();
    }
    Ok(())
}
