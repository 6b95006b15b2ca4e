//! What boots a disk: the sector in front, with the table of partitions.

use super::layout::{Disk, Partition, SECTOR};

/// Bytes of the sector in front of a disk.
const LEN: usize = 512;

/// The region record in front of the table of partitions: u64 base, u64 length, u32 type.
const REGION: usize = 426;

/// Where the second stage of the boot loader is loaded; of no meaning on disk.
const REGION_BASE: u64 = 0x8000;

/// The type of the record that says how long the second stage is.
const REGION_FILE_SYSTEM: u32 = 12;

const KIND_EFI: u8 = 0xef;
const KIND_LINUX: u8 = 0x83;
const ACTIVE: u8 = 0x80;

/// What is wrong with a boot loader.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootFault {
    /// It does not end with the mark of boot sectors.
    #[error("a boot loader has 0x55 0xaa at byte 510, this one has {0:#04x} {1:#04x}")]
    NoMark(u8, u8),
    /// It has less than a sector.
    #[error("a boot loader of {0} bytes, the least is 512")]
    Short(u64),
    /// It does not say where the file systems begin.
    #[error("the boot loader's region record at byte 426 has type {found}, expected 12")]
    RegionType {
        /// The type found.
        found: u32,
    },
    /// It has another length than it says.
    #[error("a boot loader of {len} bytes, but its region record says 512 + {second_stage}")]
    Length {
        /// Bytes it has.
        len: u64,
        /// Bytes of the second stage, as it says.
        second_stage: u64,
    },
    /// It ends inside a sector.
    #[error("a boot loader of {0} bytes, which is no multiple of 512")]
    Unaligned(u64),
}

/// The first sector of a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BootSector {
    bytes: [u8; LEN],
}

impl BootSector {
    /// One that boots nothing, in front of file systems that follow at once.
    #[must_use]
    pub fn empty() -> Self {
        let mut sector = Self { bytes: [0; LEN] };
        sector.put(REGION, &REGION_BASE.to_le_bytes());
        sector.put(REGION + 16, &REGION_FILE_SYSTEM.to_le_bytes());
        sector.put(LEN - 2, &[0x55, 0xaa]);
        sector
    }

    /// That of a boot loader, both stages.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of_loader(loader: &[u8]) -> Result<Self, BootFault> {
        let len = crate::checked::to_u64(loader.len());
        let &bytes = loader.first_chunk::<LEN>().ok_or(BootFault::Short(len))?;
        let sector = Self { bytes };
        if let &[.., one, other] = &bytes
            && [one, other] != [0x55, 0xaa]
        {
            return Err(BootFault::NoMark(one, other));
        }
        let found = u32::from_le_bytes(sector.get(REGION + 16));
        if found != REGION_FILE_SYSTEM {
            return Err(BootFault::RegionType { found });
        }
        let second_stage = u64::from_le_bytes(sector.get(REGION + 8));
        if second_stage.checked_add(SECTOR) != Some(len) {
            return Err(BootFault::Length { len, second_stage });
        }
        if !len.is_multiple_of(SECTOR) {
            return Err(BootFault::Unaligned(len));
        }
        Ok(sector)
    }

    /// A sector of a disk, with its partitions as in `disk`; those that Nanos does not know are left.
    #[must_use]
    pub fn of_disk(sector: &[u8], disk: &Disk) -> Self {
        let mut found = Self { bytes: sector.first_chunk().copied().unwrap_or([0; LEN]) };
        if Disk::from_bytes(&found.bytes).as_ref() != Some(disk) {
            found.set_partitions(disk);
        }
        found
    }

    fn get<const N: usize>(&self, at: usize) -> [u8; N] {
        self.bytes.get(at..).and_then(|rest| rest.first_chunk().copied()).unwrap_or([0; N])
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = at.checked_add(bytes.len()).and_then(|end| self.bytes.get_mut(at..end)) {
            place.copy_from_slice(bytes);
        }
    }

    /// Writes the table of partitions: they are known by their places, so one that is missing leaves its own empty.
    pub fn set_partitions(&mut self, disk: &Disk) {
        let efi = disk.efi.map(|efi| (KIND_EFI, Some(efi)));
        let entries = efi.into_iter().chain([(KIND_LINUX, disk.boot), (KIND_LINUX, disk.root)]);
        self.put(446, &[0; 64]);
        for ((kind, partition), at) in entries.zip((446..510).step_by(16)) {
            if let Some(partition) = partition {
                self.put(at, &entry(kind, partition));
            }
        }
    }

    /// Its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; LEN] {
        &self.bytes
    }
}

