//! Writes seeds: one small image for each path through the reader, from our own writer.

use std::fs;
use std::io::Write;
use std::path::Path;

use mountless::attr::{Device, FileType};
use mountless::clock::Timestamp;
use mountless::format::cpio::{CpioWriter, NewEntry};
use mountless::format::tar::{NewTarEntry, NewTarKind, TarWriter};
use mountless::format::tfs::{FrameWriter, Link, RecordWriter, Volume, extension_start};

fn main() -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (target, seeds) in [
        ("cpio", seeds()),
        ("tar", tars()),
        ("detect", [seeds(), tars(), volumes()].concat()),
        ("convert", [seeds(), tars(), volumes()].concat()),
        ("tfs", volumes()),
    ] {
        let folder = folder.join(target);
        fs::create_dir_all(&folder)?;
        for (name, bytes) in seeds {
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

fn tars() -> Vec<Seed> {
    let long = "long-".repeat(30);
    let link = [(b"user.a".to_vec(), b"1".to_vec())];
    let new = |path, kind| NewTarEntry {
        path,
        kind,
        mode: 0o755,
        uid: 1,
        gid: 2,
        mtime: Timestamp::from_secs(3),
        xattrs: &[],
    };
    let (device, data) = (Device { major: 1, minor: 3 }, &b"content"[..]);
    let entries = [
        new(b".", NewTarKind::Dir),
        new(b"d", NewTarKind::Dir),
        NewTarEntry { xattrs: &link, ..new(b"d/file", NewTarKind::File(7)) },
        new(b"d/link", NewTarKind::HardLink(b"d/file")),
        new(b"link", NewTarKind::Symlink(b"d")),
        new(b"null", NewTarKind::Char(device)),
        new(b"disk", NewTarKind::Block(device)),
        new(b"pipe", NewTarKind::Fifo),
        NewTarEntry {
            mtime: Timestamp { secs: -1, nanos: 5 },
            ..new(long.as_bytes(), NewTarKind::Symlink(long.as_bytes()))
        },
        new(b"d/.wh.file", NewTarKind::File(0)),
        new(b"d/.wh..wh..opq", NewTarKind::File(0)),
    ];
    let write = |entries: &[NewTarEntry<'_>]| {
        let mut writer = TarWriter::new(Vec::new());
        for entry in entries {
            writer.begin(entry).expect("seeds can be written");
            if let NewTarKind::File(7) = entry.kind {
                writer.data(data).expect("seeds can be written");
            }
        }
        writer.finish().expect("seeds can be written")
    };
    let all = write(&entries);
    // The old form of a sparse file, which we do not write: one piece of a block, at byte 1,024 of 4,096.
    let mut sparse = write(&[new(b"sparse", NewTarKind::File(7))]);
    sparse[156] = b'S';
    sparse[257..265].copy_from_slice(b"ustar  \0");
    sparse[386..410].copy_from_slice(b"00000002000\000000000007\0");
    sparse[483..495].copy_from_slice(b"00000010000\0");
    sparse[148..156].copy_from_slice(b"        ");
    let sum: u32 = sparse[..512].iter().copied().map(u32::from).sum();
    sparse[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    vec![
        ("tar-gzip", gzip(&all)),
        ("tar-cut", all[..all.len() / 2].to_vec()),
        ("tar-links", write(&entries[1..4])),
        ("tar-all", all),
        ("tar-sparse", sparse),
    ]
}

/// TFS volumes as small as they can be: the log in sector 0, or in an extension of one sector.
fn volumes() -> Vec<Seed> {
    let mut root = RecordWriter::new(); // #1
    root.tuple(2);
    root.symbol(b"children"); // #2
    root.tuple(3); // #3
    root.symbol(b"f"); // #4
    root.tuple(2); // #5
    root.symbol(b"extents"); // #6
    root.tuple(1); // #7
    root.symbol(b"1"); // #8
    root.tuple(3); // #9
    for key in ["offset", "length", "allocated"] {
        root.symbol(key.as_bytes()); // #10 to #12
        root.number(2);
    }
    root.symbol(b"filelength"); // #13
    root.number(2000);
    root.symbol(b"l"); // #14
    root.tuple(1); // #15
    root.symbol(b"linktarget"); // #16
    root.string(b"f");
    root.symbol(b"d"); // #17
    root.tuple(1); // #18
    root.symbol_ref(2);
    root.tuple(0); // #19
    root.symbol(b"arguments"); // #20
    root.vector(2); // #21
    root.string(b"x");
    root.null();
    let mut link = RecordWriter::new();
    link.tuple_ref(19, 1);
    link.symbol(b"g");
    link.tuple_ref(5, 0);
    let mut unlink = RecordWriter::new();
    unlink.tuple_ref(3, 1);
    unlink.symbol_ref(4);
    unlink.delete();
    let records = [&root, &link, &unlink];

    let first = || FrameWriter::new(extension_start(1, Some(&Volume::default())), 512);
    let volume = |sectors: &[&[u8]]| {
        let mut volume = vec![0; 5 * 512];
        for (at, bytes) in sectors.iter().enumerate() {
            volume[at * 512..at * 512 + bytes.len()].copy_from_slice(bytes);
        }
        volume
    };
    let mut direct = first();
    let mut linked = FrameWriter::new(extension_start(1, None), 512);
    for record in records {
        assert_eq!(direct.record(record.bytes(), 0), record.bytes().len());
        assert_eq!(linked.record(record.bytes(), 0), record.bytes().len());
    }
    let mut half = FrameWriter::new(extension_start(1, None), 100);
    let done = half.record(root.bytes(), 0);
    let mut rest = FrameWriter::new(extension_start(1, None), 512);
    assert_eq!(rest.record(root.bytes(), done), root.bytes().len());
    let to = |sector| Link { sector, count: 1 };
    vec![
        ("direct", volume(&[&direct.clone().end()])),
        ("linked", volume(&[&first().link(to(1)), &linked.end()])),
        ("split", volume(&[&first().link(to(1)), &half.link(to(2)), &rest.end()])),
        ("volume-cut", volume(&[&direct.end()[..150]])),
        ("circular", volume(&[&first().link(to(1)), &FrameWriter::new(extension_start(1, None), 512).link(to(1))])),
        ("disk", {
            let mut disk = vec![0; 512];
            disk[510..].copy_from_slice(&[0x55, 0xaa]);
            disk[446..462].copy_from_slice(&[0x80, 0, 0, 0, 0x83, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0]);
            disk[462..478].copy_from_slice(&[0x80, 0, 0, 0, 0x83, 0, 0, 0, 6, 0, 0, 0, 5, 0, 0, 0]);
            let one = volume(&[&first().end()]);
            [disk, one.clone(), one].concat()
        }),
    ]
}
