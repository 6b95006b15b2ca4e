//! Compressions: recognised by their first bytes, undone piece by piece.
//!
//! gzip is laid out in RFC 1952, and deflate, which `flate2` undoes, in RFC 1951. It is undone here with every error
//! located to the byte; the others are undone as streams by [`undo`].

#[cfg(feature = "lz4")]
mod lz4;
#[cfg(feature = "lzo")]
mod lzop;
mod stream;

use core::fmt;

use flate2::{Crc, Decompress, FlushDecompress, Status};

pub use self::stream::{Packed, StreamCorrupt, is_continuation, is_supported, undo};
use crate::checked::to_u64;

/// A compression that initial RAM filesystems and layers come in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Compression {
    /// gzip.
    Gzip,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// LZMA "alone", the format before xz.
    Lzma,
    /// lzop.
    Lzop,
    /// LZ4 legacy frames, the only ones that Linux reads.
    Lz4Legacy,
    /// LZ4 frames as the tool writes them by default.
    Lz4Frame,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// Recognises the compression of what begins with `bytes`, of which 16 are enough.
    #[must_use]
    pub fn detect(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some(Self::Bzip2),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            [0x89, b'L', b'Z', b'O', ..] => Some(Self::Lzop),
            [0x02, 0x21, 0x4c, 0x18, ..] => Some(Self::Lz4Legacy),
            [0x04, 0x22, 0x4d, 0x18, ..] => Some(Self::Lz4Frame),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            _ => is_lzma(bytes).then_some(Self::Lzma),
        }
    }

    /// What it is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Lzma => "lzma",
            Self::Lzop => "lzop",
            Self::Lz4Legacy => "lz4 (legacy frame)",
            Self::Lz4Frame => "lz4 (modern frame)",
            Self::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// LZMA "alone" has no magic: properties of the usual kind (5d), a dictionary size that tools write (2^n or 2^n +
/// 2^(n-1)), and a size that is unknown or below 256 GiB.
fn is_lzma(bytes: &[u8]) -> bool {
    let Some((&[0x5d, a, b, c, d], rest)) = bytes.split_first_chunk::<5>() else { return false };
    let Some((size, _)) = rest.split_first_chunk::<8>() else { return false };
    let dictionary = u32::from_le_bytes([a, b, c, d]);
    let top_bit = dictionary.checked_ilog2().map_or(0, |log| 1_u32 << log);
    let usual = dictionary == top_bit || dictionary == top_bit | (top_bit >> 1);
    let size = u64::from_le_bytes(*size);
    dictionary >= 1 << 12 && usual && (size == u64::MAX || size < 256 << 30)
}

/// What can be wrong with a gzip stream.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GzipCorrupt {
    /// The compression method is not deflate, the only one there is.
    #[error("compression method {found}, expected 8 (deflate)")]
    Method {
        /// The method's number.
        found: u8,
    },
    /// Reserved flags are set.
    #[error("reserved flags {found:#04x} are set")]
    Flags {
        /// All flags.
        found: u8,
    },
    /// The header does not end.
    #[error("the header goes on for more than {max} bytes")]
    HeaderTooLong {
        /// The limit.
        max: usize,
    },
    /// The stream ends inside its header, its data or its checksum.
    #[error("the stream ends too early, inside its {inside}")]
    Truncated {
        /// In what.
        inside: &'static str,
    },
    /// The deflate data makes no sense.
    #[error("the deflate data is invalid: {message}")]
    Deflate {
        /// What the decoder says.
        message: String,
    },
    /// The data is not what was compressed.
    #[error("the data's CRC-32 is {computed:#010x}, the stream says {recorded:#010x}")]
    Crc {
        /// What the stream says.
        recorded: u32,
        /// What the data gives.
        computed: u32,
    },
    /// The data is not as long as what was compressed.
    #[error("{computed} bytes of data (modulo 2^32), the stream says {recorded}")]
    Length {
        /// What the stream says.
        recorded: u32,
        /// What the data gives.
        computed: u32,
    },
}

/// What a step of decompression did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fed {
    /// This many bytes of input are used up; give what follows.
    More(usize),
    /// Behind this many bytes of input the member is complete.
    Done(usize),
    /// The output is longer than the limit.
    LimitExceeded,
    /// There is no memory for more output.
    NoMemory,
}

/// Undoes one member of a gzip stream, piece by piece.
#[derive(Debug)]
pub struct GzipMember {
    stage: Stage,
    inflate: Decompress,
    crc: Crc,
    verify: bool,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Header,
    Body,
    Trailer,
}

/// Output is made room for in steps of at least this many bytes.
const STEP: usize = 256 << 10;

/// And of at most so many, or the last one would be as much as all that came before.
const STEP_MAX: usize = 32 << 20;

impl GzipMember {
    /// Bytes of input, or all up to the end, that every step must be offered: the longest header taken.
    pub const WINDOW: usize = 128 << 10;

