//! Components in languages that bring their engine along: they call `wasi:filesystem` themselves, with its streams.

use std::path::Path;

use mountless_tests::{put, put_files_tree};

use mountless_tests::compare::{Both, Job};

fn same(component: xtask::Result<std::path::PathBuf>, lines: usize) {
    let wasm = component.unwrap_or_else(|error| panic!("{error}"));
    let fill = |dir: &Path| {
        put_files_tree(dir);
        put(dir, "work/.keep", "");
    };
    let ran = Both::of(&wasm, Job { arguments: &["app"], ..Job::default() }, fill).same();
    let stdout = String::from_utf8(ran.stdout).unwrap();
    assert_eq!((ran.code, stdout.lines().count()), (0, lines), "{stdout}{}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn python_component_with_files_and_streams() {
    same(xtask::guests::python_component(), 58);
}

#[test]
fn javascript_component_with_files_and_streams() {
    same(xtask::guests::javascript_component("app"), 39);
}
