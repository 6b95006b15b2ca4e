//! `mountless ln`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

use crate::edits::{Edits, Place};
use crate::failure::{EXIT_UNREADABLE, Failure, Result};
use crate::image::OpenArgs;

/// Makes links in an image
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mountless ln -s ../bin/busybox base.cpio.gz:/sbin/init
  mountless ln base.cpio.gz:/bin/busybox base.cpio.gz:/bin/sh")]
pub(crate) struct Args {
    /// What to link to: a path in the same image, or with -s any text
    #[arg(value_name = "TARGET")]
    target: OsString,

    /// The link
    #[arg(value_name = "IMAGE:/PATH")]
    link: OsString,

    /// A symbolic link, not another name
    #[arg(short, long)]
    symbolic: bool,

    /// Replaces what is there, unless it is a directory
    #[arg(short, long)]
    force: bool,

    #[command(flatten)]
    open: OpenArgs,
}

pub(crate) fn run(args: &Args) -> Result {
    let mut edits = Edits::new(args.open)?;
    let link = Place::parse(&args.link)?;
    let target = if args.symbolic {
        args.target.as_bytes()
    } else {
        let target = Place::parse(&args.target)?;
        if target.reference != link.reference {
            let failure = Failure::new(EXIT_UNREADABLE, "cannot link from one image to another");
            return Err(failure.next("-s makes a symbolic link, `mountless cp` a copy"));
        }
        target.path
    };
    edits.change(&link, |namespace, path| {
        if args.force && namespace.symlink_metadata(path).is_ok() {
            namespace.remove_file(path)?;
        }
        if args.symbolic { namespace.symlink(target, path) } else { namespace.hard_link(target, path) }
    })?;
    edits.save()
}
