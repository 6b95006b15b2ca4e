//! Opens the archive inside a program: finds it, looking into compressed kernels, and replays it where it is.

use alloc::string::String;
use alloc::sync::Arc;

use super::unpack::{UnpackLimits, unpack, unpacked_head};
use super::window::Window;
use super::{ArchiveFs, ArchiveOptions, ArchiveReport, EmbeddedPlace, LimitExceeded};
use crate::errno::Errno;
use crate::error::{Corrupt, Error, Result};
use crate::format::compress::Compression;
use crate::format::cpio::Magic;
use crate::format::executable::{Embedded, EmbeddedKind, find_embedded};
use crate::name::escape;
use crate::source::{Source, WindowSource};

/// Programs inside programs that are looked into: a unified image, its kernel's image, the kernel.
const DEPTH_MAX: usize = 3;

/// A program without an archive of the kind wanted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{wanted} in this program; found {found}")]
pub struct NothingEmbedded {
    wanted: String,
    found: String,
}

impl ArchiveFs {
    /// Opens the initial RAM filesystem inside a program: an ELF kernel, an image of Linux, a unified kernel image.
    /// `select` names one of several: `initrd`, `ucode`, `linux`, `einitrd`, `initramfs`.
    ///
    /// # Errors
    /// As [`open_cpio`](Self::open_cpio); `EIO` for a damaged program; `EINVAL` with [`NothingEmbedded`].
    pub fn open_embedded(
        source: Arc<dyn Source>,
        select: Option<&[u8]>,
        options: &ArchiveOptions,
    ) -> Result<(Self, ArchiveReport)> {
        find(source, select, options, 0)
    }
}

fn find(
    source: Arc<dyn Source>,
    select: Option<&[u8]>,
    options: &ArchiveOptions,
    depth: usize,
) -> Result<(ArchiveFs, ArchiveReport)> {
    // A file that is not mapped is copied as a whole.
    if source.len() > options.max_unpacked {
        return Err(LimitExceeded::Unpacked { max: options.max_unpacked }.into());
    }
    let bytes = source.bytes_at(0..source.len())?;
    let found = find_embedded(&bytes).map_err(|(at, corrupt)| Corrupt::new("program", at, corrupt))?;
    drop(bytes);
    for embedded in &found {
        let name = embedded.name.as_bytes();
        // A kernel inside is the way to all that is in it.
        let is_way = embedded.kind == EmbeddedKind::Program;
        if select.is_some_and(|select| select != name && !is_way) || depth >= DEPTH_MAX {
            continue;
        }
        let below = if select == Some(name) { None } else { select };
        let Some(part) = inside(&source, embedded, options)? else { continue };
        let len = if is_way { embedded.range.end.saturating_sub(embedded.range.start) } else { part.len() };
        let opened = match part {
            part if is_way => match find(part, below, options, depth.saturating_add(1)) {
                // What is asked for may still stand beside it.
                Err(error) if is_nothing(&error) || below.is_some() => continue,
                opened => opened,
            },
            part => ArchiveFs::open_cpio(part, options),
        };
        let (name, offset) = (embedded.name, embedded.range.start);
        let (fs, mut report) = opened.map_err(|error| Error::new(error.errno(), InProgram { name, offset, error }))?;
        report.embedded.insert(0, EmbeddedPlace { name, offset, len });
        return Ok((fs, report));
    }
    let wanted = match select {
        Some(select) => alloc::format!("no {}", escape(select)),
        None => String::from("no initial RAM filesystem"),
    };
    let names: alloc::vec::Vec<_> = found.iter().map(|embedded| embedded.name).collect();
    let found = if names.is_empty() { String::from("none") } else { names.join(", ") };
    Err(Error::new(Errno::Invalid, NothingEmbedded { wanted, found }))
}

fn is_nothing(error: &Error) -> bool {
    core::error::Error::source(error).is_some_and(|detail| detail.is::<NothingEmbedded>())
}

/// The bytes of what was found; `None` if it turns out to be something else.
fn inside(source: &Arc<dyn Source>, embedded: &Embedded, options: &ArchiveOptions) -> Result<Option<Arc<dyn Source>>> {
    let limits = UnpackLimits { as_linux: true, ..UnpackLimits::new(options) };
    let range = embedded.range.clone();
    let window = || WindowSource::new(Arc::clone(source), range.clone()).map(|part| Arc::new(part) as Arc<dyn Source>);
    match embedded.kind {
        EmbeddedKind::Archive => window().map(Some),
        EmbeddedKind::Program => {
            let part = window()?;
            let head = part.bytes_at(0..part.len().min(16))?;
            let Some(compression) = Compression::detect(&head) else { return Ok(Some(part)) };
            let unpacked = unpack(&mut Window::new(part), 0, compression, &limits)?;
            // What Linux puts behind the kernel, a length, is no damage; a kernel cut short is.
            match unpacked.damage {
                Some(damage) if compression != Compression::Lz4Legacy => Err(damage),
                _ => Ok(Some(unpacked.source)),
            }
        }
        EmbeddedKind::Maybe(compression) => {
            let part = window()?;
            let head = unpacked_head(&part, 0, compression, 6);
            if !matches!(Magic::detect(&head), Some(Magic::Hex(_))) {
                return Ok(None);
            }
            let unpacked = unpack(&mut Window::new(Arc::clone(&part)), 0, compression, &limits)?;
            Ok(Some(Arc::new(WindowSource::new(part, 0..unpacked.end)?)))
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("in its {name} at byte {offset}: {error}")]
struct InProgram {
    name: &'static str,
    offset: u64,
    #[source]
    error: Error,
}
