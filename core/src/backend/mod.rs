//! Filesystems over one store each.

pub mod archive;
pub mod mem;
