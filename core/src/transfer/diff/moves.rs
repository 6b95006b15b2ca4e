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
mod tests {
    use alloc::sync::Arc;

    use arbitrary::Unstructured;

    use super::*;
    use crate::attr::SetAttr;
    use crate::backend::mem::MemFs;
    use crate::fs::{FileSystem, FileSystemExt};
    use crate::namespace::{Follow, Namespace};
    use crate::transfer::diff::{DiffOptions, diff_with};

    const OPTIONS: DiffOptions = DiffOptions { related: false, times: false, xattrs: false };

    fn changes(before: &Arc<dyn FileSystem>, after: &Arc<dyn FileSystem>) -> Vec<Change> {
        let mut changes = Vec::new();
        diff_with(before, after, OPTIONS, |change| {
            changes.push(change);
            Ok(())
        })
        .unwrap();
        changes
    }

    /// A tree with these files, each holding the text behind the colon, and links, if it begins with an arrow.
    fn tree(files: &[&str]) -> Arc<dyn FileSystem> {
        let ns = Namespace::new(Arc::new(MemFs::new()));
        for file in files {
            let (path, text) = file.split_once(':').unwrap();
            ns.create_dir_all(&path[..path.rfind('/').unwrap()]).unwrap();
            match text.strip_prefix("->") {
                Some(target) => ns.symlink(target, path).unwrap(),
                None => ns.write(path, text).unwrap(),
            }
        }
        ns.locate("/", Follow::Yes).unwrap().node_ref().fs().clone()
    }

    fn moved(before: &[&str], after: &[&str]) -> Vec<String> {
        let (before, after) = (tree(before), tree(after));
        let changes = changes(&before, &after);
        let moves = find_moves(&changes).unwrap();
        check(&before, &after, &changes, &moves);
        let path = |at: usize| String::from_utf8_lossy(&changes[at].path);
        let show = |one: &Move| match one.kind {
            MoveKind::File => format!("{} {}", path(one.from), path(one.to)),
            MoveKind::Dir { moved_count, changed_count } => {
                format!("{}/ {}/ {moved_count} {changed_count}", path(one.from), path(one.to))
            }
            MoveKind::Within { content } => format!("({}{})", path(one.to), if content { " changed" } else { "" }),
        };
        moves.iter().map(show).collect()
    }

    #[test]
    fn a_directory_moves_as_one() {
        let before = ["/lib/old/a:aaa", "/lib/old/b:bb", "/lib/old/sub/c:c", "/lib/old/sub/empty:", "/lib/old/l:->a"];
        let after = ["/lib/new/a:aaa", "/lib/new/b:BB", "/lib/new/sub/c:c", "/lib/new/sub/empty:", "/lib/new/l:->a"];
        let expected = [
            "/lib/old/ /lib/new/ 4 1",
            "(/lib/new/a)",
            "(/lib/new/b changed)",
            "(/lib/new/l)",
            "(/lib/new/sub)",
            "(/lib/new/sub/c)",
            "(/lib/new/sub/empty)",
        ];
        assert_eq!(moved(&before, &after), expected);
    }

    #[test]
    fn what_moved_elsewhere_does_not_go_with_its_directory() {
        let before = ["/x/a/1:one", "/x/a/2:two", "/x/b/3:three", "/x/c:four"];
        let after = ["/y/a/1:three", "/y/c:four", "/z/1:one", "/z/2:two", "/y/b/3:three"];
        let expected = ["/x/ /y/ 2 0", "(/y/b)", "(/y/b/3)", "(/y/c)", "/x/a/ /z/ 2 0", "(/z/1)", "(/z/2)"];
        assert_eq!(moved(&before, &after), expected);
    }

    #[test]
    fn a_directory_of_which_most_went_elsewhere_does_not_move() {
        let before = ["/x/1:1", "/x/2:22", "/x/3:333"];
        assert_eq!(moved(&before, &["/y/1:1", "/z:22"]), ["/x/1 /y/1", "/x/2 /z"]);
        assert_eq!(moved(&before, &["/y/1:1", "/y/2:22", "/z:333"]), ["/x/ /y/ 2 0", "(/y/1)", "(/y/2)", "/x/3 /z"]);
    }

