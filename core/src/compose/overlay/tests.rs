//! The overlay against a plain memory filesystem that undergoes the same operations.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Overlay;
use crate::attr::{FileType, SetAttr};
use crate::backend::mem::MemFs;
use crate::errno::Errno;
use crate::fs::{Cookie, DirBatch, FileSystem, FileSystemExt, RenameMode};
use crate::name::{Name, escape};
use crate::namespace::{Descriptor, Follow, Namespace, OpenHow};
use crate::testing::Random;

fn draw_path(random: &mut Random) -> String {
    let depth = random.below(3) + 1;
    (0..depth).map(|_| random.pick(&["a", "b", "c", "d"])).collect::<Vec<_>>().join("/")
}

#[derive(Clone, Debug)]
enum Op {
    Write(String, u64),
    Append(String),
    Truncate(String, u64),
    Mkdir(String),
    Unlink(String),
    Rmdir(String),
    Rename(String, String, RenameMode),
    Link(String, String),
    Symlink(String, String),
    Chmod(String, u16),
}

impl Op {
    fn draw(random: &mut Random, dirs_move: bool) -> Self {
        let path = draw_path(random);
        match random.below(if dirs_move { 14 } else { 10 }) {
            0 | 1 => Self::Write(path, random.below(9)),
            2 => Self::Append(path),
            3 => Self::Truncate(path, random.below(7)),
            4 | 5 => Self::Mkdir(path),
            6 => Self::Unlink(path),
            7 => Self::Rmdir(path),
            8 => Self::Link(path, draw_path(random)),
            9 => match random.below(2) {
                0 => Self::Symlink(path, draw_path(random)),
                _ => Self::Chmod(path, 0o600 + random.below(0o100) as u16),
            },
            _ => {
                let mode = match random.below(6) {
                    0 => RenameMode::Exchange,
                    1 => RenameMode::NoReplace,
                    _ => RenameMode::Replace,
                };
                Self::Rename(path, draw_path(random), mode)
            }
        }
    }

    fn apply(&self, to: &Namespace) -> Result<(), Errno> {
        let root = to.root();
        let result = match self {
            Self::Write(path, len) => to.write(path, vec![b'w'; *len as usize * 1000]),
            Self::Append(path) => to
                .open(path, &OpenHow { write: true, append: true, ..OpenHow::READ })
                .and_then(|mut file| file.write(b"appended").map(drop)),
            Self::Truncate(path, len) => {
                to.set_attr(path, Follow::Yes, &SetAttr { size: Some(len * 700), ..SetAttr::default() }).map(drop)
            }
            Self::Mkdir(path) => to.create_dir(path),
            Self::Unlink(path) => to.remove_file(path),
            Self::Rmdir(path) => to.remove_dir(path),
            Self::Rename(from, to_path, mode) => to.rename_at(root, from.as_bytes(), root, to_path.as_bytes(), *mode),
            Self::Link(from, to_path) => to.hard_link(from, to_path),
            Self::Symlink(path, target) => to.symlink(target, path),
            Self::Chmod(path, mode) => {
                to.set_attr(path, Follow::No, &SetAttr { mode: Some(*mode), ..SetAttr::default() }).map(drop)
            }
        };
        result.map_err(|error| error.errno())
    }
}

/// Everything that must be equal, by path; hard links are named by the first path of the node. Checks on the way that
/// listings and attributes agree on the number of each node.
fn tree(namespace: &Namespace) -> BTreeMap<String, String> {
    let mut shown = BTreeMap::new();
    let mut first_paths: BTreeMap<u64, String> = BTreeMap::new();
    let mut todo = vec![String::new()];
    while let Some(dir) = todo.pop() {
        let mut entries = namespace.read_dir(if dir.is_empty() { "/" } else { &dir }).unwrap();
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        for entry in entries {
            let path = format!("{dir}/{}", escape(&entry.name));
            let attr = namespace.symlink_metadata(&path).unwrap();
            assert_eq!((attr.ino, attr.file_type), (entry.ino, entry.file_type), "{path}");
            let content = match attr.file_type {
                FileType::File => namespace.read(&path).unwrap(),
                FileType::Symlink => namespace.read_link(&path).unwrap().to_vec(),
                _ => Vec::new(),
            };
            assert_eq!(content.len() as u64, attr.size, "{path}");
            let nlink = if attr.file_type.is_dir() { 0 } else { attr.nlink };
            let link = first_paths.entry(attr.ino).or_insert_with(|| path.clone()).clone();
            let sum = content.iter().fold(7_u64, |sum, &byte| sum.wrapping_mul(31) + u64::from(byte));
            shown.insert(
                path.clone(),
                format!("{:?} {:o} links {nlink} size {} sum {sum} node {link}", attr.file_type, attr.mode, attr.size),
            );
            if attr.file_type.is_dir() {
                todo.push(path);
            }
        }
        // Depth first by name, so that first paths do not depend on the order of listings.
        todo.sort_by(|one, other| other.cmp(one));
    }
    shown
}

