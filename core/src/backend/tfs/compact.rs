//! Writes a log anew, without what is dead in it.

use alloc::vec::Vec;

use super::attribute::Attribute;
use super::encode::Encoder;
use super::meta;
use super::state::State;
use super::symbols::{Symbol, Symbols};
use super::time::Time;
use super::tree::{Body, Node, Slot, Tree};
use crate::checked::to_u64;
use crate::error::Result;

/// From how many dead entries on a log is worth compacting, as in Nanos.
const DEAD_MIN: u64 = 8192;

/// Whether most of a log is dead, of `total` entries that it sets, so that writing it anew pays. Nanos then does so.
pub(super) const fn is_mostly_dead(total: u64, dead: u64) -> bool {
    dead >= DEAD_MIN && total <= dead.saturating_mul(2)
}

/// How large a log is, and how much of it is of use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogSize {
    /// Sectors of all its extensions.
    pub sectors: u64,
    /// Entries that it sets, nested ones included.
    pub entries: u64,
    /// How many of them are of no use any more, as Nanos counts: 1 for a replaced entry, 2 for a removed one.
    pub dead: u64,
}

impl LogSize {
    /// How much of it is of use, in percent, rounded down.
    #[must_use]
    pub fn live_percent(&self) -> u64 {
        let live = self.entries.saturating_sub(self.dead);
        // 100 * 2^57 entries are more than any log has.
        live.saturating_mul(100).checked_div(self.entries).unwrap_or(100)
    }

    /// Whether most of it is dead, so that [`TfsVolume::compact`](super::TfsVolume::compact) pays. Volumes that are
    /// written to do so by themselves, and so does Nanos.
    #[must_use]
    pub const fn is_mostly_dead(&self) -> bool {
        is_mostly_dead(self.entries, self.dead)
    }
}

/// What a compaction did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Compaction {
    /// The log before.
    pub before: LogSize,
    /// The log after.
    pub after: LogSize,
}

/// The numbers that a node has in the new log.
struct Numbered {
    slot: Slot,
    node: u32,
    /// Of its children or extents.
    inner: u32,
    extents: Vec<u32>,
}

impl State {
    /// The size of the log on disk.
    pub(super) fn log_size(&self) -> LogSize {
        let sectors = self.log.extensions.iter().fold(0, |sum: u64, extension| sum.saturating_add(extension.count));
        LogSize { sectors, entries: self.log.total(), dead: self.log.obsolete }
    }

    /// Writes the log anew, with everything that has happened.
    ///
    /// # Errors
    /// `ENOSPC`, and nothing has changed but what [`commit`](Self::commit) does; `EIO`.
    pub(super) fn compact(&mut self) -> Result<()> {
        self.commit()?;
        let mut log = Encoder::new(0, Vec::new());
        let mut numbered = Vec::new();
        self.encode(&mut log, &mut numbered)?;
        let replaced = self.log.replace(&self.device, &mut self.free, log);
        if replaced.as_ref().is_err_and(|error| *error == crate::errno::Errno::NoSpace) {
            self.log.hold(&mut self.free);
            return replaced;
        }
        self.hard(replaced)?;
        for Numbered { slot, node, inner, extents } in numbered {
            self.tree.nodes.renumber(slot, node, inner, &extents);
        }
        self.log.hold(&mut self.free);
        Ok(())
    }

