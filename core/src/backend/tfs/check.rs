//! Looks for everything that is wrong with a file system, and tells where.

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

use super::TfsOptions;
use super::build::{BuildFault, Built, build};
use super::disk::find_part;
use super::free::FreeMap;
use super::objects::Objects;
use super::replay::{Replayed, replay};
use super::symbols::Symbol;
use super::tree::{Body, Node, Slot, Tree};
use crate::checked::to_u64;
use crate::error::Result;
use crate::format::tfs::{EXTENSION_SECTORS, NO_ENCODE, SECTOR, TfsCorrupt};
use crate::name::escape;
use crate::source::Source;

/// What part of a file system a fault is in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FaultClass {
    /// Extensions, frames and records.
    Log,
    /// Symbols and references.
    Dictionary,
    /// Nodes, names and attributes.
    Tree,
    /// Where the content of files is.
    Extents,
    /// Free sectors.
    Space,
}

impl FaultClass {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Dictionary => "dictionary",
            Self::Tree => "tree",
            Self::Extents => "extents",
            Self::Space => "space",
        }
    }
}

/// What is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FaultReason {
    /// A rule of the format is broken.
    #[error(transparent)]
    Corrupt(#[from] TfsCorrupt),
    /// A record that is no tuple; Nanos ignores it.
    #[error("{count} records that are no tuples")]
    IgnoredRecords {
        /// How many.
        count: u64,
    },
    /// Symbols were spelled out more than once; the next write by Nanos would ruin the log.
    #[error("symbols are spelled out again, {count} times; compact the log before Nanos writes to it")]
    RepeatedSymbols {
        /// How often.
        count: u64,
    },
    /// A file without a tuple of extents; Nanos stops when it is opened.
    #[error("a file without a tuple of extents, at which Nanos stops")]
    NoExtents,
    /// A directory entry that makes Nanos lose the whole directory.
    #[error("an entry called no_encode, with which Nanos loses the directory")]
    NoEncode,
    /// A name that Nanos cannot look up.
    #[error("a name that is not UTF-8, which Nanos cannot look up")]
    NameNotUtf8,
    /// The target of a link is empty or too long.
    #[error("a link target of {len} bytes, 1 to 4095 are possible")]
    TargetLength {
        /// Bytes of the target.
        len: u64,
    },
    /// The count of names is not what the node says.
    #[error("{names} names, but the node says {recorded}")]
    LinkCount {
        /// Names found.
        names: u64,
        /// Names recorded.
        recorded: u64,
    },
    /// A directory has several names.
    #[error("a directory with {names} names")]
    SharedDirectory {
        /// Names found.
        names: u64,
    },
    /// An extent owns fewer sectors than it has blocks.
    #[error("an extent of {count} blocks that owns {allocated} sectors")]
    AllocatedShort {
        /// Blocks.
        count: u64,
        /// Sectors.
        allocated: u64,
    },
    /// Attributes are too large to be kept, or contain themselves.
    #[error("attributes that are too large, or contain themselves")]
    Attributes,
    /// Nanos does not write data to such a file system.
    #[error("no two free runs of 1024 sectors, without which Nanos writes no data")]
    NoReserve,
}

/// Something that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// In what.
    pub class: FaultClass,
    /// Where, in bytes of the image.
    pub offset: u64,
    /// In which file or directory, if it is in one.
    pub path: Option<Vec<u8>>,
    /// What.
    pub reason: FaultReason,
    /// Whether something is lost or does not work; else it is only odd.
    pub is_damage: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: ", self.class.word(), self.offset)?;
        if let Some(path) = &self.path {
            write!(f, "{}: ", escape(path))?;
        }
        self.reason.fmt(f)
    }
}

/// What a check found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CheckReport {
    /// Everything that is wrong, by place.
    pub faults: Vec<Fault>,
    /// Free sectors.
    pub free_sectors: u64,
    /// Sectors that files own but do not use.
    pub spare_sectors: u64,
    /// Tuples that nothing leads to any more.
    pub orphans: u64,
}

impl CheckReport {
    /// Whether nothing is lost and everything works.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        !self.faults.iter().any(|fault| fault.is_damage)
    }
}

