//! The conformance suite on every backend and on the overlay, each case a test of its own:
//! `mem::rename::into_own_subtree`.
#![allow(clippy::unwrap_used, reason = "tests")]

mod archived;
mod prepared;
mod recorded;

use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use mountless::attr::{FileType, SetTime};
use mountless::backend::host::HostFs;
use mountless::backend::mem::MemFs;
use mountless::backend::tfs::{NewVolume, TfsVolume};
use mountless::clock::SystemClock;
use mountless::compose::{LinuxUpper, Overlay};
use mountless::conformance::{Capabilities, Case, cases};
use mountless::format::tfs::Uuid;
use mountless::fs::{FileSystem, NewKind};
use mountless::source::MemStorage;

use self::prepared::Step;

/// A filesystem and whatever has to stay alive with it.
type Made = (Arc<dyn FileSystem>, Box<dyn std::any::Any>);

fn each_case(of: &str, run: impl Fn(Case) + Copy + Send + 'static) -> impl Iterator<Item = Trial> {
    cases().map(move |case| {
        Trial::test(format!("{of}::{}", case.name()), move || {
            run(case);
            Ok(())
        })
    })
}

fn trials(of: &str, make: fn() -> Made, can: Capabilities) -> impl Iterator<Item = Trial> {
    each_case(of, move |case| {
        let (fs, _kept) = make();
        case.run(fs, can);
    })
}

/// The suite on an overlay with its upper in memory, over a lower prepared for each case.
fn over_prepared(of: &str, lower: Lower) -> impl Iterator<Item = Trial> {
    each_case(of, move |case| {
        let (fs, _kept) = (lower.make)();
        prepared::run(case, of_overlay(), fs, lower.holds, lower.stack);
    })
}

