//! Test suites of others as guests: every one of their tests ends on our tree as on a host directory.

use std::collections::BTreeMap;
use std::path::Path;

use crate::compare::{Both, Job};

/// How tests ended, by name.
pub(crate) type Outcomes = BTreeMap<String, Ended>;

/// How a test ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    Passed,
    Failed,
    Skipped,
}

/// How many tests ended in each way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Counts {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
}

impl Counts {
    fn of(outcomes: &Outcomes) -> Self {
        let count = |wanted| outcomes.values().filter(|ended| **ended == wanted).count();
        Self { passed: count(Ended::Passed), failed: count(Ended::Failed), skipped: count(Ended::Skipped) }
    }
}

/// A suite, and what to find in its output.
pub(crate) struct Suite<'a> {
    pub(crate) wasm: &'a Path,
    pub(crate) fill: &'a dyn Fn(&Path),
    /// Reads its output.
    pub(crate) outcomes: fn(&str) -> Outcomes,
}

impl Suite<'_> {
    /// Runs it on a tree that refuses absolute links as a host directory does: all tests end as there.
    pub(crate) fn same(&self, job: Job<'_>) -> Counts {
        let both = Both::of(self.wasm, Job { is_below: true, ..job }, self.fill);
        let (ours, theirs) = self.of_both(&both);
        let differ: Vec<_> = ours.iter().filter(|(name, ended)| theirs.get(*name) != Some(ended)).collect();
        assert!(differ.is_empty(), "{differ:?}\n{}", String::from_utf8_lossy(&both.ours.stdout));
        assert_eq!((ours.len(), both.ours.code), (theirs.len(), both.theirs.code));
        both.same_tree_but_for_random_names();
        Counts::of(&ours)
    }

    /// Runs it on a tree that is the whole namespace, in which absolute links lead somewhere. Tests that ask first
    /// whether there are such links skip themselves on the host. All others end as there; returns how those ended.
    pub(crate) fn more(&self, job: Job<'_>) -> Counts {
        let both = Both::of(self.wasm, Job { is_below: false, ..job }, self.fill);
        let (mut ours, theirs) = self.of_both(&both);
        for (name, theirs) in theirs.iter().filter(|(_, ended)| **ended != Ended::Skipped) {
            assert_eq!(ours.remove(name), Some(*theirs), "{name}\n{}", String::from_utf8_lossy(&both.ours.stdout));
        }
        ours.retain(|name, ended| theirs.get(name) != Some(ended));
        both.same_tree_but_for_random_names();
        Counts::of(&ours)
    }

    fn of_both(&self, both: &Both) -> (Outcomes, Outcomes) {
        let [ours, theirs] =
            [&both.ours, &both.theirs].map(|ran| (self.outcomes)(&String::from_utf8_lossy(&ran.stdout)));
        (ours, theirs)
    }
}
