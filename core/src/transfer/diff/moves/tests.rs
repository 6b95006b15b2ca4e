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
