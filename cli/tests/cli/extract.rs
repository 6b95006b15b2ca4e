//! `extract`: what an image holds, and never anything outside the directory.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use insta::assert_snapshot;
use mountless::clock::Timestamp;
use mountless::format::tar::{NewTarEntry, NewTarKind, TarWriter};

use crate::pack::tree;
use crate::sandbox::Sandbox;

/// A tar archive with these entries, and the content that files have.
fn tar(entries: &[(&str, NewTarKind<'_>)]) -> Vec<u8> {
    let mut tar = TarWriter::new(Vec::new());
    for (path, kind) in entries {
        let kind = match kind {
            NewTarKind::File(_) => NewTarKind::File(4),
            other => *other,
        };
        let mtime = Timestamp::from_secs(1_600_000_000);
        tar.begin(&NewTarEntry { path: path.as_bytes(), kind, mode: 0o755, uid: 0, gid: 0, mtime, xattrs: &[] })
            .unwrap();
        if let NewTarKind::File(_) = kind {
            tar.data(b"evil").unwrap();
        }
    }
    tar.finish().unwrap()
}

#[test]
fn what_comes_out_is_what_went_in() {
    let sandbox = Sandbox::new();
    let root = sandbox.input("root");
    fs::create_dir(&root).unwrap();
    tree(&root);
    for name in ["image.tar", "image.cpio.zst"] {
        let (image, out) = (sandbox.input(name), sandbox.input(&format!("{name}.out")));
        assert_eq!(sandbox.run(["pack", root.to_str().unwrap(), "-o", image.to_str().unwrap()]).code, 0);
        let done = sandbox.run(["extract", image.to_str().unwrap(), out.to_str().unwrap()]);
        assert_eq!((done.code, &*done.stdout, &*done.stderr), (0, "", ""), "{name}");
        let compared = sandbox.run(["diff", image.to_str().unwrap(), out.to_str().unwrap()]);
        assert_eq!((compared.code, &*compared.stdout), (0, ""), "{name}: {}", compared.stderr);
        let names = |path: &str| fs::metadata(out.join(path)).unwrap();
        assert_eq!((names("bin/tool").ino(), names("bin/tool").nlink()), (names("bin/alias").ino(), 2));
        assert_eq!(names("etc").mtime(), 1_600_000_000);
    }
    // A part of it, and what is there already.
    let (image, out) = (sandbox.input("image.tar"), sandbox.input("etc"));
    let etc = format!("{}:/etc", image.display());
    assert_eq!(sandbox.run(["extract", &etc, out.to_str().unwrap()]).code, 0);
    assert_eq!(fs::read(out.join("motd")).unwrap(), b"welcome\n");
    fs::write(out.join("motd"), "changed").unwrap();
    let refused = sandbox.run(["extract", &etc, out.to_str().unwrap()]);
    assert_snapshot!(refused.shown(), @"
    --- stderr, exit code 1
    mountless: cannot extract: IN/image.tar:/etc: to IN/etc: motd: file exists
      next: --force replaces what is there; an empty directory needs none
    ");
    assert_eq!(fs::read(out.join("motd")).unwrap(), b"changed");
    assert_eq!(sandbox.run(["extract", "--force", &etc, out.to_str().unwrap()]).code, 0);
    assert_eq!(fs::read(out.join("motd")).unwrap(), b"welcome\n");
    let file = sandbox.run(["extract", &format!("{}:/etc/motd", image.display()), out.to_str().unwrap()]);
    assert_snapshot!(file.shown(), @"
    --- stderr, exit code 1
    mountless: cannot extract: IN/image.tar:/etc/motd: not a directory
      next: `mountless cp IMAGE:/FILE TO` copies one file, `mountless cat` prints it
    ");
}

#[test]
fn nothing_outside_is_touched_whatever_the_archive_says() {
    use NewTarKind::{File, HardLink, Symlink};
    let archives: &[(&str, &[(&str, NewTarKind<'_>)])] = &[
        ("dots", &[("../evil", File(0)), ("a/../../evil", File(0))]),
        ("absolute", &[("/evil", File(0)), ("//tmp/evil", File(0))]),
        ("link", &[("a", Symlink(b"..")), ("a/evil", File(0))]),
        ("absolute link", &[("a", Symlink(b"/")), ("a/evil", File(0)), ("a/tmp/evil", File(0))]),
        ("links", &[("a", Symlink(b".")), ("a/b", Symlink(b"..")), ("b/evil", File(0)), ("a/b/evil", File(0))]),
        ("link to a file", &[("a", Symlink(b"../victim")), ("a", File(0))]),
        ("link to a file, written through", &[("a", Symlink(b"../victim")), ("b", HardLink(b"a")), ("b", File(0))]),
        ("hard link", &[("a", HardLink(b"../victim")), ("a", File(0))]),
        ("hard link through a link", &[("d", Symlink(b"..")), ("a", HardLink(b"d/victim")), ("a", File(0))]),
    ];
    for (name, entries) in archives {
        let sandbox = Sandbox::new();
        let image = sandbox.file("image.tar", tar(entries));
        let victim = sandbox.file("victim", "untouched");
        let before = fs::metadata(&victim).unwrap();
        let out = sandbox.input("out");
        for force in [&[][..], &["--force"]] {
            // Whether it can be read at all is not the question here.
            sandbox.run(["extract", &image, out.to_str().unwrap()].iter().chain(force));
            let after = fs::metadata(&victim).unwrap();
            assert_eq!(fs::read(&victim).unwrap(), b"untouched", "{name}");
            assert_eq!((before.mtime(), before.nlink(), before.mode()), (after.mtime(), after.nlink(), after.mode()));
            let mut names: Vec<_> = fs::read_dir(sandbox.input("")).unwrap().map(|e| e.unwrap().file_name()).collect();
            names.sort();
            names.retain(|name| name != "out");
            assert_eq!(names, ["image.tar", "victim"], "{name}");
            assert!(!Path::new("/evil").exists() && !Path::new("/tmp/evil").exists(), "{name}");
        }
    }
}

/// What stands in the directory is as little to be trusted as what is in the archive.
#[test]
fn links_that_are_there_are_not_followed() {
    let sandbox = Sandbox::new();
    let outside = sandbox.input("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "untouched").unwrap();
    let out = sandbox.input("out");
    fs::create_dir(&out).unwrap();
    std::os::unix::fs::symlink(&outside, out.join("dir")).unwrap();
    std::os::unix::fs::symlink(outside.join("file"), out.join("file")).unwrap();
    let image = sandbox.image("image.cpio", &[("dir/file", b"new"), ("file", b"new")]);
    assert_snapshot!(sandbox.run(["extract", &image, out.to_str().unwrap()]).shown(), @"
    --- stderr, exit code 1
    mountless: cannot extract: IN/image.cpio: to IN/out: dir: file exists
      next: --force replaces what is there; an empty directory needs none
    ");
    let forced = sandbox.run(["extract", "--force", &image, out.to_str().unwrap()]);
    assert_eq!(forced.code, 0, "{}", forced.stderr);
    assert_eq!(fs::read(outside.join("file")).unwrap(), b"untouched");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(fs::read(out.join("dir/file")).unwrap(), b"new");
    assert!(out.join("dir").symlink_metadata().unwrap().is_dir());
}

/// Who is not root gets what is permitted, and a manifest of how it should be.
#[test]
fn what_is_not_permitted_is_noted() {
    let sandbox = Sandbox::new();
    let device = mountless::attr::Device { major: 1, minor: 3 };
    let mut tar = TarWriter::new(Vec::new());
    for (path, kind, mode, uid) in [
        (&b"dev"[..], NewTarKind::Dir, 0o555, 0),
        (b"dev/null", NewTarKind::Char(device), 0o666, 0),
        (b"dev/file", NewTarKind::File(0), 0o4755, 7),
    ] {
        let mtime = Timestamp::from_secs(1_600_000_000);
        tar.begin(&NewTarEntry { path, kind, mode, uid, gid: 7, mtime, xattrs: &[] }).unwrap();
    }
    let image = sandbox.file("image.tar", tar.finish().unwrap());
    let own = fs::metadata(&image).unwrap();
    let out = sandbox.input("out");
    let done = sandbox.run(["extract", "--json", "--own", &image, out.to_str().unwrap()]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    let file = fs::metadata(out.join("dev/file")).unwrap();
    assert_eq!((file.uid(), file.gid()), (own.uid(), own.gid()));
    assert_eq!(file.mode() & 0o7777, 0o755, "not lent to others");
    assert_eq!(fs::metadata(out.join("dev")).unwrap().mode() & 0o7777, 0o555, "could be filled all the same");
    let told: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(told["entries"].as_u64().unwrap() + u64::from(own.uid() != 0), 3);
    let manifest = fs::read_to_string(sandbox.input("out.mtree")).unwrap();
    assert_snapshot!(manifest, @"
    #mtree
    . type=dir
    ./dev type=dir mode=0555 uid=0 gid=7 time=1600000000.000000000
    ./dev/file type=file mode=4755 uid=7 gid=7 nlink=1 time=1600000000.000000000 size=0
    ./dev/null type=char mode=0666 uid=0 gid=7 nlink=1 time=1600000000.000000000 device=linux,1,3
    ");
    // So that the directory can go.
    fs::set_permissions(out.join("dev"), fs::Permissions::from_mode(0o755)).unwrap();
}
