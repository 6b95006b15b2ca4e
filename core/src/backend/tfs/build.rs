//! Makes the tree of a replayed log.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use smallvec::SmallVec;

use super::attribute::{Attribute, Collector};
use super::extents::{Extent, Extents};
use super::meta;
use super::nodes::{Nodes, PlainFile};
use super::objects::{Hint, Objects, TupleId, Value, digits};
use super::symbols::Symbol;
use super::time::Time;
use super::tree::{Body, Dir, Entries, File, Meta, Node, Slot, Tree};
use crate::attr::{Defaults, FileType};
use crate::checked::to_u64;
use crate::error::Result;
use crate::format::tfs::{Damage, TfsCorrupt};
use crate::limits::{FILE_SIZE_MAX, TFS_SHARED_PATHS_MAX};
use crate::name::Name;

/// A tree, and what stands in the way of changing it.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) tree: Tree,
    /// What is wrong with the tree and was passed over: entries left out, files that cannot be read.
    pub(super) faults: Vec<BuildFault>,
    /// Attributes that are too large, or contain themselves, were left out.
    pub(super) incomplete: bool,
    /// Some directory has several names.
    pub(super) shared_dirs: bool,
    /// Where the tuple of each node stands; only when recovering.
    pub(super) offsets: Vec<u64>,
}

/// Something that was passed over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct BuildFault {
    pub(super) damage: Damage,
    /// The file that cannot be read, or the directory with the entry.
    pub(super) slot: Slot,
    /// The entry that was left out.
    pub(super) name: Option<Box<[u8]>>,
}

/// What tells the kind of a node, and where its content is.
#[derive(Clone, Copy, Debug, Default)]
struct Parts {
    children: Option<Value>,
    linktarget: Option<Value>,
    socket: Option<Value>,
    extents: Option<Value>,
    filelength: Option<Value>,
    /// There is more.
    has_others: bool,
}

impl Parts {
    fn of(objects: &Objects, id: TupleId) -> Self {
        let mut parts = Self::default();
        for (key, value) in objects.entries(id) {
            let place = match Symbol(key) {
                Symbol::CHILDREN => &mut parts.children,
                Symbol::LINKTARGET => &mut parts.linktarget,
                Symbol::SOCKET => &mut parts.socket,
                Symbol::EXTENTS => &mut parts.extents,
                Symbol::FILELENGTH => &mut parts.filelength,
                _ => {
                    parts.has_others = true;
                    continue;
                }
            };
            *place = Some(value);
        }
        parts
    }

    /// Whether everything there is stands in the body.
    const fn are_all_in(&self, body: &Body) -> bool {
        let Self { children, linktarget, socket, extents, filelength, has_others } = self;
        let (dir, link, special) = (children.is_some(), linktarget.is_some(), socket.is_some());
        let content = extents.is_some() || filelength.is_some();
        !*has_others
            && match body {
                Body::File(_) => !dir && !link && !special,
                Body::Dir(_) => !link && !special && !content,
                _ => false,
            }
    }
}

/// The block of a file that is the key of an extent.
fn block_number(key: &[u8]) -> Option<u64> {
    digits(key).filter(|_| key.iter().all(u8::is_ascii_digit))
}

struct Builder<'a> {
    objects: &'a Objects,
    collector: Collector<'a>,
    nodes: Nodes,
    /// Which tuples became nodes, a bit each.
    seen: Vec<u64>,
    /// The slot of the node that each tuple became; made when one is come to again, which no tree without hard links has.
    slots: Vec<Option<core::num::NonZeroU32>>,
    faults: Vec<BuildFault>,
    damaged: HashMap<Slot, Damage, RandomState>,
    /// The last key found to be that of an extent from the first block on: nearly all have the same.
    first_block: Option<u32>,
    hints: [Hint; 2],
    recover: bool,
    incomplete: bool,
    shared_dirs: bool,
}

