//! Numbers at the edge, and what a filesystem says of itself.

use bytes::Bytes;

use super::{Tree, group};
use crate::errno::Errno;
use crate::fs::{Extent, SyncScope, WriteAt};
use crate::limits::FILE_SIZE_MAX;

group! { "limits":
    no_write_behind_the_greatest_size,
    no_size_above_the_greatest,
    the_greatest_file,
    syncing,
    capacity_is_honest,
}

fn no_write_behind_the_greatest_size(t: &Tree) {
    let file = t.file_with(&t.root, "f", b"kept");
    for at in [FILE_SIZE_MAX, FILE_SIZE_MAX + 1, u64::MAX] {
        assert_eq!(t.writable().write_at(file.node(), WriteAt::Offset(at), b"x").unwrap_err(), Errno::FileTooBig);
        let shared = t.writable().write_shared(file.node(), at, Bytes::from_static(b"x"));
        assert_eq!(shared.unwrap_err(), Errno::FileTooBig);
    }
    let shared = t.writable().write_shared(file.node(), FILE_SIZE_MAX - 1, Bytes::from_static(b"xy"));
    assert_eq!(shared.unwrap_err(), Errno::FileTooBig, "never short");
    assert_eq!(t.read(&file), b"kept");
}

fn no_size_above_the_greatest(t: &Tree) {
    let file = t.file_with(&t.root, "f", b"kept");
    for size in [FILE_SIZE_MAX + 1, u64::MAX] {
        assert_eq!(t.resize(&file, size).unwrap_err(), Errno::FileTooBig);
    }
    assert_eq!(t.read(&file), b"kept");
}

fn the_greatest_file(t: &Tree) {
    let file = t.file(&t.root, "f");
    match t.resize(&file, FILE_SIZE_MAX) {
        Ok(()) => {
            let write = |at, bytes| t.writable().write_at(file.node(), at, bytes);
            let written = write(WriteAt::Offset(FILE_SIZE_MAX - 3), b"abcdef").unwrap();
            assert_eq!((written.count, written.end), (3, FILE_SIZE_MAX), "short at the wall");
            assert_eq!(write(WriteAt::End, b"x").unwrap_err(), Errno::FileTooBig);
            assert_eq!(t.read_part(&file, FILE_SIZE_MAX - 4, 10), b"\0abc");
            let extent = t.fs().extent_at(file.node(), FILE_SIZE_MAX - 1).unwrap();
            assert_eq!(extent, Extent::Data { end: FILE_SIZE_MAX });
        }
        Err(error) => {
            assert!(!t.can.greatest_files && error == Errno::FileTooBig, "{error:?}");
            assert_eq!(t.attr(&file).size, 0);
        }
    }
}

fn syncing(t: &Tree) {
    let file = t.file_with(&t.root, "f", b"x");
    for scope in
        [SyncScope::Data(file.node()), SyncScope::Node(file.node()), SyncScope::Node(t.root.node()), SyncScope::All]
    {
        t.writable().sync(scope).unwrap();
    }
    t.unlink(&t.root, "f").unwrap();
    t.writable().sync(SyncScope::Data(file.node())).unwrap();
    let id = file.node();
    drop(file);
    assert_eq!(t.writable().sync(SyncScope::Node(id)).unwrap_err(), Errno::Stale);
}

fn capacity_is_honest(t: &Tree) {
    let info = t.fs().info();
    assert!(!info.kind.is_empty());
    for (free, total) in [(info.free_bytes, info.total_bytes), (info.free_nodes, info.total_nodes)] {
        if let (Some(free), Some(total)) = (free, total) {
            assert!(free <= total, "{free} free of {total}");
        }
    }
}
