//! Calls on a descriptor.

use std::io::SeekFrom;

use mountless::attr::{FileType, SetAttr, SetTime};
use mountless::clock::Timestamp;
use mountless::errno::Errno;
use mountless::fs::Allocate;
use mountless::namespace::Descriptor;

use super::abi::{self, Iovecs, Ptr, fdflags, fstflags, rights};
use super::table::{Handle, Slot};
use super::{CallResult, Process};
use crate::host::{Fail, Stdio, Wait};

/// Several pieces to append go out as one write, up to this many bytes: others that append to the same file then cannot
/// come in between.
const GATHER_MAX: usize = 1 << 20;

/// Where in the file.
#[derive(Clone, Copy)]
enum At {
    Position,
    Offset(u64),
}

impl At {
    /// What comes after `done` bytes of a call that moves no position.
    const fn plus(self, done: u32) -> Self {
        match self {
            Self::Position => self,
            Self::Offset(offset) => Self::Offset(offset.saturating_add(done as u64)),
        }
    }

    const fn on_stdio(self) -> Option<Errno> {
        match self {
            Self::Position => None,
            Self::Offset(_) => Some(Errno::IllegalSeek),
        }
    }

    #[inline]
    fn read(self, file: &mut Descriptor, buf: &mut [u8]) -> mountless::error::Result<usize> {
        match self {
            Self::Position => file.read(buf),
            Self::Offset(offset) => file.read_at(offset, buf),
        }
    }

    #[inline]
    fn write(self, file: &mut Descriptor, buf: &[u8]) -> mountless::error::Result<usize> {
        match self {
            Self::Position => file.write(buf),
            Self::Offset(offset) => file.write_at(offset, buf),
        }
    }
}

/// Calls `transfer` for one piece of memory after the other until one is not done whole. An error after a part was done
/// is for the next call to report.
#[inline]
fn each(iovecs: &Iovecs, mut transfer: impl FnMut(u32, Ptr, u32) -> Result<usize, Fail>) -> Result<u32, Fail> {
    let mut done: u32 = 0;
    for &(ptr, len) in iovecs {
        let count = match transfer(done, ptr, len) {
            // OK: `transfer` does at most `len`, and all the lengths together fit in 32 bits.
            Ok(count) => u32::try_from(count).map_or(len, |count| count.min(len)),
            Err(Fail::Errno(_)) if done > 0 => break,
            Err(fail) => return Err(fail),
        };
        done = done.saturating_add(count);
        if count < len {
            break;
        }
    }
    Ok(done)
}

/// The times of a `…_set_times` call.
///
/// # Errors
/// `EINVAL` for unknown flags, and for a value and "now" together.
pub(super) fn times(atim: u64, mtim: u64, flags: u32) -> Result<SetAttr, Errno> {
    let time = |value_flag: u32, now_flag: u32, nanos: u64| match (flags & value_flag != 0, flags & now_flag != 0) {
        (true, true) => Err(Errno::Invalid),
        (true, false) => Ok(Some(SetTime::At(Timestamp::from_unix_nanos(nanos)))),
        (false, true) => Ok(Some(SetTime::Now)),
        (false, false) => Ok(None),
    };
    if flags & !fstflags::ALL != 0 {
        return Err(Errno::Invalid);
    }
    Ok(SetAttr {
        atime: time(fstflags::ATIM, fstflags::ATIM_NOW, atim)?,
        mtime: time(fstflags::MTIM, fstflags::MTIM_NOW, mtim)?,
        ..SetAttr::default()
    })
}

#[expect(clippy::missing_errors_doc, reason = "the errors of all calls are listed in the module")]
impl Process {
    /// Reads at the position and moves it.
    #[inline]
    pub fn fd_read(&mut self, memory: &mut [u8], fd: u32, iovs: Ptr, iovs_len: u32, count: Ptr) -> CallResult {
        self.read(memory, fd, (iovs, iovs_len), At::Position, count)
    }

    /// Reads at an offset.
    #[inline]
    pub fn fd_pread(
        &mut self,
        memory: &mut [u8],
        fd: u32,
        iovs: Ptr,
        iovs_len: u32,
        offset: u64,
        count: Ptr,
    ) -> CallResult {
        self.read(memory, fd, (iovs, iovs_len), At::Offset(offset), count)
    }

