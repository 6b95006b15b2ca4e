//! The faults of Nanos' own tools, none of which is ours: a test each.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod tfs_support;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use mountless::attr::{FileType, SetAttr, SetTime};
use mountless::backend::tfs::{
    ImageOptions, KeepOptions, NewTree, NewVolume, TfsFs, TfsOptions, TfsVolume, check, make_image, repair,
};
use mountless::clock::{ManualClock, Timestamp};
use mountless::errno::Errno;
use mountless::error::Result;
use mountless::format::tfs::{
    FrameWriter, Link, Manifest, RecordWriter, TfsCorrupt, Uuid, Volume, extension_start, put_varint,
};
use mountless::fs::{
    FileSystem, FileSystemExt, NewKind, NewNode, NodeId, SyncScope, WritableFileSystem, WriteAt, XattrMode,
};
use mountless::source::{BytesSource, MemStorage, Source, Storage};
use tfs_support::{Counted, Random, all, name, seen, sound};

/// A volume in memory.
struct Case {
    storage: Arc<MemStorage>,
    fs: TfsVolume,
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(1_700_000_000_123_456_789))
}

fn opened(storage: &Arc<MemStorage>) -> TfsVolume {
    TfsVolume::open(Arc::clone(storage) as Arc<dyn Storage>, &TfsOptions::default(), clock()).unwrap()
}

