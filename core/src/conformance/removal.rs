//! Removing names, and life after the last one.

use super::{Tree, group, new};
use crate::attr::SetAttr;
use crate::errno::Errno;
use crate::fs::NewKind;

group! { "removal":
    a_file,
    an_empty_directory,
    a_full_directory_stays,
    unlink_refuses_directories,
    remove_dir_refuses_files,
    a_symbolic_link_not_its_target,
    an_open_file_lives_on,
    an_open_file_can_change,
    an_open_symbolic_link_lives_on,
    an_open_directory_is_empty_and_closed_to_names,
    last_reference_ends_it,
    the_name_is_free_at_once,
    a_deep_tree,
    many_open_files_without_names,
}

fn a_file(t: &Tree) {
    t.file_with(&t.root, "f", b"x");
    t.unlink(&t.root, "f").unwrap();
    assert!(!t.has(&t.root, "f"));
    assert_eq!(t.unlink(&t.root, "f").unwrap_err(), Errno::NotFound);
}

fn an_empty_directory(t: &Tree) {
    let dir = t.dir(&t.root, "d");
    t.file(&dir, "f");
    t.unlink(&dir, "f").unwrap();
    t.assert_subdirs(&t.root, 1);
    t.remove_dir(&t.root, "d").unwrap();
    t.assert_subdirs(&t.root, 0);
    assert_eq!(t.list(&t.root), "");
    assert_eq!(t.remove_dir(&t.root, "d").unwrap_err(), Errno::NotFound);
}

fn a_full_directory_stays(t: &Tree) {
    let dir = t.dir(&t.root, "d");
    for (at, kind) in [("f", NewKind::File), ("d", NewKind::Dir), ("l", NewKind::Symlink(b"f"))] {
        t.create(&dir, at, &new(kind)).unwrap();
        assert_eq!(t.remove_dir(&t.root, "d").unwrap_err(), Errno::NotEmpty);
        assert_eq!(t.list(&dir), at);
        if at == "d" { t.remove_dir(&dir, at) } else { t.unlink(&dir, at) }.unwrap();
    }
    t.remove_dir(&t.root, "d").unwrap();
}

fn unlink_refuses_directories(t: &Tree) {
    t.dir(&t.root, "d");
    assert_eq!(t.unlink(&t.root, "d").unwrap_err(), Errno::IsDir);
    assert_eq!(t.list(&t.root), "d");
}

fn remove_dir_refuses_files(t: &Tree) {
    t.file(&t.root, "f");
    t.dir(&t.root, "d");
    t.symlink(&t.root, "l", b"d");
    for at in ["f", "l"] {
        assert_eq!(t.remove_dir(&t.root, at).unwrap_err(), Errno::NotDir, "{at}");
    }
    assert_eq!(t.list(&t.root), "d,f,l");
}

fn a_symbolic_link_not_its_target(t: &Tree) {
    let file = t.file_with(&t.root, "f", b"kept");
    t.symlink(&t.root, "l", b"f");
    t.unlink(&t.root, "l").unwrap();
    assert_eq!((t.list(&t.root), t.read(&file)), ("f".to_owned(), b"kept".to_vec()));
}

fn an_open_file_lives_on(t: &Tree) {
    let file = t.file_with(&t.root, "f", b"content");
    let old = t.attr(&file);
    t.unlink(&t.root, "f").unwrap();
    let attr = t.attr(&file);
    assert_eq!((attr.nlink, attr.ino, attr.size, attr.mtime), (0, old.ino, old.size, old.mtime));
    assert_eq!(t.read(&file), b"content");
    assert_eq!(t.fs().read_shared(file.node(), 3, 100).unwrap(), "tent");
}

fn an_open_file_can_change(t: &Tree) {
    let file = t.file_with(&t.root, "f", b"content");
    t.unlink(&t.root, "f").unwrap();
    t.write(&file, 0, b"C");
    t.append(&file, b"!");
    assert_eq!(t.read(&file), b"Content!");
    t.resize(&file, 3).unwrap();
    t.set(&file, SetAttr { mode: Some(0o600), ..SetAttr::default() }).unwrap();
    assert_eq!((t.read(&file), t.attr(&file).mode), (b"Con".to_vec(), 0o600));
    // Looked up but never used before its name goes.
    t.file_with(&t.root, "g", b"other");
    let other = t.lookup(&t.root, "g").unwrap();
    t.unlink(&t.root, "g").unwrap();
    t.append(&other, b"s");
    assert_eq!(t.read(&other), b"others");
}

