//! Writing newc and crc archives.

use alloc::string::String;
use std::io::Write;

use super::{
    CpioCorrupt, HEADER_LEN, Header, NAME_SIZE_MAX, TARGET_SIZE_MAX, TRAILER, Variant, align, checksum, mode_of,
};
use crate::attr::{Device, FileType};
use crate::checked::to_u64;
use crate::errno::Errno;
use crate::error::{Error, Result};
use crate::name::escape;

/// An entry to write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewEntry<'a> {
    /// The path; by custom without `/` or `./` in front, and `.` for the root.
    pub name: &'a [u8],
    /// The kind.
    pub file_type: FileType,
    /// Permission bits: 0 to 0o7777.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Names of the node within the archive; 2 and more make hard links of the entries with the same `ino`.
    pub nlink: u32,
    /// Number of the node, one for each group of hard links.
    pub ino: u32,
    /// Seconds since 1970.
    pub mtime: u32,
    /// Number of a device node.
    pub rdev: Device,
}

/// Why an entry cannot be written.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WriteRefused {
    /// A name of more bytes than readers take.
    #[error("{name}: a name of {len} bytes, cpio holds {max}", max = NAME_SIZE_MAX - 1)]
    NameTooLong {
        /// The start of the name, for people.
        name: String,
        /// Its bytes.
        len: usize,
    },
    /// A name that no reader would take for a file.
    #[error("\"{name}\" cannot be the name of an entry")]
    Name {
        /// The name, for people.
        name: String,
    },
    /// More data than the header's 32 bits can say.
    #[error("{name}: {size} bytes, cpio holds {max} in one file", max = u32::MAX)]
    FileTooBig {
        /// The name, for people.
        name: String,
        /// Bytes of data.
        size: u64,
    },
    /// A target that Linux would not take.
    #[error("{name}: a target of {size} bytes, Linux takes {max}", max = TARGET_SIZE_MAX - 1)]
    TargetTooLong {
        /// The name, for people.
        name: String,
        /// Bytes of the target.
        size: u64,
    },
    /// Data on something that holds none.
    #[error("{name}: a {kind} has no data, but {size} bytes are given")]
    DataOnSpecial {
        /// The name, for people.
        name: String,
        /// The kind.
        kind: &'static str,
        /// Bytes of data.
        size: u64,
    },
    /// A kind that the format does not have.
    #[error("{name}: cpio has no {kind}")]
    Kind {
        /// The name, for people.
        name: String,
        /// The kind.
        kind: &'static str,
    },
    /// More or less data came than was announced.
    #[error("{announced} bytes of data announced, {written} written")]
    DataCount {
        /// As announced.
        announced: u32,
        /// As written.
        written: u64,
    },
}

impl From<WriteRefused> for Error {
    fn from(refused: WriteRefused) -> Self {
        let errno = match refused {
            WriteRefused::NameTooLong { .. } | WriteRefused::TargetTooLong { .. } => Errno::NameTooLong,
            WriteRefused::FileTooBig { .. } => Errno::FileTooBig,
            WriteRefused::Name { .. } | WriteRefused::DataOnSpecial { .. } | WriteRefused::DataCount { .. } => {
                Errno::Invalid
            }
            WriteRefused::Kind { .. } => Errno::NotSupported,
        };
        Self::new(errno, refused)
    }
}

/// Writes an archive entry by entry. Give a buffered writer; the order of entries is the caller's, and should have
/// every directory before its content.
#[derive(Debug)]
pub struct CpioWriter<W> {
    out: W,
    variant: Variant,
    /// Bytes written so far.
    written: u64,
    /// Announced size of the entry begun, and where its data starts.
    data: (u32, u64),
}

impl<W: Write> CpioWriter<W> {
    /// An archive of newc entries.
    pub const fn new(out: W) -> Self {
        Self { out, variant: Variant::Newc, written: 0, data: (0, 0) }
    }

