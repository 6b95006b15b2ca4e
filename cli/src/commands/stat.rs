//! `mountless stat`.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use mountless::attr::{Attr, FileType};
use mountless::name::escape;
use mountless::namespace::Follow;

use crate::failure::Result;
use crate::image::{Images, OpenArgs};
use crate::json::Object;
use crate::output;
use crate::record::{Mode, Moment, Record};

/// Shows what is known about files and directories
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --json each line is an object with the fields that `mountless find --json` has.

Example:
  mountless stat base.cpio.gz:/bin/sh")]
pub(crate) struct Args {
    /// Nodes in images; an image alone is its root
    #[arg(required = true, value_name = "IMAGE[:/PATH]")]
    nodes: Vec<OsString>,

    /// Prints one JSON object a line
    #[arg(long)]
    json: bool,

    /// Shows what a symbolic link leads to, not the link
    #[arg(short = 'L', long)]
    follow: bool,

    #[command(flatten)]
    open: OpenArgs,
}

pub(crate) fn run(args: &Args) -> Result {
    let mut out = output::stdout();
    let mut images = Images::new(args.open);
    for node in &args.nodes {
        let target = images.find(node, if args.follow { Follow::Yes } else { Follow::No })?;
        let at = &target.location;
        let record = Record::read(at.fs(), at.node(), false).map_err(|error| target.failed(&error))?;
        if args.json {
            let mut object = Object::begin(&mut out)?;
            record.write_json(&mut object, &target.path)?;
            object.end()?;
            out.write_all(b"\n")?;
        } else {
            show(&mut out, &target.path, &record)?;
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn show(out: &mut impl Write, path: &[u8], record: &Record) -> io::Result<()> {
    let Attr { file_type, mode, uid, gid, nlink, size, allocated, rdev, mtime, ino, recorded, .. } = record.attr;
    let unless = |recorded| if recorded { "" } else { "  (not in the image)" };
    writeln!(out, "{}", escape(path))?;
    writeln!(out, "  type      {}", file_type.word())?;
    if let Some(target) = &record.target {
        writeln!(out, "  target    {}", escape(target))?;
    }
    if file_type == FileType::File {
        writeln!(out, "  size      {size} bytes, {allocated} stored")?;
    }
    if let Some(device) = rdev {
        writeln!(out, "  device    {}:{}", device.major, device.minor)?;
    }
    writeln!(out, "  mode      {mode:04o} {}{}", Mode(&record.attr), unless(recorded.mode))?;
    writeln!(out, "  owner     {uid}:{gid}{}", unless(recorded.owner))?;
    writeln!(out, "  modified  {}{}", Moment(mtime), unless(recorded.mtime))?;
    writeln!(out, "  links     {nlink}")?;
    writeln!(out, "  node      {ino}")?;
    for (name, value) in &record.xattrs {
        writeln!(out, "  xattr     {} = {}", escape(name), escape(value))?;
    }
    Ok(())
}
