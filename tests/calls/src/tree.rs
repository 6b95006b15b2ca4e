//! A tree as plain as can be, and the rules for paths on it: those of `mountless::namespace`, written a second time.

use std::collections::{BTreeMap, VecDeque};

use mountless::errno::Errno;

pub(crate) type Id = usize;
pub(crate) const ROOT: Id = 0;

/// Longest file.
pub(crate) const SIZE_MAX: u64 = i64::MAX as u64;
const PAGE_LEN: u64 = 4096;

#[derive(Debug)]
pub(crate) enum Kind {
    Dir(BTreeMap<Vec<u8>, Id>),
    File(Content),
    Symlink(Vec<u8>),
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    /// How many names it has; 0 when it was removed.
    pub(crate) names: u64,
    /// What was seen of its number.
    pub(crate) ino: Option<u64>,
    /// Times that were set, and not changed since.
    pub(crate) atim: Option<u64>,
    pub(crate) mtim: Option<u64>,
}

/// What a file holds: pages that were written.
#[derive(Debug, Default)]
pub(crate) struct Content {
    pub(crate) size: u64,
    pages: BTreeMap<u64, Vec<u8>>,
}

impl Content {
    pub(crate) fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let end = offset.saturating_add(len as u64).min(self.size);
        let mut out = Vec::new();
        let mut at = offset;
        while at < end {
            let (page, within) = (at / PAGE_LEN, at % PAGE_LEN);
            let count = (PAGE_LEN - within).min(end - at) as usize;
            match self.pages.get(&page) {
                Some(bytes) => out.extend_from_slice(&bytes[within as usize..within as usize + count]),
                None => out.resize(out.len() + count, 0),
            }
            at += count as u64;
        }
        out
    }

    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let mut at = offset;
        let mut left = bytes;
        while !left.is_empty() {
            let (page, within) = (at / PAGE_LEN, (at % PAGE_LEN) as usize);
            let count = (PAGE_LEN as usize - within).min(left.len());
            let (now, later) = left.split_at(count);
            self.pages.entry(page).or_insert_with(|| vec![0; PAGE_LEN as usize])[within..within + count]
                .copy_from_slice(now);
            left = later;
            at += count as u64;
        }
        if !bytes.is_empty() {
            self.size = self.size.max(at);
        }
    }

    pub(crate) fn resize(&mut self, size: u64) {
        self.pages.retain(|&page, _| page * PAGE_LEN < size);
        if let Some(last) = self.pages.get_mut(&(size / PAGE_LEN)) {
            last[(size % PAGE_LEN) as usize..].fill(0);
        }
        self.size = size;
    }
}

#[derive(Debug)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
}

/// The last component of a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Last {
    Name(Vec<u8>),
    Dot,
    DotDot,
}

/// Where a walk stands: in a directory, before the last component.
#[derive(Debug)]
pub(crate) struct Walk {
    start: Id,
    /// Directories walked through, from the start on.
    dirs: Vec<Id>,
    /// Components left, and whether a slash follows.
    left: VecDeque<(Vec<u8>, bool)>,
    hops: u32,
    pub(crate) must_be_dir: bool,
}

impl Walk {
    pub(crate) fn dir(&self) -> Id {
        *self.dirs.last().expect("the start is never left")
    }
}

fn components(path: &[u8]) -> Vec<(Vec<u8>, bool)> {
    let count = path.split(|&byte| byte == b'/').count();
    let parts = path.split(|&byte| byte == b'/').enumerate();
    parts.filter(|(_, part)| !part.is_empty()).map(|(index, part)| (part.to_vec(), index + 1 < count)).collect()
}

impl Tree {
    pub(crate) fn new() -> Self {
        let mut tree = Self { nodes: Vec::new() };
        tree.add(Kind::Dir(BTreeMap::new()));
        tree
    }

    fn add(&mut self, kind: Kind) -> Id {
        self.nodes.push(Node { kind, names: 1, ino: None, atim: None, mtim: None });
        self.nodes.len() - 1
    }

    pub(crate) fn node(&self, id: Id) -> &Node {
        &self.nodes[id]
    }

