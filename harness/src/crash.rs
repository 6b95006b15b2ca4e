//! Power cuts: what a disk may hold after each is built from a recording of the program's writes, and checked by the
//! case's own programs. `docs/crash.md` says which states there are.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use mountless::backend::mem::MemOptions;
use mountless::compose::crash::{Change, Durability, Fate, Loss, Recorder, Recording, Replay};
use mountless::fs::FileSystem;
use mountless_wasi::run::{Deterministic, Outcome, Program};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;

use crate::case::{Case, Crash, CrashAt};
use crate::check::{Mismatch, ended, excerpt, shown};
use crate::engine::{CannotRun, Engine, Guest, Ran, Streams, Variation, over};
use crate::trap::readable;
use crate::tree::tree_diff;

/// Changes that are shown before a cut.
const SHOWN_MAX: usize = 24;

/// What became of the cuts.
#[derive(Debug, Default)]
pub(crate) struct Explored {
    /// States that were checked.
    pub(crate) states: usize,
    /// States that there are.
    pub(crate) of: usize,
    /// The first one that is wrong.
    pub(crate) failure: Option<Mismatch>,
}

/// Runs a case's program once, recording what it writes.
pub(crate) fn record(engine: &Engine, case: &Case) -> Result<(Ran, Recording), CannotRun> {
    let recorder = Mutex::new(None);
    let put_over = |tree: Arc<dyn FileSystem>, streams: &Streams| -> Arc<dyn FileSystem> {
        let stdout = streams.stdout.clone();
        let mark = move || u64::try_from(stdout.contents().len()).unwrap_or(u64::MAX);
        let made = Arc::new(Recorder::new(tree, mark));
        *recorder.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&made));
        made
    };
    let variation = Variation { put_over: Some(Box::new(put_over)), repeats: true, ..Variation::default() };
    let ran = engine.run_varied(case, &variation)?;
    drop(variation);
    let recorder = recorder.into_inner().unwrap_or_else(PoisonError::into_inner);
    let recording = recorder.map(|recorder| recorder.take()).unwrap_or_default();
    if recording.is_cut_off() {
        return Err(CannotRun::new(
            "the program writes more than power cuts can be tried on: 1 GiB or a million calls",
        ));
    }
    Ok((ran, recording))
}

/// Checks what the disk may hold after power cuts, `lanes` states at a time. `ran` is the run that was recorded.
pub(crate) fn explore(
    engine: &Engine,
    case: &Case,
    crash: &Crash,
    (ran, recording): (&Ran, &Recording),
    lanes: usize,
) -> Result<Explored, CannotRun> {
    let verifiers = verifiers(engine, case, crash, ran)?;
    let explorer = Explorer { engine, case, crash, ran, recording, verifiers, cuts: cuts(recording, crash) };
    let mut of: usize = 0;
    explorer.walk(|_, _| {
        of = of.saturating_add(1);
        Ok(())
    })?;
    let found = Found::default();
    // Every worker goes the whole way, and checks the states that are its own.
    let results: Vec<Result<(), CannotRun>> = thread::scope(|scope| {
        let (explorer, found) = (&explorer, &found);
        let workers: Vec<_> =
            (1..lanes.max(1)).map(|lane| scope.spawn(move || explorer.work(found, lane, lanes, of))).collect();
        let mut results = vec![explorer.work(found, 0, lanes.max(1), of)];
        results.extend(
            workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))),
        );
        results
    });
    results.into_iter().collect::<Result<(), _>>()?;
    let wrong = found.wrong.into_inner().unwrap_or_else(PoisonError::into_inner);
    let failure = wrong.map(|wrong| explorer.explained(wrong)).transpose()?;
    Ok(Explored { states: found.states.into_inner(), of, failure })
}

/// What the workers found.
#[derive(Debug)]
struct Found {
    states: AtomicUsize,
    /// The number of the first wrong state so far; those behind it need not be checked.
    first: AtomicUsize,
    wrong: Mutex<Option<Wrong>>,
}

impl Default for Found {
    fn default() -> Self {
        Self { states: AtomicUsize::new(0), first: AtomicUsize::new(usize::MAX), wrong: Mutex::new(None) }
    }
}

