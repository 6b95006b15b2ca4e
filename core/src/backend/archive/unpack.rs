//! Decompresses a stream of any kind, once, into memory or, where that would be too much, into a temporary file.

use alloc::sync::Arc;
use alloc::vec::Vec;
use std::fs::File;
use std::io::{BufRead, Read, Write};

use super::window::Window;
use super::{ArchiveOptions, LimitExceeded, Unpack};
use crate::checked::{min_len, to_u64, to_usize};
use crate::errno::Errno;
use crate::error::{Corrupt, Error, Result};
use crate::format::Unsupported;
use crate::format::compress::{
    Compression, Fed, GzipMember, Packed, StreamCorrupt, deflate_max, is_continuation, is_supported, undo,
};
use crate::limits::{ARCHIVE_PARTS_MAX, UNPACKED_IN_MEMORY_MIN};
use crate::source::{BytesSource, FileSource, MmapSource, Source};

/// How much may come out, and how strictly to look.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnpackLimits {
    /// Bytes that may still come out.
    pub(super) left: u64,
    /// The limit to name when there are more.
    pub(super) max: u64,
    /// Bytes that may still be kept in memory.
    pub(super) in_memory: u64,
    /// Take what Linux takes: one member, up to the damage, sums ignored where Linux does.
    pub(super) as_linux: bool,
}

impl UnpackLimits {
    pub(super) const fn new(options: &ArchiveOptions) -> Self {
        let ArchiveOptions { max_unpacked, max_in_memory, .. } = *options;
        let as_linux = matches!(options.unpack, Unpack::AsLinux);
        Self { left: max_unpacked, max: max_unpacked, in_memory: max_in_memory, as_linux }
    }

    /// So much has come out.
    pub(super) fn spend(&mut self, len: u64) {
        self.left = self.left.saturating_sub(len);
        // More than that is in a file.
        if let Some(left) = self.in_memory.checked_sub(len) {
            self.in_memory = left;
        }
    }

    /// The longest part that is kept in memory.
    fn in_memory_max(&self) -> u64 {
        self.in_memory.max(UNPACKED_IN_MEMORY_MIN)
    }
}

/// A stream, decompressed.
#[derive(Debug)]
pub(super) struct Unpacked {
    pub(super) source: Arc<dyn Source>,
    /// Where members begin in it.
    pub(super) starts: Vec<u64>,
    /// Where the stream ends in its window.
    pub(super) end: u64,
    /// Why it ends too early, as Linux sees it.
    pub(super) damage: Option<Error>,
}

/// Decompresses the stream at `at`: all members that follow each other directly, as the tools do, or, as Linux, one.
///
/// # Errors
/// `ENOTSUP` with [`Unsupported`]; `EIO` with a [`Corrupt`]; [`LimitExceeded`]; what the source answers.
pub(super) fn unpack(
    window: &mut Window,
    at: u64,
    compression: Compression,
    limits: &UnpackLimits,
) -> Result<Unpacked> {
    if !is_supported(compression) {
        return Err(Unsupported { format: compression.name(), offset: at }.into());
    }
    let mut stream = Stream { input: Input { window, at, failed: None }, out: Spool::default(), limits };
    if compression == Compression::Gzip {
        stream.reserve_for_gzip()?;
    }
    let mut starts = Vec::new();
    let mut damage = None;
    loop {
        starts.push(stream.out.len());
        if starts.len() > ARCHIVE_PARTS_MAX {
            return Err(LimitExceeded::Parts { max: ARCHIVE_PARTS_MAX }.into());
        }
        let member = match compression {
            Compression::Gzip => stream.gzip_member(),
            other => stream.member(other),
        };
        match member {
            Ok(()) => {}
            Err(error) if limits.as_linux && error.corrupt().is_some() => {
                stream.input.at = stream.input.window.len();
                damage = Some(error);
                break;
            }
            Err(error) => return Err(error),
        }
        let next = stream.input.window.at(stream.input.at, 16)?;
        if limits.as_linux || !is_continuation(compression, next) {
            break;
        }
    }
    let end = stream.input.at;
    Ok(Unpacked { source: stream.out.finish()?, starts, end, damage })
}

