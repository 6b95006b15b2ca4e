//! A suite that every writable filesystem can run on itself: what [`fs`](crate::fs) promises and POSIX demands.
//!
//! Each case is one behaviour on a fresh, empty filesystem and has a name such as `rename::into_own_subtree`. Run them
//! one by one ([`cases`], so that a test harness shows each) or all at once ([`run`]).
//!
//! What a backend cannot do is declared in [`Capabilities`]. A case about it then checks that the refusal is the
//! documented one and leaves no trace; nothing is skipped in silence.
//!
//! ```
//! use std::sync::Arc;
//! use mountless::backend::mem::MemFs;
//! use mountless::conformance::{self, Capabilities};
//!
//! conformance::run(|| Arc::new(MemFs::new()), Capabilities::ALL, &[]);
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a case fails by panicking")]

mod attrs;
mod data;
mod limits;
mod links;
mod listing;
mod names;
mod removal;
mod rename;
mod sparse;
mod times;
mod xattr;

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::attr::{Attr, SetAttr};
use crate::error::Result;
use crate::fs::{
    FileSystem, FileSystemExt, NewKind, NewNode, NodeRef, RenameMode, WritableFileSystem, WriteAt, Written,
};
use crate::name::Name;
use crate::testing::Random;

/// What a filesystem can store. Set to `false` what it refuses with the documented errno.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capabilities {
    /// Character and block devices (`ENOTSUP` or `EPERM` if not).
    pub devices: bool,
    /// Pipes and sockets (`ENOTSUP` if not).
    pub pipes: bool,
    /// Whiteouts and opaque directories (`ENOTSUP` if not).
    pub whiteouts: bool,
    /// Symbolic links with an empty target (`ENOTSUP` or `ENOENT` if not).
    pub empty_links: bool,
    /// Permission bits of symbolic links (`ENOTSUP` if not).
    pub link_modes: bool,
    /// Any owner for any node (`EPERM` if not).
    pub owners: bool,
    /// Extended attributes (`ENOTSUP` if not).
    pub xattrs: bool,
    /// Times to the nanosecond from 1901 to 2200; else whole seconds since 1970.
    pub exact_times: bool,
    /// Change times given by the caller (`ENOTSUP` if not).
    pub set_ctime: bool,
    /// Holes that are seen in `extent_at` and `allocated`; else they only read as zeros.
    pub holes: bool,
    /// `allocate` (`ENOTSUP` if not).
    pub allocate: bool,
    /// Files up to [`FILE_SIZE_MAX`](crate::limits::FILE_SIZE_MAX); else the limit may be anywhere below.
    pub greatest_files: bool,
    /// Every directory counts its subdirectories in `nlink`; else it may be 1.
    pub dir_links: bool,
}

impl Capabilities {
    /// Everything.
    pub const ALL: Self = Self {
        devices: true,
        pipes: true,
        whiteouts: true,
        empty_links: true,
        link_modes: true,
        owners: true,
        xattrs: true,
        exact_times: true,
        set_ctime: true,
        holes: true,
        allocate: true,
        greatest_files: true,
        dir_links: true,
    };
}

/// One behaviour.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    name: &'static str,
    check: fn(&Tree),
}

impl Case {
    /// Its name, `group::behaviour`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Checks it on `fs`, which must be empty, writable, without limits that 16 MiB would meet, and timed by a clock
    /// that moves.
    ///
    /// # Panics
    /// If the filesystem behaves otherwise.
    pub fn run(&self, fs: Arc<dyn FileSystem>, can: Capabilities) {
        (self.check)(&Tree { root: NodeRef::root(fs), can });
    }
}

/// Every case, group by group.
pub fn cases() -> impl Iterator<Item = Case> {
    const GROUPS: &[&[Case]] = &[
        names::CASES,
        attrs::CASES,
        links::CASES,
        rename::CASES,
        removal::CASES,
        listing::CASES,
        data::CASES,
        sparse::CASES,
        times::CASES,
        xattr::CASES,
        limits::CASES,
    ];
    GROUPS.iter().flat_map(|group| group.iter().copied())
}

/// Runs every case but those named in `skip`, each on a new filesystem, and names all that failed.
///
/// # Panics
/// If any failed, or if `skip` names a case that does not exist.
pub fn run(make: impl Fn() -> Arc<dyn FileSystem>, can: Capabilities, skip: &[&str]) {
    for name in skip {
        assert!(cases().any(|case| case.name == *name), "there is no case {name}");
    }
    let mut failed = Vec::new();
    for case in cases().filter(|case| !skip.contains(&case.name)) {
        let fs = make();
        if std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| case.run(fs, can))).is_err() {
            failed.push(case.name);
        }
    }
    assert!(failed.is_empty(), "failed: {}", failed.join(", "));
}

/// Declares the cases of a group.
macro_rules! group {
    ($group:literal: $($case:ident,)*) => {
        pub(super) const CASES: &[super::Case] = &[
            $(super::Case { name: concat!($group, "::", stringify!($case)), check: $case },)*
        ];
    };
}
use group;

/// An empty filesystem and short words for what cases do to it.
struct Tree {
    root: NodeRef,
    can: Capabilities,
}

fn name<N: AsRef<[u8]> + ?Sized>(bytes: &N) -> Name<'_> {
    Name::new(bytes.as_ref()).unwrap()
}

