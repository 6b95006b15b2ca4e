//! Compressions that are undone by reading a stream.

use std::io::{BufRead, Error, ErrorKind, Read, Result};

use super::Compression;
use crate::limits::DECODER_MEMORY_MAX;

/// What can be wrong with a compressed stream. The offset around it is where the decoder stood when it noticed, which
/// is at or behind the damage.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StreamCorrupt {
    /// The stream ends before its end.
    #[error("the stream ends too early")]
    Truncated,
    /// The data makes no sense.
    #[error("the data is invalid: {message}")]
    Invalid {
        /// What the decoder says.
        message: String,
    },
    /// The stream asks for more memory than any sound one needs.
    #[error("decompressing needs more than {max} bytes of memory")]
    Memory {
        /// The limit.
        max: u64,
    },
}

impl From<Error> for StreamCorrupt {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::UnexpectedEof => Self::Truncated,
            ErrorKind::OutOfMemory => Self::Memory { max: DECODER_MEMORY_MAX },
            _ => Self::Invalid { message: error.to_string() },
        }
    }
}

/// Whether this build can undo `compression`.
#[must_use]
pub const fn is_supported(compression: Compression) -> bool {
    match compression {
        Compression::Gzip => true,
        Compression::Bzip2 => cfg!(feature = "bzip2"),
        Compression::Xz | Compression::Lzma => cfg!(feature = "lzma"),
        Compression::Lzop => cfg!(feature = "lzo"),
        Compression::Lz4Legacy | Compression::Lz4Frame => cfg!(feature = "lz4"),
        Compression::Zstd => cfg!(feature = "zstd"),
    }
}

/// Where compressed bytes come from: 16 at a time at least, or all up to the end.
pub trait Packed: BufRead {
    /// Takes back the last `count` bytes consumed: a decoder had read too far.
    fn give_back(&mut self, count: usize);
}

impl<P: Packed + ?Sized> Packed for &mut P {
    fn give_back(&mut self, count: usize) {
        (**self).give_back(count);
    }
}

/// A reader of what `input` holds compressed: one stream, member or frame, and not a byte of input behind it is taken.
///
/// With `as_linux` unset, sums are checked, every sum that
/// the format has is known, and what is no block of LZ4 ends its frame.
///
/// # Errors
/// What is wrong with the stream's start; `Unsupported` for what this build cannot undo, and gzip, which has
/// [`GzipMember`](super::GzipMember).
#[cfg_attr(
    not(all(feature = "bzip2", feature = "lz4", feature = "lzma", feature = "lzo", feature = "zstd")),
    expect(unused_variables, unused_mut, reason = "each needs its feature")
)]
pub fn undo<'a>(compression: Compression, mut input: impl Packed + 'a, as_linux: bool) -> Result<Box<dyn Read + 'a>> {
    match compression {
        #[cfg(feature = "bzip2")]
        Compression::Bzip2 => Ok(Box::new(bzip2::bufread::BzDecoder::new(input))),
        #[cfg(feature = "lzma")]
        Compression::Xz => {
            // The byte behind the magic and a zero: none and CRC32 are the checks that Linux knows.
            let check = input.fill_buf()?.get(7).copied().unwrap_or_default();
            if as_linux && check > 1 {
                return Err(Error::new(ErrorKind::InvalidData, format!("Linux has no check {check}")));
            }
            Ok(Box::new(lzma_rust2::XzReader::new_mem_limit(input, false, decoder_memory_kib())))
        }
        #[cfg(feature = "lzma")]
        Compression::Lzma => {
            let reader = lzma_rust2::LzmaReader::new_mem_limit(input, decoder_memory_kib(), None)?;
            Ok(Box::new(LzmaReader(Some(reader))))
        }
        #[cfg(feature = "lzo")]
        Compression::Lzop => Ok(Box::new(super::lzop::LzopReader::new(input, !as_linux)?)),
        #[cfg(feature = "lz4")]
        Compression::Lz4Legacy => Ok(Box::new(super::lz4::LegacyReader::new(input, !as_linux)?)),
        #[cfg(feature = "lz4")]
        Compression::Lz4Frame => Ok(Box::new(lz4_flex::frame::FrameDecoder::new(input))),
        // Windows of up to 128 MiB, which is the library's own limit and that of Linux.
        #[cfg(feature = "zstd")]
        Compression::Zstd => Ok(Box::new(zstd::stream::read::Decoder::with_buffer(input)?.single_frame())),
        other => Err(Error::new(ErrorKind::Unsupported, other.name())),
    }
}

#[cfg(feature = "lzma")]
fn decoder_memory_kib() -> u32 {
    u32::try_from(DECODER_MEMORY_MAX / 1024).unwrap_or(u32::MAX)
}

/// Gives back what the decoder read ahead, once it is done.
#[cfg(feature = "lzma")]
struct LzmaReader<P: Packed>(Option<lzma_rust2::LzmaReader<P>>);

#[cfg(feature = "lzma")]
impl<P: Packed> Read for LzmaReader<P> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        let Some(reader) = self.0.as_mut().filter(|_| !buf.is_empty()) else { return Ok(0) };
        let count = reader.read(buf)?;
        if count == 0
            && let Some(reader) = self.0.take()
        {
            let (mut input, ahead) = reader.into_parts();
            input.give_back(ahead.len());
        }
        Ok(count)
    }
}

/// Whether what begins with `bytes` directly behind a stream of `compression` belongs to it, as the command line tools
/// see it: another member, or a frame to skip.
#[must_use]
pub fn is_continuation(compression: Compression, bytes: &[u8]) -> bool {
    match (compression, bytes) {
        // The dictionary's size is no magic: two streams of this kind are two parts.
        (Compression::Lzma, _) => false,
        (Compression::Zstd | Compression::Lz4Frame, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]) => true,
        _ => Compression::detect(bytes) == Some(compression),
    }
}
