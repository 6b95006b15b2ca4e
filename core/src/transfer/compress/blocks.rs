//! Compressions whose pieces are made by several threads and joined in order.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use flate2::{Crc, FlushCompress, Status};

use crate::limits::COMPRESSING_THREADS_MAX;

/// Bytes that one piece of gzip is made of: enough to keep a thread busy.
const GZIP_LEN: usize = 512 << 10;

/// What deflate can refer back to.
const WINDOW_LEN: usize = 32 << 10;

/// Bytes of one frame of zstd: several times its window, so that starting anew costs little.
#[cfg(feature = "zstd")]
const ZSTD_LEN: usize = 8 << 20;

/// Bytes of one block of a legacy frame; all but the last have as many.
#[cfg(feature = "lz4")]
const LZ4_LEN: usize = 8 << 20;

/// Threads to compress with.
pub(super) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(COMPRESSING_THREADS_MAX)
}

/// How pieces are made.
#[derive(Clone, Copy)]
enum Method {
    Gzip(u32),
    #[cfg(feature = "zstd")]
    Zstd(u32),
    #[cfg(feature = "lz4")]
    Lz4,
}

/// A piece to be made.
struct Job {
    method: Method,
    data: Vec<u8>,
    /// What stands before it, as far as it can be referred to.
    before: Vec<u8>,
    is_last: bool,
    done: SyncSender<io::Result<Piece>>,
}

struct Piece {
    bytes: Vec<u8>,
    crc: Crc,
}

/// A writer that hands pieces to threads.
pub(super) struct Blocks<W> {
    out: W,
    method: Method,
    len: usize,
    data: Vec<u8>,
    before: Vec<u8>,
    pending: VecDeque<Receiver<io::Result<Piece>>>,
    pool: Pool,
    crc: Crc,
    is_begun: bool,
}

impl<W: Write> Blocks<W> {
    /// One member of gzip, as RFC 1952 describes it: pieces end at byte boundaries and refer back to one another.
    pub(super) fn gzip(mut out: W, level: u32) -> io::Result<Self> {
        // No name, no time; made on Unix.
        out.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3])?;
        Ok(Self::new(out, Method::Gzip(level), GZIP_LEN))
    }

    /// Frames of zstd, one behind the other.
    #[cfg(feature = "zstd")]
    pub(super) fn zstd(out: W, level: u32) -> Self {
        Self::new(out, Method::Zstd(level), ZSTD_LEN)
    }

    /// A legacy frame of LZ4: blocks behind their lengths.
    #[cfg(feature = "lz4")]
    pub(super) fn lz4_legacy(mut out: W) -> io::Result<Self> {
        out.write_all(&[0x02, 0x21, 0x4c, 0x18])?;
        Ok(Self::new(out, Method::Lz4, LZ4_LEN))
    }

    fn new(out: W, method: Method, len: usize) -> Self {
        let (data, before, pending) = (Vec::new(), Vec::new(), VecDeque::new());
        Self { out, method, len, data, before, pending, pool: Pool::new(), crc: Crc::new(), is_begun: false }
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        let has_more = match self.method {
            // Its end is part of the last piece.
            Method::Gzip(_) => true,
            // Nothing at all is an empty frame.
            #[cfg(feature = "zstd")]
            Method::Zstd(_) => !self.data.is_empty() || !self.is_begun,
            #[cfg(feature = "lz4")]
            Method::Lz4 => !self.data.is_empty(),
        };
        if has_more {
            self.send(true)?;
        }
        while self.receive()? {}
        if matches!(self.method, Method::Gzip(_)) {
            self.out.write_all(&self.crc.sum().to_le_bytes())?;
            self.out.write_all(&self.crc.amount().to_le_bytes())?;
        }
        Ok(self.out)
    }

    /// Hands over what is there.
    fn send(&mut self, is_last: bool) -> io::Result<()> {
        self.is_begun = true;
        let data = core::mem::take(&mut self.data);
        let before = core::mem::take(&mut self.before);
        if matches!(self.method, Method::Gzip(_)) {
            self.before = data.get(data.len().saturating_sub(WINDOW_LEN)..).unwrap_or_default().to_vec();
        }
        let (done, pending) = sync_channel(1);
        self.pool.give(Job { method: self.method, data, before, is_last, done })?;
        self.pending.push_back(pending);
        // Each thread has a piece to make and one to go on with.
        while self.pending.len() > self.pool.threads.len().saturating_mul(2) {
            self.receive()?;
        }
        Ok(())
    }

    /// Writes the next piece; `false` if none is being made.
    fn receive(&mut self) -> io::Result<bool> {
        let Some(pending) = self.pending.pop_front() else { return Ok(false) };
        let piece = pending.recv().map_err(|_| io::Error::other("a thread that compresses ended too early"))??;
        self.out.write_all(&piece.bytes)?;
        self.crc.combine(&piece.crc);
        Ok(true)
    }
}

