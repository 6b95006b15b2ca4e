//! The image that the README starts with: a program, a file to read, a directory to write to.

use std::fs;
use std::path::PathBuf;

use flate2::{Compression, GzBuilder};
use mountless::attr::{Device, FileType};
use mountless::format::cpio::{CpioWriter, NewEntry};

use crate::Result;

/// Name, mode, and content unless it is a directory.
type Row<'a> = (&'a [u8], u16, Option<&'a [u8]>);

/// Where the image stands in the repository.
#[must_use]
pub fn path() -> PathBuf {
    crate::workspace().join("examples/demo.cpio.gz")
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
    let sources = crate::workspace().join("examples/demo");
    let program = wat::parse_file(sources.join("demo.wat"))?;
    let motd = fs::read(sources.join("motd"))?;
    // The gzip header holds no name and no time.
    let mut archive = CpioWriter::new(GzBuilder::new().write(Vec::new(), Compression::best()));
    let tree: [Row<'_>; 6] = [
        (b".", 0o755, None),
        (b"bin", 0o755, None),
        (b"bin/demo.wasm", 0o755, Some(&program)),
        (b"etc", 0o755, None),
        (b"etc/motd", 0o644, Some(&motd)),
        (b"tmp", 0o1777, None),
    ];
    for (ino, (name, mode, content)) in (1..).zip(tree) {
        let (file_type, nlink) = if content.is_some() { (FileType::File, 1) } else { (FileType::Dir, 2) };
        let entry = NewEntry { name, file_type, mode, uid: 0, gid: 0, nlink, ino, mtime: 0, rdev: Device::default() };
        archive.entry(&entry, content.unwrap_or_default())?;
    }
    Ok(archive.finish()?.finish()?)
}
