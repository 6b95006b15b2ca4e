//! Trees into images.

mod pack;

pub use self::pack::{Loss, Lost, PackFormat, PackOptions, PackReport, pack};
