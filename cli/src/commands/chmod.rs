//! `mountless chmod`.

use std::ffi::OsString;

use mountless::attr::{FileType, SetAttr};
use mountless::edit::ModeChange;
use mountless::namespace::Follow;

use crate::edits::{Edits, Place};
use crate::failure::Result;
use crate::image::OpenArgs;

/// Changes permission bits in an image
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mountless chmod 0755 base.cpio.gz:/init
  mountless chmod -R go-w,a+rX rootfs.tar:/usr")]
pub(crate) struct Args {
    /// The bits: octal, or as chmod(1) takes them
    #[arg(value_name = "MODE", allow_hyphen_values = true)]
    mode: ModeChange,

    /// What to change
    #[arg(required = true, value_name = "IMAGE:/PATH")]
    paths: Vec<OsString>,

    /// What is in directories, too
    #[arg(short = 'R', long)]
    recursive: bool,

    #[command(flatten)]
    open: OpenArgs,
}

pub(crate) fn run(args: &Args) -> Result {
    let mut edits = Edits::new(args.open)?;
    for path in &args.paths {
        edits.change(&Place::parse(path)?, |namespace, path| {
            let mut todo = vec![(path.to_vec(), Follow::Yes)];
            while let Some((path, follow)) = todo.pop() {
                let attr = namespace.locate(&path, follow)?.attr()?;
                // Those of a link mean nothing, and where it leads nobody asked.
                if attr.file_type == FileType::Symlink {
                    continue;
                }
                let is_dir = attr.file_type.is_dir();
                let mode = Some(args.mode.apply(attr.mode, is_dir));
                namespace.set_attr(&path, follow, &SetAttr { mode, ..SetAttr::default() })?;
                if is_dir && args.recursive {
                    for entry in namespace.read_dir(&path)? {
                        todo.push(([&path, &b"/"[..], &entry.name].concat(), Follow::No));
                    }
                }
            }
            Ok(())
        })?;
    }
    edits.save()
}
