//! Writing pax archives: ustar headers, with records before them only where the header cannot say it.

use alloc::borrow::ToOwned;
use alloc::vec::Vec;
use std::io::Write;

use super::acl::show_acl;
use super::layout::{BLOCK, BLOCK_LEN, blocks};
use super::sparse::Piece;
use crate::attr::Device;
use crate::checked::{min_len, to_u64};
use crate::clock::Timestamp;
use crate::errno::Errno;
use crate::error::{Error, Result};

/// What an entry to write is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NewTarKind<'a> {
    /// A file of so many bytes, which must follow.
    File(u64),
    /// A file of so many bytes with holes: only these pieces must follow, which ascend and do not overlap.
    Sparse(u64, &'a [Piece]),
    /// A further name of the entry written under this one.
    HardLink(&'a [u8]),
    /// A symbolic link to this.
    Symlink(&'a [u8]),
    /// A directory.
    Dir,
    /// A character device.
    Char(Device),
    /// A block device.
    Block(Device),
    /// A named pipe.
    Fifo,
}

/// An entry to write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewTarEntry<'a> {
    /// The path, without slashes around it.
    pub path: &'a [u8],
    /// What it is.
    pub kind: NewTarKind<'a>,
    /// Permission bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change of content.
    pub mtime: Timestamp,
    /// Extended attributes.
    pub xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

/// Writes an archive entry by entry. Give a buffered writer.
#[derive(Debug)]
pub struct TarWriter<W> {
    out: W,
    /// Bytes of data that must still follow, and the padding behind them.
    data: (u64, u64),
}

/// The largest numbers that fields of 8 and 12 bytes hold in octal.
const SMALL_MAX: u64 = 0o7_777_777;
const LARGE_MAX: u64 = 0o77_777_777_777;

impl<W: Write> TarWriter<W> {
    /// An empty archive.
    pub const fn new(out: W) -> Self {
        Self { out, data: (0, 0) }
    }

    /// Writes an entry's head. The data of a file must follow through [`data`](Self::data).
    ///
    /// # Errors
    /// `EINVAL` if the data of the last entry is not complete; what the writer answers as `EIO`.
    pub fn begin(&mut self, entry: &NewTarEntry<'_>) -> Result<()> {
        self.end_entry()?;
        let mut path = entry.path.to_owned();
        let mut map = Vec::new();
        let (kind, size, link, device) = match entry.kind {
            NewTarKind::File(size) => (b'0', size, &[][..], Device::default()),
            NewTarKind::Sparse(size, pieces) => {
                path = sparse_path(entry.path);
                map = sparse_map(size, pieces);
                let stored = pieces.iter().fold(to_u64(map.len()), |sum, piece| sum.saturating_add(piece.len));
                (b'0', stored, &[][..], Device::default())
            }
            NewTarKind::HardLink(to) => (b'1', 0, to, Device::default()),
            NewTarKind::Symlink(to) => (b'2', 0, to, Device::default()),
            NewTarKind::Char(device) => (b'3', 0, &[][..], device),
            NewTarKind::Block(device) => (b'4', 0, &[][..], device),
            NewTarKind::Dir => (b'5', 0, &[][..], Device::default()),
            NewTarKind::Fifo => (b'6', 0, &[][..], Device::default()),
        };
        if kind == b'5' {
            path.push(b'/');
        }
        let records = records(entry, &path, link, size);
        if !records.is_empty() {
            let name = [b"PaxHeaders.0/", entry.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()].concat();
            let len = to_u64(records.len());
            self.put(&header(b'x', &name, &[], 0o644, [0, 0, 0], len, Device::default()))?;
            self.put(&records)?;
            self.put_zeros(blocks(len).saturating_sub(len))?;
        }
        let secs = u64::try_from(entry.mtime.secs).unwrap_or_default();
        let numbers = [entry.uid.into(), entry.gid.into(), secs];
        self.put(&header(kind, &path, link, entry.mode, numbers, size, device))?;
        self.put(&map)?;
        self.data = (size.saturating_sub(to_u64(map.len())), blocks(size).saturating_sub(size));
        Ok(())
    }

    /// More data of the file begun.
    ///
    /// # Errors
    /// `EINVAL` for more than was announced; what the writer answers.
    pub fn data(&mut self, data: &[u8]) -> Result<()> {
        self.data.0 = self.data.0.checked_sub(to_u64(data.len())).ok_or(Errno::Invalid)?;
        self.put(data)
    }

    /// Ends the archive with two blocks of zeros.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub fn finish(mut self) -> Result<W> {
        self.end_entry()?;
        self.put_zeros(2 * BLOCK)?;
        self.out.flush().map_err(|error| Error::new(Errno::Io, error))?;
        Ok(self.out)
    }

    /// What was written so far, as it is.
    pub fn into_inner(self) -> W {
        self.out
    }

    fn end_entry(&mut self) -> Result<()> {
        let (missing, padding) = core::mem::take(&mut self.data);
        if missing > 0 {
            return Err(Error::new(Errno::Invalid, format!("{missing} bytes of data are missing")));
        }
        self.put_zeros(padding)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(|error| Error::new(Errno::Io, error))
    }

    fn put_zeros(&mut self, count: u64) -> Result<()> {
        let zeros = [0; 2 * BLOCK_LEN];
        self.put(zeros.get(..min_len(zeros.len(), count)).unwrap_or_default())
    }
}

/// Where readers that know no sparse files shall put what they find, as GNU tar calls it.
fn sparse_path(path: &[u8]) -> Vec<u8> {
    let at = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash.saturating_add(1));
    let (dir, name) = path.split_at(at);
    [dir, b"GNUSparseFile.0/", name].concat()
}

