//! From an image reference to a filesystem: finds the bytes, finds out what they are, picks the backend.

mod facts;
#[cfg(feature = "oci")]
mod oci;
mod remember;
mod stored;
mod upper;

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub use self::facts::{Fact, FactValue, ImageFacts, LayerFacts};
#[cfg(feature = "oci")]
pub use self::oci::{StoredLayers, stored_layers};
pub use self::remember::{Remember, user_cache_dir};
pub(crate) use self::stored::open_stored;
pub use self::stored::{format_of, stored_bytes, tfs_part};
pub(crate) use self::upper::open_volume;
pub use self::upper::{open_tfs_volume, open_upper};
use crate::attr::Defaults;
use crate::backend::archive::{ArchiveFs, ArchiveOptions, ArchiveReport, LimitExceeded, Unpack, unpacked_head};
use crate::backend::tfs::{TfsFs, TfsOptions};
use crate::checked::to_u64;
use crate::errno::Errno;
use crate::error::{Error, Result};
use crate::format::Unsupported;
use crate::format::compress::Compression;
use crate::format::detect::{HEAD_LEN, Signature, detect};
use crate::fs::FileSystem;
use crate::limits::{NESTED_COMPRESSIONS_MAX, UNPACKED_IN_MEMORY_MAX, UNPACKED_MAX};
use crate::name::escape;
use crate::progress::Progress;
use crate::source::{BytesSource, FileSource, FollowedSource, MmapSource, Source};

/// A format that a reference can name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Format {
    /// The filesystem of Nanos.
    Tfs,
    /// An initial RAM filesystem: cpio archives, plain or compressed.
    Cpio,
    /// A tar archive.
    Tar,
    /// An OCI image layout.
    Oci,
    /// What `docker save` writes.
    Docker,
    /// A directory of the host.
    Dir,
    /// An ELF file with an archive inside.
    Elf,
    /// A 9P server.
    P9,
    /// An empty filesystem in memory.
    Mem,
}

impl Format {
    const ALL: [Self; 9] =
        [Self::Tfs, Self::Cpio, Self::Tar, Self::Oci, Self::Docker, Self::Dir, Self::Elf, Self::P9, Self::Mem];

