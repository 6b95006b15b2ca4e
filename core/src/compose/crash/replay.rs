//! A recording's changes, made again.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::durable::Fate;
use super::record::{Change, NodeNumber, Place, Recording};
use crate::attr::SetAttr;
use crate::checked::to_u64;
use crate::errno::Errno;
use crate::error::Result;
use crate::fs::{FileSystem, FileSystemExt, NewNode, NodeId, NodeRef, RenameMode};
use crate::name::Name;

/// A tree on which changes are made again.
///
/// What cannot be done because an earlier change was lost is left out, as it would be on a disk: nobody finds a file in
/// a directory that is not there.
#[derive(Debug)]
pub struct Replay<'r> {
    recording: &'r Recording,
    fs: Arc<dyn FileSystem>,
    nodes: HashMap<NodeNumber, NodeRef, RandomState>,
    /// The names that nodes have by now.
    places: HashMap<NodeNumber, Vec<Place>, RandomState>,
}

impl<'r> Replay<'r> {
    /// On `fs`, which holds what the recorded tree held at first.
    #[must_use]
    pub fn new(recording: &'r Recording, fs: Arc<dyn FileSystem>) -> Self {
        let places = recording.origins().map(|(node, place)| (node, vec![place.clone()])).collect();
        Self { recording, fs, nodes: HashMap::default(), places }
    }

    /// Goes on with `fs`, which holds what this one's tree holds now: a view of it, for example.
    #[must_use]
    pub fn fork(&self, fs: Arc<dyn FileSystem>) -> Self {
        Self { recording: self.recording, fs, nodes: HashMap::default(), places: self.places.clone() }
    }

    /// The tree.
    #[must_use]
    pub const fn fs(&self) -> &Arc<dyn FileSystem> {
        &self.fs
    }

    /// Makes a change again, as far as its fate allows.
    ///
    /// # Errors
    /// `ENOSPC`, `ENOMEM` and `EIO`: the tree is none that a cut would leave.
    pub fn apply(&mut self, step: usize, fate: Fate) -> Result<()> {
        let recording = self.recording;
        let Some(step) = recording.steps().get(step).filter(|_| fate != Fate::Lost) else { return Ok(()) };
        match self.make(&step.change, fate) {
            Err(error) if matches!(error.errno(), Errno::NoSpace | Errno::NoMemory | Errno::Io) => Err(error),
            _ => Ok(()),
        }
    }

    fn make(&mut self, change: &Change, fate: Fate) -> Result<()> {
        match change {
            Change::Create { dir, name, node, kind, mode, uid, gid } => {
                let dir_node = self.node(*dir)?;
                let new = NewNode { kind: kind.borrowed(), mode: *mode, uid: *uid, gid: *gid };
                let entry = self.fs.writable()?.create(dir_node, Name::new(name)?, &new)?;
                self.nodes.insert(*node, NodeRef::from_entry(Arc::clone(&self.fs), entry));
                self.came(Some(*node), *dir, name);
            }
            Change::Link { node, dir, name } => {
                let (linked, dir_node) = (self.node(*node)?, self.node(*dir)?);
                self.fs.writable()?.link(linked, dir_node, Name::new(name)?)?;
                self.came(Some(*node), *dir, name);
            }
            Change::Unlink { dir, name, node } => {
                let dir_node = self.node(*dir)?;
                self.fs.writable()?.unlink(dir_node, Name::new(name)?)?;
                self.went(*node, *dir, name);
            }
            Change::RemoveDir { dir, name, node } => {
                let dir_node = self.node(*dir)?;
                self.fs.writable()?.remove_dir(dir_node, Name::new(name)?)?;
                self.went(*node, *dir, name);
            }
            Change::Rename { from_dir, from, to_dir, to, mode, node, replaced } => {
                let (from_node, to_node) = (self.node(*from_dir)?, self.node(*to_dir)?);
                self.fs.writable()?.rename(from_node, Name::new(from)?, to_node, Name::new(to)?, *mode)?;
                self.went(*node, *from_dir, from);
                self.went(*replaced, *to_dir, to);
                self.came(*node, *to_dir, to);
                if *mode == RenameMode::Exchange {
                    self.came(*replaced, *from_dir, from);
                }
            }
            Change::Write { node, offset, data } => {
                let node = self.node(*node)?;
                let kept = match fate {
                    Fate::Zeroed => return self.grow(node, offset.saturating_add(to_u64(data.len()))),
                    Fate::Torn(len) => data.slice(..len.min(data.len())),
                    Fate::Kept | Fate::Lost => data.clone(),
                };
                self.fs.writable()?.write_shared(node, *offset, kept)?;
            }
            Change::SetAttr { node, changes } => {
                let node = self.node(*node)?;
                self.fs.writable()?.set_attr(node, changes)?;
            }
            Change::Allocate { node, what, range } => {
                let node = self.node(*node)?;
                self.fs.writable()?.allocate(node, *what, range.clone())?;
            }
            Change::SetXattr { node, name, value, mode } => {
                let node = self.node(*node)?;
                self.fs.writable()?.set_xattr(node, name, value, *mode)?;
            }
            Change::RemoveXattr { node, name } => {
                let node = self.node(*node)?;
                self.fs.writable()?.remove_xattr(node, name)?;
            }
            Change::Sync(_) => {}
        }
        Ok(())
    }

    fn grow(&self, node: NodeId, size: u64) -> Result<()> {
        if self.fs.attr(node)?.size < size {
            self.fs.writable()?.set_attr(node, &SetAttr { size: Some(size), ..SetAttr::default() })?;
        }
        Ok(())
    }

    fn came(&mut self, node: Option<NodeNumber>, dir: NodeNumber, name: &[u8]) {
        if let Some(node) = node {
            self.places.entry(node).or_default().push((dir, Box::from(name)));
        }
    }

    fn went(&mut self, node: Option<NodeNumber>, dir: NodeNumber, name: &[u8]) {
        if let Some(places) = node.and_then(|node| self.places.get_mut(&node)) {
            places.retain(|(other, known)| *other != dir || **known != *name);
        }
    }

    /// The node on this tree; `ENOENT` if it is nowhere.
    fn node(&mut self, number: NodeNumber) -> Result<NodeId> {
        // From the node up to one that is known, and down again.
        let mut above = Vec::new();
        let mut at = number;
        let mut node = loop {
            if at == NodeNumber::ROOT {
                break self.fs.root();
            }
            if let Some(known) = self.nodes.get(&at) {
                break known.node();
            }
            let (dir, name) = self.places.get(&at).and_then(|places| places.first()).ok_or(Errno::NotFound)?;
            above.push((at, name.clone()));
            if above.len() > self.places.len() {
                return Err(Errno::Loop.into());
            }
            at = *dir;
        };
        for (number, name) in above.into_iter().rev() {
            let found = NodeRef::lookup(&self.fs, node, Name::new(&name)?)?;
            node = found.node();
            self.nodes.insert(number, found);
        }
        Ok(node)
    }
}
