//! As little as a FUSE filesystem can do: each request is one call on a directory of the host. The kernel is told the
//! same as by ours: nobody else changes anything, so it may keep all.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags, KernelConfig,
    LockOwner, OpenFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyWrite, Request, TimeOrNow, WriteFlags,
};

const FOR_EVER: Duration = Duration::from_secs(1 << 30);
const GENERATION: Generation = Generation(0);
const NO_HANDLE: FileHandle = FileHandle(0);

struct Node {
    path: PathBuf,
    file: Option<Arc<File>>,
}

/// See the module.
pub(crate) struct PassThrough {
    nodes: Mutex<HashMap<u64, Node>>,
}

impl PassThrough {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { nodes: Mutex::new(HashMap::from([(1, Node { path: dir.to_owned(), file: None })])) }
    }

    fn with<T>(&self, ino: INodeNo, act: impl FnOnce(&mut Node) -> io::Result<T>) -> io::Result<T> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.get_mut(&ino.0).map_or_else(|| Err(io::ErrorKind::NotFound.into()), act)
    }

    fn path(&self, ino: INodeNo) -> io::Result<PathBuf> {
        self.with(ino, |node| Ok(node.path.clone()))
    }

    fn file(&self, ino: INodeNo) -> io::Result<Arc<File>> {
        self.with(ino, |node| {
            if node.file.is_none() {
                node.file = Some(Arc::new(File::options().read(true).write(true).open(&node.path)?));
            }
            node.file.clone().ok_or_else(|| io::ErrorKind::NotFound.into())
        })
    }

    fn found(&self, path: PathBuf) -> io::Result<FileAttr> {
        let attr = attributes(&path.symlink_metadata()?);
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.entry(attr.ino.0).or_insert(Node { path, file: None });
        Ok(attr)
    }

    fn list(&self, ino: INodeNo, offset: u64, reply: &mut ReplyDirectoryPlus) -> io::Result<()> {
        let dir = self.path(ino)?;
        let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
        for (offset, entry) in (offset + 1..).zip(fs::read_dir(dir)?.skip(skipped)) {
            let entry = entry?;
            let attr = self.found(entry.path())?;
            if reply.add(attr.ino, offset, entry.file_name(), &FOR_EVER, &attr, GENERATION) {
                break;
            }
        }
        Ok(())
    }
}

fn attributes(metadata: &Metadata) -> FileAttr {
    let time = |secs: i64, nanos: i64| {
        let since = Duration::new(secs.unsigned_abs(), u32::try_from(nanos).unwrap_or_default());
        UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
    };
    FileAttr {
        ino: INodeNo(metadata.ino()),
        size: metadata.size(),
        blocks: metadata.blocks(),
        atime: time(metadata.atime(), metadata.atime_nsec()),
        mtime: time(metadata.mtime(), metadata.mtime_nsec()),
        ctime: time(metadata.ctime(), metadata.ctime_nsec()),
        crtime: UNIX_EPOCH,
        kind: if metadata.is_dir() { FileType::Directory } else { FileType::RegularFile },
        perm: (metadata.mode() & 0o7777) as u16,
        nlink: u32::try_from(metadata.nlink()).unwrap_or(u32::MAX),
        uid: metadata.uid(),
        gid: metadata.gid(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

macro_rules! answer {
    ($reply:ident, $result:expr, $value:pat => $ok:expr) => {
        match $result {
            Ok($value) => $ok,
            Err(error) => $reply.error(error.into()),
        }
    };
}

impl Filesystem for PassThrough {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        for capability in [
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_WRITEBACK_CACHE,
            InitFlags::FUSE_NO_OPEN_SUPPORT,
            InitFlags::FUSE_NO_OPENDIR_SUPPORT,
        ] {
            // An older kernel does without.
            let _ = config.add_capabilities(capability);
        }
        let _ = config.set_max_write(1 << 20);
        let _ = config.set_max_background(64);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        answer!(reply, self.path(parent).and_then(|dir| self.found(dir.join(name))), attr => {
            reply.entry(&FOR_EVER, &attr, GENERATION);
        });
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let metadata = self.path(ino).and_then(|path| path.symlink_metadata());
        answer!(reply, metadata, metadata => {
            reply.attr(&FOR_EVER, &FileAttr { ino, ..attributes(&metadata) });
        });
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let changed = self.path(ino).and_then(|path| {
            if let Some(size) = size {
                self.file(ino)?.set_len(size)?;
            }
            path.symlink_metadata()
        });
        answer!(reply, changed, metadata => reply.attr(&FOR_EVER, &FileAttr { ino, ..attributes(&metadata) }));
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        let made = self.path(parent).and_then(|dir| {
            let path = dir.join(name);
            fs::create_dir(&path)?;
            self.found(path)
        });
        answer!(reply, made, attr => reply.entry(&FOR_EVER, &attr, GENERATION));
    }

    fn mknod(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, _: u32, reply: ReplyEntry) {
        let made = self.path(parent).and_then(|dir| {
            let path = dir.join(name);
            File::create_new(&path)?;
            self.found(path)
        });
        answer!(reply, made, attr => reply.entry(&FOR_EVER, &attr, GENERATION));
    }

    fn create(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        // The kernel then makes a node.
        reply.error(fuser::Errno::ENOSYS);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, self.path(parent).and_then(|dir| fs::remove_file(dir.join(name))), () => reply.ok());
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, self.path(parent).and_then(|dir| fs::remove_dir(dir.join(name))), () => reply.ok());
    }

    fn forget(&self, _: &Request, ino: INodeNo, _: u64) {
        if ino != INodeNo::ROOT {
            self.nodes.lock().unwrap_or_else(PoisonError::into_inner).remove(&ino.0);
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.error(fuser::Errno::ENOSYS);
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // Without a listing kept by the kernel: what it skips it would have to be told of first.
        reply.opened(NO_HANDLE, FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut buf = vec![0; usize::try_from(size).unwrap_or_default()];
        let count = self.file(ino).and_then(|file| file.read_at(&mut buf, offset));
        answer!(reply, count, count => reply.data(buf.get(..count).unwrap_or_default()));
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = self.file(ino).and_then(|file| file.write_at(data, offset));
        answer!(reply, written, count => reply.written(u32::try_from(count).unwrap_or_default()));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.error(fuser::Errno::ENOSYS);
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn readdirplus(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectoryPlus) {
        answer!(reply, self.list(ino, offset, &mut reply), () => reply.ok());
    }
}
