//! Preview 1 on wasmtime.

use wasmtime::{Caller, Extern, Instance, Linker, Memory, Module, StoreContextMut};
use wasmtime_wasi::{I32Exit, WasiCtx};

use mountless::error::Result;
use mountless::namespace::{Follow, Namespace};

use super::{CallResult, Process};
use crate::errno;
use crate::host::{Fail, Stop};

/// The name modules import preview 1 from.
pub const MODULE: &str = "wasi_snapshot_preview1";

/// What `proc_exit` ends a guest with, as with wasmtime-wasi: look for it in the error of a call.
pub type Exit = I32Exit;

/// The guest's time was up while it waited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimedOut;

impl core::fmt::Display for TimedOut {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the time limit was reached")
    }
}

impl core::error::Error for TimedOut {}

/// What a store's data holds for [`add_to_linker`].
#[derive(Debug)]
pub struct WasiP1 {
    process: Process,
    memory: Option<Memory>,
}

impl From<Process> for WasiP1 {
    fn from(process: Process) -> Self {
        Self { process, memory: None }
    }
}

impl WasiP1 {
    /// Arguments, environment, clocks, random bytes and streams from `ctx`, files from `namespace`: those below the
    /// directories that [`preopen`](Self::preopen) gives.
    #[must_use]
    pub fn new(namespace: Namespace, ctx: WasiCtx) -> Self {
        Process::from_ctx(namespace, ctx).into()
    }

    /// Gives the guest the directory at `path`, an absolute path in the namespace, under the name `name`.
    ///
    /// # Errors
    /// Those of a walk, `ENOTDIR`.
    pub fn preopen(&mut self, name: &str, path: impl AsRef<[u8]>) -> Result<&mut Self> {
        let dir = self.process.namespace().locate(path, Follow::Yes)?;
        self.process.preopen(name, &dir)?;
        Ok(self)
    }

    /// What the guest holds.
    pub const fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Remembers the exported memory of `instance`, which saves a lookup in every call.
    ///
    /// Only for stores with one instance that uses this: all calls go to this memory from then on.
    ///
    /// # Panics
    /// If `instance` is not of `store`.
    pub fn use_memory_of<T: 'static>(
        mut store: StoreContextMut<'_, T>,
        instance: &Instance,
        get: impl Fn(&mut T) -> &mut Self,
    ) {
        if let Some(memory) = instance.get_memory(&mut store, "memory") {
            get(store.data_mut()).memory = Some(memory);
        }
    }
}

/// The guest's memory, and what it holds.
#[inline]
fn enter<'a, T: 'static>(
    caller: &'a mut Caller<'_, T>,
    get: impl Fn(&mut T) -> &mut WasiP1,
) -> wasmtime::Result<(&'a mut [u8], &'a mut Process)> {
    let memory = match get(caller.data_mut()).memory {
        Some(memory) => memory,
        None => exported_memory(caller)?,
    };
    let (bytes, data) = memory.data_and_store_mut(caller);
    Ok((bytes, &mut get(data).process))
}

fn exported_memory<T: 'static>(caller: &mut Caller<'_, T>) -> wasmtime::Result<Memory> {
    match caller.get_export("memory") {
        Some(Extern::Memory(memory)) => Ok(memory),
        Some(Extern::SharedMemory(_)) => Err(wasmtime::Error::msg(SHARED_MEMORY)),
        _ => Err(wasmtime::Error::msg("the module exports no memory named \"memory\", which WASI preview 1 needs")),
    }
}

const SHARED_MEMORY: &str = "the module's memory is shared between threads, which is not supported";

/// Inlined for what nearly every call is.
#[inline(always)]
fn finish(name: &str, result: CallResult) -> wasmtime::Result<u32> {
    if result.is_ok() && !tracing::enabled!(tracing::Level::TRACE) { Ok(0) } else { finish_told(name, result) }
}

#[inline(never)]
fn finish_told(name: &str, result: CallResult) -> wasmtime::Result<u32> {
    tracing::trace!(name, ?result);
    match result {
        Ok(()) => Ok(0),
        Err(Fail::Errno(errno)) => Ok(u32::from(errno::number(errno))),
        Err(Fail::Stop(Stop::Exit(code))) => Err(I32Exit(code.cast_signed()).into()),
        Err(Fail::Stop(Stop::TimedOut)) => Err(TimedOut.into()),
    }
}

macro_rules! functions {
    ($($name:ident($($arg:ident: $type:ty),*);)*) => {
        /// The functions of preview 1 that return an errno.
        const NAMES: &[&str] = &[$(stringify!($name)),*];

        fn define<T: 'static>(
            linker: &mut Linker<T>,
            get: impl Fn(&mut T) -> &mut WasiP1 + Copy + Send + Sync + 'static,
        ) -> wasmtime::Result<()> {
            $(linker.func_wrap(MODULE, stringify!($name), move |mut caller: Caller<'_, T>, $($arg: $type),*| {
                let (memory, process) = enter(&mut caller, get)?;
                finish(stringify!($name), process.$name(memory, $($arg),*))
            })?;)*
            Ok(())
        }
    };
}

