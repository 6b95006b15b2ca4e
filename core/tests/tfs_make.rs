//! Images that are made: they are what Nanos' mkfs makes, hold what they were made of, and are none until they are
//! complete.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod tfs_support;

use std::sync::Arc;

use bytes::Bytes;
use mountless::attr::{Device, SetAttr, SetTime};
use mountless::backend::mem::{MemFs, MemOptions};
use mountless::backend::tfs::{
    Attribute, BootOptions, EfiLoader, FileExtent, HostFiles, ImageOptions, KeepOptions, Loss, MadeImage,
    ManifestTrees, NewTree, Part, TfsFs, TfsOptions, TfsVolume, from_manifest, make_image, random_uuid, repair,
};
use mountless::clock::{ManualClock, Timestamp};
use mountless::errno::Errno;
use mountless::format::tfs::{Disk, Manifest, ManifestError, Uuid, dump};
use mountless::fs::{
    Allocate, FileSystem, FileSystemExt, NewKind, NewNode, NodeId, SyncScope, WritableFileSystem, WriteAt, XattrMode,
};
use mountless::source::{BytesSource, MemStorage, Source, Storage};
use tfs_support::{Random, Recorded, all, cut_power, each_sample, name, seen, sound};

const UUID: Uuid = Uuid(*b"0123456789abcdef");

fn options() -> ImageOptions {
    ImageOptions { size: 0, label: b"test".to_vec(), uuid: Some(UUID) }
}

fn of_fs(fs: &Arc<dyn FileSystem>) -> NewTree {
    let (tree, report) = NewTree::from_fs(fs, &KeepOptions::default()).unwrap();
    assert_eq!(report.lost, []);
    tree
}

fn image(tree: &NewTree, boot: Option<&BootOptions>, options: &ImageOptions) -> (Bytes, MadeImage) {
    let storage = MemStorage::new();
    storage.write_at(3000, b"what was there before").unwrap();
    let made = make_image(&storage, tree, boot, options).unwrap();
    assert_eq!(made.len, storage.len());
    (all(&storage), made)
}

