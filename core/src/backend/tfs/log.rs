//! Appends to a log, so that it is at every instant the old one or the new one.
//!
//! What is appended is written behind the end mark first, where nobody looks, and made durable; then the one byte of the
//! end mark is replaced. Even a write that is torn inside of a sector leaves either log.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::encode::Encoder;
use super::free::FreeMap;
use super::replay::LogExtension;
use super::symbols::{Symbol, Symbols};
use crate::checked::{to_u64, to_usize};
use crate::errno::Errno;
use crate::error::Result;
use crate::format::tfs::{
    EXTENSION_SECTORS, FrameWriter, LINK_ROOM, Link, RecordWriter, SECTOR, Version, Volume, extension_start,
};
use crate::limits::TFS_DICTIONARY_MAX;
use crate::source::Storage;

/// Where the bytes of a file system go.
#[derive(Clone, Debug)]
pub(super) struct Device {
    pub(super) storage: Arc<dyn Storage>,
    /// Where the file system begins in the storage.
    pub(super) start: u64,
}

impl Device {
    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.storage.write_at(self.start.saturating_add(offset), bytes)
    }

    pub(super) fn sync(&self) -> Result<()> {
        self.storage.sync()
    }
}

/// Bytes that a record's frame may take besides the record, when it is not split.
const FRAME_BYTES: usize = 9;

/// The end of a log, and what will be appended.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) volume: Volume,
    pub(super) extensions: Vec<LogExtension>,
    /// The byte of the end mark, from the start of the file system.
    pub(super) end: u64,
    encoder: Encoder,
    /// Records to append, one behind the other, and where each ends.
    pending: Vec<u8>,
    ends: Vec<usize>,
    /// Entries of no use any more, as Nanos counts them.
    pub(super) obsolete: u64,
    /// Held free for the next extension.
    pub(super) next: Option<u64>,
    /// Held free for a compaction.
    pub(super) spare: Option<u64>,
}

impl Log {
    pub(super) fn new(volume: Volume, extensions: Vec<LogExtension>, end: u64, count: u32, numbers: Vec<u32>) -> Self {
        Self {
            volume,
            extensions,
            end,
            encoder: Encoder::new(count, numbers),
            pending: Vec::new(),
            ends: Vec::new(),
            obsolete: 0,
            next: None,
            spare: None,
        }
    }

    /// Takes hold of the free runs that writing needs, as far as there are any.
    pub(super) fn hold(&mut self, free: &mut FreeMap) {
        for held in [&mut self.next, &mut self.spare] {
            if held.is_none() {
                *held = free.take_run(EXTENSION_SECTORS);
            }
        }
    }

    /// Whether both are held, without which no sector may be given to data.
    pub(super) const fn holds_all(&self) -> bool {
        self.next.is_some() && self.spare.is_some()
    }

    fn last(&self) -> LogExtension {
        self.extensions.last().copied().unwrap_or(LogExtension { sector: 0, count: 1, version: Version::V5 })
    }

    /// Bytes from the end mark to the end of the extension.
    fn left(&self) -> usize {
        let last = self.last();
        let end = last.sector.saturating_add(last.count).saturating_mul(SECTOR);
        to_usize(end.saturating_sub(self.end)).unwrap_or(0)
    }

