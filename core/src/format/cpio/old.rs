//! The layouts from before newc: octal text ("odc") and 16-bit words ("old binary").
//!
//! Specified by POSIX.1-1988 (odc) and by `cpio(5)` of 7th edition Unix. Linux reads neither.

use super::{CpioCorrupt, Header, Magic, TRAILER};
use crate::attr::Device;
use crate::checked::{min_len, to_u64};
use crate::format::cut_at_nul;

/// Bytes of an odc header.
const ODC_LEN: usize = 76;

/// Bytes of an old binary header: 13 words.
const BINARY_LEN: usize = 26;

/// An entry in one of the old layouts, in terms of the new one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OldEntry<'a> {
    /// The fields that the layouts share. `filesize` is 0 and `namesize` as recorded; see `size`.
    pub header: Header,
    /// Bytes of data, of which odc can have 2^33-1.
    pub size: u64,
    /// The bytes that the header counts as name, NULs included; shorter where the archive ends.
    pub name_field: &'a [u8],
    /// Bytes from the entry's start to its name.
    pub name_offset: u64,
    /// Bytes from the entry's start to its data.
    pub data_offset: u64,
    /// Bytes from the entry's start to the next one.
    pub entry_len: u64,
}

impl<'a> OldEntry<'a> {
    /// The name: what stands before the first NUL.
    #[must_use]
    pub fn name(&self) -> &'a [u8] {
        cut_at_nul(self.name_field)
    }

    /// Whether it ends the archive.
    #[must_use]
    pub fn is_trailer(&self) -> bool {
        self.name() == TRAILER
    }

    /// The number of a device node. Both layouts have one field for it, which writers fill with 8 bits of minor number.
    #[must_use]
    pub const fn rdev(&self) -> Device {
        Device { major: self.header.rdev_minor >> 8, minor: self.header.rdev_minor & 0xff }
    }

    /// Checks that the archive, which goes on for `available` bytes from the entry's start, holds all of it.
    ///
    /// # Errors
    /// The broken rule.
    pub fn check(&self, available: u64) -> Result<(), CpioCorrupt> {
        let name_size = self.header.namesize;
        if name_size == 0 {
            return Err(CpioCorrupt::NameSizeZero);
        }
        let behind_header = available.saturating_sub(self.name_offset);
        if u64::from(name_size) > behind_header {
            return Err(CpioCorrupt::NameBeyondEnd { name_size, available: behind_header });
        }
        match self.name_field.last() {
            Some(0) => {}
            last => {
                return Err(CpioCorrupt::NameNotTerminated { name_size, last: last.copied().unwrap_or_default() });
            }
        }
        let behind_name = available.saturating_sub(self.data_offset);
        if self.size > behind_name {
            return Err(CpioCorrupt::LongDataBeyondEnd { size: self.size, available: behind_name });
        }
        Ok(())
    }
}

/// Reads the entry at the start of `window`, which should hold [`LONGEST_HEAD`](super::LONGEST_HEAD) bytes or reach the
/// archive's end; `None` if it is of neither old layout.
///
/// # Errors
/// [`CpioCorrupt::OldHeaderBeyondEnd`]; [`CpioCorrupt::Octal`].
pub fn read_old_entry(window: &[u8]) -> Option<Result<OldEntry<'_>, CpioCorrupt>> {
    match Magic::detect(window)? {
        Magic::Hex(_) => None,
        Magic::Odc => Some(odc(window)),
        Magic::BinaryLittleEndian => Some(binary(window, u16::from_le_bytes)),
        Magic::BinaryBigEndian => Some(binary(window, u16::from_be_bytes)),
    }
}

fn odc(window: &[u8]) -> Result<OldEntry<'_>, CpioCorrupt> {
    let Some((header, behind)) = window.split_first_chunk::<ODC_LEN>() else {
        return Err(CpioCorrupt::OldHeaderBeyondEnd { needed: ODC_LEN, available: window.len() });
    };
    let mut at: usize = 6;
    let mut field = |len: usize| {
        let digits = header.get(at..at.saturating_add(len)).unwrap_or_default();
        let offset = at;
        at = at.saturating_add(len);
        octal(digits).ok_or(CpioCorrupt::Octal { field_offset: offset })
    };
    let mut short = || field(6).map(|value| u32::try_from(value).unwrap_or(u32::MAX));
    let [dev, ino, mode, uid, gid, nlink, rdev] = [short(), short(), short(), short(), short(), short(), short()];
    let mtime = field(11)?;
    let namesize = u32::try_from(field(6)?).unwrap_or(u32::MAX);
    let size = field(11)?;
    let header = Header {
        ino: ino?,
        mode: mode?,
        uid: uid?,
        gid: gid?,
        nlink: nlink?,
        // 33 bits, of which writers use 31.
        mtime: u32::try_from(mtime).unwrap_or(u32::MAX),
        dev_minor: dev?,
        rdev_minor: rdev?,
        namesize,
        ..Header::default()
    };
    Ok(entry(header, size, ODC_LEN, behind, 1))
}

