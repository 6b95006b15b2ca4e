//! C compiled by Zig, with a newer C library than Debian's.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{dir, is_newer, making, sources, wheel};
use crate::{Result, run_quiet};

/// The module compiled from `tests/guests/NAME.c`.
///
/// # Errors
/// The compiler's, or that it cannot be downloaded.
pub fn zig_program(name: &str) -> Result<PathBuf> {
    let source = sources().join(name).with_extension("c");
    let wasm = dir().join(format!("zig-{name}.wasm"));
    if is_newer(&wasm, &source) {
        return Ok(wasm);
    }
    let making = making(&wasm);
    let cache = dir().join("zig-cache");
    let mut zig = Command::new("python3");
    zig.env("PYTHONPATH", wheel::installed("zig")?);
    zig.env("ZIG_GLOBAL_CACHE_DIR", &cache).env("ZIG_LOCAL_CACHE_DIR", &cache);
    zig.args(["-m", "ziglang", "cc", "-target", "wasm32-wasi", "-O2", "-o"]).arg(&making).arg(&source);
    run_quiet(&mut zig)?;
    fs::rename(&making, &wasm)?;
    Ok(wasm)
}
