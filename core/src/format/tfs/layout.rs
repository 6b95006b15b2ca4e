//! Extension headers, and the disks that file systems lie on.

use core::fmt;

use super::corrupt::{Damage, TfsCorrupt};
use super::value::{put_varint, varint};
use crate::checked::to_u64;

/// Bytes of a sector, whatever the device's own are.
pub const SECTOR: u64 = 512;

/// What every extension begins with.
pub const MAGIC: [u8; 6] = *b"NVMTFS";

/// Sectors of every extension but the first, as all known writers make them.
pub const EXTENSION_SECTORS: u64 = 1024;

/// Longest label, in bytes.
pub const LABEL_MAX: usize = 31;

/// Bytes of the region in front of the first partition in which Nanos leaves its crash log.
pub const KLOG_LEN: u64 = 4096;

/// A name of which Nanos never encodes the directory: whatever is in a directory with such an entry is lost.
pub const NO_ENCODE: &[u8] = b"no_encode";

/// Sectors that `bytes` bytes take.
#[must_use]
pub const fn sectors(bytes: u64) -> u64 {
    bytes.div_ceil(SECTOR)
}

/// The version of an extension, which says how values are encoded in it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Version {
    /// Untyped buffers and tuples only, written until 2021 and by old builds of `ops`.
    V4,
    /// With vectors, integers and strings.
    V5,
}

impl Version {
    /// Its number on disk.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::V4 => 4,
            Self::V5 => 5,
        }
    }
}

/// The 16 bytes that identify a file system, printed as 8-4-4-4-12 digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Uuid(pub [u8; 16]);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl core::str::FromStr for Uuid {
    type Err = crate::errno::Errno;

    /// Takes 32 hexadecimal digits, with hyphens anywhere.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut digits = text.chars().filter(|character| *character != '-').map(|character| character.to_digit(16));
        let mut uuid = [0; 16];
        for byte in &mut uuid {
            let (Some(Some(high)), Some(Some(low))) = (digits.next(), digits.next()) else {
                return Err(crate::errno::Errno::Invalid);
            };
            // OK: both are below 16.
            *byte = u8::try_from(high << 4 | low).map_err(|_| crate::errno::Errno::Invalid)?;
        }
        if digits.next().is_some() { Err(crate::errno::Errno::Invalid) } else { Ok(Self(uuid)) }
    }
}

/// What only the extension at sector 0 says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Volume {
    /// Identifies the file system.
    pub uuid: Uuid,
    /// Names it: UTF-8 by convention, at most [`LABEL_MAX`] bytes without a zero.
    pub label: Vec<u8>,
}

/// What an extension begins with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExtensionHeader {
    /// How its records are encoded.
    pub version: Version,
    /// Its length.
    pub sectors: u64,
    /// Only at sector 0.
    pub volume: Option<Volume>,
    /// Bytes of the header; frames follow.
    pub len: usize,
}