const fn new(kind: NewKind<'_>) -> NewNode<'_> {
    NewNode { kind, mode: if matches!(kind, NewKind::Dir) { 0o755 } else { 0o644 }, uid: 0, gid: 0 }
}

fn mem() -> Arc<MemFs> {
    Arc::new(MemOptions::new().clock(Arc::new(ManualClock::new(1_700_000_000_123_456_789))).build())
}

fn file(fs: &MemFs, dir: NodeId, at: &str, content: &[u8]) -> NodeId {
    let node = fs.create(dir, name(at.as_bytes()), &new(NewKind::File)).unwrap().node;
    fs.write_at(node, WriteAt::Offset(0), content).unwrap();
    node
}

/// What the extents of all files have in common, whatever the order in which mkfs takes them: blocks, and sectors from
/// where to where, without a gap.
fn extents(fs: &TfsFs) -> (Vec<(u64, u32)>, Option<u64>, u64) {
    let mut found: Vec<FileExtent> = Vec::new();
    let mut pending = vec![fs.root()];
    while let Some(dir) = pending.pop() {
        fs.for_each_entry(dir, |entry| {
            let node = fs.lookup(dir, entry.name)?.node;
            found.extend(fs.extents(node).unwrap_or_default());
            pending.extend(entry.file_type.is_dir().then_some(node));
            Ok(())
        })
        .unwrap();
    }
    found.sort_by_key(|extent| extent.sector);
    for pair in found.windows(2) {
        assert_eq!(pair[0].sector + u64::from(pair[0].allocated), pair[1].sector);
    }
    assert!(found.iter().all(|extent| extent.allocated == extent.count && !extent.uninited));
    let mut blocks: Vec<_> = found.iter().map(|extent| (extent.block, extent.count)).collect();
    blocks.sort_unstable();
    let sectors = blocks.iter().map(|(_, count)| u64::from(*count)).sum();
    (blocks, found.first().map(|extent| extent.sector), sectors)
}

#[test]
fn images_of_mkfs_are_made_again_as_they_are() {
    let (mut images, mut disks) = (0, 0);
    each_sample(|sample, json, original| {
        let history = json["history"].as_str().unwrap();
        let beginnings = ["written by Nanos mkfs", "as partitioned", "empty file system written by Nanos mkfs"];
        if !beginnings.iter().any(|beginning| history.starts_with(beginning)) || history.contains("edited") {
            return;
        }
        let open = |part| {
            let image: Arc<dyn Source> = Arc::new(BytesSource::new(original.clone()));
            TfsFs::open(image, &TfsOptions { part, ..TfsOptions::default() }).unwrap()
        };
        let tree_of = |part| {
            let (fs, report) = open(part);
            let mut tree = of_fs(&(Arc::new(fs) as Arc<dyn FileSystem>));
            for (name, value) in report.root_attributes {
                tree.set_attribute(name, value).unwrap();
            }
            tree
        };
        let (theirs, their_report) = open(None);
        let disk = Disk::from_bytes(&original[..512]);
        let boot = disk.map(|disk| {
            let first = usize::try_from(disk.first_partition().unwrap()).unwrap() * 512;
            let efi = disk.efi.map(|_| EfiLoader::X64(Bytes::from_static(b"loader")));
            BootOptions { loader: Some(original.slice(..first - 4096)), efi, tree: tree_of(Some(Part::Boot)) }
        });
        let options = ImageOptions {
            // What mkfs adds when it rounds.
            size: original.len() as u64 - (512 << 10),
            label: their_report.label.clone(),
            uuid: Some(their_report.uuid),
        };
        let (made, _) = image(&tree_of(None), boot.as_ref(), &options);
        assert_eq!(made.len(), original.len(), "{sample}");
        if disk.is_some() {
            assert_eq!(made[..512], original[..512], "{sample}");
        }
        for part in [None].into_iter().chain(disk.map(|_| Some(Part::Boot))) {
            let (theirs, their_report) = open(part);
            let (ours, report) = sound(made.clone(), &TfsOptions { part, ..TfsOptions::default() }, sample);
            assert_eq!(seen(&ours), seen(&theirs), "{sample}");
            assert_eq!(extents(&ours), extents(&theirs), "{sample}");
            let facts = |it: &mountless::backend::tfs::TfsReport| {
                let numbers = [it.start, it.len, it.records, it.segments, it.entries_set, it.entries_dead];
                (numbers, it.dictionary_len, it.extensions.clone(), it.label.clone(), it.root_attributes.clone())
            };
            assert_eq!(facts(&report), facts(&their_report), "{sample}");
            assert!(part.is_some() || report.uuid == their_report.uuid);
        }
        assert!(seen(&theirs).len() + 1 == json["tree"].as_array().unwrap().len());
        images += 1;
        disks += usize::from(disk.is_some());
    });
    println!("{images} images, {disks} disks");
    assert!(tfs_support::samples().is_none() || (images >= 9 && disks >= 2), "{images} images, {disks} disks");
}

/// A manifest of which all files are in a folder.
fn trees(manifest: &str, folder: &std::path::Path) -> Result<ManifestTrees, mountless::Error> {
    let manifest = Manifest::parse(manifest.as_bytes()).unwrap();
    from_manifest(&manifest, &HostFiles { base: folder.into(), target_root: None })
}

#[test]
fn a_manifest_gives_the_bytes_that_mkfs_gives() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("hd.txt"), "hi\n").unwrap();
    let manifest = "(children:(a:(contents:(host:hd.txt)) d:(children:(l:(linktarget:../a)))) n:[x -y])";
    let trees = trees(manifest, folder.path()).unwrap();
    assert!(trees.boot.is_none() && trees.size == 0 && trees.remarks.is_empty());
    let uuid = "61ca0abe-0f43-32ca-5aa1-b02c6947dae3".parse().unwrap();
    let (made, _) = image(&trees.root, None, &ImageOptions { size: 0, label: b"demo".to_vec(), uuid: Some(uuid) });
    assert_eq!(made.len(), 2_621_440);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(&made[..0x22]), "4e564d544653050161ca0abe0f4332ca5aa1b02c6947dae364656d6f000501880001");
    assert_eq!(
        hex(&made[0x200..0x286]),
        "4e564d54465305880002303092880863686 96c6472656e9281619081649102918 16c91880a6c696e6b746172676574c42e2e2f61\
         816ea2c178c22d79020b0b110587657874656e7473900225251 10f81309386 6f6666736574b09801 8809616c6c6f6361746564\
         b001866c656e677468b0010210101105880a66696c656c656e677468b00301"
            .replace(' ', "")
    );
    assert!(made[0x286..3073 * 512].iter().all(|byte| *byte == 0));
    assert_eq!(made[3073 * 512..3073 * 512 + 4], *b"hi\n\0");
}

