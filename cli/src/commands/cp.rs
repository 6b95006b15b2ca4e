//! `mountless cp`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use mountless::errno::Errno;
use mountless::error::Error;
use mountless::fs::{FileSystem, NodeRef};
use mountless::name::Name;
use mountless::namespace::{Follow, Namespace};
use mountless::open::{Format, ImageRef, Location, open, split_path};
use mountless::transfer::{CopyOptions, Existing, Owners, Progress, copy_as};

use super::pack::tell;
use crate::edits::{Edits, Place, last_name};
use crate::failure::{EXIT_FAILED, EXIT_UNREADABLE, Failure, Result};
use crate::image::{Images, OpenArgs, unreadable};
use crate::progress;

/// Copies files into an image, out of one, or within one
///
/// A path without an image is one of the host. What comes from the host belongs to root in the image, unless -p is given.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mountless cp app.conf disk.img:/etc
  mountless cp -r rootfs base.cpio.gz:/
  mountless cp base.cpio.gz:/init .")]
pub(crate) struct Args {
    /// What to copy
    #[arg(required = true, value_name = "FROM")]
    from: Vec<OsString>,

    /// Where to: a new path, or a directory that is there
    #[arg(value_name = "TO")]
    to: OsString,

    /// Copies directories, with what is in them, and links as links
    #[arg(short, long)]
    recursive: bool,

    /// Keeps owners and times
    #[arg(short, long)]
    preserve: bool,

    #[command(flatten)]
    open: OpenArgs,
}

pub(crate) fn run(args: &Args) -> Result {
    let mut edits = Edits::new(args.open)?;
    let mut images = Images::new(args.open);
    let shown = args.to.to_string_lossy();
    let to_image = split_path(&args.to).1.is_some();
    let target = if to_image {
        let place = Place::parse(&args.to)?;
        let namespace = edits.editor(place.reference)?.namespace().clone();
        Target::find(&namespace, place.path).map_err(|error| place.failed(&error))?
    } else {
        let (namespace, path) = on_host(&args.to)?;
        Target::find(&namespace, &path).map_err(|error| failed(&args.to, &error))?
    };
    if args.from.len() > 1 && target.name.is_some() {
        let message = format!("cannot copy: {shown}: not a directory, but there are several things to copy");
        return Err(Failure::new(EXIT_FAILED, message));
    }
    for from in &args.from {
        let (source, name, from_image) = source(from, args, &mut edits, &mut images, &target)?;
        if source.file_type().is_dir() && !args.recursive {
            let failure = Failure::new(EXIT_FAILED, format!("cannot copy: {}: is a directory", from.to_string_lossy()));
            return Err(failure.next("-r includes what is in it"));
        }
        let owners = match (from_image || args.preserve, to_image) {
            (true, true) => Owners::Kept,
            (false, true) => Owners::All(0, 0),
            (_, false) => own(args.preserve),
        };
        let options = CopyOptions { owners, existing: Existing::Replace, keep_times: args.preserve };
        let name = target.name.as_deref().unwrap_or(&name);
        let progress = Progress::new();
        let copied = progress::watch("copying", &from.to_string_lossy(), &progress, || {
            copy_as(&source, &target.dir, Name::new(name)?, &options, &progress)
        });
        let report = copied.map_err(|error| failed(from, &error))?;
        tell(&report.lost, report.lost_count);
    }
    edits.save()
}

/// Whoever copies has what he copies to the host.
fn own(preserve: bool) -> Owners {
    let (uid, gid) = mountless::transfer::own_ids();
    if preserve { Owners::KeptIfPermitted(uid, gid) } else { Owners::All(uid, gid) }
}

/// Where copies go.
struct Target {
    dir: Arc<NodeRef>,
    /// What the copy is called; `None` for the name it has.
    name: Option<Vec<u8>>,
}

