//! Volumes that are changed: what was written is there when they are opened again, and costs no more than it must.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod tfs_support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use mountless::attr::{FileType, SetAttr, SetTime};
use mountless::backend::mem::MemOptions;
use mountless::backend::tfs::{NewVolume, Part, TfsFs, TfsOptions, TfsReport, TfsVolume, check};
use mountless::clock::{Clock, ManualClock, Timestamp};
use mountless::errno::Errno;
use mountless::error::Result;
use mountless::format::tfs::{Uuid, dump};
use mountless::fs::{
    Allocate, FileSystem, FileSystemExt, NewKind, NewNode, NodeId, RenameMode, SyncScope, WritableFileSystem, WriteAt,
    XattrMode,
};
use mountless::name::Name;
use mountless::source::{BytesSource, FileSource, MemStorage, Source, Storage};

use self::tfs_support::{Counted, samples};

fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::new(1_700_000_000_123_456_789))
}

fn make(storage: &Arc<MemStorage>, len: u64) -> TfsVolume {
    let new = NewVolume { len, uuid: Uuid(*b"0123456789abcdef"), label: b"test".to_vec() };
    TfsVolume::make(Arc::clone(storage) as Arc<dyn Storage>, &new, clock()).unwrap()
}

fn reopen(storage: &Arc<MemStorage>) -> TfsVolume {
    TfsVolume::open(Arc::clone(storage) as Arc<dyn Storage>, &TfsOptions::default(), clock()).unwrap()
}

/// The volume as somebody else sees it, checked.
fn reader(storage: &Arc<MemStorage>, options: &TfsOptions) -> (TfsFs, TfsReport) {
    let image: Arc<dyn Source> = Arc::new(BytesSource::new(storage.bytes_at(0..storage.len()).unwrap()));
    let report = check(&image, options).unwrap();
    assert!(report.is_sound(), "{:?}", report.faults);
    TfsFs::open(image, options).unwrap()
}

fn name(bytes: &str) -> Name<'_> {
    Name::new(bytes.as_bytes()).unwrap()
}