#[test]
fn a_manifest_gives_a_disk_with_kernel_and_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    std::fs::create_dir(at("sysroot")).unwrap();
    for (path, content) in
        [("kernel.img", "a kernel"), ("prog", "a program"), ("lib.so", "host"), ("sysroot/lib.so", "target")]
    {
        std::fs::write(at(path), content).unwrap();
    }
    std::os::unix::fs::symlink("/lib.so", at("sysroot/lib.so.1")).unwrap();
    let text = r#"# an image
        (
            boot:(children:(kernel:(contents:(host:kernel.img)) klib:(children:())))
            children:(
                prog:(contents:(host:prog) exec:t user.note:"a b")
                etc:(children:(passwd:(linktarget:/run/passwd)))
                "lib.so":(contents:(host:"lib.so.1"))
                tmp:(children:()) s:(socket:t)
            )
            program:/prog
            arguments:[prog --flag "two words"]
            environment:(HOME:/ PATH:"/bin:/usr/bin")
            klibs:bootfs imagesize:20m
        )"#;
    let mut manifest = Manifest::parse(text.as_bytes()).unwrap();
    manifest.extend(Manifest::parse(b"(environment:(HOME:/root) debug:t)").unwrap());
    let files = HostFiles { base: folder.path().into(), target_root: Some(at("sysroot")) };
    let trees = from_manifest(&manifest, &files).unwrap();
    assert_eq!(trees.size, 20 << 20);
    let boot = BootOptions { tree: trees.boot.unwrap(), ..BootOptions::default() };
    let (made, report) = image(&trees.root, Some(&boot), &ImageOptions { size: trees.size, ..options() });
    assert!(made.len() >= 20 << 20 && made.len() <= 21 << 20);
    assert_eq!((report.root_start, report.uuid), (512 + 4096 + (12 << 20), UUID));
    let (root, found) = sound(made.clone(), &TfsOptions::default(), "root");
    let attributes: Vec<_> =
        found.root_attributes.iter().map(|(name, it)| format!("{}:{it}", name.escape_ascii())).collect();
    assert_eq!(
        attributes,
        ["arguments:[prog --flag two words]", "debug:t", "environment:(HOME:/root)", "klibs:bootfs", "program:/prog"]
    );
    let content = |fs: &TfsFs, at: &[u8]| fs.read_to_vec(fs.lookup(fs.root(), name(at)).unwrap().node).unwrap();
    assert_eq!(content(&root, b"lib.so"), b"target");
    let prog = root.lookup(root.root(), name(b"prog")).unwrap().node;
    assert_eq!(content(&root, b"prog"), b"a program");
    assert_eq!(root.xattr_names(prog).unwrap(), ["user.note"]);
    assert_eq!(seen(&root).len(), 6);
    let (boot, found) = sound(made, &TfsOptions { part: Some(Part::Boot), ..TfsOptions::default() }, "boot");
    assert_eq!(content(&boot, b"kernel"), b"a kernel");
    assert!(found.uuid != UUID && found.label.is_empty());
    assert_eq!(found.start, 512 + 4096);
}

