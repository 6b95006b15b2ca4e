//! The same program on our tree and on a host directory, under the WASI host that comes with the engine: what it says,
//! how it ends and what it leaves behind are the same.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use mountless::attr::FileType;
use mountless::{Namespace, Stack};
use mountless_tests::reference::{self, Ran};
use mountless_tests::{archive, c_guest, component, copy_tree, put, put_files_tree, python};
use mountless_wasi::run::{Cache, Outcome, Output, Preopen, RunOptions, Runner};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;

/// Kind and content by path. Times, owners and modes are not comparable: the image has them, WASI has not.
type Tree = BTreeMap<Vec<u8>, (FileType, Vec<u8>)>;

/// A namespace over an image of `dir`, with memory for the changes.
fn namespace_of(dir: &Path) -> Namespace {
    let image = tempfile::NamedTempFile::new().unwrap();
    fs::write(image.path(), archive::pack(dir)).unwrap();
    // The image stays mapped when its name is gone.
    Namespace::new(Stack::open([image.path()]).unwrap().with_memory_upper().unwrap())
}

fn run_ours(
    wasm: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
    namespace: &Namespace,
    preopen: &str,
) -> Ran {
    let cache = Cache::Dir(xtask::guests::dir().join("cache/mountless"));
    let runner = Runner::new(&cache).unwrap();
    let program = runner.compile(&fs::read(wasm).unwrap()).unwrap();
    let (stdout, stderr) = (MemoryOutputPipe::new(1 << 24), MemoryOutputPipe::new(1 << 24));
    let options = RunOptions {
        args: arguments.iter().map(ToString::to_string).collect(),
        env: environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        preopens: vec![Preopen { name: preopen.to_owned(), path: preopen.to_owned() }],
        stdout: Output::Stream(Box::new(stdout.clone())),
        stderr: Output::Stream(Box::new(stderr.clone())),
        ..RunOptions::default()
    };
    let code = match runner.run(&program, namespace, options).unwrap() {
        Outcome::Exited(code) => code,
        other => panic!("{other:?}"),
    };
    Ran { code, stdout: stdout.contents().into(), stderr: stderr.contents().into() }
}

fn our_tree(namespace: &Namespace) -> Tree {
    let mut tree = Tree::new();
    let mut todo = vec![Vec::new()];
    while let Some(dir) = todo.pop() {
        for entry in namespace.read_dir([&dir[..], b"/"].concat()).unwrap() {
            let path = [&dir, &b"/"[..], &entry.name].concat();
            let content = match entry.file_type {
                FileType::File => namespace.read(&path).unwrap(),
                FileType::Symlink => namespace.read_link(&path).unwrap().into(),
                FileType::Dir => Vec::new(),
                other => panic!("{other:?}"),
            };
            if entry.file_type == FileType::Dir {
                todo.push(path.clone());
            }
            tree.insert(path, (entry.file_type, content));
        }
    }
    tree
}

fn host_tree(top: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut todo = vec![top.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = [b"/", path.strip_prefix(top).unwrap().as_os_str().as_bytes()].concat();
            let kind = path.symlink_metadata().unwrap().file_type();
            let node = if kind.is_symlink() {
                (FileType::Symlink, fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec())
            } else if kind.is_dir() {
                todo.push(path);
                (FileType::Dir, Vec::new())
            } else {
                (FileType::File, fs::read(&path).unwrap())
            };
            tree.insert(name, node);
        }
    }
    tree
}

/// Runs both and compares everything.
fn same_as_on_a_host_directory(
    wasm: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
    preopen: &str,
    fill: impl FnOnce(&Path),
) -> Ran {
    let host = tempfile::tempdir().unwrap();
    fill(host.path());
    let namespace = namespace_of(host.path());
    assert_eq!(our_tree(&namespace), host_tree(host.path()), "before");
    let ours = run_ours(wasm, arguments, environment, &namespace, preopen);
    let theirs =
        reference::run_at(wasm, arguments, environment, &host.path().join(preopen.trim_start_matches('/')), preopen);
    assert_eq!(String::from_utf8_lossy(&ours.stdout), String::from_utf8_lossy(&theirs.stdout));
    assert_eq!(String::from_utf8_lossy(&ours.stderr), String::from_utf8_lossy(&theirs.stderr));
    assert_eq!(ours.code, theirs.code);
    let (ours_after, theirs_after) = (our_tree(&namespace), host_tree(host.path()));
    for path in ours_after.keys().chain(theirs_after.keys()) {
        assert!(ours_after.get(path) == theirs_after.get(path), "after: {}", path.escape_ascii());
    }
    ours
}

