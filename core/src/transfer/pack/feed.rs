//! What is to be packed, one after the other, with what must be read for it.
//!
//! Where reading may block, as on the host, another thread reads ahead while this one writes: neither waits for the
//! other's system calls. From memory nothing is gained by that, and runs are handed on without a copy.

use alloc::sync::Arc;
use alloc::vec::{IntoIter, Vec};
use core::iter::Enumerate;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bytes::{Bytes, BytesMut};

use super::super::copy::at;
use super::PackFormat;
use super::found::{Found, Groups};
use crate::attr::FileType;
use crate::checked::{min_len, to_u64};
use crate::errno::Errno;
use crate::error::{Error, Result};
use crate::format::tar::Piece;
use crate::fs::{Extent, NodeRef};
use crate::limits::{PACK_AHEAD_LEN, PACK_AHEAD_MAX, READ_SHARED_MAX, SPARSE_PIECES_MAX};

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

/// Calls `write` with a feed of these names.
pub(super) fn with<T>(
    found: Vec<Found>,
    groups: &Groups,
    how: How,
    write: impl FnOnce(Feed<'_>) -> Result<T>,
) -> Result<T> {
    let reader = Reader { groups, how };
    if !found.iter().any(|one| one.node.fs().info().may_block) {
        return write(Feed(From::Here { rest: found.into_iter().enumerate(), reader }));
    }
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(PACK_AHEAD_MAX);
        scope.spawn(move || reader.read_ahead(found, sender));
        // When it ends early, so does the other thread: nobody receives any more.
        write(Feed(From::Ahead { receiver, batch: Vec::new().into_iter() }))
    })
}

/// Where names come from.
pub(super) struct Feed<'a>(From<'a>);

enum From<'a> {
    Here { rest: Enumerate<IntoIter<Found>>, reader: Reader<'a> },
    Ahead { receiver: Receiver<Vec<Message>>, batch: IntoIter<Message> },
}

/// What the thread that reads has to say.
enum Message {
    Ready(Arc<Ready>),
    /// A run of the content.
    Run(Bytes),
    /// The content is complete, or all there is of it.
    End,
    Failed(Error),
}

impl Feed<'_> {
    /// The next name; `None` when there are no more.
    pub(super) fn next(&mut self) -> Result<Option<Arc<Ready>>> {
        match &mut self.0 {
            From::Here { rest, reader } => {
                rest.next().map(|(index, found)| reader.ready(index, found).map(Arc::new)).transpose()
            }
            From::Ahead { receiver, batch } => match next_message(receiver, batch) {
                Some(Message::Ready(ready)) => Ok(Some(ready)),
                Some(Message::Failed(error)) => Err(error),
                Some(Message::Run(_) | Message::End) => Err(Errno::Io.into()),
                None => Ok(None),
            },
        }
    }

    /// Calls `visit` with the content of what came last. It may be less than it should, when somebody shortens the file.
    pub(super) fn content(&mut self, ready: &Ready, mut visit: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        match &mut self.0 {
            From::Here { .. } => {
                read(ready, |node, offset, len| node.fs().read_shared(node.node(), offset, len), |run| visit(&run))
            }
            From::Ahead { receiver, batch } => loop {
                match next_message(receiver, batch) {
                    Some(Message::Run(run)) => visit(&run)?,
                    Some(Message::End) => return Ok(()),
                    Some(Message::Failed(error)) => return Err(error),
                    // Content always ends, unless the other thread does.
                    Some(Message::Ready(_)) | None => return Err(Errno::Io.into()),
                }
            },
        }
    }
}

fn next_message(receiver: &Receiver<Vec<Message>>, batch: &mut IntoIter<Message>) -> Option<Message> {
    loop {
        if let Some(message) = batch.next() {
            return Some(message);
        }
        *batch = receiver.recv().ok()?.into_iter();
    }
}

/// Hands over the content of a file in runs, as `read_run` reads them, until it ends, early or not.
fn read(
    ready: &Ready,
    mut read_run: impl FnMut(&NodeRef, u64, usize) -> Result<Bytes>,
    mut visit: impl FnMut(Bytes) -> Result<()>,
) -> Result<()> {
    let whole = [Piece { offset: 0, len: ready.found.attr.size }];
    for Piece { mut offset, mut len } in ready.pieces.as_deref().unwrap_or(&whole).iter().copied() {
        while len > 0 {
            let run = read_run(&ready.found.node, offset, min_len(READ_SHARED_MAX, len));
            let run = run.map_err(|error| at(&ready.path, error))?;
            if run.is_empty() {
                return Ok(());
            }
            let count = to_u64(run.len());
            (offset, len) = (offset.saturating_add(count), len.saturating_sub(count));
            visit(run)?;
        }
    }
    Ok(())
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

    fn read_ahead(&self, found: Vec<Found>, sender: SyncSender<Vec<Message>>) {
        let mut ahead = Ahead { sender, batch: Vec::new(), len: 0, buffer: BytesMut::new() };
        for (index, found) in found.into_iter().enumerate() {
            let done = self.ready(index, found).and_then(|ready| ahead.send(ready));
            if let Err(error) = done {
                // OK to ignore: whoever does not listen has an error of his own.
                let _ = ahead.push(Message::Failed(error));
                break;
            }
        }
        let _ = ahead.flush();
    }
}

/// Messages sent at once, at most.
const MESSAGES_MAX: usize = 256;

/// Messages on their way, some at a time: waking another thread takes longer than reading a small file.
struct Ahead {
    sender: SyncSender<Vec<Message>>,
    batch: Vec<Message>,
    /// Bytes of content in the batch.
    len: usize,
    /// Where content is read to.
    buffer: BytesMut,
}

impl Ahead {
    fn send(&mut self, ready: Ready) -> Result<()> {
        let ready = Arc::new(ready);
        self.push(Message::Ready(Arc::clone(&ready)))?;
        if !ready.has_content {
            return Ok(());
        }
        let mut buffer = core::mem::take(&mut self.buffer);
        let read_run = |node: &NodeRef, offset, len: usize| {
            let len = len.min(PACK_AHEAD_LEN);
            if buffer.capacity() < len {
                buffer.reserve(PACK_AHEAD_LEN);
            }
            buffer.resize(len, 0);
            let count = node.fs().read_at(node.node(), offset, &mut buffer)?;
            buffer.truncate(count);
            Ok(buffer.split().freeze())
        };
        read(&ready, read_run, |run| {
            self.len = self.len.saturating_add(run.len());
            self.push(Message::Run(run))
        })?;
        self.buffer = buffer;
        self.push(Message::End)
    }

    fn push(&mut self, message: Message) -> Result<()> {
        self.batch.push(message);
        if self.len < PACK_AHEAD_LEN && self.batch.len() < MESSAGES_MAX { Ok(()) } else { self.flush() }
    }

    /// Sends what is gathered.
    ///
    /// # Errors
    /// `EPIPE` if nobody receives it.
    fn flush(&mut self) -> Result<()> {
        self.len = 0;
        self.sender.send(core::mem::take(&mut self.batch)).map_err(|_| Errno::Pipe.into())
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
