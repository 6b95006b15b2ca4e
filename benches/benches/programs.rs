//! Whole programs on the same files: `mountless run` on a cpio image, beside wasmtime-wasi on the files extracted to tmpfs.
//! Whole processes, started by turns, their compiled modules cached; prints the medians and the ratios.
//!
//! The peer is this program itself, started again: nothing but the engine, its cache, and a preopened directory set up
//! in its fastest way. Point `MOUNTLESS_WASMTIME` at a `wasmtime` executable to see that one too. A part of a program's
//! name, as an argument, leaves out the others.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mountless_tests::{archive, copy_tree, put, python, reference};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

const ROUNDS: usize = 10;

/// What a program does, and on what.
struct Program {
    name: &'static str,
    arguments: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
    exit_code: i32,
    /// Whether what it says has no times in it.
    says_the_same: bool,
    /// Whether the image is compressed too.
    is_packed: bool,
    /// Makes the tree, and returns the module.
    make: fn(&Path) -> Result<PathBuf>,
}

const PYTHON: [(&str, &str); 3] =
    [("PYTHONHOME", python::HOME), ("PYTHONDONTWRITEBYTECODE", "1"), ("GREETING", "hello")];

const PROGRAMS: &[Program] = &[
    Program {
        name: "CPython, a script",
        arguments: &["python", "/walk.py", "/py312/lib/python3.12", "9"],
        environment: &PYTHON,
        exit_code: 9,
        says_the_same: true,
        is_packed: true,
        make: make_python,
    },
    Program {
        name: "CPython, 50 imports",
        arguments: &["python", "-c", IMPORTS],
        environment: &PYTHON,
        exit_code: 0,
        says_the_same: true,
        is_packed: false,
        make: make_python,
    },
    Program {
        name: "SQLite, 10,000 inserts",
        arguments: &["inserts", "10000"],
        environment: &[],
        exit_code: 0,
        says_the_same: true,
        is_packed: false,
        make: make_sqlite,
    },
    Program {
        name: "Go, tests of archive/tar",
        arguments: &["test", "-test.short"],
        environment: &[("PWD", "/src/archive/tar"), ("TMPDIR", "/tmp"), ("GOROOT", "/")],
        exit_code: 0,
        says_the_same: false,
        is_packed: false,
        make: make_go,
    },
];

/// Fifty modules of the standard library, each from a file.
const IMPORTS: &str = "\
import argparse, ast, base64, bisect, calendar, configparser, contextlib, copy, csv, dataclasses
import datetime, decimal, difflib, dis, enum, fnmatch, fractions, functools, glob, gzip
import hashlib, heapq, inspect, io, ipaddress, json, linecache, logging, mimetypes, numbers
import operator, pathlib, pickle, pprint, queue, random, re, shelve, shlex, shutil
import statistics, string, struct, tarfile, tempfile, textwrap, tokenize, typing, uuid, zipfile
import sys
print(sys.version_info[:2], json.dumps([1]), all(name in sys.modules for name in ('argparse', 'zipfile')))";

/// What makes this program the peer: this, the program's name, its module and the directory.
const PEER: &str = "--peer";

/// One way to run the program.
struct Contender {
    name: &'static str,
    command: Vec<OsString>,
    times: Vec<Duration>,
}

fn main() -> Result {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let [_, peer, name, wasm, dir] = &*arguments
        && peer == PEER
    {
        let program = PROGRAMS.iter().find(|program| name == program.name).ok_or("no such program")?;
        let code = reference::run_inherited(wasm.as_ref(), program.arguments, program.environment, dir.as_ref());
        std::process::exit(code);
    }
    // Test runners start benches too, to list what is in them.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let part = arguments.iter().skip(1).filter_map(|argument| argument.to_str()).find(|part| !part.starts_with("--"));
    let mountless = xtask::release_command().map_err(|error| error as Box<dyn std::error::Error>)?;
    let widths = format!("ms of {ROUNDS} runs");
    println!("{:<52} {:>10} {:>10} {:>10} {:>8}", widths, "median", "least", "most", "ratio");
    PROGRAMS
        .iter()
        .filter(|program| program.name.contains(part.unwrap_or_default()))
        .try_for_each(|program| program.compare(&mountless))
}

fn make_python(tree: &Path) -> Result<PathBuf> {
    let (wasm, library) = python::interpreter_and_library();
    copy_tree(&library, &tree.join(python::HOME.trim_start_matches('/')));
    put(tree, "py312/lib/python3.12/marker_in_image.py", "VALUE = 'from the image'\n");
    put(tree, "walk.py", fs::read(xtask::workspace().join("tests/guests/walk.py"))?);
    Ok(wasm)
}

