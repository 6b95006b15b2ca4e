//! What can be wrong with a TFS log.

use super::log::Kind;
use crate::error::{Corrupt, Error};

/// A broken rule of the format, with the numbers that break it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TfsCorrupt {
    /// An extension does not begin with the magic.
    #[error("expected the magic \"NVMTFS\", found \"{}\"", .found.escape_ascii())]
    Magic {
        /// What stands in its place.
        found: [u8; 6],
    },
    /// The data ends inside an extension's header.
    #[error("the header of an extension does not fit in {available} bytes")]
    HeaderBeyondEnd {
        /// Bytes of the extension.
        available: u64,
    },
    /// The version is none that is known.
    #[error("version {found}, expected 4 or 5")]
    Version {
        /// The version found.
        found: u64,
    },
    /// The label has no terminating zero.
    #[error("the label does not end within 32 bytes")]
    LabelNotTerminated,
    /// An extension says another length than the link that leads to it.
    #[error("the header says {found} sectors, the link to it {linked}")]
    ExtensionLength {
        /// Sectors by the header.
        found: u64,
        /// Sectors by the link.
        linked: u64,
    },
    /// A frame of an unknown type.
    #[error("frame type {found:#04x}, expected 1 to 5")]
    FrameType {
        /// The type found.
        found: u8,
    },
    /// The extension ends without an end-of-log mark or link.
    #[error("the extension ends without an end mark or a link")]
    NoEndMark,
    /// A record's piece is longer than the record, or reaches the end of its extension.
    #[error("a piece of {piece} bytes, but the record has {total} and the extension {available} left")]
    PieceLength {
        /// Bytes of the piece.
        piece: u64,
        /// Bytes that the record still has.
        total: u64,
        /// Bytes left in the extension.
        available: u64,
    },
    /// A record begins inside another.
    #[error("a record begins where {missing} bytes of another are missing")]
    RecordInsideRecord {
        /// Bytes missing.
        missing: u64,
    },
    /// A continuation without a record to continue.
    #[error("a continuation without a record")]
    NothingToContinue,
    /// The log ends inside a record.
    #[error("the log ends where {missing} bytes of a record are missing")]
    RecordUnfinished {
        /// Bytes missing.
        missing: u64,
    },
    /// A link to no sectors at all.
    #[error("a link to an extension of 0 sectors")]
    LinkEmpty,
    /// A link passes the end of the file system.
    #[error("a link to {count} sectors at sector {sector}, but there are {end}")]
    LinkBeyondEnd {
        /// First sector.
        sector: u64,
        /// Sectors linked.
        count: u64,
        /// Sectors of the file system.
        end: u64,
    },
    /// A link leads to sectors of the log that were read before.
    #[error("a link to {count} sectors at sector {sector}, which the log uses already")]
    LinkOverlaps {
        /// First sector.
        sector: u64,
        /// Sectors linked.
        count: u64,
    },
    /// A number has more than 64 bits or 10 bytes.
    #[error("a number of more than 64 bits")]
    NumberTooLong,
    /// A value passes the end of its record.
    #[error("a value passes the end of its record, by at least {missing} bytes")]
    ValueBeyondRecord {
        /// Bytes missing.
        missing: u64,
    },
    /// A record goes on behind its value.
    #[error("{left} bytes of the record follow its value")]
    RecordTooLong {
        /// Bytes left.
        left: u64,
    },
    /// A number that the dictionary does not have.
    #[error("a reference to {index}, the dictionary has 1 to {len}")]
    UndefinedReference {
        /// The number.
        index: u64,
        /// Entries of the dictionary.
        len: u64,
    },
    /// A reference to something of another kind.
    #[error("a reference to {index}, which is a {found}, where a {wanted} must be", found = .found.word(), wanted = .wanted.word())]
    WrongKind {
        /// The number.
        index: u64,
        /// What it is.
        found: Kind,
        /// What is needed.
        wanted: Kind,
    },
    /// A reference where only a value can be.
    #[error("a reference of type {found} where a value must be")]
    ReferenceAsValue {
        /// The type.
        found: u8,
    },
    /// The dictionary is full.
    #[error("more than {max} dictionary entries")]
    DictionaryFull {
        /// The limit.
        max: u32,
    },
    /// There is no root tuple.
    #[error("the log has no root tuple")]
    NoRoot,
    /// The root is no directory.
    #[error("the root tuple has no children")]
    RootNotDirectory,
    /// An entry of a directory is no tuple.
    #[error("an entry of a directory is no tuple")]
    EntryNotTuple,
    /// An entry of a directory has a name that none can have.
    #[error("an entry of a directory has an impossible name of {len} bytes")]
    EntryName {
        /// Bytes of the name.
        len: u64,
    },
    /// A directory contains itself.
    #[error("a directory contains one of the directories it lies in")]
    DirectoryCycle,
    /// Directories with several names lead to too many paths.
    #[error("directories with several names lead to more than {max} paths")]
    TooManyPaths {
        /// The limit.
        max: u64,
    },
    /// An extent without one of its numbers, or with a key that is none.
    #[error("an extent without a valid {what}")]
    ExtentIncomplete {
        /// What is missing.
        what: &'static str,
    },
    /// Two extents of a file hold the same block.
    #[error("two extents of one file hold its block {block}")]
    ExtentOverlap {
        /// The block.
        block: u64,
    },
    /// An extent passes the end of the file system.
    #[error("an extent of {count} sectors at sector {sector}, but there are {end}")]
    ExtentBeyondEnd {
        /// First sector.
        sector: u64,
        /// Sectors.
        count: u64,
        /// Sectors of the file system.
        end: u64,
    },
    /// An extent has sectors that the log or another extent has too.
    #[error("an extent of {count} sectors at sector {sector}, of which some are used elsewhere")]
    SectorsShared {
        /// First sector.
        sector: u64,
        /// Sectors.
        count: u64,
    },
    /// A length that no file can have.
    #[error("a file length that is no number up to {max}")]
    FileLength {
        /// The limit.
        max: u64,
    },
}

/// A broken rule and where it is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("byte {offset}: {reason}")]
pub struct Damage {
    /// Where, in bytes from the start of the file system.
    pub offset: u64,
    /// The rule.
    pub reason: TfsCorrupt,
}

impl Damage {
    pub(super) const fn new(offset: u64, reason: TfsCorrupt) -> Self {
        Self { offset, reason }
    }

    /// The same damage in an image in which the file system begins at byte `start`.
    #[must_use]
    pub fn in_image(self, start: u64) -> Corrupt {
        Corrupt::new("tfs", self.offset.saturating_add(start), self.reason)
    }
}

impl From<Damage> for Error {
    fn from(damage: Damage) -> Self {
        damage.in_image(0).into()
    }
}
