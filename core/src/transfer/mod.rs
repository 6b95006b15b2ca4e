//! Trees into images, into directories of the host and into one another; trees compared, and written down.

mod compress;
mod copy;
pub mod diff;
#[cfg(all(feature = "host", target_os = "linux"))]
mod extract;
mod file;
mod hash;
mod layer;
mod mtree;
#[cfg(feature = "oci")]
mod oci;
mod pack;

pub use self::compress::{Compress, Compressor, can_compress, compress, levels};
pub use self::copy::{AtPath, CopyOptions, CopyReport, Existing, Owners, copy_as, copy_into};
#[cfg(all(feature = "host", target_os = "linux"))]
pub use self::extract::{ExtractOptions, extract, own_ids};
pub use self::file::{PackTarget, pack_beside, pack_file, pack_stream, pack_to_vec};
pub use self::hash::sha256;
pub use self::layer::{write_layer, write_layer_file};
pub use self::mtree::{
    Deviation, DeviationKind, Mtree, MtreeInvalid, MtreeLine, MtreeOptions, for_each_mtree_line, write_mtree,
};
#[cfg(feature = "oci")]
pub use self::oci::{OciBase, OciOptions, OciWriter};
pub use self::pack::{Loss, Lost, PackFormat, PackOptions, PackReport, pack};
pub use crate::progress::Progress;