fn entry(kind: u8, Partition { first, count }: Partition) -> [u8; 16] {
    let [head, sector, cylinder] = chs(first);
    let [last_head, last_sector, last_cylinder] = chs(first.saturating_add(count).saturating_sub(1));
    let [a, b, c, d] = u32::try_from(first).unwrap_or(u32::MAX).to_le_bytes();
    // A root file system of more than 2 TiB: Nanos uses it to the end of the disk all the same.
    let [e, f, g, h] = u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes();
    [
        ACTIVE,
        head,
        sector,
        cylinder,
        kind,
        last_head,
        last_sector,
        last_cylinder, //
        a,
        b,
        c,
        d,
        e,
        f,
        g,
        h,
    ]
}

/// A sector as old BIOSes count, as Nanos writes it: it does not move the high bits of the cylinder where they belong.
fn chs(sector: u64) -> [u8; 3] {
    let (tracks, cylinder) = (sector / 63, sector / 63 / 255);
    let (cylinder, head, sector) =
        if cylinder > 1023 { (1023, 254, 63) } else { (cylinder, tracks % 255, sector % 63 + 1) };
    // OK: all are below 256 by now.
    let byte = |value: u64| u8::try_from(value).unwrap_or(u8::MAX);
    [byte(head), byte(sector | (cylinder / 256)), byte(cylinder % 256)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_written_as_mkfs_writes_them() {
        let mut sector = BootSector::empty();
        let disk = Disk {
            efi: Some(Partition { first: 17, count: 67_584 }),
            boot: Some(Partition { first: 67_601, count: 24_576 }),
            root: Some(Partition { first: 92_177, count: 39_936 }),
        };
        sector.set_partitions(&disk);
        assert_eq!(Disk::from_bytes(sector.bytes()), Some(disk));
        let chs: Vec<_> =
            sector.bytes()[446..494].chunks(16).map(|it| [it[1], it[2], it[3], it[5], it[6], it[7]]).collect();
        assert_eq!(
            chs,
            [
                [0x00, 0x12, 0x00, 0x35, 0x02, 0x04],
                [0x35, 0x03, 0x04, 0xbc, 0x08, 0x05],
                [0xbc, 0x09, 0x05, 0x39, 0x02, 0x08]
            ]
        );
        assert_eq!(super::chs(63 * 255 * 1024), [254, 63, 255]);
    }

    #[test]
    fn partitions_that_are_missing_leave_the_others_what_they_are() {
        let [efi, boot, root] = [17, 67_601, 92_177].map(|first| Some(Partition { first, count: 24_576 }));
        for (efi, boot, root) in [(None, None, root), (efi, None, root), (None, boot, None), (efi, boot, None)] {
            let mut sector = BootSector::empty();
            let disk = Disk { efi, boot, root };
            sector.set_partitions(&disk);
            assert_eq!(Disk::from_bytes(sector.bytes()), Some(disk));
        }
    }

    #[test]
    fn loaders_are_checked() {
        let mut loader = [BootSector::empty().bytes().as_slice(), &[7; 1024]].concat();
        let length = BootFault::Length { len: 1536, second_stage: 0 };
        assert_eq!(BootSector::of_loader(&loader), Err(length));
        loader[REGION + 8..REGION + 10].copy_from_slice(&1024_u16.to_le_bytes());
        assert_eq!(BootSector::of_loader(&loader).unwrap().bytes(), &loader[..512]);
        loader[REGION + 16] = 1;
        assert_eq!(BootSector::of_loader(&loader), Err(BootFault::RegionType { found: 1 }));
        loader[511] = 0;
        assert_eq!(BootSector::of_loader(&loader), Err(BootFault::NoMark(0x55, 0)));
        assert_eq!(BootSector::of_loader(&loader[..511]), Err(BootFault::Short(511)));
    }
}
