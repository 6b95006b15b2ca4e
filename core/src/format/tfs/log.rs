//! The log: extensions joined by links, records joined from pieces, and the dictionary they share.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Range;

use bytes::Bytes;

use super::change::Change;
use super::corrupt::{Damage, TfsCorrupt};
use super::files::NewFiles;
use super::frame::{Frame, FrameKind, FrameReader, Link};
use super::layout::{ExtensionHeader, SECTOR, Version};
use super::value::Level;
use crate::checked::to_u64;
use crate::limits::TFS_DICTIONARY_MAX;

/// What an entry of the dictionary is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A key.
    Symbol,
    /// A tuple.
    Tuple,
    /// A vector.
    Vector,
}

impl Kind {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Symbol => "symbol",
            Self::Tuple => "tuple",
            Self::Vector => "vector",
        }
    }
}

/// The kinds of everything that records refer to by number, from 1 on, in the order of appearance.
#[derive(Clone, Debug, Default)]
pub struct Dictionary {
    kinds: Vec<Kind>,
    /// Lent to whoever reads a record: most of a log's are short.
    pub(super) levels: Vec<Level>,
}

impl Dictionary {
    /// Count of entries, which is also the greatest number.
    #[must_use]
    pub fn count(&self) -> u32 {
        // OK: `define` keeps it below the limit.
        u32::try_from(self.kinds.len()).unwrap_or(u32::MAX)
    }

    /// Makes room for so many more.
    pub(crate) fn reserve(&mut self, more: usize) {
        self.kinds.reserve(more);
    }

    #[inline]
    pub(crate) fn define(&mut self, kind: Kind) -> Result<u32, TfsCorrupt> {
        let index = self.count().saturating_add(1);
        if index > TFS_DICTIONARY_MAX {
            return Err(TfsCorrupt::DictionaryFull { max: TFS_DICTIONARY_MAX });
        }
        self.kinds.push(kind);
        Ok(index)
    }

    /// Defines so many tuples; none, if there is no room for all.
    pub(crate) fn define_tuples(&mut self, count: u64) -> bool {
        let end = to_u64(self.kinds.len()).saturating_add(count);
        let end = Some(end).filter(|end| *end <= TFS_DICTIONARY_MAX.into()).and_then(|end| usize::try_from(end).ok());
        end.is_some_and(|end| {
            self.kinds.resize(end, Kind::Tuple);
            true
        })
    }

    /// Forgets everything behind the first `count`.
    pub(crate) fn truncate(&mut self, count: u32) {
        self.kinds.truncate(usize::try_from(count).unwrap_or(usize::MAX));
    }

    /// Defines a symbol and a tuple, both or, where there is no room, neither.
    #[inline]
    pub(super) fn define_symbol_and_tuple(&mut self) -> Option<(u32, u32)> {
        let symbol = self.count().saturating_add(1);
        let tuple = symbol.saturating_add(1);
        if tuple > TFS_DICTIONARY_MAX {
            return None;
        }
        self.kinds.extend_from_slice(&[Kind::Symbol, Kind::Tuple]);
        Some((symbol, tuple))
    }

    /// The number and the kind of entry `index`, if there is one.
    #[inline]
    #[must_use]
    pub fn find(&self, index: u64) -> Option<(u32, Kind)> {
        let number = u32::try_from(index).ok()?;
        let at = usize::try_from(number.checked_sub(1)?).ok()?;
        self.kinds.get(at).map(|kind| (number, *kind))
    }

    pub(super) fn get(&self, index: u64) -> Result<(u32, Kind), TfsCorrupt> {
        self.find(index).ok_or(TfsCorrupt::UndefinedReference { index, len: to_u64(self.kinds.len()) })
    }
}

/// A complete record.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Its first frame, in bytes from the start of the file system.
    pub offset: u64,
    /// Its bytes, joined.
    pub bytes: &'a [u8],
    /// How they are encoded: as the extension in which the record ends says.
    pub version: Version,
    /// Its pieces: where each begins in `bytes`, and in the file system.
    pieces: Pieces<'a>,
    /// What `bytes` are all of, if they were joined.
    shared: Option<&'a Bytes>,
}

#[derive(Clone, Copy, Debug)]
enum Pieces<'a> {
    One(u64),
    Many(&'a [(usize, u64)]),
}

impl Record<'_> {
    /// Where byte `pos` of the record stands, in bytes from the start of the file system.
    #[must_use]
    pub fn offset_of(&self, pos: usize) -> u64 {
        let (start, offset) = match self.pieces {
            Pieces::One(offset) => (0, offset),
            Pieces::Many(pieces) => {
                let piece = pieces.partition_point(|(start, _)| *start <= pos).saturating_sub(1);
                pieces.get(piece).copied().unwrap_or((0, self.offset))
            }
        };
        offset.saturating_add(to_u64(pos.saturating_sub(start)))
    }

    /// Its bytes, to be kept; those of a record in one piece are not.
    #[must_use]
    pub const fn shared(&self) -> Option<&Bytes> {
        self.shared
    }

    /// How many pieces it was written in.
    #[must_use]
    pub const fn piece_count(&self) -> usize {
        match self.pieces {
            Pieces::One(_) => 1,
            Pieces::Many(pieces) => pieces.len(),
        }
    }
}

