//! Which sectors are free.

use alloc::collections::BTreeMap;

/// The free runs of a file system, by first sector, never touching one another.
#[derive(Clone, Debug, Default)]
pub(super) struct FreeMap {
    /// First sector, and one past the last.
    runs: BTreeMap<u64, u64>,
    count: u64,
}

impl FreeMap {
    /// All of `end` sectors.
    pub(super) fn new(end: u64) -> Self {
        let mut map = Self::default();
        map.give(0, end);
        map
    }

    /// Count of free sectors.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// The free run that holds `sector`.
    fn run_at(&self, sector: u64) -> Option<(u64, u64)> {
        let (&start, &end) = self.runs.range(..=sector).next_back()?;
        (sector < end).then_some((start, end))
    }

    /// Takes `count` sectors from `sector` on if all of them are free.
    pub(super) fn take(&mut self, sector: u64, count: u64) -> bool {
        if count == 0 {
            return true;
        }
        let past = sector.saturating_add(count);
        let Some((start, end)) = self.run_at(sector).filter(|(_, end)| past <= *end) else { return false };
        self.runs.remove(&start);
        if start < sector {
            self.runs.insert(start, sector);
        }
        if past < end {
            self.runs.insert(past, end);
        }
        self.count = self.count.saturating_sub(count);
        true
    }

    /// Makes sectors free that are not.
    pub(super) fn give(&mut self, sector: u64, count: u64) {
        if count == 0 {
            return;
        }
        self.count = self.count.saturating_add(count);
        let (mut start, mut end) = (sector, sector.saturating_add(count));
        if let Some((&before, &touches)) = self.runs.range(..start).next_back()
            && touches == start
        {
            self.runs.remove(&before);
            start = before;
        }
        if let Some(past) = self.runs.remove(&end) {
            end = past;
        }
        self.runs.insert(start, end);
    }

    /// Takes the lowest run of `count` sectors.
    pub(super) fn take_run(&mut self, count: u64) -> Option<u64> {
        let (&start, _) = self.runs.iter().find(|(start, end)| end.saturating_sub(**start) >= count)?;
        self.take(start, count).then_some(start)
    }

    /// Takes up to `count` sectors: from `hint` on if that is free, else the lowest run that has them all, else the
    /// longest there is.
    pub(super) fn take_some(&mut self, count: u64, hint: u64) -> Option<(u64, u64)> {
        if let Some((_, end)) = self.run_at(hint) {
            let count = count.min(end.saturating_sub(hint));
            return self.take(hint, count).then_some((hint, count));
        }
        if let Some(start) = self.take_run(count) {
            return Some((start, count));
        }
        let (&start, &end) = self.runs.iter().max_by_key(|(start, end)| end.saturating_sub(**start))?;
        let count = count.min(end.saturating_sub(start));
        self.take(start, count).then_some((start, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_split_and_join() {
        let mut map = FreeMap::new(100);
        assert!(map.take(10, 20));
        assert!(!map.take(29, 2) && !map.take(5, 6) && !map.take(95, 6) && map.take(7, 0));
        assert_eq!(map.count(), 80);
        assert_eq!(map.take_run(11), Some(30));
        assert_eq!(map.take_some(5, 8), Some((8, 2)), "what is free at the hint");
        assert_eq!(map.take_some(5, 20), Some((0, 5)), "the lowest");
        assert_eq!(map.take_some(100, 20), Some((41, 59)), "the longest");
        assert_eq!(map.take_some(100, 0), Some((5, 3)));
        assert_eq!((map.count(), map.take_some(1, 0)), (0, None));
        for (sector, count) in [(50, 50), (0, 10), (10, 40)] {
            map.give(sector, count);
        }
        assert_eq!((map.count(), map.take_run(100)), (100, Some(0)));
    }
}
