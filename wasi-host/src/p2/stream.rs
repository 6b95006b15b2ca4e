//! Files as streams. They are always ready.

use bytes::Bytes;
use mountless::errno::Errno;
use mountless::fs::WriteAt;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use crate::files::{Node, READ_MAX, len_u64};

/// Bytes that may be written at once.
const WRITE_MAX: usize = 64 << 10;

/// A file being read. At its end, or after a failure, the node is gone and the stream closed.
pub(super) struct FileInput {
    node: Option<Node>,
    offset: u64,
}

/// A file being written; after a failure it is closed.
pub(super) struct FileOutput {
    node: Option<Node>,
    at: WriteAt,
}

impl FileInput {
    pub(super) const fn new(node: Node, offset: u64) -> Self {
        Self { node: Some(node), offset }
    }
}

impl FileOutput {
    pub(super) const fn new(node: Node, at: WriteAt) -> Self {
        Self { node: Some(node), at }
    }
}

/// The errno stays in the error, for `filesystem-error-code` to find.
fn failed(errno: Errno) -> StreamError {
    StreamError::LastOperationFailed(errno.into())
}

#[async_trait]
impl Pollable for FileInput {
    async fn ready(&mut self) {}
}

#[async_trait]
impl InputStream for FileInput {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let node = self.node.as_ref().ok_or(StreamError::Closed)?;
        if size == 0 {
            return Ok(Bytes::new());
        }
        let read = node.read(self.offset, len_u64(size));
        match read {
            Ok(bytes) if !bytes.is_empty() => {
                self.offset = self.offset.saturating_add(len_u64(bytes.len()));
                Ok(bytes)
            }
            ended => {
                self.node = None;
                Err(ended.err().map_or(StreamError::Closed, failed))
            }
        }
    }
}

#[async_trait]
impl Pollable for FileOutput {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for FileOutput {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let node = self.node.as_ref().ok_or(StreamError::Closed)?;
        match node.write_all(self.at, &bytes) {
            Ok(at) => {
                self.at = at;
                Ok(())
            }
            Err(errno) => {
                self.node = None;
                Err(failed(errno))
            }
        }
    }

    /// Nothing is held back.
    fn flush(&mut self) -> StreamResult<()> {
        self.check_write().map(drop)
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        if self.node.is_some() { Ok(WRITE_MAX) } else { Err(StreamError::Closed) }
    }
}

const _: () = assert!(READ_MAX >= WRITE_MAX, "a splice moves what was read in one write");