    /// The word used in references: `tfs cpio tar oci docker dir elf 9p mem`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Tfs => "tfs",
            Self::Cpio => "cpio",
            Self::Tar => "tar",
            Self::Oci => "oci",
            Self::Docker => "docker",
            Self::Dir => "dir",
            Self::Elf => "elf",
            Self::P9 => "9p",
            Self::Mem => "mem",
        }
    }

    /// The format called `word`.
    #[must_use]
    pub fn from_word(word: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.word().as_bytes() == word)
    }

    /// Whether it can be read from front to back, and so from a pipe.
    #[must_use]
    pub const fn is_stream(self) -> bool {
        matches!(self, Self::Cpio | Self::Tar | Self::Docker)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Where the bytes of an image are.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Location {
    /// `-`: standard input.
    Stdin,
    /// A file or directory of the host; for `9p` an address, for `mem` anything.
    Path(PathBuf),
}

/// A parsed `[FORMAT:]LOCATION[#SELECT]`.
///
/// A prefix counts as a format only if it is one of the words; the part behind the last `#` selects. Write `./` in
/// front of a file whose name looks like a format, and use [`ImageRef::from_path`] for one with a `#` in its name.
///
/// ```
/// use mountless::open::{Format, ImageRef};
/// let image = ImageRef::parse("cpio:build/initrd.img#2");
/// assert_eq!(image.format, Some(Format::Cpio));
/// assert_eq!(image.select.as_deref(), Some("2".as_ref()));
/// assert_eq!(image.to_string(), "cpio:build/initrd.img#2");
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ImageRef {
    /// The format, if it is given; else it is found from the bytes.
    pub format: Option<Format>,
    /// Where the bytes are.
    pub location: Location,
    /// Which part of the image.
    pub select: Option<OsString>,
}

impl ImageRef {
    /// Parses a reference. Every text is one.
    #[must_use]
    pub fn parse(reference: impl AsRef<OsStr>) -> Self {
        let bytes = reference.as_ref().as_bytes();
        let prefixed = split_at_byte(bytes, b':').and_then(|(word, rest)| Some((Format::from_word(word)?, rest)));
        let (format, rest) = prefixed.map_or((None, bytes), |(format, rest)| (Some(format), rest));
        let selected = rest.iter().rposition(|byte| *byte == b'#').and_then(|at| {
            let (location, select) = rest.split_at_checked(at)?;
            Some((location, select.get(1..)?))
        });
        let (location, select) = selected.map_or((rest, None), |(location, select)| (location, Some(select)));
        let location = match location {
            b"-" => Location::Stdin,
            path => Location::Path(OsStr::from_bytes(path).into()),
        };
        Self { format, location, select: select.map(|select| OsStr::from_bytes(select).to_owned()) }
    }

    /// A reference to the file or directory `path`, whatever it is called.
    #[must_use]
    pub fn from_path(path: impl Into<PathBuf>) -> Self {
        Self { format: None, location: Location::Path(path.into()), select: None }
    }
}

impl<T: AsRef<OsStr>> From<T> for ImageRef {
    fn from(reference: T) -> Self {
        Self::parse(reference)
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(format) = self.format {
            write!(f, "{format}:")?;
        }
        match &self.location {
            Location::Stdin => f.write_str("-")?,
            Location::Path(path) => escape(path.as_os_str().as_bytes()).fmt(f)?,
        }
        match &self.select {
            Some(select) => write!(f, "#{}", escape(select.as_bytes())),
            None => Ok(()),
        }
    }
}

/// Splits `IMAGE:/PATH` at the first `:/` into the reference and the path inside, which keeps its slash.
///
/// The `:/` of a format with an absolute location (`cpio:/boot/initrd.img`) does not count.
///
/// ```
/// use mountless::open::split_path;
/// let (image, path) = split_path("base.cpio:/etc/passwd".as_ref());
/// assert_eq!((image, path), ("base.cpio".as_ref(), Some(&b"/etc/passwd"[..])));
/// let (image, path) = split_path("cpio:/boot/initrd.img:/init".as_ref());
/// assert_eq!((image, path), ("cpio:/boot/initrd.img".as_ref(), Some(&b"/init"[..])));
/// ```
#[must_use]
pub fn split_path(argument: &OsStr) -> (&OsStr, Option<&[u8]>) {
    let bytes = argument.as_bytes();
    let format_len = split_at_byte(bytes, b':')
        .filter(|(word, _)| Format::from_word(word).is_some())
        .map_or(0, |(word, _)| word.len().saturating_add(1));
    let location = bytes.get(format_len..).unwrap_or_default();
    let split = location.windows(2).position(|pair| pair == b":/").and_then(|at| {
        let (image, path) = bytes.split_at_checked(format_len.checked_add(at)?)?;
        Some((image, path.get(1..)?))
    });
    split.map_or((argument, None), |(image, path)| (OsStr::from_bytes(image), Some(path)))
}

fn split_at_byte(bytes: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let (before, from) = bytes.split_at_checked(bytes.iter().position(|found| *found == byte)?)?;
    Some((before, from.get(1..)?))
}

/// How to open an image.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Bytes that an image may have when decompressed.
    pub max_unpacked: u64,
    /// Bytes of those that may be kept in memory; what is longer goes to temporary files.
    pub max_in_memory: u64,
    /// Give the tree that Linux would boot with, even from a damaged initial RAM filesystem.
    pub as_linux: bool,
    /// Give what can be read of a damaged TFS: the tree as it was before the damage in its log.
    pub recover: bool,
    /// What stands in for attributes that an image does not record.
    pub defaults: Defaults,
    /// Whether what is found out about an image is kept for the next time.
    pub remember: Remember,
    /// Where to tell how much of an image that is decompressed is read, while that goes on.
    pub progress: Option<Arc<Progress>>,
}

impl Default for OpenOptions {
    /// Strict, with the limits [`UNPACKED_MAX`] and [`UNPACKED_IN_MEMORY_MAX`]; nothing is kept.
    fn default() -> Self {
        Self {
            max_unpacked: UNPACKED_MAX,
            max_in_memory: UNPACKED_IN_MEMORY_MAX,
            as_linux: false,
            recover: false,
            defaults: Defaults::default(),
            remember: Remember::default(),
            progress: None,
        }
    }
}

/// An image, open.
#[derive(Debug)]
pub struct OpenedImage {
    /// Its tree.
    pub fs: Arc<dyn FileSystem>,
    /// What was found out on the way.
    pub facts: ImageFacts,
}

/// What is wrong, with the image it is wrong in.
#[derive(Debug, thiserror::Error)]
#[error("{image}: {error}")]
pub struct OpenError {
    image: String,
    #[source]
    error: Error,
}

