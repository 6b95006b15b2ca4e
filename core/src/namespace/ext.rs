//! `std::fs`-like operations: paths from the root, errors as errnos.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use super::descriptor::Descriptor;
use super::walk::{Follow, Scope};
use super::{Namespace, OpenHow};
use crate::attr::{Attr, FileType, SetAttr};
use crate::errno::Errno;
use crate::error::{Error, Result};
use crate::fs::{FileSystemExt, NewKind, RenameMode};

/// An entry of a listing that owns its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnedEntry {
    /// The name.
    pub name: Box<[u8]>,
    /// The node's kind.
    pub file_type: FileType,
    /// The node's number, unique in the namespace.
    pub ino: u64,
}

impl Namespace {
    /// Opens the file or directory at `path`.
    ///
    /// # Errors
    /// As [`open_at`](Self::open_at), without escapes.
    pub fn open(&self, path: impl AsRef<[u8]>, how: &OpenHow) -> Result<Descriptor> {
        self.open_in(self.root(), path.as_ref(), how, Scope::Root)
    }

    /// The content of a file.
    ///
    /// # Errors
    /// Those of a walk, `EISDIR`, and those of reading.
    pub fn read(&self, path: impl AsRef<[u8]>) -> Result<Vec<u8>> {
        let at = self.locate(path, Follow::Yes)?;
        at.fs().read_to_vec(at.node())
    }

    /// The content of a text file.
    ///
    /// # Errors
    /// As [`read`](Self::read); `EILSEQ` if it is not UTF-8.
    pub fn read_to_string(&self, path: impl AsRef<[u8]>) -> Result<String> {
        String::from_utf8(self.read(path)?).map_err(|error| Error::new(Errno::IllegalSequence, error))
    }