/// The map in front of the data of a sparse file, in GNU's version 1.0, filled up to a whole block.
fn sparse_map(size: u64, pieces: &[Piece]) -> Vec<u8> {
    // Some readers take the end of the last piece for that of the file.
    let end = Piece { offset: size, len: 0 };
    let ends = pieces.last().is_some_and(|last| last.offset.saturating_add(last.len) == size);
    let end = (!ends).then_some(&end);
    let mut map = format!("{}\n", pieces.len().saturating_add(usize::from(end.is_some()))).into_bytes();
    for Piece { offset, len } in pieces.iter().chain(end) {
        map.extend_from_slice(format!("{offset}\n{len}\n").as_bytes());
    }
    map.resize(map.len().next_multiple_of(BLOCK_LEN), 0);
    map
}

/// What the header cannot say.
fn records(entry: &NewTarEntry<'_>, path: &[u8], link: &[u8], size: u64) -> Vec<u8> {
    let mut records = Vec::new();
    let is_plain = |text: &[u8]| text.len() <= 100 && text.is_ascii();
    if [path, link, entry.path].iter().any(|text| core::str::from_utf8(text).is_err()) {
        record(&mut records, b"hdrcharset", b"BINARY");
    }
    if !is_plain(path) {
        record(&mut records, b"path", path);
    }
    if !is_plain(link) {
        record(&mut records, b"linkpath", link);
    }
    if let NewTarKind::Sparse(real_size, _) = entry.kind {
        record(&mut records, b"GNU.sparse.major", b"1");
        record(&mut records, b"GNU.sparse.minor", b"0");
        record(&mut records, b"GNU.sparse.name", entry.path);
        record(&mut records, b"GNU.sparse.realsize", real_size.to_string().as_bytes());
    }
    let numbers = [
        (&b"uid"[..], u64::from(entry.uid), SMALL_MAX),
        (b"gid", entry.gid.into(), SMALL_MAX),
        (b"size", size, LARGE_MAX),
    ];
    for (key, value, _) in numbers.iter().filter(|(_, value, max)| value > max) {
        record(&mut records, key, value.to_string().as_bytes());
    }
    let Timestamp { secs, nanos } = entry.mtime;
    if nanos > 0 || u64::try_from(secs).map_or(true, |secs| secs > LARGE_MAX) {
        record(&mut records, b"mtime", time(secs, nanos).as_bytes());
    }
    for (name, value) in entry.xattrs {
        let acl =
            [("system.posix_acl_access", "SCHILY.acl.access"), ("system.posix_acl_default", "SCHILY.acl.default")];
        let acl = acl.iter().find(|(of, _)| of.as_bytes() == name);
        match acl.and_then(|(_, key)| Some((key, show_acl(value)?))) {
            Some((key, text)) => record(&mut records, key.as_bytes(), &text),
            None => {
                let mut key = b"SCHILY.xattr.".to_vec();
                for byte in name {
                    match byte {
                        b'%' => key.extend_from_slice(b"%25"),
                        b'=' => key.extend_from_slice(b"%3D"),
                        byte => key.push(*byte),
                    }
                }
                record(&mut records, &key, value);
            }
        }
    }
    records
}

