//! SQLite: transactions in all its ways, and a journal that takes back what was cut off.

use std::fs;
use std::path::{Path, PathBuf};

use mountless_tests::reference;

use crate::compare::{Both, Job};

fn shop() -> PathBuf {
    xtask::guests::sqlite_program("shop").unwrap_or_else(|error| panic!("{error}"))
}

fn put_db(dir: &Path) {
    fs::create_dir(dir.join("db")).unwrap();
}

#[test]
fn transactions() {
    for (vfs, journal) in [
        ("unix-dotfile", "delete"),
        ("unix-dotfile", "truncate"),
        ("unix-dotfile", "persist"),
        ("unix-none", "memory"),
        ("unix-none", "wal"),
    ] {
        let job = Job { arguments: &["shop", "work", vfs, journal], ..Job::default() };
        let ran = Both::of(&shop(), job, put_db).same();
        let stdout = String::from_utf8(ran.stdout).unwrap();
        assert_eq!(ran.code, 0, "{vfs} {journal}: {stdout}");
        assert!(stdout.starts_with(&format!("PRAGMA journal_mode = {journal}: {journal}\n")), "{stdout}");
        assert_eq!(stdout.matches("PRAGMA integrity_check: ok\n").count(), 4, "{stdout}");
    }
}

#[test]
fn a_hot_journal_takes_back_what_was_cut_off() {
    let put_crashed = |dir: &Path| {
        put_db(dir);
        let ran = reference::run_at(&shop(), &["shop", "crash"], &[], dir, "/");
        assert_eq!(ran.code, 3, "{}", String::from_utf8_lossy(&ran.stdout));
        assert!(fs::metadata(dir.join("db/shop.sqlite-journal")).unwrap().len() > 1 << 20);
        fs::write(dir.join("said"), ran.stdout).unwrap();
    };
    let recover = Job { arguments: &["shop", "recover"], ..Job::default() };
    let both = Both::of(&shop(), recover, put_crashed);
    assert!(!both.has("/db/shop.sqlite-journal"));
    assert_eq!(both.content("/said"), both.ours.stdout, "as before the transaction");
    assert_eq!(both.same().code, 0);
}

#[test]
fn a_journal_of_ours_takes_back_what_was_cut_off() {
    let both = Both::of(&shop(), Job { arguments: &["shop", "crash"], ..Job::default() }, put_db);
    assert_eq!((both.ours.code, &both.ours.stdout), (both.theirs.code, &both.theirs.stdout));
    // Journals have random numbers in them; what they take back is the same.
    let put_ours = |dir: &Path| {
        for name in ["shop.sqlite", "shop.sqlite-journal"] {
            mountless_tests::put(dir, &format!("db/{name}"), both.content(&format!("/db/{name}")));
        }
    };
    let ran = Both::of(&shop(), Job { arguments: &["shop", "recover"], ..Job::default() }, put_ours).same();
    assert_eq!((ran.code, ran.stdout), (0, both.ours.stdout));
}
