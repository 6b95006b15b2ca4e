//! Values of entries, and how they are kept.

use alloc::vec::Vec;

use super::TupleId;
use crate::backend::tfs::symbols::Symbol;
use crate::checked::{to_u64, to_usize};

/// A value. Strings are ranges of one buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::backend::tfs) enum Value {
    /// Removed; never seen outside.
    Absent,
    Null,
    Tuple(TupleId),
    String {
        start: u32,
        len: u32,
    },
    Symbol(Symbol),
    Integer(u64),
    Negative(u64),
}

/// A value in 8 bytes: what it is in the highest bits, and what fits into the others. What does not fit is in a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Packed(u64);

impl Packed {
    const TAG_SHIFT: u32 = 60;
    const MAX: u64 = (1 << Self::TAG_SHIFT) - 1;
    const STRING_LEN_MAX: u32 = (1 << 28) - 1;

    const ABSENT: u64 = 0;
    const NULL: u64 = 1;
    const TUPLE: u64 = 2;
    const STRING: u64 = 3;
    const SYMBOL: u64 = 4;
    const INTEGER: u64 = 5;
    const NEGATIVE: u64 = 6;
    /// In the table.
    const OTHER: u64 = 7;
    /// Many entries.
    const RUN: u64 = 8;
    const RUN_LEN_MAX: u32 = (1 << 28) - 1;

    #[inline]
    pub(super) fn new(value: Value, others: &mut Vec<Value>) -> Self {
        let (tag, payload) = match value {
            Value::Absent => (Self::ABSENT, 0),
            Value::Null => (Self::NULL, 0),
            Value::Tuple(id) => (Self::TUPLE, id.0.into()),
            Value::Symbol(symbol) => (Self::SYMBOL, symbol.0.into()),
            Value::String { start, len } if len <= Self::STRING_LEN_MAX => {
                (Self::STRING, u64::from(len) << 32 | u64::from(start))
            }
            Value::Integer(number) if number <= Self::MAX => (Self::INTEGER, number),
            Value::Negative(number) if number <= Self::MAX => (Self::NEGATIVE, number),
            Value::String { .. } | Value::Integer(_) | Value::Negative(_) => {
                let at = to_u64(others.len());
                others.push(value);
                (Self::OTHER, at)
            }
        };
        Self(tag << Self::TAG_SHIFT | payload)
    }

    #[inline]
    pub(super) fn tuple(id: TupleId) -> Self {
        Self(Self::TUPLE << Self::TAG_SHIFT | u64::from(id.0))
    }

    /// The values of so many entries with keys that follow one another: tuples, with a symbol between each and the next.
    pub(super) fn run(first: TupleId, count: u32) -> Option<Self> {
        let high = Some(count).filter(|count| *count <= Self::RUN_LEN_MAX)?;
        Some(Self(Self::RUN << Self::TAG_SHIFT | u64::from(high) << 32 | u64::from(first.0)))
    }

    /// How many entries it is the value of, and the first of these values.
    #[inline]
    pub(super) fn as_run(self) -> Option<(TupleId, u32)> {
        if self.0 >> Self::TAG_SHIFT != Self::RUN {
            return None;
        }
        // OK: made of 32 and 28 bits.
        let [count, first] = [self.0 >> 32 & u64::from(Self::RUN_LEN_MAX), self.0 & 0xffff_ffff];
        Some((TupleId(u32::try_from(first).ok()?), u32::try_from(count).ok()?))
    }

    pub(super) const fn is_absent(self) -> bool {
        self.0 >> Self::TAG_SHIFT == Self::ABSENT
    }

    #[inline]
    pub(super) fn value(self, others: &[Value]) -> Value {
        let payload = self.0 & Self::MAX;
        // OK: what has 32 bits was made of 32 bits.
        let low = u32::try_from(payload & 0xffff_ffff).unwrap_or(0);
        match self.0 >> Self::TAG_SHIFT {
            Self::NULL => Value::Null,
            Self::TUPLE | Self::RUN => Value::Tuple(TupleId(low)),
            Self::STRING => Value::String { start: low, len: u32::try_from(payload >> 32).unwrap_or(0) },
            Self::SYMBOL => Value::Symbol(Symbol(low)),
            Self::INTEGER => Value::Integer(payload),
            Self::NEGATIVE => Value::Negative(payload),
            Self::OTHER => to_usize(payload).ok().and_then(|at| others.get(at).copied()).unwrap_or(Value::Absent),
            _ => Value::Absent,
        }
    }
}
