//! WASI preview 1.
//!
//! [`Process`] is what a guest holds: descriptors, arguments, streams. The 46 functions are its methods, over the
//! guest's memory as a byte slice and the raw arguments, so that they know no engine and are tested without one.
//! `add_to_linker` connects them to wasmtime.
//!
//! Each method takes its arguments in the order of the ABI, where pointers to results come last.
//!
//! # Rules kept by all of them
//! - Every pointer is proven before anything is read, written or changed: what is out of bounds is `EFAULT`.
//! - Files are read straight into the guest's memory and written straight from it.
//! - Paths are UTF-8 (`EILSEQ`) without NUL (`EINVAL`); the walk below a directory is the namespace's.
//! - A descriptor that does not fit the call is `EBADF`, a file where a directory is needed `ENOTDIR`.

pub mod abi;
mod env;
mod fd;
#[cfg(feature = "engine")]
mod linker;
mod path;
mod poll;
mod readdir;
mod table;
#[cfg(all(test, feature = "engine"))]
mod tests;

use std::time::Instant;

use mountless::error::Result;
use mountless::fs::DirBatch;
use mountless::namespace::{Descriptor, Location, Namespace, WalkCache};

#[cfg(feature = "engine")]
pub use self::linker::{Exit, MODULE, TimedOut, WasiP1, add_to_linker, check_imports};
use self::table::{Handle, Preopen, Slot, Table};
use crate::host::{Fail, Host, Limits, Stdio};

/// What a call answers: nothing, since results go to the guest's memory.
pub type CallResult = core::result::Result<(), Fail>;

/// What a guest holds.
pub struct Process {
    namespace: Namespace,
    host: Box<dyn Host>,
    table: Table,
    /// Where paths of the guest led.
    walks: WalkCache,
    /// For listings; its memory is reused.
    batch: DirBatch,
    /// For appending several pieces at once; its memory is reused.
    gathered: Vec<u8>,
    deadline: Option<Instant>,
    limits: Limits,
}

impl core::fmt::Debug for Process {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Process").field("table", &self.table).finish_non_exhaustive()
    }
}

impl Process {
    /// A process with standard streams 0, 1, 2 and nothing else.
    #[must_use]
    pub fn new(namespace: Namespace, host: Box<dyn Host>) -> Self {
        let limits = Limits::default();
        let mut table = Table::new(limits.descriptors);
        for stream in [Stdio::In, Stdio::Out, Stdio::Err] {
            // OK: an empty table has room.
            let _ = table.insert(Slot::new(Handle::Stdio(stream), 0));
        }
        let batch = DirBatch::with_max_bytes(0, abi::DIRENT_LEN);
        Self {
            namespace,
            host,
            table,
            walks: WalkCache::default(),
            batch,
            gathered: Vec::new(),
            deadline: None,
            limits,
        }
    }

    /// A process with the arguments, environment, clocks, random bytes and streams of `ctx`. Its preopens are not used.
    #[cfg(feature = "engine")]
    #[must_use]
    pub fn from_ctx(namespace: Namespace, ctx: wasmtime_wasi::WasiCtx) -> Self {
        Self::new(namespace, Box::new(crate::host::CtxHost::new(ctx)))
    }

    /// Gives the guest a directory, which it knows as `name`, under the next descriptor, which is returned.
    ///
    /// wasi-libc finds the directory for a path by the longest name, and the last one of equals; it takes `/` and `.`
    /// for equals.
    ///
    /// The guest reaches what is below the directory and nothing else, and can change nothing if it is
    /// [read-only](Location::read_only).
    ///
    /// # Errors
    /// `ENOTDIR`, `EMFILE`.
    pub fn preopen(&mut self, name: &str, dir: &Location) -> Result<u32> {
        let dir = Descriptor::open_dir(dir.clone())?;
        Ok(self.table.insert(Slot {
            preopen: Some(Box::new(Preopen { name: name.into() })),
            ..Slot::new(Handle::Dir(dir), 0)
        })?)
    }

    /// The tree.
    #[must_use]
    pub const fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// How much it may have. What it has already stays.
    pub const fn set_limits(&mut self, limits: Limits) {
        self.table.set_open_max(limits.descriptors);
        self.limits = limits;
    }

    /// When waiting ends with [`Stop::TimedOut`](crate::host::Stop::TimedOut). Calls that do not wait are not affected.
    pub const fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }
}
