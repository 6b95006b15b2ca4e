//! Filesystems over one store each.

pub mod archive;
#[cfg(all(feature = "host", target_os = "linux"))]
pub mod host;
pub mod mem;
pub mod tfs;
