//! Values of the kernel's protocol from and to ours.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType as RawType, INodeNo, TimeOrNow};
use mountless::attr::{Attr, Device, FileType, SetTime};
use mountless::clock::Timestamp;
use mountless::fs::NewKind;

pub(crate) const BLOCK_LEN: u32 = 4096;

/// A kind in the kernel's words; a whiteout of a bare layer is shown as overlayfs stores it, as the device 0:0.
pub(crate) const fn file_type(ours: FileType) -> RawType {
    match ours {
        FileType::File => RawType::RegularFile,
        FileType::Dir => RawType::Directory,
        FileType::Symlink => RawType::Symlink,
        FileType::Char | FileType::Whiteout => RawType::CharDevice,
        FileType::Block => RawType::BlockDevice,
        FileType::Fifo => RawType::NamedPipe,
        FileType::Socket => RawType::Socket,
    }
}

/// The kind that mknod(2) is asked for, if it is one.
pub(crate) const fn new_kind(mode: u32, rdev: u32) -> Option<NewKind<'static>> {
    Some(match mode & 0o170_000 {
        0 | 0o100_000 => NewKind::File,
        0o020_000 => NewKind::Char(device(rdev)),
        0o060_000 => NewKind::Block(device(rdev)),
        0o010_000 => NewKind::Fifo,
        0o140_000 => NewKind::Socket,
        _ => return None,
    })
}

/// The permission bits of a mode.
pub(crate) const fn permissions(mode: u32) -> u16 {
    // OK: twelve bits.
    (mode & 0o7777) as u16
}

/// The kernel's 32 bits: 12 of the major number between 8 and 12 of the minor.
const fn device(rdev: u32) -> Device {
    Device { major: (rdev >> 8) & 0xfff, minor: (rdev & 0xff) | ((rdev >> 12) & 0xf_ff00) }
}

const fn rdev(device: Device) -> u32 {
    (device.minor & 0xff) | ((device.major & 0xfff) << 8) | ((device.minor & 0xf_ff00) << 12)
}

/// Attributes of the node that the kernel knows as `id`.
pub(crate) fn attributes(id: u64, attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(id),
        size: attr.size,
        blocks: attr.allocated.div_ceil(512),
        atime: to_system(attr.atime),
        mtime: to_system(attr.mtime),
        ctime: to_system(attr.ctime),
        crtime: UNIX_EPOCH,
        kind: file_type(attr.file_type),
        perm: attr.mode,
        nlink: u32::try_from(attr.nlink).unwrap_or(u32::MAX),
        uid: attr.uid,
        gid: attr.gid,
        rdev: attr.rdev.map_or(0, rdev),
        blksize: BLOCK_LEN,
        flags: 0,
    }
}

fn to_system(time: Timestamp) -> SystemTime {
    let nanos = Duration::from_nanos(time.nanos.into());
    let whole = Duration::from_secs(time.secs.unsigned_abs());
    let second = if time.secs < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    second.and_then(|second| second.checked_add(nanos)).unwrap_or(UNIX_EPOCH)
}

/// A time from a request.
pub(crate) fn from_system(time: SystemTime) -> Timestamp {
    match UNIX_EPOCH.duration_since(time) {
        // fuser 0.18 moves fractions of seconds before 1970 to the wrong side of the second; this moves them back.
        Ok(before) if !before.is_zero() => Timestamp {
            secs: i64::try_from(before.as_secs()).map_or(i64::MIN, i64::wrapping_neg),
            nanos: before.subsec_nanos(),
        },
        _ => time.into(),
    }
}

pub(crate) fn set_time(time: TimeOrNow) -> SetTime {
    match time {
        TimeOrNow::SpecificTime(time) => SetTime::At(from_system(time)),
        TimeOrNow::Now => SetTime::Now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_survive() {
        for number in [(0, 0), (1, 3), (8, 300), (259, 0xf_ffff), (0xfff, 255)] {
            let wanted = Device { major: number.0, minor: number.1 };
            assert_eq!(device(rdev(wanted)), wanted);
        }
    }

    #[test]
    fn times_before_1970_are_as_the_kernel_meant() {
        // -1.25 s is sent as -2 s and 750 ms, of which fuser makes -2.75 s.
        let sent = UNIX_EPOCH - Duration::new(2, 750_000_000);
        assert_eq!(from_system(sent), Timestamp { secs: -2, nanos: 750_000_000 });
        assert_eq!(to_system(from_system(sent)), UNIX_EPOCH - Duration::from_millis(1250));
        assert_eq!(from_system(UNIX_EPOCH + Duration::new(5, 7)), Timestamp { secs: 5, nanos: 7 });
        assert_eq!(from_system(UNIX_EPOCH), Timestamp::EPOCH);
    }
}
