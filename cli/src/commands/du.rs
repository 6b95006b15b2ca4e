//! `mountless du`.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use mountless::Errno;
use mountless::fs::NodeRef;
use mountless::inspect::{Usage, usage};
use mountless::name::escape;
use mountless::namespace::Follow;
use mountless::open::split_path;

use crate::failure::{EXIT_FAILED, Failure, Result};
use crate::image::{Image, Images, OpenArgs, open_image};
use crate::json::Object;
use crate::output::{self, Out};

/// Sums up what directories hold
///
/// In bytes of content, that of a file with several names once; nothing is rounded up to blocks.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --json each line is an object with path, content_bytes, stored_bytes and nodes; with --layers with layer, digest, \
stored_bytes, unpacked_bytes and entries.

Examples:
  mountless du --depth 1 base.cpio.gz:/usr
  mountless du --layers oci:layout#latest")]
pub(crate) struct Args {
    /// Images, or directories in them
    #[arg(required = true, value_name = "IMAGE[:/PATH]")]
    images: Vec<OsString>,

    /// Shows only this many levels below the top
    #[arg(short, long, value_name = "N")]
    depth: Option<u32>,

    /// Shows only the sum
    #[arg(short, long, conflicts_with = "depth")]
    summarize: bool,

    /// Shows what each layer of a container image takes instead
    #[arg(long)]
    layers: bool,

    /// Prints one JSON object a line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    open: OpenArgs,
}

pub(crate) fn run(args: &Args) -> Result {
    let mut out = output::stdout();
    let mut images = Images::new(args.open);
    for image in &args.images {
        if args.layers {
            layers(&mut out, split_path(image).0, args)?;
            continue;
        }
        let target = images.find(image, Follow::Yes)?;
        let top = Arc::new(target.location.node_ref());
        // Of several, each is named as it was given.
        let prefix = if args.images.len() > 1 && !args.json {
            format!("{}:", split_path(image).0.to_string_lossy())
        } else {
            String::new()
        };
        sum_up(&mut out, &top, &target.path, &prefix, args)?.map_err(|error| target.failed(&error))?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn sum_up(
    out: &mut Out,
    top: &Arc<NodeRef>,
    path: &[u8],
    prefix: &str,
    args: &Args,
) -> io::Result<mountless::Result<()>> {
    let depth = if args.summarize { Some(0) } else { args.depth };
    let mut written = Ok(());
    let summed = usage(top, path, |path, level, usage| {
        if depth.is_some_and(|depth| level > depth) {
            return Ok(());
        }
        written = write(out, path, prefix, usage, args.json);
        // Any error ends it; `written` tells which.
        if written.is_ok() { Ok(()) } else { Err(Errno::Pipe.into()) }
    });
    written?;
    Ok(summed)
}

fn write(out: &mut Out, path: &[u8], prefix: &str, usage: Usage, json: bool) -> io::Result<()> {
    let Usage { content_len, stored_len, nodes } = usage;
    if !json {
        return writeln!(out, "{content_len:>12} {prefix}{}", escape(path));
    }
    let mut object = Object::begin(out)?;
    object.bytes("path", path)?;
    object.number("content_bytes", content_len)?;
    object.number("stored_bytes", stored_len)?;
    object.number("nodes", nodes)?;
    object.end()?;
    out.write_all(b"\n")
}

fn layers(out: &mut Out, reference: &OsStr, args: &Args) -> Result<()> {
    let Image { facts, .. } = open_image(reference, args.open)?;
    if facts.layers.is_empty() {
        let message = format!("cannot sum up layers: {}: it has none", reference.to_string_lossy());
        return Err(Failure::new(EXIT_FAILED, message).next("`mountless du IMAGE` sums up its directories"));
    }
    // As `#layer=N` counts them.
    for (number, layer) in (1_usize..).zip(&facts.layers) {
        let digest = layer.digest.as_deref();
        if args.json {
            let mut object = Object::begin(out)?;
            object.number("layer", number)?;
            if let Some(digest) = digest {
                object.text("digest", digest)?;
            }
            object.number("stored_bytes", layer.stored_len)?;
            object.number("unpacked_bytes", layer.archive.unpacked_len)?;
            object.number("entries", layer.archive.entries)?;
            object.end()?;
            out.write_all(b"\n")?;
        } else {
            let (stored, unpacked, entries) = (layer.stored_len, layer.archive.unpacked_len, layer.archive.entries);
            let digest = digest.unwrap_or("-");
            writeln!(out, "{stored:>12} {unpacked:>12} {entries:>8}  layer {number}  {digest}")?;
        }
    }
    Ok(())
}
