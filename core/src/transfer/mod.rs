//! From tree to tree: differences.

pub mod diff;
