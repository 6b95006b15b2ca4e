//! `mountless compact`.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use mountless::backend::tfs::{Compaction, LogSize};
use mountless::errno::Errno;
use mountless::error::Error;
use mountless::open::{ImageRef, open_tfs_volume};

use crate::failure::{EXIT_FAILED, Failure, Result};
use crate::image::{OpenArgs, unreadable};
use crate::json::Object;
use crate::output;
use crate::progress::patiently;

/// Writes the log of a TFS anew, in place, without what is dead in it
///
/// Files stay where they are; only names and attributes are written. At every moment the image holds the old log or the
/// new one.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
`mountless info` tells how much of a log is live. Of a disk of Nanos it is the log of the root file system, unless \
#boot is selected. With --json each image is an object with image, before and after (sectors, entries, dead).

Exit codes: 0 done; 1 not possible: too little free space in a row, or somebody else writes to it; 2 an image that \
cannot be read.

Example:
  mountless compact disk.img")]
pub(crate) struct Args {
    /// Images of TFS
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<OsString>,

    /// Prints one JSON object a line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    open: OpenArgs,
}

pub(crate) fn run(args: &Args) -> Result {
    let mut out = output::stdout();
    for image in &args.images {
        let name = image.to_string_lossy();
        let compacted = patiently("compacting", &name, || {
            open_tfs_volume(&ImageRef::parse(image), &args.open.options())
                .map_err(|error| not_opened(&error))?
                .compact()
                .map_err(|error| not_written(&name, &error))
        });
        let Compaction { before, after } = compacted?;
        if args.json {
            let mut object = Object::begin(&mut out)?;
            object.text("image", &name)?;
            write_size(object.key("before")?, &before)?;
            write_size(object.key("after")?, &after)?;
            object.end()?;
            out.write_all(b"\n")?;
        } else {
            let live = before.live_percent();
            let (before, after) = (before.sectors, after.sectors);
            writeln!(out, "{name}: the log had {before} sectors, {live}% of it live, and has {after}")?;
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn write_size(out: &mut impl Write, size: &LogSize) -> io::Result<()> {
    let mut object = Object::begin(out)?;
    object.number("sectors", size.sectors)?;
    object.number("entries", size.entries)?;
    object.number("dead", size.dead)?;
    object.end()
}

/// The error names the image.
fn not_opened(error: &Error) -> Failure {
    match error.errno() {
        Errno::NotSupported | Errno::Busy => Failure::new(EXIT_FAILED, format!("cannot compact: {error}")),
        _ if error.corrupt().is_some() => {
            Failure::unreadable(error).next("`mountless check IMAGE --repair OUT` writes what can be read of it anew")
        }
        _ => unreadable(error),
    }
}

fn not_written(name: &str, error: &Error) -> Failure {
    let failure = Failure::new(EXIT_FAILED, format!("cannot compact: {name}: {error}"));
    match error.errno() {
        Errno::NoSpace => failure.next("`mountless convert --format tfs --size SIZE IMAGE OUT` writes a larger one"),
        _ => failure,
    }
}
