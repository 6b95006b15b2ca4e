//! The generated traits, in terms of a [`View`].

use bytes::Bytes;
use mountless::attr::{Attr, FileType, SetAttr, SetTime};
use mountless::clock::Timestamp;
use mountless::errno::Errno;
use mountless::fs::WriteAt;
use mountless::namespace::{Follow, OpenHow};
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;
use wasmtime_wasi::p2::bindings::sync::filesystem::types::{
    self, Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, DirectoryEntryStream,
    MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult, IoError};

use super::errno::code;
use super::stream::{FileInput, FileOutput};
use crate::files::{self, Fail, Flags, Handle, Kind, Listing, Node, View, len_u64, timestamp};

impl From<Fail> for FsError {
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

fn errno(errno: Errno) -> FsError {
    Fail::Errno(errno).into()
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

const fn descriptor_type(file_type: FileType) -> DescriptorType {
    match Kind::of(file_type) {
        Some(Kind::File) => DescriptorType::RegularFile,
        Some(Kind::Dir) => DescriptorType::Directory,
        Some(Kind::Symlink) => DescriptorType::SymbolicLink,
        Some(Kind::Block) => DescriptorType::BlockDevice,
        Some(Kind::Char) => DescriptorType::CharacterDevice,
        Some(Kind::Fifo) => DescriptorType::Fifo,
        Some(Kind::Socket) => DescriptorType::Socket,
        None => DescriptorType::Unknown,
    }
}

/// Preview 2 cannot say "before 1970".
fn datetime(time: Timestamp) -> Datetime {
    match u64::try_from(time.secs) {
        Ok(seconds) => Datetime { seconds, nanoseconds: time.nanos },
        Err(_) => Datetime { seconds: 0, nanoseconds: 0 },
    }
}

fn stat(attr: &Attr) -> DescriptorStat {
    DescriptorStat {
        type_: descriptor_type(attr.file_type),
        link_count: attr.nlink,
        size: attr.size,
        data_access_timestamp: Some(datetime(attr.atime)),
        data_modification_timestamp: Some(datetime(attr.mtime)),
        status_change_timestamp: Some(datetime(attr.ctime)),
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

impl types::Host for View<'_> {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<types::ErrorCode> {
        Ok(error.downcast()?.into())
    }

    /// A stream's error may be ours or, of a standard stream, wasmtime-wasi's.
    fn filesystem_error_code(&mut self, error: Resource<IoError>) -> wasmtime::Result<Option<types::ErrorCode>> {
        let error = self.table.get(&error)?;
        let found = match (error.downcast_ref::<Errno>(), error.downcast_ref::<std::io::Error>()) {
            (Some(&errno), _) => Some(code(errno)),
            (None, Some(error)) => Some(ErrorCode::from(error)),
            (None, None) => None,
        };
        Ok(found.map(Into::into))
    }
}

impl preopens::Host for View<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Handle, String)>> {
        self.preopens().map_err(trap)
    }
}