    fn read(&mut self, memory: &mut [u8], fd: u32, iovs: (Ptr, u32), at: At, count: Ptr) -> CallResult {
        abi::range(memory, count, 4)?;
        // What nearly every call is.
        if iovs.1 == 1
            && let Ok(Slot { handle: Handle::File(file), .. }) = self.table.get_mut(fd)
        {
            let (ptr, len) = abi::iovec(memory, iovs.0)?;
            let done = at.read(file, abi::bytes_mut(memory, ptr, len)?)?;
            return Ok(abi::put_u32(memory, count, u32::try_from(done).map_or(len, |done| done.min(len)))?);
        }
        let iovecs = abi::iovecs(memory, iovs.0, iovs.1)?;
        let slot = self.table.get_mut(fd)?;
        let done = match &mut slot.handle {
            Handle::File(file) => {
                if iovecs.is_empty() {
                    at.read(file, &mut [])?;
                }
                each(&iovecs, |done, ptr, len| Ok(at.plus(done).read(file, abi::bytes_mut(memory, ptr, len)?)?))?
            }
            Handle::Dir(_) => return Err(Errno::BadFd.into()),
            &mut Handle::Stdio(stream) => {
                if let Some(errno) = at.on_stdio() {
                    return Err(errno.into());
                }
                if stream != Stdio::In {
                    return Err(Errno::BadFd.into());
                }
                let wait = stdio_wait(slot.flags, self.deadline);
                each(&iovecs, |done, ptr, len| {
                    // Waiting for the rest of what was asked for would keep what has come from the guest.
                    let wait = if done > 0 { Wait::Never } else { wait };
                    self.host.read(abi::bytes_mut(memory, ptr, len)?, wait)
                })?
            }
        };
        Ok(abi::put_u32(memory, count, done)?)
    }

    /// Writes at the position, or at the end when appending, and moves the position.
    #[inline]
    pub fn fd_write(&mut self, memory: &mut [u8], fd: u32, iovs: Ptr, iovs_len: u32, count: Ptr) -> CallResult {
        self.write(memory, fd, (iovs, iovs_len), At::Position, count)
    }

    /// Writes at an offset; when appending, at the end all the same.
    #[inline]
    pub fn fd_pwrite(
        &mut self,
        memory: &mut [u8],
        fd: u32,
        iovs: Ptr,
        iovs_len: u32,
        offset: u64,
        count: Ptr,
    ) -> CallResult {
        self.write(memory, fd, (iovs, iovs_len), At::Offset(offset), count)
    }

    fn write(&mut self, memory: &mut [u8], fd: u32, iovs: (Ptr, u32), at: At, count: Ptr) -> CallResult {
        abi::range(memory, count, 4)?;
        // What nearly every call is.
        if iovs.1 == 1
            && let Ok(Slot { handle: Handle::File(file), flags, .. }) = self.table.get_mut(fd)
            && *flags & (fdflags::DSYNC | fdflags::SYNC) == 0
        {
            let (ptr, len) = abi::iovec(memory, iovs.0)?;
            let done = at.write(file, abi::bytes(memory, ptr, len)?)?;
            return Ok(abi::put_u32(memory, count, u32::try_from(done).map_or(len, |done| done.min(len)))?);
        }
        let iovecs = abi::iovecs(memory, iovs.0, iovs.1)?;
        let slot = self.table.get_mut(fd)?;
        let done = match &mut slot.handle {
            Handle::File(file) => {
                let done = if file.append() && iovecs.len() > 1 {
                    self.gathered.clear();
                    for &(ptr, len) in &iovecs {
                        let piece = abi::bytes(memory, ptr, len)?;
                        let room = GATHER_MAX.saturating_sub(self.gathered.len());
                        self.gathered.extend_from_slice(piece.get(..room).unwrap_or(piece));
                    }
                    // OK: at most `GATHER_MAX`.
                    u32::try_from(at.write(file, &self.gathered)?).map_err(|_| Errno::Overflow)?
                } else {
                    if iovecs.is_empty() {
                        at.write(file, &[])?;
                    }
                    each(&iovecs, |done, ptr, len| Ok(at.plus(done).write(file, abi::bytes(memory, ptr, len)?)?))?
                };
                if done > 0 && slot.flags & (fdflags::DSYNC | fdflags::SYNC) != 0 {
                    file.sync(slot.flags & fdflags::SYNC == 0)?;
                }
                done
            }
            Handle::Dir(_) => return Err(Errno::BadFd.into()),
            &mut Handle::Stdio(stream) => {
                if let Some(errno) = at.on_stdio() {
                    return Err(errno.into());
                }
                if stream == Stdio::In {
                    return Err(Errno::BadFd.into());
                }
                let wait = stdio_wait(slot.flags, self.deadline);
                each(&iovecs, |_, ptr, len| self.host.write(stream, abi::bytes(memory, ptr, len)?, wait))?
            }
        };
        Ok(abi::put_u32(memory, count, done)?)
    }

