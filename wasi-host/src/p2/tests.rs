//! The calls over a memory filesystem, without an engine.

pub(crate) mod alike;

use std::sync::Arc;

use bytes::Bytes;
use mountless::backend::mem::{MemFs, MemOptions};
use mountless::errno::Errno;
use mountless::fs::FileSystem;
use mountless::namespace::{MountOptions, Namespace};
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;
use wasmtime_wasi::p2::bindings::filesystem::preopens::Host as _;
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;
use wasmtime_wasi::p2::bindings::sync::filesystem::types::Host as _;
use wasmtime_wasi::p2::bindings::sync::filesystem::types::{
    DescriptorFlags, DescriptorType, HostDescriptor, HostDirectoryEntryStream, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsResult, StreamError};

use super::*;
use crate::files::{Files, Handle};

const READ: DescriptorFlags = DescriptorFlags::READ;
const WRITE: DescriptorFlags = DescriptorFlags::WRITE;
const CREATE: OpenFlags = OpenFlags::CREATE;

/// A component without code: its table of resources, and calls as bindings would make them.
pub(crate) struct Guest {
    files: Files,
    table: ResourceTable,
    root: u32,
}

pub(crate) fn answer<T>(result: FsResult<T>) -> Result<T, ErrorCode> {
    result.map_err(|error| error.downcast().expect("a trap"))
}

/// A handle lent to a call.
pub(crate) fn lent(rep: u32) -> Handle {
    Resource::new_borrow(rep)
}

impl Guest {
    pub(crate) fn new() -> Self {
        Self::on(Namespace::new(Arc::new(MemFs::new())), "/")
    }

    fn on(namespace: Namespace, preopen: &str) -> Self {
        let mut files = Files::new(namespace);
        files.preopen(preopen, preopen).unwrap();
        let mut guest = Self { files, table: ResourceTable::new(), root: 0 };
        let preopens = guest.view().get_directories().unwrap();
        assert_eq!((preopens.len(), preopens[0].1.as_str()), (1, preopen));
        guest.root = preopens[0].0.rep();
        guest
    }

    /// Only the generated traits: what the bindings call.
    fn view(&mut self) -> impl types::Host + preopens::Host {
        View { files: &mut self.files, table: &mut self.table }
    }

    fn namespace(&self) -> Namespace {
        self.files.namespace().clone()
    }

    pub(crate) fn open_with(
        &mut self,
        dir: u32,
        follow: PathFlags,
        path: &str,
        open: OpenFlags,
        flags: DescriptorFlags,
    ) -> Result<u32, ErrorCode> {
        answer(self.view().open_at(lent(dir), follow, path.to_owned(), open, flags)).map(|fd| fd.rep())
    }

    /// Follows links.
    fn open(&mut self, path: &str, open: OpenFlags, flags: DescriptorFlags) -> Result<u32, ErrorCode> {
        self.open_with(self.root, PathFlags::SYMLINK_FOLLOW, path, open, flags)
    }

    fn create(&mut self, path: &str) -> u32 {
        self.open(path, CREATE, READ | WRITE).unwrap()
    }

    pub(crate) fn read(&mut self, fd: u32, len: u64, offset: u64) -> Result<(Vec<u8>, bool), ErrorCode> {
        answer(self.view().read(lent(fd), len, offset))
    }

    pub(crate) fn write(&mut self, fd: u32, content: &[u8], offset: u64) -> Result<u64, ErrorCode> {
        answer(self.view().write(lent(fd), content.to_vec(), offset))
    }

    fn size_at(&mut self, path: &str) -> Result<u64, ErrorCode> {
        let root = lent(self.root);
        answer(self.view().stat_at(root, PathFlags::SYMLINK_FOLLOW, path.to_owned())).map(|stat| stat.size)
    }

    pub(crate) fn names(&mut self, fd: u32) -> Result<Vec<String>, ErrorCode> {
        let stream = answer(self.view().read_directory(lent(fd)))?.rep();
        let mut names = Vec::new();
        while let Some(entry) = answer(self.view().read_directory_entry(Resource::new_borrow(stream)))? {
            names.push(entry.name);
        }
        HostDirectoryEntryStream::drop(&mut self.view(), Resource::new_own(stream)).unwrap();
        names.sort();
        Ok(names)
    }

    pub(crate) fn close(&mut self, fd: u32) {
        HostDescriptor::drop(&mut self.view(), Resource::new_own(fd)).unwrap();
    }

