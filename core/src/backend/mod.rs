//! Filesystems over one store each.

pub mod archive;
