//! Monotonic clocks of components, whose sleeps may be virtual.
//!
//! wasmtime-wasi turns a wait into a duration and then sleeps for real, whatever clock its context has. In a
//! deterministic run nobody sleeps: once everything that could go on waits, the clock moves to what is due first.

use core::future::{Future, poll_fn};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::HostMonotonicClock;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::clocks::WasiClocksCtxView;
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

use super::deterministic::Virtual;

/// Who waits on a virtual clock.
#[derive(Clone)]
pub(super) struct Sleepers(Arc<Shared>);

struct Shared {
    clock: Virtual,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// By when it is due, with a number that makes equal times two.
    due: BTreeMap<Key, Waker>,
    next_number: u64,
}

type Key = (u64, u64);

/// One who waits; given up, it does not hold the others up.
struct Sleeper<'s> {
    shared: &'s Shared,
    key: Option<Key>,
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nobody panics with the lock held.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sleepers {
    pub(super) fn new(clock: Virtual) -> Self {
        Self(Arc::new(Shared { clock, waiting: Mutex::default() }))
    }

    /// The time `duration` from now, in nanoseconds.
    fn after(&self, duration: u64) -> u64 {
        HostMonotonicClock::now(&self.0.clock).saturating_add(duration)
    }

    /// Waits until `due`, and for others to have their turn first.
    pub(super) fn until(&self, due: u64) -> impl Future<Output = ()> + Send + '_ {
        let mut sleeper = Sleeper { shared: &self.0, key: None };
        poll_fn(move |context| sleeper.poll(due, context))
    }
}

impl Sleeper<'_> {
    fn poll(&mut self, due: u64, context: &Context<'_>) -> Poll<()> {
        let mut waiting = self.shared.waiting();
        let Some(key) = self.key else {
            let key = (due, waiting.next_number);
            waiting.next_number = waiting.next_number.wrapping_add(1);
            waiting.due.insert(key, context.waker().clone());
            self.key = Some(key);
            drop(waiting);
            // Whoever is polled after this one may be due before it.
            context.waker().wake_by_ref();
            return Poll::Pending;
        };
        let now = HostMonotonicClock::now(&self.shared.clock);
        if due > now {
            if waiting.due.keys().next() != Some(&key) {
                waiting.due.insert(key, context.waker().clone());
                return Poll::Pending;
            }
            self.shared.clock.advance(Duration::from_nanos(due.saturating_sub(now)));
        }
        drop(waiting);
        self.leave();
        Poll::Ready(())
    }

    fn leave(&mut self) {
        if let Some(key) = self.key.take() {
            let mut waiting = self.shared.waiting();
            waiting.due.remove(&key);
            let next = waiting.due.values().next().cloned();
            drop(waiting);
            if let Some(next) = next {
                next.wake();
            }
        }
    }
}

impl Drop for Sleeper<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// What the clocks' calls work on.
pub(super) struct View<'a> {
    pub(super) ctx: WasiClocksCtxView<'a>,
    /// None, if time is real.
    pub(super) sleepers: Option<&'a Sleepers>,
}

struct HasClocks;

impl HasData for HasClocks {
    type Data<'a> = View<'a>;
}

/// Replaces wasmtime-wasi's monotonic clocks.
pub(super) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> View<'_>,
) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let added = monotonic_clock::add_to_linker::<T, HasClocks>(linker, view);
    linker.allow_shadowing(false);
    added
}

/// The same for preview 3.
#[cfg(feature = "p3")]
pub(super) fn add_p3_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> View<'_>,
) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let added = wasmtime_wasi::p3::bindings::clocks::monotonic_clock::add_to_linker::<T, HasClocks>(linker, view);
    linker.allow_shadowing(false);
    added
}

struct Alarm {
    sleepers: Sleepers,
    due: u64,
}

#[async_trait]
impl Pollable for Alarm {
    async fn ready(&mut self) {
        self.sleepers.until(self.due).await;
    }
}

