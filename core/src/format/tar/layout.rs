//! The header, field by field.

use super::TarCorrupt;

/// Headers and data come in blocks of so many bytes.
pub const BLOCK_LEN: usize = 512;

/// The same, as a length in an archive.
pub const BLOCK: u64 = 512;

/// Bytes of the blocks that hold `len` bytes.
#[must_use]
pub const fn blocks(len: u64) -> u64 {
    len.saturating_add(BLOCK - 1) & !(BLOCK - 1)
}

/// Whether a block is all zeros, as those at the end are.
#[must_use]
pub fn is_zero(block: &[u8; BLOCK_LEN]) -> bool {
    block.iter().all(|byte| *byte == 0)
}

/// Which kind of header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flavor {
    /// Without magic.
    V7,
    /// `ustar`, with a prefix for the name.
    Posix,
    /// `ustar` as star writes it: the prefix is shorter.
    Star,
    /// GNU, which has other fields in the prefix's place.
    Gnu,
}

/// What an entry is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntryType {
    /// A file, of type `0`, NUL, `7` or one that is not known; if its name, wherever that stands, ends with a slash, a
    /// directory from before there was a type for them.
    File,
    /// A further name of an earlier entry.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    Char,
    /// A block device.
    Block,
    /// A directory; GNU's dumps of directories too.
    Dir,
    /// A named pipe.
    Fifo,
    /// pax records for the next entry.
    Pax,
    /// pax records for all entries from here on.
    PaxGlobal,
    /// GNU: the name of the next entry.
    LongName,
    /// GNU: the link's target of the next entry.
    LongLink,
    /// GNU: a sparse file.
    Sparse,
    /// A label, an old form of long names, lists of other systems: nothing in the tree.
    Ignored,
}

/// A header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// Which kind.
    pub flavor: Flavor,
    /// What kind of entry.
    pub entry_type: EntryType,
    /// The name, prefix included.
    pub name: Vec<u8>,
    /// Permission bits.
    pub mode: u16,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Bytes of data.
    pub size: u64,
    /// Seconds since 1970.
    pub mtime: i64,
    /// Bytes of the link's target, which stands at [`LINK_OFFSET`](Self::LINK_OFFSET).
    pub link_len: usize,
    /// Number of a device node.
    pub dev_major: u32,
    /// Number of a device node.
    pub dev_minor: u32,
}

impl Header {
    /// Where the link's target stands in a header.
    pub const LINK_OFFSET: usize = 157;

    /// Reads a header.
    ///
    /// # Errors
    /// [`TarCorrupt::Checksum`], [`TarCorrupt::Number`], [`TarCorrupt::Range`].
    pub fn decode(block: &[u8; BLOCK_LEN]) -> Result<Self, TarCorrupt> {
        check_sum(block)?;
        let text = |at: usize, len: usize| cut(block.get(at..at.saturating_add(len)).unwrap_or_default());
        let number = |field: &'static str, at: usize, len: usize| {
            let bytes = block.get(at..at.saturating_add(len)).unwrap_or_default();
            number(bytes).ok_or_else(|| {
                let mut found = [0; 12];
                for (to, from) in found.iter_mut().zip(bytes) {
                    *to = *from;
                }
                TarCorrupt::Number { field, found }
            })
        };
        let unsigned = |field: &'static str, at: usize, len: usize| {
            let value = number(field, at, len)?;
            u64::try_from(value).map_err(|_| TarCorrupt::Range { field, value })
        };
        let flavor = match block.get(257..265) {
            Some(b"ustar  \0") => Flavor::Gnu,
            Some(magic) if magic.starts_with(b"ustar\0") => {
                if block.get(508..512) == Some(b"tar\0") {
                    Flavor::Star
                } else {
                    Flavor::Posix
                }
            }
            Some(magic) if magic.starts_with(b"ustar") => Flavor::Posix,
            _ => Flavor::V7,
        };
        let prefix = match flavor {
            Flavor::V7 | Flavor::Gnu => &[][..],
            Flavor::Posix => text(345, 155),
            Flavor::Star => text(345, 131),
        };
        let mut name = Vec::with_capacity(256);
        if !prefix.is_empty() {
            name.extend_from_slice(prefix);
            name.push(b'/');
        }
        name.extend_from_slice(text(0, 100));
        let has_devices = flavor != Flavor::V7;
        let device = |field: &'static str, at: usize| {
            let value = if has_devices { unsigned(field, at, 8)? } else { 0 };
            u32::try_from(value).map_err(|_| TarCorrupt::Range { field, value: value.into() })
        };
        let entry_type = match block.get(156) {
            Some(b'1') => EntryType::HardLink,
            Some(b'2') => EntryType::Symlink,
            Some(b'3') => EntryType::Char,
            Some(b'4') => EntryType::Block,
            Some(b'5' | b'D') => EntryType::Dir,
            Some(b'6') => EntryType::Fifo,
            Some(b'x' | b'X') => EntryType::Pax,
            Some(b'g') => EntryType::PaxGlobal,
            Some(b'L') => EntryType::LongName,
            Some(b'K') => EntryType::LongLink,
            Some(b'S') => EntryType::Sparse,
            Some(b'V' | b'M' | b'N' | b'A') => EntryType::Ignored,
            _ => EntryType::File,
        };
        let is_device = matches!(entry_type, EntryType::Char | EntryType::Block);
        let mtime = number("time", 136, 12)?;
        Ok(Self {
            flavor,
            entry_type,
            name,
            // OK: masked. What some systems put above the permissions means nothing here.
            mode: u16::try_from(number("mode", 100, 8)? & 0o7777).unwrap_or_default(),
            uid: unsigned("owner", 108, 8)?,
            gid: unsigned("group", 116, 8)?,
            size: unsigned("size", 124, 12)?,
            mtime: i64::try_from(mtime).map_err(|_| TarCorrupt::Range { field: "time", value: mtime })?,
            link_len: text(Self::LINK_OFFSET, 100).len(),
            dev_major: if is_device { device("major device number", 329)? } else { 0 },
            dev_minor: if is_device { device("minor device number", 337)? } else { 0 },
        })
    }

    /// Bytes of data behind the header, which for some types the size does not tell.
    #[must_use]
    pub const fn data_len(&self) -> u64 {
        match self.entry_type {
            EntryType::HardLink | EntryType::Symlink | EntryType::Char | EntryType::Block | EntryType::Fifo => 0,
            _ => self.size,
        }
    }
}

