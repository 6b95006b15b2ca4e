//! The calls with paths.

use mountless::errno::Errno;

use super::{APPEND, Args, Checked, Model, Open, Slot};
use crate::memory::Faults;
use crate::tree::{Content, Id, Kind, Last, ROOT, Walk};

/// A walk that ended, and the last component.
type Place = (Walk, Last);

impl Model {
    fn follow(faults: &mut Faults, lookup: u64) -> bool {
        faults.note_if(lookup > 1, Errno::Invalid);
        lookup == 1
    }

    /// A directory and a path in it.
    fn start(&self, faults: &mut Faults, fd: u64, path: (u64, u64)) -> Option<(Id, Vec<u8>)> {
        let path = faults.take(self.memory.text(path.0, path.1));
        let dir = faults.take(self.dir(fd));
        dir.zip(path)
    }

    /// A name about to be made, removed or moved.
    fn place(&self, faults: &mut Faults, fd: u64, path: (u64, u64)) -> Option<Place> {
        let (dir, path) = self.start(faults, fd, path)?;
        faults.take(self.tree.walk(dir, &path))
    }

    fn find(&self, faults: &mut Faults, fd: u64, path: (u64, u64), follow: bool) -> Option<Id> {
        let (dir, path) = self.start(faults, fd, path)?;
        faults.take(self.tree.find(dir, &path, follow))
    }

    pub(super) fn path_filestat_get(&mut self, args: Args<'_>) -> Checked {
        let mut faults = Faults::default();
        faults.take(self.memory.range(args[4], 64));
        let follow = Self::follow(&mut faults, args[1]);
        let node = self.find(&mut faults, args[0], (args[2], args[3]), follow);
        faults.none()?;
        self.filestat(args[4], node.expect("checked"));
        Ok(())
    }

    pub(super) fn path_filestat_set_times(&mut self, args: Args<'_>) -> Checked {
        let mut faults = Faults::default();
        let follow = Self::follow(&mut faults, args[1]);
        let node = self.find(&mut faults, args[0], (args[2], args[3]), follow);
        self.set_times(faults, args[0], node, &args[4..7])
    }

    pub(super) fn path_readlink(&mut self, args: Args<'_>) -> Checked {
        let mut faults = Faults::default();
        faults.take(self.memory.range(args[5], 4));
        faults.take(self.memory.range(args[3], args[4]));
        let node = self.find(&mut faults, args[0], (args[1], args[2]), false);
        let target = node.map(|node| match &self.tree.node(node).kind {
            Kind::Symlink(target) => Ok(target.clone()),
            Kind::Dir(_) | Kind::File(_) => Err(Errno::Invalid),
        });
        let target = target.and_then(|target| faults.take(target));
        faults.none()?;
        let mut target = target.expect("checked");
        target.truncate(args[4] as usize);
        self.memory.put(args[3], &target);
        self.memory.put_u32(args[5], target.len() as u64);
        Ok(())
    }

    /// What is in the way of a new name.
    fn room(&self, faults: &mut Faults, place: Option<&Place>, may_end_in_slash: bool) {
        let Some((walk, last)) = place else { return };
        let Last::Name(name) = last else { return faults.note(Errno::Exists) };
        match self.tree.lookup(walk.dir(), name) {
            Ok(_) => faults.note(Errno::Exists),
            Err(Errno::NotFound) => {
                faults.note_if(walk.must_be_dir && !may_end_in_slash, Errno::NotFound);
                faults.note_if(!self.has_names(walk.dir()), Errno::NotFound);
            }
            Err(errno) => faults.note(errno),
        }
    }

    /// Whether a directory takes names: not when it was removed.
    fn has_names(&self, dir: Id) -> bool {
        dir == ROOT || self.tree.node(dir).names > 0
    }

    fn create(&mut self, place: Option<Place>, kind: Kind) -> Id {
        match place {
            Some((walk, Last::Name(name))) => self.tree.create(walk.dir(), &name, kind),
            _ => panic!("checked"),
        }
    }

    pub(super) fn path_create_directory(&mut self, args: Args<'_>) -> Checked {
        let mut faults = Faults::default();
        let place = self.place(&mut faults, args[0], (args[1], args[2]));
        self.room(&mut faults, place.as_ref(), true);
        self.may_change(&mut faults, args[0]);
        faults.none()?;
        self.create(place, Kind::Dir(Default::default()));
        Ok(())
    }

