//! Replays a log from its source.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::RangeInclusive;
use std::thread::{self, JoinHandle};

use bytes::Bytes;

use super::objects::{Objects, Stop};
use crate::checked::to_u64;
use crate::error::Result;
use crate::format::tfs::{
    Damage, Dictionary, FileRecords, FrameReader, Item, Link, LogReader, NewFiles, Record, SECTOR, TfsCorrupt, Token,
    ValueReader, Version, Volume,
};
use crate::source::Source;

/// Records of a new file.
const FILE_RECORDS: u64 = 3;

/// New files that are worth being applied together.
const FILES_MIN: usize = 16;

/// Records after which new files are looked for again; no multiple of those of a file, so that its beginning is found.
const FILES_PAUSE: u64 = 16;

/// The most of these: where there are none, there may be none at all.
const FILES_PAUSE_MAX: u64 = 1024;

/// Records among which the first new file is looked for when reading ahead.
const RECORDS_BEFORE_FILES: usize = 16;

/// Bytes of a record beside which another thread reads what follows: less takes no longer than to begin a thread, and for
/// the files of more, some millions, too much memory would be had in advance.
const AHEAD: RangeInclusive<usize> = 256 << 10..=64 << 20;

/// Bytes that a file takes in the tree of a log, at least: more files than this allows are read as well.
const BYTES_PER_FILE: usize = 16;

/// More than the reading thread needs.
const STACK_LEN: usize = 256 << 10;

/// An extension of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogExtension {
    /// First sector, from the start of the file system.
    pub sector: u64,
    /// Count of sectors.
    pub count: u64,
    /// How records are encoded in it.
    pub version: Version,
}

/// A log, replayed.
#[derive(Debug)]
pub(super) struct Replayed {
    pub(super) objects: Objects,
    pub(super) volume: Volume,
    pub(super) extensions: Vec<LogExtension>,
    pub(super) records: u64,
    pub(super) segments: u64,
    /// Where the end mark stands, in bytes of the file system; of a damaged log, where the damaged frame begins.
    pub(super) end: u64,
    /// What ended the log, if it was no end mark.
    pub(super) damage: Option<Damage>,
}

/// How a pass over the log ended.
enum Ended {
    /// At its end mark.
    AtEnd,
    /// At damage; everything from byte `lost_from` on is lost.
    Damaged { damage: Damage, lost_from: u64 },
    /// At the byte where it was told to stop.
    Stopped,
}

/// Replays the log of the file system in `source`.
///
/// With `recover`, damage ends the log instead of being an error.
///
/// # Errors
/// The damage, or what the source answers. Without a readable first sector there is nothing to recover.
pub(super) fn replay(source: &Arc<dyn Source>, recover: bool) -> Result<Result<Replayed, Damage>> {
    replay_from(LogReader::FIRST, source, recover)
}

/// Replays the log that begins with the extension at `first`: where sector 0 cannot be read, another one may be found.
///
/// # Errors
/// As [`replay`].
pub(super) fn replay_from(first: Link, source: &Arc<dyn Source>, recover: bool) -> Result<Result<Replayed, Damage>> {
    let (mut replayed, ended) = match pass(first, source, recover, u64::MAX)? {
        Ok(passed) => passed,
        Err(damage) => return Ok(Err(damage)),
    };
    match ended {
        Ended::AtEnd | Ended::Stopped => Ok(Ok(replayed)),
        Ended::Damaged { damage, .. } if !recover => Ok(Err(damage)),
        Ended::Damaged { damage, lost_from } => {
            // The damaged record may have been done by half: once more, up to it.
            if let Ok((again, _)) = pass(first, source, recover, lost_from)? {
                replayed = again;
            }
            replayed.damage = Some(damage);
            replayed.end = lost_from;
            Ok(Ok(replayed))
        }
    }
}

type Passed = Result<(Replayed, Ended), Damage>;

/// A place in an extension of the log.
#[derive(Clone)]
struct Place {
    extension: LogExtension,
    bytes: Bytes,
    /// Where the next frame begins in the bytes.
    pos: usize,
}

impl Place {
    fn frames(&self) -> FrameReader<'_> {
        FrameReader::new(&self.bytes, self.extension.sector.saturating_mul(SECTOR), self.pos)
    }
}

/// Begins an extension.
fn begin(log: &mut LogReader, link: Link, source: &Arc<dyn Source>) -> Result<Result<(Place, Option<Volume>), Damage>> {
    let bytes = source.bytes_at(log.range(link))?;
    let begun = log.begin(link, &bytes).map(|(header, frames)| (header, frames.position()));
    Ok(begun.map(|(header, pos)| {
        let Link { sector, count } = link;
        (Place { extension: LogExtension { sector, count, version: header.version }, bytes, pos }, header.volume)
    }))
}

