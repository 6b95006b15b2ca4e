//! The tree that an image is made of.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use std::path::PathBuf;

use bytes::Bytes;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::super::attribute::Attribute;
use super::super::meta;
use super::super::time::Time;
use super::super::tree::Special;
use super::content::Content;
use crate::attr::{Attr, Defaults, FileType};
use crate::checked::to_u64;
use crate::clock::Timestamp;
use crate::errno::Errno;
use crate::error::{Error, Result};
use crate::format::tfs::NO_ENCODE;
use crate::fs::{FileSystem, FileSystemExt, NodeRef};
use crate::limits::{IMAGE_ENTRIES_MAX, SKIPPED_KEPT_MAX, SYMLINK_MAX};
use crate::name::{Name, escape};
use crate::source::Source;

/// A tree to make a file system of: names, attributes, and where content comes from. Content is read when the image is
/// written.
#[derive(Debug)]
pub struct NewTree {
    pub(super) nodes: Vec<NewTreeNode>,
}

/// A node of it.
#[derive(Debug)]
pub(in crate::backend::tfs) struct NewTreeNode {
    /// Names; directories have one.
    pub(in crate::backend::tfs) names: u32,
    /// In the order in which they are written.
    pub(in crate::backend::tfs) attributes: Vec<(Bytes, Attribute)>,
    pub(in crate::backend::tfs) body: NewBody,
}

/// What it is.
#[derive(Debug)]
pub(in crate::backend::tfs) enum NewBody {
    Dir(Vec<(Box<[u8]>, u32)>),
    File(Content),
    Symlink(Bytes),
    Socket,
}

/// What of a tree to keep besides names, content and links.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeepOptions {
    /// Modes, owners, times, extended attributes and special nodes. Without it, an image holds what mkfs would put
    /// there, and special nodes are left out.
    pub attributes: bool,
    /// Times after this one, in seconds since 1970, become this one: what `SOURCE_DATE_EPOCH` asks for.
    pub latest_mtime: Option<i64>,
}

impl Default for KeepOptions {
    /// Everything, as it is.
    fn default() -> Self {
        Self { attributes: true, latest_mtime: None }
    }
}

/// Something of a tree that an image cannot hold, or that Nanos cannot use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotKept {
    /// Path of the node, from the root on.
    pub path: Box<[u8]>,
    /// What.
    pub what: Loss,
}

impl core::fmt::Display for NotKept {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}: {}", escape(&self.path), self.what)
    }
}

/// See [`NotKept`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Loss {
    /// A special node, where attributes are not kept.
    #[error("the format has no {}, it is left out", .0.word())]
    Node(FileType),
    /// A name with which Nanos loses the whole directory.
    #[error("Nanos loses directories with an entry called no_encode; it is left out")]
    NoEncode,
    /// The target of a symbolic link is empty, or too long.
    #[error("a link target of {0} bytes, 1 to 4095 are possible; it is left out")]
    TargetLength(u64),
    /// An extended attribute without a dot in its name, or with a name that is taken.
    #[error("the extended attribute {} cannot be kept", escape(.0))]
    Xattr(Box<[u8]>),
    /// Kept, but Nanos decodes names as UTF-8.
    #[error("the name is not UTF-8: it is kept, but Nanos cannot look it up")]
    NameNotUtf8,
}

/// What became of a tree.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeepReport {
    /// How often something could not be kept.
    pub lost_count: u64,
    /// The first [`SKIPPED_KEPT_MAX`] of them.
    pub lost: Vec<NotKept>,
}

impl KeepReport {
    fn lose(&mut self, path: &[u8], what: Loss) {
        self.lost_count = self.lost_count.saturating_add(1);
        if self.lost.len() < SKIPPED_KEPT_MAX {
            self.lost.push(NotKept { path: if path.is_empty() { b"/"[..].into() } else { path.into() }, what });
        }
    }
}

impl Default for NewTree {
    fn default() -> Self {
        Self::new()
    }
}

impl NewTree {
    /// An empty directory.
    #[must_use]
    pub fn new() -> Self {
        let root = NewTreeNode { names: 1, attributes: Vec::new(), body: NewBody::Dir(Vec::new()) };
        Self { nodes: Vec::from([root]) }
    }

    /// The tree of a file system: names in the order of their bytes, so that the same tree gives the same image.
    ///
    /// # Errors
    /// What `fs` answers; `ENOMEM` for more nodes than can be counted.
    pub fn from_fs(fs: &Arc<dyn FileSystem>, options: &KeepOptions) -> Result<(Self, KeepReport)> {
        let mut walk = Walk {
            tree: Self::new(),
            report: KeepReport::default(),
            options: *options,
            linked: HashMap::default(),
            defaults: Defaults::default(),
        };
        walk.run(fs)?;
        Ok((walk.tree, walk.report))
    }

