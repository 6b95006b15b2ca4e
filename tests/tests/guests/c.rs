//! C programs, as modules and as components.

use std::fs;
use std::path::Path;

use mountless_tests::{archive, c_guest, component, put, put_files_tree};

use crate::compare::{Both, Job, host_dir, namespace_of, run_ours};

fn escape() -> Job<'static> {
    Job { arguments: &["escape", "/top"], preopens: &["/top"], ..Job::default() }
}

fn put_secret(dir: &Path) {
    put(dir, "secret", "nobody may read this\n");
    put(dir, "top/file", "");
}

fn files<'a>(arguments: &'a [&'a str]) -> Job<'a> {
    Job { arguments, ..Job::default() }
}

#[test]
fn c_program_with_files() {
    let ran = Both::of(&c_guest("files"), files(&["files", "/", "7"]), put_files_tree).same();
    assert_eq!(ran.code, 7);
    let stdout = String::from_utf8(ran.stdout).unwrap();
    assert!(stdout.lines().count() > 80 && !stdout.contains("FAILED"), "{stdout}");
}

#[test]
fn c_program_with_files_and_a_newer_library() {
    let wasm = xtask::guests::zig_program("files").unwrap_or_else(|error| panic!("{error}"));
    let ran = Both::of(&wasm, files(&["files", "/", "7"]), put_files_tree).same();
    assert_eq!(ran.code, 7);
    let stdout = String::from_utf8(ran.stdout).unwrap();
    assert!(stdout.lines().count() > 80 && !stdout.contains("FAILED"), "{stdout}");
}

#[test]
fn c_program_that_tries_to_escape() {
    let ran = Both::of(&c_guest("escape"), escape(), put_secret).same();
    assert_eq!(ran.code, 0);
    let refused = String::from_utf8(ran.stdout).unwrap();
    assert_eq!(refused.lines().filter(|line| line.ends_with("Operation not permitted")).count(), 12, "{refused}");
}

#[test]
fn the_same_c_programs_as_components() {
    let wasm = component::from_module(&c_guest("files"));
    let ran = Both::of(&wasm, files(&["files", "/", "0"]), put_files_tree).same();
    assert_eq!(ran.code, 0);
    let stdout = String::from_utf8(ran.stdout).unwrap();
    assert!(stdout.lines().count() > 80 && !stdout.contains("FAILED"), "{stdout}");

    let ran = Both::of(&component::from_module(&c_guest("escape")), escape(), put_secret).same();
    let refused = String::from_utf8(ran.stdout).unwrap();
    assert_eq!(refused.lines().filter(|line| line.ends_with("Operation not permitted")).count(), 12, "{refused}");
}

#[test]
fn a_component_of_preview_3_with_files_and_streams() {
    let ran = Both::of(&component::of_preview3("files"), files(&["files"]), put_files_tree).same();
    assert_eq!(ran.code, 0, "the number of the step that failed");
}

#[test]
fn listing_while_deleting_misses_nothing() {
    let host = host_dir();
    fs::create_dir(host.path().join("many")).unwrap();
    let namespace = namespace_of(&[archive::pack(host.path())]);
    let ours = run_ours(&c_guest("readdir"), files(&["readdir", "/many"]), &namespace);
    // The reference counts positions in a list that changes, and loses every other entry or so.
    assert_eq!((ours.code, &*ours.stdout), (0, &b"deleted 300, stayed 300\n"[..]));
}