/// What a lower layer is made in, what it can hold, and what becomes of it.
#[derive(Clone, Copy)]
struct Lower {
    make: fn() -> Made,
    holds: fn(&Step<'_>) -> bool,
    stack: fn(Arc<dyn FileSystem>) -> Arc<dyn FileSystem>,
}

fn memory() -> Made {
    (Arc::new(MemFs::new()), Box::new(()))
}

/// A new directory of the host, on whatever holds the temporary files.
fn host() -> Made {
    let dir = tempfile::tempdir().unwrap();
    (Arc::new(HostFs::open(dir.path()).unwrap()), Box::new(dir))
}

/// A new volume in memory.
fn tfs() -> Made {
    let new = NewVolume { len: 64 << 20, uuid: Uuid::default(), label: Vec::new() };
    let volume = TfsVolume::make(Arc::new(MemStorage::new()), &new, Arc::new(SystemClock)).unwrap();
    (Arc::new(volume), Box::new(()))
}

/// What Nanos keeps for us.
const OF_TFS: Capabilities = Capabilities { empty_links: false, ..Capabilities::ALL };

/// An overlay that keeps its changes in a volume.
fn overlay_on_tfs() -> Made {
    let (upper, kept) = tfs();
    (Arc::new(Overlay::with_upper(vec![Arc::new(MemFs::new())], upper).unwrap()), kept)
}

/// An overlay that keeps its changes in a directory of the host.
fn overlay_on_host() -> Made {
    let (dir, kept) = host();
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let owner = (!of_host().owners).then(|| (uid.as_raw(), gid.as_raw()));
    let upper = LinuxUpper::new(dir, owner).unwrap();
    (Arc::new(Overlay::with_upper(vec![Arc::new(MemFs::new())], Arc::new(upper)).unwrap()), kept)
}

fn overlay(lower: Arc<dyn FileSystem>) -> Arc<dyn FileSystem> {
    Arc::new(Overlay::with_upper(vec![lower], Arc::new(MemFs::new())).unwrap())
}

/// An overlay whose lower is an overlay, under which there is another layer still.
fn overlay_over_overlay(lower: Arc<dyn FileSystem>) -> Arc<dyn FileSystem> {
    let merged = Overlay::read_only(vec![Arc::new(MemFs::new()), lower]).unwrap();
    overlay(Arc::new(merged))
}

fn overlay_of_archive(lower: Arc<dyn FileSystem>) -> Arc<dyn FileSystem> {
    overlay(archived::archived(&*lower))
}

fn overlay_over_nothing() -> Made {
    (overlay(Arc::new(MemFs::new())), Box::new(()))
}

/// What Linux lets us do. Devices and owners need root.
fn of_host() -> Capabilities {
    use std::os::unix::fs::MetadataExt;

    let is_root = rustix::process::geteuid().is_root();
    let dir = tempfile::tempdir().unwrap();
    Capabilities {
        devices: is_root,
        owners: is_root,
        whiteouts: false,
        empty_links: false,
        link_modes: false,
        set_ctime: false,
        greatest_files: false,
        // btrfs and others do not count.
        dir_links: dir.path().metadata().unwrap().nlink() != 1,
        ..Capabilities::ALL
    }
}

fn of_overlay() -> Capabilities {
    Capabilities { whiteouts: false, dir_links: false, ..Capabilities::ALL }
}

/// Lowers are never asked to store what only layers have.
fn in_memory(step: &Step<'_>) -> bool {
    !matches!(step, Step::Create(new) if new.kind == NewKind::Whiteout)
        && !matches!(step, Step::SetAttr(changes) if changes.opaque.is_some())
}

/// What the host stores as it is told.
fn on_host(step: &Step<'_>) -> bool {
    in_memory(step)
        && match step {
            Step::Create(new) => {
                // The mode of links is the host's own.
                !matches!(new.kind, NewKind::Symlink(_)) && (!is_device(new.kind) || of_host().devices)
            }
            Step::SetAttr(changes) => changes.ctime.is_none(),
            // Not every host goes as far.
            Step::Write(range, _) => range.end < 1 << 40,
            Step::Link(_) | Step::SetXattr => true,
        }
}

/// What a volume stores as it is told.
fn on_tfs(step: &Step<'_>) -> bool {
    in_memory(step) && !matches!(step, Step::Create(new) if new.kind == NewKind::Symlink(b""))
}

/// What a cpio archive of a few megabytes stores: no extended attributes, whole seconds, one time.
fn in_archive(step: &Step<'_>) -> bool {
    let whole = |time: &Option<SetTime>| match time {
        Some(SetTime::At(time)) => time.nanos == 0 && u32::try_from(time.secs).is_ok(),
        Some(SetTime::Now) => false,
        None => true,
    };
    in_memory(step)
        && match step {
            Step::Create(new) => {
                !matches!(new.kind, NewKind::Symlink(target) if target.is_empty() || target.len() > 4094)
            }
            // Holes would be stored as zeros.
            Step::Write(range, size) => range.start <= *size && range.end < 16 << 20,
            Step::SetAttr(changes) => {
                whole(&changes.mtime) && changes.atime.is_none() && changes.ctime.is_none() && changes.size.is_none()
            }
            // The kernel makes hard links of files alone.
            Step::Link(file_type) => *file_type == FileType::File,
            Step::SetXattr => false,
        }
}

fn is_device(kind: NewKind<'_>) -> bool {
    kind.file_type().is_device()
}

/// The prepared runs would mean nothing if rehearsals ended at once.
fn most_cases_are_prepared() -> Trial {
    Trial::test("prepared::most_cases_are", || {
        let prepared = cases().filter(|case| prepared::run(*case, of_overlay(), memory().0, in_memory, overlay) > 0);
        let (prepared, all) = (prepared.count(), cases().count());
        assert!(prepared * 10 > all * 9, "{prepared} of {all}");
        Ok(())
    })
}

fn main() {
    let lowers = [
        ("overlay_over_mem", Lower { make: memory, holds: in_memory, stack: overlay }),
        ("overlay_over_overlay", Lower { make: memory, holds: in_memory, stack: overlay_over_overlay }),
        ("overlay_over_cpio", Lower { make: memory, holds: in_archive, stack: overlay_of_archive }),
        ("overlay_over_tfs", Lower { make: tfs, holds: on_tfs, stack: overlay }),
        ("overlay_over_host", Lower { make: host, holds: on_host, stack: overlay }),
    ];
    let tests = trials("mem", memory, Capabilities::ALL)
        .chain(trials("host", host, of_host()))
        .chain(trials("overlay", overlay_over_nothing, of_overlay()))
        .chain(each_case("recorded", |case| {
            recorded::run(case, of_overlay(), overlay_over_nothing().0, overlay_over_nothing().0)
        }))
        .chain(trials("tfs", tfs, OF_TFS))
        .chain(trials("overlay_on_tfs", overlay_on_tfs, Capabilities { whiteouts: false, dir_links: false, ..OF_TFS }))
        .chain(trials("overlay_on_host", overlay_on_host, Capabilities { dir_links: false, ..of_host() }))
        .chain(lowers.into_iter().flat_map(|(of, lower)| over_prepared(of, lower)))
        .chain([most_cases_are_prepared()])
        .collect();
    libtest_mimic::run(&Arguments::from_args(), tests).exit();
}
