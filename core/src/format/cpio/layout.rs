//! The header of a newc or crc entry, field by field.

use super::CpioCorrupt;
use crate::attr::FileType;

/// Bytes of a header: the magic and 13 fields of 8 hexadecimal digits.
pub const HEADER_LEN: usize = 110;

/// Fields of a header.
pub const FIELDS: usize = 13;

/// Entries begin, and their data begins, at multiples of this.
pub const ALIGN: u64 = 4;

/// Longest name that Linux takes, with its NUL.
pub const NAME_SIZE_MAX: u32 = 4096;

/// Longest target of a symbolic link that Linux looks at. It then refuses one of exactly this size.
pub const TARGET_SIZE_MAX: u32 = 4096;

/// The name of the entry that ends an archive.
pub const TRAILER: &[u8] = b"TRAILER!!!";

/// The next multiple of [`ALIGN`]. Exact for everything below 2^63, so for every sum of the fields of a header.
#[must_use]
pub const fn align(offset: u64) -> u64 {
    offset.saturating_add(ALIGN - 1) & !(ALIGN - 1)
}

/// Which of the two layouts with hexadecimal fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Variant {
    /// `070701`.
    #[default]
    Newc,
    /// `070702`: the same, and `check` is the sum of the data.
    Crc,
}

impl Variant {
    /// The six characters at the start of an entry.
    #[must_use]
    pub const fn magic(self) -> &'static [u8; 6] {
        match self {
            Self::Newc => b"070701",
            Self::Crc => b"070702",
        }
    }
}

/// What the first bytes of an entry say about its layout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Magic {
    /// One of the layouts with hexadecimal fields.
    Hex(Variant),
    /// `070707`: octal fields.
    Odc,
    /// 16-bit words, low byte first.
    BinaryLittleEndian,
    /// 16-bit words, high byte first.
    BinaryBigEndian,
}

impl Magic {
    /// Recognises the layout of an entry that begins with `bytes`.
    #[must_use]
    pub const fn detect(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [b'0', b'7', b'0', b'7', b'0', b'1', ..] => Some(Self::Hex(Variant::Newc)),
            [b'0', b'7', b'0', b'7', b'0', b'2', ..] => Some(Self::Hex(Variant::Crc)),
            [b'0', b'7', b'0', b'7', b'0', b'7', ..] => Some(Self::Odc),
            [0xc7, 0x71, ..] => Some(Self::BinaryLittleEndian),
            [0x71, 0xc7, ..] => Some(Self::BinaryBigEndian),
            _ => None,
        }
    }

    /// Whether entries of both can stand in one archive.
    #[must_use]
    pub fn goes_with(self, other: Self) -> bool {
        self == other || matches!((self, other), (Self::Hex(_), Self::Hex(_)))
    }

    /// What it is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hex(Variant::Newc) => "cpio newc (070701)",
            Self::Hex(Variant::Crc) => "cpio crc (070702)",
            Self::Odc => "cpio odc (070707)",
            Self::BinaryLittleEndian => "old binary cpio, little-endian",
            Self::BinaryBigEndian => "old binary cpio, big-endian",
        }
    }
}

/// A header, under the names the format's own descriptions use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Header {
    /// Which magic.
    pub variant: Variant,
    /// Key for hard links, with the device.
    pub ino: u32,
    /// File type and permission bits as in `st_mode`; only the low 16 bits count.
    pub mode: u32,
    /// Owner; 2^32-1 means "leave it".
    pub uid: u32,
    /// Group; 2^32-1 means "leave it".
    pub gid: u32,
    /// 2 and more turn on hard links.
    pub nlink: u32,
    /// Seconds since 1970, unsigned.
    pub mtime: u32,
    /// Bytes of data.
    pub filesize: u32,
    /// Device of the filesystem the file came from.
    pub dev_major: u32,
    /// Device of the filesystem the file came from.
    pub dev_minor: u32,
    /// Number of a device node.
    pub rdev_major: u32,
    /// Number of a device node.
    pub rdev_minor: u32,
    /// Bytes of the name with its NUL.
    pub namesize: u32,
    /// Sum of the data's bytes modulo 2^32, in the crc layout.
    pub check: u32,
}

impl Header {
    /// Reads the fields as Linux does: digits up to the first other character count, and a `0x` is skipped. Never
    /// fails but for the magic.
    ///
    /// # Errors
    /// [`CpioCorrupt::Magic`] unless it is one of the two magics.
    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, CpioCorrupt> {
        let (magic, fields) = bytes.split_first_chunk::<6>().unwrap_or((&[0; 6], &[]));
        let Some(Magic::Hex(variant)) = Magic::detect(magic) else {
            return Err(CpioCorrupt::Magic { found: *magic });
        };
        let mut values = [0; FIELDS];
        let mut are_digits = true;
        let (fields, _) = fields.as_chunks::<8>();
        for (value, digits) in values.iter_mut().zip(fields) {
            let (read, is_right) = parse_digits(*digits);
            *value = read;
            are_digits &= is_right;
        }
        if !are_digits {
            for (value, digits) in values.iter_mut().zip(fields) {
                *value = parse_like_strtoul(digits);
            }
        }
        Ok(Self::from_fields(variant, values))
    }

