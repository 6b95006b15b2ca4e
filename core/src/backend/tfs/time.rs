//! Times as TFS has them: unsigned 32.32 fixed point seconds since 1970.

use alloc::string::{String, ToString};

use crate::clock::Timestamp;

const NANOS_PER_SEC: u64 = 1_000_000_000;

/// Nanoseconds since 1970, from 1677 to 2262, or nothing, in 8 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Time(i64);

impl Time {
    /// No time is recorded.
    pub(super) const NONE: Self = Self(i64::MIN);

    /// A time of the log.
    pub(super) fn from_raw(raw: u64) -> Self {
        let nanos = (raw & 0xffff_ffff).saturating_mul(NANOS_PER_SEC) >> 32;
        // OK: below 2^32 seconds.
        Self(i64::try_from((raw >> 32).saturating_mul(NANOS_PER_SEC).saturating_add(nanos)).unwrap_or(i64::MAX))
    }

    /// As the log has it, if it can: rounded as Nanos does, so that whole nanoseconds survive.
    pub(super) fn to_raw(self) -> Option<u64> {
        let nanos = u64::try_from(self.0).ok()?;
        let (secs, nanos) = (nanos / NANOS_PER_SEC, nanos % NANOS_PER_SEC);
        let fraction = if nanos == 0 { 0 } else { ((nanos << 32) / NANOS_PER_SEC).saturating_add(1) };
        u32::try_from(secs).ok().map(|secs| u64::from(secs) << 32 | fraction)
    }

    /// As text, for times that the log cannot have.
    pub(super) fn nanos(self) -> String {
        self.0.to_string()
    }

    /// A time as text.
    pub(super) fn from_nanos(text: &[u8]) -> Option<Self> {
        core::str::from_utf8(text).ok()?.parse().ok().map(Self)
    }

    pub(super) fn get(self) -> Option<Timestamp> {
        let nanos_per_sec = NANOS_PER_SEC.cast_signed();
        (self != Self::NONE).then(|| Timestamp {
            secs: self.0.div_euclid(nanos_per_sec),
            nanos: u32::try_from(self.0.rem_euclid(nanos_per_sec)).unwrap_or(0),
        })
    }
}

impl From<Timestamp> for Time {
    /// Clamped to what there is room for: 1677 to 2262.
    fn from(time: Timestamp) -> Self {
        let nanos_per_sec = i128::from(NANOS_PER_SEC);
        let nanos = i128::from(time.secs).saturating_mul(nanos_per_sec).saturating_add(time.nanos.into());
        let clamped = nanos.clamp(i128::from(i64::MIN).saturating_add(1), i64::MAX.into());
        Self(i64::try_from(clamped).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_nanoseconds_survive() {
        assert_eq!(Time(5).to_raw(), Some(22));
        for nanos in [0, 1, 5, 999_999_999, 1_000_000_000, 1_795_254_885_123_456_789, 4_294_967_295_999_999_999] {
            assert_eq!(Time::from_raw(Time(nanos).to_raw().unwrap()), Time(nanos));
        }
        assert_eq!(Time(4_294_967_296_000_000_000).to_raw(), None, "2106");
        assert_eq!(Time(-1).to_raw(), None);
        assert_eq!(Time(-1).get(), Some(Timestamp { secs: -1, nanos: 999_999_999 }));
        assert_eq!(Time::NONE.get(), None);
    }
}
