//! Host directories: what the conformance suite cannot see, since it stays inside. Above all that nothing gets out.
#![cfg(all(feature = "host", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mountless::Errno;
use mountless::attr::{FileType, SetAttr};
use mountless::backend::host::HostFs;
use mountless::fs::{
    Allocate, FileSystem, FileSystemExt, NewKind, NewNode, NodeRef, RenameMode, SyncScope, WriteAt, XattrMode,
};
use mountless::name::Name;

/// A directory to open, and beside it one that must stay as it is.
struct Place {
    _temp: tempfile::TempDir,
    inside: PathBuf,
    outside: PathBuf,
}

impl Place {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let (inside, outside) = (temp.path().join("inside"), temp.path().join("outside"));
        fs::create_dir(&inside).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("secret"), "secret").unwrap();
        fs::set_permissions(outside.join("secret"), fs::Permissions::from_mode(0o640)).unwrap();
        Self { _temp: temp, inside, outside }
    }

    fn open(&self) -> Arc<dyn FileSystem> {
        Arc::new(HostFs::open(&self.inside).unwrap())
    }

    fn assert_untouched(&self) {
        let names: Vec<_> = fs::read_dir(&self.outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["secret"]);
        assert_eq!(fs::read(self.outside.join("secret")).unwrap(), b"secret");
        assert_eq!(fs::metadata(self.outside.join("secret")).unwrap().mode() & 0o7777, 0o640);
    }
}

fn name(at: &str) -> Name<'_> {
    Name::new(at.as_bytes()).unwrap()
}

/// A file of whoever runs the tests: only root may make others'.
fn new_file() -> NewNode<'static> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    NewNode { kind: NewKind::File, mode: 0o644, uid, gid }
}

/// Sets it when dropped, also by a panic.
struct Sets<'a>(&'a AtomicBool);

impl Drop for Sets<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn lookup(dir: &NodeRef, at: &str) -> mountless::Result<NodeRef> {
    NodeRef::lookup(dir.fs(), dir.node(), name(at))
}

/// Every operation that has an effect on `node`, with what each answered.
fn touch_all(node: &NodeRef) -> Vec<Errno> {
    let (fs, id) = (node.fs(), node.node());
    let writable = fs.writable().unwrap();
    let mode = SetAttr { mode: Some(0o777), ..SetAttr::default() };
    let size = SetAttr { size: Some(0), ..SetAttr::default() };
    let file = new_file();
    [
        fs.read_at(id, 0, &mut [0; 10]).err(),
        fs.read_shared(id, 0, 10).err(),
        fs.extent_at(id, 0).err(),
        fs.lookup(id, name("secret")).err(),
        writable.write_at(id, WriteAt::Offset(0), b"changed").err(),
        writable.write_at(id, WriteAt::End, b"changed").err(),
        writable.write_shared(id, 0, (&b"changed"[..]).into()).err(),
        writable.set_attr(id, &mode).err(),
        writable.set_attr(id, &size).err(),
        writable.allocate(id, Allocate::Extend, 0..100).err(),
        writable.set_xattr(id, b"user.x", b"y", XattrMode::Set).err(),
        writable.create(id, name("new"), &file).err(),
        writable.unlink(id, name("secret")).err(),
    ]
    .into_iter()
    .map(|error| error.expect("nothing of this may work").errno())
    .collect()
}

#[test]
fn links_are_nodes_and_lead_nowhere() {
    let place = Place::new();
    for (at, target) in [
        ("root", PathBuf::from("/")),
        ("up", PathBuf::from("..")),
        ("outside", place.outside.clone()),
        ("relative", PathBuf::from("../outside/secret")),
        ("file", place.outside.join("secret")),
    ] {
        symlink(&target, place.inside.join(at)).unwrap();
        let fs = place.open();
        let link = lookup(&NodeRef::root(Arc::clone(&fs)), at).unwrap();
        assert_eq!(link.file_type(), FileType::Symlink);
        assert_eq!(fs.read_link(link.node()).unwrap(), target.to_str().unwrap());
        let answers = touch_all(&link);
        let wanted = [Errno::Invalid, Errno::NotDir, Errno::NotSupported];
        assert!(answers.iter().all(|errno| wanted.contains(errno)), "{at}: {answers:?}");
    }
    place.assert_untouched();
}

