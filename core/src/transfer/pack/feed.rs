//! What is to be packed, one after the other, with what must be read for it.
//!
//! From memory, runs are handed on without a copy, when they are wanted. Everything else is read by a thread of its own,
//! [`Ahead`] of the one that writes.

use alloc::vec::{IntoIter, Vec};
use core::iter::Enumerate;
use std::thread::Scope;

use bytes::Bytes;

use super::super::copy::at;
use super::PackFormat;
use super::ahead::Ahead;
use super::found::{Found, Groups};
use crate::attr::{Attr, FileType};
use crate::checked::{min_len, to_u64};
use crate::errno::Errno;
use crate::error::Result;
use crate::format::tar::Piece;
use crate::fs::{Extent, FileSystem, NodeRef};
use crate::limits::{READ_SHARED_MAX, SPARSE_PIECES_MAX};

/// What the format wants to know.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    pub(super) format: PackFormat,
    /// Holes are looked for.
    pub(super) holes: bool,
}

/// Names and values.
type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// A name to be packed, with what was read of it.
pub(super) struct Ready {
    pub(super) index: usize,
    /// As the formats have it: `.` for the root.
    pub(super) path: Vec<u8>,
    pub(super) attr: Attr,
    pub(super) xattrs: Xattrs,
    /// Of a symbolic link.
    pub(super) target: Bytes,
    /// Where a file with holes has data.
    pub(super) pieces: Option<Vec<Piece>>,
    /// Whether this is the name with which the content goes.
    pub(super) has_content: bool,
}

impl Ready {
    /// Bytes of content that are stored.
    pub(super) fn content_len(&self) -> u64 {
        match &self.pieces {
            Some(pieces) => pieces.iter().fold(0, |sum, piece| piece.len.saturating_add(sum)),
            None => self.attr.size,
        }
    }

    /// What is stored of the content: offset and length.
    pub(super) fn stored(&self) -> impl Iterator<Item = Piece> + '_ {
        let whole = Piece { offset: 0, len: self.attr.size };
        let (pieces, whole) = match &self.pieces {
            Some(pieces) => (pieces.as_slice(), None),
            None => (&[][..], Some(whole)),
        };
        pieces.iter().copied().chain(whole)
    }
}

/// Whether reading takes no time, as nobody has to ask the host for it.
fn is_in_memory(fs: &dyn FileSystem) -> bool {
    !fs.info().may_block
}

/// Threads that are busy when a tree of `fs` is packed: the one that makes the image, and one that reads.
pub(in crate::transfer) fn busy_threads(fs: &dyn FileSystem) -> usize {
    if is_in_memory(fs) { 1 } else { 2 }
}

/// What is to be packed.
pub(super) enum Feed<'a> {
    /// Read when it is wanted.
    Here {
        rest: Enumerate<IntoIter<Found>>,
        reader: Reader<'a>,
        /// What the last name leads to.
        node: Option<NodeRef>,
    },
    /// Read before it is wanted.
    Ahead(Ahead),
}

impl<'a> Feed<'a> {
    /// Reads `found`, if need be in a thread of `scope`.
    pub(super) fn new<'scope>(found: Vec<Found>, reader: Reader<'a>, scope: &'scope Scope<'scope, '_>) -> Self
    where
        'a: 'scope,
    {
        // All are of one filesystem.
        let is_in_memory = found.first().is_none_or(|one| is_in_memory(&**one.node.fs()));
        let rest = found.into_iter().enumerate();
        if is_in_memory {
            Self::Here { rest, reader, node: None }
        } else {
            Self::Ahead(Ahead::new(rest, reader, scope))
        }
    }

    /// The next name; `None` when there are no more.
    pub(super) fn next(&mut self) -> Result<Option<Ready>> {
        match self {
            Self::Here { rest, reader, node } => {
                let Some((index, found)) = rest.next() else { return Ok(None) };
                let ready = reader.ready(index, &found)?;
                *node = Some(found.node);
                Ok(Some(ready))
            }
            Self::Ahead(ahead) => ahead.next(),
        }
    }

