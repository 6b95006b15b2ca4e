//! Mounting and unmounting.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mountless::Namespace;
use mountless::backend::mem::{MemFs, MemOptions};
use mountless::fs::FileSystem;
use mountless_fuse::{MountOptions, Session};
use rustix::process::Signal;

use super::mount::memory;

pub(crate) const CHECKS: &[(&str, fn())] = &[
    ("unmounting_loses_nothing", unmounting_loses_nothing),
    ("a_busy_mount_is_served_until_closed", a_busy_mount_is_served_until_closed),
    ("dropping_unmounts", dropping_unmounts),
    ("signals_unmount", signals_unmount),
    ("unmounted_by_others", unmounted_by_others),
    ("forgotten_nodes_are_freed", forgotten_nodes_are_freed),
    ("what_cannot_be_changed_is_mounted_so", what_cannot_be_changed_is_mounted_so),
    ("mounts_of_a_namespace_are_seen", mounts_of_a_namespace_are_seen),
    ("changes_from_inside_are_seen_when_shared", changes_from_inside_are_seen_when_shared),
    ("a_full_tree_says_so", a_full_tree_says_so),
    ("no_place_to_mount", no_place_to_mount),
];

fn mounted(namespace: &Namespace, options: &MountOptions) -> (Session, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (Session::mount(namespace.clone(), dir.path(), options).unwrap(), dir)
}

fn is_mounted(path: &Path) -> bool {
    fs::read_to_string("/proc/self/mounts").unwrap().contains(path.to_str().unwrap())
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn unmounting_loses_nothing() {
    let namespace = Namespace::new(memory());
    let (session, dir) = mounted(&namespace, &MountOptions::new());
    let content: Vec<u8> = (0..3_000_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    // Never synced: the kernel still holds it.
    fs::write(dir.path().join("f"), &content).unwrap();
    session.unmount().unwrap();
    assert!(!is_mounted(dir.path()));
    assert!(namespace.read("/f").unwrap() == content);
}

fn a_busy_mount_is_served_until_closed() {
    let namespace = Namespace::new(memory());
    let (session, dir) = mounted(&namespace, &MountOptions::new());
    let mut file = OpenOptions::new().write(true).create_new(true).open(dir.path().join("f")).unwrap();
    file.write_all(b"before ").unwrap();
    let unmounter = session.unmounter();
    unmounter.unmount().unwrap();
    unmounter.unmount().unwrap();
    assert!(!is_mounted(dir.path()) && fs::read_dir(dir.path()).unwrap().count() == 0);
    assert_eq!(namespace.read("/f").unwrap(), b"before ", "written out already");
    file.write_all(b"after").unwrap();
    drop(file);
    session.wait().unwrap();
    assert_eq!(namespace.read("/f").unwrap(), b"before after");
}

fn dropping_unmounts() {
    let namespace = Namespace::new(memory());
    let (session, dir) = mounted(&namespace, &MountOptions::new());
    assert!(is_mounted(dir.path()));
    fs::write(dir.path().join("f"), "content").unwrap();
    drop(session);
    assert!(!is_mounted(dir.path()));
    assert_eq!(namespace.read("/f").unwrap(), b"content");
}

fn unmounted_by_others() {
    let namespace = Namespace::new(memory());
    let (session, dir) = mounted(&namespace, &MountOptions::new());
    fs::write(dir.path().join("f"), "content").unwrap();
    assert!(Command::new("umount").arg(dir.path()).status().unwrap().success());
    session.wait().unwrap();
    assert_eq!(namespace.read("/f").unwrap(), b"content");
}

/// The example, which does no more than [`mountless_fuse::mount`].
fn example(arguments: &[&Path]) -> Child {
    let here = std::env::current_exe().unwrap();
    let program: PathBuf = here.parent().unwrap().parent().unwrap().join("examples/mount");
    assert!(program.exists(), "build the examples first: {}", program.display());
    Command::new(program).args(arguments).spawn().unwrap()
}

fn signals_unmount() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let dir = tempfile::tempdir().unwrap();
        let mut child = example(&[dir.path()]);
        wait_until("mounted", || is_mounted(dir.path()));
        fs::write(dir.path().join("f"), "content").unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, signal).unwrap();
        assert!(child.wait().unwrap().success(), "{signal:?}");
        assert!(!is_mounted(dir.path()));
    }
}