/// Replays the log that begins at `first` up to its end, or to what would be lost from byte `stop_at` on.
fn pass(first: Link, source: &Arc<dyn Source>, lenient: bool, stop_at: u64) -> Result<Passed> {
    let mut pass = match Pass::begin(first, source, lenient, stop_at)? {
        Ok(pass) => pass,
        Err(damage) => return Ok(Err(damage)),
    };
    let ended = loop {
        let place = pass.place.clone();
        match pass.go_on(&mut place.frames())? {
            Next::Ended(ended) => break ended,
            Next::At(place) => pass.place = place,
            Next::Linked { link, lost_from } => match begin(&mut pass.log, link, source)? {
                Ok((place, _)) => {
                    pass.replayed.extensions.push(place.extension);
                    pass.place = place;
                }
                Err(damage) => break Ended::Damaged { damage, lost_from },
            },
        }
    };
    Ok(Ok((pass.replayed, ended)))
}

/// A pass over the log, on its way.
struct Pass<'a> {
    source: &'a Arc<dyn Source>,
    stop_at: u64,
    log: LogReader,
    /// Where the extension at hand was entered.
    place: Place,
    replayed: Replayed,
    /// How many records there have to be before new files are looked for again,
    files_from: u64,
    /// and how many are passed by if there are none.
    pause: u64,
    /// Reads what comes later.
    reading: Option<Reading>,
    /// What was read of it.
    ahead: Option<Ahead>,
}

/// What comes after the records of an extension.
enum Next {
    /// Another extension; without it, everything from byte `lost_from` on is lost.
    Linked {
        link: Link,
        lost_from: u64,
    },
    /// Records that another thread has not read yet.
    At(Place),
    Ended(Ended),
}

impl<'a> Pass<'a> {
    /// Begins with the first extension.
    fn begin(first: Link, source: &'a Arc<dyn Source>, lenient: bool, stop_at: u64) -> Result<Result<Self, Damage>> {
        let mut log = LogReader::new(source.len() / SECTOR, lenient);
        let (place, volume) = match begin(&mut log, first, source)? {
            Ok(begun) => begun,
            Err(damage) => return Ok(Err(damage)),
        };
        let mut objects = Objects::new();
        objects.again = Some(LogAgain { first, source: Arc::clone(source), lenient });
        let replayed = Replayed {
            objects,
            volume: volume.unwrap_or_default(),
            extensions: vec![place.extension],
            records: 0,
            segments: 0,
            end: 0,
            damage: None,
        };
        let (files_from, pause, reading, ahead) = (0, FILES_PAUSE, None, None);
        Ok(Ok(Self { source, stop_at, log, place, replayed, files_from, pause, reading, ahead }))
    }

    /// Does what the frames of the extension at hand say.
    fn go_on(&mut self, frames: &mut FrameReader<'_>) -> Result<Next> {
        loop {
            let frame = frames.offset();
            let lost_from = self.log.lost_from(frame);
            if lost_from == self.stop_at {
                return Ok(Next::Ended(Ended::Stopped));
            }
            if let Some(place) = self.take_ahead(frame) {
                return Ok(Next::At(place));
            }
            let until = self.ahead.as_ref().map_or(self.stop_at, |ahead| ahead.begin);
            if self.take_files(frames, until) {
                continue;
            }
            self.begin_reading(frames, until);
            if self.take_changes(frames, until)? {
                continue;
            }
            match self.log.next_item(frames) {
                Ok(Item::Record(record)) if record.offset == self.stop_at => {
                    return Ok(Next::Ended(Ended::Stopped));
                }
                Ok(Item::Record(record)) => {
                    let lost_from = record.offset;
                    let applied = self.replayed.objects.apply(record);
                    self.join_reading();
                    match applied {
                        Ok(()) => self.replayed.records = self.replayed.records.saturating_add(1),
                        Err(Stop::Damage(damage)) => {
                            return Ok(Next::Ended(Ended::Damaged { damage, lost_from }));
                        }
                        Err(Stop::Fail(error)) => return Err(error),
                    }
                }
                Ok(Item::Segment) => self.replayed.segments = self.replayed.segments.saturating_add(1),
                Ok(Item::Link(link)) => {
                    // Only when recovering: what is there of the extension is read all the same.
                    let (Link { sector, count }, end) = (link, self.source.len() / SECTOR);
                    if sector.saturating_add(count) > end {
                        let reason = TfsCorrupt::LinkBeyondEnd { sector, count, end };
                        self.replayed.damage = Some(Damage { offset: frame, reason });
                    }
                    return Ok(Next::Linked { link, lost_from });
                }
                Ok(Item::End(end)) => {
                    self.replayed.end = end;
                    return Ok(Next::Ended(Ended::AtEnd));
                }
                Err(damage) => {
                    let lost_from = self.log.lost_from(frame);
                    return Ok(Next::Ended(Ended::Damaged { damage, lost_from }));
                }
            }
        }
    }

