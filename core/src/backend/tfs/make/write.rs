//! Writes a tree as a new file system, as mkfs does: one record with the whole tree, then content, and for each file
//! the records that say where it is.
//!
//! Sectors are dealt from front to back, and nearly everything is written in that order. Sector 0 comes last, by whoever
//! calls [`finish`](VolumeWriter::finish): until then there is no file system.

use alloc::vec::Vec;
use core::ops::Range;

use bytes::Bytes;

use super::super::encode::Encoder;
use super::super::extents::EXTENT_BLOCKS_MAX;
use super::super::log::{first_sector, new_extension, pad};
use super::super::symbols::{Symbol, Symbols};
use super::content::{Content, OpenContent};
use super::tree::{NewBody, NewTree, NewTreeNode};
use crate::checked::{to_u64, to_usize};
use crate::errno::Errno;
use crate::error::{Error, Result};
use crate::format::tfs::{EXTENSION_SECTORS, FrameWriter, Link, SECTOR, Uuid, Volume};
use crate::source::Storage;

/// Bytes of small files that are written at once.
const BUFFER: usize = 1 << 20;

/// From how many bytes on content is written without a copy.
const DIRECT: usize = 128 << 10;

/// What a file system came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Written {
    /// Nodes, the root included.
    pub nodes: u64,
    /// Bytes of files.
    pub content_bytes: u64,
    /// Records of the log.
    pub records: u64,
    /// Bytes of the log's records.
    pub log_bytes: u64,
    /// Extensions of the log, the first included.
    pub log_extensions: u64,
}

/// Writes one file system.
pub(in crate::backend::tfs) struct VolumeWriter<'a> {
    storage: &'a dyn Storage,
    /// Where the file system begins in the storage.
    start: u64,
    /// Sectors that it may have, and what they are called.
    limit: Option<(u64, &'static str)>,
    /// The first sector that is not dealt.
    next: u64,
    /// Kept for the next extension of the log, and for a compaction.
    held: [Option<u64>; 2],
    symbols: Symbols,
    encoder: Encoder,
    frames: FrameWriter,
    /// Sector of the extension that is filled.
    extension: u64,
    data: DataWriter<'a>,
    /// One past the last byte written, from the start of the file system.
    end: u64,
    digest: Digest,
    written: Written,
}

/// A file system that lacks its first sector only.
pub(in crate::backend::tfs) struct Finished {
    pub(in crate::backend::tfs) written: Written,
    /// Bytes up to the last one written.
    pub(super) len: u64,
    /// One past its last extension.
    log_end: u64,
    /// Depends on every name, attribute and extent.
    pub(in crate::backend::tfs) uuid: Uuid,
}

impl Finished {
    /// Bytes of an image in which this file system begins at `start` and which shall have `len` bytes if they suffice.
    pub(in crate::backend::tfs) fn image_len(&self, start: u64, len: u64) -> u64 {
        let len = len / SECTOR * SECTOR;
        if start.saturating_add(self.len.max(self.log_end)) <= len {
            return len;
        }
        start.saturating_add(super::rounded(self.len).unwrap_or(self.len))
    }
}

