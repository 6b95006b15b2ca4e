//! Components of preview 2 that are written in Python and JavaScript.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{dir, is_newer, making, rename_made, sources, wheel};
use crate::{Result, run_quiet};

const WORLD: &str = "wasi:cli/command@0.2.12";

/// WASI's interfaces as the engine has them, `wasi:http` among them: of `p2` or `p3`.
///
/// # Errors
/// Cargo's.
pub fn wasi_interfaces(preview: &str) -> Result<PathBuf> {
    let output = crate::cargo().args(["metadata", "--format-version=1", "--locked"]).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata lists no packages")?;
    let http = packages.iter().find(|package| package["name"] == "wasmtime-wasi-http");
    let manifest = http.and_then(|http| http["manifest_path"].as_str()).ok_or("wasmtime-wasi-http is no dependency")?;
    Ok(Path::new(manifest).with_file_name(if preview == "p3" { "src/p3/wit" } else { "wit" }))
}

/// The component made of `tests/guests/components/python/app.py`, with CPython in it.
///
/// # Errors
/// If something cannot be downloaded, or the tools'.
pub fn python_component() -> Result<PathBuf> {
    let sources = sources().join("components/python");
    made("python", &sources.join("app.py"), |component| {
        let mut componentize = Command::new("python3");
        componentize.env("PYTHONPATH", wheel::installed("componentize")?);
        componentize.args(["-c", "import componentize_py; componentize_py.script()", "-d"]);
        componentize.arg(wasi_interfaces("p2")?).args(["-w", WORLD, "componentize", "-p"]);
        run_quiet(componentize.arg(&sources).args(["app", "-o"]).arg(component))
    })
}

/// The component made of `tests/guests/components/javascript/NAME.js`, with its engine in it: `app`, or `fetch`, which has
/// HTTP.
///
/// # Errors
/// As [`python_component`].
pub fn javascript_component(name: &str) -> Result<PathBuf> {
    let sources = sources().join("components/javascript");
    let source = sources.join(name).with_extension("js");
    made(&format!("javascript-{name}"), &source, |component| {
        let mut componentize = Command::new("node");
        componentize.current_dir(javascript_tools(&sources)?).arg("componentize.js").arg(&source);
        componentize.arg(wasi_interfaces("p2")?).arg(component);
        run_quiet(componentize.args((name != "fetch").then_some("http")))
    })
}

/// A directory with the tools that `package-lock.json` names, with their hashes.
fn javascript_tools(sources: &Path) -> Result<PathBuf> {
    const FILES: [&str; 3] = ["package.json", "package-lock.json", "componentize.js"];
    let tools = dir().join("javascript-tools");
    let is_same = |name| fs::read(tools.join(name)).is_ok_and(|of| fs::read(sources.join(name)).ok() == Some(of));
    if FILES.into_iter().all(is_same) {
        return Ok(tools);
    }
    let making = making(&tools);
    fs::create_dir_all(&making)?;
    for name in FILES {
        fs::copy(sources.join(name), making.join(name))?;
    }
    run_quiet(
        Command::new("npm")
            .args(["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(&making),
    )
    .map_err(|error| format!("tools for JavaScript cannot be downloaded (node and npm are needed): {error}"))?;
    if tools.exists() {
        fs::remove_dir_all(&tools)?;
    }
    rename_made(&making, tools)
}

/// The component, if it is newer than its source; else a new one.
fn made(name: &str, source: &Path, make: impl FnOnce(&Path) -> Result) -> Result<PathBuf> {
    let component = dir().join(format!("{name}.component.wasm"));
    if !is_newer(&component, source) {
        let making = making(&component);
        make(&making)?;
        fs::rename(&making, &component)?;
    }
    Ok(component)
}
