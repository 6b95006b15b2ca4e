//! CPython with its standard library taken out of the interpreter, so that it can be put into an image.

use std::fs;
use std::path::PathBuf;

use crate::reference;

/// Where the library is in the images of the tests: outside of `/usr`, which the interpreter itself holds a copy of.
pub const HOME: &str = "/py312";

/// Unpacks the interpreter's own copy of the standard library: a zip archive of compiled modules, and `os.py`, by which
/// CPython knows the place.
const UNPACK: &str = "
import shutil, zipfile
zipfile.ZipFile('/usr/local/lib/python312.zip').extractall('/lib/python3.12')
shutil.copyfile('/usr/local/lib/python3.12/os.py', '/lib/python3.12/os.py')
";

/// The interpreter, and a directory that holds `lib/python3.12`: what belongs at [`HOME`]. Made once.
#[must_use]
pub fn interpreter_and_library() -> (PathBuf, PathBuf) {
    let wasm = xtask::guests::python().unwrap_or_else(|error| panic!("{error}"));
    let library = xtask::guests::dir().join("python-library");
    if !library.exists() {
        let making = tempfile::tempdir_in(xtask::guests::dir()).unwrap();
        // CPython looks for this one too.
        fs::create_dir_all(making.path().join("lib/python3.12/lib-dynload")).unwrap();
        let ran = reference::run(&wasm, &["python", "-c", UNPACK], &[], making.path());
        assert_eq!(ran.code, 0, "{}", String::from_utf8_lossy(&ran.stderr));
        assert!(making.path().join("lib/python3.12/os.py").exists());
        // Another process may have been faster, with the same result.
        if fs::rename(making.path(), &library).is_ok() {
            let _ = making.keep();
        }
    }
    (wasm, library)
}
