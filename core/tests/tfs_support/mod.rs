//! What the tests of TFS share: the samples, storages that remember or count, and what is seen of a tree.
#![allow(dead_code, reason = "every test uses a part of it")]

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use mountless::backend::tfs::{TfsFs, TfsOptions, TfsReport, check};
use mountless::error::Result;
use mountless::format::tfs::{FrameWriter, RecordWriter, Volume, extension_start};
use mountless::fs::{FileSystem, FileSystemExt};
use mountless::name::Name;
use mountless::source::{BytesSource, MemStorage, Source, Storage};

/// The folder of sample images, or `None`, said aloud, where there is none.
pub(crate) fn samples() -> Option<PathBuf> {
    let shared = std::env::var_os("MOUNTLESS_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let folder = shared.join("images/tfs");
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "no sample images in {}", folder.display());
    eprintln!("NOT TESTED: no sample images in {}; set MOUNTLESS_SHARED", folder.display());
    None
}

/// Calls `test` with each sample: its name, its JSON and its image.
pub(crate) fn each_sample(mut test: impl FnMut(&str, &serde_json::Value, Bytes)) {
    let Some(folder) = samples() else { return };
    let names = std::fs::read_dir(&folder).unwrap();
    let mut names: Vec<_> = names
        .filter_map(|entry| Some(entry.unwrap().file_name().to_str()?.strip_suffix(".json")?.to_owned()))
        .collect();
    names.sort();
    assert!(names.len() >= 50, "{} samples", names.len());
    for name in names {
        let json = serde_json::from_slice(&std::fs::read(folder.join(format!("{name}.json"))).unwrap()).unwrap();
        let image = zstd::decode_all(&*std::fs::read(folder.join(format!("{name}.img.zst"))).unwrap()).unwrap();
        test(&name, &json, image.into());
    }
}

/// What a storage was told to do.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

/// A storage in memory that remembers all it was told.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    now: MemStorage,
    pub(crate) events: Mutex<Vec<Event>>,
}

impl Source for Recorded {
    fn len(&self) -> u64 {
        self.now.len()
    }
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.now.read_exact_at(offset, buf)
    }
    fn bytes_at(&self, range: Range<u64>) -> Result<Bytes> {
        self.now.bytes_at(range)
    }
    fn release(&self, range: Range<u64>) {
        self.now.release(range);
    }
}

impl Storage for Recorded {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.events.lock().unwrap().push(Event::Write(offset, buf.to_vec()));
        self.now.write_at(offset, buf)
    }
    fn set_len(&self, len: u64) -> Result<()> {
        self.events.lock().unwrap().push(Event::SetLen(len));
        self.now.set_len(len)
    }
    fn sync(&self) -> Result<()> {
        self.events.lock().unwrap().push(Event::Sync);
        Ok(())
    }
}

/// How the writes since the last sync arrive on the medium.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cut {
    /// All of them.
    All,
    /// Any part of their sectors.
    AnySectors,
    /// All before the last one, and that one up to any byte.
    TornLast,
}

/// Calls `test` with what may be on the medium when the power is cut at each write behind the first `from` events, and
/// the number of the event.
pub(crate) fn cut_power(events: &[Event], from: usize, random: &mut Random, mut test: impl FnMut(Vec<u8>, usize, Cut)) {
    let mut durable = Vec::new();
    let mut since: Vec<&Event> = Vec::new();
    for (at, event) in events.iter().enumerate() {
        if let Event::Sync = event {
            since.drain(..).for_each(|event| put(&mut durable, event));
        } else {
            since.push(event);
        }
        if at < from {
            continue;
        }
        for cut in [Cut::All, Cut::AnySectors, Cut::AnySectors, Cut::TornLast] {
            let mut medium = durable.clone();
            for (index, event) in since.iter().enumerate() {
                match (event, cut) {
                    (Event::Write(offset, bytes), Cut::AnySectors) => put_some(&mut medium, *offset, bytes, random),
                    (Event::Write(offset, bytes), Cut::TornLast) if index + 1 == since.len() => {
                        // Sector 0 is replaced as a whole: it is the one place where a sector must be atomic.
                        let len = if *offset == 0 { 0 } else { random.below(bytes.len() as u64 + 1) };
                        put(&mut medium, &Event::Write(*offset, bytes[..usize::try_from(len).unwrap()].to_vec()));
                    }
                    (event, _) => put(&mut medium, event),
                }
            }
            test(medium, at, cut);
        }
    }
}

