//! A referenced node: where it is, and what is open of it.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use cap_fs_ext::{DirExt, FollowSymlinks, OpenOptionsFollowExt, OpenOptionsMaybeDirExt};
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::{AtFlags, Mode, OFlags, Stat, fstat, openat, statat};

use super::attr::Key;
use super::errno::{from_io, from_raw};
use super::listing::Listing;
use super::opened::Opened;
use crate::attr::FileType;
use crate::errno::Errno;
use crate::error::Result;
use crate::fs::NodeId;
use crate::name::Name;

/// A name as cap-std takes it. One component, never `..`, so nothing is walked.
pub(super) fn path(name: &[u8]) -> &OsStr {
    OsStr::from_bytes(name)
}

/// A name of a node: its directory, kept open, and the entry there.
pub(super) struct Place {
    pub(super) parent: Arc<Node>,
    pub(super) name: Box<[u8]>,
}

impl Place {
    pub(super) fn new(parent: &Arc<Node>, name: Name<'_>) -> Self {
        Self { parent: Arc::clone(parent), name: name.as_bytes().into() }
    }

    fn is(&self, parent: &Node, name: Name<'_>) -> bool {
        self.parent.key == parent.key && *self.name == *name.as_bytes()
    }
}

/// Directories opened one after the other to reach one that was closed.
const DEPTH_MAX: usize = 4096;

/// What is open of a node that is no directory.
pub(super) enum Handle {
    /// Nothing; the node is reached by a place.
    None,
    File {
        file: Arc<OwnedFd>,
        writable: bool,
    },
    /// Only the node itself (`O_PATH`): what a node without names, or without permissions, can still be asked by.
    Node(Arc<OwnedFd>),
}

pub(super) struct DirState {
    /// Closed when others need the descriptor more, see [`Opened`]; opened again by name.
    dir: Mutex<Option<Arc<Dir>>>,
    pub(super) listing: Mutex<Listing>,
}

pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) key: Key,
    pub(super) file_type: FileType,
    pub(super) dir: Option<DirState>,
    /// Held shared by writes at an offset, exclusively by appends, so that an append knows where it went.
    pub(super) appending: RwLock<()>,
    places: Mutex<Vec<Place>>,
    handle: Mutex<Handle>,
    /// What is open must stay so: a name was or is being taken away.
    pinned: AtomicBool,
    /// Used since it was last considered for closing.
    used: AtomicBool,
    opened: Arc<Opened>,
}

/// Whether the host can still lead to what is open.
fn has_names(open: impl AsFd) -> bool {
    fstat(open).is_ok_and(|stat| stat.st_nlink > 0)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Options that never follow a link, and never wait for the other end of a pipe.
fn options(write: bool) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(write).follow(FollowSymlinks::No).custom_flags(nonblocking());
    options
}

fn nonblocking() -> i32 {
    // OK: flags are small positive numbers.
    i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or(0)
}

/// Opens a directory in `parent`, for reading if that is permitted.
pub(super) fn open_dir(parent: &Dir, name: Name<'_>) -> Result<Dir> {
    let mut reading = options(false);
    reading.maybe_dir(true).custom_flags(nonblocking() | i32::try_from(OFlags::DIRECTORY.bits()).unwrap_or(0));
    match parent.open_with(path(name.as_bytes()), &reading) {
        Ok(file) => Ok(Dir::from_std_file(file.into_std())),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            parent.open_dir_nofollow(path(name.as_bytes())).map_err(from_io)
        }
        Err(error) => Err(from_io(error)),
    }
}

/// Creates a file and opens it; the caller gives it its owner and, if it does not have it, its mode.
pub(super) fn create_file(parent: &Dir, name: Name<'_>, mode: u16) -> Result<OwnedFd> {
    // Until then nobody may do more than everybody may in the end: the group is not the right one yet.
    let everybody = mode & 0o007;
    let mode = mode & 0o700 | mode & (everybody << 3) | everybody;
    let mut creating = options(true);
    creating.create_new(true).mode(mode.into());
    Ok(parent.open_with(path(name.as_bytes()), &creating).map_err(from_io)?.into_std().into())
}

/// Opens the node itself, whatever it is.
pub(super) fn open_node(parent: &Dir, name: &[u8]) -> Result<OwnedFd> {
    openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).map_err(from_raw)
}

