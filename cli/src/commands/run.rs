//! `mountless run`.

use std::ffi::OsString;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use mountless::Stack;
use mountless::errno::Errno;
use mountless::error::Error;
use mountless::name::escape;
use mountless::namespace::{MountOptions, Namespace};
use mountless::open::{Format, ImageRef, open, split_path};
use mountless_wasi::run::{Cache, Outcome, Output, RunError, RunOptions, Runner, Stdin};

use crate::failure::{Failure, Result};
use crate::image::{OpenArgs, patiently, unreadable};
use crate::output;
use mountless_test::Size;

/// What timeout(1) ends with.
const EXIT_TIMEOUT: u8 = 124;
/// Nothing was run.
pub(crate) const EXIT_FAILED: u8 = 125;
/// What a shell shows for a program that aborts, and what `wasmtime run` ends with.
const EXIT_TRAP: u8 = 134;

/// Runs a WASI program on a stack of images
///
/// The program sees the merged images as its whole file system, writable: changes are kept in memory and are gone when
/// it ends. Nothing of the host is visible but the volumes, the standard streams and the clocks.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: the program's own; 124 when its time was up; 134 when it trapped; 125 when it was not run at all, because an \
image, the program or the command line is wrong.

Examples:
  mountless run -i base.cpio.gz image:/bin/app.wasm --check
  mountless run -i base.cpio -i app.cpio --timeout 30s app.wasm ARGUMENT
  mountless run -i base.cpio --volume ./data:/data:ro --env MODE=test image:/bin/app.wasm")]
pub(crate) struct Args {
    /// Image of the stack; repeat it for more, the lowest first
    #[arg(short, long = "image", value_name = "IMAGE")]
    images: Vec<OsString>,

    /// Puts a host directory or an image at a path; `:ro` for reading only
    #[arg(long = "volume", value_name = "SRC:/PATH[:ro]")]
    volumes: Vec<Volume>,

    /// Sets a variable of the program's environment, which starts empty; NAME alone takes the value it has here
    #[arg(short, long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,

    /// Where the program starts
    #[arg(short, long, value_name = "/PATH")]
    workdir: Option<String>,

    /// Ends the program after this time, for example 500ms or 2m
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,

    /// Most memory that the program may have, for example 64M
    #[arg(long, value_name = "SIZE")]
    memory: Option<Size>,

    /// Compiles the program anew, and does not keep the result in the user's cache directory
    #[arg(long)]
    no_cache: bool,

    #[command(flatten)]
    open: OpenArgs,

    /// WebAssembly module, and its arguments: a file of the host, or image:/PATH for one in the stack
    #[arg(required = true, trailing_var_arg = true, num_args = 1.., value_names = ["PROGRAM", "ARG"])]
    command: Vec<String>,
}

/// `SRC:/PATH[:ro]`.
#[derive(Clone, Debug)]
struct Volume {
    source: OsString,
    path: Vec<u8>,
    read_only: bool,
}

impl FromStr for Volume {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (rest, read_only) = text.strip_suffix(":ro").map_or((text, false), |rest| (rest, true));
        match split_path(rest.as_ref()) {
            (source, Some(path)) if !source.is_empty() => {
                Ok(Self { source: source.to_owned(), path: path.to_vec(), read_only })
            }
            _ => Err("a volume is SRC:/PATH or SRC:/PATH:ro, with an absolute path".to_owned()),
        }
    }
}

fn variable(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some(("", _)) => Err("a variable needs a name".to_owned()),
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => std::env::var(text).map(|value| (text.to_owned(), value)).map_err(|error| error.to_string()),
    }
}

pub(crate) fn run(args: Args) -> Result {
    start(args).map_err(|failure| failure.with_code(EXIT_FAILED))
}