    pub(in crate::backend::tfs) fn add(&mut self, node: NewTreeNode) -> Result<u32> {
        let at = u32::try_from(self.nodes.len()).ok().filter(|at| *at < IMAGE_ENTRIES_MAX);
        let at = at.ok_or_else(|| Error::new(Errno::NoMemory, format!("more than {IMAGE_ENTRIES_MAX} nodes")))?;
        self.nodes.push(node);
        Ok(at)
    }

    pub(super) fn node(&self, at: u32) -> Option<&NewTreeNode> {
        self.nodes.get(usize::try_from(at).ok()?)
    }

    pub(in crate::backend::tfs) fn node_mut(&mut self, at: u32) -> Option<&mut NewTreeNode> {
        self.nodes.get_mut(usize::try_from(at).ok()?)
    }

    /// The attributes of the root: configuration for Nanos, and what is kept of the node.
    #[must_use]
    pub fn attributes(&self) -> &[(Bytes, Attribute)] {
        self.nodes.first().map(|root| &*root.attributes).unwrap_or_default()
    }

    /// Sets an attribute of the root: configuration for Nanos, as `program` or `arguments`.
    ///
    /// # Errors
    /// `EINVAL` for those that say what a node is, as `children`.
    pub fn set_attribute(&mut self, name: impl Into<Bytes>, value: Attribute) -> Result<()> {
        let name = name.into();
        if is_structure(&name) {
            let sentence = format!("{} is no attribute that can be set", escape(&name));
            return Err(Error::new(Errno::Invalid, sentence));
        }
        if let Some(root) = self.nodes.first_mut() {
            root.attributes.retain(|(found, _)| *found != name);
            root.attributes.push((name, value));
            root.attributes.sort_by(|one, other| one.0.cmp(&other.0));
        }
        Ok(())
    }

    /// Adds a file to the root, in the place of what has its name: in a boot file system, the kernel is the file
    /// `kernel`.
    ///
    /// # Errors
    /// `EINVAL` for a name that Nanos cannot have.
    pub fn put_file(&mut self, name: Name<'_>, content: Arc<dyn Source>) -> Result<()> {
        if name.as_bytes() == NO_ENCODE {
            return Err(Error::new(Errno::Invalid, "Nanos loses directories with an entry called no_encode"));
        }
        let body = NewBody::File(Content::Source(content));
        let node = self.add(NewTreeNode { names: 1, attributes: Vec::new(), body })?;
        if let Some(NewTreeNode { body: NewBody::Dir(entries), .. }) = self.nodes.first_mut() {
            match entries.binary_search_by(|(found, _)| (**found).cmp(name.as_bytes())) {
                Ok(at) => {
                    if let Some(entry) = entries.get_mut(at) {
                        entry.1 = node;
                    }
                }
                Err(at) => entries.insert(at, (name.as_bytes().into(), node)),
            }
        }
        Ok(())
    }
}

/// Collects the tree of a file system.
struct Walk {
    tree: NewTree,
    report: KeepReport,
    options: KeepOptions,
    /// Nodes that may have further names.
    linked: HashMap<u64, u32, RandomState>,
    defaults: Defaults,
}

impl Walk {
    fn run(&mut self, fs: &Arc<dyn FileSystem>) -> Result<()> {
        let root = NodeRef::root(Arc::clone(fs));
        let attr = fs.attr(root.node())?;
        let attributes = self.attributes(b"", &root, &attr, None)?;
        if let Some(node) = self.tree.nodes.first_mut() {
            node.attributes = attributes;
        }
        let mut pending = Vec::from([(0, Vec::new(), root)]);
        while let Some((dir, path, node)) = pending.pop() {
            let mut names: Vec<Box<[u8]>> = Vec::new();
            fs.for_each_entry(node.node(), |entry| {
                names.push(entry.name.as_bytes().into());
                Ok(())
            })?;
            names.sort_unstable();
            let mut entries = Vec::with_capacity(names.len());
            let first = pending.len();
            for name in names {
                let path = [&path, &b"/"[..], &name].concat();
                let child = NodeRef::lookup(fs, node.node(), Name::new(&name)?)?;
                if let Some((at, below)) = self.node(&path, &name, child)? {
                    entries.push((name, at));
                    pending.extend(below.map(|below| (at, path, below)));
                }
            }
            pending.get_mut(first..).unwrap_or_default().reverse();
            if let Some(node) = self.tree.node_mut(dir) {
                node.body = NewBody::Dir(entries);
            }
        }
        Ok(())
    }

