//! `mountless run`.

use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mountless::backend::mem::MemOptions;
use mountless::compose::fault::{Fault, Faults};
use mountless::compose::trace::{TraceFormat, Tracer};
use mountless::errno::Errno;
use mountless::fs::{FileSystem, FileSystemExt as _, SyncScope};
use mountless::namespace::{Follow, Namespace};
use mountless::size::Size;
use mountless::source::{MmapSource, Source as _};
use mountless_wasi::host::Limits;
use mountless_wasi::run::{
    Cache, Deterministic, Invoked, Outcome, Output, Preopen, RunError, RunOptions, Runner, Stdin,
};

use crate::failure::{Failure, Result, plainly};
use crate::outcome::OutcomeArgs;
use crate::output;
use crate::progress::patiently;
use crate::stack::StackArgs;

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
  mountless run -i base.cpio --volume ./data:/data:ro --env MODE=test image:/bin/app.wasm
  mountless run -i base.cpio --preopen /:ro --preopen /tmp app.wasm")]
pub(crate) struct Args {
    #[command(flatten)]
    stack: StackArgs,

    /// Sets a variable of the program's environment, which starts empty; NAME alone takes the value it has here
    #[arg(short, long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,

    /// Where the program starts: its PWD, and its first preopen. Programs that look at neither, as those in C with
    /// wasi-libc, start at /
    #[arg(short, long, value_name = "/PATH", value_parser = workdir)]
    workdir: Option<String>,

    /// Gives the program a directory of the stack under a name, `:ro` for reading only, instead of all of the stack as /;
    /// repeat it for more
    #[arg(long = "preopen", value_name = "[NAME=]/PATH[:ro]", value_parser = preopen)]
    preopens: Vec<Preopen>,

    /// Ends the program after this time, for example 500ms or 2m
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,

    /// Most memory that the program may have, all its memories together, for example 64M
    #[arg(long, value_name = "SIZE")]
    memory: Option<Size>,

    /// Calls this exported function of a library or reactor instead of running a program; the arguments are its own,
    /// numbers for a module and WAVE values for a component
    #[arg(long, value_name = "FUNCTION")]
    invoke: Option<String>,

    /// Ends the program after about this many instructions
    #[arg(long, value_name = "COUNT")]
    fuel: Option<u64>,

    /// Most files and directories that the program may have open at once
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().descriptors, hide_default_value = true)]
    descriptors: usize,

    /// Largest file that the program may make, for example 1G
    #[arg(long, value_name = "SIZE")]
    file_size: Option<Size>,

    /// Most bytes that the program may write to files before the disk is full, for example 10M; it has room for a file
    /// or directory per KiB too, and a thousand more
    #[arg(long, value_name = "SIZE", conflicts_with = "upper")]
    disk: Option<Size>,

    /// Makes runs repeat: a clock that starts at a fixed time and never waits, random bytes from SEED
    #[arg(long, value_name = "SEED", num_args = 0..=1, default_missing_value = "0", require_equals = true, conflicts_with = "upper")]
    deterministic: Option<u64>,

    /// Lets a component use the host's network: connect, listen, look up names, ask by HTTP. Modules cannot, and nothing
    /// can without this
    #[arg(long)]
    net: bool,

    /// Makes calls fail on purpose, for example op=write,path=/var/**,after_bytes=10MiB,error=ENOSPC; repeat it for more
    #[arg(long = "fault", value_name = "SPEC")]
    faults: Vec<Fault>,

    /// Writes every call on the file system to a file, `-` for standard error
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    /// How the trace is written: like strace, or one JSON object a line
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = TraceAs::Text, requires = "trace")]
    trace_format: TraceAs,

    #[command(flatten)]
    outcome: OutcomeArgs,

    /// WebAssembly module or component, and its arguments: a file of the host, or image:/PATH for one in the stack
    #[arg(required = true, trailing_var_arg = true, num_args = 1.., value_names = ["PROGRAM", "ARG"])]
    command: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum TraceAs {
    Text,
    Json,
}

pub(crate) fn variable(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some(("", _)) => Err("a variable needs a name".to_owned()),
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => std::env::var(text).map(|value| (text.to_owned(), value)).map_err(|error| error.to_string()),
    }
}

fn preopen(text: &str) -> std::result::Result<Preopen, String> {
    let (rest, read_only) = text.strip_suffix(":ro").map_or((text, false), |rest| (rest, true));
    match rest.split_once('=').unwrap_or((rest, rest)) {
        (name, path) if !name.is_empty() && path.starts_with('/') => {
            Ok(Preopen { name: name.to_owned(), path: path.to_owned(), read_only })
        }
        _ => Err("a preopen is /PATH, NAME=/PATH or either with :ro, with an absolute path".to_owned()),
    }
}

