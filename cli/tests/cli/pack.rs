//! `pack` and `convert`: what is written is what was read, and other tools take it.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use insta::assert_snapshot;
use mountless_tests::{archive, put};

use crate::sandbox::Sandbox;

/// A tree whose attributes a test may choose without being root.
pub(crate) fn tree(dir: &Path) {
    put(dir, "bin/tool", "#!/bin/sh\necho tool\n");
    fs::set_permissions(dir.join("bin/tool"), PermissionsExt::from_mode(0o755)).unwrap();
    fs::hard_link(dir.join("bin/tool"), dir.join("bin/alias")).unwrap();
    symlink("../bin/tool", dir.join("bin/link")).unwrap();
    put(dir, "etc/motd", "welcome\n");
    put(dir, "empty", "");
    put(dir, &format!("long/{}", "n".repeat(200)), vec![b'x'; 70_000]);
    fs::write(dir.join("etc").join(std::ffi::OsStr::from_bytes(b"not\xffutf8")), "odd\n").unwrap();
    for path in ["bin/tool", "etc/motd", "empty", "etc", "bin", "long", "."] {
        fs::File::open(dir.join(path)).unwrap().set_modified(UNIX_EPOCH + Duration::from_secs(1_600_000_000)).unwrap();
    }
}

fn root(sandbox: &Sandbox) -> String {
    let dir = sandbox.input("root");
    fs::create_dir(&dir).unwrap();
    tree(&dir);
    dir.to_str().unwrap().to_owned()
}

