//! What moved: files with the same content elsewhere, and directories with most of what was in them.
//!
//! Evidence are files and symbolic links of the same name with the same content. Each is a vote that the directory it was
//! in became the one it is in, and where those have the same name, that the directories above did. From the bottom up
//! each directory that went so finds the one that most speaks for; each passes on the votes for that one alone, so this
//! takes time in proportion to the changes. Then, from the top down, directories for which at least half of what was in
//! them speaks are moved, and what is at the same place in both goes with them.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bytes::Bytes;

use super::super::hash::sha256;
use super::{Change, Side};
use crate::attr::{Device, FileType};
use crate::error::Result;

/// Two changes, of which one tells what went and the other what came, that are one: it moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Move {
    /// Position of what went.
    pub from: usize,
    /// Position of what came.
    pub to: usize,
    /// What it is.
    pub kind: MoveKind,
}

/// See [`Move`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MoveKind {
    /// A file, with the very same content.
    File,
    /// A directory, with what is at the same place in both.
    Dir {
        /// How much of that is no directory and has the same content.
        moved_count: u64,
        /// How much of it is no directory and has another.
        changed_count: u64,
    },
    /// What is at the same place in a directory that moved.
    Within {
        /// Whether its content differs.
        content: bool,
    },
}

/// Finds what moved, sorted by [`Move::to`]. `changes` are all that [`diff_with`](super::diff_with) told, in its order.
///
/// To have the tree after: what went and did not move is removed; everything that moved goes to its new path, with what
/// is below it, unless that moved elsewhere; then come the changes and what came without having moved. Each change is in
/// one move at most. Empty files do not move but within directories.
///
/// # Errors
/// Those of the trees.
pub fn find_moves(changes: &[Change]) -> Result<Vec<Move>> {
    let gone = Tree::new(changes, |change| change.before.as_ref().filter(|_| change.after.is_none()));
    let come = Tree::new(changes, |change| change.after.as_ref().filter(|_| change.before.is_none()));
    if gone.nodes.is_empty() || come.nodes.is_empty() {
        return Ok(Vec::new());
    }
    let contents = contents(&gone, &come)?;
    let mut matching =
        Matching { gone: &gone, come: &come, contents: &contents, to: BTreeMap::new(), moves: Vec::new() };
    let votes = Votes::count(&matching);
    matching.move_dirs(&votes);
    matching.move_files();
    let mut moves = matching.moves;
    moves.sort_unstable_by_key(|one| one.to);
    Ok(moves)
}

/// What went, or what came.
struct Tree<'a> {
    nodes: BTreeMap<usize, Node<'a>>,
    /// What is in each directory by name.
    below: BTreeMap<(usize, &'a [u8]), usize>,
}

struct Node<'a> {
    side: &'a Side,
    name: &'a [u8],
    /// The directory it is in, if that went or came, too.
    dir: Option<usize>,
}

impl Node<'_> {
    const fn is_dir(&self) -> bool {
        self.side.attr.file_type.is_dir()
    }
}

impl<'a> Tree<'a> {
    fn new(changes: &'a [Change], side: impl Fn(&'a Change) -> Option<&'a Side>) -> Self {
        let (mut nodes, mut below) = (BTreeMap::new(), BTreeMap::new());
        // The directories that the last one is in, with their paths.
        let mut dirs: Vec<(usize, &[u8])> = Vec::new();
        for (at, change) in changes.iter().enumerate() {
            let Some(side) = side(change) else { continue };
            let Some(slash) = change.path.iter().rposition(|byte| *byte == b'/') else { continue };
            let (above, name) = change.path.split_at(slash);
            let name = name.get(1..).unwrap_or_default();
            while dirs.last().is_some_and(|(_, dir)| !is_within(above, dir)) {
                dirs.pop();
            }
            let dir = dirs.last().filter(|(_, dir)| *dir == above).map(|(at, _)| *at);
            if let Some(dir) = dir {
                below.insert((dir, name), at);
            }
            if side.attr.file_type.is_dir() {
                dirs.push((at, &change.path));
            }
            nodes.insert(at, Node { side, name, dir });
        }
        Self { nodes, below }
    }

    fn dir_of(&self, at: usize) -> Option<usize> {
        self.nodes.get(&at)?.dir
    }

    fn name_of(&self, at: usize) -> &'a [u8] {
        self.nodes.get(&at).map_or(b"", |node| node.name)
    }

    fn is_dir(&self, at: usize) -> bool {
        self.nodes.get(&at).is_some_and(Node::is_dir)
    }

    fn leaves(&self) -> impl Iterator<Item = (usize, &Node<'a>)> {
        self.nodes.iter().filter(|(_, node)| !node.is_dir()).map(|(at, node)| (*at, node))
    }
}

