//! What a manifest means: trees, attributes, and files of the host.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;

use super::super::attribute::{Attribute, DEPTH_MAX};
use super::tree::{NewBody, NewTree, NewTreeNode, host_file, is_structure};
use crate::errno::Errno;
use crate::error::Result;
use crate::format::tfs::{
    Manifest, ManifestEntry, ManifestError, ManifestKind, ManifestRemark, ManifestValue, NO_ENCODE,
};
use crate::limits::{SYMLINK_HOPS_MAX, SYMLINK_MAX};
use crate::name::Name;
use crate::source::from_io;

/// Where the files of the host are that a manifest names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HostFiles {
    /// What relative paths begin from; empty for the directory of the process.
    pub base: PathBuf,
    /// A root file system in which paths are looked up first, as if it were `/`.
    pub target_root: Option<PathBuf>,
}

/// What a manifest says.
#[derive(Debug, Default)]
pub struct ManifestTrees {
    /// The root file system, with its configuration.
    pub root: NewTree,
    /// The boot file system: `boot`, or the file `kernel` of the root if there is one.
    pub boot: Option<NewTree>,
    /// Bytes that the image shall have at least; 0 if it does not say.
    pub size: u64,
    /// What is hardly meant.
    pub remarks: Vec<ManifestRemark>,
}

/// Gives a manifest its meaning. Files of the host are looked for now, and read when the image is written.
///
/// # Errors
/// `EINVAL` with a [`ManifestError`] for what makes no sense, and for files of the host that are not there.
pub fn from_manifest(manifest: &Manifest, files: &HostFiles) -> Result<ManifestTrees> {
    Ok(trees(manifest, files, tree)?)
}

/// Gives a manifest its meaning beside files that come from elsewhere: all but `children`, which it need not have.
///
/// # Errors
/// Those of [`from_manifest`], and `EINVAL` with a [`ManifestError`] for files in `children`.
pub fn configuration_from_manifest(manifest: &Manifest, files: &HostFiles) -> Result<ManifestTrees> {
    let root =
        |root: &ManifestValue, attributes, files: &HostFiles| match root.get("children") {
            Some(children) if !entries_of(children)?.is_empty() => Err(children
                .error("files of a manifest, and files from elsewhere: beside those it gives the configuration")),
            _ => directory(attributes, &[], files),
        };
    Ok(trees(manifest, files, root)?)
}

/// A tree of a tuple of the manifest, with the attributes of its root.
type MakeTree = fn(&ManifestValue, Vec<(Bytes, Attribute)>, &HostFiles) -> Result<NewTree, ManifestError>;

fn trees(manifest: &Manifest, files: &HostFiles, make_root: MakeTree) -> Result<ManifestTrees, ManifestError> {
    let root = &manifest.root;
    let ManifestKind::Tuple(entries) = &root.kind else { return Err(root.error("a manifest is a tuple")) };
    let mut size = 0;
    let mut attributes = Vec::new();
    let mut boot = None;
    for ManifestEntry { position, name, value } in entries {
        match name.as_str() {
            "children" => {}
            "boot" => boot = Some(tree(value, Vec::new(), files)?),
            "imagesize" => size = size.max(bytes(value)?),
            _ => {
                if name == "coredumplimit" {
                    size = size.max(bytes(value)?);
                }
                if is_structure(name.as_bytes()) {
                    return Err(ManifestError { position: *position, ..value.error(no_attribute(name)) });
                }
                attributes.push((Bytes::copy_from_slice(name.as_bytes()), attribute(value, 0)?));
            }
        }
    }
    let tree = make_root(root, attributes, files)?;
    if boot.is_none()
        && let Some(kernel) = root.get("children").and_then(|children| children.get("kernel"))
        && kernel.get("contents").is_some()
    {
        boot = Some(directory(Vec::new(), &[("kernel", kernel)], files)?);
    }
    Ok(ManifestTrees { root: tree, boot, size, remarks: manifest.remarks.clone() })
}

fn no_attribute(name: &str) -> String {
    format!("{name} is no attribute that can be given: it follows from the tree")
}

/// The tree below a tuple with `children`.
fn tree(
    value: &ManifestValue,
    attributes: Vec<(Bytes, Attribute)>,
    files: &HostFiles,
) -> Result<NewTree, ManifestError> {
    let missing = || value.error("a root needs children: the least is (children:())");
    let children = value.get("children").ok_or_else(missing)?;
    directory(attributes, &entries_of(children)?, files)
}

type Children<'a> = Vec<(&'a str, &'a ManifestValue)>;