const fn new(kind: NewKind<'_>) -> NewNode<'_> {
    NewNode { kind, mode: if matches!(kind, NewKind::Dir) { 0o755 } else { 0o644 }, uid: 0, gid: 0 }
}

impl Case {
    fn new() -> Self {
        let storage = Arc::new(MemStorage::new());
        let new = NewVolume { len: 8 << 20, uuid: Uuid::default(), label: Vec::new() };
        let fs = TfsVolume::make(Arc::clone(&storage) as Arc<dyn Storage>, &new, clock()).unwrap();
        Self { storage, fs }
    }

    fn make(&self, at: &str, kind: NewKind<'_>) -> NodeId {
        self.fs.create(self.fs.root(), name(at.as_bytes()), &new(kind)).unwrap().node
    }

    fn write(&self, node: NodeId, offset: u64, bytes: &[u8]) {
        assert_eq!(self.fs.write_at(node, WriteAt::Offset(offset), bytes).unwrap().count, bytes.len());
    }

    fn resize(&self, node: NodeId, size: u64) {
        self.fs.set_attr(node, &SetAttr { size: Some(size), ..SetAttr::default() }).unwrap();
    }

    /// The volume as it is on disk, after a sync and after a compaction.
    fn each_state(&self, test: impl Fn(&TfsFs)) {
        self.fs.sync(SyncScope::All).unwrap();
        for state in ["synced", "compacted"] {
            let (fs, _) = sound(all(&*self.storage), &TfsOptions::default(), state);
            assert_eq!(seen(&fs), seen(&self.fs), "{state}");
            test(&fs);
            self.fs.compact().unwrap();
        }
    }
}

fn find(fs: &dyn FileSystem, at: &str) -> NodeId {
    fs.lookup(fs.root(), name(at.as_bytes())).unwrap().node
}

#[test]
fn unaligned_writes_and_appends_change_their_bytes_only() {
    let case = Case::new();
    let node = case.make("f", NewKind::File);
    let mut expected = Vec::new();
    let mut random = Random(9);
    for step in 0..400_u64 {
        let len = usize::try_from(random.below(1500)).unwrap();
        let bytes = vec![u8::try_from(step % 255 + 1).unwrap(); len];
        if step % 3 == 0 {
            case.fs.write_at(node, WriteAt::End, &bytes).unwrap();
            expected.extend_from_slice(&bytes);
        } else {
            let offset = usize::try_from(random.below(expected.len() as u64 + 1)).unwrap();
            case.write(node, offset as u64, &bytes);
            expected.resize(expected.len().max(offset + len), 0);
            expected[offset..offset + len].copy_from_slice(&bytes);
        }
        if step % 50 == 49 {
            case.fs.sync(SyncScope::Node(node)).unwrap();
        }
    }
    case.each_state(|fs| assert!(fs.read_to_vec(find(fs, "f")).unwrap() == expected));
}

#[test]
fn a_write_behind_a_hole_ends_and_leaves_zeros() {
    let case = Case::new();
    let node = case.make("f", NewKind::File);
    case.write(node, 0, b"start");
    case.fs.sync(SyncScope::All).unwrap();
    case.write(node, 10_000, b"behind");
    case.each_state(|fs| {
        let content = fs.read_to_vec(find(fs, "f")).unwrap();
        assert_eq!(content.len(), 10_006);
        assert!(content.starts_with(b"start") && content.ends_with(b"behind"));
        assert!(content[5..10_000].iter().all(|byte| *byte == 0));
    });
}

#[test]
fn a_short_write_leaves_the_rest_of_its_sector() {
    let case = Case::new();
    let node = case.make("f", NewKind::File);
    case.write(node, 0, &[7; 2048]);
    case.fs.sync(SyncScope::All).unwrap();
    case.write(node, 512, b"x");
    let mut expected = vec![7; 2048];
    expected[512] = b'x';
    case.each_state(|fs| assert_eq!(fs.read_to_vec(find(fs, "f")).unwrap(), expected));
}

#[test]
fn what_was_cut_off_does_not_come_back_when_the_file_grows() {
    for cut in [0_u64, 1, 10, 511, 512, 513, 2999] {
        let case = Case::new();
        let node = case.make("f", NewKind::File);
        case.write(node, 0, &[7; 3000]);
        case.fs.sync(SyncScope::All).unwrap();
        case.resize(node, cut);
        case.fs.sync(SyncScope::All).unwrap();
        case.resize(node, 3000);
        let mut expected = vec![7; usize::try_from(cut).unwrap()];
        expected.resize(3000, 0);
        case.each_state(|fs| assert!(fs.read_to_vec(find(fs, "f")).unwrap() == expected, "{cut}"));
    }
}

/// Appends a record to the log of a volume whose log ends in sector 1.
fn append(image: &mut [u8], log_end: u64, record: &RecordWriter) {
    let mut frames = FrameWriter::new(Vec::new(), 10_000);
    assert_eq!(frames.record(record.bytes(), 0), record.bytes().len());
    let bytes = frames.end();
    image[usize::try_from(log_end).unwrap()..][..bytes.len()].copy_from_slice(&bytes);
}

#[test]
fn what_nanos_left_behind_the_end_of_a_file_does_not_come_back() {
    let mut tree = NewTree::new();
    tree.put_file(name(b"f"), Arc::new(BytesSource::new(Bytes::from_static(&[7; 3000])))).unwrap();
    let storage = Arc::new(MemStorage::new());
    make_image(&*storage, &tree, None, &ImageOptions { size: 8 << 20, ..ImageOptions::default() }).unwrap();
    let mut image = all(&*storage).to_vec();
    let (_, report) = sound(image.clone().into(), &TfsOptions::default(), "made");
    // Nanos cuts a file by this one record: number 5 is the file, 13 the symbol `filelength`.
    let mut record = RecordWriter::new();
    record.tuple_ref(5, 1);
    record.symbol_ref(13);
    record.number(10);
    append(&mut image, report.log_end, &record);
    storage.write_at(0, &image).unwrap();
    let fs = opened(&storage);
    let node = find(&fs, "f");
    assert_eq!(fs.attr(node).unwrap().size, 10);
    fs.write_at(node, WriteAt::Offset(2000), b"x").unwrap();
    fs.sync(SyncScope::All).unwrap();
    let (fs, _) = sound(all(&*storage), &TfsOptions::default(), "grown");
    let content = fs.read_to_vec(find(&fs, "f")).unwrap();
    assert_eq!(content[..10], [7; 10]);
    assert!(content[10..2000].iter().all(|byte| *byte == 0));
}

#[test]
fn times_that_are_set_stay() {
    let case = Case::new();
    for at in ["f", "d"] {
        let node = case.make(at, if at == "f" { NewKind::File } else { NewKind::Dir });
        let (mtime, atime) = (Timestamp { secs: 1_000_000_000, nanos: 123_456_789 }, Timestamp::from_secs(7));
        let times = SetAttr { mtime: Some(SetTime::At(mtime)), atime: Some(SetTime::At(atime)), ..SetAttr::default() };
        case.fs.set_attr(node, &times).unwrap();
        case.each_state(|fs| {
            let attr = fs.attr(find(fs, at)).unwrap();
            assert_eq!((attr.mtime, attr.atime), (mtime, atime));
        });
    }
}

#[test]
fn symbolic_links_can_be_made_and_have_a_size() {
    let case = Case::new();
    let long = "t".repeat(4095);
    case.make("l", NewKind::Symlink(b"to/somewhere"));
    case.make("long", NewKind::Symlink(long.as_bytes()));
    case.each_state(|fs| {
        let node = find(fs, "l");
        assert_eq!(fs.read_link(node).unwrap(), "to/somewhere");
        assert_eq!((fs.attr(node).unwrap().size, fs.attr(node).unwrap().nlink), (12, 1));
        assert_eq!(fs.read_link(find(fs, "long")).unwrap(), long);
    });
}

#[test]
fn hard_links_are_one_node_with_a_count() {
    let case = Case::new();
    let node = case.make("f", NewKind::File);
    for at in ["g", "h"] {
        case.fs.link(node, case.fs.root(), name(at.as_bytes())).unwrap();
    }
    case.fs.unlink(case.fs.root(), name(b"f")).unwrap();
    case.write(node, 0, b"through any name");
    case.each_state(|fs| {
        assert_eq!(find(fs, "g"), find(fs, "h"));
        assert_eq!(fs.attr(find(fs, "g")).unwrap().nlink, 2);
        assert_eq!(fs.read_to_vec(find(fs, "h")).unwrap(), b"through any name");
    });
}

#[test]
fn link_counts_of_files_and_directories_are_not_zero() {
    let case = Case::new();
    let dir = case.make("d", NewKind::Dir);
    case.fs.create(dir, name(b"below"), &new(NewKind::Dir)).unwrap();
    case.make("f", NewKind::File);
    case.each_state(|fs| {
        let count = |node| fs.attr(node).unwrap().nlink;
        assert_eq!((count(find(fs, "f")), count(find(fs, "d")), count(fs.root())), (1, 3, 3));
    });
}

#[test]
fn extended_attributes_are_kept() {
    let case = Case::new();
    let node = case.make("f", NewKind::File);
    case.fs.set_xattr(node, b"user.empty", b"", XattrMode::Set).unwrap();
    case.fs.set_xattr(node, b"security.bytes", &[0, 1, 255], XattrMode::Set).unwrap();
    case.each_state(|fs| {
        let node = find(fs, "f");
        assert_eq!(fs.xattr_names(node).unwrap(), ["security.bytes", "user.empty"]);
        assert_eq!(fs.xattr(node, b"security.bytes").unwrap()[..], [0, 1, 255]);
        assert_eq!(fs.xattr(node, b"user.empty").unwrap(), "");
    });
}

#[test]
fn sockets_are_nodes_like_others() {
    let case = Case::new();
    let node = case.make("s", NewKind::Socket);
    assert_eq!(case.fs.read_at(node, 0, &mut [0; 8]).unwrap_err(), Errno::Invalid);
    case.each_state(|fs| {
        assert_eq!(fs.attr(find(fs, "s")).unwrap().file_type, FileType::Socket);
        assert_eq!(fs.read_at(find(fs, "s"), 0, &mut [0; 8]).unwrap_err(), Errno::Invalid);
    });
}

/// A volume of one sector of log, with an entry in the root.
fn volume_with(entry: &[u8], fill: impl FnOnce(&mut RecordWriter)) -> Bytes {
    let mut root = RecordWriter::new(); // #1
    root.tuple(1);
    root.symbol(b"children"); // #2
    root.tuple(1); // #3
    root.symbol(entry); // #4
    fill(&mut root);
    let mut frames = FrameWriter::new(extension_start(1024, None), 1024 * 512);
    assert_eq!(frames.record(root.bytes(), 0), root.bytes().len());
    let mut image = vec![0; 6 << 20];
    let first = FrameWriter::new(extension_start(1, Some(&Volume::default())), 512);
    let first = first.link(Link { sector: 1, count: 1024 });
    image[..first.len()].copy_from_slice(&first);
    let log = frames.end();
    image[512..512 + log.len()].copy_from_slice(&log);
    image.into()
}

#[test]
fn a_file_without_extents_can_be_read_and_written() {
    let image = volume_with(b"f", |root| root.tuple(0));
    let source: Arc<dyn Source> = Arc::new(BytesSource::new(image.clone()));
    assert!(!check(&source, &TfsOptions::default()).unwrap().is_sound(), "Nanos stops at it");
    let storage = Arc::new(MemStorage::new());
    storage.write_at(0, &image).unwrap();
    let fs = opened(&storage);
    let node = find(&fs, "f");
    assert_eq!(fs.read_to_vec(node).unwrap(), b"");
    fs.write_at(node, WriteAt::Offset(0), b"now it has some").unwrap();
    fs.sync(SyncScope::All).unwrap();
    let (fs, _) = sound(all(&*storage), &TfsOptions::default(), "written");
    assert_eq!(fs.read_to_vec(find(&fs, "f")).unwrap(), b"now it has some");
}

#[test]
fn a_record_that_says_it_is_longer_than_the_image_is_damage() {
    for total in [5, 512, 300 << 10, 1 << 24, 1 << 32, 1 << 60, u64::MAX] {
        let mut image = extension_start(1, Some(&Volume::default()));
        // Its type, its length, and the length of what is here of it.
        image.push(2);
        put_varint(&mut image, total);
        put_varint(&mut image, 4);
        image.extend_from_slice(&[0x90; 4]);
        image.resize(512, 0);
        let source: Arc<dyn Source> = Arc::new(BytesSource::new(image.into()));
        for recover in [false, true] {
            let options = TfsOptions { recover, ..TfsOptions::default() };
            let error = TfsFs::open(Arc::clone(&source), &options).unwrap_err();
            assert!(error.corrupt().is_some(), "{total}: {error}");
        }
        assert!(!check(&source, &TfsOptions::default()).unwrap().is_sound(), "{total}");
    }
}

#[test]
fn names_that_lead_out_of_a_directory_are_no_names() {
    for entry in [&b"../x"[..], b"/etc/passwd", b".", b"a\0b", &[b'x'; 256]] {
        let image = volume_with(entry, |root| root.tuple(0));
        let source: Arc<dyn Source> = Arc::new(BytesSource::new(image.clone()));
        let error = TfsFs::open(Arc::clone(&source), &TfsOptions::default()).unwrap_err();
        let reason = std::error::Error::source(error.corrupt().unwrap()).unwrap();
        let expected = TfsCorrupt::EntryName { len: entry.len() as u64 };
        assert_eq!(reason.downcast_ref::<TfsCorrupt>(), Some(&expected));
        let options = TfsOptions { recover: true, ..TfsOptions::default() };
        let (fs, report) = TfsFs::open(Arc::clone(&source), &options).unwrap();
        assert_eq!((seen(&fs).len(), report.faults.len()), (0, 1));
        let storage = MemStorage::new();
        assert!(!repair(&source, &storage).unwrap().is_complete());
        assert_eq!(seen(&sound(all(&storage), &TfsOptions::default(), "repaired").0).len(), 0);
    }
    // A reference to the directory above is not even seen.
    let image = volume_with(b"..", |root| root.tuple_ref(1, 0));
    assert_eq!(seen(&sound(image, &TfsOptions::default(), "above").0).len(), 0);
}

#[test]
fn paths_of_any_length_can_be_made_opened_and_packed() {
    let case = Case::new();
    let part = "d".repeat(200);
    let mut dir = case.fs.root();
    for _ in 0..300 {
        dir = case.fs.create(dir, name(part.as_bytes()), &new(NewKind::Dir)).unwrap().node;
    }
    case.fs.create(dir, name(b"bottom"), &new(NewKind::Symlink(b"x"))).unwrap();
    let expected = seen(&case.fs);
    assert!(expected.keys().any(|path| path.len() == 300 * 201 + 7));
    case.each_state(|fs| assert_eq!(seen(fs).len(), 301));
    let (fs, _) = sound(all(&*case.storage), &TfsOptions::default(), "made");
    let (tree, _) = NewTree::from_fs(&(Arc::new(fs) as Arc<dyn FileSystem>), &KeepOptions::default()).unwrap();
    let storage = MemStorage::new();
    make_image(&storage, &tree, None, &ImageOptions::default()).unwrap();
    assert_eq!(seen(&sound(all(&storage), &TfsOptions::default(), "packed").0), expected);
}

#[test]
fn a_sync_of_one_file_makes_it_durable() {
    let case = Case::new();
    let node = case.make("f", NewKind::File);
    case.write(node, 0, b"durable");
    case.fs.sync(SyncScope::Data(node)).unwrap();
    // Nothing is done at the end that a crash could prevent.
    let (fs, _) = sound(all(&*case.storage), &TfsOptions::default(), "synced");
    assert_eq!(fs.read_to_vec(find(&fs, "f")).unwrap(), b"durable");
}

#[test]
fn a_volume_goes_on_after_deletions_and_compactions() {
    let case = Case::new();
    for round in 0..5 {
        for number in 0..2000 {
            let node = case.make(&format!("f{number}"), NewKind::File);
            case.fs.forget(node, 1);
        }
        for number in 0..2000 {
            case.fs.unlink(case.fs.root(), name(format!("f{number}").as_bytes())).unwrap();
        }
        case.fs.sync(SyncScope::All).unwrap();
        case.make(&format!("after {round}"), NewKind::Dir);
    }
    case.each_state(|fs| assert_eq!(seen(fs).len(), 5));
}

#[test]
fn a_mistyped_manifest_is_an_error_with_its_place() {
    let error = Manifest::parse(b"(\n    children:(\n        prog:(contents:(host:prog)\n    )\n)\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 6, column 1: the manifest ends inside the tuple that begins at line 1, column 1: \")\" is missing"
    );
}

/// A storage of which only pages that are not zero take memory.
#[derive(Debug, Default)]
struct Sparse {
    pages: Mutex<BTreeMap<u64, Box<[u8; PAGE]>>>,
    len: Mutex<u64>,
}

const PAGE: usize = 1 << 16;

impl Source for Sparse {
    fn len(&self) -> u64 {
        *self.len.lock().unwrap()
    }
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let pages = self.pages.lock().unwrap();
        let mut at = offset;
        for piece in pieces(offset, buf) {
            let (page, into) = (at / PAGE as u64, usize::try_from(at % PAGE as u64).unwrap());
            match pages.get(&page) {
                Some(page) => piece.copy_from_slice(&page[into..into + piece.len()]),
                None => piece.fill(0),
            }
            at += piece.len() as u64;
        }
        Ok(())
    }
    fn bytes_at(&self, range: Range<u64>) -> Result<Bytes> {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap()];
        self.read_exact_at(range.start, &mut bytes)?;
        Ok(bytes.into())
    }
    fn release(&self, _range: Range<u64>) {}
}

