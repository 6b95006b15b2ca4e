//! What differs between two trees.
//!
//! Both are walked side by side in the order of names. Files whose node number, size and change time agree are taken for
//! the same without being read: every change moves the change time, and the overlay keeps the others of what it does not
//! change. So comparing an image with a view of it costs a look at each node and the content of what was changed.

mod moves;
mod text;

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

pub use self::moves::{Move, MoveKind, find_moves};
pub use self::text::{ContentDiff, Hunk, Line, NO_NEWLINE, TextDiff, content_diff};
use super::copy::at;
use crate::attr::{Attr, FileType};
use crate::checked::to_u64;
use crate::errno::Errno;
use crate::error::Result;
use crate::fs::{Extent, FileSystem, FileSystemExt, NodeRef};
use crate::limits::READ_SHARED_MAX;
use crate::name::Name;
use crate::path::TreePath;

/// A path at which two trees differ.
#[derive(Debug)]
pub struct Change {
    /// The path, absolute; the root is `/`.
    pub path: Vec<u8>,
    /// What was there.
    pub before: Option<Side>,
    /// What is there now.
    pub after: Option<Side>,
    /// Whether the content differs: bytes of files, targets of links, numbers of devices. True for what came or went.
    pub content: bool,
}

/// One tree's node at a path that differs.
#[derive(Debug)]
pub struct Side {
    /// The node.
    pub node: NodeRef,
    /// Its attributes.
    pub attr: Attr,
}

/// What makes a difference.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiffOptions {
    /// One tree is a view of the other, or both are of the same: then files are the same whose number, size and change
    /// time are. Trees that have nothing to do with one another are read.
    pub related: bool,
    /// Modification times are compared, too: seconds, and fractions where both sides have one.
    pub times: bool,
    /// Extended attributes are compared, too.
    pub xattrs: bool,
}

impl DiffOptions {
    /// For a view of an image and the image: content, type, mode and owner.
    pub const VIEW: Self = Self { related: true, times: false, xattrs: false };
    /// For two images: everything that is recorded in both.
    pub const IMAGES: Self = Self { related: false, times: true, xattrs: true };

    /// The same, without what the format of one of the trees cannot hold.
    #[must_use]
    pub fn for_trees(self, before: &dyn FileSystem, after: &dyn FileSystem) -> Self {
        let holds_xattrs = |fs: &dyn FileSystem| fs.info().kind != "cpio";
        Self { xattrs: self.xattrs && holds_xattrs(before) && holds_xattrs(after), ..self }
    }
}

/// Calls `visit` with each path at which `after` differs from `before`: in content, type, mode or owner. Times and link
/// counts alone are no difference. Directories come before what is in them; of a directory that came or went, so does
/// everything below it.
///
/// # Errors
/// Those of reading the trees, and what `visit` answers; `ENAMETOOLONG` where a tree is deeper than paths can be long.
pub fn diff(
    before: &Arc<dyn FileSystem>,
    after: &Arc<dyn FileSystem>,
    visit: impl FnMut(Change) -> Result<()>,
) -> Result<()> {
    diff_with(before, after, DiffOptions::VIEW, visit)
}

/// As [`diff`], with what `options` add.
///
/// # Errors
/// As [`diff`].
pub fn diff_with(
    before: &Arc<dyn FileSystem>,
    after: &Arc<dyn FileSystem>,
    options: DiffOptions,
    mut visit: impl FnMut(Change) -> Result<()>,
) -> Result<()> {
    let roots = (Some(NodeRef::root(Arc::clone(before))), Some(NodeRef::root(Arc::clone(after))));
    // A worklist instead of recursion: a tree may be as deep as it likes.
    let mut todo = alloc::vec![(TreePath::top(), roots)];
    while let Some((path, (before, after))) = todo.pop() {
        let (before, after) = (side(before)?, side(after)?);
        let entries = match (&before, &after) {
            (Some(before), Some(after)) if is_same_dir(before, after) => Vec::new(),
            _ => pairs(before.as_ref(), after.as_ref())?,
        };
        let content = content_differs(before.as_ref(), after.as_ref(), options)?;
        if content || attributes_differ(before.as_ref(), after.as_ref(), options)? {
            visit(Change { path: path.after(b"/"), before, after, content })?;
        }
        let path = Arc::new(path);
        // The worklist is a stack: the last goes in first.
        for (name, nodes) in entries.into_iter().rev() {
            todo.push((TreePath::below(&path, &name).map_err(|error| at(&path.after(b"/"), error))?, nodes));
        }
    }
    Ok(())
}