/// The entries of `children`, with names that nodes can have.
fn entries_of(children: &ManifestValue) -> Result<Children<'_>, ManifestError> {
    let ManifestKind::Tuple(entries) = &children.kind else {
        return Err(children.error("children is a tuple of names and nodes"));
    };
    for entry in entries {
        let told = |meaning: String| ManifestError { position: entry.position, ..children.error(meaning) };
        if let Err(error) = Name::new(entry.name.as_bytes()) {
            return Err(told(format!("\"{}\" cannot be the name of a node: {error}", entry.name)));
        }
        if entry.name.as_bytes() == NO_ENCODE {
            return Err(told("Nanos loses directories with an entry called no_encode".into()));
        }
    }
    Ok(entries.iter().map(|entry| (entry.name.as_str(), &entry.value)).collect())
}

fn directory(
    attributes: Vec<(Bytes, Attribute)>,
    children: &[(&str, &ManifestValue)],
    files: &HostFiles,
) -> Result<NewTree, ManifestError> {
    let mut tree = NewTree::new();
    if let Some(root) = tree.node_mut(0) {
        root.attributes = attributes;
    }
    let mut pending = Vec::from([(0, children.to_vec())]);
    while let Some((dir, children)) = pending.pop() {
        let mut entries: Vec<(Box<[u8]>, u32)> = Vec::with_capacity(children.len());
        for (name, value) in children {
            let (node, below) = node(value, files)?;
            let at = tree.add(node).map_err(|error| value.error(format!("{error}")))?;
            entries.push((name.as_bytes().into(), at));
            pending.extend(below.map(|below| (at, below)));
        }
        if let Some(node) = tree.node_mut(dir) {
            node.body = NewBody::Dir(entries);
        }
    }
    Ok(tree)
}

/// A node, and what is in it if it is a directory.
fn node<'a>(value: &'a ManifestValue, files: &HostFiles) -> Result<(NewTreeNode, Option<Children<'a>>), ManifestError> {
    let ManifestKind::Tuple(entries) = &value.kind else {
        return Err(value.error("a node is a tuple with children, contents or linktarget"));
    };
    let mut kind: Option<(&str, NewBody)> = None;
    let mut below = None;
    let mut attributes = Vec::new();
    for ManifestEntry { position, name, value } in entries {
        let told = |meaning: String| ManifestError { position: *position, ..value.error(meaning) };
        let found = match name.as_str() {
            "children" => {
                below = Some(entries_of(value)?);
                NewBody::Dir(Vec::new())
            }
            "contents" => {
                let host = value.get("host").ok_or_else(|| value.error("contents names a file: (host:PATH)"))?;
                files.body(host)?
            }
            "linktarget" => {
                let target = value.as_str().filter(|target| (1..=SYMLINK_MAX).contains(&target.len()));
                let target = target.ok_or_else(|| value.error("a link target is a string of 1 to 4095 bytes"))?;
                NewBody::Symlink(Bytes::copy_from_slice(target.as_bytes()))
            }
            "socket" => NewBody::Socket,
            other if is_structure(other.as_bytes()) => return Err(told(no_attribute(other))),
            other => {
                attributes.push((Bytes::copy_from_slice(other.as_bytes()), attribute(value, 0)?));
                continue;
            }
        };
        if let Some((before, _)) = kind.replace((name, found)) {
            return Err(told(format!("a node with {before} and {name}, of which it can have one only")));
        }
    }
    let Some((_, body)) = kind else {
        return Err(value.error("a node needs children, contents or linktarget; Nanos stops at one without"));
    };
    Ok((NewTreeNode { names: 1, attributes, body }, below))
}

fn attribute(value: &ManifestValue, depth: usize) -> Result<Attribute, ManifestError> {
    if depth >= DEPTH_MAX {
        return Err(value.error(format!("more than {DEPTH_MAX} tuples or vectors inside one another in an attribute")));
    }
    let depth = depth.saturating_add(1);
    Ok(match &value.kind {
        ManifestKind::String(string) => Attribute::String(Bytes::copy_from_slice(string.as_bytes())),
        ManifestKind::Tuple(entries) => {
            let entries = entries.iter().map(|entry| {
                if entry.name == "contents" {
                    let meaning = "contents makes a file, and files are in children only";
                    return Err(ManifestError { position: entry.position, ..value.error(meaning) });
                }
                Ok((Bytes::copy_from_slice(entry.name.as_bytes()), attribute(&entry.value, depth)?))
            });
            Attribute::Tuple(entries.collect::<Result<_, _>>()?)
        }
        ManifestKind::Vector(elements) => {
            let elements = elements.iter().map(|element| attribute(element, depth).map(Some));
            Attribute::Vector(elements.collect::<Result<_, _>>()?)
        }
    })
}

