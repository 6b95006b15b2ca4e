//! Replays the parts of an initial RAM filesystem: entries, zeros and compressed streams of both, one after the other.
//!
//! Two readers in one, see [`Unpack`]: the strict one reads whatever is sound and takes damage for an error; the other
//! one gives exactly what Linux gives, which passes over some damage and stops silently at the rest.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;

use super::ahead::Ahead;
use super::build::{LinkKey, Meta, PathRef, TreeBuilder};
use super::cpio_old::OldPlace;
use super::heads::Head;
use super::index::{Content, Index, Stored};
use super::known::{HeadsToKeep, KnownHeads};
use super::scouts::{Plan, accompany};
use super::unpack::{UnpackLimits, unpack};
use super::walk::Stop;
use super::window::Window;
use super::{ArchiveOptions, ArchiveReport, LimitExceeded, Part, SkipReason, Skipped, Unpack};
use crate::attr::{Device, FileType};
use crate::checked::{min_len, to_u64};
use crate::clock::Timestamp;
use crate::error::{Corrupt, Error, Result};
use crate::format::compress::Compression;
use crate::format::cpio::{
    ALIGN, CpioCorrupt, Header, LONGEST_HEAD, Magic, NAME_SIZE_MAX, TARGET_SIZE_MAX, Variant, checksum, read_old_entry,
};
use crate::format::cut_at_nul;
use crate::limits::{ARCHIVE_PARTS_MAX, NESTED_COMPRESSIONS_MAX, SKIPPED_KEPT_MAX};
use crate::source::{Memo, Source};

/// Entries for which memory is reserved at the start: one for each of this many bytes of image, but not too many.
const BYTES_PER_ENTRY: u64 = 8 << 10;
const RESERVE_MAX: usize = 64 << 10;

/// What replaying an archive gives.
pub(super) struct Replayed {
    pub(super) index: Index,
    pub(super) sources: Vec<Arc<dyn Source>>,
    pub(super) report: ArchiveReport,
    /// Entries whose heads scouts found.
    pub(super) found_ahead: u64,
}

/// Replays the archive in `source`, with the help of what is remembered of it.
pub(super) fn replay(source: Arc<dyn Source>, options: &ArchiveOptions) -> Result<Replayed> {
    let remembered = Arc::clone(&source);
    let memo = remembered.memo();
    let known = memo.and_then(Memo::load);
    let keeps = memo.is_some() && known.is_none();
    let (replayed, kept) = replay_by_plan(source, options, &Plan::DEFAULT, known, keeps)?;
    if let (Some(memo), Some(heads)) = (memo, kept.filter(HeadsToKeep::is_useful))
        && let Err(error) = memo.store(&heads.finish())
    {
        tracing::debug!(%error, "the heads of entries are not kept");
    }
    Ok(replayed)
}

/// The same, with heads that are `known`, or else looking ahead by `plan`, on which nothing depends but the time it
/// takes. If it `keeps` heads, it gives those of a sound archive.
pub(super) fn replay_by_plan(
    source: Arc<dyn Source>,
    options: &ArchiveOptions,
    plan: &Plan,
    known: Option<Bytes>,
    keeps: bool,
) -> Result<(Replayed, Option<HeadsToKeep>)> {
    let entries = min_len(RESERVE_MAX, source.len() / BYTES_PER_ENTRY);
    let mut builder = TreeBuilder::new(options.defaults, entries);
    let as_linux = options.unpack == Unpack::AsLinux;
    if as_linux {
        builder.add_built_in()?;
    }
    let mut replay = Replay {
        builder,
        report: ArchiveReport::default(),
        as_linux,
        limits: UnpackLimits::new(options),
        found_ahead: 0,
        keep: keeps.then(HeadsToKeep::default),
    };
    let ran = match known {
        Some(known) => replay.run(source, Some(Ahead::Known(Box::new(KnownHeads::new(known))))),
        None => accompany(&*Arc::clone(&source), plan, |scouted| {
            replay.run(source, scouted.map(|scouted| Ahead::Scouted(Box::new(scouted))))
        }),
    };
    match ran {
        Ok(()) => {}
        Err(Broken::Stopped(error)) if as_linux => replay.report.stopped = Some(error),
        Err(Broken::Stopped(error) | Broken::Failed(error)) => return Err(error),
    }
    replay.report.unpacked_len = replay.report.parts.iter().fold(0, |sum, part| sum.saturating_add(part.unpacked_len));
    let Replay { builder, report, found_ahead, keep, .. } = replay;
    let kept = keep.filter(|_| report.stopped.is_none());
    let (index, sources) = builder.finish()?;
    Ok((Replayed { index, sources, report, found_ahead }, kept))
}

