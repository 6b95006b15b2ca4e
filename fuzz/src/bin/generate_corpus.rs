//! Writes seeds: one small image for each path through the reader, from our own writer.

use std::fs;
use std::io::Write;
use std::path::Path;

use mountless::attr::{Device, FileType};
use mountless::format::cpio::{CpioWriter, NewEntry};

fn main() -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for target in ["cpio", "detect"] {
        let folder = folder.join(target);
        fs::create_dir_all(&folder)?;
        for (name, bytes) in seeds() {
            fs::write(folder.join(name), bytes)?;
        }
    }
    Ok(())
}

type Seed = (&'static str, Vec<u8>);

fn seeds() -> Vec<Seed> {
    let kinds = archive(
        false,
        &[
            (new(".", FileType::Dir), ""),
            (new("d", FileType::Dir), ""),
            (new("d/file", FileType::File), "content"),
            (new("link", FileType::Symlink), "d"),
            (new("link/through", FileType::File), "x"),
            (NewEntry { rdev: Device { major: 1, minor: 3 }, ..new("null", FileType::Char) }, ""),
            (new("disk", FileType::Block), ""),
            (new("pipe", FileType::Fifo), ""),
            (new("socket", FileType::Socket), ""),
        ],
    );
    let linked = |name, size| (NewEntry { nlink: 2, ino: 7, ..new(name, FileType::File) }, size);
    let links = archive(false, &[linked("a", ""), linked("b", "data"), linked("b", "again")]);
    let replaced = archive(
        false,
        &[
            (new("a", FileType::File), "1"),
            (new("a", FileType::Dir), ""),
            (new("a/b", FileType::File), "2"),
            (new("a", FileType::Symlink), "b"),
            (new("missing/x", FileType::File), ""),
            (new("loop", FileType::Symlink), "loop"),
            (new("loop/x", FileType::File), ""),
        ],
    );
    let sums = archive(true, &[(new("sum", FileType::File), "checked")]);
    let cut = kinds.get(..kinds.len() / 2).unwrap_or_default().to_vec();
    let members = kinds.split_at(kinds.len() / 3);
    vec![
        ("gzip", gzip(&kinds)),
        ("gzip-members", [gzip(members.0), gzip(members.1)].concat()),
        ("gzip-twice", gzip(&gzip(&links))),
        ("gzip-cut", gzip(&kinds).split_at(100).0.to_vec()),
        ("parts", [&kinds[..], &gzip(&links), &[0; 5], &gzip(&replaced)].concat()),
        ("plain-after-gzip", {
            let mut bytes = gzip(&links);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            [bytes, kinds.clone()].concat()
        }),
        ("odc", b"070707000001000001100644000000000000000001000000000000000000000000200000000001a\0x".to_vec()),
        ("zeros", vec![0; 64]),
        ("cut", cut),
        ("kinds", kinds),
        ("links", links),
        ("replaced", replaced),
        ("sums", sums),
    ]
}

fn new(name: &str, file_type: FileType) -> NewEntry<'_> {
    NewEntry {
        name: name.as_bytes(),
        file_type,
        mode: 0o755,
        uid: 0,
        gid: 0,
        nlink: 1,
        ino: 1,
        mtime: 1,
        rdev: Device::default(),
    }
}

fn archive(sums: bool, entries: &[(NewEntry<'_>, &str)]) -> Vec<u8> {
    let mut writer = if sums { CpioWriter::with_checksums(Vec::new()) } else { CpioWriter::new(Vec::new()) };
    for (entry, data) in entries {
        writer.entry(entry, data.as_bytes()).expect("seeds can be written");
    }
    writer.finish().expect("seeds can be written")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}
