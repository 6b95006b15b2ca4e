//! Power cuts: whatever of the writes since the last sync reaches the medium, and however the last ones are torn, a
//! volume shows the state of a commit, passes the check, and has lost nothing that was synced.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use mountless::attr::SetAttr;
use mountless::backend::tfs::{NewVolume, TfsFs, TfsOptions, TfsVolume, check};
use mountless::clock::ManualClock;
use mountless::error::Result;
use mountless::format::tfs::Uuid;
use mountless::fs::{
    Allocate, FileSystem, FileSystemExt, NewKind, NewNode, NodeId, RenameMode, SyncScope, WritableFileSystem, WriteAt,
};
use mountless::name::Name;
use mountless::source::{BytesSource, MemStorage, Source, Storage};

/// What a storage was told to do.
#[derive(Clone, Debug)]
enum Event {
    Write(u64, Vec<u8>),
    Sync,
}

/// A storage in memory that remembers all it was told.
#[derive(Debug)]
struct Recorded {
    now: MemStorage,
    events: Mutex<Vec<Event>>,
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
        self.now.set_len(len)
    }
    fn sync(&self) -> Result<()> {
        self.events.lock().unwrap().push(Event::Sync);
        Ok(())
    }
}

/// Repeatable random numbers (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// Everything that is seen of a tree.
type Seen = BTreeMap<Vec<u8>, String>;

fn seen(fs: &dyn FileSystem) -> Seen {
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
                what += &format!(" links={}", attr.nlink);
            }
            if let Ok(content) = fs.read_to_vec(node) {
                what += &format!(" {} bytes {:x}", content.len(), checksum(&content));
            }
            if let Ok(target) = fs.read_link(node) {
                what += &format!(" -> {target:?}");
            }
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

fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

const LEN: u64 = 3 << 20;

fn volume() -> (Arc<Recorded>, TfsVolume) {
    let storage = Arc::new(Recorded { now: MemStorage::new(), events: Mutex::default() });
    let new = NewVolume { len: LEN, uuid: Uuid([7; 16]), label: b"crash".to_vec() };
    let clock = Arc::new(ManualClock::new(1_700_000_000_000_000_000));
    let volume = TfsVolume::make(Arc::clone(&storage) as Arc<dyn Storage>, &new, clock).unwrap();
    (storage, volume)
}

fn name(bytes: &[u8]) -> Name<'_> {
    Name::new(bytes).unwrap()
}

/// Does something somewhere; what cannot be done is as good as anything.
fn operate(fs: &TfsVolume, random: &mut Random) {
    let dirs = dirs(fs);
    let dir = dirs[usize::try_from(random.below(dirs.len() as u64)).unwrap()];
    let other = dirs[usize::try_from(random.below(dirs.len() as u64)).unwrap()];
    let names = [&b"a"[..], b"b", b"c", b"d", b"a rather long name to fill the log with"];
    let from = name(names[usize::try_from(random.below(5)).unwrap()]);
    let to = name(names[usize::try_from(random.below(5)).unwrap()]);
    let content = vec![u8::try_from(random.below(255)).unwrap() + 1; usize::try_from(random.below(9000)).unwrap()];
    let at = random.below(12_000);
    let new = |kind| NewNode { kind, mode: 0o640, uid: 0, gid: 5 };
    let found = fs.lookup(dir, from).ok();
    let node = found.map_or(fs.root(), |entry| entry.node);
    let _ = match random.below(20) {
        0..4 => fs.create(dir, from, &new(NewKind::File)).map(|entry| fs.forget(entry.node, 1)),
        4 => fs.create(dir, from, &new(NewKind::Dir)).map(|entry| fs.forget(entry.node, 1)),
        5 => fs.create(dir, from, &new(NewKind::Symlink(b"some/target"))).map(|entry| fs.forget(entry.node, 1)),
        6..10 => fs.write_at(node, WriteAt::Offset(at), &content).map(drop),
        10 => fs.write_at(node, WriteAt::End, &content).map(drop),
        11 => fs.set_attr(node, &SetAttr { size: Some(at), ..SetAttr::default() }).map(drop),
        12 => fs.set_attr(node, &SetAttr { mode: Some(0o700), ..SetAttr::default() }).map(drop),
        13 => fs.allocate(node, Allocate::PunchHole, at..at + 3000),
        14 => fs.allocate(node, Allocate::Extend, at..at + 3000),
        15 => fs.unlink(dir, from),
        16 => fs.remove_dir(dir, from),
        17 => fs.rename(dir, from, other, to, RenameMode::Replace),
        18 => fs.rename(dir, from, other, to, RenameMode::Exchange),
        _ => fs.link(node, other, to),
    };
    if let Some(entry) = found {
        fs.forget(entry.node, 1);
    }
}

fn dirs(fs: &TfsVolume) -> Vec<NodeId> {
    let mut dirs = vec![fs.root()];
    let mut at = 0;
    while at < dirs.len() {
        let mut below = Vec::new();
        fs.for_each_entry(dirs[at], |entry| {
            if entry.file_type.is_dir() {
                below.push(NodeId::new(entry.ino));
            }
            Ok(())
        })
        .unwrap();
        dirs.extend(below);
        at += 1;
    }
    dirs
}

