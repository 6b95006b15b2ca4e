//! `mountless klog`.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use mountless::backend::tfs::crash_log;

use crate::failure::{EXIT_FAILED, EXIT_UNREADABLE, Failure, Result};
use crate::image::{OpenArgs, tfs_bytes};
use crate::json::Object;
use crate::output;

/// Prints what a Nanos kernel left on its disk when it crashed: the end of the console's output
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --json it is one object: offset, boot_id (hexadecimal), exit_code and text.

Exit codes: 0 printed; 1 there is none; 2 an image that cannot be read, or is no disk.

Example:
  mountless klog disk.img")]
pub(crate) struct Args {
    /// A disk of Nanos
    #[arg(value_name = "IMAGE")]
    image: OsString,

    /// Prints one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    open: OpenArgs,
}

pub(crate) fn run(args: &Args) -> Result {
    let (source, _) = tfs_bytes(&args.image, args.open)?;
    let shown = args.image.to_string_lossy();
    let found =
        crash_log(&source).map_err(|error| Failure::new(EXIT_UNREADABLE, format!("cannot read: {shown}: {error}")))?;
    let Some((offset, log)) = found else {
        let failure = Failure::new(EXIT_FAILED, format!("no crash log: {shown}"));
        return Err(failure.next("Nanos leaves one when it stops with an exit code other than 0"));
    };
    let mut out = output::stdout();
    if args.json {
        let mut object = Object::begin(&mut out)?;
        object.number("offset", offset)?;
        object.text("boot_id", format_args!("{:x}", log.boot_id))?;
        object.number("exit_code", log.exit_code)?;
        object.text("text", String::from_utf8_lossy(&log.text))?;
        object.end()?;
        out.write_all(b"\n")?;
    } else {
        writeln!(out, "boot id: {:x}\nexit code: {}\n", log.boot_id, log.exit_code)?;
        out.write_all(&log.text)?;
        if !log.text.ends_with(b"\n") {
            writeln!(out)?;
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
