//! Calls on a path below a directory. The walk, its escape rules and trailing slashes are the namespace's.

use mountless::errno::Errno;
use mountless::fs::RenameMode;
use mountless::namespace::{Follow, OpenHow};

use super::abi::{self, Ptr, fdflags, lookupflags, oflags, rights};
use super::fd::{known_fdflags, times};
use super::table::{Handle, Slot};
use super::{CallResult, Process};

/// Preview 1 says no mode.
const FILE_MODE: u16 = 0o644;
const DIR_MODE: u16 = 0o755;

/// # Errors
/// `EINVAL` for an unknown bit.
fn follow(lookup: u32) -> Result<Follow, Errno> {
    match lookup {
        0 => Ok(Follow::No),
        lookupflags::SYMLINK_FOLLOW => Ok(Follow::Yes),
        _ => Err(Errno::Invalid),
    }
}

#[expect(clippy::missing_errors_doc, reason = "the errors of all calls are listed in the module")]
impl Process {
    /// Opens, and creates if asked to, under the lowest free descriptor.
    ///
    /// Of the rights, only reading and writing count; libcs ask for everything.
    #[expect(clippy::too_many_arguments, reason = "the ABI has as many")]
    pub fn path_open(
        &mut self,
        memory: &mut [u8],
        fd: u32,
        lookup: u32,
        path: Ptr,
        path_len: u32,
        oflags: u32,
        rights_base: u64,
        _rights_inheriting: u64,
        fdflags: u32,
        opened: Ptr,
    ) -> CallResult {
        abi::range(memory, opened, 4)?;
        let path = abi::text(memory, path, path_len)?;
        let dir = self.table.dir(fd)?;
        let flags = known_fdflags(fdflags)?;
        if oflags & !oflags::ALL != 0 {
            return Err(Errno::Invalid.into());
        }
        let (read, write) = (rights_base & rights::FD_READ != 0, rights_base & rights::FD_WRITE != 0);
        let how = OpenHow {
            read: read || !write,
            write: write || oflags & (oflags::CREATE | oflags::TRUNCATE) != 0,
            append: flags & fdflags::APPEND != 0,
            create: oflags & oflags::CREATE != 0,
            exclusive: oflags & oflags::EXCLUSIVE != 0,
            truncate: oflags & oflags::TRUNCATE != 0,
            directory: oflags & oflags::DIRECTORY != 0,
            follow: follow(lookup)?,
            mode: FILE_MODE,
        };
        // Before the tree is touched.
        self.table.check_room()?;
        let mut node = self.walks.open_at(&self.namespace, dir.location(), path, &how)?;
        node.limit_len(self.limits.file_bytes);
        let handle = if node.file_type().is_dir() { Handle::Dir(node) } else { Handle::File(node) };
        let fd = self.table.insert(Slot::new(handle, flags))?;
        Ok(abi::put_u32(memory, opened, fd)?)
    }

    /// Attributes.
    pub fn path_filestat_get(
        &mut self,
        memory: &mut [u8],
        fd: u32,
        lookup: u32,
        path: Ptr,
        path_len: u32,
        stat: Ptr,
    ) -> CallResult {
        abi::range(memory, stat, abi::FILESTAT_LEN)?;
        let path = abi::text(memory, path, path_len)?;
        let dir = self.table.dir(fd)?;
        match self.walks.attr_at(&self.namespace, dir.location(), path, follow(lookup)?) {
            Ok(ref attr) => Ok(abi::put_filestat(memory, stat, attr)?),
            Err(error) => Err(error.into()),
        }
    }

    /// Sets times.
    #[expect(clippy::too_many_arguments, reason = "the ABI has as many")]
    pub fn path_filestat_set_times(
        &mut self,
        memory: &mut [u8],
        fd: u32,
        lookup: u32,
        path: Ptr,
        path_len: u32,
        atim: u64,
        mtim: u64,
        flags: u32,
    ) -> CallResult {
        let path = abi::text(memory, path, path_len)?;
        let dir = self.table.dir(fd)?;
        let changes = times(atim, mtim, flags)?;
        self.namespace.set_attr_at(dir.location(), path, follow(lookup)?, &changes)?;
        Ok(())
    }

