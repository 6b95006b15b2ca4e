//! Images in which every byte of the log was changed in turn: whatever that makes of them, they are read, refused with
//! the place of the damage, checked and repaired. The fuzz targets say the same of bytes that nobody thought of.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod tfs_support;

use std::sync::Arc;

use bytes::Bytes;
use mountless::attr::FileType;
use mountless::backend::mem::MemFs;
use mountless::backend::tfs::{
    ImageOptions, KeepOptions, NewTree, NewVolume, TfsFs, TfsOptions, TfsVolume, check, make_image, repair,
};
use mountless::clock::ManualClock;
use mountless::format::tfs::{EXTENSION_SECTORS, Item, LogReader, SECTOR, Uuid};
use mountless::fs::{
    FileSystem, FileSystemExt as _, NewKind, NewNode, NodeId, RenameMode, SyncScope, WritableFileSystem, WriteAt,
    XattrMode,
};
use mountless::source::{BytesSource, MemStorage, Source};
use tfs_support::{Random, all, name, sound};

fn create(fs: &dyn WritableFileSystem, dir: NodeId, at: &str, kind: NewKind<'_>) -> NodeId {
    fs.create(dir, name(at.as_bytes()), &NewNode { kind, mode: 0o644, uid: 0, gid: 0 }).unwrap().node
}

/// A little of everything that a log can say.
fn fill(fs: &dyn WritableFileSystem) {
    let dir = create(fs, fs.root(), "dir", NewKind::Dir);
    for number in 0..3_u8 {
        let file = create(fs, dir, &format!("file-{number}"), NewKind::File);
        fs.write_at(file, WriteAt::Offset(u64::from(number) * 2000), &vec![number; 700]).unwrap();
        fs.set_xattr(file, b"user.number", &[number], XattrMode::Set).unwrap();
    }
    create(fs, dir, "a name that is longer than a few bytes", NewKind::Symlink(b"file-1"));
    create(fs, fs.root(), "socket", NewKind::Socket);
    let file = fs.lookup(dir, name(b"file-1")).unwrap().node;
    fs.link(file, fs.root(), name(b"hard")).unwrap();
}

/// As mkfs writes it: one record with the tree, then where the content is.
fn made() -> Bytes {
    let fs = Arc::new(MemFs::new());
    fill(&*fs);
    let (tree, _) = NewTree::from_fs(&(fs as Arc<dyn FileSystem>), &KeepOptions::default()).unwrap();
    let storage = MemStorage::new();
    make_image(&storage, &tree, None, &ImageOptions::default()).unwrap();
    all(&storage)
}

/// As one that is written to: many small records, and most of them overtaken.
fn changed() -> Bytes {
    let storage = Arc::new(MemStorage::new());
    let new = NewVolume { len: 2 << 20, uuid: Uuid([7; 16]), label: b"label".to_vec() };
    let fs = TfsVolume::make(Arc::clone(&storage) as _, &new, Arc::new(ManualClock::new(5_000_000_000))).unwrap();
    fill(&fs);
    fs.sync(SyncScope::All).unwrap();
    let dir = fs.lookup(fs.root(), name(b"dir")).unwrap().node;
    fs.rename(dir, name(b"file-2"), fs.root(), name(b"moved"), RenameMode::Replace).unwrap();
    fs.unlink(dir, name(b"file-1")).unwrap();
    let moved = fs.lookup(fs.root(), name(b"moved")).unwrap().node;
    fs.write_at(moved, WriteAt::Offset(100), b"again").unwrap();
    fs.sync(SyncScope::All).unwrap();
    all(&*storage)
}

