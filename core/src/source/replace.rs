//! A file that takes the place of another at once: written beside it, made durable, renamed over it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use tempfile::TempPath;

use super::{FileSource, from_io};
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
}

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
        self.file.write(buf)
    }

    fn write_vectored(&mut self, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.file.write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn begin(path: &Path) -> io::Result<Replacement> {
    let found = match fs::metadata(path) {
        Ok(found) if found.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        Ok(found) if !found.is_file() => {
            return Ok(Replacement { file: OpenOptions::new().write(true).open(path)?, place: None });
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
    Ok(Replacement { file, place: Some((temporary, path)) })
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
