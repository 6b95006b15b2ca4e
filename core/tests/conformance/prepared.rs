//! The suite over a lower layer that already holds what each case makes first.
//!
//! A case begins by making what it needs, and every overlay sends that to the upper. To meet copy-up, whiteouts and
//! merged directories, each case runs twice: first as a [`Rehearsal`] on the lower itself, which ends before the first
//! call that is not one more thing made; then on the overlay over that lower, as a [`Performance`], which answers the
//! calls of the rehearsal from what is there already.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::ThreadId;

use bytes::Bytes;
use mountless::Result;
use mountless::attr::{Attr, FileType, SetAttr};
use mountless::conformance::{Capabilities, Case};
use mountless::fs::{
    Allocate, Cookie, DirBatch, Entry, Extent, FileSystem, FileSystemExt, FsInfo, NewNode, NodeId, OpenFile,
    RenameMode, Snapshot, SyncScope, WritableFileSystem, WriteAt, Written, XattrMode,
};
use mountless::name::Name;

/// One more thing made, as a layer may or may not hold it.
pub(crate) enum Step<'a> {
    Create(&'a NewNode<'a>),
    /// Of a node of this kind.
    Link(FileType),
    /// A write of this range to a file of this size.
    Write(Range<u64>, u64),
    SetAttr(&'a SetAttr),
    SetXattr,
}

/// Runs `case` on what `stack` makes of `lower` (empty and writable) once it holds what the case makes first, as far as
/// `holds` says that the layer can hold it. Returns how many calls were rehearsed.
pub(crate) fn run(
    case: Case,
    can: Capabilities,
    lower: Arc<dyn FileSystem>,
    holds: fn(&Step<'_>) -> bool,
    stack: fn(Arc<dyn FileSystem>) -> Arc<dyn FileSystem>,
) -> u64 {
    let rehearsal = Arc::new(Rehearsal {
        lower,
        holds,
        thread: std::thread::current().id(),
        steps: AtomicU64::new(0),
        ended: AtomicBool::new(false),
    });
    let on_stage: Arc<dyn FileSystem> = Arc::clone(&rehearsal) as _;
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| case.run(on_stage, can)))
        && !rehearsal.ended.load(Ordering::Relaxed)
    {
        resume_unwind(panic);
    }
    let steps = rehearsal.steps.load(Ordering::Relaxed);
    let fs = stack(Arc::clone(&rehearsal.lower));
    case.run(Arc::new(Performance { fs, left: AtomicU64::new(steps) }), can);
    steps
}

#[derive(Debug)]
struct Rehearsal {
    lower: Arc<dyn FileSystem>,
    holds: fn(&Step<'_>) -> bool,
    /// What other threads do has no fixed order.
    thread: ThreadId,
    steps: AtomicU64,
    ended: AtomicBool,
}

impl Rehearsal {
    /// Ends it, with a panic past the panic hook: nothing is wrong.
    fn over(&self) -> ! {
        self.ended.store(true, Ordering::Relaxed);
        resume_unwind(Box::new("the rehearsal is over"))
    }

    fn step<T>(&self, step: &Step<'_>, make: impl FnOnce(&dyn WritableFileSystem) -> Result<T>) -> Result<T> {
        if std::thread::current().id() != self.thread || !(self.holds)(step) {
            self.over();
        }
        let Ok(made) = make(self.lower.writable()?) else { self.over() };
        self.steps.fetch_add(1, Ordering::Relaxed);
        Ok(made)
    }
}

impl FileSystem for Rehearsal {
    fn root(&self) -> NodeId {
        self.lower.root()
    }

    fn lookup(&self, _: NodeId, _: Name<'_>) -> Result<Entry> {
        self.over()
    }

    fn forget(&self, node: NodeId, count: u64) {
        self.lower.forget(node, count);
    }

    fn attr(&self, node: NodeId) -> Result<Attr> {
        // The suite asks for the root's owner whenever it creates something.
        if node == self.root() { self.lower.attr(node) } else { self.over() }
    }

    fn read_link(&self, _: NodeId) -> Result<Bytes> {
        self.over()
    }

    fn read_dir(&self, _: NodeId, _: Cookie, _: &mut DirBatch) -> Result<()> {
        self.over()
    }

