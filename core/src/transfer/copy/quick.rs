//! Plain files into a directory of the host, with as few calls as can be: most of a tree are such files.

use alloc::sync::Arc;

use super::{Copying, Existing, Helper, Loss, Owners, Step, at, is_of_one_node};
use crate::attr::{FileType, SetTime};
use crate::backend::host::{HostFs, NewFiles};
use crate::checked::{to_u64, to_usize};
use crate::error::Result;
use crate::fs::{Extent, NewKind, NewNode, NodeRef};
use crate::limits::READ_SHARED_MAX;
use crate::name::Name;
use crate::path::TreePath;

/// The way into a directory of the host.
pub(super) struct Quick<'a> {
    host: &'a HostFs,
    /// The last directory that files were made in.
    last: Option<(Arc<NodeRef>, NewFiles)>,
}

impl<'a> Quick<'a> {
    pub(super) const fn new(host: &'a HostFs) -> Self {
        Self { host, last: None }
    }

    fn files_in(&mut self, dir: &Arc<NodeRef>) -> Result<&mut NewFiles> {
        let last = match self.last.take() {
            Some(last) if Arc::ptr_eq(&last.0, dir) => last,
            _ => (Arc::clone(dir), self.host.new_files(dir.node())?),
        };
        Ok(&mut self.last.insert(last).1)
    }
}

impl Helper for Quick<'_> {
    fn take(&mut self, copying: &mut Copying<'_>, step: Step) -> Result<Option<Step>> {
        if let Step::Make { path, from, to } = &step
            && self.make(copying, path, from, to).map_err(|error| at(&path.to_vec(), error))?
        {
            return Ok(None);
        }
        Ok(Some(step))
    }
}

impl Quick<'_> {
    /// Makes a file that has one name, content in one piece, and nothing else to be kept but mode, time and an owner that
    /// it can have. `false`, and nothing is done, for all others, and for what the host refuses.
    fn make(&mut self, copying: &mut Copying<'_>, path: &TreePath, from: &NodeRef, to: &Arc<NodeRef>) -> Result<bool> {
        if from.file_type() != FileType::File || copying.options.existing != Existing::Refuse {
            return Ok(false);
        }
        let (fs, node) = (from.fs(), from.node());
        let attr = fs.attr(node)?;
        let (uid, gid) = match copying.options.owners {
            Owners::Kept => (attr.uid, attr.gid),
            Owners::KeptIfPermitted(uid, gid) if attr.recorded.owner && (attr.uid, attr.gid) != (uid, gid) => {
                return Ok(false);
            }
            Owners::KeptIfPermitted(uid, gid) | Owners::All(uid, gid) => (uid, gid),
        };
        let is_one_piece = match attr.size {
            0 => true,
            size => {
                to_usize(size).is_ok_and(|size| size <= READ_SHARED_MAX)
                    && matches!(fs.extent_at(node, 0)?, Extent::Data { end } if end >= size)
            }
        };
        if attr.nlink > 1 || attr.mode & 0o6000 != 0 || !is_one_piece || !fs.xattr_names(node)?.is_empty() {
            return Ok(false);
        }
        let content = fs.read_shared(node, 0, to_usize(attr.size).unwrap_or(0))?;
        if to_u64(content.len()) < attr.size {
            return Ok(false);
        }
        let new = NewNode { kind: NewKind::File, mode: attr.mode, uid, gid };
        let file = match self.files_in(to)?.create(Name::proven(path.name()), &new) {
            Err(error) if is_of_one_node(error.errno()) => return Ok(false),
            other => other?,
        };
        file.fill(&content)?;
        if copying.options.keep_times && attr.recorded.mtime {
            match file.set_mtime(SetTime::At(attr.mtime)) {
                Err(error) if is_of_one_node(error.errno()) => {
                    copying.lose(&path.to_vec(), Loss::Attributes(error.errno()));
                }
                other => other?,
            }
        }
        copying.report.entries = copying.report.entries.saturating_add(1);
        copying.report.content_len = copying.report.content_len.saturating_add(attr.size);
        copying.progress.advance(attr.size);
        Ok(true)
    }
}
