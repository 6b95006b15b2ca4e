//! Layouts of preview 1 in the guest's memory, little endian, and access to it.
//!
//! Every pointer and length comes from the guest. A range is proven once, by `range`, before anything is read or
//! written; what is out of bounds is `EFAULT`. Alignment is not asked for: nothing here needs it.

use core::ops::Range;

use mountless::attr::{Attr, FileType};
use mountless::errno::Errno;
use mountless::limits::PATH_MAX;
use smallvec::SmallVec;

/// A guest's pointer: an offset in bytes into its memory.
pub type Ptr = u32;

/// Bytes of an event of `poll_oneoff`.
pub(super) const EVENT_LEN: u32 = 32;
/// Bytes of a subscription of `poll_oneoff`.
pub(super) const SUBSCRIPTION_LEN: u32 = 48;
/// Bytes of the header before a name in a listing.
pub(super) const DIRENT_LEN: usize = 24;
/// Bytes of a scatter-gather element.
const IOVEC_LEN: u32 = 8;
/// Bytes of a node's attributes.
pub(super) const FILESTAT_LEN: u32 = 64;
/// Elements used of one scatter-gather list; more make a short count, as they may.
const IOVECS_MAX: u32 = 1024;

pub(super) mod fdflags {
    pub(crate) const APPEND: u16 = 1;
    pub(crate) const DSYNC: u16 = 2;
    pub(crate) const NONBLOCK: u16 = 4;
    pub(crate) const RSYNC: u16 = 8;
    pub(crate) const SYNC: u16 = 16;
    pub(crate) const ALL: u16 = APPEND | DSYNC | NONBLOCK | RSYNC | SYNC;
}

pub(super) mod oflags {
    pub(crate) const CREATE: u32 = 1;
    pub(crate) const DIRECTORY: u32 = 2;
    pub(crate) const EXCLUSIVE: u32 = 4;
    pub(crate) const TRUNCATE: u32 = 8;
    pub(crate) const ALL: u32 = CREATE | DIRECTORY | EXCLUSIVE | TRUNCATE;
}

pub(super) mod lookupflags {
    pub(crate) const SYMLINK_FOLLOW: u32 = 1;
}

pub(super) mod fstflags {
    pub(crate) const ATIM: u32 = 1;
    pub(crate) const ATIM_NOW: u32 = 2;
    pub(crate) const MTIM: u32 = 4;
    pub(crate) const MTIM_NOW: u32 = 8;
    pub(crate) const ALL: u32 = ATIM | ATIM_NOW | MTIM | MTIM_NOW;
}

pub(super) mod rights {
    pub(crate) const FD_READ: u64 = 1 << 1;
    pub(crate) const FD_WRITE: u64 = 1 << 6;
    const FD_DATASYNC: u64 = 1;
    const FD_SEEK: u64 = 1 << 2;
    const FD_FDSTAT_SET_FLAGS: u64 = 1 << 3;
    const FD_SYNC: u64 = 1 << 4;
    const FD_TELL: u64 = 1 << 5;
    const FD_ADVISE: u64 = 1 << 7;
    const FD_ALLOCATE: u64 = 1 << 8;
    /// `path_create_directory` (9) to `path_filestat_set_times` (20), `fd_readdir` (14) among them. Not
    /// `path_filestat_set_size` (19): no call needs it, and who sees it may want to drop it, which nobody can.
    const PATH_FIRST: u64 = 0x17_fe00;
    const FD_FILESTAT_GET: u64 = 1 << 21;
    const FD_FILESTAT_SET_SIZE: u64 = 1 << 22;
    const FD_FILESTAT_SET_TIMES: u64 = 1 << 23;
    const PATH_SYMLINK: u64 = 1 << 24;
    const PATH_REMOVE_DIRECTORY: u64 = 1 << 25;
    const PATH_UNLINK_FILE: u64 = 1 << 26;
    const POLL_FD_READWRITE: u64 = 1 << 27;

    const ANY: u64 = FD_FDSTAT_SET_FLAGS | FD_FILESTAT_GET | FD_FILESTAT_SET_TIMES | FD_SYNC | FD_DATASYNC;

