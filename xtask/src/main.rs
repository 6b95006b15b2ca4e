//! `cargo xtask TASK`.

use std::process::ExitCode;

use xtask::{Result, cargo, demo, guests, install, run};

const USAGE: &str = "usage: cargo xtask TASK
  demo            runs the main job on the example image, and CPython on an image with its library
  test [--all] [ARG]...
                  installs by name what is missing, builds the guests, runs all tests (nextest, with ARGs), then the
                  examples in the documentation; with --all also the tests that take many minutes
  guests          installs compilers where missing (as root), builds and downloads the guests of the tests
  demo-image      builds examples/demo.cpio.gz again";

/// One set of features for all builds, so that the engine is built once.
const WORKSPACE: [&str; 3] = ["--workspace", "--features", "mountless/vfs"];

/// Set for tests that run on demand.
const ALL: &str = "MOUNTLESS_SUITES";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let task = arguments.next();
    let done = match task.as_deref() {
        Some("demo") => demo::show(),
        Some("test") => test(&arguments.collect::<Vec<_>>()),
        Some("guests") => guests::fetch(guests::Which::Usual),
        Some("demo-image") => demo::write(),
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn test(arguments: &[String]) -> Result {
    let (all, arguments) = match arguments {
        [first, rest @ ..] if first == "--all" => (true, rest),
        arguments => (std::env::var_os(ALL).is_some(), arguments),
    };
    guests::fetch(if all { guests::Which::All } else { guests::Which::Usual })?;
    install::nextest()?;
    let mut tests = cargo();
    if all {
        tests.env(ALL, "1");
    }
    run(tests.args(["nextest", "run", "--no-fail-fast"]).args(WORKSPACE).args(arguments))?;
    run(cargo().args(["test", "--doc"]).args(WORKSPACE))?;
    // The last lines are what one sees of it.
    match all {
        true => println!("TESTED, with the guests on demand: {}", guests::ON_DEMAND),
        false => {
            println!("NOT TESTED: {}, and suites on mounts; `cargo xtask test --all` runs them", guests::ON_DEMAND)
        }
    }
    Ok(())
}
