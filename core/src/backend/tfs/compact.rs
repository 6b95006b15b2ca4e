//! Writes a log anew, without what is dead in it.

use alloc::vec::Vec;

use super::attribute::Attribute;
use super::log::Log;
use super::meta;
use super::state::State;
use super::symbols::{Symbol, Symbols};
use super::time::Time;
use super::tree::{Body, Node, Slot, Tree};
use crate::checked::to_u64;
use crate::error::Result;

/// From how many dead entries on a log is worth compacting, as in Nanos.
const DEAD_MIN: u64 = 8192;

/// The numbers that a node has in the new log.
struct Numbered {
    slot: Slot,
    node: u32,
    /// Of its children or extents.
    inner: u32,
    extents: Vec<u32>,
}

impl State {
    /// Whether most of the log is dead.
    pub(super) const fn wants_compaction(&self) -> bool {
        self.log.obsolete >= DEAD_MIN && self.log.total <= self.log.obsolete.saturating_mul(2)
    }

    /// Writes the log anew, with everything that has happened.
    ///
    /// # Errors
    /// `ENOSPC`, and nothing has changed but what [`commit`](Self::commit) does; `EIO`.
    pub(super) fn compact(&mut self) -> Result<()> {
        self.commit()?;
        let mut log = self.log.anew();
        let mut numbered = Vec::new();
        self.encode(&mut log, &mut numbered)?;
        let replaced = self.log.replace(&self.device, &mut self.free, log);
        if replaced.as_ref().is_err_and(|error| *error == crate::errno::Errno::NoSpace) {
            self.log.hold(&mut self.free);
            return replaced;
        }
        self.hard(replaced)?;
        for Numbered { slot, node, inner, extents } in numbered {
            let Ok(found) = self.tree.at_mut(slot) else { continue };
            found.tuple = node;
            match &mut found.body {
                Body::Dir(dir) => dir.children_tuple = inner,
                Body::File(file) => {
                    file.extents_tuple = inner;
                    for (extent, number) in file.extents.0.iter_mut().zip(extents) {
                        extent.tuple = number;
                    }
                }
                _ => {}
            }
        }
        self.log.hold(&mut self.free);
        Ok(())
    }

    /// Encodes the whole tree as one tuple.
    fn encode(&mut self, log: &mut Log, numbered: &mut Vec<Numbered>) -> Result<()> {
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
                    log.count_entry();
                    log.key(symbols, key);
                    continue;
                }
                Work::Node(slot) => slot,
            };
            let known = numbers.get(slot.index()).copied().unwrap_or(0);
            if known != 0 {
                log.value().tuple_ref(known, 0);
                continue;
            }
            let Some(Some(node)) = nodes.get(slot.index()) else { continue };
            let attributes = attributes(node, symbols)?;
            let own = own_entries(node);
            let number = log.tuple(to_u64(attributes.len()).saturating_add(own));
            if let Some(place) = numbers.get_mut(slot.index()) {
                *place = number;
            }
            for (key, value) in &attributes {
                log.count_entry();
                log.key(symbols, *key);
                put(log, symbols, value)?;
            }
            let mut inner = 0;
            let mut extents = Vec::new();
            match &node.body {
                Body::Dir(dir) => {
                    log.count_entry();
                    log.key(symbols, Symbol::CHILDREN);
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
                    log.key(symbols, Symbol::EXTENTS);
                    inner = log.tuple(to_u64(file.extents.0.len()));
                    for extent in &file.extents.0 {
                        let key = symbols.intern(extent.block.to_string().as_bytes())?;
                        log.key(symbols, key);
                        extents.push(log.tuple(if extent.uninited { 4 } else { 3 }));
                        for (key, value) in [
                            (Symbol::OFFSET, extent.sector),
                            (Symbol::LENGTH, extent.count.into()),
                            (Symbol::ALLOCATED, extent.allocated.into()),
                        ] {
                            log.count_entry();
                            log.key(symbols, key);
                            log.value().number(value);
                        }
                        if extent.uninited {
                            log.key(symbols, Symbol::UNINITED);
                            log.value().null();
                        }
                    }
                    if file.size > 0 {
                        log.key(symbols, Symbol::FILELENGTH);
                        log.value().number(file.size);
                    }
                }
                Body::Symlink(target) => {
                    log.key(symbols, Symbol::LINKTARGET);
                    log.value().string(target);
                }
                Body::Socket => {
                    log.key(symbols, Symbol::SOCKET);
                    log.value().null();
                }
                Body::Special(_) => {
                    log.key(symbols, Symbol::EXTENTS);
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
fn attributes(node: &Node, symbols: &mut Symbols) -> Result<Vec<(Symbol, Attribute)>> {
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

/// Writes a value; its depth was limited when it was read.
fn put(log: &mut Log, symbols: &mut Symbols, value: &Attribute) -> Result<()> {
    match value {
        Attribute::Null => log.value().null(),
        Attribute::Integer(number) => log.value().number(*number),
        Attribute::Negative(number) => log.value().integer(true, *number),
        Attribute::String(bytes) => log.value().string(bytes),
        Attribute::Tuple(entries) => {
            let _ = log.tuple(to_u64(entries.len()));
            for (name, value) in entries {
                let key = symbols.intern(name)?;
                log.count_entry();
                log.key(symbols, key);
                put(log, symbols, value)?;
            }
        }
        Attribute::Vector(elements) => {
            log.vector(to_u64(elements.len()));
            for element in elements {
                match element {
                    Some(element) => put(log, symbols, element)?,
                    None => log.value().delete(),
                }
            }
        }
    }
    Ok(())
}
