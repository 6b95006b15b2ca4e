//! `diff`, `check`, `mtree`, `du`, `log` and `klog`.

use std::fs;
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::PathBuf;
use std::process::Command;

use insta::assert_snapshot;
use mountless_tests::put;

use crate::sandbox::Sandbox;

/// Two images: with a file that moved, one that changed, one that went and one that came.
fn two(sandbox: &Sandbox) -> (String, String) {
    let mut images = ["before.tar", "after.tar"].into_iter().map(|name| {
        let dir = sandbox.input(&format!("{name}.dir"));
        put(&dir, "etc/motd", if name == "before.tar" { "welcome\n" } else { "farewell\n" });
        put(&dir, "same", "same");
        put(&dir, if name == "before.tar" { "old/long" } else { "new/longer" }, "the content that moved");
        put(&dir, if name == "before.tar" { "gone" } else { "come" }, name);
        put(&dir, "kind", "");
        if name == "after.tar" {
            fs::remove_file(dir.join("kind")).unwrap();
            put(&dir, "kind/below", "");
        }
        let image = sandbox.input(name).to_str().unwrap().to_owned();
        let packed = sandbox.run(["pack", "--reproducible", dir.to_str().unwrap(), "-o", &image]);
        assert_eq!(packed.code, 0, "{}", packed.stderr);
        image
    });
    (images.next().unwrap(), images.next().unwrap())
}