impl types::HostDescriptor for View<'_> {
    fn read_via_stream(&mut self, fd: Handle, offset: u64) -> FsResult<Resource<DynInputStream>> {
        let input: DynInputStream = Box::new(FileInput::new(self.readable(&fd)?, offset));
        Ok(self.table.push(input)?)
    }

    fn write_via_stream(&mut self, fd: Handle, offset: u64) -> FsResult<Resource<DynOutputStream>> {
        let output: DynOutputStream = Box::new(FileOutput::new(self.writable(&fd)?, WriteAt::Offset(offset)));
        Ok(self.table.push(output)?)
    }

    fn append_via_stream(&mut self, fd: Handle) -> FsResult<Resource<DynOutputStream>> {
        let output: DynOutputStream = Box::new(FileOutput::new(self.writable(&fd)?, WriteAt::End));
        Ok(self.table.push(output)?)
    }

    fn advise(&mut self, fd: Handle, offset: u64, len: u64, _advice: Advice) -> FsResult<()> {
        Ok(View::advise(self, &fd, offset, len)?)
    }

    fn sync_data(&mut self, fd: Handle) -> FsResult<()> {
        Ok(View::sync(self, &fd, true)?)
    }

    fn get_flags(&mut self, fd: Handle) -> FsResult<DescriptorFlags> {
        Ok(shown_flags(self.files.node(&fd)?))
    }

    fn get_type(&mut self, fd: Handle) -> FsResult<DescriptorType> {
        Ok(descriptor_type(self.files.node(&fd)?.open().file_type()))
    }

    fn set_size(&mut self, fd: Handle, size: u64) -> FsResult<()> {
        Ok(View::set_size(self, &fd, size)?)
    }

    fn set_times(&mut self, fd: Handle, atime: NewTimestamp, mtime: NewTimestamp) -> FsResult<()> {
        Ok(View::set_times(self, &fd, &times(&atime, &mtime)?)?)
    }

    /// Not the one that is called: see `add_read`.
    fn read(&mut self, fd: Handle, len: u64, offset: u64) -> FsResult<(Vec<u8>, bool)> {
        let (bytes, at_end) = read(self, &fd, len, offset)?;
        Ok((bytes.into(), at_end))
    }

    fn write(&mut self, fd: Handle, buf: Vec<u8>, offset: u64) -> FsResult<u64> {
        let written = self.files.file(&fd)?.write(WriteAt::Offset(offset), &buf);
        Ok(len_u64(written.map_err(errno)?))
    }

    fn read_directory(&mut self, fd: Handle) -> FsResult<Resource<DirectoryEntryStream>> {
        let listing = self.listing(&fd)?;
        Ok(Resource::new_own(self.table.push(listing)?.rep()))
    }

    fn sync(&mut self, fd: Handle) -> FsResult<()> {
        Ok(View::sync(self, &fd, false)?)
    }

    fn create_directory_at(&mut self, fd: Handle, path: String) -> FsResult<()> {
        Ok(self.create_dir_at(&fd, &path)?)
    }

    fn stat(&mut self, fd: Handle) -> FsResult<DescriptorStat> {
        Ok(stat(&self.attr(&fd)?))
    }

    fn stat_at(&mut self, fd: Handle, flags: PathFlags, path: String) -> FsResult<DescriptorStat> {
        Ok(stat(&self.attr_at(&fd, &path, follow(flags))?))
    }

    fn set_times_at(
        &mut self,
        fd: Handle,
        flags: PathFlags,
        path: String,
        atime: NewTimestamp,
        mtime: NewTimestamp,
    ) -> FsResult<()> {
        Ok(View::set_times_at(self, &fd, &path, follow(flags), &times(&atime, &mtime)?)?)
    }

    fn link_at(&mut self, fd: Handle, flags: PathFlags, from: String, to_fd: Handle, to: String) -> FsResult<()> {
        Ok(View::link_at(self, (&fd, &from), follow(flags), (&to_fd, &to))?)
    }

    fn open_at(
        &mut self,
        fd: Handle,
        path_flags: PathFlags,
        path: String,
        open_flags: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Handle> {
        let (how, flags) = how(path_flags, open_flags, flags);
        Ok(View::open_at(self, &fd, &path, &how, flags)?)
    }

    fn readlink_at(&mut self, fd: Handle, path: String) -> FsResult<String> {
        Ok(self.read_link_at(&fd, &path)?)
    }

    fn remove_directory_at(&mut self, fd: Handle, path: String) -> FsResult<()> {
        Ok(self.remove_dir_at(&fd, &path)?)
    }

    fn rename_at(&mut self, fd: Handle, from: String, to_fd: Handle, to: String) -> FsResult<()> {
        Ok(View::rename_at(self, (&fd, &from), (&to_fd, &to))?)
    }

    fn symlink_at(&mut self, fd: Handle, target: String, path: String) -> FsResult<()> {
        Ok(View::symlink_at(self, &target, &fd, &path)?)
    }

    fn unlink_file_at(&mut self, fd: Handle, path: String) -> FsResult<()> {
        Ok(self.unlink_at(&fd, &path)?)
    }

    fn is_same_object(&mut self, fd: Handle, other: Handle) -> wasmtime::Result<bool> {
        self.is_same(&fd, &other).map_err(trap)
    }

    fn metadata_hash(&mut self, fd: Handle) -> FsResult<MetadataHashValue> {
        Ok(hash(&self.attr(&fd)?))
    }

    fn metadata_hash_at(&mut self, fd: Handle, flags: PathFlags, path: String) -> FsResult<MetadataHashValue> {
        Ok(hash(&self.attr_at(&fd, &path, follow(flags))?))
    }

    fn drop(&mut self, fd: Handle) -> wasmtime::Result<()> {
        self.close(&fd).map_err(trap)
    }
}

fn read(view: &View<'_>, fd: &Handle, len: u64, offset: u64) -> Result<(Bytes, bool), Fail> {
    let bytes = view.files.file(fd)?.read(offset, len)?;
    let at_end = bytes.is_empty() && len > 0;
    Ok((bytes, at_end))
}

/// The interface as the bindings name it.
const TYPES: &str = "wasi:filesystem/types@0.2.12";
const READ: &str = "[method]descriptor.read";

/// Defines `read` again, so that what it answers goes to the guest's memory from where it lies: the bindings want a
/// vector, which takes as long to be filled as the guest's memory.
pub(super) fn add_read<T: 'static>(linker: &mut Linker<T>, view: fn(&mut T) -> View<'_>) -> wasmtime::Result<()> {
    linker.instance(TYPES)?.func_wrap(
        READ,
        move |mut store: StoreContextMut<'_, T>, (fd, len, offset): (Handle, u64, u64)| match read(
            &view(store.data_mut()),
            &fd,
            len,
            offset,
        ) {
            Ok(answer) => Ok((Ok(answer),)),
            Err(Fail::Errno(errno)) => Ok((Err(types::ErrorCode::from(code(errno))),)),
            Err(Fail::Handle(error)) => Err(error.into()),
        },
    )
}

/// As descriptors, listings have a tag of their own in the table.
fn untagged(stream: &Resource<DirectoryEntryStream>) -> Resource<Listing> {
    Resource::new_own(stream.rep())
}

impl types::HostDirectoryEntryStream for View<'_> {
    fn read_directory_entry(&mut self, stream: Resource<DirectoryEntryStream>) -> FsResult<Option<DirectoryEntry>> {
        let next = self.table.get_mut(&untagged(&stream))?.next().map_err(errno)?;
        Ok(next.map(|(name, file_type)| DirectoryEntry { type_: descriptor_type(file_type), name }))
    }

    fn drop(&mut self, stream: Resource<DirectoryEntryStream>) -> wasmtime::Result<()> {
        self.table.delete(untagged(&stream))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::Engine;

    use super::*;
    use crate::files::HasFiles;

    #[test]
    fn read_is_defined_where_the_bindings_define_it() {
        let view: fn(&mut ()) -> View<'_> = |()| unreachable!("nothing is called");
        let mut linker = Linker::new(&Engine::default());
        types::add_to_linker::<(), HasFiles>(&mut linker, view).unwrap();
        let error = add_read(&mut linker, view).unwrap_err();
        assert!(error.to_string().contains("defined twice"), "{error}");
        linker.allow_shadowing(true);
        add_read(&mut linker, view).unwrap();
    }
}
