//! Listings.
//!
//! Cookie 0 starts, 1 is after `.`, 2 after `..`, and the entries' own cookies are shown plus 2: below 2^62 as they are,
//! they do not overflow. Nothing is remembered between calls: the filesystem resumes at any cookie.

use mountless::attr::FileType;
use mountless::errno::Errno;
use mountless::fs::Cookie;

use super::abi::{self, Ptr};
use super::{CallResult, Process};

/// Cookies below the entries' own: for `.` and `..`.
const DOTS: u64 = 2;

/// Bytes of listing asked of the filesystem at once: bounds what a batch holds, whatever the guest's buffer.
const BATCH_LEN: usize = 64 << 10;

/// The guest's buffer, filled to the brim: the last entry may be cut anywhere, and is asked for again.
struct Brim<'m> {
    left: &'m mut [u8],
}

impl Brim<'_> {
    fn push(&mut self, bytes: &[u8]) {
        let count = bytes.len().min(self.left.len());
        let (taken, left) = core::mem::take(&mut self.left).split_at_mut(count);
        // OK to index: `count` is at most the length of either.
        taken.copy_from_slice(&bytes[..count]);
        self.left = left;
    }

    fn entry(&mut self, next: u64, ino: u64, file_type: FileType, name: &[u8]) {
        // OK: a name has at most 255 bytes.
        let name_len = u32::try_from(name.len()).unwrap_or(0);
        let header = abi::dirent(next, ino, name_len, abi::file_type(file_type));
        self.push(&header);
        self.push(name);
    }
}

#[expect(clippy::missing_errors_doc, reason = "the errors of all calls are listed in the module")]
impl Process {
    /// Lists a directory from `cookie` on; fewer bytes than the buffer has mean the end.
    ///
    /// `..` shows the directory's own number: what is outside of a preopen is not to be seen, and a directory does not
    /// know where it hangs.
    pub fn fd_readdir(
        &mut self,
        memory: &mut [u8],
        fd: u32,
        buf: Ptr,
        buf_len: u32,
        cookie: u64,
        used: Ptr,
    ) -> CallResult {
        abi::range(memory, used, 4)?;
        let dir = self.table.dir(fd)?;
        let whole = abi::bytes_mut(memory, buf, buf_len)?;
        let whole_len = whole.len();
        let mut brim = Brim { left: whole };
        if cookie < DOTS {
            let ino = dir.attr()?.ino;
            if cookie == 0 {
                brim.entry(1, ino, FileType::Dir, b".");
            }
            brim.entry(2, ino, FileType::Dir, b"..");
        }
        let mut from = Cookie::new(cookie.saturating_sub(DOTS)).min(Cookie::END);
        while !brim.left.is_empty() {
            self.batch.reset_max_bytes(brim.left.len().min(BATCH_LEN));
            match dir.read_dir(from, &mut self.batch) {
                Ok(()) => {}
                // What was listed before the damage counts; the next call meets it again.
                Err(_) if brim.left.len() < whole_len => break,
                Err(error) => return Err(error.into()),
            }
            let Some(last) = self.batch.last_cookie() else { break };
            for entry in self.batch.iter() {
                let entry = dir.shown(entry);
                brim.entry(entry.cookie.get().saturating_add(DOTS), entry.ino, entry.file_type, entry.name.as_bytes());
            }
            from = last;
        }
        let count = whole_len.saturating_sub(brim.left.len());
        // OK: at most `buf_len`.
        Ok(abi::put_u32(memory, used, u32::try_from(count).map_err(|_| Errno::Overflow)?)?)
    }
}
