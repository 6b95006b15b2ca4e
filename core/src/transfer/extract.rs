//! An image into a directory of the host, without being root.

use alloc::sync::Arc;
use std::path::Path;

use super::copy::{CopyOptions, CopyReport, Existing, Owners, copy_into_by_many};
use crate::backend::host::HostFs;
use crate::errno::Errno;
use crate::error::{Error, Result};
use crate::fs::{FileSystem, NodeRef};
use crate::progress::Progress;

/// How to extract.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ExtractOptions {
    /// What is in the way is replaced, unless it is a directory that is not empty; else it is an error.
    pub replace: bool,
    /// Everything belongs to who extracts.
    pub own: bool,
}

/// Extracts what is in the directory `from` into the directory at `dir`, which is made if it is missing. Nothing outside
/// of it is touched, whatever names and links say; a link that is in the way is not followed.
///
/// What is not permitted (devices, owners) is left out and reported; root may do all.
///
/// # Errors
/// Those of the host for `dir`; as [`copy_into`](super::copy_into).
pub fn extract(from: &Arc<NodeRef>, dir: &Path, options: ExtractOptions, progress: &Progress) -> Result<CopyReport> {
    match std::fs::create_dir(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(from_host(error));
        }
        _ => {}
    }
    let host = Arc::new(HostFs::open(dir)?);
    let (uid, gid) = own_ids();
    let owners = if options.own { Owners::All(uid, gid) } else { Owners::KeptIfPermitted(uid, gid) };
    let existing = if options.replace { Existing::Replace } else { Existing::Refuse };
    let options = CopyOptions { owners, existing, keep_times: true };
    let root = Arc::new(NodeRef::root(Arc::clone(&host) as Arc<dyn FileSystem>));
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX);
    copy_into_by_many(from, &root, &options, progress, workers, Some(&host))
}

/// Threads that write content: more wait for each other, or for the disk.
const WORKERS_MAX: usize = 4;

/// The user and the group of this process: whom the files it makes belong to.
#[must_use]
pub fn own_ids() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

fn from_host(error: std::io::Error) -> Error {
    let errno = match error.kind() {
        std::io::ErrorKind::NotFound => Errno::NotFound,
        std::io::ErrorKind::PermissionDenied => Errno::Access,
        std::io::ErrorKind::NotADirectory => Errno::NotDir,
        std::io::ErrorKind::StorageFull => Errno::NoSpace,
        std::io::ErrorKind::ReadOnlyFilesystem => Errno::ReadOnly,
        _ => return Error::new(Errno::Io, error),
    };
    errno.into()
}
