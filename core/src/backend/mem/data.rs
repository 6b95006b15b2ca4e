//! The content of one file: a sorted map of extents, everything between them a hole.
//!
//! - [`Extent::Shared`] is a slice of somebody else's bytes (an image's), of any length, never copied: cutting it
//!   moves two pointers.
//! - [`Extent::Owned`] was written here. It lies within one [`SEGMENT`], so that no operation moves more than that; a
//!   new one starts at a page boundary and grows in place, so that small writes never leave a crowd of tiny extents.
//! - [`Extent::Reserved`] reads as a hole and is charged like owned bytes, so that a later write cannot run out of
//!   space. It alone may lie behind the end of the file.
//!
//! A write into shared bytes takes over the part of a page before it and its own bytes; the rest stays shared.
//!
//! Invariants: extents are not empty and do not overlap; `stored` and `charged` are their sums; what is charged is
//! charged in the filesystem's [`Quota`] too.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Range;

use bytes::Bytes;

use super::quota::Quota;
use super::segment::Segment;
use crate::checked::{min_len, to_u64, to_usize};
use crate::errno::Errno;
use crate::error::Result;
use crate::fs;
use crate::limits::{FILE_SIZE_MAX, READ_SHARED_MAX};

const PAGE: u64 = 4 << 10;
const SEGMENT: u64 = 64 << 10;

/// Extents joined in the answer of one [`FileData::extent_at`], so that it stays quick in a huge file.
const JOIN_MAX: usize = 256;

/// A run of a file.
enum Extent {
    /// Bytes that belong to somebody else too.
    Shared {
        bytes: Bytes,
        /// Charged, so that overwriting it cannot run out of space.
        reserved: bool,
    },
    /// Bytes written here.
    Owned(Segment),
    /// Zeros that are charged but not stored.
    Reserved { len: u64 },
}

impl Extent {
    fn len(&self) -> u64 {
        match self {
            Self::Shared { bytes, .. } => to_u64(bytes.len()),
            Self::Owned(bytes) => to_u64(bytes.len()),
            Self::Reserved { len } => *len,
        }
    }

    /// The stored bytes, if it is not a hole.
    fn data(&self) -> Option<&[u8]> {
        match self {
            Self::Shared { bytes, .. } => Some(bytes),
            Self::Owned(bytes) => Some(bytes),
            Self::Reserved { .. } => None,
        }
    }

    /// What `len` bytes of it are charged with.
    const fn charge_of(&self, len: u64) -> u64 {
        match self {
            Self::Shared { reserved: false, .. } => 0,
            Self::Shared { .. } | Self::Owned(_) | Self::Reserved { .. } => len,
        }
    }

    /// Cuts it to its first `at` bytes and returns the rest. `at` is below its length.
    fn split_off(&mut self, at: u64) -> Self {
        match self {
            Self::Shared { bytes, reserved } => {
                Self::Shared { bytes: bytes.split_off(min_len(bytes.len(), at)), reserved: *reserved }
            }
            Self::Owned(bytes) => Self::Owned(bytes.split_off(min_len(bytes.len(), at))),
            Self::Reserved { len } => {
                let rest = len.saturating_sub(at);
                *len = at;
                Self::Reserved { len: rest }
            }
        }
    }
}

/// The content of a file.
#[derive(Default)]
pub(super) struct FileData {
    extents: BTreeMap<u64, Extent>,
    size: u64,
    stored: u64,
    charged: u64,
}

impl FileData {
    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// Bytes that are not holes, shared ones included.
    pub(super) const fn stored(&self) -> u64 {
        self.stored
    }

    /// What is charged for it; given back by whoever drops it.
    pub(super) const fn charged(&self) -> u64 {
        self.charged
    }

    /// Reads into `buf`; short only at the end of the file.
    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> usize {
        let len = min_len(buf.len(), self.size.saturating_sub(offset));
        let buf = &mut buf[..len];
        // Nearly every read lies in one extent.
        if let Some((start, extent)) = self.extents.range(..=offset).next_back()
            && let Some(data) = extent.data()
            && let Some(source) = part(data, offset - start, len)
        {
            buf.copy_from_slice(source);
        } else {
            self.gather(offset, buf);
        }
        len
    }

    /// Fills all of `buf` from `offset`, holes and what lies behind the end with zeros.
    fn gather(&self, offset: u64, buf: &mut [u8]) {
        let end = offset.saturating_add(to_u64(buf.len()));
        let mut filled = 0;
        for (start, extent) in self.overlapping(offset..end) {
            let Some(data) = extent.data() else { continue };
            let into = min_len(buf.len(), start.saturating_sub(offset));
            let from = min_len(data.len(), offset.saturating_sub(start));
            let len = (buf.len() - into).min(data.len() - from);
            buf[filled..into].fill(0);
            filled = into + len;
            buf[into..filled].copy_from_slice(&data[from..from + len]);
        }
        buf[filled..].fill(0);
    }

