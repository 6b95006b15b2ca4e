//! What can be wrong with a cpio archive.

use crate::name::escape;

/// A broken rule of the format, with the numbers that break it. The offset stands in the
/// [`Corrupt`](crate::error::Corrupt) around it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CpioCorrupt {
    /// Something begins with `0` like an entry, but is none.
    #[error("expected an entry's magic 070701 or 070702, found \"{}\"", escape(.found))]
    Magic {
        /// What stands in the magic's place.
        found: [u8; 6],
    },
    /// Between entries there are neither zeros, nor an entry, nor anything compressed.
    #[error("expected zeros, an entry (070701) or a compressed part, found {}", hex(.found, *.count))]
    UnknownPart {
        /// The first bytes.
        found: [u8; 6],
        /// How many of them are there.
        count: usize,
    },
    /// An entry or part begins where none may.
    #[error("expected padding up to a multiple of 4 bytes, found {} at {past} past one", hex(.found, *.count))]
    Misaligned {
        /// Bytes past the last multiple of 4.
        past: u64,
        /// The first bytes.
        found: [u8; 6],
        /// How many of them are there.
        count: usize,
    },
    /// The archive ends inside a header.
    #[error("a header needs 110 bytes, the archive ends after {available}")]
    HeaderBeyondEnd {
        /// Bytes up to the end.
        available: u64,
    },
    /// The name size is 0, so that there is not even room for the final NUL.
    #[error("the name size is 0, it must be at least 1")]
    NameSizeZero,
    /// The archive ends inside a name.
    #[error("a name of {name_size} bytes, the archive ends after {available}")]
    NameBeyondEnd {
        /// Bytes of the name as the header says.
        name_size: u32,
        /// Bytes from the name's start to the end.
        available: u64,
    },
    /// The name's last byte is not NUL.
    #[error("a name of {name_size} bytes must end with a NUL, it ends with {last:#04x}")]
    NameNotTerminated {
        /// Bytes of the name as the header says.
        name_size: u32,
        /// The byte in the place of the NUL.
        last: u8,
    },
    /// The archive ends inside an entry's data.
    #[error("{size} bytes of data, the archive ends after {available}")]
    DataBeyondEnd {
        /// Bytes of data as the header says.
        size: u32,
        /// Bytes from the data's start to the end.
        available: u64,
    },
    /// The archive ends inside a header of an old layout.
    #[error("a header needs {needed} bytes, the archive ends after {available}")]
    OldHeaderBeyondEnd {
        /// Bytes of a header.
        needed: usize,
        /// Bytes up to the end.
        available: usize,
    },
    /// A field of an odc header is no octal number.
    #[error("the field at byte {field_offset} of the header is no octal number")]
    Octal {
        /// Where the field begins in the header.
        field_offset: usize,
    },
    /// The archive ends inside the data of an entry in an old layout.
    #[error("{size} bytes of data, the archive ends after {available}")]
    LongDataBeyondEnd {
        /// Bytes of data as the header says.
        size: u64,
        /// Bytes from the data's start to the end.
        available: u64,
    },
    /// The layout of entries changes without a trailer between, which no reader takes.
    #[error("an entry of {found} in an archive of {begun}")]
    LayoutChanges {
        /// The layout so far.
        begun: &'static str,
        /// The layout of this entry.
        found: &'static str,
    },
    /// The checksum of a "crc" entry does not fit its data.
    #[error("the data's sum is {computed:#010x}, the header says {recorded:#010x}")]
    Checksum {
        /// What the header says.
        recorded: u32,
        /// What the data gives.
        computed: u32,
    },
    /// A compressed part ends inside an entry or its padding; Linux requires that it does not.
    #[error("a compressed part ends inside an entry")]
    PartEndsInsideEntry,
}

/// Bytes for people: as text when they are text, else in hexadecimal.
fn hex(found: &[u8; 6], count: usize) -> String {
    use core::fmt::Write;

    let found = found.get(..count).unwrap_or(found);
    if !found.is_empty() && found.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ') {
        return format!("\"{}\"", escape(found));
    }
    found.iter().fold(String::from("bytes"), |mut text, byte| {
        let _ = write!(text, " {byte:02x}");
        text
    })
}