/// Makes the tree. With `recover`, what does not fit in is left out and told of.
///
/// # Errors
/// The first fault that makes the tree less than the log says; damage inside of one file is found when it is read.
pub(super) fn build(objects: Objects, defaults: Defaults, start: u64, recover: bool) -> Result<Built, Damage> {
    let damage = |offset, reason| Damage { offset, reason };
    let root = objects.root().ok_or(damage(0, TfsCorrupt::NoRoot))?;
    let mut builder = Builder {
        objects: &objects,
        collector: Collector::new(&objects),
        // A file has a name and three tuples; others have less, but few are others. What is not used is not touched.
        nodes: Nodes::new(objects.count() / 3, Arc::clone(objects.new_files())),
        seen: alloc::vec![0; objects.count().div_ceil(64)],
        slots: Vec::new(),
        faults: Vec::new(),
        damaged: HashMap::default(),
        first_block: None,
        hints: Default::default(),
        recover,
        incomplete: false,
        shared_dirs: false,
    };
    builder.run(root)?;
    let offsets = (0..builder.nodes.len()).filter(|_| recover).map(|slot| builder.offset_of_node(slot)).collect();
    let Builder { nodes, faults, damaged, incomplete, shared_dirs, .. } = builder;
    let Objects { mut symbols, .. } = objects;
    symbols.shrink();
    let tree = Tree { symbols, nodes, generations: Vec::new(), damaged, defaults, start };
    Ok(Built { tree, faults, incomplete, shared_dirs, offsets })
}