/// The parts of a buffer that lie in one page each.
fn pieces(offset: u64, mut buf: &mut [u8]) -> Vec<&mut [u8]> {
    let mut found = Vec::new();
    let mut room = PAGE - usize::try_from(offset % PAGE as u64).unwrap();
    while !buf.is_empty() {
        let (piece, rest) = buf.split_at_mut(room.min(buf.len()));
        found.push(piece);
        (buf, room) = (rest, PAGE);
    }
    found
}

impl Storage for Sparse {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let mut pages = self.pages.lock().unwrap();
        let mut at = offset;
        for piece in pieces(offset, &mut buf.to_vec()) {
            let (page, into) = (at / PAGE as u64, usize::try_from(at % PAGE as u64).unwrap());
            if pages.contains_key(&page) || *piece != [0; PAGE][..piece.len()] {
                let page = pages.entry(page).or_insert_with(|| Box::new([0; PAGE]));
                page[into..into + piece.len()].copy_from_slice(piece);
            }
            at += piece.len() as u64;
        }
        let mut len = self.len.lock().unwrap();
        *len = at.max(*len);
        Ok(())
    }
    fn set_len(&self, len: u64) -> Result<()> {
        *self.len.lock().unwrap() = len;
        Ok(())
    }
    fn sync(&self) -> Result<()> {
        Ok(())
    }
}