const fn new(kind: NewKind<'_>) -> NewNode<'_> {
    NewNode { kind, mode: if matches!(kind, NewKind::Dir) { 0o755 } else { 0o644 }, uid: 0, gid: 0 }
}

fn file(fs: &TfsVolume, dir: NodeId, at: &str, content: &[u8]) -> NodeId {
    let node = fs.create(dir, name(at), &new(NewKind::File)).unwrap().node;
    assert_eq!(fs.write_at(node, WriteAt::Offset(0), content).unwrap().count, content.len());
    node
}

/// Everything that is seen of a tree, links by their first path.
fn seen(fs: &dyn FileSystem) -> BTreeMap<Vec<u8>, String> {
    let mut found = BTreeMap::new();
    let mut pending = vec![(Vec::new(), fs.root())];
    while let Some((path, dir)) = pending.pop() {
        fs.for_each_entry(dir, |entry| {
            let node = fs.lookup(dir, entry.name)?.node;
            let attr = fs.attr(node)?;
            let below = [&path[..], b"/", entry.name.as_bytes()].concat();
            let mut what = format!("{:?} {:o} {}:{} {:?}", attr.file_type, attr.mode, attr.uid, attr.gid, attr.rdev);
            match attr.file_type {
                FileType::Dir => pending.push((below.clone(), node)),
                FileType::File => {
                    use std::hash::{DefaultHasher, Hasher};
                    let content = fs.read_to_vec(node)?;
                    let mut hasher = DefaultHasher::new();
                    hasher.write(&content);
                    what += &format!(" {} {:x}", attr.size, hasher.finish());
                    let mut copied = vec![1; content.len()];
                    assert_eq!(fs.read_at(node, 0, &mut copied)?, content.len());
                    assert!(copied == content);
                }
                FileType::Symlink => what += &format!(" {:?}", fs.read_link(node)?),
                _ => {}
            }
            what += &format!(" {:?} links={}", attr.mtime, attr.nlink);
            for name in fs.xattr_names(node)? {
                what += &format!(" {name:?}={:?}", fs.xattr(node, &name)?);
            }
            fs.forget(node, 1);
            found.insert(below, what);
            Ok(())
        })
        .unwrap();
    }
    found
}

#[test]
fn a_new_volume_as_text() {
    let storage = Arc::new(MemStorage::new());
    let fs = make(&storage, 4 << 20);
    let dir = fs.create(fs.root(), name("d"), &new(NewKind::Dir)).unwrap().node;
    let node = file(&fs, dir, "f", b"hello");
    fs.create(dir, name("l"), &NewNode { mode: 0o777, ..new(NewKind::Symlink(b"f")) }).unwrap();
    fs.create(dir, name("null"), &NewNode { uid: 1, ..new(NewKind::Whiteout) }).unwrap();
    fs.sync(SyncScope::All).unwrap();
    fs.link(node, fs.root(), name("g")).unwrap();
    fs.set_xattr(node, b"user.x", b"y", XattrMode::Set).unwrap();
    fs.write_at(node, WriteAt::End, b" there").unwrap();
    fs.write_at(node, WriteAt::Offset(0), b"H").unwrap();
    fs.unlink(dir, name("l")).unwrap();
    fs.sync(SyncScope::All).unwrap();
    insta::assert_snapshot!(dump(&storage.bytes_at(0..storage.len()).unwrap()));
    fs.compact().unwrap();
    insta::assert_snapshot!("a_new_volume_compacted", dump(&storage.bytes_at(0..storage.len()).unwrap()));
}

#[test]
fn everything_comes_back_when_opened_again() {
    let storage = Arc::new(MemStorage::new());
    let fs = make(&storage, 8 << 20);
    let root = fs.root();
    let dir =
        fs.create(root, name("dir"), &NewNode { mode: 0o2711, uid: 7, gid: 8, ..new(NewKind::Dir) }).unwrap().node;
    let node = file(&fs, dir, "file", &[1; 5000]);
    fs.write_at(node, WriteAt::Offset(20_000), b"behind a hole").unwrap();
    fs.link(node, root, name("link")).unwrap();
    let early = Timestamp { secs: -5, nanos: 7 };
    let late = Timestamp { secs: 5_000_000_000, nanos: 9 };
    let times = SetAttr { mtime: Some(SetTime::At(early)), atime: Some(SetTime::At(late)), ..SetAttr::default() };
    fs.set_attr(node, &times).unwrap();
    fs.set_xattr(node, b"user.big", &[b'v'; 60_000], XattrMode::Set).unwrap();
    for (at, kind) in [
        ("socket", NewKind::Socket),
        ("fifo", NewKind::Fifo),
        ("char", NewKind::Char(mountless::attr::Device { major: 5, minor: 1 })),
        ("whiteout", NewKind::Whiteout),
        ("symlink", NewKind::Symlink(b"../x")),
    ] {
        fs.create(dir, name(at), &new(kind)).unwrap();
    }
    fs.set_attr(dir, &SetAttr { opaque: Some(true), ..SetAttr::default() }).unwrap();
    fs.sync(SyncScope::All).unwrap();
    let expected = seen(&fs);
    for round in 0..3 {
        let (read, _) = reader(&storage, &TfsOptions::default());
        assert_eq!(seen(&read), expected, "{round}");
        let again = read.lookup(read.root(), name("dir")).unwrap().node;
        assert!(read.attr(again).unwrap().opaque);
        let found = read.lookup(again, name("file")).unwrap().node;
        let attr = read.attr(found).unwrap();
        assert_eq!((attr.mtime, attr.atime, attr.nlink), (early, late, 2));
        // A compaction, then an opening for writing, change nothing.
        reopen(&storage).compact().unwrap();
    }
    let fs = reopen(&storage);
    let dir = fs.lookup(fs.root(), name("dir")).unwrap().node;
    let node = fs.lookup(dir, name("file")).unwrap().node;
    fs.set_attr(node, &SetAttr { mtime: Some(SetTime::At(Timestamp::from_secs(3))), ..SetAttr::default() }).unwrap();
    fs.remove_xattr(node, b"user.big").unwrap();
    fs.sync(SyncScope::Node(node)).unwrap();
    let (read, _) = reader(&storage, &TfsOptions::default());
    let found = read.lookup(read.root(), name("link")).unwrap().node;
    assert_eq!(read.attr(found).unwrap().mtime, Timestamp::from_secs(3));
    assert_eq!(read.xattr(found, b"user.big").unwrap_err(), Errno::NoAttribute);
}

/// The same operations on the volume and in memory.
#[test]
fn ten_thousand_operations_give_what_they_give_in_memory() {
    let storage = Arc::new(MemStorage::new());
    let fs = make(&storage, 48 << 20);
    let model = MemOptions::new().clock(clock()).build();
    let mut random = 7_u64;
    let mut below = |bound: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % bound
    };
    let mut fs = fs;
    for step in 0..10_000_u64 {
        let (a, b) = (format!("n{}", below(12)), format!("n{}", below(12)));
        let dirs = [below(4), below(4)];
        let (what, at, len) = (below(22), below(40_000), below(30_000));
        let byte = u8::try_from(below(255)).unwrap() + 1;
        let run = |fs: &dyn FileSystem| -> Result<String> {
            let writable = fs.writable()?;
            // Directories n0 to n3 of the root, or the root itself.
            let dir = |which: u64| {
                fs.lookup(fs.root(), name(&format!("n{which}")))
                    .map_or(fs.root(), |entry| if entry.file_type.is_dir() { entry.node } else { fs.root() })
            };
            let (from, to) = (dir(dirs[0]), dir(dirs[1]));
            let node = || fs.lookup(from, name(&a)).map(|entry| entry.node);
            let content = vec![byte; usize::try_from(len).unwrap()];
            Ok(match what {
                0..4 => format!("{:?}", writable.create(from, name(&a), &new(NewKind::File))?.file_type),
                4 | 5 => format!("{:?}", writable.create(from, name(&a), &new(NewKind::Dir))?.file_type),
                6 => format!("{:?}", writable.create(from, name(&a), &new(NewKind::Symlink(b"t")))?.file_type),
                7..11 => format!("{:?}", writable.write_at(node()?, WriteAt::Offset(at), &content)?),
                11 => format!("{:?}", writable.write_at(node()?, WriteAt::End, &content)?),
                12 | 13 => {
                    format!("{}", writable.set_attr(node()?, &SetAttr { size: Some(at), ..SetAttr::default() })?.size)
                }
                14 => format!("{:?}", writable.allocate(node()?, Allocate::PunchHole, at..at + len + 1)?),
                15 => format!("{:?}", writable.allocate(node()?, Allocate::Extend, at..at + len + 1)?),
                16 => format!("{:?}", writable.allocate(node()?, Allocate::KeepSize, at..at + len + 1)?),
                17 => format!("{:?}", writable.unlink(from, name(&a))?),
                18 => format!("{:?}", writable.remove_dir(from, name(&a))?),
                19 => format!("{:?}", writable.rename(from, name(&a), to, name(&b), RenameMode::Replace)?),
                20 => format!("{:?}", writable.rename(from, name(&a), to, name(&b), RenameMode::Exchange)?),
                _ => format!("{:?}", writable.link(node()?, to, name(&b))?),
            })
        };
        let errno = |result: Result<String>| result.map_err(|error| error.errno());
        assert_eq!(errno(run(&fs)), errno(run(&model)), "step {step}");
        if step % 97 == 0 {
            fs.sync(SyncScope::All).unwrap();
        }
        if step % 1000 == 999 {
            fs.sync(SyncScope::All).unwrap();
            let expected = seen(&model);
            assert_eq!(seen(&fs), expected, "step {step}");
            let (read, _) = reader(&storage, &TfsOptions::default());
            assert_eq!(seen(&read), expected, "step {step}");
            if step % 2000 == 1999 {
                drop(fs);
                fs = reopen(&storage);
            }
        }
    }
    assert!(fs.log_extensions().len() >= 2);
}