functions! {
    args_get(argv: u32, argv_buf: u32);
    args_sizes_get(count: u32, len: u32);
    environ_get(environ: u32, environ_buf: u32);
    environ_sizes_get(count: u32, len: u32);
    clock_res_get(id: u32, resolution: u32);
    clock_time_get(id: u32, precision: u64, time: u32);
    fd_advise(fd: u32, offset: u64, len: u64, advice: u32);
    fd_allocate(fd: u32, offset: u64, len: u64);
    fd_close(fd: u32);
    fd_datasync(fd: u32);
    fd_fdstat_get(fd: u32, stat: u32);
    fd_fdstat_set_flags(fd: u32, flags: u32);
    fd_fdstat_set_rights(fd: u32, base: u64, inheriting: u64);
    fd_filestat_get(fd: u32, stat: u32);
    fd_filestat_set_size(fd: u32, size: u64);
    fd_filestat_set_times(fd: u32, atim: u64, mtim: u64, flags: u32);
    fd_pread(fd: u32, iovs: u32, iovs_len: u32, offset: u64, count: u32);
    fd_prestat_get(fd: u32, prestat: u32);
    fd_prestat_dir_name(fd: u32, buf: u32, len: u32);
    fd_pwrite(fd: u32, iovs: u32, iovs_len: u32, offset: u64, count: u32);
    fd_read(fd: u32, iovs: u32, iovs_len: u32, count: u32);
    fd_readdir(fd: u32, buf: u32, buf_len: u32, cookie: u64, used: u32);
    fd_renumber(fd: u32, to: u32);
    fd_seek(fd: u32, offset: u64, whence: u32, position: u32);
    fd_sync(fd: u32);
    fd_tell(fd: u32, position: u32);
    fd_write(fd: u32, iovs: u32, iovs_len: u32, count: u32);
    path_create_directory(fd: u32, path: u32, path_len: u32);
    path_filestat_get(fd: u32, lookup: u32, path: u32, path_len: u32, stat: u32);
    path_filestat_set_times(fd: u32, lookup: u32, path: u32, path_len: u32, atim: u64, mtim: u64, flags: u32);
    path_link(from_fd: u32, lookup: u32, from: u32, from_len: u32, to_fd: u32, to: u32, to_len: u32);
    path_open(fd: u32, lookup: u32, path: u32, path_len: u32, oflags: u32, base: u64, inheriting: u64, fdflags: u32,
        opened: u32);
    path_readlink(fd: u32, path: u32, path_len: u32, buf: u32, buf_len: u32, used: u32);
    path_remove_directory(fd: u32, path: u32, path_len: u32);
    path_rename(from_fd: u32, from: u32, from_len: u32, to_fd: u32, to: u32, to_len: u32);
    path_symlink(target: u32, target_len: u32, fd: u32, path: u32, path_len: u32);
    path_unlink_file(fd: u32, path: u32, path_len: u32);
    poll_oneoff(subs: u32, events: u32, count: u32, fired: u32);
    proc_raise(signal: u32);
    random_get(buf: u32, len: u32);
    sched_yield();
    sock_accept(fd: u32, flags: u32, opened: u32);
    sock_recv(fd: u32, iovs: u32, iovs_len: u32, flags: u32, count: u32, out_flags: u32);
    sock_send(fd: u32, iovs: u32, iovs_len: u32, flags: u32, count: u32);
    sock_shutdown(fd: u32, how: u32);
}

/// The one function of preview 1 that returns nothing, and does not return.
const PROC_EXIT: &str = "proc_exit";

/// Adds preview 1 to a linker whose stores hold a [`WasiP1`].
///
/// The functions are synchronous: reading standard input and waiting block the calling thread.
///
/// # Errors
/// If one of the names is taken.
pub fn add_to_linker<T: 'static>(
    linker: &mut Linker<T>,
    get: impl Fn(&mut T) -> &mut WasiP1 + Copy + Send + Sync + 'static,
) -> wasmtime::Result<()> {
    define(linker, get)?;
    linker.func_wrap(MODULE, PROC_EXIT, |_: Caller<'_, T>, code: u32| -> wasmtime::Result<()> {
        finish(PROC_EXIT, Err(Fail::Stop(Stop::Exit(code)))).map(drop)
    })?;
    Ok(())
}

/// Tells what a module wants that this host does not have, before a linker puzzles over it.
///
/// # Errors
/// For a module of preview 0, with a shared memory, or that imports an unknown function of preview 1.
pub fn check_imports(module: &Module) -> wasmtime::Result<()> {
    let shared = |ty: wasmtime::ExternType| ty.memory().is_some_and(wasmtime::MemoryType::is_shared);
    for import in module.imports() {
        if import.module() == "wasi_unstable" {
            return Err(wasmtime::Error::msg(
                "the module is built for WASI preview 0 (it imports from \"wasi_unstable\"), which is not supported: \
                 rebuild it with a current toolchain, for preview 1",
            ));
        }
        if import.module() == MODULE && import.name() != PROC_EXIT && !NAMES.contains(&import.name()) {
            return Err(wasmtime::Error::msg(format!("WASI preview 1 has no function {:?}", import.name())));
        }
        if import.module() == "wasi" && import.name() == "thread-spawn" || shared(import.ty()) {
            return Err(wasmtime::Error::msg(SHARED_MEMORY));
        }
    }
    if module.exports().any(|export| shared(export.ty())) {
        return Err(wasmtime::Error::msg(SHARED_MEMORY));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_46_functions_are_there() {
        assert_eq!(NAMES.len() + 1, 46);
    }
}
