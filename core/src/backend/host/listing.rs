//! The listing of one directory, with cookies of our own.
//!
//! The host's positions are not ours to give out (they are hashes of 64 bits on some filesystems, and change with the
//! directory on others). So a directory is read whole when a scan starts; names that were known keep their number, new
//! ones get the next. That makes a cookie valid as long as the directory is referenced, across any number of scans.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::ops::Bound;
use std::os::fd::AsFd;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use rustix::fs::{AtFlags, Dir, statat};

use super::attr::{file_type, file_type_of};
use super::errno::from_raw;
use crate::attr::FileType;
use crate::error::Result;
use crate::fs::{Cookie, DirBatch, DirEntry};
use crate::name::Name;

struct Found {
    ino: u64,
    file_type: FileType,
}

/// What a directory held when a scan last started.
#[derive(Default)]
pub(super) struct Listing {
    serials: HashMap<Arc<[u8]>, u64, RandomState>,
    entries: BTreeMap<u64, (Arc<[u8]>, Found)>,
    last_serial: u64,
}

impl Listing {
    /// Whether no scan has started yet, so that a cookie from before says nothing.
    pub(super) const fn is_new(&self) -> bool {
        self.last_serial == 0
    }

    /// Reads the directory.
    pub(super) fn refresh(&mut self, dir: impl AsFd) -> Result<()> {
        let mut stale = core::mem::take(&mut self.entries);
        for entry in Dir::read_from(&dir).map_err(from_raw)? {
            let entry = entry.map_err(from_raw)?;
            let bytes = entry.file_name().to_bytes();
            // `.` and `..` are no names; nothing else can fail on a host.
            let Ok(name) = Name::new(bytes) else { continue };
            let found = match file_type(entry.file_type()) {
                Ok(file_type) => Found { ino: entry.ino(), file_type },
                // Some filesystems do not say.
                Err(_) => match statat(&dir, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => Found { ino: stat.st_ino, file_type: file_type_of(&stat)? },
                    Err(_gone) => continue,
                },
            };
            if let Some(serial) = self.serials.get(name.as_bytes()) {
                if let Some((name, _)) = stale.remove(serial) {
                    self.entries.insert(*serial, (name, found));
                }
                continue;
            }
            let name: Arc<[u8]> = bytes.into();
            self.last_serial += 1;
            self.serials.insert(Arc::clone(&name), self.last_serial);
            self.entries.insert(self.last_serial, (name, found));
        }
        for (name, _) in stale.values() {
            self.serials.remove(name);
        }
        Ok(())
    }

    pub(super) fn list(&self, from: Cookie, batch: &mut DirBatch) -> Result<()> {
        for (&serial, (name, found)) in self.entries.range((Bound::Excluded(from.get()), Bound::Unbounded)) {
            let cookie = Cookie::new(serial);
            let entry = DirEntry { name: Name::new(name)?, ino: found.ino, file_type: found.file_type, cookie };
            if !batch.push(entry) {
                break;
            }
        }
        Ok(())
    }
}
