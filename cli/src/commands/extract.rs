//! `mountless extract`.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use mountless::errno::Errno;
use mountless::error::Error;
use mountless::fs::NodeRef;
use mountless::name::escape;
use mountless::source::Replacement;
use mountless::transfer::{CopyReport, ExtractOptions, MtreeOptions, Progress, extract, write_mtree};

use super::pack::tell;
use crate::failure::{EXIT_FAILED, Failure, Result};
use crate::image::{Images, OpenArgs};
use crate::json::Object;
use crate::{output, progress};

/// Writes what an image holds into a directory, without being root
///
/// Nothing outside the directory is touched, whatever names and links say: no link is followed, in the image or there.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Who is not root cannot make devices or give files to others. Then these are left out or belong to who extracts, which is \
told on standard error and with --json in the fields lost_count and lost (path, what); and a manifest beside the \
directory, DIR.mtree, says how all of it should be.

Examples:
  mountless extract base.cpio.gz rootfs
  mountless extract oci:layout#latest:/etc etc")]
pub(crate) struct Args {
    /// An image, or a directory in it
    #[arg(value_name = "IMAGE[:/PATH]")]
    image: OsString,

    /// Where to; made if it is missing
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    /// Replaces files that are there already
    #[arg(short, long)]
    force: bool,

    /// Everything belongs to who extracts, even to root
    #[arg(long)]
    own: bool,

    /// Where the manifest goes, and that there shall be one
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,

    /// Prints one JSON object about what was written
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    open: OpenArgs,
}

pub(crate) fn run(args: &Args) -> Result {
    let mut images = Images::new(args.open);
    let (top, target) = (images.find_node(&args.image)?, &args.image);
    let dir = args.dir.display().to_string();
    if !top.file_type().is_dir() {
        let failure = Failure::new(EXIT_FAILED, format!("cannot extract: {}: not a directory", target.display()));
        return Err(failure.next("`mountless cp IMAGE:/FILE TO` copies one file, `mountless cat` prints it"));
    }
    let progress = Progress::new();
    let options = ExtractOptions { replace: args.force, own: args.own };
    let report = progress::watch("extracting to", &dir, &progress, || extract(&top, &args.dir, options, &progress));
    let report = report.map_err(|error| failed(target, &dir, &error))?;
    tell(&report.lost, report.lost_count);
    let manifest = match &args.manifest {
        Some(manifest) => Some(manifest.clone()),
        None => (report.lost_count > 0).then(|| beside(&args.dir)).flatten(),
    };
    if let Some(manifest) = &manifest {
        write_manifest(&top, manifest).map_err(|error| {
            Failure::new(EXIT_FAILED, format!("cannot write manifest: {}: {error}", manifest.display()))
        })?;
        if args.manifest.is_none() {
            output::note(&format!("{} says how all of it should be", manifest.display()));
        }
    }
    if args.json {
        let mut out = output::stdout();
        write_json(&mut out, &dir, &report, manifest.as_deref())?;
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `DIR.mtree`, beside the directory.
fn beside(dir: &Path) -> Option<PathBuf> {
    let dir = dir.canonicalize().ok()?;
    let mut name = dir.file_name()?.to_owned();
    name.push(".mtree");
    Some(dir.with_file_name(name))
}

fn write_manifest(top: &Arc<NodeRef>, path: &Path) -> mountless::Result<()> {
    let out = BufWriter::new(Replacement::create(path)?);
    let out = write_mtree(top, out, MtreeOptions { sha256: false, xattrs: true })?;
    out.into_inner().map_err(|error| Error::new(Errno::Io, error.into_error()))?.commit()
}

fn failed(image: &OsStr, dir: &str, error: &Error) -> Failure {
    if error.corrupt().is_some() {
        return Failure::unreadable(error);
    }
    let failure = Failure::new(EXIT_FAILED, format!("cannot extract: {}: to {dir}: {error}", image.display()));
    match error.errno() {
        Errno::Exists => failure.next("--force replaces what is there; an empty directory needs none"),
        Errno::NotEmpty => failure.next("a directory stands where a file should be; move it away"),
        Errno::NotFound => failure.next("the directory above it must exist"),
        _ => failure,
    }
}

fn write_json(out: &mut impl Write, dir: &str, report: &CopyReport, manifest: Option<&Path>) -> io::Result<()> {
    let mut object = Object::begin(out)?;
    object.text("dir", dir)?;
    object.number("entries", report.entries)?;
    object.number("content_bytes", report.content_len)?;
    object.number("lost_count", report.lost_count)?;
    object.array("lost", &report.lost, |lost, object| {
        object.text("path", escape(&lost.path))?;
        object.text("what", lost.what)
    })?;
    if let Some(manifest) = manifest {
        object.text("manifest", manifest.display())?;
    }
    object.end()?;
    out.write_all(b"\n")
}
