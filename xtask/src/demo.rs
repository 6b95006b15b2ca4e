//! The image that the README starts with, and the tour of it.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use flate2::{Compression, GzBuilder};
use mountless::attr::{Device, FileType};
use mountless::format::cpio::{CpioWriter, NewEntry};

use crate::{Result, guests, run};

/// Where the image stands in the repository.
#[must_use]
pub fn path() -> PathBuf {
    crate::workspace().join("examples/demo.cpio.gz")
}

fn sources() -> PathBuf {
    crate::workspace().join("examples/demo")
}

/// Builds the image where it stands.
///
/// # Errors
/// As [`build`], and those of writing.
pub fn write() -> Result {
    fs::write(path(), build()?)?;
    println!("{}", path().display());
    Ok(())
}

/// Builds the image: the same bytes from the same sources.
///
/// # Errors
/// If a source is missing or the program does not assemble.
pub fn build() -> Result<Vec<u8>> {
    let program = wat::parse_file(sources().join("demo.wat"))?;
    let mut image = Image::new();
    image.dir("bin", 0o755)?;
    image.file("bin/demo.wasm", 0o755, &program)?;
    image.dir("etc", 0o755)?;
    image.file("etc/motd", 0o644, &fs::read(sources().join("motd"))?)?;
    image.dir("tmp", 0o1777)?;
    image.finish()
}

/// An archive, compressed, that depends on nothing but what is put into it.
struct Image {
    archive: CpioWriter<flate2::write::GzEncoder<Vec<u8>>>,
    last_ino: u32,
}

impl Image {
    fn new() -> Self {
        // The gzip header holds no name and no time.
        let gzip = GzBuilder::new().write(Vec::new(), Compression::best());
        Self { archive: CpioWriter::new(gzip), last_ino: 0 }
    }

    fn dir(&mut self, name: &str, mode: u16) -> Result {
        self.entry(name, mode, FileType::Dir, b"")
    }

    fn file(&mut self, name: &str, mode: u16, content: &[u8]) -> Result {
        self.entry(name, mode, FileType::File, content)
    }

    fn entry(&mut self, name: &str, mode: u16, file_type: FileType, content: &[u8]) -> Result {
        if self.last_ino == 0 && name != "." {
            self.dir(".", 0o755)?;
        }
        self.last_ino += 1;
        let nlink = if file_type == FileType::Dir { 2 } else { 1 };
        let (name, ino) = (name.as_bytes(), self.last_ino);
        let entry = NewEntry { name, file_type, mode, uid: 0, gid: 0, nlink, ino, mtime: 0, rdev: Device::default() };
        Ok(self.archive.entry(&entry, content)?)
    }

    /// A directory of the host with all that is in it, sorted.
    fn tree(&mut self, name: &str, from: &Path) -> Result {
        self.dir(name, 0o755)?;
        let mut entries = fs::read_dir(from)?.collect::<std::io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = format!("{name}/{}", entry.file_name().to_string_lossy());
            match entry.file_type()?.is_dir() {
                true => self.tree(&name, &entry.path())?,
                false => self.file(&name, 0o644, &fs::read(entry.path())?)?,
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<u8>> {
        Ok(self.archive.finish()?.finish()?)
    }
}

/// Runs the main job: a program on the image, and CPython on an image with its library.
///
/// # Errors
/// If something cannot be built, or does not run.
pub fn show() -> Result {
    eprintln!("building mountless; the engine takes a few minutes the first time");
    run(crate::cargo().args(["build", "--quiet", "--package", "mountless-cli"]))?;
    let image = Path::new("examples/demo.cpio.gz");
    say("An image, and a program in it that lists /, reads a file and writes another:");
    mountless(["tree".as_ref(), image.as_os_str()])?;
    mountless(["run", "-i", &image.to_string_lossy(), "image:/bin/demo.wasm"])?;
    say("What it wrote was in memory; the image stays as it is:");
    mountless(["find".as_ref(), image.as_os_str()])?;

    if !guests::has_pip() {
        say("With python3 and pip, CPython would run here too; `cargo xtask test` installs them.");
        return Ok(());
    }
    let wasm = guests::python()?;
    let library = guests::python_library(&binary())?;
    let image = guests::dir().join("python.cpio.gz");
    let mut tree = Image::new();
    tree.tree("py312", &library)?;
    tree.dir("tmp", 0o1777)?;
    tree.file("tour.py", 0o644, &fs::read(sources().join("tour.py"))?)?;
    fs::write(&image, tree.finish()?)?;
    say("CPython, with its standard library in an image and nothing of this machine:");
    let home = format!("PYTHONHOME={}", guests::PYTHON_HOME);
    let words = ["run".as_ref(), "-i".as_ref(), image.as_os_str(), "--env".as_ref(), home.as_ref(), wasm.as_os_str()];
    mountless(words.into_iter().chain(["/tour.py".as_ref()]))
}

fn binary() -> PathBuf {
    crate::target().join("debug/mountless")
}

fn say(what: &str) {
    println!("\n{what}\n");
}

/// Shows a command as one would type it, and runs it at the top of the workspace.
fn mountless<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Result {
    let mut command = Command::new(binary());
    command.current_dir(crate::workspace()).args(arguments).stdin(Stdio::null());
    let shown: Vec<_> = command.get_args().map(shown).collect();
    println!("$ mountless {}", shown.join(" "));
    let start = Instant::now();
    run(&mut command)?;
    println!("  ({:.2} s)\n", start.elapsed().as_secs_f64());
    Ok(())
}

/// Paths in the workspace are shown from there.
fn shown(word: &OsStr) -> String {
    let path = Path::new(word);
    path.strip_prefix(crate::workspace()).unwrap_or(path).display().to_string()
}
