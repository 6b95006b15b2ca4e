//! Threads that collect the heads of entries ahead of the replay.
//!
//! The archive is cut into [segments](Segment). The replay takes one after the other; scouts fill them as far ahead as
//! [`SEGMENTS_AHEAD_MAX`]. The replay never waits for a scout, which may have lost its processor: while the segment it
//! needs is not ready it fills others, and in the end that one itself. The tree does not depend on any of this: a head
//! that nobody found is read from the image.

use alloc::vec::Vec;
use core::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::heads::{Head, Segment};
use crate::checked::to_u64;
use crate::limits::{SCOUTS_MAX, SEGMENTS_AHEAD_MAX};
use crate::source::Source;

/// When and how to look ahead.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Archives of fewer bytes are read in order.
    pub(super) archive_len_min: u64,
    /// Bytes of a segment; a multiple of every page size, so that whole pages are given back.
    pub(super) segment_len: u64,
    /// So many entries are looked at to begin with,
    pub(super) sample: u32,
    /// and must be this long at most on average: with longer ones there is little to wait for, and much to search.
    pub(super) entry_len_max: u64,
    /// Threads, that of the replay included; 0 for one for each processor, up to [`SCOUTS_MAX`].
    pub(super) threads: usize,
}

impl Plan {
    /// By `benches/open`: segments of half the length cost a tenth of the time more, those of twice the length gain
    /// nothing and keep twice the pages.
    pub(super) const DEFAULT: Self =
        Self { archive_len_min: 8 << 20, segment_len: 8 << 20, sample: 32, entry_len_max: 64 << 10, threads: 0 };

    fn suits(&self, image: &[u8]) -> bool {
        let mut at: u64 = 0;
        for _ in 0..self.sample {
            let window = usize::try_from(at).ok().and_then(|at| image.get(at..)).unwrap_or_default();
            let Ok(head) = Head::read(window) else { return false };
            at = at.saturating_add(head.entry.header.entry_len());
        }
        at <= self.entry_len_max.saturating_mul(self.sample.into())
    }
}

/// Calls `replay` while scouts run ahead, if that is worth its while; without them, it gets `None`.
pub(super) fn accompany<T>(source: &dyn Source, plan: &Plan, replay: impl FnOnce(Option<Scouted<'_>>) -> T) -> T {
    let image = source.as_slice().filter(|image| to_u64(image.len()) >= plan.archive_len_min && plan.suits(image));
    let Some(image) = image else { return replay(None) };
    let board = Board {
        image,
        source,
        segment_len: plan.segment_len.max(1),
        state: Mutex::new(State::default()),
        changed: Condvar::new(),
    };
    let threads = match plan.threads {
        0 => processors().min(SCOUTS_MAX),
        threads => threads,
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            let builder = thread::Builder::new().name("mountless-scout".into()).stack_size(STACK_LEN);
            // Without threads the replay does all itself.
            if builder.spawn_scoped(scope, || board.scout()).is_err() {
                break;
            }
        }
        // Also when the replay panics: the scope waits for the threads.
        let _stop = Stop(&board);
        replay(Some(Scouted { board: &board, end: 0, segment: Segment::default() }))
    })
}

/// Processors to be used.
fn processors() -> usize {
    // Finding out about limits on their use takes longer than beginning the one thread that it is about.
    #[cfg(target_os = "linux")]
    if let Ok(allowed @ ..=2) = rustix::thread::sched_getaffinity(None).map(|set| set.count()) {
        return usize::try_from(allowed).unwrap_or(1);
    }
    thread::available_parallelism().map_or(1, usize::from)
}

/// Bytes of stack of a scout, which calls next to nothing.
const STACK_LEN: usize = 256 << 10;

/// What the threads share.
struct Board<'a> {
    image: &'a [u8],
    source: &'a dyn Source,
    segment_len: u64,
    state: Mutex<State>,
    /// The replay has gone on, or it is over.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The segment that the replay is in or waits for.
    current: u64,
    /// The next segment that nobody has begun.
    next: u64,
    /// Segments from `current` on that somebody has begun, with what was found as soon as it is.
    begun: Vec<(u64, Option<Segment>)>,
    /// To be used again.
    spare: Vec<Segment>,
    over: bool,
}

