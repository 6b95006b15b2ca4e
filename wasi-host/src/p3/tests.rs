//! Random calls: preview 3 answers what preview 2 answers, which answers as preview 1 does, which a model checks. Streams
//! are read and written to their ends or dropped midway, and tell how they ended.

use core::pin::Pin;
use core::task::{Context, Poll};

use mountless::backend::mem::MemFs;
use mountless::errno::Errno;
use mountless::namespace::Namespace;
use std::sync::Arc;
use tokio::sync::oneshot;
use wasmtime::component::{
    Accessor, FutureConsumer, FutureReader, Lift, Resource, ResourceTable, Source, StreamConsumer, StreamReader,
    StreamResult,
};
use wasmtime::{Config, Engine, Store, StoreContextMut};
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode as ErrorCode2;
use wasmtime_wasi::p2::bindings::sync::filesystem::types as two;
use wasmtime_wasi::p3::bindings::filesystem::types::{
    DescriptorFlags, DescriptorType, DirectoryEntry, ErrorCode, HostDescriptor, HostDescriptorWithStore, OpenFlags,
    PathFlags,
};
use wasmtime_wasi::p3::filesystem::FilesystemResult;
use wasmtime_wasi::runtime::in_tokio;

use super::code;
use crate::files::{Files, Handle, HasFiles, View};
use crate::p2;
use crate::p2::tests::Guest as Two;
use crate::p2::tests::alike::Draw;

/// What a store holds.
struct State {
    files: Files,
    table: ResourceTable,
}

impl State {
    fn view(&mut self) -> View<'_> {
        View { files: &mut self.files, table: &mut self.table }
    }
}

type Store3 = Accessor<State, HasFiles>;

fn handle(rep: u32) -> Handle {
    Resource::new_borrow(rep)
}

/// The answer in words that both previews have.
fn shown<T>(result: FilesystemResult<T>, words: impl FnOnce(T) -> String) -> Result<String, ErrorCode> {
    result.map(words).map_err(|error| error.downcast().expect("a trap"))
}

fn unit(result: FilesystemResult<()>) -> Result<String, ErrorCode> {
    shown(result, |()| String::new())
}

#[track_caller]
fn agree(what: &str, three: &Result<String, ErrorCode>, two: &Result<String, ErrorCode2>) {
    match (three, two) {
        (Ok(three), Ok(two)) => assert_eq!(three, two, "{what}"),
        (Err(three), Err(two)) => {
            let mut meant = Errno::ALL.iter().filter(|errno| p2::code(**errno) == *two);
            assert!(meant.any(|errno| same(&code(*errno), three)), "{what}: {three:?}, preview 2 says {two:?}");
        }
        _ => panic!("{what}: {three:?}, preview 2 says {two:?}"),
    }
}

fn same(one: &ErrorCode, other: &ErrorCode) -> bool {
    format!("{one:?}") == format!("{other:?}")
}

/// Takes the items of a stream, up to so many, and sends them when it ends or has them.
struct Collect<T> {
    taken: Vec<T>,
    room: usize,
    done: Option<oneshot::Sender<Vec<T>>>,
}

impl<T> Drop for Collect<T> {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            let _ = done.send(core::mem::take(&mut self.taken));
        }
    }
}

impl<T: Lift + Unpin + Send + Sync + 'static> StreamConsumer<State> for Collect<T> {
    type Item = T;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut store: StoreContextMut<'_, State>,
        mut source: Source<'_, T>,
        _finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let mut piece = Vec::with_capacity(self.room.min(1 << 16));
        source.read(&mut store, &mut piece)?;
        self.room -= piece.len();
        self.taken.extend(piece);
        Poll::Ready(Ok(if self.room == 0 { StreamResult::Dropped } else { StreamResult::Completed }))
    }
}

/// Sends what a future comes to.
struct Tell(Option<oneshot::Sender<Result<(), ErrorCode>>>);