fn alarm(table: &mut ResourceTable, sleepers: &Sleepers, due: u64) -> wasmtime::Result<Resource<DynPollable>> {
    let alarm = table.push(Alarm { sleepers: sleepers.clone(), due })?;
    subscribe(table, alarm)
}

impl monotonic_clock::Host for View<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        monotonic_clock::Host::now(&mut self.ctx)
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        self.ctx.resolution()
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        match self.sleepers {
            Some(sleepers) => alarm(self.ctx.table, sleepers, when),
            None => self.ctx.subscribe_instant(when),
        }
    }

    fn subscribe_duration(&mut self, duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        match self.sleepers {
            Some(sleepers) => alarm(self.ctx.table, sleepers, sleepers.after(duration)),
            None => self.ctx.subscribe_duration(duration),
        }
    }
}

#[cfg(feature = "p3")]
mod p3 {
    use core::time::Duration;

    use wasmtime::component::Accessor;
    use wasmtime_wasi::p3::bindings::clocks::monotonic_clock;

    use super::{HasClocks, View};

    impl monotonic_clock::Host for View<'_> {
        fn now(&mut self) -> wasmtime::Result<monotonic_clock::Mark> {
            monotonic_clock::Host::now(&mut self.ctx)
        }

        fn get_resolution(&mut self) -> wasmtime::Result<u64> {
            self.ctx.get_resolution()
        }
    }

    impl<U> monotonic_clock::HostWithStore<U> for HasClocks {
        async fn wait_until(store: &Accessor<U, Self>, when: monotonic_clock::Mark) -> wasmtime::Result<()> {
            let now = store.with(|mut view| monotonic_clock::Host::now(&mut view.get()))?;
            Self::wait_for(store, when.saturating_sub(now)).await
        }

        async fn wait_for(store: &Accessor<U, Self>, duration: u64) -> wasmtime::Result<()> {
            match store.with(|mut view| view.get().sleepers.cloned()) {
                Some(sleepers) => sleepers.until(sleepers.after(duration)).await,
                None if duration > 0 => tokio::time::sleep(Duration::from_nanos(duration)).await,
                None => {}
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};

    use super::*;
    use crate::run::Deterministic;

    /// Polls all in order until none is left, and says in which order they ended, and when.
    fn order(clock: &Virtual, sleepers: &Sleepers, dues: &[u64]) -> Vec<(usize, u64)> {
        let mut ended = Vec::new();
        let mut left: Vec<Option<Pin<Box<dyn Future<Output = ()> + Send>>>> = dues
            .iter()
            .map(|&due| {
                let sleepers = sleepers.clone();
                Some(Box::pin(async move { sleepers.until(due).await }) as Pin<Box<dyn Future<Output = ()> + Send>>)
            })
            .collect();
        for _ in 0..10 {
            for (index, future) in left.iter_mut().enumerate() {
                let polled =
                    future.as_mut().map(|future| future.as_mut().poll(&mut Context::from_waker(Waker::noop())));
                if polled == Some(Poll::Ready(())) {
                    *future = None;
                    ended.push((index, HostMonotonicClock::now(clock) / 1_000_000_000));
                }
            }
        }
        assert!(left.iter().all(Option::is_none), "somebody waits for ever");
        ended
    }

    #[test]
    fn who_is_due_first_wakes_first() {
        let clock = Deterministic::new(0).virtual_clock();
        let sleepers = Sleepers::new(clock.clone());
        let hour = 3_600_000_000_000;
        assert_eq!(order(&clock, &sleepers, &[3 * hour, hour, 2 * hour]), [(1, 3600), (2, 7200), (0, 10800)]);
        // What is given up is not waited for.
        {
            let mut given_up = pin!(sleepers.until(hour * 1000));
            assert!(given_up.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        assert_eq!(order(&clock, &sleepers, &[u64::MAX / 2, 0]).first(), Some(&(1, 10800)));
    }
}
