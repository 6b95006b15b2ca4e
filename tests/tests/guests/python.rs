//! CPython.

use std::fs;
use std::path::Path;

use mountless_tests::{copy_tree, put, python};

use crate::compare::{Both, Job};

#[test]
fn cpython_walks_imports_and_changes_its_library() {
    let (interpreter, library) = python::interpreter_and_library();
    let fill = |dir: &Path| {
        copy_tree(&library, &dir.join("py312"));
        put(dir, "py312/lib/python3.12/marker_in_image.py", "VALUE = 'from the image'\n");
        put(dir, "walk.py", fs::read(xtask::workspace().join("tests/guests/walk.py")).unwrap());
    };
    let job = Job {
        arguments: &["python", "/walk.py", "/py312/lib/python3.12", "9"],
        environment: &[("PYTHONHOME", python::HOME), ("PYTHONDONTWRITEBYTECODE", "1"), ("PYTHONHASHSEED", "0")],
        ..Job::default()
    };
    let ran = Both::of(&interpreter, job, fill).same();
    let stdout = String::from_utf8(ran.stdout).unwrap();
    assert_eq!(ran.code, 9, "{stdout}");
    assert!(stdout.contains("imported 68 elsewhere []"), "{stdout}");
    assert!(stdout.contains("changed from the image True 42 False"), "{stdout}");
}
