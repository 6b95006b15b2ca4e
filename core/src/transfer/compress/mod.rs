//! Compressing what is written, with all processors where the format allows pieces of it to be made apart.
//!
//! What comes out depends on the input alone, not on the machine or its processors.

mod blocks;

#[cfg(any(feature = "lz4", feature = "lzma", feature = "zstd"))]
use alloc::boxed::Box;
use alloc::vec::Vec;
use std::io::{self, Write};

use self::blocks::Blocks;
use super::pack::from_io;
use crate::errno::Errno;
use crate::error::{Error, Result};
use crate::format::compress::Compression;

/// How to compress.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Compress {
    /// With what. lzop cannot be written.
    pub compression: Compression,
    /// How hard to try, as the tool of that name counts; `None` for its default.
    pub level: Option<u32>,
    /// In one frame, because the reader will not go on behind the first: Linux does so with zstd. Others take any
    /// count, and frames are made apart.
    pub one_frame: bool,
}

/// The levels of a compression, and the default.
#[must_use]
pub const fn levels(compression: Compression) -> Option<(u32, u32, u32)> {
    match compression {
        Compression::Gzip => Some((1, 9, 6)),
        Compression::Bzip2 => Some((1, 9, 9)),
        Compression::Xz | Compression::Lzma => Some((0, 9, 6)),
        Compression::Zstd => Some((1, 19, 3)),
        Compression::Lzop | Compression::Lz4Legacy | Compression::Lz4Frame => None,
    }
}

/// Whether this build can compress so.
#[must_use]
pub const fn can_compress(compression: Compression) -> bool {
    match compression {
        Compression::Gzip => true,
        Compression::Bzip2 => cfg!(feature = "bzip2"),
        Compression::Xz | Compression::Lzma => cfg!(feature = "lzma"),
        Compression::Lz4Legacy | Compression::Lz4Frame => cfg!(feature = "lz4"),
        Compression::Zstd => cfg!(feature = "zstd"),
        Compression::Lzop => false,
    }
}

/// A writer that compresses, or not.
pub struct Compressor<W: Write>(Kind<W>);

