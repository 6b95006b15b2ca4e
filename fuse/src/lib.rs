//! mountless trees as FUSE filesystems: for programs that need a mount after all. Linux only.
//!
//! ```no_run
//! use mountless::{Namespace, Stack};
//! use mountless_fuse::MountOptions;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let tree = Stack::open(["base.cpio.gz"])?.with_memory_upper()?;
//! // Until somebody unmounts, or SIGINT or SIGTERM arrives; a `Session` does it beside other work.
//! mountless_fuse::mount(Namespace::new(tree), "/mnt", &MountOptions::new())?;
//! # Ok(()) }
//! ```
//!
//! # What the kernel is told
//! The adapter is thin: each request is one or two calls on the tree. Everything that can be left to the kernel is:
//! permissions (`default_permissions`), walking of paths, locks, and, when nobody else changes the tree
//! ([`MountOptions::shared`]), caching of names, attributes, listings and writes.
//!
//! # Modules
//! `adapter` answers requests, `nodes` counts what the kernel references, `convert` translates values and `errno`
//! errors, `session` mounts and unmounts.
#![cfg(target_os = "linux")]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "tests"))]

mod adapter;
mod convert;
mod errno;
mod nodes;
mod session;

pub use self::session::{MountOptions, Session, Unmounter, mount, mount_and_say};
