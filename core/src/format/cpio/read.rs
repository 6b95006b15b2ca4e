//! Reading entries, one at a time, from a window on the archive.

use super::{CpioCorrupt, HEADER_LEN, Header, TARGET_SIZE_MAX, TRAILER};
use crate::checked::{min_len, to_u64};
use crate::format::cut_at_nul;

/// Bytes from an entry's start within which its header, any name that counts and any target of a symbolic link that
/// counts lie: what a window should hold, unless the archive ends before.
pub const LONGEST_HEAD: usize = HEADER_LEN + 2 + super::NAME_SIZE_MAX as usize + TARGET_SIZE_MAX as usize;

/// An entry whose name lies in the window it was read from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntryRef<'a> {
    /// The header.
    pub header: Header,
    /// The bytes that the header counts as name, NULs included; shorter where the window or the archive ends.
    pub name_field: &'a [u8],
}

impl<'a> EntryRef<'a> {
    /// The name: what stands before the first NUL. Bytes behind it are padding that the format allows.
    #[must_use]
    pub fn name(&self) -> &'a [u8] {
        cut_at_nul(self.name_field)
    }

    /// Whether it is the entry that ends an archive. Links and whatever has data of a kind that cannot are not.
    #[must_use]
    pub fn is_trailer(&self) -> bool {
        self.name_field.strip_prefix(TRAILER).is_some_and(|behind| matches!(behind.first(), None | Some(0)))
    }

    /// Checks what every reader should insist on, for an archive that goes on for `available` bytes from the entry's
    /// start: header, name and data are there.
    ///
    /// # Errors
    /// The broken rule.
    pub fn check_complete(&self, available: u64) -> Result<(), CpioCorrupt> {
        let Header { namesize, filesize, .. } = self.header;
        if namesize == 0 {
            return Err(CpioCorrupt::NameSizeZero);
        }
        let behind_header = available.saturating_sub(to_u64(HEADER_LEN));
        if u64::from(namesize) > behind_header {
            return Err(CpioCorrupt::NameBeyondEnd { name_size: namesize, available: behind_header });
        }
        let behind_name = available.saturating_sub(self.header.data_offset());
        if u64::from(filesize) > behind_name {
            return Err(CpioCorrupt::DataBeyondEnd { size: filesize, available: behind_name });
        }
        Ok(())
    }

    /// Checks that the name ends with its NUL.
    ///
    /// # Errors
    /// The broken rule.
    pub fn check_terminated(&self) -> Result<(), CpioCorrupt> {
        match self.name_field.last() {
            Some(0) => Ok(()),
            last => Err(CpioCorrupt::NameNotTerminated {
                name_size: self.header.namesize,
                last: last.copied().unwrap_or_default(),
            }),
        }
    }
}

/// Reads the entry at the start of `window`, which should hold [`LONGEST_HEAD`] bytes or reach the archive's end.
///
/// Nothing but the magic is checked; what else may be wrong, and whether it matters, differs between consumers.
///
/// # Errors
/// [`CpioCorrupt::Magic`], or [`CpioCorrupt::HeaderBeyondEnd`] for less than [`HEADER_LEN`] bytes.
pub fn read_entry(window: &[u8]) -> Result<EntryRef<'_>, CpioCorrupt> {
    let Some((header, behind)) = window.split_first_chunk::<HEADER_LEN>() else {
        return Err(CpioCorrupt::HeaderBeyondEnd { available: to_u64(window.len()) });
    };
    let header = Header::decode(header)?;
    let name_field = behind.get(..min_len(behind.len(), u64::from(header.namesize))).unwrap_or_default();
    Ok(EntryRef { header, name_field })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(namesize: u32, filesize: u32, rest: &[u8]) -> Vec<u8> {
        let header = Header { namesize, filesize, ..Header::default() };
        [&header.encode()[..], rest].concat()
    }

    #[test]
    fn names_end_at_their_first_nul() {
        let bytes = entry(8, 0, b"ab\0cd\0\0\0");
        let read = read_entry(&bytes).unwrap();
        assert_eq!(read.name(), b"ab");
        assert_eq!(read.check_complete(118), Ok(()));
        assert_eq!(read.check_terminated(), Ok(()));
    }

    #[test]
    fn only_the_exact_name_is_the_trailer() {
        for (name, trailer) in [
            (&b"TRAILER!!!\0"[..], true),
            (b"TRAILER!!!\0x\0", true),
            (b"TRAILER!!\0", false),
            (b"./TRAILER!!!\0", false),
        ] {
            let bytes = entry(u32::try_from(name.len()).unwrap(), 0, name);
            assert_eq!(read_entry(&bytes).unwrap().is_trailer(), trailer, "{}", name.escape_ascii());
        }
    }

    #[test]
    fn every_way_of_ending_too_early_has_its_own_error() {
        assert_eq!(read_entry(&[b'0'; 109]), Err(CpioCorrupt::HeaderBeyondEnd { available: 109 }));
        let bytes = entry(u32::MAX, 0, b"ab\0");
        let read = read_entry(&bytes).unwrap();
        assert_eq!(read.check_complete(113), Err(CpioCorrupt::NameBeyondEnd { name_size: u32::MAX, available: 3 }));
        let bytes = entry(3, u32::MAX, b"ab\0\0\0\0data");
        let read = read_entry(&bytes).unwrap();
        assert_eq!(read.check_complete(120), Err(CpioCorrupt::DataBeyondEnd { size: u32::MAX, available: 4 }));
        let bytes = entry(0, 0, b"");
        assert_eq!(read_entry(&bytes).unwrap().check_complete(110), Err(CpioCorrupt::NameSizeZero));
        let bytes = entry(3, 0, b"abc");
        assert_eq!(
            read_entry(&bytes).unwrap().check_terminated(),
            Err(CpioCorrupt::NameNotTerminated { name_size: 3, last: b'c' })
        );
    }
}