    /// What only a file open for writing can do.
    pub(crate) const WRITING: u64 = FD_WRITE | FD_ALLOCATE | FD_FILESTAT_SET_SIZE;
    pub(crate) const FILE: u64 = ANY | FD_READ | WRITING | FD_SEEK | FD_TELL | FD_ADVISE | POLL_FD_READWRITE;
    pub(crate) const DIR: u64 = ANY | PATH_FIRST | PATH_SYMLINK | PATH_REMOVE_DIRECTORY | PATH_UNLINK_FILE;
    /// Without seek and tell: that is how libcs recognise a terminal.
    pub(crate) const STDIN: u64 = FD_READ | FD_FDSTAT_SET_FLAGS | FD_FILESTAT_GET | POLL_FD_READWRITE;
    pub(crate) const STDOUT: u64 = FD_WRITE | FD_FDSTAT_SET_FLAGS | FD_FILESTAT_GET | POLL_FD_READWRITE;
}

/// The number of a file type. Preview 1 has no pipes: they are "unknown".
pub(super) const fn file_type(file_type: FileType) -> u8 {
    match file_type {
        FileType::Block => 1,
        FileType::Char => 2,
        FileType::Dir => 3,
        FileType::File => 4,
        FileType::Socket => 6,
        FileType::Symlink => 7,
        FileType::Fifo | FileType::Whiteout => 0,
    }
}

/// The bytes `ptr .. ptr + len` of the memory, proven to exist.
#[inline]
pub(super) fn range(memory: &[u8], ptr: Ptr, len: u32) -> Result<Range<usize>, Errno> {
    let start = usize::try_from(ptr).map_err(|_| Errno::Fault)?;
    let len = usize::try_from(len).map_err(|_| Errno::Fault)?;
    match start.checked_add(len) {
        Some(end) if end <= memory.len() => Ok(start..end),
        _ => Err(Errno::Fault),
    }
}

/// `count` elements of `len` bytes each.
pub(super) fn array(memory: &[u8], ptr: Ptr, count: u32, len: u32) -> Result<Range<usize>, Errno> {
    range(memory, ptr, count.checked_mul(len).ok_or(Errno::Fault)?)
}

#[inline]
pub(super) fn bytes(memory: &[u8], ptr: Ptr, len: u32) -> Result<&[u8], Errno> {
    let range = range(memory, ptr, len)?;
    memory.get(range).ok_or(Errno::Fault)
}

#[inline]
pub(super) fn bytes_mut(memory: &mut [u8], ptr: Ptr, len: u32) -> Result<&mut [u8], Errno> {
    let range = range(memory, ptr, len)?;
    memory.get_mut(range).ok_or(Errno::Fault)
}

#[inline]
pub(super) fn fixed<const N: usize>(memory: &[u8], ptr: Ptr) -> Result<[u8; N], Errno> {
    let start = usize::try_from(ptr).map_err(|_| Errno::Fault)?;
    memory.get(start..).and_then(|tail| tail.first_chunk()).copied().ok_or(Errno::Fault)
}

#[inline]
pub(super) fn put<const N: usize>(memory: &mut [u8], ptr: Ptr, value: [u8; N]) -> Result<(), Errno> {
    let start = usize::try_from(ptr).map_err(|_| Errno::Fault)?;
    *memory.get_mut(start..).and_then(|tail| tail.first_chunk_mut()).ok_or(Errno::Fault)? = value;
    Ok(())
}

#[inline]
pub(super) fn put_u32(memory: &mut [u8], ptr: Ptr, value: u32) -> Result<(), Errno> {
    put(memory, ptr, value.to_le_bytes())
}

#[inline]
pub(super) fn put_u64(memory: &mut [u8], ptr: Ptr, value: u64) -> Result<(), Errno> {
    put(memory, ptr, value.to_le_bytes())
}

/// A path or a link's target: UTF-8 without NUL, of bounded length.
///
/// # Errors
/// `EFAULT`, `ENAMETOOLONG`, `EILSEQ`, `EINVAL` for a NUL.
#[inline]
pub(super) fn text(memory: &[u8], ptr: Ptr, len: u32) -> Result<&[u8], Errno> {
    let text = bytes(memory, ptr, len)?;
    if text.len() > PATH_MAX {
        return Err(Errno::NameTooLong);
    }
    if core::str::from_utf8(text).is_err() {
        return Err(Errno::IllegalSequence);
    }
    if text.contains(&0) {
        return Err(Errno::Invalid);
    }
    Ok(text)
}

