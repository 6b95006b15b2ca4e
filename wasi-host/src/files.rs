//! The files of a component: what previews 2 and 3 share.
//!
//! Their types differ, what they mean does not. So everything is done here, once, and the two previews only translate:
//! a [`View`] has the calls of `wasi:filesystem`, with errors as `Fail`.
//!
//! # Handles
//! The generated bindings know a descriptor as a resource of wasmtime-wasi's own type, which is a file of the host. The
//! type is only a tag: the number is one of `Nodes`, and nobody else ever looks for it in the store's table.

mod listing;
mod node;
mod nodes;

use mountless::attr::{Attr, FileType, SetAttr};
use mountless::clock::Timestamp;
use mountless::errno::Errno;
use mountless::error::{Error, Result};
use mountless::fs::RenameMode;
use mountless::namespace::{Descriptor, Follow, Location, Namespace, OpenHow, WalkCache};
use wasmtime::component::{HasData, Resource, ResourceTable, ResourceTableError};

pub(crate) use self::listing::Listing;
pub(crate) use self::node::{Flags, Node, READ_MAX, len_u64};
use self::nodes::Nodes;
use crate::host::{self, Limits};

/// Previews 2 and 3 say no mode.
const FILE_MODE: u16 = 0o644;
const DIR_MODE: u16 = 0o755;

/// A descriptor as the bindings know it.
pub(crate) type Handle = Resource<wasmtime_wasi::filesystem::Descriptor>;

/// The files that components of one store see: a tree, and the directories in it that they are given.
#[derive(Debug)]
pub struct Files {
    namespace: Namespace,
    preopens: Vec<(String, Location)>,
    /// Where paths of the guest led.
    walks: WalkCache,
    nodes: Nodes,
    limits: Limits,
}

impl Files {
    /// The files of `namespace`: those below the directories that [`preopen`](Self::preopen) gives.
    #[must_use]
    pub fn new(namespace: Namespace) -> Self {
        Self {
            namespace,
            preopens: Vec::new(),
            walks: WalkCache::default(),
            nodes: Nodes::default(),
            limits: Limits::default(),
        }
    }

    /// Gives the guest the directory at `path`, an absolute path in the namespace, under the name `name`.
    ///
    /// # Errors
    /// Those of a walk, `ENOTDIR`.
    pub fn preopen(&mut self, name: &str, path: impl AsRef<[u8]>) -> Result<&mut Self> {
        let dir = self.namespace.locate(path, Follow::Yes)?;
        self.preopen_at(name, &dir)?;
        Ok(self)
    }

    /// As [`preopen`](Self::preopen), for a directory that was walked to; a [read-only](Location::read_only) one, for
    /// example.
    ///
    /// # Errors
    /// `ENOTDIR`.
    pub fn preopen_at(&mut self, name: &str, dir: &Location) -> Result<()> {
        if !dir.file_type().is_dir() {
            return Err(Errno::NotDir.into());
        }
        self.preopens.push((name.to_owned(), dir.clone()));
        Ok(())
    }

    /// How much components may have. Streams and listings are not counted: they are in the table of the store, which has a
    /// limit of its own. What is open already stays.
    pub const fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// The tree.
    #[must_use]
    pub const fn namespace(&self) -> &Namespace {
        &self.namespace
    }
}

/// What a call works on: borrowed from the data of a store.
#[derive(Debug)]
pub struct View<'a> {
    /// The files.
    pub files: &'a mut Files,
    /// The store's table of resources, the same that its `WasiView` names.
    pub table: &'a mut ResourceTable,
}

/// Says that the previews' calls work on a [`View`].
pub(crate) struct HasFiles;

impl HasData for HasFiles {
    type Data<'a> = View<'a>;
}

/// Why a call did not succeed.
#[derive(Debug)]
pub(crate) enum Fail {
    /// For the guest to handle.
    Errno(Errno),
    /// A handle that is none: only a host that is broken can cause it, so it ends the guest.
    Handle(ResourceTableError),
}

impl From<Errno> for Fail {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<Error> for Fail {
    fn from(error: Error) -> Self {
        Self::Errno(logged(&error))
    }
}

impl From<ResourceTableError> for Fail {
    fn from(error: ResourceTableError) -> Self {
        Self::Handle(error)
    }
}

pub(crate) type Answer<T> = core::result::Result<T, Fail>;

/// What the guest is told; more may go to the log.
pub(crate) fn logged(error: &Error) -> Errno {
    if *error == Errno::Io {
        host::report(error);
    }
    error.errno()
}

impl Files {
    /// What a handle stands for.
    pub(crate) fn node(&self, handle: &Handle) -> Answer<&Node> {
        Ok(self.nodes.get(handle.rep())?)
    }