/// Why the replay ended before the image did.
pub(super) enum Broken {
    /// Damage, where Linux stops as well and keeps what it has.
    Stopped(Error),
    /// Nothing to show: the image cannot be read, or a limit was passed.
    Failed(Error),
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<LimitExceeded> for Broken {
    fn from(limit: LimitExceeded) -> Self {
        Self::Failed(limit.into())
    }
}

/// The image, or a compressed part of it.
pub(super) struct Frame<'a> {
    pub(super) window: Window,
    /// Heads of entries that were found ahead, in an image.
    ahead: Option<Ahead<'a>>,
    /// Number of the source in the tree.
    pub(super) source: u32,
    /// Where the replay stands.
    pub(super) at: u64,
    /// Where a stream's members begin in it.
    starts: Vec<u64>,
    /// Where multiples of 4 count from: the last member that began between two entries.
    pub(super) base: u64,
    /// The layout of the entries since the last trailer.
    pub(super) layout: Option<Magic>,
    /// Compression and offset, for a compressed part.
    packed: Option<(Compression, u64)>,
    /// The part that entries are counted for.
    pub(super) part: Option<usize>,
    /// Linux knows, at this point, that an entry must begin; it does not skip zeros then.
    expects_entry: bool,
    /// Linux has just read an entry, and wants nothing misaligned behind it.
    pub(super) behind_entry: bool,
    /// Why the stream ends here, if it was damaged.
    damage: Option<Error>,
}

impl Frame<'_> {
    /// Whether the head of an entry where the replay stands was found ahead.
    fn seek_ahead(&mut self) -> bool {
        self.ahead.as_mut().is_some_and(|ahead| ahead.seek(self.at))
    }
}

/// What stands next in a frame.
enum Next {
    /// Nothing.
    End,
    /// An entry.
    Entry,
    /// A compressed part.
    Packed(Compression),
}

pub(super) struct Replay {
    pub(super) builder: TreeBuilder,
    pub(super) report: ArchiveReport,
    as_linux: bool,
    limits: UnpackLimits,
    found_ahead: u64,
    /// Heads that shall be at hand the next time.
    keep: Option<HeadsToKeep>,
}

impl Replay {
    fn run(&mut self, source: Arc<dyn Source>, ahead: Option<Ahead<'_>>) -> Result<(), Broken> {
        let image = Frame {
            window: Window::new(Arc::clone(&source)),
            ahead,
            source: self.builder.add_source(source),
            at: 0,
            starts: vec![0],
            base: 0,
            layout: None,
            packed: None,
            part: None,
            expects_entry: false,
            behind_entry: false,
            damage: None,
        };
        let mut frames = vec![image];
        while let Some(mut frame) = frames.pop() {
            let within = frame.packed;
            let nested = self.frame(&mut frame).map_err(|broken| in_part(broken, within))?;
            match nested {
                Some(compression) => {
                    if frames.len() >= usize::try_from(NESTED_COMPRESSIONS_MAX).unwrap_or(usize::MAX) {
                        return Err(LimitExceeded::Nesting { max: NESTED_COMPRESSIONS_MAX }.into());
                    }
                    let inner = self.unpack(&mut frame, compression).map_err(|broken| in_part(broken, within))?;
                    frames.push(frame);
                    frames.push(inner);
                }
                None => {
                    frame.window.release(frame.at);
                    if let Some(damage) = frame.damage.take() {
                        return Err(Broken::Stopped(damage));
                    }
                }
            }
        }
        Ok(())
    }