fn make_sqlite(tree: &Path) -> Result<PathBuf> {
    fs::create_dir_all(tree.join("db"))?;
    Ok(xtask::guests::sqlite_program("inserts").map_err(|error| error.to_string())?)
}

fn make_go(tree: &Path) -> Result<PathBuf> {
    let root = xtask::guests::go_root().map_err(|error| error.to_string())?;
    copy_tree(&root.join("src/archive"), &tree.join("src/archive"));
    fs::create_dir_all(tree.join("tmp"))?;
    Ok(xtask::guests::go_tests("archive/tar").map_err(|error| error.to_string())?)
}

impl Program {
    fn compare(&self, mountless: &Path) -> Result {
        let tmpfs = tempfile::tempdir_in("/dev/shm")?;
        let tree = tmpfs.path().join("tree");
        let wasm = (self.make)(&tree)?;
        let extracted = tmpfs.path().join("extracted");
        let image = tmpfs.path().join("image.cpio");
        fs::write(&image, archive::pack(&tree))?;
        let mut contenders = vec![self.ours("mountless run, cpio", mountless, &wasm, &image)];
        if self.is_packed {
            let packed = tmpfs.path().join("image.cpio.gz");
            let mut gzip = flate2::write::GzEncoder::new(fs::File::create(&packed)?, flate2::Compression::best());
            gzip.write_all(&fs::read(&image)?)?;
            gzip.finish()?;
            contenders.push(self.ours("mountless run, cpio.gz", mountless, &wasm, &packed));
        }
        let peer: [&OsStr; 4] = [PEER.as_ref(), self.name.as_ref(), wasm.as_ref(), extracted.as_ref()];
        let mut command: Vec<OsString> = vec![std::env::current_exe()?.into()];
        command.extend(peer.map(OsStr::to_owned));
        contenders.push(Contender { name: "wasmtime-wasi, tmpfs", command, times: Vec::new() });
        if let Some(wasmtime) = std::env::var_os("MOUNTLESS_WASMTIME") {
            contenders.push(self.wasmtime(wasmtime, &wasm, &extracted));
        }

        let mut said: Option<Vec<u8>> = None;
        // The first round fills the caches.
        for round in 0..=ROUNDS {
            for contender in &mut contenders {
                // Programs leave files behind.
                fs::remove_dir_all(&extracted).or_else(|error| if extracted.exists() { Err(error) } else { Ok(()) })?;
                copy_tree(&tree, &extracted);
                let (time, stdout) = contender.run(self.exit_code)?;
                let said = said.get_or_insert_with(|| stdout.clone());
                assert!(!self.says_the_same || *said == stdout, "{} says something else", contender.name);
                if round > 0 {
                    contender.times.push(time);
                }
            }
        }
        report(self.name, &mut contenders);
        Ok(())
    }

    fn ours(&self, name: &'static str, mountless: &Path, wasm: &Path, image: &Path) -> Contender {
        let mut command: Vec<OsString> = vec![mountless.into(), "run".into(), "-i".into(), image.into()];
        self.finish(&mut command, wasm);
        Contender { name, command, times: Vec::new() }
    }

    fn wasmtime(&self, wasmtime: OsString, wasm: &Path, dir: &Path) -> Contender {
        let mut command = vec![wasmtime, "run".into(), "-C".into(), "cache=y".into(), "--dir".into()];
        command.push(format!("{}::/", dir.display()).into());
        self.finish(&mut command, wasm);
        Contender { name: "wasmtime CLI, tmpfs", command, times: Vec::new() }
    }

    fn finish(&self, command: &mut Vec<OsString>, wasm: &Path) {
        for (key, value) in self.environment {
            command.extend(["--env".into(), format!("{key}={value}").into()]);
        }
        command.push(wasm.into());
        command.extend(self.arguments.iter().skip(1).map(OsString::from));
    }
}

impl Contender {
    fn run(&self, exit_code: i32) -> Result<(Duration, Vec<u8>)> {
        let [program, arguments @ ..] = &*self.command else { return Err("no command".into()) };
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stderr(Stdio::inherit());
        let start = Instant::now();
        let output = command.output()?;
        let time = start.elapsed();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(exit_code), "{}: {said}", self.name);
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

fn report(program: &str, contenders: &mut [Contender]) {
    let peer = contenders.iter_mut().find(|contender| contender.name.starts_with("wasmtime-wasi"));
    let peer = peer.map(|peer| peer.median().as_secs_f64()).unwrap_or_default();
    for contender in contenders {
        let median = contender.median().as_secs_f64();
        let millis = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1e3);
        let (least, most) = (millis(contender.times.first()), millis(contender.times.last()));
        let name = format!("{program}: {}", contender.name);
        println!("{name:<52} {:>10.1} {least:>10.1} {most:>10.1} {:>7.2}x", median * 1e3, median / peer);
    }
}
