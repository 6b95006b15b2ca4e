//! Renaming in the merged tree.
//!
//! The node to move is copied up (a directory alone, not what is in it), so that it can be moved in the upper. If the
//! lowers show the old name, a whiteout takes its place. What is replaced is swapped out of the way and disposed of
//! afterwards, which also does for directories that hold nothing but whiteouts.

use alloc::sync::Arc;

use super::change::{Found, UpperName};
use super::copy_up::Draft;
use super::table::Node;
use super::{Changing, Overlay, marks};
use crate::errno::Errno;
use crate::error::Result;
use crate::fs::{NodeId, RenameMode};
use crate::name::Name;

impl Overlay {
    pub(super) fn rename_entry(
        &self,
        from_dir: NodeId,
        from: Name<'_>,
        to_dir: NodeId,
        to: Name<'_>,
        mode: RenameMode,
    ) -> Result<()> {
        let changing = self.structure.change();
        let from_dir = self.live_dir(from_dir)?;
        let to_dir = self.live_dir(to_dir)?;
        let moved = self.found(&from_dir, from)?;
        let target = self.found_if_any(&to_dir, to)?;
        match (&target, mode) {
            (Some(_), RenameMode::NoReplace) => return Err(Errno::Exists.into()),
            (None, RenameMode::Exchange) => return Err(Errno::NotFound.into()),
            (Some(target), _) if Arc::ptr_eq(&target.node, &moved.node) => return Ok(()),
            _ => {}
        }
        refuse_cycle(&moved.node, &to_dir)?;
        match &target {
            Some(target) if mode == RenameMode::Exchange => refuse_cycle(&target.node, &from_dir)?,
            Some(target) => self.check_replaceable(&moved.node, &target.node)?,
            None => {}
        }
        self.materialise(&moved.node, &from_dir, from, &changing)?;
        self.copy_up(&to_dir, &changing)?;
        let upper = self.upper()?.fs()?;
        marks::keep_origin(&moved.node, upper)?;
        match target {
            Some(target) if mode == RenameMode::Exchange => {
                self.materialise(&target.node, &to_dir, to, &changing)?;
                marks::keep_origin(&target.node, upper)?;
                self.upper_rename((&from_dir, from), (&to_dir, to), RenameMode::Exchange)?;
                self.gained_name(&target.node, &from_dir, from);
            }
            Some(target) => self.replace((&from_dir, from), &target, (&to_dir, to))?,
            None => self.move_to_free((&from_dir, from), (&to_dir, to))?,
        }
        self.gained_name(&moved.node, &to_dir, to);
        Ok(())
    }

    /// Makes sure that the upper has the node under this name, so that it can be moved there.
    fn materialise(&self, node: &Arc<Node>, dir: &Arc<Node>, name: Name<'_>, changing: &Changing<'_>) -> Result<()> {
        if node.upper().is_none() {
            let dentry = super::table::Dentry { dir: Arc::clone(dir), name: name.as_bytes().into() };
            node.set_dentry(Some(dentry));
        }
        let inner = self.copy_up(node, changing)?;
        self.copy_up(dir, changing)?;
        // Another name of the same lower file was copied up: this name joins it.
        if matches!(self.upper_name(dir, name)?, UpperName::Nothing) {
            let draft = Draft::link(self.upper()?, inner)?;
            self.place_new(draft, dir, name)?;
        }
        Ok(())
    }

    fn check_replaceable(&self, moved: &Node, target: &Arc<Node>) -> Result<()> {
        match (moved.file_type.is_dir(), target.file_type.is_dir()) {
            (true, false) => Err(Errno::NotDir.into()),
            (false, true) => Err(Errno::IsDir.into()),
            (true, true) if !self.is_empty(target)? => Err(Errno::NotEmpty.into()),
            _ => Ok(()),
        }
    }

    fn upper_rename(&self, from: (&Node, Name<'_>), to: (&Node, Name<'_>), mode: RenameMode) -> Result<()> {
        let from_dir = from.0.upper().ok_or(Errno::Stale)?;
        let to_dir = to.0.upper().ok_or(Errno::Stale)?;
        self.upper()?.fs()?.rename(from_dir, from.1, to_dir, to.1, mode)
    }

    /// Moves to a name that shows nothing: free, or a whiteout.
    fn move_to_free(&self, from: (&Arc<Node>, Name<'_>), to: (&Arc<Node>, Name<'_>)) -> Result<()> {
        let upper = self.upper()?;
        // Made before anything moves: it is the step that may run out of space.
        let whiteout = if Self::lower_has(from.0, from.1)? { Some(Draft::whiteout(upper)?) } else { None };
        let upper_from = from.0.upper().ok_or(Errno::Stale)?;
        if matches!(self.upper_name(to.0, to.1)?, UpperName::Whiteout) {
            self.upper_rename((from.0, from.1), (to.0, to.1), RenameMode::Exchange)?;
            // The target's whiteout is at the old name now, where it serves as well.
            if whiteout.is_none() {
                upper.fs()?.unlink(upper_from, from.1)?;
            }
        } else {
            self.upper_rename((from.0, from.1), (to.0, to.1), RenameMode::NoReplace)?;
            if let Some(whiteout) = whiteout {
                whiteout.place(upper_from, from.1, RenameMode::NoReplace)?;
            }
        }
        from.0.list_remove(from.1);
        Ok(())
    }

    fn replace(&self, from: (&Arc<Node>, Name<'_>), target: &Found<'_>, to: (&Arc<Node>, Name<'_>)) -> Result<()> {
        let upper = self.upper()?;
        let whiteout = if Self::lower_has(from.0, from.1)? { Some(Draft::whiteout(upper)?) } else { None };
        let upper_from = from.0.upper().ok_or(Errno::Stale)?;
        self.keep_linkable(&target.node, to.0, to.1)?;
        match self.upper_name(to.0, to.1)? {
            UpperName::Nothing => {
                self.upper_rename((from.0, from.1), (to.0, to.1), RenameMode::NoReplace)?;
                if let Some(whiteout) = whiteout {
                    whiteout.place(upper_from, from.1, RenameMode::NoReplace)?;
                }
            }
            UpperName::Node(replaced) if replaced.file_type().is_dir() => {
                self.upper_rename((from.0, from.1), (to.0, to.1), RenameMode::Exchange)?;
                self.clear(&replaced)?;
                match whiteout {
                    Some(whiteout) => drop(whiteout.swap(upper_from, from.1)?),
                    None => upper.fs()?.remove_dir(upper_from, from.1)?,
                }
            }
            UpperName::Node(_) | UpperName::Whiteout => {
                self.upper_rename((from.0, from.1), (to.0, to.1), RenameMode::Replace)?;
                if let Some(whiteout) = whiteout {
                    whiteout.place(upper_from, from.1, RenameMode::NoReplace)?;
                }
            }
        }
        from.0.list_remove(from.1);
        // The listing keeps the new name where the replaced node had it: a scan under way meets it once.
        self.lost_name(&target.node, to.0, to.1);
        Ok(())
    }
}

/// # Errors
/// `EINVAL` if `dir` is `moved` or below it.
fn refuse_cycle(moved: &Arc<Node>, dir: &Arc<Node>) -> Result<()> {
    let mut next = Some(Arc::clone(dir));
    while let Some(node) = next {
        if Arc::ptr_eq(&node, moved) {
            return Err(Errno::Invalid.into());
        }
        next = node.dentry().map(|dentry| dentry.dir);
    }
    Ok(())
}