impl FutureConsumer<State> for Tell {
    type Item = Result<(), ErrorCode>;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut store: StoreContextMut<'_, State>,
        mut source: Source<'_, Self::Item>,
        _finish: bool,
    ) -> Poll<wasmtime::Result<()>> {
        let mut outcome = None;
        source.read(&mut store, &mut outcome)?;
        if let (Some(outcome), Some(sender)) = (outcome, self.0.take()) {
            let _ = sender.send(outcome);
        }
        Poll::Ready(Ok(()))
    }
}

/// Up to `room` items of a stream, and how it ended.
async fn taken<T: Lift + Unpin + Send + Sync + 'static>(
    store: &Store3,
    stream: StreamReader<T>,
    ended: FutureReader<Result<(), ErrorCode>>,
    room: usize,
) -> (Vec<T>, Result<(), ErrorCode>) {
    let (done, items) = oneshot::channel();
    let items = store.with(|mut access| {
        let mut stream = stream;
        if room == 0 {
            stream.close(&mut access).unwrap();
            return None;
        }
        stream.pipe(&mut access, Collect { taken: Vec::new(), room, done: Some(done) }).unwrap();
        Some(items)
    });
    let items = match items {
        Some(items) => items.await.expect("a consumer is dropped in the end"),
        None => Vec::new(),
    };
    (items, outcome(store, ended).await)
}

async fn outcome(store: &Store3, ended: FutureReader<Result<(), ErrorCode>>) -> Result<(), ErrorCode> {
    let (sender, receiver) = oneshot::channel();
    store.with(|access| ended.pipe(access, Tell(Some(sender)))).unwrap();
    receiver.await.expect("every stream tells how it ended")
}

/// Two guests that do the same, and what either has open.
struct Both {
    draw: Draw,
    two: Two,
    /// Of preview 3, and of preview 2.
    fds: Vec<(u32, u32)>,
    opened: usize,
    streamed: usize,
}

impl Both {
    fn dir(&mut self) -> (u32, u32) {
        self.draw.one(&self.fds[..self.fds.len().min(3)])
    }

    async fn open(&mut self, store: &Store3) {
        let (dir, dir2) = self.dir();
        let path = self.draw.path();
        let bits = self.draw.one(&[0, 1, 1, 1, 2, 5, 8, 9]);
        let (mut open, mut open2) = (OpenFlags::empty(), two::OpenFlags::empty());
        for (bit, flag, flag2) in [
            (1, OpenFlags::CREATE, two::OpenFlags::CREATE),
            (2, OpenFlags::DIRECTORY, two::OpenFlags::DIRECTORY),
            (4, OpenFlags::EXCLUSIVE, two::OpenFlags::EXCLUSIVE),
            (8, OpenFlags::TRUNCATE, two::OpenFlags::TRUNCATE),
        ] {
            if bits & bit != 0 {
                open |= flag;
                open2 |= flag2;
            }
        }
        let (flags, flags2) = self.draw.one(&[
            (DescriptorFlags::READ, two::DescriptorFlags::READ),
            (DescriptorFlags::WRITE, two::DescriptorFlags::WRITE),
            (DescriptorFlags::READ | DescriptorFlags::WRITE, two::DescriptorFlags::READ | two::DescriptorFlags::WRITE),
        ]);
        let (follow, follow2) = (PathFlags::SYMLINK_FOLLOW, two::PathFlags::SYMLINK_FOLLOW);
        let opened = HasFiles::open_at(store, handle(dir), follow, path.clone(), open, flags).await;
        let opened2 = self.two.open_with(dir2, follow2, &path, open2, flags2);
        let fd = opened.as_ref().map(Resource::rep).ok();
        agree(
            &format!("open {path:?} {bits}"),
            &shown(opened, |_| String::new()),
            &opened2.as_ref().map(|_| String::new()).map_err(|error| *error),
        );
        if let (Some(fd), Ok(fd2)) = (fd, opened2) {
            self.fds.push((fd, fd2));
            self.opened += 1;
        }
    }

    fn close(&mut self, store: &Store3) {
        // The preopen stays.
        if self.fds.len() > 1 {
            let (fd, fd2) = self.fds.swap_remove(1 + self.draw.below(self.fds.len() - 1));
            store.with(|mut access| HostDescriptor::drop(&mut access.get(), Resource::new_own(fd))).unwrap();
            self.two.close(fd2);
        }
    }