/// Opens what is on the medium, checks it, and says what is seen.
fn reopened(medium: Vec<u8>, context: &str) -> Seen {
    let image: Arc<dyn Source> = Arc::new(BytesSource::new(medium.into()));
    let report = check(&image, &TfsOptions::default()).unwrap();
    // A full volume has no reserve; that is no damage.
    assert!(report.is_sound(), "{context}: {:?}", report.faults);
    let (fs, report) = TfsFs::open(image, &TfsOptions::default()).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert!(report.faults.is_empty(), "{context}");
    seen(&fs)
}

/// Runs random operations with syncs, then cuts the power at every write.
fn cut_everywhere(seed: u64, operations: usize, compactions: bool) -> usize {
    let (storage, fs) = volume();
    let mut random = Random(seed);
    // The states of all commits: after how many events each is durable, and what is seen then.
    let mut states = vec![(storage.events.lock().unwrap().len(), seen(&fs))];
    for at in 0..operations {
        let before = seen(&fs);
        let events = storage.events.lock().unwrap().len();
        operate(&fs, &mut random);
        let after = storage.events.lock().unwrap().clone();
        let committed = after.get(events..).unwrap().iter().any(|event| matches!(event, Event::Sync));
        if committed {
            // It needed sectors or room in the log, and so committed what was before, or a part of itself.
            states.push((after.len(), before));
            states.push((after.len(), seen(&fs)));
        }
        if random.below(4) == 0 {
            fs.sync(SyncScope::All).unwrap();
            states.push((storage.events.lock().unwrap().len(), seen(&fs)));
        }
        if compactions && at % 25 == 24 {
            let _ = fs.compact();
            states.push((storage.events.lock().unwrap().len(), seen(&fs)));
        }
    }
    let events = storage.events.lock().unwrap().clone();
    let first = states[0].0;
    let mut cuts = 0;
    // What is durable at the last sync, and what was written since.
    let mut durable = vec![0; usize::try_from(LEN).unwrap()];
    let mut since: Vec<(u64, Vec<u8>)> = Vec::new();
    for (at, event) in events.iter().enumerate() {
        match event {
            Event::Sync => {
                for (offset, bytes) in since.drain(..) {
                    put(&mut durable, offset, &bytes);
                }
            }
            Event::Write(offset, bytes) => since.push((*offset, bytes.clone())),
        }
        if at < first {
            continue;
        }
        let oldest = states.iter().rposition(|(events, _)| *events <= at + 1).unwrap();
        let newest = states.iter().position(|(events, _)| *events > at + 1).map_or(states.len() - 1, |at| at + 1);
        let allowed = &states[oldest..=newest.min(states.len() - 1)];
        for variant in 0..4 {
            let mut medium = durable.clone();
            for (index, (offset, bytes)) in since.iter().enumerate() {
                let is_last = index + 1 == since.len();
                match variant {
                    // Everything arrives.
                    0 => put(&mut medium, *offset, bytes),
                    // Any part of the sectors arrives.
                    1 | 2 => put_some(&mut medium, *offset, bytes, &mut random),
                    // All before, and the last one up to any byte.
                    _ if is_last => {
                        // Sector 0 is replaced as a whole: it is the one place where a sector must be atomic.
                        let len = if *offset == 0 { 0 } else { random.below(bytes.len() as u64 + 1) };
                        put(&mut medium, *offset, &bytes[..usize::try_from(len).unwrap()]);
                    }
                    _ => put(&mut medium, *offset, bytes),
                }
            }
            let context = format!("seed {seed}, event {at}, variant {variant}");
            let found = reopened(medium, &context);
            cuts += 1;
            assert!(
                allowed.iter().any(|(_, state)| *state == found),
                "{context}: what is found is none of {} states\nfound {found:#?}\nlast synced {:#?}",
                allowed.len(),
                allowed[0].1
            );
        }
    }
    cuts
}

fn put(medium: &mut [u8], offset: u64, bytes: &[u8]) {
    let offset = usize::try_from(offset).unwrap();
    medium[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// Each sector arrives or does not.
fn put_some(medium: &mut [u8], offset: u64, bytes: &[u8], random: &mut Random) {
    let mut at = 0;
    while at < bytes.len() {
        let start = offset + at as u64;
        let count = usize::try_from(512 - start % 512).unwrap().min(bytes.len() - at);
        if random.below(2) == 0 {
            put(medium, start, &bytes[at..at + count]);
        }
        at += count;
    }
}

#[test]
fn every_cut_leaves_the_state_of_a_commit() {
    let mut cuts = 0;
    for seed in 0..8 {
        cuts += cut_everywhere(seed, 80, false);
    }
    println!("{cuts} cuts");
    assert!(cuts > 2000, "{cuts}");
}

#[test]
fn every_cut_of_a_compaction_leaves_the_state_of_a_commit() {
    let mut cuts = 0;
    for seed in 100..104 {
        cuts += cut_everywhere(seed, 80, true);
    }
    assert!(cuts > 1000, "{cuts}");
}
