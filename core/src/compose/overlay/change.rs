//! Changes to the merged tree, except renaming.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;

use super::copy_up::Draft;
use super::merge::lookup_in;
use super::table::{Dentry, NewRecord, Node};
use super::{Changing, Overlay, marks};
use crate::attr::{Attr, FileType, SetAttr};
use crate::errno::Errno;
use crate::error::Result;
use crate::fs::{
    Allocate, Entry, FileSystemExt, NewKind, NewNode, NodeId, NodeRef, OpenFile, RenameMode, SyncScope,
    WritableFileSystem, WriteAt, Written, XattrMode,
};
use crate::limits::FILE_SIZE_MAX;
use crate::name::Name;

/// What the upper layer has under a name.
pub(super) enum UpperName {
    Nothing,
    Whiteout,
    Node(NodeRef),
}

/// A node found by [`Overlay::find`], whose reference is given back when this is dropped.
pub(super) struct Found<'o> {
    overlay: &'o Overlay,
    pub(super) node: Arc<Node>,
    kept: bool,
}

impl Found<'_> {
    /// The node with its reference, now the caller's to give back.
    pub(super) fn keep(mut self) -> Arc<Node> {
        self.kept = true;
        Arc::clone(&self.node)
    }
}

impl Drop for Found<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.overlay.table.forget(self.node.id, 1);
        }
    }
}

impl Overlay {
    /// The directory that `dir` stands for, as far as it can take or lose names.
    pub(super) fn live_dir(&self, dir: NodeId) -> Result<Arc<Node>> {
        let node = self.node(dir)?;
        if !node.file_type.is_dir() {
            return Err(Errno::NotDir.into());
        }
        if node.is_removed() {
            return Err(Errno::NotFound.into());
        }
        Ok(node)
    }