/// `find --json` without what the host or the order of an archive decides.
fn listing(sandbox: &Sandbox, image: &str) -> Vec<serde_json::Value> {
    let done = sandbox.run(["find", "--json", "--sha256", image]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    let lines = done.stdout.lines().map(|line| {
        let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
        let object = value.as_object_mut().unwrap();
        for key in ["ino", "nlink", "uid", "gid", "xattrs"] {
            object.remove(key);
        }
        let whole = object.get("mtime").and_then(serde_json::Value::as_f64).unwrap_or_default().floor();
        object.insert("mtime".to_owned(), whole.into());
        value
    });
    lines.collect()
}

const OUTPUTS: [&str; 13] = [
    "out.cpio",
    "out.cpio.gz",
    "out.cpio.xz",
    "out.cpio.zst",
    "out.cpio.lz4",
    "out.cpio.bz2",
    "out.cpio.lzma",
    "out.tar",
    "out.tgz",
    "out.tar.xz",
    "out.tar.zst",
    "out.tar.lz4",
    "out.tar.bz2",
];

#[test]
fn directories_become_images_of_every_kind_and_these_one_another() {
    let sandbox = Sandbox::new();
    let root = root(&sandbox);
    let expected = listing(&sandbox, &root);
    let mut before = root;
    for name in OUTPUTS {
        let output = sandbox.input(name).to_str().unwrap().to_owned();
        let done = sandbox.run(["pack", &before, "-o", &output]);
        assert_eq!((done.code, &*done.stdout), (0, ""), "{name}: {}", done.stderr);
        assert_eq!(listing(&sandbox, &output), expected, "{name}");
        assert_eq!(fs::metadata(&output).unwrap().mode() & 0o777, 0o644 & !umask(), "{name}");
        let converted = sandbox.input(&format!("converted-{name}"));
        let done = sandbox.run(["convert", &output, converted.to_str().unwrap()]);
        assert_eq!((done.code, &*done.stdout), (0, ""), "{name}: {}", done.stderr);
        assert_eq!(listing(&sandbox, converted.to_str().unwrap()), expected, "{name}");
        before = output;
    }
    let left: Vec<_> = fs::read_dir(sandbox.input("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 1 + 2 * OUTPUTS.len(), "something is left behind: {left:?}");
}

fn umask() -> u32 {
    let probe = tempfile::tempdir().unwrap();
    fs::write(probe.path().join("probe"), "").unwrap();
    !fs::metadata(probe.path().join("probe")).unwrap().mode() & 0o666
}

/// What a directory holds, in a form to compare.
fn on_host(dir: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(path) = todo.pop() {
        let metadata = path.symlink_metadata().unwrap();
        let name = path.strip_prefix(dir).unwrap().as_os_str().as_bytes().escape_ascii().to_string();
        let content = if metadata.is_symlink() {
            fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
        } else if metadata.is_file() {
            fs::read(&path).unwrap()
        } else {
            todo.extend(path.read_dir().unwrap().map(|entry| entry.unwrap().path()));
            Vec::new()
        };
        let links = if metadata.is_dir() { 0 } else { metadata.nlink() };
        // GNU cpio forgets those of directories.
        let time = if metadata.is_file() { metadata.mtime() } else { 0 };
        lines.push(format!("{name} {:o} {links} {time} {}", metadata.mode(), content.escape_ascii()));
    }
    lines.sort();
    lines
}

/// Unpacks an archive with another program.
fn unpack_with(program: &str, arguments: &[&str], input: &[u8]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    if program == "cpio" {
        let _listing = archive::gnu_cpio(dir.path(), arguments, input);
        return on_host(dir.path());
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), input).unwrap();
    let output = Command::new(program)
        .args(arguments)
        .arg(file.path())
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; `cargo xtask guests` installs it"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    on_host(dir.path())
}

#[test]
fn other_tools_unpack_what_we_pack() {
    let sandbox = Sandbox::new();
    let root = root(&sandbox);
    let expected = on_host(Path::new(&root));
    let packed = |name: &str| {
        let output = sandbox.input(name);
        let done = sandbox.run(["pack", &root, "-o", output.to_str().unwrap()]);
        assert_eq!(done.code, 0, "{}", done.stderr);
        fs::read(output).unwrap()
    };
    let cpio = packed("out.cpio");
    assert_eq!(unpack_with("cpio", &["-idm", "--quiet", "--no-preserve-owner"], &cpio), expected);
    assert_eq!(unpack_with("bsdtar", &["-xpf"], &cpio), expected, "bsdtar, of cpio");
    for name in ["out.tar", "out.tar.gz", "out.tar.zst", "out.tar.xz", "out.tar.bz2", "out.tar.lz4"] {
        let tar = packed(name);
        assert_eq!(unpack_with("bsdtar", &["-xpf"], &tar), expected, "bsdtar, of {name}");
        if name != "out.tar.lz4" {
            assert_eq!(unpack_with("tar", &["--no-same-owner", "-xpf"], &tar), expected, "tar, of {name}");
        }
    }
    // The frames that Linux takes are those that the tools undo, too.
    for (name, program) in [
        ("out.cpio.gz", "gzip"),
        ("out.cpio.xz", "xz"),
        ("out.cpio.zst", "zstd"),
        ("out.cpio.lz4", "lz4"),
        ("out.cpio.bz2", "bzip2"),
        ("out.cpio.lzma", "lzma"),
    ] {
        packed(name);
        let undone = Command::new(program).arg("-dcq").arg(sandbox.input(name)).output().unwrap();
        assert!(undone.status.success(), "{program}");
        assert_eq!(undone.stdout, cpio, "{program}");
    }
    assert!(fs::read(sandbox.input("out.cpio.lz4")).unwrap().starts_with(&[0x02, 0x21, 0x4c, 0x18]), "a legacy frame");
}

#[test]
fn what_is_reproducible_is_the_same_everywhere() {
    let sandbox = Sandbox::new();
    let root = root(&sandbox);
    let packed = |name: &str, epoch: Option<&str>| {
        let output = sandbox.input(name);
        let mut command = sandbox.command(["pack", "--reproducible", &root, "-o", output.to_str().unwrap()]);
        if let Some(epoch) = epoch {
            command.env("SOURCE_DATE_EPOCH", epoch);
        }
        let done = command.output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        fs::read(output).unwrap()
    };
    for name in ["out.cpio", "out.cpio.gz", "out.tar", "out.tar.zst"] {
        let (first, dated) = (packed(name, None), packed(name, Some("1500000000")));
        // As if it had been checked out again, later.
        let file = fs::File::options().write(true).open(sandbox.input("root/etc/motd")).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(1_700_000_000)).unwrap();
        assert_eq!(packed(name, None), first, "{name}");
        assert_eq!(packed(name, Some("1500000000")), dated, "{name}");
        assert_ne!(first, dated, "{name}");
    }
    let done = sandbox.run(["find", "--json", sandbox.input("out.tar").to_str().unwrap()]);
    for line in done.stdout.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!((&value["uid"], &value["gid"], &value["mtime"]), (&0.into(), &0.into(), &1_500_000_000.into()));
    }
}

