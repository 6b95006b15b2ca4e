//! A Linux to boot: Debian's kernel, unpacked and not installed, and a first program compiled here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::guests::{dir, is_newer, making, sources};
use crate::install::has_program;
use crate::{Result, run_quiet};

/// The machine that the kernel is booted on. In software: what runs the tests has no `/dev/kvm`, often.
pub const QEMU: &str = "qemu-system-x86_64";

/// Depends on the kernel of the day; the small one, for virtual machines.
const KERNEL_PACKAGE: &str = "linux-image-cloud-amd64";

/// The kernel, downloaded if it is not there.
///
/// # Errors
/// If there is no machine for it, or no package of it.
pub fn kernel() -> Result<PathBuf> {
    if !has_program(QEMU) {
        return Err(format!("no {QEMU}: run `cargo xtask guests`, or install qemu-system-x86").into());
    }
    let unpacked = dir().join("linux");
    if let Some(kernel) = find(&unpacked) {
        return Ok(kernel);
    }
    let making = making(&unpacked);
    fs::create_dir_all(&making)?;
    let downloaded = download(&making)
        .or_else(|_| {
            // Its lists of packages may be missing, or of last month.
            run_quiet(Command::new("apt-get").args(["update", "--quiet"]))?;
            download(&making)
        })
        .map_err(|error| format!("a kernel of Debian ({KERNEL_PACKAGE}) cannot be downloaded: {error}"))?;
    run_quiet(Command::new("dpkg").arg("-x").arg(&downloaded).arg(&making))?;
    fs::remove_file(downloaded)?;
    // Another process may have been faster, with the same result.
    if fs::rename(&making, &unpacked).is_err() {
        fs::remove_dir_all(&making)?;
    }
    find(&unpacked).ok_or_else(|| format!("{KERNEL_PACKAGE} has no /boot/vmlinuz-*").into())
}

fn find(unpacked: &Path) -> Option<PathBuf> {
    starting_with("vmlinuz-", &unpacked.join("boot"))
}

fn starting_with(name: &str, dir: &Path) -> Option<PathBuf> {
    let mut files = fs::read_dir(dir).ok()?.filter_map(std::result::Result::ok);
    files.find(|file| file.file_name().to_string_lossy().starts_with(name)).map(|file| file.path())
}

fn download(to: &Path) -> Result<PathBuf> {
    let output = Command::new("apt-cache").args(["depends", "--important", KERNEL_PACKAGE]).output()?;
    let depends = String::from_utf8_lossy(&output.stdout);
    let package = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image-"));
    let package = format!("linux-image-{}", package.ok_or("it is not in the lists of packages")?);
    run_quiet(Command::new("apt-get").args(["download", "--quiet", &package]).current_dir(to))?;
    starting_with(&package, to).ok_or_else(|| format!("{package} was not downloaded").into())
}

/// The program compiled from `tests/guests/linux/init.c`, which lists the tree that it finds.
///
/// # Errors
/// The compiler's.
pub fn init() -> Result<PathBuf> {
    let source = sources().join("linux/init.c");
    let program = dir().join("linux-init");
    if is_newer(&program, &source) {
        return Ok(program);
    }
    let making = making(&program);
    fs::create_dir_all(dir())?;
    let mut compile = Command::new("cc");
    compile.args(["-static", "-O2", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&making).arg(source);
    run_quiet(&mut compile)?;
    fs::rename(making, &program)?;
    Ok(program)
}
