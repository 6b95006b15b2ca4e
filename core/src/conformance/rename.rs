//! Renaming in all its forms.

use super::{Tree, group};
use crate::errno::Errno;
use crate::fs::RenameMode::{Exchange, NoReplace};

group! { "rename":
    to_a_free_name,
    across_directories,
    a_directory_with_its_tree,
    replaces_a_file,
    over_an_open_file,
    onto_itself,
    onto_another_name_of_the_node,
    file_over_directory,
    directory_over_file,
    directory_over_empty_directory,
    directory_over_full_directory,
    into_own_subtree,
    onto_an_ancestor,
    a_symbolic_link_itself,
    over_a_symbolic_link,
    into_a_removed_directory,
    out_of_a_removed_directory,
    counts_of_subdirectories,
    open_nodes_follow,
    no_replace,
    exchange_files,
    exchange_different_kinds,
    exchange_needs_both,
    exchange_into_own_subtree,
    back_and_forth_in_threads,
}

fn to_a_free_name(t: &Tree) {
    let file = t.file_with(&t.root, "a", b"content");
    t.rename((&t.root, "a"), (&t.root, "b")).unwrap();
    assert_eq!(t.list(&t.root), "b");
    assert_eq!(t.lookup(&t.root, "b").unwrap().node(), file.node());
    assert_eq!((t.read(&file), t.attr(&file).nlink), (b"content".to_vec(), 1));
}

fn across_directories(t: &Tree) {
    let (from, to) = (t.dir(&t.root, "from"), t.dir(&t.root, "to"));
    let file = t.file_with(&from, "f", b"x");
    t.rename((&from, "f"), (&to, "g")).unwrap();
    assert_eq!((t.list(&from), t.list(&to)), (String::new(), "g".to_owned()));
    assert_eq!(t.lookup(&to, "g").unwrap().node(), file.node());
    assert_eq!(t.read(&file), b"x");
}

fn a_directory_with_its_tree(t: &Tree) {
    let (a, b) = (t.dir(&t.root, "a"), t.dir(&t.root, "b"));
    let dir = t.dir(&a, "d");
    let below = t.dir(&dir, "below");
    t.file_with(&below, "f", b"deep");
    t.rename((&a, "d"), (&b, "e")).unwrap();
    assert_eq!(t.lookup(&b, "e").unwrap().node(), dir.node());
    let below = t.lookup(&t.lookup(&b, "e").unwrap(), "below").unwrap();
    assert_eq!(t.read(&t.lookup(&below, "f").unwrap()), b"deep");
    t.file(&dir, "new");
    assert_eq!(t.list(&t.lookup(&b, "e").unwrap()), "below,new");
}

fn replaces_a_file(t: &Tree) {
    let new = t.file_with(&t.root, "new", b"new");
    t.file_with(&t.root, "old", b"old content");
    t.rename((&t.root, "new"), (&t.root, "old")).unwrap();
    assert_eq!(t.list(&t.root), "old");
    let found = t.lookup(&t.root, "old").unwrap();
    assert_eq!((found.node(), t.read(&found)), (new.node(), b"new".to_vec()));
}

fn over_an_open_file(t: &Tree) {
    let open = t.file_with(&t.root, "old", b"old");
    let new = t.file_with(&t.root, "new", b"new");
    t.rename((&t.root, "new"), (&t.root, "old")).unwrap();
    assert_eq!((t.read(&open), t.attr(&open).nlink), (b"old".to_vec(), 0));
    t.append(&open, b"er");
    assert_eq!((t.read(&open), t.read(&new)), (b"older".to_vec(), b"new".to_vec()));
    assert_ne!(t.attr(&open).ino, t.attr(&new).ino);
}

