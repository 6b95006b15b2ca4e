//! What the targets share.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hasher};

use mountless::attr::FileType;
use mountless::error::Error;
use mountless::fs::{FileSystem, FileSystemExt};

/// Bytes of file content read from one image: enough for any seed, too little to wait for.
const READ_MAX: u64 = 1 << 20;

/// Lists every directory and reads everything, in both ways.
///
/// # Panics
/// When anything that was opened cannot be read.
pub fn read_everything(fs: &dyn FileSystem) {
    read_all(fs, |error| panic!("{error:?}"));
}

/// As [`read_everything`], for images in which files may be damaged.
///
/// # Panics
/// When anything but the content of a file cannot be read, or for another reason than damage.
pub fn read_what_can_be_read(fs: &dyn FileSystem) {
    read_all(fs, |error| assert!(error.corrupt().is_some(), "{error:?}"));
}

fn read_all(fs: &dyn FileSystem, damaged: impl Fn(Error)) {
    let mut left = READ_MAX;
    let mut pending = vec![fs.root()];
    let mut seen = HashSet::new();
    while let Some(dir) = pending.pop() {
        fs.for_each_entry(dir, |entry| {
            let found = fs.lookup(dir, entry.name)?;
            let attr = fs.attr(found.node)?;
            assert_eq!((attr.ino, attr.file_type), (entry.ino, entry.file_type));
            match attr.file_type {
                // An odd image may show a directory under several names.
                FileType::Dir if seen.insert(found.node) => pending.push(found.node),
                FileType::Dir => {}
                FileType::Symlink => assert_eq!(fs.read_link(found.node)?.len() as u64, attr.size),
                FileType::File => {
                    let len = usize::try_from(attr.size.min(left)).unwrap();
                    left -= len as u64;
                    let mut copied = vec![0; len];
                    match fs.read_at(found.node, 0, &mut copied) {
                        Ok(count) => assert_eq!(count, len),
                        Err(error) => return Ok(damaged(error)),
                    }
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

/// Bytes of all files together, each name counted; `None` where directories lie in one another.
///
/// # Panics
/// When anything cannot be read.
#[must_use]
pub fn content_len(fs: &dyn FileSystem) -> Option<u64> {
    let mut total = 0_u64;
    let mut pending = vec![fs.root()];
    let mut seen = HashSet::new();
    let mut is_tree = true;
    while let Some(dir) = pending.pop() {
        fs.for_each_entry(dir, |entry| {
            let node = fs.lookup(dir, entry.name)?.node;
            let attr = fs.attr(node)?;
            total = total.saturating_add(attr.size);
            match attr.file_type {
                FileType::Dir if seen.insert(node) => pending.push(node),
                FileType::Dir => is_tree = false,
                _ => {}
            }
            Ok(())
        })
        .unwrap();
    }
    is_tree.then_some(total)
}

/// Everything that is seen of a tree, by path.
///
/// # Panics
/// When anything cannot be read.
#[must_use]
pub fn seen(fs: &dyn FileSystem) -> BTreeMap<Vec<u8>, String> {
    try_seen(fs).unwrap()
}

/// The same, of what may be damaged.
///
/// # Errors
/// What reading answers.
pub fn try_seen(fs: &dyn FileSystem) -> mountless::Result<BTreeMap<Vec<u8>, String>> {
    let mut found = BTreeMap::new();
    let mut pending = vec![(Vec::new(), fs.root())];
    while let Some((path, dir)) = pending.pop() {
        fs.for_each_entry(dir, |entry| {
            let node = fs.lookup(dir, entry.name)?.node;
            let attr = fs.attr(node)?;
            let below = [&path[..], b"/", entry.name.as_bytes()].concat();
            let mut what = format!("{:?} {:o} {}:{} {:?}", attr.file_type, attr.mode, attr.uid, attr.gid, attr.mtime);
            match attr.file_type {
                FileType::Dir => pending.push((below.clone(), node)),
                FileType::File => {
                    let content = fs.read_to_vec(node)?;
                    let mut hasher = DefaultHasher::new();
                    hasher.write(&content);
                    what += &format!(" links={} {} bytes {:x}", attr.nlink, content.len(), hasher.finish());
                }
                FileType::Symlink => what += &format!(" {:?}", fs.read_link(node)?),
                _ => what += &format!(" {:?}", attr.rdev),
            }
            for name in fs.xattr_names(node)? {
                what += &format!(" {name:?}={:?}", fs.xattr(node, &name)?);
            }
            fs.forget(node, 1);
            found.insert(below, what);
            Ok(())
        })?;
    }
    Ok(found)
}