/// Whether `path` is `dir` or below it.
fn is_within(path: &[u8], dir: &[u8]) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// What is the same, of what is no directory.
#[derive(PartialEq, Eq, PartialOrd, Ord, Clone, Debug)]
enum Content {
    Empty,
    File([u8; 32]),
    Target(Bytes),
    Special(u8, u64),
}

impl Content {
    /// Whether it says something about where it came from.
    const fn is_evidence(&self) -> bool {
        matches!(self, Self::File(_) | Self::Target(_))
    }
}

/// The content of what could have moved. Files of a size that is only among what went, or only among what came, are not
/// read, and have none here.
fn contents(gone: &Tree<'_>, come: &Tree<'_>) -> Result<BTreeMap<usize, Content>> {
    let mut sizes: BTreeMap<u64, (bool, bool)> = BTreeMap::new();
    let files = |tree: &Tree<'_>| -> Vec<u64> {
        let files = tree.leaves().filter(|(_, node)| node.side.attr.file_type == FileType::File);
        files.map(|(_, node)| node.side.attr.size).collect()
    };
    for size in files(gone) {
        sizes.entry(size).or_default().0 = true;
    }
    for size in files(come) {
        sizes.entry(size).or_default().1 = true;
    }
    let mut contents = BTreeMap::new();
    for (at, Node { side, .. }) in gone.leaves().chain(come.leaves()) {
        let (fs, node) = (side.node.fs(), side.node.node());
        let content = match side.attr.file_type {
            FileType::File if side.attr.size == 0 => Content::Empty,
            FileType::File if sizes.get(&side.attr.size) != Some(&(true, true)) => continue,
            FileType::File => Content::File(sha256(&**fs, node)?),
            FileType::Symlink => Content::Target(fs.read_link(node)?),
            other => {
                let kind = match other {
                    FileType::Char => 0,
                    FileType::Block => 1,
                    FileType::Fifo => 2,
                    FileType::Socket => 3,
                    _ => 4,
                };
                let Device { major, minor } = side.attr.rdev.unwrap_or(Device { major: 0, minor: 0 });
                Content::Special(kind, u64::from(major) << 32 | u64::from(minor))
            }
        };
        contents.insert(at, content);
    }
    Ok(contents)
}

struct Matching<'a> {
    gone: &'a Tree<'a>,
    come: &'a Tree<'a>,
    contents: &'a BTreeMap<usize, Content>,
    /// Where what moved went.
    to: BTreeMap<usize, usize>,
    moves: Vec<Move>,
}

/// How much must be alike of the names of what is taken for the same: the name and that of the directory, the name alone,
/// or nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Alike {
    NameAndDir,
    Name,
    Nothing,
}

impl Matching<'_> {
    fn is_free(&self, from: usize) -> bool {
        !self.to.contains_key(&from)
    }

    /// Pairs up what has the same content, and names that are as `alike`, of those that `is_left` says are left: the first
    /// with the first.
    fn pairs(
        &self,
        alike: Alike,
        is_left: impl Fn(usize) -> bool,
        is_wanted: impl Fn(&Content) -> bool,
    ) -> Vec<(usize, usize)> {
        let mut by_key: BTreeMap<_, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
        for (tree, is_come) in [(self.gone, false), (self.come, true)] {
            for (at, node) in tree.leaves().filter(|(at, _)| is_left(*at)) {
                let Some(content) = self.contents.get(&at).filter(|content| is_wanted(content)) else { continue };
                let dir = node.dir.map_or(&b""[..], |dir| tree.name_of(dir));
                let names = match alike {
                    Alike::NameAndDir => (node.name, dir),
                    Alike::Name => (node.name, &b""[..]),
                    Alike::Nothing => (&b""[..], &b""[..]),
                };
                let group = by_key.entry((content, names)).or_default();
                if is_come { group.1.push(at) } else { group.0.push(at) }
            }
        }
        by_key.into_values().flat_map(|(gone, come)| gone.into_iter().zip(come)).collect()
    }

    fn move_dirs(&mut self, votes: &Votes) {
        let mut taken: BTreeMap<usize, ()> = BTreeMap::new();
        // By directory: which of the moves it belongs to.
        let mut part_of: BTreeMap<usize, usize> = BTreeMap::new();
        for (&from, node) in &self.gone.nodes {
            // Where it would go with the directory that it was in.
            let with_dir = node.dir.and_then(|dir| {
                let place = self.come.below.get(&(*self.to.get(&dir)?, node.name))?;
                (self.come.is_dir(*place) == node.is_dir() && !taken.contains_key(place)).then_some((dir, *place))
            });
            let best = votes.best(from).filter(|(to, _)| node.is_dir() && !taken.contains_key(to));
            let stays = with_dir.filter(|(_, place)| best.is_none() || votes.of(from, *place) > 0);
            let to = if let Some((dir, to)) = stays {
                let same = self.contents.get(&from).is_some_and(|content| self.contents.get(&to) == Some(content));
                let content = !node.is_dir() && !same;
                self.moves.push(Move { from, to, kind: MoveKind::Within { content } });
                if let Some(top) = part_of.get(&dir).copied() {
                    part_of.insert(from, top);
                    self.count(top, node.is_dir(), content);
                }
                to
            } else if let Some((to, _)) = best {
                part_of.insert(from, self.moves.len());
                self.moves.push(Move { from, to, kind: MoveKind::Dir { moved_count: 0, changed_count: 0 } });
                to
            } else {
                continue;
            };
            taken.insert(to, ());
            self.to.insert(from, to);
        }
    }

    /// Counts something that moved with a directory.
    fn count(&mut self, top: usize, is_dir: bool, content: bool) {
        if let Some(Move { kind: MoveKind::Dir { moved_count, changed_count }, .. }) = self.moves.get_mut(top)
            && !is_dir
        {
            let count = if content { changed_count } else { moved_count };
            *count = count.saturating_add(1);
        }
    }

    fn move_files(&mut self) {
        for alike in [Alike::NameAndDir, Alike::Name, Alike::Nothing] {
            let came: BTreeMap<usize, ()> = self.to.values().map(|to| (*to, ())).collect();
            let is_left = |at: usize| self.is_free(at) && !came.contains_key(&at);
            let pairs = self.pairs(alike, is_left, |content| matches!(content, Content::File(_)));
            for (from, to) in pairs {
                self.to.insert(from, to);
                self.moves.push(Move { from, to, kind: MoveKind::File });
            }
        }
    }
}