    /// A member. With `verify` unset, CRC and length are ignored, as Linux does.
    #[must_use]
    pub fn new(verify: bool) -> Self {
        Self { stage: Stage::Header, inflate: Decompress::new(false), crc: Crc::new(), verify }
    }

    /// Takes the next piece of input, at least [`WINDOW`](Self::WINDOW) bytes or all there are, and appends what comes
    /// out to `out`, which may grow to `limit` bytes.
    ///
    /// # Errors
    /// What is wrong with the stream, and at which byte of `input`. Whatever could be decompressed before is in `out`.
    pub fn feed(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        limit: usize,
    ) -> core::result::Result<Fed, (usize, GzipCorrupt)> {
        match self.stage {
            Stage::Header => {
                let len = header_len(input)?;
                self.stage = Stage::Body;
                Ok(Fed::More(len))
            }
            Stage::Body => self.feed_body(input, out, limit),
            Stage::Trailer => {
                let Some((&[a, b, c, d, e, f, g, h], _)) = input.split_first_chunk::<8>() else {
                    let error = GzipCorrupt::Truncated { inside: "checksum" };
                    return if self.verify { Err((input.len(), error)) } else { Ok(Fed::Done(input.len())) };
                };
                let (recorded, computed) = (u32::from_le_bytes([a, b, c, d]), self.crc.sum());
                if self.verify && recorded != computed {
                    return Err((0, GzipCorrupt::Crc { recorded, computed }));
                }
                let (recorded, computed) = (u32::from_le_bytes([e, f, g, h]), self.crc.amount());
                if self.verify && recorded != computed {
                    return Err((4, GzipCorrupt::Length { recorded, computed }));
                }
                Ok(Fed::Done(8))
            }
        }
    }

    fn feed_body(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        limit: usize,
    ) -> core::result::Result<Fed, (usize, GzipCorrupt)> {
        let start_in = self.inflate.total_in();
        let used =
            |inflate: &Decompress| usize::try_from(inflate.total_in().saturating_sub(start_in)).unwrap_or(input.len());
        loop {
            let at = used(&self.inflate);
            let before = out.len();
            if out.capacity() == before {
                // One byte more than the limit shows that there is more.
                let room = limit.saturating_add(1).saturating_sub(before);
                if out.try_reserve_exact(before.clamp(STEP, STEP_MAX).min(room)).is_err() {
                    return Ok(Fed::NoMemory);
                }
            }
            let rest = input.get(at..).unwrap_or_default();
            let status = self.inflate.decompress_vec(rest, out, FlushDecompress::None);
            if self.verify {
                self.crc.update(out.get(before..).unwrap_or_default());
            }
            if out.len() > limit {
                out.truncate(limit);
                return Ok(Fed::LimitExceeded);
            }
            let now = used(&self.inflate);
            match status {
                Err(error) => {
                    let message = error.message().unwrap_or("no block of any kind begins like this").to_owned();
                    return Err((now, GzipCorrupt::Deflate { message }));
                }
                Ok(Status::StreamEnd) => {
                    self.stage = Stage::Trailer;
                    return Ok(Fed::More(now));
                }
                // A full output is no reason to stop.
                Ok(_) if out.len() > before || now > at => {}
                Ok(_) if rest.is_empty() && input.is_empty() => {
                    return Err((now, GzipCorrupt::Truncated { inside: "data" }));
                }
                Ok(_) if now == 0 => {
                    // No progress with input left and room for output cannot happen in a sound decoder.
                    return Err((now, GzipCorrupt::Truncated { inside: "data" }));
                }
                Ok(_) => return Ok(Fed::More(now)),
            }
        }
    }
}

/// Bytes of a member's header.
fn header_len(input: &[u8]) -> core::result::Result<usize, (usize, GzipCorrupt)> {
    const FHCRC: u8 = 2;
    const FEXTRA: u8 = 4;
    const FNAME: u8 = 8;
    const FCOMMENT: u8 = 16;
    let short = || {
        if input.len() < GzipMember::WINDOW {
            (input.len(), GzipCorrupt::Truncated { inside: "header" })
        } else {
            (0, GzipCorrupt::HeaderTooLong { max: GzipMember::WINDOW })
        }
    };
    let Some(&[_, _, method, flags, ..]) = input.first_chunk::<10>() else { return Err(short()) };
    if method != 8 {
        return Err((2, GzipCorrupt::Method { found: method }));
    }
    if flags & 0xe0 != 0 {
        return Err((3, GzipCorrupt::Flags { found: flags }));
    }
    let mut len: usize = 10;
    if flags & FEXTRA != 0 {
        let Some(&[low, high]) = input.get(len..).and_then(|rest| rest.first_chunk::<2>()) else {
            return Err(short());
        };
        len = len.saturating_add(2).saturating_add(usize::from(u16::from_le_bytes([low, high])));
    }
    for flag in [FNAME, FCOMMENT] {
        if flags & flag != 0 {
            let end = input.get(len..).and_then(|rest| rest.iter().position(|byte| *byte == 0)).ok_or_else(short)?;
            len = len.saturating_add(end).saturating_add(1);
        }
    }
    if flags & FHCRC != 0 {
        len = len.saturating_add(2);
    }
    if len > input.len() { Err(short()) } else { Ok(len) }
}

