//! Makes a sound image of what can be read of a damaged one.
//!
//! Nothing is changed in place: the tree as it was before the damage is written anew, so that whatever the old image
//! has wrong, overlaps or leaves out, the new one has not.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::build::{BuildFault, Built, build};
use super::check::{below, paths};
use super::compact::attributes;
use super::disk::{Found, find_part};
use super::free::FreeMap;
use super::make::{Content, NewBody, NewTree, NewTreeNode, Piece, VolumeWriter, finish};
use super::objects::Value;
use super::replay::{Replayed, replay, replay_from};
use super::report::Part;
use super::symbols::Symbol;
use super::tree::{Body, File, Slot};
use crate::attr::Defaults;
use crate::errno::Errno;
use crate::error::{Error, Result};
use crate::format::tfs::{
    BootSector, Damage, Disk, EXTENSION_SECTORS, Link, MAGIC, NO_ENCODE, SECTOR, TfsCorrupt, Volume,
};
use crate::limits::SKIPPED_KEPT_MAX;
use crate::name::escape;
use crate::source::{Source, Storage};

/// Logs that are looked into when the first sector does not say where the log is.
const CANDIDATES_MAX: usize = 256;

/// Bytes copied, or searched, at a time.
const STEP: u64 = 1 << 20;

/// The new name of an entry with whose name Nanos loses the directory.
const INSTEAD_OF_NO_ENCODE: &[u8] = b"no_encode.recovered";

/// What became of an image.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RepairReport {
    /// Its file systems: the boot file system first, if there is one.
    pub parts: Vec<RepairedPart>,
    /// Bytes of the new image.
    pub len: u64,
}

impl RepairReport {
    /// Whether everything there was is in the new image.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.parts.iter().all(|part| part.lost_count == 0)
    }
}

/// What became of a file system.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RepairedPart {
    /// Which.
    pub part: Part,
    /// Nodes that the new one has.
    pub nodes: u64,
    /// Bytes of files that it has.
    pub content_bytes: u64,
    /// How often something was lost.
    pub lost_count: u64,
    /// The first [`SKIPPED_KEPT_MAX`] losses.
    pub lost: Vec<LostItem>,
}

/// Something that is not in the new image, or not as it was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LostItem {
    /// Where the damage is, in bytes of the old image.
    pub offset: u64,
    /// Of which node, if it is known.
    pub path: Option<Vec<u8>>,
    /// What.
    pub what: Lost,
}

impl fmt::Display for LostItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}: ", self.offset)?;
        if let Some(path) = &self.path {
            write!(f, "{}: ", escape(path))?;
        }
        self.what.fmt(f)
    }
}

/// See [`LostItem`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Lost {
    /// The first sector. The log was found by a search.
    #[error("label and identifier are lost, the log was searched for: {0}")]
    FirstSector(TfsCorrupt),
    /// The way from the first sector to the log, which was found by a search: it may be an old one.
    #[error("the way to the log is lost, it was searched for: {0}")]
    Way(TfsCorrupt),
    /// All changes behind a damaged place of the log.
    #[error("all changes from here on are lost: {0}")]
    Log(TfsCorrupt),
    /// An entry of a directory.
    #[error("the entry is lost: {0}")]
    Entry(TfsCorrupt),
    /// The content of a file, which is now empty.
    #[error("the content is lost, the file is empty now: {0}")]
    Content(TfsCorrupt),
    /// A part of a file, which is now a hole.
    #[error("bytes {start} to {end} are lost, they are zeros now: the image ends before them")]
    Range {
        /// First byte.
        start: u64,
        /// One past the last.
        end: u64,
    },
    /// Sectors that belong to something else too: one of both is wrong.
    #[error("{count} sectors at sector {sector} belong to something else too, the content may be wrong")]
    Shared {
        /// First sector.
        sector: u64,
        /// Sectors.
        count: u64,
    },
    /// A further name of a directory, which can have one only.
    #[error("a further name of a directory is lost")]
    FurtherName,
    /// The name is another one now, because Nanos would lose the directory.
    #[error("the entry is called {} now, Nanos would lose the directory", escape(.0))]
    Renamed(Box<[u8]>),
    /// Attributes that are too large, or contain themselves.
    #[error("attributes that are too large, or contain themselves, are lost")]
    Attributes,
}

