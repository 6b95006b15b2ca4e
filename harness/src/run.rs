//! Many cases on all cores, with what happens told as it happens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::case::{Case, CaseId};
use crate::check::{Mismatch, check};
use crate::crash;
use crate::diagnostic::Diagnostic;
use crate::engine::{CannotRun, Engine};
use crate::inject::{self, Inject};
use crate::snapshot::Update;

/// How to run cases.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// Cases at a time.
    pub jobs: usize,
    /// How often a failing case is tried again, if it does not say itself.
    pub retries: u32,
    /// Starts no further case after the first failure.
    pub fail_fast: bool,
    /// What to do with snapshots that differ.
    pub update: Update,
    /// Failures to try on each case that passes.
    pub inject: Option<Inject>,
    /// A case that runs longer is said to be slow, each time as much has passed again.
    pub slow: Duration,
    /// Set from outside, by the handler of a signal for example: no further case is started, and those that run are
    /// given up after [`GRACE`].
    pub stop: Arc<AtomicBool>,
}

impl Default for RunConfig {
    /// A job a core, no retries, all cases, snapshots as the environment says, slow from 10 seconds on.
    fn default() -> Self {
        Self {
            jobs: thread::available_parallelism().map_or(1, usize::from),
            retries: 0,
            fail_fast: false,
            update: Update::from_env(),
            inject: None,
            slow: Duration::from_secs(10),
            stop: Arc::default(),
        }
    }
}

/// How long running cases may go on after the run was stopped.
pub const GRACE: Duration = Duration::from_millis(500);

/// How often the run looks at [`RunConfig::stop`].
const TICK: Duration = Duration::from_millis(50);

/// What became of a case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// All is as expected.
    Passed,
    /// The program did something else.
    Failed(Vec<Mismatch>),
    /// The case could not be run.
    Broken(String),
    /// It was left out, for this reason.
    Skipped(String),
    /// The run was stopped while it ran, or before.
    Interrupted,
}

impl Verdict {
    /// Whether the run fails with it.
    #[must_use]
    pub const fn is_failure(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Broken(_) | Self::Interrupted)
    }
}

/// A case and what became of it.
#[derive(Clone, Debug)]
pub struct CaseResult {
    /// Which case.
    pub id: CaseId,
    /// What became of it, in the end.
    pub verdict: Verdict,
    /// How long the last attempt took.
    pub time: Duration,
    /// Attempts before that failed.
    pub failed_attempts: u32,
    /// What the last attempt wrote to standard output; empty if it passed.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error; empty if it passed.
    pub stderr: Vec<u8>,
    /// What it changed, if it failed.
    pub diff: String,
    /// What was tried besides running it.
    pub tried: Tried,
}

/// What was tried besides running a case.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tried {
    /// States after power cuts that were checked.
    pub states: usize,
    /// How many there are.
    pub states_of: usize,
    /// Runs in which a call failed.
    pub faults: usize,
    /// How many calls there are that could.
    pub faults_of: usize,
}

impl CaseResult {
    /// Nothing is known but the verdict.
    fn of(id: &CaseId, verdict: Verdict) -> Self {
        Self {
            id: id.clone(),
            verdict,
            time: Duration::ZERO,
            failed_attempts: 0,
            stdout: Vec::new(),
            stderr: Vec::new(),
            diff: String::new(),
            tried: Tried::default(),
        }
    }

    /// Whether it passed only after it was tried again.
    #[must_use]
    pub fn is_flaky(&self) -> bool {
        self.failed_attempts > 0 && self.verdict == Verdict::Passed
    }
}

