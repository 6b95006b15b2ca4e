//! `cp mv rm mkdir ln chmod touch write`: the same on a TFS, on archives and on directories.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use insta::assert_snapshot;
use mountless::backend::tfs::{NewVolume, TfsVolume};
use mountless::clock::ManualClock;
use mountless::format::tfs::Uuid;
use mountless::source::{FileSource, Storage as _};
use mountless_tests::put;

use crate::sandbox::Sandbox;

/// An empty TFS.
fn tfs(sandbox: &Sandbox) -> String {
    let path = sandbox.file("image.tfs", "");
    let storage = Arc::new(FileSource::open_exclusive(&path).unwrap());
    let new = NewVolume { len: 4 << 20, uuid: Uuid([7; 16]), label: b"label".to_vec() };
    TfsVolume::make(Arc::clone(&storage) as _, &new, Arc::new(ManualClock::new(0))).unwrap();
    storage.sync().unwrap();
    path
}

/// Everything that changes an image, and what is there then.
fn edited(sandbox: &Sandbox, image: &str) -> String {
    let at = |path: &str| format!("{image}:{path}");
    let host = sandbox.input("host");
    put(&host, "app.conf", "verbose=1\n");
    put(&host, "lib/one", "1");
    put(&host, "lib/deep/two", "22");
    let host = |path: &str| host.join(path).to_str().unwrap().to_owned();
    let no_input: &[u8] = b"";
    for (arguments, input) in [
        (vec!["mkdir".to_owned(), "-p".to_owned(), at("/etc/app"), at("/usr/share")], no_input),
        (vec!["write".to_owned(), at("/etc/motd")], b"welcome\n"),
        (
            vec!["write".to_owned(), "--append".to_owned(), "--mode".to_owned(), "0600".to_owned(), at("/etc/motd")],
            b"more\n",
        ),
        (vec!["cp".to_owned(), host("app.conf"), at("/etc/app")], no_input),
        (vec!["cp".to_owned(), host("app.conf"), at("/etc/app/copy")], no_input),
        (vec!["cp".to_owned(), "-r".to_owned(), host("lib"), at("/usr")], no_input),
        (vec!["cp".to_owned(), "-r".to_owned(), at("/usr/lib"), at("/usr/share")], no_input),
        (vec!["mv".to_owned(), at("/etc/app/copy"), at("/etc/app/moved")], no_input),
        (vec!["mv".to_owned(), at("/usr/lib/one"), at("/usr/lib/deep"), at("/usr/share")], no_input),
        (vec!["ln".to_owned(), at("/etc/motd"), at("/etc/issue")], no_input),
        (vec!["ln".to_owned(), "-s".to_owned(), "motd".to_owned(), at("/etc/link")], no_input),
        (vec!["ln".to_owned(), "-sf".to_owned(), "issue".to_owned(), at("/etc/link")], no_input),
        (vec!["chmod".to_owned(), "-R".to_owned(), "go-rwx,u+x".to_owned(), at("/usr/share")], no_input),
        (vec!["rm".to_owned(), "-r".to_owned(), at("/usr/lib")], no_input),
        (vec!["rm".to_owned(), "-f".to_owned(), at("/none")], no_input),
        (vec!["touch".to_owned(), at("/etc/touched")], no_input),
    ] {
        let done = sandbox.run_with_input(&arguments, input);
        assert_eq!((done.code, &*done.stdout, &*done.stderr), (0, "", ""), "{arguments:?}");
    }
    let all: Vec<_> = ["/", "/etc", "/etc/app", "/etc/app/app.conf", "/etc/app/moved", "/etc/motd", "/etc/touched"]
        .iter()
        .chain(&["/usr", "/usr/share", "/usr/share/one", "/usr/share/deep", "/usr/share/deep/two", "/usr/share/lib"])
        .chain(&["/usr/share/lib/one", "/usr/share/lib/deep", "/usr/share/lib/deep/two"])
        .map(|path| at(path))
        .collect();
    let date = ["touch".to_owned(), "-d".to_owned(), "2020-02-29T12:00:00Z".to_owned()];
    let done = sandbox.run(date.iter().chain(&all));
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert_eq!(sandbox.run(["cat", &at("/etc/issue")]).stdout, "welcome\nmore\n");
    let listed = sandbox.run(["mtree", "--no-sha256", image]);
    assert_eq!(listed.code, 0, "{}", listed.stderr);
    // What only some of them record: times of links, modes and owners.
    let lines = listed.stdout.lines().map(|line| {
        let words = line.split(' ').filter(|word| !["uid=", "gid="].iter().any(|key| word.starts_with(key)));
        let is_link = line.contains("type=link");
        let words = words.filter(|word| !(is_link && (word.starts_with("time=") || word.starts_with("mode="))));
        words.collect::<Vec<_>>().join(" ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_image_that_can_be_changed_is_changed_alike() {
    let sandbox = Sandbox::new();
    let archive = sandbox.image("image.cpio", &[]);
    let gzipped = sandbox.input("image.tar.gz").to_str().unwrap().to_owned();
    assert_eq!(sandbox.run(["convert", &archive, &gzipped]).code, 0);
    let plain = sandbox.input("dir");
    fs::create_dir(&plain).unwrap();
    let expected = edited(&sandbox, &archive);
    assert_snapshot!(expected, @"
    #mtree
    . type=dir mode=0755 time=1582977600.000000000
    ./etc type=dir mode=0755 time=1582977600.000000000
    ./etc/app type=dir mode=0755 time=1582977600.000000000
    ./etc/app/app.conf type=file mode=0644 nlink=1 time=1582977600.000000000 size=10
    ./etc/app/moved type=file mode=0644 nlink=1 time=1582977600.000000000 size=10
    ./etc/issue type=file mode=0600 nlink=2 time=1582977600.000000000 size=13
    ./etc/link type=link nlink=1 link=issue
    ./etc/motd type=file mode=0600 nlink=2 time=1582977600.000000000 size=13
    ./etc/touched type=file mode=0644 nlink=1 time=1582977600.000000000 size=0
    ./usr type=dir mode=0755 time=1582977600.000000000
    ./usr/share type=dir mode=0700 time=1582977600.000000000
    ./usr/share/deep type=dir mode=0700 time=1582977600.000000000
    ./usr/share/deep/two type=file mode=0700 nlink=1 time=1582977600.000000000 size=2
    ./usr/share/lib type=dir mode=0700 time=1582977600.000000000
    ./usr/share/lib/deep type=dir mode=0700 time=1582977600.000000000
    ./usr/share/lib/deep/two type=file mode=0700 nlink=1 time=1582977600.000000000 size=2
    ./usr/share/lib/one type=file mode=0700 nlink=1 time=1582977600.000000000 size=1
    ./usr/share/one type=file mode=0700 nlink=1 time=1582977600.000000000 size=1
    ");
    assert_eq!(edited(&sandbox, &gzipped), expected);
    assert!(fs::read(&gzipped).unwrap().starts_with(&[0x1f, 0x8b]), "still compressed");
    assert_eq!(edited(&sandbox, plain.to_str().unwrap()), expected);
    let volume = tfs(&sandbox);
    let found = edited(&sandbox, &volume);
    // TFS records a mode only where it was set; the root's is not.
    let masked = |text: &str| {
        let words = text.lines().map(|line| line.split(' ').filter(|word| !word.starts_with("mode=")));
        words.map(|words| words.collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(masked(&found), masked(&expected));
    let checked = sandbox.run(["check", &archive, &gzipped, &volume]);
    assert_eq!(checked.code, 0, "{}", checked.shown());
}

#[test]
fn files_are_copied_out_and_from_image_to_image() {
    let sandbox = Sandbox::new();
    let one = sandbox.image("one.cpio", &[("dir/file", b"content"), ("other", b"o")]);
    let two = sandbox.image("two.cpio", &[("etc/motd", b"welcome")]);
    let out = sandbox.input("out");
    fs::create_dir(&out).unwrap();
    let (file, dir) = (format!("{one}:/dir/file"), format!("{one}:/dir"));
    assert_eq!(sandbox.run(["cp", &file, &format!("{one}:/other"), out.to_str().unwrap()]).code, 0);
    assert_eq!(fs::read(out.join("file")).unwrap(), b"content");
    assert_eq!(fs::read(out.join("other")).unwrap(), b"o");
    assert_eq!(sandbox.run(["cp", "-r", &dir, out.join("renamed").to_str().unwrap()]).code, 0);
    assert_eq!(fs::read(out.join("renamed/file")).unwrap(), b"content");
    assert_eq!(sandbox.run(["cp", "-r", &dir, &format!("{two}:/etc")]).code, 0);
    assert_eq!(sandbox.run(["cat", &format!("{two}:/etc/dir/file")]).stdout, "content");
}

#[test]
fn a_change_that_fails_changes_nothing() {
    let sandbox = Sandbox::new();
    let image = sandbox.image("image.cpio", &[("etc/motd", b"welcome"), ("file", b"")]);
    let damaged = sandbox.file("damaged.cpio", &fs::read(&image).unwrap()[..200]);
    let parts =
        sandbox.file("parts.cpio", [fs::read(&image).unwrap(), fs::read(xtask::demo::path()).unwrap()].concat());
    let before = fs::read(&image).unwrap();
    let at = |path: &str| format!("{image}:{path}");
    let mut shown = String::new();
    for (code, arguments) in [
        (1, &["mv", &at("/none"), &at("/x")][..]),
        (1, &["rm", &at("/file"), &at("/none")]),
        (1, &["rm", &at("/etc")]),
        (1, &["mkdir", &at("/etc")]),
        (1, &["mkdir", &at("/none/x")]),
        (1, &["chmod", "0600", &at("/none")]),
        (2, &["chmod", "rw", &at("/file")]),
        (1, &["cp", "-r", &at("/etc"), &at("/etc/below")]),
        (1, &["cp", &at("/etc"), &at("/x")]),
        (1, &["cp", &at("/none"), &at("/x")]),
        (1, &["cp", &at("/file"), &at("/etc/motd"), &at("/none")]),
        (1, &["ln", &at("/etc"), &at("/x")]),
        (2, &["ln", "file", &at("/x")]),
        (2, &["rm", &image]),
        (2, &["mv", &at("/file"), &format!("{damaged}:/x")]),
        (2, &["rm", &format!("{damaged}:/file")]),
        (1, &["rm", &format!("{parts}:/file")]),
        (2, &["rm", "none.cpio:/file"]),
        (1, &["rm", "cpio:-:/file"]),
    ] {
        let done = sandbox.run(arguments);
        assert_eq!((done.code, &*done.stdout), (code, ""), "{arguments:?}: {}", done.shown());
        if !done.stderr.contains("Usage") && !done.stderr.contains("For more information") {
            shown += &done.stderr;
            shown += "\n";
        }
    }
    assert_eq!(fs::read(&image).unwrap(), before);
    assert_snapshot!(shown, @"
    mountless: cannot change: IN/image.cpio:/none: no such file or directory
      next: `mountless find IMAGE` lists all paths; `mountless mkdir -p` makes directories

    mountless: cannot change: IN/image.cpio:/none: no such file or directory
      next: `mountless find IMAGE` lists all paths; `mountless mkdir -p` makes directories

    mountless: cannot change: IN/image.cpio:/etc: is a directory
      next: -r includes what is in a directory

    mountless: cannot change: IN/image.cpio:/etc: file exists

    mountless: cannot change: IN/image.cpio:/none/x: no such file or directory
      next: `mountless find IMAGE` lists all paths; `mountless mkdir -p` makes directories

    mountless: cannot change: IN/image.cpio:/none: no such file or directory
      next: `mountless find IMAGE` lists all paths; `mountless mkdir -p` makes directories

    mountless: cannot copy: IN/image.cpio:/etc: invalid argument
      next: a directory cannot be copied into itself

    mountless: cannot copy: IN/image.cpio:/etc: is a directory
      next: -r includes what is in it

    mountless: cannot change: IN/image.cpio:/none: no such file or directory
      next: `mountless find IMAGE` lists all paths; `mountless mkdir -p` makes directories

    mountless: cannot copy: IN/image.cpio:/none: not a directory, but there are several things to copy

    mountless: cannot change: IN/image.cpio:/x: operation not permitted

    mountless: cannot change: file: no path in an image
      next: a path in an image is written IMAGE:/PATH

    mountless: cannot change: IN/image.cpio: no path in an image
      next: a path in an image is written IMAGE:/PATH

    mountless: cannot move from one image to another
      next: `mountless cp` copies, `mountless rm` removes what was copied

    mountless: cannot read image: IN/damaged.cpio: damaged cpio data at byte 112: a header needs 110 bytes, the archive ends after 88
      next: compare the file with its source; --as-linux shows what Linux would boot with

    mountless: cannot change: IN/parts.cpio: the archive has 2 parts, which would become one; convert it first

    mountless: cannot read image: none.cpio: no such file or directory
      next: check the name; `-` reads standard input

    mountless: cannot change: cpio:-: standard input cannot be changed in place
    ");
    let left = fs::read_dir(Path::new(&image).parent().unwrap()).unwrap().count();
    assert_eq!(left, 3, "something is left behind");
}

#[test]
fn two_writers_of_a_tfs_do_not_meet() {
    let sandbox = Sandbox::new();
    let volume = tfs(&sandbox);
    let _other = FileSource::open_exclusive(&volume).unwrap();
    assert_snapshot!(sandbox.run(["touch", &format!("{volume}:/x")]).shown(), @"
    --- stderr, exit code 1
    mountless: cannot change: IN/image.tfs: IN/image.tfs: another process, or another part of this one, has it open for writing
    ");
}
