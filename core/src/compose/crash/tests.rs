use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Durability, Fate, Loss, Promises, Recorder, Recording, Replay};
use crate::attr::SetAttr;
use crate::backend::mem::MemFs;
use crate::compose::Overlay;
use crate::error::Result;
use crate::fs::FileSystem;
use crate::namespace::{Follow, Namespace, OpenHow};
use crate::transfer::diff::diff;

fn image() -> Arc<dyn FileSystem> {
    let fs: Arc<dyn FileSystem> = Arc::new(MemFs::new());
    let ns = Namespace::new(Arc::clone(&fs));
    for (path, content) in [("/conf", "old\n"), ("/d/one", "one"), ("/d/deep/two", "two"), ("/log", "")] {
        ns.create_dir_all(path.rsplit_once('/').unwrap().0).unwrap();
        ns.write(path, content).unwrap();
    }
    ns.hard_link("/d/one", "/linked").unwrap();
    fs
}

fn view(image: &Arc<dyn FileSystem>) -> Arc<dyn FileSystem> {
    Arc::new(Overlay::with_upper(vec![Arc::clone(image)], Arc::new(MemFs::new())).unwrap())
}

/// What `work` does to the image, and the tree that it leaves.
fn recorded(
    image: &Arc<dyn FileSystem>,
    work: impl FnOnce(&Namespace) -> Result<()>,
) -> (Recording, Arc<dyn FileSystem>) {
    let after = view(image);
    let recorder = Arc::new(Recorder::new(Arc::clone(&after), || 7));
    work(&Namespace::new(Arc::clone(&recorder) as Arc<dyn FileSystem>)).unwrap();
    let recording = recorder.take();
    assert!(!recording.is_cut_off() && recording.steps().iter().all(|step| step.mark == 7));
    (recording, after)
}

/// A view of the image after the first `count` steps, with these losses.
fn replayed(image: &Arc<dyn FileSystem>, recording: &Recording, count: usize, losses: &[Loss]) -> Arc<dyn FileSystem> {
    let mut replay = Replay::new(recording, view(image));
    for step in 0..count {
        let fate = losses.iter().find(|loss| loss.step == step).map_or(Fate::Kept, |loss| loss.fate);
        replay.apply(step, fate).unwrap();
    }
    Arc::clone(replay.fs())
}

fn differences(one: &Arc<dyn FileSystem>, other: &Arc<dyn FileSystem>) -> Vec<String> {
    let mut paths = Vec::new();
    diff(one, other, |change| {
        paths.push(String::from_utf8(change.path).unwrap());
        Ok(())
    })
    .unwrap();
    paths
}

fn sync(ns: &Namespace, path: &str) -> Result<()> {
    ns.open(path, &OpenHow { write: !ns.metadata(path)?.file_type.is_dir(), ..OpenHow::READ })?.sync(false)
}

/// All that `/conf` may hold after a cut anywhere.
fn contents(promises: Promises, work: impl FnOnce(&Namespace) -> Result<()>) -> BTreeSet<Option<String>> {
    let image = image();
    let (recording, _) = recorded(&image, work);
    let mut durability = Durability::new(&recording, promises);
    let mut contents = BTreeSet::new();
    loop {
        for losses in durability.outcomes(20, 1) {
            let ns = Namespace::new(replayed(&image, &recording, durability.at(), &losses));
            contents.insert(ns.read_to_string("/conf").ok());
        }
        if !durability.advance() {
            return contents;
        }
    }
}

fn set(contents: &[Option<&str>]) -> BTreeSet<Option<String>> {
    contents.iter().map(|content| content.map(String::from)).collect()
}