    /// Replays a frame up to its end, or up to a compressed part in it.
    fn frame(&mut self, frame: &mut Frame<'_>) -> Result<Option<Compression>, Broken> {
        loop {
            match self.next(frame)? {
                Next::End => return Ok(None),
                Next::Packed(compression) => return Ok(Some(compression)),
                Next::Entry => self.entry(frame)?,
            }
        }
    }

    /// Skips zeros and looks at what follows.
    fn next(&mut self, frame: &mut Frame<'_>) -> Result<Next, Broken> {
        let end = frame.window.len();
        if self.as_linux && frame.expects_entry {
            frame.expects_entry = false;
            return Ok(Next::Entry);
        }
        let behind_entry = frame.at;
        let found_ahead = frame.seek_ahead();
        self.found_ahead = self.found_ahead.saturating_add(found_ahead.into());
        if !found_ahead {
            frame.at = frame.window.skip_zeros(frame.at)?;
        }
        if frame.at >= end {
            return Ok(Next::End);
        }
        let begun = frame.starts.partition_point(|start| *start <= frame.at);
        let start = begun.checked_sub(1).and_then(|last| frame.starts.get(last)).copied();
        if let Some(start) = start.filter(|start| *start >= behind_entry) {
            frame.base = start;
        }
        let past = frame.at.saturating_sub(frame.base) % ALIGN;
        if past == 0 && found_ahead {
            return Ok(Next::Entry);
        }
        let at = frame.at;
        let head = frame.window.at(at, LONGEST_HEAD)?;
        if past == 0 && head.first() == Some(&b'0') {
            return Ok(Next::Entry);
        }
        let (mut found, count) = ([0; 6], head.len().min(6));
        for (found, byte) in found.iter_mut().zip(head) {
            *found = *byte;
        }
        let misaligned = CpioCorrupt::Misaligned { past, found, count };
        let unknown = CpioCorrupt::UnknownPart { found, count };
        let compression = Compression::detect(head);
        if self.as_linux {
            return match compression {
                _ if past != 0 && (frame.packed.is_some() || frame.behind_entry) => Err(damaged(at, misaligned)),
                // Linux compares two bytes and would then find the rest wrong: stops either way.
                Some(compression) if frame.packed.is_none() && compression != Compression::Lz4Frame => {
                    Ok(Next::Packed(compression))
                }
                _ => Err(damaged(at, unknown)),
            };
        }
        match (compression, Magic::detect(head)) {
            (Some(compression), _) => Ok(Next::Packed(compression)),
            (None, Some(Magic::BinaryLittleEndian | Magic::BinaryBigEndian | Magic::Odc)) => Ok(Next::Entry),
            _ if past != 0 && head.first() == Some(&b'0') => Err(damaged(at, misaligned)),
            _ => Err(damaged(at, unknown)),
        }
    }

