//! What few nodes have: extended attributes, opaque directories, sparse files. Kept beside the index, so that the
//! nodes of ordinary archives stay small.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

use super::index::{NodeIndex, Stored, bytes_of};
use crate::checked::{min_len, to_u64};
use crate::errno::Errno;
use crate::error::Result;
use crate::fs::{Extent, shared_zeros};
use crate::source::Source;

/// Extended attributes of a node, sorted by name.
pub(super) type Xattrs = Box<[(Box<[u8]>, Bytes)]>;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Extras {
    xattrs: HashMap<u32, Xattrs, RandomState>,
    opaque: HashSet<u32, RandomState>,
    sparse: Vec<SparseFile>,
}

impl Extras {
    pub(super) fn set_xattrs(&mut self, node: NodeIndex, mut xattrs: Vec<(Box<[u8]>, Bytes)>) {
        xattrs.sort_by(|one, other| one.0.cmp(&other.0));
        if xattrs.is_empty() {
            self.xattrs.remove(&node.0);
        } else {
            self.xattrs.insert(node.0, xattrs.into_boxed_slice());
        }
    }

    pub(super) fn xattrs(&self, node: NodeIndex) -> &[(Box<[u8]>, Bytes)] {
        self.xattrs.get(&node.0).map(|xattrs| &**xattrs).unwrap_or_default()
    }

    pub(super) fn set_opaque(&mut self, dir: NodeIndex) {
        self.opaque.insert(dir.0);
    }

    pub(super) fn is_opaque(&self, dir: NodeIndex) -> bool {
        !self.opaque.is_empty() && self.opaque.contains(&dir.0)
    }

    /// Keeps a sparse file and returns its number.
    pub(super) fn add_sparse(&mut self, file: SparseFile) -> Result<u32> {
        let number = u32::try_from(self.sparse.len()).map_err(|_| Errno::NoMemory)?;
        self.sparse.push(file);
        Ok(number)
    }

    pub(super) fn sparse(&self, number: u32) -> Result<&SparseFile> {
        let file = usize::try_from(number).ok().and_then(|number| self.sparse.get(number));
        file.ok_or_else(|| Errno::Io.into())
    }
}

/// A run of a file, and where it is stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) offset: u64,
    pub(super) len: u64,
    /// Where in the source.
    pub(super) at: u64,
}

impl Run {
    const fn end(&self) -> u64 {
        self.offset.saturating_add(self.len)
    }
}

/// A file of which runs are stored; the rest are holes. Runs are not empty, ascend and do not overlap.
#[derive(Debug)]
pub(super) struct SparseFile {
    pub(super) source: u32,
    pub(super) runs: Box<[Run]>,
    pub(super) size: u64,
}

/// What stands at an offset.
enum At<'a> {
    Run(&'a Run),
    /// Zeros up to this offset.
    HoleUpTo(u64),
    End,
}

impl SparseFile {
    /// Bytes stored.
    pub(super) fn stored_len(&self) -> u64 {
        self.runs.iter().fold(0, |sum, run| sum.saturating_add(run.len))
    }

    fn at(&self, offset: u64) -> At<'_> {
        if offset >= self.size {
            return At::End;
        }
        let next = self.runs.partition_point(|run| run.end() <= offset);
        match self.runs.get(next) {
            Some(run) if run.offset <= offset => At::Run(run),
            Some(run) => At::HoleUpTo(run.offset),
            None => At::HoleUpTo(self.size),
        }
    }

    pub(super) fn extent_at(&self, offset: u64) -> Result<Extent> {
        match self.at(offset) {
            At::Run(run) => Ok(Extent::Data { end: run.end() }),
            At::HoleUpTo(end) => Ok(Extent::Hole { end }),
            At::End => Err(Errno::NoSuchDevice.into()),
        }
    }

    pub(super) fn read_shared(&self, sources: &[Arc<dyn Source>], offset: u64, len: u64) -> Result<Bytes> {
        match self.at(offset) {
            At::Run(run) => {
                let inside = offset.saturating_sub(run.offset);
                let len = len.min(run.len.saturating_sub(inside));
                bytes_of(sources, Stored { source: self.source, offset: run.at.saturating_add(inside), len })
            }
            At::HoleUpTo(end) => Ok(shared_zeros(len.min(end.saturating_sub(offset)))),
            At::End => Ok(Bytes::new()),
        }
    }

    pub(super) fn read_at(&self, sources: &[Arc<dyn Source>], offset: u64, buf: &mut [u8]) -> Result<usize> {
        let mut done: usize = 0;
        let source = usize::try_from(self.source).ok().and_then(|source| sources.get(source)).ok_or(Errno::Io)?;
        while done < buf.len() {
            let at = offset.saturating_add(to_u64(done));
            let rest = buf.get_mut(done..).unwrap_or_default();
            let count = match self.at(at) {
                At::End => break,
                At::Run(run) => {
                    let inside = at.saturating_sub(run.offset);
                    let count = min_len(rest.len(), run.len.saturating_sub(inside));
                    let rest = rest.get_mut(..count).unwrap_or_default();
                    source.read_exact_at(run.at.saturating_add(inside), rest)?;
                    count
                }
                At::HoleUpTo(end) => {
                    let count = min_len(rest.len(), end.saturating_sub(at));
                    rest.get_mut(..count).unwrap_or_default().fill(0);
                    count
                }
            };
            done = done.saturating_add(count);
        }
        Ok(done)
    }
}