    /// Encodes the whole tree as one tuple.
    fn encode(&mut self, log: &mut Encoder, numbered: &mut Vec<Numbered>) -> Result<()> {
        enum Work {
            Key(Symbol),
            Node(Slot),
        }
        let Tree { symbols, nodes, .. } = &mut self.tree;
        // Further names of a node refer to it.
        let mut numbers = alloc::vec![0_u32; nodes.len()];
        let mut work = alloc::vec![Work::Node(Slot::ROOT)];
        while let Some(next) = work.pop() {
            let slot = match next {
                Work::Key(key) => {
                    log.entry(symbols, key);
                    continue;
                }
                Work::Node(slot) => slot,
            };
            let known = numbers.get(slot.index()).copied().unwrap_or(0);
            if known != 0 {
                log.value().tuple_ref(known, 0);
                continue;
            }
            let Some(node) = nodes.get(slot) else { continue };
            let attributes = attributes(&node, symbols)?;
            let own = own_entries(&node);
            let number = log.tuple(to_u64(attributes.len()).saturating_add(own));
            if let Some(place) = numbers.get_mut(slot.index()) {
                *place = number;
            }
            for (key, value) in &attributes {
                log.entry(symbols, *key);
                log.attribute(symbols, value)?;
            }
            let mut inner = 0;
            let mut extents = Vec::new();
            match &node.body {
                Body::Dir(dir) => {
                    log.entry(symbols, Symbol::CHILDREN);
                    inner = log.tuple(dir.entries.count().into());
                    // Taken from the end, so the last entry goes in first, and a node before its key.
                    let from = work.len();
                    for (named, child) in dir.entries.iter() {
                        work.push(Work::Key(named.name));
                        work.push(Work::Node(child));
                    }
                    work.get_mut(from..).unwrap_or_default().reverse();
                }
                Body::File(file) => {
                    log.entry(symbols, Symbol::EXTENTS);
                    inner = log.tuple(to_u64(file.extents.0.len()));
                    for extent in &file.extents.0 {
                        let key = symbols.intern(extent.block.to_string().as_bytes())?;
                        log.entry(symbols, key);
                        extents.push(log.tuple(if extent.uninited { 4 } else { 3 }));
                        for (key, value) in [
                            (Symbol::OFFSET, extent.sector),
                            (Symbol::LENGTH, extent.count.into()),
                            (Symbol::ALLOCATED, extent.allocated.into()),
                        ] {
                            log.entry(symbols, key);
                            log.value().number(value);
                        }
                        if extent.uninited {
                            log.entry(symbols, Symbol::UNINITED);
                            log.value().null();
                        }
                    }
                    if file.size > 0 {
                        log.entry(symbols, Symbol::FILELENGTH);
                        log.value().number(file.size);
                    }
                }
                Body::Symlink(target) => {
                    log.entry(symbols, Symbol::LINKTARGET);
                    log.value().string(target);
                }
                Body::Socket => {
                    log.entry(symbols, Symbol::SOCKET);
                    log.value().null();
                }
                Body::Special(_) => {
                    log.entry(symbols, Symbol::EXTENTS);
                    let _ = log.tuple(0);
                }
            }
            numbered.push(Numbered { slot, node: number, inner, extents });
        }
        Ok(())
    }
}

/// Entries of a node's tuple besides its attributes.
const fn own_entries(node: &Node) -> u64 {
    match &node.body {
        Body::File(file) if file.size > 0 => 2,
        _ => 1,
    }
}

/// The attributes of a node, with those that have a field of their own.
pub(super) fn attributes(node: &Node, symbols: &mut Symbols) -> Result<Vec<(Symbol, Attribute)>> {
    let mut all = Vec::new();
    for (key, exact, time) in [(Symbol::ATIME, meta::ATIME, node.atime), (Symbol::MTIME, meta::MTIME, node.mtime)] {
        match time.to_raw() {
            _ if time == Time::NONE => {}
            Some(raw) => all.push((key, Attribute::Integer(raw))),
            None => all.push((symbols.intern(exact)?, Attribute::String(time.nanos().into()))),
        }
    }
    if node.names > 1 && !matches!(node.body, Body::Dir(_)) {
        all.push((Symbol::NLINK, Attribute::Integer(node.names.into())));
    }
    let mut string = |name: &[u8], value: alloc::string::String| {
        all.push((symbols.intern(name)?, Attribute::String(value.into())));
        Ok::<(), crate::error::Error>(())
    };
    if let Body::Special(special) = node.body {
        string(meta::NODE, meta::special(special))?;
    }
    let Some(meta) = node.meta.as_deref() else { return Ok(all) };
    if let Some(mode) = meta.mode {
        string(meta::MODE, format!("{mode:o}"))?;
    }
    if let Some((uid, gid)) = meta.uid.zip(meta.gid) {
        string(meta::OWNER, format!("{uid}:{gid}"))?;
    }
    if let Some(time) = meta.ctime {
        string(meta::CTIME, time.nanos())?;
    }
    if meta.opaque {
        string(meta::OPAQUE, alloc::string::String::new())?;
    }
    for (name, value) in &meta.attributes {
        all.push((symbols.intern(name)?, value.clone()));
    }
    Ok(all)
}