    /// Replays the entry at `frame.at` and moves behind it.
    fn entry(&mut self, frame: &mut Frame<'_>) -> Result<(), Broken> {
        let at = frame.at;
        let available = frame.window.len().saturating_sub(at);
        let head = match frame.ahead.as_ref().and_then(|ahead| ahead.get(at)) {
            Some(head) => head,
            None => {
                let window = frame.window.at(at, LONGEST_HEAD)?;
                if !self.as_linux
                    && let Some(entry) = read_old_entry(window)
                {
                    let entry = entry.map_err(|corrupt| damaged(at, corrupt))?;
                    if let Some(magic) = Magic::detect(window) {
                        begin_layout(&mut frame.layout, magic, at)?;
                    }
                    let place = OldPlace { source: frame.source, at, available, head_len: to_u64(window.len()) };
                    let next = self.old_entry(&entry, &place, &mut frame.part, &mut frame.layout)?;
                    frame.at = next;
                    frame.base = next;
                    frame.behind_entry = true;
                    self.extend_part(frame);
                    return Ok(());
                }
                match Head::read(window) {
                    Ok(head) => head,
                    Err(CpioCorrupt::HeaderBeyondEnd { .. }) if self.as_linux => return self.cut_off(frame),
                    Err(corrupt) => return Err(damaged(at, corrupt)),
                }
            }
        };
        if let Some(keep) = self.keep.as_mut().filter(|_| frame.packed.is_none()) {
            keep.push(at, &head);
        }
        let entry = head.entry;
        let header = entry.header;
        if !self.as_linux {
            begin_layout(&mut frame.layout, Magic::Hex(header.variant), at)?;
            entry.check_complete(available).map_err(|corrupt| damaged(at, corrupt))?;
        }
        self.builder.grant(header.entry_len().min(available));

        let part = part_of(&mut self.report, &mut frame.part, at)?;
        let skipped = match refuse(&header) {
            Some(reason) => Err(Stop::Skip(reason)),
            None => {
                let is_link = header.file_type() == Some(FileType::Symlink);
                let needed = if is_link { header.data_end() } else { header.data_offset() };
                if available < needed.min(header.data_end()) && self.as_linux {
                    return self.cut_off(frame);
                }
                entry.check_terminated().map_err(|corrupt| damaged(at, corrupt))?;
                if !is_link && entry.is_trailer() {
                    self.builder.forget_links();
                    self.report.trailers = self.report.trailers.saturating_add(1);
                    frame.layout = None;
                    return self.advance(frame, &header);
                }
                self.node(frame.source, at, available, &head)
            }
        };
        self.report.entries = self.report.entries.saturating_add(1);
        if let Some(part) = self.report.parts.get_mut(part) {
            part.entries = part.entries.saturating_add(1);
        }
        match skipped {
            Ok(()) if header.variant == Variant::Crc && header.file_type() == Some(FileType::File) => {
                self.verify(frame, &header)?;
            }
            Ok(()) => {}
            Err(Stop::Fail(error)) => return Err(error.into()),
            Err(Stop::Skip(reason)) => {
                self.report.skipped_count = self.report.skipped_count.saturating_add(1);
                if self.report.skipped.len() < SKIPPED_KEPT_MAX {
                    self.report.skipped.push(Skipped { part, offset: at, name: entry.name().into(), reason });
                }
            }
        }
        self.advance(frame, &header)
    }

    /// Makes the node that an entry describes.
    fn node(&mut self, source: u32, at: u64, available: u64, head: &Head<'_>) -> Result<(), Stop> {
        let Head { entry, target } = head;
        let header = &entry.header;
        let Some(file_type) = header.file_type() else {
            return Err(Stop::Skip(SkipReason::UnknownType { mode: header.mode & 0xffff }));
        };
        let name = entry.name();
        let stored = |from: u64, len: u64| Stored { source, offset: at.saturating_add(from), len };
        let path = PathRef { bytes: name, stored: stored(to_u64(crate::format::cpio::HEADER_LEN), to_u64(name.len())) };
        let data_offset = header.data_offset();
        let data_len = u64::from(header.filesize).min(available.saturating_sub(data_offset));
        let is_cut = data_len < u64::from(header.filesize);
        let meta = Meta {
            mode: header.permissions(),
            uid: Some(header.uid).filter(|uid| *uid != u32::MAX),
            gid: Some(header.gid).filter(|gid| *gid != u32::MAX),
            mtime: (!is_cut).then(|| Timestamp::from_secs(header.mtime.into())),
        };
        let link = (header.nlink >= 2).then_some(LinkKey {
            dev: (header.dev_major, header.dev_minor),
            ino: header.ino,
            file_type,
        });
        let content = match file_type {
            FileType::File => {
                let data = stored(data_offset, data_len);
                return self.builder.file(path, &meta, data, header.filesize.into(), link);
            }
            FileType::Dir => return self.builder.dir(path, &meta),
            FileType::Symlink => {
                let target = target.get(..min_len(target.len(), data_len)).unwrap_or_default();
                let len = to_u64(cut_at_nul(target).len());
                return self.builder.symlink(path, &meta, stored(data_offset, len));
            }
            FileType::Char => Content::Char(device(header)),
            FileType::Block => Content::Block(device(header)),
            FileType::Fifo => Content::Fifo,
            // Whiteouts do not come out of a mode.
            FileType::Socket | FileType::Whiteout => Content::Socket,
        };
        self.builder.special(path, &meta, content, link)
    }