fn side(node: Option<NodeRef>) -> Result<Option<Side>> {
    let Some(node) = node else { return Ok(None) };
    let attr = node.fs().attr(node.node())?;
    Ok(Some(Side { node, attr }))
}

/// Whether both are the very same directory of one filesystem.
fn is_same_dir(before: &Side, after: &Side) -> bool {
    Arc::ptr_eq(before.node.fs(), after.node.fs()) && before.node.node() == after.node.node()
}

type Pair = (Option<NodeRef>, Option<NodeRef>);

/// The names in either directory, sorted, with what they name.
fn pairs(before: Option<&Side>, after: Option<&Side>) -> Result<Vec<(Vec<u8>, Pair)>> {
    let mut names: BTreeMap<Vec<u8>, (bool, bool)> = BTreeMap::new();
    for (side, is_after) in [(before, false), (after, true)] {
        let Some(side) = side.filter(|side| side.attr.file_type.is_dir()) else { continue };
        side.node.fs().for_each_entry(side.node.node(), |entry| {
            let has = names.entry(entry.name.as_bytes().to_vec()).or_default();
            if is_after {
                has.1 = true;
            } else {
                has.0 = true;
            }
            Ok(())
        })?;
    }
    let lookup = |side: Option<&Side>, name: &[u8], has: bool| match side.filter(|_| has) {
        Some(dir) => NodeRef::lookup(dir.node.fs(), dir.node.node(), Name::proven(name)).map(Some),
        None => Ok(None),
    };
    let pair = |(name, (in_before, in_after)): (Vec<u8>, (bool, bool))| {
        let pair = (lookup(before, &name, in_before)?, lookup(after, &name, in_after)?);
        Ok((name, pair))
    };
    names.into_iter().map(pair).collect()
}

fn attributes_differ(before: Option<&Side>, after: Option<&Side>, options: DiffOptions) -> Result<bool> {
    let (Some(before), Some(after)) = (before, after) else { return Ok(true) };
    let differences = Differences::between(&before.attr, &after.attr);
    if differences.mode || differences.owner || (options.times && differences.time) {
        return Ok(true);
    }
    Ok(options.xattrs && xattrs_differ(before, after)?)
}

/// In which attributes two nodes differ, of those that both sides record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Differences {
    /// Permission bits.
    pub mode: bool,
    /// User or group.
    pub owner: bool,
    /// Modification time.
    pub time: bool,
}

impl Differences {
    /// Compares.
    #[must_use]
    pub fn between(before: &Attr, after: &Attr) -> Self {
        let (one, other) = (before.recorded, after.recorded);
        let (old, new) = (before.mtime, after.mtime);
        let has_fractions = old.nanos > 0 && new.nanos > 0;
        Self {
            mode: one.mode && other.mode && before.mode != after.mode,
            owner: one.owner && other.owner && (before.uid, before.gid) != (after.uid, after.gid),
            time: one.mtime && other.mtime && (old.secs != new.secs || (has_fractions && old.nanos != new.nanos)),
        }
    }
}

