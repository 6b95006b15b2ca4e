//! A tree as cpio.

use std::io::Write;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::{Loss, Packing, Ready};
use crate::attr::FileType;
use crate::error::Result;
use crate::format::cpio::{CpioWriter, NewEntry};

impl Packing<'_> {
    pub(super) fn write_cpio<W: Write>(&mut self, out: W) -> Result<W> {
        let mut writer = CpioWriter::new(out);
        let mut numbers: HashMap<u64, u32, RandomState> = HashMap::default();
        let mut next = 0_u32;
        while let Some(ready) = self.feed.next()? {
            let Ready { attr, path, xattrs, .. } = &ready;
            if attr.file_type == FileType::Whiteout {
                self.report.lose(path, Loss::Node(attr.file_type));
                continue;
            }
            if !xattrs.is_empty() {
                self.report.lose(path, Loss::Xattrs(xattrs.len()));
            }
            if attr.opaque {
                self.report.lose(path, Loss::Opaque);
            }
            let time = self.time(attr);
            let in_range = time.secs.clamp(0, u32::MAX.into());
            if in_range != time.secs {
                self.report.lose(path, Loss::TimeRange);
            } else if time.nanos > 0 {
                self.report.lose(path, Loss::TimeFraction);
            }
            let mut number = || {
                next = next.saturating_add(1);
                next
            };
            let ino = if attr.is_linked() { *numbers.entry(attr.ino).or_insert_with(number) } else { number() };
            let group = self.groups.get(&attr.ino).filter(|_| attr.is_linked());
            let nlink = match attr.file_type {
                FileType::Dir => 2,
                // Names of a symbolic link are links of their own for Linux.
                FileType::Symlink => 1,
                _ => group.map_or(1, |group| group.count),
            };
            let (uid, gid) = self.owner(attr);
            let entry = NewEntry {
                name: path,
                file_type: attr.file_type,
                mode: attr.mode,
                uid,
                gid,
                nlink,
                ino,
                // OK: clamped.
                mtime: u32::try_from(in_range).unwrap_or_default(),
                rdev: attr.rdev.unwrap_or_default(),
            };
            match attr.file_type {
                FileType::File if ready.has_content => {
                    writer.begin(&entry, attr.size, 0)?;
                    self.content(&ready, |run| writer.data(run))?;
                }
                FileType::Symlink => writer.entry(&entry, &ready.target)?,
                _ => writer.entry(&entry, b"")?,
            }
            self.report.entries = self.report.entries.saturating_add(1);
        }
        writer.finish()
    }
}