    /// Of many files that are the same one went, and the others are not shifted by it.
    #[test]
    fn copies_of_one_file_stay_with_their_directories() {
        let files = |top: &str, without: u32| -> Vec<String> {
            (10..40).filter(|at| *at != without).map(|at| format!("/{top}/d{at}/LICENSE:text")).collect()
        };
        let (before, after) = (files("x", 0), files("y", 20));
        let before: Vec<_> = before.iter().map(|file| &**file).collect();
        let after: Vec<_> = after.iter().map(|file| &**file).collect();
        let moves = moved(&before, &after);
        assert_eq!(moves[0], "/x/ /y/ 29 0");
        assert_eq!(moves.iter().filter(|line| !line.starts_with('(')).count(), 1, "{moves:#?}");
    }

    #[test]
    fn links_speak_for_a_directory_and_empty_files_do_not() {
        assert_eq!(moved(&["/rc/S1:->../a"], &["/rc2/S1:->../a"]), ["/rc/ /rc2/ 1 0", "(/rc2/S1)"]);
        assert_eq!(moved(&["/x/empty:"], &["/y/empty:"]), [""; 0]);
    }

    #[test]
    fn directories_change_places() {
        let before = ["/a/1:one", "/b/2:two", "/k/a/1:uno", "/k/b/2:due"];
        let after = ["/a/2:two", "/b/1:one", "/k/a/2:due", "/k/b/1:uno"];
        // Both are there before and after.
        let expected = ["/b/2 /a/2", "/a/1 /b/1", "/k/b/2 /k/a/2", "/k/a/1 /k/b/1"];
        assert_eq!(moved(&before, &after), expected);
    }

    /// What a listing says of a node.
    #[derive(PartialEq, Eq, Clone, Debug)]
    struct Listed {
        file_type: FileType,
        content: Vec<u8>,
        mode: u16,
    }

    fn listed(side: &Side) -> Listed {
        let (fs, node) = (side.node.fs(), side.node.node());
        let content = match side.attr.file_type {
            FileType::File => fs.read_to_vec(node).unwrap(),
            FileType::Symlink => fs.read_link(node).unwrap().to_vec(),
            _ => Vec::new(),
        };
        Listed { file_type: side.attr.file_type, content, mode: side.attr.mode }
    }

    fn listing(fs: &Arc<dyn FileSystem>) -> BTreeMap<Vec<u8>, Listed> {
        let nothing: Arc<dyn FileSystem> = Arc::new(MemFs::new());
        let all = changes(&nothing, fs);
        all.iter()
            .filter(|one| one.path != b"/")
            .map(|one| (one.path.clone(), listed(one.after.as_ref().unwrap())))
            .collect()
    }

    /// Applies what is told to the listing before, and compares with the one after.
    fn check(before: &Arc<dyn FileSystem>, after: &Arc<dyn FileSystem>, changes: &[Change], moves: &[Move]) {
        let mut left = listing(before);
        let (mut away, mut here) = (BTreeMap::new(), BTreeMap::new());
        for one in moves {
            assert!(away.insert(one.from, one).is_none() && here.insert(one.to, one).is_none(), "{one:?} is twice");
        }
        for (at, change) in changes.iter().enumerate() {
            if change.after.is_none() && !away.contains_key(&at) {
                left.remove(&change.path).unwrap();
            }
        }
        let named: BTreeMap<&[u8], &Move> = moves
            .iter()
            .filter(|one| !matches!(one.kind, MoveKind::Within { .. }))
            .map(|one| (&*changes[one.from].path, one))
            .collect();
        let mut made = BTreeMap::new();
        for (path, listed) in left {
            // The longest that it is below.
            let ends = (1..=path.len()).rev().filter(|end| path.get(*end).is_none_or(|byte| *byte == b'/'));
            let found = ends.into_iter().find_map(|end| Some((*named.get(&path[..end])?, end)));
            let path = match found {
                Some((one, end)) => [&*changes[one.to].path, &path[end..]].concat(),
                None => path,
            };
            assert!(made.insert(path.clone(), listed).is_none(), "two are at {}", String::from_utf8_lossy(&path));
        }
        for (at, change) in changes.iter().enumerate() {
            let Some(side) = change.after.as_ref().filter(|_| change.path != b"/") else { continue };
            let to = listed(side);
            let moved = here.get(&at);
            if change.before.is_none() && moved.is_none() {
                assert!(made.insert(change.path.clone(), to).is_none(), "{change:?} was there");
                continue;
            }
            let content = match moved.map(|one| one.kind) {
                Some(MoveKind::Within { content }) => content,
                Some(_) => false,
                None => change.content,
            };
            let place = made.get_mut(&change.path).unwrap();
            place.mode = to.mode;
            if content {
                *place = to;
            }
        }
        assert_eq!(made, listing(after));
    }

