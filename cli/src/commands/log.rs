//! `mountless log`.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use mountless::Errno;
use mountless::inspect::{LogEvent, LogLine, for_each_log_line};
use mountless::name::escape;

use crate::failure::{EXIT_FAILED, Result};
use crate::image::{OpenArgs, tfs_bytes, unreadable};
use crate::json::Object;
use crate::output::{self, Out};

/// Prints the log of a TFS: everything that ever happened to it, a record a line
///
/// `#N(...)` is a new tuple, `@N(...)` changes tuple N; keys are names, values stand in quotes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --json each line is an object with offset and event (extension record segment link end damaged), and: version, \
sectors, uuid, label; bytes, pieces, text; sector, count; reason.

Exit codes: 0 the whole log; 1 up to the damage that the last line tells; 2 an image that cannot be read.

Example:
  mountless log disk.img#root | tail")]
pub(crate) struct Args {
    /// A disk of Nanos (`#boot` selects its other file system) or a bare TFS
    #[arg(value_name = "IMAGE")]
    image: OsString,

    /// Prints one JSON object a line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    open: OpenArgs,
}

pub(crate) fn run(args: &Args) -> Result {
    let (source, part) = tfs_bytes(&args.image, args.open)?;
    let mut out = output::stdout();
    let (mut written, mut is_whole) = (Ok(()), true);
    let read = for_each_log_line(&source, part, |line| {
        is_whole &= !matches!(line.event, LogEvent::Damaged { .. });
        written = if args.json { write_json(&mut out, &line) } else { show(&mut out, &line) };
        // Any error ends the reading; `written` tells which.
        if written.is_ok() { Ok(()) } else { Err(Errno::Pipe.into()) }
    });
    written?;
    read.map_err(|error| unreadable(&error))?;
    out.flush()?;
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) })
}

fn show(out: &mut Out, line: &LogLine) -> io::Result<()> {
    write!(out, "{:#010x} {}", line.offset, line.event.word())?;
    match &line.event {
        LogEvent::Extension { version, sectors, uuid, label } => {
            write!(out, " version {version}, {sectors} sectors")?;
            if let (Some(uuid), Some(label)) = (uuid, label) {
                write!(out, ", uuid {uuid}, label \"{}\"", escape(label))?;
            }
            writeln!(out)
        }
        LogEvent::Record { len, pieces: 1, text } => writeln!(out, " {len} {text}"),
        LogEvent::Record { len, pieces, text } => writeln!(out, " {len} in {pieces} pieces {text}"),
        LogEvent::Link { sector, count } => writeln!(out, " to {count} sectors at sector {sector}"),
        LogEvent::Damaged { reason } => writeln!(out, ": {reason}"),
        LogEvent::Segment | LogEvent::End => writeln!(out),
    }
}

fn write_json(out: &mut Out, line: &LogLine) -> io::Result<()> {
    let mut object = Object::begin(out)?;
    object.number("offset", line.offset)?;
    object.text("event", line.event.word())?;
    match &line.event {
        LogEvent::Extension { version, sectors, uuid, label } => {
            object.number("version", version)?;
            object.number("sectors", sectors)?;
            if let (Some(uuid), Some(label)) = (uuid, label) {
                object.text("uuid", uuid)?;
                object.bytes("label", label)?;
            }
        }
        LogEvent::Record { len, pieces, text } => {
            object.number("bytes", len)?;
            object.number("pieces", pieces)?;
            object.text("text", text)?;
        }
        LogEvent::Link { sector, count } => {
            object.number("sector", sector)?;
            object.number("count", count)?;
        }
        LogEvent::Damaged { reason } => object.text("reason", reason)?,
        LogEvent::Segment | LogEvent::End => {}
    }
    object.end()?;
    out.write_all(b"\n")
}
