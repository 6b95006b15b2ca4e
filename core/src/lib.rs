//! Filesystem images without mounting.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "tests"))]

extern crate alloc;

pub mod attr;
pub mod backend;
mod checked;
pub mod clock;
pub mod errno;
pub mod error;
pub mod format;
pub mod fs;
pub mod limits;
pub mod name;
pub mod open;
pub mod source;
