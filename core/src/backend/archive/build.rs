//! Replays entries as the Linux kernel unpacks them into an empty root filesystem.
//!
//! The order of steps, and what happens when one of them fails, follow `init/initramfs.c`: first whatever is in the
//! way and of another type is removed, then the node is created or the existing one taken over, then owner, mode and
//! times are set on whatever the path leads to by then. Times of directories are set when everything is done, the
//! latest entry first, so that of two entries for one directory the earlier one counts.

use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::SkipReason;
use super::extras::Extras;
use super::index::{Content, EntryIndex, Index, Node, NodeIndex, Stored, bytes_of};
use super::walk::{Place, Stop, Walker, steps_for};
use crate::attr::{Defaults, Device, FileType, Recorded};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::limits::SYMLINK_MAX;
use crate::source::Source;

/// What an entry says about its node besides its type and content.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meta {
    /// Permission bits.
    pub(super) mode: u16,
    /// `None` leaves the owner.
    pub(super) uid: Option<u32>,
    /// `None` leaves the group.
    pub(super) gid: Option<u32>,
    /// `None` if the archive ends before the time would be set.
    pub(super) mtime: Option<Timestamp>,
}

/// A path, and where it can be read again.
#[derive(Clone, Copy, Debug)]
pub(super) struct PathRef<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) stored: Stored,
}

/// What entries must share to be names of one node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct LinkKey {
    pub(super) dev: (u32, u32),
    pub(super) ino: u32,
    pub(super) file_type: FileType,
}

/// The first name that came with a key. Linux remembers the name, not the node: whatever is there when the next name
/// comes gets linked.
#[derive(Clone, Copy, Debug)]
struct FirstName {
    path: Stored,
    /// What is there, as long as nothing was removed since.
    node: Option<NodeIndex>,
    removals: u64,
}

/// A time to set on a directory at the end.
#[derive(Clone, Copy, Debug)]
struct DirTime {
    path: Stored,
    node: Option<NodeIndex>,
    removals: u64,
    mtime: Timestamp,
}

/// What became of the second name of a hard link.
enum Linked {
    /// It is no second name.
    First,
    /// It is a name of this node now.
    To(NodeIndex),
}

/// A tree under construction.
#[derive(Debug)]
pub(super) struct TreeBuilder {
    pub(super) index: Index,
    pub(super) sources: Vec<Arc<dyn Source>>,
    pub(super) walker: Walker,
    links: HashMap<LinkKey, FirstName, RandomState>,
    dir_times: Vec<DirTime>,
    pub(super) extras: Extras,
    defaults: Defaults,
    /// The nodes that Linux has before it unpacks anything: entry and node.
    built_in: Vec<(EntryIndex, NodeIndex)>,
}

pub(super) type Outcome = Result<(), Stop>;

impl TreeBuilder {
    /// An empty tree, with room for about `entries` entries.
    pub(super) fn new(defaults: Defaults, entries: usize) -> Self {
        let root = Node { names: 1, ..blank(Content::EMPTY_DIR, &defaults) };
        Self {
            index: Index::new(root, entries),
            sources: Vec::new(),
            walker: Walker::new(),
            links: HashMap::with_hasher(RandomState::default()),
            dir_times: Vec::new(),
            extras: Extras::default(),
            defaults,
            built_in: Vec::new(),
        }
    }

    /// Adds what Linux has before it unpacks anything: `/dev`, `/dev/console` and `/root`. At the end, those that no
    /// entry had anything to do with are taken out again.
    ///
    /// # Errors
    /// Limits, which are far away.
    pub(super) fn add_built_in(&mut self) -> Result<()> {
        let node = |content, mode| Node { mode, uid: 0, gid: 0, ..blank(content, &self.defaults) };
        let console = Content::Char(Device { major: 5, minor: 1 });
        let nodes = [node(Content::EMPTY_DIR, 0o755), node(console, 0o600), node(Content::EMPTY_DIR, 0o700)];
        let mut dir = NodeIndex::ROOT;
        for (name, node) in [&b"dev"[..], b"console", b"root"].into_iter().zip(nodes) {
            let parent = if name == b"console" { dir } else { NodeIndex::ROOT };
            let node = self.index.add_node(node)?;
            self.built_in.push((self.index.add_entry(parent, name, node)?, node));
            dir = node;
        }
        Ok(())
    }

