//! Mounts a stack of images with changes in memory, or an empty tree in memory, until it is interrupted.
//!
//! ```text
//! cargo run -p mountless-fuse --example mount -- [--shared] [--write-through] [--read-only] [--allow-other] DIR [IMAGE]...
//! ```

use std::error::Error;
use std::sync::Arc;

use mountless::backend::mem::MemFs;
use mountless::fs::FileSystem;
use mountless::open::ImageRef;
use mountless::{Namespace, Stack};
use mountless_fuse::MountOptions;

fn main() -> Result<(), Box<dyn Error>> {
    let mut options = MountOptions::new();
    let mut places = Vec::new();
    for argument in std::env::args().skip(1) {
        options = match argument.as_str() {
            "--shared" => options.shared(true),
            "--write-through" => options.cache_writes(false),
            "--read-only" => options.read_only(true),
            "--allow-other" => options.allow_other(true),
            _ => {
                places.push(argument);
                options
            }
        };
    }
    let Some((dir, images)) = places.split_first() else { return Err("no directory to mount on".into()) };
    let tree: Arc<dyn FileSystem> = match images {
        [] => Arc::new(MemFs::new()),
        images => Stack::open(images.iter().map(ImageRef::parse))?.with_memory_upper()?,
    };
    Ok(mountless_fuse::mount(Namespace::new(tree), dir, &options)?)
}
