//! The conformance suite on every backend, each case a test of its own: `mem::rename::into_own_subtree`.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use mountless::backend::host::HostFs;
use mountless::backend::mem::MemFs;
use mountless::backend::tfs::{NewVolume, TfsVolume};
use mountless::clock::SystemClock;
use mountless::conformance::{Capabilities, cases};
use mountless::format::tfs::Uuid;
use mountless::fs::FileSystem;
use mountless::source::MemStorage;

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

/// A new directory of the host, on whatever holds the temporary files.
fn host() -> Made {
    let dir = tempfile::tempdir().unwrap();
    (Arc::new(HostFs::open(dir.path()).unwrap()), Box::new(dir))
}

/// What Linux lets us do. Devices and owners need root.
fn of_host() -> Capabilities {
    let is_root = rustix::process::geteuid().is_root();
    Capabilities {
        devices: is_root,
        owners: is_root,
        whiteouts: false,
        empty_links: false,
        link_modes: false,
        set_ctime: false,
        greatest_files: false,
        ..Capabilities::ALL
    }
}

/// A new volume in memory.
fn tfs() -> Made {
    let new = NewVolume { len: 64 << 20, uuid: Uuid::default(), label: Vec::new() };
    let volume = TfsVolume::make(Arc::new(MemStorage::new()), &new, Arc::new(SystemClock)).unwrap();
    (Arc::new(volume), Box::new(()))
}

/// What Nanos keeps for us.
const OF_TFS: Capabilities = Capabilities { empty_links: false, set_ctime: false, ..Capabilities::ALL };

fn main() {
    let tests = trials("mem", memory, Capabilities::ALL)
        .chain(trials("host", host, of_host()))
        .chain(trials("tfs", tfs, OF_TFS))
        .collect();
    libtest_mimic::run(&Arguments::from_args(), tests).exit();
}
