#![no_main]

use std::ops::Range;
use std::sync::{Arc, Mutex};

use arbitrary::Arbitrary;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mountless::attr::SetAttr;
use mountless::backend::mem::MemOptions;
use mountless::backend::tfs::{NewVolume, TfsFs, TfsOptions, TfsVolume, check};
use mountless::clock::ManualClock;
use mountless::error::Result;
use mountless::format::tfs::Uuid;
use mountless::fs::{
    Allocate, FileSystem, FileSystemExt, NewKind, NewNode, NodeId, RenameMode, SyncScope, WriteAt, XattrMode,
};
use mountless::name::Name;
use mountless::source::{BytesSource, MemStorage, Source, Storage};
use mountless_fuzz::seen;

#[derive(Debug, Arbitrary)]
enum Operation {
    File(Place),
    Dir(Place),
    Symlink(Place, u8),
    Write(Place, u16, u16, u8),
    Append(Place, u16, u8),
    Resize(Place, u16),
    Mode(Place, u16),
    Punch(Place, u16, u16),
    Extend(Place, u16, u16),
    Keep(Place, u16, u16),
    Xattr(Place, u8),
    Unlink(Place),
    RemoveDir(Place),
    Rename(Place, Place),
    Exchange(Place, Place),
    Link(Place, Place),
    Sync,
    Compact,
}

/// An entry of the root, or of one of its directories.
#[derive(Clone, Copy, Debug, Arbitrary)]
struct Place {
    dir: u8,
    name: u8,
}

const NAMES: [&[u8]; 5] = [b"a", b"b", b"c", b"d", b"e"];

impl Place {
    fn dir(self, fs: &dyn FileSystem) -> NodeId {
        let name = NAMES.get(usize::from(self.dir % 8)).map(|name| Name::new(name).expect("it is one"));
        let found = name.and_then(|name| fs.lookup(fs.root(), name).ok()).filter(|entry| entry.file_type.is_dir());
        found.map_or(fs.root(), |entry| entry.node)
    }

    fn name(self) -> Name<'static> {
        Name::new(NAMES[usize::from(self.name % 5)]).expect("it is one")
    }

    fn node(self, fs: &dyn FileSystem) -> Result<NodeId> {
        fs.lookup(self.dir(fs), self.name()).map(|entry| entry.node)
    }
}

fn run(fs: &dyn FileSystem, operation: &Operation) -> Result<String> {
    let it = fs.writable()?;
    let new = |kind| NewNode { kind, mode: 0o640, uid: 1, gid: 2 };
    let range = |from: u16, len: u16| u64::from(from)..u64::from(from) + u64::from(len) + 1;
    Ok(match operation {
        Operation::File(at) => format!("{:?}", it.create(at.dir(fs), at.name(), &new(NewKind::File))?.file_type),
        Operation::Dir(at) => format!("{:?}", it.create(at.dir(fs), at.name(), &new(NewKind::Dir))?.file_type),
        Operation::Symlink(at, target) => {
            format!("{:?}", it.create(at.dir(fs), at.name(), &new(NewKind::Symlink(&[*target | 1])))?.file_type)
        }
        Operation::Write(at, offset, len, byte) => {
            format!(
                "{:?}",
                it.write_at(at.node(fs)?, WriteAt::Offset((*offset).into()), &vec![*byte; (len % 5000).into()])?
            )
        }
        Operation::Append(at, len, byte) => {
            format!("{:?}", it.write_at(at.node(fs)?, WriteAt::End, &vec![*byte; (len % 5000).into()])?)
        }
        Operation::Resize(at, size) => {
            let changes = SetAttr { size: Some((*size).into()), ..SetAttr::default() };
            format!("{}", it.set_attr(at.node(fs)?, &changes)?.size)
        }
        Operation::Mode(at, mode) => {
            let changes = SetAttr { mode: Some(mode & 0o7777), ..SetAttr::default() };
            format!("{}", it.set_attr(at.node(fs)?, &changes)?.mode)
        }
        Operation::Punch(at, from, len) => {
            format!("{:?}", it.allocate(at.node(fs)?, Allocate::PunchHole, range(*from, *len))?)
        }
        Operation::Extend(at, from, len) => {
            format!("{:?}", it.allocate(at.node(fs)?, Allocate::Extend, range(*from, *len))?)
        }
        Operation::Keep(at, from, len) => {
            format!("{:?}", it.allocate(at.node(fs)?, Allocate::KeepSize, range(*from, *len))?)
        }
        Operation::Xattr(at, byte) => {
            format!("{:?}", it.set_xattr(at.node(fs)?, b"user.x", &[*byte], XattrMode::Set)?)
        }
        Operation::Unlink(at) => format!("{:?}", it.unlink(at.dir(fs), at.name())?),
        Operation::RemoveDir(at) => format!("{:?}", it.remove_dir(at.dir(fs), at.name())?),
        Operation::Rename(from, to) => {
            format!("{:?}", it.rename(from.dir(fs), from.name(), to.dir(fs), to.name(), RenameMode::Replace)?)
        }
        Operation::Exchange(from, to) => {
            format!("{:?}", it.rename(from.dir(fs), from.name(), to.dir(fs), to.name(), RenameMode::Exchange)?)
        }
        Operation::Link(from, to) => format!("{:?}", it.link(from.node(fs)?, to.dir(fs), to.name())?),
        Operation::Sync | Operation::Compact => format!("{:?}", it.sync(SyncScope::All)?),
    })
}

