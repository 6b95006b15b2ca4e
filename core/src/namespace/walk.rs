//! From path to node: the one walk.
//!
//! A small machine with a stack of directories, a worklist of path pieces and a count of symbolic links. It stops
//! before the last component, so that each operation treats that one by its own rules; an operation that follows a
//! link there pushes the target and runs on.

use alloc::sync::Arc;
use core::ops::Deref;

use bytes::Bytes;
use smallvec::SmallVec;

use super::Namespace;
use super::location::{Location, Place};
use super::mount::Mount;
use crate::attr::FileType;
use crate::errno::Errno;
use crate::error::Result;
use crate::fs::{Entry, NodeId};
use crate::limits::{PATH_MAX, SYMLINK_HOPS_MAX};
use crate::name::Name;

/// Whether a symbolic link as last component is followed. A trailing slash always follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Follow {
    /// The link's target is meant.
    Yes,
    /// The link itself is meant (`O_NOFOLLOW`, `lstat`).
    No,
}

/// What to do with paths that point outside of where the walk started.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Refuse them: `EPERM`.
    Beneath,
    /// As at the root of a process's tree: `..` stays there, absolute means from there.
    Root,
}

/// The last component of a path.
pub(super) enum Last<'p> {
    /// A name, not looked up yet.
    Name(Piece<'p>),
    /// `.`, or a path of slashes only: the directory on top of the stack.
    Dot,
    /// `..`, already popped: the directory on top of the stack.
    DotDot,
}

/// A part of the path itself or of a link's target.
#[derive(Clone)]
pub(super) enum Piece<'p> {
    Path(&'p [u8]),
    Target(Bytes),
}

impl Deref for Piece<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Path(bytes) => bytes,
            Self::Target(bytes) => bytes,
        }
    }
}

impl Piece<'_> {
    /// Cuts off the first `at` bytes and returns them; `at` is within the piece.
    fn split_to(&mut self, at: usize) -> Self {
        match self {
            Self::Path(bytes) => {
                let (head, tail) = bytes.split_at(at);
                *bytes = tail;
                Self::Path(head)
            }
            Self::Target(bytes) => Self::Target(bytes.split_to(at)),
        }
    }
}

pub(super) struct Walk<'p> {
    namespace: &'p Namespace,
    start: &'p Location,
    scope: Scope,
    /// Directories entered below the start, each referenced.
    entered: SmallVec<[Place; 8]>,
    /// What is left to walk; the last piece comes first. No piece begins with a slash.
    pending: SmallVec<[Piece<'p>; 2]>,
    hops: u32,
    /// A slash followed the last component, of the path or of a link's target.
    must_be_dir: bool,
}

impl<'p> Walk<'p> {
    /// # Errors
    /// `ENOENT` for an empty path, `ENAMETOOLONG`, `ENOTDIR` if `start` is no directory, `EPERM` for an absolute path
    /// that may not be.
    pub(super) fn new(namespace: &'p Namespace, start: &'p Location, path: &'p [u8], scope: Scope) -> Result<Self> {
        if path.is_empty() {
            return Err(Errno::NotFound.into());
        }
        if path.len() > PATH_MAX {
            return Err(Errno::NameTooLong.into());
        }
        if !start.file_type().is_dir() {
            return Err(Errno::NotDir.into());
        }
        if scope == Scope::Beneath && path.starts_with(b"/") {
            return Err(Errno::NotPermitted.into());
        }
        let mut walk = Self {
            namespace,
            start,
            scope,
            entered: SmallVec::new(),
            pending: SmallVec::new(),
            hops: 0,
            must_be_dir: false,
        };
        walk.push(Piece::Path(path));
        Ok(walk)
    }

    fn push(&mut self, mut piece: Piece<'p>) {
        let slashes = leading_slashes(&piece);
        piece.split_to(slashes);
        if !piece.is_empty() {
            self.pending.push(piece);
        }
    }