    /// Makes a directory.
    pub fn path_create_directory(&mut self, memory: &mut [u8], fd: u32, path: Ptr, path_len: u32) -> CallResult {
        let path = abi::text(memory, path, path_len)?;
        let dir = self.table.dir(fd)?;
        Ok(self.namespace.create_dir_at(dir.location(), path, DIR_MODE)?)
    }

    /// Removes an empty directory.
    pub fn path_remove_directory(&mut self, memory: &mut [u8], fd: u32, path: Ptr, path_len: u32) -> CallResult {
        let path = abi::text(memory, path, path_len)?;
        let dir = self.table.dir(fd)?;
        self.walks.clear();
        Ok(self.namespace.remove_dir_at(dir.location(), path)?)
    }

    /// Removes a name of anything but a directory.
    pub fn path_unlink_file(&mut self, memory: &mut [u8], fd: u32, path: Ptr, path_len: u32) -> CallResult {
        let path = abi::text(memory, path, path_len)?;
        let dir = self.table.dir(fd)?;
        // What is removed must not be kept by having been walked to.
        self.walks.clear();
        Ok(self.namespace.unlink_at(dir.location(), path)?)
    }

    /// Gives a node one more name. A link is linked, not followed: asking to follow is `EINVAL`.
    #[expect(clippy::too_many_arguments, reason = "the ABI has as many")]
    pub fn path_link(
        &mut self,
        memory: &mut [u8],
        from_fd: u32,
        lookup: u32,
        from: Ptr,
        from_len: u32,
        to_fd: u32,
        to: Ptr,
        to_len: u32,
    ) -> CallResult {
        let from = abi::text(memory, from, from_len)?;
        let to = abi::text(memory, to, to_len)?;
        let (from_dir, to_dir) = (self.table.dir(from_fd)?, self.table.dir(to_fd)?);
        if follow(lookup)? == Follow::Yes {
            return Err(Errno::Invalid.into());
        }
        Ok(self.namespace.link_at(from_dir.location(), from, to_dir.location(), to)?)
    }

    /// Moves an entry, replacing what is there.
    #[expect(clippy::too_many_arguments, reason = "the ABI has as many")]
    pub fn path_rename(
        &mut self,
        memory: &mut [u8],
        from_fd: u32,
        from: Ptr,
        from_len: u32,
        to_fd: u32,
        to: Ptr,
        to_len: u32,
    ) -> CallResult {
        let from = abi::text(memory, from, from_len)?;
        let to = abi::text(memory, to, to_len)?;
        let (from_dir, to_dir) = (self.table.dir(from_fd)?, self.table.dir(to_fd)?);
        self.walks.clear();
        Ok(self.namespace.rename_at(from_dir.location(), from, to_dir.location(), to, RenameMode::Replace)?)
    }

    /// Makes a symbolic link; its target is data.
    pub fn path_symlink(
        &mut self,
        memory: &mut [u8],
        target: Ptr,
        target_len: u32,
        fd: u32,
        path: Ptr,
        path_len: u32,
    ) -> CallResult {
        let target = abi::text(memory, target, target_len)?;
        let path = abi::text(memory, path, path_len)?;
        let dir = self.table.dir(fd)?;
        Ok(self.namespace.symlink_at(target, dir.location(), path)?)
    }

    /// The target of a symbolic link, cut to the buffer's length.
    #[expect(clippy::too_many_arguments, reason = "the ABI has as many")]
    pub fn path_readlink(
        &mut self,
        memory: &mut [u8],
        fd: u32,
        path: Ptr,
        path_len: u32,
        buf: Ptr,
        buf_len: u32,
        used: Ptr,
    ) -> CallResult {
        abi::range(memory, used, 4)?;
        abi::range(memory, buf, buf_len)?;
        let path = abi::text(memory, path, path_len)?;
        let dir = self.table.dir(fd)?;
        let target = self.namespace.read_link_at(dir.location(), path)?;
        let buf = abi::bytes_mut(memory, buf, buf_len)?;
        let count = buf.len().min(target.len());
        for (to, from) in buf.iter_mut().zip(target.iter()) {
            *to = *from;
        }
        // OK: at most `buf_len`.
        Ok(abi::put_u32(memory, used, u32::try_from(count).map_err(|_| Errno::Overflow)?)?)
    }
}
