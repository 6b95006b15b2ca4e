//! A buffered writer that writes in a thread of its own, where there is a processor for it: whoever makes the bytes need
//! not wait for the kernel to take them.

use alloc::vec::Vec;
use core::mem;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};

use crate::limits::{GATHERED_LEN, WRITE_LEN};

/// Buffers on their way: one is being filled, one waits, one is being written.
const WAITING_MAX: usize = 1;

/// A buffered writer. What fits into one buffer is written by [`flush`](Write::flush); with more, a thread begins.
///
/// An error of the writer comes with one of the next calls, at the latest with `flush` or [`into_inner`](Self::into_inner),
/// and nothing more is written then.
#[derive(Debug)]
pub(crate) struct WriteBehind<W> {
    buffer: Vec<u8>,
    place: Place<W>,
    may_begin_thread: bool,
}

/// Where the writer is.
#[derive(Debug)]
enum Place<W> {
    Here(W),
    Thread(Writing<W>),
    /// It failed, and this was told.
    Lost,
}

#[derive(Debug)]
struct Writing<W> {
    /// `None` when it shall end.
    full: Option<SyncSender<Vec<u8>>>,
    empty: Receiver<Vec<u8>>,
    /// `None` when it has ended.
    thread: Option<JoinHandle<io::Result<W>>>,
}

impl<W: Write + Send + 'static> WriteBehind<W> {
    /// `busy` threads make what is to be written.
    pub(crate) fn new(writer: W, busy: usize) -> Self {
        let may_begin_thread = thread::available_parallelism().is_ok_and(|processors| processors.get() > busy);
        Self { buffer: Vec::with_capacity(GATHERED_LEN), place: Place::Here(writer), may_begin_thread }
    }

    /// Writes what is left, and gives the writer back.
    ///
    /// # Errors
    /// The writer's.
    pub(crate) fn into_inner(mut self) -> io::Result<W> {
        self.flush()?;
        match self.place {
            Place::Here(writer) => Ok(writer),
            Place::Thread(_) | Place::Lost => Err(lost()),
        }
    }

    /// Hands the full buffer on.
    fn send(&mut self) -> io::Result<()> {
        let writing = match mem::replace(&mut self.place, Place::Lost) {
            Place::Thread(writing) => writing,
            Place::Here(writer) if self.may_begin_thread => Writing::begin(writer)?,
            Place::Here(mut writer) => {
                write_pieces(&mut writer, &self.buffer)?;
                self.buffer.clear();
                self.place = Place::Here(writer);
                return Ok(());
            }
            Place::Lost => return Err(lost()),
        };
        let empty = writing.empty.try_recv().unwrap_or_else(|_| Vec::with_capacity(GATHERED_LEN));
        let full = mem::replace(&mut self.buffer, empty);
        if writing.full.as_ref().is_none_or(|thread| thread.send(full).is_err()) {
            // The thread ended before its time: it has the reason.
            writing.end()?;
            return Err(lost());
        }
        self.place = Place::Thread(writing);
        Ok(())
    }
}

impl<W: Write + Send + 'static> Writing<W> {
    fn begin(mut writer: W) -> io::Result<Self> {
        let (full, take_full) = sync_channel::<Vec<u8>>(WAITING_MAX);
        let (give_empty, empty): (Sender<Vec<u8>>, _) = channel();
        let builder = thread::Builder::new().name("mountless-write".into());
        let thread = builder.spawn(move || {
            for mut buffer in take_full {
                write_pieces(&mut writer, &buffer)?;
                buffer.clear();
                // An error when no more is made.
                let _ = give_empty.send(buffer);
            }
            Ok(writer)
        })?;
        Ok(Self { full: Some(full), empty, thread: Some(thread) })
    }

    /// Waits until all is written.
    fn end(mut self) -> io::Result<W> {
        self.full = None;
        let Some(thread) = self.thread.take() else { return Err(lost()) };
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// The writer is dropped before whoever gave up goes on: a file half-written is gone by then.
impl<W> Drop for Writing<W> {
    fn drop(&mut self) {
        self.full = None;
        if let Some(thread) = self.thread.take() {
            // Nobody wants to know.
            drop(thread.join());
        }
    }
}

impl<W: Write + Send + 'static> Write for WriteBehind<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() >= GATHERED_LEN {
            self.send()?;
        }
        let room = GATHERED_LEN.saturating_sub(self.buffer.len());
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.buffer.extend_from_slice(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut writer = match mem::replace(&mut self.place, Place::Lost) {
            Place::Here(writer) => writer,
            Place::Thread(writing) => writing.end()?,
            Place::Lost => return Err(lost()),
        };
        writer.write_all(&self.buffer)?;
        self.buffer.clear();
        writer.flush()?;
        self.place = Place::Here(writer);
        Ok(())
    }
}

