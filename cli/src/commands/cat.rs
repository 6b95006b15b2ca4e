//! `mountless cat`.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use mountless::errno::Errno;
use mountless::fs::FileSystemExt as _;
use mountless::namespace::Follow;

use crate::failure::{Failure, Result};
use crate::image::{Images, OpenArgs};
use crate::output;

/// Prints the content of files
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mountless cat base.cpio.gz:/etc/passwd")]
pub(crate) struct Args {
    /// Files in images
    #[arg(required = true, value_name = "IMAGE:/PATH")]
    files: Vec<OsString>,

    #[command(flatten)]
    open: OpenArgs,
}

pub(crate) fn run(args: &Args) -> Result {
    let mut out = output::stdout();
    let mut images = Images::new(args.open);
    for file in &args.files {
        let target = images.find(file, Follow::Yes)?;
        let at = &target.location;
        let mut written = Ok(());
        let read = at.fs().for_each_run(at.node(), |run| {
            written = out.write_all(&run);
            // Any error ends the reading; `written` tells which.
            if written.is_ok() { Ok(()) } else { Err(Errno::Pipe.into()) }
        });
        written?;
        read.map_err(|error| target.failed(&error))?;
    }
    out.flush().map_err(Failure::from)?;
    Ok(ExitCode::SUCCESS)
}
