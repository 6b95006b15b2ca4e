//! What a process holds, and what each call answers.
//!
//! A call that is wrong in several ways may be refused for any of them, and changes nothing then. One that is not wrong
//! in any way must succeed. Where the interface leaves something open (numbers of nodes, the order of a listing, how
//! much of a long write is done at once), the answer is looked at, and held to from then on.

use std::collections::{BTreeMap, HashSet};

use mountless::errno::Errno;
use mountless_wasi::errno::number;

use crate::draw::{Function, MEMORY_LEN};
use crate::host::{ARGS, ENV, Given};
use crate::memory::{Faults, Memory, u64_at};
use crate::tree::{Id, Kind, ROOT, SIZE_MAX, Tree};

mod content;
mod paths;

/// What a descriptor stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Open {
    /// With the number it had at first.
    Stdio(u64),
    Dir(Id),
    File {
        node: Id,
        read: bool,
        write: bool,
    },
}

#[derive(Clone, Debug)]
struct Slot {
    open: Open,
    position: u64,
    flags: u64,
    preopen: Option<&'static [u8]>,
    /// Nothing may be changed through it.
    read_only: bool,
}

const APPEND: u64 = 1;
const NONBLOCK: u64 = 4;
const SYNCING: u64 = 2 | 8 | 16;

/// What may be reserved of a file without there being less for others, in bytes.
const RESERVED_MAX: u64 = 1 << 50;

pub(crate) type Checked = Result<(), Faults>;

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) tree: Tree,
    pub(crate) memory: Memory,
    /// Nothing may be changed.
    read_only: bool,
    slots: BTreeMap<u64, Slot>,
    given: Given,
    /// What a call did was not to be foretold: nothing after it is.
    pub(crate) lost_track: bool,
}

/// The functions of [`Model`] take the raw arguments, in the interface's order.
type Args<'a> = &'a [u64];

impl Model {
    pub(crate) fn new(tree: Tree, read_only: bool) -> Self {
        let stdio = |fd| Slot { open: Open::Stdio(fd), position: 0, flags: 0, preopen: None, read_only: false };
        let memory = Memory { expected: vec![0; MEMORY_LEN], after: Vec::new() };
        let slots = (0..3).map(|fd| (fd, stdio(fd))).collect();
        Self { tree, memory, read_only, slots, given: Given::new(), lost_track: false }
    }

    pub(crate) fn preopen(&mut self, name: &'static [u8], node: Id, read_only: bool) {
        let slot = Slot { open: Open::Dir(node), position: 0, flags: 0, preopen: Some(name), read_only };
        self.insert(slot);
    }

    fn insert(&mut self, slot: Slot) -> u64 {
        let fd = (0..).find(|fd| !self.slots.contains_key(fd)).expect("there is a free number");
        self.slots.insert(fd, slot);
        fd
    }

    fn slot(&self, fd: u64) -> Result<&Slot, Errno> {
        self.slots.get(&fd).ok_or(Errno::BadFd)
    }

    fn slot_mut(&mut self, fd: u64) -> &mut Slot {
        self.slots.get_mut(&fd).expect("checked")
    }

    /// A file and how it is open.
    fn file(&self, fd: u64, on_stdio: Errno) -> Result<(Id, bool, bool), Errno> {
        match self.slot(fd)?.open {
            Open::File { node, read, write } => Ok((node, read, write)),
            Open::Dir(_) => Err(Errno::BadFd),
            Open::Stdio(_) => Err(on_stdio),
        }
    }

    fn dir(&self, fd: u64) -> Result<Id, Errno> {
        match self.slot(fd)?.open {
            Open::Dir(node) => Ok(node),
            Open::File { .. } => Err(Errno::NotDir),
            Open::Stdio(_) => Err(Errno::BadFd),
        }
    }

    fn any_node(&self, fd: u64) -> Result<Id, Errno> {
        match self.slot(fd)?.open {
            Open::Dir(node) | Open::File { node, .. } => Ok(node),
            Open::Stdio(_) => Err(Errno::BadFd),
        }
    }

