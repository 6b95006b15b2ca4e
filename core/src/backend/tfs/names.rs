//! Creating, linking, removing and moving nodes.

use alloc::boxed::Box;

use super::extents::Extents;
use super::meta;
use super::state::State;
use super::symbols::Symbol;
use super::time::Time;
use super::tree::{Body, Dir, Entries, File, Meta, Node, Slot, Special};
use crate::clock::Timestamp;
use crate::errno::Errno;
use crate::error::{Error, Result};
use crate::format::tfs::NO_ENCODE;
use crate::fs::{Entry, NewKind, NewNode, NodeId, RenameMode};
use crate::limits::{NAME_MAX, SYMLINK_MAX};
use crate::name::Name;

/// Bytes of the log that an operation on names may take at most, its names and its node included.
const NAMES_BYTES: usize = 2 * (NAME_MAX + 64) + 512;

impl State {
    fn file_type_is_dir(&self, slot: Slot) -> Result<bool> {
        Ok(self.tree.file_type(slot)?.is_dir())
    }

    fn dir_mut(&mut self, slot: Slot) -> Result<&mut Dir> {
        match &mut self.tree.at_mut(slot)?.body {
            Body::Dir(dir) => Ok(dir),
            _ => Err(Errno::NotDir.into()),
        }
    }

    fn find(&self, dir: Slot, name: Name<'_>) -> Result<Option<Slot>> {
        let entries = &self.tree.dir_at(dir)?.entries;
        Ok(self.tree.symbols.get(name.as_bytes()).and_then(|name| entries.get(name)))
    }

    /// The entry `name` of a directory to which it is to be added.
    fn find_in_growable(&self, dir: Slot, name: Name<'_>) -> Result<Option<Slot>> {
        let found = self.find(dir, name)?;
        if self.tree.at(dir)?.names == 0 {
            return Err(Errno::NotFound.into());
        }
        Ok(found)
    }

    /// The symbol of a name that may be given.
    fn symbol(&mut self, name: Name<'_>) -> Result<Symbol> {
        if name.as_bytes() == NO_ENCODE {
            return Err(Error::new(Errno::Invalid, "Nanos loses directories with an entry called no_encode"));
        }
        self.tree.symbols.intern(name.as_bytes())
    }

    pub(super) fn create(&mut self, dir: NodeId, name: Name<'_>, new: &NewNode<'_>, now: Timestamp) -> Result<Entry> {
        let dir = self.tree.slot(dir)?;
        if self.find_in_growable(dir, name)?.is_some() {
            return Err(Errno::Exists.into());
        }
        let target_len = match new.kind {
            NewKind::Symlink(target) if target.len() > SYMLINK_MAX => return Err(Errno::NameTooLong.into()),
            // The empty string is not to be told from no target in old versions, and Nanos asks for 1 byte at least.
            NewKind::Symlink([]) => return Err(Errno::NotSupported.into()),
            NewKind::Symlink(target) => target.len(),
            _ => 0,
        };
        self.admit(NAMES_BYTES.saturating_add(target_len))?;
        let key = self.symbol(name)?;
        let (body, special) = body(new.kind, dir);
        let default = self.tree.defaults.mode(new.kind.file_type());
        let mode = new.mode & 0o7777;
        let owned = (new.uid, new.gid) != (self.tree.defaults.uid, self.tree.defaults.gid);
        let meta = Meta {
            mode: (mode != default).then_some(mode),
            uid: owned.then_some(new.uid),
            gid: owned.then_some(new.gid),
            ..Meta::default()
        };
        let has_meta = meta != Meta::default();
        let time = Time::from(now);
        let node = Node { tuple: 0, names: 1, mtime: time, atime: time, meta: has_meta.then(|| Box::new(meta)), body };
        let file_type = new.kind.file_type();
        let slot = self.add(node, now)?;
        self.log_new(dir, key, slot, special)?;
        self.put(dir, key, slot, now)?;
        Ok(Entry { node: self.tree.id(slot), file_type })
    }