/// The bytes are no image of any format known here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "no known format begins with \"{}\" (byte {offset}); expected cpio, tar, TFS, a program with an archive inside, or \
     something compressed",
    .found.escape_ascii()
)]
pub struct UnknownFormat {
    /// Where the first byte that is not zero stands.
    pub offset: u64,
    /// The bytes from there on.
    pub found: [u8; 8],
}

/// Opens the image that `reference` names.
///
/// # Errors
/// What the host answers when it is not there (`ENOENT`, `EACCES`…); `EINVAL` with [`UnknownFormat`]; `ENOTSUP` for
/// formats not read yet; what the format's backend answers, for example as
/// [`ArchiveFs::open_cpio`]. All carry an [`OpenError`] that names the image.
pub fn open(reference: &ImageRef, options: &OpenOptions) -> Result<OpenedImage> {
    open_location(reference, options).map_err(|error| with_image(error, reference))
}

/// Opens an image whose bytes are at hand.
///
/// # Errors
/// As [`open`], without the name.
pub fn open_source(source: Arc<dyn Source>, format: Option<Format>, options: &OpenOptions) -> Result<OpenedImage> {
    open_selected(source, format, None, options)
}

/// Opens the part `select` of an image whose bytes are at hand.
fn open_selected(
    source: Arc<dyn Source>,
    given: Option<Format>,
    select: Option<&OsStr>,
    options: &OpenOptions,
) -> Result<OpenedImage> {
    let format = match given {
        Some(format) => format,
        None => detect_format(&source)?,
    };
    let source = match format {
        Format::Tfs => source,
        _ if starts_compressed(&source)? => followed(source, options),
        _ => source,
    };
    match format {
        Format::Tfs => open_tfs(source, select, options),
        Format::Cpio if select.is_some() => no_select(select),
        Format::Cpio => open_archive(Format::Cpio, source, options, ArchiveFs::open_cpio),
        Format::Tar | Format::Oci | Format::Docker => open_tar(source, given, select, options),
        Format::Elf => open_archive(Format::Elf, source, options, |source, options| {
            ArchiveFs::open_embedded(source, select.map(OsStr::as_bytes), options)
        }),
        other => Err(not_yet(other).into()),
    }
}

fn open_location(reference: &ImageRef, options: &OpenOptions) -> Result<OpenedImage> {
    let path = match (&reference.location, reference.format) {
        (_, Some(format @ (Format::Mem | Format::P9))) => return Err(not_yet(format).into()),
        (Location::Stdin, Some(format)) if !format.is_stream() => return Err(no_stream(format)),
        (Location::Stdin, format) => {
            let source = read_stream(std::io::stdin().lock(), options)?;
            return open_selected(source, format, reference.select.as_deref(), options);
        }
        (Location::Path(path), _) => path,
    };
    let metadata = std::fs::metadata(path).map_err(from_io)?;
    match reference.format {
        Some(Format::Dir) => open_dir(path),
        #[cfg(feature = "oci")]
        None | Some(Format::Oci) if metadata.is_dir() && (reference.format.is_some() || oci::is_layout(path)) => {
            oci::open_dir(path, reference.select.as_deref(), options)
        }
        None if metadata.is_dir() => open_dir(path),
        Some(format) if metadata.is_dir() => {
            Err(Error::new(Errno::IsDir, format!("a directory cannot be read as {format}; leave the format out")))
        }
        format => {
            let source = read_file(path, &metadata, options)?;
            open_selected(source, format, reference.select.as_deref(), options)
        }
    }
}

fn no_stream(format: Format) -> Error {
    Error::new(Errno::IllegalSeek, format!("{format} cannot be read from standard input, give a file"))
}

/// The one place where host directories come in.
#[cfg(all(feature = "host", target_os = "linux"))]
fn open_dir(path: &Path) -> Result<OpenedImage> {
    let fs = crate::backend::host::HostFs::open(path)?;
    Ok(OpenedImage { fs: Arc::new(fs), facts: ImageFacts::new(Format::Dir, 0) })
}

#[cfg(not(all(feature = "host", target_os = "linux")))]
fn open_dir(_path: &Path) -> Result<OpenedImage> {
    Err(not_yet(Format::Dir).into())
}