#[test]
fn what_was_recorded_can_be_done_again() {
    let image = image();
    let (recording, after) = recorded(&image, |ns| {
        ns.rename("/d", "/e")?;
        ns.write("/e/deep/two", "changed below a directory that was moved")?;
        ns.write("/linked", "changed by its other name")?;
        let mut open = ns.open("/e/three", &OpenHow::WRITE)?;
        open.write(b"abc")?;
        ns.remove_file("/e/three")?;
        open.write(b"nobody sees this")?;
        ns.create_dir_all("/f/g")?;
        ns.symlink("../conf", "/f/link")?;
        ns.hard_link("/conf", "/f/conf")?;
        ns.remove_file("/conf")?;
        ns.write("/conf", "another one")?;
        ns.rename("/conf", "/f/conf")?;
        ns.open("/log", &OpenHow { write: true, append: true, ..OpenHow::READ })?.write(b"line\n")?;
        ns.open("/log", &OpenHow { write: true, append: true, ..OpenHow::READ })?.write(b"line\n")?;
        ns.open("/f/sparse", &OpenHow::WRITE)?.write_at(100_000, b"end")?;
        ns.set_attr("/f/g", Follow::Yes, &SetAttr { mode: Some(0o700), ..SetAttr::default() })?;
        ns.remove_dir_all("/e/deep")?;
        drop(open);
        sync(ns, "/log")
    });
    let again = replayed(&image, &recording, recording.steps().len(), &[]);
    assert_eq!(differences(&after, &again), [""; 0]);
    assert!(!differences(&image, &again).is_empty());

    // The same in two parts, the second one on a view of what the first one left.
    let half = recording.steps().len() / 2;
    let mut first = Replay::new(&recording, view(&image));
    (0..half).for_each(|step| first.apply(step, Fate::Kept).unwrap());
    let mut second = first.fork(view(first.fs()));
    (half..recording.steps().len()).for_each(|step| second.apply(step, Fate::Kept).unwrap());
    assert_eq!(differences(&after, second.fs()), [""; 0]);

    let words: Vec<String> = (0..4).map(|step| recording.describe(step)).collect();
    assert_eq!(
        words,
        ["rename /d to /e", "truncate /e/deep/two to 0", "write /e/deep/two 0..40", "truncate /linked to 0"]
    );
}

#[test]
fn a_file_replaced_without_a_sync_may_be_empty() {
    let unsynced = |ns: &Namespace| {
        ns.write("/conf.new", "new\n")?;
        ns.rename("/conf.new", "/conf")
    };
    let synced = |ns: &Namespace| {
        ns.write("/conf.new", "new\n")?;
        sync(ns, "/conf.new")?;
        ns.rename("/conf.new", "/conf")
    };
    for promises in [Promises::Posix, Promises::Journal] {
        let expected = set(&[Some("\0\0\0\0"), Some(""), Some("new\n"), Some("old\n")]);
        assert_eq!(contents(promises, unsynced), expected, "{promises:?}");
        assert_eq!(contents(promises, synced), set(&[Some("new\n"), Some("old\n")]), "{promises:?}");
    }
}

#[test]
fn a_file_written_in_place_may_hold_anything_between() {
    let found = contents(Promises::Posix, |ns| ns.write("/conf", "new\n"));
    assert!(found.is_superset(&set(&[Some("old\n"), Some(""), Some("new\n")])), "{found:?}");
}

#[test]
fn the_promises_differ_in_names() {
    // The file is synced, its directory is not.
    let moved = |ns: &Namespace| {
        ns.remove_file("/conf")?;
        ns.write("/conf", "new\n")?;
        sync(ns, "/conf")?;
        ns.write("/other", "")
    };
    assert!(contents(Promises::Posix, moved).contains(&Some("old\n".into())));
    let image = image();
    let (recording, _) = recorded(&image, moved);
    for (promises, pending) in [(Promises::Posix, 2), (Promises::Journal, 0)] {
        let mut durability = Durability::new(&recording, promises);
        while durability.advance() && !recording.describe(durability.at() - 1).starts_with("sync") {}
        assert_eq!(durability.pending().len(), pending, "{promises:?}");
        assert_eq!(durability.outcomes(0, 0).len() > 1, pending > 0);
    }
    // With the directory synced there is nothing to lose.
    let (recording, _) = recorded(&image, |ns| {
        ns.write("/d/new", "new\n")?;
        sync(ns, "/d/new")?;
        sync(ns, "/d")
    });
    let mut durability = Durability::new(&recording, Promises::Posix);
    while durability.advance() {}
    assert_eq!((durability.pending(), durability.durable()), (&[][..], durability.at()));
}

