//! Trees as mtree(5) specifications: written, read, and compared with a tree.
//!
//! mtree(5) has no word for extended attributes. Here they are `xattr.NAME=VALUE`, the value in base64, as go-mtree has
//! them, with which umoci looks for changes.

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write as _;
use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::copy::at;
use super::hash::sha256;
use super::pack::from_io;
use crate::attr::{Attr, FileType};
use crate::clock::Timestamp;
use crate::errno::Errno;
use crate::error::{Error, Result};
use crate::fs::{FileSystemExt, NodeRef};
use crate::path::TreePath;

/// What to write of each node besides its attributes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MtreeOptions {
    /// The SHA-256 hash of the content of files.
    pub sha256: bool,
    /// Extended attributes. bsdtar reads a specification that has some, but complains, and so fails when it is done.
    pub xattrs: bool,
}

/// What is said of one node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MtreeLine<'a> {
    /// Its path from the top, without slashes around it; the top's is empty.
    pub path: &'a [u8],
    /// Keywords and their values, as they are written.
    pub words: Vec<(Cow<'static, str>, String)>,
}

/// Writes a specification of `top` and what is below it, sorted by path, a full path on each line. What the image does
/// not record is left out.
///
/// # Errors
/// Those of the tree; `EIO`, `ENOSPC` and `EPIPE` from `out`.
pub fn write_mtree<W: Write>(top: &Arc<NodeRef>, mut out: W, options: MtreeOptions) -> Result<W> {
    out.write_all(b"#mtree\n").map_err(from_io)?;
    for_each_mtree_line(top, options, |line| {
        out.write_all(path_word(line.path).as_bytes()).map_err(from_io)?;
        for (key, value) in line.words {
            write!(out, " {key}={value}").map_err(from_io)?;
        }
        out.write_all(b"\n").map_err(from_io)
    })?;
    out.flush().map_err(from_io)?;
    Ok(out)
}

/// Calls `visit` with what [`write_mtree`] writes, line by line.
///
/// # Errors
/// Those of the tree, and what `visit` answers.
pub fn for_each_mtree_line(
    top: &Arc<NodeRef>,
    options: MtreeOptions,
    mut visit: impl FnMut(MtreeLine<'_>) -> Result<()>,
) -> Result<()> {
    walk(top, |path, node, attr| visit(MtreeLine { path, words: words(node, attr, options)? }))
}

/// Visits everything, a directory before what is in it, names sorted. Paths begin without a slash; the top's is empty.
fn walk(top: &Arc<NodeRef>, mut visit: impl FnMut(&[u8], &NodeRef, &Attr) -> Result<()>) -> Result<()> {
    let mut todo = Vec::from([(TreePath::top(), Arc::clone(top))]);
    while let Some((dir, node)) = todo.pop() {
        let (path, dir) = (dir.to_vec(), Arc::new(dir));
        let mut one = || {
            let attr = node.fs().attr(node.node())?;
            visit(&path, &node, &attr)?;
            if !attr.file_type.is_dir() {
                return Ok(());
            }
            let start = todo.len();
            node.fs().for_each_entry(node.node(), |entry| {
                let below = TreePath::below(&dir, entry.name.as_bytes())?;
                todo.push((below, Arc::new(NodeRef::lookup(node.fs(), node.node(), entry.name)?)));
                Ok(())
            })?;
            if let Some(new) = todo.get_mut(start..) {
                new.sort_by(|one, other| other.0.name().cmp(one.0.name()));
            }
            Ok(())
        };
        one().map_err(|error| if error == Errno::Pipe { error } else { at(&path, error) })?;
    }
    Ok(())
}

/// A path as a word: `./` in front, so that it is a full path.
fn path_word(path: &[u8]) -> String {
    if path.is_empty() { ".".to_owned() } else { format!("./{}", word(path)) }
}

/// Bytes as mtree(5) writes them: what is not visible, and what means something, in octal.
fn word(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len()), |mut text, &byte| {
        if byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'#' | b'=' | b'*' | b'?' | b'[') {
            text.push(char::from(byte));
        } else {
            // OK to ignore: a string takes everything.
            let _ = write!(text, "\\{byte:03o}");
        }
        text
    })
}

