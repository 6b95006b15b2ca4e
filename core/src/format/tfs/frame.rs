//! Frames: what an extension consists of behind its header.

use super::change::Change;
use super::corrupt::{Damage, TfsCorrupt};
use super::value::varint;
use crate::checked::to_u64;

/// Types of frames on disk.
pub(super) mod types {
    pub(crate) const END: u8 = 1;
    pub(crate) const RECORD: u8 = 2;
    pub(crate) const CONTINUATION: u8 = 3;
    pub(crate) const SEGMENT: u8 = 4;
    pub(crate) const LINK: u8 = 5;
}

/// Where the log goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// First sector of the extension.
    pub sector: u64,
    /// Its sectors.
    pub count: u64,
}

/// A frame and where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// Its first byte, from the start of the file system.
    pub offset: u64,
    /// What it is.
    pub kind: FrameKind<'a>,
}

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameKind<'a> {
    /// Nothing behind it is part of the log.
    End,
    /// A record, or its first piece.
    Record {
        /// Bytes of the whole record.
        total: u64,
        /// Those that are here.
        piece: &'a [u8],
        /// Where these begin, from the start of the file system.
        piece_offset: u64,
    },
    /// The next piece of a record.
    Continuation {
        /// The bytes.
        piece: &'a [u8],
        /// Where they begin, from the start of the file system.
        piece_offset: u64,
    },
    /// No meaning: an end of log that was written over.
    Segment,
    /// The log goes on elsewhere.
    Link(Link),
}

/// Reads the frames of one extension.
#[derive(Clone, Copy, Debug)]
pub struct FrameReader<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) base: u64,
    /// Where the next frame begins in the bytes.
    pub(super) pos: usize,
}

impl<'a> FrameReader<'a> {
    /// A reader of the frames behind the `header_len` bytes of header of the extension in `bytes`, which begins at byte
    /// `base` of the file system.
    #[must_use]
    pub const fn new(bytes: &'a [u8], base: u64, header_len: usize) -> Self {
        Self { bytes, base, pos: header_len }
    }

    /// Where the next frame begins, from the start of the file system.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.base.saturating_add(to_u64(self.pos))
    }

    /// Where the next frame begins, from the start of the extension.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.pos
    }

    fn number(&mut self) -> Result<u64, Damage> {
        let rest = self.bytes.get(self.pos..).unwrap_or_default();
        let (value, len) = varint(rest).map_err(|error| {
            if error.is_short() { Damage::new(self.offset(), TfsCorrupt::NoEndMark) } else { error.at(self.offset()) }
        })?;
        self.pos = self.pos.saturating_add(len);
        Ok(value)
    }

    /// The next `len` bytes of a record that still has `total`; at least one byte must follow them.
    fn piece(&mut self, frame: u64, len: u64, total: u64) -> Result<(&'a [u8], u64), Damage> {
        let rest = self.bytes.get(self.pos..).unwrap_or_default();
        let available = to_u64(rest.len());
        let piece =
            usize::try_from(len).ok().filter(|_| len <= total && len < available).and_then(|len| rest.get(..len));
        let reason = TfsCorrupt::PieceLength { piece: len, total, available };
        let piece = piece.ok_or(Damage::new(frame, reason))?;
        let offset = self.offset();
        self.pos = self.pos.saturating_add(piece.len());
        Ok((piece, offset))
    }

    /// The next frame, if it is a short record in one piece, as nearly all frames of a log are: its offset, its bytes and
    /// where these begin. Otherwise nothing happens.
    #[inline]
    pub(super) fn short_record(&mut self) -> Option<(u64, &'a [u8], u64)> {
        let [types::RECORD, total @ 0..=0x7f, here, rest @ ..] = self.bytes.get(self.pos..)? else { return None };
        let (piece, [_, ..]) = rest.split_at_checked(usize::from(*here)).filter(|_| total == here)? else {
            return None;
        };
        let offset = self.offset();
        self.pos = self.pos.saturating_add(piece.len()).saturating_add(3);
        Some((offset, piece, offset.saturating_add(3)))
    }

    /// See [`LogReader::next_changes`](super::LogReader::next_changes).
    #[inline(always)]
    pub(super) fn changes<E>(
        &mut self,
        until: u64,
        mut apply: impl FnMut(Change) -> Result<bool, E>,
    ) -> Result<u64, E> {
        let until = usize::try_from(until.saturating_sub(self.base)).unwrap_or(usize::MAX);
        let (mut pos, mut count) = (self.pos, 0_u64);
        while pos != until
            && let Some(window) = self.bytes.get(pos..).and_then(<[u8]>::first_chunk)
            && let Some((change, len)) = Change::in_window(window)
            && apply(change)?
        {
            pos = pos.wrapping_add(len);
            count = count.wrapping_add(1);
        }
        self.pos = pos;
        Ok(count)
    }

    /// The next frame. After an end or a link there is none; the caller stops there.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn next_frame(&mut self) -> Result<Frame<'a>, Damage> {
        let offset = self.offset();
        let kind = *self.bytes.get(self.pos).ok_or(Damage::new(offset, TfsCorrupt::NoEndMark))?;
        self.pos = self.pos.saturating_add(1);
        let kind = match kind {
            types::END => FrameKind::End,
            types::RECORD => {
                let total = self.number()?;
                let len = self.number()?;
                let (piece, piece_offset) = self.piece(offset, len, total)?;
                FrameKind::Record { total, piece, piece_offset }
            }
            types::CONTINUATION => {
                let len = self.number()?;
                let (piece, piece_offset) = self.piece(offset, len, u64::MAX)?;
                FrameKind::Continuation { piece, piece_offset }
            }
            types::SEGMENT => FrameKind::Segment,
            types::LINK => FrameKind::Link(Link { sector: self.number()?, count: self.number()? }),
            found => return Err(Damage::new(offset, TfsCorrupt::FrameType { found })),
        };
        Ok(Frame { offset, kind })
    }
}
