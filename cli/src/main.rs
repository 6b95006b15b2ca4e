//! `mountless`: opens, inspects and runs filesystem images without mounting them.
//!
//! Thin over the libraries: a command parses its arguments, calls them, and prints. Results go to stdout, everything
//! else to stderr; one [`Failure`](failure::Failure) carries what went wrong and the exit code.

mod commands;
mod edits;
mod failure;
mod image;
mod json;
mod outcome;
mod output;
mod progress;
mod record;
#[cfg(target_os = "linux")]
mod sandbox;
mod stack;
mod walk;

use std::process::ExitCode;

use clap::{ArgAction, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Opens filesystem images as one tree inside this process, and runs WASI programs on it: no root, no mount, no
/// extraction, no daemon.
#[derive(Debug, Parser)]
#[command(name = "mountless", version, after_help = IMAGES_AND_EXIT_CODES, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Says more on stderr; twice and thrice for even more
    #[arg(short, long, global = true, action = ArgAction::Count, display_order = 100)]
    verbose: u8,
}

const IMAGES_AND_EXIT_CODES: &str = "\
An IMAGE is [FORMAT:]LOCATION[#PART]. FORMAT is `cpio`, `tar`, `oci`, `docker`, `tfs`, `elf` or `dir`; without one the bytes tell. LOCATION is a file, \
a directory of the host, or `-` for standard input; PART is `boot` or `root` on a disk of Nanos, or TAG,OS/ARCHITECTURE,layer=N of a container image. A path inside an image \
is written IMAGE:/PATH.

Exit codes: 0 done; 1 a path inside the image, or something else, is not there or not possible; 2 an image that cannot \
be read, or a command line that makes no sense. `run` has its own, see `mountless run --help`.

Examples:
  mountless tree initrd.img
  mountless cat initrd.img:/etc/passwd
  mountless run -i base.cpio.gz image:/bin/app.wasm

`mountless COMMAND --help` has more.";

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<commands::run::Args>),
    Test(commands::test::Args),
    #[cfg(target_os = "linux")]
    Exec(Box<commands::exec::Args>),
    #[cfg(target_os = "linux")]
    Mount(Box<commands::mount::Args>),
    Ls(commands::ls::Args),
    Tree(commands::tree::Args),
    Cat(commands::cat::Args),
    Stat(commands::stat::Args),
    Find(commands::find::Args),
    Info(commands::info::Args),
    Pack(commands::pack::Args),
    Convert(commands::convert::Args),
    Extract(commands::extract::Args),
    Check(commands::check::Args),
    Log(commands::log::Args),
    Klog(commands::klog::Args),
    Compact(commands::compact::Args),
    Mtree(commands::mtree::Args),
    Diff(commands::diff::Args),
    Du(commands::du::Args),
    Cp(commands::cp::Args),
    Mv(commands::mv::Args),
    Rm(commands::rm::Args),
    Mkdir(commands::mkdir::Args),
    Ln(commands::ln::Args),
    Chmod(commands::chmod::Args),
    Touch(commands::touch::Args),
    Write(commands::write::Args),
    Completions(commands::completions::Args),
    Man(commands::man::Args),
    #[cfg(target_os = "linux")]
    #[command(name = commands::exec::Inside::NAME, hide = true)]
    ExecInside(commands::exec::Inside),
}

fn main() -> ExitCode {
    let matches = Cli::command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match matches {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    // Cases may want calls to fail; their reports say what came of it.
    let expects_errors = matches!(cli.command, Command::Test(_));
    log_to_stderr(cli.verbose.saturating_add(u8::from(!expects_errors)));
    let done = match cli.command {
        Command::Run(args) => commands::run::run(*args),
        Command::Test(args) => commands::test::run(args),
        #[cfg(target_os = "linux")]
        Command::Exec(args) => commands::exec::run(&args),
        #[cfg(target_os = "linux")]
        Command::ExecInside(args) => commands::exec::run_second(&args),
        #[cfg(target_os = "linux")]
        Command::Mount(args) => commands::mount::run(&args),
        Command::Ls(args) => commands::ls::run(&args),
        Command::Tree(args) => commands::tree::run(&args),
        Command::Cat(args) => commands::cat::run(&args),
        Command::Stat(args) => commands::stat::run(&args),
        Command::Find(args) => commands::find::run(&args),
        Command::Info(args) => commands::info::run(&args),
        Command::Pack(args) => commands::pack::run(&args),
        Command::Convert(args) => commands::convert::run(&args),
        Command::Extract(args) => commands::extract::run(&args),
        Command::Check(args) => commands::check::run(&args),
        Command::Log(args) => commands::log::run(&args),
        Command::Klog(args) => commands::klog::run(&args),
        Command::Compact(args) => commands::compact::run(&args),
        Command::Mtree(args) => commands::mtree::run(&args),
        Command::Diff(args) => commands::diff::run(&args),
        Command::Du(args) => commands::du::run(&args),
        Command::Cp(args) => commands::cp::run(&args),
        Command::Mv(args) => commands::mv::run(&args),
        Command::Rm(args) => commands::rm::run(&args),
        Command::Mkdir(args) => commands::mkdir::run(&args),
        Command::Ln(args) => commands::ln::run(&args),
        Command::Chmod(args) => commands::chmod::run(&args),
        Command::Touch(args) => commands::touch::run(&args),
        Command::Write(args) => commands::write::run(&args),
        Command::Completions(args) => commands::completions::run(&args, Cli::command()),
        Command::Man(args) => commands::man::run(&args, Cli::command()),
    };
    done.unwrap_or_else(|failure| failure.report())
}

/// Help and versions are results; mistakes are not, and of `run` they have the code of its own failures.
fn usage(error: &clap::Error) -> ExitCode {
    // OK to ignore: there is nowhere left to say it.
    let _ = error.print();
    match error.use_stderr() {
        false => ExitCode::SUCCESS,
        true if is_run() => ExitCode::from(commands::run::EXIT_FAILED),
        true => ExitCode::from(failure::EXIT_UNREADABLE),
    }
}

/// Whether the command is `run` or `exec`, on a command line that was not understood. The options before it take no values.
fn is_run() -> bool {
    let command = std::env::args_os().skip(1).find(|word| !word.to_string_lossy().starts_with('-'));
    command.is_some_and(|command| command == "run" || command == "exec")
}

fn log_to_stderr(verbose: u8) {
    let level = ["error", "warn", "info", "debug"].get(usize::from(verbose)).unwrap_or(&"trace");
    let default = format!("error,mountless={level},mountless_wasi={level}");
    let filter = EnvFilter::try_from_env("MOUNTLESS_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(output::colour(&std::io::stderr()))
        .with_target(false)
        .without_time()
        .init();
}