/// A node as most cases want it.
const fn new(kind: NewKind<'_>) -> NewNode<'_> {
    let mode = if matches!(kind, NewKind::Dir) { 0o755 } else { 0o644 };
    NewNode { kind, mode, uid: 0, gid: 0 }
}

impl Tree {
    fn fs(&self) -> &Arc<dyn FileSystem> {
        self.root.fs()
    }

    fn writable(&self) -> &dyn WritableFileSystem {
        self.fs().writable().expect("the suite is for writable filesystems")
    }

    fn create(&self, dir: &NodeRef, at: &(impl AsRef<[u8]> + ?Sized), node: &NewNode<'_>) -> Result<NodeRef> {
        // Owners are only given where they can be stored: the one thing a host may refuse to everybody.
        let own = self.fs().attr(self.root.node()).unwrap();
        let node = if self.can.owners { *node } else { NewNode { uid: own.uid, gid: own.gid, ..*node } };
        let entry = self.writable().create(dir.node(), name(at), &node)?;
        assert_eq!(entry.file_type, node.kind.file_type());
        Ok(NodeRef::from_entry(Arc::clone(self.fs()), entry))
    }

    fn file(&self, dir: &NodeRef, at: &str) -> NodeRef {
        self.create(dir, at, &new(NewKind::File)).unwrap()
    }

    fn file_with(&self, dir: &NodeRef, at: &str, content: &[u8]) -> NodeRef {
        let file = self.file(dir, at);
        self.write(&file, 0, content);
        file
    }

    fn dir(&self, dir: &NodeRef, at: &str) -> NodeRef {
        self.create(dir, at, &new(NewKind::Dir)).unwrap()
    }

    fn symlink(&self, dir: &NodeRef, at: &str, target: &[u8]) -> NodeRef {
        self.create(dir, at, &new(NewKind::Symlink(target))).unwrap()
    }

    fn lookup(&self, dir: &NodeRef, at: &(impl AsRef<[u8]> + ?Sized)) -> Result<NodeRef> {
        NodeRef::lookup(self.fs(), dir.node(), name(at))
    }

    fn has(&self, dir: &NodeRef, at: &str) -> bool {
        match self.lookup(dir, at) {
            Ok(_) => true,
            Err(error) if error == crate::errno::Errno::NotFound => false,
            Err(error) => panic!("lookup of {at}: {error:?}"),
        }
    }

    fn attr(&self, node: &NodeRef) -> Attr {
        self.fs().attr(node.node()).unwrap()
    }

    fn set(&self, node: &NodeRef, changes: SetAttr) -> Result<Attr> {
        self.writable().set_attr(node.node(), &changes)
    }

    fn resize(&self, node: &NodeRef, size: u64) -> Result<()> {
        self.set(node, SetAttr { size: Some(size), ..SetAttr::default() }).map(drop)
    }

    fn link(&self, node: &NodeRef, dir: &NodeRef, at: &str) -> Result<()> {
        self.writable().link(node.node(), dir.node(), name(at))
    }

    fn unlink(&self, dir: &NodeRef, at: &(impl AsRef<[u8]> + ?Sized)) -> Result<()> {
        self.writable().unlink(dir.node(), name(at))
    }

    fn remove_dir(&self, dir: &NodeRef, at: &str) -> Result<()> {
        self.writable().remove_dir(dir.node(), name(at))
    }

    fn rename(&self, from: (&NodeRef, &str), to: (&NodeRef, &str)) -> Result<()> {
        self.rename_as(from, to, RenameMode::Replace)
    }

    fn rename_as(&self, from: (&NodeRef, &str), to: (&NodeRef, &str), mode: RenameMode) -> Result<()> {
        self.writable().rename(from.0.node(), name(from.1), to.0.node(), name(to.1), mode)
    }

    /// Writes all of `bytes`, also where one call is short.
    fn write(&self, file: &NodeRef, offset: u64, bytes: &[u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let written = self.writable().write_at(file.node(), WriteAt::Offset(at), &bytes[done..]).unwrap();
            assert!(written.count > 0, "no progress at {at}");
            assert_eq!(written.end, at + written.count as u64);
            done += written.count;
        }
    }

    fn append(&self, file: &NodeRef, bytes: &[u8]) -> Written {
        self.writable().write_at(file.node(), WriteAt::End, bytes).unwrap()
    }

    fn read(&self, file: &NodeRef) -> Vec<u8> {
        self.read_part(file, 0, usize::try_from(self.attr(file).size).unwrap())
    }

    /// Up to `len` bytes from `offset`, checked to be short only at the end.
    fn read_part(&self, file: &NodeRef, offset: u64, len: usize) -> Vec<u8> {
        let mut content = alloc::vec![0xee; len];
        let count = self.fs().read_at(file.node(), offset, &mut content).unwrap();
        let rest = usize::try_from(self.attr(file).size.saturating_sub(offset)).unwrap_or(usize::MAX);
        assert_eq!(count, len.min(rest), "short only at the end");
        content.truncate(count);
        content
    }

    /// The names in `dir`, sorted and escaped, with commas between.
    fn list(&self, dir: &NodeRef) -> String {
        let mut names = Vec::new();
        self.fs()
            .for_each_entry(dir.node(), |entry| {
                names.push(entry.name.to_string());
                Ok(())
            })
            .unwrap();
        names.sort();
        names.join(",")
    }

    /// Checks the link count of a directory.
    fn assert_subdirs(&self, dir: &NodeRef, count: u64) {
        let nlink = self.attr(dir).nlink;
        assert!(nlink == 2 + count || (!self.can.dir_links && nlink == 1), "{nlink} links, {count} subdirectories");
    }
}
