//! The command as a new user would use it: in an empty directory, which has to stay empty.
//!
//! Here and not in `tests/`, because only a package's own tests have its binary built before them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod bombs;
mod broken;
mod cargo;
mod compare;
mod contained;
mod crash;
mod edit;
mod extract;
mod inject;
mod inspect;
mod mounts;
mod network;
mod oci;
mod pack;
mod remember;
mod run;
mod sandbox;
mod test;
mod tfs;
mod volumes;
mod watch;
