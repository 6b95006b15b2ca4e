//! Images on the command line: opening them, and finding what is in them.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use clap::Args;
use mountless::backend::tfs::Part;
use mountless::errno::Errno;
use mountless::error::{Corrupt, Error};
use mountless::fs::{FileSystem, NodeRef};
use mountless::namespace::{Follow, Location, Namespace};
use mountless::open::{
    Format, ImageFacts, ImageRef, OpenOptions, Remember, format_of, open, split_path, stored_bytes, tfs_part,
};
use mountless::path::shorten;
use mountless::size::Size;
use mountless::source::Source;
use mountless::transfer::Progress;

use crate::failure::{EXIT_FAILED, EXIT_UNREADABLE, Failure, Result};
use crate::progress::{patiently, watch};

/// How to open images.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct OpenArgs {
    /// Most bytes that an image may decompress to, for example 512M or 16GiB [default: 4GiB]
    #[arg(long, value_name = "SIZE")]
    max_unpacked: Option<Size>,

    /// Gives the tree that Linux would boot with, even where an initial RAM filesystem is damaged
    #[arg(long)]
    as_linux: bool,

    /// Gives what can be read of a damaged TFS: the tree as it was before the damage in its log
    #[arg(long)]
    recover: bool,

    /// Neither uses nor fills the user's cache directory, which holds compiled programs and where the entries of large
    /// cpio archives are
    #[arg(long)]
    pub(crate) no_cache: bool,
}

impl OpenArgs {
    /// With a progress of their own, for [`opening`].
    pub(crate) fn options(self) -> OpenOptions {
        let default = OpenOptions::default();
        OpenOptions {
            max_unpacked: self.max_unpacked.map_or(default.max_unpacked, |Size(bytes)| bytes),
            as_linux: self.as_linux,
            recover: self.recover,
            remember: if self.no_cache { Remember::Nothing } else { Remember::InUserCache },
            progress: Some(Arc::new(Progress::new())),
            ..default
        }
    }
}

/// An open image and its tree.
pub(crate) struct Image {
    pub(crate) fs: Arc<dyn FileSystem>,
    pub(crate) namespace: Namespace,
    pub(crate) facts: ImageFacts,
}

/// Opens an image.
pub(crate) fn open_image(reference: &OsStr, args: OpenArgs) -> Result<Image> {
    let options = args.options();
    let opened = opening(&reference.to_string_lossy(), &options, || open(&ImageRef::parse(reference), &options));
    let image = opened.map_err(|error| unreadable(&error))?;
    Ok(Image { namespace: Namespace::new(Arc::clone(&image.fs)), fs: image.fs, facts: image.facts })
}

/// The bytes of a TFS, or of the disk it is on, and which one is selected.
pub(crate) fn tfs_bytes(reference: &OsStr, args: OpenArgs) -> Result<(Arc<dyn Source>, Option<Part>)> {
    let image = ImageRef::parse(reference);
    let read = || {
        let Some(source) = stored_bytes(&image, &args.options())? else { return Ok(None) };
        let format = image.format.map_or_else(|| format_of(&source), Ok)?;
        Ok((format == Format::Tfs).then_some((source, tfs_part(image.select.as_deref())?)))
    };
    read().map_err(|error| unreadable(&error))?.ok_or_else(|| {
        let message = format!("cannot read: {}: it is no TFS", reference.to_string_lossy());
        Failure::new(EXIT_UNREADABLE, message).next("`mountless info IMAGE` tells what it is")
    })
}

/// Why an image cannot be read, and what to do about it.
pub(crate) fn unreadable(error: &Error) -> Failure {
    let failure = Failure::unreadable(error);
    match error.errno() {
        Errno::NotFound => failure.next("check the name; `-` reads standard input"),
        Errno::Access => failure.next("check the permissions of the file and of the directories above it"),
        Errno::FileTooBig => failure.next("--max-unpacked SIZE raises the limit, if you trust the image"),
        Errno::Io => match error.corrupt().map(Corrupt::format) {
            None => failure,
            Some("tfs") => failure.next("--recover gives the tree as it was before the damage"),
            Some("tar") => {
                failure.next("compare the file with its source; --as-linux passes over what GNU tar passes over")
            }
            // Of containers: digests, and what describes layers.
            Some("image") => failure.next("compare the file with its source"),
            Some(_) => failure.next("compare the file with its source; --as-linux shows what Linux would boot with"),
        },
        Errno::Invalid | Errno::NotSupported => failure.next("`mountless --help` names what can be read"),
        _ => failure,
    }
}