    pub(super) fn found(&self, dir: &Arc<Node>, name: Name<'_>) -> Result<Found<'_>> {
        Ok(Found { overlay: self, node: self.find(dir, name)?, kept: false })
    }

    pub(super) fn found_if_any(&self, dir: &Arc<Node>, name: Name<'_>) -> Result<Option<Found<'_>>> {
        match self.found(dir, name) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error == Errno::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn upper_name(&self, dir: &Node, name: Name<'_>) -> Result<UpperName> {
        let Some(upper_dir) = dir.upper_ref() else { return Ok(UpperName::Nothing) };
        Ok(match lookup_in(upper_dir, name)? {
            None => UpperName::Nothing,
            Some(found) if found.file_type() == FileType::Whiteout => UpperName::Whiteout,
            Some(found) => UpperName::Node(found),
        })
    }

    /// Puts a draft under a name that shows nothing: free, or a whiteout.
    pub(super) fn place_new(&self, draft: Draft<'_>, dir: &Node, name: Name<'_>) -> Result<NodeRef> {
        let upper_dir = dir.upper().ok_or(Errno::Stale)?;
        match self.upper_name(dir, name)? {
            // A directory cannot replace a whiteout: swapped, the whiteout goes with the draft.
            UpperName::Whiteout if draft.node.file_type().is_dir() => {
                draft.swap(upper_dir, name)?;
                NodeRef::lookup(&self.upper()?.fs, upper_dir, name)
            }
            _ => draft.place(upper_dir, name, RenameMode::Replace),
        }
    }

    /// Takes the name away from `node`: hidden by a whiteout if a lower has it, else gone from the upper.
    fn remove_name(&self, dir: &Arc<Node>, name: Name<'_>, node: &Arc<Node>, changing: &Changing<'_>) -> Result<()> {
        let upper = self.upper()?;
        let upper_dir = self.copy_up(dir, changing)?;
        self.keep_linkable(node, dir, name)?;
        let hides = Self::lower_has(dir, name)?;
        match (self.upper_name(dir, name)?, hides) {
            (UpperName::Node(found), true) if found.file_type().is_dir() => {
                // Not empty for the upper if whiteouts are in it: swapped out of the tree in one step, then emptied.
                let _old = Draft::whiteout(upper)?.swap(upper_dir, name)?;
                self.clear(&found)?;
            }
            (UpperName::Node(found), false) if found.file_type().is_dir() => {
                self.clear(&found)?;
                upper.fs()?.remove_dir(upper_dir, name)?;
            }
            (UpperName::Node(_), false) => upper.fs()?.unlink(upper_dir, name)?,
            (UpperName::Node(_), true) | (UpperName::Nothing, _) => {
                Draft::whiteout(upper)?.place(upper_dir, name, RenameMode::Replace)?;
            }
            (UpperName::Whiteout, _) => return Err(Errno::NotFound.into()),
        }
        dir.list_remove(name);
        self.lost_name(node, dir, name);
        Ok(())
    }

    /// Removes the whiteouts from an upper directory that is empty for the merged tree.
    pub(super) fn clear(&self, upper_dir: &NodeRef) -> Result<()> {
        let fs = self.upper()?.fs()?;
        let mut names: alloc::vec::Vec<alloc::boxed::Box<[u8]>> = alloc::vec::Vec::new();
        upper_dir.fs().for_each_entry(upper_dir.node(), |entry| {
            names.push(entry.name.as_bytes().into());
            Ok(())
        })?;
        names.iter().try_for_each(|name| fs.unlink(upper_dir.node(), Name::new(name)?))
    }

    /// Before `node` loses `name`: if that is the upper's only name of a file that has other names below, keeps one
    /// in `work`, since a node without names cannot be linked again.
    pub(super) fn keep_linkable(&self, node: &Arc<Node>, dir: &Node, name: Name<'_>) -> Result<()> {
        let (Some(inner), false) = (node.upper(), node.lowers.is_empty() || node.file_type.is_dir()) else {
            return Ok(());
        };
        let upper = self.upper()?;
        let inner_nlink = upper.fs.attr(inner)?.nlink;
        let names_here = matches!(self.upper_name(dir, name)?, UpperName::Node(_));
        if names_here && inner_nlink == 1 && node.nlink(inner_nlink) > 1 {
            let (_, parked) = Draft::link(upper, inner)?.park()?;
            node.place().parked = Some(parked.into());
        }
        Ok(())
    }

    /// After `node` lost a name.
    pub(super) fn lost_name(&self, node: &Arc<Node>, dir: &Arc<Node>, name: Name<'_>) {
        if node.dentry().is_some_and(|dentry| Arc::ptr_eq(&dentry.dir, dir) && *dentry.name == *name.as_bytes()) {
            node.set_dentry(None);
        }
        if node.file_type.is_dir() {
            node.set_removed();
            return;
        }
        if node.lowers.is_empty() {
            return;
        }
        node.change_nlink(-1);
        let (fs, inner) = node.source();
        if fs.attr(inner).is_ok_and(|attr| node.nlink(attr.nlink) == 0) {
            node.set_removed();
            let parked = node.place().parked.take();
            if let (Some(parked), Some(upper)) = (parked, &self.upper)
                && let (Ok(fs), Ok(parked)) = (upper.fs(), Name::new(&parked))
            {
                // What cannot be removed stays in `work`, where nobody looks.
                let _ = fs.unlink(upper.work.node(), parked);
            }
        }
    }

    /// After `node` was put under `name`.
    pub(super) fn gained_name(&self, node: &Arc<Node>, dir: &Arc<Node>, name: Name<'_>) {
        node.set_dentry(Some(Dentry { dir: Arc::clone(dir), name: name.as_bytes().into() }));
        dir.list_set(name, node);
        if !node.lowers.is_empty() {
            dir.set_has_migrants();
        }
    }

    /// The node's upper half for changes of content and attributes.
    fn target(&self, node: NodeId) -> Result<(&dyn WritableFileSystem, NodeId)> {
        let upper = self.upper()?.fs()?;
        let inner = self.writable_node(&self.node(node)?)?;
        Ok((upper, inner))
    }
}

/// Refuses nodes without content before they are copied up for nothing.
fn has_content(node: &Node) -> Result<()> {
    match node.file_type {
        FileType::File => Ok(()),
        FileType::Dir => Err(Errno::IsDir.into()),
        _ => Err(Errno::Invalid.into()),
    }
}

impl WritableFileSystem for Overlay {
    fn create(&self, dir: NodeId, name: Name<'_>, new: &NewNode<'_>) -> Result<Entry> {
        if new.kind == NewKind::Whiteout {
            return Err(Errno::NotSupported.into());
        }
        let changing = self.structure.change();
        let dir = self.live_dir(dir)?;
        if self.found_if_any(&dir, name)?.is_some() {
            return Err(Errno::Exists.into());
        }
        let upper = self.upper()?;
        let upper_dir = self.copy_up(&dir, &changing)?;
        let file_type = new.kind.file_type();
        let made = match self.upper_name(&dir, name)? {
            UpperName::Nothing if !file_type.is_dir() => {
                NodeRef::from_entry(Arc::clone(&upper.fs), upper.fs()?.create(upper_dir, name, new)?)
            }
            _ => {
                let draft = Draft::create(upper, new)?;
                if file_type.is_dir() {
                    // Whatever directory a lower has, or will have, under this or a later name of it stays hidden.
                    upper.fs()?.set_attr(draft.node.node(), &SetAttr { opaque: Some(true), ..SetAttr::default() })?;
                }
                self.place_new(draft, &dir, name)?
            }
        };
        let ino = Self::merged_ino(self.lower_count, upper.fs.attr(made.node())?.ino);
        let dentry = Dentry { dir: Arc::clone(&dir), name: name.as_bytes().into() };
        let node = self.table.enter(NewRecord {
            file_type,
            ino,
            upper: Some(made),
            lowers: SmallVec::new(),
            origin: Box::default(),
            dentry,
        });
        dir.list_set(name, &node);
        Ok(Entry { node: node.id, file_type })
    }

    fn link(&self, node: NodeId, dir: NodeId, name: Name<'_>) -> Result<()> {
        let changing = self.structure.change();
        let node = self.node(node)?;
        if node.file_type.is_dir() {
            return Err(Errno::NotPermitted.into());
        }
        let dir = self.live_dir(dir)?;
        if self.found_if_any(&dir, name)?.is_some() {
            return Err(Errno::Exists.into());
        }
        if self.merged_attr(&node)?.nlink == 0 {
            return Err(Errno::NotFound.into());
        }
        let inner = self.copy_up(&node, &changing)?;
        self.copy_up(&dir, &changing)?;
        let draft = Draft::link(self.upper()?, inner)?;
        self.place_new(draft, &dir, name)?;
        if !node.lowers.is_empty() {
            node.change_nlink(1);
        }
        self.gained_name(&node, &dir, name);
        Ok(())
    }

    fn unlink(&self, dir: NodeId, name: Name<'_>) -> Result<()> {
        let changing = self.structure.change();
        let dir = self.live_dir(dir)?;
        let found = self.found(&dir, name)?;
        if found.node.file_type.is_dir() {
            return Err(Errno::IsDir.into());
        }
        self.remove_name(&dir, name, &found.node, &changing)
    }

    fn remove_dir(&self, dir: NodeId, name: Name<'_>) -> Result<()> {
        let changing = self.structure.change();
        let dir = self.live_dir(dir)?;
        let found = self.found(&dir, name)?;
        if !found.node.file_type.is_dir() {
            return Err(Errno::NotDir.into());
        }
        if !self.is_empty(&found.node)? {
            return Err(Errno::NotEmpty.into());
        }
        self.remove_name(&dir, name, &found.node, &changing)
    }

    fn rename(&self, from_dir: NodeId, from: Name<'_>, to_dir: NodeId, to: Name<'_>, mode: RenameMode) -> Result<()> {
        self.rename_entry(from_dir, from, to_dir, to, mode)
    }

    fn write_at(&self, node: NodeId, at: WriteAt, buf: &[u8]) -> Result<Written> {
        if buf.is_empty() {
            let node = self.node(node)?;
            has_content(&node)?;
            let end = match at {
                WriteAt::Offset(offset) => offset,
                WriteAt::End => self.merged_attr(&node)?.size,
            };
            return Ok(Written { count: 0, end });
        }
        let (upper, inner) = self.target(node)?;
        upper.write_at(inner, at, buf)
    }

    fn open_file(&self, node: NodeId) -> Result<Option<Arc<dyn OpenFile>>> {
        has_content(&*self.node(node)?)?;
        // From now on the upper's file is the node's for ever.
        let (upper, inner) = self.target(node)?;
        upper.open_file(inner)
    }

    fn write_shared(&self, node: NodeId, offset: u64, data: Bytes) -> Result<()> {
        if data.is_empty() {
            return has_content(&*self.node(node)?);
        }
        let (upper, inner) = self.target(node)?;
        upper.write_shared(inner, offset, data)
    }

    fn set_attr(&self, node: NodeId, changes: &SetAttr) -> Result<Attr> {
        let merged = self.node(node)?;
        // Opaqueness is the overlay's own affair.
        if changes.opaque == Some(true) {
            return Err(Errno::NotSupported.into());
        }
        if let Some(size) = changes.size {
            has_content(&merged)?;
            if size > FILE_SIZE_MAX {
                return Err(Errno::FileTooBig.into());
            }
        }
        let changes = SetAttr { opaque: None, ..*changes };
        if changes != SetAttr::default() {
            let (upper, inner) = self.target(node)?;
            upper.set_attr(inner, &changes)?;
        }
        self.merged_attr(&merged)
    }

    fn allocate(&self, node: NodeId, what: Allocate, range: Range<u64>) -> Result<()> {
        has_content(&*self.node(node)?)?;
        if range.is_empty() {
            return Err(Errno::Invalid.into());
        }
        if what != Allocate::PunchHole && range.end > FILE_SIZE_MAX {
            return Err(Errno::FileTooBig.into());
        }
        let (upper, inner) = self.target(node)?;
        upper.allocate(inner, what, range)
    }

    fn set_xattr(&self, node: NodeId, name: &[u8], value: &[u8], mode: XattrMode) -> Result<()> {
        marks::refuse_own(name)?;
        let (upper, inner) = self.target(node)?;
        upper.set_xattr(inner, name, value, mode)
    }

    fn remove_xattr(&self, node: NodeId, name: &[u8]) -> Result<()> {
        marks::refuse_own(name)?;
        let (upper, inner) = self.target(node)?;
        upper.remove_xattr(inner, name)
    }

    fn sync(&self, scope: SyncScope) -> Result<()> {
        let upper = self.upper()?.fs()?;
        let inner = |node: NodeId| self.node(node).map(|node| node.upper());
        match scope {
            SyncScope::All => upper.sync(SyncScope::All),
            // A node that was never changed has nothing to make durable.
            SyncScope::Data(node) => inner(node)?.map_or(Ok(()), |inner| upper.sync(SyncScope::Data(inner))),
            SyncScope::Node(node) => inner(node)?.map_or(Ok(()), |inner| upper.sync(SyncScope::Node(inner))),
        }
    }
}
