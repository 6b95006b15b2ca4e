//! Project tasks, also used by the cross-crate tests: guests by package name and the demo image.

pub mod demo;
pub mod guests;
pub mod install;
pub mod linux;
mod process;

use std::path::{Path, PathBuf};
use std::process::Command;

pub use self::process::{run, run_quiet};

/// A sentence for the person at the terminal.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// The result of a task.
pub type Result<T = ()> = std::result::Result<T, Error>;

/// The top of the workspace.
#[must_use]
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Where built things go.
#[must_use]
pub fn target() -> PathBuf {
    // Not the directory of the running binary: cargo lets that be anywhere.
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => workspace().join(dir),
        None => workspace().join("target"),
    }
}

/// The command of this workspace, built as it is shipped.
///
/// # Errors
/// If it does not build.
pub fn release_command() -> Result<PathBuf> {
    // As the benches are built that run it, so that one build of the engine does for all.
    let arguments =
        ["build", "--quiet", "--release", "--bin", "mountless", "--workspace", "--features", "mountless/vfs"];
    run(cargo().args(arguments))?;
    Ok(target().join("release/mountless"))
}

/// Cargo, at the top of the workspace.
#[must_use]
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    command
}
