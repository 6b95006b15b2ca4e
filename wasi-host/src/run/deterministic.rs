//! Runs that repeat.

use std::sync::Arc;
use std::time::Duration;

use chacha20::ChaCha8Rng;
use chacha20::rand_core::SeedableRng;
use mountless::clock::{Clock, TickingClock};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtxBuilder};

/// When deterministic runs begin: 2001-09-09T01:46:40Z, a billion seconds after 1970.
const START_NANOS: u64 = 1_000_000_000_000_000_000;

/// How far the clock moves whenever it is asked, so that no two answers are equal.
const TICK: Duration = Duration::from_micros(1);

/// What makes two runs alike: random bytes from a seed, and one clock for the guest and its files that starts at a fixed
/// time, moves only when asked or waited for, and never waits.
///
/// Give [`clock`](Self::clock) to the upper layer too. What a run reads from outside (standard input, host directories)
/// is the caller's to repeat.
#[derive(Clone, Debug)]
pub struct Deterministic {
    seed: u64,
    clock: Arc<TickingClock>,
}

impl Deterministic {
    /// A clock at its start, and random bytes that follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, clock: Arc::new(TickingClock::new(START_NANOS, TICK)) }
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock) as Arc<dyn Clock>
    }

    pub(super) fn configure(&self, ctx: &mut WasiCtxBuilder) {
        ctx.wall_clock(self.virtual_clock());
        ctx.monotonic_clock(self.virtual_clock());
        ctx.secure_random(ChaCha8Rng::seed_from_u64(self.seed));
        // Another stream than the secure one: programs may mix them.
        ctx.insecure_random(ChaCha8Rng::seed_from_u64(!self.seed));
        ctx.insecure_random_seed(u128::from(self.seed));
    }

    pub(super) fn virtual_clock(&self) -> Virtual {
        Virtual(Arc::clone(&self.clock))
    }

    /// What to do instead of waiting.
    pub(super) fn sleeper(&self) -> impl FnMut(Duration) + Send + 'static {
        let clock = Arc::clone(&self.clock);
        move |time| clock.advance(time)
    }
}

/// The clock as a context takes it.
#[derive(Clone)]
pub(super) struct Virtual(Arc<TickingClock>);

impl Virtual {
    pub(super) fn advance(&self, by: Duration) {
        self.0.advance(by);
    }
}

impl HostWallClock for Virtual {
    fn resolution(&self) -> Duration {
        TICK
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.now().as_unix_nanos())
    }
}

impl HostMonotonicClock for Virtual {
    fn resolution(&self) -> u64 {
        u64::try_from(TICK.as_nanos()).unwrap_or(u64::MAX)
    }

    fn now(&self) -> u64 {
        self.0.now().as_unix_nanos().saturating_sub(START_NANOS)
    }
}