    fn may_change(&self, faults: &mut Faults, fd: u64) {
        let is_read_only = self.slots.get(&fd).is_some_and(|slot| slot.read_only);
        faults.note_if(self.read_only || is_read_only, Errno::ReadOnly);
    }

    fn size(&self, node: Id) -> u64 {
        match &self.tree.node(node).kind {
            Kind::File(content) => content.size,
            Kind::Symlink(target) => target.len() as u64,
            Kind::Dir(_) => panic!("directories have no size"),
        }
    }

    fn is_alive(&self, id: Id) -> bool {
        let is_open = |slot: &Slot| match slot.open {
            Open::Dir(node) | Open::File { node, .. } => node == id,
            Open::Stdio(_) => false,
        };
        id == ROOT || self.tree.node(id).names > 0 || self.slots.values().any(is_open)
    }

    /// What a call answers, given its arguments and what is in the memory after it.
    pub(crate) fn call(&mut self, function: Function, args: Args<'_>) -> Checked {
        match function {
            Function::args_get => self.strings(&ARGS, args),
            Function::args_sizes_get => self.sizes(&ARGS, args),
            Function::environ_get => self.strings(&ENV, args),
            Function::environ_sizes_get => self.sizes(&ENV, args),
            Function::clock_res_get => self.clock(args[0], args[1], 1000),
            Function::clock_time_get => self.clock(args[0], args[2], self.given.now),
            Function::fd_advise => self.fd_advise(args),
            Function::fd_allocate => self.fd_allocate(args),
            Function::fd_close => self.slots.remove(&args[0]).map(drop).ok_or_else(|| Errno::BadFd.into()),
            Function::fd_datasync | Function::fd_sync => Ok(self.any_node(args[0]).map(drop)?),
            Function::fd_fdstat_get => self.fd_fdstat_get(args),
            Function::fd_fdstat_set_flags => self.fd_fdstat_set_flags(args),
            Function::fd_fdstat_set_rights => {
                self.slot(args[0])?;
                Err(Errno::NotSupported.into())
            }
            Function::fd_filestat_get => self.fd_filestat_get(args),
            Function::fd_filestat_set_size => self.fd_filestat_set_size(args),
            Function::fd_filestat_set_times => {
                let mut faults = Faults::default();
                let node = faults.take(self.any_node(args[0]));
                self.set_times(faults, args[0], node, &args[1..4])
            }
            Function::fd_pread => self.read(args[0], (args[1], args[2]), Some(args[3]), args[4]),
            Function::fd_read => self.read(args[0], (args[1], args[2]), None, args[3]),
            Function::fd_pwrite => self.write(args[0], (args[1], args[2]), Some(args[3]), args[4]),
            Function::fd_write => self.write(args[0], (args[1], args[2]), None, args[3]),
            Function::fd_prestat_get => self.fd_prestat_get(args),
            Function::fd_prestat_dir_name => self.fd_prestat_dir_name(args),
            Function::fd_readdir => self.fd_readdir(args),
            Function::fd_renumber => self.fd_renumber(args),
            Function::fd_seek => self.fd_seek(args),
            Function::fd_tell => {
                let mut faults = Faults::default();
                faults.take(self.memory.range(args[1], 8));
                faults.take(self.file(args[0], Errno::IllegalSeek));
                faults.none()?;
                let position = self.slot(args[0])?.position;
                self.memory.put(args[1], &position.to_le_bytes());
                Ok(())
            }
            Function::path_create_directory => self.path_create_directory(args),
            Function::path_filestat_get => self.path_filestat_get(args),
            Function::path_filestat_set_times => self.path_filestat_set_times(args),
            Function::path_link => self.path_link(args),
            Function::path_open => self.path_open(args),
            Function::path_readlink => self.path_readlink(args),
            Function::path_remove_directory => self.path_remove_directory(args),
            Function::path_rename => self.path_rename(args),
            Function::path_symlink => self.path_symlink(args),
            Function::path_unlink_file => self.path_unlink_file(args),
            Function::poll_oneoff => self.poll_oneoff(args),
            Function::proc_raise => Err(Errno::NotSupported.into()),
            Function::random_get => {
                let range = self.memory.range(args[0], args[1])?;
                self.given.random(&mut self.memory.expected[range]);
                Ok(())
            }
            Function::sched_yield => Ok(()),
            Function::sock_accept | Function::sock_recv | Function::sock_send | Function::sock_shutdown => {
                self.slot(args[0])?;
                Err(Errno::NotSocket.into())
            }
        }
    }

