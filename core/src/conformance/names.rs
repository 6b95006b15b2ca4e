//! Names and the nodes they are given to.

use super::{Tree, group, name, new};
use crate::attr::{Device, FileType, SetAttr};
use crate::errno::Errno;
use crate::fs::{NewKind, NewNode, NodeId, NodeRef};
use crate::limits::{NAME_MAX, SYMLINK_MAX};

group! { "names":
    any_bytes,
    longest,
    case_matters,
    missing,
    below_a_file,
    create_never_replaces,
    files_and_directories,
    symlinks_hold_any_target,
    longest_target,
    empty_target,
    devices,
    pipes_and_sockets,
    whiteouts,
    modes_are_kept,
    owners_are_kept,
    lookups_agree_on_the_node,
    unknown_nodes_are_stale,
    root_needs_no_reference,
    ids_are_not_reused,
    many_threads_create_in_one_directory,
}

fn any_bytes(t: &Tree) {
    let names: &[&[u8]] = &[b" ", b"...", b"-rf", b"\xff\xfe", b"a\nb", b"\\", b"\x01", "grün".as_bytes(), b".wh.x"];
    for bytes in names {
        let made = t.create(&t.root, bytes, &new(NewKind::File)).unwrap();
        assert_eq!(t.lookup(&t.root, bytes).unwrap().node(), made.node());
    }
    assert_eq!(t.list(&t.root).split(',').count(), names.len());
    for bytes in names {
        t.unlink(&t.root, bytes).unwrap();
        assert_eq!(t.lookup(&t.root, bytes).unwrap_err(), Errno::NotFound);
    }
}

fn longest(t: &Tree) {
    let long = "n".repeat(NAME_MAX);
    let made = t.file(&t.root, &long);
    assert_eq!(t.lookup(&t.root, &long).unwrap().node(), made.node());
    assert_eq!(t.list(&t.root), long);
    t.rename((&t.root, &long), (&t.root, &"m".repeat(NAME_MAX))).unwrap();
    assert!(!t.has(&t.root, &long));
}

fn case_matters(t: &Tree) {
    let (small, large) = (t.file(&t.root, "a"), t.dir(&t.root, "A"));
    assert_ne!(small.node(), large.node());
    assert_eq!(t.list(&t.root), "A,a");
}

fn missing(t: &Tree) {
    assert_eq!(t.lookup(&t.root, "nothing").unwrap_err(), Errno::NotFound);
    assert_eq!(t.unlink(&t.root, "nothing").unwrap_err(), Errno::NotFound);
    assert_eq!(t.remove_dir(&t.root, "nothing").unwrap_err(), Errno::NotFound);
    assert_eq!(t.rename((&t.root, "nothing"), (&t.root, "other")).unwrap_err(), Errno::NotFound);
}

fn below_a_file(t: &Tree) {
    let target = t.file(&t.root, "target");
    for node in [t.file(&t.root, "f"), t.symlink(&t.root, "l", b".")] {
        assert_eq!(t.lookup(&node, "x").unwrap_err(), Errno::NotDir);
        assert_eq!(t.create(&node, "x", &new(NewKind::File)).unwrap_err(), Errno::NotDir);
        assert_eq!(t.create(&node, "x", &new(NewKind::Dir)).unwrap_err(), Errno::NotDir);
        assert_eq!(t.link(&target, &node, "x").unwrap_err(), Errno::NotDir);
        assert_eq!(t.unlink(&node, "x").unwrap_err(), Errno::NotDir);
        assert_eq!(t.remove_dir(&node, "x").unwrap_err(), Errno::NotDir);
        assert_eq!(t.rename((&t.root, "target"), (&node, "x")).unwrap_err(), Errno::NotDir);
        assert_eq!(t.rename((&node, "x"), (&t.root, "y")).unwrap_err(), Errno::NotDir);
    }
    assert_eq!(t.list(&t.root), "f,l,target");
}

fn create_never_replaces(t: &Tree) {
    let file = t.file_with(&t.root, "file", b"kept");
    t.dir(&t.root, "dir");
    t.symlink(&t.root, "dangling", b"nowhere");
    t.symlink(&t.root, "to-file", b"file");
    for at in ["file", "dir", "dangling", "to-file"] {
        for kind in [NewKind::File, NewKind::Dir, NewKind::Symlink(b"x")] {
            assert_eq!(t.create(&t.root, at, &new(kind)).unwrap_err(), Errno::Exists, "{at}");
        }
        assert_eq!(t.link(&file, &t.root, at).unwrap_err(), Errno::Exists, "{at}");
    }
    assert_eq!(t.read(&file), b"kept");
    assert_eq!(t.list(&t.root), "dangling,dir,file,to-file");
}