/// How much speaks for a directory that went being one that came.
struct Votes {
    votes: BTreeMap<(usize, usize), u64>,
    /// The one for which most speaks, and how much, where that is at least half.
    best: BTreeMap<usize, (usize, u64)>,
}

impl Votes {
    fn count(matching: &Matching<'_>) -> Self {
        let (gone, come) = (matching.gone, matching.come);
        let mut votes: BTreeMap<(usize, usize), u64> = BTreeMap::new();
        let mut voted: BTreeMap<usize, ()> = BTreeMap::new();
        for alike in [Alike::NameAndDir, Alike::Name] {
            for (from, to) in matching.pairs(alike, |at| !voted.contains_key(&at), Content::is_evidence) {
                voted.insert(from, ());
                voted.insert(to, ());
                if let (Some(from), Some(to)) = (gone.dir_of(from), come.dir_of(to)) {
                    add(&mut votes, (from, to), 1);
                }
            }
        }
        // What could have voted, in each directory and below it.
        let mut voters: BTreeMap<usize, u64> = BTreeMap::new();
        let mut best = BTreeMap::new();
        for (&from, node) in gone.nodes.iter().rev() {
            let mut voters_below = voters.get(&from).copied().unwrap_or(0);
            if node.is_dir() {
                let all = votes.range((from, 0)..=(from, usize::MAX));
                // Of those with as many the one of the same name, then the first.
                let most = all
                    .map(|((_, to), count)| (*count, come.name_of(*to) == node.name, core::cmp::Reverse(*to)))
                    .max()
                    .map(|(count, _, to)| (to.0, count));
                if let Some((to, count)) = most {
                    if count.saturating_mul(2) >= voters_below {
                        best.insert(from, (to, count));
                    }
                    if let (Some(dir), Some(to_dir), true) = (node.dir, come.dir_of(to), come.name_of(to) == node.name)
                    {
                        add(&mut votes, (dir, to_dir), count);
                    }
                }
            } else {
                let is_evidence = match node.side.attr.file_type {
                    FileType::File => node.side.attr.size > 0,
                    other => other == FileType::Symlink,
                };
                voters_below = u64::from(is_evidence);
            }
            if let Some(dir) = node.dir {
                let above = voters.entry(dir).or_default();
                *above = above.saturating_add(voters_below);
            }
        }
        Self { votes, best }
    }

    fn best(&self, from: usize) -> Option<(usize, u64)> {
        self.best.get(&from).copied()
    }

    fn of(&self, from: usize, to: usize) -> u64 {
        self.votes.get(&(from, to)).copied().unwrap_or(0)
    }
}

fn add(votes: &mut BTreeMap<(usize, usize), u64>, pair: (usize, usize), count: u64) {
    let votes = votes.entry(pair).or_default();
    *votes = votes.saturating_add(count);
}

#[cfg(test)]
mod tests;
