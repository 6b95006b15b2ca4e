//! From tree to tree, and into images.

pub mod diff;
mod pack;

pub use self::pack::{Loss, Lost, PackFormat, PackOptions, PackReport, pack};
