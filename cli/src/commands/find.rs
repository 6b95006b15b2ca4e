//! `mountless find`.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use mountless::attr::FileType;
use mountless::name::escape;
use mountless::namespace::Follow;

use crate::failure::{Failure, Result};
use crate::image::{Images, OpenArgs, Target};
use crate::json::Object;
use crate::output::{self, Out};
use crate::record::Record;
use crate::walk;

/// Lists all paths in an image, or all about them as JSON
///
/// They are sorted by their bytes. Bytes that are not UTF-8, control bytes and backslashes are shown as three octal digits behind a backslash.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --json each line is an object with: path, type (file dir symlink char block fifo socket whiteout), mode (octal), \
uid, gid, nlink, size (files), mtime (seconds), rdev (\"major:minor\"), target (of symlinks), ino, xattrs (name to hex), \
sha256 (with --sha256) and hardlink (first path of the same node). What the image does not record is absent.

Examples:
  mountless find base.cpio.gz
  mountless find --json --sha256 base.cpio.gz:/etc")]
pub(crate) struct Args {
    /// Images, or directories in them
    #[arg(required = true, value_name = "IMAGE[:/PATH]")]
    images: Vec<OsString>,

    /// Prints one JSON object a line, with all that is known
    #[arg(long)]
    json: bool,

    /// With --json: adds the SHA-256 hash of the content of files
    #[arg(long, requires = "json")]
    sha256: bool,

    /// Ends paths with a NUL and escapes nothing, for `xargs -0`
    #[arg(short = '0', long, conflicts_with = "json")]
    null: bool,

    #[command(flatten)]
    open: OpenArgs,
}

pub(crate) fn run(args: &Args) -> Result {
    let mut out = output::stdout();
    let mut images = Images::new(args.open);
    for image in &args.images {
        list(&mut out, &images.find(image, Follow::No)?, args)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn list(out: &mut Out, target: &Target, args: &Args) -> Result<()> {
    // Of the paths of one node, the first in this order names it in all of them.
    let mut first_paths = HashMap::<u64, Box<[u8]>>::new();
    let at = &target.location;
    let failed = |path: &[u8], error| target.failed_at(path, &error);
    let visit = |path: &[u8], node, _: FileType| {
        if args.null {
            out.write_all(path)?;
            out.write_all(b"\0")?;
        } else if args.json {
            let record = Record::read(at.fs(), node, args.sha256).map_err(|error| failed(path, error))?;
            let mut object = Object::begin(out)?;
            record.write_json(&mut object, path)?;
            if record.attr.is_linked() {
                let first = first_paths.entry(record.attr.ino).or_insert_with(|| path.into());
                object.bytes("hardlink", first)?;
            }
            object.end()?;
            out.write_all(b"\n")?;
        } else {
            writeln!(out, "{}", escape(path))?;
        }
        Ok::<(), Failure>(())
    };
    walk::in_path_order(at.fs(), at.node(), at.file_type(), &target.path, visit, failed)
}
