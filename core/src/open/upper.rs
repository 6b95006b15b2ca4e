//! Images that take changes in place.

use alloc::format;
use alloc::sync::Arc;
use std::fs::File;
use std::path::Path;

use super::{Format, ImageRef, Location, OpenOptions, detect_format, from_io, tfs_part, with_image};
use crate::backend::mem::MemFs;
use crate::backend::tfs::{TfsOptions, TfsVolume};
use crate::clock::{Clock, SystemClock};
#[cfg(all(feature = "host", target_os = "linux"))]
use crate::compose::LinuxUpper;
use crate::errno::Errno;
use crate::error::{Error, Result};
use crate::fs::FileSystem;
use crate::source::{FileSource, Source};

/// Opens an image to be changed in place: a TFS, whose changes are appended to its log; a host directory, in the form of
/// [`LinuxUpper`]; or `mem:`, a new and empty tree in memory. By itself it is a writable tree;
/// [`Stack::with_upper`](crate::Stack::with_upper) puts it above others, in its directory `upper`.
///
/// # Errors
/// `EBUSY` if somebody else has it open for writing; `ENOTSUP` for every other format, and for a TFS with parts that
/// cannot be written to, see [`TfsVolume::open`]; the rest as [`open`](super::open).
pub fn open_upper(reference: &ImageRef, options: &OpenOptions) -> Result<Arc<dyn FileSystem>> {
    open_location(reference, options).map_err(|error| with_image(error, reference))
}

/// Opens a TFS to be changed in place, for what only a TFS does: [`TfsVolume::compact`].
///
/// # Errors
/// As [`open_upper`]; `ENOTSUP` for what is no TFS.
pub fn open_tfs_volume(reference: &ImageRef, options: &OpenOptions) -> Result<TfsVolume> {
    let opened = match &reference.location {
        Location::Stdin => Err(Error::new(Errno::IllegalSeek, "standard input cannot be changed in place")),
        Location::Path(path) if path.is_dir() => Err(no_tfs(Format::Dir)),
        Location::Path(path) => match reference.format.map_or_else(|| detect_format(&open_file(path)?), Ok) {
            Ok(Format::Tfs) => open_volume(reference, path, options, Arc::new(SystemClock)),
            Ok(other) => Err(no_tfs(other)),
            Err(error) => Err(error),
        },
    };
    opened.map_err(|error| with_image(error, reference))
}

fn no_tfs(format: Format) -> Error {
    Error::new(Errno::NotSupported, format!("it is {format}, and no TFS"))
}

fn open_location(reference: &ImageRef, options: &OpenOptions) -> Result<Arc<dyn FileSystem>> {
    let path = match (&reference.location, reference.format) {
        (_, Some(Format::Mem)) => return Ok(Arc::new(MemFs::new())),
        (Location::Stdin, _) => {
            return Err(Error::new(Errno::IllegalSeek, "standard input cannot be changed in place"));
        }
        (Location::Path(path), _) => path,
    };
    if path.is_dir() || reference.format == Some(Format::Dir) {
        return open_dir(path);
    }
    match reference.format.map_or_else(|| detect_format(&open_file(path)?), Ok)? {
        Format::Tfs => Ok(Arc::new(open_volume(reference, path, options, Arc::new(SystemClock))?)),
        other => Err(no_upper(other)),
    }
}

fn open_file(path: &Path) -> Result<Arc<dyn Source>> {
    Ok(Arc::new(FileSource::new(File::open(path).map_err(from_io)?)?))
}

/// Opens the TFS that `reference` selects in the file at `path` for writing.
///
/// # Errors
/// As [`open_upper`].
pub(crate) fn open_volume(
    reference: &ImageRef,
    path: &Path,
    options: &OpenOptions,
    clock: Arc<dyn Clock>,
) -> Result<TfsVolume> {
    let part = tfs_part(reference.select.as_deref())?;
    let storage = Arc::new(FileSource::open_exclusive(path)?);
    TfsVolume::open(storage, &TfsOptions { part, recover: false, defaults: options.defaults }, clock)
}

/// In Linux's form, so that its overlayfs can go on with the directory, and this with one of its own.
#[cfg(all(feature = "host", target_os = "linux"))]
fn open_dir(path: &Path) -> Result<Arc<dyn FileSystem>> {
    let fs = Arc::new(crate::backend::host::HostFs::open(path)?);
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let owner = (!uid.is_root()).then(|| (uid.as_raw(), gid.as_raw()));
    Ok(Arc::new(LinuxUpper::new(fs, owner)?))
}

#[cfg(not(all(feature = "host", target_os = "linux")))]
fn open_dir(_path: &Path) -> Result<Arc<dyn FileSystem>> {
    Err(no_upper(Format::Dir))
}

fn no_upper(format: Format) -> Error {
    let sentence = format!("{format} does not take changes as an upper layer");
    Error::new(Errno::NotSupported, sentence)
}