    /// The extents that have bytes in `range`, in order.
    fn overlapping(&self, range: Range<u64>) -> impl Iterator<Item = (u64, &Extent)> {
        let first = self.extents.range(..=range.start).next_back();
        let first = first.filter(|(start, extent)| range.start < **start + extent.len() && range.start < range.end);
        let behind = range.start.saturating_add(1)..range.end.max(range.start.saturating_add(1));
        first.into_iter().chain(self.extents.range(behind)).map(|(start, extent)| (*start, extent))
    }

    /// A slice where bytes are shared, a bounded copy where they are not; short at the end of an extent.
    pub(super) fn read_shared(&self, offset: u64, len: usize) -> Bytes {
        let len = min_len(len.min(READ_SHARED_MAX), self.size.saturating_sub(offset));
        if len == 0 {
            return Bytes::new();
        }
        let end = offset + to_u64(len);
        let mut hole_end = end;
        if let Some((start, extent)) = self.overlapping(offset..end).next() {
            match extent {
                Extent::Shared { bytes, .. } if start <= offset => {
                    let from = min_len(bytes.len(), offset - start);
                    return bytes.slice(from..from + len.min(bytes.len() - from));
                }
                Extent::Owned(bytes) if start <= offset => {
                    let from = min_len(bytes.len(), offset - start);
                    return Bytes::copy_from_slice(&bytes[from..from + len.min(bytes.len() - from)]);
                }
                Extent::Reserved { len } => hole_end = end.min(start + len),
                Extent::Shared { .. } | Extent::Owned(_) => hole_end = start,
            }
        }
        fs::shared_zeros(hole_end - offset)
    }

    /// The run around `offset`, with neighbours of its kind joined while they are few.
    pub(super) fn extent_at(&self, offset: u64) -> Result<fs::Extent> {
        if offset >= self.size {
            return Err(Errno::NoSuchDevice.into());
        }
        let mut end = offset;
        let mut is_data = None;
        for (start, extent) in self.overlapping(offset..self.size).take(JOIN_MAX) {
            let data = extent.data().is_some();
            if start > end {
                // A gap in front of this extent.
                if is_data == Some(true) {
                    break;
                }
                is_data = Some(false);
                end = start;
            }
            if *is_data.get_or_insert(data) != data {
                break;
            }
            end = start + extent.len();
        }
        Ok(match is_data {
            Some(true) => fs::Extent::Data { end: end.min(self.size) },
            Some(false) => fs::Extent::Hole { end: end.min(self.size) },
            None => fs::Extent::Hole { end: self.size },
        })
    }