#[test]
fn editing_one_file_in_an_image_of_a_gigabyte_writes_kilobytes() {
    let mut tree = NewTree::new();
    let zeros = |bytes| {
        let source = Sparse::default();
        source.set_len(bytes).unwrap();
        Arc::new(source)
    };
    for number in 0..8 {
        tree.put_file(name(format!("large{number}").as_bytes()), zeros(128 << 20)).unwrap();
    }
    tree.put_file(name(b"small"), Arc::new(BytesSource::new(Bytes::from_static(b"a small file")))).unwrap();
    let storage = Arc::new(Counted::new(Sparse::default()));
    make_image(&*storage, &tree, None, &ImageOptions { size: (1 << 30) + (8 << 20), ..ImageOptions::default() })
        .unwrap();
    assert!(storage.take() >= 1 << 30);
    let fs = TfsVolume::open(Arc::clone(&storage) as Arc<dyn Storage>, &TfsOptions::default(), clock()).unwrap();
    assert_eq!(storage.take(), 0, "opening writes nothing");
    let edits: [(&str, u64, &[u8]); 4] = [
        ("small", 2, b"SMALL"),
        ("small", 100_000, b"behind a hole"),
        ("large3", 70_000_001, b"in the middle"),
        ("large7", 128 << 20, b"at the end"),
    ];
    for (at, offset, bytes) in edits {
        let node = find(&fs, at);
        fs.write_at(node, WriteAt::Offset(offset), bytes).unwrap();
        fs.sync(SyncScope::Node(node)).unwrap();
        let written = storage.take();
        assert!((1..=4096).contains(&written), "{at}: {written} bytes written");
    }
    let image: Arc<dyn Source> = storage;
    assert!(check(&image, &TfsOptions::default()).unwrap().is_sound());
    let (fs, _) = TfsFs::open(image, &TfsOptions::default()).unwrap();
    for (at, offset, bytes) in edits {
        assert_eq!(fs.read_shared(find(&fs, at), offset, bytes.len()).unwrap(), bytes);
    }
}