    fn input(&mut self, fd: u32, offset: u64) -> Result<DynInputStream, ErrorCode> {
        let stream = answer(self.view().read_via_stream(lent(fd), offset))?;
        Ok(self.table.delete(stream).unwrap())
    }

    fn output(&mut self, fd: u32, offset: u64) -> Result<DynOutputStream, ErrorCode> {
        let stream = answer(self.view().write_via_stream(lent(fd), offset))?;
        Ok(self.table.delete(stream).unwrap())
    }

    fn appending(&mut self, fd: u32) -> Result<DynOutputStream, ErrorCode> {
        let stream = answer(self.view().append_via_stream(lent(fd)))?;
        Ok(self.table.delete(stream).unwrap())
    }
}

fn is_closed<T>(result: Result<T, StreamError>) -> bool {
    matches!(result, Err(StreamError::Closed))
}

/// `/top/sub/file`, `/top/file`, `/secret`, and `/top` as the preopen.
fn with_preopened_top() -> Guest {
    let namespace = Namespace::new(Arc::new(MemFs::new()));
    namespace.create_dir_all("/top/sub").unwrap();
    for path in ["/top/sub/file", "/top/file", "/secret"] {
        namespace.write(path, path.as_bytes()).unwrap();
    }
    for (target, link) in [("../secret", "/top/up"), ("sub/../../secret", "/top/around"), ("/secret", "/top/absolute")]
    {
        namespace.symlink(target, link).unwrap();
    }
    Guest::on(namespace, "/top")
}

#[test]
fn no_call_leads_out_of_a_preopen() {
    type Call = fn(&mut Guest, String) -> Result<(), ErrorCode>;
    let calls: [(&str, Call); 12] = [
        ("open-at", |guest, path| guest.open(&path, OpenFlags::empty(), READ).map(drop)),
        ("open-at, creating", |guest, path| guest.open(&path, CREATE, WRITE).map(drop)),
        ("stat-at", |guest, path| guest.size_at(&path).map(drop)),
        ("metadata-hash-at", |guest, path| {
            let root = lent(guest.root);
            answer(guest.view().metadata_hash_at(root, PathFlags::SYMLINK_FOLLOW, path)).map(drop)
        }),
        ("set-times-at", |guest, path| {
            let (root, now) = (lent(guest.root), NewTimestamp::Now);
            answer(guest.view().set_times_at(root, PathFlags::SYMLINK_FOLLOW, path, now, now))
        }),
        ("create-directory-at", |guest, path| {
            let root = lent(guest.root);
            answer(guest.view().create_directory_at(root, path + "/new"))
        }),
        ("remove-directory-at", |guest, path| {
            let root = lent(guest.root);
            answer(guest.view().remove_directory_at(root, path + "/x"))
        }),
        ("unlink-file-at", |guest, path| {
            let root = lent(guest.root);
            answer(guest.view().unlink_file_at(root, path + "/x"))
        }),
        ("readlink-at", |guest, path| {
            let root = lent(guest.root);
            answer(guest.view().readlink_at(root, path + "/x")).map(drop)
        }),
        ("symlink-at", |guest, path| {
            let root = lent(guest.root);
            answer(guest.view().symlink_at(root, "x".to_owned(), path + "/x"))
        }),
        ("link-at", |guest, path| {
            let (root, to) = (lent(guest.root), lent(guest.root));
            answer(guest.view().link_at(root, PathFlags::empty(), "file".to_owned(), to, path + "/x"))
        }),
        ("rename-at", |guest, path| {
            let (root, to) = (lent(guest.root), lent(guest.root));
            answer(guest.view().rename_at(root, "file".to_owned(), to, path + "/x"))
        }),
    ];
    let mut guest = with_preopened_top();
    for (name, call) in calls {
        for path in ["..", "../secret", "sub/../../secret", "./..", "/secret", "/", "//", "up", "around", "absolute"] {
            assert_eq!(call(&mut guest, path.to_owned()), Err(ErrorCode::NotPermitted), "{name} {path}");
        }
    }
    assert_eq!(guest.size_at("sub/.././/file"), Ok(9), "inside, dots are fine");
    let root = guest.root;
    let absolute = guest.view().symlink_at(lent(root), "/secret".to_owned(), "new".to_owned());
    assert_eq!(answer(absolute), Err(ErrorCode::NotPermitted));

    let sub = guest.open("sub", OpenFlags::DIRECTORY, READ).unwrap();
    guest.namespace().rename("/top/sub", "/moved").unwrap();
    let up = guest.open_with(sub, PathFlags::SYMLINK_FOLLOW, "../secret", OpenFlags::empty(), READ);
    assert_eq!(up, Err(ErrorCode::NotPermitted), "a directory that was moved");
}

