//! CPython.

use std::fs;
use std::path::Path;

use mountless_tests::{copy_tree, put, python};

use crate::suite::{Ended, Outcomes, Suite};
use mountless_tests::compare::{Both, Job};

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

/// Those of CPython's tests that work on files, and know of symbolic links.
const MODULES: [&str; 9] = [
    "test_dbm_dumb",
    "test_filecmp",
    "test_genericpath",
    "test_glob",
    "test_os",
    "test_shelve",
    "test_shutil",
    "test_tarfile",
    "test_tempfile",
];

#[test]
fn cpython_tests() {
    let (interpreter, library) = python::interpreter_and_library();
    let tests = xtask::guests::python_tests().unwrap_or_else(|error| panic!("{error}"));
    let fill = |dir: &Path| {
        let lib = dir.join("lib");
        copy_tree(&library.join("lib"), &lib);
        copy_tree(&tests, &lib.join("python3.12/test"));
        fs::create_dir(dir.join("tmp")).unwrap();
        put(dir, "unittests.py", fs::read(xtask::workspace().join("tests/guests/unittests.py")).unwrap());
    };
    let suite = Suite { wasm: &interpreter, fill: &fill, outcomes };
    let environment = [("PYTHONHOME", "/"), ("PYTHONDONTWRITEBYTECODE", "1"), ("PYTHONHASHSEED", "0")];
    let arguments: Vec<_> = ["python", "/unittests.py"].into_iter().chain(MODULES).collect();
    let job = Job { arguments: &arguments, environment: &environment, ..Job::default() };
    let more = suite.more(job);
    // These take as long as all others.
    let arguments = [&arguments[..], &["test_zipfile"]].concat();
    let both = suite.same(Job { arguments: &arguments, ..job });

    // The packages' version is Debian's, so the counts may move a little. Those that fail are tests of features that
    // this CPython has otherwise, or not at all.
    assert!(both.passed > 1000 && both.failed < 40, "{both:?}");
    assert!(more.passed > 30 && more.failed < 5, "{more:?}");
}

/// Subtests are told of where they fail only, in parentheses behind the test's name.
fn outcomes(said: &str) -> Outcomes {
    let of_line = |line: &str| {
        let (name, ended) = line.rsplit_once(": ")?;
        let ended = match ended {
            "passed" => Ended::Passed,
            "failed" => Ended::Failed,
            "skipped" => Ended::Skipped,
            _ => return None,
        };
        Some((name.to_owned(), ended))
    };
    said.lines().filter_map(of_line).collect()
}
