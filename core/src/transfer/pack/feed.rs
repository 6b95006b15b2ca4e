//! What is to be packed, one after the other, with what must be read for it.
//!
//! From memory, runs are handed on without a copy. Otherwise they are read into one buffer, without asking each file
//! again how long it is. A second thread that reads ahead takes more time than it saves, as soon as others want the
//! processors, too.

use alloc::vec::{IntoIter, Vec};
use core::iter::Enumerate;

use bytes::Bytes;

use super::super::copy::at;
use super::PackFormat;
use super::found::{Found, Groups};
use crate::attr::FileType;
use crate::checked::{min_len, to_u64};
use crate::errno::Errno;
use crate::error::Result;
use crate::format::tar::Piece;
use crate::fs::{Extent, NodeRef};
use crate::limits::{PACK_READ_LEN, READ_SHARED_MAX, SPARSE_PIECES_MAX};

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
    pub(super) found: Found,
    /// As the formats have it: `.` for the root.
    pub(super) path: Vec<u8>,
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
            None => self.found.attr.size,
        }
    }
}

/// What is to be packed.
pub(super) struct Feed<'a> {
    rest: Enumerate<IntoIter<Found>>,
    reader: Reader<'a>,
    is_in_memory: bool,
    /// Where content is read to that is not in memory.
    buffer: Vec<u8>,
}

impl<'a> Feed<'a> {
    pub(super) fn new(found: Vec<Found>, groups: &'a Groups, how: How) -> Self {
        // All are of one filesystem, which may have to ask the host for it.
        let is_in_memory = found.first().is_none_or(|one| !one.node.fs().info().may_block);
        let reader = Reader { groups, how };
        Self { rest: found.into_iter().enumerate(), reader, is_in_memory, buffer: Vec::new() }
    }

    /// The next name; `None` when there are no more.
    pub(super) fn next(&mut self) -> Result<Option<Ready>> {
        self.rest.next().map(|(index, found)| self.reader.ready(index, found)).transpose()
    }

    /// Calls `visit` with the content of a file. It may be less than it should, when somebody shortens the file.
    pub(super) fn content(&mut self, ready: &Ready, mut visit: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let (fs, node) = (ready.found.node.fs(), ready.found.node.node());
        let whole = [Piece { offset: 0, len: ready.found.attr.size }];
        for Piece { mut offset, mut len } in ready.pieces.as_deref().unwrap_or(&whole).iter().copied() {
            while len > 0 {
                let count = if self.is_in_memory {
                    let run = fs.read_shared(node, offset, min_len(READ_SHARED_MAX, len));
                    let run = run.map_err(|error| at(&ready.path, error))?;
                    visit(&run)?;
                    to_u64(run.len())
                } else {
                    self.buffer.resize(PACK_READ_LEN, 0);
                    let buffer = self.buffer.get_mut(..min_len(PACK_READ_LEN, len)).unwrap_or_default();
                    let count = fs.read_at(node, offset, buffer).map_err(|error| at(&ready.path, error))?;
                    visit(buffer.get(..count).unwrap_or_default())?;
                    to_u64(count)
                };
                if count == 0 {
                    return Ok(());
                }
                (offset, len) = (offset.saturating_add(count), len.saturating_sub(count));
            }
        }
        Ok(())
    }
}

/// Reads what belongs to names.
struct Reader<'a> {
    groups: &'a Groups,
    how: How,
}

impl Reader<'_> {
    fn ready(&self, index: usize, found: Found) -> Result<Ready> {
        let path = if found.path.is_top() { b".".to_vec() } else { found.path.to_vec() };
        let read = || {
            let (fs, node) = (found.node.fs(), found.node.node());
            let attr = &found.attr;
            // The data goes with the last name in cpio, as all tools write it, and with the first in tar.
            let group = self.groups.get(&attr.ino).filter(|_| found.is_linked());
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
            let may_have_holes = self.how.holes && has_content && attr.allocated < attr.size;
            let pieces = if may_have_holes { pieces_of(&found.node, attr.size)? } else { None };
            Ok((xattrs, target, pieces, has_content))
        };
        let (xattrs, target, pieces, has_content) = read().map_err(|error| at(&path, error))?;
        Ok(Ready { index, found, path, xattrs, target, pieces, has_content })
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