#[test]
fn opening_answers_by_what_is_there_and_what_is_asked() {
    let mut guest = Guest::new();
    let namespace = guest.namespace();
    namespace.write("file", "12345678").unwrap();
    namespace.create_dir("dir").unwrap();
    namespace.symlink("file", "link").unwrap();
    namespace.symlink("made", "dangling").unwrap();
    let (none, dir, excl, trunc) =
        (OpenFlags::empty(), OpenFlags::DIRECTORY, OpenFlags::EXCLUSIVE, OpenFlags::TRUNCATE);
    let (follow, stay) = (PathFlags::SYMLINK_FOLLOW, PathFlags::empty());
    for (path, path_flags, open, flags, expected) in [
        ("file", stay, none, READ, Ok(READ)),
        ("file", stay, none, DescriptorFlags::empty(), Ok(READ)),
        ("file", stay, none, WRITE, Ok(WRITE)),
        ("file", stay, CREATE, READ, Ok(READ | WRITE)),
        (
            "file",
            stay,
            CREATE,
            READ | DescriptorFlags::DATA_INTEGRITY_SYNC,
            Ok(READ | WRITE | DescriptorFlags::DATA_INTEGRITY_SYNC),
        ),
        ("dir", stay, none, READ, Ok(READ)),
        ("dir", stay, dir, READ | DescriptorFlags::MUTATE_DIRECTORY, Ok(READ | DescriptorFlags::MUTATE_DIRECTORY)),
        ("link", follow, none, READ, Ok(READ)),
        ("dangling", follow, CREATE, WRITE, Ok(WRITE)),
        ("", stay, none, READ, Err(ErrorCode::NoEntry)),
        ("none", stay, none, READ, Err(ErrorCode::NoEntry)),
        ("file/", stay, none, READ, Err(ErrorCode::NotDirectory)),
        ("file", stay, dir, READ, Err(ErrorCode::NotDirectory)),
        ("file/x", stay, none, READ, Err(ErrorCode::NotDirectory)),
        ("link", stay, none, READ, Err(ErrorCode::Loop)),
        ("dir", stay, none, WRITE, Err(ErrorCode::IsDirectory)),
        ("dir", stay, trunc, READ, Err(ErrorCode::IsDirectory)),
        ("new/", stay, CREATE, WRITE, Err(ErrorCode::IsDirectory)),
        ("dir", stay, dir | CREATE, READ, Err(ErrorCode::Invalid)),
        ("dir", stay, dir | trunc, READ, Err(ErrorCode::Invalid)),
        ("file", stay, CREATE | excl, WRITE, Err(ErrorCode::Exist)),
        ("link", follow, CREATE | excl, WRITE, Err(ErrorCode::Exist)),
        ("a\0b", stay, none, READ, Err(ErrorCode::Invalid)),
    ] {
        let root = guest.root;
        let opened = guest.open_with(root, path_flags, path, open, flags);
        let shown = opened.and_then(|fd| answer(guest.view().get_flags(lent(fd))));
        assert_eq!(shown, expected, "{path:?} {path_flags:?} {open:?} {flags:?}");
    }
    assert_eq!(guest.size_at("file"), Ok(8));
    assert!(guest.open("file", trunc, READ).is_ok());
    assert_eq!((guest.size_at("file"), guest.size_at("made")), (Ok(0), Ok(0)));
}