fn start(args: Args) -> Result {
    let namespace = assemble(&args)?;
    let mut words = args.command.into_iter();
    // OK: clap wants at least one.
    let program = words.next().unwrap_or_default();
    let wasm = read_program(&program, &namespace)?;
    let failed = |error: RunError| program_failed(&program, &error);
    let runner = Runner::new(&if args.no_cache { Cache::Off } else { Cache::User }).map_err(failed)?;
    let compiled = patiently("compiling", &program, || runner.compile(&wasm)).map_err(failed)?;
    drop(wasm);
    let memory_max = args.memory.map(|Size(bytes)| usize::try_from(bytes).unwrap_or(usize::MAX));
    let options = RunOptions {
        args: std::iter::once(program_name(&program).to_owned()).chain(words).collect(),
        env: args.env,
        workdir: args.workdir,
        timeout: args.timeout,
        memory_max,
        stdin: Stdin::Inherit,
        stdout: Output::Inherit,
        stderr: Output::Inherit,
        ..RunOptions::default()
    };
    Ok(match runner.run(&compiled, &namespace, options).map_err(failed)? {
        // A host has 8 bits for it.
        Outcome::Exited(code) => ExitCode::from(code.to_le_bytes()[0]),
        Outcome::TimedOut => {
            let limit = humantime::format_duration(args.timeout.unwrap_or_default());
            output::complain(&format!("stopped: {program}: not done after {limit}"), None);
            ExitCode::from(EXIT_TIMEOUT)
        }
        Outcome::Trapped(message) => {
            output::complain(&format!("trapped: {program}: {message}"), None);
            ExitCode::from(EXIT_TRAP)
        }
    })
}

/// The stack with its memory, and the volumes on it.
fn assemble(args: &Args) -> Result<Namespace> {
    let options = args.open.options();
    let shown = args.images.iter().map(|image| image.to_string_lossy()).collect::<Vec<_>>().join(", ");
    let stack = patiently("opening", &shown, || Stack::open_with(&args.images, &options))
        .map_err(|error| unreadable(&error))?;
    let namespace = Namespace::new(stack.with_memory_upper().map_err(|error| unreadable(&error))?);
    for volume in &args.volumes {
        mount(&namespace, volume, args.open)?;
    }
    Ok(namespace)
}

/// Host directories are changed in place; an image never is, so it gets memory for the changes.
fn mount(namespace: &Namespace, volume: &Volume, open_args: OpenArgs) -> Result<()> {
    let image = open(&ImageRef::parse(&volume.source), &open_args.options()).map_err(|error| unreadable(&error))?;
    let fs = if image.facts.format == Format::Dir || volume.read_only {
        image.fs
    } else {
        Stack::from_images(vec![image]).with_memory_upper().map_err(|error| unreadable(&error))?
    };
    let options = MountOptions { read_only: volume.read_only };
    let mounted = namespace.create_dir_all(&volume.path).and_then(|()| namespace.mount(&volume.path, fs, options));
    mounted.map_err(|error| {
        let failure = Failure::new(EXIT_FAILED, format!("cannot mount volume: {}: {error}", escape(&volume.path)));
        failure.next("a volume's path must be a directory, or free, and below the root")
    })
}

/// The path of a program inside the stack.
fn path_in_stack(program: &str) -> Option<&str> {
    program.strip_prefix("image:").filter(|path| path.starts_with('/'))
}

/// What the program sees as its name: its path in the stack, or the name of the host's file.
fn program_name(program: &str) -> &str {
    path_in_stack(program).unwrap_or_else(|| program.rsplit('/').next().unwrap_or(program))
}

fn read_program(program: &str, namespace: &Namespace) -> Result<Vec<u8>> {
    let failed =
        |error: &dyn std::fmt::Display| Failure::new(EXIT_FAILED, format!("cannot read program: {program}: {error}"));
    match path_in_stack(program) {
        Some(path) => namespace.read(path).map_err(|error: Error| match error.errno() {
            Errno::NotFound => failed(&error).next("`mountless find IMAGE` lists what an image holds"),
            _ => failed(&error),
        }),
        None => std::fs::read(program).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => failed(&error).next("a program inside the stack is written image:/PATH"),
            _ => failed(&error),
        }),
    }
}

fn program_failed(program: &str, error: &RunError) -> Failure {
    let failure = Failure::new(EXIT_FAILED, format!("cannot run: {program}: {error}"));
    match error {
        RunError::Component => failure.next("compile it for the target wasm32-wasip1"),
        RunError::Preopen { .. } => failure.next("--workdir takes a directory of the stack"),
        _ => failure,
    }
}
