//! The calls over a memory filesystem, without an engine.

mod files;
mod limits;
mod listing;
mod paths;
mod streams;

use std::sync::Arc;

use mountless::backend::mem::MemFs;
use mountless::errno::Errno;
use mountless::namespace::Namespace;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder};

use super::abi::Ptr;
use super::{CallResult, Process};
use crate::host::Fail;

pub(super) const CREATE: u32 = 1;
pub(super) const DIRECTORY: u32 = 2;
pub(super) const EXCLUSIVE: u32 = 4;
pub(super) const TRUNCATE: u32 = 8;

pub(super) const READ: u64 = 1 << 1;
pub(super) const WRITE: u64 = 1 << 6;

pub(super) const APPEND: u32 = 1;

/// The root preopen.
pub(super) const ROOT: u32 = 3;

/// Where results go.
const OUT: Ptr = 0;
/// Where a scatter-gather list goes.
const IOVS: Ptr = 64;
/// Where paths go.
const PATH: Ptr = 0x1000;
const PATH2: Ptr = 0x3000;
/// Where data goes.
pub(super) const DATA: Ptr = 0x8000;
pub(super) const MEMORY_LEN: usize = 0x20_0000;

/// A guest without a program: its memory, and calls as a libc would make them.
pub(super) struct Guest {
    pub(super) process: Process,
    pub(super) memory: Vec<u8>,
}

pub(super) fn errno(result: CallResult) -> Result<(), Errno> {
    match result {
        Ok(()) => Ok(()),
        Err(Fail::Errno(errno)) => Err(errno),
        Err(Fail::Stop(stop)) => panic!("stopped: {stop:?}"),
    }
}

impl Guest {
    pub(super) fn new() -> Self {
        Self::on(Namespace::new(Arc::new(MemFs::new())), &mut WasiCtx::builder())
    }

    /// With preopen `/` as descriptor 3.
    pub(super) fn on(namespace: Namespace, ctx: &mut WasiCtxBuilder) -> Self {
        let mut process = Process::from_ctx(namespace, ctx.build());
        let root = process.namespace().root().clone();
        assert_eq!(process.preopen("/", &root).unwrap(), ROOT);
        Self { process, memory: vec![0; MEMORY_LEN] }
    }

    pub(super) fn namespace(&self) -> Namespace {
        self.process.namespace().clone()
    }

    pub(super) fn put(&mut self, ptr: Ptr, bytes: &[u8]) -> (Ptr, u32) {
        self.memory[ptr as usize..ptr as usize + bytes.len()].copy_from_slice(bytes);
        (ptr, u32::try_from(bytes.len()).unwrap())
    }

    pub(super) fn u32_at(&self, ptr: Ptr) -> u32 {
        u32::from_le_bytes(self.memory[ptr as usize..ptr as usize + 4].try_into().unwrap())
    }

    pub(super) fn u64_at(&self, ptr: Ptr) -> u64 {
        u64::from_le_bytes(self.memory[ptr as usize..ptr as usize + 8].try_into().unwrap())
    }

    pub(super) fn open_with(
        &mut self,
        dir: u32,
        path: &str,
        follow: u32,
        oflags: u32,
        rights: u64,
        fdflags: u32,
    ) -> Result<u32, Errno> {
        let (path, len) = self.put(PATH, path.as_bytes());
        let memory = &mut self.memory;
        errno(self.process.path_open(memory, dir, follow, path, len, oflags, rights, 0, fdflags, OUT))?;
        Ok(self.u32_at(OUT))
    }

    /// Follows links.
    pub(super) fn open(&mut self, path: &str, oflags: u32, rights: u64) -> Result<u32, Errno> {
        self.open_with(ROOT, path, 1, oflags, rights, 0)
    }

    /// A file for reading and writing, created if missing.
    pub(super) fn create(&mut self, path: &str) -> u32 {
        self.open(path, CREATE, READ | WRITE).unwrap()
    }

    pub(super) fn close(&mut self, fd: u32) -> Result<(), Errno> {
        errno(self.process.fd_close(&mut self.memory, fd))
    }

    /// Lays a scatter-gather list out: each element at its own place from [`DATA`] on.
    pub(super) fn iovecs(&mut self, lens: &[u32]) -> u32 {
        let mut ptr = DATA;
        for (index, &len) in lens.iter().enumerate() {
            let at = IOVS + 8 * u32::try_from(index).unwrap();
            self.put(at, &ptr.to_le_bytes());
            self.put(at + 4, &len.to_le_bytes());
            // A list that runs past the end of the address space is one of the cases.
            ptr = ptr.wrapping_add(len);
        }
        u32::try_from(lens.len()).unwrap()
    }

    pub(super) fn write(&mut self, fd: u32, bytes: &[u8]) -> Result<u32, Errno> {
        let (_, len) = self.put(DATA, bytes);
        let count = self.iovecs(&[len]);
        errno(self.process.fd_write(&mut self.memory, fd, IOVS, count, OUT))?;
        Ok(self.u32_at(OUT))
    }

    pub(super) fn pwrite(&mut self, fd: u32, offset: u64, bytes: &[u8]) -> Result<u32, Errno> {
        let (_, len) = self.put(DATA, bytes);
        let count = self.iovecs(&[len]);
        errno(self.process.fd_pwrite(&mut self.memory, fd, IOVS, count, offset, OUT))?;
        Ok(self.u32_at(OUT))
    }

    fn taken(&self) -> Vec<u8> {
        let count = self.u32_at(OUT) as usize;
        self.memory[DATA as usize..DATA as usize + count].to_vec()
    }