#[test]
fn a_kernel_of_the_root_boots_too() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("k"), "kernel").unwrap();
    let trees = trees("(children:(kernel:(contents:(host:k)) x:(children:())))", folder.path()).unwrap();
    let mut tree = trees.boot.unwrap();
    tree.put_file(name(b"klib"), Arc::new(BytesSource::new(Bytes::from_static(b"lib")))).unwrap();
    let boot = BootOptions { tree, ..BootOptions::default() };
    let (made, _) = image(&trees.root, Some(&boot), &options());
    let (boot, _) = sound(made.clone(), &TfsOptions { part: Some(Part::Boot), ..TfsOptions::default() }, "boot");
    assert_eq!(seen(&boot).keys().collect::<Vec<_>>(), ["/kernel", "/klib"]);
    assert_eq!(seen(&sound(made, &TfsOptions::default(), "root").0).len(), 2);
}

#[test]
fn manifests_that_make_no_sense_are_told_by_line_and_column() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("dir")).unwrap();
    for (manifest, message) in [
        ("(a:b)", "line 1, column 1: a root needs children: the least is (children:())"),
        ("(children:x)", "line 1, column 11: children is a tuple of names and nodes"),
        ("(children:(\n a:b))", "line 2, column 4: a node is a tuple with children, contents or linktarget"),
        (
            "(children:(\n a:()))",
            "line 2, column 4: a node needs children, contents or linktarget; Nanos stops at one without",
        ),
        (
            "(children:(a:(linktarget:x\n  children:())))",
            "line 1, column 15: a node with children and linktarget, of which it can have one only",
        ),
        (
            "(children:(a:(contents:(host:nothing))))",
            "line 1, column 30: cannot read nothing: no such file or directory",
        ),
        ("(children:(a:(contents:(host:dir))))", "line 1, column 30: cannot read dir: it is no regular file"),
        ("(children:(a:(contents:(file:x))))", "line 1, column 24: contents names a file: (host:PATH)"),
        ("(children:(a:(contents:x)))", "line 1, column 24: contents names a file: (host:PATH)"),
        ("(children:(a:(linktarget:)))", "line 1, column 26: a link target is a string of 1 to 4095 bytes"),
        (
            "(children:(a:(children:(\n\"a/b\":(children:())))))",
            "line 2, column 1: \"a/b\" cannot be the name of a node: invalid argument",
        ),
        (
            "(children:(no_encode:(children:())))",
            "line 1, column 12: Nanos loses directories with an entry called no_encode",
        ),
        (
            "(children:(a:(extents:() children:())))",
            "line 1, column 15: extents is no attribute that can be given: it follows from the tree",
        ),
        (
            "(children:() klib:(contents:(host:x)))",
            "line 1, column 20: contents makes a file, and files are in children only",
        ),
        (
            "(children:() imagesize:5t)",
            "line 1, column 24: a size is a number above 0 with an optional k, m or g behind it",
        ),
    ] {
        let error = trees(manifest, folder.path()).unwrap_err();
        assert_eq!((error.errno(), error.to_string()), (Errno::Invalid, message.into()));
        let source = std::error::Error::source(&error).unwrap();
        assert!(source.downcast_ref::<ManifestError>().is_some());
    }
}

