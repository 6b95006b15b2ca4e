//! The arena of nodes. Most are plain files, of which it keeps little: a [`Node`] is made of that whenever one is looked
//! at, and takes its place when it is changed.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Deref;

use smallvec::SmallVec;

use super::extents::{Extent, Extents};
use super::time::Time;
use super::tree::{Body, File, Node, Slot};
use crate::attr::FileType;

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

#[derive(Debug, Default)]
enum Place {
    /// Of a node that was freed.
    #[default]
    Free,
    Plain(PlainFile),
    Other(Box<Node>),
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
pub(super) struct Nodes(Vec<Place>);

impl Nodes {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// Slots, empty ones included.
    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn shrink_to_fit(&mut self) {
        self.0.shrink_to_fit();
    }

    pub(super) fn push(&mut self, node: Node) {
        self.0.push(Place::Other(Box::new(node)));
    }

    pub(super) fn push_plain(&mut self, file: PlainFile) {
        self.0.push(Place::Plain(file));
    }

    /// Fills an empty slot.
    pub(super) fn put(&mut self, slot: Slot, node: Node) {
        if let Some(place) = self.0.get_mut(slot.index()) {
            *place = Place::Other(Box::new(node));
        }
    }

    pub(super) fn take(&mut self, slot: Slot) -> Option<Node> {
        match core::mem::take(self.0.get_mut(slot.index())?) {
            Place::Free => None,
            Place::Plain(file) => Some(file.node()),
            Place::Other(node) => Some(*node),
        }
    }

    pub(super) fn get(&self, slot: Slot) -> Option<Seen<'_, Node>> {
        match self.0.get(slot.index())? {
            Place::Free => None,
            Place::Plain(file) => Some(Seen::Made(file.node())),
            Place::Other(node) => Some(Seen::Kept(node)),
        }
    }

    /// The number of its tuple in the log's dictionary.
    pub(super) fn tuple(&self, slot: Slot) -> Option<u32> {
        match self.0.get(slot.index())? {
            Place::Free => None,
            Place::Plain(file) => Some(file.tuple),
            Place::Other(node) => Some(node.tuple),
        }
    }

    /// The node, unless it is a plain file.
    pub(super) fn get_other(&self, slot: Slot) -> Option<&Node> {
        match self.0.get(slot.index())? {
            Place::Other(node) => Some(node),
            _ => None,
        }
    }

    /// The content, if it is a file.
    pub(super) fn file(&self, slot: Slot) -> Option<Seen<'_, File>> {
        match self.0.get(slot.index())? {
            Place::Plain(file) => Some(Seen::Made(file.file())),
            Place::Other(node) => match &node.body {
                Body::File(file) => Some(Seen::Kept(file)),
                _ => None,
            },
            Place::Free => None,
        }
    }

    pub(super) fn file_type(&self, slot: Slot) -> Option<FileType> {
        match self.0.get(slot.index())? {
            Place::Free => None,
            Place::Plain(_) => Some(FileType::File),
            Place::Other(node) => Some(node.body.file_type()),
        }
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Node> {
        let place = self.0.get_mut(slot.index())?;
        if let Place::Plain(file) = place {
            *place = Place::Other(Box::new(file.node()));
        }
        match place {
            Place::Other(node) => Some(node),
            _ => None,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Seen<'_, Node>> {
        (0..)
            .map_while(|slot| (usize::try_from(slot).ok()? < self.len()).then_some(Slot(slot)))
            .filter_map(|slot| self.get(slot))
    }

    /// Gives the tuples of a node other numbers: its own, that of its entries or extents, and those of the extents.
    pub(super) fn renumber(&mut self, slot: Slot, node: u32, inner: u32, extents: &[u32]) {
        match self.0.get_mut(slot.index()) {
            Some(Place::Plain(file)) => {
                let extent_tuple = extents.first().copied().unwrap_or(0);
                *file = PlainFile { tuple: node, extents_tuple: inner, extent_tuple, ..*file };
            }
            Some(Place::Other(found)) => {
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
            _ => {}
        }
    }
}
