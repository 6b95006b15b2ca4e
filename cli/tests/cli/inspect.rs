//! The commands that look into images.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use insta::assert_snapshot;
use mountless_tests::{archive, put};

use crate::sandbox::Sandbox;

/// A little of everything that a test may make without being root.
fn odd_tree(dir: &Path) {
    put(dir, "a/x", "x\n");
    put(dir, "a-b", "sorts between /a and /a/x\n");
    put(dir, "bin/tool", "#!/bin/sh\n");
    fs::set_permissions(dir.join("bin/tool"), PermissionsExt::from_mode(0o4755)).unwrap();
    fs::hard_link(dir.join("bin/tool"), dir.join("bin/alias")).unwrap();
    symlink("../bin/tool", dir.join("a/link")).unwrap();
    put(dir, ".hidden", "");
    fs::write(dir.join(std::ffi::OsStr::from_bytes(b"not\xffutf8\n\\")), "odd\n").unwrap();
    for path in ["a/x", "a-b", "bin/tool", ".hidden", "a", "bin", "."] {
        let time = std::time::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
        fs::File::open(dir.join(path)).unwrap().set_modified(time).unwrap();
    }
}

/// The lines without what the host of the test decides: numbers of nodes, and times of links and odd names.
fn masked(json: &str) -> String {
    let mut lines = String::new();
    for line in json.lines() {
        let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
        let object = value.as_object_mut().unwrap();
        assert!(object.remove("ino").unwrap().as_u64().unwrap() > 0);
        object.remove("nlink");
        if object.get("mtime").is_some_and(|mtime| *mtime != 1_600_000_000) {
            object.remove("mtime");
        }
        lines += &value.to_string();
        lines += "\n";
    }
    lines
}

