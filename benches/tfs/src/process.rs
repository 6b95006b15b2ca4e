//! Running programs, and what the kernel knows about this one.

use std::ffi::OsStr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Result, Words};

/// Runs a program to its end, its output going to `/dev/null`, and returns how long that took.
pub(crate) fn run(program: &OsStr, args: &Words<'_>) -> Result<Duration> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let begun = Instant::now();
    let status = command.status()?;
    let took = begun.elapsed();
    if status.success() { Ok(took) } else { Err(format!("{}: {status}", program.display()).into()) }
}

/// What a program writes that looks at its memory: the allocator keeps nothing back that was freed.
pub(crate) fn memory(program: &OsStr, args: &Words<'_>) -> Result<String> {
    let mut command = Command::new(program);
    command.args(args).env("MALLOC_TRIM_THRESHOLD_", "0").stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output()?;
    if output.status.success() { Ok(String::from_utf8(output.stdout)?) } else { Err(output.status.to_string().into()) }
}

/// Bytes of memory that are no pages of files.
pub(crate) fn anonymous_memory() -> Result<u64> {
    status("RssAnon:")
}

/// The most of all memory so far, pages of the image included.
pub(crate) fn peak_memory() -> Result<u64> {
    status("VmHWM:")
}

fn status(key: &str) -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let kib = status.lines().find_map(|line| line.strip_prefix(key)?.trim().strip_suffix(" kB"));
    Ok(kib.ok_or("a line is missing in /proc/self/status")?.trim().parse::<u64>()? * 1024)
}
