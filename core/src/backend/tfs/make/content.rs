//! Where the content of new files comes from.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;
use std::fs::File;
use std::path::PathBuf;

use bytes::Bytes;

use crate::checked::{to_u64, to_usize};
use crate::errno::Errno;
use crate::error::{Error, Result};
use crate::format::tfs::SECTOR;
use crate::fs::{Extent, NodeRef};
use crate::limits::READ_SHARED_MAX;
use crate::source::{FileSource, Source, from_io};

/// Bytes read from a file of the host at a time.
const PIECE: u64 = 1 << 20;

/// The content of a file.
#[derive(Debug)]
pub(in crate::backend::tfs) enum Content {
    Empty,
    /// A file of another file system.
    Node {
        node: NodeRef,
        size: u64,
    },
    /// A file of the host, opened when it is read.
    Host {
        path: PathBuf,
        len: u64,
    },
    Source(Arc<dyn Source>),
    /// Parts of an image; what is between them is a hole.
    Pieces {
        source: Arc<dyn Source>,
        pieces: Vec<Piece>,
        size: u64,
    },
}

/// A run of bytes of a file that is in an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::backend::tfs) struct Piece {
    /// Where in the file.
    pub(in crate::backend::tfs) offset: u64,
    /// How long.
    pub(in crate::backend::tfs) len: u64,
    /// Where in the image.
    pub(in crate::backend::tfs) at: u64,
}

impl Content {
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Node { size, .. } | Self::Host { len: size, .. } | Self::Pieces { size, .. } => *size,
            Self::Source(source) => source.len(),
        }
    }

    /// Opens it for reading.
    pub(super) fn open(&self) -> Result<OpenContent<'_>> {
        Ok(match self {
            Self::Empty => OpenContent::Empty,
            Self::Node { node, .. } => OpenContent::Node(node),
            Self::Source(source) => OpenContent::Source(Arc::clone(source)),
            Self::Host { path, .. } => {
                let told = |error: Error| {
                    let sentence = format!("{}: {error}", crate::name::escape(path.as_os_str().as_encoded_bytes()));
                    Error::new(error.errno(), sentence)
                };
                OpenContent::Source(Arc::new(FileSource::new(File::open(path).map_err(from_io).map_err(told)?)?))
            }
            Self::Pieces { source, pieces, .. } => OpenContent::Pieces(source, pieces),
        })
    }

    /// The runs of blocks that are no holes, in order, without overlaps.
    pub(super) fn runs(&self) -> Result<Vec<Range<u64>>> {
        let size = self.size();
        let mut runs: Vec<Range<u64>> = Vec::new();
        let mut add = |bytes: Range<u64>| {
            let (first, past) = (bytes.start / SECTOR, bytes.end.min(size).div_ceil(SECTOR));
            match runs.last_mut().filter(|last| last.end >= first) {
                Some(last) => last.end = last.end.max(past),
                None if first < past => runs.push(first..past),
                None => {}
            }
        };
        match self {
            Self::Node { node, .. } => {
                let mut offset = 0;
                while offset < size {
                    let end = match node.fs().extent_at(node.node(), offset)? {
                        Extent::Data { end } => {
                            add(offset..end);
                            end
                        }
                        Extent::Hole { end } => end,
                    };
                    // OK: runs are never empty; a file system that says otherwise ends the walk.
                    offset = end.max(offset.saturating_add(1));
                }
            }
            Self::Pieces { pieces, .. } => {
                pieces.iter().for_each(|piece| add(piece.offset..piece.offset.saturating_add(piece.len)));
            }
            Self::Empty | Self::Host { .. } | Self::Source(_) => add(0..size),
        }
        Ok(runs)
    }
}

/// Content that is read.
pub(super) enum OpenContent<'a> {
    Empty,
    Node(&'a NodeRef),
    Source(Arc<dyn Source>),
    Pieces(&'a Arc<dyn Source>, &'a [Piece]),
}

impl OpenContent<'_> {
    /// Some of the bytes of `range`, from its start on.
    ///
    /// # Errors
    /// `EIO` if there are none; what the store answers.
    pub(super) fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let len = range.end.saturating_sub(range.start);
        let found = match self {
            Self::Empty => Bytes::new(),
            Self::Node(node) => {
                let len = to_usize(len).unwrap_or(usize::MAX).min(READ_SHARED_MAX);
                node.fs().read_shared(node.node(), range.start, len)?
            }
            Self::Source(source) => {
                let end = range.end.min(range.start.saturating_add(PIECE)).min(source.len());
                if range.start < end { source.bytes_at(range.start..end)? } else { Bytes::new() }
            }
            Self::Pieces(source, pieces) => {
                let at = pieces.partition_point(|piece| piece.offset.saturating_add(piece.len) <= range.start);
                match pieces.get(at) {
                    Some(piece) if piece.offset <= range.start => {
                        let into = range.start.saturating_sub(piece.offset);
                        let len = len.min(piece.len.saturating_sub(into)).min(PIECE);
                        let at = piece.at.saturating_add(into);
                        source.bytes_at(at..at.saturating_add(len))?
                    }
                    next => {
                        let end = next.map_or(range.end, |piece| piece.offset.min(range.end));
                        crate::fs::shared_zeros(end.saturating_sub(range.start))
                    }
                }
            }
        };
        if found.is_empty() {
            return Err(Error::new(Errno::Io, format!("the file ends at byte {}, while it is read", range.start)));
        }
        debug_assert!(to_u64(found.len()) <= len);
        Ok(found)
    }
}