impl Node {
    pub(super) fn new(
        id: NodeId,
        key: Key,
        file_type: FileType,
        dir: Option<Dir>,
        handle: Handle,
        opened: Arc<Opened>,
    ) -> Self {
        let dir = dir.map(|dir| DirState { dir: Mutex::new(Some(Arc::new(dir))), listing: Mutex::default() });
        Self {
            id,
            key,
            file_type,
            dir,
            appending: RwLock::new(()),
            places: Mutex::default(),
            handle: Mutex::new(handle),
            pinned: AtomicBool::new(false),
            used: AtomicBool::new(true),
            opened,
        }
    }

    /// The directory, opened again if it was closed. The caller holds the lock on names.
    ///
    /// # Errors
    /// `ENOTDIR`; `ESTALE` if it was closed and somebody else moved it meanwhile.
    pub(super) fn dir(self: &Arc<Self>) -> Result<Arc<Dir>> {
        self.dir_below(DEPTH_MAX)
    }

    fn dir_below(self: &Arc<Self>, depth: usize) -> Result<Arc<Dir>> {
        let state = self.dir.as_ref().ok_or(Errno::NotDir)?;
        self.used.store(true, Ordering::Relaxed);
        if let Some(dir) = &*lock(&state.dir) {
            return Ok(Arc::clone(dir));
        }
        // Others may have moved directories around until they seem to lie in one another.
        let depth = depth.checked_sub(1).ok_or(Errno::Stale)?;
        // Copied, since the directories above have the same locks.
        let places: Vec<_> =
            lock(&self.places).iter().map(|place| (Arc::clone(&place.parent), place.name.clone())).collect();
        for (parent, name) in places.iter().rev() {
            let found = parent.dir_below(depth).and_then(|parent| open_dir(&parent, Name::new(name)?));
            let found = match found {
                Err(error) if error == Errno::TooManyFiles => return Err(error),
                Err(_) => continue,
                Ok(found) => found,
            };
            if Key::of(&fstat(&found).map_err(from_raw)?) == self.key {
                let dir = Arc::clone(lock(&state.dir).get_or_insert_with(|| Arc::new(found)));
                self.opened.enter(self);
                return Ok(dir);
            }
        }
        Err(Errno::Stale.into())
    }