#[test]
fn dots_are_no_names() {
    for bytes in [&b".."[..], b".", b"../outside", b"/", b"a/../..", b""] {
        assert!(Name::new(bytes).is_err());
    }
}

#[test]
fn a_directory_that_was_opened_stays_the_one() {
    let place = Place::new();
    fs::create_dir(place.inside.join("d")).unwrap();
    fs::write(place.inside.join("d/secret"), "mine").unwrap();
    let fs = place.open();
    let root = NodeRef::root(Arc::clone(&fs));
    let dir = lookup(&root, "d").unwrap();
    let file = lookup(&dir, "secret").unwrap();
    fs::rename(place.inside.join("d"), place.inside.join("moved")).unwrap();
    symlink(&place.outside, place.inside.join("d")).unwrap();
    assert_eq!(lookup(&root, "d").unwrap().file_type(), FileType::Symlink);
    assert_eq!(fs.read_to_vec(file.node()).unwrap(), b"mine");
    assert_eq!(fs.read_to_vec(lookup(&dir, "secret").unwrap().node()).unwrap(), b"mine");
    fs.writable().unwrap().unlink(dir.node(), name("secret")).unwrap();
    assert!(!place.inside.join("moved/secret").exists());
    place.assert_untouched();
}

/// A name that somebody else swaps between a directory and a link to the outside, all the time.
#[test]
fn a_directory_swapped_for_a_link_under_way() {
    let place = Place::new();
    fs::create_dir(place.inside.join("d")).unwrap();
    symlink(&place.outside, place.inside.join("link")).unwrap();
    let (stop, mut directories, mut links) = (AtomicBool::new(false), 0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let dir = fs::File::open(&place.inside).unwrap();
            while !stop.load(Ordering::Relaxed) {
                let exchange = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(&dir, "d", &dir, "link", exchange).unwrap();
            }
        });
        let _stops = Sets(&stop);
        let file = new_file();
        let fs = place.open();
        let (writable, root) = (fs.writable().unwrap(), NodeRef::root(Arc::clone(&fs)));
        for _ in 0..20_000 {
            // An error is fine: the name may change its kind between two looks of one call.
            let Ok(dir) = lookup(&root, "d") else { continue };
            let wanted = if dir.file_type() == FileType::Dir { Errno::NotFound } else { Errno::NotDir };
            assert_eq!(lookup(&dir, "secret").err().unwrap(), wanted);
            if dir.file_type() == FileType::Dir {
                directories += 1;
                let made = writable.create(dir.node(), name("new"), &file).unwrap();
                fs.forget(made.node, 1);
                writable.rename(dir.node(), name("new"), dir.node(), name("newer"), RenameMode::Replace).unwrap();
                writable.unlink(dir.node(), name("newer")).unwrap();
            } else {
                links += 1;
            }
        }
    });
    assert!(directories > 0 && links > 0, "both were met: {directories} and {links}");
    place.assert_untouched();
}

#[test]
fn a_file_swapped_between_calls_is_stale() {
    let place = Place::new();
    let path = place.inside.join("f");
    type Swap = fn(&Path, &Path);
    let swaps: [(&str, Swap); 4] = [
        ("link", |path, outside| symlink(outside.join("secret"), path).unwrap()),
        ("file", |path, _| fs::write(path, "another").unwrap()),
        ("directory", |path, _| fs::create_dir(path).unwrap()),
        ("pipe", |path, _| {
            let kind = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, path, kind, 0o644.into(), 0).unwrap();
        }),
    ];
    for (what, swap) in swaps {
        fs::write(&path, "mine").unwrap();
        let fs = place.open();
        let file = lookup(&NodeRef::root(Arc::clone(&fs)), "f").unwrap();
        // Kept, so that its number is not used again at once.
        fs::rename(&path, place.inside.join("kept")).unwrap();
        swap(&path, &place.outside);
        let answers = touch_all(&file);
        assert!(answers.iter().all(|errno| [Errno::Stale, Errno::NotDir].contains(errno)), "{what}: {answers:?}");
        assert_eq!(fs.attr(file.node()).unwrap_err(), Errno::Stale, "{what}");
        assert_eq!(fs::read(place.inside.join("kept")).unwrap(), b"mine");
        fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)).unwrap();
        place.assert_untouched();
    }
}

