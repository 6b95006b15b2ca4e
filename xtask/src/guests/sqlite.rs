//! Programs on SQLite.

use std::fs;
use std::path::PathBuf;

use super::{compiled, sources};
use crate::{Result, run_quiet};

/// Where SQLite's sources are published in one file.
const SQLITE_CRATE: (&str, &str) = ("libsqlite3-sys", "0.39.1");

/// `tests/guests/sqlite/NAME.c` with SQLite.
///
/// # Errors
/// As [`c_program`](super::c_program), and if SQLite's sources cannot be downloaded.
pub fn sqlite_program(name: &str) -> Result<PathBuf> {
    let source = sources().join("sqlite").join(name).with_extension("c");
    compiled(&format!("sqlite-{name}"), &[&source], |compile| {
        let sqlite = amalgamation()?;
        let mut include = std::ffi::OsString::from("-I");
        include.push(&sqlite);
        compile.arg(include).args([
            "-D_WASI_EMULATED_GETPID",
            "-D_WASI_EMULATED_MMAN",
            "-DSQLITE_THREADSAFE=0",
            "-DSQLITE_OMIT_LOAD_EXTENSION",
            "-DSQLITE_TEMP_STORE=3",
            "-Wno-everything",
        ]);
        compile.arg(&source).arg(sqlite.join("sqlite3.c"));
        compile.args(["-lwasi-emulated-getpid", "-lwasi-emulated-mman"]);
        Ok(())
    })
}

/// SQLite's sources, where cargo unpacks the crate that carries them.
fn amalgamation() -> Result<PathBuf> {
    let (name, version) = SQLITE_CRATE;
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let registries = home.ok_or("there is no home directory to look for cargo's downloads in")?.join("registry/src");
    let find = || {
        let mut dirs = fs::read_dir(&registries).ok()?.filter_map(std::result::Result::ok);
        dirs.find_map(|registry| {
            let dir = registry.path().join(format!("{name}-{version}/sqlite3"));
            dir.join("sqlite3.c").exists().then_some(dir)
        })
    };
    if let Some(dir) = find() {
        return Ok(dir);
    }
    // It downloads what it tells about.
    run_quiet(crate::cargo().args(["info", "--quiet", &format!("{name}@{version}")]))
        .map_err(|error| format!("SQLite's sources cannot be downloaded: {error}"))?;
    find().ok_or_else(|| format!("{name} {version} is not in {}", registries.display()).into())
}