    /// Takes one more source that entries lie in, and returns its number.
    pub(super) fn add_source(&mut self, source: Arc<dyn Source>) -> u32 {
        let number = u32::try_from(self.sources.len()).unwrap_or(u32::MAX);
        self.sources.push(source);
        number
    }

    /// Grants the steps that `bytes` of an archive are worth.
    pub(super) fn grant(&mut self, bytes: u64) {
        self.walker.grant(steps_for(bytes));
    }

    /// A regular file whose content is `data`, followed by zeros up to `size` bytes.
    pub(super) fn file(
        &mut self,
        path: PathRef<'_>,
        meta: &Meta,
        data: Stored,
        size: u64,
        link: Option<LinkKey>,
    ) -> Outcome {
        let mut place = self.place(path);
        self.clear_way(&mut place, Some(FileType::File));
        let (node, has_content) = match self.link(path, &mut place, link)? {
            Linked::To(node) => (self.writable_node(path, node)?, size == 0),
            Linked::First => {
                let content = Content::File { data, size };
                match place? {
                    Place::Named { slash: true, .. } => return Err(Stop::Skip(SkipReason::SlashBehindFile)),
                    Place::Named { found: Some((_, node)), .. } => {
                        self.must_be_file(node)?;
                        (node, false)
                    }
                    Place::Named { dir, name, found: None, .. } => {
                        (self.create(dir, path.bytes.get(name).unwrap_or_default(), content)?, true)
                    }
                    Place::Dir(_) => return Err(Stop::Skip(SkipReason::DirectoryInTheWay)),
                }
            }
        };
        self.note_first(path, link, Some(node));
        let unknown = self.defaults.time;
        if let Some(node) = self.index.node_mut(node) {
            if !has_content {
                // Linux writes over the old content of a second name without cutting it first, which shows only if the
                // archive ends inside this data: old bytes would follow the new ones. Here zeros do.
                node.content = Content::File { data, size };
            }
            set_owner(node, meta);
            set_mode(node, meta);
            // Even if the archive does not give a time any more, the old one is gone.
            (node.mtime, node.recorded.mtime) = (unknown, false);
            set_mtime(node, meta.mtime);
        }
        Ok(())
    }

    /// A directory.
    pub(super) fn dir(&mut self, path: PathRef<'_>, meta: &Meta) -> Outcome {
        let mut place = self.place(path);
        self.clear_way(&mut place, Some(FileType::Dir));
        let made = match place {
            Ok(Place::Named { dir, name, found: None, .. }) => {
                self.create(dir, path.bytes.get(name).unwrap_or_default(), Content::EMPTY_DIR)
            }
            Ok(Place::Dir(node)) => Ok(node),
            Ok(Place::Named { found: Some((_, node)), slash: false, .. }) => Ok(node),
            Ok(Place::Named { found: Some(_), slash: true, .. }) => self.resolve(path.bytes, true),
            Err(stop) => Err(stop),
        };
        if let Some(mtime) = meta.mtime {
            let node = made.as_ref().ok().copied();
            let removals = self.index.removals();
            self.dir_times.push(DirTime { path: path.stored, node, removals, mtime });
        }
        let made = made?;
        if let Some(node) = self.index.node_mut(made) {
            set_owner(node, meta);
            set_mode(node, meta);
        }
        if self.index.dir(made).is_some() {
            self.walker.remember_dir(&self.index, path.bytes, made);
        }
        Ok(())
    }

    /// A symbolic link whose target is stored in `target`.
    pub(super) fn symlink(&mut self, path: PathRef<'_>, meta: &Meta, target: Stored) -> Outcome {
        let mut place = self.place(path);
        self.clear_way(&mut place, None);
        let place = place?;
        let created = match place {
            Place::Named { dir, ref name, found: None, slash: false } => {
                if target.len > u64::try_from(SYMLINK_MAX).unwrap_or(u64::MAX) {
                    return Err(Stop::Skip(SkipReason::TargetSize { size: target.len }));
                }
                let name = path.bytes.get(name.clone()).unwrap_or_default();
                let node = self.create(dir, name, Content::Symlink(target))?;
                if let Some(node) = self.index.node_mut(node) {
                    node.mode = 0o777;
                    node.recorded.mode = true;
                }
                Some(node)
            }
            _ => None,
        };
        // Owner and time go to whatever is there now.
        let node = match (created, &place) {
            (Some(node), _) => node,
            (None, Place::Named { found: None, .. }) => return Err(Stop::Skip(SkipReason::SlashBehindFile)),
            (None, _) => self.resolve(path.bytes, false)?,
        };
        if let Some(node) = self.index.node_mut(node) {
            set_owner(node, meta);
            set_mtime(node, meta.mtime);
        }
        if created.is_some() { Ok(()) } else { Err(Stop::Skip(SkipReason::DirectoryInTheWay)) }
    }

