//! Paths inside an archive that is being replayed, walked as Linux walks them from the root.
//!
//! This is not the walk that programs use (that one stands in `namespace`, over any filesystem): here a path is what
//! an entry's name says, symbolic links on the way lead on inside the tree as far as it exists by then, and nothing is
//! created on the way.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;

use super::index::{Content, EntryIndex, Index, NodeIndex, Stored, bytes_of};
use super::{LimitExceeded, SkipReason};
use crate::error::{Error, Result};
use crate::limits::{NAME_MAX, SYMLINK_HOPS_MAX};
use crate::source::Source;

/// Why a walk led nowhere.
#[derive(Debug)]
pub(super) enum Stop {
    /// The entry is left out, for this reason.
    Skip(SkipReason),
    /// Nothing more can be read.
    Fail(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Fail(error)
    }
}

/// Where a path leads, its last component not followed.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// To a directory without naming it: `.`, `..`, `/` or nothing at all.
    Dir(NodeIndex),
    /// To a name in a directory.
    Named {
        dir: NodeIndex,
        /// Where in the path the name stands.
        name: Range<usize>,
        /// What is there now.
        found: Option<(EntryIndex, NodeIndex)>,
        /// Whether slashes follow, so that it must be a directory.
        slash: bool,
    },
}

/// Walks and remembers where it was.
#[derive(Debug)]
pub(super) struct Walker {
    /// The directories that paths led through last: the parent of the last entry, and the last directory entry.
    recent: [Recent; 2],
    /// Steps still granted.
    steps: u64,
    /// Links that lead upwards or start at the root are not followed, as tar leaves them until everything is out.
    pub(super) only_down: bool,
}

#[derive(Debug, Default)]
struct Recent {
    path: Vec<u8>,
    dir: Option<NodeIndex>,
    hops: u32,
    removals: u64,
}

/// Steps granted before the first entry.
const FIRST_STEPS: u64 = 1 << 16;

impl Walker {
    pub(super) fn new() -> Self {
        Self { recent: Default::default(), steps: FIRST_STEPS, only_down: false }
    }

    /// Grants more steps.
    pub(super) fn grant(&mut self, steps: u64) {
        self.steps = self.steps.saturating_add(steps);
    }

    /// Where `path` leads from the root.
    pub(super) fn place(&mut self, index: &Index, sources: &[Arc<dyn Source>], path: &[u8]) -> Result<Place, Stop> {
        self.place_from(index, sources, NodeIndex::ROOT, path, &mut 0)
    }

    /// The node that `path` leads to; a symbolic link at its end is followed if asked for, or if slashes follow it.
    pub(super) fn resolve(
        &mut self,
        index: &Index,
        sources: &[Arc<dyn Source>],
        path: &[u8],
        follow: bool,
    ) -> Result<NodeIndex, Stop> {
        let mut hops = 0;
        let mut place = self.place_from(index, sources, NodeIndex::ROOT, path, &mut hops)?;
        let mut must_be_dir = false;
        loop {
            let (dir, node) = match place {
                Place::Dir(node) => return Ok(node),
                Place::Named { found: None, .. } => return Err(Stop::Skip(SkipReason::Missing)),
                Place::Named { dir, found: Some((_, node)), slash, .. } => {
                    must_be_dir |= slash;
                    (dir, node)
                }
            };
            match index.node(node).map(|node| &node.content) {
                Some(&Content::Symlink(target)) if follow || must_be_dir => {
                    let target = self.follow(sources, target, &mut hops)?;
                    place = self.place_from(index, sources, dir, &target, &mut hops)?;
                }
                Some(Content::Dir(_)) => return Ok(node),
                _ if must_be_dir => return Err(Stop::Skip(SkipReason::NotADirectory)),
                _ => return Ok(node),
            }
        }
    }

