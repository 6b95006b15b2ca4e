//! What trees take, directory by directory.

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::error::Result;
use crate::fs::{FileSystemExt, NodeRef};
use crate::path::TreePath;

/// What is at a path and below it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Bytes of content; that of a file with several names once.
    pub content_len: u64,
    /// Bytes stored for it.
    pub stored_len: u64,
    /// Nodes.
    pub nodes: u64,
}

impl Usage {
    fn add(&mut self, other: Self) {
        self.content_len = self.content_len.saturating_add(other.content_len);
        self.stored_len = self.stored_len.saturating_add(other.stored_len);
        self.nodes = self.nodes.saturating_add(other.nodes);
    }
}

/// A directory that is being summed up.
struct Open {
    path: Arc<TreePath>,
    node: Arc<NodeRef>,
    usage: Usage,
    depth: u32,
    /// Directories in it that come next, the first one last.
    dirs: Vec<(TreePath, Arc<NodeRef>)>,
}

/// Calls `visit` with each directory, after those in it, and with `top` last, whatever it is; paths begin with that of
/// the top, and with its depth, which is 0 for the top.
///
/// # Errors
/// Those of the tree, and what `visit` answers.
pub fn usage(top: &Arc<NodeRef>, path: &[u8], mut visit: impl FnMut(&[u8], u32, Usage) -> Result<()>) -> Result<()> {
    let mut counted = BTreeSet::new();
    let mut of_node = |node: &NodeRef| {
        let attr = node.fs().attr(node.node())?;
        let is_first = attr.file_type.is_dir() || attr.nlink <= 1 || counted.insert(attr.ino);
        let has_content = is_first && !attr.file_type.is_dir();
        Ok::<_, crate::error::Error>(Usage {
            content_len: if has_content { attr.size } else { 0 },
            stored_len: if is_first { attr.allocated } else { 0 },
            nodes: u64::from(is_first),
        })
    };
    if !top.file_type().is_dir() {
        return visit(path, 0, of_node(top)?);
    }
    let prefix = if path.ends_with(b"/") { path.to_vec() } else { [path, b"/"].concat() };
    let mut open = |path: Arc<TreePath>, node: Arc<NodeRef>, depth| {
        let mut usage = of_node(&node)?;
        let mut dirs = Vec::new();
        node.fs().for_each_entry(node.node(), |entry| {
            let below = Arc::new(NodeRef::lookup(node.fs(), node.node(), entry.name)?);
            if below.file_type().is_dir() {
                dirs.push((TreePath::below(&path, entry.name.as_bytes())?, below));
            } else {
                usage.add(of_node(&below)?);
            }
            Ok(())
        })?;
        dirs.sort_by(|one: &(TreePath, _), other| other.0.name().cmp(one.0.name()));
        Ok::<_, crate::error::Error>(Open { path, node, usage, depth, dirs })
    };
    let mut stack = Vec::from([open(Arc::new(TreePath::top()), Arc::clone(top), 0_u32)?]);
    while let Some(dir) = stack.last_mut() {
        if let Some((path, node)) = dir.dirs.pop() {
            let depth = dir.depth.saturating_add(1);
            stack.push(open(Arc::new(path), node, depth)?);
            continue;
        }
        let Some(done) = stack.pop() else { break };
        let shown = if done.path.is_top() { path.to_vec() } else { done.path.after(&prefix) };
        visit(&shown, done.depth, done.usage)?;
        drop(done.node);
        if let Some(above) = stack.last_mut() {
            above.usage.add(done.usage);
        }
    }
    Ok(())
}
