//! A thread that goes from header to header of a mapped tar archive ahead of the replay, so that the replay finds them
//! in memory: half of opening a large archive is waiting for the kernel to map its pages.
//!
//! It keeps nothing, and where it loses its way it ends: the replay does not depend on it.

use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

use crate::checked::{to_u64, to_usize};
use crate::format::tar::{BLOCK, BLOCK_LEN, Header, blocks};
use crate::source::Source;

/// Archives of fewer bytes are not worth a thread.
const ARCHIVE_LEN_MIN: u64 = 8 << 20;

/// Bytes that the thread may be ahead: their pages are mapped at the same time.
const LEAD_MAX: u64 = 16 << 20;

/// Bytes after which the replay says where it is, and the thread looks.
const STEP: u64 = 256 << 10;

/// Bytes of stack of the thread, which calls next to nothing.
const STACK_LEN: usize = 256 << 10;

/// Calls `replay`, preceded by a thread if that is worth its while.
pub(super) fn preceded<T>(source: &dyn Source, replay: impl FnOnce(&mut Follower<'_>) -> T) -> T {
    let image = source.as_slice().filter(|image| to_u64(image.len()) >= ARCHIVE_LEN_MIN);
    let has_second = || thread::available_parallelism().is_ok_and(|threads| threads.get() > 1);
    let Some(image) = image.filter(|_| has_second()) else { return replay(&mut Follower { trail: None, told: 0 }) };
    let trail = Trail::default();
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("mountless-prefault".into()).stack_size(STACK_LEN);
        let is_led = builder.spawn_scoped(scope, || trail.lead(image)).is_ok();
        // Also when the replay panics: the scope waits for the thread.
        let _stop = Stop(&trail);
        replay(&mut Follower { trail: is_led.then_some(&trail), told: 0 })
    })
}

/// Where the replay is, for the thread ahead of it.
#[derive(Default)]
struct Trail {
    /// `u64::MAX` when it is over.
    followed: Mutex<u64>,
    changed: Condvar,
}

impl Trail {
    fn follow(&self, at: u64) {
        *self.followed.lock().unwrap_or_else(PoisonError::into_inner) = at;
        self.changed.notify_one();
    }

    /// Where the replay is, when it is near enough to `at`.
    fn wait(&self, at: u64) -> u64 {
        let followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        let too_far = |followed: &mut u64| at.saturating_sub(*followed) > LEAD_MAX;
        *self.changed.wait_while(followed, too_far).unwrap_or_else(PoisonError::into_inner)
    }

    /// What the thread does.
    fn lead(&self, image: &[u8]) {
        let (mut at, mut told) = (self.wait(0), 0_u64);
        loop {
            let block = to_usize(at).ok().and_then(|at| image.get(at..)?.first_chunk::<BLOCK_LEN>());
            // Reading the header is what maps it. Sizes given elsewhere, and data behind links, lead astray: then the
            // sum is wrong, as it is for the zeros at the end.
            let Some(Ok(header)) = block.map(Header::decode) else { return };
            at = at.saturating_add(BLOCK).saturating_add(blocks(header.data_len()));
            if at.saturating_sub(told) >= STEP {
                told = at;
                // Where it was overtaken, it goes on from there.
                at = at.max(self.wait(at));
            }
        }
    }
}

struct Stop<'a>(&'a Trail);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.follow(u64::MAX);
    }
}

/// The replay's side.
pub(super) struct Follower<'a> {
    trail: Option<&'a Trail>,
    told: u64,
}

impl Follower<'_> {
    /// The replay has come to the header at `at`.
    pub(super) fn tell(&mut self, at: u64) {
        if let Some(trail) = self.trail.filter(|_| at.saturating_sub(self.told) >= STEP) {
            self.told = at;
            trail.follow(at);
        }
    }
}
