//! The archive, and how it gets into the page cache.

use std::fs::File;
use std::io::BufWriter;

use mountless::attr::{Device, FileType};
use mountless::format::cpio::{CpioWriter, NewEntry};
use rustix::fs::Advice;

use crate::Result;

/// Files in it, a hundred to a directory.
pub(crate) const FILES: usize = 20_000;

/// Bytes of each.
pub(crate) const FILE_LEN: usize = 10_250;

/// Writes it as a program would, through a small buffer.
pub(crate) fn write(file: &File) -> Result<()> {
    let mut writer = CpioWriter::new(BufWriter::new(file));
    let mut last_ino = 0;
    let mut add = |name: &str, file_type: FileType, data: &[u8]| {
        last_ino += 1;
        let entry = NewEntry {
            name: name.as_bytes(),
            file_type,
            mode: if file_type.is_dir() { 0o755 } else { 0o644 },
            uid: 0,
            gid: 0,
            nlink: 1,
            ino: last_ino,
            mtime: 1_700_000_000,
            rdev: Device::default(),
        };
        writer.entry(&entry, data)
    };
    let data = noise(FILE_LEN);
    add("usr", FileType::Dir, b"")?;
    add("usr/lib", FileType::Dir, b"")?;
    for number in 0..FILES {
        let dir = format!("usr/lib/package-{:04}", number / 100);
        if number % 100 == 0 {
            add(&dir, FileType::Dir, b"")?;
        }
        add(&format!("{dir}/module-{number:05}.so"), FileType::File, &data)?;
    }
    writer.finish()?;
    file.sync_all()?;
    Ok(())
}

/// Drops it from the page cache and reads it from disk; `false` where there is no disk behind it.
pub(crate) fn read_in_again(file: &File) -> Result<bool> {
    if rustix::fs::fstatfs(file)?.f_type == TMPFS_MAGIC {
        return Ok(false);
    }
    rustix::fs::fadvise(file, 0, None, Advice::DontNeed)?;
    let mut file = file;
    std::io::Seek::rewind(&mut file)?;
    std::io::copy(&mut file, &mut std::io::sink())?;
    Ok(true)
}

const TMPFS_MAGIC: rustix::fs::FsWord = 0x0102_1994;

/// Pseudo-random bytes: the same ones each time.
fn noise(len: usize) -> Vec<u8> {
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
