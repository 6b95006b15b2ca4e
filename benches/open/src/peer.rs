//! Running the two sides, and what ours says about itself.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;

/// A process that was run.
pub(crate) struct Run {
    /// From before it began to after it ended.
    pub(crate) took: Duration,
    /// What it wrote to standard output, if asked for.
    pub(crate) names: Vec<u8>,
    /// What it wrote to standard error, if that is a report.
    pub(crate) report: Option<Report>,
}

/// Runs a program to its end, with standard output kept or going to `/dev/null`; `cache` is the user's cache directory.
pub(crate) fn run(program: &OsStr, args: &[OsString], cache: &Path, keep: bool) -> Result<Run> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stderr(Stdio::piped()).env("XDG_CACHE_HOME", cache);
    command.stdout(if keep { Stdio::piped() } else { Stdio::null() });
    let begun = Instant::now();
    let output = command.spawn()?.wait_with_output()?;
    let took = begun.elapsed();
    let report = String::from_utf8(output.stderr)?;
    if !output.status.success() {
        return Err(format!("{}: {}: {report}", program.display(), output.status).into());
    }
    Ok(Run { took, names: output.stdout, report: Report::parse(&report) })
}

/// What a listing says about itself.
pub(crate) struct Report {
    /// Until the archive was open.
    pub(crate) opened: Duration,
    /// Until the last name was written.
    pub(crate) listed: Duration,
    /// The most memory that was mapped at any time, in bytes: the heap, and pages of the archive.
    pub(crate) peak: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.opened.as_nanos(), self.listed.as_nanos(), self.peak)
    }
}

impl Report {
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split_whitespace().map_while(|word| word.parse().ok());
        let mut next = || numbers.next();
        Some(Self { opened: Duration::from_nanos(next()?), listed: Duration::from_nanos(next()?), peak: next()? })
    }
}

/// The peak of this process so far, as the kernel counts it.
pub(crate) fn peak() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    Ok(kib.ok_or("no VmHWM in /proc/self/status")?.trim().parse::<u64>()? * 1024)
}
