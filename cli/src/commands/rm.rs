//! `mountless rm`.

use std::ffi::OsString;

use mountless::errno::Errno;

use crate::edits::{Edits, Place};
use crate::failure::Result;
use crate::image::OpenArgs;

/// Removes files and directories from an image
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  mountless rm -r base.cpio.gz:/usr/share/doc")]
pub(crate) struct Args {
    /// What to remove
    #[arg(required = true, value_name = "IMAGE:/PATH")]
    paths: Vec<OsString>,

    /// Removes directories, with what is in them
    #[arg(short, long)]
    recursive: bool,

    /// Does not mind what is not there
    #[arg(short, long)]
    force: bool,

    #[command(flatten)]
    open: OpenArgs,
}

pub(crate) fn run(args: &Args) -> Result {
    let mut edits = Edits::new(args.open)?;
    for path in &args.paths {
        edits.change(&Place::parse(path)?, |namespace, path| {
            let removed = match namespace.symlink_metadata(path) {
                Ok(attr) if attr.file_type.is_dir() && args.recursive => namespace.remove_dir_all(path),
                Ok(_) => namespace.remove_file(path),
                Err(error) => Err(error),
            };
            match removed {
                Err(error) if args.force && error == Errno::NotFound => Ok(()),
                other => other,
            }
        })?;
    }
    edits.save()
}