    pub(crate) fn node_mut(&mut self, id: Id) -> &mut Node {
        &mut self.nodes[id]
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = (Id, &Node)> {
        self.nodes.iter().enumerate()
    }

    pub(crate) fn entries(&self, dir: Id) -> &BTreeMap<Vec<u8>, Id> {
        match &self.nodes[dir].kind {
            Kind::Dir(entries) => entries,
            Kind::File(_) | Kind::Symlink(_) => panic!("no directory"),
        }
    }

    pub(crate) fn entries_mut(&mut self, dir: Id) -> &mut BTreeMap<Vec<u8>, Id> {
        let node = &mut self.nodes[dir];
        (node.atim, node.mtim) = (None, None);
        match &mut node.kind {
            Kind::Dir(entries) => entries,
            Kind::File(_) | Kind::Symlink(_) => panic!("no directory"),
        }
    }

    pub(crate) fn is_dir(&self, id: Id) -> bool {
        matches!(self.nodes[id].kind, Kind::Dir(_))
    }

    pub(crate) fn lookup(&self, dir: Id, name: &[u8]) -> Result<Id, Errno> {
        if name.len() > 255 {
            return Err(Errno::NameTooLong);
        }
        self.entries(dir).get(name).copied().ok_or(Errno::NotFound)
    }

    /// Adds a node where there is nothing.
    pub(crate) fn create(&mut self, dir: Id, name: &[u8], kind: Kind) -> Id {
        let id = self.add(kind);
        assert_eq!(self.entries_mut(dir).insert(name.to_vec(), id), None, "there is nothing");
        id
    }

    pub(crate) fn remove(&mut self, dir: Id, name: &[u8]) {
        let id = self.entries_mut(dir).remove(name).expect("it is there");
        self.nodes[id].names -= 1;
    }

    /// Whether `id` is `dir` or somewhere below.
    pub(crate) fn is_within(&self, id: Id, dir: Id) -> bool {
        id == dir || self.is_dir(dir) && self.entries(dir).values().any(|&child| self.is_within(id, child))
    }

    /// Walks up to the last component.
    pub(crate) fn walk(&self, start: Id, path: &[u8]) -> Result<(Walk, Last), Errno> {
        match path.first() {
            None => return Err(Errno::NotFound),
            Some(b'/') => return Err(Errno::NotPermitted),
            Some(_) => {}
        }
        let left = components(path).into();
        let mut walk = Walk { start, dirs: vec![start], left, hops: 0, must_be_dir: false };
        let last = self.go_on(&mut walk)?;
        Ok((walk, last))
    }

    fn go_on(&self, walk: &mut Walk) -> Result<Last, Errno> {
        while let Some((name, slash)) = walk.left.pop_front() {
            let is_last = walk.left.is_empty();
            walk.must_be_dir |= is_last && slash;
            match name.as_slice() {
                b"." if is_last => return Ok(Last::Dot),
                b"." => {}
                b".." => {
                    walk.dirs.pop();
                    if walk.dirs.is_empty() {
                        return Err(Errno::NotPermitted);
                    }
                    if is_last {
                        return Ok(Last::DotDot);
                    }
                }
                _ if is_last => return Ok(Last::Name(name)),
                _ => {
                    let next = self.lookup(walk.dir(), &name)?;
                    match &self.nodes[next].kind {
                        Kind::Dir(_) => walk.dirs.push(next),
                        Kind::Symlink(_) => self.follow(walk, next)?,
                        Kind::File(_) => return Err(Errno::NotDir),
                    }
                }
            }
        }
        Ok(Last::Dot)
    }

    fn follow(&self, walk: &mut Walk, link: Id) -> Result<(), Errno> {
        let Kind::Symlink(target) = &self.nodes[link].kind else { panic!("no link") };
        walk.hops += 1;
        if walk.hops > 40 {
            return Err(Errno::Loop);
        }
        if target.first() == Some(&b'/') {
            if walk.start != ROOT {
                return Err(Errno::NotPermitted);
            }
            walk.dirs.truncate(1);
        }
        for component in components(target).into_iter().rev() {
            walk.left.push_front(component);
        }
        Ok(())
    }

    /// Follows the link that is the last component, and walks on.
    pub(crate) fn follow_last(&self, walk: &mut Walk, link: Id) -> Result<Last, Errno> {
        self.follow(walk, link)?;
        self.go_on(walk)
    }

    /// Walks to the end.
    pub(crate) fn find(&self, start: Id, path: &[u8], follow: bool) -> Result<Id, Errno> {
        let (mut walk, mut last) = self.walk(start, path)?;
        loop {
            let Last::Name(name) = last else { return Ok(walk.dir()) };
            let found = self.lookup(walk.dir(), &name)?;
            if matches!(self.nodes[found].kind, Kind::Symlink(_)) && (follow || walk.must_be_dir) {
                last = self.follow_last(&mut walk, found)?;
                continue;
            }
            return if walk.must_be_dir && !self.is_dir(found) { Err(Errno::NotDir) } else { Ok(found) };
        }
    }
}