/// A scatter-gather list, each element proven to be in bounds.
pub(super) type Iovecs = SmallVec<[(Ptr, u32); 8]>;

/// Copies a scatter-gather list out of the memory, so that reading into its own storage cannot change it half-way.
///
/// All of the list and all of its ranges are checked, though only the first [`IOVECS_MAX`] and the first 4 GiB are
/// used.
///
/// # Errors
/// `EFAULT`.
#[inline]
pub(super) fn iovecs(memory: &[u8], ptr: Ptr, count: u32) -> Result<Iovecs, Errno> {
    let list = memory.get(array(memory, ptr, count, IOVEC_LEN)?).ok_or(Errno::Fault)?;
    let mut iovecs = Iovecs::new();
    let mut left = u32::MAX;
    let (elements, _) = list.as_chunks::<8>();
    for &element in elements {
        let (ptr, len) = checked_iovec(memory, element)?;
        let len = len.min(left);
        left = left.saturating_sub(len);
        if len > 0 && iovecs.len() < IOVECS_MAX as usize {
            iovecs.push((ptr, len));
        }
    }
    Ok(iovecs)
}

/// The only element of a scatter-gather list.
///
/// # Errors
/// `EFAULT`.
#[inline]
pub(super) fn iovec(memory: &[u8], ptr: Ptr) -> Result<(Ptr, u32), Errno> {
    checked_iovec(memory, fixed(memory, ptr)?)
}

#[inline]
fn checked_iovec(memory: &[u8], [p0, p1, p2, p3, l0, l1, l2, l3]: [u8; 8]) -> Result<(Ptr, u32), Errno> {
    let ptr = u32::from_le_bytes([p0, p1, p2, p3]);
    let len = u32::from_le_bytes([l0, l1, l2, l3]);
    range(memory, ptr, len)?;
    Ok((ptr, len))
}

/// `fdstat`, 24 bytes.
pub(super) fn fdstat(file_type: u8, flags: u16, base: u64, inheriting: u64) -> [u8; 24] {
    let mut out = [0; 24];
    out[0] = file_type;
    out[2..4].copy_from_slice(&flags.to_le_bytes());
    out[8..16].copy_from_slice(&base.to_le_bytes());
    out[16..24].copy_from_slice(&inheriting.to_le_bytes());
    out
}

/// The device number shown for every node: one namespace looks like one device, because `ino` is unique in it.
const DEV: u64 = 1;

/// `filestat`, 64 bytes, straight into the memory: each field has a word of its own.
///
/// # Errors
/// `EFAULT`.
#[inline]
pub(super) fn put_filestat(memory: &mut [u8], ptr: Ptr, attr: &Attr) -> Result<(), Errno> {
    let range = range(memory, ptr, FILESTAT_LEN)?;
    let words = [
        DEV,
        attr.ino,
        u64::from(file_type(attr.file_type)),
        attr.nlink,
        attr.size,
        attr.atime.as_unix_nanos(),
        attr.mtime.as_unix_nanos(),
        attr.ctime.as_unix_nanos(),
    ];
    let (fields, _) = memory.get_mut(range).ok_or(Errno::Fault)?.as_chunks_mut::<8>();
    for (field, word) in fields.iter_mut().zip(words) {
        *field = word.to_le_bytes();
    }
    Ok(())
}

/// Header of an entry in a listing, 24 bytes.
pub(super) fn dirent(next: u64, ino: u64, name_len: u32, file_type: u8) -> [u8; DIRENT_LEN] {
    let mut out = [0; DIRENT_LEN];
    out[0..8].copy_from_slice(&next.to_le_bytes());
    out[8..16].copy_from_slice(&ino.to_le_bytes());
    out[16..20].copy_from_slice(&name_len.to_le_bytes());
    out[20] = file_type;
    out
}

/// A subscription of `poll_oneoff`.
pub(super) struct Subscription {
    pub(super) userdata: u64,
    pub(super) kind: SubscriptionKind,
}

pub(super) enum SubscriptionKind {
    Clock { id: u32, timeout: u64, absolute: bool },
    Read { fd: u32 },
    Write { fd: u32 },
}