fn files_and_directories(t: &Tree) {
    let file = t.attr(&t.file(&t.root, "f"));
    assert_eq!((file.file_type, file.nlink, file.size, file.rdev), (FileType::File, 1, 0, None));
    assert_ne!(file.ino, 0);
    let dir = t.dir(&t.root, "d");
    assert_eq!(t.attr(&dir).file_type, FileType::Dir);
    t.assert_subdirs(&dir, 0);
    t.assert_subdirs(&t.root, 1);
    assert_eq!(t.list(&dir), "");
    assert_eq!(t.fs().read_link(dir.node()).unwrap_err(), Errno::Invalid);
    assert_eq!(t.fs().read_at(dir.node(), 0, &mut [0]).unwrap_err(), Errno::IsDir);
    assert_eq!(t.fs().read_shared(dir.node(), 0, 1).unwrap_err(), Errno::IsDir);
    assert_eq!(t.fs().extent_at(dir.node(), 0).unwrap_err(), Errno::IsDir);
}

fn symlinks_hold_any_target(t: &Tree) {
    for (at, target) in [("a", &b"/etc/passwd"[..]), ("b", b"../../x"), ("c", b"\xff\n"), ("d", b"a//b/"), ("e", b"e")]
    {
        let made = t.symlink(&t.root, at, target);
        assert_eq!(t.fs().read_link(made.node()).unwrap(), target);
        let found = t.lookup(&t.root, at).unwrap();
        assert_eq!((found.node(), found.file_type()), (made.node(), FileType::Symlink), "{at} is not followed");
        let attr = t.attr(&made);
        assert_eq!((attr.file_type, attr.size, attr.nlink), (FileType::Symlink, target.len() as u64, 1));
        assert_eq!(t.fs().read_at(made.node(), 0, &mut [0]).unwrap_err(), Errno::Invalid);
    }
}

fn longest_target(t: &Tree) {
    let target = "x/".repeat(SYMLINK_MAX / 2) + "x";
    let link = t.symlink(&t.root, "l", target.as_bytes());
    assert_eq!(t.fs().read_link(link.node()).unwrap(), target);
    let longer = target + "y";
    let refused = t.create(&t.root, "m", &new(NewKind::Symlink(longer.as_bytes())));
    assert_eq!(refused.unwrap_err(), Errno::NameTooLong);
    assert!(!t.has(&t.root, "m"));
}

fn empty_target(t: &Tree) {
    match t.create(&t.root, "l", &new(NewKind::Symlink(b""))) {
        Ok(link) => {
            assert!(t.can.empty_links);
            assert_eq!(t.fs().read_link(link.node()).unwrap(), "");
            assert_eq!(t.attr(&link).size, 0);
        }
        Err(error) => {
            assert!(!t.can.empty_links && (error == Errno::NotFound || error == Errno::NotSupported), "{error:?}");
            assert_eq!(t.list(&t.root), "");
        }
    }
}

/// Checks that a node without content is made as `kind`, or refused with one of `refusals` and no trace.
fn special(t: &Tree, at: &str, kind: NewKind<'_>, can: bool, refusals: &[Errno]) -> Option<NodeRef> {
    match t.create(&t.root, at, &new(kind)) {
        Ok(node) => {
            assert!(can, "{kind:?} was not expected to work");
            assert_eq!(t.attr(&node).file_type, kind.file_type());
            assert_eq!(t.lookup(&t.root, at).unwrap().file_type(), kind.file_type());
            assert_eq!(t.fs().read_at(node.node(), 0, &mut [0]).unwrap_err(), Errno::Invalid);
            assert_eq!(t.fs().read_link(node.node()).unwrap_err(), Errno::Invalid);
            t.unlink(&t.root, at).unwrap();
            Some(node)
        }
        Err(error) => {
            assert!(!can && refusals.iter().any(|errno| error == *errno), "{kind:?}: {error:?}");
            assert!(!t.has(&t.root, at));
            None
        }
    }
}

fn devices(t: &Tree) {
    for (major, minor) in [(1, 3), (0xfff, 0xf_ffff), (8, 0)] {
        let device = Device { major, minor };
        for kind in [NewKind::Char(device), NewKind::Block(device)] {
            let refusals = [Errno::NotPermitted, Errno::NotSupported];
            if let Some(node) = special(t, "device", kind, t.can.devices, &refusals) {
                assert_eq!(t.attr(&node).rdev, Some(device));
            }
        }
    }
}