#[test]
fn nothing_is_kept_that_rests_on_what_is_lost() {
    let image = image();
    let (recording, _) = recorded(&image, |ns| {
        ns.write("/a", "a")?;
        ns.rename("/a", "/b")?;
        ns.write("/c", "c")
    });
    let mut durability = Durability::new(&recording, Promises::Posix);
    while durability.advance() {}
    let lose = |step| Loss { step, fate: Fate::Lost };
    // The rename goes with the file that it moves; the other file stays.
    assert_eq!(durability.closed([lose(0)]), [lose(0), lose(2)]);
    let mut durability = Durability::new(&recording, Promises::Journal);
    while durability.advance() {}
    assert_eq!(durability.closed([lose(0)]), [lose(0), lose(2), lose(3)]);
}

#[test]
fn writes_tear_between_sectors() {
    let image = image();
    let (recording, _) = recorded(&image, |ns| ns.write("/d/one", [b'x'; 2048]));
    let mut durability = Durability::new(&recording, Promises::Posix);
    while durability.advance() {}
    let torn = |loss: &Loss| if let Fate::Torn(len) = loss.fate { Some(len) } else { None };
    let lens: BTreeSet<usize> = durability.outcomes(200, 3).iter().flatten().filter_map(torn).collect();
    assert_eq!(lens, BTreeSet::from([512, 1024, 1536]));
    let state = replayed(&image, &recording, 2, &[Loss { step: 1, fate: Fate::Torn(512) }]);
    assert_eq!(Namespace::new(state).metadata("/d/one").unwrap().size, 512);
}

/// What a random program knows about a name: whether it may rely on it.
#[derive(Default)]
struct Known {
    /// What the file holds, if there is one.
    content: Option<String>,
    written_at: usize,
    synced_at: usize,
    named_at: usize,
}

/// Runs a random program of writes, names and syncs, and checks that no cut at its end takes what it may rely on.
/// Returns how much that was.
fn relied_on(seed: u64, promises: Promises) -> usize {
    const NAMES: [&str; 4] = ["/a", "/b", "/c", "/d"];
    let mut state = seed;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    let image: Arc<dyn FileSystem> = Arc::new(MemFs::new());
    let mut known: [Known; 4] = Default::default();
    let (mut dir_synced_at, mut file_synced_at) = (0, 0);
    let (recording, _) = recorded(&image, |ns| {
        for at in 1..20 + random(20) {
            let (one, other) = (random(4), random(4));
            let exists = known[one].content.is_some();
            match random(8) {
                0 | 1 => {
                    let content = alloc::format!("{at} ").repeat(1 + random(400));
                    ns.write(NAMES[one], &content)?;
                    let named_at = if exists { known[one].named_at } else { at };
                    known[one] = Known { content: Some(content), written_at: at, synced_at: 0, named_at };
                }
                2 if exists && one != other => {
                    ns.rename(NAMES[one], NAMES[other])?;
                    let moved = core::mem::take(&mut known[one]);
                    known[other] = Known { named_at: at, ..moved };
                    known[one].named_at = at;
                }
                3 if exists => {
                    ns.remove_file(NAMES[one])?;
                    known[one] = Known { named_at: at, ..Known::default() };
                }
                4 | 5 if exists => {
                    sync(ns, NAMES[one])?;
                    known[one].synced_at = at;
                    file_synced_at = at;
                }
                6 => {
                    sync(ns, "/")?;
                    dir_synced_at = at;
                }
                _ => {}
            }
        }
        Ok(())
    });
    if promises == Promises::Journal {
        dir_synced_at = dir_synced_at.max(file_synced_at);
    }
    let mut durability = Durability::new(&recording, promises);
    while durability.advance() {}
    let mut relied_on = 0;
    for losses in durability.outcomes(30, seed) {
        let ns = Namespace::new(replayed(&image, &recording, durability.at(), &losses));
        for (name, known) in NAMES.iter().zip(&known) {
            let is_synced = known.content.is_none() || known.written_at < known.synced_at;
            if known.named_at < dir_synced_at && is_synced {
                let found = ns.read_to_string(name).ok();
                assert_eq!(
                    found,
                    known.content,
                    "{name}, seed {seed}, {promises:?}, {losses:?}: {:#?}",
                    recording.steps()
                );
                relied_on += 1;
            }
        }
    }
    relied_on
}

#[test]
fn no_cut_takes_what_was_synced() {
    for promises in [Promises::Posix, Promises::Journal] {
        let relied_on: usize = (0..300).map(|seed| relied_on(seed, promises)).sum();
        assert!(relied_on > 5_000, "{relied_on}");
    }
}