#[test]
fn a_handle_does_what_it_was_opened_for() {
    let mut guest = Guest::new();
    let file = guest.create("file");
    assert_eq!(guest.write(file, b"content", 0), Ok(7));
    let reader = guest.open("file", OpenFlags::empty(), READ).unwrap();
    let writer = guest.open("file", OpenFlags::empty(), WRITE).unwrap();
    let dir = guest.root;
    let bad = ErrorCode::BadDescriptor;

    assert_eq!(guest.write(reader, b"x", 0), Err(bad));
    assert_eq!(guest.output(reader, 0).err(), Some(bad));
    assert_eq!(guest.appending(reader).err(), Some(bad));
    assert_eq!(answer(guest.view().set_size(lent(reader), 0)), Err(ErrorCode::Invalid));
    assert_eq!(guest.read(writer, 1, 0), Err(bad));
    assert_eq!(guest.input(writer, 0).err(), Some(bad));

    assert_eq!(guest.read(dir, 1, 0), Err(bad));
    assert_eq!(guest.write(dir, b"x", 0), Err(bad));
    assert_eq!(guest.input(dir, 0).err(), Some(ErrorCode::IsDirectory));
    assert_eq!(guest.output(dir, 0).err(), Some(bad));
    assert_eq!(answer(guest.view().set_size(lent(dir), 0)), Err(bad));
    assert_eq!(guest.names(file), Err(ErrorCode::NotDirectory));
    let below = guest.open_with(file, PathFlags::empty(), "x", OpenFlags::empty(), READ);
    assert_eq!(below, Err(ErrorCode::NotDirectory));
    assert!(answer(guest.view().sync(lent(dir))).is_ok() && answer(guest.view().sync_data(lent(file))).is_ok());
    assert!(guest.view().read(lent(4711), 1, 0).unwrap_err().downcast().is_err(), "no such handle: a trap");
}

#[test]
fn offsets_and_lengths_at_the_edges() {
    let mut guest = Guest::new();
    let file = guest.create("file");
    assert_eq!(guest.write(file, b"0123456789", 0), Ok(10));
    for (len, offset, expected) in [
        (4, 0, Ok((b"0123".to_vec(), false))),
        (100, 8, Ok((b"89".to_vec(), false))),
        (u64::MAX, 5, Ok((b"56789".to_vec(), false))),
        (1, 10, Ok((vec![], true))),
        (0, 0, Ok((vec![], false))),
        (1, i64::MAX as u64, Ok((vec![], true))),
        (1, 1 << 63, Err(ErrorCode::Invalid)),
        (1, u64::MAX, Err(ErrorCode::Invalid)),
    ] {
        assert_eq!(guest.read(file, len, offset), expected, "{len} from {offset}");
    }
    assert_eq!(guest.write(file, b"x", 1 << 63), Err(ErrorCode::Invalid));
    assert_eq!(guest.write(file, b"x", i64::MAX as u64), Err(ErrorCode::FileTooLarge));
    assert_eq!(guest.write(file, b"end", 1 << 40), Ok(3));
    assert_eq!(guest.size_at("file"), Ok((1 << 40) + 3));
    let (hole, at_end) = guest.read(file, u64::MAX, 4096).unwrap();
    assert!(!hole.is_empty() && hole.len() <= 64 << 10 && hole.iter().all(|&byte| byte == 0) && !at_end);
    for (offset, len, expected) in [(0, 0, Ok(())), (5, 100, Ok(())), (u64::MAX, 1, Err(ErrorCode::Invalid))] {
        let advice = wasmtime_wasi::p2::bindings::sync::filesystem::types::Advice::WillNeed;
        assert_eq!(answer(HostDescriptor::advise(&mut guest.view(), lent(file), offset, len, advice)), expected);
    }
}

#[test]
fn a_read_does_not_stop_where_an_extent_does() {
    let mut guest = Guest::new();
    let file = guest.create("file");
    let content: Vec<u8> = (0..50_000_u32).map(|at| (at % 251) as u8).collect();
    // Written back to front in uneven pieces, so that it lies in many.
    for (number, piece) in content.chunks(777).enumerate().collect::<Vec<_>>().into_iter().rev() {
        guest.write(file, piece, number as u64 * 777).unwrap();
    }
    assert_eq!(guest.read(file, 1 << 16, 0), Ok((content.clone(), false)));
    let mut input = guest.input(file, 1000).unwrap();
    assert_eq!(input.read(1 << 16).unwrap(), content[1000..]);
    assert!(is_closed(input.read(1)));
}

#[test]
fn streams_outlive_their_descriptor_and_end_once() {
    let mut guest = Guest::new();
    let file = guest.create("file");
    let mut output = guest.output(file, 2).unwrap();
    let mut input = guest.input(file, 0).unwrap();
    let mut end = guest.appending(file).unwrap();
    guest.close(file);
    let root = guest.root;
    answer(guest.view().unlink_file_at(lent(root), "file".to_owned())).unwrap();

    assert!(output.check_write().unwrap() >= 4096);
    output.write(Bytes::from_static(b"ab")).unwrap();
    output.write(Bytes::from_static(b"cd")).unwrap();
    end.write(Bytes::from_static(b"ef")).unwrap();
    output.flush().unwrap();
    assert_eq!(input.read(0).unwrap(), "");
    assert_eq!(input.read(3).unwrap(), "\0\0a");
    assert_eq!(input.skip(1).unwrap(), 1);
    assert_eq!(input.read(100).unwrap(), "cdef");
    assert!(is_closed(input.read(100)) && is_closed(input.read(0)), "the end is told once, then the stream is closed");
    drop((output, end));
    assert_eq!(guest.namespace().read_dir("/").unwrap().len(), 0);
}

