//! `mountless mkdir`.

use std::ffi::OsString;

use mountless::attr::SetAttr;
use mountless::edit::ModeChange;
use mountless::namespace::Follow;

use crate::edits::{Edits, Place};
use crate::failure::Result;
use crate::image::OpenArgs;

/// Makes directories in an image
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  mountless mkdir -p disk.img:/var/lib/app")]
pub(crate) struct Args {
    /// The directories
    #[arg(required = true, value_name = "IMAGE:/PATH")]
    dirs: Vec<OsString>,

    /// Makes those above it too, and does not mind one that is there
    #[arg(short, long)]
    parents: bool,

    /// Their permission bits
    #[arg(short, long, default_value = "0755")]
    mode: ModeChange,

    #[command(flatten)]
    open: OpenArgs,
}

pub(crate) fn run(args: &Args) -> Result {
    let mut edits = Edits::new(args.open)?;
    for dir in &args.dirs {
        edits.change(&Place::parse(dir)?, |namespace, path| {
            if args.parents {
                if namespace.exists(path)? && namespace.metadata(path)?.file_type.is_dir() {
                    return Ok(());
                }
                namespace.create_dir_all(path)?;
            } else {
                namespace.create_dir(path)?;
            }
            let mode = Some(args.mode.apply(0o755, true));
            namespace.set_attr(path, Follow::Yes, &SetAttr { mode, ..SetAttr::default() })?;
            Ok(())
        })?;
    }
    edits.save()
}
