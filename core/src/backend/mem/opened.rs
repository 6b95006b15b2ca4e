//! A file that is open.

use alloc::sync::Arc;
use core::fmt;

use super::Common;
use super::tree::Body;
use crate::attr::FileType;
use crate::error::Result;
use crate::fs::{OpenFile, WriteAt, Written};

/// A file without its tree: calls take the file's own lock and no other.
pub(super) struct Opened {
    pub(super) body: Arc<Body>,
    pub(super) common: Arc<Common>,
}

impl OpenFile for Opened {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        Ok(self.body.read().file(FileType::File)?.read(offset, buf))
    }

    fn write_at(&self, at: WriteAt, buf: &[u8]) -> Result<Written> {
        self.common.write(&self.body, FileType::File, at, buf)
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").finish_non_exhaustive()
    }
}
