//! Changing attributes.

use super::{Tree, group};
use crate::attr::{SetAttr, SetTime};
use crate::clock::Timestamp;
use crate::errno::Errno;

group! { "attrs":
    mode_changes,
    owner_changes,
    modes_of_links,
    nothing_to_change,
    answers_what_attr_says,
    all_or_nothing,
    stays_on_the_node,
    opaque_is_for_directories,
}

fn mode_changes(t: &Tree) {
    for node in [t.file(&t.root, "f"), t.dir(&t.root, "d")] {
        for mode in [0o7777, 0o600, 0, 0o755] {
            let attr = t.set(&node, SetAttr { mode: Some(mode), ..SetAttr::default() }).unwrap();
            assert_eq!((attr.mode, t.attr(&node).mode), (mode, mode));
        }
    }
}

fn owner_changes(t: &Tree) {
    for node in [t.file(&t.root, "f"), t.dir(&t.root, "d"), t.symlink(&t.root, "l", b"f")] {
        let old = t.attr(&node);
        match t.set(&node, SetAttr { uid: Some(77), gid: Some(88), ..SetAttr::default() }) {
            Ok(attr) => {
                assert!(t.can.owners);
                assert_eq!((attr.uid, attr.gid), (77, 88));
                let attr = t.set(&node, SetAttr { gid: Some(99), ..SetAttr::default() }).unwrap();
                assert_eq!((attr.uid, attr.gid), (77, 99), "one without the other");
            }
            Err(error) => {
                assert!(!t.can.owners && error == Errno::NotPermitted, "{error:?}");
                assert_eq!(t.attr(&node), old);
            }
        }
    }
}

fn modes_of_links(t: &Tree) {
    let file = t.file(&t.root, "f");
    let link = t.symlink(&t.root, "l", b"f");
    let (of_file, of_link) = (t.attr(&file).mode, t.attr(&link).mode);
    match t.set(&link, SetAttr { mode: Some(0o700), ..SetAttr::default() }) {
        Ok(attr) => assert!(t.can.link_modes && attr.mode == 0o700),
        Err(error) => {
            assert!(!t.can.link_modes && error == Errno::NotSupported, "{error:?}");
            assert_eq!(t.attr(&link).mode, of_link);
        }
    }
    assert_eq!(t.attr(&file).mode, of_file, "the link is not followed");
}

fn nothing_to_change(t: &Tree) {
    for node in [t.file(&t.root, "f"), t.dir(&t.root, "d"), t.symlink(&t.root, "l", b"f")] {
        let old = t.attr(&node);
        std::thread::sleep(core::time::Duration::from_millis(20));
        assert_eq!(t.set(&node, SetAttr::default()).unwrap(), old);
        assert_eq!(t.attr(&node), old);
    }
}

fn answers_what_attr_says(t: &Tree) {
    let file = t.file_with(&t.root, "f", b"some bytes");
    let time = SetTime::At(Timestamp::from_secs(1_000_000));
    let changes =
        SetAttr { mode: Some(0o640), size: Some(4), atime: Some(time), mtime: Some(time), ..SetAttr::default() };
    let attr = t.set(&file, changes).unwrap();
    assert_eq!((attr.mode, attr.size, attr.mtime.secs, attr.atime.secs), (0o640, 4, 1_000_000, 1_000_000));
    assert_eq!(t.attr(&file), attr);
    assert_eq!(t.read(&file), b"some");
}

fn all_or_nothing(t: &Tree) {
    let dir = t.dir(&t.root, "d");
    let old = t.attr(&dir);
    let changes = SetAttr { mode: Some(0o111), size: Some(0), ..SetAttr::default() };
    assert_eq!(t.set(&dir, changes).unwrap_err(), Errno::IsDir);
    assert_eq!(t.attr(&dir), old);
    let link = t.symlink(&t.root, "l", b"d");
    let old = t.attr(&link);
    let changes = SetAttr { mtime: Some(SetTime::Now), size: Some(0), ..SetAttr::default() };
    assert_eq!(t.set(&link, changes).unwrap_err(), Errno::Invalid);
    assert_eq!(t.attr(&link), old);
    let file = t.file_with(&t.root, "f", b"kept");
    let old = t.attr(&file);
    let changes = SetAttr { mode: Some(0o111), size: Some(u64::MAX), ..SetAttr::default() };
    assert_eq!(t.set(&file, changes).unwrap_err(), Errno::FileTooBig);
    assert_eq!(t.attr(&file), old);
}

fn stays_on_the_node(t: &Tree) {
    let file = t.file(&t.root, "f");
    t.link(&file, &t.root, "g").unwrap();
    let other = t.lookup(&t.root, "g").unwrap();
    t.set(&other, SetAttr { mode: Some(0o601), ..SetAttr::default() }).unwrap();
    assert_eq!(t.attr(&file).mode, 0o601);
    drop((file, other));
    t.rename((&t.root, "g"), (&t.root, "h")).unwrap();
    assert_eq!(t.attr(&t.lookup(&t.root, "h").unwrap()).mode, 0o601);
    assert_eq!(t.attr(&t.lookup(&t.root, "f").unwrap()).mode, 0o601);
}

fn opaque_is_for_directories(t: &Tree) {
    let file = t.file(&t.root, "f");
    let refused = t.set(&file, SetAttr { opaque: Some(true), ..SetAttr::default() });
    assert_eq!(refused.unwrap_err(), Errno::NotSupported);
    assert!(!t.attr(&file).opaque);
}
