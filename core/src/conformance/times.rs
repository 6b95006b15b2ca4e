//! Which operation moves which time.

use core::time::Duration;

use super::{NodeRef, Tree, group, new};
use crate::attr::{SetAttr, SetTime};
use crate::clock::Timestamp;
use crate::errno::Errno;
use crate::fs::{NewKind, RenameMode};

group! { "times":
    of_a_new_node,
    writing,
    resizing,
    reading_moves_neither,
    changing_attributes,
    creating,
    linking,
    unlinking,
    removing_a_directory,
    renaming,
    exchanging,
    refused_changes,
    set_exactly,
    set_to_now,
    set_on_a_link_itself,
    set_one_of_them,
    change_time_given,
}

const PAST: Timestamp = Timestamp { secs: 1_000_000_000, nanos: 0 };

/// Which times of `node` an operation moved.
#[derive(PartialEq, Eq, Debug)]
enum Moved {
    Nothing,
    Change,
    /// Modification and change.
    Both,
}

/// Runs `operation` and tells which times of each of `nodes` it moved.
fn moved<const N: usize>(t: &Tree, nodes: [&NodeRef; N], operation: impl FnOnce()) -> [Moved; N] {
    let before = nodes.map(|node| {
        t.set(node, SetAttr { mtime: Some(SetTime::At(PAST)), ..SetAttr::default() }).unwrap();
        t.attr(node)
    });
    // Longer than the tick of any host's clock.
    std::thread::sleep(Duration::from_millis(20));
    operation();
    let mut before = before.into_iter();
    nodes.map(|node| {
        let (before, after) = (before.next().unwrap(), t.attr(node));
        assert!(after.ctime >= before.ctime);
        match (after.mtime != before.mtime, after.ctime != before.ctime) {
            (false, false) => Moved::Nothing,
            (false, true) => Moved::Change,
            (true, true) => Moved::Both,
            (true, false) => panic!("mtime without ctime"),
        }
    })
}

fn seconds_since(time: Timestamp) -> i64 {
    Timestamp::from(std::time::SystemTime::now()).secs - time.secs
}

fn of_a_new_node(t: &Tree) {
    for (at, kind) in [("f", NewKind::File), ("d", NewKind::Dir), ("l", NewKind::Symlink(b"x"))] {
        let attr = t.attr(&t.create(&t.root, at, &new(kind)).unwrap());
        for time in [attr.atime, attr.mtime, attr.ctime] {
            assert!((-2..60).contains(&seconds_since(time)), "{time:?}");
        }
    }
}

fn writing(t: &Tree) {
    let file = t.file_with(&t.root, "f", b"x");
    assert_eq!(moved(t, [&file, &t.root], || t.write(&file, 0, b"y")), [Moved::Both, Moved::Nothing]);
    assert_eq!(moved(t, [&file], || assert_eq!(t.append(&file, b"y").count, 1)), [Moved::Both]);
    let shared = || t.writable().write_shared(file.node(), 0, vec![1; 5000].into()).unwrap();
    assert_eq!(moved(t, [&file], shared), [Moved::Both]);
    assert!((-2..60).contains(&seconds_since(t.attr(&file).mtime)));
}

fn resizing(t: &Tree) {
    let file = t.file_with(&t.root, "f", b"12345");
    assert_eq!(moved(t, [&file], || t.resize(&file, 3).unwrap()), [Moved::Both]);
    assert_eq!(moved(t, [&file], || t.resize(&file, 9).unwrap()), [Moved::Both]);
}

fn reading_moves_neither(t: &Tree) {
    let dir = t.dir(&t.root, "d");
    let file = t.file_with(&dir, "f", b"12345");
    let link = t.symlink(&dir, "l", b"f");
    let read = || {
        t.read(&file);
        t.list(&dir);
        t.fs().read_link(link.node()).unwrap();
        t.lookup(&dir, "f").unwrap();
    };
    assert_eq!(moved(t, [&file, &dir, &link], read), [Moved::Nothing, Moved::Nothing, Moved::Nothing]);
}

