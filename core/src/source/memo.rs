//! What was found out about a file, kept for whoever opens it next.

use alloc::vec::Vec;
use core::hash::BuildHasher;
use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use foldhash::fast::FixedState;

use super::{MmapSource, Source};
use crate::limits::{MEMO_LEN_MAX, MEMOS_MAX};

/// Begins every memo. The number changes with the layout, and with the layout of what is kept.
const MAGIC: [u8; 16] = *b"mountless memo 2";

/// What a file was when something was found out about it: device, inode number, length, and the times of the last
/// changes of content and of inode, each in seconds and nanoseconds.
type Stamp = [[u8; 8]; 7];

const HEAD_LEN: usize = MAGIC.len() + size_of::<Stamp>() + size_of::<u64>();

/// A file that changed less than this ago may change again and keep its times, which are those of the clock's last
/// tick; nothing is kept about it.
const SETTLED: Duration = Duration::from_secs(2);

/// Bytes about a file, in a file of their own, for as long as that file stays what it is.
///
/// It counts as the same while device, inode number, length and both times of change are the same. Whoever writes to a
/// file through a shared mapping gives it its new time late, on tmpfs never; everybody else at once.
#[derive(Debug)]
pub struct Memo {
    about: File,
    stamp: Stamp,
    path: PathBuf,
}

impl Memo {
    /// The memo about `file`, which is as `metadata` says, among those in `dir`, whether it is there or not.
    ///
    /// # Errors
    /// The host's, when the process has too many files open.
    pub fn new(file: &File, metadata: &Metadata, dir: &Path) -> io::Result<Self> {
        let path = dir.join(format!("{:x}-{:x}", metadata.dev(), metadata.ino()));
        Ok(Self { about: file.try_clone()?, stamp: stamp(metadata), path })
    }

    /// What was kept, if there is anything and the file is still what it was then.
    #[must_use]
    pub fn load(&self) -> Option<Bytes> {
        // Memos are never written to, only replaced, so one can be mapped.
        let source = MmapSource::new(&File::open(&self.path).ok()?).ok()?;
        let bytes = source.bytes_at(0..source.len()).ok()?;
        let body = bytes.get(HEAD_LEN..)?;
        (bytes.get(..HEAD_LEN)? == head(&self.stamp, body)).then(|| bytes.slice_ref(body))
    }

    /// Keeps `body`. Nothing happens if the file is changing, or `body` is longer than [`MEMO_LEN_MAX`].
    ///
    /// # Errors
    /// The host's; what was there before stays.
    pub fn store(&self, body: &[u8]) -> io::Result<()> {
        if body.len() > MEMO_LEN_MAX || !self.is_settled()? {
            return Ok(());
        }
        let Some(dir) = self.path.parent() else { return Ok(()) };
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        // Not made durable: after a power cut the checksum tells.
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.write_all(&head(&self.stamp, body))?;
        file.write_all(body)?;
        file.persist(&self.path)?;
        remove_oldest(dir)
    }

    /// Whether the file is what it was, and will have other times if it is changed from now on.
    fn is_settled(&self) -> io::Result<bool> {
        let metadata = self.about.metadata()?;
        let seconds = u64::try_from(metadata.mtime().max(metadata.ctime())).unwrap_or(0);
        let changed = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds.saturating_add(1)));
        let quiet = changed.and_then(|changed| changed.elapsed().ok());
        Ok(stamp(&metadata) == self.stamp && quiet.is_some_and(|quiet| quiet >= SETTLED))
    }
}

fn stamp(metadata: &Metadata) -> Stamp {
    [
        metadata.dev().to_le_bytes(),
        metadata.ino().to_le_bytes(),
        metadata.len().to_le_bytes(),
        metadata.mtime().to_le_bytes(),
        metadata.mtime_nsec().to_le_bytes(),
        metadata.ctime().to_le_bytes(),
        metadata.ctime_nsec().to_le_bytes(),
    ]
}

