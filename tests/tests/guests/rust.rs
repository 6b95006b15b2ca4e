//! Rust, by its standard library.

use mountless_tests::put_files_tree;

use crate::compare::{Both, Job};

#[test]
fn rust_program_with_files() {
    let wasm = xtask::guests::rust_program("files").unwrap_or_else(|error| panic!("{error}"));
    let job = Job { arguments: &["files", "/work"], environment: &[("SEEN", "yes")], ..Job::default() };
    let ran = Both::of(&wasm, job, put_files_tree).same();
    let stdout = String::from_utf8(ran.stdout).unwrap();
    assert_eq!((ran.code, stdout.lines().count()), (6, 39), "{stdout}");
}