impl<'a> VolumeWriter<'a> {
    pub(in crate::backend::tfs) fn new(
        storage: &'a dyn Storage,
        start: u64,
        limit: Option<(u64, &'static str)>,
    ) -> Self {
        Self {
            storage,
            start,
            limit,
            next: 1 + EXTENSION_SECTORS,
            held: [None; 2],
            symbols: Symbols::new(),
            encoder: Encoder::new(0, Vec::new()),
            frames: new_extension(),
            extension: 1,
            data: DataWriter { storage, at: start, buffer: Vec::new() },
            end: 0,
            digest: Digest::new(),
            written: Written { log_extensions: 2, ..Written::default() },
        }
    }

    /// Deals sectors.
    fn take(&mut self, count: u64) -> Result<u64> {
        let first = self.next;
        let past = first.checked_add(count).filter(|past| self.limit.is_none_or(|(max, _)| *past <= max));
        self.next = past.ok_or_else(|| match self.limit {
            Some((max, what)) => {
                let sentence = format!("{what} has {} bytes, and its files need more", max.saturating_mul(SECTOR));
                Error::new(Errno::NoSpace, sentence)
            }
            None => Errno::FileTooBig.into(),
        })?;
        Ok(first)
    }

    /// Writes the whole tree.
    pub(in crate::backend::tfs) fn write(mut self, tree: &NewTree) -> Result<Finished> {
        let tuples = self.encode(tree)?;
        self.log_record()?;
        for (node, tuple) in tree.nodes.iter().zip(&tuples) {
            if let NewBody::File(content) = &node.body {
                self.file(content, *tuple)?;
            }
        }
        self.data.flush()?;
        self.written.nodes = to_u64(tree.nodes.len());
        let frames = core::mem::replace(&mut self.frames, new_extension());
        self.put_extension(frames.end())?;
        let log_end = self.extension.saturating_add(EXTENSION_SECTORS).saturating_mul(SECTOR);
        Ok(Finished { written: self.written, len: self.end, log_end, uuid: self.digest.uuid() })
    }

    /// Encodes the tree as one tuple; returns the number of each node.
    fn encode(&mut self, tree: &NewTree) -> Result<Vec<u32>> {
        enum Work<'a> {
            Key(Symbol),
            Node(u32),
            Attributes(&'a NewTreeNode),
        }
        let Self { symbols, encoder, .. } = self;
        let mut numbers = alloc::vec![0_u32; tree.nodes.len()];
        let mut work = Vec::from([Work::Node(0)]);
        encoder.clear();
        while let Some(next) = work.pop() {
            let at = match next {
                Work::Key(key) => {
                    encoder.key(symbols, key);
                    continue;
                }
                Work::Attributes(NewTreeNode { names, attributes, .. }) => {
                    if *names > 1 {
                        encoder.key(symbols, Symbol::NLINK);
                        encoder.value().number((*names).into());
                    }
                    for (name, value) in attributes {
                        let key = symbols.intern(name)?;
                        encoder.key(symbols, key);
                        encoder.attribute(symbols, value)?;
                    }
                    continue;
                }
                Work::Node(at) => at,
            };
            let number = usize::try_from(at).ok().and_then(|at| numbers.get_mut(at));
            let Some((number, node)) = number.zip(tree.node(at)) else { continue };
            if *number != 0 {
                // A further name.
                encoder.value().tuple_ref(*number, 0);
                continue;
            }
            let own = u64::from(node.names > 1).saturating_add(u64::from(!matches!(node.body, NewBody::File(_))));
            *number = encoder.tuple(to_u64(node.attributes.len()).saturating_add(own));
            work.push(Work::Attributes(node));
            match &node.body {
                NewBody::Dir(entries) => {
                    encoder.key(symbols, Symbol::CHILDREN);
                    let _ = encoder.tuple(to_u64(entries.len()));
                    // Taken from the end.
                    for (name, child) in entries.iter().rev() {
                        work.push(Work::Node(*child));
                        work.push(Work::Key(symbols.intern(name)?));
                    }
                }
                NewBody::Symlink(target) => {
                    encoder.key(symbols, Symbol::LINKTARGET);
                    encoder.value().string(target);
                }
                NewBody::Socket => {
                    encoder.key(symbols, Symbol::SOCKET);
                    encoder.value().null();
                }
                NewBody::File(_) => {}
            }
        }
        Ok(numbers)
    }

    /// Writes content, and logs where it is.
    fn file(&mut self, content: &Content, node: u32) -> Result<()> {
        let size = content.size();
        self.encoder.set(node, &self.symbols, Symbol::EXTENTS);
        let extents = self.encoder.tuple(0);
        self.log_record()?;
        if size > 0 {
            let open = content.open()?;
            for run in content.runs()? {
                self.run(&open, run, size, extents)?;
            }
        }
        self.written.content_bytes = self.written.content_bytes.saturating_add(size);
        self.encoder.set(node, &self.symbols, Symbol::FILELENGTH);
        self.encoder.value().number(size);
        self.log_record()
    }

    /// Writes a run of blocks, as extents that Nanos could have made.
    fn run(&mut self, content: &OpenContent<'_>, blocks: Range<u64>, size: u64, extents: u32) -> Result<()> {
        let mut block = blocks.start;
        while block < blocks.end {
            for at in 0..self.held.len() {
                if self.held.get(at) == Some(&None) {
                    let sector = self.take(EXTENSION_SECTORS)?;
                    self.held.get_mut(at).map(|held| held.replace(sector));
                }
            }
            let count = blocks.end.saturating_sub(block).min(EXTENT_BLOCKS_MAX.into());
            let sector = self.take(count)?;
            self.data.seek(self.start.saturating_add(sector.saturating_mul(SECTOR)))?;
            let bytes = block.saturating_mul(SECTOR)..block.saturating_add(count).saturating_mul(SECTOR).min(size);
            let mut offset = bytes.start;
            while offset < bytes.end {
                let piece = content.read(offset..bytes.end)?;
                offset = offset.saturating_add(to_u64(piece.len()));
                self.data.put(&piece)?;
            }
            self.data.fill_sector()?;
            self.end = self.end.max(sector.saturating_add(count).saturating_mul(SECTOR));

            let key = self.symbols.intern(block.to_string().as_bytes())?;
            self.encoder.set(extents, &self.symbols, key);
            let _ = self.encoder.tuple(3);
            for (key, value) in [(Symbol::OFFSET, sector), (Symbol::ALLOCATED, count), (Symbol::LENGTH, count)] {
                self.encoder.key(&self.symbols, key);
                self.encoder.value().number(value);
            }
            self.log_record()?;
            block = block.saturating_add(count);
        }
        Ok(())
    }

    /// Adds the record to the log.
    fn log_record(&mut self) -> Result<()> {
        let len = self.encoder.bytes().len();
        self.digest.add(self.encoder.bytes());
        let mut done = 0;
        loop {
            done = self.frames.record(self.encoder.bytes(), done);
            if done >= len {
                break;
            }
            if let Some((_, what)) = self.limit {
                // Nanos' boot loader has little memory for everything it decodes.
                let sentence = format!("{what} has too many files: its log must fit in 512 KiB");
                return Err(Error::new(Errno::NoSpace, sentence));
            }
            let sector = match self.held.first_mut().and_then(Option::take) {
                Some(held) => held,
                None => self.take(EXTENSION_SECTORS)?,
            };
            let full = core::mem::replace(&mut self.frames, new_extension());
            self.put_extension(full.link(Link { sector, count: EXTENSION_SECTORS }))?;
            self.extension = sector;
            self.written.log_extensions = self.written.log_extensions.saturating_add(1);
        }
        self.written.records = self.written.records.saturating_add(1);
        self.written.log_bytes = self.written.log_bytes.saturating_add(to_u64(len));
        Ok(())
    }

    fn put_extension(&mut self, mut bytes: Vec<u8>) -> Result<()> {
        let offset = self.extension.saturating_mul(SECTOR);
        pad(offset, &mut bytes);
        self.end = self.end.max(offset.saturating_add(to_u64(bytes.len())));
        self.storage.write_at(self.start.saturating_add(offset), &bytes)
    }
}

/// Makes a file system of what was written at `start`.
pub(in crate::backend::tfs) fn finish(storage: &dyn Storage, start: u64, volume: &Volume) -> Result<()> {
    storage.write_at(start, &first_sector(volume, Link { sector: 1, count: EXTENSION_SECTORS }))
}

/// Writes from front to back, in large pieces.
struct DataWriter<'a> {
    storage: &'a dyn Storage,
    /// Where the buffer goes, in bytes of the storage.
    at: u64,
    buffer: Vec<u8>,
}