    fn sizes(&mut self, strings: &[&str], args: Args<'_>) -> Checked {
        self.memory.range(args[0], 4)?;
        self.memory.range(args[1], 4)?;
        self.memory.put_u32(args[0], strings.len() as u64);
        self.memory.put_u32(args[1], strings.iter().map(|string| string.len() as u64 + 1).sum());
        Ok(())
    }

    fn strings(&mut self, strings: &[&str], args: Args<'_>) -> Checked {
        let bytes: Vec<u8> = strings.iter().flat_map(|string| [string.as_bytes(), b"\0"].concat()).collect();
        self.memory.range(args[0], 4 * strings.len() as u64)?;
        self.memory.range(args[1], bytes.len() as u64)?;
        self.memory.put(args[1], &bytes);
        let mut at = args[1];
        for (index, string) in strings.iter().enumerate() {
            self.memory.put_u32(args[0] + 4 * index as u64, at);
            at += string.len() as u64 + 1;
        }
        Ok(())
    }

    fn clock(&mut self, id: u64, out: u64, value: u64) -> Checked {
        let mut faults = Faults::default();
        faults.take(self.memory.range(out, 8));
        faults.note_if(id == 2 || id == 3, Errno::BadFd);
        faults.note_if(id > 3, Errno::Invalid);
        faults.none()?;
        self.memory.put(out, &value.to_le_bytes());
        Ok(())
    }

    fn fd_advise(&self, args: Args<'_>) -> Checked {
        let mut faults = Faults::default();
        faults.take(self.file(args[0], Errno::IllegalSeek));
        faults.note_if(args[3] > 5 || args[1].checked_add(args[2]).is_none(), Errno::Invalid);
        faults.none()
    }

    fn fd_allocate(&mut self, args: Args<'_>) -> Checked {
        let mut faults = Faults::default();
        let file = faults.take(self.file(args[0], Errno::IllegalSeek));
        faults.note_if(file.is_some_and(|(_, _, write)| !write), Errno::BadFd);
        faults.note_if(args[2] == 0, Errno::Invalid);
        let end = args[1].checked_add(args[2]).filter(|&end| end <= SIZE_MAX);
        faults.note_if(end.is_none(), Errno::FileTooBig);
        faults.none()?;
        if args[2] > RESERVED_MAX {
            // More than any store has, and what is reserved is gone for others.
            self.lost_track = true;
        }
        if let (Some((node, ..)), Some(end)) = (file, end)
            && end > self.size(node)
        {
            self.resize(node, end);
        }
        Ok(())
    }

    fn resize(&mut self, node: Id, size: u64) {
        let node = self.tree.node_mut(node);
        node.mtim = None;
        if let Kind::File(content) = &mut node.kind {
            content.resize(size);
        }
    }

    fn fd_filestat_set_size(&mut self, args: Args<'_>) -> Checked {
        let mut faults = Faults::default();
        let file = faults.take(self.file(args[0], Errno::BadFd));
        faults.note_if(file.is_some_and(|(_, _, write)| !write), Errno::Invalid);
        faults.note_if(args[1] > SIZE_MAX, Errno::FileTooBig);
        faults.none()?;
        if let Some((node, ..)) = file {
            self.resize(node, args[1]);
        }
        Ok(())
    }

