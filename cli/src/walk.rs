//! Walks a tree by node ids: no path is looked up, and nothing recurses, however deep the tree.

use mountless::attr::FileType;
use mountless::error::Result;
use mountless::fs::{Entry, FileSystem, FileSystemExt as _, NodeId};
use mountless::name::Name;
use mountless::path::check_len;

/// An entry of a directory, which holds a reference on the node until it is forgotten.
pub(crate) struct Child {
    pub(crate) name: Box<[u8]>,
    pub(crate) node: NodeId,
    pub(crate) file_type: FileType,
}

/// The entries of a directory, sorted by name. The caller forgets each.
pub(crate) fn children(fs: &dyn FileSystem, dir: NodeId) -> Result<Vec<Child>> {
    let mut names: Vec<Box<[u8]>> = Vec::new();
    fs.for_each_entry(dir, |entry| {
        names.push(entry.name.as_bytes().into());
        Ok(())
    })?;
    names.sort_unstable();
    let look_up = |name: Box<[u8]>| {
        let Entry { node, file_type } = fs.lookup(dir, Name::new(&name)?)?;
        Ok(Child { name, node, file_type })
    };
    names.into_iter().map(look_up).collect()
}

/// What is still to be visited: a node itself, or what a directory holds.
struct Todo {
    path_len: usize,
    /// The name, or the name and a slash: with that, siblings sort as the paths below them do.
    key: Box<[u8]>,
    node: NodeId,
    file_type: FileType,
    /// Whether the content is to be visited, or the node.
    content: bool,
    counted: bool,
}

/// Calls `visit` with the path, the node and the kind of all that is below and at `top`, sorted by the bytes of the
/// paths. `top_path` has no slash at the end, unless it is the root.
///
/// A directory's content does not follow it at once: between `/a` and `/a/b` there may be `/a-b`.
///
/// # Errors
/// The path, and what the filesystem or `visit` answers.
pub(crate) fn in_path_order<E>(
    fs: &dyn FileSystem,
    top: NodeId,
    top_type: FileType,
    top_path: &[u8],
    mut visit: impl FnMut(&[u8], NodeId, FileType) -> std::result::Result<(), E>,
    failed: impl Fn(&[u8], mountless::error::Error) -> E,
) -> std::result::Result<(), E> {
    visit(top_path, top, top_type)?;
    // The root's path is only its slash.
    let mut path = if top_path == b"/" { Vec::new() } else { top_path.to_vec() };
    let mut todo = Vec::new();
    if top_type.is_dir() {
        let key = Box::from(&b"/"[..]);
        todo.push(Todo { path_len: path.len(), key, node: top, file_type: top_type, content: true, counted: false });
    }
    while let Some(next) = todo.pop() {
        path.truncate(next.path_len);
        path.extend_from_slice(&next.key);
        // Without the slashes around it.
        check_len(path.len().saturating_sub(if next.content { 2 } else { 1 })).map_err(|error| failed(&path, error))?;
        if next.content {
            let mut entries = Vec::new();
            for child in children(fs, next.node).map_err(|error| failed(&path, error))? {
                let Child { name, node, file_type } = child;
                if file_type.is_dir() {
                    let key = [&name, &b"/"[..]].concat().into();
                    // The reference goes with the content, which comes last.
                    entries.push(Todo { path_len: path.len(), key, node, file_type, content: true, counted: true });
                }
                let counted = !file_type.is_dir();
                entries.push(Todo { path_len: path.len(), key: name, node, file_type, content: false, counted });
            }
            entries.sort_unstable_by(|a, b| b.key.cmp(&a.key));
            todo.append(&mut entries);
        } else {
            visit(&path, next.node, next.file_type)?;
        }
        if next.counted {
            fs.forget(next.node, 1);
        }
    }
    Ok(())
}
