//! Copy-up: giving a lower node an upper one, without copying its data.
//!
//! The copy is made in `work`, complete with attributes, and moved to its name in one step; a failure before leaves
//! nothing behind but a name in `work`, which is removed again. Directories above come first, from the top.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::merge::lookup_in;
use super::table::{Dentry, Node};
use super::{Changing, Overlay, Upper, copied_attributes, copy_attributes, copy_xattrs};
use crate::attr::{Attr, FileType, SetAttr, SetTime};
use crate::errno::Errno;
use crate::error::Result;
use crate::fs::{Extent, FileSystem, NewKind, NewNode, NodeId, NodeRef, RenameMode, WritableFileSystem};
use crate::limits::READ_SHARED_MAX;
use crate::name::Name;

/// Something made in `work` that is removed again unless it is moved out.
pub(super) struct Draft<'u> {
    upper: &'u Upper,
    name: Vec<u8>,
    pub(super) node: NodeRef,
}

impl<'u> Draft<'u> {
    pub(super) fn create(upper: &'u Upper, new: &NewNode<'_>) -> Result<Self> {
        let name = upper.work_name();
        let entry = upper.fs()?.create(upper.work.node(), Name::new(&name)?, new)?;
        Ok(Self { upper, name, node: NodeRef::from_entry(Arc::clone(&upper.fs), entry) })
    }

    pub(super) fn whiteout(upper: &'u Upper) -> Result<Self> {
        Self::create(upper, &NewNode { kind: NewKind::Whiteout, mode: 0, uid: 0, gid: 0 })
    }

    /// One more name for `node`, to be moved into place.
    pub(super) fn link(upper: &'u Upper, node: NodeId) -> Result<Self> {
        let name = upper.work_name();
        upper.fs()?.link(node, upper.work.node(), Name::new(&name)?)?;
        let node = NodeRef::lookup(&upper.fs, upper.work.node(), Name::new(&name)?)?;
        Ok(Self { upper, name, node })
    }

    /// Moves it to its name, which is free, or a file or whiteout to replace.
    pub(super) fn place(mut self, dir: NodeId, name: Name<'_>, mode: RenameMode) -> Result<NodeRef> {
        self.upper.fs()?.rename(self.upper.work.node(), Name::new(&self.name)?, dir, name, mode)?;
        self.name.clear();
        NodeRef::lookup(&self.upper.fs, dir, name)
    }

    /// Swaps it with what has the name, whatever that is: the draft is then the old thing, removed when dropped.
    pub(super) fn swap(mut self, dir: NodeId, name: Name<'_>) -> Result<Self> {
        let work = self.upper.work.node();
        self.upper.fs()?.rename(work, Name::new(&self.name)?, dir, name, RenameMode::Exchange)?;
        self.node = NodeRef::lookup(&self.upper.fs, work, Name::new(&self.name)?)?;
        Ok(self)
    }

    /// Leaves it in `work` and returns it with its name there.
    pub(super) fn park(mut self) -> Result<(NodeRef, Vec<u8>)> {
        let name = core::mem::take(&mut self.name);
        let again = NodeRef::lookup(&self.upper.fs, self.upper.work.node(), Name::new(&name)?)?;
        Ok((again, name))
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if self.name.is_empty() {
            return;
        }
        if let (Ok(fs), Ok(name)) = (self.upper.fs(), Name::new(&self.name)) {
            // What cannot be removed stays in `work`, where nobody looks.
            let _ = fs.unlink(self.upper.work.node(), name).or_else(|error| {
                if error == Errno::IsDir { fs.remove_dir(self.upper.work.node(), name) } else { Err(error) }
            });
        }
    }
}

impl Overlay {
    /// The upper node of `node`, copied up first if it has none.
    pub(super) fn writable_node(&self, node: &Arc<Node>) -> Result<NodeId> {
        match node.upper() {
            Some(upper) => Ok(upper),
            None => {
                let changing = self.structure.change();
                self.copy_up(node, &changing)
            }
        }
    }

    /// As [`writable_node`](Self::writable_node), when the structure lock is held already.
    pub(super) fn copy_up(&self, node: &Arc<Node>, changing: &Changing<'_>) -> Result<NodeId> {
        // The nodes to copy, the directories above after what is in them: as deep as the tree, so no recursion.
        let mut chain: Vec<(Arc<Node>, Option<Dentry>)> = Vec::new();
        let mut next = Arc::clone(node);
        while next.upper().is_none() {
            let dentry = next.dentry();
            let above = dentry.as_ref().map(|dentry| Arc::clone(&dentry.dir));
            chain.push((next, dentry));
            match above {
                Some(dir) => next = dir,
                None => break,
            }
        }
        for (node, dentry) in chain.into_iter().rev() {
            self.copy_up_one(&node, dentry, changing)?;
        }
        node.upper().ok_or_else(|| Errno::Stale.into())
    }