    /// Does something to all of `on`: makes, or changes and moves about.
    fn step(choices: &mut Unstructured<'_>, on: &[Namespace], is_change: bool) -> arbitrary::Result<()> {
        let path = |choices: &mut Unstructured<'_>| -> arbitrary::Result<String> {
            let depth = choices.int_in_range(1..=3)?;
            (0..depth).map(|_| Ok(format!("/{}", choices.choose(&["a", "b", "c d"])?))).collect()
        };
        let (one, other) = (path(choices)?, path(choices)?);
        let kind = choices.int_in_range(if is_change { 0..=10 } else { 6..=10 })?;
        let content = *choices.choose(&["", "one", "two", "three", "four", "five", "six", "7", "8"])?;
        for ns in on {
            // Whatever is not possible is left.
            let _ = match kind {
                0..=2 => ns.rename(&one, format!("/new{other}")).or_else(|_| ns.rename(&one, &other)),
                3 => ns.rename(&one, &other),
                4 => ns.remove_dir_all(&one).or_else(|_| ns.remove_file(&one)),
                5 => ns.set_attr(&one, Follow::No, &SetAttr { mode: Some(0o700), ..SetAttr::default() }).map(|_| ()),
                // Into what was moved.
                6 | 7 if is_change => ns.write(format!("/new{one}"), content),
                6 => ns.symlink(content, &one),
                _ => ns.create_dir_all(&one[..one.rfind('/').unwrap_or(0)]).and_then(|()| ns.write(&one, content)),
            };
        }
        Ok(())
    }

    /// Any tree, changed and moved about at will: what is told turns one into the other.
    #[test]
    fn the_changes_applied_to_one_tree_give_the_other() {
        let mut kinds = [0_u32; 4];
        for seed in 0..800_u64 {
            let bytes: Vec<u8> = (0..2000_u64)
                .map(|at| (at ^ seed << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_mul(at | 1).to_le_bytes()[6])
                .collect();
            let mut choices = Unstructured::new(&bytes);
            let before: Arc<dyn FileSystem> = Arc::new(MemFs::new());
            let after: Arc<dyn FileSystem> = Arc::new(MemFs::new());
            let pair = [Namespace::new(Arc::clone(&before)), Namespace::new(Arc::clone(&after))];
            pair[1].create_dir_all("/new").unwrap();
            for _ in 0..30 {
                step(&mut choices, &pair, false).unwrap();
            }
            for _ in 0..seed % 12 {
                step(&mut choices, &pair[1..], true).unwrap();
            }
            let changes = changes(&before, &after);
            let moves = find_moves(&changes).unwrap();
            check(&before, &after, &changes, &moves);
            for one in &moves {
                kinds[match one.kind {
                    MoveKind::File => 0,
                    MoveKind::Dir { .. } => 1,
                    MoveKind::Within { content: false } => 2,
                    MoveKind::Within { content: true } => 3,
                }] += 1;
            }
        }
        assert!(kinds.iter().all(|count| *count > 5), "hardly tested: {kinds:?}");
    }

    #[test]
    fn many_files_in_deep_directories_take_no_time_to_speak_of() {
        let ns: [Namespace; 2] = core::array::from_fn(|_| Namespace::new(Arc::new(MemFs::new())));
        for (ns, top) in ns.iter().zip(["x", "y"]) {
            for branch in 0..20 {
                let dir = format!("/{top}/{branch}{}", "/d".repeat(100));
                ns.create_dir_all(&dir).unwrap();
                for file in 0..200 {
                    ns.write(format!("{dir}/{file}"), "all the same").unwrap();
                }
            }
        }
        let [before, after] = ns.map(|ns| Arc::clone(ns.locate("/", Follow::Yes).unwrap().node_ref().fs()));
        let changes = changes(&before, &after);
        let start = std::time::Instant::now();
        let moves = find_moves(&changes).unwrap();
        assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
        let dirs: Vec<_> = moves.iter().filter(|one| matches!(one.kind, MoveKind::Dir { .. })).collect();
        assert_eq!(dirs.len(), 1);
        assert_eq!(dirs[0].kind, MoveKind::Dir { moved_count: 4000, changed_count: 0 });
    }
}
