//! Images changed in place.
//!
//! A directory changes at once. A TFS is appended to, and what was done is committed when it is saved. An archive cannot
//! be changed: the changes are kept in memory, and saving writes it anew beside the old file and renames it over that.
//! Whatever happens before, the image is as it was.

mod mode;

use alloc::sync::Arc;
use std::path::{Path, PathBuf};

pub use self::mode::ModeChange;
use crate::backend::archive::ArchiveReport;
use crate::backend::mem::MemOptions;
use crate::clock::{Clock, Timestamp};
use crate::compose::Overlay;
use crate::errno::Errno;
use crate::error::{Error, Result};
use crate::fs::{FileSystem, FileSystemExt, SyncScope};
use crate::namespace::Namespace;
use crate::open::{Format, ImageRef, Location, OpenOptions, format_of, open, open_volume, stored_bytes, with_image};
use crate::transfer::{PackFormat, PackOptions, PackReport, PackTarget, Progress, pack_file};

/// An image that is being changed.
#[derive(Debug)]
pub struct Editor {
    fs: Arc<dyn FileSystem>,
    namespace: Namespace,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Changed already.
    Dir,
    Tfs,
    Archive {
        path: PathBuf,
        target: PackTarget,
    },
}

/// A clock without fractions.
#[derive(Debug)]
struct WholeSeconds(Arc<dyn Clock>);

impl Clock for WholeSeconds {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(self.0.now().secs)
    }
}

/// Why an image is not changed in place.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotEditable {
    /// It is read from a pipe.
    #[error("standard input cannot be changed in place")]
    Stream,
    /// Its format is only read.
    #[error("{0} is not changed in place; convert it to an archive first, or make a layer with the changes")]
    Format(Format),
    /// It would not be what it was: early parts are not compressed, and others may be so in other ways.
    #[error("the archive has {count} parts, which would become one; convert it first")]
    Parts {
        /// How many.
        count: usize,
    },
    /// Entries without a place in the tree would be gone.
    #[error("{count} entries of the archive have no place in the tree and would be lost; convert it first")]
    Skipped {
        /// How many.
        count: u64,
    },
}

impl From<NotEditable> for Error {
    fn from(reason: NotEditable) -> Self {
        Self::new(Errno::NotSupported, reason)
    }
}

impl Editor {
    /// Opens an image to change it. Times are taken from `clock`.
    ///
    /// # Errors
    /// As [`open`]; `ENOTSUP` with [`NotEditable`]; `EBUSY` for a TFS that somebody else is changing. An image that is
    /// damaged is never changed.
    pub fn open(reference: &ImageRef, options: &OpenOptions, clock: Arc<dyn Clock>) -> Result<Self> {
        // What is lost of a damaged image must not be lost for good.
        let options = OpenOptions { as_linux: false, recover: false, ..options.clone() };
        let Location::Path(path) = &reference.location else { return Err(NotEditable::Stream.into()) };
        let format = match (reference.format, stored_bytes(reference, &options)?) {
            (Some(format), _) => format,
            (None, Some(source)) => format_of(&source).map_err(|error| with_image(error, reference))?,
            (None, None) => Format::Dir,
        };
        if format == Format::Tfs {
            return Self::open_tfs(reference, path, &options, clock).map_err(|error| with_image(error, reference));
        }
        let image = open(reference, &options)?;
        let kind = match (image.facts.format, &image.facts.archive) {
            (Format::Dir, _) => Kind::Dir,
            (Format::Cpio, Some(report)) => Kind::archive(path, PackFormat::Cpio, report)?,
            (Format::Tar, Some(report)) => Kind::archive(path, PackFormat::Tar, report)?,
            (other, _) => return Err(NotEditable::Format(other).into()),
        };
        let fs: Arc<dyn FileSystem> = match kind {
            Kind::Archive { target, .. } => {
                let clock: Arc<dyn Clock> = match target.format {
                    // It holds no fractions: there shall be none to lose.
                    PackFormat::Cpio => Arc::new(WholeSeconds(clock)),
                    PackFormat::Tar => clock,
                };
                let upper = Arc::new(MemOptions::new().clock(clock).build());
                Arc::new(Overlay::with_upper(alloc::vec![image.fs], upper)?)
            }
            _ => image.fs,
        };
        Ok(Self { namespace: Namespace::new(Arc::clone(&fs)), fs, kind })
    }

    fn open_tfs(reference: &ImageRef, path: &Path, options: &OpenOptions, clock: Arc<dyn Clock>) -> Result<Self> {
        let fs: Arc<dyn FileSystem> = Arc::new(open_volume(reference, path, options, clock)?);
        Ok(Self { namespace: Namespace::new(Arc::clone(&fs)), fs, kind: Kind::Tfs })
    }

    /// The tree, to be changed through.
    #[must_use]
    pub const fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The same as a filesystem.
    #[must_use]
    pub const fn fs(&self) -> &Arc<dyn FileSystem> {
        &self.fs
    }

    /// Makes the changes durable. Of an archive the report tells what it cannot hold.
    ///
    /// # Errors
    /// `ENOSPC`, `EIO`; as [`pack_file`]. The image is then as it was, of a directory what was done so far is done.
    pub fn save(self, progress: &Progress) -> Result<Option<PackReport>> {
        match &self.kind {
            Kind::Dir => Ok(None),
            Kind::Tfs => {
                self.fs.writable()?.sync(SyncScope::All)?;
                Ok(None)
            }
            Kind::Archive { path, target } => {
                let options = PackOptions { holes: true, ..PackOptions::default() };
                pack_file(&self.fs, path, *target, &options, progress).map(Some)
            }
        }
    }
}

impl Kind {
    fn archive(path: &Path, format: PackFormat, report: &ArchiveReport) -> Result<Self> {
        if report.skipped_count > 0 {
            return Err(NotEditable::Skipped { count: report.skipped_count }.into());
        }
        let compression = match &*report.parts {
            [] => None,
            [part] => part.compression,
            parts => return Err(NotEditable::Parts { count: parts.len() }.into()),
        };
        Ok(Self::Archive { path: path.to_owned(), target: PackTarget::new(format, compression, None) })
    }
}