/// An upper bound on the data that `compressed` bytes of deflate can hold.
#[must_use]
pub fn deflate_max(compressed: usize) -> u64 {
    to_u64(compressed).saturating_mul(1032)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::GzBuilder::new()
            .filename("a name")
            .comment("a comment")
            .extra(vec![1; 300])
            .write(Vec::new(), flate2::Compression::best());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    /// Feeds `input` in windows of `window` bytes.
    fn gunzip(
        input: &[u8],
        window: usize,
        limit: usize,
    ) -> core::result::Result<(Vec<u8>, usize), (usize, GzipCorrupt)> {
        let mut member = GzipMember::new(true);
        let (mut out, mut at) = (Vec::new(), 0);
        loop {
            let end = input.len().min(at + window);
            match member.feed(&input[at..end], &mut out, limit).map_err(|(place, error)| (at + place, error))? {
                Fed::More(used) => at += used,
                Fed::Done(used) => return Ok((out, at + used)),
                Fed::LimitExceeded => return Ok((out, usize::MAX)),
                Fed::NoMemory => panic!("out of memory"),
            }
        }
    }

    fn data() -> Vec<u8> {
        (0..400_000_u32).flat_map(|number| number.to_le_bytes()).collect()
    }

    #[test]
    fn members_end_where_they_end() {
        let data = data();
        let mut stream = gzip(&data);
        let len = stream.len();
        stream.extend_from_slice(b"what follows");
        for window in [400, 5000, usize::MAX / 2] {
            assert_eq!(gunzip(&stream, window, usize::MAX - 1).unwrap(), (data.clone(), len));
        }
        assert_eq!(gunzip(&gzip(b""), 1000, 0).unwrap().0, b"");
    }

    #[test]
    fn output_stops_at_the_limit() {
        let stream = gzip(&vec![0; 10_000_000]);
        let (out, at) = gunzip(&stream, usize::MAX / 2, 1_000_000).unwrap();
        assert_eq!((out.len(), at), (1_000_000, usize::MAX));
        assert!(out.capacity() <= 1_000_001 + STEP, "{}", out.capacity());
        assert_eq!(gunzip(&stream, usize::MAX / 2, 10_000_000).unwrap().0.len(), 10_000_000, "the limit itself fits");
    }

    #[test]
    fn every_cut_is_an_error() {
        let stream = gzip(b"some data, some more data");
        for len in 0..stream.len() {
            let (at, error) = gunzip(&stream[..len], 1 << 20, 1000).unwrap_err();
            assert!(matches!(error, GzipCorrupt::Truncated { .. }), "{len}: {error}");
            assert_eq!(at, len);
        }
    }

    #[test]
    fn damage_is_named_and_located() {
        let stream = gzip(b"some data");
        let len = stream.len();
        let flip = |at: usize| {
            let mut stream = stream.clone();
            stream[at] ^= 0xff;
            gunzip(&stream, 1 << 20, 1000).unwrap_err()
        };
        assert_eq!(flip(2), (2, GzipCorrupt::Method { found: 0xf7 }));
        assert!(matches!(flip(3), (3, GzipCorrupt::Flags { .. })));
        let (at, error) = flip(len - 8);
        assert_eq!(at, len - 8);
        assert!(matches!(error, GzipCorrupt::Crc { .. }));
        let (at, error) = flip(len - 1);
        assert_eq!(at, len - 4);
        assert!(matches!(error, GzipCorrupt::Length { computed: 9, .. }));
    }

    #[test]
    fn magics_are_told_apart() {
        let lzma = [0x5d, 0, 0, 0x80, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        for (bytes, expected) in [
            (&b"\x1f\x8b\x08"[..], Some(Compression::Gzip)),
            (b"BZh9", Some(Compression::Bzip2)),
            (b"BZh0", None),
            (b"\xfd7zXZ\0", Some(Compression::Xz)),
            (b"\x89LZO", Some(Compression::Lzop)),
            (b"\x02\x21\x4c\x18", Some(Compression::Lz4Legacy)),
            (b"\x04\x22\x4d\x18", Some(Compression::Lz4Frame)),
            (b"\x28\xb5\x2f\xfd", Some(Compression::Zstd)),
            (&lzma, Some(Compression::Lzma)),
            (b"\x5d\0\0\0\0\0\0\0\0\0\0\0\0", None),
            (b"070701", None),
            (b"", None),
        ] {
            assert_eq!(Compression::detect(bytes), expected, "{}", bytes.escape_ascii());
        }
    }
}
