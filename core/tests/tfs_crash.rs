//! Power cuts: whatever of the writes since the last sync reaches the medium, and however the last ones are torn, a
//! volume shows the state of a commit, passes the check, and has lost nothing that was synced.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod tfs_support;

use std::sync::Arc;

use mountless::attr::SetAttr;
use mountless::backend::tfs::{NewVolume, TfsOptions, TfsVolume};
use mountless::clock::ManualClock;
use mountless::format::tfs::Uuid;
use mountless::fs::{
    Allocate, FileSystem, FileSystemExt, NewKind, NewNode, NodeId, RenameMode, SyncScope, WritableFileSystem, WriteAt,
};
use mountless::source::Storage;
use tfs_support::{Event, Random, Recorded, cut_power, name, seen, sound};

const LEN: u64 = 3 << 20;

fn volume() -> (Arc<Recorded>, TfsVolume) {
    let storage = Arc::new(Recorded::default());
    let new = NewVolume { len: LEN, uuid: Uuid([7; 16]), label: b"crash".to_vec() };
    let clock = Arc::new(ManualClock::new(1_700_000_000_000_000_000));
    let volume = TfsVolume::make(Arc::clone(&storage) as Arc<dyn Storage>, &new, clock).unwrap();
    (storage, volume)
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
    let mut cuts = 0;
    cut_power(&events, states[0].0, &mut random, |medium, at, cut| {
        let oldest = states.iter().rposition(|(events, _)| *events <= at + 1).unwrap();
        let newest = states.iter().position(|(events, _)| *events > at + 1).map_or(states.len() - 1, |at| at + 1);
        let allowed = &states[oldest..=newest.min(states.len() - 1)];
        let context = format!("seed {seed}, event {at}, {cut:?}");
        // A full volume has no reserve; that is no damage.
        let found = seen(&sound(medium.into(), &TfsOptions::default(), &context).0);
        cuts += 1;
        assert!(
            allowed.iter().any(|(_, state)| *state == found),
            "{context}: what is found is none of {} states\nfound {found:#?}\nlast synced {:#?}",
            allowed.len(),
            allowed[0].1
        );
    });
    cuts
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
