//! A tree into an archive, reproducibly: directories before their content, names in the order of their bytes, nodes
//! numbered in that order, nothing that depends on the machine.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use std::io::Write;

use bytes::Bytes;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::copy::at;
use super::progress::Progress;
use crate::attr::{Attr, FileType};
use crate::checked::{min_len, to_u64};
use crate::clock::Timestamp;
use crate::errno::Errno;
use crate::error::{Error, Result};
use crate::format::cpio::{CpioWriter, NewEntry};
use crate::format::tar::{NewTarEntry, NewTarKind, TarWriter};
use crate::fs::{FileSystem, FileSystemExt, NodeRef, shared_zeros};
use crate::limits::{READ_SHARED_MAX, SKIPPED_KEPT_MAX};
use crate::name::escape;

/// What to pack into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PackFormat {
    /// cpio, in the layout newc that Linux takes for an initial RAM filesystem.
    Cpio,
    /// tar, in the layout pax.
    Tar,
}

impl PackFormat {
    /// The word used in references: `cpio tar`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Cpio => "cpio",
            Self::Tar => "tar",
        }
    }
}

/// How to pack.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PackOptions {
    /// Times after this one, in seconds since 1970, become this one: what `SOURCE_DATE_EPOCH` asks for.
    pub latest_mtime: Option<i64>,
    /// Everything belongs to this user and this group.
    pub owner: Option<(u32, u32)>,
    /// What is at this path (without slashes around it) is left out, with what is below it: for an output that lies
    /// in the tree.
    pub leave_out: Option<Box<[u8]>>,
    /// A tar archive is a layer of a container image: whiteouts are files `.wh.NAME`, and an opaque directory has one
    /// called `.wh..wh..opq`.
    pub as_layer: bool,
}

/// What became of a tree.
#[derive(Debug, Default)]
pub struct PackReport {
    /// Entries written.
    pub entries: u64,
    /// Bytes of content written.
    pub content_len: u64,
    /// Bytes of the image, compressed if it is; known where more than an uncompressed stream is written.
    pub stored_len: u64,
    /// How often something could not be held by the format.
    pub lost_count: u64,
    /// The first [`SKIPPED_KEPT_MAX`] of them.
    pub lost: Vec<Lost>,
}

/// Something that the format cannot hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lost {
    /// Path of the node, `.` for the root.
    pub path: Box<[u8]>,
    /// What.
    pub what: Loss,
}

impl core::fmt::Display for Lost {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}: {}", escape(&self.path), self.what)
    }
}

/// See [`Lost`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Loss {
    /// The whole node.
    #[error("the format has no {}, it is left out", in_words(*.0))]
    Node(FileType),
    /// Extended attributes.
    #[error("{0} extended attributes are lost")]
    Xattrs(usize),
    /// The fraction of a time.
    #[error("the fraction of its time is lost")]
    TimeFraction,
    /// A time before 1970 or after 2106, which becomes the nearest that the format holds.
    #[error("its time is out of range")]
    TimeRange,
    /// That a directory hides those below it.
    #[error("that it hides the directories below it is lost")]
    Opaque,
    /// The whole node, whose name would hide another one in a layer.
    #[error("a name that begins with .wh. hides others in a layer, it is left out")]
    Name,
    /// The whole node, which the target refused to make.
    #[error("the {} cannot be made here: {}", in_words(*.0), .1)]
    NotMade(FileType, Errno),
    /// Whom it belongs to.
    #[error("that it belongs to {0}:{1} is lost: only root may say so")]
    Owner(u32, u32),
    /// That it runs as somebody else, who it would not be.
    #[error("set-user-ID and set-group-ID are left out, as it belongs to another user here")]
    SetId,
    /// That it is another name of the same file; it is a copy now.
    #[error("it is a copy, no link: the target refused one")]
    Link,
    /// Mode and time.
    #[error("mode and time cannot be set: {0}")]
    Attributes(Errno),
    /// Extended attributes that the target does not take.
    #[error("{0} extended attributes are lost: {1}")]
    XattrsRefused(usize, Errno),
    /// The content has another length than the node said: somebody changes the file. It is cut, or filled up with zeros.
    #[error("it changed while it was read: {found} bytes instead of {expected}")]
    Changed {
        /// Bytes that the node said.
        expected: u64,
        /// Bytes found; more are not looked for.
        found: u64,
    },
}

