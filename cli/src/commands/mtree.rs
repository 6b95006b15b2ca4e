//! `mountless mtree`.

use std::ffi::OsString;
use std::process::ExitCode;

use mountless::errno::Errno;
use mountless::transfer::{MtreeOptions, write_mtree};

use crate::failure::{Failure, Result};
use crate::image::{Images, OpenArgs, unreadable};
use crate::output;

/// Prints an mtree(5) specification of an image, with SHA-256 hashes
///
/// `mountless check --against FILE` compares an image with it, mtree(8) a directory.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  mountless mtree base.cpio.gz >base.mtree")]
pub(crate) struct Args {
    /// An image, or a directory in it
    #[arg(value_name = "IMAGE[:/PATH]")]
    image: OsString,

    /// Leaves out the hashes, and so need not read the content
    #[arg(long)]
    no_sha256: bool,

    #[command(flatten)]
    open: OpenArgs,
}

pub(crate) fn run(args: &Args) -> Result {
    let mut images = Images::new(args.open);
    let top = images.find_node(&args.image)?;
    let written = write_mtree(&top, output::stdout(), MtreeOptions { sha256: !args.no_sha256 });
    match written {
        Err(error) if error == Errno::Pipe => Err(Failure::new(0, "")),
        other => other.map(|_| ExitCode::SUCCESS).map_err(|error| unreadable(&error)),
    }
}