    fn copy_up_one(&self, node: &Arc<Node>, dentry: Option<Dentry>, _changing: &Changing<'_>) -> Result<()> {
        let upper = self.upper()?;
        let lower = node.attr_layer()?;
        let attr = lower.fs().attr(lower.node())?;
        let draft = copy_node(upper, lower, &attr)?;
        let place = match dentry {
            Some(Dentry { dir, name }) => match dir.upper_ref() {
                // The name may have gone to something else since it was remembered.
                Some(upper_dir) if lookup_in(upper_dir, Name::new(&name)?)?.is_none() => Some((dir, name)),
                _ => None,
            },
            None => None,
        };
        let placed = match place {
            Some((dir, name)) if !node.is_removed() => {
                let upper_dir = dir.upper().ok_or(Errno::Stale)?;
                let before = upper.fs.attr(upper_dir)?;
                let placed = draft.place(upper_dir, Name::new(&name)?, RenameMode::NoReplace)?;
                // Copying up is not a change that anybody made to the directory.
                copy_attributes(upper.fs()?, upper_dir, &times_of(&before))?;
                placed
            }
            _ if node.is_removed() => {
                NodeRef::from_entry(Arc::clone(&upper.fs), upper.fs.lookup(upper.work.node(), Name::new(&draft.name)?)?)
            }
            _ => {
                let (placed, name) = draft.park()?;
                node.place().parked = Some(name.into());
                placed
            }
        };
        copy_attributes(upper.fs()?, placed.node(), &times_of(&attr))?;
        self.table.set_upper(node, placed);
        Ok(())
    }
}

fn times_of(attr: &Attr) -> SetAttr {
    SetAttr {
        atime: Some(SetTime::At(attr.atime)),
        mtime: Some(SetTime::At(attr.mtime)),
        ctime: Some(attr.ctime),
        ..SetAttr::default()
    }
}

/// A copy of `lower` in `work`.
fn copy_node<'u>(upper: &'u Upper, lower: &NodeRef, attr: &Attr) -> Result<Draft<'u>> {
    let from = lower.fs();
    let target;
    let device = attr.rdev.unwrap_or_default();
    let kind = match attr.file_type {
        FileType::File => NewKind::File,
        FileType::Dir => NewKind::Dir,
        FileType::Symlink => {
            target = from.read_link(lower.node())?;
            NewKind::Symlink(&target)
        }
        FileType::Char => NewKind::Char(device),
        FileType::Block => NewKind::Block(device),
        FileType::Fifo => NewKind::Fifo,
        FileType::Socket => NewKind::Socket,
        FileType::Whiteout => return Err(Errno::NotFound.into()),
    };
    let draft = Draft::create(upper, &NewNode { kind, mode: attr.mode, uid: attr.uid, gid: attr.gid })?;
    let to = upper.fs()?;
    let node = draft.node.node();
    if attr.file_type == FileType::File {
        share_content(&**from, lower.node(), attr.size, to, node)?;
    }
    copy_xattrs(lower, to, node)?;
    copy_attributes(to, node, &copied_attributes(attr))?;
    Ok(draft)
}

/// Gives `node` of `to` the content of `lower`, by reference where both can; holes stay holes.
fn share_content(
    from: &dyn FileSystem,
    lower: NodeId,
    size: u64,
    to: &dyn WritableFileSystem,
    node: NodeId,
) -> Result<()> {
    let mut offset = 0;
    while offset < size {
        let end = match from.extent_at(lower, offset)? {
            Extent::Hole { end } => end.min(size),
            Extent::Data { end } => {
                let len = crate::checked::min_len(READ_SHARED_MAX, end.min(size).saturating_sub(offset));
                let data = from.read_shared(lower, offset, len)?;
                if data.is_empty() {
                    break;
                }
                let end = offset.saturating_add(crate::checked::to_u64(data.len()));
                to.write_shared(node, offset, data)?;
                end
            }
        };
        if end <= offset {
            break;
        }
        offset = end;
    }
    to.set_attr(node, &SetAttr { size: Some(size), ..SetAttr::default() })?;
    Ok(())
}