#[test]
fn what_the_format_cannot_hold_is_told() {
    let sandbox = Sandbox::new();
    let tar = sandbox.file("in.tar", {
        let mut tar = mountless::format::tar::TarWriter::new(Vec::new());
        let xattrs = [(b"user.x".to_vec(), b"1".to_vec())];
        for (path, nanos) in [(&b"a"[..], 5), (b"b", 5), (b"c", 0), (b"d", 5), (b"e", 5)] {
            tar.begin(&mountless::format::tar::NewTarEntry {
                path,
                kind: mountless::format::tar::NewTarKind::File(0),
                mode: 0o644,
                uid: 0,
                gid: 0,
                mtime: mountless::clock::Timestamp { secs: 1, nanos },
                xattrs: if path == b"c" { &xattrs } else { &[] },
            })
            .unwrap();
        }
        tar.finish().unwrap()
    });
    let out = sandbox.input("out.cpio").to_str().unwrap().to_owned();
    assert_snapshot!(sandbox.run(["convert", &tar, &out]).shown(), @"
    --- stderr, exit code 0
    note: a, b, d and 1 more: the fraction of its time is lost
    note: c: 1 extended attribute is lost
    ");
    assert_snapshot!(sandbox.run(["convert", "--json", &tar, &out]).stdout, @r#"{"image":"IN/out.cpio","format":"cpio","entries":5,"content_bytes":0,"stored_bytes":1024,"lost_count":5,"lost":[{"path":"a","what":"the fraction of its time is lost"},{"path":"b","what":"the fraction of its time is lost"},{"path":"c","what":"1 extended attribute is lost"},{"path":"d","what":"the fraction of its time is lost"},{"path":"e","what":"the fraction of its time is lost"}]}"#);
    fs::remove_file(&out).unwrap();
    assert_snapshot!(sandbox.run(["convert", "--strict", &tar, &out]).shown(), @"
    --- stderr, exit code 1
    note: a, b, d and 1 more: the fraction of its time is lost
    note: c: 1 extended attribute is lost
    mountless: not written: IN/out.cpio: cpio cannot hold all of it
      next: another format may, or go without --strict
    ");
    assert!(!Path::new(&out).exists());
}

#[test]
fn layers_are_merged_and_the_output_is_not_packed_into_itself() {
    let sandbox = Sandbox::new();
    let base = sandbox.image("base.cpio", &[("a", b"base"), ("b", b"base")]);
    let upper = sandbox.input("upper");
    put(&upper, "b", "upper");
    put(&upper, "c", "upper");
    let output = upper.join("out.tar");
    // The second time there is something to be packed by mistake.
    for _ in 0..2 {
        let done = sandbox.run(["pack", &base, upper.to_str().unwrap(), "-o", output.to_str().unwrap()]);
        assert_eq!(done.code, 0, "{}", done.stderr);
        assert_eq!(sandbox.run(["find", output.to_str().unwrap()]).stdout, "/\n/a\n/b\n/c\n");
    }
    assert_eq!(sandbox.run(["cat", &format!("{}:/b", output.display())]).stdout, "upper");
}

#[test]
fn an_image_goes_to_standard_output() {
    let sandbox = Sandbox::new();
    let image = sandbox.image("in.cpio", &[("a", b"content")]);
    let done = sandbox.command(["convert", &image, "-", "-c", "gzip"]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let again = sandbox.run_with_input(["cat", "cpio:-:/a"], &done.stdout);
    assert_eq!((again.code, &*again.stdout), (0, "content"), "{}", again.stderr);
}

#[test]
fn mistakes_are_told_and_leave_the_old_image() {
    let sandbox = Sandbox::new();
    let good = sandbox.image("good.cpio", &[("a", b"content")]);
    let cut = sandbox.file("cut.cpio", &fs::read(&good).unwrap()[..200]);
    let old = sandbox.file("old.tar", "old");
    let none = sandbox.input("none/out.tar").to_str().unwrap().to_owned();
    let unclear = sandbox.input("image.bin").to_str().unwrap().to_owned();
    let missing = sandbox.input("missing").to_str().unwrap().to_owned();
    let mut shown = String::new();
    for (code, arguments) in [
        (2, &["convert", &cut, &old][..]),
        (2, &["convert", &missing, &old]),
        (2, &["pack", &missing, "-o", &old]),
        (1, &["convert", &good, &none]),
        (2, &["pack", sandbox.input("").to_str().unwrap(), "-o", &unclear]),
        (2, &["convert", "--level", "3", &good, &old]),
        (1, &["convert", "-c", "gzip", "--level", "30", &good, &old]),
    ] {
        let done = sandbox.run(arguments);
        assert_eq!((done.code, &*done.stdout), (code, ""), "{arguments:?}: {}", done.shown());
        shown += &done.stderr;
        shown += "\n";
    }
    assert_eq!(fs::read(&old).unwrap(), b"old");
    assert_snapshot!(shown, @"
    mountless: cannot read image: IN/cut.cpio: damaged cpio data at byte 112: a header needs 110 bytes, the archive ends after 88
      next: compare the file with its source; --as-linux shows what Linux would boot with

    mountless: cannot read image: IN/missing: no such file or directory
      next: check the name; `-` reads standard input

    mountless: cannot read image: IN/missing: no such file or directory
      next: check the name; `-` reads standard input

    mountless: cannot write: IN/none/out.tar: no such file or directory
      next: its directory must exist

    mountless: cannot write: IN/image.bin: its name does not tell the format
      next: --format FORMAT tells it, for example cpio or tar

    mountless: cannot write: --level without compression
      next: --compress HOW asks for it, or an ending like .gz

    mountless: cannot write: IN/old.tar: gzip has levels 1 to 9, not 30
    ");
}

#[test]
fn a_tfs_holds_the_tree_too() {
    let sandbox = Sandbox::new();
    let root = root(&sandbox);
    let volume = sandbox.input("volume.img").to_str().unwrap().to_owned();
    let done = sandbox.run(["pack", "--format", "tfs", "--label", "data", "--size", "8M", &root, "-o", &volume]);
    assert_snapshot!(done.shown(), @r"
    --- stderr, exit code 0
    note: /etc/not\377utf8: the name is not UTF-8: it is kept, but Nanos cannot look it up
    ");
    // A mode that is the usual one is not recorded.
    let compared = sandbox.run(["diff", &root, &volume]);
    assert_eq!((compared.code, &*compared.stdout), (0, ""), "{}", compared.stderr);
    let checked = sandbox.run(["check", &volume]);
    assert_eq!(checked.code, 0, "{}", checked.shown());
    assert!(fs::metadata(&volume).unwrap().len() >= 8 << 20);
    assert!(sandbox.run(["info", &volume]).stdout.contains("data"), "the label");
    let packed = |name: &str| {
        let output = sandbox.input(name).to_str().unwrap().to_owned();
        assert_eq!(sandbox.run(["pack", "--reproducible", "--format", "tfs", &root, "-o", &output]).code, 0);
        fs::read(output).unwrap()
    };
    assert!(packed("one.img") == packed("two.img"), "the same bytes again");
    let refused = sandbox.run(["pack", "--format", "tfs", "-c", "gzip", &root, "-o", &volume]);
    assert_snapshot!(refused.shown(), @"
    --- stderr, exit code 2
    mountless: cannot write: IN/volume.img: tfs does not take a compression, for it is changed in place
      next: leave it out
    ");
}

#[test]
fn holes_stay_holes_in_tar_and_other_tools_see_them() {
    const LEN: u64 = 64 << 20;
    let sandbox = Sandbox::new();
    let root = sandbox.input("root");
    fs::create_dir(&root).unwrap();
    let names = ["middle", "end", "all", "none", "odd\u{fc} name"];
    for name in names {
        let file = fs::File::create(root.join(name)).unwrap();
        if name != "none" {
            file.set_len(LEN).unwrap();
        }
        let write = |at, bytes: &[u8]| std::os::unix::fs::FileExt::write_all_at(&file, bytes, at).unwrap();
        match name {
            "middle" => write(LEN / 2, b"middle"),
            "end" => write(LEN - 3, b"end"),
            "none" => write(0, &[b'x'; 9000]),
            "all" => {}
            _ => (0..20).for_each(|at| write(at << 21, b"odd")),
        }
    }
    let (root, tar) = (root.to_str().unwrap(), sandbox.input("out.tar").to_str().unwrap().to_owned());
    let again = sandbox.input("again.tar").to_str().unwrap().to_owned();
    for arguments in [&["pack", root, "-o", &tar][..], &["convert", &tar, &again]] {
        let done = sandbox.run(arguments);
        assert_eq!((done.code, &*done.stderr), (0, ""));
    }
    assert_eq!(fs::read(&tar).unwrap(), fs::read(&again).unwrap());
    assert!(fs::metadata(&tar).unwrap().len() < 1 << 20, "holes were written");
    for (program, arguments) in
        [("tar", &["--no-same-owner", "-xpf"][..]), ("bsdtar", &["-xpf"]), ("mountless", &["extract"])]
    {
        let dir = tempfile::tempdir().unwrap();
        if program == "mountless" {
            assert_eq!(sandbox.run(["extract", &tar, dir.path().to_str().unwrap()]).code, 0);
        } else {
            let unpacked = Command::new(program).args(arguments).arg(&tar).current_dir(dir.path()).output().unwrap();
            assert!(unpacked.status.success(), "{program}: {}", String::from_utf8_lossy(&unpacked.stderr));
        }
        for name in names {
            let (ours, theirs) = (dir.path().join(name), Path::new(root).join(name));
            assert!(fs::read(&ours).unwrap() == fs::read(theirs).unwrap(), "{program}, {name}");
            let metadata = fs::metadata(ours).unwrap();
            assert!(metadata.blocks() * 512 < 1 << 20, "{program}, {name}: {} blocks", metadata.blocks());
        }
    }
    // Where they are depends on the machine.
    let done = sandbox.run(["pack", "--reproducible", root, "-o", &again]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(fs::metadata(&again).unwrap().len() > 4 * LEN);
}

#[test]
fn a_file_that_shrinks_while_it_is_packed_is_filled_up() {
    // Those of sysfs say that they have 4096 bytes, and have fewer.
    let dir = "/sys/kernel/mm/transparent_hugepage";
    if !Path::new(dir).exists() {
        eprintln!("NOT TESTED: no {dir}");
        return;
    }
    let sandbox = Sandbox::new();
    let image = sandbox.input("out.tar").to_str().unwrap().to_owned();
    let done = sandbox.run(["pack", dir, "-o", &image]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(done.stderr.contains("it changed while it was read: "), "{}", done.stderr);
    let size = sandbox.run(["stat", "--json", &format!("{image}:/enabled")]);
    let size: serde_json::Value = serde_json::from_str(&size.stdout).unwrap();
    assert_eq!(size["size"], 4096, "{size}");
}
