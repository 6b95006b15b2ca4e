//! Operations on a path below a directory, as the `*at` system calls.

use bytes::Bytes;

use super::descriptor::Descriptor;
use super::location::Location;
use super::walk::{Follow, Last, Piece, Scope, Walk};
use super::{Namespace, mount::Mount};
use crate::attr::{Attr, FileType, SetAttr};
use crate::errno::Errno;
use crate::error::Result;
use crate::fs::{NewKind, NewNode, NodeId, RenameMode};
use crate::name::Name;

/// How to open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "these are the flags of open(2), each independent")]
pub struct OpenHow {
    /// The descriptor can read.
    pub read: bool,
    /// The descriptor can write.
    pub write: bool,
    /// Every write goes to the end.
    pub append: bool,
    /// Create a missing file.
    pub create: bool,
    /// With `create`: the file must be missing; a symbolic link counts as existing.
    pub exclusive: bool,
    /// Empty the file.
    pub truncate: bool,
    /// It must be a directory.
    pub directory: bool,
    /// Whether a link as last component is followed; without, it is `ELOOP`.
    pub follow: Follow,
    /// Permission bits of a created file: 0 to 0o7777.
    pub mode: u16,
}

impl OpenHow {
    /// For reading, following links.
    pub const READ: Self = Self {
        read: true,
        write: false,
        append: false,
        create: false,
        exclusive: false,
        truncate: false,
        directory: false,
        follow: Follow::Yes,
        mode: 0o644,
    };

    /// For writing: created if missing, emptied if not.
    pub const WRITE: Self = Self { read: false, write: true, create: true, truncate: true, ..Self::READ };

    /// # Errors
    /// `EINVAL` for flags that exclude each other.
    pub(super) fn check(&self) -> Result<()> {
        if self.directory && (self.create || self.exclusive || self.truncate) {
            return Err(Errno::Invalid.into());
        }
        Ok(())
    }
}

/// A name about to be made, removed or moved: the directory is the walk's.
struct Target<'n, 'p> {
    walk: Walk<'n>,
    name: Piece<'p>,
}