fn an_open_symbolic_link_lives_on(t: &Tree) {
    let link = t.symlink(&t.root, "l", b"target");
    t.unlink(&t.root, "l").unwrap();
    assert_eq!((t.fs().read_link(link.node()).unwrap().as_ref(), t.attr(&link).nlink), (&b"target"[..], 0));
}

fn an_open_directory_is_empty_and_closed_to_names(t: &Tree) {
    let dir = t.dir(&t.root, "d");
    let file = t.file(&t.root, "f");
    t.remove_dir(&t.root, "d").unwrap();
    assert_eq!((t.list(&dir), t.attr(&dir).nlink), (String::new(), 0));
    assert_eq!(t.lookup(&dir, "x").unwrap_err(), Errno::NotFound);
    for kind in [NewKind::File, NewKind::Dir, NewKind::Symlink(b"x")] {
        assert_eq!(t.create(&dir, "x", &new(kind)).unwrap_err(), Errno::NotFound);
    }
    assert_eq!(t.link(&file, &dir, "x").unwrap_err(), Errno::NotFound);
    assert_eq!(t.unlink(&dir, "x").unwrap_err(), Errno::NotFound);
    let again = t.dir(&t.root, "d");
    assert_ne!(again.node(), dir.node());
    assert_eq!(t.create(&dir, "x", &new(NewKind::File)).unwrap_err(), Errno::NotFound, "the new one is another");
    assert_eq!(t.list(&again), "");
}

fn last_reference_ends_it(t: &Tree) {
    let (file, dir) = (t.file(&t.root, "f"), t.dir(&t.root, "d"));
    let second = t.lookup(&t.root, "f").unwrap();
    t.unlink(&t.root, "f").unwrap();
    t.remove_dir(&t.root, "d").unwrap();
    let ids = [file.node(), dir.node()];
    drop((file, dir));
    assert_eq!(t.attr(&second).nlink, 0, "one reference is left");
    drop(second);
    for id in ids {
        assert_eq!(t.fs().attr(id).unwrap_err(), Errno::Stale);
    }
}

fn the_name_is_free_at_once(t: &Tree) {
    let old = t.file_with(&t.root, "x", b"old");
    t.unlink(&t.root, "x").unwrap();
    let new = t.dir(&t.root, "x");
    assert_ne!(old.node(), new.node());
    assert_ne!(t.attr(&old).ino, t.attr(&new).ino);
    assert_eq!(t.read(&old), b"old");
    t.remove_dir(&t.root, "x").unwrap();
    let newest = t.file_with(&t.root, "x", b"newest");
    assert_eq!((t.read(&old), t.read(&newest)), (b"old".to_vec(), b"newest".to_vec()));
}

fn a_deep_tree(t: &Tree) {
    let mut dirs = vec![t.dir(&t.root, "d")];
    for _ in 0..60 {
        let below = t.dir(&dirs[dirs.len() - 1], "d");
        t.file(&below, "f");
        dirs.push(below);
    }
    assert_eq!(t.remove_dir(&t.root, "d").unwrap_err(), Errno::NotEmpty);
    while let Some(dir) = dirs.pop() {
        if dirs.is_empty() {
            drop(dir);
            t.remove_dir(&t.root, "d").unwrap();
        } else {
            t.unlink(&dir, "f").unwrap();
            t.remove_dir(&dirs[dirs.len() - 1], "d").unwrap();
        }
    }
    assert_eq!(t.list(&t.root), "");
}

fn many_open_files_without_names(t: &Tree) {
    let files: Vec<_> = (0_u8..100)
        .map(|number| {
            let file = t.file_with(&t.root, "f", &[number; 10]);
            t.unlink(&t.root, "f").unwrap();
            file
        })
        .collect();
    for (number, file) in files.iter().enumerate() {
        assert!(t.read(file).iter().all(|byte| usize::from(*byte) == number));
    }
}
