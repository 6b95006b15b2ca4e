//! An open node, as descriptors and streams hold it.

use bytes::{Bytes, BytesMut};
use mountless::errno::Errno;
use mountless::fs::WriteAt;
use mountless::namespace::{Descriptor, Location};

use super::logged;

/// Most bytes of one read, whatever the guest asks for: they are allocated before they reach its memory.
pub(crate) const READ_MAX: usize = 64 << 10;

/// What a guest asked of an open node, besides reading and writing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "these are the interface's flags, each independent")]
pub(crate) struct Flags {
    /// Only reported: the namespace knows what may be changed.
    pub(crate) mutate_directory: bool,
    /// Each write is durable when it returns, with its attributes.
    pub(crate) file_sync: bool,
    /// Each write is durable when it returns.
    pub(crate) data_sync: bool,
    /// Only reported: a read never sees more than was written.
    pub(crate) requested_write_sync: bool,
}

/// An open node.
#[derive(Debug)]
pub(crate) struct Node {
    open: Descriptor,
    flags: Flags,
}

impl Node {
    pub(super) const fn new(open: Descriptor, flags: Flags) -> Self {
        Self { open, flags }
    }

    pub(crate) const fn open(&self) -> &Descriptor {
        &self.open
    }

    /// The same for a stream, which outlives the descriptor it was made from.
    pub(super) fn again(&self) -> Self {
        Self { open: self.open.again(), flags: self.flags }
    }

    /// # Errors
    /// `ENOTDIR`.
    pub(super) fn dir(&self) -> Result<&Location, Errno> {
        if self.open.file_type().is_dir() { Ok(self.open.location()) } else { Err(Errno::NotDir) }
    }

    pub(crate) const fn flags(&self) -> Flags {
        self.flags
    }

    /// Up to `len` bytes from `offset`, fewer than asked for only at the end of the file and above [`READ_MAX`].
    ///
    /// # Errors
    /// `EINVAL` for an offset above 2^63, and those of [`Descriptor::read_at`].
    pub(crate) fn read(&self, offset: u64, len: u64) -> Result<Bytes, Errno> {
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(READ_MAX);
        let read = |offset, len| self.open.read_shared(offset, len).map_err(|error| logged(&error));
        let first = read(check(offset)?, len)?;
        if first.is_empty() || first.len() == len {
            return Ok(first);
        }
        // The end of the file, or only of an extent.
        let (mut whole, mut next) = (BytesMut::new(), first);
        loop {
            let done = whole.len().saturating_add(next.len());
            let more = read(offset.saturating_add(len_u64(done)), len.saturating_sub(done))?;
            if more.is_empty() && whole.is_empty() {
                return Ok(next);
            }
            whole.reserve(len.saturating_sub(whole.len()));
            whole.extend_from_slice(&next);
            if more.is_empty() {
                return Ok(whole.freeze());
            }
            next = more;
        }
    }

    /// Reads straight into `buf`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    #[cfg(feature = "p3")]
    pub(crate) fn read_into(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        self.open.read_at(check(offset)?, buf).map_err(|error| logged(&error))
    }

    /// Writes, short only when space ran out half-way.
    ///
    /// # Errors
    /// `EINVAL` for an offset above 2^63, and those of [`Descriptor::write_at`].
    pub(crate) fn write(&self, at: WriteAt, buf: &[u8]) -> Result<usize, Errno> {
        let count = match at {
            WriteAt::Offset(offset) => self.open.write_at(check(offset)?, buf),
            WriteAt::End => self.open.write_end(buf),
        };
        let count = count.map_err(|error| logged(&error))?;
        if count > 0 && (self.flags.file_sync || self.flags.data_sync) {
            self.open.sync(!self.flags.file_sync).map_err(|error| logged(&error))?;
        }
        Ok(count)
    }

    /// Writes all of it, and returns where it ended.
    ///
    /// # Errors
    /// As [`write`](Self::write); a part may have been written.
    pub(crate) fn write_all(&self, at: WriteAt, mut buf: &[u8]) -> Result<WriteAt, Errno> {
        let mut at = at;
        while !buf.is_empty() {
            let count = self.write(at, buf)?;
            if count == 0 {
                return Err(Errno::Io);
            }
            if let WriteAt::Offset(offset) = &mut at {
                *offset = offset.saturating_add(len_u64(count));
            }
            buf = buf.get(count..).unwrap_or_default();
        }
        Ok(at)
    }
}

/// # Errors
/// `EINVAL` for what a file's offset cannot be.
fn check(offset: u64) -> Result<u64, Errno> {
    if i64::try_from(offset).is_ok() { Ok(offset) } else { Err(Errno::Invalid) }
}

pub(crate) const fn len_u64(len: usize) -> u64 {
    // OK: a length fits in 64 bits.
    len as u64
}