#[test]
fn differences_are_told_in_lines_and_in_json() {
    let sandbox = Sandbox::new();
    let (before, after) = two(&sandbox);
    assert_snapshot!(sandbox.run(["diff", &before, &after]).shown(), @"
    A /come
    M /etc/motd  (content 8 -> 9 bytes)
    D /gone
    M /kind  (type file -> dir)
    A /kind/below
    A /new
    R /old/long -> /new/longer
    D /old

    --- stderr, exit code 1
    ");
    assert_snapshot!(sandbox.run(["diff", "--no-moves", &before, &after]).stdout, @"
    A /come
    M /etc/motd  (content 8 -> 9 bytes)
    D /gone
    M /kind  (type file -> dir)
    A /kind/below
    A /new
    A /new/longer
    D /old
    D /old/long
    ");
    assert_snapshot!(sandbox.run(["diff", "--json", &before, &after]).stdout, @r#"
    {"change":"added","path":"/come","after":{"type":"file","mode":"0644","uid":0,"gid":0,"size":9,"mtime":0}}
    {"change":"changed","path":"/etc/motd","what":["content"],"before":{"type":"file","mode":"0644","uid":0,"gid":0,"size":8,"mtime":0},"after":{"type":"file","mode":"0644","uid":0,"gid":0,"size":9,"mtime":0}}
    {"change":"removed","path":"/gone","before":{"type":"file","mode":"0644","uid":0,"gid":0,"size":10,"mtime":0}}
    {"change":"changed","path":"/kind","what":["type"],"before":{"type":"file","mode":"0644","uid":0,"gid":0,"size":0,"mtime":0},"after":{"type":"dir","mode":"0755","uid":0,"gid":0,"mtime":0}}
    {"change":"added","path":"/kind/below","after":{"type":"file","mode":"0644","uid":0,"gid":0,"size":0,"mtime":0}}
    {"change":"added","path":"/new","after":{"type":"dir","mode":"0755","uid":0,"gid":0,"mtime":0}}
    {"change":"moved","path":"/new/longer","from":"/old/long","before":{"type":"file","mode":"0644","uid":0,"gid":0,"size":22,"mtime":0},"after":{"type":"file","mode":"0644","uid":0,"gid":0,"size":22,"mtime":0}}
    {"change":"removed","path":"/old","before":{"type":"dir","mode":"0755","uid":0,"gid":0,"mtime":0}}
    "#);
    let same = sandbox.run(["diff", &before, &before]);
    assert_eq!((same.code, &*same.stdout, &*same.stderr), (0, "", ""));
    let none = sandbox.run(["diff", &before, "none.tar"]);
    assert_eq!(none.code, 2, "{}", none.stderr);
}

#[test]
fn attributes_differ_where_both_sides_have_them() {
    let sandbox = Sandbox::new();
    let image = sandbox.image("before.cpio", &[("a", b"1"), ("b", b"1")]);
    let after = sandbox.input("after.cpio").to_str().unwrap().to_owned();
    fs::copy(&image, &after).unwrap();
    assert_eq!(sandbox.run(["chmod", "0600", &format!("{after}:/a")]).code, 0);
    assert_eq!(sandbox.run(["touch", "-d", "@5", &format!("{after}:/b")]).code, 0);
    assert_snapshot!(sandbox.run(["diff", &image, &after]).stdout, @"
    M /a  (mode 0644 -> 0600)
    M /b  (time)
    ");
    assert_snapshot!(sandbox.run(["diff", "--no-times", &image, &after]).stdout, @"M /a  (mode 0644 -> 0600)");
}

/// Two images in different formats whose files differ in all the ways that content can.
fn two_texts(sandbox: &Sandbox) -> (PathBuf, PathBuf, String, String) {
    let dirs = ["one", "other"].map(|name| {
        let dir = sandbox.input(name);
        let is_before = name == "one";
        put(&dir, "etc/motd", "line\n".repeat(9).replacen("line\nline", if is_before { "a\nb" } else { "a\nB" }, 1));
        put(&dir, "etc/no newline", if is_before { "one" } else { "one\n" });
        put(&dir, "bin/tool", if is_before { "\0binary" } else { "\0BINARY" });
        put(&dir, "empty", if is_before { "" } else { "no more\n" });
        put(&dir, if is_before { "gone" } else { "come" }, if is_before { "went\n" } else { "came\n" });
        put(&dir, "quotes \" and\ttabs", if is_before { "grün\n" } else { "\u{1b}[31mrot\n" });
        let moved = if is_before { "share/old" } else { "share/new" };
        for file in 0..5 {
            put(&dir, &format!("{moved}/{file}"), format!("content {file}\n"));
        }
        put(&dir, &format!("{moved}/version"), if is_before { "version 1\n" } else { "version 2\n" });
        put(
            &dir,
            &format!("{moved}/{}", if is_before { "was" } else { "is" }),
            if is_before { "was\n" } else { "is\n" },
        );
        symlink(if is_before { "motd" } else { "passwd" }, dir.join("etc/link")).unwrap();
        dir
    });
    let [before, after] = [(&dirs[0], "one.tar.zst"), (&dirs[1], "other.cpio.gz")].map(|(dir, name)| {
        let image = sandbox.input(name).to_str().unwrap().to_owned();
        let packed = sandbox.run(["pack", "--reproducible", dir.to_str().unwrap(), "-o", &image]);
        assert_eq!(packed.code, 0, "{}", packed.stderr);
        image
    });
    let [one, other] = dirs;
    (one, other, before, after)
}

#[test]
fn content_that_differs_is_shown_as_a_unified_diff() {
    let sandbox = Sandbox::new();
    let (_, _, before, after) = two_texts(&sandbox);
    assert_snapshot!(sandbox.run(["diff", "--content", &before, &after]).shown(), @"
    M /bin/tool  (content)
    Binary files a/bin/tool and b/bin/tool differ
    A /come
    --- /dev/null
    +++ b/come
    @@ -0,0 +1 @@
    +came
    M /empty  (content 0 -> 8 bytes)
    --- a/empty
    +++ b/empty
    @@ -0,0 +1 @@
    +no more
    M /etc/link  (target motd -> passwd)
    M /etc/motd  (content)
    --- a/etc/motd
    +++ b/etc/motd
    @@ -1,5 +1,5 @@
     a
    -b
    +B
     line
     line
     line
    M /etc/no newline  (content 3 -> 4 bytes)
    --- a/etc/no newline\u{9}
    +++ b/etc/no newline\u{9}
    @@ -1 +1 @@
    -one
    \\ No newline at end of file
    +one
    D /gone
    --- a/gone
    +++ /dev/null
    @@ -1 +0,0 @@
    -went
    M /quotes \" and\\011tabs  (content 6 -> 9 bytes)
    --- \"a/quotes \\\" and\\011tabs\"\u{9}
    +++ \"b/quotes \\\" and\\011tabs\"\u{9}
    @@ -1 +1 @@
    -grün
    +\u{1b}[31mrot
    R /share/old/ -> /share/new/  (5 files moved, 1 changed)
    A /share/new/is
    --- /dev/null
    +++ b/share/new/is
    @@ -0,0 +1 @@
    +is
    M /share/new/version  (content)
    --- a/share/old/version
    +++ b/share/new/version
    @@ -1 +1 @@
    -version 1
    +version 2
    D /share/old/was
    --- a/share/old/was
    +++ /dev/null
    @@ -1 +0,0 @@
    -was

    --- stderr, exit code 1
    ");
    assert_snapshot!(sandbox.run(["diff", "--content", "-U", "0", "--json", &before, &after]).stdout, @r#"
    {"change":"changed","path":"/bin/tool","what":["content"],"before":{"type":"file","mode":"0644","uid":0,"gid":0,"size":7,"mtime":0},"after":{"type":"file","mode":"0644","uid":0,"gid":0,"size":7,"mtime":0},"content":"binary"}
    {"change":"added","path":"/come","after":{"type":"file","mode":"0644","uid":0,"gid":0,"size":5,"mtime":0},"content":"text","hunks":[{"head":"@@ -0,0 +1 @@","lines":["+came"]}]}
    {"change":"changed","path":"/empty","what":["content"],"before":{"type":"file","mode":"0644","uid":0,"gid":0,"size":0,"mtime":0},"after":{"type":"file","mode":"0644","uid":0,"gid":0,"size":8,"mtime":0},"content":"text","hunks":[{"head":"@@ -0,0 +1 @@","lines":["+no more"]}]}
    {"change":"changed","path":"/etc/link","what":["target"],"before":{"type":"symlink","mode":"0777","uid":0,"gid":0,"mtime":0,"target":"motd"},"after":{"type":"symlink","mode":"0777","uid":0,"gid":0,"mtime":0,"target":"passwd"}}
    {"change":"changed","path":"/etc/motd","what":["content"],"before":{"type":"file","mode":"0644","uid":0,"gid":0,"size":39,"mtime":0},"after":{"type":"file","mode":"0644","uid":0,"gid":0,"size":39,"mtime":0},"content":"text","hunks":[{"head":"@@ -2 +2 @@","lines":["-b","+B"]}]}
    {"change":"changed","path":"/etc/no newline","what":["content"],"before":{"type":"file","mode":"0644","uid":0,"gid":0,"size":3,"mtime":0},"after":{"type":"file","mode":"0644","uid":0,"gid":0,"size":4,"mtime":0},"content":"text","hunks":[{"head":"@@ -1 +1 @@","lines":["-one","\\ No newline at end of file","+one"]}]}
    {"change":"removed","path":"/gone","before":{"type":"file","mode":"0644","uid":0,"gid":0,"size":5,"mtime":0},"content":"text","hunks":[{"head":"@@ -1 +0,0 @@","lines":["-went"]}]}
    {"change":"changed","path":"/quotes \" and\\011tabs","what":["content"],"before":{"type":"file","mode":"0644","uid":0,"gid":0,"size":6,"mtime":0},"after":{"type":"file","mode":"0644","uid":0,"gid":0,"size":9,"mtime":0},"content":"text","hunks":[{"head":"@@ -1 +1 @@","lines":["-grün","+\\033[31mrot"]}]}
    {"change":"moved","path":"/share/new","from":"/share/old","files_moved":5,"files_changed":1,"before":{"type":"dir","mode":"0755","uid":0,"gid":0,"mtime":0},"after":{"type":"dir","mode":"0755","uid":0,"gid":0,"mtime":0}}
    {"change":"added","path":"/share/new/is","after":{"type":"file","mode":"0644","uid":0,"gid":0,"size":3,"mtime":0},"content":"text","hunks":[{"head":"@@ -0,0 +1 @@","lines":["+is"]}]}
    {"change":"changed","path":"/share/new/version","from":"/share/old/version","what":["content"],"before":{"type":"file","mode":"0644","uid":0,"gid":0,"size":10,"mtime":0},"after":{"type":"file","mode":"0644","uid":0,"gid":0,"size":10,"mtime":0},"content":"text","hunks":[{"head":"@@ -1 +1 @@","lines":["-version 1","+version 2"]}]}
    {"change":"removed","path":"/share/old/was","before":{"type":"file","mode":"0644","uid":0,"gid":0,"size":4,"mtime":0},"content":"text","hunks":[{"head":"@@ -1 +0,0 @@","lines":["-was"]}]}
    "#);
    let refused = sandbox.run(["diff", "-U", "1", &before, &after]);
    assert_eq!(refused.code, 2, "{}", refused.shown());
    // A file alone that is too long for it.
    let long = ["a", "b"].map(|name| {
        let dir = sandbox.input(&format!("long-{name}"));
        put(&dir, "file", format!("{name}\n"));
        let file = fs::File::options().append(true).open(dir.join("file")).unwrap();
        file.write_all_at(&vec![b'\n'; 33 << 20], 2).unwrap();
        dir.to_str().unwrap().to_owned()
    });
    assert_snapshot!(sandbox.run(["diff", "--content", "--no-times", &long[0], &long[1]]).stdout, @"
    M /file  (content)
    Files a/file and b/file differ, one has more than 32 MiB
    ");
}

/// git takes it for a patch: what is text becomes what it is in the other image.
#[test]
fn what_is_shown_of_content_is_a_patch() {
    let sandbox = Sandbox::new();
    let (one, other, before, after) = two_texts(&sandbox);
    let patch = sandbox.run(["diff", "--content", "--no-moves", &before, &after]).stdout;
    let patch = sandbox.file("text.patch", &patch);
    let mut git = Command::new("git");
    git.args(["apply", "--unsafe-paths", "--directory", one.to_str().unwrap(), &patch]).current_dir(sandbox.input(""));
    let applied = git.output().unwrap();
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    let left = sandbox.run(["diff", "--no-times", one.to_str().unwrap(), other.to_str().unwrap()]);
    assert_snapshot!(left.stdout, @"
    M /bin/tool  (content)
    M /etc/link  (target motd -> passwd)
    ");
}

#[test]
fn a_directory_that_moved_is_one_line() {
    let sandbox = Sandbox::new();
    let (_, _, before, after) = two_texts(&sandbox);
    let lines = |arguments: &[&str]| {
        let mut all = vec!["diff"];
        all.extend(arguments);
        all.extend([&*before, &*after]);
        let shown = sandbox.run(all).stdout;
        shown.lines().filter(|line| line.contains("/share")).collect::<Vec<_>>().join("\n")
    };
    assert_snapshot!(lines(&[]), @"
    R /share/old/ -> /share/new/  (5 files moved, 1 changed)
    A /share/new/is
    M /share/new/version  (content)
    D /share/old/was
    ");
    assert_snapshot!(lines(&["--json"]), @r#"
    {"change":"moved","path":"/share/new","from":"/share/old","files_moved":5,"files_changed":1,"before":{"type":"dir","mode":"0755","uid":0,"gid":0,"mtime":0},"after":{"type":"dir","mode":"0755","uid":0,"gid":0,"mtime":0}}
    {"change":"added","path":"/share/new/is","after":{"type":"file","mode":"0644","uid":0,"gid":0,"size":3,"mtime":0}}
    {"change":"changed","path":"/share/new/version","from":"/share/old/version","what":["content"],"before":{"type":"file","mode":"0644","uid":0,"gid":0,"size":10,"mtime":0},"after":{"type":"file","mode":"0644","uid":0,"gid":0,"size":10,"mtime":0}}
    {"change":"removed","path":"/share/old/was","before":{"type":"file","mode":"0644","uid":0,"gid":0,"size":4,"mtime":0}}
    "#);
    assert_eq!(lines(&["--no-moves"]).lines().count(), 16);
}

/// The layer on the image, unpacked by umoci as a runtime would have it, is the other image.
#[test]
fn a_layer_turns_one_image_into_the_other() {
    let sandbox = Sandbox::new();
    let (before, after) = two(&sandbox);
    let layer = sandbox.input("layer.tar.gz").to_str().unwrap().to_owned();
    let done = sandbox.run(["diff", "--layer", &layer, &before, &after]);
    assert_eq!((done.code, &*done.stdout, &*done.stderr), (0, "", ""));
    assert_snapshot!(sandbox.run(["find", &layer]).stdout, @"
    /
    /.wh.gone
    /.wh.old
    /come
    /etc
    /etc/motd
    /kind
    /kind/below
    /new
    /new/longer
    ");

    let layout = sandbox.input("layout");
    let umoci = |arguments: &[&str]| {
        let output = Command::new("umoci").args(arguments).output();
        let output = output.unwrap_or_else(|error| panic!("umoci: {error}; `cargo xtask guests` installs it"));
        assert!(output.status.success(), "umoci {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let reference = format!("{}:tag", layout.display());
    umoci(&["init", "--layout", layout.to_str().unwrap()]);
    umoci(&["new", "--image", &reference]);
    let plain = sandbox.input("layer.tar").to_str().unwrap().to_owned();
    fs::write(&plain, Command::new("gzip").args(["-dc", &layer]).output().unwrap().stdout).unwrap();
    umoci(&["raw", "add-layer", "--image", &reference, &before]);
    umoci(&["raw", "add-layer", "--image", &reference, &plain]);
    let bundle = sandbox.input("bundle");
    umoci(&["unpack", "--rootless", "--image", &reference, bundle.to_str().unwrap()]);
    let rootfs = bundle.join("rootfs").to_str().unwrap().to_owned();
    for theirs in [format!("oci:{}#tag", layout.display()), rootfs] {
        let compared = sandbox.run(["diff", "--no-times", &after, &theirs]);
        // Who unpacks without being root owns it all; the tests may be run by anybody.
        let lines: Vec<_> = compared.stdout.lines().filter(|line| !line.ends_with("(owner 0:0)")).collect();
        assert_eq!(lines, [""; 0], "{theirs}: {}", compared.stderr);
    }
    let layers = sandbox.run(["du", "--layers", "--json", &format!("oci:{}#tag", layout.display())]);
    assert_eq!(layers.stdout.lines().count(), 2, "{}", layers.shown());
}

#[test]
fn specifications_are_printed_and_compared() {
    let sandbox = Sandbox::new();
    let (before, after) = two(&sandbox);
    let printed = sandbox.run(["mtree", &before]);
    assert_snapshot!(printed.stdout, @"
    #mtree
    . type=dir mode=0755 uid=0 gid=0 time=0.000000000
    ./etc type=dir mode=0755 uid=0 gid=0 time=0.000000000
    ./etc/motd type=file mode=0644 uid=0 gid=0 nlink=1 time=0.000000000 size=8 sha256digest=77f44b9024fd19a6674a62d98939f4e7f1b77f64eac4c7559414c46bdaec494c
    ./gone type=file mode=0644 uid=0 gid=0 nlink=1 time=0.000000000 size=10 sha256digest=37f6020af13d004fae5f13540cd94d61c17d703eac432faf06754cee067c64bc
    ./kind type=file mode=0644 uid=0 gid=0 nlink=1 time=0.000000000 size=0 sha256digest=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
    ./old type=dir mode=0755 uid=0 gid=0 time=0.000000000
    ./old/long type=file mode=0644 uid=0 gid=0 nlink=1 time=0.000000000 size=22 sha256digest=e719a5d48013eb0267ad8cbedad3ce4554b634790dbec4cdd1f022e12c6a8900
    ./same type=file mode=0644 uid=0 gid=0 nlink=1 time=0.000000000 size=4 sha256digest=0967115f2813a3541eaef77de9d9d5773f1c0c04314b0bbfe4ff3b3b1c55b5d5
    ");
    let specification = sandbox.file("before.mtree", &printed.stdout);
    let same = sandbox.run(["check", "--against", &specification, &before]);
    assert_snapshot!(same.shown(), @"
    IN/before.tar: as specified, 8 paths

    --- stderr, exit code 0
    ");
    assert_snapshot!(sandbox.run(["check", "--against", &specification, &after]).shown(), @"
    IN/after.tar:/come: not in the specification
    IN/after.tar:/etc/motd: size is 9, expected 8
    IN/after.tar:/etc/motd: sha256 is da8c7a818eca608fc3469a1706c7190bd4c80008b5d5a276cfc72e38891cd978, expected 77f44b9024fd19a6674a62d98939f4e7f1b77f64eac4c7559414c46bdaec494c
    IN/after.tar:/gone: missing
    IN/after.tar:/kind: type is dir, expected file
    IN/after.tar:/kind/below: not in the specification
    IN/after.tar:/new: not in the specification
    IN/after.tar:/new/longer: not in the specification
    IN/after.tar:/old: missing
    IN/after.tar:/old/long: missing

    --- stderr, exit code 1
    ");
    assert_snapshot!(sandbox.run(["check", "--json", "--against", &specification, &after]).stdout, @r#"{"image":"IN/after.tar","sound":false,"problems":[{"path":"/come","what":"not in the specification"},{"path":"/etc/motd","keyword":"size","found":"9","expected":"8"},{"path":"/etc/motd","keyword":"sha256","found":"da8c7a818eca608fc3469a1706c7190bd4c80008b5d5a276cfc72e38891cd978","expected":"77f44b9024fd19a6674a62d98939f4e7f1b77f64eac4c7559414c46bdaec494c"},{"path":"/gone","what":"missing"},{"path":"/kind","keyword":"type","found":"dir","expected":"file"},{"path":"/kind/below","what":"not in the specification"},{"path":"/new","what":"not in the specification"},{"path":"/new/longer","what":"not in the specification"},{"path":"/old","what":"missing"},{"path":"/old/long","what":"missing"}]}"#);

    // As others write them: relative names, defaults, and words that are not compared.
    let theirs = sandbox.file(
        "theirs.mtree",
        "#mtree v2.0\n/set type=file uid=0 gid=0 mode=0644 nlink=1\n. type=dir mode=0755\n    gone size=10 \\\n\
             flags=none\n    kind size=0\n    same size=4\netc type=dir mode=0755\n    motd size=8 cksum=1\n..\n\
         old type=dir mode=0755\n    long size=22\n..\n..\n",
    );
    assert_eq!(sandbox.run(["check", "--against", &theirs, &before]).code, 0);
    let wrong = sandbox.file("wrong.mtree", "/usr type=dir\n");
    assert_snapshot!(sandbox.run(["check", "--against", &wrong, &before]).shown(), @"
    --- stderr, exit code 2
    mountless: cannot read specification: IN/wrong.mtree: line 1: neither /set nor /unset; full paths begin with ./
      next: `mountless mtree IMAGE` prints one
    ");

    // bsdtar reads what we print.
    let listed = Command::new("bsdtar").args(["-tf", &specification]).output().unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    assert_eq!(String::from_utf8(listed.stdout).unwrap().lines().count(), printed.stdout.lines().count() - 1);
}

/// The words are those of go-mtree, and bsdtar reads the rest.
#[test]
fn specifications_have_extended_attributes() {
    let sandbox = Sandbox::new();
    let image = |name: &str, xattrs: &str| {
        let record = format!("SCHILY.xattr.{xattrs}\n");
        let len = (record.len() + 3..).find(|len| format!("{len} ").len() + record.len() == *len).unwrap();
        let records = format!("{len} {record}");
        let mut archive = Vec::new();
        for (kind, name, content) in [(b'x', "pax", &*records), (b'0', "file", "text"), (b'0', "plain", "")] {
            let mut head = [0_u8; 512];
            head[..name.len()].copy_from_slice(name.as_bytes());
            head[100..107].copy_from_slice(b"0000644");
            head[108..115].copy_from_slice(b"0000000");
            head[116..123].copy_from_slice(b"0000000");
            head[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
            head[136..147].copy_from_slice(b"00000000005");
            head[156] = kind;
            head[257..265].copy_from_slice(b"ustar\x0000");
            head[148..156].fill(b' ');
            let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
            head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            archive.extend_from_slice(&head);
            archive.extend_from_slice(content.as_bytes());
            archive.resize(archive.len().next_multiple_of(512), 0);
        }
        archive.resize(archive.len() + 1024, 0);
        sandbox.file(name, archive)
    };
    let one = image("one.tar", "user.a b=value");
    let other = image("other.tar", "user.c=value");
    let printed = sandbox.run(["mtree", "--no-sha256", &one]);
    assert_snapshot!(printed.stdout, @r"
    #mtree
    . type=dir
    ./file type=file mode=0644 uid=0 gid=0 nlink=1 time=5.000000000 size=4 xattr.user.a\040b=dmFsdWU=
    ./plain type=file mode=0644 uid=0 gid=0 nlink=1 time=5.000000000 size=0
    ");
    assert_snapshot!(sandbox.run(["mtree", "--no-sha256", "--json", &one]).stdout, @r#"
    {"path":"/","type":"dir"}
    {"path":"/file","type":"file","mode":"0644","uid":0,"gid":0,"nlink":1,"time":"5.000000000","size":4,"xattr.user.a\\040b":"dmFsdWU="}
    {"path":"/plain","type":"file","mode":"0644","uid":0,"gid":0,"nlink":1,"time":"5.000000000","size":0}
    "#);
    assert!(!sandbox.run(["mtree", "--no-xattrs", &one]).stdout.contains("xattr"));
    let specification = sandbox.file("one.mtree", &printed.stdout);
    assert_snapshot!(sandbox.run(["check", "--against", &specification, &one]).shown(), @"
    IN/one.tar: as specified, 3 paths

    --- stderr, exit code 0
    ");
    assert_snapshot!(sandbox.run(["check", "--against", &specification, &other]).shown(), @r"
    IN/other.tar:/file: xattr.user.c is dmFsdWU=, expected absent
    IN/other.tar:/file: xattr.user.a\040b is absent, expected dmFsdWU=

    --- stderr, exit code 1
    ");
    // cpio has none, and so has nothing to compare.
    let archive = sandbox.input("one.cpio").to_str().unwrap().to_owned();
    assert_eq!(sandbox.run(["convert", &one, &archive]).code, 0);
    let compared = sandbox.run(["check", "--against", &specification, &archive]);
    assert_eq!(compared.code, 0, "{}", compared.shown());
    // What says nothing of them compares nothing.
    let silent = sandbox.file("silent.mtree", &sandbox.run(["mtree", "--no-xattrs", &one]).stdout);
    assert_eq!(sandbox.run(["check", "--against", &silent, &one]).code, 0);

    let listed = Command::new("bsdtar").args(["-tf", &specification]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&listed.stdout), ".\n./file\n./plain\n");
}

#[test]
fn sound_images_are_sound_and_damage_has_its_place() {
    let sandbox = Sandbox::new();
    let good = sandbox.file("good.cpio.gz", fs::read(xtask::demo::path()).unwrap());
    let bytes = fs::read(sandbox.image("plain.cpio", &[("a", b"content")])).unwrap();
    let cut = sandbox.file("cut.cpio", &bytes[..200]);
    let text = sandbox.file("text", "This is no image.\n");
    assert_snapshot!(sandbox.run(["check", &good]).shown(), @"
    IN/good.cpio.gz: sound

    --- stderr, exit code 0
    ");
    assert_snapshot!(sandbox.run(["check", &good, &cut]).shown(), @"
    IN/good.cpio.gz: sound
    IN/cut.cpio: archive (cpio) at byte 112: a header needs 110 bytes, the archive ends after 88

    --- stderr, exit code 1
    ");
    assert_snapshot!(sandbox.run(["check", "--json", &good, &cut]).stdout, @r#"
    {"image":"IN/good.cpio.gz","format":"cpio","sound":true,"problems":[]}
    {"image":"IN/cut.cpio","format":"cpio","sound":false,"problems":[{"class":"archive","within":"cpio","offset":112,"what":"a header needs 110 bytes, the archive ends after 88","damage":true}]}
    "#);
    assert_snapshot!(sandbox.run(["check", &text, &cut]).shown(), @r#"
    IN/cut.cpio: archive (cpio) at byte 112: a header needs 110 bytes, the archive ends after 88

    --- stderr, exit code 2
    mountless: cannot read image: IN/text: no known format begins with "This is " (byte 0); expected cpio, tar, TFS, a program with an archive inside, or something compressed
      next: `mountless --help` names what can be read
    "#);
    let piped = sandbox.run_with_input(["check", "-"], &bytes[..200]);
    assert_eq!(piped.code, 1, "{}", piped.shown());
}

#[test]
fn directories_are_summed_up() {
    let sandbox = Sandbox::new();
    let image = sandbox.image_of("image.cpio", |dir| {
        put(dir, "a/one", "1");
        put(dir, "a/b/two", "22");
        put(dir, "c/three", "333");
        fs::hard_link(dir.join("c/three"), dir.join("c/again")).unwrap();
    });
    assert_snapshot!(sandbox.run(["du", &image]).stdout, @"
    2 /a/b
    3 /a
    3 /c
    6 /
    ");
    assert_snapshot!(sandbox.run(["du", "--depth", "1", &format!("{image}:/a")]).stdout, @"
    2 /a/b
    3 /a
    ");
    assert_snapshot!(sandbox.run(["du", "-s", &image, &format!("{image}:/c/three")]).stdout, @"
    6 IN/image.cpio:/
    3 IN/image.cpio:/c/three
    ");
    assert_snapshot!(sandbox.run(["du", "--json", "-s", &image]).stdout, @r#"{"path":"/","content_bytes":6,"stored_bytes":6,"nodes":7}"#);
}

#[test]
fn what_can_be_read_of_a_damaged_volume_is_written_anew() {
    let sandbox = Sandbox::new();
    let Some(image) = sandbox.tfs_sample("corrupt-frame-length") else { return };
    let out = sandbox.input("repaired.img").to_str().unwrap().to_owned();
    let done = sandbox.run(["check", &image, "--repair", &out]);
    assert_snapshot!(done.shown(), @"
    IN/corrupt-frame-length.img: tree at byte 556: /dir/b.bin: a file without a tuple of extents, at which Nanos stops
    IN/corrupt-frame-length.img: tree at byte 559: /dir/c: a file without a tuple of extents, at which Nanos stops
    IN/corrupt-frame-length.img: log at byte 650: a piece of 17 bytes, but the record has 1 and the extension 524147 left
    IN/repaired.img: byte 650: all changes from here on are lost: a piece of 17 bytes, but the record has 1 and the extension 524147 left
    IN/repaired.img: written, 6 nodes, 1 loss

    --- stderr, exit code 1
    ");
    let sound = sandbox.run(["check", &out]);
    assert_eq!(sound.code, 0, "{}", sound.shown());
    let recovered = sandbox.input("recovered").to_str().unwrap().to_owned();
    assert_eq!(sandbox.run(["extract", "--recover", &image, &recovered]).code, 0);
    let compared = sandbox.run(["diff", "--no-times", &recovered, &out]);
    assert_eq!((compared.code, &*compared.stdout), (0, ""), "{}", compared.stderr);
    // What is sound stays so, and what is no TFS is not touched.
    assert_eq!(sandbox.run(["check", &out, "--repair", &sandbox.input("again.img").display().to_string()]).code, 0);
    let archive = sandbox.image("image.cpio", &[]);
    let refused = sandbox.run(["check", &archive, "--repair", &out]);
    assert_eq!(refused.code, 2, "{}", refused.shown());
    assert_eq!(sandbox.run(["check", &out]).code, 0, "the old file was lost");
}

#[test]
fn logs_are_shown_record_by_record() {
    let sandbox = Sandbox::new();
    let Some(image) = sandbox.tfs_sample("basic") else { return };
    let log = sandbox.run(["log", &image]);
    assert_eq!((log.code, &*log.stderr), (0, ""));
    let first: Vec<_> = log.stdout.lines().take(3).collect();
    assert_snapshot!(first.join("\n"), @r#"
    0x00000000 extension version 5, 1 sectors, uuid 1439baf2-d3ec-7e17-8ed7-2cdf060b8d93, label "basicg"
    0x0000001f link to 1024 sectors at sector 1
    0x00000200 extension version 5, 1024 sectors
    "#);
    assert!(log.stdout.lines().last().unwrap().ends_with(" end"), "{}", log.stdout);
    let json = sandbox.run(["log", "--json", &image]);
    let lines: Vec<serde_json::Value> = json.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), log.stdout.lines().count());
    assert!(lines.iter().any(|line| line["text"].as_str().is_some_and(|text| text.contains("hello.txt"))));
    let offsets: Vec<_> = lines.iter().map(|line| line["offset"].as_u64().unwrap()).collect();
    assert_eq!(offsets[0], 0);

    let Some(damaged) = sandbox.tfs_sample("corrupt-frame-length") else { return };
    let log = sandbox.run(["log", &damaged]);
    assert_eq!(log.code, 1);
    assert!(log.stdout.lines().last().unwrap().contains(" damaged: "), "{}", log.stdout);
    assert_eq!(sandbox.run(["check", &damaged]).code, 1);
    let archive = sandbox.image("image.cpio", &[]);
    assert_snapshot!(sandbox.run(["log", &archive]).shown(), @"
    --- stderr, exit code 2
    mountless: cannot read: IN/image.cpio: it is no TFS
      next: `mountless info IMAGE` tells what it is
    ");
    assert_snapshot!(sandbox.run(["klog", &image]).shown(), @"
    --- stderr, exit code 2
    mountless: cannot read: IN/basic.img: a crash log needs a partitioned disk
    ");
}

#[test]
fn completions_and_manual_name_every_command() {
    let sandbox = Sandbox::new();
    let help = sandbox.run(["--help"]).stdout;
    let commands: Vec<_> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()))
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.len() > 25, "{commands:?}");
    let bash = sandbox.run(["completions", "bash"]);
    let pages = sandbox.input("man1");
    fs::create_dir(&pages).unwrap();
    let done = sandbox.run(["man", pages.to_str().unwrap()]);
    assert_eq!((bash.code, done.code), (0, 0), "{}{}", bash.stderr, done.stderr);
    for command in commands {
        assert!(bash.stdout.contains(&format!("mountless__subcmd__{command}")), "{command}");
        let page = fs::read_to_string(pages.join(format!("mountless-{command}.1"))).unwrap();
        assert!(page.contains(".TH") && page.contains("mountless"), "{command}");
        // Each shows how it is used.
        let help = sandbox.run([command, "--help"]).stdout;
        assert!(help.contains("Example"), "{command} --help has no example");
    }
    assert!(pages.join("mountless.1").exists());
}
