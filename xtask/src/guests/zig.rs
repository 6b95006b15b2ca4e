//! C and C++ compiled by Zig: a newer C library and compiler than Debian's.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{compiled, dir, is_newer, making, sources, wheel};
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
    run_quiet(zig_cc()?.args(["-O2", "-o"]).arg(&making).arg(&source))?;
    fs::rename(&making, &wasm)?;
    Ok(wasm)
}

/// The module compiled from `tests/guests/NAME.cc`, with WebAssembly's exceptions and without a C++ library; linked as C
/// is, since Zig's C library does not compile with exceptions.
///
/// # Errors
/// As [`zig_program`] and [`c_program`](super::c_program).
pub fn zig_cpp_program(name: &str) -> Result<PathBuf> {
    let source = sources().join(name).with_extension("cc");
    let object = making(&dir().join(format!("zig-{name}"))).with_extension("o");
    let wasm = compiled(&format!("zig-{name}"), &[&source], |link| {
        let mut compile = zig_cc()?;
        compile.args(["-O2", "-fno-rtti", "-fwasm-exceptions", "-mcpu=generic+exception_handling"]);
        // The standard's exceptions, not those that were there before it.
        compile.args(["-mllvm", "-wasm-use-legacy-eh=false", "-c", "-o"]).arg(&object).arg(&source);
        link.arg(&object);
        run_quiet(&mut compile)
    })?;
    if object.exists() {
        fs::remove_file(object)?;
    }
    Ok(wasm)
}

fn zig_cc() -> Result<Command> {
    let cache = dir().join("zig-cache");
    let mut zig = Command::new("python3");
    zig.env("PYTHONPATH", wheel::installed("zig")?);
    zig.env("ZIG_GLOBAL_CACHE_DIR", &cache).env("ZIG_LOCAL_CACHE_DIR", &cache);
    zig.args(["-m", "ziglang", "cc", "-target", "wasm32-wasi"]);
    Ok(zig)
}
