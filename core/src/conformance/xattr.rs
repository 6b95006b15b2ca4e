//! Extended attributes.

use super::{NodeRef, Tree, group};
use crate::errno::Errno;
use crate::error::Result;
use crate::fs::XattrMode;
use crate::limits::{XATTR_VALUE_MAX, XATTRS_TOTAL_MAX};

group! { "xattr":
    set_read_and_removed,
    names_are_sorted,
    create_and_replace,
    any_value,
    on_directories,
    stays_with_the_node,
    names_have_limits,
    values_have_limits,
    all_together_have_a_limit,
    missing,
}

fn set(t: &Tree, node: &NodeRef, name: &[u8], value: &[u8]) -> Result<()> {
    t.writable().set_xattr(node.node(), name, value, XattrMode::Set)
}

fn names(t: &Tree, node: &NodeRef) -> Vec<String> {
    let names = t.fs().xattr_names(node.node()).unwrap();
    names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

/// A file with one attribute; where there are none at all, checks the refusal instead.
fn marked(t: &Tree) -> Option<NodeRef> {
    let file = t.file(&t.root, "f");
    match set(t, &file, b"user.one", b"1") {
        Ok(()) => {
            assert!(t.can.xattrs);
            Some(file)
        }
        Err(error) => {
            assert!(!t.can.xattrs && error == Errno::NotSupported, "{error:?}");
            assert!(names(t, &file).is_empty());
            assert_eq!(t.fs().xattr(file.node(), b"user.one").unwrap_err(), Errno::NoAttribute);
            None
        }
    }
}

fn set_read_and_removed(t: &Tree) {
    let Some(file) = marked(t) else { return };
    assert_eq!(t.fs().xattr(file.node(), b"user.one").unwrap(), "1");
    set(t, &file, b"user.one", b"another").unwrap();
    assert_eq!(t.fs().xattr(file.node(), b"user.one").unwrap(), "another");
    assert_eq!(names(t, &file), ["user.one"]);
    t.writable().remove_xattr(file.node(), b"user.one").unwrap();
    assert!(names(t, &file).is_empty());
    assert_eq!(t.fs().xattr(file.node(), b"user.one").unwrap_err(), Errno::NoAttribute);
}

fn names_are_sorted(t: &Tree) {
    let Some(file) = marked(t) else { return };
    for name in ["user.b", "user.a", "user.zz", "user.B"] {
        set(t, &file, name.as_bytes(), b"x").unwrap();
    }
    assert_eq!(names(t, &file), ["user.B", "user.a", "user.b", "user.one", "user.zz"]);
}

fn create_and_replace(t: &Tree) {
    let Some(file) = marked(t) else { return };
    let set = |name: &[u8], mode| t.writable().set_xattr(file.node(), name, b"new", mode);
    assert_eq!(set(b"user.one", XattrMode::Create).unwrap_err(), Errno::Exists);
    assert_eq!(set(b"user.two", XattrMode::Replace).unwrap_err(), Errno::NoAttribute);
    assert_eq!(t.fs().xattr(file.node(), b"user.one").unwrap(), "1");
    set(b"user.one", XattrMode::Replace).unwrap();
    set(b"user.two", XattrMode::Create).unwrap();
    assert_eq!(names(t, &file), ["user.one", "user.two"]);
}

fn any_value(t: &Tree) {
    let Some(file) = marked(t) else { return };
    for value in [&b""[..], b"\0", b"\xff\0\n=", &[9; 1000]] {
        set(t, &file, b"user.v", value).unwrap();
        assert_eq!(t.fs().xattr(file.node(), b"user.v").unwrap(), value);
    }
}

fn on_directories(t: &Tree) {
    if marked(t).is_some() {
        let dir = t.dir(&t.root, "d");
        set(t, &dir, b"user.d", b"dir").unwrap();
        set(t, &t.root, b"user.r", b"root").unwrap();
        assert_eq!(t.fs().xattr(dir.node(), b"user.d").unwrap(), "dir");
        assert_eq!(names(t, &t.root), ["user.r"]);
    }
}

fn stays_with_the_node(t: &Tree) {
    let Some(file) = marked(t) else { return };
    t.link(&file, &t.root, "g").unwrap();
    t.rename((&t.root, "f"), (&t.root, "h")).unwrap();
    drop(file);
    for at in ["g", "h"] {
        let file = t.lookup(&t.root, at).unwrap();
        assert_eq!(t.fs().xattr(file.node(), b"user.one").unwrap(), "1");
    }
    let file = t.lookup(&t.root, "g").unwrap();
    t.unlink(&t.root, "g").unwrap();
    t.unlink(&t.root, "h").unwrap();
    set(t, &file, b"user.two", b"2").unwrap();
    assert_eq!(names(t, &file), ["user.one", "user.two"], "without a name too");
}

fn names_have_limits(t: &Tree) {
    let Some(file) = marked(t) else { return };
    let longest = [b"user.".to_vec(), vec![b'n'; 250]].concat();
    set(t, &file, &longest, b"x").unwrap();
    assert_eq!(t.fs().xattr(file.node(), &longest).unwrap(), "x");
    for name in [&b""[..], &[longest, b"n".to_vec()].concat()] {
        assert_eq!(set(t, &file, name, b"x").unwrap_err(), Errno::Range);
    }
}

fn values_have_limits(t: &Tree) {
    let Some(file) = marked(t) else { return };
    assert_eq!(set(t, &file, b"user.one", &vec![0; XATTR_VALUE_MAX + 1]).unwrap_err(), Errno::NoSpace);
    assert_eq!(t.fs().xattr(file.node(), b"user.one").unwrap(), "1", "nothing has changed");
}

fn all_together_have_a_limit(t: &Tree) {
    let Some(file) = marked(t) else { return };
    let value = vec![1; 1000];
    let refused = (0..XATTRS_TOTAL_MAX / 1000 + 1).find_map(|number| {
        let name = format!("user.{number}");
        set(t, &file, name.as_bytes(), &value).err()
    });
    if let Some(error) = refused {
        assert_eq!(error, Errno::NoSpace);
        assert_eq!(t.fs().xattr(file.node(), b"user.one").unwrap(), "1");
    } else {
        panic!("more than {XATTRS_TOTAL_MAX} bytes were taken");
    }
}

fn missing(t: &Tree) {
    let Some(file) = marked(t) else { return };
    assert_eq!(t.fs().xattr(file.node(), b"user.none").unwrap_err(), Errno::NoAttribute);
    assert_eq!(t.writable().remove_xattr(file.node(), b"user.none").unwrap_err(), Errno::NoAttribute);
}