fn write_pieces(writer: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    bytes.chunks(WRITE_LEN).try_for_each(|piece| writer.write_all(piece))
}

/// For whoever goes on after an error.
fn lost() -> io::Error {
    io::Error::other("writing failed before")
}

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;
    use core::sync::atomic::{AtomicBool, Ordering};
    use std::sync::Mutex;

    use super::*;

    /// Takes `room` bytes, and tells when it is dropped.
    struct Medium {
        taken: Arc<Mutex<Vec<u8>>>,
        room: usize,
        is_gone: Arc<AtomicBool>,
    }

    impl Medium {
        fn new(room: usize) -> (Self, Arc<Mutex<Vec<u8>>>, Arc<AtomicBool>) {
            let (taken, is_gone) = (Arc::default(), Arc::default());
            (Self { taken: Arc::clone(&taken), room, is_gone: Arc::clone(&is_gone) }, taken, is_gone)
        }
    }

    impl Write for Medium {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            let mut taken = self.taken.lock().unwrap();
            if taken.len() + buf.len() > self.room {
                return Err(io::ErrorKind::StorageFull.into());
            }
            taken.extend_from_slice(buf);
            Ok(buf.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Drop for Medium {
        fn drop(&mut self) {
            self.is_gone.store(true, Ordering::Relaxed);
        }
    }

    fn content(len: usize) -> Vec<u8> {
        (0..len.div_ceil(4)).flat_map(|number| u32::try_from(number).unwrap().to_le_bytes()).take(len).collect()
    }

    #[test]
    fn all_bytes_arrive_in_order_whatever_the_pieces_are() {
        for (len, piece) in [(0, 1), (5, 5), (GATHERED_LEN, 7777), (GATHERED_LEN + 1, 1 << 20), (5 << 20, 300_001)] {
            for busy in [0, usize::MAX] {
                let (medium, taken, _) = Medium::new(usize::MAX);
                let (content, mut out) = (content(len), WriteBehind::new(medium, busy));
                for piece in content.chunks(piece) {
                    out.write_all(piece).unwrap();
                }
                drop(out.into_inner().unwrap());
                assert!(*taken.lock().unwrap() == content, "{len} bytes in pieces of {piece}");
            }
        }
    }

    #[test]
    fn flushed_bytes_are_written_and_more_may_follow() {
        let (medium, taken, _) = Medium::new(usize::MAX);
        let mut out = WriteBehind::new(medium, 0);
        let mut expected = Vec::new();
        for len in [3, 2 * GATHERED_LEN, 0, 10] {
            out.write_all(&content(len)).unwrap();
            expected.extend(content(len));
            out.flush().unwrap();
            assert!(*taken.lock().unwrap() == expected, "after {len} bytes");
        }
    }

    #[test]
    fn what_the_writer_refuses_is_told() {
        for (len, busy) in [(10, 0), (GATHERED_LEN + 10, 0), (10 << 20, 0), (10 << 20, usize::MAX)] {
            let (medium, taken, is_gone) = Medium::new(len - 1);
            let mut out = WriteBehind::new(medium, busy);
            let told = out.write_all(&content(len)).and_then(|()| out.flush()).unwrap_err();
            assert_eq!(told.kind(), io::ErrorKind::StorageFull, "{len} bytes");
            let count = taken.lock().unwrap().len();
            // It may be taken, but goes nowhere.
            let _ = out.write_all(b"more");
            assert_eq!(out.into_inner().map(drop).unwrap_err().to_string(), "writing failed before");
            assert_eq!((taken.lock().unwrap().len(), is_gone.load(Ordering::Relaxed)), (count, true));
        }
    }

    #[test]
    fn the_writer_is_gone_with_what_was_given_up() {
        let (medium, _, is_gone) = Medium::new(usize::MAX);
        let mut out = WriteBehind::new(medium, 0);
        out.write_all(&content(4 << 20)).unwrap();
        drop(out);
        assert!(is_gone.load(Ordering::Relaxed), "a file half-written would be left behind");
    }
}