    /// Walks up to the last component.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `ELOOP`, `EPERM`, `ENAMETOOLONG`, `EINVAL` for a NUL, and those of the filesystems.
    pub(super) fn run(&mut self) -> Result<Last<'p>> {
        loop {
            let Some(piece) = self.pending.last_mut() else { return Ok(Last::Dot) };
            let end = piece.iter().position(|&byte| byte == b'/').unwrap_or(piece.len());
            let component = piece.split_to(end);
            let slashes = leading_slashes(piece);
            piece.split_to(slashes);
            if piece.is_empty() {
                self.pending.pop();
            }
            let is_last = self.pending.is_empty();
            if is_last && slashes > 0 {
                self.must_be_dir = true;
            }
            match &*component {
                b"." if is_last => return Ok(Last::Dot),
                b"." => {}
                b".." => {
                    if self.entered.pop().is_none() && self.scope == Scope::Beneath {
                        return Err(Errno::NotPermitted.into());
                    }
                    if is_last {
                        return Ok(Last::DotDot);
                    }
                }
                _ if is_last => return Ok(Last::Name(component)),
                name => {
                    let next = self.lookup(Name::new(name)?)?;
                    match next.file_type {
                        FileType::Dir => self.entered.push(next),
                        FileType::Symlink => self.follow(&next)?,
                        _ => return Err(Errno::NotDir.into()),
                    }
                }
            }
        }
    }

    /// Puts the target of `link`, which was found in the current directory, in front of what is left to walk.
    ///
    /// # Errors
    /// `ELOOP`, `ENOENT` for an empty target, `EPERM` for an absolute one where the start is not the root.
    pub(super) fn follow(&mut self, link: &Place) -> Result<()> {
        self.hops = self.hops.saturating_add(1);
        if self.hops > SYMLINK_HOPS_MAX {
            return Err(Errno::Loop.into());
        }
        let target = link.mount.fs().read_link(link.node)?;
        if target.is_empty() {
            return Err(Errno::NotFound.into());
        }
        if target.len() > PATH_MAX {
            return Err(Errno::NameTooLong.into());
        }
        if target.starts_with(b"/") {
            if !self.start.is_same(self.namespace.root()) {
                return Err(Errno::NotPermitted.into());
            }
            self.entered.clear();
        }
        self.push(Piece::Target(target));
        Ok(())
    }

    /// Looks `name` up in the current directory and crosses into a mount that covers it.
    pub(super) fn lookup(&self, name: Name<'_>) -> Result<Place> {
        let dir = self.dir();
        let entry = dir.mount.fs().lookup(dir.node, name)?;
        let place = Place::counted(Arc::clone(&dir.mount), entry.node, entry.file_type);
        Ok(match self.namespace.mounts.covering(&dir.mount, entry.node) {
            Some(mount) => Place::root_of(mount),
            None => place,
        })
    }

    /// The directory walked to so far.
    pub(super) fn dir(&self) -> &Place {
        self.entered.last().unwrap_or_else(|| self.start.place())
    }

    /// The place of an entry of the current directory that was just created.
    pub(super) fn adopt(&self, entry: Entry) -> Place {
        Place::counted(Arc::clone(&self.dir().mount), entry.node, entry.file_type)
    }

    pub(super) fn namespace_has_mounts(&self) -> bool {
        self.namespace.mounts.any()
    }

    pub(super) fn mount(&self) -> &Mount {
        &self.dir().mount
    }

    pub(super) fn node(&self) -> NodeId {
        self.dir().node
    }

    pub(super) const fn must_be_dir(&self) -> bool {
        self.must_be_dir
    }

    /// The current directory as the result.
    pub(super) fn into_dir(mut self) -> Location {
        match self.entered.pop() {
            Some(place) => Location::new(place),
            None => self.start.clone(),
        }
    }

    /// Walks to the end.
    pub(super) fn finish(mut self, follow: Follow) -> Result<Location> {
        loop {
            let Last::Name(name) = self.run()? else { return Ok(self.into_dir()) };
            let found = self.lookup(Name::new(&name)?)?;
            if found.file_type == FileType::Symlink && (follow == Follow::Yes || self.must_be_dir) {
                self.follow(&found)?;
                continue;
            }
            if self.must_be_dir && !found.file_type.is_dir() {
                return Err(Errno::NotDir.into());
            }
            return Ok(Location::new(found));
        }
    }
}

fn leading_slashes(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|&&byte| byte == b'/').count()
}

impl Namespace {
    /// Finds the node at `path`, which may not lead out of `dir`.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `ELOOP` beyond 40 symbolic links, `EPERM` for an escape, `ENAMETOOLONG`, `EINVAL` for a
    /// NUL, and those of the filesystems.
    pub fn walk(&self, dir: &Location, path: &[u8], follow: Follow) -> Result<Location> {
        Walk::new(self, dir, path, Scope::Beneath)?.finish(follow)
    }

    /// Finds the node at `path`, seen from the root.
    ///
    /// # Errors
    /// As [`walk`](Self::walk), without escapes: there is nowhere to escape to.
    pub fn locate(&self, path: impl AsRef<[u8]>, follow: Follow) -> Result<Location> {
        Walk::new(self, self.root(), path.as_ref(), Scope::Root)?.finish(follow)
    }
}
