//! Packages of Debian whose files are guests' data: unpacked, not installed.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{making, rename_made};
use crate::{Result, run_quiet};

/// A directory with the files of some packages, unpacked once. Their version is that of the machine's Debian.
///
/// # Errors
/// If they cannot be downloaded.
pub(super) fn unpacked(packages: &[&str]) -> Result<PathBuf> {
    let unpacked = super::dir().join("debian").join(packages.join("+"));
    if unpacked.exists() {
        return Ok(unpacked);
    }
    let making = making(&unpacked);
    fs::create_dir_all(&making)?;
    let apt_get =
        |arguments: &[&str]| run_quiet(Command::new("apt-get").arg("--quiet").args(arguments).current_dir(&making));
    let download = || apt_get(&[&["download"], packages].concat());
    // Nobody may have asked for the lists of packages yet.
    download()
        .or_else(|_| apt_get(&["update"]).and_then(|()| download()))
        .map_err(|error| format!("Debian's packages {} cannot be downloaded: {error}", packages.join(" ")))?;
    for archive in fs::read_dir(&making)? {
        let archive = archive?.path();
        run_quiet(Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(&making))?;
        fs::remove_file(archive)?;
    }
    rename_made(&making, unpacked)
}
