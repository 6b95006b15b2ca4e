//! What a name is, and what a directory contains, when all layers are asked.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::table::{Dentry, List, LowerRef, NewRecord, Node};
use super::{Overlay, marks};
use crate::attr::FileType;
use crate::errno::Errno;
use crate::error::{Error, Result};
use crate::fs::{Cookie, DirBatch, DirEntry, FileSystemExt, NodeRef};
use crate::name::Name;

/// What a layer shows under a name: type and `ino`, or `None` for a whiteout.
type Shown = Option<(FileType, u64)>;

/// Looks `name` up in a layer's directory; `None` if there is nothing.
pub(super) fn lookup_in(dir: &NodeRef, name: Name<'_>) -> Result<Option<NodeRef>> {
    match NodeRef::lookup(dir.fs(), dir.node(), name) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error == Errno::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_opaque(dir: &NodeRef) -> Result<bool> {
    Ok(dir.fs().attr(dir.node())?.opaque)
}

fn not_found() -> Error {
    Errno::NotFound.into()
}

impl Overlay {
    /// The merged node that `name` names in `dir`, with one reference.
    pub(super) fn find(&self, dir: &Arc<Node>, name: Name<'_>) -> Result<Arc<Node>> {
        if !dir.file_type.is_dir() {
            return Err(Errno::NotDir.into());
        }
        if dir.is_removed() {
            return Err(not_found());
        }
        let mut upper = None;
        if let Some(upper_dir) = dir.upper_ref()
            && let Some(found) = lookup_in(upper_dir, name)?
        {
            if found.file_type() == FileType::Whiteout {
                return Err(not_found());
            }
            if let Some(known) = self.table.by_upper(found.node()) {
                return Ok(self.placed(known, dir, name));
            }
            upper = Some(found);
        }
        let mut redirect = None;
        let lowers = match &upper {
            Some(found) if !found.file_type().is_dir() || is_opaque(found)? => SmallVec::new(),
            Some(found) => {
                redirect = marks::redirect(found)?;
                match &redirect {
                    Some(redirect) => redirect.lowers(&self.root.lowers, &dir.lowers)?,
                    None => lowers_of(&dir.lowers, name, true)?,
                }
            }
            None => lowers_of(&dir.lowers, name, false)?,
        };
        if upper.is_none()
            && let Some(lower) = lowers.first()
            && let Some(known) = self.table.by_lower(lower.layer, lower.node.node())
        {
            return Ok(self.placed(known, dir, name));
        }
        // What an earlier overlay copied up has the number that the upper's listings show.
        let here = upper.as_ref().map(|upper| (self.lower_count, upper));
        let highest = here.or_else(|| lowers.first().map(|lower| (lower.layer, &lower.node)));
        let Some((layer, found)) = highest else { return Err(not_found()) };
        let ino = Self::merged_ino(layer, found.fs().attr(found.node())?.ino);
        let file_type = found.file_type();
        let dentry = Dentry { dir: Arc::clone(dir), name: name.as_bytes().into() };
        let origin = match redirect {
            _ if lowers.is_empty() || !file_type.is_dir() => Box::default(),
            Some(redirect) => redirect.origin(&dir.origin),
            None => marks::below(&dir.origin, name.as_bytes()),
        };
        Ok(self.table.enter(NewRecord { file_type, ino, upper, lowers, origin, dentry }))
    }

    /// `node` again, now that it was found as `name` in `dir`; that name serves copy-up if no other does.
    fn placed(&self, node: Arc<Node>, dir: &Arc<Node>, name: Name<'_>) -> Arc<Node> {
        if node.upper().is_none() && !node.has_dentry() {
            node.set_dentry(Some(Dentry { dir: Arc::clone(dir), name: name.as_bytes().into() }));
        }
        node
    }

    /// Whether the lowers of `dir` show something called `name`, so that removing it needs a whiteout.
    pub(super) fn lower_has(dir: &Node, name: Name<'_>) -> Result<bool> {
        for lower in &dir.lowers {
            if let Some(found) = lookup_in(&lower.node, name)? {
                return Ok(found.file_type() != FileType::Whiteout);
            }
        }
        Ok(false)
    }

    /// Adds the merged entries after `from`.
    pub(super) fn list(&self, dir: &Arc<Node>, from: Cookie, batch: &mut DirBatch) -> Result<()> {
        if !dir.file_type.is_dir() {
            return Err(Errno::NotDir.into());
        }
        if dir.is_removed() {
            return Ok(());
        }
        if let Some((layer, inner)) = self.only_layer(dir) {
            return self.list_layer(dir, layer, inner, from, batch);
        }
        self.with_list(dir, |list| {
            let after = from.get().saturating_add(1);
            for (&serial, listed) in list.by_serial.range(after..) {
                let name = Name::proven(&listed.name);
                let (ino, file_type) = (listed.ino, listed.file_type);
                if !batch.push(DirEntry { name, ino, file_type, cookie: Cookie::new(serial) }) {
                    break;
                }
            }
        })
    }

    /// The layer that alone makes up `dir`, with its number.
    pub(super) fn only_layer<'n>(&self, dir: &'n Node) -> Option<(u64, &'n NodeRef)> {
        match (dir.upper_ref(), &*dir.lowers) {
            (Some(upper), []) => Some((self.lower_count, upper)),
            (None, [lower]) => Some((lower.layer, &lower.node)),
            _ => None,
        }
    }

    /// Lists a directory of one layer through its own cookies.
    fn list_layer(
        &self,
        dir: &Node,
        layer: u64,
        inner: &NodeRef,
        mut from: Cookie,
        batch: &mut DirBatch,
    ) -> Result<()> {
        let ask = dir.upper_ref().is_some() && dir.has_migrants();
        loop {
            let (start, whiteouts) = (batch.len(), batch.whiteout_count());
            inner.fs().read_dir(inner.node(), from, batch)?;
            match batch.last_cookie() {
                Some(last) if batch.len() > start => from = last,
                _ => return Ok(()),
            }
            // The lowest layer's numbers are the merged ones.
            if layer == 0 && !ask && batch.whiteout_count() == whiteouts {
                return Ok(());
            }
            batch.edit_from(start, |entry| match entry.file_type {
                FileType::Whiteout => None,
                _ if ask => Some(self.upper_ino(inner, entry)),
                _ => Some(Self::merged_ino(layer, entry.ino)),
            });
            // Only whiteouts: go on, since none at all would mean the end.
            if batch.len() > start {
                return Ok(());
            }
        }
    }

    /// The merged `ino` of an entry of an upper directory, which may have come from a lower.
    fn upper_ino(&self, dir: &NodeRef, entry: &DirEntry<'_>) -> u64 {
        let known = lookup_in(dir, entry.name).ok().flatten().and_then(|found| self.table.by_upper(found.node()));
        match known {
            Some(node) => {
                self.table.forget(node.id, 1);
                node.ino
            }
            None => Self::merged_ino(self.lower_count, entry.ino),
        }
    }

    /// Calls `visit` with the merged listing of `dir`, building it if nobody did yet.
    fn with_list<T>(&self, dir: &Arc<Node>, visit: impl FnOnce(&List) -> T) -> Result<T> {
        if let Some(list) = &*dir.list() {
            return Ok(visit(list));
        }
        // Under the structure lock no change can slip in between reading the layers and keeping the list.
        let _still = self.structure.lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.build_list(dir)?;
        let list = dir.list();
        Ok(visit(list.as_ref().unwrap_or(&List::default())))
    }

    /// Builds the merged listing, under the structure lock.
    ///
    /// A directory that had one layer until it was copied up has been listed through that layer's cookies: its entries
    /// keep them, and new ones come behind.
    fn build_list(&self, dir: &Arc<Node>) -> Result<()> {
        if dir.list().is_some() {
            return Ok(());
        }
        let mut list = List::default();
        // Names decided by a higher layer.
        let mut decided: HashMap<Box<[u8]>, Shown, foldhash::fast::RandomState> = HashMap::default();
        let mut upper_names: Vec<Box<[u8]>> = Vec::new();
        if let Some(upper) = dir.upper_ref() {
            upper.fs().for_each_entry(upper.node(), |entry| {
                let shown = match entry.file_type {
                    FileType::Whiteout => None,
                    file_type => Some((file_type, self.upper_ino(upper, &entry))),
                };
                upper_names.push(entry.name.as_bytes().into());
                decided.insert(entry.name.as_bytes().into(), shown);
                Ok(())
            })?;
        }
        let single = dir.lowers.len() == 1;
        let mut last: u64 = 0;
        for lower in &dir.lowers {
            let mut here: Vec<(Box<[u8]>, Shown)> = Vec::new();
            lower.node.fs().for_each_entry(lower.node.node(), |entry| {
                let name = entry.name.as_bytes();
                last = if single { entry.cookie.get() } else { last.saturating_add(1) };
                let shown = match decided.get(name) {
                    // A name of a higher layer stands in the list already, unless that layer is the upper.
                    Some(_) if list.contains(name) => return Ok(()),
                    Some(shown) => *shown,
                    None if entry.file_type == FileType::Whiteout => None,
                    None => Some((entry.file_type, Self::merged_ino(lower.layer, entry.ino))),
                };
                if let Some((file_type, ino)) = shown {
                    list.set_at(last, name, file_type, ino);
                }
                here.push((name.into(), shown));
                Ok(())
            })?;
            decided.extend(here);
        }
        for name in upper_names {
            if let Some(Some((file_type, ino))) = decided.get(&name).copied()
                && !list.contains(&name)
            {
                last = last.saturating_add(1);
                list.set_at(last, &name, file_type, ino);
            }
        }
        *dir.list() = Some(list);
        Ok(())
    }

    /// Whether the merged directory has no entries. Under the structure lock.
    pub(super) fn is_empty(&self, dir: &Arc<Node>) -> Result<bool> {
        if dir.is_removed() {
            return Ok(true);
        }
        if let Some((layer, inner)) = self.only_layer(dir) {
            let mut batch = DirBatch::with_max_entries(64);
            self.list_layer(dir, layer, inner, Cookie::START, &mut batch)?;
            return Ok(batch.is_empty());
        }
        self.build_list(dir)?;
        Ok(dir.list().as_ref().is_none_or(|list| list.by_serial.is_empty()))
    }
}