/// The keywords of a node.
fn words(node: &NodeRef, attr: &Attr, options: MtreeOptions) -> Result<Vec<(Cow<'static, str>, String)>> {
    let mut words: Vec<(Cow<'static, str>, String)> = Vec::new();
    let mut add = |key: &'static str, value: String| words.push((key.into(), value));
    add("type", type_word(attr.file_type).to_owned());
    if attr.recorded.mode {
        add("mode", format!("{:04o}", attr.mode));
    }
    if attr.recorded.owner {
        add("uid", attr.uid.to_string());
        add("gid", attr.gid.to_string());
    }
    if !attr.file_type.is_dir() {
        add("nlink", attr.nlink.to_string());
    }
    if attr.recorded.mtime {
        add("time", format!("{}.{:09}", attr.mtime.secs, attr.mtime.nanos));
    }
    match attr.file_type {
        FileType::File => {
            add("size", attr.size.to_string());
            if options.sha256 {
                add("sha256digest", sha256_word(node)?);
            }
        }
        FileType::Symlink => add("link", word(&node.fs().read_link(node.node())?)),
        _ => {}
    }
    if let Some(device) = attr.rdev {
        add("device", format!("linux,{},{}", device.major, device.minor));
    }
    if options.xattrs {
        for name in node.fs().xattr_names(node.node())? {
            let value = node.fs().xattr(node.node(), &name)?;
            words.push((format!("{XATTR}{}", word(&name)).into(), BASE64.encode(value)));
        }
    }
    Ok(words)
}

/// What keywords of extended attributes begin with.
const XATTR: &str = "xattr.";

const fn type_word(file_type: FileType) -> &'static str {
    match file_type {
        FileType::Symlink => "link",
        other => other.word(),
    }
}

fn sha256_word(node: &NodeRef) -> Result<String> {
    Ok(sha256(&**node.fs(), node.node())?.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// A specification, as it was read: what each path shall be.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Mtree {
    /// Keywords and their values by path, without slashes around it; the root's is empty.
    entries: BTreeMap<Vec<u8>, BTreeMap<String, Vec<u8>>>,
    /// Extended attributes are told somewhere: then what has none shall have none.
    has_xattrs: bool,
}

/// A line that makes no sense.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct MtreeInvalid {
    /// Its number, from 1 on.
    pub line: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

/// A way in which a tree is not what its specification says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deviation {
    /// Where.
    pub path: Vec<u8>,
    /// How.
    pub what: DeviationKind,
}

/// See [`Deviation`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DeviationKind {
    /// It is specified, but not there.
    #[error("missing")]
    Missing,
    /// It is there, but not specified.
    #[error("not in the specification")]
    Extra,
    /// It has another value.
    #[error("{keyword} is {found}, expected {expected}")]
    Differs {
        /// Which.
        keyword: Cow<'static, str>,
        /// As it is.
        found: String,
        /// As it shall be.
        expected: String,
    },
}

impl Mtree {
    /// Reads a specification: full paths and those relative to the directory before them, `/set` and `/unset`, lines
    /// continued with a backslash.
    ///
    /// # Errors
    /// `EINVAL` with [`MtreeInvalid`].
    pub fn parse(text: &[u8]) -> Result<Self> {
        let mut entries = BTreeMap::new();
        let mut defaults: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut dir: Vec<Vec<u8>> = Vec::new();
        for (line, content) in joined_lines(text) {
            let invalid = |what| Error::new(Errno::Invalid, MtreeInvalid { line, what });
            let mut fields =
                content.split(|byte| matches!(byte, b' ' | b'\t' | b'\r')).filter(|field| !field.is_empty());
            let Some(first) = fields.next() else { continue };
            match first {
                [b'#', ..] => {}
                b"/set" => {
                    for field in fields {
                        let (key, value) = keyword(field).ok_or_else(|| invalid("a keyword that is not text"))?;
                        defaults.insert(key, value);
                    }
                }
                b"/unset" => {
                    for field in fields {
                        if field == b"all" {
                            defaults.clear();
                        } else if let Ok(key) = core::str::from_utf8(field) {
                            defaults.remove(key);
                        }
                    }
                }
                [b'/', ..] => return Err(invalid("neither /set nor /unset; full paths begin with ./")),
                b".." => {
                    dir.pop().ok_or_else(|| invalid("one .. too many"))?;
                }
                path => {
                    let mut words = defaults.clone();
                    for field in fields {
                        let (key, value) = keyword(field).ok_or_else(|| invalid("a keyword that is not text"))?;
                        words.insert(key, value);
                    }
                    let path = unescape(path).ok_or_else(|| invalid("an escape that makes no sense"))?;
                    let full = path.contains(&b'/');
                    let path = if full { clean(&path) } else { relative(&dir, &path) };
                    let is_dir = words.get("type").is_some_and(|value| value == b"dir");
                    if is_dir && !full {
                        dir.push(path.clone());
                    }
                    entries.insert(path, words);
                }
            }
        }
        let is_xattr = |words: &BTreeMap<String, Vec<u8>>| words.keys().any(|key| key.starts_with(XATTR));
        let has_xattrs = entries.values().any(is_xattr);
        Ok(Self { entries, has_xattrs })
    }

