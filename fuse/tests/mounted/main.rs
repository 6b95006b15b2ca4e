//! Trees on real mounts, under real programs and the field's own test suites. Needs root and `/dev/fuse`: without, every
//! test is shown as ignored, and fails where the environment says `CI`.
#![cfg_attr(not(target_os = "linux"), allow(unused, reason = "there is no FUSE to test"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod calls;
mod jobs;
mod mount;
mod sessions;
mod suites;

use libtest_mimic::{Arguments, Trial};

use self::mount::{Mount, TREES};

/// A check of one mount, in its directory for work.
type Check = fn(&Mount);

fn main() {
    let arguments = Arguments::from_args();
    let may_mount = rustix::process::geteuid().is_root() && std::fs::File::open("/dev/fuse").is_ok();
    let in_ci = std::env::var_os("CI").is_some();
    let of_trees = TREES.iter().flat_map(|tree| {
        let checks = [calls::CHECKS, jobs::CHECKS, suites::CHECKS].into_iter().flatten();
        checks.map(move |(name, check)| {
            let check: Check = *check;
            Trial::test(format!("{}::{name}", tree.name), move || {
                check(&Mount::new(tree));
                Ok(())
            })
        })
    });
    let of_sessions = sessions::CHECKS.iter().map(|(name, check)| {
        let check: fn() = *check;
        Trial::test(format!("session::{name}"), move || {
            check();
            Ok(())
        })
    });
    let trials = of_trees.chain(of_sessions).map(|trial| trial.with_ignored_flag(!may_mount && !in_ci)).collect();
    if !may_mount {
        eprintln!("no tests of mounts: they need root and /dev/fuse");
    }
    libtest_mimic::run(&arguments, trials).exit();
}