impl<W: Write> Write for Blocks<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.data.capacity() == 0 {
            self.data.reserve_exact(self.len);
        }
        let room = self.len.saturating_sub(self.data.len());
        let taken = buf.get(..buf.len().min(room)).unwrap_or_default();
        self.data.extend_from_slice(taken);
        if self.data.len() >= self.len {
            self.send(false)?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Threads that wait for pieces to make, and end when there will be no more.
struct Pool {
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    fn new() -> Self {
        let (jobs, queue) = channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        let work = |queue: Arc<Mutex<Receiver<Job>>>| {
            move || loop {
                let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(job) = job else { return };
                // Whoever does not wait any more does not want it.
                let _ = job.done.send(make(&job));
            }
        };
        let threads = (0..threads()).map(|_| std::thread::spawn(work(Arc::clone(&queue))));
        Self { jobs: Some(jobs), threads: threads.collect() }
    }

    fn give(&self, job: Job) -> io::Result<()> {
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        if sent { Ok(()) } else { Err(io::Error::other("no thread to compress with")) }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // OK to ignore: what a thread left undone was noticed when it was waited for.
            let _ = thread.join();
        }
    }
}

fn make(job: &Job) -> io::Result<Piece> {
    let mut crc = Crc::new();
    let bytes = match job.method {
        Method::Gzip(level) => {
            crc.update(&job.data);
            deflate(job, level)?
        }
        #[cfg(feature = "zstd")]
        Method::Zstd(level) => {
            let mut compressor = zstd::bulk::Compressor::new(i32::try_from(level).unwrap_or(3))?;
            compressor.include_checksum(true)?;
            compressor.compress(&job.data)?
        }
        #[cfg(feature = "lz4")]
        Method::Lz4 => {
            let block = lz4_flex::block::compress(&job.data);
            let len = u32::try_from(block.len()).map_err(io::Error::other)?;
            [&len.to_le_bytes()[..], &block].concat()
        }
    };
    Ok(Piece { bytes, crc })
}

fn deflate(job: &Job, level: u32) -> io::Result<Vec<u8>> {
    let mut compress = flate2::Compress::new(flate2::Compression::new(level), false);
    if !job.before.is_empty() {
        compress.set_dictionary(&job.before)?;
    }
    let flush = if job.is_last { FlushCompress::Finish } else { FlushCompress::Sync };
    // What deflate makes of noise is hardly longer; all else is shorter.
    let mut out = Vec::with_capacity(job.data.len().saturating_add(job.data.len() / 100).saturating_add(1024));
    loop {
        let used = usize::try_from(compress.total_in()).unwrap_or(usize::MAX);
        let rest = job.data.get(used..).unwrap_or_default();
        let status = compress.compress_vec(rest, &mut out, flush)?;
        let is_done = match status {
            Status::StreamEnd => true,
            _ if job.is_last => false,
            // A flush is complete once there is room left behind it.
            _ => compress.total_in() >= crate::checked::to_u64(job.data.len()) && out.len() < out.capacity(),
        };
        if is_done {
            return Ok(out);
        }
        out.reserve(GZIP_LEN);
    }
}