/// A state that is wrong.
#[derive(Debug)]
struct Wrong {
    number: usize,
    /// Steps before the cut.
    at: usize,
    losses: Vec<Loss>,
    complaint: String,
}

/// The programs that check, ready to run: they are compiled once, from the tree as it was at first.
fn verifiers(engine: &Engine, case: &Case, crash: &Crash, ran: &Ran) -> Result<Vec<Program>, CannotRun> {
    let tree = over(&ran.before, MemOptions::new())?;
    crash.verify.iter().map(|verify| engine.program(&verify.program, case, &tree)).collect()
}

/// After how many steps the power is cut: ascending.
fn cuts(recording: &Recording, crash: &Crash) -> Vec<usize> {
    let steps = recording.steps();
    let is_sync = |step: usize| steps.get(step).is_some_and(|step| matches!(step.change, Change::Sync(_)));
    let all = 0..=steps.len();
    match crash.at {
        // Before a sync most is at stake; behind it, less of the same.
        CrashAt::EverySync => all.filter(|&at| at == steps.len() || is_sync(at)).collect(),
        CrashAt::EveryWrite => all.filter(|&at| at == 0 || !is_sync(at.saturating_sub(1))).collect(),
        CrashAt::Sample(count) => {
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            let mut cuts: Vec<usize> = all.filter(|&at| at == 0 || !is_sync(at.saturating_sub(1))).collect();
            cuts.sort_by_key(|&at| scattered(at, crash.seed));
            cuts.truncate(count);
            cuts.sort_unstable();
            cuts
        }
    }
}

/// A number that says nothing of its origin, but is the same each time (splitmix64).
fn scattered(number: usize, seed: u64) -> u64 {
    let mut bits = u64::try_from(number).unwrap_or(u64::MAX) ^ seed.rotate_left(17);
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

struct Explorer<'a> {
    engine: &'a Engine,
    case: &'a Case,
    crash: &'a Crash,
    ran: &'a Ran,
    recording: &'a Recording,
    verifiers: Vec<Program>,
    cuts: Vec<usize>,
}