impl SubscriptionKind {
    /// The type of the event that answers it.
    pub(super) const fn event_type(&self) -> u8 {
        match self {
            Self::Clock { .. } => 0,
            Self::Read { .. } => 1,
            Self::Write { .. } => 2,
        }
    }
}

/// # Errors
/// `EFAULT`, `EINVAL` for an unknown kind.
pub(super) fn subscription(memory: &[u8], ptr: Ptr) -> Result<Subscription, Errno> {
    let raw: [u8; SUBSCRIPTION_LEN as usize] = fixed(memory, ptr)?;
    let long = |at: usize| -> u64 { fixed(&raw[at..], 0).map_or(0, u64::from_le_bytes) };
    let word = |at: usize| -> u32 { fixed(&raw[at..], 0).map_or(0, u32::from_le_bytes) };
    let kind = match raw[8] {
        0 => SubscriptionKind::Clock { id: word(16), timeout: long(24), absolute: raw[40] & 1 != 0 },
        1 => SubscriptionKind::Read { fd: word(16) },
        2 => SubscriptionKind::Write { fd: word(16) },
        _ => return Err(Errno::Invalid),
    };
    Ok(Subscription { userdata: long(0), kind })
}

/// An event of `poll_oneoff`, 32 bytes.
pub(super) fn event(userdata: u64, errno: u16, event_type: u8, nbytes: u64, hangup: bool) -> [u8; EVENT_LEN as usize] {
    let mut out = [0; EVENT_LEN as usize];
    out[0..8].copy_from_slice(&userdata.to_le_bytes());
    out[8..10].copy_from_slice(&errno.to_le_bytes());
    out[10] = event_type;
    out[16..24].copy_from_slice(&nbytes.to_le_bytes());
    out[24] = u8::from(hangup);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_end_with_the_memory() {
        let memory = [0; 64];
        assert_eq!(range(&memory, 0, 64), Ok(0..64));
        assert_eq!(range(&memory, 64, 0), Ok(64..64));
        assert_eq!(range(&memory, 65, 0), Err(Errno::Fault));
        assert_eq!(range(&memory, 1, 64), Err(Errno::Fault));
        assert_eq!(range(&memory, u32::MAX, u32::MAX), Err(Errno::Fault));
        assert_eq!(array(&memory, 0, u32::MAX, 8), Err(Errno::Fault));
        assert_eq!(fixed::<8>(&memory, 57), Err(Errno::Fault));
        assert_eq!(fixed::<8>(&memory, 56), Ok([0; 8]));
    }

    #[test]
    fn text_is_checked() {
        assert_eq!(text(b"abc", 0, 3), Ok(&b"abc"[..]));
        assert_eq!(text(b"a\0c", 0, 3), Err(Errno::Invalid));
        assert_eq!(text(b"a\xffc", 0, 3), Err(Errno::IllegalSequence));
        assert_eq!(text(b"abc", 0, 4), Err(Errno::Fault));
        let long = vec![b'a'; PATH_MAX + 1];
        assert_eq!(text(&long, 0, 4096), Err(Errno::NameTooLong));
        assert!(text(&long, 0, 4095).is_ok());
    }

    #[test]
    fn all_of_a_long_list_is_checked() {
        let mut memory = vec![0; 8 * 2000 + 8];
        for element in memory.chunks_exact_mut(8).take(2000) {
            element[4] = 1;
        }
        assert_eq!(iovecs(&memory, 0, 2000).unwrap().len(), 1024);
        memory[1999 * 8..1999 * 8 + 4].copy_from_slice(&[0xff; 4]);
        assert_eq!(iovecs(&memory, 0, 2000), Err(Errno::Fault));
        assert_eq!(iovecs(&memory, 0, u32::MAX), Err(Errno::Fault));
    }

    #[test]
    fn directories_have_the_rights_of_paths() {
        assert_eq!(rights::DIR & (1 << 2 | 1 << 5 | 1 << 19), 0, "directories neither seek nor have a size to set");
        for bit in (9..=18).chain([20]).chain(24..=26) {
            assert_ne!(rights::DIR & (1 << bit), 0, "bit {bit}");
        }
    }
}