    /// Checks the sum of a file's data, if all of it is there.
    fn verify(&mut self, frame: &mut Frame<'_>, header: &Header) -> Result<(), Broken> {
        let mut at = frame.at.saturating_add(header.data_offset());
        let end = frame.at.saturating_add(header.data_end());
        if end > frame.window.len() {
            return Ok(());
        }
        let mut sum = 0;
        while at < end {
            let bytes = frame.window.at(at, 1)?;
            let bytes = bytes.get(..min_len(bytes.len(), end.saturating_sub(at))).unwrap_or_default();
            sum = checksum(sum, bytes);
            at = at.saturating_add(to_u64(bytes.len().max(1)));
        }
        if sum != header.check {
            return Err(damaged(frame.at, CpioCorrupt::Checksum { recorded: header.check, computed: sum }));
        }
        Ok(())
    }

    /// Moves behind an entry. The padding behind the last one may be missing, or be cut short by the next member.
    fn advance(&mut self, frame: &mut Frame<'_>, header: &Header) -> Result<(), Broken> {
        let end = frame.window.len();
        let content_end = frame.at.saturating_add(header.content_end());
        let next = frame.at.saturating_add(header.entry_len());
        if next > end && self.as_linux {
            return self.cut_off(frame);
        }
        let member = frame.starts.partition_point(|start| *start < content_end);
        let member = frame.starts.get(member).copied().filter(|start| *start < next);
        frame.at = member.unwrap_or(next).min(end);
        frame.behind_entry = true;
        self.extend_part(frame);
        Ok(())
    }

    /// Counts what was read as part of the plain run of entries it belongs to.
    pub(super) fn extend_part(&mut self, frame: &Frame<'_>) {
        let plain = frame.part.filter(|_| frame.packed.is_none());
        if let Some(part) = plain.and_then(|part| self.report.parts.get_mut(part)) {
            part.len = frame.at.saturating_sub(part.offset);
            part.unpacked_len = part.len;
        }
    }

    /// Linux, where a part ends inside an entry: an image may, a compressed stream may not.
    fn cut_off(&mut self, frame: &mut Frame<'_>) -> Result<(), Broken> {
        let at = core::mem::replace(&mut frame.at, frame.window.len());
        match (frame.packed, frame.damage.take()) {
            (None, _) => Ok(()),
            (Some(_), Some(damage)) => Err(Broken::Stopped(damage)),
            (Some(_), None) => Err(damaged(at, CpioCorrupt::PartEndsInsideEntry)),
        }
    }

