use alloc::collections::{BTreeMap, BTreeSet};
use core::time::Duration;

use super::*;
use crate::attr::FileType;
use crate::clock::ManualClock;
use crate::fs::FileSystemExt;
use crate::testing::Random;

fn name(bytes: &[u8]) -> Name<'_> {
    Name::new(bytes).unwrap()
}

fn new(kind: NewKind<'_>) -> NewNode<'_> {
    NewNode { kind, mode: 0o644, uid: 1, gid: 2 }
}

/// A clock whose ticks are told by hand, as is the time between them.
#[derive(Debug, Default)]
struct Ticks {
    now: ManualClock,
    last: ManualClock,
}

impl Ticks {
    fn advance(&self, nanos: u64) {
        self.now.advance(Duration::from_nanos(nanos));
    }
}

impl Clock for Ticks {
    fn now(&self) -> Timestamp {
        let now = self.now.now();
        // What follows may not be before it.
        self.last.advance(Duration::from_nanos(now.as_unix_nanos() - self.last.now().as_unix_nanos()));
        now
    }

    fn recent(&self) -> Option<Timestamp> {
        Some(self.last.now())
    }
}

#[test]
fn a_write_has_another_time_than_whatever_was_seen_before() {
    let clock = Arc::new(Ticks::default());
    let fs = MemOptions::new().clock(Arc::clone(&clock) as Arc<dyn Clock>).build();
    clock.advance(100);
    let file = fs.create(ROOT, name(b"f"), &new(NewKind::File)).unwrap().node;
    let write = || fs.write_at(file, WriteAt::End, b"x").unwrap();
    let mtime = || fs.attr(file).unwrap().mtime.as_unix_nanos();
    clock.advance(5);
    write();
    assert_eq!(mtime(), 100, "nobody can tell, so the last known time does");
    clock.advance(1);
    write();
    clock.advance(1);
    write();
    assert_eq!(mtime(), 106, "the first after somebody looked is to the nanosecond");
    let open = fs.open_file(file).unwrap().unwrap();
    clock.advance(1);
    open.write_at(WriteAt::End, b"x").unwrap();
    assert_eq!(mtime(), 108);
}

#[test]
fn whoever_holds_a_file_that_is_gone_is_charged_nothing() {
    let fs = MemOptions::new().max_bytes(10).build();
    let file = fs.create(ROOT, name(b"f"), &new(NewKind::File)).unwrap().node;
    let open = fs.open_file(file).unwrap().unwrap();
    open.write_at(WriteAt::End, b"12345678").unwrap();
    assert_eq!(fs.info().free_bytes, Some(2));
    assert_eq!(open.write_at(WriteAt::End, b"90ab").unwrap().count, 2, "up to the limit");
    fs.unlink(ROOT, name(b"f")).unwrap();
    fs.forget(file, 1);
    assert_eq!(fs.info().free_bytes, Some(10));
    assert_eq!(open.write_at(WriteAt::Offset(0), b"x").unwrap_err(), Errno::Invalid);
    assert_eq!(fs.info().free_bytes, Some(10));
}

/// The plainest tree there is: nodes are numbers, never removed from the vector.
#[derive(Default)]
struct Model {
    nodes: Vec<ModelNode>,
}

#[derive(Default)]
struct ModelNode {
    is_dir: bool,
    entries: BTreeMap<u8, usize>,
    /// Times the node stands in some directory.
    names: usize,
    id: u64,
}

impl Model {
    fn dir(&self, dir: usize) -> Result<&BTreeMap<u8, usize>, Errno> {
        if self.nodes[dir].is_dir { Ok(&self.nodes[dir].entries) } else { Err(Errno::NotDir) }
    }

    fn find(&self, dir: usize, name: u8) -> Result<usize, Errno> {
        self.dir(dir)?.get(&name).copied().ok_or(Errno::NotFound)
    }

    fn must_be_free(&self, dir: usize, name: u8) -> Result<(), Errno> {
        let entries = self.dir(dir)?;
        if self.nodes[dir].names == 0 {
            return Err(Errno::NotFound);
        }
        if entries.contains_key(&name) { Err(Errno::Exists) } else { Ok(()) }
    }

    fn put(&mut self, dir: usize, name: u8, node: usize) {
        self.nodes[node].names += 1;
        if let Some(old) = self.nodes[dir].entries.insert(name, node) {
            self.nodes[old].names -= 1;
        }
    }

    fn take(&mut self, dir: usize, name: u8) {
        if let Some(node) = self.nodes[dir].entries.remove(&name) {
            self.nodes[node].names -= 1;
        }
    }

    fn contains(&self, top: usize, node: usize) -> bool {
        top == node || self.nodes[top].entries.values().any(|below| self.contains(*below, node))
    }

    fn remove(&mut self, dir: usize, name: u8, want_dir: bool) -> Result<(), Errno> {
        let node = self.find(dir, name)?;
        match (self.nodes[node].is_dir, want_dir) {
            (true, false) => return Err(Errno::IsDir),
            (false, true) => return Err(Errno::NotDir),
            _ => {}
        }
        if !self.nodes[node].entries.is_empty() {
            return Err(Errno::NotEmpty);
        }
        self.take(dir, name);
        Ok(())
    }

    fn rename(&mut self, from: (usize, u8), to: (usize, u8), mode: RenameMode) -> Result<(), Errno> {
        let moved = self.find(from.0, from.1)?;
        let old = match self.must_be_free(to.0, to.1) {
            Ok(()) => None,
            Err(Errno::Exists) => Some(self.find(to.0, to.1)?),
            Err(error) => return Err(error),
        };
        match (mode, old) {
            (RenameMode::NoReplace, Some(_)) => return Err(Errno::Exists),
            (RenameMode::Exchange, None) => return Err(Errno::NotFound),
            _ => {}
        }
        if old == Some(moved) {
            return Ok(());
        }
        if self.contains(moved, to.0) {
            return Err(Errno::Invalid);
        }
        if let (RenameMode::Exchange, Some(old)) = (mode, old) {
            if self.contains(old, from.0) {
                return Err(Errno::Invalid);
            }
            self.nodes[from.0].entries.insert(from.1, old);
            self.nodes[to.0].entries.insert(to.1, moved);
            return Ok(());
        }
        if let Some(old) = old {
            match (self.nodes[moved].is_dir, self.nodes[old].is_dir) {
                (true, false) => return Err(Errno::NotDir),
                (false, true) => return Err(Errno::IsDir),
                _ if !self.nodes[old].entries.is_empty() => return Err(Errno::NotEmpty),
                _ => {}
            }
        }
        self.take(from.0, from.1);
        self.put(to.0, to.1, moved);
        Ok(())
    }

    fn check(&self, fs: &MemFs) {
        for model in self.nodes.iter().filter(|node| node.names > 0) {
            let node = NodeId::new(model.id);
            let attr = fs.attr(node).unwrap();
            let subdirs = model.entries.values().filter(|below| self.nodes[**below].is_dir).count();
            assert_eq!(attr.nlink, to_u64(if model.is_dir { 2 + subdirs } else { model.names }));
            if model.is_dir {
                let mut listed = BTreeMap::new();
                fs.for_each_entry(node, |entry| {
                    assert!(listed.insert(entry.name.as_bytes()[0], entry.ino).is_none(), "listed twice");
                    Ok(())
                })
                .unwrap();
                let wanted: BTreeMap<u8, u64> =
                    model.entries.iter().map(|(name, below)| (*name, self.nodes[*below].id)).collect();
                assert_eq!(listed, wanted);
            }
        }
    }
}

fn check_quota(fs: &MemFs) {
    let (nodes, bytes) = fs.tree().charged();
    let info = fs.info();
    assert_eq!(info.total_nodes.unwrap() - info.free_nodes.unwrap(), nodes);
    assert_eq!(info.total_bytes.unwrap() - info.free_bytes.unwrap(), bytes);
}

#[test]
fn random_operations_match_a_plain_tree() {
    for seed in 0..200 {
        let random = &mut Random(seed);
        let fs = MemOptions::new().max_bytes(1 << 20).max_nodes(40).build();
        let mut model = Model::default();
        model.nodes.push(ModelNode { is_dir: true, names: 1, id: ROOT.get(), ..ModelNode::default() });
        // References held, by index in the model.
        let mut held: BTreeSet<usize> = BTreeSet::new();
        for step in 0..300 {
            let live: Vec<usize> =
                (0..model.nodes.len()).filter(|node| model.nodes[*node].names > 0 || held.contains(node)).collect();
            let dirs: Vec<usize> = live.iter().copied().filter(|node| model.nodes[*node].is_dir).collect();
            // Now and then something else than a directory.
            let dir = if random.below(20) == 0 { random.pick(&live) } else { random.pick(&dirs) };
            let other = random.pick(&dirs);
            let (a, b) = (random.pick(b"abcd"), random.pick(b"abcd"));
            let (a_name, b_name) = ([a], [b]);
            let (a_name, b_name) = (name(&a_name), name(&b_name));
            let id = |node: usize| NodeId::new(model.nodes[node].id);
            let (dir_id, other_id) = (id(dir), id(other));
            let (did, wanted) = match random.below(9) {
                0..=2 => {
                    let is_dir = random.below(2) == 0;
                    let kind = if is_dir { NewKind::Dir } else { NewKind::Symlink(b"some target") };
                    let wanted = model.must_be_free(dir, a);
                    match fs.create(dir_id, a_name, &new(kind)) {
                        Ok(entry) => {
                            model.nodes.push(ModelNode { is_dir, id: entry.node.get(), ..ModelNode::default() });
                            let node = model.nodes.len() - 1;
                            model.put(dir, a, node);
                            held.insert(node);
                            (Ok(()), wanted)
                        }
                        Err(error) if error == Errno::NoSpace => {
                            assert_eq!(fs.info().free_nodes, Some(0));
                            (Ok(()), wanted)
                        }
                        Err(error) => (Err(error), wanted),
                    }
                }
                3 => {
                    let node = random.pick(&live);
                    let wanted = if model.nodes[node].is_dir {
                        Err(Errno::NotPermitted)
                    } else {
                        let free = model.must_be_free(dir, a);
                        free.and(if model.nodes[node].names == 0 { Err(Errno::NotFound) } else { Ok(()) })
                    };
                    let did = fs.link(id(node), dir_id, a_name);
                    if did.is_ok() {
                        model.put(dir, a, node);
                    }
                    (did.or_else(|error| if error == Errno::NoSpace { Ok(()) } else { Err(error) }), wanted)
                }
                4 => (fs.unlink(dir_id, a_name), model.remove(dir, a, false)),
                5 => (fs.remove_dir(dir_id, a_name), model.remove(dir, a, true)),
                6 | 7 => {
                    let mode = random.pick(&[RenameMode::Replace, RenameMode::NoReplace, RenameMode::Exchange]);
                    let did = fs.rename(dir_id, a_name, other_id, b_name, mode);
                    (did, model.rename((dir, a), (other, b), mode))
                }
                _ => {
                    if let Some(node) = held.iter().nth(usize::try_from(random.below(8)).unwrap()).copied() {
                        held.remove(&node);
                        fs.forget(NodeId::new(model.nodes[node].id), 1);
                        if model.nodes[node].names == 0 {
                            assert_eq!(fs.attr(NodeId::new(model.nodes[node].id)).unwrap_err(), Errno::Stale);
                        }
                    }
                    (Ok(()), Ok(()))
                }
            };
            assert_eq!(did.map_err(|error| error.errno()), wanted, "seed {seed}, step {step}");
            model.check(&fs);
            check_quota(&fs);
        }
    }
}

#[test]
fn everything_freed_gives_everything_back() {
    let fs = MemOptions::new().max_bytes(1 << 20).max_nodes(10).build();
    let file = fs.create(ROOT, name(b"f"), &new(NewKind::File)).unwrap().node;
    fs.write_at(file, WriteAt::Offset(100_000), &[1; 100_000]).unwrap();
    fs.allocate(file, Allocate::KeepSize, 300_000..400_000).unwrap();
    fs.set_xattr(file, b"user.a", b"value", XattrMode::Set).unwrap();
    fs.set_xattr(file, b"user.a", b"v", XattrMode::Replace).unwrap();
    fs.create(ROOT, name(b"l"), &new(NewKind::Symlink(b"target"))).unwrap();
    check_quota(&fs);
    fs.link(file, ROOT, name(b"g")).unwrap();
    fs.unlink(ROOT, name(b"f")).unwrap();
    fs.unlink(ROOT, name(b"g")).unwrap();
    check_quota(&fs);
    assert!(fs.info().free_bytes.unwrap() < 1 << 20, "still referenced");
    fs.forget(file, 1);
    fs.rename(ROOT, name(b"l"), ROOT, name(b"m"), RenameMode::Replace).unwrap();
    let link = fs.lookup(ROOT, name(b"m")).unwrap().node;
    fs.unlink(ROOT, name(b"m")).unwrap();
    fs.forget(link, 2);
    assert_eq!((fs.info().free_bytes, fs.info().free_nodes), (Some(1 << 20), Some(9)));
    assert_eq!(fs.attr(link).unwrap_err(), Errno::Stale);
}

#[test]
fn a_full_filesystem_refuses_nodes_and_names_alike() {
    let fs = MemOptions::new().max_nodes(3).build();
    let file = fs.create(ROOT, name(b"a"), &new(NewKind::File)).unwrap().node;
    fs.link(file, ROOT, name(b"b")).unwrap();
    assert_eq!(fs.link(file, ROOT, name(b"c")).unwrap_err(), Errno::NoSpace);
    assert_eq!(fs.create(ROOT, name(b"c"), &new(NewKind::Dir)).unwrap_err(), Errno::NoSpace);
    assert_eq!(fs.attr(file).unwrap().nlink, 2);
    fs.unlink(ROOT, name(b"a")).unwrap();
    fs.create(ROOT, name(b"c"), &new(NewKind::Dir)).unwrap();
}

#[test]
fn times_come_from_the_clock_given() {
    let clock = Arc::new(ManualClock::new(1_000));
    let fs = MemOptions::new().clock(clock.clone()).root_mode(0o1777).root_owner(3, 4).build();
    let root = fs.attr(ROOT).unwrap();
    assert_eq!((root.mode, root.uid, root.gid, root.mtime.nanos), (0o1777, 3, 4, 1_000));
    clock.advance(Duration::from_secs(5));
    let file = fs.create(ROOT, name(b"f"), &new(NewKind::File)).unwrap().node;
    let attr = fs.attr(file).unwrap();
    assert_eq!([attr.atime, attr.mtime, attr.ctime], [Timestamp { secs: 5, nanos: 1_000 }; 3]);
    assert_eq!(fs.attr(ROOT).unwrap().mtime.secs, 5);
    clock.advance(Duration::from_secs(5));
    fs.write_at(file, WriteAt::End, b"").unwrap();
    assert_eq!(fs.attr(file).unwrap().mtime.secs, 5, "writing nothing changes nothing");
    let past = Timestamp::from_secs(-7);
    let changes = SetAttr { mtime: Some(SetTime::At(past)), size: Some(9), ..SetAttr::default() };
    let attr = fs.set_attr(file, &changes).unwrap();
    assert_eq!((attr.mtime, attr.ctime.secs, attr.atime.secs), (past, 10, 5));
}

#[test]
fn layers_can_keep_whiteouts_and_opaque_directories() {
    let fs = MemFs::new();
    let entry = fs.create(ROOT, name(b"gone"), &new(NewKind::Whiteout)).unwrap();
    assert_eq!(entry.file_type, FileType::Whiteout);
    assert_eq!(fs.read_at(entry.node, 0, &mut [0]).unwrap_err(), Errno::Invalid);
    let dir = fs.create(ROOT, name(b"dir"), &new(NewKind::Dir)).unwrap().node;
    let opaque = SetAttr { opaque: Some(true), ..SetAttr::default() };
    assert!(fs.set_attr(dir, &opaque).unwrap().opaque);
    assert_eq!(fs.set_attr(entry.node, &opaque).unwrap_err(), Errno::NotSupported);
    fs.unlink(ROOT, name(b"gone")).unwrap();
}

/// A chain of directories far deeper than a stack could follow.
#[test]
fn depth_is_no_danger() {
    let fs = MemFs::new();
    let mut dir = ROOT;
    for _ in 0..200_000 {
        dir = fs.create(dir, name(b"d"), &new(NewKind::Dir)).unwrap().node;
    }
    assert_eq!(fs.rename(ROOT, name(b"d"), dir, name(b"e"), RenameMode::Replace).unwrap_err(), Errno::Invalid);
    drop(fs);
}