    /// Does what was read ahead, if that begins at `frame`, and says where it ends.
    fn take_ahead(&mut self, frame: u64) -> Option<Place> {
        let Ahead { files, log, place, extensions, .. } = self.ahead.take_if(|ahead| ahead.begin == frame)?;
        let records = to_u64(files.files.len()).saturating_mul(FILE_RECORDS);
        let replayed = &mut self.replayed;
        if !replayed.objects.apply_files(files) {
            self.files_from = replayed.records.saturating_add(records);
            return None;
        }
        replayed.records = replayed.records.saturating_add(records);
        replayed.extensions.extend(extensions);
        self.log = log;
        Some(place)
    }

    /// Does what the records of new files say that come next, if it is time to look for them and they are many.
    fn take_files(&mut self, frames: &mut FrameReader<'_>, until: u64) -> bool {
        let replayed = &mut self.replayed;
        if replayed.records < self.files_from {
            return false;
        }
        let (mut run, begin) = (NewFiles::default(), *frames);
        self.log.next_files(frames, until, &mut run);
        let (count, records) = (run.files.len(), to_u64(run.files.len()).saturating_mul(FILE_RECORDS));
        if count >= FILES_MIN && replayed.objects.apply_files(run) {
            replayed.records = replayed.records.saturating_add(records);
            self.pause = FILES_PAUSE;
            return true;
        }
        *frames = begin;
        self.files_from = replayed.records.saturating_add(records.max(self.pause));
        self.pause = self.pause.saturating_mul(2).min(FILES_PAUSE_MAX);
        false
    }

    /// Lets another thread read what comes behind the next record, if that is long.
    fn begin_reading(&mut self, frames: &FrameReader<'_>, until: u64) {
        // Another pass that ends before the end may end anywhere.
        if until != u64::MAX || self.reading.is_some() {
            return;
        }
        let is_long = |len: &usize| AHEAD.contains(len) && to_u64(*len) < self.source.len();
        if let Some(len) = self.log.peek_pieces(*frames).filter(is_long) {
            let here = Place { pos: frames.position(), ..self.place.clone() };
            self.reading = Reading::begin(len, self.log.fork(), here, self.source);
        }
    }

    /// Waits for the thread that reads, if there is one.
    fn join_reading(&mut self) {
        if let Some(ahead) = self.reading.take().and_then(Reading::join) {
            self.ahead = Some(ahead);
        }
    }

    /// Does what the changes of attributes and extents say that come next, if there are any.
    fn take_changes(&mut self, frames: &mut FrameReader<'_>, until: u64) -> Result<bool> {
        let replayed = &mut self.replayed;
        let mut left = self.files_from.saturating_sub(replayed.records);
        let changes = self.log.next_changes(frames, until, |change| {
            left = left.saturating_sub(1);
            if left == 0 { Ok(false) } else { replayed.objects.apply_change(change) }
        })?;
        replayed.records = replayed.records.saturating_add(changes);
        Ok(changes > 0)
    }
}

/// Another thread, which reads new files behind a record while that is joined and understood. Where there is one processor
/// only, nothing is gained, nor is anything lost.
struct Reading(Option<JoinHandle<Option<Ahead>>>);

impl Reading {
    /// Begins to read behind the record of `len` bytes at `place`.
    fn begin(len: usize, log: LogReader, place: Place, source: &Arc<dyn Source>) -> Option<Self> {
        let source = Arc::clone(source);
        // A file has a name of some bytes in the record. What is not used of it is never touched; and memory that is had
        // here needs not be had there, where that would be in the way of this thread.
        let files = NewFiles { files: Vec::with_capacity(len / BYTES_PER_FILE), ..NewFiles::default() };
        let builder = thread::Builder::new().name("mountless-ahead".into()).stack_size(STACK_LEN);
        let read = move || read_ahead(len, log, place, files, &source);
        builder.spawn(read).ok().map(|thread| Self(Some(thread)))
    }

    fn join(mut self) -> Option<Ahead> {
        self.0.take()?.join().ok().flatten()
    }
}

impl Drop for Reading {
    /// No thread goes on with the source behind the caller's back.
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            let _ = thread.join();
        }
    }
}

/// New files that were read while something before them was not yet understood.
struct Ahead {
    files: NewFiles,
    /// Where the first begins, in bytes of the file system.
    begin: u64,
    /// Where the last ends, and the extensions that begin before.
    log: LogReader,
    place: Place,
    extensions: Vec<LogExtension>,
}

