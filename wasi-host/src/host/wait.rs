//! Waiting for a future on the calling thread, until a point in time.
//!
//! A runtime's own `block_on` panics on a thread that already drives tasks, and embedders do call guests from there. So
//! the thread just parks. What wakes it runs elsewhere: on wasmtime-wasi's runtime or on another thread of the
//! embedder's.

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use std::sync::Arc;
use std::task::Wake;
use std::thread::{self, Thread};
use std::time::Instant;

use wasmtime_wasi::runtime::with_ambient_tokio_runtime;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// The future's output, or `None` if it is not ready at `until`. It is polled at least once.
pub(super) fn block_until<F: Future>(future: F, until: Option<Instant>) -> Option<F::Output> {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        // Streams may want a runtime around them, for timers and tasks.
        if let Poll::Ready(output) = with_ambient_tokio_runtime(|| future.as_mut().poll(&mut context)) {
            return Some(output);
        }
        match until {
            None => thread::park(),
            Some(until) => match until.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => thread::park_timeout(left),
                _ => return None,
            },
        }
    }
}

/// Runs `make` where no runtime is current, so that the tasks it spawns go to wasmtime-wasi's own: on the embedder's
/// they could wait for the very thread that is about to park.
pub(crate) fn outside_of_runtimes<T: Send>(make: impl FnOnce() -> T + Send) -> T {
    if tokio::runtime::Handle::try_current().is_err() {
        return make();
    }
    thread::scope(|scope| match scope.spawn(make).join() {
        Ok(made) => made,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

#[cfg(test)]
mod tests {
    use core::future::{pending, poll_fn, ready};
    use std::time::Duration;

    use super::*;

    #[test]
    fn waits_until_woken_or_the_time_is_up() {
        assert_eq!(block_until(ready(1), Some(Instant::now())), Some(1));
        let start = Instant::now();
        assert_eq!(block_until(pending::<()>(), Some(start + Duration::from_millis(20))), None);
        assert!(start.elapsed() >= Duration::from_millis(20));

        let mut spawned = false;
        let woken = poll_fn(|context| {
            if std::mem::replace(&mut spawned, true) {
                return Poll::Ready(2);
            }
            let waker = context.waker().clone();
            thread::spawn(move || waker.wake());
            Poll::Pending
        });
        assert_eq!(block_until(woken, None), Some(2));
    }
}
