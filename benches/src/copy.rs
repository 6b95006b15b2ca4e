//! What copying takes that no host can do without.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Content of a file, and a guest's buffer.
pub struct Copies {
    file: Vec<u8>,
    buffer: Vec<u8>,
}

/// As many bytes as a cache line has.
const LINE: usize = 64;

/// The first `len` bytes that begin with a cache line.
fn aligned(bytes: &mut [u8], len: usize) -> &mut [u8] {
    let skipped = bytes.as_ptr().align_offset(LINE);
    &mut bytes[skipped..skipped + len]
}

impl Copies {
    /// For pieces of `size` bytes, one behind the other out of `span` bytes, over and over; both ends begin with a cache
    /// line.
    #[must_use]
    pub fn new(size: usize, span: usize) -> Self {
        Self { file: vec![1; span + LINE], buffer: vec![2; size + LINE] }
    }

    /// Copies `count` times, out of the file or into it.
    pub fn time(&mut self, size: usize, into_file: bool, count: u64) -> Duration {
        let span = self.file.len() - LINE;
        let (file, buffer) = (aligned(&mut self.file, span), aligned(&mut self.buffer, size));
        let start = Instant::now();
        let mut at = 0;
        for _ in 0..count {
            let piece = &mut file[at..at + size];
            if into_file {
                piece.copy_from_slice(black_box(&*buffer));
            } else {
                buffer.copy_from_slice(black_box(&*piece));
            }
            black_box(&mut *buffer);
            at = (at + size) % span;
        }
        black_box(file);
        start.elapsed()
    }
}