fn put(medium: &mut Vec<u8>, event: &Event) {
    match event {
        Event::Write(offset, bytes) => {
            let offset = usize::try_from(*offset).unwrap();
            let end = offset + bytes.len();
            if medium.len() < end {
                medium.resize(end, 0);
            }
            medium[offset..end].copy_from_slice(bytes);
        }
        Event::SetLen(len) => medium.resize(usize::try_from(*len).unwrap(), 0),
        Event::Sync => {}
    }
}

/// Each sector arrives or does not.
fn put_some(medium: &mut Vec<u8>, offset: u64, bytes: &[u8], random: &mut Random) {
    let mut at = 0;
    while at < bytes.len() {
        let start = offset + at as u64;
        let count = usize::try_from(512 - start % 512).unwrap().min(bytes.len() - at);
        if random.below(2) == 0 {
            put(medium, &Event::Write(start, bytes[at..at + count].to_vec()));
        }
        at += count;
    }
}

/// Counts what is written to a storage.
#[derive(Debug)]
pub(crate) struct Counted<S> {
    pub(crate) inner: S,
    written: AtomicU64,
}

impl<S> Counted<S> {
    pub(crate) const fn new(inner: S) -> Self {
        Self { inner, written: AtomicU64::new(0) }
    }

    /// Bytes written since the last call.
    pub(crate) fn take(&self) -> u64 {
        self.written.swap(0, Ordering::Relaxed)
    }
}

impl<S: Storage> Source for Counted<S> {
    fn len(&self) -> u64 {
        self.inner.len()
    }
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.inner.read_exact_at(offset, buf)
    }
    fn bytes_at(&self, range: Range<u64>) -> Result<Bytes> {
        self.inner.bytes_at(range)
    }
    fn release(&self, _range: Range<u64>) {}
}

impl<S: Storage> Storage for Counted<S> {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.written.fetch_add(buf.len() as u64, Ordering::Relaxed);
        self.inner.write_at(offset, buf)
    }
    fn set_len(&self, len: u64) -> Result<()> {
        self.inner.set_len(len)
    }
    fn sync(&self) -> Result<()> {
        self.inner.sync()
    }
}

/// Repeatable random numbers (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) const fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

pub(crate) fn name(bytes: &[u8]) -> Name<'_> {
    Name::new(bytes).unwrap()
}

/// Everything that is seen of a tree, by path.
pub(crate) type Seen = BTreeMap<String, String>;

pub(crate) fn seen(fs: &dyn FileSystem) -> Seen {
    let mut found = Seen::new();
    let mut pending = vec![(Vec::new(), fs.root())];
    while let Some((path, dir)) = pending.pop() {
        fs.for_each_entry(dir, |entry| {
            let node = fs.lookup(dir, entry.name)?.node;
            let attr = fs.attr(node)?;
            let below = [&path[..], b"/", entry.name.as_bytes()].concat();
            let mut what = format!("{:?} {:o} {}:{} {:?}", attr.file_type, attr.mode, attr.uid, attr.gid, attr.mtime);
            if attr.file_type.is_dir() {
                pending.push((below.clone(), node));
            } else {
                what += &format!(" links={} {:?}", attr.nlink, attr.rdev);
            }
            if let Ok(content) = fs.read_to_vec(node) {
                what += &format!(" {} bytes {:x}", content.len(), checksum(&content));
            }
            if let Ok(target) = fs.read_link(node) {
                what += &format!(" -> {target:?}");
            }
            if attr.opaque {
                what += " opaque";
            }
            for name in fs.xattr_names(node)? {
                what += &format!(" {name:?}={:?}", fs.xattr(node, &name)?);
            }
            fs.forget(node, 1);
            found.insert(below.escape_ascii().to_string(), what);
            Ok(())
        })
        .unwrap();
    }
    found
}

pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Opens an image in which nothing is wrong.
pub(crate) fn sound(image: Bytes, options: &TfsOptions, context: &str) -> (TfsFs, TfsReport) {
    let image: Arc<dyn Source> = Arc::new(BytesSource::new(image));
    let report = check(&image, options).unwrap();
    assert!(report.is_sound(), "{context}: {:?}", report.faults);
    let (fs, report) = TfsFs::open(image, options).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert!(report.faults.is_empty() && report.lost.is_none(), "{context}: {report:?}");
    (fs, report)
}

/// A file system of one sector, whose log is one record.
pub(crate) fn of_record(record: &RecordWriter) -> Bytes {
    let mut frames = FrameWriter::new(extension_start(1, Some(&Volume::default())), 512);
    assert_eq!(frames.record(record.bytes(), 0), record.bytes().len());
    let mut image = frames.end();
    image.resize(512, 0);
    image.into()
}

/// All that is in a storage.
pub(crate) fn all(storage: &dyn Storage) -> Bytes {
    storage.bytes_at(0..storage.len()).unwrap()
}