    fn read_at(&self, _: NodeId, _: u64, _: &mut [u8]) -> Result<usize> {
        self.over()
    }

    fn read_shared(&self, _: NodeId, _: u64, _: usize) -> Result<Bytes> {
        self.over()
    }

    fn snapshot(&self, _: NodeId) -> Result<Option<Snapshot>> {
        self.over()
    }

    fn extent_at(&self, _: NodeId, _: u64) -> Result<Extent> {
        self.over()
    }

    fn xattr(&self, _: NodeId, _: &[u8]) -> Result<Bytes> {
        self.over()
    }

    fn xattr_names(&self, _: NodeId) -> Result<Vec<Bytes>> {
        self.over()
    }

    fn names_version(&self) -> Option<u64> {
        None
    }

    fn info(&self) -> FsInfo {
        self.over()
    }

    fn as_writable(&self) -> Option<&dyn WritableFileSystem> {
        Some(self)
    }
}

impl WritableFileSystem for Rehearsal {
    fn create(&self, dir: NodeId, name: Name<'_>, node: &NewNode<'_>) -> Result<Entry> {
        self.step(&Step::Create(node), |fs| fs.create(dir, name, node))
    }

    fn link(&self, node: NodeId, dir: NodeId, name: Name<'_>) -> Result<()> {
        let file_type = self.lower.attr(node)?.file_type;
        self.step(&Step::Link(file_type), |fs| fs.link(node, dir, name))
    }

    fn unlink(&self, _: NodeId, _: Name<'_>) -> Result<()> {
        self.over()
    }

    fn remove_dir(&self, _: NodeId, _: Name<'_>) -> Result<()> {
        self.over()
    }

    fn rename(&self, _: NodeId, _: Name<'_>, _: NodeId, _: Name<'_>, _: RenameMode) -> Result<()> {
        self.over()
    }

    fn write_at(&self, node: NodeId, at: WriteAt, buf: &[u8]) -> Result<Written> {
        let WriteAt::Offset(offset) = at else { self.over() };
        let end = offset.saturating_add(buf.len() as u64);
        self.step(&Step::Write(offset..end, self.lower.attr(node)?.size), |fs| {
            // A short write is not repeated by the performance.
            fs.write_shared(node, offset, Bytes::copy_from_slice(buf))?;
            Ok(Written { count: buf.len(), end })
        })
    }

    fn open_file(&self, _: NodeId) -> Result<Option<Arc<dyn OpenFile>>> {
        Ok(None)
    }

    fn write_shared(&self, node: NodeId, offset: u64, data: Bytes) -> Result<()> {
        let range = offset..offset.saturating_add(data.len() as u64);
        self.step(&Step::Write(range, self.lower.attr(node)?.size), |fs| fs.write_shared(node, offset, data))
    }

    fn set_attr(&self, node: NodeId, changes: &SetAttr) -> Result<Attr> {
        self.step(&Step::SetAttr(changes), |fs| fs.set_attr(node, changes))
    }

    fn allocate(&self, _: NodeId, _: Allocate, _: Range<u64>) -> Result<()> {
        self.over()
    }

    fn set_xattr(&self, node: NodeId, name: &[u8], value: &[u8], mode: XattrMode) -> Result<()> {
        self.step(&Step::SetXattr, |fs| fs.set_xattr(node, name, value, mode))
    }

    fn remove_xattr(&self, _: NodeId, _: &[u8]) -> Result<()> {
        self.over()
    }

    fn sync(&self, _: SyncScope) -> Result<()> {
        self.over()
    }
}

#[derive(Debug)]
struct Performance {
    fs: Arc<dyn FileSystem>,
    left: AtomicU64,
}

impl Performance {
    /// Whether this call was rehearsed.
    fn rehearsed(&self) -> bool {
        self.left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// The filesystem, for a call that was not.
    fn fs(&self) -> &dyn FileSystem {
        assert_eq!(self.left.load(Ordering::Relaxed), 0, "the case does something else than the first time");
        &*self.fs
    }

    fn writable(&self) -> Result<&dyn WritableFileSystem> {
        self.fs.writable()
    }
}

impl FileSystem for Performance {
    fn root(&self) -> NodeId {
        self.fs.root()
    }

    fn lookup(&self, dir: NodeId, name: Name<'_>) -> Result<Entry> {
        self.fs().lookup(dir, name)
    }

