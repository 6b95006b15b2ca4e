//! Real programs for the tests, by package name: compiled here, or as packages of other registries carry them.
//!
//! They are kept under `target/guests` (or `MOUNTLESS_GUESTS`) and never committed. Several processes may ask at once:
//! everything is made under a name of its own and renamed into place.

mod components;
mod debian;
mod go;
mod heavy;
mod python;
mod rust;
mod sqlite;
mod wheel;
mod zig;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub use self::components::{javascript_component, python_component, wasi_interfaces};
pub use self::go::{GO_TESTED, go_program, go_root, go_tests};
pub use self::heavy::{gcc, ruby, yosys};
pub use self::python::{PYTHON_HOME, UNPACK_PYTHON_LIBRARY, python, python_library, python_tests};
use self::rust::{RUST_PACKAGES, has_debian_rust};
pub use self::rust::{RUST_TARGET, has_rust_target, rust_program};
pub use self::sqlite::sqlite_program;
pub use self::zig::{zig_cpp_program, zig_program};
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

/// The guests that run on demand.
pub const ON_DEMAND: &str = "GCC, Ruby and Yosys";

/// Which guests are fetched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    /// Those of the usual tests.
    Usual,
    /// Those on demand too.
    All,
}

/// Installs what is missing and builds guests.
///
/// # Errors
/// A sentence that says what to install by hand.
pub fn fetch(which: Which) -> Result {
    install_missing()?;
    if has_rust_target().is_err() {
        // It comes from Rust's own server, which is no package registry: one test does without, others with Debian's.
        if let Err(error) = run_quiet(Command::new("rustup").args(["target", "add", RUST_TARGET])) {
            eprintln!("NOT INSTALLED: Rust's library for {RUST_TARGET}: {error}");
            if !has_debian_rust() {
                install::packages(&RUST_PACKAGES)?;
            }
        }
    }
    let mut jobs: Vec<Job> = vec![in_c, in_go, in_other_languages];
    if which == Which::All {
        jobs.push(|| Ok(vec![gcc()?, ruby()?, yosys()?]));
    }
    // Compilers and downloads leave each other room.
    std::thread::scope(|scope| {
        let running: Vec<_> = jobs.into_iter().map(|job| scope.spawn(job)).collect();
        for job in running {
            for made in job.join().map_err(|_| "a job panicked")?? {
                println!("{}", made.display());
            }
        }
        Ok(())
    })
}

/// Makes or downloads some guests.
type Job = fn() -> Result<Vec<PathBuf>>;

fn in_c() -> Result<Vec<PathBuf>> {
    let mut made = Vec::new();
    for source in fs::read_dir(sources())? {
        let source = source?.path();
        if source.extension().is_some_and(|extension| extension == "c") {
            made.push(c_program(&source.file_stem().unwrap_or_default().to_string_lossy())?);
        }
    }
    for name in CRASH_EXAMPLE {
        made.push(crash_example(name)?);
    }
    made.extend([
        preview3_module("fetch")?,
        preview3_module("files")?,
        preview3_module("pipe")?,
        sqlite_program("bank")?,
        sqlite_program("shop")?,
        zig_program("files")?,
        zig_cpp_program("throws")?,
    ]);
    Ok(made)
}

fn in_go() -> Result<Vec<PathBuf>> {
    std::iter::once(go_program("files")).chain(GO_TESTED.map(go_tests)).collect()
}

fn linux() -> Result<Vec<PathBuf>> {
    match crate::linux::kernel() {
        Ok(kernel) => Ok(vec![kernel, crate::linux::init()?]),
        Err(error) => {
            // The tests that boot it are told of, and skipped, where it cannot be had.
            eprintln!("NOT INSTALLED: {error}");
            Ok(Vec::new())
        }
    }
}

fn in_other_languages() -> Result<Vec<PathBuf>> {
    let made = [
        python()?,
        python_tests()?,
        rust_program("files")?,
        python_component()?,
        javascript_component("app")?,
        javascript_component("fetch")?,
    ];
    // Not beside the tests of CPython: both may ask Debian for its lists of packages.
    Ok(made.into_iter().chain(linux()?).collect())
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
    compiled(name, &[&source], |compile| {
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
    let headers = ["task.h", "files.h"].map(|header| source.with_file_name(header));
    compiled(&format!("preview3-{name}"), &[&source, &headers[0], &headers[1]], |compile| {
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
    compiled(&format!("crash-{name}"), &[&source], |compile| {
        compile.args(["-Wall", "-Wextra", "-Werror"]).arg(&source);
        Ok(())
    })
}

/// The module that `arguments` make the compiler make, if it is older than one of its sources.
fn compiled(name: &str, sources: &[&Path], arguments: impl FnOnce(&mut Command) -> Result) -> Result<PathBuf> {
    let wasm = dir().join(name).with_extension("wasm");
    if sources.iter().all(|source| is_newer(&wasm, source)) {
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

/// Puts a directory where it belongs, unless another process was faster, with the same result.
fn rename_made(making: &Path, made: PathBuf) -> Result<PathBuf> {
    match fs::rename(making, &made) {
        Err(_) if made.exists() => fs::remove_dir_all(making)?,
        renamed => renamed.map_err(|error| format!("{}: {error}", made.display()))?,
    }
    Ok(made)
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
    if !has_program("node") {
        packages.push("nodejs");
    }
    if !has_program("npm") {
        packages.push("npm");
    }
    install::packages(&packages)
}
