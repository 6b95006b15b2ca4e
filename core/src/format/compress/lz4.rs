//! LZ4 legacy frames: a magic, then blocks of at most 8 MiB, each behind its compressed length, and no end.

use std::io::{BufRead, Error, ErrorKind, Read, Result};

/// Bytes that a block gives at most.
const BLOCK_MAX: u32 = 8 << 20;

/// Bytes that such a block takes at most: what LZ4 makes of incompressible data.
const PACKED_MAX: u32 = BLOCK_MAX + BLOCK_MAX / 255 + 16;

const MAGIC: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];

/// Undoes a legacy frame.
#[derive(Debug)]
pub(super) struct LegacyReader<R> {
    input: R,
    packed: Vec<u8>,
    block: Vec<u8>,
    /// What of `block` is read already.
    read: usize,
    /// Whether what cannot be a block's length ends the frame, or is damage, as in Linux.
    tolerant: bool,
    ended: bool,
}

impl<R: BufRead> LegacyReader<R> {
    pub(super) fn new(mut input: R, tolerant: bool) -> Result<Self> {
        let mut magic = [0; 4];
        input.read_exact(&mut magic)?;
        if magic != MAGIC {
            return Err(Error::new(ErrorKind::InvalidData, "no legacy frame begins here"));
        }
        Ok(Self { input, packed: Vec::new(), block: Vec::new(), read: 0, tolerant, ended: false })
    }

    /// Reads the next block; `false` at the frame's end.
    fn next_block(&mut self) -> Result<bool> {
        let len = loop {
            let next = self.input.fill_buf()?;
            let Some(&word) = next.first_chunk::<4>() else {
                // Less than a length: nothing at all, or the start of some padding.
                return Ok(false);
            };
            let len = u32::from_le_bytes(word);
            if word == MAGIC {
                self.input.consume(4);
                continue;
            }
            if len == 0 || (len > PACKED_MAX && self.tolerant) {
                return Ok(false);
            }
            if len > PACKED_MAX {
                let sentence = format!("a block of {len} bytes, at most {PACKED_MAX} are possible");
                return Err(Error::new(ErrorKind::InvalidData, sentence));
            }
            self.input.consume(4);
            break len;
        };
        self.packed.clear();
        // OK to grow: by what is there, up to PACKED_MAX.
        (&mut self.input).take(len.into()).read_to_end(&mut self.packed)?;
        if crate::checked::to_u64(self.packed.len()) < u64::from(len) {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.block.resize(crate::checked::min_len(usize::MAX, BLOCK_MAX.into()), 0);
        let count = lz4_flex::block::decompress_into(&self.packed, &mut self.block)
            .map_err(|error| Error::new(ErrorKind::InvalidData, error))?;
        self.block.truncate(count);
        self.read = 0;
        Ok(true)
    }
}

impl<R: BufRead> Read for LegacyReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        while self.read >= self.block.len() && !self.ended && !buf.is_empty() {
            self.ended = !self.next_block()?;
        }
        let rest = self.block.get(self.read..).unwrap_or_default();
        let count = rest.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        self.read = self.read.saturating_add(count);
        Ok(count)
    }
}