    /// A device node, named pipe or socket.
    pub(super) fn special(
        &mut self,
        path: PathRef<'_>,
        meta: &Meta,
        content: Content,
        link: Option<LinkKey>,
    ) -> Outcome {
        let file_type = content.file_type();
        let mut place = self.place(path);
        self.clear_way(&mut place, Some(file_type));
        if let Linked::To(_) = self.link(path, &mut place, link)? {
            return Ok(());
        }
        let place = place?;
        let node = match place {
            Place::Named { dir, ref name, found: None, slash: false } => {
                self.create(dir, path.bytes.get(name.clone()).unwrap_or_default(), content)?
            }
            Place::Named { found: None, slash: true, .. } => return Err(Stop::Skip(SkipReason::SlashBehindFile)),
            // An existing node keeps its device number, but gets the rest; so does a directory in the way.
            _ => self.resolve(path.bytes, true)?,
        };
        self.note_first(path, link, Some(node));
        let mut taken = file_type;
        if let Some(node) = self.index.node_mut(node) {
            set_owner(node, meta);
            set_mode(node, meta);
            set_mtime(node, meta.mtime);
            taken = node.content.file_type();
        }
        if taken == file_type { Ok(()) } else { Err(Stop::Skip(SkipReason::DirectoryInTheWay)) }
    }

    /// Forgets which entries are hard links of each other, as each trailer makes Linux do.
    pub(super) fn forget_links(&mut self) {
        self.links.clear();
    }

    /// Sets the times of directories and gives the tree away.
    ///
    /// # Errors
    /// [`LimitExceeded::Steps`](super::LimitExceeded::Steps); failing sources.
    pub(super) fn finish(mut self) -> Result<(Index, Vec<Arc<dyn Source>>)> {
        let times = core::mem::take(&mut self.dir_times);
        for time in times.iter().rev() {
            let node = match time.node {
                Some(node) if time.removals == self.index.removals() => node,
                _ => {
                    // OK: the path's bytes are part of the archive, which grants as much for the entry itself.
                    self.grant(time.path.len);
                    let path = self.path(time.path)?;
                    match self.resolve(&path, false) {
                        Ok(node) => node,
                        Err(Stop::Skip(_)) => continue,
                        Err(Stop::Fail(error)) => return Err(error),
                    }
                }
            };
            if let Some(node) = self.index.node_mut(node) {
                set_mtime(node, Some(time.mtime));
            }
        }
        for (entry, node) in core::mem::take(&mut self.built_in).into_iter().rev() {
            // `rev`: the console before the directory it is in.
            let unused = self.index.node(node).is_some_and(|node| {
                let empty = !matches!(node.content, Content::Dir(dir) if dir.count > 0);
                empty && node.names == 1 && node.recorded == Recorded::NONE
            });
            if unused {
                self.index.remove_entry(entry);
            }
        }
        self.index.finish();
        Ok((self.index, self.sources))
    }

    fn place(&mut self, path: PathRef<'_>) -> Result<Place, Stop> {
        self.walker.place(&self.index, &self.sources, path.bytes)
    }

    fn resolve(&mut self, path: &[u8], follow: bool) -> Result<NodeIndex, Stop> {
        self.walker.resolve(&self.index, &self.sources, path, follow)
    }

    fn path(&self, stored: Stored) -> Result<Bytes> {
        bytes_of(&self.sources, stored)
    }

    /// Removes what is at `place`, unless it is of type `keep` or cannot be removed: a directory with entries, or a
    /// place that no name leads to.
    fn clear_way(&mut self, place: &mut Result<Place, Stop>, keep: Option<FileType>) {
        let Ok(Place::Named { found, slash, .. }) = place else { return };
        let Some((entry, node)) = *found else { return };
        let Some(content) = self.index.node(node).map(|node| node.content) else { return };
        let stays = match content {
            Content::Dir(dir) => dir.count > 0,
            // Slashes ask for a directory: a link to one is not removed, and nothing else is found at all.
            _ => *slash,
        };
        if !stays && keep != Some(content.file_type()) {
            self.index.remove_entry(entry);
            *found = None;
        }
    }

