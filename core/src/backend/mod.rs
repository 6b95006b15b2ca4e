//! Filesystems over one store each.

pub mod mem;
