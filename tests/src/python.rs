//! CPython with its standard library taken out of the interpreter, so that it can be put into an image.

use std::fs;
use std::path::PathBuf;

pub use xtask::guests::PYTHON_HOME as HOME;
use xtask::guests::UNPACK_PYTHON_LIBRARY;

use crate::reference;

/// The interpreter, and a directory that holds `lib/python3.12`: what belongs at [`HOME`]. Made once.
#[must_use]
pub fn interpreter_and_library() -> (PathBuf, PathBuf) {
    let wasm = xtask::guests::python().unwrap_or_else(|error| panic!("{error}"));
    let library = xtask::guests::dir().join("python-library");
    if !library.exists() {
        let making = tempfile::tempdir_in(xtask::guests::dir()).unwrap();
        let ran = reference::run_at(&wasm, &["python", "-c", UNPACK_PYTHON_LIBRARY], &[], making.path(), "/out");
        assert_eq!(ran.code, 0, "{}", String::from_utf8_lossy(&ran.stderr));
        assert!(making.path().join("lib/python3.12/os.py").exists());
        // Another process may have been faster, with the same result.
        if fs::rename(making.path(), &library).is_ok() {
            let _ = making.keep();
        }
    }
    (wasm, library)
}