fn workdir(text: &str) -> std::result::Result<String, String> {
    if text.starts_with('/') { Ok(text.to_owned()) } else { Err("a path of the stack begins with `/`".to_owned()) }
}

pub(crate) fn run(args: Args) -> Result {
    start(args).map_err(|failure| failure.with_code(EXIT_FAILED))
}

fn start(args: Args) -> Result {
    let deterministic = args.deterministic.map(Deterministic::new);
    let trees = args.stack.trees(upper(&args, deterministic.as_ref()))?;
    args.outcome.prepare(&trees)?;
    let namespace = assemble(&args, Arc::clone(&trees.after))?;
    let mut words = args.command.into_iter();
    // OK: clap wants at least one.
    let program = words.next().unwrap_or_default();
    let wasm = read_program(&program, &namespace)?;
    let is_limited = args.memory.is_some();
    let failed = |error: RunError| program_failed(&program, &error, is_limited);
    let cache = if args.stack.no_cache() { Cache::Off } else { Cache::User };
    let runner = match (args.fuel, args.timeout) {
        (Some(_), _) => Runner::metered(&cache),
        (None, Some(_)) => Runner::new(&cache),
        (None, None) => Runner::uninterruptible(&cache),
    };
    let runner = runner.map_err(failed)?;
    let compiled = patiently("compiling", &program, || runner.compile(&wasm)).map_err(failed)?;
    drop(wasm);
    let words: Vec<_> = words.collect();
    let (program_args, call_args) = if args.invoke.is_some() { (Vec::new(), words) } else { (words, Vec::new()) };
    let memory_max = args.memory.map(|Size(bytes)| usize::try_from(bytes).unwrap_or(usize::MAX));
    let options = RunOptions {
        args: std::iter::once(program_name(&program).to_owned()).chain(program_args).collect(),
        env: args.env,
        workdir: args.workdir,
        preopens: if args.preopens.is_empty() { RunOptions::default().preopens } else { args.preopens },
        timeout: args.timeout,
        memory_max,
        fuel: args.fuel,
        limits: Limits {
            descriptors: args.descriptors,
            file_bytes: args.file_size.map_or(Limits::default().file_bytes, |Size(bytes)| bytes),
        },
        deterministic,
        network: args.net,
        stdin: Stdin::Inherit,
        stdout: Output::Inherit,
        stderr: Output::Inherit,
    };
    let outcome = match &args.invoke {
        None => runner.run(&compiled, &namespace, options).map_err(failed)?,
        Some(name) => match runner.invoke(&compiled, &namespace, options, name, &call_args).map_err(failed)? {
            Invoked::Ended(outcome) => outcome,
            Invoked::Returned(results) => {
                let mut out = output::stdout();
                for result in results {
                    writeln!(out, "{result}")?;
                }
                out.flush()?;
                Outcome::Exited(0)
            }
        },
    };
    // Not by way of the namespace: the program's faults and traces are not for this.
    let kept = trees.after.writable().and_then(|tree| tree.sync(SyncScope::All));
    kept.map_err(|error| Failure::new(EXIT_FAILED, format!("cannot keep the changes: {error}")))?;
    args.outcome.show(&trees, matches!(outcome, Outcome::Exited(_)))?;
    Ok(match outcome {
        // A host has 8 bits for it.
        Outcome::Exited(code) => ExitCode::from(code.to_le_bytes()[0]),
        Outcome::TimedOut => {
            let limit = humantime::format_duration(args.timeout.unwrap_or_default());
            output::complain(&format!("stopped: {program}: not done after {limit}"), None);
            ExitCode::from(EXIT_TIMEOUT)
        }
        Outcome::OutOfFuel => {
            let fuel = args.fuel.unwrap_or_default();
            output::complain(&format!("stopped: {program}: not done after {fuel} instructions"), None);
            ExitCode::from(EXIT_TIMEOUT)
        }
        Outcome::Trapped(message) => {
            output::complain(&format!("trapped: {program}: {message}"), None);
            ExitCode::from(EXIT_TRAP)
        }
    })
}

/// Memory for the changes.
fn upper(args: &Args, deterministic: Option<&Deterministic>) -> MemOptions {
    let mut upper = MemOptions::new();
    if let Some(Size(bytes)) = args.disk {
        upper = upper.disk(bytes);
    }
    if let Some(deterministic) = deterministic {
        upper = upper.clock(deterministic.clock());
    }
    upper
}