fn open_archive(
    format: Format,
    source: Arc<dyn Source>,
    options: &OpenOptions,
    open: impl FnOnce(Arc<dyn Source>, &ArchiveOptions) -> Result<(ArchiveFs, ArchiveReport)>,
) -> Result<OpenedImage> {
    let stored_len = source.len();
    let (fs, report) = open(source, &archive_options(options))?;
    let facts = ImageFacts { archive: Some(report), ..ImageFacts::new(format, stored_len) };
    Ok(OpenedImage { fs: Arc::new(fs), facts })
}

fn archive_options(options: &OpenOptions) -> ArchiveOptions {
    ArchiveOptions {
        unpack: if options.as_linux { Unpack::AsLinux } else { Unpack::Strict },
        max_unpacked: options.max_unpacked,
        max_in_memory: options.max_in_memory,
        defaults: options.defaults,
    }
}

/// A tar archive, which is a container image if it looks like one, unless the reference says what it is.
fn open_tar(
    source: Arc<dyn Source>,
    given: Option<Format>,
    select: Option<&OsStr>,
    options: &OpenOptions,
) -> Result<OpenedImage> {
    let stored_len = source.len();
    let (archive, report) = ArchiveFs::open_tar(source, &archive_options(options))?;
    #[cfg(feature = "oci")]
    if let format @ (Format::Oci | Format::Docker) = given.unwrap_or_else(|| oci::format_of(&archive)) {
        return oci::open_archive(archive, format, stored_len, select, options);
    }
    #[cfg(not(feature = "oci"))]
    if let Some(format @ (Format::Oci | Format::Docker)) = given {
        return Err(not_yet(format).into());
    }
    if select.is_some() {
        return no_select(select);
    }
    let facts = ImageFacts { archive: Some(report), ..ImageFacts::new(Format::Tar, stored_len) };
    Ok(OpenedImage { fs: Arc::new(archive), facts })
}

fn open_tfs(source: Arc<dyn Source>, select: Option<&OsStr>, options: &OpenOptions) -> Result<OpenedImage> {
    let part = tfs_part(select)?;
    let stored_len = source.len();
    let options = TfsOptions { part, recover: options.recover, defaults: options.defaults };
    let (fs, report) = TfsFs::open(source, &options)?;
    let facts = ImageFacts { tfs: Some(report), ..ImageFacts::new(Format::Tfs, stored_len) };
    Ok(OpenedImage { fs: Arc::new(fs), facts })
}

/// The answer where a format has no parts to select.
fn no_select(select: Option<&OsStr>) -> Result<OpenedImage> {
    let select = escape(select.unwrap_or_default().as_bytes());
    Err(Error::new(Errno::Invalid, format!("nothing to select with #{select}")))
}

fn not_yet(format: Format) -> Unsupported {
    let format = match format {
        Format::Tfs => "the filesystem TFS",
        Format::Cpio => "a cpio archive",
        Format::Tar => "a tar archive",
        Format::Oci => "an OCI image layout",
        Format::Docker => "a docker archive",
        Format::Dir => "a host directory",
        Format::Elf => "an ELF or PE file with an archive inside",
        Format::P9 => "a 9P server",
        Format::Mem => "an empty filesystem in memory",
    };
    Unsupported { format, offset: 0 }
}

/// Maps a regular file, reads everything else into memory.
fn read_file(path: &Path, metadata: &std::fs::Metadata, options: &OpenOptions) -> Result<Arc<dyn Source>> {
    let file = File::open(path).map_err(from_io)?;
    if !metadata.is_file() {
        return read_stream(file, options);
    }
    source_of(file, options.remember)
}

/// Maps a file.
fn source_of(file: File, remember: Remember) -> Result<Arc<dyn Source>> {
    let metadata = file.metadata().map_err(from_io)?;
    if metadata.len() == 0 {
        return Ok(Arc::new(BytesSource::new(bytes::Bytes::new())));
    }
    match MmapSource::new(&file) {
        Ok(source) => Ok(Arc::new(source.with_memo(remember.memo(&file, &metadata)))),
        // Some filesystems cannot map.
        Err(_) => Ok(Arc::new(FileSource::new(file)?)),
    }
}

