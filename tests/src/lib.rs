//! What the cross-crate tests share: trees and archives to test with, real guests, and the reference host.
#![allow(clippy::missing_panics_doc, clippy::unwrap_used, clippy::expect_used, reason = "everything here serves tests")]

pub mod archive;
pub mod compare;
pub mod component;
pub mod python;
pub mod reference;

use std::fs;
use std::path::Path;

/// The module compiled from `tests/guests/NAME.c`.
#[must_use]
pub fn c_guest(name: &str) -> std::path::PathBuf {
    xtask::guests::c_program(name).unwrap_or_else(|error| panic!("{error}"))
}

/// Writes a file below `dir`, with the directories above it.
pub fn put(dir: &Path, path: &str, content: impl AsRef<[u8]>) {
    let path = dir.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// The tree that `files.c` works on.
pub fn put_files_tree(dir: &Path) {
    put(dir, "etc/motd", "welcome\n");
    put(dir, "share/doc", "doc\n");
}

/// Copies a directory with what is in it: directories and files.
pub fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Copies a program of the host, found as a shell finds it, to `/bin` of a tree, and its libraries to where it looks for
/// them.
pub fn copy_host_program(name: &str, root: &Path) {
    let found = ["/bin", "/usr/bin"].iter().map(|dir| Path::new(dir).join(name)).find(|path| path.exists());
    let program = found.unwrap_or_else(|| panic!("no {name} on this machine"));
    let copy = |from: &Path, to: &str| {
        let to = root.join(to.trim_start_matches('/'));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    };
    copy(&program, &format!("bin/{name}"));
    let libraries = std::process::Command::new("ldd").arg(&program).output().expect("ldd is part of the C library");
    let listed = String::from_utf8(libraries.stdout).unwrap();
    for path in listed.split_whitespace().filter(|word| word.starts_with('/')) {
        copy(Path::new(path), path);
    }
}