/// The first `want` bytes of what is compressed at `at`, as far as they can be had without trouble.
pub(crate) fn unpacked_head(source: &Arc<dyn Source>, at: u64, compression: Compression, want: usize) -> Vec<u8> {
    let mut window = Window::new(Arc::clone(source));
    let want_len = to_u64(want);
    let limits = UnpackLimits { left: want_len, max: want_len, in_memory: want_len, as_linux: false };
    let mut stream =
        Stream { input: Input { window: &mut window, at, failed: None }, out: Spool::default(), limits: &limits };
    // Whatever ends it, what came out before is what there is to see.
    let _ = match compression {
        Compression::Gzip => stream.gzip_member(),
        other => stream.member(other),
    };
    stream.out.bytes.truncate(want);
    stream.out.bytes
}

/// The window as a reader. Its buffer holds 16 bytes, or all up to the end.
struct Input<'a> {
    window: &'a mut Window,
    at: u64,
    failed: Option<Error>,
}

impl Read for Input<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let bytes = self.fill_buf()?;
        let count = bytes.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..count), bytes.get(..count)) {
            to.copy_from_slice(from);
        }
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Input<'_> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        // The error itself is kept: what goes through the decoder may lose it.
        let failed = &mut self.failed;
        self.window.at(self.at, 16).map_err(|error| {
            let kind = std::io::Error::other(error.to_string());
            *failed = Some(error);
            kind
        })
    }

    fn consume(&mut self, count: usize) {
        self.at = self.at.saturating_add(to_u64(count));
    }
}

impl Packed for Input<'_> {
    fn give_back(&mut self, count: usize) {
        self.at = self.at.saturating_sub(to_u64(count));
    }
}

struct Stream<'a> {
    input: Input<'a>,
    out: Spool,
    limits: &'a UnpackLimits,
}

impl Stream<'_> {
    /// A stream that is alone in its image says at its end how long it is: exactly, if it is not lying.
    fn reserve_for_gzip(&mut self) -> Result<()> {
        let packed = self.input.window.len().saturating_sub(self.input.at);
        let Some(last) = packed.checked_sub(4) else { return Ok(()) };
        if let Some(len) = self.input.window.at(self.input.at.saturating_add(last), 4)?.first_chunk::<4>() {
            let len = u64::from(u32::from_le_bytes(*len)).min(deflate_max(to_usize(packed).unwrap_or(usize::MAX)));
            if len <= self.limits.in_memory_max() {
                // Not having the memory is an error only when it is needed.
                let _ = self.out.bytes.try_reserve_exact(min_len(usize::MAX, len.min(self.limits.left)));
            }
        }
        Ok(())
    }

    fn gzip_member(&mut self) -> Result<()> {
        let mut member = GzipMember::new(!self.limits.as_linux);
        loop {
            let limit = to_usize(self.limits.left.saturating_sub(self.out.in_file)).unwrap_or(usize::MAX - 1);
            let input = self.input.window.at(self.input.at, GzipMember::WINDOW)?;
            // Of more at once could come out more than there is room for.
            let input = input.get(..GzipMember::WINDOW).unwrap_or(input);
            match member.feed(input, &mut self.out.bytes, limit) {
                Ok(Fed::More(used)) => self.input.consume(used),
                Ok(Fed::Done(used)) => {
                    self.input.consume(used);
                    return Ok(());
                }
                Ok(Fed::LimitExceeded) => return Err(LimitExceeded::Unpacked { max: self.limits.max }.into()),
                Ok(Fed::NoMemory) => return Err(Errno::NoMemory.into()),
                Err((place, corrupt)) => {
                    let place = self.input.at.saturating_add(to_u64(place));
                    return Err(Corrupt::new("gzip", place, corrupt).into());
                }
            }
            self.out.spill(self.limits)?;
        }
    }

    fn member(&mut self, compression: Compression) -> Result<()> {
        match self.copy(compression) {
            Ok(true) => Ok(()),
            Ok(false) => Err(LimitExceeded::Unpacked { max: self.limits.max }.into()),
            Err(error) => {
                if let Some(failed) = self.input.failed.take() {
                    return Err(failed);
                }
                Err(Corrupt::new(compression.name(), self.input.at, StreamCorrupt::from(error)).into())
            }
        }
    }

    /// Copies one member; `false` if it is longer than the limit.
    fn copy(&mut self, compression: Compression) -> std::io::Result<bool> {
        /// Linux gives on what it has at such steps, so that damage loses no more than one.
        const LINUX_STEP: usize = 4096;

        let mut reader = undo(compression, &mut self.input, self.limits.as_linux)?;
        loop {
            let left = self.limits.left.saturating_sub(self.out.len());
            let step = left.saturating_add(1).min(self.out.step(self.limits));
            // Not having the memory is an error only when it is needed.
            let _ = self.out.bytes.try_reserve_exact(to_usize(step).unwrap_or(usize::MAX));
            let count = if self.limits.as_linux {
                Pieces { inner: &mut reader, len: LINUX_STEP }.take(step).read_to_end(&mut self.out.bytes)?
            } else {
                (&mut reader).take(step).read_to_end(&mut self.out.bytes)?
            };
            if to_u64(count) > left {
                self.out.bytes.truncate(self.out.bytes.len().saturating_sub(1));
                return Ok(false);
            }
            if to_u64(count) < step {
                return Ok(true);
            }
            self.out.spill(self.limits).map_err(std::io::Error::other)?;
        }
    }
}

