//! The arena of nodes. Most are plain files, of which it keeps little: a [`Node`] is made of that whenever one is looked
//! at, and takes its place when it is changed.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Deref;

use smallvec::SmallVec;

use super::extents::{Extent, Extents};
use super::time::Time;
use super::tree::{Body, File, Node, Slot};
use crate::attr::FileType;
use crate::format::tfs::NewFile;

/// A file with one name and one extent, used from its first block to its last, and nothing else: numbers of its tuple,
/// that of its extents and that of the extent, where that is, and the size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PlainFile {
    pub(super) tuple: u32,
    pub(super) extents_tuple: u32,
    pub(super) extent_tuple: u32,
    pub(super) sector: u32,
    pub(super) count: u32,
    pub(super) size: u32,
}

impl PlainFile {
    fn file(&self) -> File {
        let &Self { extents_tuple, extent_tuple, sector, count, size, .. } = self;
        let extent = Extent {
            block: 0,
            sector: sector.into(),
            count,
            allocated: count,
            tuple: extent_tuple,
            uninited: false,
            durable: count,
        };
        File { size: size.into(), extents: Extents(SmallVec::from_buf([extent])), extents_tuple }
    }

    fn node(&self) -> Node {
        let (mtime, atime, meta) = (Time::NONE, Time::NONE, None);
        Node { tuple: self.tuple, names: 1, mtime, atime, meta, body: Body::File(self.file()) }
    }
}

/// Files of runs, as the log has them: the tuple of extents of each follows that of the one before, with the extent between
/// them.
#[derive(Debug, Default)]
pub(super) struct NewFileList {
    pub(super) files: Vec<NewFile>,
    /// Of each run, the first file, and the number of its tuple of extents.
    pub(super) runs: Vec<(u32, u32)>,
}

impl NewFileList {
    fn plain(&self, at: u32) -> Option<PlainFile> {
        let NewFile { tuple, size, sector, count } = *self.files.get(usize::try_from(at).ok()?)?;
        let run = self.runs.partition_point(|(first, _)| *first <= at).checked_sub(1)?;
        let (first, extents) = self.runs.get(run)?;
        let extents_tuple = at.checked_sub(*first)?.checked_mul(2)?.checked_add(*extents)?;
        let extent_tuple = extents_tuple.checked_add(1)?;
        Some(PlainFile { tuple, extents_tuple, extent_tuple, sector, count, size })
    }
}

/// Where a node is.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// Of a node that was freed.
    Free,
    /// Among the new files of the log.
    New(u32),
    Plain(u32),
    Other(u32),
}

/// The same in 4 bytes: what it is in the highest two bits. OK: no log has numbers for as many nodes as the others allow.
#[derive(Clone, Copy, Debug)]
struct Packed(u32);

impl Packed {
    const SHIFT: u32 = 30;
    const FREE: Self = Self(3 << Self::SHIFT);

    fn new(tag: u32, at: usize) -> Self {
        let at = u32::try_from(at).ok().filter(|at| *at >> Self::SHIFT == 0);
        at.map_or(Self::FREE, |at| Self(tag << Self::SHIFT | at))
    }

    #[inline]
    const fn place(self) -> Place {
        let at = self.0 & ((1 << Self::SHIFT) - 1);
        match self.0 >> Self::SHIFT {
            0 => Place::New(at),
            1 => Place::Plain(at),
            2 => Place::Other(at),
            _ => Place::Free,
        }
    }
}

/// A part of a node that is kept, or was made of what is.
#[derive(Debug)]
pub(super) enum Seen<'a, T> {
    Kept(&'a T),
    Made(T),
}

impl<T> Deref for Seen<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Self::Kept(kept) => kept,
            Self::Made(made) => made,
        }
    }
}

/// All nodes, by slot. Slots of nodes that were freed are empty.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    places: Vec<Packed>,
    new: Arc<NewFileList>,
    plain: Vec<PlainFile>,
    others: Others,
}

/// Boxes, and which of their places are free.
#[derive(Debug, Default)]
struct Others {
    nodes: Vec<Option<Box<Node>>>,
    free: Vec<u32>,
}

impl Others {
    fn add(&mut self, node: Node) -> Packed {
        let node = Some(Box::new(node));
        let free = self.free.pop().and_then(|at| usize::try_from(at).ok());
        let at = free.filter(|at| *at < self.nodes.len()).unwrap_or(self.nodes.len());
        match self.nodes.get_mut(at) {
            Some(place) => *place = node,
            None => self.nodes.push(node),
        }
        Packed::new(2, at)
    }

    fn get(&self, at: u32) -> Option<&Node> {
        self.nodes.get(usize::try_from(at).ok()?)?.as_deref()
    }

    fn get_mut(&mut self, at: u32) -> Option<&mut Node> {
        self.nodes.get_mut(usize::try_from(at).ok()?)?.as_deref_mut()
    }

    fn take(&mut self, at: u32) -> Option<Node> {
        let node = self.nodes.get_mut(usize::try_from(at).ok()?)?.take()?;
        self.free.push(at);
        Some(*node)
    }
}

impl Nodes {
    /// With room for so many, some of which may be of `new`.
    pub(super) fn new(capacity: usize, new: Arc<NewFileList>) -> Self {
        Self { places: Vec::with_capacity(capacity), new, ..Self::default() }
    }

