//! A file that takes the place of another at once: written beside it, made durable, renamed over it.

use core::num::NonZeroU64;
use core::ops::Range;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use rustix::fs::{Advice, fadvise};
use tempfile::TempPath;

use super::{FileSource, from_io};
use crate::checked::to_u64;
use crate::errno::Errno;
use crate::error::Result;

/// A file being written that appears under its name when it is complete, or never.
///
/// What is no regular file (a terminal, a pipe, `/dev/null`) cannot be replaced and is written to as it is. A symbolic
/// link stays, and what it leads to is replaced.
#[derive(Debug)]
pub struct Replacement {
    file: File,
    /// Where the file is meanwhile, and where it belongs; `None` for what is written to as it is.
    place: Option<(TempPath, PathBuf)>,
    /// Bytes written one after the other, and how many of them are on their way to the medium.
    written: u64,
    begun: u64,
    /// Sends them on their way, once there are enough to begin.
    writeback: Option<Sender<Range<u64>>>,
}

/// Bytes that go to the medium at once, while more is written: so that making them durable in the end takes little.
const WRITEBACK_LEN: u64 = 1 << 20;

impl Replacement {
    /// Begins the file that shall be at `path`, with the permissions and, where that is allowed, the owner of what is
    /// there now.
    ///
    /// # Errors
    /// `ENOENT` and `EACCES` for the directory; `EISDIR` if `path` is one.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        begin(path.as_ref()).map_err(|error| match from_io(error) {
            // The place where the file is meanwhile is nobody's business.
            error if error == Errno::Io => error,
            error => error.errno().into(),
        })
    }

    /// The same file to be written to at any place.
    ///
    /// # Errors
    /// `EIO` if the process has too many files open.
    pub fn storage(&self) -> Result<FileSource> {
        FileSource::new(self.file.try_clone().map_err(from_io)?)
    }

    /// Counts what was written, and sends it on its way.
    fn advance(&mut self, count: usize) {
        self.written = self.written.saturating_add(to_u64(count));
        if self.written.saturating_sub(self.begun) >= WRITEBACK_LEN {
            if self.writeback.is_none() {
                self.writeback = writeback(&self.file);
            }
            if let Some(writeback) = &self.writeback {
                // Nothing is lost where nobody listens: `commit` waits for everything.
                let _ = writeback.send(self.begun..self.written);
            }
            self.begun = self.written;
        }
    }

    /// Makes what was written durable, and puts it in its place.
    ///
    /// # Errors
    /// `EIO` and `ENOSPC`: what was in the place before is still there.
    pub fn commit(self) -> Result<()> {
        let Some((temporary, path)) = self.place else { return Ok(()) };
        self.file.sync_all().map_err(from_io)?;
        temporary.persist(&path).map_err(|error| from_io(error.error))?;
        // The name is durable with its directory; some filesystems cannot sync one, and need not.
        let _ = File::open(parent(&path)).and_then(|dir| dir.sync_all());
        Ok(())
    }
}

impl Write for Replacement {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let count = self.file.write(buf)?;
        self.advance(count);
        Ok(count)
    }

    fn write_vectored(&mut self, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let count = self.file.write_vectored(bufs)?;
        self.advance(count);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A thread that begins to write out what it is told: the system takes half as long for that as for taking the bytes.
/// `None` where there cannot be one.
fn writeback(file: &File) -> Option<Sender<Range<u64>>> {
    let file = file.try_clone().ok()?;
    let (ranges, told) = channel::<Range<u64>>();
    let run = move || {
        for range in told {
            let len = NonZeroU64::new(range.end.saturating_sub(range.start));
            // Linux begins to write out what it is told not to need.
            let _ = fadvise(&file, range.start, len, Advice::DontNeed);
        }
    };
    thread::Builder::new().name("mountless-writeback".into()).spawn(run).ok()?;
    Some(ranges)
}

fn begin(path: &Path) -> io::Result<Replacement> {
    let found = match fs::metadata(path) {
        Ok(found) if found.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        Ok(found) if !found.is_file() => {
            return Ok(Replacement {
                file: OpenOptions::new().write(true).open(path)?,
                place: None,
                written: 0,
                begun: 0,
                writeback: None,
            });
        }
        Ok(found) => Some(found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    // Through links, if there is something behind them.
    let path = if found.is_some() { fs::canonicalize(path)? } else { path.to_owned() };
    let mut prefix = OsString::from(".");
    prefix.push(path.file_name().ok_or(io::ErrorKind::InvalidInput)?);
    prefix.push(".");
    // As any new file: less what the umask takes away.
    let permissions = Permissions::from_mode(0o666);
    let temporary = tempfile::Builder::new().prefix(&prefix).permissions(permissions).tempfile_in(parent(&path))?;
    let (file, temporary) = temporary.into_parts();
    if let Some(found) = found {
        // Only root may, and only root would change it otherwise.
        let _ = fchown(&file, Some(found.uid()), Some(found.gid()));
        file.set_permissions(Permissions::from_mode(found.mode() & 0o7777))?;
    }
    Ok(Replacement { file, place: Some((temporary, path)), written: 0, begun: 0, writeback: None })
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<OsString> {
        let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_old_file_stays_until_the_new_one_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let mut given_up = Replacement::create(&path).unwrap();
        given_up.write_all(b"half").unwrap();
        drop(given_up);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(dir.path()), ["image"], "nothing is left behind");

        let mut replacement = Replacement::create(&path).unwrap();
        replacement.write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        replacement.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(names(dir.path()), ["image"]);
    }

    #[test]
    fn what_goes_to_the_medium_early_is_all_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        let content: Vec<u8> = (0_u32..5 << 20).flat_map(u32::to_le_bytes).collect();
        let mut replacement = Replacement::create(&path).unwrap();
        for piece in content.chunks(300_001) {
            replacement.write_all(piece).unwrap();
        }
        assert!(replacement.begun > 4 * WRITEBACK_LEN && replacement.begun < replacement.written);
        replacement.commit().unwrap();
        assert!(fs::read(&path).unwrap() == content);
    }

    #[test]
    fn links_stay_and_devices_are_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("image"), dir.path().join("link"));
        fs::write(&path, "old").unwrap();
        std::os::unix::fs::symlink("image", &link).unwrap();
        let mut replacement = Replacement::create(&link).unwrap();
        replacement.write_all(b"new").unwrap();
        replacement.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());

        let mut device = Replacement::create("/dev/null").unwrap();
        device.write_all(b"gone").unwrap();
        device.commit().unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());

        assert_eq!(Replacement::create(dir.path()).unwrap_err(), Errno::IsDir);
        assert_eq!(Replacement::create(dir.path().join("none/image")).unwrap_err(), Errno::NotFound);
    }
}
