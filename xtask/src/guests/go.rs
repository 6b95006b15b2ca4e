//! Go: programs of our own, and the tests of its standard library.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{dir, is_newer, making, sources, wheel};
use crate::{Result, run_quiet};

/// The packages whose tests the guests run.
pub const GO_TESTED: [&str; 6] = ["os", "io/fs", "path/filepath", "io/ioutil", "archive/tar", "archive/zip"];

/// Go's own root: sources with their tests and data, and the compiler.
///
/// # Errors
/// If it cannot be downloaded.
pub fn go_root() -> Result<PathBuf> {
    Ok(wheel::installed("go")?.join("go"))
}

/// The module compiled from `tests/guests/go/NAME.go`.
///
/// # Errors
/// The compiler's, or that there is none.
pub fn go_program(name: &str) -> Result<PathBuf> {
    let source = sources().join("go").join(name).with_extension("go");
    let wasm = dir().join(format!("go-{name}.wasm"));
    if !is_newer(&wasm, &source) {
        compile(&wasm, &["build"], &sources(), &source)?;
    }
    Ok(wasm)
}

/// The tests of a package of Go's standard library.
///
/// # Errors
/// As [`go_program`].
pub fn go_tests(package: &str) -> Result<PathBuf> {
    let root = go_root()?;
    let wasm = root.with_file_name(format!("{}.test.wasm", package.replace('/', "-")));
    if !wasm.exists() {
        compile(&wasm, &["test", "-c"], &root.join("src"), package.as_ref())?;
    }
    Ok(wasm)
}

fn compile(wasm: &Path, task: &[&str], at: &Path, what: &Path) -> Result {
    let root = go_root()?;
    let making = making(wasm);
    let mut go = Command::new(root.join("bin/go"));
    go.args(task).arg("-o").arg(&making).arg(what).current_dir(at);
    // Nothing of what the user may have set up.
    go.envs([("GOENV", "off"), ("GOFLAGS", ""), ("GOTOOLCHAIN", "local"), ("GOPROXY", "off"), ("CGO_ENABLED", "0")]);
    go.envs([("GOOS", "wasip1"), ("GOARCH", "wasm"), ("GOWASM", ""), ("GOEXPERIMENT", ""), ("GO111MODULE", "on")]);
    go.env("GOROOT", &root).env("GOPATH", dir().join("go-path")).env("GOCACHE", dir().join("go-cache"));
    run_quiet(&mut go)?;
    Ok(fs::rename(&making, wasm)?)
}