/// The tree, watched if asked for, and the volumes on it.
fn assemble(args: &Args, mut tree: Arc<dyn FileSystem>) -> Result<Namespace> {
    if !args.faults.is_empty() {
        tree = Arc::new(Faults::new(args.faults.iter().cloned()).over(tree));
    }
    if let Some(path) = &args.trace {
        tree = Arc::new(tracer(path, args)?.over(tree));
    }
    let namespace = Namespace::new(tree);
    args.stack.mount_volumes(&namespace)?;
    Ok(namespace)
}

/// Writes to `path` from now on.
fn tracer(path: &Path, args: &Args) -> Result<Tracer> {
    let out: Box<dyn Write + Send> = if path == Path::new("-") {
        Box::new(std::io::stderr())
    } else {
        let file = File::create(path).map_err(|error| {
            Failure::new(EXIT_FAILED, format!("cannot write the trace: {}: {}", path.display(), plainly(&error)))
        })?;
        Box::new(BufWriter::new(file))
    };
    let format = match args.trace_format {
        TraceAs::Text => TraceFormat::Text,
        TraceAs::Json => TraceFormat::Json,
    };
    let tracer = Tracer::new(out, format);
    // A trace of a run that repeats is to repeat too.
    Ok(if args.deterministic.is_some() { tracer.without_times() } else { tracer })
}

/// The path of a program inside the stack.
fn path_in_stack(program: &str) -> Option<&str> {
    program.strip_prefix("image:").filter(|path| path.starts_with('/'))
}

/// What the program sees as its name: its path in the stack, or the name of the host's file.
fn program_name(program: &str) -> &str {
    path_in_stack(program).unwrap_or_else(|| program.rsplit('/').next().unwrap_or(program))
}

/// The bytes of the program, where they are already: nothing is copied.
fn read_program(program: &str, namespace: &Namespace) -> Result<Bytes> {
    let failed =
        |error: &dyn std::fmt::Display| Failure::new(EXIT_FAILED, format!("cannot read program: {program}: {error}"));
    match path_in_stack(program) {
        Some(path) => read_in_stack(namespace, path).map_err(|error| match error.errno() {
            Errno::NotFound => failed(&error).next("`mountless find IMAGE` lists what an image holds"),
            _ => failed(&error),
        }),
        None => read_on_host(program).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                failed(&plainly(&error)).next("a program inside the stack is written image:/PATH")
            }
            _ => failed(&plainly(&error)),
        }),
    }
}

fn read_in_stack(namespace: &Namespace, path: &str) -> mountless::Result<Bytes> {
    let at = namespace.locate(path, Follow::Yes)?;
    let size = usize::try_from(at.fs().attr(at.node())?.size).map_err(|_| Errno::FileTooBig)?;
    let whole = at.fs().read_shared(at.node(), 0, size)?;
    // It may be short, where a file is in pieces.
    if whole.len() == size { Ok(whole) } else { Ok(namespace.read(path)?.into()) }
}

fn read_on_host(path: &str) -> io::Result<Bytes> {
    let mut file = File::open(path)?;
    if file.metadata()?.is_file()
        && let Ok(source) = MmapSource::new(&file)
    {
        return Ok(source.bytes_at(0..source.len())?);
    }
    // A pipe, for example.
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

fn program_failed(program: &str, error: &RunError, is_limited: bool) -> Failure {
    let failure = Failure::new(EXIT_FAILED, format!("cannot run: {program}: {error}"));
    match error {
        RunError::NoEntry => failure.next("--invoke NAME calls one of its functions"),
        RunError::Preopen { source, .. } if *source == Errno::TooManyFiles => {
            failure.next("each directory that a program is given counts; --descriptors COUNT allows more")
        }
        RunError::Compile(_) => failure.next(
            "the engine takes WebAssembly 3.0, and no threads; of exceptions the standard's, which clang writes with \
             -mllvm -wasm-use-legacy-eh=false",
        ),
        RunError::Link(_) => failure.next("a program may import WASI, previews 1, 2 and 3, and wasi:http"),
        RunError::NoNetwork => failure.next("--net gives it the host's"),
        RunError::Instantiate(_) if is_limited => failure.next("--memory SIZE allows more"),
        RunError::Preopen { .. } => failure.next("--workdir and --preopen take directories of the stack"),
        _ => failure,
    }
}