#[test]
fn a_log_goes_on_in_further_extensions() {
    let storage = Arc::new(MemStorage::new());
    let fs = make(&storage, 16 << 20);
    let long = "x".repeat(200);
    for number in 0..6000 {
        fs.create(fs.root(), name(&format!("{long}{number}")), &new(NewKind::File)).unwrap();
    }
    fs.sync(SyncScope::All).unwrap();
    assert!(fs.log_extensions().len() >= 4, "{:?}", fs.log_extensions());
    let (read, report) = reader(&storage, &TfsOptions::default());
    assert_eq!(seen(&read).len(), 6000);
    assert_eq!(report.extensions, fs.log_extensions());
    // What is removed is dead, and a compaction takes it out.
    for number in 0..6000 {
        fs.unlink(fs.root(), name(&format!("{long}{number}"))).unwrap();
    }
    fs.sync(SyncScope::All).unwrap();
    assert_eq!(fs.log_extensions().len(), 2, "compacted by itself");
    assert_eq!(seen(&reader(&storage, &TfsOptions::default()).0).len(), 0);
}

#[test]
fn a_full_volume_refuses_data_but_not_removal() {
    let storage = Arc::new(MemStorage::new());
    let fs = make(&storage, 4 << 20);
    let node = file(&fs, fs.root(), "f", b"x");
    let mut total = 1;
    let error = loop {
        match fs.write_at(node, WriteAt::End, &[7; 100_000]) {
            Ok(written) => total += written.count as u64,
            Err(error) => break error,
        }
    };
    assert_eq!(error, Errno::NoSpace);
    assert!(total > 2 << 20, "{total}");
    assert_eq!(fs.attr(node).unwrap().size, total);
    assert_eq!(fs.info().free_bytes, Some(0));
    fs.sync(SyncScope::All).unwrap();
    assert_eq!(seen(&reader(&storage, &TfsOptions::default()).0), seen(&fs));
    // An overwrite needs a sector, and there is none.
    assert_eq!(fs.write_at(node, WriteAt::Offset(0), b"y").unwrap_err(), Errno::NoSpace);
    fs.set_attr(node, &SetAttr { size: Some(total / 2), ..SetAttr::default() }).unwrap();
    fs.write_at(node, WriteAt::Offset(0), b"y").unwrap();
    fs.unlink(fs.root(), name("f")).unwrap();
    fs.forget(node, 1);
    fs.sync(SyncScope::All).unwrap();
    let node = file(&fs, fs.root(), "g", &vec![1; 2 << 20]);
    fs.sync(SyncScope::Data(node)).unwrap();
    assert_eq!(seen(&reader(&storage, &TfsOptions::default()).0), seen(&fs));
}