/// What comes next in an extension.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a> {
    /// A complete record.
    Record(Record<'a>),
    /// A mark without meaning.
    Segment,
    /// The log goes on in another extension, which is inside the file system and was not read before.
    Link(Link),
    /// The log ends, at this byte of the file system.
    End(u64),
}

/// A record of which pieces are missing.
#[derive(Clone, Debug, Default)]
struct Partial {
    offset: u64,
    total: u64,
    bytes: Vec<u8>,
    pieces: Vec<(usize, u64)>,
}

impl Partial {
    fn missing(&self) -> u64 {
        self.total.saturating_sub(to_u64(self.bytes.len()))
    }

    fn add(&mut self, piece: &[u8], offset: u64) {
        self.pieces.push((self.bytes.len(), offset));
        self.bytes.extend_from_slice(piece);
    }
}

/// Reads a log extension by extension; whoever has the bytes hands them in.
///
/// Every log is finite: extensions never overlap, and a record never has more bytes than were read.
#[derive(Clone, Debug)]
pub struct LogReader {
    /// Sectors of the file system.
    end: u64,
    /// Of the extension being read.
    version: Version,
    /// Sectors of the extensions: first to one past the last.
    used: BTreeMap<u64, u64>,
    partial: Option<Partial>,
    /// The bytes and pieces of the record that was handed out last, if it came in pieces.
    joined: (Bytes, Vec<(usize, u64)>),
    /// Take what is there of an extension that passes the end.
    lenient: bool,
}

impl LogReader {
    /// Where every log begins.
    pub const FIRST: Link = Link { sector: 0, count: 1 };

    /// A reader of the log of a file system of `end` sectors. With `lenient`, an extension may pass the end: the log
    /// then ends, damaged, where the bytes do.
    #[must_use]
    pub const fn new(end: u64, lenient: bool) -> Self {
        let joined = (Bytes::new(), Vec::new());
        Self { end, version: Version::V5, used: BTreeMap::new(), partial: None, joined, lenient }
    }

    /// Bytes of the file system to hand in for `link`.
    #[must_use]
    pub const fn range(&self, link: Link) -> Range<u64> {
        let end = link.sector.saturating_add(link.count);
        let end = if end < self.end { end } else { self.end };
        link.sector.saturating_mul(SECTOR)..end.saturating_mul(SECTOR)
    }

