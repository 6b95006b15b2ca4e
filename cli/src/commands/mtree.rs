//! `mountless mtree`.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use mountless::errno::Errno;
use mountless::error::Error;
use mountless::transfer::{MtreeLine, MtreeOptions, for_each_mtree_line, write_mtree};

use crate::failure::{Failure, Result};
use crate::image::{Images, OpenArgs, unreadable};
use crate::json::Object;
use crate::output;

/// Prints an mtree(5) specification of an image, with SHA-256 hashes and extended attributes
///
/// `mountless check --against FILE` compares an image with it, mtree(8) a directory.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Extended attributes are words xattr.NAME=VALUE, the value in base64, as those of go-mtree. bsdtar lists such a file to its \
end, but complains about each of them, and its exit code is 1; --no-xattrs leaves them out.

With --json each line is an object with path and the words.

Examples:
  mountless mtree base.cpio.gz >base.mtree
  mountless mtree --no-sha256 --json oci:layout#latest:/etc")]
pub(crate) struct Args {
    /// An image, or a directory in it
    #[arg(value_name = "IMAGE[:/PATH]")]
    image: OsString,

    /// Leaves out the hashes, and so need not read the content
    #[arg(long)]
    no_sha256: bool,

    /// Leaves out extended attributes
    #[arg(long)]
    no_xattrs: bool,

    /// Prints one JSON object a line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    open: OpenArgs,
}

pub(crate) fn run(args: &Args) -> Result {
    let mut images = Images::new(args.open);
    let top = images.find_node(&args.image)?;
    let options = MtreeOptions { sha256: !args.no_sha256, xattrs: !args.no_xattrs };
    let mut out = output::stdout();
    let written = if args.json {
        for_each_mtree_line(&top, options, |line| write_json(&mut out, &line).map_err(from_io))
            .and_then(|()| out.flush().map_err(from_io))
    } else {
        write_mtree(&top, out, options).map(|_| ())
    };
    match written {
        Err(error) if error == Errno::Pipe => Err(Failure::new(0, "")),
        other => other.map(|()| ExitCode::SUCCESS).map_err(|error| unreadable(&error)),
    }
}

fn write_json(out: &mut impl Write, line: &MtreeLine<'_>) -> io::Result<()> {
    let mut object = Object::begin(out)?;
    object.bytes("path", &[b"/", line.path].concat())?;
    for (key, value) in &line.words {
        match &**key {
            "uid" | "gid" | "nlink" | "size" => object.number(key, value)?,
            _ => object.text(key, value)?,
        }
    }
    object.end()?;
    out.write_all(b"\n")
}

fn from_io(error: io::Error) -> Error {
    let errno = match error.kind() {
        io::ErrorKind::StorageFull => Errno::NoSpace,
        io::ErrorKind::BrokenPipe => Errno::Pipe,
        _ => Errno::Io,
    };
    Error::new(errno, error)
}