/// Checks the file system of an image.
///
/// # Errors
/// Those of finding it, see [`find_part`], and of the source. Damage is no error, however great.
pub fn check(image: &Arc<dyn Source>, options: &TfsOptions) -> Result<CheckReport> {
    let found = find_part(image, options.part)?;
    let sectors = found.source.len() / SECTOR;
    let mut checker = Checker { start: found.start, sectors, report: CheckReport::default() };
    let replayed = match replay(&found.source, true)? {
        Ok(replayed) => replayed,
        Err(damage) => {
            checker.damage(FaultClass::Log, damage.offset, None, damage.reason);
            return Ok(checker.report);
        }
    };
    // Once for what the log says, once for what it means.
    let again = replay(&found.source, true)?;
    checker.log(&replayed);
    let mut free = FreeMap::new(sectors);
    for extension in &replayed.extensions {
        let _ = free.take(extension.sector, extension.count);
    }
    if let Ok(again) = again {
        match build(again.objects, options.defaults, found.start, true) {
            Ok(built) => checker.built(&built, &replayed.objects, &mut free),
            Err(damage) => checker.damage(FaultClass::Tree, damage.offset, None, damage.reason),
        }
    }
    checker.report.free_sectors = free.count();
    let reserve = [free.take_run(EXTENSION_SECTORS), free.take_run(EXTENSION_SECTORS)];
    if reserve.contains(&None) {
        checker.odd(FaultClass::Space, 0, None, FaultReason::NoReserve);
    }
    checker.report.faults.sort_by_key(|fault| (fault.offset, fault.class));
    Ok(checker.report)
}

struct Checker {
    start: u64,
    /// Sectors of the file system.
    sectors: u64,
    report: CheckReport,
}

impl Checker {
    fn fault(&mut self, class: FaultClass, offset: u64, path: Option<&[u8]>, reason: FaultReason, is_damage: bool) {
        let (offset, path) = (self.start.saturating_add(offset), path.map(<[u8]>::to_vec));
        self.report.faults.push(Fault { class, offset, path, reason, is_damage });
    }

    fn damage(&mut self, class: FaultClass, offset: u64, path: Option<&[u8]>, reason: impl Into<FaultReason>) {
        self.fault(class, offset, path, reason.into(), true);
    }

    fn odd(&mut self, class: FaultClass, offset: u64, path: Option<&[u8]>, reason: FaultReason) {
        self.fault(class, offset, path, reason, false);
    }

    fn log(&mut self, replayed: &Replayed) {
        if let Some(damage) = replayed.damage {
            self.damage(FaultClass::Log, damage.offset, None, damage.reason);
        }
        let objects = &replayed.objects;
        if objects.ignored_records > 0 {
            let reason = FaultReason::IgnoredRecords { count: objects.ignored_records };
            self.odd(FaultClass::Log, replayed.end, None, reason);
        }
        if let Some(offset) = objects.first_repeated {
            let reason = FaultReason::RepeatedSymbols { count: objects.repeated_symbols };
            self.damage(FaultClass::Dictionary, offset, None, reason);
        }
    }

    fn built(&mut self, built: &Built, objects: &Objects, free: &mut FreeMap) {
        let paths = paths(&built.tree, built.faults.iter().map(|fault| fault.slot));
        for BuildFault { damage, slot, name } in &built.faults {
            let class = match damage.reason {
                TfsCorrupt::ExtentIncomplete { .. } | TfsCorrupt::ExtentOverlap { .. } => FaultClass::Extents,
                _ => FaultClass::Tree,
            };
            let path = paths.get(slot).map(|path| name.as_ref().map_or(path.clone(), |name| below(path, name)));
            self.damage(class, damage.offset, path.as_deref(), damage.reason);
        }
        if built.incomplete {
            self.odd(FaultClass::Tree, 0, None, FaultReason::Attributes);
        }
        let mut seen = BTreeSet::new();
        let mut pending = alloc::vec![(Slot::ROOT, b"/".to_vec())];
        while let Some((slot, path)) = pending.pop() {
            let Ok(node) = built.tree.at(slot) else { continue };
            if !seen.insert(slot.0) {
                continue;
            }
            let offset = built.offsets.get(slot.index()).copied().unwrap_or(0);
            let is_damaged = built.tree.damaged.contains_key(&slot);
            self.node(&node, is_damaged, &path, offset, objects, free);
            if let Body::Dir(dir) = &node.body {
                for (named, child) in dir.entries.iter() {
                    let name = built.tree.symbols.name(named.name);
                    let below = below(&path, name);
                    if name == NO_ENCODE {
                        self.damage(FaultClass::Tree, offset, Some(&below), FaultReason::NoEncode);
                    } else if core::str::from_utf8(name).is_err() {
                        self.odd(FaultClass::Tree, offset, Some(&below), FaultReason::NameNotUtf8);
                    }
                    pending.push((child, below));
                }
            }
        }
        self.report.orphans = to_u64(objects.orphans(used_tuples(&built.tree)));
    }

