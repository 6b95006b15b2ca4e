#![no_main]

use std::sync::Arc;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mountless::attr::{Device, SetAttr, SetTime};
use mountless::backend::mem::MemFs;
use mountless::backend::tfs::{
    BootOptions, ImageOptions, KeepOptions, NewTree, Part, TfsFs, TfsOptions, check, make_image,
};
use mountless::clock::Timestamp;
use mountless::fs::{FileSystem, NewKind, NewNode, NodeId, WritableFileSystem, WriteAt, XattrMode};
use mountless::name::Name;
use mountless::source::{MemStorage, Source};
use mountless_fuzz::seen;

/// A node in a directory that came before it.
#[derive(Debug, Arbitrary)]
struct Node {
    dir: u8,
    name: Vec<u8>,
    kind: Kind,
    mode: u16,
    uid: u16,
    time: i64,
    xattr: Option<(u8, Vec<u8>)>,
}

#[derive(Debug, Arbitrary)]
enum Kind {
    File(Vec<(u32, Vec<u8>)>),
    Dir,
    Symlink(Vec<u8>),
    Char(u32, u32),
    Fifo,
    Socket,
    Whiteout,
    Link(u8),
}

fuzz_target!(|input: (bool, Vec<Node>)| {
    let (disk, nodes) = input;
    let fs = MemFs::new();
    let mut dirs = vec![fs.root()];
    let mut files: Vec<NodeId> = Vec::new();
    for node in nodes.iter().take(64) {
        let dir = dirs[usize::from(node.dir) % dirs.len()];
        let Ok(name) = Name::new(&node.name) else { continue };
        if node.name == b"no_encode" {
            continue;
        }
        let kind = match &node.kind {
            Kind::File(_) => NewKind::File,
            Kind::Dir => NewKind::Dir,
            Kind::Symlink(target) if target.is_empty() => continue,
            Kind::Symlink(target) => NewKind::Symlink(target),
            Kind::Char(major, minor) => NewKind::Char(Device { major: *major, minor: *minor }),
            Kind::Fifo => NewKind::Fifo,
            Kind::Socket => NewKind::Socket,
            Kind::Whiteout => NewKind::Whiteout,
            Kind::Link(at) => {
                if let Some(node) = files.get(usize::from(*at) % files.len().max(1)) {
                    let _ = fs.link(*node, dir, name);
                }
                continue;
            }
        };
        let new = NewNode { kind, mode: node.mode & 0o7777, uid: node.uid.into(), gid: 3 };
        let Ok(entry) = fs.create(dir, name, &new) else { continue };
        match &node.kind {
            Kind::File(writes) => {
                files.push(entry.node);
                for (offset, bytes) in writes.iter().take(8) {
                    let _ = fs.write_at(entry.node, WriteAt::Offset((offset % 200_000).into()), bytes);
                }
            }
            Kind::Dir => dirs.push(entry.node),
            _ => {}
        }
        if let Some((name, value)) = &node.xattr {
            let _ = fs.set_xattr(entry.node, &[b'u', b'.', name % 3 + b'a'], value, XattrMode::Set);
        }
        let time = Timestamp { secs: node.time % 9_000_000_000, nanos: 5 };
        let times = SetAttr { mtime: Some(SetTime::At(time)), ..SetAttr::default() };
        fs.set_attr(entry.node, &times).expect("times can be set");
    }
    let expected = seen(&fs);
    let fs: Arc<dyn FileSystem> = Arc::new(fs);
    let tree = || {
        let (tree, report) = NewTree::from_fs(&fs, &KeepOptions::default()).expect("memory can be read");
        // Names that are not UTF-8 are told of, and kept.
        assert!(report.lost.iter().all(|lost| lost.to_string().contains("it is kept")), "{:?}", report.lost);
        tree
    };
    let storage = MemStorage::new();
    let boot = disk.then(|| BootOptions { tree: tree(), ..BootOptions::default() });
    make_image(&storage, &tree(), boot.as_ref(), &ImageOptions::default()).expect("there is room");
    let image: Arc<dyn Source> = Arc::new(storage);
    for part in [None, Some(Part::Boot)].into_iter().take(1 + usize::from(disk)) {
        let options = TfsOptions { part, ..TfsOptions::default() };
        let report = check(&image, &options).expect("memory can be read");
        assert!(report.is_sound(), "{:?}", report.faults);
        let (read, _) = TfsFs::open(Arc::clone(&image), &options).expect("what was made opens");
        assert_eq!(seen(&read), expected);
    }
});