/// Writes what can be read of `image` to `out`, as a sound image with the same partitions.
///
/// # Errors
/// `EIO` with the damage if there is no tree to be found at all; `EINVAL` for partitions that pass the end; those of
/// the source and the storage.
pub fn repair(image: &Arc<dyn Source>, out: &dyn Storage) -> Result<RepairReport> {
    let front = image.bytes_at(0..image.len().min(SECTOR))?;
    let disk = Disk::from_bytes(&front).filter(|disk| disk.root.is_some());
    let mut parts = Vec::new();
    if disk.is_some_and(|disk| disk.boot.is_some()) {
        parts.push(find_part(image, Some(Part::Boot))?);
    }
    parts.push(find_part(image, None)?);
    let parts = parts.into_iter().map(recovered).collect::<Result<Vec<_>>>()?;

    out.set_len(0)?;
    let first = parts.iter().map(|part| part.start).min().unwrap_or(0);
    copy(image, SECTOR..first, out)?;
    let mut report = RepairReport::default();
    let mut volumes = Vec::new();
    for Recovered { start, tree, volume, limit, mut repaired } in parts {
        let written = VolumeWriter::new(out, start, limit).write(&tree)?;
        (repaired.nodes, repaired.content_bytes) = (written.written.nodes, written.written.content_bytes);
        report.parts.push(repaired);
        report.len = written.image_len(start, image.len());
        volumes.push((start, volume.unwrap_or(Volume { uuid: written.uuid, label: Vec::new() })));
    }
    out.set_len(report.len)?;
    out.sync()?;
    for (start, volume) in volumes.iter().filter(|(start, _)| *start > 0 || disk.is_none()) {
        finish(out, *start, volume)?;
    }
    out.sync()?;
    if let Some(mut disk) = disk {
        if report.len > image.len()
            && let Some(root) = &mut disk.root
        {
            root.count = (report.len / SECTOR).saturating_sub(root.first);
        }
        out.write_at(0, BootSector::of_disk(&front, &disk).bytes())?;
        out.sync()?;
    }
    Ok(report)
}

fn copy(image: &Arc<dyn Source>, range: core::ops::Range<u64>, out: &dyn Storage) -> Result<()> {
    let mut at = range.start;
    while at < range.end {
        let end = range.end.min(at.saturating_add(STEP));
        let bytes = image.bytes_at(at..end)?;
        if bytes.iter().any(|byte| *byte != 0) {
            out.write_at(at, &bytes)?;
        }
        at = end;
    }
    Ok(())
}