fn head(stamp: &Stamp, body: &[u8]) -> Vec<u8> {
    // Against damage only, not against those who may write here.
    let sum = FixedState::with_seed(0).hash_one(body);
    [&MAGIC[..], stamp.as_flattened(), &sum.to_le_bytes()].concat()
}

/// Removes the memos that were written first, down to [`MEMOS_MAX`].
fn remove_oldest(dir: &Path) -> io::Result<()> {
    let mut memos = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        // Another process may have removed it.
        if let Ok(metadata) = entry.metadata() {
            memos.push((metadata.modified()?, entry.path()));
        }
    }
    memos.sort();
    for (_, path) in memos.iter().take(memos.len().saturating_sub(MEMOS_MAX)) {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::FileTimes;

    use super::*;

    fn old_file(dir: &Path, name: &str, content: &[u8]) -> File {
        fs::write(dir.join(name), content).unwrap();
        File::options().read(true).write(true).open(dir.join(name)).unwrap()
    }

    fn memo_about(file: &File, dir: &Path) -> Memo {
        Memo::new(file, &file.metadata().unwrap(), dir).unwrap()
    }

    /// As if the file had been left alone for a while: the time of its inode cannot be set back.
    fn settled(memo: &Memo) -> bool {
        let begun = SystemTime::now();
        while !memo.is_settled().unwrap() {
            assert!(begun.elapsed().unwrap() < 10 * SETTLED, "it never settles");
            std::thread::sleep(SETTLED / 10);
        }
        true
    }

    #[test]
    fn what_is_kept_lasts_as_long_as_the_file_does() {
        let dir = tempfile::tempdir().unwrap();
        let memos = dir.path().join("deep/memos");
        let file = old_file(dir.path(), "image", b"content");
        let memo = memo_about(&file, &memos);
        assert_eq!(memo.load(), None);
        memo.store(b"too early").unwrap();
        assert_eq!(memo.load(), None, "a file that has just changed");
        assert!(settled(&memo));
        memo.store(b"found out").unwrap();
        assert_eq!(memo.load().as_deref(), Some(&b"found out"[..]));
        assert_eq!(memo_about(&file, &memos).load().as_deref(), Some(&b"found out"[..]));
        assert_eq!(fs::metadata(&memos).unwrap().mode() & 0o777, 0o700);

        let other = old_file(dir.path(), "other", b"content");
        assert_eq!(memo_about(&other, &memos).load(), None, "another file");

        // The same length and the same time of its content: the time of the inode tells.
        let mtime = file.metadata().unwrap().modified().unwrap();
        (&file).write_all(b"CONTENT").unwrap();
        file.set_times(FileTimes::new().set_modified(mtime)).unwrap();
        assert_eq!(memo_about(&file, &memos).load(), None, "a changed file");
        memo.store(b"about what it was").unwrap();
        assert_eq!(memo.load().as_deref(), Some(&b"found out"[..]), "what was found out too late is not kept");
    }

    #[test]
    fn damaged_memos_are_none() {
        let dir = tempfile::tempdir().unwrap();
        let file = old_file(dir.path(), "image", b"content");
        let memo = memo_about(&file, &dir.path().join("memos"));
        assert!(settled(&memo));
        memo.store(b"found out").unwrap();
        let whole = fs::read(&memo.path).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&memo.path, &damaged).unwrap();
            assert_eq!(memo.load(), None, "byte {at}");
            fs::write(&memo.path, &whole[..at]).unwrap();
            assert_eq!(memo.load(), None, "{at} bytes");
        }
        fs::write(&memo.path, &whole).unwrap();
        assert!(memo.load().is_some());
    }

    #[test]
    fn the_oldest_memos_go() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..u64::try_from(MEMOS_MAX).unwrap() + 3 {
            let file = old_file(dir.path(), &format!("{number:03}"), b"");
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1000 - number);
            file.set_times(FileTimes::new().set_modified(time)).unwrap();
        }
        remove_oldest(dir.path()).unwrap();
        let mut left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(
            (left.len(), left[0].to_str(), left.last().unwrap().to_str()),
            (MEMOS_MAX, Some("000"), Some("063"))
        );
    }
}
