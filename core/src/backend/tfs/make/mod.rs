//! Makes images: file systems, and the disks around them that Nanos boots from.
//!
//! What is written is what Nanos' mkfs writes, but in the order of names, so that the same input gives the same bytes.
//! An image that is being made is none until its last write: a crash leaves nothing that could be taken for an image.

mod content;
mod efi;
mod manifest;
mod tree;
mod write;

use alloc::vec::Vec;
use std::io::Read;

use bytes::Bytes;

pub(super) use self::content::{Content, Piece};
pub use self::efi::EfiLoader;
pub use self::manifest::{HostFiles, ManifestTrees, configuration_from_manifest, from_manifest};
pub use self::tree::{KeepOptions, KeepReport, Loss, NewTree, NotKept};
pub(super) use self::tree::{NewBody, NewTreeNode};
pub use self::write::Written;
pub(super) use self::write::{VolumeWriter, finish};
use crate::errno::Errno;
use crate::error::{Error, Result};
use crate::format::tfs::{BootSector, Disk, EXTENSION_SECTORS, KLOG_LEN, LABEL_MAX, Partition, SECTOR, Uuid, Volume};
use crate::source::{Storage, from_io};

/// Sectors of a boot file system.
const BOOT_SECTORS: u64 = (12 << 20) / SECTOR;

/// What the length of a root file system is a multiple of.
const ROUND: u64 = EXTENSION_SECTORS * SECTOR;

/// An image to make.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ImageOptions {
    /// Bytes that it shall have at least. It gets up to 1 MiB more than this, or than it needs: mkfs rounds that way.
    pub size: u64,
    /// Names the root file system: UTF-8 without a zero, at most [`LABEL_MAX`] bytes.
    pub label: Vec<u8>,
    /// Identifies the root file system. Without one it follows from all names, attributes and sizes.
    pub uuid: Option<Uuid>,
}

/// What makes a disk of a file system.
#[derive(Debug, Default)]
pub struct BootOptions {
    /// Nanos' boot loader, both stages: its `boot.img`. Without one nothing boots from the disk, but all is where it
    /// belongs.
    pub loader: Option<Bytes>,
    /// The loader for machines with UEFI.
    pub efi: Option<EfiLoader>,
    /// The boot file system; the kernel is the file `kernel` in its root.
    pub tree: NewTree,
}

/// An image that was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MadeImage {
    /// Its bytes.
    pub len: u64,
    /// Where the root file system begins.
    pub root_start: u64,
    /// What identifies the root file system.
    pub uuid: Uuid,
    /// The root file system.
    pub root: Written,
    /// The boot file system.
    pub boot: Option<Written>,
}

/// A random identifier.
///
/// # Errors
/// `EIO` if the host has no random numbers.
pub fn random_uuid() -> Result<Uuid> {
    let mut uuid = [0; 16];
    std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut uuid)).map_err(from_io)?;
    Ok(Uuid(uuid))
}

/// Whether a file system can be called so.
pub(super) fn check_label(label: &[u8]) -> Result<()> {
    if label.len() > LABEL_MAX || label.contains(&0) || core::str::from_utf8(label).is_err() {
        return Err(Error::new(Errno::Invalid, "a label is UTF-8 of at most 31 bytes, without a zero"));
    }
    Ok(())
}

/// Bytes of a file system that needs `bytes`, as mkfs rounds: there is always room for another extension of the log.
fn rounded(bytes: u64) -> Option<u64> {
    bytes.checked_add(ROUND)?.checked_next_multiple_of(ROUND)
}

/// Makes an image of `root` in `storage`, whose content is lost; with `boot`, a disk with a boot file system.
///
/// # Errors
/// `EINVAL` for a label or a boot loader that cannot be; `ENOSPC` if the boot file system has more than fits; what
/// reading content answers, and the storage.
pub fn make_image(
    storage: &dyn Storage,
    root: &NewTree,
    boot: Option<&BootOptions>,
    options: &ImageOptions,
) -> Result<MadeImage> {
    check_label(&options.label)?;
    let invalid = |fault| Error::new(Errno::Invalid, fault);
    let front = match boot.map(|boot| boot.loader.as_deref()) {
        Some(Some(loader)) => Some(BootSector::of_loader(loader).map_err(invalid)?),
        Some(None) => Some(BootSector::empty()),
        None => None,
    };
    storage.set_len(0)?;
    let mut next = 0;
    let mut disk = Disk { efi: None, boot: None, root: None };
    let mut part = |from: u64, bytes: u64| {
        next = from.saturating_add(bytes);
        Some(Partition { first: from / SECTOR, count: bytes / SECTOR })
    };
    let mut written_boot = None;
    if let Some(boot) = boot {
        let loader = boot.loader.as_deref().unwrap_or_default();
        let mut start = crate::checked::to_u64(loader.len()).max(SECTOR).saturating_add(KLOG_LEN);
        if let Some(rest) = loader.get(512..).filter(|rest| !rest.is_empty()) {
            storage.write_at(SECTOR, rest)?;
        }
        if let Some(efi) = &boot.efi {
            efi.write(storage, start)?;
            disk.efi = part(start, efi::LEN);
            start = start.saturating_add(efi::LEN);
        }
        disk.boot = part(start, BOOT_SECTORS.saturating_mul(SECTOR));
        let writer = VolumeWriter::new(storage, start, Some((BOOT_SECTORS, "the boot file system")));
        written_boot = Some((start, writer.write(&boot.tree)?));
    }
    let root_start = next;
    let made = VolumeWriter::new(storage, root_start, None).write(root)?;
    let wanted = options.size.saturating_sub(root_start).max(made.len);
    let len = rounded(wanted).and_then(|bytes| root_start.checked_add(bytes)).ok_or(Errno::FileTooBig)?;
    disk.root = Some(Partition { first: root_start / SECTOR, count: len.saturating_sub(root_start) / SECTOR });
    storage.set_len(len)?;
    storage.sync()?;

    let uuid = options.uuid.unwrap_or(made.uuid);
    if let Some((start, boot)) = &written_boot {
        let mut own = boot.uuid;
        own.0.iter_mut().zip(uuid.0).for_each(|(byte, other)| *byte ^= other);
        finish(storage, *start, &Volume { uuid: own, label: Vec::new() })?;
    }
    if front.is_some() {
        finish(storage, root_start, &Volume { uuid, label: options.label.clone() })?;
        storage.sync()?;
    }
    match front {
        Some(mut front) => {
            front.set_partitions(&disk);
            storage.write_at(0, front.bytes())?;
        }
        None => finish(storage, root_start, &Volume { uuid, label: options.label.clone() })?,
    }
    storage.sync()?;
    Ok(MadeImage { len, root_start, uuid, root: made.written, boot: written_boot.map(|(_, boot)| boot.written) })
}