fn run(seed: u64, length: usize) {
    let mut random = Random(seed);
    let setup: Vec<Op> = (0..40).map(|_| Op::draw(&mut random, true)).collect();
    let (lower, plain) = (Arc::new(MemFs::new()), Namespace::new(Arc::new(MemFs::new())));
    let below = Namespace::new(Arc::clone(&lower) as Arc<dyn FileSystem>);
    for op in &setup {
        assert_eq!(op.apply(&below), op.apply(&plain));
    }
    let before = tree(&below);
    let overlay = Overlay::with_upper(vec![lower], Arc::new(MemFs::new())).unwrap();
    let merged = Namespace::new(Arc::new(overlay));
    assert_eq!(tree(&merged), tree(&plain), "seed {seed}, nothing done");
    let mut done = Vec::new();
    for _ in 0..length {
        let op = Op::draw(&mut random, true);
        done.push(op.clone());
        assert_eq!(op.apply(&merged), op.apply(&plain), "seed {seed}: {done:?}");
        assert_eq!(tree(&merged), tree(&plain), "seed {seed}: {done:?} on {before:?}");
    }
    assert_eq!(tree(&below), before, "seed {seed}: the lower changed");
}

#[test]
fn behaves_as_a_plain_filesystem_whatever_is_done() {
    for seed in 1..300 {
        run(seed, 30);
    }
}

/// The same, and the layers are opened anew after each step: nothing may be known only to the one who did it. Without
/// hard links in the lower: who changes one of them has changed only that, for those who come later, as with Linux.
fn run_reopened(seed: u64, length: usize) {
    let mut random = Random(seed);
    let (lower, plain) = (Arc::new(MemFs::new()), Namespace::new(Arc::new(MemFs::new())));
    let below = Namespace::new(Arc::clone(&lower) as Arc<dyn FileSystem>);
    for _ in 0..40 {
        let op = Op::draw(&mut random, true);
        if !matches!(op, Op::Link(..)) {
            assert_eq!(op.apply(&below), op.apply(&plain));
        }
    }
    let (before, upper) = (tree(&below), Arc::new(MemFs::new()));
    let mut done = Vec::new();
    for _ in 0..length {
        let lowers = vec![Arc::clone(&lower) as Arc<dyn FileSystem>];
        let overlay = Overlay::with_upper(lowers, Arc::clone(&upper) as Arc<dyn FileSystem>).unwrap();
        let merged = Namespace::new(Arc::new(overlay));
        assert_eq!(tree(&merged), tree(&plain), "seed {seed}, opened anew: {done:?} on {before:?}");
        let op = Op::draw(&mut random, true);
        done.push(op.clone());
        assert_eq!(op.apply(&merged), op.apply(&plain), "seed {seed}: {done:?}");
    }
}

#[test]
fn the_layers_hold_all_that_was_done() {
    for seed in 1..300 {
        run_reopened(seed, 30);
    }
}

#[test]
fn a_renamed_directory_keeps_its_content_for_those_who_open_the_layers_next() {
    let lower = Arc::new(MemFs::new());
    let below = Namespace::new(Arc::clone(&lower) as Arc<dyn FileSystem>);
    below.create_dir_all("a/b/c").unwrap();
    below.write("a/b/c/file", "lower").unwrap();
    let upper: Arc<dyn FileSystem> = Arc::new(MemFs::new());
    let open = || {
        let overlay = Overlay::with_upper(vec![Arc::clone(&lower) as Arc<dyn FileSystem>], Arc::clone(&upper));
        Namespace::new(Arc::new(overlay.unwrap()))
    };
    open().rename("a/b", "moved").unwrap();
    open().rename("moved/c", "a/deep").unwrap();
    open().rename("a", "z").unwrap();
    let merged = open();
    assert_eq!(merged.read("z/deep/file").unwrap(), b"lower");
    assert!(merged.read_dir("moved").unwrap().is_empty());
    assert_eq!(merged.read_dir("/").unwrap().len(), 2);
    let at = merged.locate("z/deep", Follow::Yes).unwrap();
    assert!(at.fs().xattr_names(at.node()).unwrap().is_empty(), "what the layers know of each other is theirs");
    let set =
        at.writable().unwrap().set_xattr(at.node(), b"trusted.overlay.redirect", b"/x", crate::fs::XattrMode::Set);
    assert_eq!(set.unwrap_err(), Errno::NotPermitted);
}