/// Opens with `options`, and shows how much is decompressed if that takes long.
pub(crate) fn opening<T>(what: &str, options: &OpenOptions, open: impl FnOnce() -> T) -> T {
    match &options.progress {
        Some(progress) => watch("opening", what, progress, open),
        None => patiently("opening", what, open),
    }
}

/// The images that one command line names, each opened once, however often it is named.
pub(crate) struct Images {
    args: OpenArgs,
    open: HashMap<OsString, Namespace>,
}

impl Images {
    pub(crate) fn new(args: OpenArgs) -> Self {
        Self { args, open: HashMap::new() }
    }

    fn open(&mut self, reference: &OsStr) -> Result<Namespace> {
        if let Some(namespace) = self.open.get(reference) {
            return Ok(namespace.clone());
        }
        let Image { namespace, .. } = open_image(reference, self.args)?;
        self.open.insert(reference.to_owned(), namespace.clone());
        Ok(namespace)
    }

    /// Opens the image of `IMAGE[:/PATH]` and finds the node there, a link for what it leads to.
    pub(crate) fn find_node(&mut self, argument: &OsStr) -> Result<Arc<NodeRef>> {
        Ok(Arc::new(self.find(argument, Follow::Yes)?.location.node_ref()))
    }

    /// Opens the image of `IMAGE[:/PATH]` and finds the path.
    pub(crate) fn find(&mut self, argument: &OsStr, follow: Follow) -> Result<Target> {
        let (reference, path) = split_path(argument);
        let path = path.unwrap_or(b"/");
        let found = self.open(reference)?.locate(path, follow);
        let location = found.map_err(|error| failed(argument, &error))?;
        let path = match path.iter().rposition(|&byte| byte != b'/') {
            Some(last) => path.get(..=last).unwrap_or_default().to_vec(),
            None => b"/".to_vec(),
        };
        Ok(Target { shown: argument.to_owned(), path, location })
    }
}

/// Something in an image, as named on the command line.
pub(crate) struct Target {
    /// As it was given.
    shown: OsString,
    /// Absolute, without a slash at the end; the root is `/`.
    pub(crate) path: Vec<u8>,
    pub(crate) location: Location,
}

impl Target {
    /// As it was given on the command line.
    pub(crate) fn shown(&self) -> &OsStr {
        &self.shown
    }

    /// A failure about this target.
    pub(crate) fn failed(&self, error: &Error) -> Failure {
        failed(&self.shown, error)
    }

    /// A failure about something below it.
    pub(crate) fn failed_at(&self, path: &[u8], error: &Error) -> Failure {
        let (reference, _) = split_path(&self.shown);
        failed_text(&format!("{}:{}", reference.to_string_lossy(), shorten(path)), error)
    }
}

fn failed(argument: &OsStr, error: &Error) -> Failure {
    failed_text(&argument.to_string_lossy(), error)
}

fn failed_text(argument: &str, error: &Error) -> Failure {
    if error.corrupt().is_some() {
        return Failure::new(crate::failure::EXIT_UNREADABLE, format!("cannot read image: {argument}: {error}"));
    }
    let failure = Failure::new(EXIT_FAILED, format!("cannot read: {argument}: {error}"));
    match error.errno() {
        Errno::NotFound => failure.next("`mountless find IMAGE` lists all paths"),
        Errno::IsDir => failure.next("`mountless ls` lists a directory"),
        Errno::Loop => failure.next("`mountless ls -l` shows where symbolic links lead"),
        _ => failure,
    }
}