    /// A directory, to find names in.
    fn dir(&self, handle: &Handle) -> Answer<&Location> {
        Ok(self.node(handle)?.dir()?)
    }

    /// A file, to be read, written or sized.
    pub(crate) fn file(&self, handle: &Handle) -> Answer<&Node> {
        let node = self.node(handle)?;
        if node.open().file_type().is_dir() { Err(Errno::BadFd.into()) } else { Ok(node) }
    }

    #[inline]
    fn insert(&mut self, open: Descriptor, flags: Flags) -> Answer<Handle> {
        Ok(Resource::new_own(self.nodes.insert(Node::new(open, flags))?))
    }
}

/// The calls. Those that take a path refuse with what the walk refuses with; see the namespace's module for its rules.
impl View<'_> {
    /// New handles for all preopens.
    pub(crate) fn preopens(&mut self) -> Answer<Vec<(Handle, String)>> {
        let mut handles = Vec::with_capacity(self.files.preopens.len());
        for (name, dir) in self.files.preopens.clone() {
            let flags = Flags { mutate_directory: dir.writable().is_ok(), ..Flags::default() };
            handles.push((self.files.insert(Descriptor::open_dir(dir)?, flags)?, name));
        }
        Ok(handles)
    }

    #[inline]
    pub(crate) fn open_at(&mut self, at: &Handle, path: &str, how: &OpenHow, flags: Flags) -> Answer<Handle> {
        let dir = self.files.nodes.get(at.rep())?.dir()?;
        // Before the tree is touched.
        if self.files.nodes.open_count() >= self.files.limits.descriptors {
            return Err(Errno::TooManyFiles.into());
        }
        let how = OpenHow {
            read: how.read || !how.write,
            write: how.write || how.create || how.truncate,
            mode: FILE_MODE,
            ..*how
        };
        let mut open = self.files.walks.open_at(&self.files.namespace, dir, path.as_bytes(), &how)?;
        open.limit_len(self.files.limits.file_bytes);
        self.files.insert(open, flags)
    }

    #[inline]
    pub(crate) fn close(&mut self, handle: &Handle) -> Answer<()> {
        Ok(self.files.nodes.close(handle.rep())?)
    }

    pub(crate) fn attr(&self, handle: &Handle) -> Answer<Attr> {
        Ok(self.files.node(handle)?.open().attr()?)
    }

    pub(crate) fn attr_at(&mut self, at: &Handle, path: &str, follow: Follow) -> Answer<Attr> {
        let dir = self.files.nodes.get(at.rep())?.dir()?;
        Ok(self.files.walks.attr_at(&self.files.namespace, dir, path.as_bytes(), follow)?)
    }

    pub(crate) fn set_times(&self, handle: &Handle, times: &SetAttr) -> Answer<()> {
        self.files.node(handle)?.open().set_attr(times)?;
        Ok(())
    }

    pub(crate) fn set_times_at(&self, at: &Handle, path: &str, follow: Follow, times: &SetAttr) -> Answer<()> {
        self.files.namespace.set_attr_at(self.files.dir(at)?, path.as_bytes(), follow, times)?;
        Ok(())
    }

    pub(crate) fn set_size(&self, handle: &Handle, size: u64) -> Answer<()> {
        Ok(self.files.file(handle)?.open().set_len(size)?)
    }

    pub(crate) fn sync(&self, handle: &Handle, data_only: bool) -> Answer<()> {
        Ok(self.files.node(handle)?.open().sync(data_only)?)
    }

    /// Nothing comes of advice, but nonsense is refused.
    pub(crate) fn advise(&self, handle: &Handle, offset: u64, len: u64) -> Answer<()> {
        self.files.file(handle)?;
        match offset.checked_add(len) {
            Some(end) if i64::try_from(end).is_ok() => Ok(()),
            _ => Err(Errno::Invalid.into()),
        }
    }

    pub(crate) fn create_dir_at(&self, at: &Handle, path: &str) -> Answer<()> {
        Ok(self.files.namespace.create_dir_at(self.files.dir(at)?, path.as_bytes(), DIR_MODE)?)
    }

    pub(crate) fn remove_dir_at(&mut self, at: &Handle, path: &str) -> Answer<()> {
        let dir = self.files.nodes.get(at.rep())?.dir()?;
        self.files.walks.clear();
        Ok(self.files.namespace.remove_dir_at(dir, path.as_bytes())?)
    }

