//! Large archives that were opened before.

use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::time::{Duration, Instant};

use mountless_tests::put;

use crate::sandbox::Sandbox;

/// Lists `image` with a cache of its own.
fn ls(sandbox: &Sandbox, arguments: &[&str]) -> String {
    let output =
        sandbox.command(["ls"]).args(arguments).env("XDG_CACHE_HOME", sandbox.input("cache")).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Images that are remembered there.
fn remembered(sandbox: &Sandbox) -> usize {
    fs::read_dir(sandbox.input("cache/mountless/images")).map_or(0, Iterator::count)
}

#[test]
fn a_large_archive_is_remembered_until_it_changes() {
    let sandbox = Sandbox::new();
    let image = sandbox.image_of("large.cpio", |dir| {
        for number in 0..1200 {
            put(dir, &format!("file-{number:04}"), "0123456789".repeat(900));
        }
    });
    let first = ls(&sandbox, &[&image]);
    assert_eq!((first.lines().count(), first.lines().next()), (1200, Some("file-0000")));
    // Right behind its last change a file may change again unnoticed; it is remembered a little later.
    let begun = Instant::now();
    while remembered(&sandbox) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "it is never remembered");
        std::thread::sleep(Duration::from_millis(500));
        assert!(ls(&sandbox, &["--no-cache", &image]) == first);
        assert_eq!(remembered(&sandbox), 0, "not without a cache");
        assert!(ls(&sandbox, &[&image]) == first);
    }
    assert!(ls(&sandbox, &[&image]) == first, "from what is remembered");

    let bytes = fs::read(&image).unwrap();
    let at = bytes.windows(9).position(|window| window == b"file-0000").unwrap();
    let mut file = fs::File::options().write(true).open(&image).unwrap();
    file.seek(SeekFrom::Start(at.try_into().unwrap())).unwrap();
    file.write_all(b"FILE").unwrap();
    drop(file);
    let changed = ls(&sandbox, &[&image]);
    assert_eq!(changed.lines().next(), Some("FILE-0000"), "as soon as it was changed");
    assert_eq!(changed.lines().count(), 1200);
}
