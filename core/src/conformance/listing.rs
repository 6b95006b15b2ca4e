//! Listings, also of directories that change meanwhile.

use std::collections::BTreeSet;

use super::{NodeRef, Tree, group, new};
use crate::attr::FileType;
use crate::errno::Errno;
use crate::fs::{Cookie, DirBatch, NewKind};

group! { "listing":
    names_types_and_numbers,
    of_an_empty_directory,
    of_what_is_no_directory,
    in_batches_of_any_size,
    cookies_ascend,
    removing_while_listing,
    what_stays_is_listed_once,
    resuming_after_a_removed_entry,
    two_scans_at_once,
    a_new_scan_sees_what_is_new,
    replaced_names_are_listed_once,
    the_end_stays_the_end,
}

/// One batch of up to `count` names, and where to go on.
fn batch(t: &Tree, dir: &NodeRef, from: Cookie, count: usize) -> (Vec<String>, Option<Cookie>) {
    let mut batch = DirBatch::with_max_entries(count);
    t.fs().read_dir(dir.node(), from, &mut batch).unwrap();
    (batch.iter().map(|entry| entry.name.to_string()).collect(), batch.last_cookie())
}

fn names_types_and_numbers(t: &Tree) {
    t.file(&t.root, "f");
    t.dir(&t.root, "d");
    t.symlink(&t.root, "l", b"f");
    let mut batch = DirBatch::with_max_entries(10);
    t.fs().read_dir(t.root.node(), Cookie::START, &mut batch).unwrap();
    let mut found: Vec<_> = batch.iter().map(|entry| (entry.name.to_string(), entry.file_type, entry.ino)).collect();
    found.sort();
    let types: Vec<_> = found.iter().map(|(at, file_type, _)| (at.as_str(), *file_type)).collect();
    assert_eq!(types, [("d", FileType::Dir), ("f", FileType::File), ("l", FileType::Symlink)]);
    for (at, _, ino) in &found {
        assert_eq!(t.attr(&t.lookup(&t.root, at).unwrap()).ino, *ino, "{at}");
    }
}

fn of_an_empty_directory(t: &Tree) {
    assert_eq!(batch(t, &t.root, Cookie::START, 5), (vec![], None));
    let dir = t.dir(&t.root, "d");
    assert_eq!(batch(t, &dir, Cookie::START, 5), (vec![], None));
}

fn of_what_is_no_directory(t: &Tree) {
    for node in [t.file(&t.root, "f"), t.symlink(&t.root, "l", b".")] {
        let mut batch = DirBatch::with_max_entries(1);
        assert_eq!(t.fs().read_dir(node.node(), Cookie::START, &mut batch).unwrap_err(), Errno::NotDir);
    }
}

fn fill(t: &Tree, count: usize) -> BTreeSet<String> {
    let names: BTreeSet<String> = (0..count).map(|number| format!("entry-{number}")).collect();
    for at in &names {
        t.file(&t.root, at);
    }
    names
}

fn in_batches_of_any_size(t: &Tree) {
    let wanted = fill(t, 150);
    for size in [1, 7, 149, 150, 1000] {
        let (mut seen, mut from) = (Vec::new(), Cookie::START);
        while let (names, Some(next)) = batch(t, &t.root, from, size) {
            assert!(names.len() <= size);
            seen.extend(names);
            from = next;
        }
        assert_eq!(seen.len(), 150);
        assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), wanted, "by {size}");
    }
    // By bytes, as a guest's buffer asks.
    let (mut seen, mut from) = (0, Cookie::START);
    let mut batch = DirBatch::with_max_bytes(200, 24);
    loop {
        batch.clear();
        t.fs().read_dir(t.root.node(), from, &mut batch).unwrap();
        let Some(next) = batch.last_cookie() else { break };
        assert!(batch.len() <= 7);
        seen += batch.len();
        from = next;
    }
    assert_eq!(seen, 150);
}

fn cookies_ascend(t: &Tree) {
    fill(t, 100);
    let mut batch = DirBatch::with_max_entries(1000);
    t.fs().read_dir(t.root.node(), Cookie::START, &mut batch).unwrap();
    let cookies: Vec<_> = batch.iter().map(|entry| entry.cookie).collect();
    assert_eq!(cookies.len(), 100);
    assert!(cookies[0] > Cookie::START && cookies[99] < Cookie::END);
    assert!(cookies.is_sorted_by(|a, b| a < b));
}