    fn fd_fdstat_get(&mut self, args: Args<'_>) -> Checked {
        let mut faults = Faults::default();
        faults.take(self.memory.range(args[1], 24));
        let slot = faults.take(self.slot(args[0]).cloned());
        faults.none()?;
        let slot = slot.expect("checked");
        let is_stdio = matches!(slot.open, Open::Stdio(_));
        let out = self.memory.accept(args[1], 24);
        let rights = u64_at(out, 8);
        let (file_type, read, write) = match slot.open {
            Open::Stdio(_) => (out[0], rights & 2 != 0, rights & 64 != 0),
            Open::Dir(_) => (3, false, false),
            Open::File { read, write, .. } => (4, read, write),
        };
        assert!(!is_stdio || matches!(out[0], 0 | 2), "a stream is a terminal or unknown");
        assert_eq!(out[0], file_type);
        assert_eq!(u64::from(u16::from_le_bytes([out[2], out[3]])), slot.flags);
        assert_eq!((rights & 2 != 0, rights & 64 != 0), (read, write));
        Ok(())
    }

    fn fd_fdstat_set_flags(&mut self, args: Args<'_>) -> Checked {
        let mut faults = Faults::default();
        let slot = faults.take(self.slot(args[0]).cloned());
        faults.note_if(args[1] > 31, Errno::Invalid);
        faults.note_if(slot.as_ref().is_some_and(|slot| args[1] & SYNCING & !slot.flags != 0), Errno::Invalid);
        faults.note_if(slot.as_ref().is_some_and(|slot| matches!(slot.open, Open::Dir(_))), Errno::BadFd);
        faults.none()?;
        let slot = self.slot_mut(args[0]);
        let settable = if matches!(slot.open, Open::Stdio(_)) { NONBLOCK } else { NONBLOCK | APPEND };
        slot.flags = slot.flags & SYNCING | args[1] & settable;
        Ok(())
    }

    fn fd_filestat_get(&mut self, args: Args<'_>) -> Checked {
        let mut faults = Faults::default();
        faults.take(self.memory.range(args[1], 64));
        let slot = faults.take(self.slot(args[0]).cloned());
        faults.none()?;
        match slot.expect("checked").open {
            Open::Dir(node) | Open::File { node, .. } => self.filestat(args[1], node),
            Open::Stdio(_) => {
                let out = self.memory.accept(args[1], 64);
                let others = out.iter().enumerate().filter(|&(at, _)| at != 16).all(|(_, &byte)| byte == 0);
                assert!(others && matches!(out[16], 0 | 2), "a stream has no attributes");
            }
        }
        Ok(())
    }

    /// Looks at attributes that were answered.
    fn filestat(&mut self, ptr: u64, id: Id) {
        let out = self.memory.accept(ptr, 64).to_vec();
        let (ino, nlink, size) = (u64_at(&out, 8), u64_at(&out, 24), u64_at(&out, 32));
        assert_eq!(u64_at(&out, 0), 1, "one device");
        self.saw_ino(id, ino);
        let node = self.tree.node(id);
        let file_type = match &node.kind {
            Kind::Dir(_) => 3,
            Kind::File(_) => 4,
            Kind::Symlink(_) => 7,
        };
        assert_eq!(out[16], file_type);
        if file_type == 3 {
            assert!(nlink > 0 || node.names == 0, "a directory that is there has a link");
        } else {
            assert_eq!(nlink, node.names);
            assert_eq!(size, self.size(id));
        }
        for (set, at) in [(node.atim, 40), (node.mtim, 48)] {
            assert!(set.is_none_or(|set| set == u64_at(&out, at)), "time {set:?} was set: {}", u64_at(&out, at));
        }
    }

    /// A node's number stays, and no other node that is alive has it.
    fn saw_ino(&mut self, id: Id, ino: u64) {
        assert_ne!(ino, 0);
        match self.tree.node(id).ino {
            Some(known) => assert_eq!(known, ino, "node {id} changed its number"),
            None => {
                let twin = self.tree.nodes().find(|&(other, node)| node.ino == Some(ino) && self.is_alive(other));
                assert!(twin.is_none(), "{twin:?} has the number of {id}");
                self.tree.node_mut(id).ino = Some(ino);
            }
        }
    }

