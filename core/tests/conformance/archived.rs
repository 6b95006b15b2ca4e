//! A tree as a cpio archive.

use std::collections::HashMap;
use std::sync::Arc;

use mountless::attr::FileType;
use mountless::backend::archive::{ArchiveFs, ArchiveOptions};
use mountless::format::cpio::{CpioWriter, NewEntry};
use mountless::fs::{FileSystem, FileSystemExt, NodeId};
use mountless::name::Name;
use mountless::source::BytesSource;

/// The same tree, read from an archive.
pub(crate) fn archived(fs: &dyn FileSystem) -> Arc<dyn FileSystem> {
    let mut archive = Archive { writer: CpioWriter::new(Vec::new()), inos: HashMap::new() };
    archive.add(fs, fs.root(), b".");
    let mut todo = vec![(fs.root(), Vec::new())];
    while let Some((dir, path)) = todo.pop() {
        let mut names: Vec<Vec<u8>> = Vec::new();
        fs.for_each_entry(dir, |entry| {
            names.push(entry.name.as_bytes().to_vec());
            Ok(())
        })
        .unwrap();
        for name in names {
            let entry = fs.lookup(dir, Name::new(&name).unwrap()).unwrap();
            let path = if path.is_empty() { name } else { [&*path, b"/", &*name].concat() };
            archive.add(fs, entry.node, &path);
            if entry.file_type.is_dir() {
                // Keeps its reference, which is as good as never giving it back to a filesystem about to go.
                todo.push((entry.node, path));
            } else {
                fs.forget(entry.node, 1);
            }
        }
    }
    let bytes = archive.writer.finish().unwrap();
    let (opened, _) =
        ArchiveFs::open_cpio(Arc::new(BytesSource::new(bytes.into())), &ArchiveOptions::default()).unwrap();
    Arc::new(opened)
}

struct Archive {
    writer: CpioWriter<Vec<u8>>,
    /// The numbers of the archive, and how many names of the node are still to come.
    inos: HashMap<u64, (u32, u64)>,
}

impl Archive {
    fn add(&mut self, fs: &dyn FileSystem, node: NodeId, path: &[u8]) {
        let attr = fs.attr(node).unwrap();
        let next = u32::try_from(self.inos.len() + 1).unwrap();
        let (ino, left) = self.inos.entry(attr.ino).or_insert((next, attr.nlink));
        *left = left.saturating_sub(1);
        // The data comes with the last name.
        let data = match attr.file_type {
            FileType::File if *left == 0 => fs.read_to_vec(node).unwrap(),
            FileType::Symlink => fs.read_link(node).unwrap().to_vec(),
            _ => Vec::new(),
        };
        let entry = NewEntry {
            name: path,
            file_type: attr.file_type,
            mode: attr.mode,
            uid: attr.uid,
            gid: attr.gid,
            nlink: if attr.file_type.is_dir() { 2 } else { u32::try_from(attr.nlink).unwrap() },
            ino: *ino,
            mtime: u32::try_from(attr.mtime.secs).unwrap(),
            rdev: attr.rdev.unwrap_or_default(),
        };
        self.writer.entry(&entry, &data).unwrap();
    }
}
