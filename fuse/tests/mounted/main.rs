//! Trees on real mounts, under real programs and the field's own test suites. Needs root and `/dev/fuse`: without, every
//! test is shown as ignored. Programs and suites take minutes, and have to be installed: they run where the environment
//! says `MOUNTLESS_SUITES`, and are shown as ignored elsewhere.
#![cfg_attr(not(target_os = "linux"), allow(unused, reason = "there is no FUSE to test"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod calls;
mod jobs;
mod mount;
mod sessions;
mod suites;

use libtest_mimic::{Arguments, Trial};

use self::mount::{Mount, TREES, may_mount};

/// A check of one mount, in its directory for work.
type Check = fn(&Mount);

fn main() {
    let arguments = Arguments::from_args();
    let may_mount = may_mount();
    let all = std::env::var_os("MOUNTLESS_SUITES").is_some();
    let of_trees = TREES.iter().flat_map(|tree| {
        let checks = [(calls::CHECKS, true), (jobs::CHECKS, all), (suites::CHECKS, all)];
        checks.into_iter().flat_map(move |(checks, wanted)| {
            checks.iter().map(move |(name, check)| {
                let check: Check = *check;
                let trial = Trial::test(format!("{}::{name}", tree.name), move || {
                    check(&Mount::new(tree));
                    Ok(())
                });
                trial.with_ignored_flag(!(wanted && may_mount))
            })
        })
    });
    let of_sessions = sessions::CHECKS.iter().map(|(name, check)| {
        let check: fn() = *check;
        Trial::test(format!("session::{name}"), move || {
            check();
            Ok(())
        })
        .with_ignored_flag(!may_mount)
    });
    let trials = of_trees.chain(of_sessions).collect();
    if !may_mount {
        eprintln!("NOT TESTED: mounts; they need root and /dev/fuse");
    } else if !all {
        eprintln!("NOT TESTED: programs and test suites on mounts; set MOUNTLESS_SUITES=1 for them");
    }
    libtest_mimic::run(&arguments, trials).exit();
}