    /// The header with these fields, in their order in an archive.
    #[must_use]
    pub const fn from_fields(variant: Variant, fields: [u32; FIELDS]) -> Self {
        let [
            ino,
            mode,
            uid,
            gid,
            nlink,
            mtime,
            filesize,
            dev_major,
            dev_minor,
            rdev_major,
            rdev_minor,
            namesize,
            check,
        ] = fields;
        Self {
            variant,
            ino,
            mode,
            uid,
            gid,
            nlink,
            mtime,
            filesize,
            dev_major,
            dev_minor,
            rdev_major,
            rdev_minor,
            namesize,
            check,
        }
    }

    /// All fields, in their order in an archive.
    #[must_use]
    pub const fn fields(&self) -> [u32; FIELDS] {
        let Self { ino, mode, uid, gid, nlink, mtime, filesize, .. } = *self;
        let Self { dev_major, dev_minor, rdev_major, rdev_minor, namesize, check, .. } = *self;
        [ino, mode, uid, gid, nlink, mtime, filesize, dev_major, dev_minor, rdev_major, rdev_minor, namesize, check]
    }

    /// Writes the fields, in upper case as GNU cpio does.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        if let Some((magic, fields)) = bytes.split_first_chunk_mut::<6>() {
            *magic = *self.variant.magic();
            let (fields, _) = fields.as_chunks_mut::<8>();
            for (digits, value) in fields.iter_mut().zip(self.fields()) {
                for (digit, byte) in digits.chunks_exact_mut(2).zip(value.to_be_bytes()) {
                    digit.copy_from_slice(&[upper_digit(byte >> 4), upper_digit(byte & 15)]);
                }
            }
        }
        bytes
    }

    /// Bytes from the entry's start to its data.
    #[must_use]
    pub const fn data_offset(&self) -> u64 {
        // OK: both conversions widen.
        align((HEADER_LEN as u64).saturating_add(self.namesize as u64))
    }

    /// Bytes from the entry's start to the end of its data.
    #[must_use]
    pub const fn data_end(&self) -> u64 {
        self.data_offset().saturating_add(self.filesize as u64)
    }

    /// Bytes from the entry's start to the end of what counts: of its data, or, without data, of its name.
    #[must_use]
    pub const fn content_end(&self) -> u64 {
        match self.filesize {
            // OK: both conversions widen.
            0 => (HEADER_LEN as u64).saturating_add(self.namesize as u64),
            _ => self.data_end(),
        }
    }

    /// Bytes from the entry's start to the next one, padding included.
    #[must_use]
    pub const fn entry_len(&self) -> u64 {
        align(self.data_end())
    }

    /// The kind of node, if it is one that exists.
    #[must_use]
    pub const fn file_type(&self) -> Option<FileType> {
        match self.mode & S_IFMT {
            S_IFREG => Some(FileType::File),
            S_IFDIR => Some(FileType::Dir),
            S_IFLNK => Some(FileType::Symlink),
            S_IFCHR => Some(FileType::Char),
            S_IFBLK => Some(FileType::Block),
            S_IFIFO => Some(FileType::Fifo),
            S_IFSOCK => Some(FileType::Socket),
            _ => None,
        }
    }

    /// Permission bits: 0 to 0o7777.
    #[must_use]
    pub const fn permissions(&self) -> u16 {
        (self.mode & 0o7777) as u16
    }
}

const S_IFMT: u32 = 0o170_000;
const S_IFREG: u32 = 0o100_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFLNK: u32 = 0o120_000;
const S_IFCHR: u32 = 0o020_000;
const S_IFBLK: u32 = 0o060_000;
const S_IFIFO: u32 = 0o010_000;
const S_IFSOCK: u32 = 0o140_000;

/// The `mode` field of a node, or `None` for a whiteout, which the format cannot say.
#[must_use]
pub const fn mode_of(file_type: FileType, permissions: u16) -> Option<u32> {
    let kind = match file_type {
        FileType::File => S_IFREG,
        FileType::Dir => S_IFDIR,
        FileType::Symlink => S_IFLNK,
        FileType::Char => S_IFCHR,
        FileType::Block => S_IFBLK,
        FileType::Fifo => S_IFIFO,
        FileType::Socket => S_IFSOCK,
        FileType::Whiteout => return None,
    };
    Some(kind | (permissions & 0o7777) as u32)
}

/// Continues the sum of a crc entry over more data.
#[must_use]
pub fn checksum(sum: u32, data: &[u8]) -> u32 {
    data.iter().fold(sum, |sum, byte| sum.wrapping_add(u32::from(*byte)))
}

const fn upper_digit(nibble: u8) -> u8 {
    match nibble {
        0..=9 => b'0'.wrapping_add(nibble),
        _ => (b'A' - 10).wrapping_add(nibble),
    }
}

