//! The conformance suite on every backend, each case a test of its own: `mem::rename::into_own_subtree`.

use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use mountless::backend::mem::MemFs;
use mountless::conformance::{Capabilities, cases};
use mountless::fs::FileSystem;

/// A filesystem and whatever has to stay alive with it.
type Made = (Arc<dyn FileSystem>, Box<dyn std::any::Any>);

fn trials(backend: &str, make: fn() -> Made, can: Capabilities) -> impl Iterator<Item = Trial> {
    cases().map(move |case| {
        Trial::test(format!("{backend}::{}", case.name()), move || {
            let (fs, _kept) = make();
            case.run(fs, can);
            Ok(())
        })
    })
}

fn memory() -> Made {
    (Arc::new(MemFs::new()), Box::new(()))
}

fn main() {
    let tests = trials("mem", memory, Capabilities::ALL).collect();
    libtest_mimic::run(&Arguments::from_args(), tests).exit();
}