    /// Calls `visit` with every way in which the tree at `top` is not as specified, by path. Keywords that are not known
    /// here are not compared; a path with `optional` may be missing. Extended attributes are compared where the
    /// specification has any, and the tree's format can hold them.
    ///
    /// # Errors
    /// Those of the tree, and what `visit` answers; `EINVAL` for a value that makes no sense.
    pub fn compare(&self, top: &Arc<NodeRef>, mut visit: impl FnMut(Deviation) -> Result<()>) -> Result<()> {
        let mut deviations: BTreeMap<Vec<u8>, Vec<DeviationKind>> = BTreeMap::new();
        let mut missing: BTreeMap<&[u8], ()> = self.entries.keys().map(|path| (&**path, ())).collect();
        walk(top, |path, node, attr| {
            let Some(words) = self.entries.get(path) else {
                // A specification need not say anything about the top.
                if !path.is_empty() {
                    deviations.entry(path.to_vec()).or_default().push(DeviationKind::Extra);
                }
                return Ok(());
            };
            missing.remove(path);
            let mut found = different(words, node, attr)?;
            if self.has_xattrs && node.fs().info().kind != "cpio" {
                compare_xattrs(words, node, &mut found)?;
            }
            if !found.is_empty() {
                deviations.insert(path.to_vec(), found);
            }
            Ok(())
        })?;
        for (path, ()) in missing {
            if self.entries.get(path).is_some_and(|words| !words.contains_key("optional")) {
                deviations.entry(path.to_vec()).or_default().push(DeviationKind::Missing);
            }
        }
        for (path, kinds) in deviations {
            for what in kinds {
                visit(Deviation { path: path.clone(), what })?;
            }
        }
        Ok(())
    }

    /// How many paths are specified.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// In what a node is not as its keywords say.
fn different(words: &BTreeMap<String, Vec<u8>>, node: &NodeRef, attr: &Attr) -> Result<Vec<DeviationKind>> {
    let mut found = Vec::new();
    let mut check = |keyword, is_same: bool, value: &dyn ToString, expected: &[u8]| {
        if !is_same {
            let expected = String::from_utf8_lossy(expected).into_owned();
            found.push(DeviationKind::Differs { keyword: Cow::Borrowed(keyword), found: value.to_string(), expected });
        }
    };
    if let Some(expected) = words.get("type") {
        let is = type_word(attr.file_type);
        check("type", is.as_bytes() == expected, &is, expected);
        if is.as_bytes() != expected {
            return Ok(found);
        }
    }
    let number = |value: &[u8]| core::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok());
    let octal = |value: &[u8]| core::str::from_utf8(value).ok().and_then(|text| u16::from_str_radix(text, 8).ok());
    if let Some(expected) = words.get("mode").filter(|_| attr.recorded.mode && attr.file_type != FileType::Symlink) {
        check("mode", octal(expected) == Some(attr.mode), &format!("{:04o}", attr.mode), expected);
    }
    if attr.recorded.owner {
        for (key, is) in [("uid", attr.uid), ("gid", attr.gid)] {
            if let Some(expected) = words.get(key) {
                check(key, number(expected) == Some(is.into()), &is, expected);
            }
        }
    }
    if let Some(expected) = words.get("nlink").filter(|_| !attr.file_type.is_dir()) {
        check("nlink", number(expected) == Some(attr.nlink), &attr.nlink, expected);
    }
    if let Some(expected) = words.get("time").filter(|_| attr.recorded.mtime) {
        let Timestamp { secs, nanos } = attr.mtime;
        check("time", time(expected) == Some(attr.mtime), &format!("{secs}.{nanos:09}"), expected);
    }
    if let Some(expected) = words.get("size").filter(|_| attr.file_type == FileType::File) {
        check("size", number(expected) == Some(attr.size), &attr.size, expected);
    }
    if let Some(expected) = words.get("link").filter(|_| attr.file_type == FileType::Symlink) {
        let target = node.fs().read_link(node.node())?;
        check("link", unescape(expected).is_some_and(|expected| *expected == *target), &word(&target), expected);
    }
    if let (Some(expected), Some(device)) = (words.get("device"), attr.rdev) {
        let is = format!("linux,{},{}", device.major, device.minor);
        let numbers = |text: &[u8]| text.splitn(2, |byte| *byte == b',').nth(1).map(<[u8]>::to_vec);
        check("device", numbers(expected) == numbers(is.as_bytes()), &is, expected);
    }
    let hash = words.get("sha256digest").or_else(|| words.get("sha256"));
    if let Some(expected) = hash.filter(|_| attr.file_type == FileType::File) {
        let is = sha256_word(node)?;
        check("sha256", is.as_bytes().eq_ignore_ascii_case(expected), &is, expected);
    }
    Ok(found)
}

