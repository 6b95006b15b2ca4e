//! The bytes of images, for what is known about them besides their trees.

use alloc::sync::Arc;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::{
    Format, ImageRef, Location, OpenOptions, OpenedImage, detect_format, from_io, no_stream, not_yet, open_selected,
    read_file, read_stream, with_image,
};
use crate::backend::tfs::Part;
use crate::errno::Errno;
use crate::error::{Error, Result};
use crate::name::escape;
use crate::source::Source;

/// The bytes of the image that `reference` names, as they are stored; `None` for a directory.
///
/// # Errors
/// What the host answers when it is not there; `ESPIPE` for a format that standard input cannot have, and `ENOTSUP` for
/// what has no bytes. All carry an [`OpenError`](super::OpenError) that names the image.
pub fn stored_bytes(reference: &ImageRef, options: &OpenOptions) -> Result<Option<Arc<dyn Source>>> {
    let read = || match (&reference.location, reference.format) {
        (_, Some(format @ (Format::Mem | Format::P9))) => Err(not_yet(format).into()),
        (Location::Stdin, Some(format)) if !format.is_stream() => Err(no_stream(format)),
        (Location::Stdin, _) => read_stream(std::io::stdin().lock(), options).map(Some),
        (Location::Path(path), _) => {
            let metadata = std::fs::metadata(path).map_err(from_io)?;
            if metadata.is_dir() { Ok(None) } else { read_file(path, &metadata, options).map(Some) }
        }
    };
    read().map_err(|error| with_image(error, reference))
}

/// Opens the image whose stored bytes were read already.
pub(crate) fn open_stored(reference: &ImageRef, source: Arc<dyn Source>, options: &OpenOptions) -> Result<OpenedImage> {
    open_selected(source, reference.format, reference.select.as_deref(), options)
        .map_err(|error| with_image(error, reference))
}

/// Finds the format of an image from its bytes; a container image in an archive is a tar archive here.
///
/// # Errors
/// `EINVAL` with [`UnknownFormat`](super::UnknownFormat); those of the source.
pub fn format_of(source: &Arc<dyn Source>) -> Result<Format> {
    detect_format(source)
}

/// The file system of a Nanos disk that `#boot` or `#root` selects.
///
/// # Errors
/// `EINVAL` for another word.
pub fn tfs_part(select: Option<&OsStr>) -> Result<Option<Part>> {
    match select.map(OsStr::as_bytes) {
        None => Ok(None),
        Some(b"root") => Ok(Some(Part::Root)),
        Some(b"boot") => Ok(Some(Part::Boot)),
        Some(other) => {
            let sentence = format!("a Nanos disk has #boot and #root, not #{}", escape(other));
            Err(Error::new(Errno::Invalid, sentence))
        }
    }
}
