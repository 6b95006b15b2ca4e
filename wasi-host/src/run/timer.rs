//! The thread that ends runs whose time is up.
//!
//! It sleeps until the earliest deadline of all runs and then moves the engine's epoch, on which every run with a time
//! limit looks at its own. Between deadlines nothing ticks, and runs without a limit cost nothing.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use wasmtime::EngineWeak;

pub(super) struct Timer {
    shared: Arc<Shared>,
    engine: EngineWeak,
}

#[derive(Default)]
struct Shared {
    deadlines: Mutex<Deadlines>,
    changed: Condvar,
}

#[derive(Default)]
struct Deadlines {
    /// With a number that makes equal ones two.
    armed: BTreeSet<(Instant, u64)>,
    next_number: u64,
    is_running: bool,
    is_closed: bool,
}

/// A deadline that counts until this is dropped.
pub(super) struct Armed<'t> {
    shared: &'t Shared,
    key: (Instant, u64),
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Deadlines> {
        // Nobody panics with the lock held, and if: a set of deadlines is never half-way.
        self.deadlines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Timer {
    pub(super) fn new(engine: EngineWeak) -> Self {
        Self { shared: Arc::default(), engine }
    }

    /// Counts a deadline in; the first one starts the thread.
    pub(super) fn arm(&self, deadline: Instant) -> Armed<'_> {
        let mut deadlines = self.shared.lock();
        let key = (deadline, deadlines.next_number);
        deadlines.next_number = deadlines.next_number.wrapping_add(1);
        deadlines.armed.insert(key);
        if !std::mem::replace(&mut deadlines.is_running, true) {
            let (shared, engine) = (Arc::clone(&self.shared), self.engine.clone());
            thread::spawn(move || shared.run(&engine));
        } else if deadlines.armed.first() == Some(&key) {
            self.shared.changed.notify_one();
        }
        Armed { shared: &self.shared, key }
    }
}

impl Shared {
    fn run(&self, engine: &EngineWeak) {
        let mut deadlines = self.lock();
        while !deadlines.is_closed {
            let now = Instant::now();
            deadlines = match deadlines.armed.first().copied() {
                None => self.changed.wait(deadlines).unwrap_or_else(PoisonError::into_inner),
                Some(key @ (deadline, _)) if deadline <= now => {
                    deadlines.armed.remove(&key);
                    match engine.upgrade() {
                        Some(engine) => engine.increment_epoch(),
                        None => return,
                    }
                    deadlines
                }
                Some((deadline, _)) => {
                    let left = deadline.saturating_duration_since(now);
                    self.changed.wait_timeout(deadlines, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.changed.notify_one();
    }
}

impl Drop for Armed<'_> {
    fn drop(&mut self) {
        self.shared.lock().armed.remove(&self.key);
    }
}
