//! `cargo xtask TASK`.

use std::process::ExitCode;

use xtask::{Result, cargo, demo, guests, install, run};

const USAGE: &str = "usage: cargo xtask TASK
  demo            runs the main job on the example image, and CPython on an image with its library
  test [ARG]...   installs by name what is missing, builds the guests, runs all tests (nextest, with ARGs), then the
                  examples in the documentation
  guests          installs compilers where missing (as root), builds and downloads the guests of the tests
  demo-image      builds examples/demo.cpio.gz again";

/// One set of features for all builds, so that the engine is built once.
const WORKSPACE: [&str; 3] = ["--workspace", "--features", "mountless/vfs"];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let task = arguments.next();
    let done = match task.as_deref() {
        Some("demo") => demo::show(),
        Some("test") => test(&arguments.collect::<Vec<_>>()),
        Some("guests") => guests::fetch(),
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
    guests::fetch()?;
    install::nextest()?;
    run(cargo().args(["nextest", "run", "--no-fail-fast"]).args(WORKSPACE).args(arguments))?;
    run(cargo().args(["test", "--doc"]).args(WORKSPACE))
}
