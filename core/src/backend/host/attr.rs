//! Attributes, from and to the host's records.

use rustix::fs::{Gid, Stat, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, Uid};

use crate::attr::{Attr, Device, FileType, Recorded, SetAttr, SetTime};
use crate::clock::Timestamp;
use crate::errno::Errno;
use crate::error::Result;

/// What the host means by "the same file".
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Key {
    dev: u64,
    ino: u64,
}

impl Key {
    pub(super) const fn of(stat: &Stat) -> Self {
        Self { dev: stat.st_dev, ino: stat.st_ino }
    }
}

/// The kind of a node. The host's whiteouts (devices 0:0) are shown as the devices they are.
pub(super) fn file_type(raw: rustix::fs::FileType) -> Result<FileType> {
    Ok(match raw {
        rustix::fs::FileType::RegularFile => FileType::File,
        rustix::fs::FileType::Directory => FileType::Dir,
        rustix::fs::FileType::Symlink => FileType::Symlink,
        rustix::fs::FileType::CharacterDevice => FileType::Char,
        rustix::fs::FileType::BlockDevice => FileType::Block,
        rustix::fs::FileType::Fifo => FileType::Fifo,
        rustix::fs::FileType::Socket => FileType::Socket,
        rustix::fs::FileType::Unknown => return Err(Errno::NotSupported.into()),
    })
}

pub(super) fn file_type_of(stat: &Stat) -> Result<FileType> {
    file_type(rustix::fs::FileType::from_raw_mode(stat.st_mode))
}

/// The size of a file, which the host never lets be negative.
pub(super) fn size_of(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

pub(super) fn mode_of(stat: &Stat) -> u16 {
    (stat.st_mode & 0o7777) as u16
}

pub(super) fn from_stat(stat: &Stat) -> Result<Attr> {
    let file_type = file_type_of(stat)?;
    let time = |secs, nanos: u64| Timestamp { secs, nanos: u32::try_from(nanos).unwrap_or(0) };
    Ok(Attr {
        ino: stat.st_ino,
        file_type,
        mode: mode_of(stat),
        nlink: stat.st_nlink,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: if matches!(file_type, FileType::File | FileType::Symlink) { size_of(stat) } else { 0 },
        // By definition in units of 512, whatever the block size.
        allocated: u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512),
        rdev: file_type
            .is_device()
            .then(|| Device { major: rustix::fs::major(stat.st_rdev), minor: rustix::fs::minor(stat.st_rdev) }),
        atime: time(stat.st_atime, stat.st_atime_nsec),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec),
        ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        opaque: false,
        recorded: Recorded::ALL,
    })
}

/// The times to set, if any.
pub(super) fn timestamps(changes: &SetAttr) -> Option<Timestamps> {
    let time = |time: Option<SetTime>| match time {
        None => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        Some(SetTime::Now) => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        Some(SetTime::At(time)) => Timespec { tv_sec: time.secs, tv_nsec: time.nanos.into() },
    };
    (changes.atime.is_some() || changes.mtime.is_some())
        .then(|| Timestamps { last_access: time(changes.atime), last_modification: time(changes.mtime) })
}

/// An owner as the host takes it. The greatest number means "leave it" to the host, so nobody can have it.
pub(super) fn owner(uid: Option<u32>, gid: Option<u32>) -> Result<(Option<Uid>, Option<Gid>)> {
    if uid == Some(u32::MAX) || gid == Some(u32::MAX) {
        return Err(Errno::Invalid.into());
    }
    Ok((uid.map(Uid::from_raw), gid.map(Gid::from_raw)))
}