#[test]
fn a_failed_stream_says_why_and_closes() {
    let namespace = Namespace::new(Arc::new(MemOptions::new().max_bytes(8192).build()));
    let mut guest = Guest::on(namespace, "/");
    let file = guest.create("file");
    let mut output = guest.output(file, 0).unwrap();
    let Err(StreamError::LastOperationFailed(error)) = output.write(vec![1; 16384].into()) else {
        panic!("there was no room")
    };
    let error = guest.table.push(error).unwrap();
    let told = guest.view().filesystem_error_code(error).unwrap().unwrap();
    assert_eq!(format!("{told:?}"), format!("{:?}", ErrorCode::InsufficientSpace));
    assert!(is_closed(output.check_write()) && is_closed(output.write(Bytes::new())) && is_closed(output.flush()));

    let other = guest.table.push(wasmtime::Error::msg("of another host")).unwrap();
    assert!(guest.view().filesystem_error_code(other).unwrap().is_none());
}

#[test]
fn metadata_agree_across_handles_and_names() {
    let mut guest = Guest::new();
    let file = guest.create("file");
    guest.namespace().hard_link("file", "again").unwrap();
    guest.namespace().symlink("file", "link").unwrap();
    let (again, other) = (guest.open("again", OpenFlags::empty(), READ).unwrap(), guest.create("other"));
    assert!(guest.view().is_same_object(lent(file), lent(again)).unwrap());
    assert!(!guest.view().is_same_object(lent(file), lent(other)).unwrap());

    let mut hash = |path: &str, follow| {
        let root = lent(guest.root);
        let hash = answer(guest.view().metadata_hash_at(root, follow, path.to_owned())).unwrap();
        (hash.lower, hash.upper)
    };
    let (follow, stay) = (PathFlags::SYMLINK_FOLLOW, PathFlags::empty());
    let of_file = hash("file", stay);
    assert_eq!((hash("again", stay), hash("link", follow)), (of_file, of_file));
    assert!(hash("other", stay) != of_file && hash("link", stay) != of_file && hash(".", stay) != of_file);
    let by_handle = answer(guest.view().metadata_hash(lent(file))).unwrap();
    assert_eq!((by_handle.lower, by_handle.upper), of_file);
    let attr = guest.namespace().metadata("file").unwrap();
    assert_eq!(by_handle.lower, attr.ino, "as preview 1 shows it");

    let at = |seconds, nanoseconds| NewTimestamp::Timestamp(Datetime { seconds, nanoseconds });
    answer(guest.view().set_times(lent(file), at(5, 1_500_000_000), NewTimestamp::NoChange)).unwrap();
    let stat = answer(guest.view().stat(lent(file))).unwrap();
    let atime = stat.data_access_timestamp.unwrap();
    assert_eq!((atime.seconds, atime.nanoseconds), (6, 500_000_000));
    let mtime = stat.data_modification_timestamp.unwrap();
    assert_eq!(i64::try_from(mtime.seconds).unwrap(), attr.mtime.secs);
    assert_eq!((stat.type_, stat.link_count), (DescriptorType::RegularFile, 2));
    let too_far = answer(guest.view().set_times(lent(file), at(u64::MAX, 0), NewTimestamp::Now));
    assert_eq!(too_far, Err(ErrorCode::Overflow));
}