#[test]
fn another_name_serves_when_one_was_removed_by_others() {
    let place = Place::new();
    fs::write(place.inside.join("a"), "mine").unwrap();
    fs::hard_link(place.inside.join("a"), place.inside.join("b")).unwrap();
    let fs = place.open();
    let root = NodeRef::root(Arc::clone(&fs));
    let (a, b) = (lookup(&root, "a").unwrap(), lookup(&root, "b").unwrap());
    assert_eq!(a.node(), b.node());
    assert_eq!(fs.attr(a.node()).unwrap().ino, fs::metadata(place.inside.join("a")).unwrap().ino());
    fs::remove_file(place.inside.join("b")).unwrap();
    assert_eq!(fs.read_to_vec(b.node()).unwrap(), b"mine");
}

/// Descriptors of this process that are open below `path`. Other tests run meanwhile.
fn open_below(path: &Path) -> usize {
    let all = fs::read_dir("/proc/self/fd").unwrap();
    all.filter(|entry| fs::read_link(entry.as_ref().unwrap().path()).is_ok_and(|at| at.starts_with(path))).count()
}

#[test]
fn nothing_stays_open_of_what_was_forgotten() {
    let place = Place::new();
    let fs = place.open();
    let root = NodeRef::root(Arc::clone(&fs));
    for number in 0..20 {
        fs::create_dir(place.inside.join(format!("d{number}"))).unwrap();
        fs::write(place.inside.join(format!("d{number}/f")), "content").unwrap();
    }
    assert_eq!(open_below(&place.inside), 1);
    let mut held = Vec::new();
    for number in 0..20 {
        let dir = lookup(&root, &format!("d{number}")).unwrap();
        fs.for_each_entry(dir.node(), |_| Ok(())).unwrap();
        let file = lookup(&dir, "f").unwrap();
        held.push((dir, file));
    }
    assert_eq!(open_below(&place.inside), 21, "files are opened when used");
    for (dir, file) in &held {
        assert_eq!(fs.read_to_vec(file.node()).unwrap(), b"content");
        fs.writable().unwrap().unlink(dir.node(), name("f")).unwrap();
    }
    assert_eq!(open_below(&place.inside), 41);
    drop(held);
    assert_eq!(open_below(&place.inside), 1);
}

#[test]
fn read_only_has_no_writing_half() {
    let place = Place::new();
    fs::write(place.inside.join("f"), "content").unwrap();
    let fs: Arc<dyn FileSystem> = Arc::new(HostFs::open(&place.inside).unwrap().read_only());
    assert_eq!(fs.writable().err().unwrap(), Errno::ReadOnly);
    let file = lookup(&NodeRef::root(Arc::clone(&fs)), "f").unwrap();
    assert_eq!(fs.read_to_vec(file.node()).unwrap(), b"content");
    // Opened without the right to write: a busy program or a read-only file is no obstacle.
    let flags = fs::read_dir("/proc/self/fdinfo").unwrap().filter_map(|entry| {
        let entry = entry.unwrap();
        let target = fs::read_link(Path::new("/proc/self/fd").join(entry.file_name())).ok()?;
        target.starts_with(&place.inside).then(|| fs::read_to_string(entry.path()).unwrap())
    });
    for info in flags {
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim().to_owned();
        assert_eq!(u32::from_str_radix(&flags, 8).unwrap() & 0o3, 0, "{info}");
    }
}

#[test]
fn tells_that_it_may_block_and_how_full_it_is() {
    let place = Place::new();
    let fs = place.open();
    let info = fs.info();
    assert!(info.may_block && info.kind == "dir");
    assert!(info.total_bytes.unwrap() >= info.free_bytes.unwrap());
    fs.writable().unwrap().sync(SyncScope::All).unwrap();
}

#[test]
fn opening_what_is_no_directory() {
    let place = Place::new();
    assert_eq!(HostFs::open(place.inside.join("nothing")).unwrap_err(), Errno::NotFound);
    assert_eq!(HostFs::open(place.outside.join("secret")).unwrap_err(), Errno::NotDir);
}