    fn place_from(
        &mut self,
        index: &Index,
        sources: &[Arc<dyn Source>],
        start: NodeIndex,
        path: &[u8],
        hops: &mut u32,
    ) -> Result<Place, Stop> {
        let start = if path.first() == Some(&b'/') { NodeIndex::ROOT } else { start };
        let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last.saturating_add(1));
        let slash = end < path.len();
        let trimmed = path.get(..end).unwrap_or_default();
        let name_start = trimmed.iter().rposition(|byte| *byte == b'/').map_or(0, |last| last.saturating_add(1));
        let parent = self.parent(index, sources, start, trimmed.get(..name_start).unwrap_or_default(), hops)?;
        self.step(1)?;
        match trimmed.get(name_start..).unwrap_or_default() {
            b"" | b"." => Ok(Place::Dir(parent)),
            b".." => Ok(Place::Dir(index.dir(parent).map_or(NodeIndex::ROOT, |dir| dir.parent))),
            name if name.len() > NAME_MAX => Err(Stop::Skip(SkipReason::NameTooLong { len: name.len() })),
            name => Ok(Place::Named { dir: parent, name: name_start..end, found: index.lookup(parent, name), slash }),
        }
    }

    /// The directory that the path `prefix` leads to.
    fn parent(
        &mut self,
        index: &Index,
        sources: &[Arc<dyn Source>],
        start: NodeIndex,
        prefix: &[u8],
        hops: &mut u32,
    ) -> Result<NodeIndex, Stop> {
        if prefix.is_empty() {
            return Ok(start);
        }
        let from_root = start == NodeIndex::ROOT && *hops == 0;
        if let Some((dir, taken)) = self.recall(index, prefix).filter(|_| from_root) {
            *hops = taken;
            return Ok(dir);
        }
        let dir = self.walk_dirs(index, sources, start, prefix, hops)?;
        if from_root {
            remember(&mut self.recent[0], index, prefix, dir, *hops);
        }
        Ok(dir)
    }

    /// Notes that `path` leads to `dir`, which was just created or found.
    pub(super) fn remember_dir(&mut self, index: &Index, path: &[u8], dir: NodeIndex) {
        remember(&mut self.recent[1], index, path, dir, 0);
    }

    fn recall(&self, index: &Index, prefix: &[u8]) -> Option<(NodeIndex, u32)> {
        let trimmed = prefix.strip_suffix(b"/").unwrap_or(prefix);
        self.recent.iter().find_map(|recent| {
            let dir = recent.dir?;
            (recent.path == trimmed && recent.removals == index.removals()).then_some((dir, recent.hops))
        })
    }

    /// Walks through directories, component by component; text still to be walked waits in a stack of link targets.
    fn walk_dirs(
        &mut self,
        index: &Index,
        sources: &[Arc<dyn Source>],
        start: NodeIndex,
        path: &[u8],
        hops: &mut u32,
    ) -> Result<NodeIndex, Stop> {
        let mut dir = start;
        let mut at = 0;
        // OK to grow: one for each hop at most.
        let mut targets: SmallVec<[(Bytes, usize); 2]> = SmallVec::new();
        loop {
            self.step(1)?;
            let (text, at) = match targets.last_mut() {
                Some((text, at)) => (&**text, at),
                None => (path, &mut at),
            };
            let Some(name) = next_component(text, at) else {
                if targets.pop().is_none() {
                    return Ok(dir);
                }
                continue;
            };
            match name {
                b"." => continue,
                b".." => {
                    dir = index.dir(dir).map_or(NodeIndex::ROOT, |dir| dir.parent);
                    continue;
                }
                _ if name.len() > NAME_MAX => return Err(Stop::Skip(SkipReason::NameTooLong { len: name.len() })),
                _ => {}
            }
            let Some((_, node)) = index.lookup(dir, name) else { return Err(Stop::Skip(SkipReason::NoParent)) };
            match index.node(node).map(|node| &node.content) {
                Some(Content::Dir(_)) => dir = node,
                Some(&Content::Symlink(target)) => {
                    let target = self.follow(sources, target, hops)?;
                    if target.first() == Some(&b'/') {
                        dir = NodeIndex::ROOT;
                    }
                    targets.push((target, 0));
                }
                _ => return Err(Stop::Skip(SkipReason::NotADirectory)),
            }
        }
    }

    fn follow(&mut self, sources: &[Arc<dyn Source>], target: Stored, hops: &mut u32) -> Result<Bytes, Stop> {
        *hops = hops.saturating_add(1);
        if *hops > SYMLINK_HOPS_MAX {
            return Err(Stop::Skip(SkipReason::Loop));
        }
        self.step(1)?;
        let target = bytes_of(sources, target)?;
        if self.only_down && (target.starts_with(b"/") || target.split(|byte| *byte == b'/').any(|name| name == b".."))
        {
            return Err(Stop::Skip(SkipReason::NotADirectory));
        }
        Ok(target)
    }

    fn step(&mut self, count: u64) -> Result<(), Stop> {
        match self.steps.checked_sub(count) {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => Err(Stop::Fail(LimitExceeded::Steps.into())),
        }
    }
}

fn remember(recent: &mut Recent, index: &Index, path: &[u8], dir: NodeIndex, hops: u32) {
    let trimmed = path.strip_suffix(b"/").unwrap_or(path);
    recent.path.clear();
    recent.path.extend_from_slice(trimmed);
    recent.dir = Some(dir);
    recent.hops = hops;
    recent.removals = index.removals();
}

/// The component that starts at or behind `at`, slashes skipped.
fn next_component<'a>(text: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    let rest = text.get(*at..)?;
    let start = rest.iter().position(|byte| *byte != b'/')?;
    let rest = rest.get(start..)?;
    let len = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
    *at = at.saturating_add(start).saturating_add(len);
    rest.get(..len)
}

/// Steps that `bytes` of an archive grant.
pub(super) const fn steps_for(bytes: u64) -> u64 {
    bytes.saturating_mul(crate::limits::REPLAY_STEPS_PER_BYTE)
}

const _: () = assert!(NAME_MAX <= 255, "an entry's name length is stored in a byte");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_what_stands_between_slashes() {
        let mut at = 0;
        let components: Vec<_> = core::iter::from_fn(|| next_component(b"//a/./b//..", &mut at)).collect();
        assert_eq!(components, [&b"a"[..], b".", b"b", b".."]);
        assert_eq!(at, 11);
    }
}
