//! Waiting.

use std::time::Duration;

use mountless::errno::Errno;

use super::abi::{self, EVENT_LEN, Ptr, SUBSCRIPTION_LEN, SubscriptionKind};
use super::env::clock;
use super::table::Handle;
use super::{CallResult, Process};
use crate::errno;
use crate::host::{Clock, Interest, Stdio};

/// How a subscription stands.
enum State {
    /// A clock that fires in so many nanoseconds.
    In(u64),
    /// A stream that may or may not be ready.
    Stream(Stdio),
    /// A file: always ready, with so many bytes to read; at its end or not.
    Ready { nbytes: u64, hangup: bool },
    /// Nothing to wait for.
    Failed(Errno),
}

/// The times at which a call began, each asked for once: what a clock had left then is what counts after the wait too.
#[derive(Default)]
struct Began {
    realtime: Option<u64>,
    monotonic: Option<u64>,
}

impl Process {
    fn state(&mut self, kind: &SubscriptionKind, began: &mut Began) -> Result<State, Errno> {
        Ok(match *kind {
            SubscriptionKind::Clock { id, timeout, absolute } => {
                let clock = clock(id).map_err(|_| Errno::Invalid)?;
                let began = match clock {
                    Clock::Realtime => &mut began.realtime,
                    Clock::Monotonic => &mut began.monotonic,
                };
                State::In(if absolute {
                    timeout.saturating_sub(*began.get_or_insert_with(|| self.host.now(clock)))
                } else {
                    timeout
                })
            }
            SubscriptionKind::Read { fd } => match self.table.get(fd).map(|slot| &slot.handle) {
                Ok(Handle::Stdio(Stdio::In)) => State::Stream(Stdio::In),
                Ok(Handle::File(file)) => match file.attr() {
                    Ok(attr) => {
                        let nbytes = attr.size.saturating_sub(file.tell());
                        State::Ready { nbytes: nbytes.max(1), hangup: nbytes == 0 }
                    }
                    Err(error) => State::Failed(error.errno()),
                },
                Ok(Handle::Stdio(_) | Handle::Dir(_)) | Err(_) => State::Failed(Errno::BadFd),
            },
            SubscriptionKind::Write { fd } => match self.table.get(fd).map(|slot| &slot.handle) {
                Ok(&Handle::Stdio(stream @ (Stdio::Out | Stdio::Err))) => State::Stream(stream),
                Ok(Handle::File(_)) => State::Ready { nbytes: 1, hangup: false },
                Ok(Handle::Stdio(Stdio::In) | Handle::Dir(_)) | Err(_) => State::Failed(Errno::BadFd),
            },
        })
    }

    /// Waits until one of the subscriptions has something to tell, and tells of all that have.
    ///
    /// A descriptor that cannot be waited for makes an event with the error; only a malformed list fails the call.
    ///
    /// # Errors
    /// `EINVAL` for an empty list, an unknown kind or an unknown clock; `EFAULT`.
    pub fn poll_oneoff(&mut self, memory: &mut [u8], subs: Ptr, events: Ptr, count: u32, fired: Ptr) -> CallResult {
        abi::range(memory, fired, 4)?;
        abi::array(memory, subs, count, SUBSCRIPTION_LEN)?;
        abi::array(memory, events, count, EVENT_LEN)?;
        if count == 0 {
            return Err(Errno::Invalid.into());
        }
        // OK: both ranges were proven, so no element's address overflows.
        let element = |base: Ptr, index: u32, len: u32| base.wrapping_add(index.wrapping_mul(len));

        let mut interest = Interest::NONE;
        let mut shortest = None;
        let mut is_ready = false;
        let mut began = Began::default();
        for index in 0..count {
            let kind = abi::subscription(memory, element(subs, index, SUBSCRIPTION_LEN))?.kind;
            match self.state(&kind, &mut began)? {
                State::In(nanos) => shortest = Some(shortest.map_or(nanos, |shortest: u64| shortest.min(nanos))),
                State::Stream(Stdio::In) => interest.stdin = true,
                State::Stream(Stdio::Out) => interest.stdout = true,
                State::Stream(Stdio::Err) => interest.stderr = true,
                State::Ready { .. } | State::Failed(_) => is_ready = true,
            }
        }

        let timeout = if is_ready { Some(0) } else { shortest };
        let mut ready = Interest::NONE;
        if interest != Interest::NONE || timeout != Some(0) {
            ready = self.host.wait(interest, timeout.map(Duration::from_nanos), self.deadline)?;
        }
        // Clocks fire if they were waited for, or needed no waiting.
        let passed = if is_ready || ready != Interest::NONE { 0 } else { shortest.unwrap_or(0) };

        // The list is read again: if the guest lets both overlap, it gets what it deserves, within its memory.
        let mut done: u32 = 0;
        for index in 0..count {
            let sub = abi::subscription(memory, element(subs, index, SUBSCRIPTION_LEN))?;
            let (errno, nbytes, hangup) = match self.state(&sub.kind, &mut began)? {
                State::In(nanos) if nanos <= passed => (0, 0, false),
                State::Stream(Stdio::In) if ready.stdin => (0, 1, false),
                State::Stream(Stdio::Out) if ready.stdout => (0, 1, false),
                State::Stream(Stdio::Err) if ready.stderr => (0, 1, false),
                State::In(_) | State::Stream(_) => continue,
                State::Ready { nbytes, hangup } => (0, nbytes, hangup),
                State::Failed(errno) => (errno::number(errno), 0, false),
            };
            let event = abi::event(sub.userdata, errno, sub.kind.event_type(), nbytes, hangup);
            abi::put(memory, element(events, done, EVENT_LEN), event)?;
            done = done.saturating_add(1);
        }
        Ok(abi::put_u32(memory, fired, done)?)
    }
}
