//! `cargo xtask TASK`.

use std::process::{Command, ExitCode};

use xtask::{Result, demo, guests, run};

const USAGE: &str = "usage: cargo xtask TASK
  test [ARG]...   fetches the guests, runs all tests (nextest if installed, with ARGs), then the examples in the docs
  guests          installs compilers where missing (as root), builds and downloads the guests of the tests
  demo            builds examples/demo.cpio.gz again";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let task = arguments.next();
    let done = match task.as_deref() {
        Some("test") => test(&arguments.collect::<Vec<_>>()),
        Some("guests") => guests::fetch(),
        Some("demo") => demo::write(),
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
    let cargo = || {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(xtask::workspace());
        command
    };
    if xtask::run_quiet(cargo().args(["nextest", "--version"])).is_ok() {
        run(cargo().args(["nextest", "run", "--workspace", "--no-fail-fast"]).args(arguments))?;
    } else {
        eprintln!("cargo-nextest is not installed: using cargo test");
        run(cargo().args(["test", "--workspace", "--no-fail-fast", "--all-targets"]).args(arguments))?;
    }
    run(cargo().args(["test", "--workspace", "--doc"]))
}