#[test]
fn find_lists_all_in_the_order_of_the_bytes() {
    let sandbox = Sandbox::new();
    let image = sandbox.image_of("odd.cpio", odd_tree);
    assert_snapshot!(sandbox.run(["find", &image]).shown(), @r#"
    /
    /.hidden
    /a
    /a-b
    /a/link
    /a/x
    /bin
    /bin/alias
    /bin/tool
    /not\377utf8\012\134

    --- stderr, exit code 0
    "#);
    assert_snapshot!(masked(&sandbox.run(["find", "--json", "--sha256", &image]).stdout), @r#"
    {"gid":0,"mode":"0755","mtime":1600000000,"path":"/","type":"dir","uid":0}
    {"gid":0,"mode":"0644","mtime":1600000000,"path":"/.hidden","sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0,"type":"file","uid":0}
    {"gid":0,"mode":"0755","mtime":1600000000,"path":"/a","type":"dir","uid":0}
    {"gid":0,"mode":"0644","mtime":1600000000,"path":"/a-b","sha256":"059d0d0377fb39c90e48a12ebe7790f51c76c0d84cf08b16f7487c8f21612772","size":26,"type":"file","uid":0}
    {"gid":0,"mode":"0777","path":"/a/link","target":"../bin/tool","type":"symlink","uid":0}
    {"gid":0,"mode":"0644","mtime":1600000000,"path":"/a/x","sha256":"73cb3858a687a8494ca3323053016282f3dad39d42cf62ca4e79dda2aac7d9ac","size":2,"type":"file","uid":0}
    {"gid":0,"mode":"0755","mtime":1600000000,"path":"/bin","type":"dir","uid":0}
    {"gid":0,"hardlink":"/bin/alias","mode":"4755","mtime":1600000000,"path":"/bin/alias","sha256":"a8076d3d28d21e02012b20eaf7dbf75409a6277134439025f282e368e3305abf","size":10,"type":"file","uid":0}
    {"gid":0,"hardlink":"/bin/alias","mode":"4755","mtime":1600000000,"path":"/bin/tool","sha256":"a8076d3d28d21e02012b20eaf7dbf75409a6277134439025f282e368e3305abf","size":10,"type":"file","uid":0}
    {"gid":0,"mode":"0644","path":"/not\\377utf8\\012\\134","sha256":"80a3ef2f5539b0a6b5ee045e2a1de83bfb38550da54aa4d60dc1b9526b4b0805","size":4,"type":"file","uid":0}
    "#);
    assert_snapshot!(sandbox.run(["find", &format!("{image}:/bin")]).stdout, @"
    /bin
    /bin/alias
    /bin/tool
    ");
    assert_snapshot!(sandbox.run(["find", &format!("{image}:/a/x")]).stdout, @"/a/x");
    let raw = sandbox.command(["find", "-0", &image]).output().unwrap().stdout;
    assert!(raw.windows(13).any(|window| window == b"\0/not\xffutf8\n\\\0"), "{}", raw.escape_ascii());
}

#[test]
fn find_is_quick_on_many_files_and_ends_quietly_with_its_reader() {
    let sandbox = Sandbox::new();
    let mut image = mountless::format::cpio::CpioWriter::new(Vec::new());
    for number in 0..20_000_u32 {
        let name = format!("a-file-with-a-name-of-some-length-{number:05}");
        let entry = mountless::format::cpio::NewEntry {
            name: name.as_bytes(),
            file_type: mountless::attr::FileType::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
            nlink: 1,
            ino: number + 1,
            mtime: 0,
            rdev: mountless::attr::Device::default(),
        };
        image.entry(&entry, b"content").unwrap();
    }
    let image = sandbox.file("many.cpio", image.finish().unwrap());

    let start = Instant::now();
    let done = sandbox.run(["find", "--json", "--sha256", &image]);
    assert_eq!(done.stdout.lines().count(), 20_001);
    // A release build needs less than a tenth of a second.
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());

    for arguments in [&["find", &image][..], &["find", "--json", &image], &["tree", &image], &["ls", "-l", &image]] {
        let mut child = sandbox.command(arguments).spawn().unwrap();
        let mut line = String::new();
        // What was asked for is far more than a pipe holds.
        BufReader::with_capacity(16, child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(!line.is_empty());
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!((child.wait().unwrap().code(), &*stderr), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn ls_tree_stat_and_cat_show_what_is_there() {
    let sandbox = Sandbox::new();
    let demo = sandbox.file("demo.cpio.gz", fs::read(xtask::demo::path()).unwrap());
    assert_snapshot!(sandbox.run(["ls", &demo]).shown(), @"
    bin
    etc
    tmp

    --- stderr, exit code 0
    ");
    assert_snapshot!(sandbox.run(["ls", "-l", &demo, &format!("{demo}:/etc"), &format!("{demo}:/etc/motd")]).shown(), @"
    -rw-r--r-- 1 0 0 28 1970-01-01T00:00:00Z IN/demo.cpio.gz:/etc/motd

    IN/demo.cpio.gz:
    drwxr-xr-x 2 0 0 - 1970-01-01T00:00:00Z bin
    drwxr-xr-x 2 0 0 - 1970-01-01T00:00:00Z etc
    drwxrwxrwt 2 0 0 - 1970-01-01T00:00:00Z tmp

    IN/demo.cpio.gz:/etc:
    -rw-r--r-- 1 0 0 28 1970-01-01T00:00:00Z motd

    --- stderr, exit code 0
    ");
    assert_snapshot!(sandbox.run(["ls", "--json", &format!("{demo}:/etc")]).shown(), @r#"
    {"path":"/etc/motd","type":"file","mode":"0644","uid":0,"gid":0,"nlink":1,"size":28,"mtime":0,"ino":5}

    --- stderr, exit code 0
    "#);
    assert_snapshot!(sandbox.run(["tree", &demo]).shown(), @"
    /
    ├── bin
    │   └── demo.wasm  950
    ├── etc
    │   └── motd  28
    └── tmp

    3 directories, 2 files, 978 bytes in files

    --- stderr, exit code 0
    ");
    assert_snapshot!(sandbox.run(["tree", "--depth", "1", &demo]).shown(), @"
    /
    ├── bin
    ├── etc
    └── tmp

    3 directories, 0 files, 0 bytes in files

    --- stderr, exit code 0
    ");
    assert_snapshot!(sandbox.run(["tree", "--json", &demo]).shown(), @r#"
    {"path":"/","type":"dir","mode":"0755","uid":0,"gid":0,"nlink":5,"mtime":0,"ino":1,"entries":[{"path":"/bin","type":"dir","mode":"0755","uid":0,"gid":0,"nlink":2,"mtime":0,"ino":2,"entries":[{"path":"/bin/demo.wasm","type":"file","mode":"0755","uid":0,"gid":0,"nlink":1,"size":950,"mtime":0,"ino":3}]},{"path":"/etc","type":"dir","mode":"0755","uid":0,"gid":0,"nlink":2,"mtime":0,"ino":4,"entries":[{"path":"/etc/motd","type":"file","mode":"0644","uid":0,"gid":0,"nlink":1,"size":28,"mtime":0,"ino":5}]},{"path":"/tmp","type":"dir","mode":"1777","uid":0,"gid":0,"nlink":2,"mtime":0,"ino":6,"entries":[]}]}

    --- stderr, exit code 0
    "#);
    assert_snapshot!(sandbox.run(["stat", &demo, &format!("{demo}:/etc/motd")]).shown(), @"
    /
      type      dir
      mode      0755 drwxr-xr-x
      owner     0:0
      modified  1970-01-01T00:00:00Z
      links     5
      node      1
    /etc/motd
      type      file
      size      28 bytes, 28 stored
      mode      0644 -rw-r--r--
      owner     0:0
      modified  1970-01-01T00:00:00Z
      links     1
      node      5

    --- stderr, exit code 0
    ");
    assert_snapshot!(sandbox.run(["stat", "--json", &format!("{demo}:/tmp/")]).shown(), @r#"
    {"path":"/tmp","type":"dir","mode":"1777","uid":0,"gid":0,"nlink":2,"mtime":0,"ino":6}

    --- stderr, exit code 0
    "#);
    assert_snapshot!(sandbox.run(["cat", &format!("{demo}:/etc/motd"), &format!("{demo}:/../etc/./motd")]).shown(), @"
    Hello from inside an image.
    Hello from inside an image.

    --- stderr, exit code 0
    ");
    assert_snapshot!(sandbox.run(["info", &demo]).shown(), @"
    IN/demo.cpio.gz
      format   cpio
      size     756 bytes
      nodes    2 files, 4 directories
      content  978 bytes in files
      archive  6 entries, 2048 bytes when decompressed
      part 0   gzip, 756 bytes at byte 0, 2048 decompressed, 6 entries

    --- stderr, exit code 0
    ");
    assert_snapshot!(sandbox.run(["info", "--json", &demo]).shown(), @r#"
    {"image":"IN/demo.cpio.gz","format":"cpio","stored_bytes":756,"nodes":{"file":2,"dir":4},"content_bytes":978,"unpacked_bytes":2048,"entries":6,"trailers":1,"parts":[{"offset":0,"bytes":756,"compression":"gzip","unpacked_bytes":2048,"entries":6}],"skipped_count":0,"skipped":[]}

    --- stderr, exit code 0
    "#);

    let tree: serde_json::Value = serde_json::from_str(&sandbox.run(["tree", "--json", &demo]).stdout).unwrap();
    assert_eq!(tree["entries"][1]["entries"][0]["path"], "/etc/motd");
}

#[test]
fn hidden_names_are_shown_when_asked_for() {
    let sandbox = Sandbox::new();
    let image = sandbox.image_of("odd.cpio", odd_tree);
    assert_snapshot!(sandbox.run(["ls", &image]).stdout, @r#"
    a
    a-b
    bin
    not\377utf8\012\134
    "#);
    assert_snapshot!(sandbox.run(["ls", "-a", &image]).stdout, @r#"
    .hidden
    a
    a-b
    bin
    not\377utf8\012\134
    "#);
    // A link is followed at the end of a path, and shown as a link in a listing.
    assert_snapshot!(sandbox.run(["cat", &format!("{image}:/a/link")]).stdout, @"#!/bin/sh");
    assert_snapshot!(masked(&sandbox.run(["stat", "--json", &format!("{image}:/a/link")]).stdout), @r#"{"gid":0,"mode":"0777","path":"/a/link","target":"../bin/tool","type":"symlink","uid":0}"#);
    assert_snapshot!(masked(&sandbox.run(["stat", "--json", "-L", &format!("{image}:/a/link")]).stdout), @r#"{"gid":0,"mode":"4755","mtime":1600000000,"path":"/a/link","size":10,"type":"file","uid":0}"#);
}

#[test]
fn an_image_comes_from_standard_input_too() {
    let sandbox = Sandbox::new();
    let demo = fs::read(xtask::demo::path()).unwrap();
    let done = sandbox.run_with_input(["cat", "cpio:-:/etc/motd"], &demo);
    assert_eq!((done.code, &*done.stdout), (0, "Hello from inside an image.\n"), "{}", done.stderr);
}

#[test]
fn our_archive_lists_the_same_in_gnu_cpio_and_here() {
    let demo = xtask::demo::path();
    let unpacked = std::process::Command::new("gzip").arg("-dc").arg(&demo).output().unwrap().stdout;
    let theirs = archive::gnu_cpio(Path::new("."), &["-t", "--quiet"], &unpacked);
    let theirs = String::from_utf8(theirs).unwrap();
    let ours = Sandbox::new().run(["find", demo.to_str().unwrap()]).stdout;
    let ours: Vec<_> =
        ours.lines().map(|path| path.strip_prefix('/').filter(|path| !path.is_empty()).unwrap_or(".")).collect();
    assert_eq!(theirs.lines().collect::<Vec<_>>(), ours);
}

#[test]
fn what_is_not_there_is_1_and_what_cannot_be_read_is_2() {
    let sandbox = Sandbox::new();
    let demo = fs::read(xtask::demo::path()).unwrap();
    let good = sandbox.file("good.cpio.gz", &demo);
    let cut = sandbox.file("cut.cpio.gz", &demo[..demo.len() / 2]);
    let plain = sandbox.image("plain.cpio", &[("file", b"content")]);
    let plain_cut = sandbox.file("plain-cut.cpio", &fs::read(plain).unwrap()[..200]);
    let text = sandbox.file("text", "This is no image.\n");
    let missing = sandbox.input("missing").to_str().unwrap().to_owned();
    let mut shown = String::new();
    for (code, arguments) in [
        (1, &["ls", &format!("{good}:/nowhere")][..]),
        (1, &["cat", &format!("{good}:/etc")]),
        (1, &["cat", &good]),
        (1, &["cat", &format!("{good}:/etc/motd/x")]),
        (1, &["find", &format!("{good}:/nowhere")]),
        (1, &["stat", &format!("{good}:/etc/motd/")]),
        (2, &["ls", &missing]),
        (2, &["find", &text]),
        (2, &["info", &cut]),
        (2, &["info", &plain_cut]),
        (2, &["info", "--max-unpacked", "1000", &good]),
        (2, &["info", &missing]),
        (2, &["ls", "tfs:-"]),
        (2, &["find", "--sha256", &good]),
        (2, &["ls", "--max-unpacked", "much", &good]),
    ] {
        let done = sandbox.run(arguments);
        assert_eq!((done.code, &*done.stdout), (code, ""), "{arguments:?}: {}", done.shown());
        shown += &done.stderr;
        shown += "\n";
    }
    assert_snapshot!(shown, @r#"
    mountless: cannot read: IN/good.cpio.gz:/nowhere: no such file or directory
      next: `mountless find IMAGE` lists all paths

    mountless: cannot read: IN/good.cpio.gz:/etc: is a directory
      next: `mountless ls` lists a directory

    mountless: cannot read: IN/good.cpio.gz: is a directory
      next: `mountless ls` lists a directory

    mountless: cannot read: IN/good.cpio.gz:/etc/motd/x: not a directory

    mountless: cannot read: IN/good.cpio.gz:/nowhere: no such file or directory
      next: `mountless find IMAGE` lists all paths

    mountless: cannot read: IN/good.cpio.gz:/etc/motd/: not a directory

    mountless: cannot read image: IN/missing: no such file or directory
      next: check the name; `-` reads standard input

    mountless: cannot read image: IN/text: no known format begins with "This is " (byte 0); expected cpio, tar, TFS, a program with an archive inside, or something compressed
      next: `mountless --help` names what can be read

    mountless: cannot read image: IN/cut.cpio.gz: damaged gzip data at byte 378: the stream ends too early, inside its data
      next: compare the file with its source; --as-linux shows what Linux would boot with

    mountless: cannot read image: IN/plain-cut.cpio: damaged cpio data at byte 112: a header needs 110 bytes, the archive ends after 88
      next: compare the file with its source; --as-linux shows what Linux would boot with

    mountless: cannot read image: IN/good.cpio.gz: more than 1000 bytes when decompressed
      next: --max-unpacked SIZE raises the limit, if you trust the image

    mountless: cannot read image: IN/missing: no such file or directory
      next: check the name; `-` reads standard input

    mountless: cannot read image: tfs:-: tfs cannot be read from standard input, give a file

    error: the following required arguments were not provided:
      --json

    Usage: mountless find --json --sha256 <IMAGE[:/PATH]>...

    For more information, try '--help'.

    error: invalid value 'much' for '--max-unpacked <SIZE>': "much" is not a size; write it like 4096, 64K or 2GiB

    For more information, try '--help'.
    "#);

    // The images that can be read are told all the same.
    let done = sandbox.run(["info", &missing, &good]);
    assert_eq!(done.code, 2);
    assert!(done.stdout.starts_with("IN/good.cpio.gz\n"), "{}", done.shown());
}

#[test]
fn every_command_has_an_example_in_its_help() {
    let sandbox = Sandbox::new();
    let overview = sandbox.run(["--help"]);
    assert_eq!((overview.code, &*overview.stderr), (0, ""));
    for command in ["run", "ls", "tree", "cat", "stat", "find", "info"] {
        assert!(overview.stdout.contains(&format!("  {command} ")), "{}", overview.stdout);
        let done = sandbox.run([command, "--help"]);
        assert_eq!((done.code, &*done.stderr), (0, ""));
        assert!(done.stdout.contains("Example"), "{}", done.stdout);
        assert!(done.stdout.contains(&format!("  mountless {command} ")), "{}", done.stdout);
    }
}

#[test]
fn what_to_do_about_damage_depends_on_the_format() {
    let sandbox = Sandbox::new();
    for (sample, next) in [
        ("initramfs/bad-magic.cpio", "compare the file with its source; --as-linux shows what Linux would boot with"),
        (
            "layers/tar/bad-checksum.tar",
            "compare the file with its source; --as-linux passes over what GNU tar passes over",
        ),
        ("layers/oci/bad-digest", "compare the file with its source"),
        ("corrupt-bad-type", "--recover gives the tree as it was before the damage"),
    ] {
        let is_tfs = !sample.contains('/');
        let found = if is_tfs { sandbox.tfs_sample(sample) } else { sandbox.sample(sample) };
        let Some(image) = found else { return };
        let done = sandbox.run(["info", &image]);
        assert_eq!((done.code, &*done.stdout), (2, ""), "{sample}");
        assert!(done.stderr.ends_with(&format!("\n  next: {next}\n")), "{sample}: {}", done.stderr);
    }
}

#[test]
fn where_an_archive_is_in_a_program_is_told() {
    let sandbox = Sandbox::new();
    let Some(image) = sandbox.sample("initramfs/einitrd.elf") else { return };
    let told = sandbox.run(["info", &image]).stdout;
    assert!(told.contains("\n  program  einitrd: 2048 bytes at byte 8224\n"), "{told}");
    let told = sandbox.run(["info", "--json", &image]).stdout;
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let expected = serde_json::json!([{ "name": "einitrd", "offset": 8224, "bytes": 2048 }]);
    assert_eq!(told["embedded"], expected);
}
