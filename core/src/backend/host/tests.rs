//! More nodes than may be open.

use std::fs;
use std::path::Path;

use super::*;
use crate::attr::SetAttr;
use crate::fs::{FileSystemExt, NodeRef, RenameMode};

const MAX: usize = 32;

fn open(path: &Path) -> Arc<dyn FileSystem> {
    let dir = Dir::open_ambient_dir(path, cap_std::ambient_authority()).unwrap();
    Arc::new(HostFs::with_opened(&dir, Opened::with_max(MAX)).unwrap())
}

fn name(at: &str) -> Name<'_> {
    Name::new(at.as_bytes()).unwrap()
}

fn lookup(dir: &NodeRef, at: &str) -> NodeRef {
    NodeRef::lookup(dir.fs(), dir.node(), name(at)).unwrap()
}

fn open_below(path: &Path) -> usize {
    let all = fs::read_dir("/proc/self/fd").unwrap();
    all.filter(|entry| fs::read_link(entry.as_ref().unwrap().path()).is_ok_and(|at| at.starts_with(path))).count()
}

/// `COUNT` directories with a file each, all referenced and all used.
fn many(path: &Path) -> (Arc<dyn FileSystem>, Vec<(NodeRef, NodeRef)>) {
    const COUNT: usize = 300;

    for number in 0..COUNT {
        fs::create_dir(path.join(format!("d{number}"))).unwrap();
        fs::write(path.join(format!("d{number}/f")), number.to_string()).unwrap();
    }
    let fs = open(path);
    let root = NodeRef::root(Arc::clone(&fs));
    let held = (0..COUNT).map(|number| {
        let dir = lookup(&root, &format!("d{number}"));
        let file = lookup(&dir, "f");
        assert_eq!(fs.read_to_vec(file.node()).unwrap(), number.to_string().as_bytes());
        (dir, file)
    });
    let held = held.collect();
    (fs, held)
}

#[test]
fn all_stay_usable_but_few_stay_open() {
    let temp = tempfile::tempdir().unwrap();
    let (fs, held) = many(temp.path());
    for turn in 0..3 {
        for (number, (dir, file)) in held.iter().enumerate() {
            let content = fs.read_to_vec(file.node()).unwrap();
            assert_eq!(content, [number.to_string().as_bytes(), &b"+".repeat(turn)].concat());
            fs.writable().unwrap().write_at(file.node(), crate::fs::WriteAt::End, b"+").unwrap();
            assert_eq!(lookup(dir, "f").node(), file.node());
            let mut batch = DirBatch::with_max_entries(10);
            fs.read_dir(dir.node(), Cookie::START, &mut batch).unwrap();
            assert_eq!(batch.len(), 1);
            assert_eq!(
                fs.attr(dir.node()).unwrap().nlink,
                fs::metadata(temp.path().join("d0")).map_or(0, |at| {
                    use std::os::unix::fs::MetadataExt;
                    at.nlink()
                })
            );
        }
        // The root, and one that is being opened.
        assert!(open_below(temp.path()) <= MAX + 2, "{}", open_below(temp.path()));
    }
}

#[test]
fn what_loses_its_name_stays_usable() {
    let temp = tempfile::tempdir().unwrap();
    let (fs, held) = many(temp.path());
    let (root, writable) = (fs.root(), fs.writable().unwrap());
    for (number, (dir, file)) in held.iter().enumerate() {
        writable.unlink(dir.node(), name("f")).unwrap();
        assert_eq!(fs.read_to_vec(file.node()).unwrap(), number.to_string().as_bytes());
        writable.remove_dir(root, name(&format!("d{number}"))).unwrap();
    }
    for (number, (dir, file)) in held.iter().enumerate() {
        assert_eq!(fs.read_to_vec(file.node()).unwrap(), number.to_string().as_bytes());
        assert_eq!(fs.attr(file.node()).unwrap().nlink, 0);
        assert_eq!(fs.attr(dir.node()).unwrap().nlink, 0);
    }
}

#[test]
fn renamed_nodes_are_found_under_their_new_names() {
    let temp = tempfile::tempdir().unwrap();
    let (fs, held) = many(temp.path());
    let (root, writable) = (fs.root(), fs.writable().unwrap());
    for (number, (dir, _)) in held.iter().enumerate() {
        let (old, new) = (format!("d{number}"), format!("moved{number}"));
        writable.rename(root, name(&old), root, name(&new), RenameMode::Replace).unwrap();
        writable.rename(dir.node(), name("f"), root, name(&format!("f{number}")), RenameMode::Replace).unwrap();
    }
    for (number, (dir, file)) in held.iter().enumerate() {
        assert_eq!(fs.read_to_vec(file.node()).unwrap(), number.to_string().as_bytes());
        writable.set_attr(dir.node(), &SetAttr { mode: Some(0o700), ..SetAttr::default() }).unwrap();
    }
    assert!(open_below(temp.path()) <= MAX + 2);
}

#[test]
fn deep_directories_are_opened_from_the_top_again() {
    const DEPTH: usize = 120;

    let temp = tempfile::tempdir().unwrap();
    let fs = open(temp.path());
    let writable = fs.writable().unwrap();
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let new = crate::fs::NewNode { kind: crate::fs::NewKind::Dir, mode: 0o755, uid, gid };
    let mut dirs = vec![NodeRef::root(Arc::clone(&fs))];
    for _ in 0..DEPTH {
        let entry = writable.create(dirs[dirs.len() - 1].node(), name("d"), &new).unwrap();
        dirs.push(NodeRef::from_entry(Arc::clone(&fs), entry));
    }
    for dir in dirs.iter().rev().chain(&dirs) {
        assert_eq!(fs.attr(dir.node()).unwrap().file_type, FileType::Dir);
    }
    assert!(open_below(temp.path()) <= MAX + 2);
    // Removed from the bottom, each is still there for those who hold it.
    for pair in dirs.windows(2).rev() {
        writable.remove_dir(pair[0].node(), name("d")).unwrap();
    }
    assert_eq!(fs.attr(dirs[DEPTH].node()).unwrap().nlink, 0);
}

#[test]
fn many_threads_beyond_the_limit() {
    let temp = tempfile::tempdir().unwrap();
    let (fs, held) = many(temp.path());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (fs, held) = (&fs, &held);
            scope.spawn(move || {
                for turn in 0..1500 {
                    let (dir, file) = &held[(turn * 7 + thread * 13) % held.len()];
                    assert!(!fs.read_to_vec(file.node()).unwrap().is_empty());
                    assert_eq!(lookup(dir, "f").node(), file.node());
                }
            });
        }
    });
}

#[test]
fn outsiders_who_move_what_is_closed_make_it_stale() {
    let temp = tempfile::tempdir().unwrap();
    let (fs, held) = many(temp.path());
    for number in 0..held.len() {
        fs::rename(temp.path().join(format!("d{number}")), temp.path().join(format!("x{number}"))).unwrap();
    }
    let lost = held.iter().filter(|(dir, _)| match fs.attr(dir.node()) {
        Ok(_) => false,
        Err(error) => {
            assert_eq!(error, Errno::Stale);
            true
        }
    });
    assert!(lost.count() < held.len());
    // Looked up again, they are what they were.
    let found = lookup(&NodeRef::root(Arc::clone(&fs)), "x0");
    assert_eq!(found.node(), held[0].0.node());
    assert_eq!(fs.read_to_vec(held[0].1.node()).unwrap(), b"0");
}
