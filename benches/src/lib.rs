//! What the benches share: trees to measure on, and one guest on two hosts.

use std::path::Path;
use std::sync::Arc;

use mountless::Stack;
use mountless::attr::{Device, FileType};
use mountless::format::cpio::{CpioWriter, NewEntry};
use mountless::namespace::Namespace;
use mountless::open::{OpenOptions, open_source};
use mountless::source::BytesSource;

pub mod copy;
pub mod hosts;

/// The files that are read and written, with their lengths in bytes: for a processor's first cache, its second, and
/// none. The guest knows them by these names.
pub const FILES: [(&str, usize); 3] = [("dir/tiny", 16 << 10), ("dir/data", 256 << 10), ("dir/huge", 32 << 20)];

/// Entries of `many`, the directory that is listed.
pub const MANY: usize = 1000;

/// Pseudo-random bytes: the same ones each time.
#[must_use]
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn many_names() -> impl Iterator<Item = String> {
    (0..MANY).map(|number| format!("many/file-{number:04}.txt"))
}

/// Fills a namespace with the tree that the guest expects: [`FILES`] and `many`.
///
/// # Errors
/// Those of the namespace.
pub fn populate(namespace: &Namespace) -> mountless::Result<()> {
    namespace.create_dir("dir")?;
    FILES.iter().try_for_each(|&(name, len)| namespace.write(name, noise(len)))?;
    namespace.create_dir("many")?;
    many_names().try_for_each(|name| namespace.write(name, b""))
}

/// The same in a host directory.
///
/// # Errors
/// Those of the host.
pub fn populate_host(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir(dir.join("dir"))?;
    FILES.iter().try_for_each(|&(name, len)| std::fs::write(dir.join(name), noise(len)))?;
    std::fs::create_dir(dir.join("many"))?;
    many_names().try_for_each(|name| std::fs::write(dir.join(name), b""))
}

/// An archive made of entries in memory.
struct Archive {
    writer: CpioWriter<Vec<u8>>,
    last_ino: u32,
}

impl Archive {
    fn new() -> Self {
        Self { writer: CpioWriter::new(Vec::new()), last_ino: 0 }
    }

    fn add(&mut self, name: &str, file_type: FileType, data: &[u8]) -> mountless::Result<()> {
        self.last_ino += 1;
        let entry = NewEntry {
            name: name.as_bytes(),
            file_type,
            mode: if file_type.is_dir() { 0o755 } else { 0o644 },
            uid: 0,
            gid: 0,
            nlink: 1,
            ino: self.last_ino,
            mtime: 1_700_000_000,
            rdev: Device::default(),
        };
        self.writer.entry(&entry, data)
    }
}

/// A cpio archive of the tree that the guest expects.
///
/// # Errors
/// Those of the writer.
pub fn image() -> mountless::Result<Vec<u8>> {
    let mut archive = Archive::new();
    archive.add("dir", FileType::Dir, b"")?;
    FILES.iter().try_for_each(|&(name, len)| archive.add(name, FileType::File, &noise(len)))?;
    archive.add("many", FileType::Dir, b"")?;
    many_names().try_for_each(|name| archive.add(&name, FileType::File, b""))?;
    archive.writer.finish()
}

/// A cpio archive of `count` files of `len` bytes, a hundred to a directory.
///
/// # Errors
/// Those of the writer.
pub fn large_image(count: usize, len: usize) -> mountless::Result<Vec<u8>> {
    let mut archive = Archive::new();
    let data = noise(len);
    for number in 0..count {
        let dir = format!("usr/lib/package-{:04}", number / 100);
        match number {
            0 => ["usr", "usr/lib", &dir].iter().try_for_each(|dir| archive.add(dir, FileType::Dir, b""))?,
            _ if number % 100 == 0 => archive.add(&dir, FileType::Dir, b"")?,
            _ => {}
        }
        archive.add(&format!("{dir}/module-{number:05}.so"), FileType::File, &data)?;
    }
    archive.writer.finish()
}

/// The tree of an archive under an upper layer in memory, as `mountless run` sets it up.
///
/// # Errors
/// Those of opening it.
pub fn image_namespace(archive: Vec<u8>) -> mountless::Result<Namespace> {
    let source = Arc::new(BytesSource::new(archive.into()));
    let image = open_source(source, None, &OpenOptions::default())?;
    Ok(Namespace::new(Stack::from_images(vec![image]).with_memory_upper()?))
}