/// What a kind of node is called in a sentence.
const fn in_words(file_type: FileType) -> &'static str {
    match file_type {
        FileType::Char => "character device",
        FileType::Block => "block device",
        FileType::Dir => "directory",
        FileType::Symlink => "symbolic link",
        other => other.word(),
    }
}

/// A name in the tree.
pub(super) struct Found {
    /// Without slashes around it; `.` for the root.
    pub(super) path: Vec<u8>,
    pub(super) node: NodeRef,
    pub(super) attr: Attr,
}

/// Writes the tree of `fs` to `out`, which should be buffered.
///
/// # Errors
/// What `fs` answers; what the writers of the formats refuse, as `EFBIG` and `ENAMETOOLONG`; `EIO`, `ENOSPC` and `EPIPE`
/// from `out`.
pub fn pack<W: Write>(
    fs: &Arc<dyn FileSystem>,
    out: W,
    format: PackFormat,
    options: &PackOptions,
) -> Result<(W, PackReport)> {
    pack_found(collect(fs, options)?, out, format, options, &Progress::new())
}

/// Writes these names.
pub(super) fn pack_found<W: Write>(
    found: Vec<Found>,
    out: W,
    format: PackFormat,
    options: &PackOptions,
    progress: &Progress,
) -> Result<(W, PackReport)> {
    let mut names: HashMap<u64, Group, RandomState> = HashMap::default();
    for (index, one) in found.iter().enumerate().filter(|(_, one)| one.is_linked()) {
        let group = names.entry(one.attr.ino).or_insert_with(|| Group {
            first: index,
            path: one.path.clone(),
            last: index,
            count: 0,
        });
        group.last = index;
        group.count = group.count.saturating_add(1);
    }
    progress.expect(found.iter().map(|one| one.attr.size).fold(0, u64::saturating_add));
    let mut packing = Packing { names, options, progress, report: PackReport::default() };
    let out = match format {
        PackFormat::Cpio => packing.write_cpio(found, out)?,
        PackFormat::Tar => packing.write_tar(found, out)?,
    };
    Ok((out, packing.report))
}

/// The names of one node.
struct Group {
    first: usize,
    /// That of the first.
    path: Vec<u8>,
    last: usize,
    count: u32,
}

impl Found {
    /// Whether it may have several names. Directories have one.
    fn is_linked(&self) -> bool {
        self.attr.nlink > 1 && !self.attr.file_type.is_dir()
    }
}

/// All names, every directory before its content, otherwise in the order of their bytes.
pub(super) fn collect(fs: &Arc<dyn FileSystem>, options: &PackOptions) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut pending: Vec<(Vec<u8>, NodeRef)> = Vec::from([(b".".to_vec(), NodeRef::root(Arc::clone(fs)))]);
    while let Some((path, node)) = pending.pop() {
        let attr = fs.attr(node.node()).map_err(|error| at(&path, error))?;
        if attr.file_type.is_dir() {
            let mut below = Vec::new();
            fs.for_each_entry(node.node(), |entry| {
                let name = entry.name.as_bytes();
                let path = if path == b"." { name.to_vec() } else { [&path, &b"/"[..], name].concat() };
                if options.leave_out.as_deref() != Some(&*path) {
                    below.push((path, NodeRef::lookup(fs, node.node(), entry.name)?));
                }
                Ok(())
            })
            .map_err(|error| at(&path, error))?;
            // Later names first: the last one goes in first.
            below.sort_by(|one, other| other.0.cmp(&one.0));
            pending.extend(below);
        }
        // What is made up for a root that nobody recorded is nothing to pass on.
        if attr.recorded.mode || path != b"." {
            found.push(Found { path, node, attr });
        }
    }
    Ok(found)
}