    pub(crate) fn unlink_at(&mut self, at: &Handle, path: &str) -> Answer<()> {
        let dir = self.files.nodes.get(at.rep())?.dir()?;
        // What is removed must not be kept by having been walked to.
        self.files.walks.clear();
        Ok(self.files.namespace.unlink_at(dir, path.as_bytes())?)
    }

    pub(crate) fn rename_at(&mut self, from: (&Handle, &str), to: (&Handle, &str)) -> Answer<()> {
        let nodes = &self.files.nodes;
        let (from_dir, to_dir) = (nodes.get(from.0.rep())?.dir()?, nodes.get(to.0.rep())?.dir()?);
        self.files.walks.clear();
        let (from, to) = (from.1.as_bytes(), to.1.as_bytes());
        Ok(self.files.namespace.rename_at(from_dir, from, to_dir, to, RenameMode::Replace)?)
    }

    /// A link is linked, not followed: asking to follow is `EINVAL`.
    pub(crate) fn link_at(&self, from: (&Handle, &str), follow: Follow, to: (&Handle, &str)) -> Answer<()> {
        let (from_dir, to_dir) = (self.files.dir(from.0)?, self.files.dir(to.0)?);
        if follow == Follow::Yes {
            return Err(Errno::Invalid.into());
        }
        Ok(self.files.namespace.link_at(from_dir, from.1.as_bytes(), to_dir, to.1.as_bytes())?)
    }

    pub(crate) fn symlink_at(&self, target: &str, at: &Handle, path: &str) -> Answer<()> {
        Ok(self.files.namespace.symlink_at(target.as_bytes(), self.files.dir(at)?, path.as_bytes())?)
    }

    pub(crate) fn read_link_at(&self, at: &Handle, path: &str) -> Answer<String> {
        let target = self.files.namespace.read_link_at(self.files.dir(at)?, path.as_bytes())?;
        Ok(String::from_utf8(target.into()).map_err(|_| Errno::IllegalSequence)?)
    }

    pub(crate) fn is_same(&self, one: &Handle, other: &Handle) -> Answer<bool> {
        Ok(self.files.node(one)?.open().location().is_same(self.files.node(other)?.open().location()))
    }

    /// A file to be streamed from. A directory is `EISDIR` here, says the interface.
    pub(crate) fn readable(&self, handle: &Handle) -> Answer<Node> {
        let node = self.files.node(handle)?;
        if node.open().file_type().is_dir() {
            return Err(Errno::IsDir.into());
        }
        if node.open().readable() { Ok(node.again()) } else { Err(Errno::BadFd.into()) }
    }

    /// A file to be streamed to.
    pub(crate) fn writable(&self, handle: &Handle) -> Answer<Node> {
        let node = self.files.file(handle)?;
        if node.open().writable() { Ok(node.again()) } else { Err(Errno::BadFd.into()) }
    }

    pub(crate) fn listing(&self, handle: &Handle) -> Answer<Listing> {
        let node = self.files.node(handle)?;
        if node.open().file_type().is_dir() { Ok(Listing::new(node.again())) } else { Err(Errno::NotDir.into()) }
    }
}

/// The two halves of a metadata hash: the number that preview 1 shows, and a device, which is the same everywhere.
pub(crate) const fn metadata_hash(attr: &Attr) -> (u64, u64) {
    (attr.ino, 1)
}

/// Of what a preview can say about types, what is the same in both.
pub(crate) enum Kind {
    File,
    Dir,
    Symlink,
    Block,
    Char,
    Fifo,
    Socket,
}

impl Kind {
    pub(crate) const fn of(file_type: FileType) -> Option<Self> {
        match file_type {
            FileType::File => Some(Self::File),
            FileType::Dir => Some(Self::Dir),
            FileType::Symlink => Some(Self::Symlink),
            FileType::Block => Some(Self::Block),
            FileType::Char => Some(Self::Char),
            FileType::Fifo => Some(Self::Fifo),
            FileType::Socket => Some(Self::Socket),
            FileType::Whiteout => None,
        }
    }
}

/// A guest's time, whose nanoseconds may count over a second.
///
/// # Errors
/// `EOVERFLOW`.
pub(crate) fn timestamp(secs: impl TryInto<i64>, nanos: u32) -> core::result::Result<Timestamp, Errno> {
    const NANOS_PER_SEC: u32 = 1_000_000_000;
    let secs = secs.try_into().map_err(|_| Errno::Overflow)?;
    let secs = secs.checked_add(i64::from(nanos / NANOS_PER_SEC)).ok_or(Errno::Overflow)?;
    Ok(Timestamp { secs, nanos: nanos % NANOS_PER_SEC })
}
