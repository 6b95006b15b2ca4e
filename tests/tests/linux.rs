//! A real Linux is booted with what we pack as its initial filesystem, and lists what it unpacked: the same tree. Once
//! for each compression that it knows and we write.
//!
//! It runs on a machine made of software, some seconds for each.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use mountless::attr::{Attr, Device, FileType, SetAttr, SetTime};
use mountless::backend::mem::MemFs;
use mountless::clock::Timestamp;
use mountless::format::compress::Compression;
use mountless::fs::{FileSystem, NewKind, NewNode};
use mountless::name::Name;
use mountless::namespace::Follow;
use mountless::transfer::{PackFormat, PackOptions, PackTarget, Progress, pack_file};
use mountless::{Namespace, Stack};
use xtask::linux;

/// More than the largest block of any compression.
const LARGE: usize = (8 << 20) + 12_345;

/// Nodes of every kind that cpio holds, with the attributes that are easily mixed up, and the program that lists them.
fn tree(init: &Path) -> Arc<dyn FileSystem> {
    let fs: Arc<dyn FileSystem> = Arc::new(MemFs::new());
    let tree = Namespace::new(Arc::clone(&fs));
    for (at, dir) in ["/", "dev", "root", "dir", "dir/below", "dir/below/deep", "empty"].into_iter().enumerate() {
        if dir != "/" {
            tree.create_dir(dir).unwrap();
        }
        let mode = [0o755, 0o755, 0o700, 0o1777, 0o2750, 0o500, 0o000][at];
        tree.set_attr(dir, Follow::No, &SetAttr { mode: Some(mode), ..SetAttr::default() }).unwrap();
    }
    let content: Vec<u8> = (0..LARGE).map(|at| u8::try_from((at * at / 4096) % 251).unwrap()).collect();
    tree.write("init", fs::read(init).unwrap()).unwrap();
    tree.write("dir/large", content).unwrap();
    for len in [0, 1, 3, 4, 5, 511, 512, 513, 4096, 65_537] {
        tree.write(format!("dir/below/len{len}"), vec![b'x'; len]).unwrap();
    }
    tree.write("dir/below/deep/\u{fc} \\ \t\n", "an odd name").unwrap();
    tree.write([b"dir/not\xffutf8".as_slice(), &[b'n'; 200]].concat(), "no text").unwrap();
    tree.write("dir/one", "three names").unwrap();
    tree.hard_link("dir/one", "dir/below/two").unwrap();
    tree.hard_link("dir/one", "a-three").unwrap();
    tree.write("dir/nothing", "").unwrap();
    tree.hard_link("dir/nothing", "dir/nothing-again").unwrap();
    tree.symlink("../dir/one", "dir/link").unwrap();
    tree.symlink(vec![b't'; 4095], "dir/longest-link").unwrap();
    let char = |major, minor| NewKind::Char(Device { major, minor });
    for (name, kind) in [
        ("null", char(1, 3)),
        ("console", char(5, 1)),
        ("far", char(4095, 1_048_575)),
        ("disk", NewKind::Block(Device { major: 254, minor: 300 })),
        ("fifo", NewKind::Fifo),
        ("socket", NewKind::Socket),
    ] {
        let at = tree.locate("dev", Follow::No).unwrap();
        let new = NewNode { kind, mode: 0o620, uid: 0, gid: 5 };
        at.writable().unwrap().create(at.node(), Name::new(name.as_bytes()).unwrap(), &new).unwrap();
    }
    tree.hard_link("dev/null", "dev/null-again").unwrap();
    // Owners, modes and times that are all different; the last time is the largest that the format holds.
    for (at, path) in paths(&tree).into_iter().enumerate() {
        let attr = tree.symlink_metadata(&path).unwrap();
        let number = u32::try_from(at).unwrap();
        let secs = if path.ends_with(b"len0") { u32::MAX.into() } else { 1_000_000_000 + 86_399 * i64::from(number) };
        let mode = [0o4711, 0o2751, 0o644, 0o000, 0o1666, 0o600][at % 6];
        let mode = (attr.file_type == FileType::File && path != b"/init").then_some(mode);
        let mode = if path == b"/init" { Some(0o755) } else { mode };
        let mtime = Some(SetTime::At(Timestamp::from_secs(secs)));
        let (uid, gid) = (Some(number * 7919), Some(u32::MAX - 1 - number));
        tree.set_attr(&path, Follow::No, &SetAttr { mode, uid, gid, mtime, ..SetAttr::default() }).unwrap();
    }
    fs
}

/// Every path of a tree, sorted.
fn paths(tree: &Namespace) -> Vec<Vec<u8>> {
    let mut paths = vec![b"/".to_vec()];
    let mut at = 0;
    while let Some(path) = paths.get(at).cloned() {
        at += 1;
        if tree.symlink_metadata(&path).unwrap().file_type.is_dir() {
            let above = path.strip_suffix(b"/").unwrap_or(&path);
            let below = tree.read_dir(&path).unwrap().into_iter();
            paths.extend(below.map(|entry| [above, b"/", &entry.name].concat()));
        }
    }
    paths.sort();
    paths
}

/// A tree as `init.c` prints it, by path, but for the numbers of nodes: the first path stands for them.
type Listing = Vec<(String, String)>;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