    /// Reads from a stream, maybe not to its end, and maybe after the descriptor is gone.
    async fn read(&mut self, store: &Store3) {
        let (fd, fd2) = self.draw.one(&self.fds);
        let (offset, room) = (self.draw.offset(), self.draw.one(&[0, 1, 100, 5000, 1 << 20]));
        let what = format!("read {room} at {offset}");
        let (stream, ended) = store.with(|access| HasFiles::read_via_stream(access, handle(fd), offset)).unwrap();
        let (bytes, ended) = taken(store, stream, ended, room).await;
        // What preview 2 reads in pieces. It knows no streams of directories: its own have another error for that.
        let mut all = Vec::new();
        let read2 = loop {
            let rest = (room - all.len()) as u64;
            match self.two.read(fd2, rest, offset.saturating_add(all.len() as u64)) {
                Ok((piece, _)) if piece.is_empty() => break Ok(()),
                Ok((piece, _)) => all.extend(piece),
                Err(error) => break Err(error),
            }
        };
        match (ended, read2) {
            (Err(ErrorCode::IsDirectory), Err(ErrorCode2::BadDescriptor)) => {}
            // A stream that is dropped before it was read has not met what a read would have.
            (Ok(()), Err(ErrorCode2::Invalid)) if room == 0 => {}
            (ended, read2) => {
                self.streamed += usize::from(!bytes.is_empty());
                agree(&what, &ended.map(|()| format!("{bytes:?}")), &read2.map(|()| format!("{all:?}")));
            }
        }
    }

    /// Writes or appends a stream.
    async fn write(&mut self, store: &Store3) {
        let (fd, fd2) = self.draw.one(&self.fds);
        let (offset, len) = (self.draw.offset(), self.draw.one(&[1, 100, 4096, 70_000]));
        let bytes = vec![offset as u8 | 1; len];
        let appends = self.draw.below(3) == 0;
        let ended = store.with(|mut access| {
            let data = StreamReader::new(&mut access, bytes.clone())?;
            if appends {
                HasFiles::append_via_stream(access, handle(fd), data)
            } else {
                HasFiles::write_via_stream(access, handle(fd), data, offset)
            }
        });
        let ended = outcome(store, ended.unwrap()).await;
        let at = match (appends, self.two.size(fd2)) {
            (true, Ok(size)) => size,
            _ => offset,
        };
        let mut rest = &bytes[..];
        let written2 = loop {
            let done = (bytes.len() - rest.len()) as u64;
            match self.two.write(fd2, rest, at.saturating_add(done)) {
                Ok(_) if rest.is_empty() => break Ok(String::new()),
                Ok(count) => rest = &rest[usize::try_from(count).unwrap()..],
                Err(error) => break Err(error),
            }
            if rest.is_empty() {
                break Ok(String::new());
            }
        };
        self.streamed += usize::from(ended.is_ok());
        agree(&format!("write {len} at {offset} {appends}"), &ended.map(|()| String::new()), &written2);
    }

    async fn size(&mut self, store: &Store3) {
        let (fd, fd2) = self.draw.one(&self.fds);
        let size = self.draw.one(&[0, 1, 10, 4096, 5000, 100_000, i64::MAX as u64, u64::MAX]);
        let set = unit(HasFiles::set_size(store, handle(fd), size).await);
        agree(&format!("set size {size}"), &set, &self.two.set_size(fd2, size));
    }

    async fn stat(&mut self, store: &Store3) {
        let (dir, dir2) = self.dir();
        let path = self.draw.path();
        let (follow, follow2) = self.draw.one(&[
            (PathFlags::empty(), two::PathFlags::empty()),
            (PathFlags::SYMLINK_FOLLOW, two::PathFlags::SYMLINK_FOLLOW),
        ]);
        let found = HasFiles::stat_at(store, handle(dir), follow, path.clone()).await;
        let found = shown(found, |stat| match stat.type_ {
            DescriptorType::Directory => "dir".to_owned(),
            DescriptorType::SymbolicLink => format!("link of {}", stat.size),
            _ => format!("file of {}, {} names", stat.size, stat.link_count),
        });
        agree(&format!("stat {path:?}"), &found, &self.two.stat_words(dir2, follow2, &path));
    }

