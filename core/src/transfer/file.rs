//! Packing into a file, whose name may say how.

use alloc::sync::Arc;
use alloc::vec::Vec;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::compress::{Compress, Compressor};
use super::pack::{Found, PackFormat, PackOptions, PackReport, busy_threads, collect, pack_found};
use crate::error::Result;
use crate::format::compress::Compression;
use crate::fs::FileSystem;
use crate::progress::Progress;
use crate::source::{Replacement, WriteBehind};

/// What an image is to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PackTarget {
    /// Its format.
    pub format: PackFormat,
    /// How it is compressed, if it is.
    pub compress: Option<Compress>,
}

impl PackTarget {
    /// A format, compressed as its readers like it.
    #[must_use]
    pub const fn new(format: PackFormat, compression: Option<Compression>, level: Option<u32>) -> Self {
        let compress = match compression {
            // Linux takes one frame of zstd, and legacy frames of LZ4 only.
            Some(compression) => {
                let one_frame = matches!(format, PackFormat::Cpio);
                Some(Compress { compression, level, one_frame })
            }
            None => None,
        };
        Self { format, compress }
    }

    /// What the ending of a name says about format and compression: `.cpio`, `.tar`, with `.gz .xz .zst .lz4 .bz2
    /// .lzma` behind it, and the short forms of tar (`.tgz` and so on). Each is `None` where the name does not say it.
    ///
    /// ```
    /// use mountless::format::compress::Compression;
    /// use mountless::transfer::{PackFormat, PackTarget};
    /// let told = PackTarget::told_by("out/initrd.cpio.zst".as_ref());
    /// assert_eq!(told, (Some(PackFormat::Cpio), Some(Compression::Zstd)));
    /// ```
    #[must_use]
    pub fn told_by(path: &Path) -> (Option<PackFormat>, Option<Compression>) {
        let name = path.file_name().unwrap_or_default().as_bytes().to_ascii_lowercase();
        let tar = PackFormat::Tar;
        let short = [
            (&b".tgz"[..], Compression::Gzip),
            (b".txz", Compression::Xz),
            (b".tzst", Compression::Zstd),
            (b".tbz2", Compression::Bzip2),
            (b".tbz", Compression::Bzip2),
            (b".tlz", Compression::Lzma),
        ];
        if let Some((_, compression)) = short.iter().find(|(ending, _)| name.ends_with(ending)) {
            return (Some(tar), Some(*compression));
        }
        let long = [
            (&b".gz"[..], Compression::Gzip),
            (b".xz", Compression::Xz),
            (b".zst", Compression::Zstd),
            (b".lz4", Compression::Lz4Frame),
            (b".bz2", Compression::Bzip2),
            (b".lzma", Compression::Lzma),
        ];
        let found = long.iter().find_map(|(ending, compression)| Some((name.strip_suffix(*ending)?, *compression)));
        let (rest, compression) = found.map_or((&*name, None), |(rest, compression)| (rest, Some(compression)));
        let format = match rest {
            rest if rest.ends_with(b".cpio") => Some(PackFormat::Cpio),
            rest if rest.ends_with(b".tar") => Some(tar),
            _ => None,
        };
        let compression = match (format, compression) {
            (Some(PackFormat::Cpio), Some(Compression::Lz4Frame)) => Some(Compression::Lz4Legacy),
            (_, other) => other,
        };
        (format, compression)
    }
}

/// Packs the tree of `fs` into the file at `path`, which appears, or takes the place of what is there, when it is
/// complete and durable.
///
/// # Errors
/// As [`pack`](super::pack()) and [`Compressor::new`]; those of the host for the file.
pub fn pack_file(
    fs: &Arc<dyn FileSystem>,
    path: &Path,
    target: PackTarget,
    options: &PackOptions,
    progress: &Progress,
) -> Result<PackReport> {
    let (replacement, report) = pack_beside(fs, path, target, options, progress)?;
    replacement.commit()?;
    Ok(report)
}

/// The same, but for its place: whoever does not like the report drops what was written.
///
/// # Errors
/// As [`pack_file`].
pub fn pack_beside(
    fs: &Arc<dyn FileSystem>,
    path: &Path,
    target: PackTarget,
    options: &PackOptions,
    progress: &Progress,
) -> Result<(Replacement, PackReport)> {
    // Before the output is there: it may lie in the tree.
    let found = collect(fs, options)?;
    let out = WriteBehind::new(Replacement::create(path)?, busy_threads(&**fs));
    let (out, report) = stream_found(found, out, target, options, progress)?;
    let replacement = out.into_inner().map_err(super::pack::from_io)?;
    Ok((replacement, report))
}

/// Packs the tree of `fs` to where bytes go one after the other, for example standard output. Give a buffered writer.
///
/// # Errors
/// As [`pack_file`].
pub fn pack_stream<W: Write>(
    fs: &Arc<dyn FileSystem>,
    out: W,
    target: PackTarget,
    options: &PackOptions,
    progress: &Progress,
) -> Result<(W, PackReport)> {
    stream_found(collect(fs, options)?, out, target, options, progress)
}

fn stream_found<W: Write>(
    found: Vec<Found>,
    out: W,
    target: PackTarget,
    options: &PackOptions,
    progress: &Progress,
) -> Result<(W, PackReport)> {
    let out = Counted { out, count: 0 };
    let compressor = Compressor::new(out, target.compress)?;
    let (compressor, mut report) = pack_found(found, compressor, target.format, options, progress)?;
    let Counted { mut out, count } = compressor.finish()?;
    out.flush().map_err(super::pack::from_io)?;
    report.stored_len = count;
    Ok((out, report))
}

/// Counts what passes.
struct Counted<W> {
    out: W,
    count: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let count = self.out.write(buf)?;
        self.count = self.count.saturating_add(crate::checked::to_u64(count));
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The bytes of a small tree's image.
///
/// # Errors
/// As [`pack_file`].
pub fn pack_to_vec(
    fs: &Arc<dyn FileSystem>,
    target: PackTarget,
    options: &PackOptions,
) -> Result<(Vec<u8>, PackReport)> {
    pack_stream(fs, Vec::new(), target, options, &Progress::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_format_and_compression() {
        use Compression::{Bzip2, Gzip, Lz4Frame, Lz4Legacy, Xz, Zstd};
        let (cpio, tar) = (Some(PackFormat::Cpio), Some(PackFormat::Tar));
        for (name, expected) in [
            ("a.cpio", (cpio, None)),
            ("dir.tar/a.CPIO.gz", (cpio, Some(Gzip))),
            ("a.cpio.lz4", (cpio, Some(Lz4Legacy))),
            ("a.tar.lz4", (tar, Some(Lz4Frame))),
            ("a.tgz", (tar, Some(Gzip))),
            ("a.tar.xz", (tar, Some(Xz))),
            ("a.tbz2", (tar, Some(Bzip2))),
            ("a.img.zst", (None, Some(Zstd))),
            ("a.img", (None, None)),
            ("tar", (None, None)),
            ("..", (None, None)),
        ] {
            assert_eq!(PackTarget::told_by(Path::new(name)), expected, "{name}");
        }
    }
}