/// Reads all there is; content may be damaged, and then says so.
fn read(fs: &TfsFs, context: &str) {
    let mut pending = vec![fs.root()];
    let mut left = 1000;
    while let Some(dir) = pending.pop() {
        fs.for_each_entry(dir, |entry| {
            let found = fs.lookup(dir, entry.name)?;
            let attr = fs.attr(found.node)?;
            assert_eq!((attr.ino, attr.file_type), (entry.ino, entry.file_type), "{context}");
            left -= 1;
            match attr.file_type {
                FileType::Dir if left > 0 => pending.push(found.node),
                FileType::File => {
                    let mut content = vec![0; usize::try_from(attr.size.min(10_000)).unwrap()];
                    if let Err(error) = fs.read_at(found.node, 0, &mut content) {
                        assert!(error.corrupt().is_some(), "{context}: {error}");
                    }
                }
                _ => {}
            }
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{context}: {error}"));
    }
}

/// What became of one image: read, or refused.
fn examine(image: &Bytes, with_repair: bool, context: &str) -> bool {
    let source: Arc<dyn Source> = Arc::new(BytesSource::new(image.clone()));
    let strict = TfsFs::open(Arc::clone(&source), &TfsOptions::default());
    match &strict {
        Ok((fs, report)) => {
            assert!(report.lost.is_none(), "{context}");
            read(fs, context);
        }
        Err(error) => {
            let damage = error.corrupt().unwrap_or_else(|| panic!("{context}: {error}"));
            assert!(damage.offset() <= image.len() as u64, "{context}: {error}");
        }
    }
    match TfsFs::open(Arc::clone(&source), &TfsOptions { recover: true, ..TfsOptions::default() }) {
        Ok((fs, _)) => read(&fs, context),
        Err(_) => assert!(strict.is_err(), "{context}: what opens strictly can be recovered"),
    }
    if check(&source, &TfsOptions::default()).is_ok_and(|report| report.is_sound()) {
        assert!(strict.is_ok(), "{context}: what is sound opens");
    }
    if with_repair {
        let storage = MemStorage::new();
        if repair(&source, &storage).is_ok() {
            sound(all(&storage), &TfsOptions::default(), context);
        }
    }
    strict.is_ok()
}

fn every_byte(image: &Bytes) {
    let (_, report) = sound(image.clone(), &TfsOptions::default(), "unchanged");
    let log = usize::try_from(report.log_end).unwrap() + 1;
    let first = usize::try_from(report.extensions.last().unwrap().sector).unwrap() * 512;
    let mut random = Random(1);
    let (mut opened, mut refused) = (0, 0);
    for at in (0..48).chain(first..log) {
        for turn in 0..3 {
            let mut bytes = image.to_vec();
            bytes[at] = match turn {
                0 => bytes[at] ^ 1 << random.below(8),
                1 => u8::try_from(random.below(256)).unwrap(),
                _ => bytes[at].wrapping_add(1),
            };
            let context = format!("byte {at}, turn {turn}, {:#04x}", bytes[at]);
            let is_read = examine(&bytes.into(), turn == 0 && at % 4 == 0, &context);
            *(if is_read { &mut opened } else { &mut refused }) += 1;
        }
    }
    // Both are tested: much of a log is names and numbers, which only change what it says.
    assert!(opened > 100 && refused > 100, "{opened} read, {refused} refused");
}

#[test]
fn every_byte_of_an_image_as_mkfs_writes_it() {
    every_byte(&made());
}

#[test]
fn every_byte_of_an_image_that_was_written_to() {
    every_byte(&changed());
}

#[test]
fn an_image_cut_anywhere_in_its_log() {
    for image in [made(), changed()] {
        for len in [0, 511, 512, 513, 600, 1023, 1024, 512 * 1025 - 1, 512 * 1025].into_iter().chain(0..40) {
            examine(&image.slice(..len), true, &format!("{len} bytes"));
        }
    }
}

/// Where each record of a log begins, in bytes of the image.
fn records(image: &[u8]) -> Vec<u64> {
    let mut log = LogReader::new(image.len() as u64 / SECTOR, false);
    let (mut records, mut next) = (Vec::new(), Some(LogReader::FIRST));
    while let Some(link) = next.take() {
        let range = log.range(link);
        let extension = &image[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
        let (_, mut frames) = log.begin(link, extension).unwrap();
        loop {
            match log.next_item(&mut frames).unwrap() {
                Item::Record(record) => records.push(record.offset),
                Item::Segment => {}
                Item::Link(link) => {
                    next = Some(link);
                    break;
                }
                Item::End(_) => break,
            }
        }
    }
    records
}

/// Logs of this length are read by two threads, and new files many at a time.
#[test]
fn a_long_log_that_is_damaged_anywhere_shows_all_files_before() {
    const FILES: usize = 6000;
    let mut tree = NewTree::new();
    for number in 0..FILES {
        let content = Bytes::from(vec![b'x'; 1 + number % 700]);
        // So long that the record with all names begins in one extension and ends in another.
        let name_of = format!("{number:0>120}");
        tree.put_file(name(name_of.as_bytes()), Arc::new(BytesSource::new(content))).unwrap();
    }
    let storage = MemStorage::new();
    make_image(&storage, &tree, None, &ImageOptions::default()).unwrap();
    let image = all(&storage);
    let whole = |fs: &TfsFs| {
        let mut whole = 0;
        let mut number = 0;
        fs.for_each_entry(fs.root(), |entry| {
            let node = fs.lookup(fs.root(), entry.name)?.node;
            whole += usize::from(fs.read_to_vec(node)?.len() == 1 + number % 700);
            number += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(number, FILES);
        whole
    };
    let (fs, report) = sound(image.clone(), &TfsOptions::default(), "unchanged");
    assert_eq!(whole(&fs), FILES);
    let records = records(&image);
    assert_eq!((records.len(), report.records), (1 + 3 * FILES, 1 + 3 * FILES as u64));
    assert!(records[1] - records[0] > EXTENSION_SECTORS * SECTOR);
    let mut random = Random(9);
    let places = (0..30).map(|_| 1 + usize::try_from(random.below(3 * FILES as u64)).unwrap());
    for at in places.chain([1, 2, 3, 4, 7, 46, 47, 48, 49, 50, 51, 52, 3 * FILES]) {
        let mut damaged = image.to_vec();
        let offset = records[at];
        // No frame is of this type.
        damaged[usize::try_from(offset).unwrap()] = 0xee;
        let source: Arc<dyn Source> = Arc::new(BytesSource::new(damaged.into()));
        let error = TfsFs::open(Arc::clone(&source), &TfsOptions::default()).unwrap_err();
        assert_eq!(error.corrupt().unwrap().offset(), offset, "record {at}");
        let options = TfsOptions { recover: true, ..TfsOptions::default() };
        let (fs, report) = TfsFs::open(source, &options).unwrap();
        assert_eq!((whole(&fs), report.records), ((at - 1) / 3, at as u64), "record {at}");
    }
}
