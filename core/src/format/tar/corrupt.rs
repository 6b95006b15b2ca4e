//! What can be wrong with a tar archive.

use crate::name::escape;

/// A broken rule of the format, with the numbers that break it. The offset stands in the
/// [`Corrupt`](crate::error::Corrupt) around it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TarCorrupt {
    /// The archive ends inside a header.
    #[error("a header needs 512 bytes, the archive ends after {available}")]
    HeaderBeyondEnd {
        /// Bytes up to the end.
        available: u64,
    },
    /// A header's checksum does not fit.
    #[error("the header's sum is {computed}, its checksum field says \"{}\"", escape(.recorded))]
    Checksum {
        /// The field.
        recorded: [u8; 8],
        /// What the header gives, bytes taken as unsigned.
        computed: u32,
    },
    /// A field is no number.
    #[error("the {field} is \"{}\", which is no number", escape(.found))]
    Number {
        /// Which field.
        field: &'static str,
        /// The field.
        found: [u8; 12],
    },
    /// A number is out of what its meaning allows.
    #[error("the {field} is {value}, which cannot be")]
    Range {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: i128,
    },
    /// The archive ends inside an entry's data.
    #[error("{size} bytes of {what}, the archive ends after {available}")]
    DataBeyondEnd {
        /// Of what.
        what: &'static str,
        /// Bytes as the header says.
        size: u64,
        /// Bytes from the data's start to the end.
        available: u64,
    },
    /// A long name or a block of records is longer than any sound one.
    #[error("{size} bytes of {what}, at most {max} are taken")]
    TooLong {
        /// Of what.
        what: &'static str,
        /// Bytes as the header says.
        size: u64,
        /// The limit.
        max: u64,
    },
    /// A pax record's length does not fit it.
    #[error("no record of the form \"LENGTH KEY=VALUE\" begins at \"{}\"", escape(.found))]
    PaxRecord {
        /// The start of what is there.
        found: Vec<u8>,
    },
    /// A pax record's value does not have the form that its key asks for.
    #[error("the record {key} is \"{value}\"")]
    PaxValue {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// The map of a sparse file is no list of numbers.
    #[error("the map of a sparse file is no list of numbers")]
    SparseText,
    /// The pieces of a sparse file overlap, run backwards or pass its end.
    #[error(
        "piece {number} of a sparse file, {len} bytes at {offset}, does not follow the one before or passes {size}"
    )]
    SparseOrder {
        /// Which piece, from 0.
        number: usize,
        /// Where it begins in the file.
        offset: u64,
        /// Its bytes.
        len: u64,
        /// Bytes of the file.
        size: u64,
    },
    /// The pieces of a sparse file do not add up to what is stored.
    #[error("the pieces of a sparse file have {pieces} bytes, {stored} are stored")]
    SparseLength {
        /// Bytes of all pieces.
        pieces: u64,
        /// Bytes stored.
        stored: u64,
    },
}