impl Explorer<'_> {
    /// Visits every state once: where the recording stands, and what is lost there.
    fn walk(&self, mut visit: impl FnMut(&Durability<'_>, &[Loss]) -> Result<(), CannotRun>) -> Result<(), CannotRun> {
        let mut durability = Durability::new(self.recording, self.crash.promises);
        let mut seen = HashSet::new();
        let mut cuts = self.cuts.iter().peekable();
        loop {
            if cuts.next_if(|&&at| at == durability.at()).is_some() {
                for losses in durability.outcomes(self.crash.random, self.crash.seed) {
                    if seen.insert(durability.fingerprint(&losses)) {
                        visit(&durability, &losses)?;
                    }
                }
            }
            if !durability.advance() {
                return Ok(());
            }
        }
    }

    /// Checks every `lanes`th state from `lane` on, `of` being all that there are.
    fn work(&self, found: &Found, lane: usize, lanes: usize, of: usize) -> Result<(), CannotRun> {
        let states_max = self.crash.states_max;
        let of = u64::try_from(of).unwrap_or(u64::MAX);
        // Evenly spread: those at which the share of all comes to a whole number more.
        let share = |number: usize| {
            let number = u128::try_from(number).unwrap_or(u128::MAX);
            number.saturating_mul(states_max.into()) / u128::from(of.max(1))
        };
        let is_taken = |number: usize| of <= states_max || share(number.saturating_add(1)) > share(number);
        let mut base = Replay::new(self.recording, over(&self.ran.before, MemOptions::new())?);
        let mut base_at: usize = 0;
        let mut next: usize = 0;
        self.walk(|durability, losses| {
            let number = next;
            next = next.saturating_add(1);
            if number % lanes != lane || !is_taken(number) || number > found.first.load(Ordering::Relaxed) {
                return Ok(());
            }
            // What is durable is there in all states to come.
            for step in base_at..durability.durable() {
                apply(&mut base, step, Fate::Kept)?;
            }
            base_at = base_at.max(durability.durable());
            let tree = state(&base, base_at..durability.at(), losses)?;
            found.states.fetch_add(1, Ordering::Relaxed);
            if let Some(complaint) = self.complaint(&tree, durability.at())? {
                found.first.fetch_min(number, Ordering::Relaxed);
                let mut wrong = found.wrong.lock().unwrap_or_else(PoisonError::into_inner);
                if wrong.as_ref().is_none_or(|earlier| number < earlier.number) {
                    *wrong = Some(Wrong { number, at: durability.at(), losses: losses.to_vec(), complaint });
                }
            }
            Ok(())
        })
    }

    /// What the first of the programs says that does not accept the tree.
    fn complaint(&self, tree: &Arc<dyn FileSystem>, at: usize) -> Result<Option<String>, CannotRun> {
        let stdin = match self.recording.steps().get(at) {
            Some(step) => self.ran.stdout.get(..usize::try_from(step.mark).unwrap_or(usize::MAX)),
            None => None,
        };
        let stdin = stdin.unwrap_or(&self.ran.stdout);
        verified(self.engine, self.case, &self.verifiers, self.crash, tree, stdin)
    }

    /// The tree after a cut, made from the beginning.
    fn tree(&self, at: usize, losses: &[Loss]) -> Result<Arc<dyn FileSystem>, CannotRun> {
        let base = Replay::new(self.recording, Arc::clone(&self.ran.before));
        state(&base, 0..at, losses)
    }

    /// The failure with as little lost as it takes, in words.
    fn explained(&self, wrong: Wrong) -> Result<Mismatch, CannotRun> {
        let Wrong { at, mut losses, mut complaint, .. } = wrong;
        let mut durability = Durability::new(self.recording, self.crash.promises);
        while durability.at() < at && durability.advance() {}
        let mut tried: usize = 0;
        while let Some(&spared) = losses.get(tried) {
            let fewer = durability.closed(losses.iter().copied().filter(|loss| *loss != spared));
            let still = match fewer.len() < losses.len() {
                true => self.complaint(&self.tree(at, &fewer)?, at)?,
                false => None,
            };
            match still {
                Some(still) => (losses, complaint) = (fewer, still),
                None => tried = tried.saturating_add(1),
            }
        }
        let tree = self.tree(at, &losses)?;
        let diff = tree_diff(&self.ran.before, &tree).unwrap_or_else(|error| format!("cannot be compared: {error}\n"));
        Ok(Mismatch { what: headline(at, &losses), detail: self.detail(at, &losses, &complaint, &diff) })
    }

    fn detail(&self, at: usize, losses: &[Loss], complaint: &str, diff: &str) -> String {
        let mut text = format!("{}\n", complaint.trim_end());
        text.push_str("what the program had done, and what of it was not on the disk:\n");
        let first = losses.first().map_or(at, |loss| loss.step).min(at.saturating_sub(SHOWN_MAX / 2));
        // OK to ignore, here and below: a String takes everything.
        if first > 0 {
            let _ = writeln!(text, "           … {first} more before");
        }
        let shown = |step: usize| step < first.saturating_add(SHOWN_MAX) || step.saturating_add(6) > at;
        for step in first..at {
            let fate = losses.iter().find(|loss| loss.step == step).map_or(Fate::Kept, |loss| loss.fate);
            let words = match fate {
                _ if !shown(step) => continue,
                Fate::Kept => "          ".to_owned(),
                Fate::Lost => "lost      ".to_owned(),
                Fate::Zeroed => "size only ".to_owned(),
                Fate::Torn(len) => format!("{len:<6}of it"),
            };
            let line = format!("{words} {} {}", step.saturating_add(1), self.recording.describe(step));
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text.push_str("           ── power cut\n");
        let diff = if diff.is_empty() { "nothing\n" } else { diff };
        let _ = writeln!(text, "what was changed on the disk:\n{}", excerpt(diff).trim_end());
        let _ = writeln!(text, "next: {}", self.advice(losses));
        text
    }

    fn advice(&self, losses: &[Loss]) -> String {
        let lost = |is: fn(&Change) -> bool| {
            losses.iter().find(|loss| self.recording.steps().get(loss.step).is_some_and(|step| is(&step.change)))
        };
        let describe = |loss: &Loss| self.recording.describe(loss.step);
        if let Some(loss) = lost(|change| matches!(change, Change::Write { .. } | Change::SetAttr { .. })) {
            format!("sync the file after `{}`, before anything relies on it (docs/crash.md)", describe(loss))
        } else if let Some(loss) = losses.first() {
            format!("sync the directory after `{}`, before anything relies on it (docs/crash.md)", describe(loss))
        } else {
            "nothing needs to be lost for this: put the new state in place with one rename (docs/crash.md)".to_owned()
        }
    }
}

fn headline(at: usize, losses: &[Loss]) -> String {
    let calls = |count: usize| if count == 1 { "1 call".to_owned() } else { format!("{count} calls") };
    let lost = if losses.is_empty() { "nothing".to_owned() } else { calls(losses.len()) };
    format!("a power cut after {}, with {lost} lost, leaves what is wrong", calls(at))
}

fn apply(replay: &mut Replay<'_>, step: usize, fate: Fate) -> Result<(), CannotRun> {
    replay.apply(step, fate).map_err(|error| CannotRun::new(format!("a power cut cannot be replayed: {error}")))
}

/// A view of `base` on which these steps were made, but for what is lost.
fn state(base: &Replay<'_>, steps: Range<usize>, losses: &[Loss]) -> Result<Arc<dyn FileSystem>, CannotRun> {
    let mut replay = base.fork(over(base.fs(), MemOptions::new())?);
    let mut losses = losses.iter().peekable();
    for step in steps {
        let fate = losses.next_if(|loss| loss.step == step).map_or(Fate::Kept, |loss| loss.fate);
        apply(&mut replay, step, fate)?;
    }
    Ok(Arc::clone(replay.fs()))
}

/// Whether an argument can be shown as it is.
fn is_plain(arg: &str) -> bool {
    !arg.is_empty() && arg.chars().all(|c| !c.is_whitespace() && !c.is_control() && c != '"')
}

/// Runs a case's verifying programs on a tree, one after the other; what the first says that does not accept it.
fn verified(
    engine: &Engine,
    case: &Case,
    programs: &[Program],
    crash: &Crash,
    tree: &Arc<dyn FileSystem>,
    stdin: &[u8],
) -> Result<Option<String>, CannotRun> {
    let namespace = engine.namespace(case, Arc::clone(tree))?;
    for (verify, program) in crash.verify.iter().zip(programs) {
        let output_max = usize::try_from(case.limits.output).unwrap_or(usize::MAX);
        let streams = Streams { stdout: MemoryOutputPipe::new(output_max), stderr: MemoryOutputPipe::new(output_max) };
        let name = verify.program.name();
        let guest = Guest {
            program,
            name: name.clone(),
            args: &verify.args,
            stdin: stdin.to_vec(),
            time: case.limits.time,
            deterministic: Some(Deterministic::new(0)),
        };
        let (outcome, _) = engine.execute(case, guest, &namespace, &streams)?;
        if outcome == Outcome::Exited(0) {
            continue;
        }
        let args = verify.args.iter().map(|arg| if is_plain(arg) { arg.clone() } else { format!("{arg:?}") });
        let words: Vec<String> = std::iter::once(name).chain(args).collect();
        let mut text = format!("{} ended with {}", words.join(" "), ended(&outcome));
        if let Outcome::Trapped(message) = &outcome {
            let _ = write!(text, "\n{}", readable(message));
        }
        for bytes in [streams.stdout.contents(), streams.stderr.contents()] {
            let said = shown(&bytes);
            if !said.trim().is_empty() {
                let _ = write!(text, "\n{}", excerpt(said.trim_end()));
            }
        }
        return Ok(Some(text));
    }
    Ok(None)
}

/// The same, once; for what faults leave.
pub(crate) fn complaint(engine: &Engine, case: &Case, ran: &Ran) -> Result<Option<String>, CannotRun> {
    let Some(crash) = &case.crash else { return Ok(None) };
    let programs = verifiers(engine, case, crash, ran)?;
    verified(engine, case, &programs, crash, &over(&ran.after, MemOptions::new())?, &ran.stdout)
}