    /// Decompresses the part at `frame.at` and moves behind it.
    fn unpack(&mut self, frame: &mut Frame<'_>, compression: Compression) -> Result<Frame<'static>, Broken> {
        let offset = frame.at;
        let unpacked =
            unpack(&mut frame.window, offset, compression, &self.limits).map_err(|error| match error.corrupt() {
                Some(_) => Broken::Stopped(error),
                None => Broken::Failed(error),
            })?;
        frame.at = unpacked.end;
        let len = unpacked.source.len();
        self.limits.spend(len);
        let part = Part {
            offset,
            len: frame.at.saturating_sub(offset),
            within: frame.packed.and(frame.part),
            compression: Some(compression),
            unpacked_len: len,
            entries: 0,
        };
        let first = self.report.entries == 0 && self.report.trailers == 0;
        let part = add_part(&mut self.report, part)?;
        frame.behind_entry = false;
        if frame.packed.is_none() {
            frame.part = None;
        }
        Ok(Frame {
            window: Window::new(Arc::clone(&unpacked.source)),
            ahead: None,
            source: self.builder.add_source(unpacked.source),
            at: 0,
            starts: unpacked.starts,
            base: 0,
            layout: None,
            packed: Some((compression, offset)),
            part: Some(part),
            expects_entry: first,
            behind_entry: false,
            damage: unpacked.damage,
        })
    }
}

/// Why Linux, and so everybody, leaves this entry out without looking at its name.
fn refuse(header: &Header) -> Option<SkipReason> {
    if header.namesize == 0 || header.namesize > NAME_SIZE_MAX {
        return Some(SkipReason::NameSize { size: header.namesize });
    }
    let size = header.filesize;
    match header.file_type() {
        Some(FileType::File) => None,
        Some(FileType::Symlink) if size > TARGET_SIZE_MAX => Some(SkipReason::TargetSize { size: size.into() }),
        Some(FileType::Symlink) => None,
        _ if size == 0 => None,
        Some(file_type) => Some(SkipReason::DataOnSpecial { file_type, size }),
        None => Some(SkipReason::UnknownType { mode: header.mode & 0xffff }),
    }
}

/// Device numbers are cut to 12 and 20 bits; what a minor number has above them runs into the major number.
fn device(header: &Header) -> Device {
    const MINOR_BITS: u32 = 20;
    let number = header.rdev_major.wrapping_shl(MINOR_BITS) | header.rdev_minor;
    Device { major: number >> MINOR_BITS, minor: number & ((1 << MINOR_BITS) - 1) }
}

/// Notes the layout of the entry at `at`, which must be that of the archive it stands in.
fn begin_layout(layout: &mut Option<Magic>, found: Magic, at: u64) -> Result<(), Broken> {
    if let Some(begun) = layout.filter(|begun| !begun.goes_with(found)) {
        return Err(damaged(at, CpioCorrupt::LayoutChanges { begun: begun.name(), found: found.name() }));
    }
    *layout = Some(found);
    Ok(())
}

/// The part that the entry at `at` belongs to: the current one, or a new one without compression.
pub(super) fn part_of(report: &mut ArchiveReport, current: &mut Option<usize>, at: u64) -> Result<usize, Broken> {
    if let Some(part) = *current {
        return Ok(part);
    }
    let part = Part { offset: at, len: 0, within: None, compression: None, unpacked_len: 0, entries: 0 };
    let part = add_part(report, part)?;
    *current = Some(part);
    Ok(part)
}

fn add_part(report: &mut ArchiveReport, part: Part) -> Result<usize, Broken> {
    if report.parts.len() >= ARCHIVE_PARTS_MAX {
        return Err(LimitExceeded::Parts { max: ARCHIVE_PARTS_MAX }.into());
    }
    report.parts.push(part);
    Ok(report.parts.len().saturating_sub(1))
}

pub(super) fn damaged(at: u64, corrupt: CpioCorrupt) -> Broken {
    Broken::Stopped(Corrupt::new("cpio", at, corrupt).into())
}

/// Says in which compressed part something is wrong, since offsets count from its start.
fn in_part(broken: Broken, packed: Option<(Compression, u64)>) -> Broken {
    let Some((compression, offset)) = packed else { return broken };
    let wrap = |error: Error| Error::new(error.errno(), InPart { compression, offset, error });
    match broken {
        Broken::Stopped(error) => Broken::Stopped(wrap(error)),
        Broken::Failed(error) => Broken::Failed(wrap(error)),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("in the {compression} part at byte {offset}, decompressed: {error}")]
struct InPart {
    compression: Compression,
    offset: u64,
    #[source]
    error: Error,
}