fn forgotten_nodes_are_freed() {
    let fs: Arc<dyn FileSystem> = Arc::new(MemOptions::new().max_nodes(200).build());
    let namespace = Namespace::new(Arc::clone(&fs));
    for options in [MountOptions::new(), MountOptions::new().shared(true)] {
        let (session, dir) = mounted(&namespace, &options);
        for turn in 0..10 {
            let path = |number: i32| dir.path().join(format!("{turn}-{number}"));
            for number in 0..50 {
                fs::write(path(number), "content").unwrap();
            }
            let listed = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().ino());
            assert_eq!(listed.collect::<BTreeSet<_>>().len(), 50);
            let open = fs::File::open(path(0)).unwrap();
            for number in 0..50 {
                fs::remove_file(path(number)).unwrap();
            }
            wait_until("all but the open one are freed", || fs.info().free_nodes == Some(198));
            drop(open);
            wait_until("and that one", || fs.info().free_nodes == Some(199));
        }
        session.unmount().unwrap();
    }
}

fn what_cannot_be_changed_is_mounted_so() {
    let lower = MemFs::new();
    let tree = mountless::compose::Overlay::read_only(vec![Arc::new(lower)]).unwrap();
    let (_session, dir) = mounted(&Namespace::new(Arc::new(tree)), &MountOptions::new());
    let error = fs::write(dir.path().join("f"), "").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    let (_session, dir) = mounted(&Namespace::new(memory()), &MountOptions::new().read_only(true));
    let error = fs::create_dir(dir.path().join("d")).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
}

fn mounts_of_a_namespace_are_seen() {
    let namespace = Namespace::new(memory());
    namespace.create_dir("/data").unwrap();
    namespace.create_dir("/fixed").unwrap();
    let inner = Namespace::new(memory());
    inner.write("/inside", "content").unwrap();
    let writable = mountless::namespace::MountOptions::default();
    namespace.mount("/data", Arc::new(MemFs::new()), writable).unwrap();
    let read_only = mountless::namespace::MountOptions { read_only: true };
    let fixed = Arc::new(MemFs::new());
    Namespace::new(Arc::clone(&fixed) as _).write("/inside", "content").unwrap();
    namespace.mount("/fixed", fixed, read_only).unwrap();
    let (_session, dir) = mounted(&namespace, &MountOptions::new());
    let at = |path: &str| dir.path().join(path);
    fs::write(at("data/f"), "content").unwrap();
    assert_eq!(namespace.read("/data/f").unwrap().len(), 7);
    assert_eq!(fs::read(at("fixed/inside")).unwrap(), b"content");
    let error = OpenOptions::new().write(true).open(at("fixed/inside")).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    assert_eq!(fs::remove_dir(at("data")).unwrap_err().kind(), std::io::ErrorKind::ResourceBusy);
    assert_eq!(fs::rename(at("fixed"), at("moved")).unwrap_err().kind(), std::io::ErrorKind::ResourceBusy);
    fs::write(at("f"), "").unwrap();
    assert_eq!(fs::hard_link(at("f"), at("data/g")).unwrap_err().kind(), std::io::ErrorKind::CrossesDevices);
    assert_eq!(fs::rename(at("f"), at("data/g")).unwrap_err().kind(), std::io::ErrorKind::CrossesDevices);
    // The roots of all three show the number 1.
    let inos = ["", "data", "fixed"].map(|path| at(path).metadata().unwrap().ino());
    assert!(inos[0] != inos[1] && inos[1] != inos[2], "{inos:?}");
}

fn changes_from_inside_are_seen_when_shared() {
    let namespace = Namespace::new(memory());
    let soon = Duration::from_millis(1);
    let (_session, dir) = mounted(&namespace, &MountOptions::new().shared(true).timeouts(soon, soon));
    for turn in 0..5 {
        namespace.write("/f", format!("{turn}").repeat(turn + 1)).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(fs::read_to_string(dir.path().join("f")).unwrap(), format!("{turn}").repeat(turn + 1));
    }
    namespace.remove_file("/f").unwrap();
    std::thread::sleep(Duration::from_millis(20));
    assert!(!dir.path().join("f").exists());
}

fn a_full_tree_says_so() {
    let tree = Arc::new(MemOptions::new().max_bytes(1 << 20).max_nodes(10).build());
    let (_session, dir) = mounted(&Namespace::new(tree), &MountOptions::new().cache_writes(false));
    let error = fs::write(dir.path().join("f"), vec![1; 2 << 20]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    let statfs = rustix::fs::statvfs(dir.path()).unwrap();
    assert_eq!((statfs.f_blocks * statfs.f_frsize, statfs.f_bavail, statfs.f_files), (1 << 20, 0, 10));
    fs::remove_file(dir.path().join("f")).unwrap();
    wait_until("space comes back", || rustix::fs::statvfs(dir.path()).unwrap().f_bavail == 256);
}

fn no_place_to_mount() {
    let missing = Session::mount(Namespace::new(memory()), "/no/such/place", &MountOptions::new());
    assert_eq!(missing.unwrap_err().kind(), std::io::ErrorKind::NotFound);
}