    /// Logs the name and the tuple of a new node.
    fn log_new(&mut self, dir: Slot, name: Symbol, slot: Slot, special: Option<Special>) -> Result<()> {
        let parent = self.tree.dir_at(dir)?.children_tuple;
        let Self { tree, log, .. } = self;
        let node = tree.nodes.get_mut(slot).ok_or(Errno::Stale)?;
        let symbols = &mut tree.symbols;
        let meta = node.meta.as_deref();
        let mode = meta.and_then(|meta| meta.mode).map(|mode| (meta::MODE, format!("{mode:o}")));
        let owner =
            meta.and_then(|meta| meta.uid.zip(meta.gid)).map(|(uid, gid)| (meta::OWNER, format!("{uid}:{gid}")));
        let special = special.map(|special| (meta::NODE, meta::special(special)));
        let time = node.mtime.to_raw();
        let exact = time.is_none().then(|| (meta::MTIME, node.mtime.nanos()));
        let mut strings = alloc::vec::Vec::new();
        for (name, value) in [mode, owner, special, exact].into_iter().flatten() {
            strings.push((symbols.intern(name)?, value));
        }
        let times = if time.is_some() { 2 } else { 0 };
        // What is special to Nanos is a file without content.
        let own = 1;
        let count = crate::checked::to_u64(strings.len()).saturating_add(times).saturating_add(own);
        log.set(parent, symbols, name);
        node.tuple = log.tuple(count);
        if let Some(time) = time {
            for key in [Symbol::ATIME, Symbol::MTIME] {
                log.key(symbols, key);
                log.value().number(time);
            }
        }
        for (key, value) in strings {
            log.key(symbols, key);
            log.value().string(value.as_bytes());
        }
        match &mut node.body {
            Body::Dir(dir) => {
                log.key(symbols, Symbol::CHILDREN);
                dir.children_tuple = log.tuple(0);
            }
            Body::Symlink(target) => {
                log.key(symbols, Symbol::LINKTARGET);
                log.value().string(target);
            }
            Body::Socket => {
                log.key(symbols, Symbol::SOCKET);
                log.value().null();
            }
            Body::File(file) => {
                log.key(symbols, Symbol::EXTENTS);
                file.extents_tuple = log.tuple(0);
            }
            Body::Special(_) => {
                log.key(symbols, Symbol::EXTENTS);
                let _ = log.tuple(0);
            }
        }
        log.finish();
        Ok(())
    }

    /// Makes `name` name `slot` in `dir`, in memory. Counts no names.
    fn put(&mut self, dir: Slot, name: Symbol, slot: Slot, now: Timestamp) -> Result<()> {
        let is_dir = self.file_type_is_dir(slot)?;
        let entries = self.dir_mut(dir)?;
        entries.entries.put(name, slot);
        entries.subdirs = entries.subdirs.saturating_add(u32::from(is_dir));
        if is_dir {
            self.dir_mut(slot)?.parent = dir;
        }
        self.modified(dir, now)
    }

    /// Takes the entry `name` for `slot` out of `dir`, in memory.
    fn take(&mut self, dir: Slot, name: Symbol, slot: Slot, now: Timestamp) -> Result<()> {
        let is_dir = self.file_type_is_dir(slot)?;
        let entries = self.dir_mut(dir)?;
        entries.entries.remove(name);
        entries.subdirs = entries.subdirs.saturating_sub(u32::from(is_dir));
        self.modified(dir, now)
    }

    /// Logs how many names a node has, if that is to be told.
    fn log_names(&mut self, slot: Slot) -> Result<()> {
        let node = self.tree.at(slot)?;
        self.log.set_number(node.tuple, &self.tree.symbols, Symbol::NLINK, node.names.into());
        Ok(())
    }

    /// One name less for a node, which may end it.
    fn drop_name(&mut self, slot: Slot, now: Timestamp) -> Result<()> {
        self.changed(slot, now)?;
        let node = self.tree.at_mut(slot)?;
        node.names = node.names.saturating_sub(1);
        if node.names > 0 {
            return self.log_names(slot);
        }
        self.release(slot);
        Ok(())
    }

    pub(super) fn link(&mut self, node: NodeId, dir: NodeId, name: Name<'_>, now: Timestamp) -> Result<()> {
        let (slot, dir) = (self.tree.slot(node)?, self.tree.slot(dir)?);
        if self.file_type_is_dir(slot)? {
            return Err(Errno::NotPermitted.into());
        }
        if self.find_in_growable(dir, name)?.is_some() {
            return Err(Errno::Exists.into());
        }
        let names = self.tree.at(slot)?.names;
        if names == 0 {
            return Err(Errno::NotFound.into());
        }
        let names = names.checked_add(1).ok_or(Errno::TooManyLinks)?;
        self.admit(NAMES_BYTES)?;
        let key = self.symbol(name)?;
        let parent = self.tree.dir_at(dir)?.children_tuple;
        let node = self.tree.at_mut(slot)?;
        node.names = names;
        let tuple = node.tuple;
        self.log.set_tuple(parent, &self.tree.symbols, key, tuple);
        self.log_names(slot)?;
        self.changed(slot, now)?;
        self.put(dir, key, slot, now)
    }

    pub(super) fn unlink(&mut self, dir: NodeId, name: Name<'_>, now: Timestamp) -> Result<()> {
        let dir = self.tree.slot(dir)?;
        let slot = self.find(dir, name)?.ok_or(Errno::NotFound)?;
        if self.file_type_is_dir(slot)? {
            return Err(Errno::IsDir.into());
        }
        self.remove(dir, name, slot, now)
    }

    pub(super) fn remove_dir(&mut self, dir: NodeId, name: Name<'_>, now: Timestamp) -> Result<()> {
        let dir = self.tree.slot(dir)?;
        let slot = self.find(dir, name)?.ok_or(Errno::NotFound)?;
        if !self.tree.dir_at(slot)?.entries.is_empty() {
            return Err(Errno::NotEmpty.into());
        }
        self.remove(dir, name, slot, now)
    }

