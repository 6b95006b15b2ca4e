//! Time, always from a [`Clock`] that the caller passes, so that images and snapshots are reproducible.

use core::fmt::Debug;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

/// A point in time: seconds since 1970 and nanoseconds that always count upwards.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z, negative before.
    pub secs: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self { secs: 0, nanos: 0 };

    /// A whole second.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self { secs, nanos: 0 }
    }

    /// Nanoseconds since 1970, as WASI counts.
    #[must_use]
    pub const fn from_unix_nanos(nanos: u64) -> Self {
        // OK: u64::MAX / 10^9 < 2^35, and the remainder is below 10^9.
        Self { secs: (nanos / NANOS_PER_SEC).cast_signed(), nanos: (nanos % NANOS_PER_SEC) as u32 }
    }

    /// Nanoseconds since 1970, clamped to what 64 unsigned bits hold (1970 to 2554).
    #[must_use]
    pub fn as_unix_nanos(self) -> u64 {
        u64::try_from(self.secs)
            .map(|secs| secs.saturating_mul(NANOS_PER_SEC).saturating_add(u64::from(self.nanos)))
            .unwrap_or(0)
    }
}

const NANOS_PER_SEC: u64 = 1_000_000_000;

impl From<std::time::SystemTime> for Timestamp {
    fn from(time: std::time::SystemTime) -> Self {
        match time.duration_since(std::time::UNIX_EPOCH) {
            Ok(after) => Self { secs: i64::try_from(after.as_secs()).unwrap_or(i64::MAX), nanos: after.subsec_nanos() },
            Err(before) => {
                let before = before.duration();
                let secs = i64::try_from(before.as_secs()).unwrap_or(i64::MAX).saturating_neg();
                match before.subsec_nanos() {
                    0 => Self { secs, nanos: 0 },
                    nanos => Self { secs: secs.saturating_sub(1), nanos: 1_000_000_000_u32.saturating_sub(nanos) },
                }
            }
        }
    }
}

/// Where a filesystem takes the time from.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The current time.
    fn now(&self) -> Timestamp;

    /// The time some milliseconds ago at most, where that is known for less than the current time costs. It is never
    /// before a time that this clock gave earlier.
    fn recent(&self) -> Option<Timestamp> {
        None
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

/// The latest time that [`SystemClock`] gave, in nanoseconds since 1970, so that recent times do not fall behind it.
static LATEST: AtomicU64 = AtomicU64::new(0);

/// How far a recent time may be behind at most, in nanoseconds: the longest tick that Linux has.
const TICK_MAX: u64 = 10_000_000;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let now = Timestamp::from(std::time::SystemTime::now());
        LATEST.fetch_max(now.as_unix_nanos(), Ordering::Relaxed);
        now
    }

    /// As Linux stamps its files: with the time of the last tick.
    #[cfg(target_os = "linux")]
    fn recent(&self) -> Option<Timestamp> {
        let tick = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        let tick = Timestamp { secs: tick.tv_sec, nanos: u32::try_from(tick.tv_nsec).ok()? };
        let latest = LATEST.load(Ordering::Relaxed);
        // One that is further ahead is of before somebody set the clock back.
        let ahead = latest.saturating_sub(tick.as_unix_nanos());
        Some(if ahead == 0 || ahead > TICK_MAX { tick } else { Timestamp::from_unix_nanos(latest) })
    }
}

/// A clock that moves only when told, for tests and reproducible images.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// Starts at `nanos` nanoseconds after 1970.
    #[must_use]
    pub const fn new(nanos: u64) -> Self {
        Self(AtomicU64::new(nanos))
    }

    /// Moves forward.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// A clock that starts at a fixed time and moves a little whenever it is asked, for runs that repeat.
#[derive(Debug)]
pub struct TickingClock {
    clock: ManualClock,
    tick: Duration,
}

impl TickingClock {
    /// Starts at `nanos` nanoseconds after 1970, and moves by `tick`.
    #[must_use]
    pub const fn new(nanos: u64, tick: Duration) -> Self {
        Self { clock: ManualClock::new(nanos), tick }
    }

    /// Moves forward.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }
}

impl Clock for TickingClock {
    fn now(&self) -> Timestamp {
        self.clock.advance(self.tick);
        self.clock.now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_count_upwards_before_1970() {
        let quarter_past = std::time::UNIX_EPOCH - Duration::from_millis(5250);
        assert_eq!(Timestamp::from(quarter_past), Timestamp { secs: -6, nanos: 750_000_000 });
        assert_eq!(Timestamp::from(quarter_past).as_unix_nanos(), 0);
    }

    #[test]
    fn recent_times_are_between_those_before_and_those_after() {
        for _ in 0..1000 {
            let before = SystemClock.now();
            let recent = SystemClock.recent().unwrap_or(before);
            assert!(before <= recent && recent <= SystemClock.now());
        }
        assert_eq!(TickingClock::new(0, Duration::from_nanos(1)).recent(), None, "it would have to move");
    }

    #[test]
    fn nanoseconds_survive_a_round_trip() {
        for nanos in [0, 1, 1_999_999_999, u64::MAX] {
            assert_eq!(Timestamp::from_unix_nanos(nanos).as_unix_nanos(), nanos);
        }
    }
}
