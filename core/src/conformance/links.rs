//! Hard links.

use super::{Tree, group};
use crate::errno::Errno;

group! { "links":
    two_names_one_node,
    one_name_goes_the_other_stays,
    not_of_directories,
    of_a_symbolic_link_itself,
    not_of_what_has_no_name,
    not_into_a_removed_directory,
    across_directories,
    found_again_after_forgetting,
    many,
}

fn two_names_one_node(t: &Tree) {
    let file = t.file_with(&t.root, "a", b"one");
    t.link(&file, &t.root, "b").unwrap();
    let other = t.lookup(&t.root, "b").unwrap();
    assert_eq!(other.node(), file.node());
    assert_eq!((t.attr(&other).ino, t.attr(&other).nlink), (t.attr(&file).ino, 2));
    t.append(&other, b" two");
    assert_eq!(t.read(&file), b"one two");
}

fn one_name_goes_the_other_stays(t: &Tree) {
    let file = t.file_with(&t.root, "a", b"content");
    t.link(&file, &t.root, "b").unwrap();
    t.unlink(&t.root, "a").unwrap();
    assert_eq!(t.attr(&file).nlink, 1);
    t.write(&file, 0, b"C");
    drop(file);
    let file = t.lookup(&t.root, "b").unwrap();
    assert_eq!(t.read(&file), b"Content");
    t.link(&file, &t.root, "a").unwrap();
    assert_eq!(t.attr(&file).nlink, 2);
}

fn not_of_directories(t: &Tree) {
    let dir = t.dir(&t.root, "d");
    assert_eq!(t.link(&dir, &t.root, "e").unwrap_err(), Errno::NotPermitted);
    assert_eq!(t.link(&dir, &dir, "e").unwrap_err(), Errno::NotPermitted);
    assert_eq!(t.list(&t.root), "d");
    t.assert_subdirs(&t.root, 1);
}

fn of_a_symbolic_link_itself(t: &Tree) {
    t.file(&t.root, "target");
    let link = t.symlink(&t.root, "l", b"target");
    t.link(&link, &t.root, "m").unwrap();
    let other = t.lookup(&t.root, "m").unwrap();
    assert_eq!(other.node(), link.node());
    assert_eq!(t.fs().read_link(other.node()).unwrap(), "target");
    assert_eq!(t.attr(&link).nlink, 2);
}

fn not_of_what_has_no_name(t: &Tree) {
    let file = t.file_with(&t.root, "f", b"x");
    t.unlink(&t.root, "f").unwrap();
    assert_eq!(t.link(&file, &t.root, "g").unwrap_err(), Errno::NotFound);
    assert_eq!(t.list(&t.root), "");
    assert_eq!(t.read(&file), b"x");
}

fn not_into_a_removed_directory(t: &Tree) {
    let (file, dir) = (t.file(&t.root, "f"), t.dir(&t.root, "d"));
    t.remove_dir(&t.root, "d").unwrap();
    assert_eq!(t.link(&file, &dir, "x").unwrap_err(), Errno::NotFound);
    assert_eq!(t.attr(&file).nlink, 1);
}

fn across_directories(t: &Tree) {
    let (a, b) = (t.dir(&t.root, "a"), t.dir(&t.root, "b"));
    let file = t.file_with(&a, "f", b"shared");
    t.link(&file, &b, "g").unwrap();
    drop(file);
    t.unlink(&a, "f").unwrap();
    t.remove_dir(&t.root, "a").unwrap();
    let file = t.lookup(&b, "g").unwrap();
    assert_eq!((t.read(&file), t.attr(&file).nlink), (b"shared".to_vec(), 1));
}

fn found_again_after_forgetting(t: &Tree) {
    let file = t.file(&t.root, "a");
    t.link(&file, &t.root, "b").unwrap();
    drop(file);
    let (a, b) = (t.lookup(&t.root, "a").unwrap(), t.lookup(&t.root, "b").unwrap());
    assert_eq!(a.node(), b.node());
    assert_eq!(t.attr(&a).ino, t.attr(&b).ino);
}

fn many(t: &Tree) {
    let file = t.file_with(&t.root, "f", b"x");
    for number in 0..200 {
        t.link(&file, &t.root, &format!("l{number}")).unwrap();
    }
    assert_eq!(t.attr(&file).nlink, 201);
    for number in 0..200 {
        t.unlink(&t.root, &format!("l{number}")).unwrap();
    }
    assert_eq!((t.attr(&file).nlink, t.list(&t.root)), (1, "f".to_owned()));
}
