//! Tests of WASI programs on filesystem images: what `mountless test` runs.
//!
//! A case is a program, the images it is run on, and what must come out. Each case has a writable view of the images of
//! its own, which costs nothing to make: images are opened once, programs are compiled once, and nothing is copied.
//!
//! # From files
//! [`discover`] finds cases in directories, [`run_cases`] runs them on all cores, and [`mod@report`] tells about it. What
//! files may say stands in [`schema`], and with examples in `docs/testing.md`.
//!
//! # Under cargo
//! [`main`] makes a test target of a directory of cases, so that `cargo test` and `cargo nextest run` see each as a
//! test.
//!
//! # In Rust
//! [`Case::new`] builds a case by hand, [`Case::run`] runs it, and [`Ran`] has the assertions.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "tests"))]

mod case;
mod check;
mod crash;
mod diagnostic;
mod discover;
mod engine;
mod file;
mod filter;
mod inject;
mod mimic;
pub mod report;
mod run;
mod rust_api;
mod snapshot;
mod trap;
mod tree;

pub use self::case::{Case, CaseId, CrashAt, Limits};
pub use self::check::Mismatch;
pub use self::diagnostic::Diagnostic;
pub use self::discover::{Discovered, discover, discover_from};
pub use self::engine::{CannotRun, Engine, Ran};
pub use self::file::schema;
pub use self::filter::{Filter, Matcher, Partition};
pub use self::inject::Inject;
pub use self::mimic::{main, trials};
pub use self::run::{CaseConfig, CaseResult, Event, GRACE, RunConfig, RunReport, Tried, Verdict, run_case, run_cases};
pub use self::snapshot::Update;