    /// An archive of crc entries, for consumers that verify.
    pub const fn with_checksums(out: W) -> Self {
        Self { out, variant: Variant::Crc, written: 0, data: (0, 0) }
    }

    /// Writes an entry with its data: a file's content or a symbolic link's target.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub fn entry(&mut self, entry: &NewEntry<'_>, data: &[u8]) -> Result<()> {
        let sum = match (self.variant, entry.file_type) {
            (Variant::Crc, FileType::File) => checksum(0, data),
            _ => 0,
        };
        self.begin(entry, to_u64(data.len()), sum)?;
        self.data(data)
    }

    /// Begins an entry with `size` bytes of data, which must follow through [`data`](Self::data). `sum` is their
    /// [`checksum`] in an archive with checksums, else it is ignored.
    ///
    /// # Errors
    /// [`WriteRefused`] as `ENAMETOOLONG`, `EFBIG`, `EINVAL` or `ENOTSUP`; what the writer answers as `EIO` or `ENOSPC`.
    pub fn begin(&mut self, entry: &NewEntry<'_>, size: u64, sum: u32) -> Result<()> {
        self.end_entry()?;
        let (mode, filesize) = check(entry, size)?;
        if entry.name == TRAILER {
            // Every reader would take it for the end; with a directory in front it is a file, in Linux too.
            self.head(entry, b"./TRAILER!!!", mode, filesize, sum)
        } else {
            self.head(entry, entry.name, mode, filesize, sum)
        }
    }

    /// More data of the entry begun.
    ///
    /// # Errors
    /// What the writer answers.
    pub fn data(&mut self, data: &[u8]) -> Result<()> {
        self.put(data)
    }

    /// Ends the archive: the trailer, and zeros up to a multiple of 512.
    ///
    /// # Errors
    /// What the writer answers; `EINVAL` if the last entry's data is not complete.
    pub fn finish(mut self) -> Result<W> {
        self.end_entry()?;
        let trailer = NewEntry {
            name: TRAILER,
            file_type: FileType::File,
            mode: 0,
            uid: 0,
            gid: 0,
            nlink: 1,
            ino: 0,
            mtime: 0,
            rdev: Device::default(),
        };
        self.head(&trailer, TRAILER, 0, 0, 0)?;
        self.end_entry()?;
        let past = self.written % 512;
        if past != 0 {
            self.put_zeros(512_u64.saturating_sub(past))?;
        }
        self.out.flush().map_err(from_io)?;
        Ok(self.out)
    }

    fn head(&mut self, entry: &NewEntry<'_>, name: &[u8], mode: u32, filesize: u32, sum: u32) -> Result<()> {
        let header = Header {
            variant: self.variant,
            ino: entry.ino,
            mode,
            uid: entry.uid,
            gid: entry.gid,
            nlink: entry.nlink,
            mtime: entry.mtime,
            filesize,
            dev_major: 0,
            dev_minor: 0,
            rdev_major: entry.rdev.major,
            rdev_minor: entry.rdev.minor,
            // OK: `check` bounds names by NAME_SIZE_MAX.
            namesize: u32::try_from(name.len()).unwrap_or(u32::MAX).saturating_add(1),
            check: if self.variant == Variant::Crc { sum } else { 0 },
        };
        self.put(&header.encode())?;
        self.put(name)?;
        let named = to_u64(HEADER_LEN).saturating_add(to_u64(name.len()));
        self.put_zeros(header.data_offset().saturating_sub(named))?;
        self.data = (filesize, self.written);
        Ok(())
    }

    /// Pads the entry begun, if any.
    fn end_entry(&mut self) -> Result<()> {
        let (announced, start) = self.data;
        let written = self.written.saturating_sub(start);
        if written != u64::from(announced) {
            return Err(WriteRefused::DataCount { announced, written }.into());
        }
        self.put_zeros(align(self.written).saturating_sub(self.written))?;
        self.data = (0, self.written);
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(from_io)?;
        self.written = self.written.saturating_add(to_u64(bytes.len()));
        Ok(())
    }

    fn put_zeros(&mut self, count: u64) -> Result<()> {
        self.put(&crate::fs::shared_zeros(count))
    }
}

