//! Go: a program of our own, and the tests of Go's own packages, which have their sources and data in the image.

use std::fs;
use std::path::Path;

use mountless_tests::{copy_tree, put, put_files_tree};

use crate::compare::{Both, Job};
use crate::suite::{Counts, Ended, Outcomes, Suite};

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

fn outcomes(said: &str) -> Outcomes {
    let of_line = |line: &str| {
        let (ended, rest) = line.trim_start().strip_prefix("--- ")?.split_once(": ")?;
        let (name, _seconds) = rest.rsplit_once(" (")?;
        let ended = match ended {
            "PASS" => Ended::Passed,
            "SKIP" => Ended::Skipped,
            _ => Ended::Failed,
        };
        Some((name.to_owned(), ended))
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

/// The tests of a package: none fails, on either host. So many pass and skip themselves on both, and so many more pass
/// on ours where absolute links lead somewhere.
fn ends_as_on_a_host_directory(package: &str, passed: usize, skipped: usize, more: usize) {
    let wasm = xtask::guests::go_tests(package).unwrap_or_else(|error| panic!("{error}"));
    let pwd = format!("/src/{package}");
    let job = Job {
        arguments: &["test", "-test.short", "-test.v"],
        environment: &[("PWD", &pwd), ("TMPDIR", "/tmp"), ("GOROOT", "/")],
        has_devices: true,
        ..Job::default()
    };
    let suite = Suite { wasm: &wasm, fill: &fill, outcomes };
    assert_eq!(suite.same(job), Counts { passed, failed: 0, skipped });
    let counts = suite.more(job);
    assert_eq!((counts.passed, counts.failed), (more, 0));
}

#[test]
fn tests_of_os() {
    ends_as_on_a_host_directory("os", 1155, 438, 267);
}

#[test]
fn tests_of_io_fs() {
    ends_as_on_a_host_directory("io/fs", 24, 0, 0);
}

#[test]
fn tests_of_path_filepath() {
    ends_as_on_a_host_directory("path/filepath", 44, 14, 16);
}

#[test]
fn tests_of_io_ioutil() {
    ends_as_on_a_host_directory("io/ioutil", 29, 1, 0);
}

#[test]
fn tests_of_archive_tar() {
    ends_as_on_a_host_directory("archive/tar", 100, 1, 1);
}

#[test]
fn tests_of_archive_zip() {
    ends_as_on_a_host_directory("archive/zip", 125, 7, 0);
}
