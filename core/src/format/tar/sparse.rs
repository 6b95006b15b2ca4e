//! Maps of sparse files.

use super::TarCorrupt;
use super::layout::{BLOCK_LEN, number};
use super::pax::decimal;

/// A run of data in a sparse file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Where it begins in the file.
    pub offset: u64,
    /// Its bytes.
    pub len: u64,
}

/// Checks that pieces ascend without overlap, end within `size`, and add up to `stored`. Empty ones are dropped.
///
/// # Errors
/// The broken rule.
pub fn check_pieces(pieces: &mut Vec<Piece>, size: u64, stored: u64) -> Result<(), TarCorrupt> {
    let (mut end, mut sum) = (0_u64, 0_u64);
    for (number, &Piece { offset, len }) in pieces.iter().enumerate() {
        let next = offset.checked_add(len).filter(|next| offset >= end && *next <= size);
        end = next.ok_or(TarCorrupt::SparseOrder { number, offset, len, size })?;
        // OK: pieces do not overlap.
        sum = sum.saturating_add(len);
    }
    if sum != stored {
        return Err(TarCorrupt::SparseLength { pieces: sum, stored });
    }
    pieces.retain(|piece| piece.len > 0);
    Ok(())
}

/// The pieces in a GNU header (`first`) or in a block of its continuation, whether another block follows, and, from a
/// header, the file's size.
///
/// # Errors
/// [`TarCorrupt::SparseText`].
pub fn parse_sparse_gnu(
    block: &[u8; BLOCK_LEN],
    first: bool,
    pieces: &mut Vec<Piece>,
) -> Result<(bool, u64), TarCorrupt> {
    let (start, count, more_at) = if first { (386_usize, 4_usize, 482) } else { (0, 21, 504) };
    let value = |at: usize| -> Result<u64, TarCorrupt> {
        let field = block.get(at..at.saturating_add(12)).unwrap_or_default();
        number(field).and_then(|value| u64::try_from(value).ok()).ok_or(TarCorrupt::SparseText)
    };
    for index in 0..count {
        let at = start.saturating_add(index.saturating_mul(24));
        // An empty pair ends the list; so says the field itself, since 0 is written out.
        if block.get(at.saturating_add(12)).is_none_or(|byte| *byte == 0) {
            break;
        }
        pieces.push(Piece { offset: value(at)?, len: value(at.saturating_add(12))? });
    }
    let real_size = if first { value(483)? } else { 0 };
    Ok((block.get(more_at).is_some_and(|byte| *byte != 0), real_size))
}

/// The pieces from offsets and lengths in turn.
///
/// # Errors
/// [`TarCorrupt::SparseText`] for an odd count.
pub fn parse_sparse_text(numbers: &[u64]) -> Result<Vec<Piece>, TarCorrupt> {
    let (pairs, rest) = numbers.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(TarCorrupt::SparseText);
    }
    Ok(pairs.iter().map(|&[offset, len]| Piece { offset, len }).collect())
}

/// The map in front of the data, in lines: how many pieces, then offset and length of each. Also says how many bytes
/// the lines have; `None` if `text` ends before the map.
///
/// # Errors
/// [`TarCorrupt::SparseText`].
pub fn parse_sparse_1_0(text: &[u8]) -> Result<Option<(Vec<Piece>, usize)>, TarCorrupt> {
    let mut at = 0;
    let mut line = || -> Result<Option<u64>, TarCorrupt> {
        let rest = text.get(at..).unwrap_or_default();
        let Some(len) = rest.iter().position(|byte| *byte == b'\n') else {
            // No number is longer.
            return if rest.len() > 20 { Err(TarCorrupt::SparseText) } else { Ok(None) };
        };
        at = at.saturating_add(len).saturating_add(1);
        decimal(rest.get(..len).unwrap_or_default()).map(Some).ok_or(TarCorrupt::SparseText)
    };
    let Some(count) = line()? else { return Ok(None) };
    let mut pieces = Vec::new();
    for _ in 0..count {
        let (Some(offset), Some(len)) = (line()?, line()?) else { return Ok(None) };
        pieces.push(Piece { offset, len });
    }
    Ok(Some((pieces, at)))
}