    /// Adds a node that was found under a name, if it can be; a directory is returned, to go on in it.
    fn node(&mut self, path: &[u8], name: &[u8], node: NodeRef) -> Result<Option<(u32, Option<NodeRef>)>> {
        let fs = Arc::clone(node.fs());
        let attr = fs.attr(node.node())?;
        if name == NO_ENCODE {
            self.report.lose(path, Loss::NoEncode);
            return Ok(None);
        }
        if core::str::from_utf8(name).is_err() {
            self.report.lose(path, Loss::NameNotUtf8);
        }
        if let Some(&known) = self.linked.get(&attr.ino) {
            if let Some(node) = self.tree.node_mut(known) {
                node.names = node.names.saturating_add(1);
            }
            return Ok(Some((known, None)));
        }
        let device = attr.rdev.unwrap_or_default();
        let special = match attr.file_type {
            FileType::Char => Some(Special::Char(device)),
            FileType::Block => Some(Special::Block(device)),
            FileType::Fifo => Some(Special::Fifo),
            FileType::Whiteout => Some(Special::Whiteout),
            _ => None,
        };
        let body = match attr.file_type {
            FileType::Dir => NewBody::Dir(Vec::new()),
            FileType::Symlink => {
                let target = fs.read_link(node.node())?;
                if target.is_empty() || target.len() > SYMLINK_MAX {
                    self.report.lose(path, Loss::TargetLength(to_u64(target.len())));
                    return Ok(None);
                }
                NewBody::Symlink(target)
            }
            FileType::Socket => NewBody::Socket,
            _ if special.is_some() => {
                if !self.options.attributes {
                    self.report.lose(path, Loss::Node(attr.file_type));
                    return Ok(None);
                }
                NewBody::File(Content::Empty)
            }
            _ => NewBody::File(Content::Empty),
        };
        let attributes = self.attributes(path, &node, &attr, special)?;
        let at = self.tree.add(NewTreeNode { names: 1, attributes, body })?;
        match attr.file_type {
            FileType::Dir => return Ok(Some((at, Some(node)))),
            _ if attr.nlink > 1 => drop(self.linked.insert(attr.ino, at)),
            _ => {}
        }
        if attr.file_type == FileType::File
            && attr.size > 0
            && let Some(new) = self.tree.node_mut(at)
        {
            new.body = NewBody::File(Content::Node { node, size: attr.size });
        }
        Ok(Some((at, None)))
    }

    fn attributes(
        &mut self,
        path: &[u8],
        node: &NodeRef,
        attr: &Attr,
        special: Option<Special>,
    ) -> Result<Vec<(Bytes, Attribute)>> {
        let mut kept = Vec::new();
        if !self.options.attributes {
            return Ok(kept);
        }
        if attr.recorded.mtime {
            kept.push(time(attr.mtime, self.options.latest_mtime));
        }
        let mut string = |name: &'static [u8], value: alloc::string::String| {
            kept.push((Bytes::from_static(name), Attribute::String(value.into())));
        };
        let default = self.defaults.mode(attr.file_type);
        if attr.recorded.mode && attr.mode != default {
            string(meta::MODE, format!("{:o}", attr.mode));
        }
        if attr.recorded.owner && (attr.uid, attr.gid) != (self.defaults.uid, self.defaults.gid) {
            string(meta::OWNER, format!("{}:{}", attr.uid, attr.gid));
        }
        if attr.opaque {
            string(meta::OPAQUE, alloc::string::String::new());
        }
        if let Some(special) = special {
            string(meta::NODE, meta::special(special));
        }
        let fs = node.fs();
        for name in fs.xattr_names(node.node())? {
            if !name.contains(&b'.') || *name == b".."[..] || name.starts_with(meta::PREFIX) {
                self.report.lose(path, Loss::Xattr(name[..].into()));
                continue;
            }
            let value = fs.xattr(node.node(), &name)?;
            kept.push((name, Attribute::String(value)));
        }
        Ok(kept)
    }
}

fn time(time: Timestamp, latest: Option<i64>) -> (Bytes, Attribute) {
    let latest = latest.map_or(time, |latest| time.min(Timestamp::from_secs(latest)));
    let time = Time::from(latest);
    match time.to_raw() {
        Some(raw) => (Bytes::from_static(b"mtime"), Attribute::Integer(raw)),
        None => (Bytes::from_static(meta::MTIME), Attribute::String(time.nanos().into())),
    }
}

/// Whether an attribute says what a node is and where its content lies, which only the writer can know; or is one that
/// Nanos has in memory only.
pub(super) fn is_structure(name: &[u8]) -> bool {
    const NAMES: &[&[u8]] = &[
        b"",
        b"..",
        b"children",
        b"contents",
        b"extents",
        b"filelength",
        b"linktarget",
        b"nlink",
        NO_ENCODE,
        b"socket",
        b"special",
    ];
    NAMES.contains(&name)
}

/// A file of the host.
pub(super) fn host_file(path: PathBuf, len: u64) -> NewBody {
    NewBody::File(if len == 0 { Content::Empty } else { Content::Host { path, len } })
}
