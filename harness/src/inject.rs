//! A case again and again, each time with another call on the file system failing: a program should then do its job all
//! the same, or say that it could not. It should not hang, crash, or claim that all is well.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mountless::compose::watch::{Args, Done, Op, OpKind, Watched, Watcher};
use mountless::fs::FileSystem;
use mountless::name::escape;
use mountless::{Errno, Error};
use mountless_wasi::run::Outcome;

use crate::case::{Case, End, Expect};
use crate::check::{Mismatch, check, excerpt, shown};
use crate::crash::complaint;
use crate::engine::{CannotRun, Engine, Ran, Variation};
use crate::snapshot::Update;
use crate::trap::readable;

/// Runs that a case is repeated at most.
const RUNS_MAX: usize = 1000;

/// Wrong ones that are told in full.
const TOLD_MAX: usize = 10;

/// Which failures to try.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inject(Vec<Failure>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Failure {
    Errno(Errno),
    /// Half of what should be read or written.
    Short,
}

impl Inject {
    const WORDS: [(&str, Failure); 4] = [
        ("ENOSPC", Failure::Errno(Errno::NoSpace)),
        ("EIO", Failure::Errno(Errno::Io)),
        ("EACCES", Failure::Errno(Errno::Access)),
        ("short", Failure::Short),
    ];
}

impl FromStr for Inject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut failures = Vec::new();
        for word in text.split(',').map(str::trim) {
            match Self::WORDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word)) {
                Some((_, failure)) => failures.push(*failure),
                None if word == "all" => failures.extend(Self::WORDS.map(|(_, failure)| failure)),
                None => return Err(format!("{word:?} is no failure; write all, or some of ENOSPC,EIO,EACCES,short")),
            }
        }
        Ok(Self(failures))
    }
}

impl Failure {
    /// Whether a call of this kind can fail so, on a file system that works and on one that does not.
    fn fits(self, kind: OpKind, len: usize) -> bool {
        use OpKind as K;
        match self {
            Self::Errno(Errno::NoSpace) => matches!(
                kind,
                K::Create | K::Link | K::Rename | K::Write | K::SetAttr | K::Allocate | K::SetXattr | K::Sync
            ),
            Self::Errno(Errno::Access) => matches!(
                kind,
                K::Lookup | K::ReadDir | K::Create | K::Link | K::Unlink | K::RemoveDir | K::Rename | K::SetAttr
            ),
            Self::Errno(_) => true,
            Self::Short => matches!(kind, K::Read | K::Write) && len > 1,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Errno(errno) => errno.name(),
            Self::Short => "only half of it",
        }
    }
}

/// What calls of one kind there were on one path.
#[derive(Clone, Debug)]
struct Calls {
    kind: OpKind,
    path: Vec<u8>,
    count: u64,
    /// Most bytes to read or write at once.
    len: usize,
}

/// Notes which calls there are.
#[derive(Debug, Default)]
struct Inventory(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    /// In the order in which the first of each was made.
    calls: Vec<Calls>,
    places: HashMap<(OpKind, Vec<u8>), usize>,
}

impl Watcher for Inventory {
    fn watches(&self, _: OpKind) -> bool {
        true
    }

    fn before(&self, op: &Op<'_>) -> mountless::Result<usize> {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Noted { calls, places } = &mut *noted;
        let at = *places.entry((op.kind, op.path.to_vec())).or_insert(calls.len());
        if at == calls.len() {
            calls.push(Calls { kind: op.kind, path: op.path.to_vec(), count: 0, len: 0 });
        }
        if let Some(calls) = calls.get_mut(at) {
            calls.count = calls.count.saturating_add(1);
            calls.len = calls.len.max(len_of(op));
        }
        Ok(usize::MAX)
    }

    fn after(&self, _: &Op<'_>, _: Result<Done<'_>, &Error>, _: Duration) {}
}

fn len_of(op: &Op<'_>) -> usize {
    match op.args {
        Args::Read(_, len) | Args::Write(_, len) => len,
        _ => 0,
    }
}

/// Lets one call fail.
#[derive(Debug)]
struct Strike {
    kind: OpKind,
    path: Vec<u8>,
    /// From 1 on.
    nth: u64,
    failure: Failure,
    met: AtomicU64,
    struck: AtomicBool,
}

impl Watcher for Strike {
    fn watches(&self, kind: OpKind) -> bool {
        // Lookups too, whatever fails: the calls are to be the same as when they were counted.
        kind == self.kind || kind == OpKind::Lookup
    }

    fn before(&self, op: &Op<'_>) -> mountless::Result<usize> {
        if op.kind != self.kind || op.path != self.path {
            return Ok(usize::MAX);
        }
        if self.met.fetch_add(1, Ordering::Relaxed).saturating_add(1) != self.nth {
            return Ok(usize::MAX);
        }
        self.struck.store(true, Ordering::Relaxed);
        match self.failure {
            Failure::Errno(errno) => Err(errno.into()),
            Failure::Short => Ok((len_of(op) / 2).max(1)),
        }
    }

