//! A tree into another filesystem that can be written: out of an image into a directory of the host, or into an image.
//!
//! Everything goes one name of one directory at a time, and never through a symbolic link: nothing outside the
//! directory that is copied into can be reached, whatever the tree says.

#[cfg(all(feature = "host", target_os = "linux"))]
mod crew;
#[cfg(all(feature = "host", target_os = "linux"))]
mod quick;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

#[cfg(all(feature = "host", target_os = "linux"))]
pub(super) use self::crew::copy_into_by_many;
use super::pack::{Loss, Lost};
use crate::attr::{Attr, FileType, SetAttr, SetTime};
use crate::checked::{min_len, to_u64};
use crate::errno::Errno;
use crate::error::{Error, Result};
use crate::fs::{Entry, Extent, FileSystemExt, NewKind, NewNode, NodeId, NodeRef, XattrMode};
use crate::limits::{READ_SHARED_MAX, SKIPPED_KEPT_MAX};
use crate::name::Name;
use crate::path::{TreePath, shorten};
use crate::progress::Progress;

/// Whom copies belong to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owners {
    /// Whom the originals belong to.
    Kept,
    /// This user and this group, unless the owner of the original can be set. For who is not root.
    KeptIfPermitted(u32, u32),
    /// This user and this group.
    All(u32, u32),
}

/// What happens to what is in the place of a copy. Directories are merged, always.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Existing {
    /// It stays, and is the error `EEXIST`.
    Refuse,
    /// It is removed first, unless it is a directory that is not empty.
    Replace,
}

/// How to copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CopyOptions {
    /// Whom copies belong to.
    pub owners: Owners,
    /// What happens to what is in the way.
    pub existing: Existing,
    /// Times are those of the originals; else it is now.
    pub keep_times: bool,
}

/// What was copied, and what was not.
#[derive(Debug, Default)]
pub struct CopyReport {
    /// Names made.
    pub entries: u64,
    /// Bytes of content written.
    pub content_len: u64,
    /// How often something could not be kept.
    pub lost_count: u64,
    /// The first [`SKIPPED_KEPT_MAX`] of them.
    pub lost: Vec<Lost>,
}

/// An error, and the path at which it happened.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", shorten(.path))]
pub struct AtPath {
    path: Vec<u8>,
    #[source]
    error: Error,
}

/// Says where an error happened.
pub(super) fn at(path: &[u8], error: Error) -> Error {
    Error::new(error.errno(), AtPath { path: path.to_vec(), error })
}

/// Copies everything in the directory `from` into the directory `to`, which takes over the attributes of `from`.
///
/// What cannot be made because it is not permitted or not possible in the target (devices without being root, owners,
/// whiteouts) is left out and reported.
///
/// # Errors
/// `EROFS` if the target cannot be written; `EEXIST` as [`Existing`] says; `ENOSPC`, `EIO` and what else is no matter
/// of one node. What was copied before stays.
pub fn copy_into(
    from: &Arc<NodeRef>,
    to: &Arc<NodeRef>,
    options: &CopyOptions,
    progress: &Progress,
) -> Result<CopyReport> {
    expect(progress, from)?;
    let mut copying = Copying::new(options, progress);
    let attr = from.fs().attr(from.node())?;
    copying.begin(from, to, attr)?;
    copying.run()?;
    Ok(copying.report)
}

/// Copies the node `from`, with what is below it, as `name` in the directory `to`.
///
/// # Errors
/// As [`copy_into`]; `EINVAL` for a directory into itself or below itself.
pub fn copy_as(
    from: &Arc<NodeRef>,
    to: &Arc<NodeRef>,
    name: Name<'_>,
    options: &CopyOptions,
    progress: &Progress,
) -> Result<CopyReport> {
    if Arc::ptr_eq(from.fs(), to.fs()) && has_below(from, to.node())? {
        return Err(Errno::Invalid.into());
    }
    expect(progress, from)?;
    let mut copying = Copying::new(options, progress);
    let path = Arc::new(TreePath::below(&Arc::new(TreePath::top()), name.as_bytes())?);
    copying.todo.push(Step::Make { path, from: Arc::clone(from), to: Arc::clone(to) });
    copying.run()?;
    Ok(copying.report)
}

enum Step {
    /// Makes `from` below `to`; its name is the end of the path.
    Make { path: Arc<TreePath>, from: Arc<NodeRef>, to: Arc<NodeRef> },
    /// Gives a directory its attributes: everything below it is there.
    Leave { path: Arc<TreePath>, from: Arc<NodeRef>, to: Arc<NodeRef>, attr: Attr },
}

