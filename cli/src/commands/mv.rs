//! `mountless mv`.

use std::ffi::OsString;

use crate::edits::{Edits, Place};
use crate::failure::{EXIT_UNREADABLE, Failure, Result};
use crate::image::OpenArgs;

/// Moves or renames something in an image
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mountless mv disk.img:/etc/app.conf disk.img:/etc/app.conf.old
  mountless mv disk.img:/a disk.img:/b disk.img:/directory")]
pub(crate) struct Args {
    /// What to move
    #[arg(required = true, value_name = "IMAGE:/FROM")]
    from: Vec<OsString>,

    /// Where to: a new path, or a directory that is there
    #[arg(value_name = "IMAGE:/TO")]
    to: OsString,

    #[command(flatten)]
    open: OpenArgs,
}

pub(crate) fn run(args: &Args) -> Result {
    let mut edits = Edits::new(args.open)?;
    let to = Place::parse(&args.to)?;
    for from in &args.from {
        let from = Place::parse(from)?;
        if from.reference != to.reference {
            let failure = Failure::new(EXIT_UNREADABLE, "cannot move from one image to another");
            return Err(failure.next("`mountless cp` copies, `mountless rm` removes what was copied"));
        }
        let many = args.from.len() > 1;
        edits.change(&from, |namespace, path| {
            let is_dir = namespace.exists(to.path)? && namespace.metadata(to.path)?.file_type.is_dir();
            if is_dir {
                namespace.rename(path, [to.path, b"/", from.name()].concat())
            } else if many {
                Err(mountless::Errno::NotDir.into())
            } else {
                namespace.rename(path, to.path)
            }
        })?;
    }
    edits.save()
}