/// What can be read of a file system.
struct Recovered {
    start: u64,
    tree: NewTree,
    /// `None` if it is lost.
    volume: Option<Volume>,
    limit: Option<(u64, &'static str)>,
    repaired: RepairedPart,
}

fn recovered(found: Found) -> Result<Recovered> {
    let repaired = RepairedPart { part: found.part, nodes: 0, content_bytes: 0, lost_count: 0, lost: Vec::new() };
    let mut losses = Losses { start: found.start, repaired };
    let (replayed, volume) = match replay(&found.source, true)? {
        Ok(replayed) if has_root(&replayed) => {
            let volume = replayed.volume.clone();
            (replayed, Some(volume))
        }
        unusable => {
            let no_root = Damage { offset: 0, reason: TfsCorrupt::NoRoot };
            let (damage, volume) = match unusable {
                Ok(replayed) => (replayed.damage.unwrap_or(no_root), Some(replayed.volume)),
                Err(damage) => (damage, None),
            };
            let replayed = search(&found.source)?.ok_or_else(|| Error::from(damage.in_image(found.start)))?;
            let lost = if volume.is_some() { Lost::Way(damage.reason) } else { Lost::FirstSector(damage.reason) };
            losses.lose(damage.offset, None, lost);
            (replayed, volume)
        }
    };
    if let Some(damage) = replayed.damage {
        losses.lose(replayed.end, None, Lost::Log(damage.reason));
    }
    let sectors = found.source.len() / SECTOR;
    let mut free = FreeMap::new(sectors);
    for extension in &replayed.extensions {
        let _ = free.take(extension.sector, extension.count);
    }
    let built = build(replayed.objects, Defaults::default(), found.start, true);
    let built = built.map_err(|damage: Damage| damage.in_image(found.start))?;
    let tree = Rebuild { source: &found.source, free, losses: &mut losses }.tree(built)?;
    let limit = (found.part == Part::Boot).then_some((sectors, "the boot file system"));
    Ok(Recovered { start: found.start, tree, volume, limit, repaired: losses.repaired })
}

/// Whether there is a tree at all.
fn has_root(replayed: &Replayed) -> bool {
    let root = replayed.objects.root();
    root.is_some_and(|root| matches!(replayed.objects.get(root, Symbol::CHILDREN), Some(Value::Tuple(_))))
}

/// Searches for a log, where sector 0 does not say where it is: the one with the latest change.
fn search(source: &Arc<dyn Source>) -> Result<Option<Replayed>> {
    let mut best: Option<(u64, Replayed)> = None;
    let mut candidates = 0;
    let mut at = SECTOR;
    while at < source.len() && candidates < CANDIDATES_MAX {
        let end = source.len().min(at.saturating_add(STEP));
        let bytes = source.bytes_at(at..end)?;
        for (sector, bytes) in (at / SECTOR..).zip(bytes.chunks(512)) {
            if !bytes.starts_with(&MAGIC) {
                continue;
            }
            candidates = candidates.saturating_add(1);
            let Ok(replayed) = replay_from(Link { sector, count: EXTENSION_SECTORS }, source, true)? else { continue };
            // An extension in the middle of a log has no root.
            if !has_root(&replayed) {
                continue;
            }
            let changed = replayed.objects.latest_time();
            if best.as_ref().is_none_or(|(time, _)| changed > *time) {
                best = Some((changed, replayed));
            }
        }
        at = end;
    }
    Ok(best.map(|(_, replayed)| replayed))
}

struct Losses {
    start: u64,
    repaired: RepairedPart,
}

impl Losses {
    fn lose(&mut self, offset: u64, path: Option<&[u8]>, what: Lost) {
        self.repaired.lost_count = self.repaired.lost_count.saturating_add(1);
        if self.repaired.lost.len() < SKIPPED_KEPT_MAX {
            let (offset, path) = (self.start.saturating_add(offset), path.map(<[u8]>::to_vec));
            self.repaired.lost.push(LostItem { offset, path, what });
        }
    }
}

struct Rebuild<'a> {
    source: &'a Arc<dyn Source>,
    free: FreeMap,
    losses: &'a mut Losses,
}