    /// A listing, maybe dropped midway: what came is there.
    async fn list(&mut self, store: &Store3) {
        let (dir, dir2) = self.draw.one(&self.fds);
        let room = self.draw.one(&[1, 2, 1000]);
        let (stream, ended) = store.with(|access| HasFiles::read_directory(access, handle(dir))).unwrap();
        let (entries, ended) = taken(store, stream, ended, room).await;
        let mut names: Vec<String> = entries.into_iter().map(|entry: DirectoryEntry| entry.name).collect();
        names.sort();
        let names2 = self.two.names(dir2);
        if let (Ok(()), Ok(all)) = (&ended, &names2)
            && room < all.len()
        {
            assert!(names.len() == room && names.iter().all(|name| all.contains(name)), "{names:?} of {all:?}");
            return;
        }
        agree("list", &ended.map(|()| format!("{names:?}")), &names2.map(|names| format!("{names:?}")));
    }

    async fn names(&mut self, store: &Store3) {
        let (dir, dir2) = self.dir();
        let (path, other) = (self.draw.path(), self.draw.path());
        let (follow, follow2) = self.draw.one(&[
            (PathFlags::empty(), two::PathFlags::empty()),
            (PathFlags::empty(), two::PathFlags::empty()),
            (PathFlags::SYMLINK_FOLLOW, two::PathFlags::SYMLINK_FOLLOW),
        ]);
        let which = self.draw.below(7);
        let (at, from, to) = (handle(dir), path.clone(), other.clone());
        let done = match which {
            0 | 1 => HasFiles::create_directory_at(store, at, from).await,
            2 => HasFiles::remove_directory_at(store, at, from).await,
            3 => HasFiles::unlink_file_at(store, at, from).await,
            4 => HasFiles::rename_at(store, at, from, handle(dir), to).await,
            5 => HasFiles::link_at(store, at, follow, from, handle(dir), to).await,
            _ => HasFiles::symlink_at(store, at, from, to).await,
        };
        let done2 = self.two.change_names(which, dir2, follow2, &path, &other);
        agree(&format!("change {which} {path:?} {other:?}"), &unit(done), &done2);
        let target = shown(HasFiles::readlink_at(store, handle(dir), other.clone()).await, |target| target);
        agree(&format!("readlink {other:?}"), &target, &self.two.target(dir2, &other));
    }
}

#[test]
fn random_calls_answer_as_in_preview_2() {
    let engine = Engine::new(Config::new().wasm_component_model_async(true)).unwrap();
    let (mut opened, mut streamed) = (0, 0);
    for seed in 1..80 {
        let mut files = Files::new(Namespace::new(Arc::new(MemFs::new())));
        files.preopen("/", "/").unwrap();
        let mut store = Store::new(&engine, State { files, table: ResourceTable::new() });
        let root = store.data_mut().view().preopens().unwrap()[0].0.rep();
        let two = Two::new();
        let fds = vec![(root, two.root())];
        let mut both = Both { draw: Draw::new(seed), two, fds, opened: 0, streamed: 0 };
        let ran = store.run_concurrent(async |accessor| {
            let store = &accessor.with_getter::<HasFiles>(State::view);
            for _ in 0..300 {
                match both.draw.below(16) {
                    0..=4 => both.open(store).await,
                    5 => both.close(store),
                    6 | 7 => both.read(store).await,
                    8 | 9 => both.write(store).await,
                    10 => both.size(store).await,
                    11 => both.stat(store).await,
                    12 => both.list(store).await,
                    _ => both.names(store).await,
                }
            }
            (both.opened, both.streamed)
        });
        let (opened_now, streamed_now) = in_tokio(ran).unwrap();
        opened += opened_now;
        streamed += streamed_now;
    }
    assert!(opened > 500 && streamed > 300, "hardly anything was done: {opened} opened, {streamed} streams");
}