    pub(super) fn path_symlink(&mut self, args: Args<'_>) -> Checked {
        let mut faults = Faults::default();
        let target = faults.take(self.memory.text(args[0], args[1]));
        let place = self.place(&mut faults, args[2], (args[3], args[4]));
        if let Some(target) = &target {
            faults.note_if(target.is_empty(), Errno::NotFound);
            let from_root = self.dir(args[2]).is_ok_and(|dir| dir == ROOT);
            faults.note_if(target.first() == Some(&b'/') && !from_root, Errno::NotPermitted);
        }
        self.room(&mut faults, place.as_ref(), false);
        self.may_change(&mut faults, args[2]);
        faults.none()?;
        self.create(place, Kind::Symlink(target.expect("checked")));
        Ok(())
    }

    pub(super) fn path_link(&mut self, args: Args<'_>) -> Checked {
        let mut faults = Faults::default();
        faults.note_if(args[1] != 0, Errno::Invalid);
        let node = self.find(&mut faults, args[0], (args[2], args[3]), false);
        let place = self.place(&mut faults, args[4], (args[5], args[6]));
        faults.note_if(node.is_some_and(|node| self.tree.is_dir(node)), Errno::NotPermitted);
        self.room(&mut faults, place.as_ref(), false);
        self.may_change(&mut faults, args[0]);
        self.may_change(&mut faults, args[4]);
        faults.none()?;
        let (Some(node), Some((walk, Last::Name(name)))) = (node, place) else { panic!("checked") };
        self.tree.entries_mut(walk.dir()).insert(name, node);
        self.tree.node_mut(node).names += 1;
        Ok(())
    }

    pub(super) fn path_unlink_file(&mut self, args: Args<'_>) -> Checked {
        let mut faults = Faults::default();
        let place = self.place(&mut faults, args[0], (args[1], args[2]));
        match &place {
            Some((walk, Last::Name(name))) => match self.tree.lookup(walk.dir(), name) {
                Ok(node) if self.tree.is_dir(node) => faults.note(Errno::IsDir),
                Ok(_) => faults.note_if(walk.must_be_dir, Errno::NotDir),
                Err(errno) => faults.note(errno),
            },
            Some((_, Last::Dot | Last::DotDot)) => faults.note(Errno::IsDir),
            None => {}
        }
        self.may_change(&mut faults, args[0]);
        faults.none()?;
        self.remove(place);
        Ok(())
    }

    pub(super) fn path_remove_directory(&mut self, args: Args<'_>) -> Checked {
        let mut faults = Faults::default();
        let place = self.place(&mut faults, args[0], (args[1], args[2]));
        match &place {
            Some((walk, Last::Name(name))) => match self.tree.lookup(walk.dir(), name) {
                Ok(node) if self.tree.is_dir(node) => {
                    faults.note_if(!self.tree.entries(node).is_empty(), Errno::NotEmpty);
                }
                Ok(_) => faults.note(Errno::NotDir),
                Err(errno) => faults.note(errno),
            },
            Some((_, Last::Dot)) => faults.note(Errno::Invalid),
            Some((_, Last::DotDot)) => faults.note(Errno::NotEmpty),
            None => {}
        }
        self.may_change(&mut faults, args[0]);
        faults.none()?;
        self.remove(place);
        Ok(())
    }

    fn remove(&mut self, place: Option<Place>) {
        match place {
            Some((walk, Last::Name(name))) => self.tree.remove(walk.dir(), &name),
            _ => panic!("checked"),
        }
    }

    pub(super) fn path_rename(&mut self, args: Args<'_>) -> Checked {
        let mut faults = Faults::default();
        let from = self.place(&mut faults, args[0], (args[1], args[2]));
        let to = self.place(&mut faults, args[3], (args[4], args[5]));
        for place in [&from, &to] {
            faults.note_if(matches!(place, Some((_, Last::Dot | Last::DotDot))), Errno::Busy);
        }
        self.may_change(&mut faults, args[0]);
        self.may_change(&mut faults, args[3]);
        let mut moved = None;
        if let (Some((from, Last::Name(from_name))), Some((to, Last::Name(to_name)))) = (&from, &to) {
            let source = faults.take(self.tree.lookup(from.dir(), from_name));
            let replaced = match self.tree.lookup(to.dir(), to_name) {
                Err(Errno::NotFound) => None,
                found => faults.take(found),
            };
            faults.note_if(!self.has_names(to.dir()), Errno::NotFound);
            if let Some(source) = source {
                let is_dir = self.tree.is_dir(source);
                faults.note_if((from.must_be_dir || to.must_be_dir) && !is_dir, Errno::NotDir);
                let replaces_dir = replaced.map(|replaced| self.tree.is_dir(replaced));
                faults.note_if(to.must_be_dir && replaces_dir == Some(false), Errno::NotDir);
                if replaced != Some(source) {
                    faults.note_if(is_dir && replaces_dir == Some(false), Errno::NotDir);
                    faults.note_if(!is_dir && replaces_dir == Some(true), Errno::IsDir);
                    faults.note_if(is_dir && self.tree.is_within(to.dir(), source), Errno::Invalid);
                    let is_full = |dir: Id| self.tree.is_dir(dir) && !self.tree.entries(dir).is_empty();
                    faults.note_if(replaced.is_some_and(is_full), Errno::NotEmpty);
                    moved = Some((source, replaced));
                }
            }
        }
        faults.none()?;
        let (Some((from, Last::Name(from_name))), Some((to, Last::Name(to_name)))) = (from, to) else {
            panic!("checked")
        };
        if let Some((source, replaced)) = moved {
            if replaced.is_some() {
                self.tree.remove(to.dir(), &to_name);
            }
            self.tree.entries_mut(from.dir()).remove(&from_name);
            self.tree.entries_mut(to.dir()).insert(to_name, source);
        }
        Ok(())
    }