impl Rebuild<'_> {
    fn tree(&mut self, built: Built) -> Result<NewTree> {
        let Built { mut tree, faults, incomplete, offsets, .. } = built;
        let paths = paths(&tree, faults.iter().map(|fault| fault.slot));
        for BuildFault { damage, slot, name } in faults {
            let dir = paths.get(&slot);
            // Damaged files are told of when they are come to.
            if let Some(name) = name {
                let path = dir.map(|dir| below(dir, &name));
                self.losses.lose(damage.offset, path.as_deref(), Lost::Entry(damage.reason));
            }
        }
        if incomplete {
            self.losses.lose(0, None, Lost::Attributes);
        }
        let mut new = NewTree::new();
        let mut known: HashMap<Slot, u32, RandomState> = HashMap::default();
        known.insert(Slot::ROOT, 0);
        let mut pending = Vec::from([(Slot::ROOT, 0, b"/".to_vec())]);
        while let Some((slot, at, path)) = pending.pop() {
            let offset = offsets.get(slot.index()).copied().unwrap_or(0);
            let node = tree.nodes.take(slot).ok_or(Errno::Io)?;
            let attributes = attributes(&node, &mut tree.symbols)?.into_iter();
            let attributes = attributes.filter(|(key, _)| *key != Symbol::NLINK);
            let attributes =
                attributes.map(|(key, value)| (bytes::Bytes::copy_from_slice(tree.symbols.name(key)), value)).collect();
            let body = match node.body {
                Body::Dir(dir) => {
                    let mut entries = Vec::new();
                    for (named, child) in dir.entries.iter() {
                        let mut name: Box<[u8]> = tree.symbols.name(named.name).into();
                        let path = below(&path, &name);
                        let linked = known.get(&child).copied();
                        // Directories have one name only.
                        if linked
                            .is_some_and(|at| new.node_mut(at).is_none_or(|node| matches!(node.body, NewBody::Dir(_))))
                        {
                            self.losses.lose(offset, Some(&path), Lost::FurtherName);
                            continue;
                        }
                        if *name == *NO_ENCODE {
                            name = free_name(|name| {
                                tree.symbols.get(name).is_some_and(|it| dir.entries.get(it).is_some())
                            });
                            self.losses.lose(offset, Some(&path), Lost::Renamed(name.clone()));
                        }
                        if let Some(at) = linked {
                            if let Some(node) = new.node_mut(at) {
                                node.names = node.names.saturating_add(1);
                            }
                            entries.push((name, at));
                            continue;
                        }
                        let is_dir = tree.file_type(child)?.is_dir();
                        let body = if is_dir { NewBody::Dir(Vec::new()) } else { NewBody::Socket };
                        let at = new.add(NewTreeNode { names: 1, attributes: Vec::new(), body })?;
                        known.insert(child, at);
                        pending.push((child, at, path));
                        entries.push((name, at));
                    }
                    entries.sort_by(|one, other| one.0.cmp(&other.0));
                    NewBody::Dir(entries)
                }
                Body::Symlink(target) => NewBody::Symlink(target.into_vec().into()),
                Body::Socket => NewBody::Socket,
                Body::Special(_) => NewBody::File(Content::Empty),
                Body::File(file) => NewBody::File(self.content(&file, tree.damaged.get(&slot), offset, &path)),
            };
            if let Some(place) = new.node_mut(at) {
                (place.attributes, place.body) = (attributes, body);
            }
        }
        Ok(new)
    }

    fn content(&mut self, file: &File, damage: Option<&Damage>, offset: u64, path: &[u8]) -> Content {
        if let Some(damage) = damage {
            self.losses.lose(damage.offset, Some(path), Lost::Content(damage.reason));
            return Content::Empty;
        }
        let size = file.size;
        let mut pieces = Vec::new();
        for extent in &file.extents.0 {
            let (sector, count) = (extent.sector, u64::from(extent.allocated.max(extent.count)));
            let sectors = self.source.len() / SECTOR;
            let inside = sector.checked_add(count).is_some_and(|past| past <= sectors);
            if inside && !self.free.take(sector, count) {
                self.losses.lose(offset, Some(path), Lost::Shared { sector, count });
            }
            let start = extent.block.saturating_mul(SECTOR);
            let end = extent.end().saturating_mul(SECTOR).min(size);
            if extent.uninited || start >= end {
                continue;
            }
            let at = sector.saturating_mul(SECTOR);
            let len = end.saturating_sub(start).min(self.source.len().saturating_sub(at));
            if len > 0 {
                pieces.push(Piece { offset: start, len, at });
            }
            let lost = start.saturating_add(len);
            if lost < end {
                self.losses.lose(at.saturating_add(len), Some(path), Lost::Range { start: lost, end });
            }
        }
        if size == 0 { Content::Empty } else { Content::Pieces { source: Arc::clone(self.source), pieces, size } }
    }
}

/// A name that is not taken.
fn free_name(is_taken: impl Fn(&[u8]) -> bool) -> Box<[u8]> {
    let mut name = INSTEAD_OF_NO_ENCODE.to_vec();
    // OK: a directory has finitely many entries, and names of 255 bytes are never reached by counting them.
    while is_taken(&name) {
        name.push(b'~');
    }
    name.into()
}