#[test]
fn an_upper_that_says_nonsense_is_an_error() {
    let (lower, upper) = (Arc::new(MemFs::new()), Arc::new(MemFs::new()));
    let top = Namespace::new(Arc::clone(&upper) as Arc<dyn FileSystem>);
    top.create_dir_all("upper/dir").unwrap();
    let at = top.locate("upper/dir", Follow::Yes).unwrap();
    let set = |value: &[u8]| {
        let name = b"trusted.overlay.redirect";
        at.writable().unwrap().set_xattr(at.node(), name, value, crate::fs::XattrMode::Set).unwrap();
        let lowers = vec![Arc::clone(&lower) as Arc<dyn FileSystem>];
        let overlay = Overlay::with_upper(lowers, Arc::clone(&upper) as Arc<dyn FileSystem>).unwrap();
        Namespace::new(Arc::new(overlay)).read_dir("dir").map(|entries| entries.len()).map_err(|error| error.errno())
    };
    assert_eq!(set(b"/../../etc"), Err(Errno::Io));
    assert_eq!(set(b"/no/such/dir"), Ok(0));
}

fn stacked(files: &[(&str, &str)]) -> (Namespace, Namespace) {
    let lower = Arc::new(MemFs::new());
    let below = Namespace::new(Arc::clone(&lower) as Arc<dyn FileSystem>);
    for (path, content) in files {
        if let Some((dir, _)) = path.rsplit_once('/') {
            below.create_dir_all(dir).unwrap();
        }
        below.write(path, content).unwrap();
    }
    let overlay = Overlay::with_upper(vec![lower], Arc::new(MemFs::new())).unwrap();
    (Namespace::new(Arc::new(overlay)), below)
}

#[test]
fn copy_up_shares_the_bytes_of_the_lower() {
    let lower = Arc::new(MemFs::new());
    let file = {
        let below = Namespace::new(Arc::clone(&lower) as Arc<dyn FileSystem>);
        below.write("big", b"").unwrap();
        let at = below.locate("big", Follow::Yes).unwrap();
        at.writable().unwrap().write_shared(at.node(), 0, bytes::Bytes::from(vec![b'x'; 1 << 20])).unwrap();
        at.fs().read_shared(at.node(), 0, 1 << 20).unwrap()
    };
    let upper = Arc::new(crate::backend::mem::MemOptions::new().max_bytes(100 << 10).build());
    let merged = Namespace::new(Arc::new(Overlay::with_upper(vec![lower], upper).unwrap()));
    let mut opened = merged.open("big", &OpenHow { write: true, append: true, ..OpenHow::READ }).unwrap();
    opened.write(b"end").unwrap();
    let at = merged.locate("big", Follow::Yes).unwrap();
    let shared = at.fs().read_shared(at.node(), 4096, 8192).unwrap();
    assert_eq!(shared.as_ptr(), file[4096..].as_ptr(), "the same memory, not a copy of it");
    assert_eq!(at.attr().unwrap().size, (1 << 20) + 3);
}

#[test]
fn a_node_keeps_its_number_and_open_descriptors_across_copy_up() {
    let (merged, below) = stacked(&[("dir/file", "lower")]);
    let reader = merged.open("dir/file", &OpenHow::READ).unwrap();
    let before = reader.attr().unwrap();
    merged.write("dir/file", "upper!").unwrap();
    assert_eq!(reader.attr().unwrap().ino, before.ino);
    let mut buf = [0; 16];
    assert_eq!(reader.read_at(0, &mut buf).unwrap(), 6, "an open descriptor sees the write");
    assert_eq!(below.read("dir/file").unwrap(), b"lower");
}

#[test]
fn copying_up_is_no_change_to_the_directory_above() {
    let (merged, _) = stacked(&[("dir/file", "lower")]);
    let before = merged.metadata("dir").unwrap();
    std::thread::sleep(core::time::Duration::from_millis(2));
    merged.write("dir/file", "upper").unwrap();
    let after = merged.metadata("dir").unwrap();
    assert_eq!((after.mtime, after.ctime), (before.mtime, before.ctime));
    assert!(merged.metadata("dir/file").unwrap().mtime > before.mtime);
}