/// Reads at most `len` bytes at once.
struct Pieces<R> {
    inner: R,
    len: usize,
}

impl<R: Read> Read for Pieces<R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let len = buf.len().min(self.len);
        self.inner.read(buf.get_mut(..len).unwrap_or_default())
    }
}

/// What came out so far: the start in a file, once it was too much for memory, and the rest in memory.
#[derive(Debug, Default)]
struct Spool {
    bytes: Vec<u8>,
    file: Option<File>,
    in_file: u64,
}

impl Spool {
    fn len(&self) -> u64 {
        self.in_file.saturating_add(to_u64(self.bytes.len()))
    }

    /// Bytes that are gathered in memory: once a file has the start, no more than it takes to write them in one go.
    fn room(&self, limits: &UnpackLimits) -> u64 {
        match self.file {
            None => limits.in_memory_max(),
            Some(_) => UNPACKED_IN_MEMORY_MIN,
        }
    }

    /// Bytes to read next: as many as there are already, so that memory grows as the stream does, and no further.
    fn step(&self, limits: &UnpackLimits) -> u64 {
        let len = to_u64(self.bytes.len());
        len.max(UNPACKED_IN_MEMORY_MIN).min(self.room(limits).saturating_sub(len)).max(1)
    }

    /// Moves what is in memory to the file, if there is no more room.
    fn spill(&mut self, limits: &UnpackLimits) -> Result<()> {
        if to_u64(self.bytes.len()) >= self.room(limits) { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => tempfile::tempfile().map_err(|error| Error::new(Errno::NoSpace, error))?,
        };
        file.write_all(&self.bytes).map_err(|error| Error::new(Errno::NoSpace, error))?;
        self.in_file = self.len();
        self.bytes = Vec::new();
        self.file = Some(file);
        Ok(())
    }

    fn finish(mut self) -> Result<Arc<dyn Source>> {
        if self.file.is_some() {
            self.write()?;
        }
        if let Some(file) = self.file {
            return Ok(match MmapSource::new(&file) {
                Ok(source) => Arc::new(source),
                Err(_) => Arc::new(FileSource::new(file)?),
            });
        }
        if self.bytes.capacity().saturating_sub(self.bytes.len()) > self.bytes.len() / 8 {
            self.bytes.shrink_to_fit();
        }
        Ok(Arc::new(BytesSource::new(self.bytes.into())))
    }
}