    /// Whether it was used since this was last asked.
    pub(super) fn take_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }

    /// Closes what is open, if it can be opened again by a name. Returns whether it is closed now.
    ///
    /// Takes no lock that somebody holds, be it the caller: who holds one is using the node.
    pub(super) fn close(&self) -> bool {
        let (Ok(mut handle), Ok(places)) = (self.handle.try_lock(), self.places.try_lock()) else { return false };
        if self.pinned.load(Ordering::Acquire) || places.is_empty() {
            return false;
        }
        if let Some(state) = &self.dir {
            let Ok(mut dir) = state.dir.try_lock() else { return false };
            if dir.as_ref().is_some_and(has_names) {
                *dir = None;
            }
            return dir.is_none();
        }
        if let Handle::File { file, .. } = &*handle
            && has_names(file)
        {
            *handle = Handle::None;
        }
        !matches!(*handle, Handle::File { .. })
    }

    /// Remembers a name.
    pub(super) fn add_place(self: &Arc<Self>, parent: &Arc<Self>, name: Name<'_>) {
        let mut places = lock(&self.places);
        // A directory has one name: another one means that somebody moved it.
        if self.dir.is_some() {
            places.retain(|place| place.is(parent, name));
        }
        if !places.iter().any(|place| place.is(parent, name)) {
            places.push(Place::new(parent, name));
        }
    }

    pub(super) fn remove_place(&self, parent: &Self, name: Name<'_>) {
        lock(&self.places).retain(|place| !place.is(parent, name));
    }

    /// Calls `act` with a name under which the node is found right now, forgetting names that no longer are. The caller
    /// holds the lock on names.
    ///
    /// # Errors
    /// `ESTALE` if somebody else removed or replaced all that were known.
    pub(super) fn at_place<T>(&self, act: impl FnOnce(&Dir, &[u8], &Stat) -> Result<T>) -> Result<T> {
        let mut places = lock(&self.places);
        while let Some(place) = places.last() {
            let found = match place.parent.dir() {
                Ok(dir) => statat(&*dir, &*place.name, AtFlags::SYMLINK_NOFOLLOW).ok().map(|stat| (dir, stat)),
                Err(error) if error == Errno::TooManyFiles => return Err(error),
                Err(_) => None,
            };
            match found {
                Some((dir, stat)) if Key::of(&stat) == self.key => return act(&dir, &place.name, &stat),
                _ => drop(places.pop()),
            }
        }
        Err(Errno::Stale.into())
    }

    /// The content, opened if need be. The caller holds the lock on names.
    pub(super) fn open(self: &Arc<Self>, write: bool) -> Result<Arc<OwnedFd>> {
        match self.file_type {
            FileType::File => {}
            FileType::Dir => return Err(Errno::IsDir.into()),
            _ => return Err(Errno::Invalid.into()),
        }
        self.used.store(true, Ordering::Relaxed);
        let mut handle = lock(&self.handle);
        if let Handle::File { file, writable } = &*handle
            && (*writable || !write)
        {
            return Ok(Arc::clone(file));
        }
        // For reading only until somebody writes: a program that is open for writing cannot be run.
        let opened = self.at_place(|dir, name, _| dir.open_with(path(name), &options(write)).map_err(from_io));
        // Without a name left, what is open is all there is, and it was opened with all that was permitted.
        let is_held = !matches!(*handle, Handle::None);
        let file =
            opened.map_err(|error| if is_held && error == Errno::Stale { Errno::Access.into() } else { error })?;
        let file = Arc::new(OwnedFd::from(file.into_std()));
        if Key::of(&fstat(&file).map_err(from_raw)?) != self.key {
            return Err(Errno::Stale.into());
        }
        let was_open = matches!(*handle, Handle::File { .. });
        *handle = Handle::File { file: Arc::clone(&file), writable: write };
        drop(handle);
        if !was_open {
            self.opened.enter(self);
        }
        Ok(file)
    }

    /// Makes sure that the node stays reachable without its names, with all that is permitted. The caller holds the lock on names.
    pub(super) fn hold(self: &Arc<Self>) -> Result<()> {
        self.pinned.store(true, Ordering::Release);
        if self.dir.is_some() {
            return self.dir().map(drop);
        }
        let is_file = self.file_type == FileType::File;
        if is_file && (self.open(true).is_ok() || self.open(false).is_ok()) {
            return Ok(());
        }
        if !matches!(*lock(&self.handle), Handle::None) {
            return Ok(());
        }
        let node = self.at_place(|dir, name, _| open_node(dir, name))?;
        if Key::of(&fstat(&node).map_err(from_raw)?) != self.key {
            return Err(Errno::Stale.into());
        }
        *lock(&self.handle) = Handle::Node(Arc::new(node));
        Ok(())
    }

    /// What the host says about the node. The caller holds the lock on names.
    pub(super) fn stat(self: &Arc<Self>) -> Result<Stat> {
        if self.dir.is_none() && matches!(*lock(&self.handle), Handle::None) {
            // Looking for the name tells it already.
            return self.at_place(|_, _, stat| Ok(*stat));
        }
        self.with(|on| on.stat())
    }

    /// Calls `act` with the best hold on the node there is. The caller holds the lock on names.
    pub(super) fn with<T>(self: &Arc<Self>, act: impl FnOnce(&On<'_>) -> Result<T>) -> Result<T> {
        if self.dir.is_some() {
            return act(&On::Open(self.dir()?.as_fd()));
        }
        let fd = match &*lock(&self.handle) {
            Handle::File { file, .. } => Some((Arc::clone(file), true)),
            Handle::Node(node) => Some((Arc::clone(node), false)),
            Handle::None => None,
        };
        match fd {
            Some((file, true)) => act(&On::Open(file.as_fd())),
            Some((node, false)) => act(&On::Node(node.as_fd())),
            None => self.at_place(|dir, name, _| act(&On::Name(dir, name))),
        }
    }
}

/// How an operation on attributes reaches its node.
pub(super) enum On<'a> {
    /// Open for reading or writing.
    Open(BorrowedFd<'a>),
    /// Open as a node only.
    Node(BorrowedFd<'a>),
    /// By a name checked to lead to it.
    Name(&'a Dir, &'a [u8]),
}

impl On<'_> {
    /// For the calls that take a directory, a name and flags: the node itself in either form.
    pub(super) fn at(&self) -> (BorrowedFd<'_>, &[u8], AtFlags) {
        match self {
            Self::Open(fd) | Self::Node(fd) => (*fd, b"", AtFlags::EMPTY_PATH),
            Self::Name(dir, name) => (dir.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW),
        }
    }

    pub(super) fn stat(&self) -> Result<Stat> {
        let (dir, name, flags) = self.at();
        statat(dir, name, flags).map_err(from_raw)
    }
}
