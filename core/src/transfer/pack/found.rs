//! What is to be packed: the names of a tree, and which of them are names of one node.

use alloc::sync::Arc;
use alloc::vec::Vec;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::super::copy::at;
use super::PackOptions;
use crate::attr::Attr;
use crate::error::Result;
use crate::fs::{FileSystem, FileSystemExt, NodeRef};
use crate::path::TreePath;

/// A name in the tree.
pub(in crate::transfer) struct Found {
    pub(in crate::transfer) path: TreePath,
    pub(in crate::transfer) node: NodeRef,
    pub(in crate::transfer) attr: Attr,
}

/// The names of one node.
pub(super) struct Group {
    /// Position of the first.
    pub(super) first: usize,
    /// Path of the first.
    pub(super) path: TreePath,
    /// Position of the last.
    pub(super) last: usize,
    /// How many there are in the tree.
    pub(super) count: u32,
}

/// What has several names, by number.
pub(super) type Groups = HashMap<u64, Group, RandomState>;

pub(super) fn groups(found: &[Found]) -> Groups {
    let mut groups = Groups::default();
    for (index, one) in found.iter().enumerate().filter(|(_, one)| one.attr.is_linked()) {
        let group = groups.entry(one.attr.ino).or_insert_with(|| Group {
            first: index,
            path: one.path.clone(),
            last: index,
            count: 0,
        });
        group.last = index;
        group.count = group.count.saturating_add(1);
    }
    groups
}

/// All names, every directory before its content, otherwise in the order of their bytes.
pub(in crate::transfer) fn collect(fs: &Arc<dyn FileSystem>, options: &PackOptions) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut pending = Vec::from([(TreePath::top(), NodeRef::root(Arc::clone(fs)))]);
    while let Some((path, node)) = pending.pop() {
        let shown = || if path.is_top() { b".".to_vec() } else { path.to_vec() };
        let attr = fs.attr(node.node()).map_err(|error| at(&shown(), error))?;
        if attr.file_type.is_dir() {
            let dir = Arc::new(path.clone());
            let start = pending.len();
            fs.for_each_entry(node.node(), |entry| {
                let name = entry.name.as_bytes();
                let path = TreePath::below(&dir, name)?;
                let left_out = options.leave_out.as_ref();
                if left_out.is_none_or(|left_out| !left_out.ends_with(name) || **left_out != *path.to_vec()) {
                    pending.push((path, NodeRef::lookup(fs, node.node(), entry.name)?));
                }
                Ok(())
            })
            .map_err(|error| at(&shown(), error))?;
            // Later names first: the last one goes in first.
            if let Some(below) = pending.get_mut(start..) {
                below.sort_by(|one, other| other.0.name().cmp(one.0.name()));
            }
        }
        // What is made up for a root that nobody recorded is nothing to pass on.
        if attr.recorded.mode || !path.is_top() {
            found.push(Found { path, node, attr });
        }
    }
    Ok(found)
}