    pub(super) fn path_open(&mut self, args: Args<'_>) -> Checked {
        let (oflags, rights, flags, out) = (args[4], args[5], args[7], args[8]);
        let (create, directory, exclusive, truncate) =
            (oflags & 1 != 0, oflags & 2 != 0, oflags & 4 != 0, oflags & 8 != 0);
        let (read, write) = (rights & 1 << 1 != 0, rights & 1 << 6 != 0);
        let (read, write) = (read || !write, write || create || truncate);
        let mut faults = Faults::default();
        faults.take(self.memory.range(out, 4));
        let follow = Self::follow(&mut faults, args[1]);
        faults.note_if(oflags > 15 || flags > 31, Errno::Invalid);
        faults.note_if(directory && (create || exclusive || truncate), Errno::Invalid);
        let mut found = None;
        let mut new = None;
        if let Some((dir, path)) = self.start(&mut faults, args[0], (args[2], args[3])) {
            if create {
                match self.find_or_make(dir, &path, follow, exclusive) {
                    Ok(Made::Found(node)) => found = Some(node),
                    Ok(Made::New(place)) => new = Some(place),
                    Err(errno) => faults.note(errno),
                }
            } else {
                found = faults.take(self.tree.find(dir, &path, follow));
            }
        }
        if let Some(node) = found {
            match &self.tree.node(node).kind {
                Kind::Dir(_) => faults.note_if(write, Errno::IsDir),
                Kind::Symlink(_) => {
                    faults.note(Errno::Loop);
                    faults.note_if(directory, Errno::NotDir);
                }
                Kind::File(_) => faults.note_if(directory, Errno::NotDir),
            }
        }
        if write {
            self.may_change(&mut faults, args[0]);
        }
        faults.none()?;
        let node = match (found, new) {
            (Some(node), _) => node,
            (None, place) => self.create(place, Kind::File(Content::default())),
        };
        if truncate {
            self.resize(node, 0);
        }
        let is_dir = self.tree.is_dir(node);
        let read_only = self.slot(args[0])?.read_only;
        let open = if is_dir { Open::Dir(node) } else { Open::File { node, read, write } };
        let flags = if is_dir { flags & !APPEND } else { flags };
        let fd = self.insert(Slot { open, position: 0, flags, preopen: None, read_only });
        self.memory.put_u32(out, fd);
        Ok(())
    }

    fn find_or_make(&self, dir: Id, path: &[u8], follow: bool, exclusive: bool) -> Result<Made, Errno> {
        let (mut walk, mut last) = self.tree.walk(dir, path)?;
        loop {
            let Last::Name(name) = &last else {
                return Err(if exclusive { Errno::Exists } else { Errno::IsDir });
            };
            match self.tree.lookup(walk.dir(), name) {
                Ok(_) if exclusive => return Err(Errno::Exists),
                Ok(node) => match &self.tree.node(node).kind {
                    Kind::Symlink(_) if follow || walk.must_be_dir => last = self.tree.follow_last(&mut walk, node)?,
                    Kind::Symlink(_) => return Err(Errno::Loop),
                    Kind::File(_) if walk.must_be_dir => return Err(Errno::NotDir),
                    Kind::Dir(_) => return Err(Errno::IsDir),
                    Kind::File(_) => return Ok(Made::Found(node)),
                },
                Err(Errno::NotFound) if walk.must_be_dir => return Err(Errno::IsDir),
                Err(Errno::NotFound) if !self.has_names(walk.dir()) => return Err(Errno::NotFound),
                Err(Errno::NotFound) => return Ok(Made::New((walk, last))),
                Err(errno) => return Err(errno),
            }
        }
    }
}

/// What opening with `creat` comes to.
enum Made {
    Found(Id),
    New(Place),
}