impl Target {
    fn find(namespace: &Namespace, path: &[u8]) -> mountless::Result<Self> {
        match namespace.locate(path, Follow::Yes) {
            Ok(found) if found.file_type().is_dir() => return Ok(Self { dir: Arc::new(found.node_ref()), name: None }),
            Ok(_) => {}
            Err(error) if error == Errno::NotFound && !path.ends_with(b"/") => {}
            Err(error) => return Err(error),
        }
        let name = last_name(path);
        let above = path.strip_suffix(name).filter(|above| !above.is_empty()).unwrap_or(b"/");
        let dir = namespace.locate(above, Follow::Yes)?;
        if !dir.file_type().is_dir() {
            return Err(Errno::NotDir.into());
        }
        Ok(Self { dir: Arc::new(dir.node_ref()), name: Some(name.to_vec()) })
    }
}

/// What to copy, its name, and whether it is in an image.
fn source(
    from: &OsStr,
    args: &Args,
    edits: &mut Edits,
    images: &mut Images,
    target: &Target,
) -> Result<(Arc<NodeRef>, Vec<u8>, bool)> {
    let follow = if args.recursive { Follow::No } else { Follow::Yes };
    let (reference, Some(path)) = split_path(from) else {
        let (namespace, path) = on_host(from)?;
        let found = namespace.locate(&path, follow).map_err(|error| failed(from, &error))?;
        return Ok((Arc::new(found.node_ref()), last_name(&path).to_vec(), false));
    };
    let name = last_name(path).to_vec();
    // The image that is being changed is seen as it is by now.
    if split_path(&args.to).0 == reference && split_path(&args.to).1.is_some() {
        let place = Place::parse(from)?;
        let found = edits.change(&place, |namespace, path| namespace.locate(path, follow))?;
        let node = Arc::new(found.node_ref());
        if node.file_type().is_dir() && target.dir.node() == node.node() {
            return Err(failed(from, &Errno::Invalid.into()));
        }
        return Ok((node, name, true));
    }
    let found = images.find(from, follow)?;
    Ok((Arc::new(found.location.node_ref()), name, true))
}

/// The directory above a path of the host, and the path in it.
fn on_host(path: &OsStr) -> Result<(Namespace, Vec<u8>)> {
    let whole = Path::new(path);
    // `.` and `..` have no name, and links above it lead where they lead on the host.
    let whole = if whole.is_dir() { whole.canonicalize() } else { Ok(whole.to_owned()) };
    let whole =
        whole.map_err(|error| Failure::new(EXIT_FAILED, format!("cannot copy: {}: {error}", path.display())))?;
    let (Some(dir), Some(name)) = (whole.parent(), whole.file_name()) else {
        return Err(Failure::new(EXIT_UNREADABLE, "cannot copy: the root directory of the host"));
    };
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let reference = ImageRef { format: Some(Format::Dir), location: Location::Path(dir.to_owned()), select: None };
    let fs: Arc<dyn FileSystem> =
        open(&reference, &mountless::open::OpenOptions::default()).map_err(|error| unreadable(&error))?.fs;
    Ok((Namespace::new(fs), [b"/", name.as_bytes()].concat()))
}

fn failed(argument: &OsStr, error: &Error) -> Failure {
    let argument = argument.to_string_lossy();
    if error.corrupt().is_some() {
        return Failure::new(EXIT_UNREADABLE, format!("cannot read image: {argument}: {error}"));
    }
    let failure = Failure::new(EXIT_FAILED, format!("cannot copy: {argument}: {error}"));
    match error.errno() {
        Errno::NotFound => failure.next("a path in an image is written IMAGE:/PATH; directories must exist"),
        Errno::NotEmpty | Errno::IsDir => failure.next("a directory is in the place of a file"),
        Errno::Exists | Errno::NotDir => failure.next("a file is in the place of a directory"),
        Errno::Invalid => failure.next("a directory cannot be copied into itself"),
        _ => failure,
    }
}
