//! `mountless test`.

use std::collections::BTreeSet;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use mountless_test::report::{self, Human, HumanOptions};
use mountless_test::{Case, Diagnostic, Engine, Filter, Inject, Partition, RunConfig, RunReport, Update, discover};
use mountless_wasi::run::Cache;
use serde_json::json;

use crate::failure::{EXIT_FAILED, EXIT_UNREADABLE, Failure, Result};
use crate::image::OpenArgs;
use crate::output;

/// There is nothing to run, as cargo-nextest says it.
const EXIT_NO_CASES: u8 = 4;
/// What shells show for a program that ended by SIGINT.
const EXIT_INTERRUPTED: u8 = 130;

/// Runs test cases: programs on images, each on a writable view of its own
///
/// Cases are TOML files, programs with a wasi-testsuite JSON beside them, or programs with files of the same name that
/// say what must come out (NAME.wasm and NAME.stdout). docs/testing.md shows how to write them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A first case, in hello.toml:
  image = \"base.cpio.gz\"
  program = \"hello.wasm\"
  [[case]]
  name = \"greets\"
  args = [\"world\"]
  expect.stdout = \"hello, world\\n\"

Examples:
  mountless test                                     all cases below the current directory
  mountless test tests/cases --filter 'tag(slow) and not test(network)'
  mountless test --partition hash:1/3 --junit junit.xml --retries 2
  mountless test --update                            take what comes out as the new snapshots
  mountless test --inject all                        let each call on the file system fail once

Filters: a word of the name; test(), group() and tag() with TEXT, =EXACT, ~PART, /REGEX/ or #GLOB in the parentheses;
not, and, or. Snapshots: `cargo insta review` works on them; nothing is written where CI is set.

Exit codes: 0 all passed; 1 a case failed; 2 a case file is broken; 4 no case to run; 130 interrupted.")]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub(crate) struct Args {
    /// Case files, and directories to look for them
    #[arg(value_name = "PATH", default_value = ".")]
    paths: Vec<PathBuf>,

    /// Runs only the cases that the expression selects; repeat it for more
    #[arg(short = 'E', long, value_name = "EXPR")]
    filter: Vec<Filter>,

    /// Runs only this share of the cases, for example hash:1/3, or count:1/3 for shares of one size
    #[arg(long, value_name = "K/N")]
    partition: Option<Partition>,

    /// Lists the cases and runs none
    #[arg(long)]
    list: bool,

    /// With --list: one JSON object a line
    #[arg(long, requires = "list")]
    json: bool,

    /// Cases at a time [default: one a core]
    #[arg(short, long, value_name = "N")]
    jobs: Option<std::num::NonZeroUsize>,

    /// How often a failing case is tried again
    #[arg(long, value_name = "N", default_value_t = 0)]
    retries: u32,

    /// Starts no further case after the first failure
    #[arg(long)]
    fail_fast: bool,

    /// Runs each case that passes again, once for each call on the file system that can fail: `all`, or some of
    /// ENOSPC,EIO,EACCES,short
    #[arg(long, value_name = "FAILURES")]
    inject: Option<Inject>,

    /// Takes what comes out as the new snapshots
    #[arg(long)]
    update: bool,

    /// Warns about cases that take longer
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    slow: Duration,

    /// Prints only cases that fail
    #[arg(short, long)]
    quiet: bool,

    /// Writes a report in JUnit's XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,

    /// Writes a report for browsers, complete in one file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Prints the JSON Schema of case files and runs none
    #[arg(long)]
    schema: bool,

    #[command(flatten)]
    open: OpenArgs,
}

pub(crate) fn run(args: Args) -> Result {
    if args.schema {
        let mut out = output::stdout();
        writeln!(out, "{:#}", mountless_test::schema())?;
        out.flush()?;
        return Ok(ExitCode::SUCCESS);
    }
    let found = discover(&args.paths);
    for mistake in &found.mistakes {
        eprintln!("{}\n", mistake.render(output::colour(&std::io::stderr())));
    }
    for path in &found.left_out {
        tracing::info!(path = %path.display(), "left out: it has neither `program` nor `[[case]]`");
    }
    let mut cases = found.cases;
    let all = cases.len();
    cases.retain(|case| args.filter.is_empty() || args.filter.iter().any(|filter| filter.selects(case)));
    if let Some(partition) = args.partition {
        partition.keep(&mut cases);
    }
    let skipped = all.saturating_sub(cases.len());
    if args.list {
        list(&cases, args.json)?;
        return Ok(if found.mistakes.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_UNREADABLE) });
    }
    if cases.is_empty() && found.mistakes.is_empty() {
        return Err(no_cases(&args, all, &found.left_out));
    }
    let report = execute(&args, cases, skipped)?;
    write_reports(&args, &report, &found.mistakes)?;
    Ok(ExitCode::from(match &report {
        report if report.interrupted => EXIT_INTERRUPTED,
        _ if !found.mistakes.is_empty() => {
            output::complain("a case file is broken, see above; its cases were not run", None);
            EXIT_UNREADABLE
        }
        report if report.is_success() => 0,
        _ => EXIT_FAILED,
    }))
}

