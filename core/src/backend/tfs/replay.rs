//! Replays a log from its source.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use super::objects::{Objects, Stop};
use crate::error::Result;
use crate::format::tfs::{
    Damage, Dictionary, Item, Link, LogReader, Record, SECTOR, TfsCorrupt, Token, ValueReader, Version, Volume,
};
use crate::source::Source;

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

fn pass(first: Link, source: &Arc<dyn Source>, lenient: bool, stop_at: u64) -> Result<Passed> {
    let mut log = LogReader::new(source.len() / SECTOR, lenient);
    let mut replayed = Replayed {
        objects: Objects::new(),
        volume: Volume::default(),
        extensions: Vec::new(),
        records: 0,
        segments: 0,
        end: 0,
        damage: None,
    };
    let mut link = first;
    // The frame that led to the extension, and where that would leave the log.
    let mut lost_from = 0;
    replayed.objects.again = Some(LogAgain { first, source: Arc::clone(source), lenient });
    loop {
        let bytes = source.bytes_at(log.range(link))?;
        let (header, mut frames) = match log.begin(link, &bytes) {
            Ok(begun) => begun,
            Err(damage) if link == first => return Ok(Err(damage)),
            Err(damage) => return Ok(Ok((replayed, Ended::Damaged { damage, lost_from }))),
        };
        let Link { sector, count } = link;
        replayed.extensions.push(LogExtension { sector, count, version: header.version });
        if let Some(volume) = header.volume {
            replayed.volume = volume;
        }
        link = loop {
            let frame = frames.offset();
            lost_from = log.lost_from(frame);
            if lost_from == stop_at {
                return Ok(Ok((replayed, Ended::Stopped)));
            }
            let changes = log.next_changes(&mut frames, stop_at, |change| replayed.objects.apply_change(change))?;
            if changes > 0 {
                replayed.records = replayed.records.saturating_add(changes);
                continue;
            }
            let item = match log.next_item(&mut frames) {
                Ok(item) => item,
                Err(damage) => {
                    lost_from = log.lost_from(frame);
                    return Ok(Ok((replayed, Ended::Damaged { damage, lost_from })));
                }
            };
            match item {
                Item::Record(record) if record.offset == stop_at => return Ok(Ok((replayed, Ended::Stopped))),
                Item::Record(record) => match replayed.objects.apply(record) {
                    Ok(()) => replayed.records = replayed.records.saturating_add(1),
                    Err(Stop::Damage(damage)) => {
                        let lost_from = record.offset;
                        return Ok(Ok((replayed, Ended::Damaged { damage, lost_from })));
                    }
                    Err(Stop::Fail(error)) => return Err(error),
                },
                Item::Segment => replayed.segments = replayed.segments.saturating_add(1),
                Item::Link(link) => {
                    // Only when recovering: what is there of the extension is read all the same.
                    let (Link { sector, count }, end) = (link, source.len() / SECTOR);
                    if sector.saturating_add(count) > end {
                        let reason = TfsCorrupt::LinkBeyondEnd { sector, count, end };
                        replayed.damage = Some(Damage { offset: frame, reason });
                    }
                    break link;
                }
                Item::End(end) => {
                    replayed.end = end;
                    return Ok(Ok((replayed, Ended::AtEnd)));
                }
            }
        };
    }
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