/// Reads a pipe to its end, into memory or, where that would be too much, into a temporary file.
fn read_stream(stream: impl Read, options: &OpenOptions) -> Result<Arc<dyn Source>> {
    let mut bytes = Vec::new();
    let (limit, in_memory) = (options.max_unpacked, options.max_in_memory.min(options.max_unpacked));
    let mut stream = stream.take(limit.saturating_add(1));
    stream.by_ref().take(in_memory.saturating_add(1)).read_to_end(&mut bytes).map_err(from_io)?;
    let mut len = to_u64(bytes.len());
    let mut file = None;
    if len > in_memory {
        let mut out = tempfile::tempfile().map_err(from_io)?;
        out.write_all(&bytes).map_err(from_io)?;
        bytes = Vec::new();
        len = len.saturating_add(std::io::copy(&mut stream, &mut out).map_err(from_io)?);
        file = Some(out);
    }
    if len > limit {
        return Err(LimitExceeded::Unpacked { max: limit }.into());
    }
    match file {
        Some(file) => source_of(file, Remember::Nothing),
        None => Ok(Arc::new(BytesSource::new(bytes.into()))),
    }
}

/// Bytes decompressed to find out what is inside: enough that what is compressed once more shows its own start.
const PACKED_HEAD_LEN: usize = 64 << 10;

/// Finds the format from the bytes, looking inside what is compressed.
fn detect_format(source: &Arc<dyn Source>) -> Result<Format> {
    let start = first_nonzero(&**source)?;
    // All zeros, or nothing at all, is an empty initial RAM filesystem.
    let Some(start) = start else { return Ok(Format::Cpio) };
    let mut head = source.bytes_at(start..source.len().min(start.saturating_add(to_u64(HEAD_LEN))))?.to_vec();
    let mut packed: Option<Compression> = None;
    for _ in 0..=NESTED_COMPRESSIONS_MAX {
        match detect(&head) {
            Some(Signature::Cpio(_)) => return Ok(Format::Cpio),
            Some(Signature::Tar) => return Ok(Format::Tar),
            Some(Signature::Tfs) => return Ok(Format::Tfs),
            Some(Signature::Elf | Signature::Pe | Signature::Linux) => return Ok(Format::Elf),
            Some(Signature::Compressed(compression)) => {
                head = match packed {
                    None => unpacked_head(source, start, compression, PACKED_HEAD_LEN),
                    Some(_) => {
                        let inner: Arc<dyn Source> = Arc::new(BytesSource::new(head.into()));
                        unpacked_head(&inner, 0, compression, PACKED_HEAD_LEN)
                    }
                };
                packed = Some(compression);
            }
            // Damaged or empty inside: the reader of initial RAM filesystems says where.
            None if packed.is_some() => return Ok(Format::Cpio),
            None => break,
        }
    }
    let mut found = [0; 8];
    for (found, byte) in found.iter_mut().zip(&head) {
        *found = *byte;
    }
    Err(Error::new(Errno::Invalid, UnknownFormat { offset: start, found }))
}

/// Whether an image has to be decompressed as a whole.
fn starts_compressed(source: &Arc<dyn Source>) -> Result<bool> {
    let head = source.bytes_at(0..source.len().min(to_u64(HEAD_LEN)))?;
    Ok(matches!(detect(&head), Some(Signature::Compressed(_))))
}

/// What is about to be decompressed, telling how far that is.
fn followed(source: Arc<dyn Source>, options: &OpenOptions) -> Arc<dyn Source> {
    match &options.progress {
        Some(progress) => {
            progress.expect_more(source.len());
            Arc::new(FollowedSource::new(source, Arc::clone(progress)))
        }
        None => source,
    }
}

/// Where the first byte that is not zero stands.
fn first_nonzero(source: &dyn Source) -> Result<Option<u64>> {
    const STEP: u64 = 1 << 20;
    let mut at = 0;
    while at < source.len() {
        let end = source.len().min(at.saturating_add(STEP));
        let bytes = source.bytes_at(at..end)?;
        if let Some(zeros) = bytes.iter().position(|byte| *byte != 0) {
            return Ok(Some(at.saturating_add(to_u64(zeros))));
        }
        source.release(at..end);
        at = end;
    }
    Ok(None)
}

pub(crate) fn with_image(error: Error, reference: &ImageRef) -> Error {
    Error::new(error.errno(), OpenError { image: reference.to_string(), error })
}

fn from_io(error: std::io::Error) -> Error {
    // The errno says all of these in the words of this crate.
    match error.kind() {
        std::io::ErrorKind::NotFound => Errno::NotFound.into(),
        std::io::ErrorKind::PermissionDenied => Errno::Access.into(),
        std::io::ErrorKind::IsADirectory => Errno::IsDir.into(),
        std::io::ErrorKind::NotADirectory => Errno::NotDir.into(),
        _ => Error::new(Errno::Io, error),
    }
}

#[cfg(test)]
mod tests;
