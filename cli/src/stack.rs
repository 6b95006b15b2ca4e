//! Stacks on the command line: images, the layer that changes go to, and volumes.

use std::ffi::OsString;
use std::str::FromStr;
use std::sync::Arc;

use mountless::Stack;
use mountless::backend::mem::MemOptions;
use mountless::errno::Errno;
use mountless::error::Error;
use mountless::fs::FileSystem;
use mountless::name::escape;
use mountless::namespace::{MountOptions, Namespace};
use mountless::open::{Format, ImageRef, open, open_upper, split_path};

use crate::failure::{EXIT_FAILED, EXIT_UNREADABLE, Failure, Result};
use crate::image::{OpenArgs, opening, unreadable};

/// Which tree to work on.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct StackArgs {
    /// Image of the stack; repeat it for more, the lowest first
    #[arg(short, long = "image", value_name = "IMAGE")]
    images: Vec<OsString>,

    /// Where changes go: a directory, as Linux's overlayfs keeps them; a TFS image, to whose log they are appended; or
    /// `mem:` for memory, the default. Above other images its directory `upper` holds the changes, else it is changed
    /// itself
    #[arg(long, value_name = "IMAGE")]
    upper: Option<OsString>,

    /// Puts a host directory or an image at a path; `:ro` for reading only
    #[arg(long = "volume", value_name = "SRC:/PATH[:ro]")]
    volumes: Vec<Volume>,

    #[command(flatten)]
    open: OpenArgs,
}

/// A stack as its images are, and with what is done to it.
pub(crate) struct Trees {
    /// Missing if the only image is the one that is changed.
    pub(crate) before: Option<Arc<dyn FileSystem>>,
    pub(crate) after: Arc<dyn FileSystem>,
    /// The image, if it is only one.
    pub(crate) base: Option<ImageRef>,
}

impl StackArgs {
    /// What it is called: the images, lowest first.
    pub(crate) fn name(&self) -> String {
        let images = self.images.iter().chain(&self.upper);
        images.map(|image| image.to_string_lossy()).collect::<Vec<_>>().join(", ")
    }

    /// Whether the user's cache is left alone.
    pub(crate) const fn no_cache(&self) -> bool {
        self.open.no_cache
    }

    /// Whether no image is named at all.
    pub(crate) const fn is_empty(&self) -> bool {
        self.images.is_empty() && self.upper.is_none()
    }

    /// The merged tree, writable; changes go to the upper layer, which is `memory` unless another one is named.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "what is mounted needs Linux"))]
    pub(crate) fn tree(&self, memory: MemOptions) -> Result<Arc<dyn FileSystem>> {
        self.trees(memory).map(|trees| trees.after)
    }

    /// The same, with the images merged as they are.
    pub(crate) fn trees(&self, memory: MemOptions) -> Result<Trees> {
        let options = self.open.options();
        let stack = opening(&self.name(), &options, || Stack::open_with(&self.images, &options));
        let stack = stack.map_err(|error| unreadable(&error))?;
        let upper = match &self.upper {
            None => Arc::new(memory.build()),
            Some(reference) => {
                let open = || open_upper(&ImageRef::parse(reference), &options);
                opening(&reference.to_string_lossy(), &options, open).map_err(|error| unchangeable(&error))?
            }
        };
        // Without anything below there is nothing to merge, and changes need no marks for what they hide.
        if self.images.is_empty() {
            let before = self.upper.is_none().then(|| Arc::new(MemOptions::new().build()) as Arc<dyn FileSystem>);
            return Ok(Trees { before, after: upper, base: None });
        }
        let merged = stack.read_only().and_then(|before| {
            let base = if let [only] = &*self.images { Some(ImageRef::parse(only)) } else { None };
            Ok(Trees { before: Some(before), after: stack.with_upper(upper)?, base })
        });
        merged.map_err(|error| unreadable(&error))
    }

    /// Puts the volumes on the tree.
    pub(crate) fn mount_volumes(&self, namespace: &Namespace) -> Result<()> {
        self.volumes.iter().try_for_each(|volume| mount(namespace, volume, self.open))
    }
}

/// Why an image cannot be changed in place, and what to do about it.
fn unchangeable(error: &Error) -> Failure {
    let next = match error.errno() {
        Errno::Busy => "unmount it, or end the program that has it open",
        Errno::NotSupported => "--upper takes a directory, a TFS image, or `mem:` for memory",
        _ => return unreadable(error),
    };
    Failure::new(EXIT_UNREADABLE, format!("cannot change image: {error}")).next(next)
}

/// `SRC:/PATH[:ro]`.
#[derive(Clone, Debug)]
struct Volume {
    source: OsString,
    path: Vec<u8>,
    read_only: bool,
}

impl FromStr for Volume {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (rest, read_only) = text.strip_suffix(":ro").map_or((text, false), |rest| (rest, true));
        match split_path(rest.as_ref()) {
            (source, Some(path)) if !source.is_empty() => {
                Ok(Self { source: source.to_owned(), path: path.to_vec(), read_only })
            }
            _ => Err("a volume is SRC:/PATH or SRC:/PATH:ro, with an absolute path".to_owned()),
        }
    }
}

/// Host directories are changed in place; an image never is, so it gets memory for the changes.
fn mount(namespace: &Namespace, volume: &Volume, open_args: OpenArgs) -> Result<()> {
    let image = open(&ImageRef::parse(&volume.source), &open_args.options()).map_err(|error| unreadable(&error))?;
    let fs = if image.facts.format == Format::Dir || volume.read_only {
        image.fs
    } else {
        Stack::from_images(vec![image]).with_memory_upper().map_err(|error| unreadable(&error))?
    };
    let options = MountOptions { read_only: volume.read_only };
    let mounted = namespace.create_dir_all(&volume.path).and_then(|()| namespace.mount(&volume.path, fs, options));
    mounted.map_err(|error| {
        let failure = Failure::new(EXIT_FAILED, format!("cannot mount volume: {}: {error}", escape(&volume.path)));
        failure.next("a volume's path must be a directory, or free, and below the root")
    })
}
