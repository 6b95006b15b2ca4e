//! The images, and what they are made of.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use mountless::backend::mem::MemFs;
use mountless::backend::tfs::{ImageOptions, KeepOptions, MadeImage, NewTree, make_image};
use mountless::fs::{FileSystem, NewKind, NewNode, WritableFileSystem};
use mountless::name::Name;
use mountless::source::FileSource;

use crate::{DIR_FILES, FILE_LEN, Result};

/// The directory of a file.
pub(crate) fn dir(number: usize) -> String {
    format!("package-{:04}", number / DIR_FILES)
}

/// Its name.
pub(crate) fn file(number: usize) -> String {
    format!("module-{number:06}.txt")
}

/// A tree of so many files, all with the same bytes.
pub(crate) fn tree(files: usize) -> Result<NewTree> {
    let fs = Arc::new(MemFs::new());
    let content = Bytes::from(vec![b'x'; FILE_LEN]);
    let new = |kind| NewNode { kind, mode: 0o644, uid: 0, gid: 0 };
    let mut parent = fs.root();
    for number in 0..files {
        if number % DIR_FILES == 0 {
            parent = fs.create(fs.root(), Name::new(dir(number).as_bytes())?, &new(NewKind::Dir))?.node;
        }
        let node = fs.create(parent, Name::new(file(number).as_bytes())?, &new(NewKind::File))?.node;
        fs.write_shared(node, 0, content.clone())?;
    }
    // As mkfs makes them: without times, modes or owners.
    let keep = KeepOptions { attributes: false, latest_mtime: None };
    Ok(NewTree::from_fs(&(fs as Arc<dyn FileSystem>), &keep)?.0)
}

/// Makes an image of a tree in a file.
pub(crate) fn make(tree: &NewTree, path: &Path) -> Result<MadeImage> {
    File::create(path)?;
    let storage = FileSource::open_exclusive(path)?;
    Ok(make_image(&storage, tree, None, &ImageOptions::default())?)
}