impl Builder<'_> {
    fn offset(&self, id: TupleId) -> u64 {
        self.objects.offset(id)
    }

    /// Where the tuple of a node stands.
    fn offset_of_node(&self, slot: usize) -> u64 {
        let tuple = u32::try_from(slot).ok().and_then(|slot| self.nodes.tuple(Slot(slot)));
        tuple.and_then(|tuple| self.objects.by_index(tuple)).map_or(0, |id| self.offset(id))
    }

    /// Passes over a fault, or does not.
    fn fault(&mut self, slot: Slot, name: &[u8], offset: u64, reason: TfsCorrupt) -> Result<(), Damage> {
        let damage = Damage { offset, reason };
        if !self.recover {
            return Err(damage);
        }
        self.faults.push(BuildFault { damage, slot, name: Some(name.into()) });
        Ok(())
    }

    fn run(&mut self, root: TupleId) -> Result<(), Damage> {
        let (mut pending, mut named) = (Vec::new(), Vec::new());
        self.see(root);
        let (_, children) = self.add(root, Slot::ROOT);
        let Some(children) = children else {
            return Err(Damage { offset: self.offset(root), reason: TfsCorrupt::RootNotDirectory });
        };
        pending.push((Slot::ROOT, children));
        if let Some(node) = self.nodes.get_mut(Slot::ROOT) {
            node.names = 1;
        }
        while let Some((slot, children)) = pending.pop() {
            named.clear();
            let mut subdirs = 0_u32;
            let objects = self.objects;
            for (key, value) in objects.entries(children) {
                let name = Symbol(key);
                if name == Symbol::PARENT {
                    continue;
                }
                let bytes = objects.symbols.name(name);
                if Name::new(bytes).is_err() {
                    let reason = TfsCorrupt::EntryName { len: to_u64(bytes.len()) };
                    self.fault(slot, bytes, self.offset(children), reason)?;
                    continue;
                }
                let Value::Tuple(id) = value else {
                    self.fault(slot, bytes, self.offset(children), TfsCorrupt::EntryNotTuple)?;
                    continue;
                };
                let known = if self.see(id) { self.known(id) } else { None };
                let child = match known {
                    Some(known) => known,
                    None => match self.add_plain(id) {
                        Some(file) => {
                            named.push((name, file));
                            continue;
                        }
                        None => {
                            let (child, below) = self.add(id, slot);
                            pending.extend(below.map(|below| (child, below)));
                            child
                        }
                    },
                };
                named.push((name, child));
                if let Some(node) = self.nodes.get_mut(child) {
                    node.names = node.names.saturating_add(1);
                    if let Body::Dir(_) = node.body {
                        subdirs = subdirs.saturating_add(1);
                        self.shared_dirs |= node.names > 1;
                    }
                }
            }
            if let Some(Node { body: Body::Dir(dir), .. }) = self.nodes.get_mut(slot) {
                // OK: a tuple has an entry with a key once.
                dir.entries = Entries::of_unique(&named);
                dir.subdirs = subdirs;
            }
        }
        self.nodes.shrink_to_fit();
        if self.shared_dirs { self.check_shared() } else { Ok(()) }
    }

    /// Adds the node of a tuple, without entries; of a directory, returns the tuple they are in.
    fn add(&mut self, id: TupleId, parent: Slot) -> (Slot, Option<TupleId>) {
        let slot = self.next_slot(id);
        let objects = self.objects;
        let tuple = id.index();
        let mut children = None;
        let parts = Parts::of(objects, id);
        let mut body = match (parts.children, parts.linktarget) {
            (Some(Value::Tuple(tuple)), _) if objects.tuple(tuple).is_some_and(|tuple| !tuple.is_vector) => {
                children = Some(tuple);
                let children_tuple = tuple.index();
                Body::Dir(Box::new(Dir { parent, children_tuple, subdirs: 0, entries: Entries::default() }))
            }
            (_, Some(target @ (Value::String { .. } | Value::Symbol(_)))) => {
                Body::Symlink(objects.bytes_of(target).unwrap_or_default().into())
            }
            _ if parts.socket.is_some() => Body::Socket,
            _ => Body::File(self.file(id, slot, &parts)),
        };
        let mut meta = Meta::default();
        let mut special = None;
        let (mut mtime, mut atime) = (Time::NONE, Time::NONE);
        let (mut exact_mtime, mut exact_atime) = (None, None);
        for (key, value) in objects.entries(id).take_while(|_| !parts.are_all_in(&body)) {
            let key = Symbol(key);
            match (key, &body) {
                (Symbol::CHILDREN, Body::Dir(_))
                | (Symbol::LINKTARGET, Body::Symlink(_))
                | (Symbol::SOCKET, Body::Socket)
                | (Symbol::EXTENTS | Symbol::FILELENGTH, Body::File(_))
                | (Symbol::NLINK | Symbol::PARENT, _) => continue,
                (Symbol::MTIME | Symbol::ATIME, _) => {
                    if let Some(raw) = objects.number_of(value) {
                        *(if key == Symbol::MTIME { &mut mtime } else { &mut atime }) = Time::from_raw(raw);
                        continue;
                    }
                }
                _ => {}
            }
            let name = objects.symbols.name(key);
            if (name == meta::MTIME || name == meta::ATIME)
                && let Some(time) = objects.bytes_of(value).and_then(Time::from_nanos)
            {
                *(if name == meta::MTIME { &mut exact_mtime } else { &mut exact_atime }) = Some(time);
                continue;
            }
            if name.starts_with(meta::PREFIX)
                && let Some(value) = objects.bytes_of(value)
                && meta::take(name, value, &mut meta, &mut special)
            {
                continue;
            }
            match self.collector.collect(value) {
                Some(value) => meta.attributes.push((Bytes::copy_from_slice(name), value)),
                None => self.incomplete = true,
            }
        }
        if let (Some(special), Body::File(file)) = (special, &body)
            && file.size == 0
            && !self.damaged.contains_key(&slot)
            && file.extents.0.is_empty()
        {
            body = Body::Special(special);
        }
        let (mtime, atime) = (exact_mtime.unwrap_or(mtime), exact_atime.unwrap_or(atime));
        let meta = (!parts.are_all_in(&body) && meta != Meta::default()).then(|| Box::new(meta));
        self.nodes.push(Node { tuple, names: 0, mtime, atime, meta, body });
        (slot, children)
    }

    /// A file in one extent that has no attributes, as most are; `None` for all others, sound or not.
    fn plain_file(&mut self, id: TupleId) -> Option<PlainFile> {
        let objects = self.objects;
        let (extents, size) = objects.plain_file(id)?;
        let (key, extent) = objects.only_tuple(extents)?;
        let (sector, count) = objects.plain_extent(extent)?;
        if !self.is_first_block(key) {
            return None;
        }
        let (tuple, extents_tuple, extent_tuple) = (id.index(), extents.index(), extent.index());
        Some(PlainFile { tuple, extents_tuple, extent_tuple, sector, count, size })
    }

    /// Adds such a file, if the tuple is one.
    #[inline]
    fn add_plain(&mut self, id: TupleId) -> Option<Slot> {
        if let Some((new, key)) = self.objects.new_file(id, &mut self.hints)
            && self.is_first_block(key)
        {
            let slot = self.next_slot(id);
            self.nodes.push_new(new);
            return Some(slot);
        }
        let file = self.plain_file(id)?;
        let slot = self.next_slot(id);
        self.nodes.push_plain(file);
        Some(slot)
    }

    #[inline]
    fn is_first_block(&mut self, key: u32) -> bool {
        if self.first_block != Some(key) {
            if block_number(self.objects.symbols.name(Symbol(key))) != Some(0) {
                return false;
            }
            self.first_block = Some(key);
        }
        true
    }

    /// The slot for the node of a tuple.
    fn next_slot(&mut self, id: TupleId) -> Slot {
        let slot = Slot(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        self.note_slot(id, slot);
        slot
    }

    /// Notes that a tuple becomes a node, and says whether it has already.
    fn see(&mut self, id: TupleId) -> bool {
        let bit = 1 << (id.0 % 64);
        let bits = usize::try_from(id.0 / 64).ok().and_then(|at| self.seen.get_mut(at));
        bits.is_some_and(|bits| {
            let was_seen = *bits & bit != 0;
            *bits |= bit;
            was_seen
        })
    }

    fn note_slot(&mut self, id: TupleId, slot: Slot) {
        if let Some(place) = usize::try_from(id.0).ok().and_then(|at| self.slots.get_mut(at)) {
            *place = core::num::NonZeroU32::new(slot.0.saturating_add(1));
        }
    }

    /// The slot of the node that a tuple became already.
    #[cold]
    fn known(&mut self, id: TupleId) -> Option<Slot> {
        if self.slots.is_empty() {
            self.slots = alloc::vec![None; self.objects.count()];
            for slot in (0..).take(self.nodes.len()).map(Slot) {
                if let Some(id) = self.nodes.tuple(slot).and_then(|tuple| self.objects.by_index(tuple)) {
                    self.note_slot(id, slot);
                }
            }
        }
        let slot = usize::try_from(id.0).ok().and_then(|at| self.slots.get(at).copied().flatten())?;
        Some(Slot(slot.get().saturating_sub(1)))
    }

    fn file(&mut self, id: TupleId, slot: Slot, parts: &Parts) -> File {
        let objects = self.objects;
        let mut file = File::default();
        if let Err(damage) = self.fill(id, parts, &mut file) {
            self.faults.push(BuildFault { damage, slot, name: None });
            self.damaged.insert(slot, damage);
            file = File { extents_tuple: file.extents_tuple, ..File::default() };
            if let Some(size) = parts.filelength.and_then(|value| objects.number_of(value)) {
                file.size = size.min(FILE_SIZE_MAX);
            }
        }
        file
    }

    fn fill(&self, id: TupleId, parts: &Parts, file: &mut File) -> Result<(), Damage> {
        let objects = self.objects;
        if let Some(value) = parts.filelength {
            let size = objects.number_of(value).filter(|size| *size <= FILE_SIZE_MAX);
            let reason = TfsCorrupt::FileLength { max: FILE_SIZE_MAX };
            file.size = size.ok_or_else(|| Damage { offset: self.offset(id), reason })?;
        }
        let incomplete = |id, what| Damage { offset: self.offset(id), reason: TfsCorrupt::ExtentIncomplete { what } };
        let tuple = match parts.extents {
            None => return Ok(()),
            Some(Value::Tuple(tuple)) => tuple,
            Some(_) => return Err(incomplete(id, "tuple of extents")),
        };
        file.extents_tuple = tuple.index();
        let mut extents: SmallVec<[Extent; 1]> = SmallVec::new();
        for (key, value) in objects.entries(tuple) {
            if Symbol(key) == Symbol::PARENT {
                continue;
            }
            let Value::Tuple(extent) = value else { return Err(incomplete(tuple, "tuple")) };
            let name = objects.symbols.name(Symbol(key));
            let block = block_number(name);
            let [mut sector, mut count, mut allocated] = [None; 3];
            let mut uninited = false;
            for (key, value) in objects.entries(extent) {
                match Symbol(key) {
                    Symbol::OFFSET => sector = objects.number_of(value),
                    Symbol::LENGTH => count = objects.number_of(value),
                    Symbol::ALLOCATED => allocated = objects.number_of(value),
                    Symbol::UNINITED => uninited = true,
                    _ => {}
                }
            }
            let small = |number: Option<u64>, what| {
                number.and_then(|number| u32::try_from(number).ok()).ok_or_else(|| incomplete(extent, what))
            };
            let sector = sector.ok_or_else(|| incomplete(extent, "offset"))?;
            let count = small(count, "length")?;
            extents.push(Extent {
                block: block.ok_or_else(|| incomplete(extent, "block number"))?,
                sector,
                count,
                allocated: small(allocated, "allocated")?,
                tuple: extent.index(),
                uninited,
                durable: if uninited { 0 } else { count },
            });
        }
        if extents.len() > 1 {
            extents.sort_by_key(|extent| (extent.block, extent.count));
        }
        for pair in extents.windows(2) {
            if let [before, after] = pair
                && before.end() > after.block
            {
                return Err(Damage {
                    offset: self.offset(tuple),
                    reason: TfsCorrupt::ExtentOverlap { block: after.block },
                });
            }
        }
        file.extents = Extents(extents);
        Ok(())
    }

    /// Directories with several names must not contain themselves, nor lead to paths without end.
    fn check_shared(&mut self) -> Result<(), Damage> {
        /// How far a directory has been followed.
        #[derive(Clone, Copy)]
        enum Seen {
            No,
            Above,
            Paths(u64),
        }
        struct Level {
            slot: Slot,
            /// Directories in it that are not followed yet.
            dirs: Vec<(Symbol, Slot)>,
            paths: u64,
        }
        let mut seen = Vec::new();
        seen.resize(self.nodes.len(), Seen::No);
        let mut circular = Vec::new();
        let mut levels = Vec::new();
        let mut next = Some(Slot::ROOT);
        loop {
            if let Some(slot) = next.take()
                && let Some(Node { body: Body::Dir(dir), .. }) = self.nodes.get_other(slot)
            {
                let is_dir = |slot: Slot| self.nodes.file_type(slot).is_some_and(FileType::is_dir);
                let dirs = dir.entries.iter().filter(|(_, child)| is_dir(*child));
                let dirs = dirs.map(|(named, child)| (named.name, child)).collect();
                levels.push(Level { slot, dirs, paths: dir.entries.count().into() });
                if let Some(seen) = seen.get_mut(slot.index()) {
                    *seen = Seen::Above;
                }
            }
            let Some(level) = levels.last_mut() else { break };
            let Some((name, child)) = level.dirs.pop() else {
                let paths = level.paths;
                if paths > TFS_SHARED_PATHS_MAX {
                    let offset = self.offset_of_node(level.slot.index());
                    return Err(Damage { offset, reason: TfsCorrupt::TooManyPaths { max: TFS_SHARED_PATHS_MAX } });
                }
                if let Some(seen) = seen.get_mut(level.slot.index()) {
                    *seen = Seen::Paths(paths);
                }
                levels.pop();
                if let Some(above) = levels.last_mut() {
                    above.paths = above.paths.saturating_add(paths);
                }
                continue;
            };
            match seen.get(child.index()).copied().unwrap_or(Seen::No) {
                Seen::No => next = Some(child),
                Seen::Paths(paths) => level.paths = level.paths.saturating_add(paths),
                Seen::Above => circular.push((level.slot, name, child)),
            }
        }
        for (dir, name, child) in circular {
            let offset = self.offset_of_node(dir.index());
            let objects = self.objects;
            self.fault(dir, objects.symbols.name(name), offset, TfsCorrupt::DirectoryCycle)?;
            if let Some(Node { body: Body::Dir(dir), .. }) = self.nodes.get_mut(dir) {
                dir.entries.remove(name);
                dir.subdirs = dir.subdirs.saturating_sub(1);
            }
            if let Some(node) = self.nodes.get_mut(child) {
                node.names = node.names.saturating_sub(1);
            }
        }
        Ok(())
    }
}

/// The attributes of the root that are configuration.
pub(super) fn root_attributes(tree: &Tree) -> &[(Bytes, Attribute)] {
    let meta = tree.nodes.get_other(Slot::ROOT).and_then(|root| root.meta.as_deref());
    meta.map(|meta| &*meta.attributes).unwrap_or_default()
}