/// Eight digits at once, and whether they all are digits. Without a branch, so that several fields are read at once.
fn parse_digits(digits: [u8; 8]) -> (u32, bool) {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = ONES * 0x80;
    // The first digit is the lowest byte.
    let bytes = u64::from_le_bytes(digits);
    let lower = bytes | (ONES * 0x20);
    // A sum below sets the high bit of each byte that reaches a bound. No sum carries into the next byte where all bytes
    // are ASCII, and where one is not, its own high bit tells.
    let decimal = bytes.wrapping_add(ONES * (0x80 - 0x30)) & !bytes.wrapping_add(ONES * (0x7f - 0x39));
    let letter = lower.wrapping_add(ONES * (0x80 - 0x61)) & !lower.wrapping_add(ONES * (0x7f - 0x66));
    let are_digits = (decimal | letter) & !bytes & HIGH == HIGH;
    // '0' to '9' end in their value, letters in their value less 9 and have bit 6 set.
    let nibbles = (bytes & (ONES * 0x0f)).wrapping_add(((bytes >> 6) & ONES).wrapping_mul(9));
    let pairs = (nibbles << 4 | nibbles >> 8) & 0x00ff_00ff_00ff_00ff;
    let quads = (pairs << 8 | pairs >> 16) & 0x0000_ffff_0000_ffff;
    #[expect(clippy::cast_possible_truncation, reason = "the low half is the result")]
    let value = (quads << 16 | quads >> 32) as u32;
    (value, are_digits)
}

#[cold]
fn parse_like_strtoul(digits: &[u8; 8]) -> u32 {
    let digits = match digits {
        [b'0', b'x' | b'X', rest @ ..] => rest,
        all => all.as_slice(),
    };
    digits
        .iter()
        .map_while(|&digit| char::from(digit).to_digit(16))
        .fold(0, |value: u32, digit| value.wrapping_shl(4) | digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_fields_are_read_as_linux_reads_them() {
        for (digits, value) in [
            (b"00000000", 0),
            (b"ffffffff", u32::MAX),
            (b"FFFFFFFF", u32::MAX),
            (b"0123abCD", 0x0123_abcd),
            (b"12345678", 0x1234_5678),
            (b"9aF0e1D2", 0x9af0_e1d2),
            (b"12G45678", 0x12),
            (b"        ", 0),
            (b"0x00001f", 0x1f),
            (b"0X00001F", 0x1f),
            (b"0xzzzzzz", 0),
            (b"-1234567", 0),
            (b"1234567/", 0x0123_4567),
            (b"1234567:", 0x0123_4567),
            (b"1234567@", 0x0123_4567),
            (b"1234567`", 0x0123_4567),
            (b"1234567\xb1", 0x0123_4567),
            (b"\x001234567", 0),
        ] {
            let header = [&b"070701"[..], &digits[..].repeat(FIELDS)].concat();
            let header = Header::decode(header.first_chunk().unwrap()).unwrap();
            assert_eq!(header.fields(), [value; FIELDS], "{}", digits.escape_ascii());
        }
    }

    #[test]
    fn the_quick_way_and_the_slow_way_agree_on_every_byte() {
        for place in 0..8 {
            for byte in 0..=u8::MAX {
                let mut digits = *b"89abCDEF";
                digits[place] = byte;
                let (fast, are_digits) = parse_digits(digits);
                assert_eq!(are_digits, byte.is_ascii_hexdigit(), "{}", digits.escape_ascii());
                let slow = parse_like_strtoul(&digits);
                assert!(!are_digits || fast == slow, "{}: {fast:x}, {slow:x}", digits.escape_ascii());
            }
        }
    }

    #[test]
    fn headers_survive_a_round_trip() {
        let header = Header {
            variant: Variant::Crc,
            ino: 1,
            mode: 0o100_644,
            uid: 0xffff_ffff,
            gid: 3,
            nlink: 4,
            mtime: 0x8000_0000,
            filesize: 6,
            dev_major: 7,
            dev_minor: 8,
            rdev_major: 9,
            rdev_minor: 0xabcd,
            namesize: 11,
            check: 12,
        };
        assert_eq!(Header::decode(&header.encode()), Ok(header));
        let mut wrong = header.encode();
        wrong[5] = b'3';
        assert_eq!(Header::decode(&wrong), Err(CpioCorrupt::Magic { found: *b"070703" }));
    }

    #[test]
    fn positions_do_not_overflow() {
        let header = Header { namesize: u32::MAX, filesize: u32::MAX, ..Header::default() };
        assert_eq!(header.data_offset(), 0x1_0000_0070);
        assert_eq!(header.entry_len(), 0x2_0000_0070);
        assert_eq!(Header { namesize: 1, ..Header::default() }.data_offset(), 112);
        assert_eq!(Header { namesize: 3, ..Header::default() }.data_offset(), 116);
    }
}
