//! Filesystem images without mounting.
//!
//! mountless opens the images that virtual machines, unikernels and containers boot from as one POSIX tree, inside the
//! process that asks: no root, no mount, no extraction. Files are read straight from the image's own bytes; changes go
//! to an upper layer.
//!
//! ```
//! use mountless::{Namespace, Stack};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let fs = Stack::open(["examples/demo.cpio.gz"])?.with_memory_upper()?; // nothing is extracted
//! let ns = Namespace::new(fs);
//! ns.write("/etc/motd", b"hello")?; // the image itself never changes
//! assert_eq!(ns.read("/etc/motd")?, b"hello");
//! # Ok(()) }
//! ```
//!
//! # Opening
//! [`Stack`] opens images by [reference](open::ImageRef) (`[FORMAT:]LOCATION[#SELECT]`) and merges them; what they are
//! is found from their bytes. [`open`](mod@open) does the same one at a time, from any [`source`], and tells what it
//! found.
//!
//! # Paths
//! [`Namespace`] is the only place with paths. It has `std::fs`-like methods, and `*_at` operations that cannot leave
//! the directory they start from.
//!
//! # Nodes
//! Below the walk there is one interface, [`fs::FileSystem`]: nodes with 64-bit ids, single names, explicit offsets.
//! Every image, [memory](backend::mem), host directories and the [overlay](compose::Overlay) implement
//! it, and so can you.
//!
//! # Transfer
//! [`transfer`] packs a tree into an image, copies it into another one or into a directory, and compares trees;
//! [`edit`] changes images in place; [`inspect`] checks them and reads their logs.
//!
//! # Errors and untrusted bytes
//! Every [`Error`] has an [`Errno`]; damage in an image is a typed [`Corrupt`](error::Corrupt) with the byte offset. Any
//! bytes give a tree or such an error: no panic, no unbounded work; every limit stands in [`limits`].
//!
//! # Features
//! `host` (default): host directories. `oci` (default): container images. `bzip2`, `lz4`, `lzma`, `lzo`, `zstd`
//! (default): compressions besides gzip. `vfs`: namespaces for the `vfs` crate. `conformance`: the suite.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation, reason = "tests"))]

extern crate alloc;

pub mod attr;
pub mod backend;
mod checked;
pub mod clock;
pub mod compose;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod edit;
pub mod errno;
pub mod error;
pub mod format;
pub mod fs;
pub mod inspect;
pub mod limits;
pub mod name;
pub mod namespace;
pub mod open;
pub mod path;
mod progress;
pub mod size;
pub mod source;
mod stack;
#[cfg(any(test, feature = "conformance"))]
mod testing;
pub mod transfer;
#[cfg(feature = "vfs")]
mod vfs;

/// The examples of the README, which run in the package's directory; `examples` there leads to those of the workspace.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

pub use self::errno::Errno;
pub use self::error::{Error, Result};
pub use self::namespace::Namespace;
pub use self::open::open;
pub use self::stack::Stack;
