//! `mountless convert`.

use std::ffi::OsString;
use std::path::PathBuf;

use super::pack::How;
use crate::failure::Result;
use crate::image::{Image, OpenArgs, open_image};

/// Writes what one image holds as another image
///
/// The input is any image that can be read. Without a format in the output's name it stays as it is: cpio or tar.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
What the format cannot hold is told on standard error, and with --json in the fields lost_count and lost (path, what).

Examples:
  mountless convert rootfs.tar.gz initrd.cpio.zst
  mountless convert initrd.img - --format tar | tar -t
  mountless convert oci:layout#latest image.tar.zst")]
pub(crate) struct Args {
    /// The image to read
    #[arg(value_name = "IN")]
    input: OsString,

    /// The image to write; `-` is standard output
    #[arg(value_name = "OUT")]
    output: PathBuf,

    #[command(flatten)]
    how: How,

    #[command(flatten)]
    open: OpenArgs,
}

pub(crate) fn run(args: &Args) -> Result {
    let Image { fs, facts, .. } = open_image(&args.input, args.open)?;
    args.how.write(fs, &args.output, Some(facts.format), facts.tfs.as_ref(), None)
}
