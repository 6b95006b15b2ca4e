//! What opening an image found out besides the tree.

use alloc::vec::Vec;

use bytes::Bytes;

use super::attribute::Attribute;
use super::compact::LogSize;
use super::replay::LogExtension;
use crate::format::tfs::{Damage, Uuid};

/// Which file system of a disk.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Part {
    /// The only one there is: no disk around it.
    Whole,
    /// The boot file system, with the kernel.
    Boot,
    /// The root file system.
    Root,
}

impl Part {
    /// The word that selects it: `boot`, `root`; nothing for the whole image.
    #[must_use]
    pub const fn word(self) -> Option<&'static str> {
        match self {
            Self::Whole => None,
            Self::Boot => Some("boot"),
            Self::Root => Some("root"),
        }
    }
}

/// What is known about a file system besides its tree.
#[derive(Clone, Debug)]
pub struct TfsReport {
    /// Which file system of the image it is.
    pub part: Part,
    /// Where it begins, in bytes of the image.
    pub start: u64,
    /// Its bytes.
    pub len: u64,
    /// Identifies it.
    pub uuid: Uuid,
    /// Names it; may be empty.
    pub label: Vec<u8>,
    /// The extensions of its log, in order.
    pub extensions: Vec<LogExtension>,
    /// Records of the log.
    pub records: u64,
    /// Marks without meaning in the log: one for each mount by Nanos that wrote something.
    pub segments: u64,
    /// Entries of the log's dictionary.
    pub dictionary_len: u32,
    /// Entries that records set, nested ones included.
    pub entries_set: u64,
    /// How many of them are of no use any more, as Nanos counts: 1 for a replaced entry, 2 for a removed one.
    pub entries_dead: u64,
    /// Configuration in the root, sorted by name.
    pub root_attributes: Vec<(Bytes, Attribute)>,
    /// What ended the log before its time. What stood behind is lost.
    pub lost: Option<Damage>,
    /// Where the log ends, in bytes of the file system.
    pub log_end: u64,
    /// What else is wrong: files that cannot be read and, when recovering, entries left out.
    pub faults: Vec<Damage>,
}

impl TfsReport {
    /// How large the log is, and how much of it is of use.
    #[must_use]
    pub fn log_size(&self) -> LogSize {
        let sectors = self.extensions.iter().fold(0, |sum: u64, extension| sum.saturating_add(extension.count));
        LogSize { sectors, entries: self.entries_set, dead: self.entries_dead }
    }
}
