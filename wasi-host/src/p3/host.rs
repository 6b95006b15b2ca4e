//! The generated traits, in terms of a [`View`].
//!
//! The methods are `async` because the traits' are; they never wait.

use core::iter;

use mountless::attr::{Attr, FileType, SetAttr, SetTime};
use mountless::clock::Timestamp;
use mountless::fs::WriteAt;
use mountless::namespace::{Follow, OpenHow};
use tokio::sync::oneshot;
use wasmtime::component::{Access, Accessor, FutureReader, StreamReader};
use wasmtime_wasi::p3::bindings::clocks::system_clock::Instant;
use wasmtime_wasi::p3::bindings::filesystem::preopens;
use wasmtime_wasi::p3::bindings::filesystem::types::{
    self, Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, ErrorCode, MetadataHashValue,
    NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p3::filesystem::{FilesystemError, FilesystemResult};

use super::errno::code;
use super::stream::{Ending, EntryProducer, FileConsumer, FileProducer, Outcome};
use crate::files::{self, Answer, Fail, Flags, Handle, HasFiles, Kind, Node, View, timestamp};

impl From<Fail> for FilesystemError {
    fn from(fail: Fail) -> Self {
        match fail {
            Fail::Errno(errno) => code(errno).into(),
            Fail::Handle(error) => Self::trap(error),
        }
    }
}

fn trap(fail: Fail) -> wasmtime::Error {
    match fail {
        Fail::Errno(errno) => errno.into(),
        Fail::Handle(error) => error.into(),
    }
}

fn follow(flags: PathFlags) -> Follow {
    if flags.contains(PathFlags::SYMLINK_FOLLOW) { Follow::Yes } else { Follow::No }
}

fn how(path: PathFlags, open: OpenFlags, flags: DescriptorFlags) -> (OpenHow, Flags) {
    let how = OpenHow {
        read: flags.contains(DescriptorFlags::READ),
        write: flags.contains(DescriptorFlags::WRITE),
        create: open.contains(OpenFlags::CREATE),
        exclusive: open.contains(OpenFlags::EXCLUSIVE),
        truncate: open.contains(OpenFlags::TRUNCATE),
        directory: open.contains(OpenFlags::DIRECTORY),
        follow: follow(path),
        ..OpenHow::READ
    };
    let flags = Flags {
        mutate_directory: flags.contains(DescriptorFlags::MUTATE_DIRECTORY),
        file_sync: flags.contains(DescriptorFlags::FILE_INTEGRITY_SYNC),
        data_sync: flags.contains(DescriptorFlags::DATA_INTEGRITY_SYNC),
        requested_write_sync: flags.contains(DescriptorFlags::REQUESTED_WRITE_SYNC),
    };
    (how, flags)
}

fn shown_flags(node: &Node) -> DescriptorFlags {
    let mut shown = DescriptorFlags::empty();
    let flags = node.flags();
    for (is_set, flag) in [
        (node.open().readable(), DescriptorFlags::READ),
        (node.open().writable(), DescriptorFlags::WRITE),
        (flags.mutate_directory, DescriptorFlags::MUTATE_DIRECTORY),
        (flags.file_sync, DescriptorFlags::FILE_INTEGRITY_SYNC),
        (flags.data_sync, DescriptorFlags::DATA_INTEGRITY_SYNC),
        (flags.requested_write_sync, DescriptorFlags::REQUESTED_WRITE_SYNC),
    ] {
        if is_set {
            shown |= flag;
        }
    }
    shown
}

pub(super) const fn descriptor_type(file_type: FileType) -> DescriptorType {
    match Kind::of(file_type) {
        Some(Kind::File) => DescriptorType::RegularFile,
        Some(Kind::Dir) => DescriptorType::Directory,
        Some(Kind::Symlink) => DescriptorType::SymbolicLink,
        Some(Kind::Block) => DescriptorType::BlockDevice,
        Some(Kind::Char) => DescriptorType::CharacterDevice,
        Some(Kind::Fifo) => DescriptorType::Fifo,
        Some(Kind::Socket) => DescriptorType::Socket,
        None => DescriptorType::Other(None),
    }
}

const fn instant(time: Timestamp) -> Instant {
    Instant { seconds: time.secs, nanoseconds: time.nanos }
}

fn stat(attr: &Attr) -> DescriptorStat {
    DescriptorStat {
        type_: descriptor_type(attr.file_type),
        link_count: attr.nlink,
        size: attr.size,
        data_access_timestamp: Some(instant(attr.atime)),
        data_modification_timestamp: Some(instant(attr.mtime)),
        status_change_timestamp: Some(instant(attr.ctime)),
    }
}

fn hash(attr: &Attr) -> MetadataHashValue {
    let (lower, upper) = files::metadata_hash(attr);
    MetadataHashValue { lower, upper }
}

fn times(atime: &NewTimestamp, mtime: &NewTimestamp) -> Result<SetAttr, Fail> {
    let time = |new: &NewTimestamp| match new {
        NewTimestamp::NoChange => Ok(None),
        NewTimestamp::Now => Ok(Some(SetTime::Now)),
        NewTimestamp::Timestamp(at) => timestamp(at.seconds, at.nanoseconds).map(|at| Some(SetTime::At(at))),
    };
    Ok(SetAttr { atime: time(atime)?, mtime: time(mtime)?, ..SetAttr::default() })
}

/// Does a call.
fn call<U: 'static, R>(
    store: &Accessor<U, HasFiles>,
    work: impl FnOnce(&mut View<'_>) -> Answer<R>,
) -> FilesystemResult<R> {
    Ok(store.with(|mut access| work(&mut access.get()))?)
}

type Ended = FutureReader<Outcome>;

impl types::Host for View<'_> {
    fn convert_error_code(&mut self, error: FilesystemError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }
}

