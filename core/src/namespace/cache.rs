//! Walks remembered, for a guest that names the same paths again and again.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;

use super::location::Location;
use super::{Descriptor, Follow, Namespace, OpenHow};
use crate::attr::Attr;
use crate::checked::to_u64;
use crate::error::Result;
use crate::fs::NodeId;

/// Walks remembered: a power of two.
const SLOTS: usize = 128;

/// Longer paths are walked each time.
const PATH_LEN_MAX: usize = 256;

/// Where paths led, as long as no name changed ([`Namespace::names_version`]).
///
/// One guest's own, so it needs no lock. It holds references on what it remembers, so whoever removes names should
/// [`clear`](Self::clear) it: content that nobody else uses would stay otherwise until the next walk.
pub struct WalkCache {
    version: u64,
    /// Empty until first used. A walk has one slot where it may be, found by its hash.
    slots: Vec<Option<Walked>>,
    is_clear: bool,
    hasher: RandomState,
}

struct Walked {
    /// Mount and node, and whether it is seen read-only. Node ids are not reused, so the place need not be held.
    start: (u64, NodeId, bool),
    path: Box<[u8]>,
    follow: Follow,
    found: Location,
}

impl Default for WalkCache {
    fn default() -> Self {
        Self { version: 0, slots: Vec::new(), is_clear: true, hasher: RandomState::default() }
    }
}

impl WalkCache {
    /// As [`Namespace::walk`].
    ///
    /// # Errors
    /// As [`Namespace::walk`].
    #[inline]
    pub fn walk(&mut self, namespace: &Namespace, dir: &Location, path: &[u8], follow: Follow) -> Result<Location> {
        self.found(namespace, dir, path, follow, |found| Ok(found.clone()))
    }

    /// As [`Namespace::attr_at`].
    ///
    /// # Errors
    /// As [`Namespace::attr_at`].
    #[inline]
    pub fn attr_at(&mut self, namespace: &Namespace, dir: &Location, path: &[u8], follow: Follow) -> Result<Attr> {
        self.found(namespace, dir, path, follow, Location::attr)
    }

    /// As [`Namespace::open_at`].
    ///
    /// # Errors
    /// As [`Namespace::open_at`].
    #[inline]
    pub fn open_at(&mut self, namespace: &Namespace, dir: &Location, path: &[u8], how: &OpenHow) -> Result<Descriptor> {
        if how.create {
            return namespace.open_at(dir, path, how);
        }
        how.check()?;
        Descriptor::open(self.walk(namespace, dir, path, how.follow)?, how)
    }

    /// Walks, or remembers, and uses the place found.
    fn found<T>(
        &mut self,
        namespace: &Namespace,
        dir: &Location,
        path: &[u8],
        follow: Follow,
        use_it: impl FnOnce(&Location) -> Result<T>,
    ) -> Result<T> {
        // Asked before the walk: a change in between makes what is remembered old at once.
        let version = match namespace.names_version() {
            Some(version) if path.len() <= PATH_LEN_MAX => version,
            _ => return use_it(&namespace.walk(dir, path, follow)?),
        };
        if version != self.version {
            self.clear();
            self.version = version;
        }
        let start = (dir.mount().id(), dir.node(), dir.mount().is_read_only_view());
        let slot = self.slot(start, path);
        if let Some(Some(walked)) = self.slots.get(slot)
            && walked.start == start
            && walked.follow == follow
            && *walked.path == *path
        {
            return use_it(&walked.found);
        }
        let found = namespace.walk(dir, path, follow)?;
        let result = use_it(&found);
        self.slots.resize_with(SLOTS, || None);
        if let Some(slot) = self.slots.get_mut(slot) {
            *slot = Some(Walked { start, path: path.into(), follow, found });
            self.is_clear = false;
        }
        result
    }

    fn slot(&self, start: (u64, NodeId, bool), path: &[u8]) -> usize {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u64(start.0 ^ start.1.get().rotate_left(32) ^ u64::from(start.2));
        hasher.write(path);
        // OK: less than `SLOTS`.
        usize::try_from(hasher.finish() % to_u64(SLOTS)).unwrap_or(0)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        if !self.is_clear {
            self.slots.fill_with(|| None);
            self.is_clear = true;
        }
    }
}