#[test]
fn c_program_with_files() {
    let ran = same_as_on_a_host_directory(&c_guest("files"), &["files", "/", "7"], &[], "/", put_files_tree);
    assert_eq!(ran.code, 7);
    let stdout = String::from_utf8(ran.stdout).unwrap();
    assert!(stdout.lines().count() > 80 && !stdout.contains("FAILED"), "{stdout}");
}

#[test]
fn c_program_that_tries_to_escape() {
    let fill = |dir: &Path| {
        put(dir, "secret", "nobody may read this\n");
        put(dir, "top/file", "");
    };
    let ran = same_as_on_a_host_directory(&c_guest("escape"), &["escape", "/top"], &[], "/top", fill);
    assert_eq!(ran.code, 0);
    let refused = String::from_utf8(ran.stdout).unwrap();
    assert_eq!(refused.lines().filter(|line| line.ends_with("Operation not permitted")).count(), 12, "{refused}");
}

#[test]
fn the_same_c_programs_as_components() {
    let files = component::from_module(&c_guest("files"));
    let ran = same_as_on_a_host_directory(&files, &["files", "/", "0"], &[], "/", put_files_tree);
    assert_eq!(ran.code, 0);
    let stdout = String::from_utf8(ran.stdout).unwrap();
    assert!(stdout.lines().count() > 80 && !stdout.contains("FAILED"), "{stdout}");

    let escape = component::from_module(&c_guest("escape"));
    let fill = |dir: &Path| {
        put(dir, "secret", "nobody may read this\n");
        put(dir, "top/file", "");
    };
    let ran = same_as_on_a_host_directory(&escape, &["escape", "/top"], &[], "/top", fill);
    let refused = String::from_utf8(ran.stdout).unwrap();
    assert_eq!(refused.lines().filter(|line| line.ends_with("Operation not permitted")).count(), 12, "{refused}");
}

#[test]
fn listing_while_deleting_misses_nothing() {
    let host = tempfile::tempdir().unwrap();
    fs::create_dir(host.path().join("many")).unwrap();
    let namespace = namespace_of(host.path());
    let ours = run_ours(&c_guest("readdir"), &["readdir", "/many"], &[], &namespace, "/");
    // The reference counts positions in a list that changes, and loses every other entry or so.
    assert_eq!((ours.code, &*ours.stdout), (0, &b"deleted 300, stayed 300\n"[..]));
}

#[test]
fn cpython_walks_imports_and_changes_its_library() {
    let (interpreter, library) = python::interpreter_and_library();
    let fill = |dir: &Path| {
        copy_tree(&library, &dir.join("py312"));
        put(dir, "py312/lib/python3.12/marker_in_image.py", "VALUE = 'from the image'\n");
        put(dir, "walk.py", fs::read(xtask::workspace().join("tests/guests/walk.py")).unwrap());
    };
    let environment = [("PYTHONHOME", python::HOME), ("PYTHONDONTWRITEBYTECODE", "1"), ("PYTHONHASHSEED", "0")];
    let arguments = ["python", "/walk.py", "/py312/lib/python3.12", "9"];
    let ran = same_as_on_a_host_directory(&interpreter, &arguments, &environment, "/", fill);
    let stdout = String::from_utf8(ran.stdout).unwrap();
    assert_eq!(ran.code, 9, "{stdout}");
    assert!(stdout.contains("imported 68 elsewhere []"), "{stdout}");
    assert!(stdout.contains("changed from the image True 42 False"), "{stdout}");
}
