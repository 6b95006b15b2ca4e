//! What changed from one tree to another, as a layer of a container image.

use alloc::sync::Arc;
use alloc::vec::Vec;
use std::io::Write;
use std::path::Path;

use super::compress::Compressor;
use super::diff::{DiffOptions, diff_with};
use super::file::PackTarget;
use super::pack::{Found, Loss, Lost, PackFormat, PackOptions, PackReport, busy_threads, from_io, pack_found};
use crate::attr::{Attr, FileType, Recorded};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::format::compress::Compression;
use crate::fs::{FileSystem, NodeRef};
use crate::limits::HOLES_TOLD_MIN;
use crate::path::TreePath;
use crate::progress::Progress;
use crate::source::{Replacement, WriteBehind};

/// Writes what makes `after` out of `before` as a layer of a container image: a tar archive with everything that is new
/// or different, and a whiteout `.wh.NAME` for everything that is gone.
///
/// # Errors
/// Those of the trees, and as [`pack`](super::pack()).
pub fn write_layer<W: Write>(
    before: &Arc<dyn FileSystem>,
    after: &Arc<dyn FileSystem>,
    diff: DiffOptions,
    out: W,
    options: &PackOptions,
    progress: &Progress,
) -> Result<(W, PackReport)> {
    let mut found: Vec<Found> = Vec::new();
    let mut gone: Option<Vec<u8>> = None;
    diff_with(before, after, diff, |change| {
        let path = change.path.strip_prefix(b"/").unwrap_or(&change.path);
        let in_tree = TreePath::parse(path)?;
        match change.after {
            Some(side) => {
                // A file in place of a directory hides all that was below.
                if !side.attr.file_type.is_dir() {
                    gone = Some([path, &b"/"[..]].concat());
                }
                found.push(Found { path: in_tree, node: side.node, attr: side.attr });
            }
            None => {
                if gone.as_ref().is_some_and(|above| path.starts_with(above)) {
                    return Ok(());
                }
                gone = Some([path, &b"/"[..]].concat());
                found.push(Found { path: in_tree, node: NodeRef::root(Arc::clone(after)), attr: WHITEOUT });
            }
        }
        Ok(())
    })?;
    let options = PackOptions { as_layer: true, ..options.clone() };
    let holes = large_holes(&found);
    let (out, mut report) = pack_found(found, out, PackFormat::Tar, &options, progress)?;
    report.lose_all(holes);
    Ok((out, report))
}

/// Files with so many holes that writing them as zeros is worth telling.
///
/// The image specification asks not to use sparse files in layers, as not all who unpack them know them, and no builder
/// of container images writes any.
pub(super) fn large_holes(found: &[Found]) -> Vec<Lost> {
    let holes = |one: &Found| match one.attr.file_type {
        FileType::File => one.attr.size.saturating_sub(one.attr.allocated),
        _ => 0,
    };
    let large = found.iter().filter(|one| holes(one) >= HOLES_TOLD_MIN);
    large.map(|one| Lost { path: one.path.to_vec().into(), what: Loss::Holes(holes(one)) }).collect()
}

/// The same into a file, which appears when it is complete and durable.
///
/// # Errors
/// As [`write_layer`], and those of the host for the file.
pub fn write_layer_file(
    before: &Arc<dyn FileSystem>,
    after: &Arc<dyn FileSystem>,
    diff: DiffOptions,
    path: &Path,
    compression: Option<Compression>,
    options: &PackOptions,
    progress: &Progress,
) -> Result<PackReport> {
    let out = WriteBehind::new(Replacement::create(path)?, busy_threads(&**after));
    let compressor = Compressor::new(out, PackTarget::new(PackFormat::Tar, compression, None).compress)?;
    let (compressor, report) = write_layer(before, after, diff, compressor, options, progress)?;
    let out = compressor.finish()?;
    out.into_inner().map_err(from_io)?.commit()?;
    Ok(report)
}

/// What stands for a name that is gone.
const WHITEOUT: Attr = Attr {
    ino: u64::MAX,
    file_type: FileType::Whiteout,
    mode: 0,
    nlink: 1,
    uid: 0,
    gid: 0,
    size: 0,
    allocated: 0,
    rdev: None,
    atime: Timestamp::EPOCH,
    mtime: Timestamp::EPOCH,
    ctime: Timestamp::EPOCH,
    opaque: false,
    recorded: Recorded::NONE,
};
