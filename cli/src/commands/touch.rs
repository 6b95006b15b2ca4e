//! `mountless touch`.

use std::ffi::OsString;
use std::time::SystemTime;

use mountless::attr::{SetAttr, SetTime};
use mountless::clock::Timestamp;
use mountless::namespace::{Follow, OpenHow};

use crate::edits::{Edits, Place};
use crate::image::OpenArgs;

/// Sets the time of files in an image, and makes those that are missing
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  mountless touch -d 2024-02-29T12:00:00Z rootfs.tar:/etc/motd")]
pub(crate) struct Args {
    /// The files
    #[arg(required = true, value_name = "IMAGE:/PATH")]
    files: Vec<OsString>,

    /// The time: as in the example, or seconds since 1970 behind an @ [default: now]
    #[arg(short, long, value_name = "TIME", value_parser = time)]
    date: Option<Timestamp>,

    /// Makes no files
    #[arg(short = 'c', long)]
    no_create: bool,

    #[command(flatten)]
    open: OpenArgs,
}

fn time(text: &str) -> std::result::Result<Timestamp, String> {
    if let Some(secs) = text.strip_prefix('@') {
        return secs.parse().map(Timestamp::from_secs).map_err(|error| format!("{secs}: {error}"));
    }
    let time: std::result::Result<SystemTime, _> = humantime::parse_rfc3339_weak(text);
    time.map(Timestamp::from).map_err(|error| error.to_string())
}

pub(crate) fn run(args: &Args) -> crate::failure::Result {
    let mut edits = Edits::new(args.open)?;
    let time = args.date.map_or(SetTime::Now, SetTime::At);
    for file in &args.files {
        edits.change(&Place::parse(file)?, |namespace, path| {
            if !namespace.exists(path)? {
                if args.no_create {
                    return Ok(());
                }
                namespace.open(path, &OpenHow { truncate: false, ..OpenHow::WRITE })?;
            }
            let times = SetAttr { mtime: Some(time), atime: Some(time), ..SetAttr::default() };
            namespace.set_attr(path, Follow::Yes, &times)?;
            Ok(())
        })?;
    }
    edits.save()
}
