//! Where the blocks of a file are.

use alloc::vec::Vec;

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
    /// How many of the first blocks the state on disk may show; the others may be overwritten in place.
    pub(super) durable: u32,
}

/// Sectors that a file gave up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Freed {
    pub(super) sector: u64,
    pub(super) count: u64,
    /// The state on disk may show them: they must keep their content until the next commit.
    pub(super) durable: bool,
}

/// Most blocks of one extent, as in Nanos.
pub(super) const EXTENT_BLOCKS_MAX: u32 = 65_536;

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

impl Extents {
    /// The position of the extent that holds `block`.
    pub(super) fn holding(&self, block: u64) -> Option<usize> {
        let at = self.position(block);
        self.0.get(at).filter(|extent| extent.block <= block).map(|_| at)
    }

    /// Takes blocks `from` to `to` away and says whose sectors that leaves free.
    pub(super) fn carve(&mut self, from: u64, to: u64, freed: &mut Vec<Freed>) {
        let mut at = self.position(from);
        while let Some(&extent) = self.0.get(at).filter(|extent| extent.block < to) {
            // OK: both are at most `count`, which has 32 bits.
            let within =
                |block: u64| u32::try_from(block.clamp(extent.block, extent.end()) - extent.block).unwrap_or(0);
            let (first, past) = (within(from), within(to));
            let behind = extent.count.saturating_sub(past);
            // What is owned but not used goes with the last block.
            let spare = extent.allocated.saturating_sub(extent.count);
            let owned = past.saturating_add(if behind == 0 { spare } else { 0 });
            let seen = extent.durable.clamp(first, owned);
            for (first, past, durable) in [(first, seen, true), (seen, owned, false)] {
                if first < past {
                    let sector = extent.sector.saturating_add(first.into());
                    freed.push(Freed { sector, count: past.saturating_sub(first).into(), durable });
                }
            }
            let right = Extent {
                block: extent.block.saturating_add(past.into()),
                sector: extent.sector.saturating_add(past.into()),
                count: behind,
                allocated: behind.saturating_add(spare),
                tuple: 0,
                durable: extent.durable.saturating_sub(past),
                ..extent
            };
            match self.0.get_mut(at).filter(|_| first > 0) {
                Some(left) => {
                    left.count = first;
                    left.allocated = first;
                    left.durable = extent.durable.min(first);
                    at = at.saturating_add(1);
                }
                None => drop(self.0.remove(at)),
            }
            if behind > 0 {
                self.0.insert(at, right);
                return;
            }
        }
    }

    /// Adds an extent where there is none, or lengthens the one before it.
    pub(super) fn insert(&mut self, new: Extent) {
        let at = self.0.partition_point(|extent| extent.block < new.block);
        if let Some(before) = at.checked_sub(1).and_then(|at| self.0.get_mut(at))
            && before.end() == new.block
            && before.allocated == before.count
            && before.sector.saturating_add(before.count.into()) == new.sector
            && before.uninited == new.uninited
            && before.count.saturating_add(new.count) <= EXTENT_BLOCKS_MAX
            && (new.durable == 0 || before.durable == before.count)
        {
            before.durable = before.durable.saturating_add(new.durable);
            before.count = before.count.saturating_add(new.count);
            before.allocated = before.allocated.saturating_add(new.allocated);
            return;
        }
        self.0.insert(at, new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(block: u64, sector: u64, count: u32, durable: u32) -> Extent {
        Extent { block, sector, count, allocated: count, tuple: 7, uninited: false, durable }
    }

    fn shown(extents: &Extents) -> Vec<(u64, u64, u32, u32, u32)> {
        extents.0.iter().map(|it| (it.block, it.sector, it.count, it.tuple, it.durable)).collect()
    }

    #[test]
    fn carving_keeps_what_is_on_both_sides() {
        let mut extents = Extents::default();
        extents.insert(Extent { allocated: 12, ..extent(10, 100, 10, 6) });
        let mut freed = Vec::new();
        extents.carve(13, 17, &mut freed);
        assert_eq!(shown(&extents), [(10, 100, 3, 7, 3), (17, 107, 3, 0, 0)]);
        assert_eq!(extents.0[1].allocated, 5, "spare sectors go with the end");
        let run = |sector, count, durable| Freed { sector, count, durable };
        assert_eq!(freed, [run(103, 3, true), run(106, 1, false)]);
        freed.clear();
        extents.carve(0, 100, &mut freed);
        assert_eq!(freed, [run(100, 3, true), run(107, 5, false)]);
        assert!(extents.0.is_empty());
    }

    #[test]
    fn what_touches_becomes_one() {
        let mut extents = Extents::default();
        extents.insert(extent(0, 50, 2, 2));
        extents.insert(Extent { tuple: 0, ..extent(2, 52, 3, 0) });
        assert_eq!(shown(&extents), [(0, 50, 5, 7, 2)]);
        extents.insert(Extent { tuple: 0, ..extent(5, 90, 1, 0) });
        extents.insert(Extent { tuple: 0, ..extent(8, 91, 1, 0) });
        assert_eq!(shown(&extents), [(0, 50, 5, 7, 2), (5, 90, 1, 0, 0), (8, 91, 1, 0, 0)]);
        assert_eq!((extents.holding(4), extents.holding(6), extents.holding(8)), (Some(0), None, Some(2)));
    }
}
