//! A [`Namespace`] as a file system of the [`vfs`](https://docs.rs/vfs) crate.
//!
//! `vfs` speaks UTF-8 paths that are absolute without `.` and `..`, and calls the root the empty string. Symbolic links
//! are followed, since it knows none; what is neither file nor directory is listed, but cannot be opened.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};

use ::vfs::error::VfsErrorKind;
use ::vfs::{FileSystem, SeekAndRead, SeekAndWrite, VfsError, VfsFileType, VfsMetadata, VfsResult};

use crate::attr::{FileType, SetAttr, SetTime};
use crate::clock::Timestamp;
use crate::errno::Errno;
use crate::error::Error;
use crate::fs::RenameMode;
use crate::namespace::{Follow, Namespace, OpenHow};

/// The crate's own kinds where it has them; the rest as the `std::io` error.
fn vfs_error(error: Error) -> VfsError {
    match error.errno() {
        Errno::NotFound => VfsErrorKind::FileNotFound,
        Errno::NotSupported => VfsErrorKind::NotSupported,
        _ => VfsErrorKind::IoError(error.into()),
    }
    .into()
}

/// `vfs` tells the two apart when something is in the way of a new directory.
fn already_exists(is_dir: bool) -> VfsError {
    if is_dir { VfsErrorKind::DirectoryExists } else { VfsErrorKind::FileExists }.into()
}

fn full(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

fn time(time: Timestamp) -> Option<SystemTime> {
    let nanos = Duration::from_nanos(u64::from(time.nanos));
    let whole = Duration::from_secs(time.secs.unsigned_abs());
    let at = if time.secs < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    at?.checked_add(nanos)
}

impl Namespace {
    fn set_time(&self, path: &str, changes: SetAttr) -> VfsResult<()> {
        self.set_attr(full(path), Follow::Yes, &changes).map(drop).map_err(vfs_error)
    }

    /// `vfs` moves files and directories by calls of their own, and never replaces.
    fn move_entry(&self, from: &str, to: &str, dirs: bool) -> VfsResult<()> {
        let is_dir = self.metadata(full(from)).map_err(vfs_error)?.file_type.is_dir();
        if is_dir != dirs {
            return Err(vfs_error(if is_dir { Errno::IsDir } else { Errno::NotDir }.into()));
        }
        // `*_at` paths are relative; those of `vfs` have no `..`, so the two mean the same.
        let relative = |path: &str| -> Vec<u8> { path.trim_start_matches('/').into() };
        self.rename_at(self.root(), &relative(from), self.root(), &relative(to), RenameMode::NoReplace)
            .map_err(vfs_error)
    }
}

impl FileSystem for Namespace {
    fn read_dir(&self, path: &str) -> VfsResult<Box<dyn Iterator<Item = String> + Send>> {
        let entries = Self::read_dir(self, full(path)).map_err(vfs_error)?;
        let names: Result<Vec<_>, _> =
            entries.into_iter().map(|entry| String::from_utf8(entry.name.into_vec())).collect();
        let names = names.map_err(|error| vfs_error(Error::new(Errno::IllegalSequence, error)))?;
        Ok(Box::new(names.into_iter()))
    }

    fn create_dir(&self, path: &str) -> VfsResult<()> {
        match Self::create_dir(self, full(path)) {
            Err(error) if error == Errno::Exists => {
                Err(already_exists(self.metadata(full(path)).is_ok_and(|attr| attr.file_type.is_dir())))
            }
            other => other.map_err(vfs_error),
        }
    }

    fn open_file(&self, path: &str) -> VfsResult<Box<dyn SeekAndRead + Send>> {
        Ok(Box::new(self.open(full(path), &OpenHow::READ).map_err(vfs_error)?))
    }

    fn create_file(&self, path: &str) -> VfsResult<Box<dyn SeekAndWrite + Send>> {
        Ok(Box::new(self.open(full(path), &OpenHow::WRITE).map_err(vfs_error)?))
    }

    fn append_file(&self, path: &str) -> VfsResult<Box<dyn SeekAndWrite + Send>> {
        let how = OpenHow { read: false, write: true, append: true, ..OpenHow::READ };
        Ok(Box::new(self.open(full(path), &how).map_err(vfs_error)?))
    }

    fn metadata(&self, path: &str) -> VfsResult<VfsMetadata> {
        let attr = Self::metadata(self, full(path)).map_err(vfs_error)?;
        let is_dir = attr.file_type == FileType::Dir;
        Ok(VfsMetadata {
            file_type: if is_dir { VfsFileType::Directory } else { VfsFileType::File },
            len: attr.size,
            created: None,
            modified: time(attr.mtime),
            accessed: time(attr.atime),
        })
    }

    fn set_modification_time(&self, path: &str, time: SystemTime) -> VfsResult<()> {
        self.set_time(path, SetAttr { mtime: Some(SetTime::At(time.into())), ..SetAttr::default() })
    }

    fn set_access_time(&self, path: &str, time: SystemTime) -> VfsResult<()> {
        self.set_time(path, SetAttr { atime: Some(SetTime::At(time.into())), ..SetAttr::default() })
    }

    fn exists(&self, path: &str) -> VfsResult<bool> {
        Self::exists(self, full(path)).map_err(vfs_error)
    }

    fn remove_file(&self, path: &str) -> VfsResult<()> {
        Self::remove_file(self, full(path)).map_err(vfs_error)
    }

    fn remove_dir(&self, path: &str) -> VfsResult<()> {
        Self::remove_dir(self, full(path)).map_err(vfs_error)
    }

    fn move_file(&self, from: &str, to: &str) -> VfsResult<()> {
        self.move_entry(from, to, false)
    }

    fn move_dir(&self, from: &str, to: &str) -> VfsResult<()> {
        self.move_entry(from, to, true)
    }
}
