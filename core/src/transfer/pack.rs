//! A tree into an archive, reproducibly: directories before their content, names in the order of their bytes, nodes
//! numbered in that order, nothing that depends on the machine.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use std::io::Write;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::attr::{Attr, FileType};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::format::cpio::{CpioWriter, NewEntry};
use crate::format::tar::{NewTarEntry, NewTarKind, TarWriter};
use crate::fs::{FileSystem, FileSystemExt, NodeRef};
use crate::limits::SKIPPED_KEPT_MAX;
use crate::name::escape;

/// What to pack into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PackFormat {
    /// cpio, in the layout newc that Linux takes for an initial RAM filesystem.
    Cpio,
    /// tar, in the layout pax.
    Tar,
}

/// How to pack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PackOptions {
    /// What to pack into.
    pub format: PackFormat,
    /// Times after this one, in seconds since 1970, become this one: what `SOURCE_DATE_EPOCH` asks for.
    pub latest_mtime: Option<i64>,
}

/// What became of a tree.
#[derive(Debug, Default)]
pub struct PackReport {
    /// Entries written.
    pub entries: u64,
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
    #[error("the format has no {}, it is left out", .0.word())]
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
}

/// A name in the tree.
struct Found {
    path: Vec<u8>,
    node: NodeRef,
    attr: Attr,
}

/// Writes the tree of `fs` to `out`, which should be buffered.
///
/// # Errors
/// What `fs` answers; what the writers of the formats refuse, as `EFBIG` and `ENAMETOOLONG`; `EIO` from `out`.
pub fn pack<W: Write>(fs: &Arc<dyn FileSystem>, out: W, options: &PackOptions) -> Result<(W, PackReport)> {
    let found = collect(fs)?;
    let mut names: HashMap<u64, Group, RandomState> = HashMap::default();
    for (index, one) in found.iter().enumerate() {
        let group = names.entry(one.attr.ino).or_insert(Group { first: index, last: index, count: 0 });
        group.last = index;
        group.count = group.count.saturating_add(1);
    }
    let mut report = PackReport::default();
    let out = match options.format {
        PackFormat::Cpio => to_cpio(&found, &names, out, options, &mut report)?,
        PackFormat::Tar => to_tar(&found, &names, out, options, &mut report)?,
    };
    Ok((out, report))
}

/// The names of one node.
struct Group {
    first: usize,
    last: usize,
    count: u32,
}

/// All names, every directory before its content, otherwise in the order of their bytes.
fn collect(fs: &Arc<dyn FileSystem>) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut pending: Vec<(Vec<u8>, NodeRef)> = Vec::from([(b".".to_vec(), NodeRef::root(Arc::clone(fs)))]);
    while let Some((path, node)) = pending.pop() {
        let attr = fs.attr(node.node())?;
        if attr.file_type.is_dir() {
            let mut below = Vec::new();
            fs.for_each_entry(node.node(), |entry| {
                let name = entry.name.as_bytes();
                let path = if path == b"." { name.to_vec() } else { [&path, &b"/"[..], name].concat() };
                below.push((path, NodeRef::lookup(fs, node.node(), entry.name)?));
                Ok(())
            })?;
            below.sort_by(|one, other| other.0.cmp(&one.0));
            pending.extend(below);
        }
        found.push(Found { path, node, attr });
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

fn clamped(time: Timestamp, options: &PackOptions) -> Timestamp {
    match options.latest_mtime {
        Some(latest) if time > Timestamp::from_secs(latest) => Timestamp::from_secs(latest),
        _ => time,
    }
}

fn to_cpio<W: Write>(
    found: &[Found],
    names: &HashMap<u64, Group, RandomState>,
    out: W,
    options: &PackOptions,
    report: &mut PackReport,
) -> Result<W> {
    let mut writer = CpioWriter::new(out);
    let mut numbers: HashMap<u64, u32, RandomState> = HashMap::default();
    for (index, Found { path, node, attr }) in found.iter().enumerate() {
        if attr.file_type == FileType::Whiteout {
            report.lose(path, Loss::Node(attr.file_type));
            continue;
        }
        let fs = node.fs();
        let xattrs = fs.xattr_names(node.node())?.len();
        if xattrs > 0 {
            report.lose(path, Loss::Xattrs(xattrs));
        }
        if attr.opaque {
            report.lose(path, Loss::Opaque);
        }
        let time = clamped(attr.mtime, options);
        let in_range = time.secs.clamp(0, u32::MAX.into());
        if in_range != time.secs {
            report.lose(path, Loss::TimeRange);
        } else if time.nanos > 0 {
            report.lose(path, Loss::TimeFraction);
        }
        let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX).saturating_add(1);
        let ino = *numbers.entry(attr.ino).or_insert(next);
        let group = names.get(&attr.ino);
        // Names of a symbolic link are links of their own for Linux.
        let is_linked = !matches!(attr.file_type, FileType::Dir | FileType::Symlink);
        let nlink =
            if attr.file_type.is_dir() { 2 } else { group.filter(|_| is_linked).map_or(1, |group| group.count) };
        let entry = NewEntry {
            name: path,
            file_type: attr.file_type,
            mode: attr.mode,
            uid: attr.uid,
            gid: attr.gid,
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
                fs.for_each_run(node.node(), |run| writer.data(&run))?;
            }
            FileType::Symlink => writer.entry(&entry, &fs.read_link(node.node())?)?,
            _ => writer.entry(&entry, b"")?,
        }
        report.entries = report.entries.saturating_add(1);
    }
    writer.finish()
}

fn to_tar<W: Write>(
    found: &[Found],
    names: &HashMap<u64, Group, RandomState>,
    out: W,
    options: &PackOptions,
    report: &mut PackReport,
) -> Result<W> {
    let mut writer = TarWriter::new(out);
    for (index, Found { path, node, attr }) in found.iter().enumerate() {
        let fs = node.fs();
        let target = match attr.file_type {
            FileType::Symlink => fs.read_link(node.node())?,
            _ => bytes::Bytes::new(),
        };
        let first = names.get(&attr.ino).map(|group| group.first).filter(|first| *first != index);
        let first = first.and_then(|first| found.get(first));
        let device = attr.rdev.unwrap_or_default();
        let kind = match (first, attr.file_type) {
            (_, FileType::Whiteout | FileType::Socket) => {
                report.lose(path, Loss::Node(attr.file_type));
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
        if attr.opaque {
            report.lose(path, Loss::Opaque);
        }
        let mut xattrs = Vec::new();
        for name in fs.xattr_names(node.node())? {
            let value = fs.xattr(node.node(), &name)?;
            xattrs.push((name.to_vec(), value.to_vec()));
        }
        let (mode, uid, gid) = (attr.mode, attr.uid, attr.gid);
        let entry = NewTarEntry { path, kind, mode, uid, gid, mtime: clamped(attr.mtime, options), xattrs: &xattrs };
        writer.begin(&entry)?;
        if let NewTarKind::File(_) = kind {
            fs.for_each_run(node.node(), |run| writer.data(&run))?;
        }
        report.entries = report.entries.saturating_add(1);
    }
    writer.finish()
}