    fn after(&self, _: &Op<'_>, _: Result<Done<'_>, &Error>, _: Duration) {}
}

impl Strike {
    fn describe(&self) -> String {
        let which = match self.nth {
            1 => String::new(),
            nth => format!(" no. {nth}"),
        };
        format!("{} of {}{which}: {}", self.kind.word(), escape(&self.path), self.failure.word())
    }
}

/// What became of the failures.
#[derive(Debug, Default)]
pub(crate) struct Injected {
    /// Runs with a failure that struck.
    pub(crate) runs: usize,
    /// Failures that there are to try.
    pub(crate) of: usize,
    /// What went wrong.
    pub(crate) mismatches: Vec<Mismatch>,
}

/// Runs a case that passes once for each call that can fail.
pub(crate) fn inject(engine: &Engine, case: &Case, inject: &Inject) -> Result<Injected, CannotRun> {
    let inventory = Arc::new(Inventory::default());
    let watching = Arc::clone(&inventory);
    let ran = run(engine, case, watching, None)?;
    // A small program is given a moment, a large one some times of what it took.
    let time = ran.time.saturating_mul(20).clamp(Duration::from_secs(2), case.limits.time.max(Duration::from_secs(2)));
    let calls = inventory.0.lock().unwrap_or_else(PoisonError::into_inner).calls.clone();
    let mut strikes = Vec::new();
    for calls in &calls {
        for &failure in inject.0.iter().filter(|failure| failure.fits(calls.kind, calls.len)) {
            // The first time and the last one: programs that check the former may forget the latter.
            for nth in if calls.count > 1 { vec![1, calls.count] } else { vec![1] } {
                let (met, struck) = (AtomicU64::new(0), AtomicBool::new(false));
                strikes.push(Strike { kind: calls.kind, path: calls.path.clone(), nth, failure, met, struck });
            }
        }
    }
    let mut injected = Injected { of: strikes.len(), ..Injected::default() };
    let step = strikes.len().div_ceil(RUNS_MAX).max(1);
    let mut untold: usize = 0;
    for strike in strikes.into_iter().step_by(step) {
        let strike = Arc::new(strike);
        let ran = run(engine, case, Arc::clone(&strike) as Arc<dyn Watcher>, Some(time))?;
        if !strike.struck.load(Ordering::Relaxed) {
            continue;
        }
        injected.runs = injected.runs.saturating_add(1);
        let Some((what, detail)) = judged(engine, case, &ran, time)? else { continue };
        if injected.mismatches.len() < TOLD_MAX {
            let what = format!("{what} when a call fails: {}", strike.describe());
            injected.mismatches.push(Mismatch { what, detail });
        } else {
            untold = untold.saturating_add(1);
        }
    }
    if untold > 0 {
        let what = format!("and {untold} more failing calls that it does not cope with");
        injected.mismatches.push(Mismatch { what, detail: String::new() });
    }
    Ok(injected)
}

fn run(engine: &Engine, case: &Case, watcher: Arc<dyn Watcher>, time: Option<Duration>) -> Result<Ran, CannotRun> {
    let put_over = move |tree: Arc<dyn FileSystem>, _: &_| -> Arc<dyn FileSystem> {
        Arc::new(Watched::new(tree, Arc::clone(&watcher)))
    };
    engine.run_varied(case, &Variation { put_over: Some(Box::new(put_over)), time, repeats: true })
}

/// What is wrong with a run in which a call failed, and the particulars.
fn judged(
    engine: &Engine,
    case: &Case,
    ran: &Ran,
    time: Duration,
) -> Result<Option<(&'static str, String)>, CannotRun> {
    match &ran.outcome {
        Outcome::TimedOut | Outcome::OutOfFuel => {
            let took = humantime::format_duration(time);
            return Ok(Some(("it hangs", format!("It was still running after {took}."))));
        }
        Outcome::Trapped(message) => {
            // What it said last tells more than the trap.
            let stderr = shown(&ran.stderr);
            let told = [readable(message), excerpt(stderr.trim())];
            let told: Vec<String> = told.into_iter().filter(|text| !text.is_empty()).collect();
            return Ok(Some(("it crashes", told.join("\n"))));
        }
        Outcome::Exited(_) => {}
    }
    let claims_success = ran.outcome == Outcome::Exited(0);
    if claims_success && matches!(&case.expect.end, End::Codes(codes) if codes.contains(&0)) {
        // It may say on standard error how it coped.
        let expect = Expect { stderr: None, ..case.expect.clone() };
        let case = Case { expect, faults: Vec::new(), ..case.clone() };
        if let Some(Mismatch { what, detail }) = check(&case, ran, Update::No).into_iter().next() {
            return Ok(Some(("it claims success, but is wrong,", format!("{what}\n{detail}"))));
        }
    }
    Ok(complaint(engine, case, ran)?.map(|complaint| ("it leaves what is wrong", complaint)))
}
