//! Replays entries of the layouts from before newc, which Linux does not read: as the tools unpack them.

use super::build::{LinkKey, Meta, PathRef, TreeBuilder};
use super::cpio::{Broken, Replay, damaged, part_of};
use super::index::{Content, Stored};
use super::walk::Stop;
use super::{SkipReason, Skipped};
use crate::attr::FileType;
use crate::checked::to_u64;
use crate::clock::Timestamp;
use crate::format::cpio::{Magic, OldEntry};
use crate::limits::SKIPPED_KEPT_MAX;

/// Where an entry stands.
pub(super) struct OldPlace {
    pub(super) source: u32,
    pub(super) at: u64,
    /// Bytes from there to the end.
    pub(super) available: u64,
    /// Bytes of it that are at hand.
    pub(super) head_len: u64,
}

impl Replay {
    /// Replays an entry, and says where the next one begins.
    pub(super) fn old_entry(
        &mut self,
        entry: &OldEntry<'_>,
        place: &OldPlace,
        part: &mut Option<usize>,
        layout: &mut Option<Magic>,
    ) -> Result<u64, Broken> {
        let at = place.at;
        entry.check(place.available).map_err(|corrupt| damaged(at, corrupt))?;
        let len = entry.entry_len.min(place.available);
        self.builder.grant(len);
        let part = part_of(&mut self.report, part, at)?;
        let made = if entry.is_trailer() {
            self.builder.forget_links();
            self.report.trailers = self.report.trailers.saturating_add(1);
            *layout = None;
            Ok(())
        } else {
            self.report.entries = self.report.entries.saturating_add(1);
            if let Some(part) = self.report.parts.get_mut(part) {
                part.entries = part.entries.saturating_add(1);
            }
            make(&mut self.builder, entry, place)
        };
        match made {
            Ok(()) => {}
            Err(Stop::Fail(error)) => return Err(error.into()),
            Err(Stop::Skip(reason)) => {
                self.report.skipped_count = self.report.skipped_count.saturating_add(1);
                if self.report.skipped.len() < SKIPPED_KEPT_MAX {
                    let name = entry.name().into();
                    self.report.skipped.push(Skipped { part, offset: at, name, reason });
                }
            }
        }
        Ok(at.saturating_add(len))
    }
}

/// Makes the node that an entry describes.
fn make(builder: &mut TreeBuilder, entry: &OldEntry<'_>, place: &OldPlace) -> Result<(), Stop> {
    let &OldPlace { source, at, head_len, .. } = place;
    let header = &entry.header;
    let name = entry.name();
    let stored = |from: u64, len: u64| Stored { source, offset: at.saturating_add(from), len };
    let path = PathRef { bytes: name, stored: stored(entry.name_offset, to_u64(name.len())) };
    let Some(file_type) = header.file_type() else {
        return Err(Stop::Skip(SkipReason::UnknownType { mode: header.mode }));
    };
    let meta = Meta {
        mode: header.permissions(),
        uid: Some(header.uid),
        gid: Some(header.gid),
        mtime: Some(Timestamp::from_secs(header.mtime.into())),
    };
    let link = (header.nlink >= 2).then_some(LinkKey { dev: (0, header.dev_minor), ino: header.ino, file_type });
    let content = match file_type {
        FileType::File => {
            return builder.file(path, &meta, stored(entry.data_offset, entry.size), entry.size, link);
        }
        FileType::Dir => return builder.dir(path, &meta),
        FileType::Symlink => {
            if head_len.saturating_sub(entry.data_offset) < entry.size {
                return Err(Stop::Skip(SkipReason::TargetSize { size: entry.size }));
            }
            return builder.symlink(path, &meta, stored(entry.data_offset, entry.size));
        }
        FileType::Char => Content::Char(entry.rdev()),
        FileType::Block => Content::Block(entry.rdev()),
        FileType::Fifo => Content::Fifo,
        FileType::Socket | FileType::Whiteout => Content::Socket,
    };
    builder.special(path, &meta, content, link)
}
