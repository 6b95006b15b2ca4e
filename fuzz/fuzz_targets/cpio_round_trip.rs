#![no_main]

use std::collections::BTreeMap;
use std::sync::Arc;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mountless::attr::{Device, FileType};
use mountless::backend::archive::{ArchiveFs, ArchiveOptions};
use mountless::format::cpio::{CpioWriter, NewEntry};
use mountless::fs::{FileSystem, FileSystemExt};
use mountless::name::Name;
use mountless::source::BytesSource;

/// A node in one directory of few names, so that names meet.
#[derive(Debug, Arbitrary)]
struct Node {
    in_dir: bool,
    name: [u8; 2],
    kind: Kind,
    mode: u16,
    uid: u32,
    gid: u32,
    mtime: u32,
}

#[derive(Debug, Arbitrary)]
enum Kind {
    File(Vec<u8>),
    Dir,
    Symlink(Vec<u8>),
    Char(u16, u16),
    Fifo,
    Socket,
}

fuzz_target!(|input: (bool, Vec<Node>)| {
    let (checksums, nodes) = input;
    let mut writer = if checksums { CpioWriter::with_checksums(Vec::new()) } else { CpioWriter::new(Vec::new()) };
    let dir = NewEntry {
        name: b"dir",
        file_type: FileType::Dir,
        mode: 0o755,
        uid: 0,
        gid: 0,
        nlink: 2,
        ino: 1,
        mtime: 0,
        rdev: Device::default(),
    };
    writer.entry(&dir, b"").unwrap();
    let mut written = BTreeMap::new();
    for (node, ino) in nodes.iter().zip(2..) {
        let mut path = if node.in_dir { b"dir/".to_vec() } else { Vec::new() };
        path.extend(node.name.map(|byte| byte % 4 + 0xfc));
        if written.contains_key(&path) {
            continue;
        }
        let (file_type, data) = match &node.kind {
            Kind::File(data) => (FileType::File, data.clone()),
            Kind::Symlink(target) => (FileType::Symlink, target.iter().copied().filter(|byte| *byte != 0).collect()),
            Kind::Dir => (FileType::Dir, Vec::new()),
            Kind::Char(..) => (FileType::Char, Vec::new()),
            Kind::Fifo => (FileType::Fifo, Vec::new()),
            Kind::Socket => (FileType::Socket, Vec::new()),
        };
        let rdev = match node.kind {
            Kind::Char(major, minor) => Device { major: u32::from(major) & 0xfff, minor: minor.into() },
            _ => Device::default(),
        };
        let entry = NewEntry {
            name: &path,
            file_type,
            mode: node.mode & 0o7777,
            uid: node.uid.min(u32::MAX - 1),
            gid: node.gid.min(u32::MAX - 1),
            nlink: 1,
            ino,
            mtime: node.mtime,
            rdev,
        };
        match writer.entry(&entry, &data) {
            Ok(()) => drop(written.insert(path.clone(), (node, data))),
            Err(_) => assert!(data.len() >= 4096, "only long targets are refused"),
        }
    }
    let bytes = writer.finish().unwrap();
    let (fs, report) =
        ArchiveFs::open_cpio(Arc::new(BytesSource::new(bytes.into())), &ArchiveOptions::default()).unwrap();
    assert_eq!((report.entries, report.skipped_count), (written.len() as u64 + 1, 0));
    for (path, (expected, data)) in written {
        let parts = path.split(|byte| *byte == b'/').map(|name| Name::new(name).unwrap());
        let node = parts.fold(fs.root(), |dir, name| fs.lookup(dir, name).unwrap().node);
        let attr = fs.attr(node).unwrap();
        assert_eq!(attr.uid, expected.uid.min(u32::MAX - 1));
        assert_eq!(attr.mtime.secs, i64::from(expected.mtime));
        match &expected.kind {
            Kind::File(_) => assert_eq!(fs.read_to_vec(node).unwrap(), data),
            Kind::Symlink(_) => assert_eq!(fs.read_link(node).unwrap(), data),
            Kind::Char(major, minor) => {
                assert_eq!(attr.rdev, Some(Device { major: u32::from(*major) & 0xfff, minor: (*minor).into() }));
            }
            Kind::Dir | Kind::Fifo | Kind::Socket => {}
        }
    }
});