/// What `rm -r` does.
fn removing_while_listing(t: &Tree) {
    let wanted = fill(t, 500);
    let (mut seen, mut from) = (Vec::new(), Cookie::START);
    while let (names, Some(next)) = batch(t, &t.root, from, 11) {
        for at in &names {
            t.unlink(&t.root, at).unwrap();
        }
        seen.extend(names);
        from = next;
    }
    assert_eq!(seen.len(), 500, "each one once");
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), wanted);
    assert_eq!(t.list(&t.root), "");
}

fn what_stays_is_listed_once(t: &Tree) {
    let all = fill(t, 300);
    let stays = |at: &String| at.ends_with(['0', '2', '4', '6', '8']);
    let mut goes: Vec<&String> = all.iter().filter(|at| !stays(at)).collect();
    let (mut seen, mut from, mut turn) = (Vec::new(), Cookie::START, 0);
    while let (names, Some(next)) = batch(t, &t.root, from, 5) {
        seen.extend(names);
        from = next;
        turn += 1;
        for _ in 0..3 {
            if let Some(at) = if turn % 2 == 0 { goes.pop() } else { (!goes.is_empty()).then(|| goes.remove(0)) } {
                t.unlink(&t.root, at).unwrap();
            }
        }
        if turn < 50 {
            t.file(&t.root, &format!("new-{turn}"));
        }
        assert!(turn < 1000, "the scan never ends");
    }
    for at in all.iter().filter(|at| stays(at)) {
        assert_eq!(seen.iter().filter(|other| *other == at).count(), 1, "{at}");
    }
    let unique: BTreeSet<_> = seen.iter().collect();
    assert_eq!(unique.len(), seen.len(), "nothing twice");
}

fn resuming_after_a_removed_entry(t: &Tree) {
    let all = fill(t, 20);
    let (first, cookie) = batch(t, &t.root, Cookie::START, 10);
    let cookie = cookie.unwrap();
    for at in &first {
        t.unlink(&t.root, at).unwrap();
    }
    for _ in 0..2 {
        let (rest, _) = batch(t, &t.root, cookie, 100);
        assert_eq!(rest.len(), 10);
        let together: BTreeSet<_> = first.iter().chain(&rest).cloned().collect();
        assert_eq!(together, all);
    }
}

fn two_scans_at_once(t: &Tree) {
    fill(t, 60);
    let (mut a, mut b) = (Cookie::START, Cookie::START);
    let (mut seen_a, mut seen_b) = (Vec::new(), Vec::new());
    for turn in 0..200 {
        let (from, seen, size) = if turn % 3 == 0 { (&mut a, &mut seen_a, 5) } else { (&mut b, &mut seen_b, 2) };
        let (names, next) = batch(t, &t.root, *from, size);
        seen.extend(names);
        *from = next.unwrap_or(*from);
    }
    for mut seen in [seen_a, seen_b] {
        assert_eq!(seen.len(), 60);
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 60);
    }
}

fn a_new_scan_sees_what_is_new(t: &Tree) {
    t.file(&t.root, "a");
    assert_eq!(t.list(&t.root), "a");
    t.file(&t.root, "b");
    assert_eq!(t.list(&t.root), "a,b");
    t.unlink(&t.root, "a").unwrap();
    t.rename((&t.root, "b"), (&t.root, "c")).unwrap();
    assert_eq!(t.list(&t.root), "c");
}

fn replaced_names_are_listed_once(t: &Tree) {
    let all = fill(t, 50);
    let dir = t.dir(&t.root, "dir");
    let (mut seen, mut from, mut turn) = (Vec::new(), Cookie::START, 0);
    let mut names_left = all.iter();
    while let (names, Some(next)) = batch(t, &t.root, from, 4) {
        seen.extend(names);
        from = next;
        turn += 1;
        if let Some(at) = names_left.next() {
            t.create(&dir, "fresh", &new(NewKind::File)).unwrap();
            t.rename((&dir, "fresh"), (&t.root, at)).unwrap();
        }
        assert!(turn < 1000, "the scan never ends");
    }
    for at in &all {
        assert_eq!(seen.iter().filter(|other| *other == at).count(), 1, "{at} was there all the time");
    }
}

fn the_end_stays_the_end(t: &Tree) {
    fill(t, 3);
    let (names, cookie) = batch(t, &t.root, Cookie::START, 10);
    assert_eq!(names.len(), 3);
    for _ in 0..2 {
        assert_eq!(batch(t, &t.root, cookie.unwrap(), 10), (vec![], None));
    }
}
