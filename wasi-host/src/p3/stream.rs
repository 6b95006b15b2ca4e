//! Files as streams. Nothing ever has to be waited for; what reads a file only gives others their turn now and then.

use core::pin::Pin;
use core::task::{Context, Poll};

use bytes::BytesMut;
use mountless::errno::Errno;
use mountless::fs::WriteAt;
use tokio::sync::oneshot;
use wasmtime::StoreContextMut;
use wasmtime::component::{Destination, Source, StreamConsumer, StreamProducer, StreamResult, VecBuffer};
use wasmtime_wasi::p3::bindings::filesystem::types::{DirectoryEntry, ErrorCode};

use super::errno::code;
use super::host::descriptor_type;
use crate::files::{Listing, Node, READ_MAX, len_u64};

pub(super) type Outcome = Result<(), ErrorCode>;

/// Tells once how a stream ended: well, if it was just dropped.
pub(super) struct Ending(Option<oneshot::Sender<Outcome>>);

impl Ending {
    pub(super) const fn new(sender: oneshot::Sender<Outcome>) -> Self {
        Self(Some(sender))
    }

    /// The stream ends here; the guest may not care, and have dropped the other end.
    fn tell(&mut self, ended: Result<(), Errno>) -> Poll<wasmtime::Result<StreamResult>> {
        if let Some(sender) = self.0.take() {
            let _ = sender.send(ended.map_err(code));
        }
        Poll::Ready(Ok(StreamResult::Dropped))
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.tell(Ok(()));
    }
}

const COMPLETED: Poll<wasmtime::Result<StreamResult>> = Poll::Ready(Ok(StreamResult::Completed));

/// Pieces of a file read in a row. A stream that leads from the host to the host, from a file to standard output or to
/// another file, runs none of the guest's code: in between is where a time limit is looked at.
const PIECES_IN_A_ROW: u32 = 16;

/// A file being read, straight into the guest's memory.
pub(super) struct FileProducer {
    node: Node,
    offset: u64,
    ending: Ending,
    /// Pieces until the others' turn.
    left: u32,
}

impl FileProducer {
    pub(super) const fn new(node: Node, offset: u64, ending: Ending) -> Self {
        Self { node, offset, ending, left: PIECES_IN_A_ROW }
    }
}

impl<D: 'static> StreamProducer<D> for FileProducer {
    type Item = u8;
    type Buffer = BytesMut;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        store: StoreContextMut<'a, D>,
        destination: Destination<'a, u8, BytesMut>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let mut destination = destination.as_direct(store, READ_MAX);
        let buf = destination.remaining();
        // A question for readiness.
        if buf.is_empty() {
            return COMPLETED;
        }
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => {
                self.left = PIECES_IN_A_ROW;
                // Who is about to give up reading does not wait.
                if !finish {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
        match self.node.read_into(self.offset, buf) {
            Ok(0) => self.ending.tell(Ok(())),
            Ok(count) => {
                destination.mark_written(count);
                self.offset = self.offset.saturating_add(len_u64(count));
                COMPLETED
            }
            Err(errno) => self.ending.tell(Err(errno)),
        }
    }
}

/// A file being written, straight from the guest's memory.
pub(super) struct FileConsumer {
    pub(super) node: Node,
    pub(super) at: WriteAt,
    pub(super) ending: Ending,
}

impl<D: 'static> StreamConsumer<D> for FileConsumer {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        store: StoreContextMut<'_, D>,
        source: Source<'_, u8>,
        _finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let mut source = source.as_direct(store);
        let buf = source.remaining();
        let len = buf.len();
        match self.node.write_all(self.at, buf) {
            Ok(at) => {
                source.mark_read(len);
                self.at = at;
                COMPLETED
            }
            Err(errno) => self.ending.tell(Err(errno)),
        }
    }
}

/// A directory being read, as many entries at once as the guest has room for.
pub(super) struct EntryProducer {
    pub(super) listing: Listing,
    pub(super) ending: Ending,
}

/// Entries for a reader that does not say how many it takes.
const ENTRIES_MAX: usize = 64;

impl<D: 'static> StreamProducer<D> for EntryProducer {
    type Item = DirectoryEntry;
    type Buffer = VecBuffer<DirectoryEntry>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut store: StoreContextMut<'a, D>,
        mut destination: Destination<'a, DirectoryEntry, VecBuffer<DirectoryEntry>>,
        _finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let room = destination.remaining(&mut store).unwrap_or(ENTRIES_MAX);
        let mut entries = Vec::new();
        let mut ended = None;
        while entries.len() < room && ended.is_none() {
            match self.listing.next() {
                Ok(Some((name, file_type))) => {
                    entries.push(DirectoryEntry { type_: descriptor_type(file_type), name });
                }
                Ok(None) => ended = Some(Ok(())),
                Err(errno) => ended = Some(Err(errno)),
            }
        }
        destination.set_buffer(entries.into());
        ended.map_or(COMPLETED, |ended| self.ending.tell(ended))
    }
}