/// A storage in memory that remembers what was written, and when it was synced.
#[derive(Debug, Default)]
struct Recorded {
    now: MemStorage,
    events: Mutex<Vec<Option<(u64, Vec<u8>)>>>,
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
    fn release(&self, _range: Range<u64>) {}
}

impl Storage for Recorded {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.events.lock().expect("one thread").push(Some((offset, buf.to_vec())));
        self.now.write_at(offset, buf)
    }
    fn set_len(&self, len: u64) -> Result<()> {
        self.now.set_len(len)
    }
    fn sync(&self) -> Result<()> {
        self.events.lock().expect("one thread").push(None);
        Ok(())
    }
}

const LEN: u64 = 4 << 20;

/// What is on the medium when the power is cut at event `at`: what was synced, and any part of the sectors written
/// since.
fn medium(events: &[Option<(u64, Vec<u8>)>], at: usize, mut pattern: u64) -> Vec<u8> {
    let mut medium = vec![0; usize::try_from(LEN).expect("small")];
    let events = &events[..at];
    let synced = events.iter().rposition(Option::is_none).unwrap_or(0);
    for (index, (offset, bytes)) in
        events.iter().enumerate().filter_map(|(index, event)| Some((index, event.as_ref()?)))
    {
        let mut done = 0;
        while done < bytes.len() {
            let start = usize::try_from(*offset).expect("small") + done;
            let count = (512 - start % 512).min(bytes.len() - done);
            pattern = pattern.rotate_left(7).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            if index < synced || pattern >> 63 == 0 {
                medium[start..start + count].copy_from_slice(&bytes[done..done + count]);
            }
            done += count;
        }
    }
    medium
}

fuzz_target!(|input: (u16, u64, Vec<Operation>)| {
    let (cut, pattern, operations) = input;
    let storage = Arc::new(Recorded::default());
    let clock = Arc::new(ManualClock::new(1_700_000_000_000_000_000));
    let new = NewVolume { len: LEN, uuid: Uuid([7; 16]), label: Vec::new() };
    let fs = TfsVolume::make(Arc::clone(&storage) as Arc<dyn Storage>, &new, Arc::clone(&clock) as _).expect("it fits");
    let model = MemOptions::new().clock(clock).build();
    let count = || storage.events.lock().expect("one thread").len();
    // What is seen after each operation, and how many writes and syncs that took; and the last that was synced then.
    let mut states = vec![(count(), seen(&fs), 0)];
    let mut synced = 0;
    for operation in operations.iter().take(48) {
        let (ours, expected) = (run(&fs, operation), run(&model, operation));
        let (ours, expected) = (ours.map_err(|error| error.errno()), expected.map_err(|error| error.errno()));
        assert_eq!(ours, expected, "{operation:?}");
        if let Operation::Compact = operation {
            fs.compact().expect("there is room");
        }
        let state = seen(&fs);
        if let Operation::Sync | Operation::Compact = operation {
            synced = states.len();
        }
        states.push((count(), state, synced));
    }
    assert_eq!(states.last().map(|(_, state, _)| state), Some(&seen(&model)));
    let events = storage.events.lock().expect("one thread").clone();
    let first = states[0].0;
    let at = first + usize::from(cut) % (events.len() - first + 1);
    let image: Arc<dyn Source> = Arc::new(BytesSource::new(medium(&events, at, pattern).into()));
    let report = check(&image, &TfsOptions::default()).expect("memory can be read");
    assert!(report.is_sound(), "{:?}", report.faults);
    let (read, _) = TfsFs::open(image, &TfsOptions::default()).expect("a cut leaves a volume");
    let found = seen(&read);
    // Nothing that was synced before the cut is lost.
    let oldest = states.iter().rev().find(|(count, ..)| *count <= at).map_or(0, |(_, _, synced)| *synced);
    assert!(states[oldest..].iter().any(|(_, state, _)| *state == found), "cut at {at} of {}", events.len());
});