    /// Slots, empty ones included.
    pub(super) const fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn shrink_to_fit(&mut self) {
        self.places.shrink_to_fit();
        self.plain.shrink_to_fit();
        self.others.nodes.shrink_to_fit();
    }

    pub(super) fn push(&mut self, node: Node) {
        let place = self.others.add(node);
        self.places.push(place);
    }

    pub(super) fn push_plain(&mut self, file: PlainFile) {
        self.places.push(Packed::new(1, self.plain.len()));
        self.plain.push(file);
    }

    /// Adds the file with that number in the list of new files.
    #[inline]
    pub(super) fn push_new(&mut self, at: u32) {
        self.places.push(Packed(at));
    }

    fn place(&self, slot: Slot) -> Option<Place> {
        self.places.get(slot.index()).map(|place| place.place())
    }

    fn set_place(&mut self, slot: Slot, to: Packed) {
        if let Some(place) = self.places.get_mut(slot.index()) {
            *place = to;
        }
    }

    /// The plain file in a slot.
    fn plain(&self, slot: Slot) -> Option<PlainFile> {
        match self.place(slot)? {
            Place::New(at) => self.new.plain(at),
            Place::Plain(at) => self.plain.get(usize::try_from(at).ok()?).copied(),
            _ => None,
        }
    }

    /// Fills an empty slot.
    pub(super) fn put(&mut self, slot: Slot, node: Node) {
        if slot.index() < self.len() {
            let place = self.others.add(node);
            self.set_place(slot, place);
        }
    }

    pub(super) fn take(&mut self, slot: Slot) -> Option<Node> {
        let node = match self.place(slot)? {
            Place::Free => None,
            Place::Other(at) => self.others.take(at),
            _ => self.plain(slot).map(|file| file.node()),
        };
        self.set_place(slot, Packed::FREE);
        node
    }

    pub(super) fn get(&self, slot: Slot) -> Option<Seen<'_, Node>> {
        match self.place(slot)? {
            Place::Other(at) => self.others.get(at).map(Seen::Kept),
            _ => self.plain(slot).map(|file| Seen::Made(file.node())),
        }
    }

    /// The number of its tuple in the log's dictionary.
    pub(super) fn tuple(&self, slot: Slot) -> Option<u32> {
        match self.get_other(slot) {
            Some(node) => Some(node.tuple),
            None => self.plain(slot).map(|file| file.tuple),
        }
    }

    /// The node, unless it is a plain file.
    pub(super) fn get_other(&self, slot: Slot) -> Option<&Node> {
        match self.place(slot)? {
            Place::Other(at) => self.others.get(at),
            _ => None,
        }
    }

    /// The content, if it is a file.
    pub(super) fn file(&self, slot: Slot) -> Option<Seen<'_, File>> {
        match self.get_other(slot) {
            Some(Node { body: Body::File(file), .. }) => Some(Seen::Kept(file)),
            Some(_) => None,
            None => self.plain(slot).map(|file| Seen::Made(file.file())),
        }
    }

    pub(super) fn file_type(&self, slot: Slot) -> Option<FileType> {
        match self.place(slot)? {
            Place::Free => None,
            Place::New(_) | Place::Plain(_) => Some(FileType::File),
            Place::Other(at) => self.others.get(at).map(|node| node.body.file_type()),
        }
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Node> {
        let at = match self.place(slot)? {
            Place::Free => return None,
            Place::Other(at) => at,
            _ => {
                let place = self.others.add(self.plain(slot)?.node());
                self.set_place(slot, place);
                match place.place() {
                    Place::Other(at) => at,
                    _ => return None,
                }
            }
        };
        self.others.get_mut(at)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Seen<'_, Node>> {
        (0..)
            .map_while(|slot| (usize::try_from(slot).ok()? < self.len()).then_some(Slot(slot)))
            .filter_map(|slot| self.get(slot))
    }

    /// Gives the tuples of a node other numbers: its own, that of its entries or extents, and those of the extents.
    pub(super) fn renumber(&mut self, slot: Slot, node: u32, inner: u32, extents: &[u32]) {
        if let Some(file) = self.plain(slot) {
            let extent_tuple = extents.first().copied().unwrap_or(0);
            let file = PlainFile { tuple: node, extents_tuple: inner, extent_tuple, ..file };
            let place = Packed::new(1, self.plain.len());
            match self.place(slot) {
                Some(Place::Plain(at)) => {
                    if let Some(place) = usize::try_from(at).ok().and_then(|at| self.plain.get_mut(at)) {
                        *place = file;
                    }
                }
                _ => {
                    self.plain.push(file);
                    self.set_place(slot, place);
                }
            }
        } else if let Some(Place::Other(at)) = self.place(slot)
            && let Some(found) = self.others.get_mut(at)
        {
            found.tuple = node;
            match &mut found.body {
                Body::Dir(dir) => dir.children_tuple = inner,
                Body::File(file) => {
                    file.extents_tuple = inner;
                    for (extent, number) in file.extents.0.iter_mut().zip(extents) {
                        extent.tuple = *number;
                    }
                }
                _ => {}
            }
        }
    }
}
