//! Archives made and read by GNU cpio, the real counterpart of ours.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What `dir` holds, packed by GNU cpio in the order of the paths.
#[must_use]
pub fn pack(dir: &Path) -> Vec<u8> {
    let mut paths = vec![PathBuf::from(".")];
    let mut at = 0;
    while let Some(path) = paths.get(at).cloned() {
        at += 1;
        if dir.join(&path).symlink_metadata().unwrap().is_dir() {
            paths.extend(dir.join(&path).read_dir().unwrap().map(|entry| path.join(entry.unwrap().file_name())));
        }
    }
    paths.sort();
    let mut names = OsString::new();
    for path in paths {
        // The root keeps its name.
        names.push(path.strip_prefix(".").ok().filter(|path| !path.as_os_str().is_empty()).unwrap_or(&path));
        names.push("\0");
    }
    gnu_cpio(dir, &["-o", "-0", "-H", "newc", "-R", "0:0", "--quiet"], names.as_encoded_bytes())
}

/// Runs GNU cpio in `dir` with `input` and returns its output.
#[must_use]
pub fn gnu_cpio(dir: &Path, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("cpio")
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("GNU cpio is needed: run `cargo xtask guests`, or install the package cpio");
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // Beside the reading: both pipes are small.
        scope.spawn(move || stdin.write_all(input).unwrap());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "cpio {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    })
}