impl Target<'_, '_> {
    fn name(&self) -> Result<Name<'_>> {
        Name::new(&self.name)
    }

    fn mount(&self) -> &Mount {
        self.walk.mount()
    }

    fn dir(&self) -> NodeId {
        self.walk.node()
    }

    /// The type of what the name names now, not crossing mounts, or `None`.
    fn existing(&self) -> Result<Option<FileType>> {
        match self.walk.lookup(self.name()?) {
            Ok(place) => Ok(Some(place.file_type)),
            Err(error) if error == Errno::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// # Errors
    /// `EBUSY` if the name is a mount: it cannot be removed or moved.
    fn refuse_mount(&self) -> Result<()> {
        if self.walk.namespace_has_mounts()
            && self.walk.lookup(self.name()?).is_ok_and(|place| place.mount.id() != self.mount().id())
        {
            return Err(Errno::Busy.into());
        }
        Ok(())
    }
}

impl Namespace {
    fn target<'n>(&'n self, dir: &'n Location, path: &'n [u8], scope: Scope, dots: Dots) -> Result<Target<'n, 'n>> {
        let mut walk = Walk::new(self, dir, path, scope)?;
        match walk.run()? {
            Last::Name(name) => Ok(Target { walk, name }),
            Last::Dot => Err(dots.dot.into()),
            Last::DotDot => Err(dots.dot_dot.into()),
        }
    }

    /// Opens, and creates if asked to.
    ///
    /// Directories open for reading only. Of the devices, `/dev/null`, `/dev/zero` and `/dev/full` (by number) open;
    /// the others, pipes and sockets are `ENOTSUP`.
    ///
    /// # Errors
    /// Those of a walk; `EINVAL` for `directory` with `create`, `exclusive` or `truncate`; `EEXIST` for `exclusive`;
    /// `EISDIR` for a directory to be written; `ENOTDIR` for `directory` on something else; `ELOOP` for a link that is
    /// not to be followed; `EROFS`.
    pub fn open_at(&self, dir: &Location, path: &[u8], how: &OpenHow) -> Result<Descriptor> {
        self.open_in(dir, path, how, Scope::Beneath)
    }

    pub(super) fn open_in(&self, dir: &Location, path: &[u8], how: &OpenHow, scope: Scope) -> Result<Descriptor> {
        how.check()?;
        let mut walk = Walk::new(self, dir, path, scope)?;
        if !how.create {
            return Descriptor::open(walk.finish(how.follow)?, how);
        }
        loop {
            let Last::Name(name) = walk.run()? else {
                return Err(if how.exclusive { Errno::Exists } else { Errno::IsDir }.into());
            };
            let name = Name::new(&name)?;
            match walk.lookup(name) {
                Ok(_) if how.exclusive => return Err(Errno::Exists.into()),
                Ok(found) if found.file_type == FileType::Symlink => {
                    if how.follow == Follow::No && !walk.must_be_dir() {
                        return Err(Errno::Loop.into());
                    }
                    walk.follow(&found)?;
                }
                Ok(found) if walk.must_be_dir() && !found.file_type.is_dir() => return Err(Errno::NotDir.into()),
                Ok(found) if found.file_type.is_dir() => return Err(Errno::IsDir.into()),
                Ok(found) => return Descriptor::open(Location::new(found), how),
                Err(error) if error == Errno::NotFound => {
                    if walk.must_be_dir() {
                        return Err(Errno::IsDir.into());
                    }
                    let node = NewNode { kind: NewKind::File, mode: how.mode, uid: 0, gid: 0 };
                    match walk.mount().writable()?.create(walk.node(), name, &node) {
                        Ok(entry) => {
                            let created = walk.adopt(entry);
                            return Descriptor::open(Location::new(created), &OpenHow { truncate: false, ..*how });
                        }
                        // Somebody else made it in between; asked not to mind, open that one.
                        Err(error) if error == Errno::Exists && !how.exclusive => {
                            let found = walk.lookup(name)?;
                            if found.file_type == FileType::Symlink {
                                return Err(Errno::Loop.into());
                            }
                            return Descriptor::open(Location::new(found), how);
                        }
                        Err(error) => return Err(error),
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Attributes of the node at `path`.
    ///
    /// # Errors
    /// Those of a walk.
    pub fn attr_at(&self, dir: &Location, path: &[u8], follow: Follow) -> Result<Attr> {
        self.walk(dir, path, follow)?.attr()
    }

    /// Changes attributes of the node at `path`.
    ///
    /// # Errors
    /// Those of a walk, `EROFS`, and those of [`set_attr`](crate::fs::WritableFileSystem::set_attr).
    pub fn set_attr_at(&self, dir: &Location, path: &[u8], follow: Follow, changes: &SetAttr) -> Result<Attr> {
        let at = self.walk(dir, path, follow)?;
        let attr = at.writable()?.set_attr(at.node(), changes)?;
        Ok(Attr { ino: at.unique_ino(attr.ino), ..attr })
    }

    /// The target of the symbolic link at `path`.
    ///
    /// # Errors
    /// Those of a walk; `EINVAL` if it is no link.
    pub fn read_link_at(&self, dir: &Location, path: &[u8]) -> Result<Bytes> {
        self.walk(dir, path, Follow::No)?.read_link()
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// Those of a walk, `EEXIST`, `EROFS`, `ENOSPC`.
    pub fn create_dir_at(&self, dir: &Location, path: &[u8], mode: u16) -> Result<()> {
        self.create_in(dir, path, Scope::Beneath, NewKind::Dir, mode)
    }

    /// Makes a symbolic link to `target`, which is stored as it is. An absolute target is refused where it could not
    /// be followed: unless `dir` is the namespace's root.
    ///
    /// # Errors
    /// Those of a walk, `EEXIST`, `EPERM` for an absolute target, `ENOENT` for an empty one, `EROFS`, `ENOSPC`.
    pub fn symlink_at(&self, target: &[u8], dir: &Location, path: &[u8]) -> Result<()> {
        if target.is_empty() {
            return Err(Errno::NotFound.into());
        }
        if target.starts_with(b"/") && !dir.is_same(self.root()) {
            return Err(Errno::NotPermitted.into());
        }
        self.create_in(dir, path, Scope::Beneath, NewKind::Symlink(target), 0o777)
    }

    pub(super) fn create_in(
        &self,
        dir: &Location,
        path: &[u8],
        scope: Scope,
        kind: NewKind<'_>,
        mode: u16,
    ) -> Result<()> {
        let target = self.target(dir, path, scope, Dots::EXIST)?;
        if target.walk.must_be_dir() && !matches!(kind, NewKind::Dir) {
            return Err(match target.existing()? {
                Some(_) => Errno::Exists,
                None => Errno::NotFound,
            }
            .into());
        }
        let writable = target.mount().writable()?;
        let entry = writable.create(target.dir(), target.name()?, &NewNode { kind, mode, uid: 0, gid: 0 })?;
        target.mount().fs().forget(entry.node, 1);
        Ok(())
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// Those of a walk, `ENOTDIR`, `ENOTEMPTY`, `EBUSY` for a mount or the start itself, `EINVAL` for `.`, `EROFS`.
    pub fn remove_dir_at(&self, dir: &Location, path: &[u8]) -> Result<()> {
        self.remove_dir_in(dir, path, Scope::Beneath)
    }

    pub(super) fn remove_dir_in(&self, dir: &Location, path: &[u8], scope: Scope) -> Result<()> {
        let target = self.target(dir, path, scope, Dots { dot: Errno::Invalid, dot_dot: Errno::NotEmpty })?;
        target.refuse_mount()?;
        target.mount().writable()?.remove_dir(target.dir(), target.name()?)
    }

    /// Removes a name of anything but a directory. A link is removed, not followed.
    ///
    /// # Errors
    /// Those of a walk, `EISDIR`, `EROFS`.
    pub fn unlink_at(&self, dir: &Location, path: &[u8]) -> Result<()> {
        self.unlink_in(dir, path, Scope::Beneath)
    }

    pub(super) fn unlink_in(&self, dir: &Location, path: &[u8], scope: Scope) -> Result<()> {
        let target = self.target(dir, path, scope, Dots { dot: Errno::IsDir, dot_dot: Errno::IsDir })?;
        let writable = target.mount().writable()?;
        if target.walk.must_be_dir() {
            return Err(match target.existing()? {
                Some(FileType::Dir) => Errno::IsDir,
                Some(_) => Errno::NotDir,
                None => Errno::NotFound,
            }
            .into());
        }
        target.refuse_mount()?;
        writable.unlink(target.dir(), target.name()?)
    }

    /// Moves an entry, atomically.
    ///
    /// # Errors
    /// Those of a walk and of [`rename`](crate::fs::WritableFileSystem::rename); `EXDEV` across mounts, `EBUSY` for a
    /// mount and for `.` or `..`, `EROFS`.
    pub fn rename_at(
        &self,
        from_dir: &Location,
        from: &[u8],
        to_dir: &Location,
        to: &[u8],
        mode: RenameMode,
    ) -> Result<()> {
        self.rename_in((from_dir, from), (to_dir, to), Scope::Beneath, mode)
    }

    pub(super) fn rename_in(
        &self,
        from: (&Location, &[u8]),
        to: (&Location, &[u8]),
        scope: Scope,
        mode: RenameMode,
    ) -> Result<()> {
        let from = self.target(from.0, from.1, scope, Dots::BUSY)?;
        let to = self.target(to.0, to.1, scope, Dots::BUSY)?;
        if from.mount().id() != to.mount().id() {
            return Err(Errno::CrossDevice.into());
        }
        let writable = from.mount().writable()?;
        // The same mount, but it may be seen read-only from there.
        to.mount().writable()?;
        if from.walk.must_be_dir() || to.walk.must_be_dir() {
            let source = from.existing()?.ok_or(Errno::NotFound)?;
            if !source.is_dir() || (to.walk.must_be_dir() && to.existing()?.is_some_and(|existing| !existing.is_dir()))
            {
                return Err(Errno::NotDir.into());
            }
        }
        from.refuse_mount()?;
        to.refuse_mount()?;
        writable.rename(from.dir(), from.name()?, to.dir(), to.name()?, mode)
    }

    /// Gives the node at `from` one more name. A link is linked, not followed.
    ///
    /// # Errors
    /// Those of a walk and of [`link`](crate::fs::WritableFileSystem::link); `EXDEV` across mounts, `EROFS`.
    pub fn link_at(&self, from_dir: &Location, from: &[u8], to_dir: &Location, to: &[u8]) -> Result<()> {
        self.link_in((from_dir, from), (to_dir, to), Scope::Beneath)
    }

    pub(super) fn link_in(&self, from: (&Location, &[u8]), to: (&Location, &[u8]), scope: Scope) -> Result<()> {
        let node = Walk::new(self, from.0, from.1, scope)?.finish(Follow::No)?;
        if node.file_type().is_dir() {
            return Err(Errno::NotPermitted.into());
        }
        let to = self.target(to.0, to.1, scope, Dots::EXIST)?;
        if to.mount().id() != node.mount().id() {
            return Err(Errno::CrossDevice.into());
        }
        let writable = to.mount().writable()?;
        // Through the new name it could be changed.
        node.writable()?;
        if to.walk.must_be_dir() {
            return Err(match to.existing()? {
                Some(_) => Errno::Exists,
                None => Errno::NotFound,
            }
            .into());
        }
        writable.link(node.node(), to.dir(), to.name()?)
    }
}

/// What a path that ends in `.` or `..` answers where a name is needed.
#[derive(Clone, Copy)]
struct Dots {
    dot: Errno,
    dot_dot: Errno,
}

impl Dots {
    const EXIST: Self = Self { dot: Errno::Exists, dot_dot: Errno::Exists };
    const BUSY: Self = Self { dot: Errno::Busy, dot_dot: Errno::Busy };
}
