//! What opening an archive found out besides the tree.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::attr::FileType;
use crate::errno::Errno;
use crate::error::Error;
use crate::format::compress::Compression;
use crate::name::escape;

/// What an archive consists of, and what was left out of its tree.
#[derive(Debug, Default)]
pub struct ArchiveReport {
    /// Where it is in a program; with several, each is in what the one before names. Offsets of parts count from there.
    pub embedded: Vec<EmbeddedPlace>,
    /// Its parts, in order. An archive without compression and without anything in it has none.
    pub parts: Vec<Part>,
    /// Entries read, trailers not counted.
    pub entries: u64,
    /// Trailers read.
    pub trailers: u64,
    /// Entries that left nothing in the tree, as in Linux, which passes over them in silence.
    pub skipped_count: u64,
    /// The first [`SKIPPED_KEPT_MAX`](crate::limits::SKIPPED_KEPT_MAX) of them.
    pub skipped: Vec<Skipped>,
    /// Where Linux would have stopped, and why; only with [`Unpack::AsLinux`](super::Unpack::AsLinux), which goes on
    /// with what was there until then.
    pub stopped: Option<Error>,
    /// Bytes of all parts, decompressed.
    pub unpacked_len: u64,
}

/// A place in a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EmbeddedPlace {
    /// What a reference selects it by: `initrd`, `ucode`, `linux`, `vmlinux`, `einitrd`, `initramfs`.
    pub name: &'static str,
    /// Where it begins, in bytes of the program, decompressed if it is one in another.
    pub offset: u64,
    /// Its bytes there.
    pub len: u64,
}

/// A run of entries without compression, or one compressed stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    /// Where it begins, in bytes of the image, or of the part it is compressed in.
    pub offset: u64,
    /// Its bytes there.
    pub len: u64,
    /// The part that it lies in, compressed once more.
    pub within: Option<usize>,
    /// How it is compressed.
    pub compression: Option<Compression>,
    /// Its bytes, decompressed.
    pub unpacked_len: u64,
    /// Its entries, trailers not counted.
    pub entries: u64,
}

/// An entry that left nothing in the tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Skipped {
    /// Its part, as a position in [`ArchiveReport::parts`].
    pub part: usize,
    /// Where its header begins, in bytes of that part's source: the image, or the part decompressed.
    pub offset: u64,
    /// Its name, as it stands in the archive.
    pub name: Box<[u8]>,
    /// Why.
    pub reason: SkipReason,
}

impl core::fmt::Display for Skipped {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} (entry at byte {}): {}", escape(&self.name), self.offset, self.reason)
    }
}

/// Why an entry left nothing in the tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SkipReason {
    /// A directory on its path does not exist, or not yet.
    #[error("a directory on its path does not exist at this point of the archive")]
    NoParent,
    /// What its path leads to does not exist.
    #[error("its path leads nowhere")]
    Missing,
    /// Something on its path is neither a directory nor a link to one.
    #[error("something on its path is not a directory")]
    NotADirectory,
    /// Symbolic links on its path lead round in circles.
    #[error("more than 40 symbolic links on its path")]
    Loop,
    /// A component of its path is too long.
    #[error("a component of {len} bytes on its path, at most 255 are possible")]
    NameTooLong {
        /// Bytes of the component.
        len: usize,
    },
    /// Its path is too long, or empty without even a NUL.
    #[error("a name of {size} bytes with its NUL, Linux takes 1 to 4096")]
    NameSize {
        /// Bytes of the name with its NUL.
        size: u32,
    },
    /// A link's target is too long.
    #[error("a target of {size} bytes, Linux takes up to 4095")]
    TargetSize {
        /// Bytes of the target.
        size: u64,
    },
    /// It has data, but is of a type that has none.
    #[error("a {} with {size} bytes of data", .file_type.word())]
    DataOnSpecial {
        /// Its type.
        file_type: FileType,
        /// Bytes of data.
        size: u32,
    },
    /// Its type does not exist.
    #[error("no file type has mode {mode:o}")]
    UnknownType {
        /// Its mode, type bits included.
        mode: u32,
    },
    /// A directory that is not empty is in its place.
    #[error("a directory is in its place and cannot be replaced")]
    DirectoryInTheWay,
    /// Its name ends with a slash, but it is no directory.
    #[error("a slash at the end of a name that is not a directory's")]
    SlashBehindFile,
    /// Its name has a component that leads upwards, which no tool unpacks.
    #[error("a component \"..\" in its name")]
    Upwards,
    /// A hard link to a directory.
    #[error("a hard link to a directory")]
    LinkToDirectory,
    /// A whiteout that names nothing.
    #[error("a whiteout of nothing")]
    WhiteoutOfNothing,
    /// The first name of the hard link could not be created, or is gone.
    #[error("the file it is a hard link of does not exist")]
    LinkTargetGone,
}

/// A limit that protects against archives made to exhaust the reader.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LimitExceeded {
    /// Decompressed, the image is too long.
    #[error("more than {max} bytes when decompressed")]
    Unpacked {
        /// The limit.
        max: u64,
    },
    /// Too many entries.
    #[error("more than {max} entries")]
    Entries {
        /// The limit.
        max: u32,
    },
    /// Names take too much memory.
    #[error("more than {max} bytes of names")]
    Names {
        /// The limit.
        max: u32,
    },
    /// Too many compressed parts.
    #[error("more than {max} compressed parts")]
    Parts {
        /// The limit.
        max: usize,
    },
    /// Compressed in too many layers.
    #[error("compressed more than {max} times over")]
    Nesting {
        /// The limit.
        max: u32,
    },
    /// Paths lead through too many symbolic links.
    #[error("the paths of this archive lead through too many symbolic links")]
    Steps,
}

impl From<LimitExceeded> for Error {
    fn from(limit: LimitExceeded) -> Self {
        let errno = match limit {
            LimitExceeded::Unpacked { .. } => Errno::FileTooBig,
            LimitExceeded::Entries { .. } | LimitExceeded::Names { .. } | LimitExceeded::Parts { .. } => {
                Errno::NoMemory
            }
            LimitExceeded::Nesting { .. } | LimitExceeded::Steps => Errno::Loop,
        };
        Self::new(errno, limit)
    }
}

impl From<LimitExceeded> for super::walk::Stop {
    fn from(limit: LimitExceeded) -> Self {
        Self::Fail(limit.into())
    }
}