/// A tree with everything that a tree can have.
fn everything() -> Arc<MemFs> {
    let fs = mem();
    let root = fs.root();
    let dir =
        fs.create(root, name(b"dir"), &NewNode { mode: 0o2711, uid: 7, gid: 8, ..new(NewKind::Dir) }).unwrap().node;
    let node = file(&fs, dir, "file", &[1; 5000]);
    fs.link(node, root, name(b"link")).unwrap();
    fs.set_xattr(node, b"user.big", &[b'v'; 60_000], XattrMode::Set).unwrap();
    let early = SetAttr { mtime: Some(SetTime::At(Timestamp { secs: -5, nanos: 7 })), ..SetAttr::default() };
    fs.set_attr(node, &early).unwrap();
    for (at, kind) in [
        ("socket", NewKind::Socket),
        ("fifo", NewKind::Fifo),
        ("char", NewKind::Char(Device { major: 5, minor: 1 })),
        ("block", NewKind::Block(Device { major: 8, minor: 300 })),
        ("whiteout", NewKind::Whiteout),
        ("symlink", NewKind::Symlink(b"../x")),
        ("empty", NewKind::File),
    ] {
        fs.create(dir, name(at.as_bytes()), &new(kind)).unwrap();
    }
    fs.set_attr(dir, &SetAttr { opaque: Some(true), ..SetAttr::default() }).unwrap();
    for number in 0..40_usize {
        file(&fs, root, &format!("n{number}"), &vec![u8::try_from(number).unwrap(); number * 100]);
    }
    fs
}

#[test]
fn everything_in_a_tree_is_in_its_image() {
    let fs = everything() as Arc<dyn FileSystem>;
    let mut tree = of_fs(&fs);
    tree.set_attribute("program", Attribute::String(Bytes::from_static(b"/p"))).unwrap();
    assert_eq!(tree.set_attribute("children", Attribute::Null).unwrap_err(), Errno::Invalid);
    let (made, report) = image(&tree, None, &options());
    assert_eq!(report.root.nodes, 50);
    let (read, found) = sound(made.clone(), &TfsOptions::default(), "everything");
    assert_eq!(seen(&read), seen(&*fs));
    assert_eq!((found.uuid, &found.label[..]), (UUID, &b"test"[..]));
    assert_eq!(read.attr(read.root()).unwrap().mtime, fs.attr(fs.root()).unwrap().mtime);
    // It can be changed, and compacted.
    let storage = Arc::new(MemStorage::new());
    storage.write_at(0, &made).unwrap();
    let volume = TfsVolume::open(
        Arc::clone(&storage) as Arc<dyn Storage>,
        &TfsOptions::default(),
        Arc::new(ManualClock::new(0)),
    )
    .unwrap();
    volume.compact().unwrap();
    assert_eq!(seen(&volume), seen(&*fs));
    let node = volume.create(volume.root(), name(b"new"), &new(NewKind::File)).unwrap().node;
    volume.write_at(node, WriteAt::Offset(0), &[9; 100_000]).unwrap();
    volume.sync(SyncScope::All).unwrap();
    let (read, _) = sound(all(&*storage), &TfsOptions::default(), "changed");
    assert_eq!(seen(&read).len(), seen(&*fs).len() + 1);
}

#[test]
fn the_same_tree_gives_the_same_bytes() {
    let image_of = |names: &[&str]| {
        let fs = mem();
        for name in names {
            file(&fs, fs.root(), name, name.as_bytes());
        }
        image(&of_fs(&(fs as Arc<dyn FileSystem>)), None, &ImageOptions::default())
    };
    let (one, made) = image_of(&["a", "b", "c"]);
    assert_eq!(image_of(&["c", "a", "b"]).0, one);
    // What identifies it follows from what is in it.
    let (_, other) = image_of(&["a", "b", "d"]);
    assert_ne!(made.uuid, other.uuid);
    assert_ne!(random_uuid().unwrap(), random_uuid().unwrap());
    // Times can be cut, so that a later build gives the same.
    let fs = everything() as Arc<dyn FileSystem>;
    let (tree, _) = NewTree::from_fs(&fs, &KeepOptions { latest_mtime: Some(1000), attributes: true }).unwrap();
    let (read, _) = sound(image(&tree, None, &options()).0, &TfsOptions::default(), "cut");
    let time = |at| read.attr(read.lookup(read.root(), name(at)).unwrap().node).unwrap().mtime;
    assert_eq!(time(b"dir"), Timestamp::from_secs(1000));
    assert_eq!(time(b"link"), Timestamp { secs: -5, nanos: 7 });
}

