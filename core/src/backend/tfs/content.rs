//! Content of files: writing, cutting, reserving, punching.
//!
//! A block that the state on disk shows is never overwritten: its new content goes to another sector. Only what lies
//! behind the end of the file as it is on disk, or was allocated since the last commit, is written in place.

use alloc::vec::Vec;
use core::ops::Range;

use super::extents::{EXTENT_BLOCKS_MAX, Extent, Extents};
use super::nodes::Seen;
use super::state::State;
use super::tree::{Body, File, Slot};
use crate::checked::{min_len, to_u64, to_usize};
use crate::clock::Timestamp;
use crate::errno::Errno;
use crate::error::Result;
use crate::format::tfs::SECTOR;
use crate::fs::NodeId;
use crate::limits::FILE_SIZE_MAX;

/// Bytes written at a time, so that what they take of the log is bounded.
const STEP: usize = 1 << 20;

/// Extents that a step may change: each block of its own, and both sides of the range.
const STEP_EXTENTS: usize = 8;

impl State {
    fn content(&self, slot: Slot) -> Result<Seen<'_, File>> {
        self.tree.file_at(slot)
    }

    /// The content, to change it.
    fn content_mut(&mut self, slot: Slot) -> Result<&mut File> {
        // Once more: taking sectors may have committed.
        self.touch(slot)?;
        match &mut self.tree.at_mut(slot)?.body {
            Body::File(file) => Ok(file),
            Body::Dir(_) => Err(Errno::IsDir.into()),
            _ => Err(Errno::Invalid.into()),
        }
    }

    /// The slot and the size of a file.
    pub(super) fn file(&self, node: NodeId) -> Result<(Slot, u64)> {
        let slot = self.tree.slot(node)?;
        Ok((slot, self.content(slot)?.size))
    }

    /// Writes and returns how many bytes: fewer only if space runs out.
    pub(super) fn write(&mut self, slot: Slot, offset: u64, buf: &[u8], now: Timestamp) -> Result<usize> {
        self.content(slot)?;
        if buf.is_empty() {
            return Ok(0);
        }
        if offset >= FILE_SIZE_MAX {
            return Err(Errno::FileTooBig.into());
        }
        let buf = buf.get(..min_len(buf.len(), FILE_SIZE_MAX.saturating_sub(offset))).unwrap_or(buf);
        let mut done = 0;
        while done < buf.len() {
            let at = offset.saturating_add(to_u64(done));
            let step = buf.get(done..).unwrap_or_default();
            let step = step.get(..min_len(step.len(), to_u64(STEP))).unwrap_or(step);
            let count = match self.write_step(slot, at, step) {
                Ok(count) => count,
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            };
            done = done.saturating_add(count);
            let end = at.saturating_add(to_u64(count));
            let file = self.content_mut(slot)?;
            file.size = file.size.max(end);
            if count < step.len() {
                break;
            }
        }
        self.modified(slot, now)?;
        Ok(done)
    }

    fn write_step(&mut self, slot: Slot, offset: u64, buf: &[u8]) -> Result<usize> {
        let blocks = buf.len() / 512 + 2;
        self.admit_change(slot, blocks.min(STEP / 512).saturating_add(STEP_EXTENTS))?;
        self.grow(slot, offset)?;
        self.put_bytes(slot, offset, buf)
    }

    /// Makes room in the log for changes to `count` extents of a file.
    fn admit_change(&mut self, slot: Slot, count: usize) -> Result<()> {
        // What is really changed is counted where it is changed.
        self.admit(count.saturating_mul(80).saturating_add(200))?;
        self.touch(slot)
    }

    /// Prepares a file for a size above `offset`: whatever its extents hold behind its end must not be seen.
    fn grow(&mut self, slot: Slot, offset: u64) -> Result<()> {
        let file = self.content(slot)?;
        let size = file.size;
        let past = size.div_ceil(SECTOR);
        // Blocks behind the end, left there by a writer that cuts files without freeing anything.
        if file.extents.0.last().is_some_and(|extent| extent.end() > past) {
            let stale: Vec<_> = file.extents.0.iter().filter(|it| it.end() > past && !it.uninited).copied().collect();
            for extent in stale {
                self.carve(slot, extent.block.max(past)..extent.end())?;
            }
        }
        if offset <= size || size.is_multiple_of(SECTOR) {
            return Ok(());
        }
        // The rest of the last block, unless the write that follows replaces it.
        let block = size / SECTOR;
        let file = self.content(slot)?;
        let Some(extent) = file.extents.holding(block).and_then(|at| file.extents.0.get(at)) else { return Ok(()) };
        if extent.uninited {
            return Ok(());
        }
        let sector = extent.sector.saturating_add(block.saturating_sub(extent.block));
        let mut rest = [0; 512];
        self.source.read_exact_at(sector.saturating_mul(SECTOR), &mut rest)?;
        let tail = to_usize(size % SECTOR)?;
        if rest.get(tail..).unwrap_or_default().iter().any(|byte| *byte != 0) {
            let zeros = [0; 512];
            let zeros = zeros.get(tail..).unwrap_or_default();
            let zeros = zeros.get(..min_len(zeros.len(), offset.saturating_sub(size))).unwrap_or_default();
            self.put_bytes(slot, size, zeros)?;
        }
        Ok(())
    }

    fn carve(&mut self, slot: Slot, blocks: Range<u64>) -> Result<()> {
        let mut freed = Vec::new();
        self.content_mut(slot)?.extents.carve(blocks.start, blocks.end, &mut freed);
        self.charge_extents(2);
        self.give(&freed);
        Ok(())
    }

    fn insert(&mut self, slot: Slot, extent: Extent) -> Result<()> {
        self.content_mut(slot)?.extents.insert(extent);
        self.charge_extents(2);
        Ok(())
    }

    /// Writes bytes into blocks, without a look at the size; what else is in the blocks stays up to the size, and is
    /// zero behind it.
    fn put_bytes(&mut self, slot: Slot, offset: u64, buf: &[u8]) -> Result<usize> {
        let end = offset.saturating_add(to_u64(buf.len()));
        let (first, past) = (offset / SECTOR, end.div_ceil(SECTOR));
        let start = first.saturating_mul(SECTOR);
        // OK to allocate: a step and two blocks at most.
        let mut bytes = alloc::vec![0; to_usize(past.saturating_mul(SECTOR).saturating_sub(start))?];
        let head = to_usize(offset.saturating_sub(start))?;
        let tail = head.saturating_add(buf.len());
        let id = self.tree.id(slot);
        if let Some(place) = bytes.get_mut(..head) {
            self.tree.read_at(&self.source, id, start, place)?;
        }
        if let Some(place) = bytes.get_mut(tail..) {
            self.tree.read_at(&self.source, id, end, place)?;
        }
        if let Some(place) = bytes.get_mut(head..tail) {
            place.copy_from_slice(buf);
        }
        let mut block = first;
        while block < past {
            let at = to_usize(block.saturating_sub(first).saturating_mul(SECTOR))?;
            let content = bytes.get(at..).unwrap_or_default();
            match self.put_blocks(slot, block, content, offset) {
                Ok(count) => block = block.saturating_add(count),
                Err(error) if block == first => return Err(error),
                Err(_) => break,
            }
        }
        let done = block.saturating_mul(SECTOR).min(end).saturating_sub(offset);
        Ok(min_len(buf.len(), done))
    }

    /// Writes blocks from `block` on, as many as lie together, and returns how many. Bytes below `changed` are what they
    /// were.
    fn put_blocks(&mut self, slot: Slot, block: u64, content: &[u8], changed: u64) -> Result<u64> {
        let durable_size = self.durable_size(slot);
        let wanted = to_u64(content.len()) / SECTOR;
        let extents = &self.content(slot)?.extents;
        let (sector, count, fresh) = match extents.holding(block).and_then(|at| extents.0.get(at)).copied() {
            Some(extent) => {
                let into = block.saturating_sub(extent.block);
                let count = wanted.min(extent.end().saturating_sub(block));
                let sector = extent.sector.saturating_add(into);
                if extent.uninited {
                    // Not seen before, and to be seen now.
                    (sector, count, Some(count))
                } else if into >= extent.durable.into() || changed.max(block.saturating_mul(SECTOR)) >= durable_size {
                    (sector, count, None)
                } else {
                    let seen = count.min(u64::from(extent.durable).saturating_sub(into));
                    let (sector, count) = self.allocate(seen, hint(&self.content(slot)?.extents, block))?;
                    (sector, count, Some(0))
                }
            }
            None => {
                let next = extents.0.get(extents.position(block)).map_or(u64::MAX, |extent| extent.block);
                let count = wanted.min(next.saturating_sub(block)).min(EXTENT_BLOCKS_MAX.into());
                if let Some(count) = self.use_spare(slot, block, count)? {
                    return self.put_blocks(slot, block, content.get(..bytes_of(count)?).unwrap_or(content), changed);
                }
                let (sector, count) = self.allocate(count, hint(&self.content(slot)?.extents, block))?;
                (sector, count, Some(0))
            }
        };
        let content = content.get(..bytes_of(count)?).unwrap_or(content);
        let written = self.device.write(sector.saturating_mul(SECTOR), content);
        self.hard(written)?;
        self.unsynced = true;
        if let Some(kept) = fresh {
            let blocks = block..block.saturating_add(count);
            if kept > 0 {
                // The sectors stay where they are, so they must not be given back.
                let mut kept = Vec::new();
                self.content_mut(slot)?.extents.carve(blocks.start, blocks.end, &mut kept);
                self.charge_extents(2);
                let spare = kept.iter().fold(0, |sum: u64, run| sum.saturating_add(run.count)).saturating_sub(count);
                if spare > 0 {
                    self.free.give(sector.saturating_add(count), spare);
                }
            } else {
                self.carve(slot, blocks)?;
            }
            // OK: at most a step's blocks.
            let count = u32::try_from(count).map_err(|_| Errno::Overflow)?;
            let extent = Extent { block, sector, count, allocated: count, tuple: 0, uninited: false, durable: 0 };
            self.insert(slot, extent)?;
        }
        Ok(count)
    }

    /// Lengthens the extent that ends at `block` by sectors that it owns already.
    fn use_spare(&mut self, slot: Slot, block: u64, count: u64) -> Result<Option<u64>> {
        let extents = &mut self.content_mut(slot)?.extents;
        let before = extents.position(block).checked_sub(1).and_then(|at| extents.0.get_mut(at));
        let Some(before) = before.filter(|it| it.end() == block && it.allocated > it.count && !it.uninited) else {
            return Ok(None);
        };
        let count = u32::try_from(count).unwrap_or(u32::MAX).min(before.allocated.saturating_sub(before.count));
        before.count = before.count.saturating_add(count);
        self.charge_extents(1);
        Ok(Some(count.into()))
    }

    /// Cuts a file, or extends it with a hole.
    pub(super) fn resize(&mut self, slot: Slot, size: u64, now: Timestamp) -> Result<()> {
        let old = self.content(slot)?.size;
        if size > FILE_SIZE_MAX {
            return Err(Errno::FileTooBig.into());
        }
        self.admit_change(slot, STEP_EXTENTS)?;
        if size > old {
            self.grow(slot, size)?;
        } else {
            self.carve(slot, size.div_ceil(SECTOR)..u64::MAX)?;
        }
        self.content_mut(slot)?.size = size;
        self.modified(slot, now)
    }

    /// Makes sure that a range can be written without another sector.
    pub(super) fn reserve(&mut self, slot: Slot, range: Range<u64>, extend: bool, now: Timestamp) -> Result<()> {
        let size = self.content(slot)?.size;
        if range.end > FILE_SIZE_MAX {
            return Err(Errno::FileTooBig.into());
        }
        let (mut block, past) = (range.start / SECTOR, range.end.div_ceil(SECTOR));
        let missing = self.missing(slot, block..past)?;
        if missing > self.free.count() {
            return Err(Errno::NoSpace.into());
        }
        self.admit_change(slot, STEP_EXTENTS)?;
        if extend && range.end > size {
            self.grow(slot, range.end)?;
        }
        let mut added = Vec::new();
        while block < past {
            let extents = &self.content(slot)?.extents;
            if let Some(extent) = extents.holding(block).and_then(|at| extents.0.get(at)) {
                block = extent.end();
                continue;
            }
            let next = extents.0.get(extents.position(block)).map_or(u64::MAX, |extent| extent.block);
            let count = past.min(next).saturating_sub(block).min(EXTENT_BLOCKS_MAX.into());
            let found = self.admit(400).and_then(|()| self.allocate(count, hint(&self.content(slot)?.extents, block)));
            let (sector, count) = match found {
                Ok(found) => found,
                Err(error) => {
                    // All or nothing.
                    for blocks in added {
                        self.carve(slot, blocks)?;
                    }
                    return Err(error);
                }
            };
            self.touch(slot)?;
            let blocks = u32::try_from(count).map_err(|_| Errno::Overflow)?;
            let extent =
                Extent { block, sector, count: blocks, allocated: blocks, tuple: 0, uninited: true, durable: 0 };
            self.insert(slot, extent)?;
            added.push(block..block.saturating_add(count));
            block = block.saturating_add(count);
        }
        if extend && range.end > size {
            self.content_mut(slot)?.size = range.end;
        }
        self.modified(slot, now)
    }

    /// Blocks of a range that have no sector.
    fn missing(&self, slot: Slot, blocks: Range<u64>) -> Result<u64> {
        let extents = &self.content(slot)?.extents;
        let from = extents.position(blocks.start);
        let held =
            extents.0.iter().skip(from).take_while(|extent| extent.block < blocks.end).fold(0, |sum: u64, it| {
                sum.saturating_add(it.end().min(blocks.end).saturating_sub(it.block.max(blocks.start)))
            });
        Ok(blocks.end.saturating_sub(blocks.start).saturating_sub(held))
    }

    /// Turns a range into a hole.
    pub(super) fn punch(&mut self, slot: Slot, range: Range<u64>, now: Timestamp) -> Result<()> {
        let size = self.content(slot)?.size;
        self.admit_change(slot, STEP_EXTENTS)?;
        let (first, past) = (range.start.div_ceil(SECTOR), range.end / SECTOR);
        // The parts of blocks on both sides become zeros, as far as the file goes.
        let inner = first.saturating_mul(SECTOR)..past.saturating_mul(SECTOR);
        let edges = if first > past { [range.clone(), 0..0] } else { [range.start..inner.start, inner.end..range.end] };
        for edge in edges {
            let edge = edge.start..edge.end.min(size);
            let extents = &self.content(slot)?.extents;
            let extent = extents.holding(edge.start / SECTOR).and_then(|at| extents.0.get(at));
            if !edge.is_empty() && extent.is_some_and(|extent| !extent.uninited) {
                let zeros = alloc::vec![0; to_usize(edge.end.saturating_sub(edge.start))?];
                self.put_bytes(slot, edge.start, &zeros)?;
            }
        }
        if first < past {
            self.carve(slot, first..past)?;
        }
        self.modified(slot, now)
    }
}

/// Where the sectors for `block` would best be: behind those of the block before.
fn hint(extents: &Extents, block: u64) -> u64 {
    let before = extents.position(block.saturating_sub(1));
    let before = extents.0.get(before).filter(|extent| extent.block < block);
    before.map_or(u64::MAX, |extent| extent.sector.saturating_add(block.saturating_sub(extent.block)))
}

fn bytes_of(blocks: u64) -> Result<usize> {
    to_usize(blocks.saturating_mul(SECTOR))
}
