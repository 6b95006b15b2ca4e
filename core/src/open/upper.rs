//! Images that take changes in place.

use alloc::format;
use alloc::sync::Arc;

use super::{Format, ImageRef, Location, OpenOptions, detect_format, tfs_part, with_image};
use crate::backend::mem::MemFs;
use crate::backend::tfs::{TfsOptions, TfsVolume};
use crate::clock::SystemClock;
use crate::errno::Errno;
use crate::error::{Error, Result};
use crate::fs::FileSystem;
use crate::source::{FileSource, Source};

/// Opens an image to be changed in place: a TFS, whose changes are appended to its log, or `mem:`, a new and empty tree
/// in memory. By itself it is a writable tree; [`Stack::with_upper`](crate::Stack::with_upper) puts it above others.
///
/// # Errors
/// `EBUSY` if somebody else has it open for writing; `ENOTSUP` for every other format, and for a TFS with parts that
/// cannot be written to, see [`TfsVolume::open`]; the rest as [`open`](super::open).
pub fn open_upper(reference: &ImageRef, options: &OpenOptions) -> Result<Arc<dyn FileSystem>> {
    open_location(reference, options).map_err(|error| with_image(error, reference))
}

fn open_location(reference: &ImageRef, options: &OpenOptions) -> Result<Arc<dyn FileSystem>> {
    let path = match (&reference.location, reference.format) {
        (_, Some(Format::Mem)) => return Ok(Arc::new(MemFs::new())),
        (Location::Stdin, _) => {
            return Err(Error::new(Errno::IllegalSeek, "standard input cannot be changed in place"));
        }
        (Location::Path(path), _) => path,
    };
    if path.is_dir() {
        return Err(no_upper(Format::Dir));
    }
    let storage = Arc::new(FileSource::open_exclusive(path)?);
    let source: Arc<dyn Source> = Arc::clone(&storage) as Arc<dyn Source>;
    match reference.format.map_or_else(|| detect_format(&source), Ok)? {
        Format::Tfs => {
            let part = tfs_part(reference.select.as_deref())?;
            let options = TfsOptions { part, defaults: options.defaults, ..TfsOptions::default() };
            Ok(Arc::new(TfsVolume::open(storage, &options, Arc::new(SystemClock))?))
        }
        other => Err(no_upper(other)),
    }
}

fn no_upper(format: Format) -> Error {
    let sentence = format!("{format} does not take changes as an upper layer");
    Error::new(Errno::NotSupported, sentence)
}