fn onto_itself(t: &Tree) {
    let file = t.file_with(&t.root, "f", b"x");
    let dir = t.dir(&t.root, "d");
    t.file(&dir, "in");
    t.rename((&t.root, "f"), (&t.root, "f")).unwrap();
    t.rename((&t.root, "d"), (&t.root, "d")).unwrap();
    assert_eq!((t.list(&t.root), t.attr(&file).nlink), ("d,f".to_owned(), 1));
}

fn onto_another_name_of_the_node(t: &Tree) {
    let file = t.file_with(&t.root, "a", b"x");
    let dir = t.dir(&t.root, "d");
    t.link(&file, &t.root, "b").unwrap();
    t.link(&file, &dir, "c").unwrap();
    t.rename((&t.root, "a"), (&t.root, "b")).unwrap();
    t.rename((&t.root, "a"), (&dir, "c")).unwrap();
    assert_eq!((t.list(&t.root), t.list(&dir)), ("a,b,d".to_owned(), "c".to_owned()));
    assert_eq!(t.attr(&file).nlink, 3);
}

fn file_over_directory(t: &Tree) {
    t.file(&t.root, "f");
    t.symlink(&t.root, "l", b"d");
    t.dir(&t.root, "d");
    for at in ["f", "l"] {
        assert_eq!(t.rename((&t.root, at), (&t.root, "d")).unwrap_err(), Errno::IsDir);
    }
    assert_eq!(t.list(&t.root), "d,f,l");
}

fn directory_over_file(t: &Tree) {
    let file = t.file_with(&t.root, "f", b"kept");
    t.dir(&t.root, "d");
    t.symlink(&t.root, "l", b"d");
    for at in ["f", "l"] {
        assert_eq!(t.rename((&t.root, "d"), (&t.root, at)).unwrap_err(), Errno::NotDir);
    }
    assert_eq!((t.list(&t.root), t.read(&file)), ("d,f,l".to_owned(), b"kept".to_vec()));
}

fn directory_over_empty_directory(t: &Tree) {
    let (from, to) = (t.dir(&t.root, "from"), t.dir(&t.root, "to"));
    t.file(&from, "f");
    t.rename((&t.root, "from"), (&t.root, "to")).unwrap();
    assert_eq!((t.list(&t.root), t.list(&from)), ("to".to_owned(), "f".to_owned()));
    assert_eq!(t.lookup(&t.root, "to").unwrap().node(), from.node());
    assert_eq!((t.list(&to), t.attr(&to).nlink), (String::new(), 0), "the replaced one is gone but open");
    t.assert_subdirs(&t.root, 1);
}

fn directory_over_full_directory(t: &Tree) {
    t.dir(&t.root, "from");
    let to = t.dir(&t.root, "to");
    t.file(&to, "f");
    assert_eq!(t.rename((&t.root, "from"), (&t.root, "to")).unwrap_err(), Errno::NotEmpty);
    assert_eq!((t.list(&t.root), t.list(&to)), ("from,to".to_owned(), "f".to_owned()));
    t.rename((&t.root, "to"), (&t.root, "from")).unwrap();
    assert_eq!(t.list(&t.root), "from", "the other way round is fine");
}

fn into_own_subtree(t: &Tree) {
    let a = t.dir(&t.root, "a");
    let b = t.dir(&a, "b");
    let c = t.dir(&b, "c");
    for (dir, at) in [(&a, "x"), (&b, "x"), (&c, "x"), (&b, "c"), (&a, "b")] {
        assert_eq!(t.rename((&t.root, "a"), (dir, at)).unwrap_err(), Errno::Invalid);
    }
    assert_eq!(t.rename((&a, "b"), (&c, "x")).unwrap_err(), Errno::Invalid);
    assert_eq!((t.list(&t.root), t.list(&a), t.list(&b)), ("a".to_owned(), "b".to_owned(), "c".to_owned()));
    // It must know after moves too.
    t.rename((&b, "c"), (&t.root, "c")).unwrap();
    t.rename((&t.root, "a"), (&c, "a")).unwrap();
    assert_eq!(t.rename((&t.root, "c"), (&b, "x")).unwrap_err(), Errno::Invalid);
}

