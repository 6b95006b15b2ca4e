//! `mountless write`.

use std::ffi::OsString;
use std::io::{self, Read as _};

use mountless::attr::SetAttr;
use mountless::edit::ModeChange;
use mountless::namespace::{Follow, OpenHow};

use crate::edits::{Edits, Place};
use crate::failure::{EXIT_FAILED, Failure, Result, plainly};
use crate::image::OpenArgs;

/// Writes standard input into a file of an image
///
/// The file is made if it is missing, in a directory that is there. TFS is changed where it is; an archive is written anew beside the old file, which it then replaces.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  echo 'PermitRootLogin no' | mountless write --append rootfs.tar.gz:/etc/ssh/sshd_config")]
pub(crate) struct Args {
    /// The file
    #[arg(value_name = "IMAGE:/PATH")]
    file: OsString,

    /// Adds to the end instead of replacing what is there
    #[arg(short, long)]
    append: bool,

    /// Its permission bits, for example 0755 [default: those it has, 0644 for a new file]
    #[arg(short, long)]
    mode: Option<ModeChange>,

    #[command(flatten)]
    open: OpenArgs,
}

pub(crate) fn run(args: &Args) -> Result {
    let place = Place::parse(&args.file)?;
    let mut content = Vec::new();
    io::stdin()
        .lock()
        .read_to_end(&mut content)
        .map_err(|error| Failure::new(EXIT_FAILED, format!("cannot read: standard input: {}", plainly(&error))))?;
    let mut edits = Edits::new(args.open)?;
    edits.change(&place, |namespace, path| {
        let how = OpenHow { append: args.append, truncate: !args.append, ..OpenHow::WRITE };
        let mut file = namespace.open(path, &how)?;
        let mut rest = &*content;
        while !rest.is_empty() {
            let count = file.write(rest)?;
            rest = rest.get(count..).filter(|_| count > 0).ok_or(mountless::Errno::NoSpace)?;
        }
        if let Some(mode) = &args.mode {
            let attr = namespace.metadata(path)?;
            let changes = SetAttr { mode: Some(mode.apply(attr.mode, false)), ..SetAttr::default() };
            namespace.set_attr(path, Follow::Yes, &changes)?;
        }
        Ok(())
    })?;
    edits.save()
}
