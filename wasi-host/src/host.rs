//! What a guest gets besides files: arguments, environment, clocks, random bytes and the three standard streams.
//!
//! [`Host`] is what the preview 1 calls ask for, free of engine and async. `CtxHost` answers from an ordinary
//! `WasiCtx`, in the order and with the values that wasmtime-wasi itself would use.

#[cfg(feature = "engine")]
mod ctx;
#[cfg(feature = "engine")]
mod wait;

use std::time::{Duration, Instant};

use mountless::errno::Errno;
use mountless::error::Error;
use mountless::limits::FILE_SIZE_MAX;

#[cfg(feature = "engine")]
pub use self::ctx::CtxHost;
#[cfg(feature = "engine")]
pub(crate) use self::wait::outside_of_runtimes;

/// A clock of preview 1 that we have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Clock {
    /// Time since 1970.
    Realtime,
    /// Time since some point in the past, never going back.
    Monotonic,
}

/// A standard stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stdio {
    /// Standard input.
    In,
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// How long a call may wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// Not at all: `EAGAIN`.
    Never,
    /// As long as it takes, or until the guest's time is up: [`Stop::TimedOut`].
    Until(Option<Instant>),
}

/// Why a guest does not go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// It asked to exit with this code.
    Exit(u32),
    /// Its time is up.
    TimedOut,
}

/// Why a call did not succeed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fail {
    /// For the guest to handle.
    Errno(Errno),
    /// The guest does not get control back.
    Stop(Stop),
}

impl From<Errno> for Fail {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<Error> for Fail {
    #[inline]
    fn from(error: Error) -> Self {
        if error == Errno::Io {
            report(&error);
        }
        Self::Errno(error.errno())
    }
}

/// The guest learns `EIO`; where the image is damaged only the log can say.
#[cold]
pub(crate) fn report(error: &Error) {
    match error.corrupt() {
        Some(corrupt) => tracing::error!(%corrupt, "damaged image"),
        None => tracing::warn!("the program is told: {error}"),
    }
}

/// Arguments or environment: strings, packed as the guest wants them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StringList {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl StringList {
    /// The strings one after the other, each ended by a NUL.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where each string starts in [`bytes`](Self::bytes).
    #[must_use]
    pub fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// Adds a string made of `parts`.
    pub fn push(&mut self, parts: &[&str]) {
        self.starts.push(self.bytes.len());
        for part in parts {
            self.bytes.extend_from_slice(part.as_bytes());
        }
        self.bytes.push(0);
    }
}

impl<S: AsRef<str>> FromIterator<S> for StringList {
    fn from_iter<I: IntoIterator<Item = S>>(strings: I) -> Self {
        let mut list = Self::default();
        for string in strings {
            list.push(&[string.as_ref()]);
        }
        list
    }
}

/// Streams to wait for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Interest {
    /// Standard input has something to read, or is at its end.
    pub stdin: bool,
    /// Standard output takes something.
    pub stdout: bool,
    /// Standard error takes something.
    pub stderr: bool,
}

impl Interest {
    /// No stream.
    pub const NONE: Self = Self { stdin: false, stdout: false, stderr: false };
}

/// How much a guest may have of what is not memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Descriptors open at once, preopens and standard streams among them; beyond it is `EMFILE`.
    pub descriptors: usize,
    /// Bytes to which the guest may make a file grow; beyond it is `EFBIG`.
    pub file_bytes: u64,
}

impl Default for Limits {
    /// 65,536 descriptors, and files of any size.
    fn default() -> Self {
        Self { descriptors: 1 << 16, file_bytes: FILE_SIZE_MAX }
    }
}

/// What a guest gets besides files.
pub trait Host: Send {
    /// The program's arguments, its name first.
    fn args(&mut self) -> &StringList;

    /// The environment, as `NAME=value`.
    fn env(&mut self) -> &StringList;

    /// The time, in nanoseconds.
    fn now(&mut self, clock: Clock) -> u64;

    /// The smallest step of a clock, in nanoseconds.
    fn resolution(&mut self, clock: Clock) -> u64;

    /// Fills `buf` with random bytes.
    ///
    /// # Errors
    /// `EIO`.
    fn fill_random(&mut self, buf: &mut [u8]) -> Result<(), Fail>;

    /// Whether a stream is a terminal.
    fn is_terminal(&mut self, stream: Stdio) -> bool;

    /// Reads standard input; 0 is its end. Returns as soon as there is something.
    ///
    /// # Errors
    /// `EAGAIN`, `EIO`.
    fn read(&mut self, buf: &mut [u8], wait: Wait) -> Result<usize, Fail>;

    /// Writes to standard output or error. All of `buf` is written and flushed if `wait` allows.
    ///
    /// # Errors
    /// `EAGAIN`, `EPIPE`, `EIO`; `EBADF` for standard input.
    fn write(&mut self, stream: Stdio, buf: &[u8], wait: Wait) -> Result<usize, Fail>;

    /// Waits until a stream of `interest` is ready or `timeout` has passed, and tells which are ready.
    ///
    /// # Errors
    /// [`Stop::TimedOut`] at `deadline`.
    fn wait(
        &mut self,
        interest: Interest,
        timeout: Option<Duration>,
        deadline: Option<Instant>,
    ) -> Result<Interest, Fail>;
}
