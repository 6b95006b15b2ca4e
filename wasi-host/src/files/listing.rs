//! A directory being read, entry by entry.

use std::collections::VecDeque;

use mountless::attr::FileType;
use mountless::errno::Errno;
use mountless::fs::{Cookie, DirBatch};

use super::{Node, logged};

/// Bytes of names fetched at once.
const BATCH_BYTES: usize = 4 << 10;

/// The entries of a directory, without `.` and `..`. One that exists from start to end comes exactly once.
#[derive(Debug)]
pub(crate) struct Listing {
    dir: Node,
    /// Where to go on, `None` at the end.
    from: Option<Cookie>,
    batch: DirBatch,
    fetched: VecDeque<(Result<String, Errno>, FileType)>,
}

impl Listing {
    pub(super) fn new(dir: Node) -> Self {
        let batch = DirBatch::with_max_bytes(BATCH_BYTES, 0);
        Self { dir, from: Some(Cookie::START), batch, fetched: VecDeque::new() }
    }

    /// The next entry.
    ///
    /// # Errors
    /// `EILSEQ` for a name that is not UTF-8, after which the listing goes on; those of
    /// [`read_dir`](mountless::fs::FileSystem::read_dir), after which it is at its end.
    pub(crate) fn next(&mut self) -> Result<Option<(String, FileType)>, Errno> {
        if self.fetched.is_empty()
            && let Some(from) = self.from.take()
        {
            self.batch.clear();
            self.dir.open().read_dir(from, &mut self.batch).map_err(|error| logged(&error))?;
            self.from = self.batch.last_cookie();
            for entry in self.batch.iter() {
                let name = core::str::from_utf8(entry.name.as_bytes());
                let name = name.map(str::to_owned).map_err(|_| Errno::IllegalSequence);
                self.fetched.push_back((name, entry.file_type));
            }
        }
        match self.fetched.pop_front() {
            Some((name, file_type)) => Ok(Some((name?, file_type))),
            None => Ok(None),
        }
    }
}