    /// Reads into elements of these lengths, which lie one behind the other.
    pub(super) fn readv(&mut self, fd: u32, lens: &[u32]) -> Result<Vec<u8>, Errno> {
        let count = self.iovecs(lens);
        errno(self.process.fd_read(&mut self.memory, fd, IOVS, count, OUT))?;
        Ok(self.taken())
    }

    pub(super) fn read(&mut self, fd: u32, len: u32) -> Result<Vec<u8>, Errno> {
        self.readv(fd, &[len])
    }

    pub(super) fn pread(&mut self, fd: u32, offset: u64, len: u32) -> Result<Vec<u8>, Errno> {
        let count = self.iovecs(&[len]);
        errno(self.process.fd_pread(&mut self.memory, fd, IOVS, count, offset, OUT))?;
        Ok(self.taken())
    }

    pub(super) fn seek(&mut self, fd: u32, offset: i64, whence: u32) -> Result<u64, Errno> {
        errno(self.process.fd_seek(&mut self.memory, fd, offset.cast_unsigned(), whence, OUT))?;
        Ok(self.u64_at(OUT))
    }

    pub(super) fn tell(&mut self, fd: u32) -> Result<u64, Errno> {
        errno(self.process.fd_tell(&mut self.memory, fd, OUT))?;
        Ok(self.u64_at(OUT))
    }

    fn stat_out(&self) -> Stat {
        Stat {
            dev: self.u64_at(OUT),
            ino: self.u64_at(OUT + 8),
            file_type: self.memory[OUT as usize + 16],
            nlink: self.u64_at(OUT + 24),
            size: self.u64_at(OUT + 32),
            atim: self.u64_at(OUT + 40),
            mtim: self.u64_at(OUT + 48),
        }
    }

    pub(super) fn fstat(&mut self, fd: u32) -> Result<Stat, Errno> {
        errno(self.process.fd_filestat_get(&mut self.memory, fd, OUT))?;
        Ok(self.stat_out())
    }

    pub(super) fn stat_at(&mut self, dir: u32, path: &str, follow: u32) -> Result<Stat, Errno> {
        let (path, len) = self.put(PATH, path.as_bytes());
        errno(self.process.path_filestat_get(&mut self.memory, dir, follow, path, len, OUT))?;
        Ok(self.stat_out())
    }

    pub(super) fn stat(&mut self, path: &str) -> Result<Stat, Errno> {
        self.stat_at(ROOT, path, 1)
    }

    pub(super) fn mkdir(&mut self, path: &str) -> Result<(), Errno> {
        let (path, len) = self.put(PATH, path.as_bytes());
        errno(self.process.path_create_directory(&mut self.memory, ROOT, path, len))
    }

    pub(super) fn rmdir(&mut self, path: &str) -> Result<(), Errno> {
        let (path, len) = self.put(PATH, path.as_bytes());
        errno(self.process.path_remove_directory(&mut self.memory, ROOT, path, len))
    }

    pub(super) fn unlink(&mut self, path: &str) -> Result<(), Errno> {
        let (path, len) = self.put(PATH, path.as_bytes());
        errno(self.process.path_unlink_file(&mut self.memory, ROOT, path, len))
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> Result<(), Errno> {
        let (from, from_len) = self.put(PATH, from.as_bytes());
        let (to, to_len) = self.put(PATH2, to.as_bytes());
        errno(self.process.path_rename(&mut self.memory, ROOT, from, from_len, ROOT, to, to_len))
    }

    pub(super) fn link(&mut self, from: &str, to: &str) -> Result<(), Errno> {
        let (from, from_len) = self.put(PATH, from.as_bytes());
        let (to, to_len) = self.put(PATH2, to.as_bytes());
        errno(self.process.path_link(&mut self.memory, ROOT, 0, from, from_len, ROOT, to, to_len))
    }

    pub(super) fn symlink_at(&mut self, target: &str, dir: u32, path: &str) -> Result<(), Errno> {
        let (target, target_len) = self.put(PATH, target.as_bytes());
        let (path, path_len) = self.put(PATH2, path.as_bytes());
        errno(self.process.path_symlink(&mut self.memory, target, target_len, dir, path, path_len))
    }

    pub(super) fn symlink(&mut self, target: &str, path: &str) -> Result<(), Errno> {
        self.symlink_at(target, ROOT, path)
    }

    pub(super) fn readlink(&mut self, path: &str, len: u32) -> Result<Vec<u8>, Errno> {
        let (path, path_len) = self.put(PATH, path.as_bytes());
        errno(self.process.path_readlink(&mut self.memory, ROOT, path, path_len, DATA, len, OUT))?;
        Ok(self.taken())
    }

    /// (type, flags, rights base, rights inheriting)
    pub(super) fn fdstat(&mut self, fd: u32) -> Result<(u8, u16, u64, u64), Errno> {
        errno(self.process.fd_fdstat_get(&mut self.memory, fd, OUT))?;
        let flags = u16::from_le_bytes([self.memory[2], self.memory[3]]);
        Ok((self.memory[0], flags, self.u64_at(OUT + 8), self.u64_at(OUT + 16)))
    }

    /// One call: the bytes it put into a buffer of `len`.
    pub(super) fn readdir(&mut self, fd: u32, len: u32, cookie: u64) -> Result<Vec<u8>, Errno> {
        errno(self.process.fd_readdir(&mut self.memory, fd, DATA, len, cookie, OUT))?;
        Ok(self.taken())
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stat {
    pub(super) dev: u64,
    pub(super) ino: u64,
    pub(super) file_type: u8,
    pub(super) nlink: u64,
    pub(super) size: u64,
    pub(super) atim: u64,
    pub(super) mtim: u64,
}
