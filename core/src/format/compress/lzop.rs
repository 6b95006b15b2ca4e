//! Files of lzop: a header, then blocks of LZO1X behind their lengths and sums, then a length of 0.

use std::io::{BufRead, Error, ErrorKind, Read, Result};

const MAGIC: [u8; 9] = [0x89, b'L', b'Z', b'O', 0, 0x0d, 0x0a, 0x1a, 0x0a];

/// Bytes that a block gives at most, as lzop itself limits them.
const BLOCK_MAX: u32 = 64 << 20;

/// The version from which on headers have all their fields.
const LONG_HEADER: u16 = 0x0940;

const ADLER_OF_DATA: u32 = 1;
const ADLER_OF_PACKED: u32 = 2;
const EXTRA_FIELD: u32 = 0x40;
const CRC_OF_DATA: u32 = 0x100;
const CRC_OF_PACKED: u32 = 0x200;
const FILTER: u32 = 0x800;
const CRC_OF_HEADER: u32 = 0x1000;

/// Undoes one file.
#[derive(Debug)]
pub(super) struct LzopReader<R> {
    input: R,
    flags: u32,
    packed: Vec<u8>,
    block: Vec<u8>,
    /// What of `block` is read already.
    read: usize,
    /// Whether sums are checked; Linux does not.
    verify: bool,
    ended: bool,
}

fn invalid(sentence: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidData, sentence.into())
}

/// Reads the header's fields and keeps them for the sum.
struct Fields<'a, R> {
    input: &'a mut R,
    seen: Vec<u8>,
}

impl<R: Read> Fields<'_, R> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes)?;
        self.seen.extend_from_slice(&bytes);
        Ok(bytes)
    }

    fn u8(&mut self) -> Result<u8> {
        Ok(u8::from_be_bytes(self.take()?))
    }

    fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_be_bytes(self.take()?))
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.take()?))
    }

    fn skip(&mut self, count: u32) -> Result<()> {
        for _ in 0..count {
            self.u8()?;
        }
        Ok(())
    }

    /// Checks the sum over everything since the last one.
    fn sum(&mut self, flags: u32, verify: bool) -> Result<()> {
        let computed = if flags & CRC_OF_HEADER == 0 { adler32(&self.seen) } else { crc32(&self.seen) };
        self.seen.clear();
        let recorded = self.u32()?;
        self.seen.clear();
        if verify && recorded != computed {
            return Err(invalid(format!("the header's sum is {computed:#010x}, the file says {recorded:#010x}")));
        }
        Ok(())
    }
}

impl<R: BufRead> LzopReader<R> {
    pub(super) fn new(mut input: R, verify: bool) -> Result<Self> {
        let mut fields = Fields { input: &mut input, seen: Vec::new() };
        if fields.take::<9>()? != MAGIC {
            return Err(invalid("no lzop file begins here"));
        }
        fields.seen.clear();
        let version = fields.u16()?;
        fields.u16()?;
        let long = version >= LONG_HEADER;
        if long {
            fields.u16()?;
        }
        let method = fields.u8()?;
        if !(1..=3).contains(&method) {
            return Err(invalid(format!("method {method}, expected 1 to 3 (LZO1X)")));
        }
        if long {
            fields.u8()?;
        }
        let flags = fields.u32()?;
        if flags & FILTER != 0 {
            return Err(invalid("a filter, which no tool writes any more"));
        }
        // Mode and times.
        fields.skip(if long { 12 } else { 8 })?;
        let name_len = fields.u8()?;
        fields.skip(name_len.into())?;
        fields.sum(flags, verify)?;
        if flags & EXTRA_FIELD != 0 {
            let len = fields.u32()?;
            if len > 1 << 16 {
                return Err(invalid(format!("an extra field of {len} bytes")));
            }
            fields.skip(len)?;
            fields.sum(flags, verify)?;
        }
        Ok(Self { input, flags, packed: Vec::new(), block: Vec::new(), read: 0, verify, ended: false })
    }

    fn word(&mut self) -> Result<u32> {
        let mut bytes = [0; 4];
        self.input.read_exact(&mut bytes)?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn word_if(&mut self, present: bool) -> Result<Option<u32>> {
        if present { self.word().map(Some) } else { Ok(None) }
    }

    /// Reads the next block; `false` at the file's end.
    fn next_block(&mut self) -> Result<bool> {
        let len = self.word()?;
        if len == 0 {
            return Ok(false);
        }
        let packed_len = self.word()?;
        if len > BLOCK_MAX || packed_len > len {
            return Err(invalid(format!("a block of {packed_len} bytes that gives {len}")));
        }
        let is_packed = packed_len < len;
        let adler = self.word_if(self.flags & ADLER_OF_DATA != 0)?;
        let crc = self.word_if(self.flags & CRC_OF_DATA != 0)?;
        let packed_adler = self.word_if(is_packed && self.flags & ADLER_OF_PACKED != 0)?;
        let packed_crc = self.word_if(is_packed && self.flags & CRC_OF_PACKED != 0)?;
        self.packed.clear();
        // OK to grow: by what is there, up to BLOCK_MAX.
        (&mut self.input).take(packed_len.into()).read_to_end(&mut self.packed)?;
        if crate::checked::to_u64(self.packed.len()) < u64::from(packed_len) {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.read = 0;
        if is_packed {
            self.check(packed_adler.or(packed_crc), packed_adler.is_some(), &self.packed)?;
            let len = usize::try_from(len).map_err(|_| invalid("a block larger than memory"))?;
            self.block.resize(len, 0);
            let count = lzokay::decompress::decompress(&self.packed, &mut self.block)
                .map_err(|error| invalid(format!("the LZO data is invalid: {error}")))?;
            if count != len {
                return Err(invalid(format!("a block gives {count} bytes, its length says {len}")));
            }
        } else {
            core::mem::swap(&mut self.block, &mut self.packed);
        }
        self.check(adler.or(crc), adler.is_some(), &self.block)?;
        Ok(true)
    }

    fn check(&self, recorded: Option<u32>, is_adler: bool, data: &[u8]) -> Result<()> {
        let Some(recorded) = recorded.filter(|_| self.verify) else { return Ok(()) };
        let computed = if is_adler { adler32(data) } else { crc32(data) };
        if recorded != computed {
            return Err(invalid(format!("the block's sum is {computed:#010x}, the file says {recorded:#010x}")));
        }
        Ok(())
    }
}

impl<R: BufRead> Read for LzopReader<R> {
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

fn crc32(data: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(data);
    crc.sum()
}

/// RFC 1950.
pub(super) fn adler32(data: &[u8]) -> u32 {
    const MODULUS: u32 = 65_521;
    let (mut a, mut b) = (1_u32, 0_u32);
    // So many bytes can be summed up before anything overflows.
    for run in data.chunks(5552) {
        for byte in run {
            a = a.wrapping_add(u32::from(*byte));
            b = b.wrapping_add(a);
        }
        a %= MODULUS;
        b %= MODULUS;
    }
    (b << 16) | a
}