impl ExtensionHeader {
    /// Reads the header of the extension in `bytes`, which begins at byte `base`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_bytes(bytes: &[u8], base: u64) -> Result<Self, Damage> {
        let beyond = Damage::new(base, TfsCorrupt::HeaderBeyondEnd { available: to_u64(bytes.len()) });
        let at = |pos: usize| base.saturating_add(to_u64(pos));
        let (&found, _) = bytes.split_first_chunk::<6>().ok_or(beyond)?;
        if found != MAGIC {
            return Err(Damage::new(base, TfsCorrupt::Magic { found }));
        }
        let mut pos = MAGIC.len();
        let number = |pos: &mut usize| {
            let start = *pos;
            let rest = bytes.get(start..).unwrap_or_default();
            let (value, len) =
                varint(rest).map_err(|error| if error.is_short() { beyond } else { error.at(at(start)) })?;
            *pos = start.saturating_add(len);
            Ok::<u64, Damage>(value)
        };
        let version_at = at(pos);
        let version = match number(&mut pos)? {
            4 => Version::V4,
            5 => Version::V5,
            found => return Err(Damage::new(version_at, TfsCorrupt::Version { found })),
        };
        let sectors = number(&mut pos)?;
        let volume = if base == 0 {
            let rest = bytes.get(pos..).unwrap_or_default();
            let (&uuid, rest) = rest.split_first_chunk::<16>().ok_or(beyond)?;
            pos = pos.saturating_add(uuid.len());
            let field = rest.get(..=LABEL_MAX).unwrap_or(rest);
            let unterminated = Damage::new(at(pos), TfsCorrupt::LabelNotTerminated);
            let len = field.iter().position(|byte| *byte == 0).ok_or(unterminated)?;
            pos = pos.saturating_add(len).saturating_add(1);
            Some(Volume { uuid: Uuid(uuid), label: field.get(..len).unwrap_or_default().to_vec() })
        } else {
            None
        };
        Ok(Self { version, sectors, volume, len: pos })
    }

    /// Appends the header of a version 5 extension. With a `volume` it is that of sector 0; its label must be valid,
    /// see [`Volume`].
    pub fn write(out: &mut Vec<u8>, sectors: u64, volume: Option<&Volume>) {
        out.extend_from_slice(&MAGIC);
        put_varint(out, Version::V5.number().into());
        put_varint(out, sectors);
        if let Some(volume) = volume {
            out.extend_from_slice(&volume.uuid.0);
            out.extend_from_slice(&volume.label);
            out.push(0);
        }
    }
}

/// A part of a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Partition {
    /// First sector of the disk.
    pub first: u64,
    /// Count of sectors.
    pub count: u64,
}

/// What sector 0 of a Nanos disk says. A bare file system has no such thing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Disk {
    /// The EFI system partition.
    pub efi: Option<Partition>,
    /// The boot file system.
    pub boot: Option<Partition>,
    /// The root file system. Nanos uses everything up to the end of the disk, whatever the count says.
    pub root: Option<Partition>,
}

impl Disk {
    const TABLE: usize = 446;
    const EFI: u8 = 0xef;

    /// Reads the partition table; `None` if sector 0 of the disk has none.
    #[must_use]
    pub fn from_bytes(sector: &[u8]) -> Option<Self> {
        if sector.get(510..512) != Some(&[0x55, 0xaa]) {
            return None;
        }
        let entries = sector.get(Self::TABLE..510)?;
        let entry = |index: usize| {
            let entry: &[u8; 16] = entries.get(index.checked_mul(16)?..)?.first_chunk()?;
            let &[.., a, b, c, d, e, f, g, h] = entry;
            let first = u32::from_le_bytes([a, b, c, d]);
            let count = u32::from_le_bytes([e, f, g, h]);
            (first != 0 && count != 0).then_some(Partition { first: first.into(), count: count.into() })
        };
        let has_efi = entries.get(4) == Some(&Self::EFI);
        let first = usize::from(has_efi);
        let efi = if has_efi { entry(0) } else { None };
        Some(Self { efi, boot: entry(first), root: entry(first.saturating_add(1)) })
    }

    /// First sector of the first partition.
    #[must_use]
    pub fn first_partition(&self) -> Option<u64> {
        self.efi.or(self.boot).or(self.root).map(|partition| partition.first)
    }
}

/// What a Nanos kernel left behind when it stopped with an error.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CrashLog {
    /// 0 unless something sets it.
    pub boot_id: u64,
    /// Why the machine stopped.
    pub exit_code: i32,
    /// The end of the console's output.
    pub text: Vec<u8>,
}

impl CrashLog {
    /// Reads the region of [`KLOG_LEN`] bytes; `None` if no log was left there.
    #[must_use]
    pub fn from_bytes(region: &[u8]) -> Option<Self> {
        let (head, text) = region.split_first_chunk::<16>()?;
        let &[b'K', b'L', b'O', b'G', a, b, c, d, e, f, g, h, i, j, k, l] = head else { return None };
        let len = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
        Some(Self {
            boot_id: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            exit_code: i32::from_le_bytes([i, j, k, l]),
            text: text.get(..len)?.to_vec(),
        })
    }
}