    /// Sets times; `args` from the access time on.
    fn set_times(&mut self, mut faults: Faults, fd: u64, node: Option<Id>, args: Args<'_>) -> Checked {
        let (atim, mtim, flags) = (args[0], args[1], args[2]);
        faults.note_if(flags > 15 || flags & 3 == 3 || flags & 12 == 12, Errno::Invalid);
        self.may_change(&mut faults, fd);
        faults.none()?;
        let node = self.tree.node_mut(node.expect("checked"));
        for (time, value, flags) in [(&mut node.atim, atim, flags & 3), (&mut node.mtim, mtim, flags >> 2 & 3)] {
            match flags {
                1 => *time = Some(value),
                2 => *time = None,
                _ => {}
            }
        }
        Ok(())
    }

    fn fd_prestat_get(&mut self, args: Args<'_>) -> Checked {
        let mut faults = Faults::default();
        faults.take(self.memory.range(args[1], 8));
        let name = faults.take(self.slot(args[0]).and_then(|slot| slot.preopen.ok_or(Errno::BadFd)));
        faults.none()?;
        self.memory.put_u32(args[1], 0);
        self.memory.put_u32(args[1] + 4, name.expect("checked").len() as u64);
        Ok(())
    }

    fn fd_prestat_dir_name(&mut self, args: Args<'_>) -> Checked {
        let mut faults = Faults::default();
        faults.take(self.memory.range(args[1], args[2]));
        let name = faults.take(self.slot(args[0]).and_then(|slot| slot.preopen.ok_or(Errno::BadFd)));
        faults.note_if(name.is_some_and(|name| name.len() as u64 > args[2]), Errno::NameTooLong);
        faults.none()?;
        self.memory.put(args[1], name.expect("checked"));
        Ok(())
    }

    fn fd_renumber(&mut self, args: Args<'_>) -> Checked {
        self.slot(args[0])?;
        self.slot(args[1])?;
        if args[0] != args[1] {
            let moved = self.slots.remove(&args[0]).expect("checked");
            self.slots.insert(args[1], moved);
        }
        Ok(())
    }

    fn fd_seek(&mut self, args: Args<'_>) -> Checked {
        let mut faults = Faults::default();
        faults.take(self.memory.range(args[3], 8));
        let file = faults.take(self.file(args[0], Errno::IllegalSeek));
        faults.note_if(args[2] > 2, Errno::Invalid);
        let by = i128::from(args[1].cast_signed());
        let to = file.map(|(node, ..)| match args[2] {
            0 => i128::from(args[1]),
            1 => i128::from(self.slots[&args[0]].position) + by,
            _ => i128::from(self.size(node)) + by,
        });
        faults.note_if(to.is_some_and(|to| !(0..=i128::from(SIZE_MAX)).contains(&to)), Errno::Invalid);
        faults.none()?;
        let position = u64::try_from(to.expect("checked")).expect("checked");
        self.slot_mut(args[0]).position = position;
        self.memory.put(args[3], &position.to_le_bytes());
        Ok(())
    }

    /// The entries that a buffer holds whole must be there, each once, and of the right kind.
    fn fd_readdir(&mut self, args: Args<'_>) -> Checked {
        let (buf, buf_len, cookie, out) = (args[1], args[2], args[3], args[4]);
        let mut faults = Faults::default();
        faults.take(self.memory.range(out, 4));
        faults.take(self.memory.range(buf, buf_len));
        let dir = faults.take(self.dir(args[0]));
        faults.none()?;
        let dir = dir.expect("checked");
        let bytes = self.memory.accept(buf, buf_len).to_vec();
        let used = self.memory.accepted_u32(out);
        if out < buf + buf_len && buf < out + 4 {
            // The count lies over the entries.
            return Ok(());
        }
        assert!(used <= buf_len);
        let listed = self.listed(dir, &bytes[..used as usize]);
        let children = self.tree.entries(dir).len();
        if cookie == 0 && used < buf_len {
            assert_eq!(listed, children + 2, "a whole listing");
        }
        Ok(())
    }