/// A size as mkfs reads it: decimal, `0x` or `0` and a letter.
fn bytes(value: &ManifestValue) -> Result<u64, ManifestError> {
    let wrong = || value.error("a size is a number above 0 with an optional k, m or g behind it");
    let text = value.as_str().ok_or_else(wrong)?;
    let (digits, shift) = match text.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (text.get(..at), 10),
        Some((at, 'm' | 'M')) => (text.get(..at), 20),
        Some((at, 'g' | 'G')) => (text.get(..at), 30),
        _ => (Some(text), 0),
    };
    let digits = digits.unwrap_or_default();
    let parsed = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16),
        None if digits.starts_with('0') => u64::from_str_radix(digits, 8),
        None => digits.parse(),
    };
    let signed = digits.contains(['+', '-']);
    let size = parsed.ok().filter(|size| *size > 0 && !signed).and_then(|size| size.checked_mul(1 << shift));
    size.ok_or_else(wrong)
}

impl HostFiles {
    /// The file that `host` names.
    fn body(&self, host: &ManifestValue) -> Result<NewBody, ManifestError> {
        let name = host.as_str().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| host.error("host is the path of a file"))?;
        let told = |error: &dyn core::fmt::Display| host.error(format!("cannot read {name}: {error}"));
        let in_target = self.target_root.as_deref().map(|root| within(root, Path::new(name))).transpose();
        let path = in_target.map_err(|error| told(&error))?.flatten().unwrap_or_else(|| self.base.join(name));
        let metadata = std::fs::metadata(&path).map_err(|error| match from_io(error) {
            // What has a name is told by it, without the number that the host has for it.
            error if error != Errno::Io => told(&error.errno()),
            error => told(&error),
        })?;
        if !metadata.is_file() {
            return Err(told(&"it is no regular file"));
        }
        Ok(host_file(path, metadata.len()))
    }
}

/// The file at `path` in `root`, to which all symbolic links are bound; `None` if there is none.
fn within(root: &Path, path: &Path) -> std::io::Result<Option<PathBuf>> {
    let parts = |path: &Path| {
        path.components()
            .rev()
            .filter_map(|part| match part {
                Component::Normal(name) => Some(Some(name.to_owned())),
                Component::ParentDir => Some(None),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    let mut pending = parts(path);
    let mut at: Vec<std::ffi::OsString> = Vec::new();
    let mut hops = 0;
    let full = |at: &[std::ffi::OsString]| at.iter().fold(root.to_path_buf(), |path, name| path.join(name));
    while let Some(part) = pending.pop() {
        let Some(name) = part else {
            at.pop();
            continue;
        };
        at.push(name);
        let here = full(&at);
        let metadata = match std::fs::symlink_metadata(&here) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if metadata.is_symlink() {
            hops += 1;
            if hops > SYMLINK_HOPS_MAX {
                return Err(std::io::Error::other("too many symbolic links"));
            }
            let target = std::fs::read_link(&here)?;
            at.pop();
            if target.is_absolute() {
                at.clear();
            }
            pending.extend(parts(&target));
        }
    }
    Ok(Some(full(&at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_mkfs_reads_them() {
        let size = |text: &str| {
            let manifest = Manifest::parse(format!("(children:() imagesize:\"{text}\")").as_bytes()).unwrap();
            trees(&manifest, &HostFiles::default(), tree).map(|trees| trees.size).ok()
        };
        for (text, bytes) in [("1", 1), ("64k", 65_536), ("0x10M", 16 << 20), ("010", 8), ("2G", 2 << 30)] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "0", "-1", "+1", "1t", "1kb", "k", "0x", "99999999999999999999", "18446744073709551615k"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn links_stay_in_the_target_root() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        std::fs::create_dir_all(at("usr/lib")).unwrap();
        std::fs::write(at("usr/lib/c.so"), "c").unwrap();
        for (link, target) in [
            ("lib", "/usr/lib"),
            ("usr/lib/d.so", "../../../../usr/lib/c.so"),
            ("up", "../.."),
            ("loop", "loop"),
            ("dangling", "/etc/passwd"),
        ] {
            std::os::unix::fs::symlink(target, at(link)).unwrap();
        }
        let found = |path: &str| within(root.path(), Path::new(path)).map_err(|error| error.to_string());
        assert_eq!(found("/lib/c.so"), Ok(Some(at("usr/lib/c.so"))));
        assert_eq!(found("lib/d.so"), Ok(Some(at("usr/lib/c.so"))));
        assert_eq!(found("up/up/usr/lib/./c.so"), Ok(Some(at("usr/lib/c.so"))));
        assert_eq!(found("../../usr/../lib"), Ok(Some(at("usr/lib"))));
        assert_eq!(found("dangling"), Ok(None));
        assert_eq!(found("nothing"), Ok(None));
        assert_eq!(found("loop"), Err("too many symbolic links".into()));
    }
}