    /// Writes a file, replacing its content if it exists.
    ///
    /// # Errors
    /// Those of [`open`](Self::open) and of writing.
    pub fn write(&self, path: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Result<()> {
        let mut file = self.open(path, &OpenHow::WRITE)?;
        let mut rest = content.as_ref();
        while !rest.is_empty() {
            let count = file.write(rest)?;
            rest = rest.get(count..).filter(|_| count > 0).ok_or(Errno::NoSpace)?;
        }
        Ok(())
    }

    /// Whether there is something at `path`, following links.
    ///
    /// # Errors
    /// Those of a walk, but for `ENOENT` and `ENOTDIR`.
    pub fn exists(&self, path: impl AsRef<[u8]>) -> Result<bool> {
        match self.locate(path, Follow::Yes) {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.errno(), Errno::NotFound | Errno::NotDir) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Attributes of the node at `path`, following links.
    ///
    /// # Errors
    /// Those of a walk.
    pub fn metadata(&self, path: impl AsRef<[u8]>) -> Result<Attr> {
        self.locate(path, Follow::Yes)?.attr()
    }

    /// Attributes of the node at `path`, not following a link at the end.
    ///
    /// # Errors
    /// Those of a walk.
    pub fn symlink_metadata(&self, path: impl AsRef<[u8]>) -> Result<Attr> {
        self.locate(path, Follow::No)?.attr()
    }

    /// Changes attributes of the node at `path`.
    ///
    /// # Errors
    /// Those of a walk, `EROFS`, and those of [`set_attr`](crate::fs::WritableFileSystem::set_attr).
    pub fn set_attr(&self, path: impl AsRef<[u8]>, follow: Follow, changes: &SetAttr) -> Result<Attr> {
        let at = self.locate(path, follow)?;
        let attr = at.writable()?.set_attr(at.node(), changes)?;
        Ok(Attr { ino: at.unique_ino(attr.ino), ..attr })
    }

    /// The entries of a directory, in the filesystem's order, without `.` and `..`.
    ///
    /// # Errors
    /// Those of a walk, `ENOTDIR`.
    pub fn read_dir(&self, path: impl AsRef<[u8]>) -> Result<Vec<OwnedEntry>> {
        let at = self.locate(path, Follow::Yes)?;
        let mut entries = Vec::new();
        at.fs().for_each_entry(at.node(), |entry| {
            entries.push(OwnedEntry {
                name: entry.name.as_bytes().into(),
                file_type: entry.file_type,
                ino: at.unique_ino(entry.ino),
            });
            Ok(())
        })?;
        Ok(entries)
    }

    /// Makes a directory with mode 0755.
    ///
    /// # Errors
    /// As [`create_dir_at`](Self::create_dir_at), without escapes.
    pub fn create_dir(&self, path: impl AsRef<[u8]>) -> Result<()> {
        self.create_in(self.root(), path.as_ref(), Scope::Root, NewKind::Dir, 0o755)
    }

    /// Makes a directory and those above it that are missing.
    ///
    /// # Errors
    /// As [`create_dir`](Self::create_dir), but an existing directory is fine.
    pub fn create_dir_all(&self, path: impl AsRef<[u8]>) -> Result<()> {
        let path = path.as_ref();
        let ends = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(at, _)| at).chain([path.len()]);
        for prefix in ends.filter_map(|end| path.get(..end)).filter(|prefix| !prefix.is_empty()) {
            match self.create_dir(prefix) {
                Err(error) if error == Errno::Exists && self.metadata(prefix)?.file_type.is_dir() => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Makes a symbolic link to `target`.
    ///
    /// # Errors
    /// Those of a walk, `EEXIST`, `ENOENT` for an empty target, `EROFS`, `ENOSPC`.
    pub fn symlink(&self, target: impl AsRef<[u8]>, path: impl AsRef<[u8]>) -> Result<()> {
        let target = target.as_ref();
        if target.is_empty() {
            return Err(Errno::NotFound.into());
        }
        self.create_in(self.root(), path.as_ref(), Scope::Root, NewKind::Symlink(target), 0o777)
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// Those of a walk; `EINVAL` if it is no link.
    pub fn read_link(&self, path: impl AsRef<[u8]>) -> Result<Bytes> {
        self.locate(path, Follow::No)?.read_link()
    }

    /// Gives the file at `from` one more name.
    ///
    /// # Errors
    /// As [`link_at`](Self::link_at), without escapes.
    pub fn hard_link(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Result<()> {
        self.link_in((self.root(), from.as_ref()), (self.root(), to.as_ref()), Scope::Root)
    }

    /// Moves an entry, replacing what is at `to`.
    ///
    /// # Errors
    /// As [`rename_at`](Self::rename_at), without escapes.
    pub fn rename(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Result<()> {
        let (from, to) = ((self.root(), from.as_ref()), (self.root(), to.as_ref()));
        self.rename_in(from, to, Scope::Root, RenameMode::Replace)
    }

    /// Removes a name of anything but a directory.
    ///
    /// # Errors
    /// As [`unlink_at`](Self::unlink_at), without escapes.
    pub fn remove_file(&self, path: impl AsRef<[u8]>) -> Result<()> {
        self.unlink_in(self.root(), path.as_ref(), Scope::Root)
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// As [`remove_dir_at`](Self::remove_dir_at), without escapes.
    pub fn remove_dir(&self, path: impl AsRef<[u8]>) -> Result<()> {
        self.remove_dir_in(self.root(), path.as_ref(), Scope::Root)
    }

    /// Removes a directory with everything in it. Links are removed, not followed.
    ///
    /// # Errors
    /// As [`remove_dir`](Self::remove_dir) and [`remove_file`](Self::remove_file); what was removed before stays
    /// removed.
    pub fn remove_dir_all(&self, path: impl AsRef<[u8]>) -> Result<()> {
        // A worklist instead of recursion: a tree may be as deep as it likes. A directory comes up twice, first to
        // queue its content above itself, then, empty, to go.
        let mut todo = alloc::vec![path.as_ref().to_vec()];
        while let Some(dir) = todo.last().cloned() {
            let mut has_dirs = false;
            for entry in self.read_dir(&dir)? {
                let path = [&dir, &b"/"[..], &entry.name].concat();
                if entry.file_type.is_dir() {
                    has_dirs = true;
                    todo.push(path);
                } else {
                    self.remove_file(path)?;
                }
            }
            if !has_dirs {
                self.remove_dir(&dir)?;
                todo.pop();
            }
        }
        Ok(())
    }
}