#[test]
fn an_unlinked_lower_file_can_be_written_while_open() {
    let (merged, _) = stacked(&[("file", "lower")]);
    let mut opened = merged.open("file", &OpenHow { write: true, ..OpenHow::READ }).unwrap();
    merged.remove_file("file").unwrap();
    assert_eq!(opened.attr().unwrap().nlink, 0);
    assert_eq!(opened.write(b"LOW").unwrap(), 3);
    let mut buf = [0; 8];
    assert_eq!(opened.read_at(0, &mut buf).unwrap(), 5);
    assert_eq!(&buf[..5], b"LOWer");
    assert!(!merged.exists("file").unwrap());
}

#[test]
fn hard_links_of_the_lower_stay_links_across_copy_up() {
    let (merged, below) = stacked(&[("one", "lower")]);
    below.hard_link("one", "two").unwrap();
    merged.write("one", "changed").unwrap();
    assert_eq!(merged.read("two").unwrap(), b"changed");
    merged.remove_file("one").unwrap();
    assert_eq!(merged.metadata("two").unwrap().nlink, 1);
    merged.rename("two", "three").unwrap();
    merged.hard_link("three", "four").unwrap();
    assert_eq!(merged.read("four").unwrap(), b"changed");
    assert_eq!(merged.metadata("four").unwrap().nlink, 2);
    assert_eq!(below.read("one").unwrap(), b"lower");
}

/// Scans a directory, one entry at a time, doing something after each.
fn scan(dir: &Descriptor, mut after_each: impl FnMut(&[u8])) -> Vec<String> {
    let mut seen = Vec::new();
    let mut from = Cookie::START;
    loop {
        let mut batch = DirBatch::with_max_entries(1);
        dir.read_dir(from, &mut batch).unwrap();
        let Some(entry) = batch.iter().next() else { return seen };
        seen.push(entry.name.to_string());
        after_each(entry.name.as_bytes());
        from = entry.cookie;
    }
}

#[test]
fn a_scan_goes_on_where_it_was_while_the_directory_is_copied_up() {
    let names: Vec<String> = (0..50).map(|number| format!("dir/{number:02}")).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    let (merged, _) = stacked(&files);
    let dir = merged.open("dir", &OpenHow::READ).unwrap();
    let seen = scan(&dir, |name| {
        let path = [b"dir/", name].concat();
        merged.remove_file(&path).unwrap();
        if !name.starts_with(b"new") {
            // Something new each time, which a scan may or may not show, but never instead of the old.
            merged.write(format!("dir/new-{}", escape(name)), "").unwrap();
        }
    });
    let old: Vec<String> = seen.into_iter().filter(|name| !name.starts_with("new")).collect();
    assert_eq!(old, (0..50).map(|number| format!("{number:02}")).collect::<Vec<_>>());
    assert!(merged.read_dir("dir").unwrap().iter().all(|entry| entry.name.starts_with(b"new")));
}

#[test]
fn whiteouts_and_opaque_directories_of_lower_layers_hide_what_is_below() {
    let bottom = Arc::new(MemFs::new());
    let middle = Arc::new(MemFs::new());
    let under = Namespace::new(Arc::clone(&bottom) as Arc<dyn FileSystem>);
    let over = Namespace::new(Arc::clone(&middle) as Arc<dyn FileSystem>);
    for path in ["gone", "kept", "opaque/hidden", "merged/low", "merged/both"] {
        if let Some((dir, _)) = path.rsplit_once('/') {
            under.create_dir_all(dir).unwrap();
        }
        under.write(path, "bottom").unwrap();
    }
    for dir in ["opaque", "merged"] {
        over.create_dir(dir).unwrap();
        over.write(format!("{dir}/both"), "middle").unwrap();
    }
    over.set_attr("opaque", Follow::Yes, &SetAttr { opaque: Some(true), ..SetAttr::default() }).unwrap();
    let whiteout = crate::fs::NewNode { kind: crate::fs::NewKind::Whiteout, mode: 0, uid: 0, gid: 0 };
    middle.writable().unwrap().create(middle.root(), Name::new(b"gone").unwrap(), &whiteout).unwrap();

    let merged = Overlay::with_upper(vec![bottom, middle], Arc::new(MemFs::new())).unwrap();
    let merged = Namespace::new(Arc::new(merged));
    let paths: Vec<String> = tree(&merged).into_keys().collect();
    assert_eq!(paths, ["/kept", "/merged", "/merged/both", "/merged/low", "/opaque", "/opaque/both"]);
    assert_eq!(merged.read("merged/both").unwrap(), b"middle");
    assert_eq!(merged.read("gone").unwrap_err(), Errno::NotFound);
    merged.write("gone", "back").unwrap();
    assert_eq!(merged.read("gone").unwrap(), b"back");
    merged.remove_dir_all("merged").unwrap();
    merged.create_dir("merged").unwrap();
    assert!(merged.read_dir("merged").unwrap().is_empty(), "a new directory does not merge with the old");
}