/// Seconds with a fraction; before 1970 the fraction counts downwards.
fn time(secs: i64, nanos: u32) -> String {
    let (sign, secs, nanos) = match (secs < 0, nanos) {
        (true, 0) => ("-", secs.unsigned_abs(), 0),
        (true, nanos) => ("-", secs.saturating_add(1).unsigned_abs(), 1_000_000_000_u32.saturating_sub(nanos)),
        (false, nanos) => ("", secs.unsigned_abs(), nanos),
    };
    let text = format!("{sign}{secs}.{nanos:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A record, whose length counts its own digits.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len().saturating_add(value.len()).saturating_add(3);
    let mut len = rest;
    loop {
        let with_digits = rest.saturating_add(len.to_string().len());
        if with_digits == len {
            break;
        }
        len = with_digits;
    }
    records.extend_from_slice(format!("{len} ").as_bytes());
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// Digits and a NUL.
fn octal<const N: usize>(mut value: u64) -> [u8; N] {
    let mut field = [0; N];
    for digit in field.iter_mut().rev().skip(1) {
        // OK: one digit.
        *digit = b'0'.wrapping_add((value & 7).to_le_bytes()[0]);
        value >>= 3;
    }
    field
}

/// A header; what does not fit is left out, for records say it.
fn header(
    kind: u8,
    path: &[u8],
    link: &[u8],
    mode: u16,
    [uid, gid, mtime]: [u64; 3],
    size: u64,
    device: Device,
) -> [u8; BLOCK_LEN] {
    let mut block = [0; BLOCK_LEN];
    let mut put = |at: usize, bytes: &[u8], max: usize| {
        let bytes = bytes.get(..bytes.len().min(max)).unwrap_or_default();
        if let Some(to) = block.get_mut(at..at.saturating_add(bytes.len())) {
            to.copy_from_slice(bytes);
        }
    };
    let small = |value: u64| octal::<8>(value.min(SMALL_MAX));
    let large = |value: u64| octal::<12>(value.min(LARGE_MAX));
    put(0, path, 100);
    put(100, &small(mode.into()), 8);
    put(108, &small(uid), 8);
    put(116, &small(gid), 8);
    put(124, &large(size), 12);
    put(136, &large(mtime), 12);
    put(148, b"        ", 8);
    put(156, &[kind], 1);
    put(157, link, 100);
    put(257, b"ustar\x0000", 8);
    if matches!(kind, b'3' | b'4') {
        put(329, &small(device.major.into()), 8);
        put(337, &small(device.minor.into()), 8);
    }
    let sum = block.iter().fold(0_u32, |sum, byte| sum.wrapping_add(u32::from(*byte)));
    let field = format!("{sum:06o}\0 ").into_bytes();
    if let Some(to) = block.get_mut(148..156) {
        to.copy_from_slice(field.get(..8).unwrap_or(&[b' '; 8]));
    }
    block
}