fn pipes_and_sockets(t: &Tree) {
    for kind in [NewKind::Fifo, NewKind::Socket] {
        if let Some(node) = special(t, "special", kind, t.can.pipes, &[Errno::NotSupported]) {
            assert_eq!(t.attr(&node).rdev, None);
        }
    }
}

fn whiteouts(t: &Tree) {
    special(t, "gone", NewKind::Whiteout, t.can.whiteouts, &[Errno::NotSupported]);
    let dir = t.dir(&t.root, "d");
    assert!(!t.attr(&dir).opaque);
    match t.set(&dir, SetAttr { opaque: Some(true), ..SetAttr::default() }) {
        Ok(attr) => assert!(t.can.whiteouts && attr.opaque && t.attr(&dir).opaque),
        Err(error) => assert!(!t.can.whiteouts && error == Errno::NotSupported, "{error:?}"),
    }
}

fn modes_are_kept(t: &Tree) {
    for mode in [0, 0o7, 0o644, 0o1777, 0o4755, 0o2711, 0o7777] {
        for kind in [NewKind::File, NewKind::Dir] {
            let made = t.create(&t.root, "x", &NewNode { mode, ..new(kind) }).unwrap();
            assert_eq!(t.attr(&made).mode, mode, "{kind:?}");
            match kind {
                NewKind::Dir => t.remove_dir(&t.root, "x").unwrap(),
                _ => t.unlink(&t.root, "x").unwrap(),
            }
        }
    }
}

fn owners_are_kept(t: &Tree) {
    for kind in [NewKind::File, NewKind::Dir, NewKind::Symlink(b"x")] {
        match t.writable().create(t.root.node(), name("x"), &NewNode { uid: 12, gid: 345_678, ..new(kind) }) {
            Ok(entry) => {
                let made = NodeRef::from_entry(alloc::sync::Arc::clone(t.fs()), entry);
                assert!(t.can.owners);
                let attr = t.attr(&made);
                assert_eq!((attr.uid, attr.gid), (12, 345_678), "{kind:?}");
                t.rename((&t.root, "x"), (&t.root, made.file_type().word())).unwrap();
            }
            Err(error) => {
                assert!(!t.can.owners && error == Errno::NotPermitted, "{error:?}");
                assert!(!t.has(&t.root, "x"), "no trace");
            }
        }
    }
}

fn lookups_agree_on_the_node(t: &Tree) {
    let made = t.file(&t.root, "f");
    let (first, second) = (t.lookup(&t.root, "f").unwrap(), t.lookup(&t.root, "f").unwrap());
    assert_eq!([first.node(), second.node()], [made.node(); 2]);
    drop((first, made));
    assert_eq!(t.attr(&second).file_type, FileType::File, "one reference is enough");
    assert_eq!(t.lookup(&t.root, "f").unwrap().node(), second.node());
}

fn unknown_nodes_are_stale(t: &Tree) {
    let unknown = NodeId::new((1 << 61) + 77);
    assert_eq!(t.fs().attr(unknown).unwrap_err(), Errno::Stale);
    assert_eq!(t.fs().lookup(unknown, name("x")).unwrap_err(), Errno::Stale);
    assert_eq!(t.fs().read_at(unknown, 0, &mut [0]).unwrap_err(), Errno::Stale);
    assert_eq!(t.writable().create(unknown, name("x"), &new(NewKind::File)).unwrap_err(), Errno::Stale);
    assert_eq!(t.writable().link(unknown, t.root.node(), name("x")).unwrap_err(), Errno::Stale);
    t.fs().forget(unknown, 1);
}

fn root_needs_no_reference(t: &Tree) {
    t.fs().forget(t.root.node(), 5);
    t.file(&t.root, "f");
    assert_eq!(t.list(&t.root), "f");
    assert_eq!(t.attr(&t.root).file_type, FileType::Dir);
}

fn ids_are_not_reused(t: &Tree) {
    let mut seen = alloc::vec::Vec::new();
    for _ in 0..20 {
        let id = t.file(&t.root, "f").node();
        assert!(!seen.contains(&id), "{id:?} is dealt twice");
        seen.push(id);
        t.unlink(&t.root, "f").unwrap();
    }
}

fn many_threads_create_in_one_directory(t: &Tree) {
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for number in 0..100 {
                    let at = format!("{thread}-{number}");
                    let file = t.file_with(&t.root, &at, at.as_bytes());
                    assert_eq!(t.read(&file), at.as_bytes());
                    if number % 2 == 0 {
                        t.unlink(&t.root, &at).unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(t.list(&t.root).split(',').count(), 200);
}
