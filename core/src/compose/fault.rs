//! Calls that fail on purpose: "this write says that the disk is full", for testing programs.
//!
//! A [`Fault`] is a rule: which calls it meets, when it strikes, what happens then. [`Faults`] is a list of them over a
//! filesystem; the first one that strikes decides.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::str::FromStr;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use globset::{GlobBuilder, GlobMatcher};

use super::watch::{Args, Done, Op, OpKind, Watched, Watcher};
use crate::checked::{to_u64, to_usize};
use crate::errno::Errno;
use crate::error::{Error, Result};
use crate::fs::FileSystem;
use crate::size::Size;

/// A rule. Written as `key=value` pairs, separated by commas:
///
/// | key | value | without it |
/// |---|---|---|
/// | `op` | kinds of calls, separated by `\|`: the words of [`OpKind`], `change` for all that change the tree | all |
/// | `path` | a glob: `*` within a name, `**` across, `?`, `[…]`, `{a,b}` | everything |
/// | `error` | a name like `ENOSPC` | `EIO`, unless `short` or `delay` is given |
/// | `short` | at most so many bytes are read or written by a call | |
/// | `delay` | how long a call waits first, like `50ms` | |
/// | `nth` | only the so-manieth call met, from 1 | every one |
/// | `after_bytes` | only when so many bytes were read or written by calls met; the call that crosses it is cut there | at once |
/// | `times` | at most so often | for ever |
/// | `probability` | 0 to 1 | 1 |
/// | `seed` | for `probability` | 0 |
///
/// For example `op=write,path=/var/**,after_bytes=10MiB,error=ENOSPC`.
#[derive(Clone, Debug)]
pub struct Fault {
    ops: Vec<OpKind>,
    path: Option<GlobMatcher>,
    error: Option<Errno>,
    short: Option<usize>,
    delay: Option<Duration>,
    nth: Option<u64>,
    after_bytes: Option<u64>,
    times: Option<u64>,
    probability: f64,
    seed: u64,
}

/// What is wrong with a fault specification.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct FaultError {
    key: String,
    problem: String,
}

impl Default for Fault {
    /// Every call, always: `EIO`.
    fn default() -> Self {
        Self {
            ops: OpKind::ALL.to_vec(),
            path: None,
            error: None,
            short: None,
            delay: None,
            nth: None,
            after_bytes: None,
            times: None,
            probability: 1.0,
            seed: 0,
        }
    }
}

impl Fault {
    /// Sets one of the keys.
    ///
    /// # Errors
    /// For an unknown key, and a value that does not fit it.
    pub fn set(&mut self, key: &str, value: &str) -> core::result::Result<(), FaultError> {
        let value = value.trim();
        self.put(key, value).map_err(|problem| FaultError { key: key.to_owned(), problem })
    }

    /// Whether it strikes whenever it could: it is left to no chance.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        self.probability >= 1.0
    }

    fn put(&mut self, key: &str, value: &str) -> core::result::Result<(), String> {
        match key {
            "op" => self.ops = kinds(value)?,
            "path" => {
                // `/var` without a slash in front would never match.
                let glob = if value.starts_with('/') { value.to_owned() } else { format!("/{value}") };
                let glob = GlobBuilder::new(&glob).literal_separator(true).build();
                self.path = Some(glob.map_err(|error| error.to_string())?.compile_matcher());
            }
            "error" => {
                let unknown = || format!("{value:?} is no error known here; write it like ENOSPC");
                self.error = Some(Errno::from_name(value).ok_or_else(unknown)?);
            }
            "short" => self.short = Some(to_usize(size(value)?).unwrap_or(usize::MAX)),
            "delay" => self.delay = Some(humantime::parse_duration(value).map_err(|error| error.to_string())?),
            "nth" => self.nth = Some(number(value).and_then(at_least_one)?),
            "after_bytes" => self.after_bytes = Some(size(value)?),
            "times" => self.times = Some(number(value)?),
            "probability" => {
                let in_range = |share: &f64| (0.0..=1.0).contains(share);
                let share = value.parse().ok().filter(in_range);
                self.probability = share.ok_or_else(|| format!("{value:?} is not between 0 and 1"))?;
            }
            "seed" => self.seed = number(value)?,
            _ => {
                return Err(format!(
                    "no such key; there are op, path, error, short, delay, nth, after_bytes, times, probability, seed \
                     (in {value:?})"
                ));
            }
        }
        Ok(())
    }

    fn meets(&self, op: &Op<'_>) -> bool {
        let matches = |path: &[u8]| self.path.as_ref().is_none_or(|glob| glob.is_match(OsStr::from_bytes(path)));
        let to = match op.args {
            Args::To(to) | Args::Rename(to, _) => Some(to),
            _ => None,
        };
        self.ops.contains(&op.kind) && (matches(op.path) || to.is_some_and(matches))
    }

    /// What is answered when it strikes, if anything but a delay or a short count.
    fn errno(&self) -> Option<Errno> {
        self.error.or_else(|| (self.short.is_none() && self.delay.is_none()).then_some(Errno::Io))
    }
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(spec: &str) -> core::result::Result<Self, FaultError> {
        let mut fault = Self::default();
        for pair in split(spec) {
            let no_value = || FaultError { key: pair.trim().to_owned(), problem: "expected key=value".to_owned() };
            let (key, value) = pair.split_once('=').ok_or_else(no_value)?;
            fault.set(key.trim(), value)?;
        }
        Ok(fault)
    }
}