fn execute(args: &Args, cases: Vec<Case>, skipped: usize) -> Result<RunReport> {
    if cases.is_empty() {
        return Ok(RunReport::default());
    }
    let cache = if args.open.no_cache { Cache::Off } else { Cache::User };
    let engine = Engine::new(&cache).map_err(|error| Failure::new(EXIT_FAILED, error.to_string()))?;
    let engine = Arc::new(engine.open_options(args.open.options()));
    let default = RunConfig::default();
    let config = RunConfig {
        jobs: args.jobs.map_or(default.jobs, usize::from),
        retries: args.retries,
        fail_fast: args.fail_fast,
        update: if args.update { Update::Always } else { default.update },
        inject: args.inject.clone(),
        slow: args.slow,
        stop: stop_on_signals()?,
    };
    let colour = output::colour(&std::io::stdout());
    let progress = output::colour(&std::io::stderr()) && std::io::stderr().is_terminal();
    let mut human = Human::new(output::stdout(), cases.len(), HumanOptions { colour, progress, quiet: args.quiet });
    let files: BTreeSet<PathBuf> = cases.iter().map(|case| case.id().file().to_owned()).collect();
    human.start(files.len(), skipped, config.jobs.min(cases.len()))?;
    // Who closes the pipe does not want to hear the rest; the reports are written all the same.
    let mut told = Ok(());
    let report = mountless_test::run_cases(&engine, cases, &config, |event| {
        if told.is_ok() {
            told = human.event(&event);
        }
    });
    if told.is_ok() {
        told = human.finish(&report);
    }
    match told {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(report),
    }
}

/// Set by the first SIGINT or SIGTERM; the second ends the process as if there were no handler.
fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let failed = |error| Failure::new(EXIT_FAILED, format!("cannot handle signals: {error}"));
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&stop)).map_err(failed)?;
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(failed)?;
    }
    Ok(stop)
}

fn write_reports(args: &Args, report: &RunReport, mistakes: &[Diagnostic]) -> Result<()> {
    let write = |path: &Path, content: &[u8]| {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        parent
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::write(path, content))
            .map_err(|error| Failure::new(EXIT_FAILED, format!("cannot write report: {}: {error}", path.display())))
    };
    let whole = report.with_mistakes(mistakes);
    if let Some(path) = &args.junit {
        write(path, &report::junit(&whole)?)?;
    }
    if let Some(path) = &args.html {
        write(path, report::html(&whole).as_bytes())?;
    }
    if std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true") {
        let mut out = output::stdout();
        out.write_all(report::annotations(report, mistakes).as_bytes())?;
        out.flush()?;
    }
    Ok(())
}

fn list(cases: &[Case], as_json: bool) -> Result<()> {
    let mut out = output::stdout();
    for case in cases {
        let id = case.id();
        if as_json {
            let tags: Vec<_> = case.tags().collect();
            let line = json!({
                "id": id.text(), "group": id.group(), "name": id.name(), "file": id.file().to_string_lossy(),
                "line": id.line(), "tags": tags, "skip": case.skipped(),
            });
            writeln!(out, "{line}")?;
        } else {
            let tags: Vec<_> = case.tags().collect();
            let tags = if tags.is_empty() { String::new() } else { format!("  [{}]", tags.join(" ")) };
            let skip = case.skipped().map(|reason| format!("  (skipped: {reason})")).unwrap_or_default();
            writeln!(out, "{id}{tags}{skip}")?;
        }
    }
    out.flush()?;
    Ok(())
}

fn no_cases(args: &Args, all: usize, left_out: &[PathBuf]) -> Failure {
    let paths: Vec<_> = args.paths.iter().map(|path| path.display().to_string()).collect();
    if all > 0 {
        let failure = Failure::new(EXIT_NO_CASES, format!("no case to run: none of {all} is selected"));
        return failure.next("--list shows the cases; `mountless test --help` how filters are written");
    }
    let places = if paths == ["."] { "the current directory".to_owned() } else { paths.join(", ") };
    let failure = Failure::new(EXIT_NO_CASES, format!("no case to run: nothing found in {places}"));
    match left_out.first() {
        Some(path) => failure.next(format!("{} has neither `program` nor `[[case]]`", path.display())),
        None => failure.next("`mountless test --help` shows a first case"),
    }
}