impl types::HostDescriptor for View<'_> {
    fn drop(&mut self, fd: Handle) -> wasmtime::Result<()> {
        self.close(&fd).map_err(trap)
    }
}

impl preopens::Host for View<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Handle, String)>> {
        self.preopens().map_err(trap)
    }
}

/// An answer whose error the guest learns when the stream has ended; it has then ended already.
fn split<T>(answer: Answer<T>) -> wasmtime::Result<Result<T, ErrorCode>> {
    match answer {
        Ok(answer) => Ok(Ok(answer)),
        Err(Fail::Errno(errno)) => Ok(Err(code(errno))),
        Err(fail @ Fail::Handle(_)) => Err(trap(fail)),
    }
}

fn ended<U: 'static>(store: &mut Access<'_, U, HasFiles>, code: ErrorCode) -> wasmtime::Result<Ended> {
    FutureReader::new(store, async move { wasmtime::error::Ok(Err(code)) })
}

fn write_stream<U: 'static>(
    mut store: Access<'_, U, HasFiles>,
    node: Answer<Node>,
    mut data: StreamReader<u8>,
    at: WriteAt,
) -> wasmtime::Result<Ended> {
    match split(node)? {
        Ok(node) => {
            let (sender, receiver) = oneshot::channel();
            data.pipe(&mut store, FileConsumer { node, at, ending: Ending::new(sender) })?;
            FutureReader::new(&mut store, receiver)
        }
        Err(code) => {
            data.close(&mut store)?;
            ended(&mut store, code)
        }
    }
}

