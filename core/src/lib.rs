//! Filesystem images without mounting.
extern crate alloc;

pub mod attr;
pub mod backend;
mod checked;
pub mod clock;
pub mod compose;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod errno;
pub mod error;
pub mod fs;
pub mod limits;
pub mod name;
pub mod namespace;
pub mod source;