impl PackReport {
    fn lose(&mut self, path: &[u8], what: Loss) {
        self.lost_count = self.lost_count.saturating_add(1);
        if self.lost.len() < SKIPPED_KEPT_MAX {
            self.lost.push(Lost { path: path.into(), what });
        }
    }
}

/// What is being packed, and what became of it so far.
struct Packing<'a> {
    names: HashMap<u64, Group, RandomState>,
    options: &'a PackOptions,
    progress: &'a Progress,
    report: PackReport,
}

impl Packing<'_> {
    fn time(&self, attr: &Attr) -> Timestamp {
        match self.options.latest_mtime {
            Some(latest) if attr.mtime > Timestamp::from_secs(latest) => Timestamp::from_secs(latest),
            _ => attr.mtime,
        }
    }

    fn owner(&self, attr: &Attr) -> (u32, u32) {
        self.options.owner.unwrap_or((attr.uid, attr.gid))
    }

    /// Hands the content to `write`: as many bytes as the node says, whatever there is by now.
    fn content(&mut self, found: &Found, mut write: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let (fs, node, size) = (found.node.fs(), found.node.node(), found.attr.size);
        let mut offset = 0;
        while offset < size {
            let len = min_len(READ_SHARED_MAX, size.saturating_sub(offset));
            let run = fs.read_shared(node, offset, len).map_err(|error| at(&found.path, error))?;
            if run.is_empty() {
                self.report.lose(&found.path, Loss::Changed { expected: size, found: offset });
                while offset < size {
                    let zeros = shared_zeros(size.saturating_sub(offset));
                    write(&zeros)?;
                    offset = offset.saturating_add(to_u64(zeros.len()));
                }
                break;
            }
            write(&run)?;
            offset = offset.saturating_add(to_u64(run.len()));
            self.progress.advance(to_u64(run.len()));
        }
        self.report.content_len = self.report.content_len.saturating_add(size);
        Ok(())
    }

    fn write_cpio<W: Write>(&mut self, found: Vec<Found>, out: W) -> Result<W> {
        let mut writer = CpioWriter::new(out);
        let mut numbers: HashMap<u64, u32, RandomState> = HashMap::default();
        let mut next = 0_u32;
        // Each is given back when it is written: what was opened for it is closed then.
        for (index, found) in found.into_iter().enumerate() {
            let Found { path, node, attr } = &found;
            if attr.file_type == FileType::Whiteout {
                self.report.lose(path, Loss::Node(attr.file_type));
                continue;
            }
            let fs = node.fs();
            let xattrs = fs.xattr_names(node.node()).map_err(|error| at(path, error))?;
            if !xattrs.is_empty() {
                self.report.lose(path, Loss::Xattrs(xattrs.len()));
            }
            if attr.opaque {
                self.report.lose(path, Loss::Opaque);
            }
            let time = self.time(attr);
            let in_range = time.secs.clamp(0, u32::MAX.into());
            if in_range != time.secs {
                self.report.lose(path, Loss::TimeRange);
            } else if time.nanos > 0 {
                self.report.lose(path, Loss::TimeFraction);
            }
            let mut number = || {
                next = next.saturating_add(1);
                next
            };
            let ino = if found.is_linked() { *numbers.entry(attr.ino).or_insert_with(number) } else { number() };
            let group = self.names.get(&attr.ino).filter(|_| found.is_linked());
            let nlink = match attr.file_type {
                FileType::Dir => 2,
                // Names of a symbolic link are links of their own for Linux.
                FileType::Symlink => 1,
                _ => group.map_or(1, |group| group.count),
            };
            let (uid, gid) = self.owner(attr);
            let entry = NewEntry {
                name: path,
                file_type: attr.file_type,
                mode: attr.mode,
                uid,
                gid,
                nlink,
                ino,
                // OK: clamped.
                mtime: u32::try_from(in_range).unwrap_or_default(),
                rdev: attr.rdev.unwrap_or_default(),
            };
            match attr.file_type {
                // The data goes with the last name, as all tools write it.
                FileType::File if group.is_none_or(|group| group.last == index) => {
                    writer.begin(&entry, attr.size, 0)?;
                    self.content(&found, |run| writer.data(run))?;
                }
                FileType::Symlink => writer.entry(&entry, &fs.read_link(node.node())?)?,
                _ => writer.entry(&entry, b"")?,
            }
            self.report.entries = self.report.entries.saturating_add(1);
        }
        writer.finish()
    }

    fn write_tar<W: Write>(&mut self, found: Vec<Found>, out: W) -> Result<W> {
        let mut writer = TarWriter::new(out);
        // Each is given back when it is written: what was opened for it is closed then.
        for (index, found) in found.into_iter().enumerate() {
            let Found { path, node, attr } = &found;
            if attr.file_type == FileType::Whiteout && self.options.as_layer {
                self.mark(&mut writer, path, b".wh.")?;
                continue;
            }
            let xattrs = xattrs_of(node).map_err(|error| at(path, error))?;
            let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
            if self.options.as_layer && name.starts_with(b".wh.") {
                self.report.lose(path, Loss::Name);
                continue;
            }
            let fs = node.fs();
            let target = match attr.file_type {
                FileType::Symlink => fs.read_link(node.node())?,
                _ => Bytes::new(),
            };
            let group = self.names.get(&attr.ino).filter(|_| found.is_linked());
            let first = group.filter(|group| group.first != index);
            let device = attr.rdev.unwrap_or_default();
            let kind = match (first, attr.file_type) {
                (_, FileType::Whiteout | FileType::Socket) => {
                    self.report.lose(path, Loss::Node(attr.file_type));
                    continue;
                }
                (_, FileType::Dir) => NewTarKind::Dir,
                (Some(first), _) => NewTarKind::HardLink(&first.path),
                (None, FileType::File) => NewTarKind::File(attr.size),
                (None, FileType::Symlink) => NewTarKind::Symlink(&target),
                (None, FileType::Char) => NewTarKind::Char(device),
                (None, FileType::Block) => NewTarKind::Block(device),
                (None, FileType::Fifo) => NewTarKind::Fifo,
            };
            if attr.opaque && !self.options.as_layer {
                self.report.lose(path, Loss::Opaque);
            }
            let ((uid, gid), mtime) = (self.owner(attr), self.time(attr));
            writer.begin(&NewTarEntry { path, kind, mode: attr.mode, uid, gid, mtime, xattrs: &xattrs })?;
            if let NewTarKind::File(_) = kind {
                self.content(&found, |run| writer.data(run))?;
            }
            self.report.entries = self.report.entries.saturating_add(1);
            if attr.opaque && self.options.as_layer {
                let mark = if path == b"." { b"opq".to_vec() } else { [path, &b"/opq"[..]].concat() };
                self.mark(&mut writer, &mark, b".wh..wh..")?;
            }
        }
        writer.finish()
    }

    /// Writes an empty file whose name, behind `prefix`, hides what is in the layers below.
    fn mark<W: Write>(&mut self, writer: &mut TarWriter<W>, path: &[u8], prefix: &[u8]) -> Result<()> {
        let at = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash.saturating_add(1));
        let (dir, name) = path.split_at(at);
        let path = [dir, prefix, name].concat();
        let mtime = Timestamp::EPOCH;
        let kind = NewTarKind::File(0);
        writer.begin(&NewTarEntry { path: &path, kind, mode: 0o644, uid: 0, gid: 0, mtime, xattrs: &[] })?;
        self.report.entries = self.report.entries.saturating_add(1);
        Ok(())
    }
}

/// Names and values.
type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

fn xattrs_of(node: &NodeRef) -> Result<Xattrs> {
    let fs = node.fs();
    let names = fs.xattr_names(node.node())?.into_iter();
    names.map(|name| Ok((name.to_vec(), fs.xattr(node.node(), &name)?.to_vec()))).collect()
}

pub(super) fn from_io(error: std::io::Error) -> Error {
    let errno = match error.kind() {
        std::io::ErrorKind::StorageFull => Errno::NoSpace,
        std::io::ErrorKind::BrokenPipe => Errno::Pipe,
        _ => Errno::Io,
    };
    Error::new(errno, error)
}