impl<U: 'static> types::HostDescriptorWithStore<U> for HasFiles {
    fn read_via_stream(
        mut store: Access<'_, U, Self>,
        fd: Handle,
        offset: u64,
    ) -> wasmtime::Result<(StreamReader<u8>, Ended)> {
        match split(store.get().readable(&fd))? {
            Ok(node) => {
                let (sender, receiver) = oneshot::channel();
                let producer = FileProducer::new(node, offset, Ending::new(sender));
                Ok((StreamReader::new(&mut store, producer)?, FutureReader::new(&mut store, receiver)?))
            }
            Err(code) => Ok((StreamReader::new(&mut store, iter::empty())?, ended(&mut store, code)?)),
        }
    }

    fn write_via_stream(
        mut store: Access<'_, U, Self>,
        fd: Handle,
        data: StreamReader<u8>,
        offset: u64,
    ) -> wasmtime::Result<Ended> {
        let node = store.get().writable(&fd);
        write_stream(store, node, data, WriteAt::Offset(offset))
    }

    fn append_via_stream(
        mut store: Access<'_, U, Self>,
        fd: Handle,
        data: StreamReader<u8>,
    ) -> wasmtime::Result<Ended> {
        let node = store.get().writable(&fd);
        write_stream(store, node, data, WriteAt::End)
    }

    fn read_directory(
        mut store: Access<'_, U, Self>,
        fd: Handle,
    ) -> wasmtime::Result<(StreamReader<DirectoryEntry>, Ended)> {
        match split(store.get().listing(&fd))? {
            Ok(listing) => {
                let (sender, receiver) = oneshot::channel();
                let producer = EntryProducer { listing, ending: Ending::new(sender) };
                Ok((StreamReader::new(&mut store, producer)?, FutureReader::new(&mut store, receiver)?))
            }
            Err(code) => Ok((StreamReader::new(&mut store, iter::empty())?, ended(&mut store, code)?)),
        }
    }

    async fn advise(
        store: &Accessor<U, Self>,
        fd: Handle,
        offset: u64,
        len: u64,
        _advice: Advice,
    ) -> FilesystemResult<()> {
        call(store, |view| view.advise(&fd, offset, len))
    }

    async fn sync_data(store: &Accessor<U, Self>, fd: Handle) -> FilesystemResult<()> {
        call(store, |view| view.sync(&fd, true))
    }

    async fn sync(store: &Accessor<U, Self>, fd: Handle) -> FilesystemResult<()> {
        call(store, |view| view.sync(&fd, false))
    }

    async fn get_flags(store: &Accessor<U, Self>, fd: Handle) -> FilesystemResult<DescriptorFlags> {
        call(store, |view| view.files.node(&fd).map(shown_flags))
    }

    async fn get_type(store: &Accessor<U, Self>, fd: Handle) -> FilesystemResult<DescriptorType> {
        call(store, |view| view.files.node(&fd).map(|node| descriptor_type(node.open().file_type())))
    }

    async fn set_size(store: &Accessor<U, Self>, fd: Handle, size: u64) -> FilesystemResult<()> {
        call(store, |view| view.set_size(&fd, size))
    }

    async fn set_times(
        store: &Accessor<U, Self>,
        fd: Handle,
        atime: NewTimestamp,
        mtime: NewTimestamp,
    ) -> FilesystemResult<()> {
        call(store, |view| view.set_times(&fd, &times(&atime, &mtime)?))
    }

    async fn create_directory_at(store: &Accessor<U, Self>, fd: Handle, path: String) -> FilesystemResult<()> {
        call(store, |view| view.create_dir_at(&fd, &path))
    }

    async fn stat(store: &Accessor<U, Self>, fd: Handle) -> FilesystemResult<DescriptorStat> {
        call(store, |view| view.attr(&fd).map(|attr| stat(&attr)))
    }

    async fn stat_at(
        store: &Accessor<U, Self>,
        fd: Handle,
        flags: PathFlags,
        path: String,
    ) -> FilesystemResult<DescriptorStat> {
        call(store, |view| view.attr_at(&fd, &path, follow(flags)).map(|attr| stat(&attr)))
    }

    async fn set_times_at(
        store: &Accessor<U, Self>,
        fd: Handle,
        flags: PathFlags,
        path: String,
        atime: NewTimestamp,
        mtime: NewTimestamp,
    ) -> FilesystemResult<()> {
        call(store, |view| view.set_times_at(&fd, &path, follow(flags), &times(&atime, &mtime)?))
    }

    async fn link_at(
        store: &Accessor<U, Self>,
        fd: Handle,
        flags: PathFlags,
        from: String,
        to_fd: Handle,
        to: String,
    ) -> FilesystemResult<()> {
        call(store, |view| view.link_at((&fd, &from), follow(flags), (&to_fd, &to)))
    }

    async fn open_at(
        store: &Accessor<U, Self>,
        fd: Handle,
        path_flags: PathFlags,
        path: String,
        open_flags: OpenFlags,
        flags: DescriptorFlags,
    ) -> FilesystemResult<Handle> {
        let (how, flags) = how(path_flags, open_flags, flags);
        call(store, |view| view.open_at(&fd, &path, &how, flags))
    }

    async fn readlink_at(store: &Accessor<U, Self>, fd: Handle, path: String) -> FilesystemResult<String> {
        call(store, |view| view.read_link_at(&fd, &path))
    }

    async fn remove_directory_at(store: &Accessor<U, Self>, fd: Handle, path: String) -> FilesystemResult<()> {
        call(store, |view| view.remove_dir_at(&fd, &path))
    }

    async fn rename_at(
        store: &Accessor<U, Self>,
        fd: Handle,
        from: String,
        to_fd: Handle,
        to: String,
    ) -> FilesystemResult<()> {
        call(store, |view| view.rename_at((&fd, &from), (&to_fd, &to)))
    }

    async fn symlink_at(store: &Accessor<U, Self>, fd: Handle, target: String, path: String) -> FilesystemResult<()> {
        call(store, |view| view.symlink_at(&target, &fd, &path))
    }

    async fn unlink_file_at(store: &Accessor<U, Self>, fd: Handle, path: String) -> FilesystemResult<()> {
        call(store, |view| view.unlink_at(&fd, &path))
    }

    async fn is_same_object(store: &Accessor<U, Self>, fd: Handle, other: Handle) -> wasmtime::Result<bool> {
        store.with(|mut access| access.get().is_same(&fd, &other)).map_err(trap)
    }

    async fn metadata_hash(store: &Accessor<U, Self>, fd: Handle) -> FilesystemResult<MetadataHashValue> {
        call(store, |view| view.attr(&fd).map(|attr| hash(&attr)))
    }

    async fn metadata_hash_at(
        store: &Accessor<U, Self>,
        fd: Handle,
        flags: PathFlags,
        path: String,
    ) -> FilesystemResult<MetadataHashValue> {
        call(store, |view| view.attr_at(&fd, &path, follow(flags)).map(|attr| hash(&attr)))
    }
}