fn onto_an_ancestor(t: &Tree) {
    let a = t.dir(&t.root, "a");
    let b = t.dir(&a, "b");
    t.dir(&b, "c");
    assert_eq!(t.rename((&b, "c"), (&t.root, "a")).unwrap_err(), Errno::NotEmpty);
    assert_eq!(t.rename((&b, "c"), (&a, "b")).unwrap_err(), Errno::NotEmpty);
    assert_eq!((t.list(&a), t.list(&b)), ("b".to_owned(), "c".to_owned()));
}

fn a_symbolic_link_itself(t: &Tree) {
    t.dir(&t.root, "d");
    let link = t.symlink(&t.root, "l", b"d");
    t.rename((&t.root, "l"), (&t.root, "m")).unwrap();
    assert_eq!(t.list(&t.root), "d,m");
    assert_eq!(t.fs().read_link(t.lookup(&t.root, "m").unwrap().node()).unwrap(), "d");
    assert_eq!(t.lookup(&t.root, "m").unwrap().node(), link.node());
}

fn over_a_symbolic_link(t: &Tree) {
    let target = t.file_with(&t.root, "target", b"target");
    t.symlink(&t.root, "l", b"target");
    let file = t.file_with(&t.root, "f", b"file");
    t.rename((&t.root, "f"), (&t.root, "l")).unwrap();
    assert_eq!(t.list(&t.root), "l,target");
    assert_eq!(t.lookup(&t.root, "l").unwrap().node(), file.node());
    assert_eq!(t.read(&target), b"target");
}

fn into_a_removed_directory(t: &Tree) {
    let dir = t.dir(&t.root, "d");
    t.file(&t.root, "f");
    t.dir(&t.root, "e");
    t.remove_dir(&t.root, "d").unwrap();
    for at in ["f", "e"] {
        assert_eq!(t.rename((&t.root, at), (&dir, "x")).unwrap_err(), Errno::NotFound);
    }
    assert_eq!(t.list(&t.root), "e,f");
}

fn out_of_a_removed_directory(t: &Tree) {
    let dir = t.dir(&t.root, "d");
    t.remove_dir(&t.root, "d").unwrap();
    assert_eq!(t.rename((&dir, "x"), (&t.root, "y")).unwrap_err(), Errno::NotFound);
}

fn counts_of_subdirectories(t: &Tree) {
    let (a, b) = (t.dir(&t.root, "a"), t.dir(&t.root, "b"));
    t.dir(&a, "d");
    t.file(&a, "f");
    t.assert_subdirs(&a, 1);
    t.rename((&a, "d"), (&b, "d")).unwrap();
    t.rename((&a, "f"), (&b, "f")).unwrap();
    t.assert_subdirs(&a, 0);
    t.assert_subdirs(&b, 1);
    t.dir(&a, "d");
    t.rename((&a, "d"), (&b, "d")).unwrap();
    t.assert_subdirs(&a, 0);
    t.assert_subdirs(&b, 1);
    t.rename_as((&b, "d"), (&t.root, "a"), Exchange).unwrap();
    t.assert_subdirs(&b, 1);
    t.assert_subdirs(&t.root, 2);
}

fn open_nodes_follow(t: &Tree) {
    let (a, b) = (t.dir(&t.root, "a"), t.dir(&t.root, "b"));
    let file = t.file_with(&a, "f", b"1");
    t.rename((&a, "f"), (&b, "g")).unwrap();
    t.append(&file, b"2");
    t.rename((&t.root, "b"), (&t.root, "c")).unwrap();
    t.append(&file, b"3");
    t.link(&file, &t.root, "h").unwrap();
    t.unlink(&b, "g").unwrap();
    t.append(&file, b"4");
    assert_eq!(t.read(&t.lookup(&t.root, "h").unwrap()), b"1234");
    assert_eq!(t.attr(&file).nlink, 1);
}