    /// Moves the position.
    pub fn fd_seek(&mut self, memory: &mut [u8], fd: u32, offset: u64, whence: u32, position: Ptr) -> CallResult {
        abi::range(memory, position, 8)?;
        let file = self.table.file(fd, Errno::IllegalSeek)?;
        let to = match whence {
            0 => SeekFrom::Start(offset),
            1 => SeekFrom::Current(offset.cast_signed()),
            2 => SeekFrom::End(offset.cast_signed()),
            _ => return Err(Errno::Invalid.into()),
        };
        let at = file.seek(to)?;
        Ok(abi::put_u64(memory, position, at)?)
    }

    /// The position.
    pub fn fd_tell(&mut self, memory: &mut [u8], fd: u32, position: Ptr) -> CallResult {
        abi::range(memory, position, 8)?;
        let at = self.table.file(fd, Errno::IllegalSeek)?.tell();
        Ok(abi::put_u64(memory, position, at)?)
    }

    /// Closes any descriptor, preopens and standard streams too.
    #[inline]
    pub fn fd_close(&mut self, _memory: &mut [u8], fd: u32) -> CallResult {
        self.table.remove(fd)?;
        Ok(())
    }

    /// Closes `to` and moves `fd` there.
    pub fn fd_renumber(&mut self, _memory: &mut [u8], fd: u32, to: u32) -> CallResult {
        Ok(self.table.renumber(fd, to)?)
    }

    /// Takes advice about access, and does not need it.
    pub fn fd_advise(&mut self, _memory: &mut [u8], fd: u32, offset: u64, len: u64, advice: u32) -> CallResult {
        self.table.file(fd, Errno::IllegalSeek)?;
        let in_range = offset.checked_add(len).is_some();
        if advice <= 5 && in_range { Ok(()) } else { Err(Errno::Invalid.into()) }
    }

    /// Makes sure that a range can be written, extending the file; never shrinks it.
    pub fn fd_allocate(&mut self, _memory: &mut [u8], fd: u32, offset: u64, len: u64) -> CallResult {
        let file = self.table.file(fd, Errno::IllegalSeek)?;
        if len == 0 {
            return Err(Errno::Invalid.into());
        }
        let end = offset.checked_add(len).ok_or(Errno::FileTooBig)?;
        Ok(file.allocate(Allocate::Extend, offset..end)?)
    }

    /// Makes the content durable.
    pub fn fd_datasync(&mut self, _memory: &mut [u8], fd: u32) -> CallResult {
        Ok(self.table.node(fd)?.sync(true)?)
    }

    /// Makes content and attributes durable; for a directory, its entries.
    pub fn fd_sync(&mut self, _memory: &mut [u8], fd: u32) -> CallResult {
        Ok(self.table.node(fd)?.sync(false)?)
    }

    /// Type, flags and rights.
    pub fn fd_fdstat_get(&mut self, memory: &mut [u8], fd: u32, stat: Ptr) -> CallResult {
        abi::range(memory, stat, 24)?;
        let slot = self.table.get(fd)?;
        let (file_type, flags, base, inheriting) = match &slot.handle {
            Handle::File(file) => {
                let append = if file.append() { fdflags::APPEND } else { 0 };
                let read = if file.readable() { 0 } else { rights::FD_READ };
                let write = if file.writable() { 0 } else { rights::WRITING };
                (abi::file_type(file.file_type()), slot.flags | append, rights::FILE & !read & !write, 0)
            }
            Handle::Dir(_) => (abi::file_type(FileType::Dir), slot.flags, rights::DIR, rights::DIR | rights::FILE),
            &Handle::Stdio(stream) => {
                let base = if stream == Stdio::In { rights::STDIN } else { rights::STDOUT };
                (self.stdio_type(stream), self.table.get(fd)?.flags, base, 0)
            }
        };
        Ok(abi::put(memory, stat, abi::fdstat(file_type, flags, base, inheriting))?)
    }

