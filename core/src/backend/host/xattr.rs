//! Extended attributes: of files and directories, the nodes that can be opened.

use alloc::vec::Vec;
use std::os::fd::{AsFd, BorrowedFd};

use bytes::Bytes;
use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr};
use rustix::io::Errno as Raw;

use super::HostFs;
use super::errno::from_raw;
use super::node::On;
use crate::attr::FileType;
use crate::errno::Errno;
use crate::error::Result;
use crate::fs::{NodeId, XattrMode};
use crate::limits::{NAME_MAX, XATTR_VALUE_MAX, XATTRS_TOTAL_MAX};

/// What Linux returns at most: as names of one node, and as one value.
const HOST_MAX: usize = 64 << 10;

impl HostFs {
    pub(super) fn with_xattrs<T>(&self, node: NodeId, act: impl FnOnce(BorrowedFd<'_>) -> Result<T>) -> Result<T> {
        let node = self.table.node(node)?;
        let _names = self.names();
        match node.file_type {
            FileType::File => act(node.open(false)?.as_fd()),
            FileType::Dir => node.with(|on| match on {
                On::Open(fd) => act(*fd),
                _ => Err(Errno::NotSupported.into()),
            }),
            _ => Err(Errno::NotSupported.into()),
        }
    }
}

pub(super) fn read(fd: BorrowedFd<'_>, name: &[u8]) -> Result<Bytes> {
    let mut value = Vec::with_capacity(HOST_MAX);
    fgetxattr(fd, name, rustix::buffer::spare_capacity(&mut value)).map_err(from_raw)?;
    Ok(Bytes::copy_from_slice(&value))
}

pub(super) fn names(fd: BorrowedFd<'_>) -> Result<Vec<Bytes>> {
    let mut list = Vec::with_capacity(HOST_MAX);
    flistxattr(fd, rustix::buffer::spare_capacity(&mut list)).map_err(from_raw)?;
    let list = Bytes::from(list);
    let mut names: Vec<Bytes> =
        list.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(|name| list.slice_ref(name)).collect();
    names.sort();
    Ok(names)
}

pub(super) fn set(fd: BorrowedFd<'_>, name: &[u8], value: &[u8], mode: XattrMode) -> Result<()> {
    if name.is_empty() || name.len() > NAME_MAX {
        return Err(Errno::Range.into());
    }
    if value.len() > XATTR_VALUE_MAX {
        return Err(Errno::NoSpace.into());
    }
    // Not every host has a limit of its own.
    let mut total = name.len() + value.len();
    for other in names(fd)? {
        if other != name {
            total += other.len() + rustix::fs::fgetxattr_query(fd, &*other).unwrap_or(0);
        }
    }
    if total > XATTRS_TOTAL_MAX {
        return Err(Errno::NoSpace.into());
    }
    let flags = match mode {
        XattrMode::Set => XattrFlags::empty(),
        XattrMode::Create => XattrFlags::CREATE,
        XattrMode::Replace => XattrFlags::REPLACE,
    };
    fsetxattr(fd, name, value, flags).map_err(from_raw)
}

pub(super) fn remove(fd: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    match fremovexattr(fd, name) {
        Err(Raw::RANGE) => Err(Errno::NoAttribute.into()),
        other => other.map_err(from_raw),
    }
}