/// Gives each node the first of its paths. A line is a path, mode, owner, links, number, and the rest.
fn named_by_first(mut lines: Vec<Vec<String>>) -> Listing {
    lines.sort();
    let mut first: HashMap<String, String> = HashMap::new();
    let named = lines.into_iter().map(|mut line| {
        let path = line.remove(0);
        // Directories, which have 0, are numbered by nobody.
        if line[3] != "0" {
            line[3] = first.entry(line[3].clone()).or_insert_with(|| path.clone()).clone();
        }
        if path == hex(b"/dev/console") {
            // The listing itself is written to it.
            line[4].clear();
        }
        (path, line.join(" "))
    });
    named.collect()
}

fn our_listing(tree: &Namespace) -> Listing {
    let line = |path: &Vec<u8>| {
        let Attr { file_type, mode, nlink, uid, gid, ino, size, rdev, mtime, .. } =
            tree.symlink_metadata(path).unwrap();
        let kind = match file_type {
            FileType::File => 0o100_000,
            FileType::Dir => 0o040_000,
            FileType::Symlink => 0o120_000,
            FileType::Char => 0o020_000,
            FileType::Block => 0o060_000,
            FileType::Fifo => 0o010_000,
            FileType::Socket => 0o140_000,
            FileType::Whiteout => panic!("a whiteout in an archive"),
        };
        let (nlink, ino) = if file_type.is_dir() { (0, 0) } else { (nlink, ino) };
        assert_eq!(mtime.nanos, 0);
        let mut line = format!("{} {:o} {uid}:{gid} {nlink} {ino} {}", hex(path), kind | u32::from(mode), mtime.secs);
        match (file_type, rdev) {
            (FileType::File, _) => {
                let content = tree.read(path).unwrap();
                let hash = content.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                    (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
                });
                write!(line, " {size} {hash:016x}").unwrap();
            }
            (FileType::Symlink, _) => write!(line, " {}", hex(&tree.read_link(path).unwrap())).unwrap(),
            (_, Some(Device { major, minor })) => write!(line, " {major}:{minor}").unwrap(),
            _ => {}
        }
        line.split(' ').map(str::to_owned).collect()
    };
    named_by_first(paths(tree).iter().map(line).collect())
}

/// Boots `kernel` with `initrd`, and returns what came on its console.
fn boot(kernel: &Path, initrd: &Path) -> String {
    let output = Command::new("timeout")
        .arg("100")
        .arg(linux::QEMU)
        .args(["-M", "pc", "-accel", "tcg", "-m", "384", "-nodefaults", "-no-user-config", "-no-reboot"])
        .args(["-display", "none", "-serial", "stdio"])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(initrd)
        // Messages that are no emergencies would stand in the middle of the listing. The emulated timer may come late on
        // a busy machine, which the kernel takes for a broken one unless told not to look.
        .args(["-append", "console=ttyS0 loglevel=1 panic=-1 no_timer_check"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let console = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}{console}", output.status);
    console
}

fn linux_unpacks(compression: Option<Compression>) {
    let (kernel, init) = match linux::kernel().and_then(|kernel| Ok((kernel, linux::init()?))) {
        Ok(both) => both,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "{error}");
            eprintln!("NOT TESTED: {error}");
            return;
        }
    };
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    let target = PackTarget::new(PackFormat::Cpio, compression, None);
    let report = pack_file(&tree(&init), &image, target, &PackOptions::default(), &Progress::new()).unwrap();
    assert_eq!(report.lost, []);
    let expected = our_listing(&Namespace::new(Stack::open([&image]).unwrap().read_only().unwrap()));
    assert_eq!(expected.len(), 35);
    assert!(expected == our_listing(&Namespace::new(tree(&init))), "we do not read what we wrote");

    let console = boot(&kernel, &image);
    assert!(!console.contains("unpacking failed") && !console.contains("FAILED"), "{console}");
    let listed = console.split_once("BEGIN\n").and_then(|(_, rest)| rest.split_once("END\n"));
    let (listed, _) = listed.unwrap_or_else(|| panic!("no listing on the console:\n{console}"));
    let listed = listed.lines().map(|line| line.split(' ').map(str::to_owned).collect()).collect();
    let listed = named_by_first(listed);
    for (expected, listed) in expected.iter().zip(&listed) {
        assert_eq!(expected, listed, "Linux has something else");
    }
    assert_eq!(expected.len(), listed.len());
}

#[test]
fn linux_unpacks_what_is_not_compressed() {
    linux_unpacks(None);
}

#[test]
fn linux_unpacks_gzip() {
    linux_unpacks(Some(Compression::Gzip));
}

#[test]
fn linux_unpacks_bzip2() {
    linux_unpacks(Some(Compression::Bzip2));
}

#[test]
fn linux_unpacks_xz() {
    linux_unpacks(Some(Compression::Xz));
}

#[test]
fn linux_unpacks_lzma() {
    linux_unpacks(Some(Compression::Lzma));
}

#[test]
fn linux_unpacks_lz4() {
    linux_unpacks(Some(Compression::Lz4Legacy));
}

#[test]
fn linux_unpacks_zstd() {
    linux_unpacks(Some(Compression::Zstd));
}