#[test]
fn a_small_edit_of_a_large_file_writes_little() {
    let storage = Arc::new(Counted::new(MemStorage::new()));
    let new = NewVolume { len: 160 << 20, uuid: Uuid::default(), label: Vec::new() };
    let fs = TfsVolume::make(Arc::clone(&storage) as Arc<dyn Storage>, &new, clock()).unwrap();
    let node = file(&fs, fs.root(), "large", &vec![1; 128 << 20]);
    fs.sync(SyncScope::All).unwrap();
    storage.take();
    fs.write_at(node, WriteAt::Offset(70_000_001), b"edited").unwrap();
    fs.write_at(node, WriteAt::End, b"appended").unwrap();
    fs.sync(SyncScope::All).unwrap();
    let written = storage.take();
    assert!(written < 4096, "{written} bytes written");
}

#[test]
fn images_of_others_are_changed_and_compacted_without_loss() {
    let Some(folder) = samples() else { return };
    let (mut changed, mut compacted) = (0, 0);
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let Some(sample) = path.file_name().unwrap().to_str().unwrap().strip_suffix(".img.zst") else { continue };
        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(folder.join(format!("{sample}.json"))).unwrap()).unwrap();
        if sample.starts_with("corrupt-") && sample != "corrupt-base" {
            continue;
        }
        for part in [None, Some(Part::Boot)] {
            if part.is_some() && json.get("bootfs").is_none() {
                continue;
            }
            let storage = Arc::new(MemStorage::new());
            storage.write_at(0, &zstd::decode_all(&*std::fs::read(&path).unwrap()).unwrap()).unwrap();
            let options = TfsOptions { part, ..TfsOptions::default() };
            let (before, before_report) = reader(&storage, &options);
            let open = || TfsVolume::open(Arc::clone(&storage) as Arc<dyn Storage>, &options, clock()).unwrap();
            let fs = open();
            assert_eq!(seen(&fs), seen(&before), "{sample}");
            // Whatever the space allows.
            let dir = fs.create(fs.root(), name("new dir"), &new(NewKind::Dir)).unwrap().node;
            let node = fs.create(dir, name("new file"), &new(NewKind::File)).unwrap().node;
            let has_space = fs.write_at(node, WriteAt::Offset(1000), b"some content").is_ok();
            changed += i32::from(has_space);
            for entry in seen(&before).keys().take(3).filter(|path| path.iter().filter(|it| **it == b'/').count() == 1)
            {
                let from = Name::new(&entry[1..]).unwrap();
                fs.rename(fs.root(), from, dir, from, RenameMode::NoReplace).unwrap();
            }
            let mut first_file = None;
            fs.for_each_entry(fs.root(), |entry| {
                if entry.file_type == FileType::File && first_file.is_none() {
                    first_file = Some(entry.name.as_bytes().to_vec());
                }
                Ok(())
            })
            .unwrap();
            if let Some(at) = first_file {
                let node = fs.lookup(fs.root(), Name::new(&at).unwrap()).unwrap().node;
                fs.set_attr(node, &SetAttr { size: Some(100), ..SetAttr::default() }).unwrap();
                fs.set_attr(node, &SetAttr { size: Some(2000), ..SetAttr::default() }).ok();
            }
            fs.sync(SyncScope::All).unwrap();
            let expected = seen(&fs);
            let (after, report) = reader(&storage, &options);
            assert_eq!(seen(&after), expected, "{sample}");
            assert_eq!(report.root_attributes, before_report.root_attributes, "{sample}");
            assert_eq!((report.uuid, &report.label), (before_report.uuid, &before_report.label));
            drop(fs);
            let fs = open();
            match fs.compact() {
                Ok(_) => compacted += 1,
                Err(error) => assert_eq!(error, Errno::NoSpace, "{sample}"),
            }
            let (after, report) = reader(&storage, &options);
            assert_eq!(seen(&after), expected, "{sample}");
            assert_eq!(report.root_attributes, before_report.root_attributes, "{sample}");
            assert_eq!(report.uuid, before_report.uuid);
        }
    }
    println!("{changed} changed, {compacted} compacted");
    assert!(changed > 15 && compacted > 15, "{changed} changed, {compacted} compacted");
}

