//! tar archives: blocks of 512 bytes, entry after entry, each a header and data.
//!
//! Read are the layouts v7, ustar (POSIX.1-1988), pax (POSIX.1-2001) and GNU, with long names, sparse files in all four
//! forms, extended attributes and access control lists; written is pax. Specified by POSIX.1-2017 under `pax`, and by
//! the manual of GNU tar, "Standard" and "Sparse Formats".

mod acl;
mod corrupt;
mod layout;
mod pax;
mod sparse;
mod write;

pub use self::acl::mode_of_acl;
pub use self::corrupt::TarCorrupt;
pub use self::layout::{BLOCK, BLOCK_LEN, EntryType, Flavor, Header, blocks, is_zero};
pub use self::pax::{Overrides, PaxSparse, Xattr};
pub use self::sparse::{Piece, check_pieces, parse_sparse_1_0, parse_sparse_gnu, parse_sparse_text};
pub use self::write::{NewTarEntry, NewTarKind, TarWriter};
