//! Where the blocks of a file are.

use smallvec::SmallVec;

use crate::format::tfs::SECTOR;

/// A run of blocks of a file in consecutive sectors. Blocks and sectors have 512 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Extent {
    /// First block of the file.
    pub(super) block: u64,
    /// First sector of the file system.
    pub(super) sector: u64,
    /// Blocks of the file.
    pub(super) count: u32,
    /// Sectors owned, at least `count`.
    pub(super) allocated: u32,
    /// Its number in the log's dictionary; 0 if the log does not know it yet.
    pub(super) tuple: u32,
    /// Never written: reads as zeros, whatever the sectors hold.
    pub(super) uninited: bool,
}

impl Extent {
    /// One past the last block.
    pub(super) const fn end(&self) -> u64 {
        self.block.saturating_add(self.count as u64)
    }
}

/// What is at a place of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Run {
    /// Stored bytes from this byte of the file system on, up to byte `end` of the file.
    Data { at: u64, end: u64 },
    /// Zeros up to byte `end` of the file.
    Hole { end: u64 },
}

/// The extents of a file, by block, without overlaps.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Extents(pub(super) SmallVec<[Extent; 1]>);

impl Extents {
    /// The position of the first extent that ends behind `block`.
    pub(super) fn position(&self, block: u64) -> usize {
        self.0.partition_point(|extent| extent.end() <= block)
    }

    /// What is at byte `offset`, as far as it is all the same.
    pub(super) fn run_at(&self, offset: u64) -> Run {
        let block = offset / SECTOR;
        match self.0.get(self.position(block)) {
            Some(extent) if extent.block <= block => {
                let end = extent.end().saturating_mul(SECTOR);
                if extent.uninited {
                    return Run::Hole { end };
                }
                let into = offset.saturating_sub(extent.block.saturating_mul(SECTOR));
                Run::Data { at: extent.sector.saturating_mul(SECTOR).saturating_add(into), end }
            }
            Some(extent) => Run::Hole { end: extent.block.saturating_mul(SECTOR) },
            None => Run::Hole { end: u64::MAX },
        }
    }

    /// Sectors owned.
    pub(super) fn allocated(&self) -> u64 {
        self.0.iter().fold(0, |sum: u64, extent| sum.saturating_add(extent.allocated.into()))
    }
}