    /// Makes `place` a name of the node that came with the same key before, if there was one. Else remembers the path
    /// under this key, whatever will become of it.
    fn link(
        &mut self,
        path: PathRef<'_>,
        place: &mut Result<Place, Stop>,
        key: Option<LinkKey>,
    ) -> Result<Linked, Stop> {
        let Some(key) = key else { return Ok(Linked::First) };
        let Some(&first) = self.links.get(&key) else {
            self.links.insert(key, FirstName { path: path.stored, node: None, removals: 0 });
            return Ok(Linked::First);
        };
        self.clear_way(place, None);
        let node = match first.node {
            Some(node) if first.removals == self.index.removals() => node,
            _ => {
                let old = self.path(first.path)?;
                match self.resolve(&old, false) {
                    Err(Stop::Skip(_)) => return Err(Stop::Skip(SkipReason::LinkTargetGone)),
                    found => found?,
                }
            }
        };
        match core::mem::replace(place, Ok(Place::Dir(NodeIndex::ROOT)))? {
            Place::Named { slash: true, .. } => Err(Stop::Skip(SkipReason::SlashBehindFile)),
            Place::Named { dir, name, found: None, .. } if self.index.dir(node).is_none() => {
                self.index.add_entry(dir, path.bytes.get(name).unwrap_or_default(), node)?;
                let removals = self.index.removals();
                self.links.insert(key, FirstName { node: Some(node), removals, ..first });
                Ok(Linked::To(node))
            }
            Place::Named { found: None, .. } => Err(Stop::Skip(SkipReason::LinkTargetGone)),
            _ => Err(Stop::Skip(SkipReason::DirectoryInTheWay)),
        }
    }

    /// Remembers which node the first name of a key led to, so that the next name need not walk.
    fn note_first(&mut self, path: PathRef<'_>, key: Option<LinkKey>, node: Option<NodeIndex>) {
        let removals = self.index.removals();
        let first = key.and_then(|key| self.links.get_mut(&key)).filter(|first| first.path == path.stored);
        if let Some(first) = first {
            first.node = node;
            first.removals = removals;
        }
    }

    /// The file that Linux writes to when a second name `path` was made for `node`: it opens the name, and if that is a
    /// symbolic link by now, because the first name was replaced by one, it goes where the link leads.
    fn writable_node(&mut self, path: PathRef<'_>, node: NodeIndex) -> Result<NodeIndex, Stop> {
        let node = match self.index.node(node).map(|node| node.content.file_type()) {
            Some(FileType::Symlink) => self.resolve(path.bytes, true)?,
            _ => node,
        };
        self.must_be_file(node)?;
        Ok(node)
    }

    fn must_be_file(&self, node: NodeIndex) -> Outcome {
        match self.index.node(node).map(|node| node.content.file_type()) {
            Some(FileType::File) => Ok(()),
            Some(FileType::Dir) => Err(Stop::Skip(SkipReason::DirectoryInTheWay)),
            _ => Err(Stop::Skip(SkipReason::LinkTargetGone)),
        }
    }

    pub(super) fn create(&mut self, dir: NodeIndex, name: &[u8], content: Content) -> Result<NodeIndex, Stop> {
        let mut node = blank(content, &self.defaults);
        node.uid = 0;
        // As everywhere in Linux: what is created in a set-gid directory gets its group.
        node.gid = self.index.node(dir).filter(|dir| dir.mode & 0o2000 != 0).map_or(0, |dir| dir.gid);
        let node = self.index.add_node(node)?;
        self.index.add_entry(dir, name, node)?;
        Ok(node)
    }
}

fn blank(content: Content, defaults: &Defaults) -> Node {
    Node {
        content,
        mtime: defaults.time,
        uid: defaults.uid,
        gid: defaults.gid,
        names: 0,
        mode: defaults.mode(content.file_type()),
        recorded: Recorded::NONE,
    }
}

pub(super) fn set_owner(node: &mut Node, meta: &Meta) {
    node.uid = meta.uid.unwrap_or(node.uid);
    node.gid = meta.gid.unwrap_or(node.gid);
    node.recorded.owner = true;
}

pub(super) fn set_mode(node: &mut Node, meta: &Meta) {
    node.mode = meta.mode;
    node.recorded.mode = true;
}

pub(super) fn set_mtime(node: &mut Node, mtime: Option<Timestamp>) {
    if let Some(mtime) = mtime {
        node.mtime = mtime;
        node.recorded.mtime = true;
    }
}
