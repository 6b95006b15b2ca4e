//! Host directories as volumes and as images: what a program may change on the host, and what it may not even see.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use insta::assert_snapshot;
use mountless_tests::{c_guest, put, put_files_tree, python};
use tempfile::TempDir;

use crate::sandbox::Sandbox;

/// A directory of the host with one in it that a program is given.
struct Host {
    outer: TempDir,
}

impl Host {
    fn new() -> Self {
        let outer = tempfile::tempdir().unwrap();
        put(outer.path(), "secret", "nobody may read this\n");
        fs::create_dir(outer.path().join("given")).unwrap();
        put_files_tree(&outer.path().join("given"));
        Self { outer }
    }

    fn given(&self) -> PathBuf {
        self.outer.path().join("given")
    }

    fn volume(&self, rest: &str) -> String {
        format!("{}{rest}", self.given().to_str().unwrap())
    }

    /// All that is there: paths, with what files hold and where links lead.
    fn tree(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut todo = vec![self.outer.path().to_owned()];
        while let Some(path) = todo.pop() {
            let kind = path.symlink_metadata().unwrap().file_type();
            let content = if kind.is_symlink() {
                format!("-> {}", fs::read_link(&path).unwrap().display()).into()
            } else if kind.is_dir() {
                todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
                Vec::new()
            } else {
                fs::read(&path).unwrap()
            };
            found.insert(path.strip_prefix(self.outer.path()).unwrap().to_owned(), content);
        }
        found
    }
}

fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn changes_reach_the_host_through_a_volume() {
    let (sandbox, host) = (Sandbox::new(), Host::new());
    let image = sandbox.image_of("base.cpio", |dir| put(dir, "etc/motd", "of the image\n"));
    let done = sandbox.run(["run", "-i", &image, "--volume", &host.volume(":/mnt/data")].into_iter().chain([
        shown(&c_guest("files")),
        "/mnt/data",
        "7",
    ]));
    assert_eq!((done.code, &*done.stderr), (7, ""), "{}", done.stdout);
    // Memory and the host's filesystem answer alike, word for word.
    let in_memory = sandbox.image_of("tree.cpio", put_files_tree);
    let same = sandbox.run(["run", "-i", &in_memory, shown(&c_guest("files")), "/", "7"]);
    assert_eq!(done.stdout, same.stdout);

    let after = host.tree();
    let text: Vec<_> = after
        .iter()
        .map(|(path, content)| format!("/{} {:?}", path.display(), String::from_utf8_lossy(content)))
        .collect();
    assert_snapshot!(text.join("\n"), @r#"
    / ""
    /given ""
    /given/dangling "-> nowhere"
    /given/etc ""
    /given/etc/motd "through the second name\n"
    /given/hard "through the second name\n"
    /given/holes "heL\0\0\0\0\0\0\0"
    /given/link "-> etc/motd"
    /given/log "ONE\ntwo\none\ntwo\none\ntwo\nEND\n"
    /given/self "-> self"
    /given/share ""
    /secret "nobody may read this\n"
    "#);
}

#[test]
fn a_read_only_volume_and_a_stack_change_nothing_on_the_host() {
    let (sandbox, host) = (Sandbox::new(), Host::new());
    let before = host.tree();
    let files = c_guest("files");
    let done = sandbox.run(["run", "--volume", &host.volume(":/data:ro"), shown(&files), "/data", "0"]);
    assert_eq!(done.code, 99, "{}", done.shown());
    assert!(done.stdout.ends_with("FAILED: append to etc/motd: Read-only file system\n"), "{}", done.stdout);

    // A directory in the stack is like an image of it: the changes are in memory.
    let image = sandbox.image_of("tree.cpio", put_files_tree);
    let of_image = sandbox.run(["run", "-i", &image, shown(&files), "/", "7"]);
    for reference in [host.volume(""), format!("dir:{}", host.volume(""))] {
        let done = sandbox.run(["run", "-i", &reference, shown(&files), "/", "7"]);
        assert_eq!((done.code, &*done.stderr, &*done.stdout), (7, "", &*of_image.stdout), "{reference}");
    }
    assert!(host.tree() == before, "the host was changed: {:?}", host.tree());
}

/// Tries to get out of /data with links that the host put there, and with `..`.
const REACH_OUT: &str = "
import os
for path in ['absolute', 'relative', 'parent/secret', 'root/etc/hostname', '../secret', '../given/etc/motd', 'loop']:
    try:
        print(path, 'ESCAPED:', open('/data/' + path).read())
    except OSError as error:
        print(path, error.strerror)
print(sorted(os.listdir('/data/parent')), os.path.exists('/data/root/proc/self'))
os.symlink('/etc', '/data/made')
print(open('/data/made/motd').read())
";

#[test]
fn a_volume_is_not_left_by_links_or_dots() {
    let (sandbox, host) = (Sandbox::new(), Host::new());
    let secret = host.outer.path().join("secret");
    for (target, name) in [
        (&*secret, "absolute"),
        (Path::new("../secret"), "relative"),
        (Path::new(".."), "parent"),
        (Path::new("/"), "root"),
        (Path::new("loop"), "loop"),
    ] {
        symlink(target, host.given().join(name)).unwrap();
    }
    let image = sandbox.image_of("base.cpio", |dir| put(dir, "etc/motd", "of the image\n"));
    let (interpreter, _) = python::interpreter_and_library();
    let arguments = ["run", "-i", &image, "--volume", &host.volume(":/data")];
    let done = sandbox.run(arguments.into_iter().chain([shown(&interpreter), "-c", REACH_OUT]));
    // Links and dots lead where they lead in the program's tree: to the image's root, for example.
    assert_snapshot!(done.shown(), @"
    absolute No such file or directory
    relative No such file or directory
    parent/secret No such file or directory
    root/etc/hostname No such file or directory
    ../secret No such file or directory
    ../given/etc/motd No such file or directory
    loop Symbolic link loop
    ['data', 'etc'] False
    of the image


    --- stderr, exit code 0
    ");
    assert_eq!(fs::read_link(host.given().join("made")).unwrap(), Path::new("/etc"));

    let done = sandbox.run(["run", "--volume", &host.volume(":/data"), shown(&c_guest("escape")), "/data"]);
    assert_eq!((done.code, &*done.stderr), (0, ""), "{}", done.stdout);
    assert!(!done.stdout.contains("ESCAPED") && done.stdout.lines().count() == 12, "{}", done.stdout);
}

#[test]
fn volumes_lie_beside_and_in_each_other() {
    let (sandbox, host, other) = (Sandbox::new(), Host::new(), Host::new());
    put(&other.given(), "etc/motd", "of the other\n");
    let image = sandbox.image("data.cpio", &[("inner", b"of the image\n")]);
    let (interpreter, _) = python::interpreter_and_library();
    let script = "
import os
print(open('/a/etc/motd').read(), open('/a/share/etc/motd').read(), open('/a/etc/image/inner').read())
open('/a/share/new', 'w').write('to the other')
open('/a/etc/image/inner', 'w').write('to memory')
try:
    os.rename('/a/share/new', '/a/new')
except OSError as error:
    print(error.strerror)
";
    let (a, b, c) = (host.volume(":/a"), other.volume(":/a/share"), format!("{image}:/a/etc/image"));
    let arguments = ["run", "--volume", &a, "--volume", &b, "--volume", &c];
    let done = sandbox.run(arguments.into_iter().chain([shown(&interpreter), "-c", script]));
    assert_snapshot!(done.shown(), @"
    welcome
     of the other
     of the image

    Cross-device link

    --- stderr, exit code 0
    ");
    assert_eq!(fs::read(other.given().join("new")).unwrap(), b"to the other");
    assert!(!host.given().join("share/new").exists());
}

#[test]
fn changes_are_kept_in_a_directory_for_the_next_run() {
    let sandbox = Sandbox::new();
    let image = sandbox.image("base.cpio", &[("etc/motd", b"welcome\n"), ("share/doc", b"doc\n")]);
    let program = c_guest("files");
    let run = |upper: &Path| {
        let words = ["run", "-i", &image, "--upper", shown(upper), shown(&program), "/", "0"];
        let done = sandbox.run(words);
        assert_eq!(done.stderr, "", "{}", done.shown());
        done
    };
    let (upper, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = run(upper.path());
    assert_eq!(first.code, 0);
    assert!(fs::read_dir(upper.path().join("upper")).unwrap().count() > 0, "the changes are there");
    assert_eq!(fs::read_dir(upper.path().join("work")).unwrap().count(), 0, "nothing half made is left");
    assert_eq!(run(other.path()).stdout, first.stdout, "another directory knows nothing of it");
    assert_ne!(run(upper.path()).stdout, first.stdout, "the program finds what it made the first time");
}
