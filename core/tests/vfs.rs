//! The `vfs` crate's own tests, on a namespace.

#![allow(clippy::useless_vec, reason = "written by the macros of `vfs`")]

use std::sync::Arc;

use mountless::backend::mem::MemFs;
use mountless::compose::Overlay;
use mountless::namespace::Namespace;

fn overlay() -> Overlay {
    match Overlay::with_upper(vec![Arc::new(MemFs::new())], Arc::new(MemFs::new())) {
        Ok(overlay) => overlay,
        Err(error) => panic!("two empty layers merge: {error}"),
    }
}

mod memory {
    use super::*;
    vfs::test_vfs!(Namespace::new(Arc::new(MemFs::new())));
}

mod merged {
    use super::*;
    vfs::test_vfs!(Namespace::new(Arc::new(overlay())));
}
