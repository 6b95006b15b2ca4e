//! Running programs, and what the kernel knows about this one.

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
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

/// The same, its output going into a file.
pub(crate) fn run_into(program: &OsStr, args: &Words<'_>, out: &Path) -> Result<Duration> {
    // As a shell would: what is there is cut off first.
    let begun = Instant::now();
    let file = File::options().write(true).create(true).truncate(true).open(out)?;
    let status = Command::new(program).args(args).stdin(Stdio::null()).stdout(file).stderr(Stdio::null()).status()?;
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

/// Processor time of all processes that were run so far, in the kernel's ticks.
pub(crate) fn children_ticks() -> Result<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // Behind the name, which may hold anything: state is the first field, these are the 14th and 15th.
    let (_, fields) = stat.rsplit_once(')').ok_or("no name in /proc/self/stat")?;
    let ticks = fields.split_whitespace().skip(13).take(2).map(str::parse::<u64>);
    Ok(ticks.collect::<std::result::Result<Vec<_>, _>>()?.iter().sum())
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