    fn forget(&self, node: NodeId, count: u64) {
        self.fs.forget(node, count);
    }

    fn attr(&self, node: NodeId) -> Result<Attr> {
        if node == self.root() { self.fs.attr(node) } else { self.fs().attr(node) }
    }

    fn read_link(&self, node: NodeId) -> Result<Bytes> {
        self.fs().read_link(node)
    }

    fn read_dir(&self, dir: NodeId, from: Cookie, batch: &mut DirBatch) -> Result<()> {
        self.fs().read_dir(dir, from, batch)
    }

    fn read_at(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.fs().read_at(node, offset, buf)
    }

    fn read_shared(&self, node: NodeId, offset: u64, len: usize) -> Result<Bytes> {
        self.fs().read_shared(node, offset, len)
    }

    fn snapshot(&self, node: NodeId) -> Result<Option<Snapshot>> {
        self.fs().snapshot(node)
    }

    fn extent_at(&self, node: NodeId, offset: u64) -> Result<Extent> {
        self.fs().extent_at(node, offset)
    }

    fn xattr(&self, node: NodeId, name: &[u8]) -> Result<Bytes> {
        self.fs().xattr(node, name)
    }

    fn xattr_names(&self, node: NodeId) -> Result<Vec<Bytes>> {
        self.fs().xattr_names(node)
    }

    fn names_version(&self) -> Option<u64> {
        self.fs().names_version()
    }

    fn info(&self) -> FsInfo {
        self.fs().info()
    }

    fn as_writable(&self) -> Option<&dyn WritableFileSystem> {
        Some(self)
    }
}

impl WritableFileSystem for Performance {
    fn create(&self, dir: NodeId, name: Name<'_>, node: &NewNode<'_>) -> Result<Entry> {
        if self.rehearsed() { self.fs.lookup(dir, name) } else { self.writable()?.create(dir, name, node) }
    }

    fn link(&self, node: NodeId, dir: NodeId, name: Name<'_>) -> Result<()> {
        if self.rehearsed() { Ok(()) } else { self.writable()?.link(node, dir, name) }
    }

    fn unlink(&self, dir: NodeId, name: Name<'_>) -> Result<()> {
        self.writable()?.unlink(dir, name)
    }

    fn remove_dir(&self, dir: NodeId, name: Name<'_>) -> Result<()> {
        self.writable()?.remove_dir(dir, name)
    }

    fn rename(&self, from_dir: NodeId, from: Name<'_>, to_dir: NodeId, to: Name<'_>, mode: RenameMode) -> Result<()> {
        self.writable()?.rename(from_dir, from, to_dir, to, mode)
    }

    fn write_at(&self, node: NodeId, at: WriteAt, buf: &[u8]) -> Result<Written> {
        match at {
            WriteAt::Offset(offset) if self.rehearsed() => {
                Ok(Written { count: buf.len(), end: offset.saturating_add(buf.len() as u64) })
            }
            _ => self.writable()?.write_at(node, at, buf),
        }
    }

    fn open_file(&self, node: NodeId) -> Result<Option<Arc<dyn OpenFile>>> {
        if self.rehearsed() { Ok(None) } else { self.writable()?.open_file(node) }
    }

    fn write_shared(&self, node: NodeId, offset: u64, data: Bytes) -> Result<()> {
        if self.rehearsed() { Ok(()) } else { self.writable()?.write_shared(node, offset, data) }
    }

    fn set_attr(&self, node: NodeId, changes: &SetAttr) -> Result<Attr> {
        if self.rehearsed() { self.fs.attr(node) } else { self.writable()?.set_attr(node, changes) }
    }

    fn allocate(&self, node: NodeId, what: Allocate, range: Range<u64>) -> Result<()> {
        self.writable()?.allocate(node, what, range)
    }

    fn set_xattr(&self, node: NodeId, name: &[u8], value: &[u8], mode: XattrMode) -> Result<()> {
        if self.rehearsed() { Ok(()) } else { self.writable()?.set_xattr(node, name, value, mode) }
    }

    fn remove_xattr(&self, node: NodeId, name: &[u8]) -> Result<()> {
        self.writable()?.remove_xattr(node, name)
    }

    fn sync(&self, scope: SyncScope) -> Result<()> {
        self.writable()?.sync(scope)
    }
}
