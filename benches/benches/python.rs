//! The same Python script on the same files: `mountless run` on a cpio image, beside wasmtime-wasi on the files extracted
//! to tmpfs. Whole processes, started by turns, their compiled modules cached; prints the medians and the ratio.
//!
//! The peer is this program itself, started again: nothing but the engine, its cache, and a preopened directory set up
//! in its fastest way. Point `MOUNTLESS_WASMTIME` at a `wasmtime` executable to see that one too.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mountless_tests::{archive, copy_tree, put, python, reference};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

const ROUNDS: usize = 10;

/// What the script ends with, as its last argument says.
const EXIT_CODE: i32 = 9;

const ENVIRONMENT: [(&str, &str); 3] =
    [("PYTHONHOME", python::HOME), ("PYTHONDONTWRITEBYTECODE", "1"), ("GREETING", "hello")];

/// What makes this program the peer: this, the interpreter and the directory.
const PEER: &str = "--peer";

/// One way to run the script.
struct Contender {
    name: &'static str,
    command: Vec<OsString>,
    times: Vec<Duration>,
}

fn main() -> Result {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let [_, peer, wasm, dir] = &*arguments
        && peer == PEER
    {
        let code = reference::run_inherited(wasm.as_ref(), &script_arguments(), &ENVIRONMENT, dir.as_ref());
        std::process::exit(code);
    }
    // Test runners start benches too, to list what is in them.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return Ok(());
    }

    let tmpfs = tempfile::tempdir_in("/dev/shm")?;
    let (wasm, tree) = make_tree(tmpfs.path())?;
    let extracted = tmpfs.path().join("extracted");
    let image = tmpfs.path().join("python.cpio");
    fs::write(&image, archive::pack(&tree))?;
    let packed = tmpfs.path().join("python.cpio.gz");
    let mut gzip = flate2::write::GzEncoder::new(fs::File::create(&packed)?, flate2::Compression::best());
    gzip.write_all(&fs::read(&image)?)?;
    gzip.finish()?;

    let mut contenders = vec![
        ours("mountless run, cpio", &wasm, &image)?,
        ours("mountless run, cpio.gz", &wasm, &packed)?,
        contender(
            "wasmtime-wasi, tmpfs",
            vec![std::env::current_exe()?.into(), PEER.into(), wasm.clone().into(), extracted.clone().into()],
        ),
    ];
    if let Some(wasmtime) = std::env::var_os("MOUNTLESS_WASMTIME") {
        contenders.push(contender("wasmtime CLI, tmpfs", wasmtime_command(wasmtime, &wasm, &extracted)));
    }

    let mut said: Option<Vec<u8>> = None;
    // The first round fills the caches.
    for round in 0..=ROUNDS {
        for contender in &mut contenders {
            // The script leaves files behind.
            fs::remove_dir_all(&extracted).or_else(|error| if extracted.exists() { Err(error) } else { Ok(()) })?;
            copy_tree(&tree, &extracted);
            let (time, stdout) = contender.run()?;
            assert!(*said.get_or_insert_with(|| stdout.clone()) == stdout, "{} says something else", contender.name);
            if round > 0 {
                contender.times.push(time);
            }
        }
    }
    report(&mut contenders);
    Ok(())
}

/// The tree that the script runs on, and the interpreter.
fn make_tree(dir: &Path) -> Result<(PathBuf, PathBuf)> {
    let (wasm, library) = python::interpreter_and_library();
    let tree = dir.join("tree");
    copy_tree(&library, &tree.join(python::HOME.trim_start_matches('/')));
    put(&tree, "py312/lib/python3.12/marker_in_image.py", "VALUE = 'from the image'\n");
    put(&tree, "walk.py", fs::read(xtask::workspace().join("tests/guests/walk.py"))?);
    Ok((wasm, tree))
}

fn script_arguments() -> [&'static str; 4] {
    ["python", "/walk.py", "/py312/lib/python3.12", "9"]
}

fn contender(name: &'static str, command: Vec<OsString>) -> Contender {
    Contender { name, command, times: Vec::new() }
}

/// The command of this workspace, built as it is shipped.
fn ours(name: &'static str, wasm: &Path, image: &Path) -> Result<Contender> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.current_dir(xtask::workspace()).args(["build", "--quiet", "--release", "--package", "mountless-cli"]);
    xtask::run(&mut build).map_err(|error| error as Box<dyn std::error::Error>)?;
    let mut command: Vec<OsString> = vec![xtask::target().join("release/mountless").into()];
    command.extend(["run".into(), "-i".into(), image.into()]);
    for (key, value) in ENVIRONMENT {
        command.extend(["--env".into(), format!("{key}={value}").into()]);
    }
    command.push(wasm.into());
    command.extend(script_arguments().into_iter().skip(1).map(OsString::from));
    Ok(contender(name, command))
}

fn wasmtime_command(wasmtime: OsString, wasm: &Path, dir: &Path) -> Vec<OsString> {
    let mut command = vec![wasmtime, "run".into(), "-C".into(), "cache=y".into(), "--dir".into()];
    command.push(format!("{}::/", dir.display()).into());
    for (key, value) in ENVIRONMENT {
        command.extend(["--env".into(), format!("{key}={value}").into()]);
    }
    command.push(wasm.into());
    command.extend(script_arguments().into_iter().skip(1).map(OsString::from));
    command
}

impl Contender {
    fn run(&self) -> Result<(Duration, Vec<u8>)> {
        let [program, arguments @ ..] = &*self.command else { return Err("no command".into()) };
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stderr(Stdio::inherit());
        let start = Instant::now();
        let output = command.output()?;
        let time = start.elapsed();
        assert_eq!(output.status.code(), Some(EXIT_CODE), "{}", self.name);
        Ok((time, output.stdout))
    }

    fn median(&mut self) -> Duration {
        self.times.sort_unstable();
        let upper = self.times.len() / 2;
        match (self.times.get(upper.saturating_sub(1)), self.times.get(upper)) {
            (Some(&below), Some(&above)) if self.times.len().is_multiple_of(2) => (below + above) / 2,
            (_, Some(&middle)) => middle,
            _ => Duration::ZERO,
        }
    }
}

fn report(contenders: &mut [Contender]) {
    let peer = contenders.iter_mut().find(|contender| contender.name.starts_with("wasmtime-wasi"));
    let peer = peer.map(|peer| peer.median().as_secs_f64()).unwrap_or_default();
    println!("{:<24} {:>10} {:>10} {:>10} {:>8}", format!("ms of {ROUNDS} runs"), "median", "least", "most", "ratio");
    for contender in contenders {
        let median = contender.median().as_secs_f64();
        let millis = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1e3);
        let (least, most) = (millis(contender.times.first()), millis(contender.times.last()));
        println!("{:<24} {:>10.1} {least:>10.1} {most:>10.1} {:>7.2}x", contender.name, median * 1e3, median / peer);
    }
}