impl State {
    /// A segment to fill, unless all that may be filled by now are.
    fn begin(&mut self, count: u64) -> Option<(u64, Segment)> {
        let number = self.next.max(self.current);
        if number >= count || number.saturating_sub(self.current) >= SEGMENTS_AHEAD_MAX {
            return None;
        }
        self.next = number.saturating_add(1);
        self.begun.push((number, None));
        Some((number, self.spare.pop().unwrap_or_default()))
    }

    /// Keeps a segment that was filled, if the replay has not passed it.
    fn finish(&mut self, number: u64, segment: Segment) {
        match self.begun.iter_mut().find(|(begun, _)| *begun == number) {
            Some((_, found)) => *found = Some(segment),
            None => self.spare.push(segment),
        }
    }

    /// What was found in a segment, if it is ready.
    fn ready(&mut self, number: u64) -> Option<Segment> {
        self.begun.iter_mut().find(|(begun, _)| *begun == number)?.1.take()
    }

    /// The replay goes on to a segment.
    fn go_on(&mut self, number: u64, last: Segment) {
        self.spare.push(last);
        self.current = number;
        let Self { begun, spare, .. } = self;
        begun.retain_mut(|(begun, found)| {
            let kept = *begun >= number;
            if !kept {
                spare.extend(found.take());
            }
            kept
        });
    }
}

impl Board<'_> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self) -> u64 {
        to_u64(self.image.len()).div_ceil(self.segment_len)
    }

    fn range(&self, number: u64) -> Range<u64> {
        let start = number.saturating_mul(self.segment_len);
        start..start.saturating_add(self.segment_len).min(to_u64(self.image.len()))
    }

    /// What a thread does: fills segments until the replay is over.
    fn scout(&self) {
        let mut state = self.state();
        while !state.over {
            match state.begin(self.count()) {
                Some((number, segment)) => {
                    drop(state);
                    self.fill(number, segment);
                    state = self.state();
                }
                None => state = self.wait(state),
            }
        }
    }

    fn fill(&self, number: u64, mut segment: Segment) {
        let range = self.range(number);
        segment.collect(self.image, range.clone());
        self.source.release(range);
        self.state().finish(number, segment);
    }
}

struct Stop<'a>(&'a Board<'a>);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.state().over = true;
        self.0.changed.notify_all();
    }
}

/// The replay's side: the heads found ahead of it.
pub(super) struct Scouted<'a> {
    board: &'a Board<'a>,
    /// The segment at hand.
    segment: Segment,
    /// Where the next one begins.
    end: u64,
}

impl Scouted<'_> {
    /// Moves to the head of the entry at `at`, if it was found. Offsets must not go down.
    pub(super) fn seek(&mut self, at: u64) -> bool {
        if at >= self.end {
            self.go_on(at / self.board.segment_len);
        }
        self.segment.seek(at)
    }

    /// The head moved to, if it is the one at `at`.
    pub(super) fn get(&self, at: u64) -> Option<Head<'_>> {
        self.segment.get(at)
    }

    fn go_on(&mut self, number: u64) {
        let board = self.board;
        let last = core::mem::take(&mut self.segment);
        let mut state = board.state();
        state.go_on(number, last);
        self.end = number.saturating_add(1).saturating_mul(board.segment_len);
        board.changed.notify_all();
        loop {
            if let Some(found) = state.ready(number) {
                self.segment = found;
                return;
            }
            state = match state.begin(board.count()) {
                Some((number, segment)) => {
                    drop(state);
                    board.fill(number, segment);
                    board.state()
                }
                // A thread that was begun and lost its processor could take long.
                None => {
                    drop(state);
                    self.segment.collect(board.image, board.range(number));
                    board.source.release(board.range(number));
                    return;
                }
            };
        }
    }
}
