//! Cases as tests of cargo: a `main` for test targets without the standard harness.

use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use libtest_mimic::{Arguments, Failed, Trial};
use mountless_wasi::run::Cache;

use crate::check::shown;
use crate::discover::discover_from;
use crate::engine::{CannotRun, Engine};
use crate::run::{CaseConfig, CaseResult, Verdict, run_case};
use crate::snapshot::Update;

/// The `main` of a test target with `harness = false`: `cargo test` and `cargo nextest run` see each case below `dir` as
/// a test, with the arguments of the standard harness.
///
/// `dir` is relative to the current directory, which under cargo is that of the package. In `Cargo.toml`:
/// ```toml
/// [[test]]
/// name = "cases"
/// harness = false
/// ```
/// and in `tests/cases.rs`:
/// ```no_run
/// fn main() -> std::process::ExitCode {
///     mountless_test::main("tests/cases")
/// }
/// ```
/// A case file that is broken is a test that fails. Programs have to be built before: cargo builds no guests for other
/// targets on the way.
#[must_use]
pub fn main(dir: impl AsRef<Path>) -> ExitCode {
    let arguments = Arguments::from_args();
    libtest_mimic::run(&arguments, trials(dir.as_ref())).exit_code()
}

/// The cases below `dir` as tests for a `main` of one's own.
#[must_use]
pub fn trials(dir: &Path) -> Vec<Trial> {
    // Listing runs nothing, and nextest starts a process for every test: an engine only where it is needed.
    let engine: Arc<OnceLock<Result<Engine, CannotRun>>> = Arc::default();
    let update = Update::from_env();
    // With the directory itself, names would depend on how it is written.
    let found = if dir.is_file() { discover_from(Path::new(""), [dir]) } else { discover_from(dir, [""]) };
    let mut trials = Vec::new();
    for mistake in found.mistakes {
        let name = mistake.path().strip_prefix(dir).unwrap_or(mistake.path()).display().to_string();
        let text = mistake.to_string();
        trials.push(Trial::test(name, move || Err(Failed::from(text))));
    }
    for case in found.cases {
        let is_skipped = case.skipped().is_some();
        let engine = Arc::clone(&engine);
        let name = case.id().text();
        let trial = Trial::test(name, move || {
            let engine = engine.get_or_init(|| Engine::new(&Cache::User)).as_ref().map_err(ToString::to_string)?;
            // Asked for in spite of the reason, with `--ignored`.
            let case = crate::case::Case { skip: None, ..case };
            failure(&run_case(engine, &case, CaseConfig { update, inject: None, lanes: 1 }))
                .map_or(Ok(()), |text| Err(Failed::from(text)))
        });
        trials.push(trial.with_ignored_flag(is_skipped));
    }
    trials
}

fn failure(result: &CaseResult) -> Option<String> {
    match &result.verdict {
        Verdict::Passed | Verdict::Skipped(_) => None,
        Verdict::Interrupted => Some("interrupted".to_owned()),
        Verdict::Broken(message) => Some(message.clone()),
        Verdict::Failed(mismatches) => {
            let place = format!("at {}:{}\n", result.id.file().display(), result.id.line());
            let all = mismatches.iter().map(|mismatch| format!("{}\n{}\n", mismatch.what, mismatch.detail));
            let mut text: String = std::iter::once(place).chain(all).collect();
            if !result.stderr.is_empty() {
                text.push_str(&format!("stderr:\n{}", crate::check::excerpt(&shown(&result.stderr))));
            }
            Some(text)
        }
    }
}