/// Checks a header's sum, which some writers made of signed bytes.
///
/// # Errors
/// [`TarCorrupt::Checksum`].
pub(super) fn check_sum(block: &[u8; BLOCK_LEN]) -> Result<(), TarCorrupt> {
    // Of the sum itself, eight spaces count.
    let (before, after) = (block.get(..148).unwrap_or_default(), block.get(156..).unwrap_or_default());
    let unsigned = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    let signed = |bytes: &[u8]| bytes.iter().map(|byte| i32::from(byte.cast_signed())).sum::<i32>();
    // OK: 512 times 255 at most.
    let computed = unsigned(before).wrapping_add(8 * u32::from(b' ')).wrapping_add(unsigned(after));
    let mut recorded = [0; 8];
    recorded.copy_from_slice(block.get(148..156).unwrap_or(&[0; 8]));
    // A field of blanks is no sum, though it is 0 for other fields: sums of signed bytes can be that.
    let value = if recorded.iter().all(|byte| matches!(byte, b' ' | 0)) { None } else { number(&recorded) };
    if value == Some(computed.into()) {
        return Ok(());
    }
    let computed_signed = signed(before).wrapping_add(8 * i32::from(b' ')).wrapping_add(signed(after));
    if value == Some(computed_signed.into()) {
        return Ok(());
    }
    Err(TarCorrupt::Checksum { recorded, computed })
}

/// What stands before the first NUL.
fn cut(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.get(..end).unwrap_or_default()
}

/// A number: octal digits, or, marked by the top bit, the rest of the field in two's complement.
pub(super) fn number(field: &[u8]) -> Option<i128> {
    match field.first()? {
        0x80..=0xff => {
            let negative = field.first()? & 0x40 != 0;
            let first = i128::from(field.first()? & 0x7f) | if negative { !0x7f } else { 0 };
            let rest = field.get(1..)?;
            // OK to shift: fields have 12 bytes at most, 95 bits.
            Some(rest.iter().fold(first, |value, byte| (value << 8) | i128::from(*byte)))
        }
        _ => {
            let start = field.iter().position(|byte| !matches!(byte, b' ' | 0)).unwrap_or(field.len());
            let digits = field.get(start..)?;
            let end = digits.iter().position(|byte| matches!(byte, b' ' | 0)).unwrap_or(digits.len());
            // OK to shift: fields have 12 bytes at most, 36 bits.
            let value = digits.get(..end)?.iter().try_fold(0, |value: u64, digit| match digit {
                b'0'..=b'7' => Some((value << 3) | u64::from(digit & 7)),
                _ => None,
            });
            value.map(i128::from)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_binary() {
        for (field, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"77777777", Some(0o7777_7777)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"12x45678", None),
            (b"\x80\0\0\0\0\0\x01\x02", Some(0x102)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfb", Some(-5)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfc\x18", Some(-1000)),
        ] {
            assert_eq!(number(field), value, "{}", field.escape_ascii());
        }
    }
}