/// What is said of extended attributes that are not there.
const ABSENT: &str = "absent";

fn compare_xattrs(words: &BTreeMap<String, Vec<u8>>, node: &NodeRef, found: &mut Vec<DeviationKind>) -> Result<()> {
    let mut expected: BTreeMap<Vec<u8>, &[u8]> = BTreeMap::new();
    for (key, value) in words {
        if let Some(name) = key.strip_prefix(XATTR) {
            expected.insert(unescape(name.as_bytes()).unwrap_or_else(|| name.into()), value);
        }
    }
    let mut differs = |name: &[u8], found_value: String, expected: String| {
        let keyword = format!("{XATTR}{}", word(name)).into();
        found.push(DeviationKind::Differs { keyword, found: found_value, expected });
    };
    for name in node.fs().xattr_names(node.node())? {
        let value = node.fs().xattr(node.node(), &name)?;
        match expected.remove(&*name) {
            None => differs(&name, BASE64.encode(&value), ABSENT.to_owned()),
            Some(expected) if BASE64.decode(expected).is_ok_and(|expected| expected == *value) => {}
            Some(expected) => {
                differs(&name, BASE64.encode(&value), String::from_utf8_lossy(expected).into_owned());
            }
        }
    }
    for (name, value) in expected {
        differs(&name, ABSENT.to_owned(), String::from_utf8_lossy(value).into_owned());
    }
    Ok(())
}

/// Seconds, and behind a point nanoseconds: a number of their own, no fraction.
fn time(value: &[u8]) -> Option<Timestamp> {
    let text = core::str::from_utf8(value).ok()?;
    let (secs, nanos) = text.split_once('.').unwrap_or((text, "0"));
    let nanos = if nanos.is_empty() { 0 } else { nanos.parse().ok()? };
    Some(Timestamp { secs: secs.parse().ok()?, nanos })
}

/// Lines with their numbers, continued ones joined.
fn joined_lines(text: &[u8]) -> impl Iterator<Item = (usize, Cow<'_, [u8]>)> {
    let mut lines = text.split(|byte| *byte == b'\n').enumerate();
    core::iter::from_fn(move || {
        let (at, first) = lines.next()?;
        let mut joined = Cow::Borrowed(first);
        while let Some(rest) = joined.strip_suffix(b"\\") {
            let mut longer = rest.to_vec();
            longer.push(b' ');
            longer.extend_from_slice(lines.next().map(|(_, line)| line).unwrap_or_default());
            joined = Cow::Owned(longer);
        }
        Some((at.saturating_add(1), joined))
    })
}

fn keyword(field: &[u8]) -> Option<(String, Vec<u8>)> {
    let at = field.iter().position(|byte| *byte == b'=');
    let (key, value) = match at {
        Some(at) => (field.get(..at)?, field.get(at.saturating_add(1)..)?),
        None => (field, &b""[..]),
    };
    Some((core::str::from_utf8(key).ok()?.to_owned(), value.to_vec()))
}

/// Undoes octal escapes, and those of one character that vis(3) makes.
fn unescape(word: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'\\' {
            bytes.push(first);
            continue;
        }
        match *rest {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] => {
                let digit = |byte: u8| byte.wrapping_sub(b'0');
                bytes.push(digit(a) << 6 | digit(b) << 3 | digit(c));
                rest = rest.get(3..)?;
            }
            [escaped, ..] => {
                bytes.push(match escaped {
                    b's' => b' ',
                    b't' => b'\t',
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b'\\' | b'#' => escaped,
                    _ => return None,
                });
                rest = rest.get(1..)?;
            }
            [] => return None,
        }
    }
    Some(bytes)
}

/// A full path without `./` in front and slashes around it.
fn clean(path: &[u8]) -> Vec<u8> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    parts.collect::<Vec<_>>().join(&b'/')
}

/// A name in the directory that was named last.
fn relative(dir: &[Vec<u8>], name: &[u8]) -> Vec<u8> {
    match (dir.last(), name) {
        (_, b".") => Vec::new(),
        (Some(dir), name) if !dir.is_empty() => [dir, &b"/"[..], name].concat(),
        _ => name.to_vec(),
    }
}