    /// How many entries there are in a listing, all of which must be of `dir`.
    pub(crate) fn listed(&mut self, dir: Id, mut bytes: &[u8]) -> usize {
        let mut seen = HashSet::new();
        while bytes.len() >= 24 {
            let (header, rest) = bytes.split_at(24);
            let name_len = u32::from_le_bytes(header[16..20].try_into().expect("four bytes")) as usize;
            let Some((name, rest)) = rest.split_at_checked(name_len) else { break };
            assert!(seen.insert(name.to_vec()), "{} twice", name.escape_ascii());
            let node = match name {
                b"." | b".." => dir,
                name => self.tree.lookup(dir, name).unwrap_or_else(|_| panic!("no {}", name.escape_ascii())),
            };
            self.saw_ino(node, u64_at(header, 8));
            let file_type = match &self.tree.node(node).kind {
                Kind::Dir(_) => 3,
                Kind::File(_) => 4,
                Kind::Symlink(_) => 7,
            };
            assert_eq!(header[20], file_type);
            bytes = rest;
        }
        seen.len()
    }

    fn poll_oneoff(&mut self, args: Args<'_>) -> Checked {
        let (subs, events, count, fired) = (args[0], args[1], args[2], args[3]);
        let mut faults = Faults::default();
        faults.take(self.memory.range(fired, 4));
        faults.take(self.memory.range(events, count * 32));
        let list = faults.take(self.memory.get(subs, count * 48).map(<[u8]>::to_vec));
        faults.note_if(count == 0, Errno::Invalid);
        let list = list.unwrap_or_default();
        let subscriptions = || list.chunks_exact(48);
        let is_clock = |sub: &&[u8]| sub[8] == 0;
        let unknown = |sub: &[u8]| sub[8] > 2 || sub[8] == 0 && (sub[17..20] != [0; 3] || sub[16] > 1);
        faults.note_if(subscriptions().any(unknown), Errno::Invalid);
        let overlap = |ptr: u64, len: u64| ptr < subs + count * 48 && subs < ptr + len;
        if overlap(events, count * 32) {
            // It deserves what it gets: an error or an answer, within these bounds.
            if faults.0.iter().all(|&errno| errno == Errno::Invalid) && count > 0 {
                self.memory.accept(events, count * 32);
                self.memory.accept(fired, 4);
                self.lost_track = true;
            }
            return faults.none();
        }
        faults.none()?;
        let due = |sub: &[u8], now: u64| {
            let timeout = u64_at(sub, 24);
            if sub[40] & 1 != 0 { timeout.saturating_sub(now) } else { timeout }
        };
        let others = subscriptions().any(|sub| !is_clock(&sub));
        let now = self.given.now;
        let shortest = subscriptions().filter(is_clock).map(|sub| due(sub, now)).min().unwrap_or(0);
        if !others {
            self.given.now = now.saturating_add(shortest);
        }
        let out = self.memory.accept(events, count * 32).to_vec();
        let done = self.memory.accepted_u32(fired);
        if fired < events + count * 32 && events < fired + 4 {
            return Ok(());
        }
        let mut due_now = 0;
        let mut answers = out.chunks_exact(32).take(done as usize);
        for sub in subscriptions() {
            let fires = !is_clock(&sub) || due(sub, now) <= if others { 0 } else { shortest };
            if fires {
                due_now += 1;
                let answer = answers.next().expect("an event for each that fires");
                assert_eq!(u64_at(answer, 0), u64_at(sub, 0), "events come in order");
                assert_eq!(answer[10], sub[8]);
                let fd = u64::from(u32::from_le_bytes(sub[16..20].try_into().expect("four bytes")));
                let is_bad = match self.slots.get(&fd).map(|slot| slot.open) {
                    _ if is_clock(&sub) => false,
                    None | Some(Open::Dir(_)) => true,
                    Some(Open::File { .. }) => false,
                    Some(Open::Stdio(stream)) => (sub[8] == 1) != (stream == 0),
                };
                let errno = u16::from_le_bytes([answer[8], answer[9]]);
                assert_eq!(errno, if is_bad { number(Errno::BadFd) } else { 0 });
            }
        }
        assert_eq!(done, due_now);
        Ok(())
    }
}
