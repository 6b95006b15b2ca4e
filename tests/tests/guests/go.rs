//! Go: a program of our own, and the tests of Go's own packages, which have their sources and data in the image.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use mountless_tests::{copy_tree, put, put_files_tree};

use crate::compare::{Both, Job};

#[test]
fn go_program_with_files() {
    let wasm = xtask::guests::go_program("files").unwrap_or_else(|error| panic!("{error}"));
    let fill = |dir: &Path| {
        put_files_tree(dir);
        put(dir, "tmp/.keep", "");
    };
    let job = Job { arguments: &["files", "/work"], environment: &[("SEEN", "yes")], ..Job::default() };
    let ran = Both::of(&wasm, job, fill).same();
    let stdout = String::from_utf8(ran.stdout).unwrap();
    assert!(ran.code == 5 && !stdout.contains("FAILED"), "{}: {stdout}", ran.code);
    assert_eq!(stdout.lines().count(), 47, "{stdout}");
}

/// How tests ended, by name: `PASS`, `FAIL` or `SKIP`.
fn outcomes(said: &[u8]) -> BTreeMap<String, String> {
    let said = String::from_utf8_lossy(said);
    let of_line = |line: &str| {
        let (outcome, rest) = line.trim_start().strip_prefix("--- ")?.split_once(": ")?;
        let (name, _seconds) = rest.rsplit_once(" (")?;
        Some((name.to_owned(), outcome.to_owned()))
    };
    said.lines().filter_map(of_line).collect()
}

/// Where `testing` puts what the tests need: Go's own root is `/`.
fn fill(dir: &Path) {
    let root = xtask::guests::go_root().unwrap_or_else(|error| panic!("{error}"));
    for part in ["src/os", "src/io", "src/path", "src/archive", "src/unicode"] {
        copy_tree(&root.join(part), &dir.join(part));
    }
    for file in ["VERSION", "go.env", "src/go.mod"] {
        put(dir, file, fs::read(root.join(file)).unwrap());
    }
    // The package does not carry these two, in which nobody looks.
    put(dir, "LICENSE", "of Go\n");
    put(dir, "CONTRIBUTING.md", "to Go\n");
    fs::create_dir(dir.join("tmp")).unwrap();
}

/// Runs the tests of a package. None fails on either host. `passed` and `skipped` is how many end so on both, on a tree
/// that refuses absolute links as a host directory does; then the tests of links skip themselves. `more` pass on a tree
/// that is the whole namespace, where such links lead somewhere.
fn same_outcomes(package: &str, passed: usize, skipped: usize, more: usize) {
    let wasm = xtask::guests::go_tests(package).unwrap_or_else(|error| panic!("{error}"));
    let pwd = format!("/src/{package}");
    let job = Job {
        arguments: &["test", "-test.short", "-test.v"],
        environment: &[("PWD", &pwd), ("TMPDIR", "/tmp"), ("GOROOT", "/")],
        has_devices: true,
        is_below: true,
        ..Job::default()
    };
    let both = Both::of(&wasm, job, fill);
    let (ours, theirs) = (outcomes(&both.ours.stdout), outcomes(&both.theirs.stdout));
    let differ: Vec<_> = ours.iter().filter(|(name, outcome)| theirs.get(*name) != Some(outcome)).collect();
    assert!(ours == theirs, "{differ:?}\n{}", String::from_utf8_lossy(&both.ours.stdout));
    assert_eq!((both.ours.code, both.theirs.code), (0, 0), "{}", String::from_utf8_lossy(&both.ours.stdout));
    both.same_tree_but_for_random_names();
    let count = |ended: &str| ours.values().filter(|outcome| *outcome == ended).count();

    let both = Both::of(&wasm, Job { is_below: false, ..job }, fill);
    let whole = outcomes(&both.ours.stdout);
    assert_eq!(both.ours.code, 0, "{}", String::from_utf8_lossy(&both.ours.stdout));
    both.same_tree_but_for_random_names();
    let lost: Vec<_> =
        theirs.iter().filter(|(name, outcome)| *outcome == "PASS" && whole.get(*name) != Some(outcome)).collect();
    assert!(lost.is_empty(), "{lost:?}");
    let more_passed =
        whole.iter().filter(|(name, outcome)| *outcome == "PASS" && theirs.get(*name) != Some(outcome)).count();
    assert_eq!((count("PASS"), count("SKIP"), count("FAIL"), more_passed), (passed, skipped, 0, more));
}

#[test]
fn tests_of_os() {
    same_outcomes("os", 1155, 438, 267);
}

#[test]
fn tests_of_io_fs() {
    same_outcomes("io/fs", 24, 0, 0);
}

#[test]
fn tests_of_path_filepath() {
    same_outcomes("path/filepath", 44, 14, 16);
}

#[test]
fn tests_of_io_ioutil() {
    same_outcomes("io/ioutil", 29, 1, 0);
}

#[test]
fn tests_of_archive_tar() {
    same_outcomes("archive/tar", 100, 1, 1);
}

#[test]
fn tests_of_archive_zip() {
    same_outcomes("archive/zip", 125, 7, 0);
}