fn changing_attributes(t: &Tree) {
    let file = t.file(&t.root, "f");
    let mode = || assert!(t.set(&file, SetAttr { mode: Some(0o600), ..SetAttr::default() }).is_ok());
    assert_eq!(moved(t, [&file, &t.root], mode), [Moved::Change, Moved::Nothing]);
    if t.can.xattrs {
        let set = || t.writable().set_xattr(file.node(), b"user.x", b"y", crate::fs::XattrMode::Set).unwrap();
        assert_eq!(moved(t, [&file], set), [Moved::Change]);
        let remove = || t.writable().remove_xattr(file.node(), b"user.x").unwrap();
        assert_eq!(moved(t, [&file], remove), [Moved::Change]);
    }
}

fn creating(t: &Tree) {
    let dir = t.dir(&t.root, "d");
    for (at, kind) in [("f", NewKind::File), ("d", NewKind::Dir), ("l", NewKind::Symlink(b"x"))] {
        let create = || drop(t.create(&dir, at, &new(kind)).unwrap());
        assert_eq!(moved(t, [&dir, &t.root], create), [Moved::Both, Moved::Nothing], "{kind:?}");
    }
}

fn linking(t: &Tree) {
    let (dir, file) = (t.dir(&t.root, "d"), t.file(&t.root, "f"));
    let link = || t.link(&file, &dir, "g").unwrap();
    assert_eq!(moved(t, [&dir, &file, &t.root], link), [Moved::Both, Moved::Change, Moved::Nothing]);
}

fn unlinking(t: &Tree) {
    let dir = t.dir(&t.root, "d");
    let file = t.file(&dir, "f");
    t.link(&file, &dir, "g").unwrap();
    for at in ["f", "g"] {
        let unlink = || t.unlink(&dir, at).unwrap();
        assert_eq!(moved(t, [&dir, &file, &t.root], unlink), [Moved::Both, Moved::Change, Moved::Nothing]);
    }
}

fn removing_a_directory(t: &Tree) {
    let dir = t.dir(&t.root, "d");
    t.dir(&dir, "e");
    assert_eq!(moved(t, [&dir, &t.root], || t.remove_dir(&dir, "e").unwrap()), [Moved::Both, Moved::Nothing]);
}

fn renaming(t: &Tree) {
    let (a, b) = (t.dir(&t.root, "a"), t.dir(&t.root, "b"));
    let (file, old) = (t.file(&a, "f"), t.file(&b, "g"));
    let rename = || t.rename((&a, "f"), (&b, "g")).unwrap();
    assert_eq!(
        moved(t, [&a, &b, &file, &old, &t.root], rename),
        [Moved::Both, Moved::Both, Moved::Change, Moved::Change, Moved::Nothing]
    );
    let rename = || t.rename((&b, "g"), (&b, "h")).unwrap();
    assert_eq!(moved(t, [&a, &b, &file], rename), [Moved::Nothing, Moved::Both, Moved::Change]);
    t.link(&file, &b, "same").unwrap();
    let rename = || t.rename((&b, "h"), (&b, "same")).unwrap();
    assert_eq!(moved(t, [&b, &file], rename), [Moved::Nothing, Moved::Nothing], "two names of one node");
}

fn exchanging(t: &Tree) {
    let (a, b) = (t.dir(&t.root, "a"), t.dir(&t.root, "b"));
    let (x, y) = (t.file(&a, "x"), t.file(&b, "y"));
    let exchange = || t.rename_as((&a, "x"), (&b, "y"), RenameMode::Exchange).unwrap();
    assert_eq!(moved(t, [&a, &b, &x, &y], exchange), [Moved::Both, Moved::Both, Moved::Change, Moved::Change]);
}