impl DataWriter<'_> {
    /// Goes to another place.
    fn seek(&mut self, at: u64) -> Result<()> {
        if self.at.saturating_add(to_u64(self.buffer.len())) != at {
            self.flush()?;
            self.at = at;
        }
        Ok(())
    }

    fn put(&mut self, bytes: &Bytes) -> Result<()> {
        if bytes.len() >= DIRECT {
            self.flush()?;
            self.storage.write_at(self.at, bytes)?;
            self.at = self.at.saturating_add(to_u64(bytes.len()));
            return Ok(());
        }
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    /// Zeros up to the end of the sector.
    fn fill_sector(&mut self) -> Result<()> {
        let end = self.at.saturating_add(to_u64(self.buffer.len()));
        let missing = to_usize(end.next_multiple_of(SECTOR).saturating_sub(end))?;
        self.buffer.resize(self.buffer.len().saturating_add(missing), 0);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if !self.buffer.is_empty() {
            self.storage.write_at(self.at, &self.buffer)?;
            self.at = self.at.saturating_add(to_u64(self.buffer.len()));
            self.buffer.clear();
        }
        Ok(())
    }
}

/// FNV-1a of 128 bits: no protection against anybody, but the same for ever.
struct Digest(u128);

impl Digest {
    const fn new() -> Self {
        Self(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
    }

    const fn uuid(&self) -> Uuid {
        Uuid(self.0.to_be_bytes())
    }
}