/// Reads the new files that come next after the record of `len` bytes at `place` or a few records later, over all
/// extensions, up to what is something else or damaged.
fn read_ahead(
    len: usize,
    mut log: LogReader,
    mut place: Place,
    mut files: NewFiles,
    source: &Arc<dyn Source>,
) -> Option<Ahead> {
    let mut missing = to_u64(len);
    loop {
        let mut frames = place.frames();
        let link = log.skip_pieces(&mut frames, &mut missing)?;
        place.pos = frames.position();
        let Some(link) = link.filter(|link| is_inside(*link, source)) else { break };
        place = begin(&mut log, link, source).ok()?.ok()?.0;
    }
    if missing > 0 {
        return None;
    }
    let mut extensions = Vec::new();
    let mut frames = place.frames();
    let mut begin_at = frames.offset();
    // The first file of a log spells out the keys, which is more than can be read here.
    for _ in 0..RECORDS_BEFORE_FILES {
        let mut first = frames;
        log.next_files(&mut first, u64::MAX, &mut files);
        if files.files.len() >= FILES_MIN {
            (begin_at, frames) = (frames.offset(), first);
            break;
        }
        files.clear();
        log.skip_record(&mut frames)?;
    }
    loop {
        log.next_files(&mut frames, u64::MAX, &mut files);
        place.pos = frames.position();
        let Some((log_behind, place_behind, begun)) = read_split(log.fork(), place.clone(), source, &mut files) else {
            break;
        };
        (log, place) = (log_behind, place_behind);
        extensions.extend(begun);
        frames = place.frames();
    }
    (files.files.len() >= FILES_MIN).then_some(Ahead { files, begin: begin_at, log, place, extensions })
}

/// Whether all of an extension is there.
fn is_inside(link: Link, source: &Arc<dyn Source>) -> bool {
    link.sector.checked_add(link.count).is_some_and(|end| end <= source.len() / SECTOR)
}

/// Adds the next new file to `files` where its records go on in another extension, and says where it ends, and which
/// extensions begin before.
fn read_split(
    mut log: LogReader,
    mut place: Place,
    source: &Arc<dyn Source>,
    files: &mut NewFiles,
) -> Option<(LogReader, Place, Vec<LogExtension>)> {
    let (mut records, mut count, mut extensions) = (FileRecords::new(), 0, Vec::new());
    while count < FileRecords::COUNT {
        let mut frames = place.frames();
        let item = log.next_item(&mut frames).ok()?;
        let pos = frames.position();
        match item {
            Item::Record(record) => {
                records.add(&record)?;
                count = count.saturating_add(1);
                place.pos = pos;
            }
            Item::Link(link) if is_inside(link, source) => {
                (place, _) = begin(&mut log, link, source).ok()?.ok()?;
                extensions.push(place.extension);
            }
            _ => return None,
        }
    }
    records.add_to(files).then_some((log, place, extensions))
}

/// A log that was read and can be read once more.
#[derive(Debug)]
pub(super) struct LogAgain {
    first: Link,
    source: Arc<dyn Source>,
    lenient: bool,
}

impl LogAgain {
    /// Where the first `count` entries of the dictionary stand, as far as they are tuples or vectors.
    pub(super) fn offsets(&self, count: u32) -> Vec<u64> {
        let mut offsets = vec![0; usize::try_from(count).unwrap_or(0)];
        let mut log = LogReader::new(self.source.len() / SECTOR, self.lenient);
        let mut dictionary = Dictionary::default();
        let mut next = Some(self.first);
        while let Some(link) = next.take() {
            let Ok(bytes) = self.source.bytes_at(log.range(link)) else { break };
            let Ok((_, mut frames)) = log.begin(link, &bytes) else { break };
            while dictionary.count() < count {
                match log.next_item(&mut frames) {
                    Ok(Item::Record(record)) => note_offsets(record, &mut dictionary, &mut offsets),
                    Ok(Item::Segment) => {}
                    Ok(Item::Link(link)) => {
                        next = Some(link);
                        break;
                    }
                    Ok(Item::End(_)) | Err(_) => break,
                }
            }
        }
        offsets
    }
}

fn note_offsets(record: Record<'_>, dictionary: &mut Dictionary, offsets: &mut [u64]) {
    let mut values = ValueReader::new(record, dictionary);
    while let Ok(Some(token)) = values.next_token() {
        if let Token::Tuple { index, is_new: true, .. } | Token::Vector { index, is_new: true, .. } = token
            && let Some(place) = index.checked_sub(1).and_then(|at| offsets.get_mut(usize::try_from(at).ok()?))
        {
            *place = values.token_offset();
        }
    }
}