#[test]
fn what_cannot_be_kept_is_told() {
    let fs = mem();
    let node = file(&fs, fs.root(), "no_encode", b"x");
    file(&fs, fs.root(), "fine", b"x");
    fs.create(fs.root(), name(b"\xff"), &new(NewKind::File)).unwrap();
    fs.create(fs.root(), name(b"dev"), &new(NewKind::Fifo)).unwrap();
    fs.set_xattr(node, b"user.x", b"", XattrMode::Set).unwrap();
    let fs = fs as Arc<dyn FileSystem>;
    let told = |attributes| {
        let (tree, report) = NewTree::from_fs(&fs, &KeepOptions { attributes, ..KeepOptions::default() }).unwrap();
        assert_eq!(report.lost_count, report.lost.len() as u64);
        let (read, _) = sound(image(&tree, None, &options()).0, &TfsOptions::default(), "lost");
        (report.lost.iter().map(ToString::to_string).collect::<Vec<_>>(), seen(&read).len())
    };
    let no_encode = "/no_encode: Nanos loses directories with an entry called no_encode; it is left out".to_owned();
    let not_utf8 = "/\\377: the name is not UTF-8: it is kept, but Nanos cannot look it up".to_owned();
    let fifo = "/dev: the format has no fifo, it is left out".to_owned();
    assert_eq!(told(true), (vec![no_encode.clone(), not_utf8.clone()], 3));
    assert_eq!(told(false), (vec![fifo, no_encode, not_utf8], 2));
    assert_eq!(Loss::TargetLength(0).to_string(), "a link target of 0 bytes, 1 to 4095 are possible; it is left out");
}

#[test]
fn holes_stay_holes() {
    let fs = mem();
    let node = file(&fs, fs.root(), "sparse", &[1; 700]);
    fs.write_at(node, WriteAt::Offset(5_000_000), &[2; 700]).unwrap();
    fs.set_attr(node, &SetAttr { size: Some(1 << 40), ..SetAttr::default() }).unwrap();
    let only_hole = file(&fs, fs.root(), "hole", b"");
    fs.allocate(only_hole, Allocate::Extend, 0..9000).ok();
    fs.set_attr(only_hole, &SetAttr { size: Some(10_000), ..SetAttr::default() }).unwrap();
    let fs = fs as Arc<dyn FileSystem>;
    let (made, _) = image(&of_fs(&fs), None, &options());
    assert!(made.len() < 4 << 20, "{}", made.len());
    let (read, _) = sound(made, &TfsOptions::default(), "sparse");
    let node = read.lookup(read.root(), name(b"sparse")).unwrap().node;
    assert_eq!(read.attr(node).unwrap().size, 1 << 40);
    for (offset, expected) in
        [(0, vec![1; 700]), (700, vec![0; 5000]), (5_000_000, vec![2; 700]), (5_000_700, vec![0; 700])]
    {
        let mut found = vec![9; expected.len()];
        read.read_at(node, offset, &mut found).unwrap();
        assert!(found == expected, "{offset}");
    }
}

#[test]
fn large_logs_and_large_files_are_split() {
    let fs = mem();
    let long = "x".repeat(200);
    for number in 0..6000 {
        file(&fs, fs.root(), &format!("{number}{long}"), b"content");
    }
    file(&fs, fs.root(), "large", &vec![7; 70 << 20]);
    let fs = fs as Arc<dyn FileSystem>;
    let (made, report) = image(&of_fs(&fs), None, &options());
    assert!(report.root.log_extensions > 4);
    let (read, found) = sound(made, &TfsOptions::default(), "large");
    assert_eq!(found.extensions.len() as u64, report.root.log_extensions);
    assert_eq!(found.records, report.root.records);
    assert_eq!(seen(&read), seen(&*fs));
    let large = read.lookup(read.root(), name(b"large")).unwrap().node;
    let blocks: Vec<_> = read.extents(large).unwrap().iter().map(|extent| (extent.block, extent.count)).collect();
    assert_eq!(blocks, [(0, 65_536), (65_536, 65_536), (131_072, 12_288)]);
}