/// What happens in a run.
#[derive(Debug)]
pub enum Event<'a> {
    /// A case was started.
    Started(&'a CaseId),
    /// A case has been running for this long.
    Slow(&'a CaseId, Duration),
    /// A case failed and is tried again; which attempt failed, from 1 on.
    Retrying(&'a CaseId, u32),
    /// A case is done.
    Done(&'a CaseResult),
}

/// What came out of a run.
#[derive(Clone, Debug, Default)]
pub struct RunReport {
    /// What became of each case, in the order of the cases.
    pub results: Vec<CaseResult>,
    /// How long it all took.
    pub time: Duration,
    /// Whether it was stopped from outside.
    pub interrupted: bool,
}

impl RunReport {
    /// How many cases have such a verdict.
    pub fn count(&self, is: impl Fn(&CaseResult) -> bool) -> usize {
        self.results.iter().filter(|result| is(result)).count()
    }

    /// The same with files that could not be read as cases that could not be run: who reads a report should not think
    /// that all is well.
    #[must_use]
    pub fn with_mistakes(&self, mistakes: &[Diagnostic]) -> Self {
        let broken = |mistake: &Diagnostic| {
            let file = mistake.path().to_owned();
            let line = mistake.position().map_or(0, |(line, _)| line);
            let group = file.with_extension("").to_string_lossy().into_owned();
            let id = CaseId { group, name: String::new(), file, line };
            CaseResult::of(&id, Verdict::Broken(mistake.to_string()))
        };
        let results = mistakes.iter().map(broken).chain(self.results.iter().cloned()).collect();
        Self { results, ..*self }
    }

    /// Whether nothing failed and nothing was interrupted.
    #[must_use]
    pub fn is_success(&self) -> bool {
        !self.interrupted && !self.results.iter().any(|result| result.verdict.is_failure())
    }
}

/// What a worker tells.
enum Message {
    Started(usize),
    Retrying(usize, u32),
    Done(usize, Box<CaseResult>),
}

/// How a case is run.
#[derive(Clone, Copy, Debug)]
pub struct CaseConfig<'a> {
    /// What to do with snapshots that differ.
    pub update: Update,
    /// Failures to try on a case that passes.
    pub inject: Option<&'a Inject>,
    /// States after power cuts that are checked at a time.
    pub lanes: usize,
}

/// Bytes of a program's output that are kept of a case that fails.
const KEPT_MAX: usize = 64 << 10;

/// Runs one case and compares what comes out, once.
#[must_use]
pub fn run_case(engine: &Engine, case: &Case, config: CaseConfig<'_>) -> CaseResult {
    let started = Instant::now();
    let mut result = CaseResult::of(&case.id, Verdict::Passed);
    if let Some(reason) = &case.skip {
        result.verdict = Verdict::Skipped(reason.clone());
        return result;
    }
    if let Err(error) = run_into(&mut result, engine, case, config) {
        result.verdict = Verdict::Broken(error.to_string());
    }
    result.time = started.elapsed();
    result
}

fn run_into(result: &mut CaseResult, engine: &Engine, case: &Case, config: CaseConfig<'_>) -> Result<(), CannotRun> {
    let (ran, recording) = match &case.crash {
        None => (engine.run(case)?, None),
        Some(_) => {
            let (ran, recording) = crash::record(engine, case)?;
            (ran, Some(recording))
        }
    };
    let mut mismatches = check(case, &ran, config.update);
    mismatches.extend(ran.idle_faults.iter().map(|number| Mismatch {
        what: format!("fault {number} of the case never struck"),
        detail: "The program makes no such call. `mountless run --trace -` shows those that it makes.".to_owned(),
    }));
    if mismatches.is_empty() {
        if let (Some(crash), Some(recording)) = (&case.crash, &recording) {
            let explored = crash::explore(engine, case, crash, (&ran, recording), config.lanes)?;
            result.tried.states = explored.states;
            result.tried.states_of = explored.of;
            mismatches.extend(explored.failure);
        }
        if let (true, Some(inject)) = (mismatches.is_empty(), config.inject) {
            let injected = inject::inject(engine, case, inject)?;
            result.tried.faults = injected.runs;
            result.tried.faults_of = injected.of;
            mismatches.extend(injected.mismatches);
        }
    } else {
        // Best effort: the verdict is there already.
        result.diff = kept_text(ran.diff().unwrap_or_default());
        result.stdout = kept(ran.stdout);
        result.stderr = kept(ran.stderr);
    }
    if !mismatches.is_empty() {
        let bounded = |mismatch: Mismatch| Mismatch { detail: kept_text(mismatch.detail), ..mismatch };
        result.verdict = Verdict::Failed(mismatches.into_iter().map(bounded).collect());
    }
    Ok(())
}

/// The end of what a program wrote: reports of thousands of failures are to fit into memory.
fn kept(bytes: Vec<u8>) -> Vec<u8> {
    match bytes.len().checked_sub(KEPT_MAX) {
        None | Some(0) => bytes,
        Some(cut) => {
            let mut text = format!("… {cut} bytes before\n").into_bytes();
            text.extend_from_slice(bytes.get(cut..).unwrap_or_default());
            text
        }
    }
}

fn kept_text(text: String) -> String {
    if text.len() <= KEPT_MAX { text } else { String::from_utf8_lossy(&kept(text.into_bytes())).into_owned() }
}

/// Runs cases, telling `observe` what happens as it happens, in this thread.
///
/// Programs that are still running when the run is stopped are left behind on their threads, which end with their time
/// limit or with the process.
pub fn run_cases(
    engine: &Arc<Engine>,
    cases: Vec<Case>,
    config: &RunConfig,
    mut observe: impl FnMut(Event<'_>),
) -> RunReport {
    let started = Instant::now();
    let cases = Arc::new(cases);
    let next = Arc::new(AtomicUsize::new(0));
    let halt = Arc::new(AtomicBool::new(false));
    let (tell, told) = mpsc::channel();
    let workers = config.jobs.clamp(1, cases.len().max(1));
    // Cores that no case is for help the others.
    let lanes = (config.jobs / workers).max(1);
    for _ in 0..workers {
        let (engine, cases, next) = (Arc::clone(engine), Arc::clone(&cases), Arc::clone(&next));
        let (halt, stop, tell) = (Arc::clone(&halt), Arc::clone(&config.stop), tell.clone());
        let (retries, update, inject) = (config.retries, config.update, config.inject.clone());
        thread::spawn(move || {
            let config = CaseConfig { update, inject: inject.as_ref(), lanes };
            while !halt.load(Ordering::Relaxed) && !stop.load(Ordering::Relaxed) {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(case) = cases.get(at) else { break };
                if work(&engine, case, at, case.retries.unwrap_or(retries), config, &tell).is_none() {
                    break;
                }
            }
        });
    }
    drop(tell);

    let mut results: Vec<Option<CaseResult>> = vec![None; cases.len()];
    // When each running case began, and how often it was said to be slow.
    let mut running: BTreeMap<usize, (Instant, u32)> = BTreeMap::new();
    let mut give_up: Option<Instant> = None;
    loop {
        let message = told.recv_timeout(TICK);
        let now = Instant::now();
        if config.stop.load(Ordering::Relaxed) && give_up.is_none() {
            give_up = now.checked_add(GRACE);
        }
        match message {
            Ok(Message::Started(at)) => {
                running.insert(at, (now, 0));
                if let Some(case) = cases.get(at) {
                    observe(Event::Started(&case.id));
                }
            }
            Ok(Message::Retrying(at, attempt)) => {
                if let Some(case) = cases.get(at) {
                    observe(Event::Retrying(&case.id, attempt));
                }
            }
            Ok(Message::Done(at, result)) => {
                running.remove(&at);
                observe(Event::Done(&result));
                if config.fail_fast && result.verdict.is_failure() {
                    halt.store(true, Ordering::Relaxed);
                }
                if let Some(place) = results.get_mut(at) {
                    *place = Some(*result);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        for (&at, (since, warnings)) in &mut running {
            let time = now.saturating_duration_since(*since);
            if time >= config.slow.saturating_mul(warnings.saturating_add(1)) && !config.slow.is_zero() {
                *warnings = warnings.saturating_add(1);
                if let Some(case) = cases.get(at) {
                    observe(Event::Slow(&case.id, time));
                }
            }
        }
        if give_up.is_some_and(|at| at <= now) {
            break;
        }
    }

    let interrupted = give_up.is_some();
    let mut report = RunReport { results: Vec::new(), time: started.elapsed(), interrupted };
    for (at, (case, result)) in cases.iter().zip(results).enumerate() {
        let left = |verdict| CaseResult {
            time: running.get(&at).map_or(Duration::ZERO, |(since, _)| since.elapsed()),
            ..CaseResult::of(&case.id, verdict)
        };
        report.results.push(match result {
            Some(result) => result,
            None if running.contains_key(&at) => {
                let result = left(Verdict::Interrupted);
                observe(Event::Done(&result));
                result
            }
            None => left(Verdict::Skipped(
                if interrupted { "the run was interrupted" } else { "an earlier case failed" }.to_owned(),
            )),
        });
    }
    report
}

/// Runs a case as often as it takes. `None` if nobody listens any more.
fn work(
    engine: &Engine,
    case: &Case,
    at: usize,
    retries: u32,
    config: CaseConfig<'_>,
    tell: &mpsc::Sender<Message>,
) -> Option<()> {
    tell.send(Message::Started(at)).ok()?;
    let mut failed_attempts = 0;
    let result = loop {
        let result = run_case(engine, case, config);
        if !matches!(result.verdict, Verdict::Failed(_)) || failed_attempts >= retries {
            break CaseResult { failed_attempts, ..result };
        }
        failed_attempts = failed_attempts.saturating_add(1);
        tell.send(Message::Retrying(at, failed_attempts)).ok()?;
    };
    tell.send(Message::Done(at, Box::new(result))).ok()
}