    /// Whether `bytes` more bytes of records can be committed with those that wait.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        let margin = LINK_ROOM.saturating_mul(4);
        let here = if self.last().version == Version::V5 { self.left().saturating_sub(margin) } else { 0 };
        let extension = to_usize(EXTENSION_SECTORS.saturating_mul(SECTOR)).unwrap_or(0).saturating_sub(margin);
        let next = if self.next.is_some() { extension } else { 0 };
        let frames = self.ends.len().saturating_mul(FRAME_BYTES);
        let waiting = self.pending.len().saturating_add(frames);
        // A split record may leave a few bytes of the extension unused; the margin covers that.
        waiting.saturating_add(bytes) <= here.saturating_add(next)
            && self.encoder.next_number() < TFS_DICTIONARY_MAX / 2
    }

    pub(super) const fn is_waiting(&self) -> bool {
        !self.ends.is_empty()
    }

    /// Entries set, as Nanos counts them.
    pub(super) const fn total(&self) -> u64 {
        self.encoder.total
    }

    /// Takes the counts of a log that was read.
    pub(super) const fn set_counts(&mut self, total: u64, obsolete: u64) {
        (self.encoder.total, self.obsolete) = (total, obsolete);
    }

    /// Begins the record that sets `key` in tuple `tuple`; its value follows, then [`finish`](Self::finish).
    pub(super) fn set(&mut self, tuple: u32, symbols: &Symbols, key: Symbol) -> &mut Self {
        self.encoder.set(tuple, symbols, key);
        self
    }

    /// A value to be written.
    pub(super) const fn value(&mut self) -> &mut RecordWriter {
        self.encoder.value()
    }

    /// A key, spelled out if the log does not know it.
    pub(super) fn key(&mut self, symbols: &Symbols, key: Symbol) {
        self.encoder.key(symbols, key);
    }

    /// A new tuple of `count` entries; returns its number.
    pub(super) fn tuple(&mut self, count: u64) -> u32 {
        self.encoder.tuple(count)
    }

    /// Puts the record with those that wait.
    pub(super) fn finish(&mut self) {
        self.pending.extend_from_slice(self.encoder.bytes());
        self.ends.push(self.pending.len());
    }

    /// A record that sets `key` to a number.
    pub(super) fn set_number(&mut self, tuple: u32, symbols: &Symbols, key: Symbol, value: u64) {
        self.set(tuple, symbols, key).value().number(value);
        self.obsolete = self.obsolete.saturating_add(1);
        self.finish();
    }

    /// A record that sets `key` to a string.
    pub(super) fn set_string(&mut self, tuple: u32, symbols: &Symbols, key: Symbol, value: &[u8]) {
        self.set(tuple, symbols, key).value().string(value);
        self.finish();
    }

    /// A record that sets `key` to a tuple that the log knows.
    pub(super) fn set_tuple(&mut self, tuple: u32, symbols: &Symbols, key: Symbol, value: u32) {
        self.set(tuple, symbols, key).value().tuple_ref(value, 0);
        self.finish();
    }

    /// A record that removes `key`.
    pub(super) fn delete(&mut self, tuple: u32, symbols: &Symbols, key: Symbol) {
        self.set(tuple, symbols, key).value().delete();
        self.obsolete = self.obsolete.saturating_add(2);
        self.finish();
    }

    /// Makes everything that waits durable, and all data written before.
    ///
    /// # Errors
    /// `ENOSPC`, before anything is written, if the caller did not ask [`has_room`](Self::has_room); `EIO`.
    pub(super) fn commit(&mut self, device: &Device, free: &mut FreeMap) -> Result<()> {
        let LogExtension { version, .. } = self.last();
        let mut added = Vec::new();
        let mut written: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut at = self.end;
        // In an extension of an old version nothing but a link may be added.
        let room = if version == Version::V5 { self.left() } else { LINK_ROOM.min(self.left()) };
        if room < LINK_ROOM {
            return Err(Errno::NoSpace.into());
        }
        let mut writer = FrameWriter::new(Vec::new(), room);
        let mut start = 0;
        for &end in &self.ends {
            let record = self.pending.get(start..end).unwrap_or_default();
            start = end;
            let mut done = 0;
            loop {
                done = writer.record(record, done);
                if done >= record.len() {
                    break;
                }
                let sector = self.next.take().or_else(|| free.take_run(EXTENSION_SECTORS)).ok_or(Errno::NoSpace)?;
                let fresh = new_extension();
                let full = core::mem::replace(&mut writer, fresh);
                written.push((at, full.link(Link { sector, count: EXTENSION_SECTORS })));
                at = sector.saturating_mul(SECTOR);
                added.push(LogExtension { sector, count: EXTENSION_SECTORS, version: Version::V5 });
            }
        }
        let tail = writer.end();
        let end = at.saturating_add(to_u64(tail.len())).saturating_sub(1);
        written.push((at, tail));

        // Everything but the first byte, which still says that the log ends here.
        let mut first = None;
        for (at, (offset, mut bytes)) in written.into_iter().enumerate() {
            pad(offset, &mut bytes);
            if at == 0 {
                let byte = bytes.first_mut().ok_or(Errno::Io)?;
                first = Some((offset, core::mem::replace(byte, END)));
            }
            device.write(offset, &bytes)?;
        }
        device.sync()?;
        if let Some((offset, byte)) = first {
            device.write(offset, &[byte])?;
            device.sync()?;
        }
        self.extensions.extend(added);
        self.end = end;
        self.pending.clear();
        self.ends.clear();
        Ok(())
    }

    /// Switches to the log that consists of the record in `anew`, the first of its dictionary. Nothing may wait here.
    ///
    /// # Errors
    /// `ENOSPC`, before anything is written; `EIO`.
    pub(super) fn replace(&mut self, device: &Device, free: &mut FreeMap, anew: Encoder) -> Result<()> {
        let record = anew.bytes();
        let mut added = Vec::new();
        let mut written = Vec::new();
        let mut writer = new_extension();
        let mut sector = self.spare.take().or_else(|| free.take_run(EXTENSION_SECTORS)).ok_or(Errno::NoSpace)?;
        let first = Link { sector, count: EXTENSION_SECTORS };
        let mut done = 0;
        let end = loop {
            added.push(LogExtension { sector, count: EXTENSION_SECTORS, version: Version::V5 });
            done = writer.record(record, done);
            let offset = sector.saturating_mul(SECTOR);
            if done >= record.len() {
                let bytes = writer.end();
                let end = offset.saturating_add(to_u64(bytes.len())).saturating_sub(1);
                written.push((offset, bytes));
                break end;
            }
            let Some(next) = free.take_run(EXTENSION_SECTORS) else {
                for extension in added {
                    free.give(extension.sector, extension.count);
                }
                return Err(Errno::NoSpace.into());
            };
            let full = core::mem::replace(&mut writer, new_extension());
            written.push((offset, full.link(Link { sector: next, count: EXTENSION_SECTORS })));
            sector = next;
        };
        for (offset, mut bytes) in written {
            pad(offset, &mut bytes);
            device.write(offset, &bytes)?;
        }
        device.sync()?;
        device.write(0, &first_sector(&self.volume, first))?;
        device.sync()?;
        for old in self.extensions.iter().skip(1) {
            free.give(old.sector, old.count);
        }
        self.extensions = alloc::vec![LogExtension { sector: 0, count: 1, version: Version::V5 }];
        self.extensions.extend(added);
        self.end = end;
        self.encoder = anew;
        self.obsolete = 0;
        Ok(())
    }
}

/// The frame type that ends a log.
const END: u8 = 1;

/// An extension of the usual length, to be filled.
pub(super) fn new_extension() -> FrameWriter {
    let bytes = to_usize(EXTENSION_SECTORS.saturating_mul(SECTOR)).unwrap_or(0);
    FrameWriter::new(extension_start(EXTENSION_SECTORS, None), bytes)
}

/// Sector 0 of a file system whose log goes on at `link`.
pub(super) fn first_sector(volume: &Volume, link: Link) -> Vec<u8> {
    let sector = to_usize(SECTOR).unwrap_or(0);
    let mut bytes = FrameWriter::new(extension_start(1, Some(volume)), sector).link(link);
    bytes.resize(sector, 0);
    bytes
}

/// Fills up to the end of a sector with zeros.
pub(super) fn pad(offset: u64, bytes: &mut Vec<u8>) {
    let end = offset.saturating_add(to_u64(bytes.len())).next_multiple_of(SECTOR);
    bytes.resize(to_usize(end.saturating_sub(offset)).unwrap_or(bytes.len()), 0);
}