#[test]
fn the_second_writer_is_refused() {
    let image = tempfile::NamedTempFile::new().unwrap();
    let open = || -> Result<Arc<dyn Storage>> { Ok(Arc::new(FileSource::open_exclusive(image.path())?)) };
    let new_volume = NewVolume { len: 2 << 20, uuid: Uuid::default(), label: Vec::new() };
    let fs = TfsVolume::make(open().unwrap(), &new_volume, clock()).unwrap();
    assert_eq!(open().unwrap_err(), Errno::Busy);
    fs.create(fs.root(), name("d"), &new(NewKind::Dir)).unwrap();
    fs.sync(SyncScope::All).unwrap();
    drop(fs);
    let fs = TfsVolume::open(open().unwrap(), &TfsOptions::default(), clock()).unwrap();
    assert!(fs.lookup(fs.root(), name("d")).is_ok());
}

/// The reference tool, if `NANOS_DUMP` says where it is: `dump` of the Nanos sources.
fn nanos_dump() -> Option<PathBuf> {
    let dump = std::env::var_os("NANOS_DUMP").map(PathBuf::from);
    if dump.is_none() {
        eprintln!("NOT TESTED: NANOS_DUMP does not name the dump tool of Nanos");
    }
    dump
}

#[test]
fn nanos_reads_what_is_written() {
    let Some(dump) = nanos_dump() else { return };
    let storage = Arc::new(MemStorage::new());
    let fs = make(&storage, 24 << 20);
    let root = fs.root();
    let long = "n".repeat(180);
    for number in 0..3000 {
        file(&fs, root, &format!("{long}{number}"), format!("content {number}").as_bytes());
        if number % 100 == 0 {
            fs.sync(SyncScope::All).unwrap();
        }
    }
    let dir = fs.create(root, name("dir"), &NewNode { mode: 0o700, ..new(NewKind::Dir) }).unwrap().node;
    let node = file(&fs, dir, "fragments", &[1; 300_000]);
    for at in [700, 33_000, 120_000, 299_999, 400_000] {
        fs.write_at(node, WriteAt::Offset(at), b"changed").unwrap();
        fs.sync(SyncScope::All).unwrap();
    }
    fs.allocate(node, Allocate::PunchHole, 50_000..60_000).unwrap();
    fs.allocate(node, Allocate::KeepSize, 500_000..600_000).unwrap();
    fs.link(node, root, name("hard")).unwrap();
    fs.create(dir, name("null"), &new(NewKind::Whiteout)).unwrap();
    fs.create(dir, name("link"), &new(NewKind::Symlink(b"fragments"))).unwrap();
    for number in 0..1000 {
        fs.unlink(root, name(&format!("{long}{number}"))).unwrap();
    }
    fs.rename(root, name(&format!("{long}2999")), dir, name("moved"), RenameMode::NoReplace).unwrap();
    fs.sync(SyncScope::All).unwrap();
    for compacted in [false, true] {
        if compacted {
            fs.compact().unwrap();
        }
        let work = tempfile::tempdir().unwrap();
        let image = work.path().join("image");
        std::fs::write(&image, storage.bytes_at(0..storage.len()).unwrap()).unwrap();
        let out = work.path().join("out");
        let output = std::process::Command::new(&dump).arg("-d").arg(&out).arg(&image).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(!text.contains("error") && !text.contains("warning"), "{:.1000}", text);
        let mut files = 0;
        for (path, _) in seen(&fs) {
            let host = out.join(std::str::from_utf8(&path[1..]).unwrap());
            let mut node = (fs.root(), FileType::Dir);
            for component in path[1..].split(|byte| *byte == b'/') {
                let entry = fs.lookup(node.0, Name::new(component).unwrap()).unwrap();
                node = (entry.node, entry.file_type);
            }
            match node.1 {
                FileType::File => {
                    files += 1;
                    assert!(std::fs::read(&host).unwrap() == fs.read_to_vec(node.0).unwrap(), "{host:?}");
                }
                FileType::Dir => assert!(host.is_dir(), "{host:?}"),
                _ => {}
            }
        }
        assert_eq!(files, 2002);
    }
}
