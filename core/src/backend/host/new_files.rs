//! Files that are made whole and then nobody's business any more, as extracting makes them by the thousand: what
//! [`create`](crate::fs::WritableFileSystem::create), writing, setting times and forgetting would do, without a node that
//! is known in between.

use alloc::sync::Arc;
use std::os::fd::{AsFd, OwnedFd};

use cap_std::fs::Dir;

use super::HostFs;
use super::attr::{self, mode_of};
use super::errno::from_raw;
use super::node::{self, On};
use super::write::{finish_or_undo, write_full};
use crate::attr::{SetAttr, SetTime};
use crate::errno::Errno;
use crate::error::Result;
use crate::fs::{NewNode, NodeId};
use crate::name::Name;

/// Makes files in one directory, which it keeps open.
pub(crate) struct NewFiles {
    dir: Arc<Dir>,
    /// The mode, user and group that a new file had at once, as asked for: so does the next, since neither the umask nor
    /// what the directory says of its files is another one then. Saves looking at each.
    come_right: Option<(u16, u32, u32)>,
}

/// A file that was just made.
pub(crate) struct NewFile(OwnedFd);

impl HostFs {
    /// Makes files in `dir`.
    ///
    /// # Errors
    /// `ENOTDIR`, `EROFS`; `ESTALE` if somebody else moved the directory.
    pub(crate) fn new_files(&self, dir: NodeId) -> Result<NewFiles> {
        if self.read_only {
            return Err(Errno::ReadOnly.into());
        }
        let node = self.table.node(dir)?;
        let _names = self.names();
        Ok(NewFiles { dir: node.dir()?, come_right: None })
    }
}

impl NewFiles {
    /// Makes an empty file, which nothing is called yet; if it cannot have its owner and mode, nothing is made.
    ///
    /// # Errors
    /// `EEXIST`, `EACCES`, `EPERM`, and what else the host says.
    pub(crate) fn create(&mut self, name: Name<'_>, new: &NewNode<'_>) -> Result<NewFile> {
        let file = node::create_file(&self.dir, name, new.mode)?;
        let wanted = (new.mode & 0o7777, new.uid, new.gid);
        if self.come_right != Some(wanted) {
            let on = On::Open(file.as_fd());
            self.come_right =
                on.stat().ok().map(|stat| (mode_of(&stat), stat.st_uid, stat.st_gid)).filter(|found| *found == wanted);
            if self.come_right.is_none() {
                finish_or_undo(&self.dir, name, &on, new)?;
            }
        }
        Ok(NewFile(file))
    }
}

impl NewFile {
    /// Writes all of its content.
    ///
    /// # Errors
    /// `ENOSPC`, `EFBIG`, `EIO`.
    pub(crate) fn fill(&self, content: &[u8]) -> Result<()> {
        let count = write_full(content, |piece, done| rustix::io::pwrite(&self.0, piece, done))?;
        if count < content.len() { Err(Errno::NoSpace.into()) } else { Ok(()) }
    }

    /// Sets the time of modification.
    ///
    /// # Errors
    /// `EPERM`, `EINVAL` for times that the host cannot store.
    pub(crate) fn set_mtime(&self, time: SetTime) -> Result<()> {
        let changes = SetAttr { mtime: Some(time), ..SetAttr::default() };
        let Some(times) = attr::timestamps(&changes) else { return Ok(()) };
        rustix::fs::futimens(&self.0, &times).map_err(from_raw)
    }
}
