//! `mountless find`.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use mountless::name::escape;
use mountless::namespace::Follow;

use crate::failure::{Failure, Result};
use crate::image::{OpenArgs, Target};
use crate::json::Object;
use crate::record::Record;
use crate::{output, walk};

/// Lists everything in an image, or below a path in it, sorted by the bytes of the paths
///
/// Bytes that are not UTF-8, control bytes and backslashes are shown as three octal digits behind a backslash.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --json each line is an object with: path, type (file dir symlink char block fifo socket whiteout), mode (octal),
uid, gid, nlink, size (files), mtime (seconds), rdev (\"major:minor\"), target (of symlinks), ino, xattrs (name to hex),
sha256 (with --sha256) and hardlink (first path of the same node). What the image does not record is absent.

Examples:
  mountless find base.cpio.gz
  mountless find --json --sha256 base.cpio.gz:/etc")]
pub(crate) struct Args {
    /// Image, or directory in it
    #[arg(value_name = "IMAGE[:/PATH]")]
    image: OsString,

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
    let target = Target::find(&args.image, args.open, Follow::No)?;
    let mut out = output::stdout();
    // Hard links come as pairs of path and node; the first of them, in this order, names the group.
    let mut first_paths = std::collections::HashMap::<u64, Box<[u8]>>::new();
    let at = &target.location;
    let failed = |path: &[u8], error| target.failed_at(path, &error);
    walk::in_path_order(
        at.fs(),
        at.node(),
        at.file_type(),
        &target.path,
        |path, node, file_type| {
            if args.null {
                out.write_all(path)?;
                out.write_all(b"\0")?;
                return Ok(());
            }
            if !args.json {
                writeln!(out, "{}", escape(path))?;
                return Ok(());
            }
            let record = Record::read(at.fs(), node, args.sha256).map_err(|error| failed(path, error))?;
            let mut object = Object::begin(&mut out)?;
            record.write_json(&mut object, path)?;
            if record.attr.nlink > 1 && !file_type.is_dir() {
                let first = first_paths.entry(record.attr.ino).or_insert_with(|| path.into());
                object.bytes("hardlink", first)?;
            }
            object.end()?;
            out.write_all(b"\n")?;
            Ok::<(), Failure>(())
        },
        failed,
    )?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