impl fmt::Debug for WalkCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WalkCache({} walks)", self.slots.iter().flatten().count())
    }
}

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;

    use super::*;
    use crate::backend::mem::MemFs;
    use crate::compose::overlay::Overlay;
    use crate::errno::Errno;
    use crate::fs::{FileSystem, RenameMode};
    use crate::namespace::MountOptions;

    fn memory() -> Arc<dyn FileSystem> {
        Arc::new(MemFs::new())
    }

    fn overlay() -> Arc<dyn FileSystem> {
        let lower = memory();
        let below = Namespace::new(Arc::clone(&lower));
        below.create_dir("a").unwrap();
        below.write("a/b", "below").unwrap();
        Arc::new(Overlay::with_upper(vec![lower], memory()).unwrap())
    }

    /// What a walk answers, so that two answers can be compared.
    fn answer(result: Result<Location>) -> core::result::Result<NodeId, Errno> {
        result.map(|found| found.node()).map_err(|error| error.errno())
    }

    #[test]
    fn remembers_nothing_that_changed() {
        type Change = fn(&Namespace) -> Result<()>;
        let changes: [Change; 9] = [
            |ns| ns.create_dir("d"),
            |ns| ns.write("d/b", "1"),
            |ns| ns.symlink("d/b", "s"),
            |ns| ns.rename("d", "e"),
            |ns| ns.create_dir("d"),
            |ns| ns.hard_link("e/b", "d/b"),
            |ns| ns.rename_at(ns.root(), b"d", ns.root(), b"e", RenameMode::Exchange),
            |ns| ns.remove_file("d/b"),
            |ns| ns.mount("e", Arc::new(MemFs::new()), MountOptions::default()),
        ];
        for fs in [memory(), overlay()] {
            let namespace = Namespace::new(fs);
            let (mut cache, mut remembered) = (WalkCache::default(), 0);
            for change in changes {
                change(&namespace).unwrap();
                // Twice: the second answer is the remembered one.
                for _ in 0..2 {
                    for path in [&b"d"[..], b"d/b", b"e", b"e/b", b"e/../d/b", b"s", b"a/b", b"none"] {
                        for follow in [Follow::Yes, Follow::No] {
                            let walked = answer(namespace.walk(namespace.root(), path, follow));
                            let found = answer(cache.walk(&namespace, namespace.root(), path, follow));
                            assert_eq!(found, walked, "{}", path.escape_ascii());
                        }
                    }
                    remembered += cache.slots.iter().flatten().count();
                }
            }
            assert!(remembered > 20, "nothing was remembered: {remembered}");
        }
    }

    #[test]
    fn a_start_is_part_of_what_is_remembered() {
        let namespace = Namespace::new(memory());
        for dir in ["x", "y"] {
            namespace.create_dir(dir).unwrap();
            namespace.write(format!("{dir}/f"), dir).unwrap();
        }
        let mut cache = WalkCache::default();
        for dir in ["x", "y", "x"] {
            let start = namespace.locate(dir, Follow::Yes).unwrap();
            let mut file = cache.open_at(&namespace, &start, b"f", &OpenHow::READ).unwrap();
            let mut content = [0; 1];
            assert_eq!((file.read(&mut content).unwrap(), &content), (1, dir.as_bytes().first_chunk().unwrap()));
        }
    }

    #[test]
    fn clearing_lets_go_of_removed_content() {
        let namespace = Namespace::new(Arc::new(crate::backend::mem::MemOptions::new().max_bytes(1 << 20).build()));
        let mut cache = WalkCache::default();
        namespace.write("f", vec![1; 1 << 20]).unwrap();
        cache.attr_at(&namespace, namespace.root(), b"f", Follow::Yes).unwrap();
        namespace.remove_file("f").unwrap();
        cache.clear();
        assert_eq!(namespace.root().info().free_bytes, Some(1 << 20));
    }
}
