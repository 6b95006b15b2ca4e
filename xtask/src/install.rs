//! Installs what the tests need, by name: Debian's packages, and cargo's.

use std::process::Command;

use crate::{Result, run, run_quiet};

/// Known to build with the toolchain of this workspace.
const NEXTEST: &str = "cargo-nextest@0.9.143";

/// Whether a program is there and can say its version.
#[must_use]
pub fn has_program(name: &str) -> bool {
    run_quiet(Command::new(name).arg("--version")).is_ok()
}

/// Installs packages of Debian, as root.
///
/// # Errors
/// A sentence that says what to install by hand.
pub fn packages(names: &[&str]) -> Result {
    if names.is_empty() {
        return Ok(());
    }
    let names = names.join(" ");
    eprintln!("installing {names}");
    let apt_get = |arguments: &str| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(arguments.split(' '));
        run_quiet(&mut command)
    };
    let installed = apt_get("update --quiet")
        .and_then(|()| apt_get(&format!("install --yes --quiet --no-install-recommends {names}")));
    installed.map_err(|error| {
        format!("the tests need these packages of Debian; install them as root: {names}\n{error}").into()
    })
}

/// Installs the test runner, if it is not there.
///
/// # Errors
/// Cargo's.
pub fn nextest() -> Result {
    if run_quiet(crate::cargo().args(["nextest", "--version"])).is_ok() {
        return Ok(());
    }
    eprintln!("installing {NEXTEST}");
    run(crate::cargo().args(["install", "--locked", "--quiet", NEXTEST]))
}