#[test]
fn a_listing_is_complete_while_entries_come_and_go() {
    let mut guest = Guest::new();
    let namespace = guest.namespace();
    for number in 0..2000 {
        namespace.write(format!("{number:04}"), "").unwrap();
    }
    let root = guest.root;
    let stream = answer(guest.view().read_directory(lent(root))).unwrap().rep();
    let mut seen = Vec::new();
    while let Some(entry) = answer(guest.view().read_directory_entry(Resource::new_borrow(stream))).unwrap() {
        assert_eq!(entry.type_, DescriptorType::RegularFile);
        // As `rm -r` does, and somebody else makes others meanwhile.
        namespace.remove_file(&entry.name).unwrap();
        namespace.create_dir_all(format!("/sub/{}", entry.name)).unwrap();
        seen.push(entry.name);
        if seen.len() == 1 {
            namespace.remove_dir_all("sub").unwrap();
        }
        if seen.len() == 2000 {
            break;
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 2000);
    assert_eq!(guest.names(root), Ok(vec!["sub".to_owned()]), "neither `.` nor `..`");

    let sub = guest.open("sub", OpenFlags::DIRECTORY, READ).unwrap();
    namespace.remove_dir_all("sub").unwrap();
    assert_eq!(guest.names(sub), Ok(vec![]), "removed, but open");
    let inside = guest.open_with(sub, PathFlags::empty(), "new", CREATE, WRITE);
    assert_eq!(inside, Err(ErrorCode::NoEntry));
}

#[test]
fn names_that_are_not_utf8_are_told_and_passed() {
    let mut guest = Guest::new();
    let namespace = guest.namespace();
    for name in [&b"a"[..], b"\xff", b"z"] {
        namespace.write(name, "").unwrap();
    }
    namespace.symlink(b"\xfe", "link").unwrap();
    let root = guest.root;
    let stream = answer(guest.view().read_directory(lent(root))).unwrap().rep();
    let (mut names, mut errors) = (0, 0);
    loop {
        match answer(guest.view().read_directory_entry(Resource::new_borrow(stream))) {
            Ok(Some(_)) => names += 1,
            Ok(None) => break,
            Err(error) => {
                assert_eq!(error, ErrorCode::IllegalByteSequence);
                errors += 1;
            }
        }
    }
    assert_eq!((names, errors), (3, 1));
    let target = guest.view().readlink_at(lent(root), "link".to_owned());
    assert_eq!(answer(target), Err(ErrorCode::IllegalByteSequence));
}

#[test]
fn what_is_read_only_refuses_every_change() {
    let below: Arc<dyn FileSystem> = Arc::new(MemFs::new());
    Namespace::new(Arc::clone(&below)).write("file", "1").unwrap();
    let namespace = Namespace::new(Arc::new(MemFs::new()));
    namespace.create_dir("ro").unwrap();
    namespace.mount("ro", below, MountOptions { read_only: true }).unwrap();
    let mut guest = Guest::on(namespace, "/ro");
    let root = guest.root;
    let flags = answer(guest.view().get_flags(lent(root))).unwrap();
    assert!(!flags.contains(DescriptorFlags::MUTATE_DIRECTORY));
    let file = guest.open("file", OpenFlags::empty(), READ).unwrap();
    assert_eq!(guest.read(file, 9, 0), Ok((b"1".to_vec(), false)));
    let (one, two) = (lent(root), lent(root));
    let denied = Err(ErrorCode::ReadOnly);
    assert_eq!(guest.open("file", OpenFlags::empty(), WRITE), Err(ErrorCode::ReadOnly));
    assert_eq!(guest.open("new", CREATE, WRITE), Err(ErrorCode::ReadOnly));
    assert_eq!(answer(guest.view().unlink_file_at(one, "file".to_owned())), denied);
    assert_eq!(answer(guest.view().create_directory_at(two, "new".to_owned())), denied);
    assert_eq!(answer(guest.view().set_times(lent(file), NewTimestamp::Now, NewTimestamp::Now)), denied);
}

#[test]
fn open_nodes_are_bounded() {
    let mut guest = Guest::new();
    let file = guest.create("file");
    let refused = (0..1 << 17).find_map(|_| guest.open("file", OpenFlags::empty(), READ).err());
    assert_eq!(refused, Some(ErrorCode::InsufficientMemory));
    guest.close(file);
    assert!(guest.open("file", OpenFlags::empty(), READ).is_ok(), "one was closed");
}

#[test]
fn every_error_has_a_code() {
    for &errno in Errno::ALL {
        let name = format!("{:?}", code(errno));
        assert!(!name.is_empty());
        // The names agree where both have one.
        if let Some((_, expected)) = [
            (Errno::NotPermitted, "not-permitted"),
            (Errno::ReadOnly, "read-only"),
            (Errno::NotFound, "no-entry"),
            (Errno::CrossDevice, "cross-device"),
        ]
        .iter()
        .find(|(known, _)| *known == errno)
        {
            assert!(name.contains(expected), "{name}");
        }
    }
}
