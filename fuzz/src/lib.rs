//! What the targets share.

use mountless::attr::FileType;
use mountless::fs::{FileSystem, FileSystemExt};

/// Bytes of file content read from one image: enough for any seed, too little to wait for.
const READ_MAX: u64 = 1 << 20;

/// Lists every directory and reads everything, in both ways.
///
/// # Panics
/// When anything that was opened cannot be read.
pub fn read_everything(fs: &dyn FileSystem) {
    let mut left = READ_MAX;
    let mut pending = vec![fs.root()];
    while let Some(dir) = pending.pop() {
        fs.for_each_entry(dir, |entry| {
            let found = fs.lookup(dir, entry.name)?;
            let attr = fs.attr(found.node)?;
            assert_eq!((attr.ino, attr.file_type), (entry.ino, entry.file_type));
            match attr.file_type {
                FileType::Dir => pending.push(found.node),
                FileType::Symlink => assert_eq!(fs.read_link(found.node)?.len() as u64, attr.size),
                FileType::File => {
                    let len = usize::try_from(attr.size.min(left)).unwrap();
                    left -= len as u64;
                    let mut copied = vec![0; len];
                    assert_eq!(fs.read_at(found.node, 0, &mut copied)?, len);
                    let shared = fs.read_shared(found.node, 0, len)?;
                    assert!(copied.starts_with(&shared));
                    assert!(!shared.is_empty() || len == 0);
                }
                _ => {}
            }
            Ok(())
        })
        .unwrap();
    }
}