/// The lower nodes that `name` names in the merged directory `dirs`, highest first: one, or several directories to
/// merge. With `below_dir` there is a directory above them, and only directories count.
pub(super) fn lowers_of(dirs: &[LowerRef], name: Name<'_>, below_dir: bool) -> Result<SmallVec<[LowerRef; 1]>> {
    let mut found: SmallVec<[LowerRef; 1]> = SmallVec::new();
    for lower in dirs {
        let Some(node) = lookup_in(&lower.node, name)? else { continue };
        match node.file_type() {
            FileType::Whiteout => break,
            FileType::Dir => {
                let opaque = is_opaque(&node)?;
                found.push(LowerRef { layer: lower.layer, node });
                if opaque {
                    break;
                }
            }
            _ => {
                if found.is_empty() && !below_dir {
                    found.push(LowerRef { layer: lower.layer, node });
                }
                break;
            }
        }
    }
    Ok(found)
}

impl Node {
    pub(super) fn list_set(&self, name: Name<'_>, node: &Self) {
        if let Some(list) = &mut *self.list() {
            list.set(name.as_bytes(), node.file_type, node.ino);
        }
    }

    pub(super) fn list_remove(&self, name: Name<'_>) {
        if let Some(list) = &mut *self.list() {
            list.remove(name.as_bytes());
        }
    }
}