    /// A terminal is a character device; of anything else nothing is known.
    fn stdio_type(&mut self, stream: Stdio) -> u8 {
        if self.host.is_terminal(stream) { abi::file_type(FileType::Char) } else { 0 }
    }

    /// Switches appending and non-blocking; what was asked of syncing at open stays.
    pub fn fd_fdstat_set_flags(&mut self, _memory: &mut [u8], fd: u32, flags: u32) -> CallResult {
        const SYNCING: u16 = fdflags::DSYNC | fdflags::RSYNC | fdflags::SYNC;
        let flags = known_fdflags(flags)?;
        let slot = self.table.get_mut(fd)?;
        let file = match &mut slot.handle {
            Handle::File(file) => Some(file),
            Handle::Stdio(_) => None,
            Handle::Dir(_) => return Err(Errno::BadFd.into()),
        };
        if flags & SYNCING & !slot.flags != 0 {
            return Err(Errno::Invalid.into());
        }
        if let Some(file) = file {
            file.set_append(flags & fdflags::APPEND != 0);
        }
        slot.flags = slot.flags & SYNCING | flags & fdflags::NONBLOCK;
        Ok(())
    }

    /// Rights are not enforced: `ENOTSUP`.
    pub fn fd_fdstat_set_rights(&mut self, _memory: &mut [u8], fd: u32, _base: u64, _inheriting: u64) -> CallResult {
        self.table.get(fd)?;
        Err(Errno::NotSupported.into())
    }

    /// Attributes.
    #[inline]
    pub fn fd_filestat_get(&mut self, memory: &mut [u8], fd: u32, stat: Ptr) -> CallResult {
        abi::range(memory, stat, abi::FILESTAT_LEN)?;
        match &self.table.get(fd)?.handle {
            Handle::File(node) | Handle::Dir(node) => match node.attr() {
                Ok(ref attr) => Ok(abi::put_filestat(memory, stat, attr)?),
                Err(error) => Err(error.into()),
            },
            &Handle::Stdio(stream) => {
                let mut out = [0; abi::FILESTAT_LEN as usize];
                out[16] = self.stdio_type(stream);
                Ok(abi::put(memory, stat, out)?)
            }
        }
    }

    /// Cuts or extends; the position stays.
    pub fn fd_filestat_set_size(&mut self, _memory: &mut [u8], fd: u32, size: u64) -> CallResult {
        Ok(self.table.file(fd, Errno::BadFd)?.set_len(size)?)
    }

    /// Sets times.
    pub fn fd_filestat_set_times(
        &mut self,
        _memory: &mut [u8],
        fd: u32,
        atim: u64,
        mtim: u64,
        flags: u32,
    ) -> CallResult {
        let node = self.table.node(fd)?;
        node.set_attr(&times(atim, mtim, flags)?)?;
        Ok(())
    }

    /// The length of a preopen's name.
    pub fn fd_prestat_get(&mut self, memory: &mut [u8], fd: u32, prestat: Ptr) -> CallResult {
        abi::range(memory, prestat, 8)?;
        let name = &self.table.get(fd)?.preopen.as_ref().ok_or(Errno::BadFd)?.name;
        let len = u32::try_from(name.len()).map_err(|_| Errno::NameTooLong)?;
        // Tag 0, a directory, in the low half.
        Ok(abi::put_u64(memory, prestat, u64::from(len) << 32)?)
    }

    /// A preopen's name.
    pub fn fd_prestat_dir_name(&mut self, memory: &mut [u8], fd: u32, buf: Ptr, len: u32) -> CallResult {
        let name = &self.table.get(fd)?.preopen.as_ref().ok_or(Errno::BadFd)?.name;
        let buf = abi::bytes_mut(memory, buf, len)?;
        buf.get_mut(..name.len()).ok_or(Errno::NameTooLong)?.copy_from_slice(name.as_bytes());
        Ok(())
    }
}

const fn stdio_wait(flags: u16, deadline: Option<std::time::Instant>) -> Wait {
    if flags & fdflags::NONBLOCK == 0 { Wait::Until(deadline) } else { Wait::Never }
}

/// # Errors
/// `EINVAL` for an unknown bit.
pub(super) fn known_fdflags(flags: u32) -> Result<u16, Errno> {
    u16::try_from(flags).ok().filter(|flags| flags & !fdflags::ALL == 0).ok_or(Errno::Invalid)
}