    /// Writes `buf` at `offset` and returns the count written: short if space runs out, or at the greatest size.
    ///
    /// # Errors
    /// `EFBIG`; `ENOSPC` if not one byte could be written.
    pub(super) fn write(&mut self, offset: u64, buf: &[u8], quota: &Quota) -> Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let room = FILE_SIZE_MAX.saturating_sub(offset);
        if room == 0 {
            return Err(Errno::FileTooBig.into());
        }
        let buf = &buf[..min_len(buf.len(), room)];
        if offset == self.size && self.append(buf, quota) {
            return Ok(buf.len());
        }
        // What is written over what was written here before.
        if let Some(target) = self.owned_mut(offset, buf.len()) {
            target.copy_from_slice(buf);
            return Ok(buf.len());
        }
        let mut done = 0;
        let mut unit = SEGMENT;
        while done < buf.len() {
            // OK: the sum is at most FILE_SIZE_MAX, by `room`.
            let at = offset + to_u64(done);
            let mut len = min_len(buf.len() - done, unit - at % unit);
            if let Err(error) = self.write_piece(at, &buf[done..done + len], quota) {
                if unit == SEGMENT {
                    // Space is nearly gone: what is left shall be used page by page, then byte by byte.
                    unit = PAGE;
                    continue;
                }
                len = min_len(len, quota.free().unwrap_or(0));
                if len > 0 && self.write_piece(at, &buf[done..done + len], quota).is_ok() {
                    done += len;
                }
                return if done > 0 { Ok(done) } else { Err(error) };
            }
            done += len;
        }
        Ok(done)
    }

    /// Adds `buf` to the owned bytes that the file ends with, if there is room for all of it. Returns whether it did.
    fn append(&mut self, buf: &[u8], quota: &Quota) -> bool {
        let Some((start, Extent::Owned(bytes))) = self.extents.iter_mut().next_back() else { return false };
        let (end, len) = (start + to_u64(bytes.len()), to_u64(buf.len()));
        let segment_end = start - start % SEGMENT + SEGMENT;
        let has_room = segment_end - end >= len && bytes.capacity() - bytes.len() >= buf.len();
        if end != self.size || !has_room || quota.charge(len).is_err() {
            return false;
        }
        bytes.extend_from_slice(buf);
        self.stored += len;
        self.charged += len;
        self.size += len;
        true
    }

    /// The owned bytes of exactly this range, if one extent has them all.
    fn owned_mut(&mut self, at: u64, len: usize) -> Option<&mut [u8]> {
        let (start, extent) = self.extents.range_mut(..=at).next_back()?;
        let Extent::Owned(bytes) = extent else { return None };
        let from = usize::try_from(at - start).ok()?;
        bytes.get_mut(from..from.checked_add(len)?)
    }

    /// Writes `piece`, which lies within one segment, all or nothing.
    fn write_piece(&mut self, at: u64, piece: &[u8], quota: &Quota) -> Result<()> {
        if let Some(target) = self.owned_mut(at, piece.len()) {
            target.copy_from_slice(piece);
            return Ok(());
        }
        let end = at + to_u64(piece.len());
        let (page, segment) = (at - at % PAGE, at - at % SEGMENT);
        // An owned extent that reaches into the page, or up to it, grows; else a new one starts with the page.
        let mut start = page;
        let mut owned_end = page;
        let mut before_end = None;
        for (&before, extent) in self.extents.range(..=at).rev() {
            let end = before + extent.len();
            before_end.get_or_insert(end);
            if matches!(extent, Extent::Owned(_)) && before >= segment && end >= page {
                (start, owned_end) = (before, end);
                break;
            }
            if before <= page {
                break;
            }
        }
        let streaming = start == segment && owned_end == segment && before_end == Some(segment);
        let reused: u64 = self
            .overlapping(owned_end..end)
            .map(|(start, extent)| extent.charge_of((start + extent.len()).min(end) - start.max(owned_end)))
            .sum();
        let need = end - owned_end - reused;
        quota.charge(need)?;

        let mut bytes = match self.extents.get_mut(&start) {
            Some(Extent::Owned(bytes)) => core::mem::take(bytes),
            _ => Segment::default(),
        };
        // A file that is written from front to back gets whole segments at once.
        let reserved = reserve(&mut bytes, to_usize(end - start)?, to_usize(segment + SEGMENT - start)?, streaming);
        if reserved.is_ok() {
            let kept = to_usize(owned_end - start)?;
            let new_from = to_usize(at - start)?;
            if new_from > kept {
                bytes.resize(new_from);
                self.gather(owned_end, &mut bytes[kept..]);
            }
            bytes.truncate(new_from);
            bytes.extend_from_slice(piece);
            let _recharged = self.carve(owned_end..end);
            self.stored += end - owned_end;
            self.charged += end - owned_end;
            self.size = self.size.max(end);
        } else {
            quota.refund(need);
        }
        if !bytes.is_empty() {
            self.extents.insert(start, Extent::Owned(bytes));
        }
        reserved
    }

    /// Makes all of `data` a part of the file, without a copy unless it is small.
    ///
    /// # Errors
    /// `EFBIG`, `ENOSPC`; nothing has changed then.
    pub(super) fn write_shared(&mut self, offset: u64, data: Bytes, quota: &Quota) -> Result<()> {
        let end = offset.checked_add(to_u64(data.len())).filter(|end| *end <= FILE_SIZE_MAX);
        let end = end.ok_or(Errno::FileTooBig)?;
        if data.is_empty() {
            return Ok(());
        }
        if to_u64(data.len()) < PAGE && self.size > 0 {
            // An extent would cost more than the copy. At most two pieces, both paid before the first is written.
            let middle = end.min(offset - offset % SEGMENT + SEGMENT);
            self.reserve_range(offset..end, quota)?;
            let (first, second) = data.split_at(to_usize(middle - offset)?);
            self.write_piece(offset, first, quota)?;
            if !second.is_empty() {
                self.write_piece(middle, second, quota)?;
            }
            return Ok(());
        }
        quota.refund(self.carve(offset..end));
        self.stored += end - offset;
        self.extents.insert(offset, Extent::Shared { bytes: data, reserved: false });
        self.size = self.size.max(end);
        Ok(())
    }

    /// Cuts, or extends with a hole.
    ///
    /// # Errors
    /// `EFBIG`.
    pub(super) fn set_size(&mut self, size: u64, quota: &Quota) -> Result<()> {
        if size > FILE_SIZE_MAX {
            return Err(Errno::FileTooBig.into());
        }
        if size <= self.size {
            quota.refund(self.carve(size..u64::MAX));
        }
        self.size = size;
        Ok(())
    }

    /// Charges all of `range`, so that writing it later needs no more space, and extends the file to its end if asked.
    ///
    /// # Errors
    /// `EFBIG`, `ENOSPC`; nothing has changed then.
    pub(super) fn reserve(&mut self, range: Range<u64>, extend: bool, quota: &Quota) -> Result<()> {
        if range.end > FILE_SIZE_MAX {
            return Err(Errno::FileTooBig.into());
        }
        self.reserve_range(range.clone(), quota)?;
        if extend {
            self.size = self.size.max(range.end);
        }
        Ok(())
    }

    /// Charges `range` and the part of a page before it, which a write takes over too.
    fn reserve_range(&mut self, range: Range<u64>, quota: &Quota) -> Result<()> {
        let range = range.start - range.start % PAGE..range.end;
        let mut need = range.end - range.start;
        let mut gaps = Vec::new();
        let mut shares = false;
        let mut at = range.start;
        for (start, extent) in self.overlapping(range.clone()) {
            shares |= matches!(extent, Extent::Shared { reserved: false, .. });
            let end = start + extent.len();
            need -= extent.charge_of(end.min(range.end) - start.max(range.start));
            if start > at {
                gaps.push(at..start);
            }
            at = end;
        }
        if at < range.end {
            gaps.push(at..range.end);
        }
        quota.charge(need)?;
        self.charged += need;
        if shares {
            self.split_at(range.start);
            self.split_at(range.end);
            for (_, extent) in self.extents.range_mut(range) {
                if let Extent::Shared { reserved, .. } = extent {
                    *reserved = true;
                }
            }
        }
        for gap in gaps {
            self.extents.insert(gap.start, Extent::Reserved { len: gap.end - gap.start });
        }
        Ok(())
    }

    /// Makes `range` read as zeros and gives back what whole pages of it held. Needs no space, so it cannot fail.
    pub(super) fn punch(&mut self, range: Range<u64>, quota: &Quota) {
        if range.start >= FILE_SIZE_MAX {
            return;
        }
        let whole_end = if range.end >= self.size { range.end } else { range.end - range.end % PAGE };
        let whole = range.start.next_multiple_of(PAGE)..whole_end;
        if whole.start >= whole.end {
            self.blank(range, quota);
            return;
        }
        self.blank(range.start..whole.start, quota);
        quota.refund(self.carve(whole.clone()));
        self.blank(whole.end..range.end, quota);
    }

    /// Zeros a part of a page: owned bytes in place, since cutting them would leave crumbs.
    fn blank(&mut self, range: Range<u64>, quota: &Quota) {
        let mut shared = Vec::new();
        let first = self.overlapping(range.clone()).next().map_or(range.end, |(start, _)| start);
        for (start, extent) in self.extents.range_mut(first..range.end.max(first)) {
            let part = range.start.max(*start)..range.end.min(start + extent.len());
            match extent {
                Extent::Owned(bytes) => {
                    let (from, to) = (min_len(bytes.len(), part.start - start), min_len(bytes.len(), part.end - start));
                    bytes[from..to].fill(0);
                }
                Extent::Shared { .. } => shared.push(part),
                Extent::Reserved { .. } => {}
            }
        }
        for part in shared {
            quota.refund(self.carve(part));
        }
    }

    /// Removes everything in `range` and returns what was charged for it; the caller gives that back or uses it again.
    #[must_use]
    fn carve(&mut self, range: Range<u64>) -> u64 {
        self.split_at(range.start);
        self.split_at(range.end);
        let mut freed = 0;
        // One search per extent; most calls find none or one.
        while let Some((&start, extent)) = self.extents.range(range.clone()).next() {
            let len = extent.len();
            freed += extent.charge_of(len);
            if extent.data().is_some() {
                self.stored -= len;
            }
            self.extents.remove(&start);
        }
        self.charged -= freed;
        freed
    }

    /// Makes `offset` a border between extents, if it lies within one.
    fn split_at(&mut self, offset: u64) {
        let Some((start, extent)) = self.extents.range_mut(..offset).next_back() else { return };
        let at = offset - start;
        if at < extent.len() {
            let rest = extent.split_off(at);
            self.extents.insert(offset, rest);
        }
    }
}

/// The `len` bytes from `from`, if `data` has them all.
fn part(data: &[u8], from: u64, len: usize) -> Option<&[u8]> {
    let from = usize::try_from(from).ok()?;
    data.get(from..from.checked_add(len)?)
}

/// Makes room for `len` bytes, doubling up to `max` so that growth is cheap and a segment never wastes memory.
fn reserve(bytes: &mut Segment, len: usize, max: usize, all: bool) -> Result<()> {
    if len <= bytes.capacity() {
        return Ok(());
    }
    bytes.reserve(if all { max } else { len.max(bytes.capacity().saturating_mul(2).min(max)) })
}

#[cfg(test)]
mod tests;