    fn remove(&mut self, dir: Slot, name: Name<'_>, slot: Slot, now: Timestamp) -> Result<()> {
        self.admit(NAMES_BYTES)?;
        let key = self.tree.symbols.intern(name.as_bytes())?;
        let parent = self.tree.dir_at(dir)?.children_tuple;
        self.log.delete(parent, &self.tree.symbols, key);
        self.take(dir, key, slot, now)?;
        self.drop_name(slot, now)
    }

    pub(super) fn rename(
        &mut self,
        from: (NodeId, Name<'_>),
        to: (NodeId, Name<'_>),
        mode: RenameMode,
        now: Timestamp,
    ) -> Result<()> {
        let (from_dir, to_dir) = (self.tree.slot(from.0)?, self.tree.slot(to.0)?);
        let moved = self.find(from_dir, from.1)?.ok_or(Errno::NotFound)?;
        let replaced = self.find_in_growable(to_dir, to.1)?;
        match (mode, replaced) {
            (RenameMode::NoReplace, Some(_)) => return Err(Errno::Exists.into()),
            (RenameMode::Exchange, None) => return Err(Errno::NotFound.into()),
            _ => {}
        }
        if replaced == Some(moved) {
            return Ok(());
        }
        let moves_dir = self.file_type_is_dir(moved)?;
        if moves_dir && self.is_within(to_dir, moved)? {
            return Err(Errno::Invalid.into());
        }
        let exchange = mode == RenameMode::Exchange;
        if let Some(replaced) = replaced {
            let is_dir = self.file_type_is_dir(replaced)?;
            match (moves_dir, is_dir) {
                (_, true) if exchange && self.is_within(from_dir, replaced)? => return Err(Errno::Invalid.into()),
                _ if exchange => {}
                (true, false) => return Err(Errno::NotDir.into()),
                (false, true) => return Err(Errno::IsDir.into()),
                (true, true) if !self.tree.dir_at(replaced)?.entries.is_empty() => return Err(Errno::NotEmpty.into()),
                _ => {}
            }
        }
        self.admit(NAMES_BYTES)?;
        let (from_key, to_key) = (self.tree.symbols.intern(from.1.as_bytes())?, self.symbol(to.1)?);
        let (from_tuple, to_tuple) =
            (self.tree.dir_at(from_dir)?.children_tuple, self.tree.dir_at(to_dir)?.children_tuple);
        let tuple = self.tree.at(moved)?.tuple;
        self.log.set_tuple(to_tuple, &self.tree.symbols, to_key, tuple);
        self.changed(moved, now)?;
        if let (true, Some(other)) = (exchange, replaced) {
            let tuple = self.tree.at(other)?.tuple;
            self.log.set_tuple(from_tuple, &self.tree.symbols, from_key, tuple);
            self.changed(other, now)?;
            let others_dir = self.file_type_is_dir(other)?;
            self.put(to_dir, to_key, moved, now)?;
            self.put(from_dir, from_key, other, now)?;
            // Each took the place of the other.
            let dir = self.dir_mut(to_dir)?;
            dir.subdirs = dir.subdirs.saturating_sub(u32::from(others_dir));
            let dir = self.dir_mut(from_dir)?;
            dir.subdirs = dir.subdirs.saturating_sub(u32::from(moves_dir));
            return Ok(());
        }
        self.log.delete(from_tuple, &self.tree.symbols, from_key);
        if from_dir == to_dir && replaced.is_none() {
            self.dir_mut(from_dir)?.entries.rename(from_key, to_key);
            return self.modified(from_dir, now);
        }
        self.take(from_dir, from_key, moved, now)?;
        self.put(to_dir, to_key, moved, now)?;
        let Some(replaced) = replaced else { return Ok(()) };
        let is_dir = self.file_type_is_dir(replaced)?;
        let dir = self.dir_mut(to_dir)?;
        dir.subdirs = dir.subdirs.saturating_sub(u32::from(is_dir));
        self.drop_name(replaced, now)
    }

    /// Whether `dir` is `ancestor` or below it.
    fn is_within(&self, mut dir: Slot, ancestor: Slot) -> Result<bool> {
        // OK: no directory has two names here, so every step goes up a tree.
        loop {
            if dir == ancestor {
                return Ok(true);
            }
            if dir == Slot::ROOT {
                return Ok(false);
            }
            dir = self.tree.dir_at(dir)?.parent;
        }
    }
}

fn body(kind: NewKind<'_>, parent: Slot) -> (Body, Option<Special>) {
    let special = |special| (Body::Special(special), Some(special));
    match kind {
        NewKind::File => (Body::File(File { extents: Extents::default(), ..File::default() }), None),
        NewKind::Dir => {
            (Body::Dir(Box::new(Dir { parent, children_tuple: 0, subdirs: 0, entries: Entries::default() })), None)
        }
        NewKind::Symlink(target) => (Body::Symlink(target.into()), None),
        NewKind::Char(device) => special(Special::Char(device)),
        NewKind::Block(device) => special(Special::Block(device)),
        NewKind::Fifo => special(Special::Fifo),
        NewKind::Socket => (Body::Socket, None),
        NewKind::Whiteout => special(Special::Whiteout),
    }
}
