//! Rust: programs of our own.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{dir, is_newer, making, sources};
use crate::install::has_program;
use crate::{Result, run_quiet};

/// What Rust's programs are compiled for.
pub const RUST_TARGET: &str = "wasm32-wasip1";

/// Debian's compiler, its library and its linker; the target's name is an older one.
pub(super) const RUST_PACKAGES: [&str; 3] = ["rustc", "libstd-rust-dev-wasm32", "lld-14"];
const DEBIAN: (&str, &str, &str) = ("/usr/bin/rustc", "wasm32-wasi", "wasm-ld-14");

/// Whether Rust's compiler has a library for WASI.
///
/// # Errors
/// A sentence that says how to get it.
pub fn has_rust_target() -> Result {
    if has_target("rustc", RUST_TARGET) {
        return Ok(());
    }
    Err(format!("run `cargo xtask guests`, or `rustup target add {RUST_TARGET}`").into())
}

/// Whether Debian's compiler, which comes from a package registry, is there instead.
pub(super) fn has_debian_rust() -> bool {
    let (rustc, target, linker) = DEBIAN;
    has_target(rustc, target) && has_program(linker)
}

fn has_target(rustc: &str, target: &str) -> bool {
    let output = Command::new(rustc).args(["--print", "target-libdir", "--target", target]).output();
    output.is_ok_and(|output| {
        let dir = String::from_utf8_lossy(&output.stdout);
        !dir.trim().is_empty() && Path::new(dir.trim()).is_dir()
    })
}

/// The module compiled from `tests/guests/rust/NAME.rs`.
///
/// # Errors
/// The compiler's, or a sentence that says how to get one.
pub fn rust_program(name: &str) -> Result<PathBuf> {
    let source = sources().join("rust").join(name).with_extension("rs");
    let wasm = dir().join(format!("rust-{name}.wasm"));
    if is_newer(&wasm, &source) {
        return Ok(wasm);
    }
    let making = making(&wasm);
    let mut compile = if has_rust_target().is_ok() {
        let mut compile = Command::new("rustc");
        compile.args(["--target", RUST_TARGET]);
        compile
    } else if has_debian_rust() {
        let (rustc, target, linker) = DEBIAN;
        let mut compile = Command::new(rustc);
        compile.args(["--target", target, "-C"]).arg(format!("linker={linker}"));
        compile
    } else {
        let packages = RUST_PACKAGES.join(" ");
        return Err(format!("no Rust compiler for WASI: run `cargo xtask guests`, or install {packages}").into());
    };
    compile.args(["--edition=2021", "-O", "-C", "strip=debuginfo", "-o"]).arg(&making).arg(&source);
    run_quiet(&mut compile)?;
    std::fs::rename(&making, &wasm)?;
    Ok(wasm)
}