#[test]
fn a_boot_file_system_has_its_limits() {
    let make = |tree, loader| {
        let boot = BootOptions { tree, loader, efi: None };
        make_image(&MemStorage::new(), &NewTree::new(), Some(&boot), &options()).map(drop)
    };
    let mut tree = NewTree::new();
    let kernel = |bytes| Arc::new(BytesSource::new(vec![1; bytes].into()));
    tree.put_file(name(b"kernel"), kernel((24_576 - 3073) * 512)).unwrap();
    make(tree, None).unwrap();
    let mut tree = NewTree::new();
    tree.put_file(name(b"kernel"), kernel((24_576 - 3073) * 512 + 1)).unwrap();
    let error = make(tree, None).unwrap_err();
    assert_eq!(error, Errno::NoSpace);
    assert_eq!(error.to_string(), "the boot file system has 12582912 bytes, and its files need more");
    let error = make(NewTree::new(), Some(Bytes::from_static(&[0; 600]))).unwrap_err();
    assert_eq!(error.to_string(), "a boot loader has 0x55 0xaa at byte 510, this one has 0x00 0x00");
    let long = ImageOptions { label: vec![b'x'; 32], ..options() };
    assert_eq!(make_image(&MemStorage::new(), &NewTree::new(), None, &long).unwrap_err(), Errno::Invalid);
}

#[test]
fn an_image_is_none_until_it_is_complete() {
    let fs = everything() as Arc<dyn FileSystem>;
    let expected = seen(&*fs);
    let mut random = Random(5);
    for boot in [None, Some(BootOptions { tree: of_fs(&fs), ..BootOptions::default() })] {
        let storage = Recorded::default();
        make_image(&storage, &of_fs(&fs), boot.as_ref(), &options()).unwrap();
        let events = storage.events.lock().unwrap().clone();
        let (mut complete, mut cuts) = (0, 0);
        cut_power(&events, 0, &mut random, |medium, at, cut| {
            cuts += 1;
            let image: Arc<dyn Source> = Arc::new(BytesSource::new(medium.clone().into()));
            match TfsFs::open(image, &TfsOptions::default()) {
                Ok(_) => {
                    complete += 1;
                    let (read, _) = sound(medium.into(), &TfsOptions::default(), &format!("{at} {cut:?}"));
                    assert_eq!(seen(&read), expected);
                }
                Err(error) => {
                    assert!(at + 1 < events.len(), "{error}");
                    assert!(error.corrupt().is_some(), "{error}");
                }
            }
        });
        assert!(complete >= 4 && cuts > complete, "{complete} of {cuts}");
    }
}

