//! Running other programs.

use std::process::{Command, Stdio};

use crate::Result;

/// Runs `command` with its output shown.
///
/// # Errors
/// If it cannot be started or fails.
pub fn run(command: &mut Command) -> Result {
    let status = command.stdin(Stdio::null()).status().map_err(|error| not_started(command, &error))?;
    if status.success() { Ok(()) } else { Err(format!("{}: {status}", shown(command)).into()) }
}

/// Runs `command`; its output is part of the error, and of nothing else.
///
/// # Errors
/// If it cannot be started or fails.
pub fn run_quiet(command: &mut Command) -> Result {
    let output = command.stdin(Stdio::null()).output().map_err(|error| not_started(command, &error))?;
    if output.status.success() {
        return Ok(());
    }
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(format!("{}: {}\n{stdout}{stderr}", shown(command), output.status).into())
}

fn not_started(command: &Command, error: &std::io::Error) -> crate::Error {
    format!("{}: cannot be started: {error}", shown(command)).into()
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