/// Whether extended attributes differ.
///
/// # Errors
/// Those of the trees.
pub fn xattrs_differ(before: &Side, after: &Side) -> Result<bool> {
    let (one, other) = (before.node.fs(), after.node.fs());
    let names = one.xattr_names(before.node.node())?;
    if names != other.xattr_names(after.node.node())? {
        return Ok(true);
    }
    for name in names {
        if one.xattr(before.node.node(), &name)? != other.xattr(after.node.node(), &name)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn content_differs(before: Option<&Side>, after: Option<&Side>, options: DiffOptions) -> Result<bool> {
    let (Some(before), Some(after)) = (before, after) else { return Ok(true) };
    if before.attr.file_type != after.attr.file_type {
        return Ok(true);
    }
    match before.attr.file_type {
        FileType::File => {
            if before.attr.size != after.attr.size {
                return Ok(true);
            }
            let is_untouched = |before: &Attr, after: &Attr| before.ino == after.ino && before.ctime == after.ctime;
            if options.related && is_untouched(&before.attr, &after.attr) {
                return Ok(false);
            }
            files_differ(before, after)
        }
        FileType::Symlink => {
            Ok(before.node.fs().read_link(before.node.node())? != after.node.fs().read_link(after.node.node())?)
        }
        FileType::Char | FileType::Block => Ok(before.attr.rdev != after.attr.rdev),
        FileType::Dir | FileType::Fifo | FileType::Socket | FileType::Whiteout => Ok(false),
    }
}

fn files_differ(before: &Side, after: &Side) -> Result<bool> {
    let (one, other) = (before.node.fs(), after.node.fs());
    let mut offset: u64 = 0;
    let (mut left, mut right) = (Bytes::new(), Bytes::new());
    loop {
        // Sparse files may be of any size.
        if left.is_empty()
            && right.is_empty()
            && let (Some(one), Some(other)) = (hole_end(before, offset)?, hole_end(after, offset)?)
        {
            offset = one.min(other);
            continue;
        }
        if left.is_empty() {
            left = one.read_shared(before.node.node(), offset, READ_SHARED_MAX)?;
        }
        if right.is_empty() {
            right = other.read_shared(after.node.node(), offset, READ_SHARED_MAX)?;
        }
        // Runs end where extents do, which may be elsewhere on either side.
        let len = left.len().min(right.len());
        let (a, b) = (left.split_to(len), right.split_to(len));
        if a != b || (len == 0 && left.len() != right.len()) {
            return Ok(true);
        }
        if len == 0 {
            return Ok(false);
        }
        offset = offset.saturating_add(to_u64(len));
    }
}

/// Where a hole ends that `offset` is in.
fn hole_end(side: &Side, offset: u64) -> Result<Option<u64>> {
    match side.node.fs().extent_at(side.node.node(), offset) {
        Ok(Extent::Hole { end }) if end > offset => Ok(Some(end)),
        Ok(_) => Ok(None),
        // The end of the file.
        Err(error) if error == Errno::NoSuchDevice => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attr::{SetAttr, SetTime};
    use crate::backend::mem::MemFs;
    use crate::clock::Timestamp;
    use crate::compose::Overlay;
    use crate::namespace::{Follow, Namespace};

    fn shown(before: &Arc<dyn FileSystem>, after: &Arc<dyn FileSystem>) -> Vec<String> {
        let mut lines = Vec::new();
        diff(before, after, |change| {
            let sign = match (&change.before, &change.after) {
                (None, _) => '+',
                (_, None) => '-',
                _ => '~',
            };
            let content = if change.content { "" } else { " attributes" };
            lines.push(format!("{sign}{}{content}", String::from_utf8_lossy(&change.path)));
            Ok(())
        })
        .unwrap();
        lines
    }

    fn image() -> Arc<dyn FileSystem> {
        let fs: Arc<dyn FileSystem> = Arc::new(MemFs::new());
        let ns = Namespace::new(Arc::clone(&fs));
        for dir in ["/etc", "/share/deep"] {
            ns.create_dir_all(dir).unwrap();
        }
        for file in ["/etc/motd", "/etc/passwd", "/share/doc", "/share/deep/file"] {
            ns.write(file, "as it was\n").unwrap();
        }
        ns.symlink("motd", "/etc/link").unwrap();
        fs
    }

    #[test]
    fn a_view_differs_in_what_was_done_to_it() {
        let image = image();
        let view: Arc<dyn FileSystem> =
            Arc::new(Overlay::with_upper(vec![Arc::clone(&image)], Arc::new(MemFs::new())).unwrap());
        assert_eq!(shown(&image, &view), [""; 0]);

        let ns = Namespace::new(Arc::clone(&view));
        ns.write("/etc/motd", "as it IS.\n").unwrap();
        // Written, but with what it held.
        ns.write("/etc/passwd", "as it was\n").unwrap();
        ns.rename("/share", "/moved").unwrap();
        ns.remove_file("/etc/link").unwrap();
        ns.symlink("passwd", "/etc/link").unwrap();
        ns.create_dir("/etc/new").unwrap();
        ns.set_attr("/etc", Follow::Yes, &SetAttr { mode: Some(0o700), ..SetAttr::default() }).unwrap();
        let expected = [
            "~/etc attributes",
            "~/etc/link",
            "~/etc/motd",
            "+/etc/new",
            "+/moved",
            "+/moved/deep",
            "+/moved/deep/file",
            "+/moved/doc",
            "-/share",
            "-/share/deep",
            "-/share/deep/file",
            "-/share/doc",
        ];
        assert_eq!(shown(&image, &view), expected);
    }

    #[test]
    fn sparse_files_are_compared_where_there_is_something() {
        let fs = image();
        let ns = Namespace::new(Arc::clone(&fs));
        let sparse = ns.open("/sparse", &crate::namespace::OpenHow::WRITE).unwrap();
        sparse.write_at(1 << 41, b"end").unwrap();
        let view: Arc<dyn FileSystem> =
            Arc::new(Overlay::with_upper(vec![Arc::clone(&fs)], Arc::new(MemFs::new())).unwrap());
        let of_view = Namespace::new(Arc::clone(&view));
        let write = |at: u64, bytes: &[u8]| {
            let how = crate::namespace::OpenHow { write: true, ..crate::namespace::OpenHow::READ };
            of_view.open("/sparse", &how).unwrap().write_at(at, bytes).unwrap();
        };
        write(1 << 41, b"end");
        assert_eq!(shown(&fs, &view), [""; 0]);
        write(1 << 40, b"x");
        assert_eq!(shown(&fs, &view), ["~/sparse"]);
    }

    #[test]
    fn images_that_are_not_related_are_read() {
        let (one, other) = (image(), image());
        let ns = Namespace::new(Arc::clone(&other));
        ns.write("/etc/motd", "as it IS.\n").unwrap();
        // As reproducible archives are: the same numbers and times.
        let time = SetTime::At(Timestamp::from_secs(1));
        for fs in [&one, &other] {
            let ns = Namespace::new(Arc::clone(fs));
            for path in [
                "/",
                "/etc",
                "/etc/motd",
                "/etc/passwd",
                "/etc/link",
                "/share",
                "/share/doc",
                "/share/deep",
                "/share/deep/file",
            ] {
                let times = SetAttr { mtime: Some(time), ctime: Some(Timestamp::from_secs(1)), ..SetAttr::default() };
                ns.set_attr(path, Follow::No, &times).unwrap();
            }
        }
        assert_eq!(shown(&one, &other), [""; 0], "taken for views of the same");
        let mut paths = Vec::new();
        diff_with(&one, &other, DiffOptions::IMAGES, |change| {
            paths.push(String::from_utf8(change.path).unwrap());
            Ok(())
        })
        .unwrap();
        assert_eq!(paths, ["/etc/motd"]);
    }

    #[test]
    fn a_file_in_place_of_a_directory_hides_what_was_below() {
        let image = image();
        let view: Arc<dyn FileSystem> =
            Arc::new(Overlay::with_upper(vec![Arc::clone(&image)], Arc::new(MemFs::new())).unwrap());
        let ns = Namespace::new(Arc::clone(&view));
        ns.remove_dir_all("/share").unwrap();
        ns.write("/share", "now a file").unwrap();
        assert_eq!(shown(&image, &view), ["~/share", "-/share/deep", "-/share/deep/file", "-/share/doc"]);
    }
}