enum Kind<W: Write> {
    Plain(W),
    Blocks(Blocks<W>),
    #[cfg(feature = "bzip2")]
    Bzip2(bzip2::write::BzEncoder<W>),
    #[cfg(feature = "lz4")]
    Lz4(Box<lz4_flex::frame::FrameEncoder<W>>),
    #[cfg(feature = "lzma")]
    Lzma(Box<lzma_rust2::LzmaWriter<W>>),
    #[cfg(feature = "lzma")]
    Xz(Box<lzma_rust2::XzWriterMt<W>>),
    #[cfg(feature = "zstd")]
    Zstd(Box<zstd::stream::write::Encoder<'static, W>>),
}

impl<W: Write> Compressor<W> {
    /// Begins a stream in `out`.
    ///
    /// # Errors
    /// `ENOTSUP` for what this build cannot write, `EINVAL` for a level that does not exist; what `out` answers.
    #[cfg_attr(not(feature = "zstd"), expect(unused_variables, reason = "zstd alone asks for frames"))]
    pub fn new(out: W, how: Option<Compress>) -> Result<Self> {
        let Some(Compress { compression, level, one_frame }) = how else { return Ok(Self(Kind::Plain(out))) };
        if !can_compress(compression) {
            return Err(Error::new(Errno::NotSupported, format!("{compression} can be read only, not written")));
        }
        let level = level_of(compression, level)?;
        let kind = match compression {
            Compression::Gzip => Kind::Blocks(Blocks::gzip(out, level).map_err(from_io)?),
            #[cfg(feature = "bzip2")]
            Compression::Bzip2 => Kind::Bzip2(bzip2::write::BzEncoder::new(out, bzip2::Compression::new(level))),
            #[cfg(feature = "lz4")]
            Compression::Lz4Legacy => Kind::Blocks(Blocks::lz4_legacy(out).map_err(from_io)?),
            #[cfg(feature = "lz4")]
            Compression::Lz4Frame => {
                let info = lz4_flex::frame::FrameInfo::new().content_checksum(true);
                Kind::Lz4(Box::new(lz4_flex::frame::FrameEncoder::with_frame_info(info, out)))
            }
            #[cfg(feature = "lzma")]
            Compression::Lzma => {
                let options = lzma_rust2::LzmaOptions::with_preset(level);
                let writer = lzma_rust2::LzmaWriter::new_use_header(out, &options, None);
                Kind::Lzma(Box::new(writer.map_err(from_io)?))
            }
            #[cfg(feature = "lzma")]
            Compression::Xz => {
                let mut options = lzma_rust2::XzOptions::with_preset(level);
                // The only check that Linux knows.
                options.set_check_sum_type(lzma_rust2::CheckType::Crc32);
                // As xz itself splits: three times the dictionary.
                let block = u64::from(options.lzma_options.dict_size).saturating_mul(3).max(1 << 20);
                options.set_block_size(core::num::NonZeroU64::new(block));
                let threads = u32::try_from(blocks::threads()).unwrap_or(1);
                Kind::Xz(Box::new(lzma_rust2::XzWriterMt::new(out, options, threads).map_err(from_io)?))
            }
            #[cfg(feature = "zstd")]
            Compression::Zstd if one_frame => {
                let level = i32::try_from(level).unwrap_or(3);
                let encoder = zstd::stream::write::Encoder::new(out, level);
                let checked = encoder.and_then(|mut encoder| encoder.include_checksum(true).map(|()| encoder));
                Kind::Zstd(Box::new(checked.map_err(from_io)?))
            }
            #[cfg(feature = "zstd")]
            Compression::Zstd => Kind::Blocks(Blocks::zstd(out, level)),
            other => return Err(Error::new(Errno::NotSupported, other.name())),
        };
        Ok(Self(kind))
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// What the writer below answers.
    pub fn finish(self) -> Result<W> {
        let out = match self.0 {
            Kind::Plain(out) => Ok(out),
            Kind::Blocks(blocks) => blocks.finish(),
            #[cfg(feature = "bzip2")]
            Kind::Bzip2(encoder) => encoder.finish(),
            #[cfg(feature = "lz4")]
            Kind::Lz4(encoder) => encoder.finish().map_err(io::Error::from),
            #[cfg(feature = "lzma")]
            Kind::Lzma(writer) => writer.finish(),
            #[cfg(feature = "lzma")]
            Kind::Xz(writer) => writer.finish(),
            #[cfg(feature = "zstd")]
            Kind::Zstd(encoder) => encoder.finish(),
        };
        out.map_err(from_io)
    }

    fn writer(&mut self) -> &mut dyn Write {
        match &mut self.0 {
            Kind::Plain(out) => out,
            Kind::Blocks(blocks) => blocks,
            #[cfg(feature = "bzip2")]
            Kind::Bzip2(encoder) => encoder,
            #[cfg(feature = "lz4")]
            Kind::Lz4(encoder) => &mut **encoder,
            #[cfg(feature = "lzma")]
            Kind::Lzma(writer) => &mut **writer,
            #[cfg(feature = "lzma")]
            Kind::Xz(writer) => &mut **writer,
            #[cfg(feature = "zstd")]
            Kind::Zstd(encoder) => &mut **encoder,
        }
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.writer().write(buf)
    }

    /// Only at the end: flushing in between would make the stream longer.
    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Kind::Plain(out) => out.flush(),
            _ => Ok(()),
        }
    }
}

impl<W: Write> core::fmt::Debug for Compressor<W> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

fn level_of(compression: Compression, level: Option<u32>) -> Result<u32> {
    match (levels(compression), level) {
        (None, None) => Ok(0),
        (Some((_, _, default)), None) => Ok(default),
        (Some((least, most, _)), Some(level)) if (least..=most).contains(&level) => Ok(level),
        (Some((least, most, _)), Some(level)) => {
            let sentence = format!("{compression} has levels {least} to {most}, not {level}");
            Err(Error::new(Errno::Invalid, sentence))
        }
        (None, Some(_)) => Err(Error::new(Errno::Invalid, format!("{compression} has no levels"))),
    }
}

/// All bytes compressed at once, for tests and small things.
///
/// # Errors
/// As [`Compressor::new`].
pub fn compress(bytes: &[u8], how: Compress) -> Result<Vec<u8>> {
    let mut compressor = Compressor::new(Vec::new(), Some(how))?;
    compressor.write_all(bytes).map_err(from_io)?;
    compressor.finish()
}