    fn node(&mut self, node: &Node, is_damaged: bool, path: &[u8], offset: u64, objects: &Objects, free: &mut FreeMap) {
        let sectors = self.sectors;
        let tuple = objects.by_index(node.tuple);
        let recorded = tuple.and_then(|tuple| objects.get(tuple, Symbol::NLINK)).and_then(|it| objects.number_of(it));
        let names = u64::from(node.names);
        match &node.body {
            Body::Dir(_) if names > 1 => {
                self.odd(FaultClass::Tree, offset, Some(path), FaultReason::SharedDirectory { names });
            }
            Body::Dir(_) => {}
            _ if recorded.unwrap_or(1) != names => {
                let reason = FaultReason::LinkCount { names, recorded: recorded.unwrap_or(1) };
                self.odd(FaultClass::Tree, offset, Some(path), reason);
            }
            _ => {}
        }
        match &node.body {
            Body::Symlink(target) if target.is_empty() || target.len() > crate::limits::SYMLINK_MAX => {
                let reason = FaultReason::TargetLength { len: to_u64(target.len()) };
                self.odd(FaultClass::Tree, offset, Some(path), reason);
            }
            Body::File(file) if !is_damaged => {
                if file.extents_tuple == 0 {
                    self.damage(FaultClass::Tree, offset, Some(path), FaultReason::NoExtents);
                }
                for extent in &file.extents.0 {
                    let offset = objects.by_index(extent.tuple).map_or(offset, |tuple| objects.offset(tuple));
                    let (sector, count) = (extent.sector, u64::from(extent.allocated.max(extent.count)));
                    if extent.allocated < extent.count {
                        let (count, allocated) = (extent.count.into(), extent.allocated.into());
                        let reason = FaultReason::AllocatedShort { count, allocated };
                        self.damage(FaultClass::Extents, offset, Some(path), reason);
                    }
                    let spare = extent.allocated.saturating_sub(extent.count);
                    self.report.spare_sectors = self.report.spare_sectors.saturating_add(spare.into());
                    if sector.checked_add(count).is_none_or(|past| past > sectors) {
                        let reason = TfsCorrupt::ExtentBeyondEnd { sector, count, end: sectors };
                        self.damage(FaultClass::Extents, offset, Some(path), reason);
                    } else if !free.take(sector, count) {
                        self.damage(
                            FaultClass::Extents,
                            offset,
                            Some(path),
                            TfsCorrupt::SectorsShared { sector, count },
                        );
                    }
                }
            }
            _ => {}
        }
    }
}

/// The path of an entry.
pub(super) fn below(dir: &[u8], name: &[u8]) -> Vec<u8> {
    let dir = if dir == b"/" { b"" } else { dir };
    [dir, b"/", name].concat()
}

/// A path of each of the nodes asked for.
pub(super) fn paths(tree: &Tree, wanted: impl Iterator<Item = Slot>) -> HashMap<Slot, Vec<u8>, RandomState> {
    let mut missing: HashSet<Slot, RandomState> = wanted.collect();
    let mut found = HashMap::default();
    let mut seen: HashSet<Slot, RandomState> = HashSet::default();
    let mut pending = alloc::vec![(Slot::ROOT, b"/".to_vec())];
    while let Some((slot, path)) = pending.pop() {
        if missing.is_empty() {
            break;
        }
        if !seen.insert(slot) {
            continue;
        }
        if let Ok(dir) = tree.dir_at(slot) {
            let entries = dir.entries.iter();
            pending.extend(entries.map(|(named, child)| (child, below(&path, tree.symbols.name(named.name)))));
        }
        if missing.remove(&slot) {
            found.insert(slot, path);
        }
    }
    found
}

/// The numbers of all tuples that make up a tree.
fn used_tuples(tree: &Tree) -> impl Iterator<Item = u32> + '_ {
    tree.nodes.iter().map(|node| node.tuple)
}