impl Step {
    const fn path(&self) -> &Arc<TreePath> {
        match self {
            Self::Make { path, .. } | Self::Leave { path, .. } => path,
        }
    }
}

/// Who takes steps off the one who copies.
trait Helper {
    /// Does a step, or leaves it to others; returns it if it is none for them.
    fn take(&mut self, copying: &mut Copying<'_>, step: Step) -> Result<Option<Step>>;
}

struct Copying<'a> {
    options: &'a CopyOptions,
    progress: &'a Progress,
    report: CopyReport,
    todo: Vec<Step>,
    /// What has several names, by number of the original.
    linked: HashMap<u64, Arc<NodeRef>, RandomState>,
    helper: Option<Box<dyn Helper + 'a>>,
}

impl<'a> Copying<'a> {
    fn new(options: &'a CopyOptions, progress: &'a Progress) -> Self {
        let (report, todo, linked) = (CopyReport::default(), Vec::new(), HashMap::default());
        Self { options, progress, report, todo, linked, helper: None }
    }

    /// Notes everything in `from`, which becomes `to`.
    fn begin(&mut self, from: &Arc<NodeRef>, to: &Arc<NodeRef>, attr: Attr) -> Result<()> {
        let top = Arc::new(TreePath::top());
        self.todo.push(Step::Leave { path: Arc::clone(&top), from: Arc::clone(from), to: Arc::clone(to), attr });
        self.list(&top, from, to)
    }

    fn lose(&mut self, path: &[u8], what: Loss) {
        self.report.lost_count = self.report.lost_count.saturating_add(1);
        if self.report.lost.len() < SKIPPED_KEPT_MAX {
            self.report.lost.push(Lost { path: path.into(), what });
        }
    }

    fn run(&mut self) -> Result<()> {
        while let Some(step) = self.todo.pop() {
            let Some(step) = self.helped(step)? else { continue };
            match step {
                Step::Make { path, from, to } => {
                    let shown = path.to_vec();
                    self.make(&path, &shown, from, &to).map_err(|error| at(&shown, error))?;
                }
                Step::Leave { path, from, to, attr } => {
                    let path = if path.is_top() { b".".to_vec() } else { path.to_vec() };
                    self.leave(&path, &from, &to, &attr).map_err(|error| at(&path, error))?;
                }
            }
        }
        Ok(())
    }

    /// A step that nobody else does.
    fn helped(&mut self, step: Step) -> Result<Option<Step>> {
        let Some(mut helper) = self.helper.take() else { return Ok(Some(step)) };
        let rest = helper.take(self, step);
        self.helper = Some(helper);
        rest
    }

    /// Notes what is in a directory, the last name first.
    fn list(&mut self, dir: &Arc<TreePath>, from: &NodeRef, to: &Arc<NodeRef>) -> Result<()> {
        let start = self.todo.len();
        let fs = from.fs();
        fs.for_each_entry(from.node(), |entry| {
            let path = Arc::new(TreePath::below(dir, entry.name.as_bytes())?);
            let from = Arc::new(NodeRef::lookup(fs, from.node(), entry.name)?);
            self.todo.push(Step::Make { path, from, to: Arc::clone(to) });
            Ok(())
        })?;
        if let Some(new) = self.todo.get_mut(start..) {
            new.sort_unstable_by(|one, other| other.path().name().cmp(one.path().name()));
        }
        Ok(())
    }

    fn make(&mut self, in_tree: &Arc<TreePath>, path: &[u8], from: Arc<NodeRef>, to: &NodeRef) -> Result<()> {
        let name = Name::proven(in_tree.name());
        let fs = Arc::clone(from.fs());
        let attr = fs.attr(from.node())?;
        let is_linked = attr.is_linked();
        if let Some(first) = self.linked.get(&attr.ino).filter(|_| is_linked) {
            let writable = to.fs().writable()?;
            match self.clear(to, name).and_then(|()| writable.link(first.node(), to.node(), name)) {
                Ok(()) => {
                    self.report.entries = self.report.entries.saturating_add(1);
                    return Ok(());
                }
                // Some filesystems have no links, some not so many: then it is a file of its own.
                Err(error) if is_of_one_node(error.errno()) => self.lose(path, Loss::Link),
                Err(error) => return Err(error),
            }
        }
        let Some(made) = self.create(path, name, &from, to, &attr)?.map(Arc::new) else { return Ok(()) };
        self.report.entries = self.report.entries.saturating_add(1);
        match attr.file_type {
            FileType::Dir => {
                let (path, inner) = (Arc::clone(in_tree), Arc::clone(&made));
                self.todo.push(Step::Leave { path, from: Arc::clone(&from), to: made, attr });
                self.list(in_tree, &from, &inner)?;
                return Ok(());
            }
            FileType::File => self.content(&from, &made, attr.size)?,
            _ => {}
        }
        self.leave(path, &from, &made, &attr)?;
        if is_linked {
            self.linked.insert(attr.ino, made);
        }
        Ok(())
    }