#[test]
fn the_loader_for_uefi_is_where_firmware_looks() {
    let content: Vec<u8> = (0..200_000_u32).map(|at| at.to_le_bytes()[1]).collect();
    let boot = BootOptions { efi: Some(EfiLoader::X64(content.clone().into())), ..BootOptions::default() };
    let (made, _) = image(&NewTree::new(), Some(&boot), &options());
    let disk = Disk::from_bytes(&made[..512]).unwrap();
    let efi = disk.efi.unwrap();
    assert_eq!((efi.first, efi.count), (9, 33 << 11));
    assert_eq!(disk.boot.unwrap().first, 9 + (33 << 11));
    let part = &made[9 * 512..][..33 << 20];
    // As any driver reads it: the sizes in the first sector, then the chains of clusters.
    let number =
        |at: usize, len: usize| part[at..at + len].iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    assert_eq!((number(11, 2), part[13], part[16], number(510, 2)), (512, 1, 2, 0xaa55));
    let (reserved, fat_sectors, total) = (number(14, 2), number(36, 4), number(32, 4));
    let data = reserved + 2 * fat_sectors;
    assert!(total - data >= 65_525, "FAT32 by the count of clusters");
    assert!(total <= 33 << 11 && (total - data + 2) * 4 <= fat_sectors * 512);
    assert_eq!(part[..1024], part[6 * 512..8 * 512], "the copies of the first sectors");
    assert_eq!(
        part[reserved * 512..][..fat_sectors * 512],
        part[(reserved + fat_sectors) * 512..][..fat_sectors * 512]
    );
    let chain = |first: usize| {
        let mut bytes = Vec::new();
        let mut cluster = first;
        while cluster < 0x0fff_fff8 {
            bytes.extend_from_slice(&part[(data + cluster - 2) * 512..][..512]);
            cluster = number(reserved * 512 + cluster * 4, 4);
        }
        bytes
    };
    let entry = |dir: &[u8], name: &[u8; 11]| {
        let found = dir.chunks(32).find(|entry| entry.starts_with(name)).unwrap();
        let word = |at: usize| usize::from(found[at]) | usize::from(found[at + 1]) << 8;
        (word(26) | word(20) << 16, word(28) | word(30) << 16)
    };
    let root = chain(number(44, 4));
    let (dir, _) = entry(&root, b"EFI        ");
    let (dir, _) = entry(&chain(dir), b"BOOT       ");
    let (first, len) = entry(&chain(dir), b"BOOTX64 EFI");
    assert_eq!(len, content.len());
    assert!(chain(first)[..len] == content);
}

#[test]
fn an_image_as_text() {
    let fs = mem();
    let dir = fs.create(fs.root(), name(b"d"), &NewNode { mode: 0o700, ..new(NewKind::Dir) }).unwrap().node;
    let node = file(&fs, dir, "f", b"hello");
    fs.link(node, fs.root(), name(b"hard")).unwrap();
    fs.create(fs.root(), name(b"soft"), &NewNode { mode: 0o777, ..new(NewKind::Symlink(b"d/f")) }).unwrap();
    fs.create(fs.root(), name(b"null"), &new(NewKind::Char(Device { major: 1, minor: 3 }))).unwrap();
    let (made, _) = image(&of_fs(&(fs as Arc<dyn FileSystem>)), None, &options());
    insta::assert_snapshot!(dump(&made));
}

/// The files that the `dump` tool of the Nanos sources takes out of an image, if `NANOS_DUMP` says where it is.
fn dumped(image: &Bytes) -> Option<tempfile::TempDir> {
    let Some(dump) = std::env::var_os("NANOS_DUMP") else {
        eprintln!("NOT TESTED: NANOS_DUMP does not name the dump tool of Nanos");
        return None;
    };
    let work = tempfile::tempdir().unwrap();
    let path = work.path().join("image");
    std::fs::write(&path, image).unwrap();
    let output = std::process::Command::new(dump).arg("-d").arg(work.path().join("out")).arg(&path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    Some(work)
}

#[test]
fn nanos_reads_what_is_made() {
    let fs = everything() as Arc<dyn FileSystem>;
    let disk = BootOptions { efi: Some(EfiLoader::Aa64(Bytes::from_static(b"loader"))), ..BootOptions::default() };
    for boot in [None, Some(disk)] {
        let (made, _) = image(&of_fs(&fs), boot.as_ref(), &options());
        let source: Arc<dyn Source> = Arc::new(BytesSource::new(made.clone()));
        let again = MemStorage::new();
        repair(&source, &again).unwrap();
        for image in [made, all(&again)] {
            let Some(work) = dumped(&image) else { return };
            let read = |path: &str| std::fs::read(work.path().join("out").join(path)).unwrap();
            assert_eq!(read("link"), [1; 5000]);
            assert_eq!(read("dir/file"), [1; 5000]);
            for number in 0..40_usize {
                assert_eq!(read(&format!("n{number}")), vec![u8::try_from(number).unwrap(); number * 100]);
            }
        }
    }
}