    /// Calls `visit` with the content of the last name. It may be less than it should, when somebody shortens the file.
    pub(super) fn content(&mut self, ready: &Ready, mut visit: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let node = match self {
            Self::Here { node, .. } => node.as_ref(),
            Self::Ahead(ahead) => return ahead.content(visit),
        };
        let Some(node) = node else { return Ok(()) };
        for Piece { mut offset, mut len } in ready.stored() {
            while len > 0 {
                let run = node.fs().read_shared(node.node(), offset, min_len(READ_SHARED_MAX, len));
                let run = run.map_err(|error| at(&ready.path, error))?;
                if run.is_empty() {
                    return Ok(());
                }
                visit(&run)?;
                let count = to_u64(run.len());
                (offset, len) = (offset.saturating_add(count), len.saturating_sub(count));
            }
        }
        Ok(())
    }
}

/// Reads what belongs to names.
pub(super) struct Reader<'a> {
    pub(super) groups: &'a Groups,
    pub(super) how: How,
}

impl Reader<'_> {
    pub(super) fn ready(&self, index: usize, found: &Found) -> Result<Ready> {
        let path = if found.path.is_top() { b".".to_vec() } else { found.path.to_vec() };
        let read = || {
            let (fs, node) = (found.node.fs(), found.node.node());
            let attr = &found.attr;
            // The data goes with the last name in cpio, as all tools write it, and with the first in tar.
            let group = self.groups.get(&attr.ino).filter(|_| found.attr.is_linked());
            let at = group.map_or(index, |group| match self.how.format {
                PackFormat::Cpio => group.last,
                PackFormat::Tar => group.first,
            });
            let has_content = attr.file_type == FileType::File && at == index;
            let target = match attr.file_type {
                FileType::Symlink => fs.read_link(node)?,
                _ => Bytes::new(),
            };
            let xattrs = match attr.file_type {
                // They stand for a name that is gone: there may be no such node.
                FileType::Whiteout => Vec::new(),
                _ => xattrs_of(&found.node)?,
            };
            // Nobody reads these later, and one that is damaged must not pass for an empty one. Files of the host cannot be,
            // and to open each takes long.
            if has_content && attr.size == 0 && !fs.info().may_block {
                fs.read_at(node, 0, &mut [0])?;
            }
            let may_have_holes = self.how.holes && has_content && attr.allocated < attr.size;
            let pieces = if may_have_holes { pieces_of(&found.node, attr.size)? } else { None };
            Ok((xattrs, target, pieces, has_content))
        };
        let (xattrs, target, pieces, has_content) = read().map_err(|error| at(&path, error))?;
        Ok(Ready { index, path, attr: found.attr, xattrs, target, pieces, has_content })
    }
}

/// Where a file has data; `None` if there are no holes, or so many that nothing is won.
fn pieces_of(node: &NodeRef, size: u64) -> Result<Option<Vec<Piece>>> {
    let mut pieces: Vec<Piece> = Vec::new();
    let (mut offset, mut has_holes) = (0, false);
    while offset < size {
        let extent = match node.fs().extent_at(node.node(), offset) {
            // It is shorter by now.
            Err(error) if error == Errno::NoSuchDevice => break,
            other => other?,
        };
        let end = extent.end().min(size);
        if end <= offset || pieces.len() >= SPARSE_PIECES_MAX {
            return Ok(None);
        }
        match extent {
            Extent::Data { .. } => pieces.push(Piece { offset, len: end.saturating_sub(offset) }),
            Extent::Hole { .. } => has_holes = true,
        }
        offset = end;
    }
    Ok(has_holes.then_some(pieces))
}

fn xattrs_of(node: &NodeRef) -> Result<Xattrs> {
    let fs = node.fs();
    let names = fs.xattr_names(node.node())?.into_iter();
    names.map(|name| Ok((name.to_vec(), fs.xattr(node.node(), &name)?.to_vec()))).collect()
}