#[test]
fn running_out_of_space_leaves_the_tree_as_it_was() {
    let lower = Arc::new(MemFs::new());
    let below = Namespace::new(Arc::clone(&lower) as Arc<dyn FileSystem>);
    for path in ["a/b/file", "a/b/other"] {
        below.create_dir_all("a/b").unwrap();
        below.write(path, "content").unwrap();
    }
    let expected = tree(&below);
    for nodes in 3..12 {
        let upper = Arc::new(crate::backend::mem::MemOptions::new().max_nodes(nodes).build());
        let Ok(overlay) = Overlay::with_upper(vec![Arc::clone(&lower) as Arc<dyn FileSystem>], upper) else { continue };
        let merged = Namespace::new(Arc::new(overlay));
        for op in [
            Op::Rename("a/b/file".into(), "a/b/other".into(), RenameMode::Replace),
            Op::Unlink("a/b/file".into()),
            Op::Append("a/b/file".into()),
            Op::Mkdir("a/b/new".into()),
        ] {
            match op.apply(&merged) {
                Err(errno) => {
                    assert_eq!(errno, Errno::NoSpace, "{op:?} with {nodes} nodes");
                    assert_eq!(tree(&merged), expected, "{op:?} failed with {nodes} nodes and changed something");
                }
                // It had room: what follows is another tree.
                Ok(()) => break,
            }
        }
    }
}

#[test]
fn many_threads_see_each_name_at_every_moment() {
    let (merged, _) = stacked(&[("dir/here", "x")]);
    let stop = core::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut looked = 0_u64;
                    while !stop.load(core::sync::atomic::Ordering::Relaxed) {
                        // It is always replaced, never absent.
                        merged.read("dir/here").unwrap();
                        looked += 1;
                    }
                    looked
                })
            })
            .collect();
        for round in 0..2000 {
            merged.write("dir/next", format!("{round}")).unwrap();
            merged.rename("dir/next", "dir/here").unwrap();
        }
        stop.store(true, core::sync::atomic::Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
    });
}

#[test]
fn forgetting_idle_nodes_loses_nothing_that_was_changed() {
    let lower = Arc::new(MemFs::new());
    let below = Namespace::new(Arc::clone(&lower) as Arc<dyn FileSystem>);
    for dir in ["moved", "stays"] {
        below.create_dir(dir).unwrap();
        for number in 0..3000 {
            below.write(format!("{dir}/{number}"), format!("{dir} {number}")).unwrap();
        }
    }
    let overlay = Arc::new(Overlay::with_upper(vec![lower], Arc::new(MemFs::new())).unwrap());
    let merged = Namespace::new(Arc::clone(&overlay) as Arc<dyn FileSystem>);
    merged.rename("moved", "renamed").unwrap();
    merged.create_dir("made").unwrap();
    merged.rename("stays/7", "made/seven").unwrap();
    let number = merged.metadata("made/seven").unwrap().ino;
    for _ in 0..3 {
        for dir in ["renamed", "stays"] {
            for file in (0..3000).filter(|&file| (dir, file) != ("stays", 7)) {
                assert!(merged.exists(format!("{dir}/{file}")).unwrap(), "{dir}/{file}");
            }
        }
    }
    assert!(overlay.table.len() < 5500, "idle nodes are dropped: {} are kept", overlay.table.len());
    assert_eq!(merged.read("renamed/2999").unwrap(), b"moved 2999");
    assert_eq!(merged.read("made/seven").unwrap(), b"stays 7");
    assert_eq!(merged.metadata("made/seven").unwrap().ino, number);
    assert_eq!(merged.read_dir("made").unwrap()[0].ino, number);
    assert_eq!(merged.read_dir("renamed").unwrap().len(), 3000);
    assert_eq!(merged.read_dir("stays").unwrap().len(), 2999);
}