fn binary(window: &[u8], word: fn([u8; 2]) -> u16) -> Result<OldEntry<'_>, CpioCorrupt> {
    let Some((header, behind)) = window.split_first_chunk::<BINARY_LEN>() else {
        return Err(CpioCorrupt::OldHeaderBeyondEnd { needed: BINARY_LEN, available: window.len() });
    };
    let (words, _) = header.as_chunks::<2>();
    let short = |index: usize| words.get(index).map_or(0, |bytes| u32::from(word(*bytes)));
    // The high word comes first in both byte orders.
    let long = |index: usize| (short(index) << 16) | short(index.saturating_add(1));
    let header = Header {
        dev_minor: short(1),
        ino: short(2),
        mode: short(3),
        uid: short(4),
        gid: short(5),
        nlink: short(6),
        rdev_minor: short(7),
        mtime: long(8),
        namesize: short(10),
        ..Header::default()
    };
    Ok(entry(header, long(11).into(), BINARY_LEN, behind, 2))
}

fn entry(header: Header, size: u64, header_len: usize, behind: &[u8], align: u64) -> OldEntry<'_> {
    let name_offset = to_u64(header_len);
    // OK: at most 2^32, and 2^33 below.
    let data_offset = name_offset.saturating_add(u64::from(header.namesize)).next_multiple_of(align);
    OldEntry {
        header,
        size,
        name_field: behind.get(..min_len(behind.len(), header.namesize.into())).unwrap_or_default(),
        name_offset,
        data_offset,
        entry_len: data_offset.saturating_add(size).next_multiple_of(align),
    }
}

/// Octal digits, with blanks and NULs around them as some writers leave them; 33 bits at most.
fn octal(digits: &[u8]) -> Option<u64> {
    let digits = digits.trim_ascii_start();
    let end = digits.iter().position(|byte| matches!(byte, b' ' | 0)).unwrap_or(digits.len());
    digits.get(..end)?.iter().try_fold(0_u64, |value, digit| match digit {
        b'0'..=b'7' => Some((value << 3) | u64::from(digit & 7)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odc_fields_stand_where_posix_says() {
        let fields = ["070707", "000001", "000002", "100644", "000003", "000004", "000005", "000403"];
        let rest = ["00000000006", "000003", "00000000007", "ab\0content"];
        let bytes = [fields.concat(), rest.concat()].concat().into_bytes();
        let read = read_old_entry(&bytes).unwrap().unwrap();
        assert_eq!(read.name(), b"ab");
        assert_eq!((read.size, read.data_offset, read.entry_len), (7, 79, 86));
        let Header { dev_minor, ino, mode, uid, gid, nlink, mtime, .. } = read.header;
        assert_eq!((dev_minor, ino, mode, uid, gid, nlink, mtime), (1, 2, 0o100_644, 3, 4, 5, 6));
        assert_eq!(read.rdev(), Device { major: 1, minor: 3 });
        assert_eq!(read.check(86), Ok(()));
        assert_eq!(read.check(85), Err(CpioCorrupt::LongDataBeyondEnd { size: 7, available: 6 }));
        let mut broken = bytes.clone();
        broken[20] = b'9';
        assert_eq!(read_old_entry(&broken), Some(Err(CpioCorrupt::Octal { field_offset: 18 })));
    }

    #[test]
    fn words_are_read_in_both_orders_and_longs_high_word_first() {
        let words: [u16; 13] = [0o070_707, 1, 2, 0o100_644, 3, 4, 5, 0x0403, 0x1, 0x2, 4, 0, 3];
        for (bytes, order) in [(words.map(u16::to_le_bytes), "little"), (words.map(u16::to_be_bytes), "big")] {
            let bytes = [bytes.as_flattened(), b"abc\0xyz\0"].concat();
            let read = read_old_entry(&bytes).unwrap().unwrap();
            assert_eq!((read.name(), read.size, read.entry_len), (&b"abc"[..], 3, 34), "{order}");
            assert_eq!(read.header.mtime, 0x1_0002, "{order}");
            assert_eq!(read.rdev(), Device { major: 4, minor: 3 }, "{order}");
        }
        assert!(read_old_entry(b"070701").is_none());
        assert!(read_old_entry(b"\xc7\x71").unwrap().is_err());
    }
}