/// The mode and size fields, if the entry can be written at all.
fn check(entry: &NewEntry<'_>, size: u64) -> Result<(u32, u32), WriteRefused> {
    let name = || escape(entry.name.get(..80).unwrap_or(entry.name)).to_string();
    if entry.name.is_empty() || entry.name.contains(&0) {
        return Err(WriteRefused::Name { name: name() });
    }
    if to_u64(entry.name.len()) >= u64::from(NAME_SIZE_MAX) {
        return Err(WriteRefused::NameTooLong { name: name(), len: entry.name.len() });
    }
    let kind = entry.file_type.word();
    let Some(mode) = mode_of(entry.file_type, entry.mode) else {
        return Err(WriteRefused::Kind { name: name(), kind });
    };
    match entry.file_type {
        FileType::File => {}
        FileType::Symlink if size < u64::from(TARGET_SIZE_MAX) => {}
        FileType::Symlink => return Err(WriteRefused::TargetTooLong { name: name(), size }),
        _ if size != 0 => return Err(WriteRefused::DataOnSpecial { name: name(), kind, size }),
        _ => {}
    }
    match u32::try_from(size) {
        Ok(filesize) => Ok((mode, filesize)),
        Err(_) => Err(WriteRefused::FileTooBig { name: name(), size }),
    }
}

fn from_io(error: std::io::Error) -> Error {
    let errno = match error.kind() {
        std::io::ErrorKind::StorageFull => Errno::NoSpace,
        std::io::ErrorKind::BrokenPipe => Errno::Pipe,
        _ => Errno::Io,
    };
    Error::new(errno, error)
}

impl CpioCorrupt {
    /// Whether the archive merely ends too early: what a copy that was cut short looks like.
    #[must_use]
    pub const fn is_truncation(&self) -> bool {
        matches!(
            self,
            Self::HeaderBeyondEnd { .. }
                | Self::NameBeyondEnd { .. }
                | Self::DataBeyondEnd { .. }
                | Self::PartEndsInsideEntry
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &[u8]) -> NewEntry<'_> {
        NewEntry {
            name,
            file_type: FileType::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
            nlink: 1,
            ino: 1,
            mtime: 0,
            rdev: Device::default(),
        }
    }

    #[test]
    fn refuses_what_readers_could_not_read_back() {
        let mut writer = CpioWriter::new(Vec::new());
        let long = [b'x'; 4096];
        let link = NewEntry { file_type: FileType::Symlink, ..file(b"l") };
        for (entry, size, errno) in [
            (file(b""), 0, Errno::Invalid),
            (file(b"a\0b"), 0, Errno::Invalid),
            (file(&long), 0, Errno::NameTooLong),
            (file(b"big"), 1 << 32, Errno::FileTooBig),
            (link, 4096, Errno::NameTooLong),
            (NewEntry { file_type: FileType::Dir, ..file(b"d") }, 1, Errno::Invalid),
            (NewEntry { file_type: FileType::Whiteout, ..file(b"w") }, 0, Errno::NotSupported),
        ] {
            assert_eq!(writer.begin(&entry, size, 0).unwrap_err(), errno, "{entry:?}");
        }
        writer.begin(&file(b"short"), 3, 0).unwrap();
        writer.data(b"ab").unwrap();
        assert_eq!(writer.finish().unwrap_err(), Errno::Invalid);
    }

    #[test]
    fn an_archive_is_padded_to_512_bytes() {
        let mut writer = CpioWriter::new(Vec::new());
        writer.entry(&file(b"TRAILER!!!"), b"x").unwrap();
        let archive = writer.finish().unwrap();
        assert_eq!(archive.len(), 512);
        assert_eq!(&archive[110..122], b"./TRAILER!!!", "not taken for the end");
    }
}