fn no_replace(t: &Tree) {
    let file = t.file_with(&t.root, "f", b"f");
    let other = t.file_with(&t.root, "g", b"g");
    t.dir(&t.root, "d");
    t.symlink(&t.root, "l", b"nowhere");
    for at in ["g", "d", "l", "f"] {
        assert_eq!(t.rename_as((&t.root, "f"), (&t.root, at), NoReplace).unwrap_err(), Errno::Exists, "{at}");
    }
    t.rename_as((&t.root, "f"), (&t.root, "free"), NoReplace).unwrap();
    assert_eq!(t.list(&t.root), "d,free,g,l");
    assert_eq!((t.read(&file), t.read(&other)), (b"f".to_vec(), b"g".to_vec()));
}

fn exchange_files(t: &Tree) {
    let dir = t.dir(&t.root, "d");
    let (a, b) = (t.file_with(&t.root, "a", b"a"), t.file_with(&dir, "b", b"b"));
    t.rename_as((&t.root, "a"), (&dir, "b"), Exchange).unwrap();
    assert_eq!((t.list(&t.root), t.list(&dir)), ("a,d".to_owned(), "b".to_owned()));
    assert_eq!(t.lookup(&t.root, "a").unwrap().node(), b.node());
    assert_eq!(t.lookup(&dir, "b").unwrap().node(), a.node());
    assert_eq!((t.read(&a), t.read(&b)), (b"a".to_vec(), b"b".to_vec()));
    assert_eq!((t.attr(&a).nlink, t.attr(&b).nlink), (1, 1));
}

fn exchange_different_kinds(t: &Tree) {
    let below = t.dir(&t.root, "below");
    let dir = t.dir(&t.root, "d");
    t.file(&dir, "inside");
    let file = t.file_with(&below, "f", b"f");
    t.rename_as((&t.root, "d"), (&below, "f"), Exchange).unwrap();
    assert_eq!(t.lookup(&t.root, "d").unwrap().node(), file.node());
    assert_eq!(t.list(&t.lookup(&below, "f").unwrap()), "inside");
    t.assert_subdirs(&t.root, 1);
    t.assert_subdirs(&below, 1);
}

fn exchange_needs_both(t: &Tree) {
    t.file(&t.root, "a");
    assert_eq!(t.rename_as((&t.root, "a"), (&t.root, "b"), Exchange).unwrap_err(), Errno::NotFound);
    assert_eq!(t.rename_as((&t.root, "b"), (&t.root, "a"), Exchange).unwrap_err(), Errno::NotFound);
    assert_eq!(t.list(&t.root), "a");
}

fn exchange_into_own_subtree(t: &Tree) {
    let a = t.dir(&t.root, "a");
    let b = t.dir(&a, "b");
    t.file(&b, "f");
    for at in [(&a, "b"), (&b, "f")] {
        assert_eq!(t.rename_as((&t.root, "a"), at, Exchange).unwrap_err(), Errno::Invalid);
        assert_eq!(t.rename_as(at, (&t.root, "a"), Exchange).unwrap_err(), Errno::Invalid);
    }
    assert_eq!((t.list(&a), t.list(&b)), ("b".to_owned(), "f".to_owned()));
}

/// While one thread swaps the two names, another always finds both.
fn back_and_forth_in_threads(t: &Tree) {
    let (a, b) = (t.file_with(&t.root, "a", b"a"), t.file_with(&t.root, "b", b"b"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..200 {
                t.rename_as((&t.root, "a"), (&t.root, "b"), Exchange).unwrap();
            }
        });
        scope.spawn(|| {
            for _ in 0..200 {
                for at in ["a", "b"] {
                    let found = t.lookup(&t.root, at).unwrap().node();
                    assert!(found == a.node() || found == b.node());
                }
            }
        });
    });
    assert_eq!(t.lookup(&t.root, "a").unwrap().node(), a.node(), "an even number of swaps");
}