    /// Makes the node without content; `None` if that is not possible, which is noted.
    fn create(
        &mut self,
        path: &[u8],
        name: Name<'_>,
        from: &NodeRef,
        to: &NodeRef,
        attr: &Attr,
    ) -> Result<Option<NodeRef>> {
        let target;
        let device = attr.rdev.unwrap_or_default();
        let kind = match attr.file_type {
            FileType::File => NewKind::File,
            FileType::Dir => NewKind::Dir,
            FileType::Symlink => {
                target = from.fs().read_link(from.node())?;
                NewKind::Symlink(&target)
            }
            FileType::Char => NewKind::Char(device),
            FileType::Block => NewKind::Block(device),
            FileType::Fifo => NewKind::Fifo,
            FileType::Socket => NewKind::Socket,
            FileType::Whiteout => NewKind::Whiteout,
        };
        let (uid, gid) = match self.options.owners {
            Owners::Kept => (attr.uid, attr.gid),
            Owners::KeptIfPermitted(uid, gid) | Owners::All(uid, gid) => (uid, gid),
        };
        let mode = match attr.file_type {
            // It gets its mode when it is full: not everybody could write into it otherwise.
            FileType::Dir => 0o700,
            _ => attr.mode,
        };
        let is_own = self.options.owners == Owners::Kept || (attr.uid, attr.gid) == (uid, gid);
        // Whoever gets a program of somebody else's shall not lend it his name.
        let mode = if is_own { mode } else { mode & 0o1777 };
        let writable = to.fs().writable()?;
        if attr.file_type.is_dir()
            && let Ok(there) = to.fs().lookup(to.node(), name)
        {
            let there = NodeRef::from_entry(Arc::clone(to.fs()), there);
            if there.file_type().is_dir() {
                return Ok(Some(there));
            }
        }
        self.clear(to, name)?;
        match writable.create(to.node(), name, &NewNode { kind, mode, uid, gid }) {
            Ok(entry) => Ok(Some(NodeRef::from_entry(Arc::clone(to.fs()), entry))),
            Err(error) if is_of_one_node(error.errno()) => {
                self.lose(path, Loss::NotMade(attr.file_type, error.errno()));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Takes away what has the name, if that is wanted.
    fn clear(&self, to: &NodeRef, name: Name<'_>) -> Result<()> {
        if self.options.existing == Existing::Refuse {
            return Ok(());
        }
        let Ok(Entry { node, file_type }) = to.fs().lookup(to.node(), name) else { return Ok(()) };
        to.fs().forget(node, 1);
        let writable = to.fs().writable()?;
        if file_type.is_dir() { writable.remove_dir(to.node(), name) } else { writable.unlink(to.node(), name) }
    }

    /// Gives a node what can be given only when it is complete.
    fn leave(&mut self, path: &[u8], from: &NodeRef, to: &NodeRef, attr: &Attr) -> Result<()> {
        let writable = to.fs().writable()?;
        let is_link = attr.file_type == FileType::Symlink;
        let mut is_own = true;
        if let Owners::KeptIfPermitted(uid, gid) = self.options.owners
            && attr.recorded.owner
            && (attr.uid, attr.gid) != (uid, gid)
        {
            let owner = SetAttr { uid: Some(attr.uid), gid: Some(attr.gid), ..SetAttr::default() };
            match writable.set_attr(to.node(), &owner) {
                Ok(_) => {}
                Err(error) if is_of_one_node(error.errno()) => {
                    is_own = false;
                    self.lose(path, Loss::Owner(attr.uid, attr.gid));
                }
                Err(error) => return Err(error),
            }
        }
        self.xattrs(path, from, to)?;
        let has_set_id = attr.mode & 0o6000 != 0 && !is_link;
        let is_owned = match self.options.owners {
            Owners::Kept => true,
            Owners::KeptIfPermitted(..) => is_own,
            Owners::All(uid, gid) => (attr.uid, attr.gid) == (uid, gid),
        };
        if has_set_id && !is_owned {
            self.lose(path, Loss::SetId);
        }
        let needs_mode = attr.file_type.is_dir() || has_set_id;
        let mode = if is_owned { attr.mode } else { attr.mode & 0o1777 };
        let mtime = (self.options.keep_times && attr.recorded.mtime).then_some(SetTime::At(attr.mtime));
        let changes = SetAttr { mode: (needs_mode && !is_link).then_some(mode), mtime, ..SetAttr::default() };
        if changes == SetAttr::default() {
            return Ok(());
        }
        match writable.set_attr(to.node(), &changes) {
            Err(error) if is_of_one_node(error.errno()) => {
                self.lose(path, Loss::Attributes(error.errno()));
                Ok(())
            }
            other => other.map(drop),
        }
    }

    fn xattrs(&mut self, path: &[u8], from: &NodeRef, to: &NodeRef) -> Result<()> {
        let mut refused = (0_usize, Errno::NotSupported);
        for name in from.fs().xattr_names(from.node())? {
            let value = from.fs().xattr(from.node(), &name)?;
            match to.fs().writable()?.set_xattr(to.node(), &name, &value, XattrMode::Set) {
                Err(error) if is_of_one_node(error.errno()) => {
                    refused = (refused.0.saturating_add(1), error.errno());
                }
                other => other?,
            }
        }
        if refused.0 > 0 {
            self.lose(path, Loss::XattrsRefused(refused.0, refused.1));
        }
        Ok(())
    }

    /// The content, by reference where both sides can; holes stay holes.
    fn content(&mut self, from: &NodeRef, to: &NodeRef, size: u64) -> Result<()> {
        let (fs, node) = (from.fs(), from.node());
        let writable = to.fs().writable()?;
        let (mut offset, mut end) = (0, 0);
        while offset < size {
            let next = match fs.extent_at(node, offset)? {
                Extent::Hole { end } => end.min(size),
                Extent::Data { end: data_end } => {
                    let len = min_len(READ_SHARED_MAX, data_end.min(size).saturating_sub(offset));
                    let data = fs.read_shared(node, offset, len)?;
                    let len = to_u64(data.len());
                    writable.write_shared(to.node(), offset, data)?;
                    end = offset.saturating_add(len);
                    self.progress.advance(len);
                    end
                }
            };
            if next <= offset {
                break;
            }
            offset = next;
        }
        if end < size {
            writable.set_attr(to.node(), &SetAttr { size: Some(size), ..SetAttr::default() })?;
        }
        self.report.content_len = self.report.content_len.saturating_add(size);
        Ok(())
    }
}

/// Whether an error is about one node, so that the others can go on.
const fn is_of_one_node(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::Access
            | Errno::NotPermitted
            | Errno::NotSupported
            | Errno::NotImplemented
            | Errno::NameTooLong
            | Errno::IllegalSequence
            | Errno::Invalid
            | Errno::TooManyLinks
            | Errno::Range
    )
}

/// Whether a directory is `dir`, or has it below.
fn has_below(top: &NodeRef, dir: NodeId) -> Result<bool> {
    let fs = top.fs();
    let mut todo: Vec<(NodeId, Option<NodeRef>)> = Vec::from([(top.node(), None)]);
    while let Some((node, held)) = todo.pop() {
        if node == dir {
            return Ok(true);
        }
        if held.as_ref().unwrap_or(top).file_type().is_dir() {
            fs.for_each_entry(node, |entry| {
                if entry.file_type.is_dir() {
                    let below = NodeRef::lookup(fs, node, entry.name)?;
                    todo.push((below.node(), Some(below)));
                }
                Ok(())
            })?;
        }
    }
    Ok(false)
}

fn expect(progress: &Progress, from: &NodeRef) -> Result<()> {
    if progress.wants_total() {
        progress.expect(content_below(from)?);
    }
    Ok(())
}

/// Bytes of content below a node: what a [`Progress`] can count up to.
fn content_below(top: &NodeRef) -> Result<u64> {
    let fs = top.fs();
    let mut todo: Vec<(NodeId, Option<NodeRef>)> = Vec::from([(top.node(), None)]);
    let mut sum: u64 = 0;
    while let Some((node, _held)) = todo.pop() {
        let attr = fs.attr(node)?;
        match attr.file_type {
            FileType::Dir => fs.for_each_entry(node, |entry| {
                let below = NodeRef::lookup(fs, node, entry.name)?;
                todo.push((below.node(), Some(below)));
                Ok(())
            })?,
            FileType::File => sum = sum.saturating_add(attr.size),
            _ => {}
        }
    }
    Ok(sum)
}

#[cfg(all(test, feature = "host", target_os = "linux"))]
mod tests;
