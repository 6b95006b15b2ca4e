//! The EFI system partition: FAT32 with one file, the loader, where firmware looks for it.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::checked::{to_u64, to_usize};
use crate::errno::Errno;
use crate::error::{Error, Result};
use crate::format::tfs::SECTOR;
use crate::source::Storage;

/// Bytes of the partition: enough for the clusters that FAT32 has at least.
pub(super) const LEN: u64 = 33 << 20;

/// Sectors of the file system in it. A cluster is a sector.
const SECTORS: u32 = 67_276;
const RESERVED: u32 = 32;
const FAT_SECTORS: u32 = 518;
const DATA: u32 = RESERVED + 2 * FAT_SECTORS;
const CLUSTERS: u32 = SECTORS - DATA;

/// The first clusters: the root, `EFI`, `EFI/BOOT`, then the file.
const ROOT: u32 = 2;
const EFI: u32 = 3;
const BOOT: u32 = 4;
const FILE: u32 = 5;

const END_OF_CHAIN: u32 = 0x0fff_ffff;

/// A loader for machines with UEFI.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EfiLoader {
    /// For x86-64: `EFI/BOOT/BOOTX64.EFI`.
    X64(Bytes),
    /// For 64-bit ARM: `EFI/BOOT/BOOTAA64.EFI`.
    Aa64(Bytes),
}

impl EfiLoader {
    /// Writes the partition at byte `start` of a storage that is all zeros there.
    ///
    /// # Errors
    /// `EINVAL` if the loader does not fit; those of the storage.
    pub(super) fn write(&self, storage: &dyn Storage, start: u64) -> Result<()> {
        let (name, content) = match self {
            Self::X64(content) => (b"BOOTX64 EFI", content),
            Self::Aa64(content) => (b"BOOTAA64EFI", content),
        };
        let clusters = u32::try_from(to_u64(content.len()).div_ceil(SECTOR)).unwrap_or(u32::MAX);
        let max = CLUSTERS.saturating_sub(FILE - 2);
        if clusters == 0 || clusters > max {
            let sentence = format!("a UEFI loader of {} bytes, 1 to {} are possible", content.len(), max * 512);
            return Err(Error::new(Errno::Invalid, sentence));
        }
        let put = |sector: u32, bytes: &[u8]| {
            storage.write_at(start.saturating_add(u64::from(sector).saturating_mul(SECTOR)), bytes)
        };
        let free = max.saturating_sub(clusters);
        for backup in [0, 6] {
            put(backup, &boot_sector()?)?;
            put(backup + 1, &info_sector(free, FILE.saturating_add(clusters))?)?;
        }
        let fat = allocation(clusters);
        put(RESERVED, &fat)?;
        put(RESERVED + FAT_SECTORS, &fat)?;
        let at = |cluster: u32| DATA.saturating_add(cluster).saturating_sub(2);
        put(at(ROOT), &entry(b"EFI        ", DIR, EFI, 0))?;
        let dots = |own, above| [entry(b".          ", DIR, own, 0), entry(b"..         ", DIR, above, 0)].concat();
        // The root is cluster 0 to those below it.
        put(at(EFI), &[dots(EFI, 0), entry(b"BOOT       ", DIR, BOOT, 0).to_vec()].concat())?;
        let len = u32::try_from(content.len()).map_err(|_| Errno::FileTooBig)?;
        put(at(BOOT), &[dots(BOOT, EFI), entry(name, FILE_ENTRY, FILE, len).to_vec()].concat())?;
        put(at(FILE), content)
    }
}

/// A sector with some bytes set, and the mark of sectors that mean something.
fn sector(fields: &[(usize, &[u8])]) -> Result<Vec<u8>> {
    let mut sector = alloc::vec![0; to_usize(SECTOR)?];
    for (at, bytes) in fields.iter().chain([&(510, &[0x55, 0xaa][..])]) {
        if let Some(place) = at.checked_add(bytes.len()).and_then(|end| sector.get_mut(*at..end)) {
            place.copy_from_slice(bytes);
        }
    }
    Ok(sector)
}

fn boot_sector() -> Result<Vec<u8>> {
    sector(&[
        (0, &[0xeb, 0x58, 0x90]),
        (3, b"mountles"),
        // 512 bytes a sector, 1 sector a cluster, reserved sectors, 2 tables.
        (11, &[0, 2, 1, 32, 0, 2]),
        // Fixed disk, 32 sectors a track, 64 heads.
        (21, &[0xf8, 0, 0, 32, 0, 64, 0]),
        (32, &SECTORS.to_le_bytes()),
        (36, &FAT_SECTORS.to_le_bytes()),
        (44, &ROOT.to_le_bytes()),
        // Where the next sector and the copy of this one are.
        (48, &[1, 0, 6, 0]),
        // First hard disk, and that a number and names follow.
        (64, &[0x80, 0, 0x29]),
        (67, b"TFS0"),
        (71, b"NO NAME    FAT32   "),
    ])
}

fn info_sector(free: u32, next: u32) -> Result<Vec<u8>> {
    sector(&[(0, b"RRaA"), (484, b"rrAa"), (488, &free.to_le_bytes()), (492, &next.to_le_bytes())])
}

/// The table of clusters.
fn allocation(file_clusters: u32) -> Vec<u8> {
    let last = FILE.saturating_add(file_clusters).saturating_sub(1);
    let fixed = [0x0fff_fff8, END_OF_CHAIN, END_OF_CHAIN, END_OF_CHAIN, END_OF_CHAIN];
    let chain = (FILE..last).map(|cluster| cluster.saturating_add(1)).chain([END_OF_CHAIN]);
    fixed.into_iter().chain(chain).flat_map(u32::to_le_bytes).collect()
}

const DIR: u8 = 0x10;
const FILE_ENTRY: u8 = 0x20;

/// An entry of a directory; all dates are the first that there is, 1980.
fn entry(name: &[u8; 11], kind: u8, cluster: u32, len: u32) -> [u8; 32] {
    let [a, b, c, d] = cluster.to_le_bytes();
    let [e, f, g, h] = len.to_le_bytes();
    let [day, month] = [0x21, 0];
    let mut entry = [0; 32];
    let (head, rest) = entry.split_at_mut(11);
    head.copy_from_slice(name);
    rest.copy_from_slice(&[kind, 0, 0, 0, 0, day, month, day, month, c, d, 0, 0, day, month, a, b, e, f, g, h]);
    entry
}