/// Splits at the commas that are not inside of the braces of a glob.
fn split(spec: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_u32;
    spec.split(move |character| {
        match character {
            '{' => depth = depth.saturating_add(1),
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        character == ',' && depth == 0
    })
}

fn kinds(value: &str) -> core::result::Result<Vec<OpKind>, String> {
    let mut kinds = Vec::new();
    for word in value.split('|').map(str::trim) {
        match (word, OpKind::from_word(word)) {
            ("change", _) => kinds.extend(OpKind::ALL.iter().filter(|kind| kind.changes())),
            (_, Some(kind)) => kinds.push(kind),
            _ => {
                let words: Vec<&str> = OpKind::ALL.iter().map(|kind| kind.word()).collect();
                return Err(format!("{word:?} is no kind of call; there are change, {}", words.join(", ")));
            }
        }
    }
    Ok(kinds)
}

fn size(value: &str) -> core::result::Result<u64, String> {
    value.parse().map(|Size(bytes)| bytes)
}

fn number(value: &str) -> core::result::Result<u64, String> {
    value.parse().map_err(|_| format!("{value:?} is not a number"))
}

fn at_least_one(number: u64) -> core::result::Result<u64, String> {
    if number == 0 { Err("counts from 1".to_owned()) } else { Ok(number) }
}

/// Rules, and what they met so far.
#[derive(Debug)]
pub struct Faults {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    fault: Fault,
    /// Calls met.
    calls: AtomicU64,
    /// Bytes read or written by them.
    bytes: AtomicU64,
    /// How often it struck.
    struck: AtomicU64,
    random: AtomicU64,
}

/// What becomes of a call.
enum Strike {
    No,
    /// It goes on with at most so many bytes.
    Cut(usize),
    Fail(Errno),
}

impl Faults {
    /// These rules. The first that strikes decides; delays of earlier ones count too.
    #[must_use]
    pub fn new(faults: impl IntoIterator<Item = Fault>) -> Self {
        let rule = |fault: Fault| Rule {
            random: AtomicU64::new(fault.seed),
            fault,
            calls: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            struck: AtomicU64::new(0),
        };
        Self { rules: faults.into_iter().map(rule).collect() }
    }

    /// `fs` with these faults.
    #[must_use]
    pub fn over(self, fs: Arc<dyn FileSystem>) -> Watched {
        Watched::new(fs, Arc::new(self))
    }

    /// How often each rule struck, in their order.
    pub fn struck(&self) -> impl Iterator<Item = u64> + '_ {
        self.rules.iter().map(|rule| rule.struck.load(Ordering::Relaxed))
    }
}

impl Rule {
    /// What this rule does to a call that it meets. Concurrent calls may meet it in any order.
    fn strike(&self, op: &Op<'_>) -> Strike {
        let call = self.calls.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if self.fault.nth.is_some_and(|nth| nth != call) {
            return Strike::No;
        }
        if let Some(after) = self.fault.after_bytes {
            let left = after.saturating_sub(self.bytes.load(Ordering::Relaxed));
            let len = match op.args {
                Args::Read(_, len) | Args::Write(_, len) => to_u64(len),
                _ => 0,
            };
            if left > 0 {
                // Not reached yet, or in the middle of this call: it does what fits.
                return if len > left { Strike::Cut(to_usize(left).unwrap_or(usize::MAX)) } else { Strike::No };
            }
        }
        if self.fault.probability < 1.0 && self.roll() >= self.fault.probability {
            return Strike::No;
        }
        let may = |struck: u64| self.fault.times.is_none_or(|times| struck < times).then(|| struck.saturating_add(1));
        if self.struck.try_update(Ordering::Relaxed, Ordering::Relaxed, may).is_err() {
            return Strike::No;
        }
        if let Some(delay) = self.fault.delay {
            std::thread::sleep(delay);
        }
        match (self.fault.errno(), self.fault.short) {
            (Some(errno), _) => Strike::Fail(errno),
            (None, Some(short)) => Strike::Cut(short),
            (None, None) => Strike::No,
        }
    }

    /// A repeatable number from 0 to 1 (splitmix64).
    fn roll(&self) -> f64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut bits = self.random.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // The upper 32 bits are plenty, and exact in a float.
        let upper = u32::try_from((bits ^ (bits >> 31)) >> 32).unwrap_or(u32::MAX);
        f64::from(upper) / (f64::from(u32::MAX) + 1.0)
    }
}

impl Watcher for Faults {
    fn watches(&self, kind: OpKind) -> bool {
        self.rules.iter().any(|rule| rule.fault.ops.contains(&kind))
    }

    fn before(&self, op: &Op<'_>) -> Result<usize> {
        let mut max = usize::MAX;
        for rule in self.rules.iter().filter(|rule| rule.fault.meets(op)) {
            match rule.strike(op) {
                Strike::No => {}
                Strike::Cut(len) => max = max.min(len),
                Strike::Fail(errno) => return Err(errno.into()),
            }
        }
        Ok(max)
    }

    fn after(&self, op: &Op<'_>, result: core::result::Result<Done<'_>, &Error>, _took: Duration) {
        let (OpKind::Read | OpKind::Write, Ok(Done::Count(count))) = (op.kind, result) else { return };
        for rule in self.rules.iter().filter(|rule| rule.fault.after_bytes.is_some() && rule.fault.meets(op)) {
            rule.bytes.fetch_add(count, Ordering::Relaxed);
        }
    }
}