fn refused_changes(t: &Tree) {
    let dir = t.dir(&t.root, "d");
    let (file, below) = (t.file(&dir, "f"), t.dir(&dir, "below"));
    let refused = || {
        assert_eq!(t.create(&dir, "f", &new(NewKind::File)).unwrap_err(), Errno::Exists);
        assert_eq!(t.unlink(&dir, "below").unwrap_err(), Errno::IsDir);
        assert_eq!(t.unlink(&dir, "nothing").unwrap_err(), Errno::NotFound);
        assert_eq!(t.rename((&dir, "f"), (&dir, "below")).unwrap_err(), Errno::IsDir);
        assert_eq!(t.rename((&t.root, "d"), (&below, "x")).unwrap_err(), Errno::Invalid);
    };
    assert_eq!(moved(t, [&dir, &file, &below], refused), [Moved::Nothing, Moved::Nothing, Moved::Nothing]);
}

fn set_exactly(t: &Tree) {
    for node in [t.file(&t.root, "f"), t.dir(&t.root, "d")] {
        for (secs, nanos) in [(0, 0), (1, 999_999_999), (4_102_444_800, 1), (-1, 500_000_000), (-86_400, 0)] {
            if !t.can.exact_times && (secs < 0 || nanos != 0) {
                continue;
            }
            let (time, other) = (Timestamp { secs, nanos }, PAST);
            let changes =
                SetAttr { mtime: Some(SetTime::At(time)), atime: Some(SetTime::At(other)), ..SetAttr::default() };
            let attr = t.set(&node, changes).unwrap();
            assert_eq!((attr.mtime, attr.atime), (time, other));
            assert_eq!((t.attr(&node).mtime, t.attr(&node).atime), (time, other));
            assert!((-2..60).contains(&seconds_since(attr.ctime)), "the change itself is now");
        }
    }
}

fn set_to_now(t: &Tree) {
    let file = t.file(&t.root, "f");
    let now = Some(SetTime::Now);
    t.set(&file, SetAttr { atime: Some(SetTime::At(PAST)), mtime: Some(SetTime::At(PAST)), ..SetAttr::default() })
        .unwrap();
    let attr = t.set(&file, SetAttr { atime: now, mtime: now, ..SetAttr::default() }).unwrap();
    assert!((-2..60).contains(&seconds_since(attr.mtime)) && (-2..60).contains(&seconds_since(attr.atime)));
}

fn set_on_a_link_itself(t: &Tree) {
    let file = t.file(&t.root, "f");
    let link = t.symlink(&t.root, "l", b"f");
    let old = t.attr(&file);
    t.set(&link, SetAttr { mtime: Some(SetTime::At(PAST)), ..SetAttr::default() }).unwrap();
    assert_eq!((t.attr(&link).mtime, t.attr(&file)), (PAST, old));
}

fn set_one_of_them(t: &Tree) {
    let file = t.file(&t.root, "f");
    let old = t.attr(&file);
    let attr = t.set(&file, SetAttr { mtime: Some(SetTime::At(PAST)), ..SetAttr::default() }).unwrap();
    assert_eq!((attr.mtime, attr.atime), (PAST, old.atime));
    let attr = t.set(&file, SetAttr { atime: Some(SetTime::At(Timestamp::EPOCH)), ..SetAttr::default() }).unwrap();
    assert_eq!((attr.mtime, attr.atime), (PAST, Timestamp::EPOCH));
}

fn change_time_given(t: &Tree) {
    let file = t.file(&t.root, "f");
    let old = t.attr(&file);
    let given = Timestamp { secs: 5, nanos: 6 };
    match t.set(&file, SetAttr { ctime: Some(given), mode: Some(0o640), ..SetAttr::default() }) {
        Ok(attr) => {
            assert!(t.can.set_ctime);
            assert_eq!((attr.ctime, t.attr(&file).ctime), (given, given));
        }
        Err(error) => {
            assert!(!t.can.set_ctime && error == Errno::NotSupported, "{error:?}");
            assert_eq!(t.attr(&file), old);
        }
    }
}