    /// Begins the extension at `link`, which is [`FIRST`](Self::FIRST) or came from [`next_item`](Self::next_item).
    ///
    /// # Errors
    /// What is wrong with its header.
    pub fn begin<'a>(&mut self, link: Link, bytes: &'a [u8]) -> Result<(ExtensionHeader, FrameReader<'a>), Damage> {
        let base = link.sector.saturating_mul(SECTOR);
        let header = ExtensionHeader::from_bytes(bytes, base)?;
        // Nanos reads one sector at 0 and says so; it does not look at what others say, but writes them right.
        if header.sectors != link.count {
            let reason = TfsCorrupt::ExtensionLength { found: header.sectors, linked: link.count };
            return Err(Damage::new(base, reason));
        }
        self.used.insert(link.sector, link.sector.saturating_add(link.count));
        self.version = header.version;
        let frames = FrameReader::new(bytes, base, header.len);
        Ok((header, frames))
    }

    /// What comes next.
    ///
    /// # Errors
    /// What is wrong. [`lost_from`](Self::lost_from) tells where the sound part of the log ends.
    #[inline]
    pub fn next_item<'s, 'a: 's>(&'s mut self, frames: &mut FrameReader<'a>) -> Result<Item<'s>, Damage> {
        if self.partial.is_none()
            && let Some((offset, bytes, piece_offset)) = frames.short_record()
        {
            let pieces = Pieces::One(piece_offset);
            return Ok(Item::Record(Record { offset, bytes, version: self.version, pieces, shared: None }));
        }
        self.next_long_item(frames)
    }

    /// Reads what comes next as long as it is a [`Change`] that `apply` takes, at most up to the byte `until` of the file
    /// system, and says how many there were. Of anything else nothing is read.
    ///
    /// # Errors
    /// Those of `apply`.
    #[inline(always)]
    pub fn next_changes<E>(
        &self,
        frames: &mut FrameReader<'_>,
        until: u64,
        apply: impl FnMut(Change) -> Result<bool, E>,
    ) -> Result<u64, E> {
        if self.partial.is_some() || self.version != Version::V5 {
            return Ok(0);
        }
        frames.changes(until, apply)
    }

    /// Reads the files that come next, as far as they belong to `run`, which may have some already, and at most up to the
    /// byte `until` of the file system.
    pub fn next_files(&self, frames: &mut FrameReader<'_>, until: u64, run: &mut NewFiles) {
        if self.partial.is_none() && self.version == Version::V5 {
            frames.new_files(until, run);
        }
    }

    /// Passes over a record in one piece, if one comes next.
    pub(crate) fn skip_record(&self, frames: &mut FrameReader<'_>) -> Option<()> {
        match frames.next_frame() {
            Ok(Frame { kind: FrameKind::Record { total, piece, .. }, .. })
                if to_u64(piece.len()) == total && self.partial.is_none() =>
            {
                Some(())
            }
            _ => None,
        }
    }

    /// A reader that goes on where this one is, which is not inside of a record.
    pub(crate) fn fork(&self) -> Self {
        Self { used: self.used.clone(), partial: None, joined: (Bytes::new(), Vec::new()), ..*self }
    }

    /// The bytes of the record that comes next, if it comes in pieces.
    pub(crate) fn peek_pieces(&self, mut frames: FrameReader<'_>) -> Option<usize> {
        match frames.next_frame() {
            Ok(Frame { kind: FrameKind::Record { total, piece, .. }, .. })
                if to_u64(piece.len()) < total && self.partial.is_none() =>
            {
                usize::try_from(total).ok()
            }
            _ => None,
        }
    }

    /// Passes over pieces of a record of which `missing` bytes are missing, up to its end or a link, which is returned.
    pub(crate) fn skip_pieces(&self, frames: &mut FrameReader<'_>, missing: &mut u64) -> Option<Option<Link>> {
        while *missing > 0 {
            let piece = match frames.next_frame().ok()?.kind {
                FrameKind::Record { total, piece, .. } if total == *missing => piece,
                FrameKind::Continuation { piece, .. } => piece,
                FrameKind::Link(link) => return self.check(link).ok().map(|()| Some(link)),
                _ => return None,
            };
            *missing = missing.checked_sub(to_u64(piece.len()))?;
        }
        Some(None)
    }

    fn next_long_item<'s, 'a: 's>(&'s mut self, frames: &mut FrameReader<'a>) -> Result<Item<'s>, Damage> {
        loop {
            let frame = frames.next_frame()?;
            match (frame.kind, &mut self.partial) {
                (FrameKind::Segment, _) => return Ok(Item::Segment),
                (FrameKind::Link(link), _) => {
                    self.check(link).map_err(|reason| Damage::new(frame.offset, reason))?;
                    return Ok(Item::Link(link));
                }
                (FrameKind::End, None) => return Ok(Item::End(frame.offset)),
                (FrameKind::End, Some(partial)) => {
                    let reason = TfsCorrupt::RecordUnfinished { missing: partial.missing() };
                    return Err(Damage::new(frame.offset, reason));
                }
                (FrameKind::Record { .. }, Some(partial)) => {
                    let reason = TfsCorrupt::RecordInsideRecord { missing: partial.missing() };
                    return Err(Damage::new(frame.offset, reason));
                }
                (FrameKind::Record { total, piece, piece_offset }, None) if to_u64(piece.len()) == total => {
                    let pieces = Pieces::One(piece_offset);
                    return Ok(Item::Record(Record {
                        offset: frame.offset,
                        bytes: piece,
                        version: self.version,
                        pieces,
                        shared: None,
                    }));
                }
                (FrameKind::Record { total, piece, piece_offset }, None) => {
                    let mut partial = Partial { offset: frame.offset, total, ..Partial::default() };
                    partial.add(piece, piece_offset);
                    self.partial = Some(partial);
                }
                (FrameKind::Continuation { .. }, None) => {
                    return Err(Damage::new(frame.offset, TfsCorrupt::NothingToContinue));
                }
                (FrameKind::Continuation { piece, piece_offset }, Some(partial)) => {
                    let (missing, len) = (partial.missing(), to_u64(piece.len()));
                    if len > missing {
                        let reason = TfsCorrupt::PieceLength { piece: len, total: missing, available: len };
                        return Err(Damage::new(frame.offset, reason));
                    }
                    partial.add(piece, piece_offset);
                    if len == missing {
                        break;
                    }
                }
            }
        }
        let Partial { offset, bytes, pieces, .. } = self.partial.take().unwrap_or_default();
        self.joined = (bytes.into(), pieces);
        let (bytes, pieces) = &self.joined;
        let pieces = Pieces::Many(pieces);
        Ok(Item::Record(Record { offset, bytes, version: self.version, pieces, shared: Some(bytes) }))
    }

    /// Where the record that is in progress began, or else `frame`: the first byte that is lost when the frame at
    /// `frame` is damaged.
    #[must_use]
    pub fn lost_from(&self, frame: u64) -> u64 {
        self.partial.as_ref().map_or(frame, |partial| partial.offset)
    }

    fn check(&self, link: Link) -> Result<(), TfsCorrupt> {
        let Link { sector, count } = link;
        if count == 0 {
            return Err(TfsCorrupt::LinkEmpty);
        }
        let inside = if self.lenient { sector < self.end } else { true };
        let past = sector.checked_add(count).filter(|past| inside && (self.lenient || *past <= self.end));
        let past = past.ok_or(TfsCorrupt::LinkBeyondEnd { sector, count, end: self.end })?;
        let before = self.used.range(..past).next_back();
        if before.is_some_and(|(_, end)| *end > sector) {
            return Err(TfsCorrupt::LinkOverlaps { sector, count });
        }
        Ok(())
    }
}
