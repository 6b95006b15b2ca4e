//! A [`Host`] from an ordinary `WasiCtx`.

use core::future::poll_fn;
use core::pin::Pin;
use core::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mountless::errno::Errno;
use wasmtime_wasi::cli::WasiCliCtxView;
use wasmtime_wasi::clocks::WasiClocksCtxView;
use wasmtime_wasi::p2::bindings::cli::{
    environment::Host as _, stderr::Host as _, stdin::Host as _, stdout::Host as _, terminal_stderr::Host as _,
    terminal_stdin::Host as _, terminal_stdout::Host as _,
};
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};
use wasmtime_wasi::p2::bindings::random::random::Host as _;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, StreamError};
use wasmtime_wasi::{ResourceTable, WasiCtx};

use super::wait::{block_until, outside_of_runtimes};
use super::{Clock, Fail, Host, Interest, Stdio, Stop, StringList, Wait};

/// Bytes of one read or write of a standard stream, and of one request for random bytes.
const CHUNK_LEN: usize = 64 << 10;

/// Waits in place of sleeping, on a virtual clock.
type Sleeper = Box<dyn FnMut(Duration) + Send>;

/// Arguments, environment, clocks, random bytes and standard streams of a [`WasiCtx`].
///
/// Everything is fetched on first use: a guest that reads no input costs no stream and no task. The calls block the
/// calling thread, inside an async runtime too; input that this very thread would have to drive never comes.
pub struct CtxHost {
    ctx: WasiCtx,
    table: ResourceTable,
    args: Option<StringList>,
    env: Option<StringList>,
    stdin: Option<Input>,
    stdout: Option<DynOutputStream>,
    stderr: Option<DynOutputStream>,
    sleeper: Option<Sleeper>,
}

struct Input {
    stream: DynInputStream,
    at_end: bool,
}

impl core::fmt::Debug for CtxHost {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("CtxHost").finish_non_exhaustive()
    }
}

impl CtxHost {
    /// Takes over a context. Its preopens are not used.
    #[must_use]
    pub fn new(ctx: WasiCtx) -> Self {
        Self {
            ctx,
            table: ResourceTable::new(),
            args: None,
            env: None,
            stdin: None,
            stdout: None,
            stderr: None,
            sleeper: None,
        }
    }

    /// Calls `sleeper` instead of sleeping, for contexts whose clocks are virtual: it should move them forward.
    #[must_use]
    pub fn with_sleeper(mut self, sleeper: impl FnMut(Duration) + Send + 'static) -> Self {
        self.sleeper = Some(Box::new(sleeper));
        self
    }

    fn clocks(&mut self) -> WasiClocksCtxView<'_> {
        WasiClocksCtxView { ctx: self.ctx.clocks(), table: &mut self.table }
    }

    fn cli(&mut self) -> WasiCliCtxView<'_> {
        WasiCliCtxView { ctx: self.ctx.cli(), table: &mut self.table }
    }

    fn stdin(&mut self) -> Result<&mut Input, Errno> {
        if self.stdin.is_none() {
            let stream = outside_of_runtimes(|| {
                let resource = self.cli().get_stdin()?;
                wasmtime::Result::Ok(self.table.delete(resource)?)
            });
            self.stdin = Some(Input { stream: stream.map_err(|error| broken(&error))?, at_end: false });
        }
        self.stdin.as_mut().ok_or(Errno::BadFd)
    }

    fn output(&mut self, stream: Stdio) -> Result<&mut DynOutputStream, Errno> {
        let opened = match stream {
            Stdio::In => return Err(Errno::BadFd),
            Stdio::Out => &self.stdout,
            Stdio::Err => &self.stderr,
        };
        if opened.is_none() {
            let opened = outside_of_runtimes(|| {
                let mut cli = self.cli();
                let resource = if stream == Stdio::Out { cli.get_stdout()? } else { cli.get_stderr()? };
                wasmtime::Result::Ok(self.table.delete(resource)?)
            });
            let opened = opened.map_err(|error| broken(&error))?;
            *(if stream == Stdio::Out { &mut self.stdout } else { &mut self.stderr }) = Some(opened);
        }
        if stream == Stdio::Out { &mut self.stdout } else { &mut self.stderr }.as_mut().ok_or(Errno::BadFd)
    }
}

impl Host for CtxHost {
    fn args(&mut self) -> &StringList {
        if self.args.is_none() {
            self.args = Some(self.cli().get_arguments().unwrap_or_default().iter().collect());
        }
        self.args.get_or_insert_default()
    }

    fn env(&mut self) -> &StringList {
        if self.env.is_none() {
            let mut list = StringList::default();
            for (name, value) in self.cli().get_environment().unwrap_or_default() {
                list.push(&[&name, "=", &value]);
            }
            self.env = Some(list);
        }
        self.env.get_or_insert_default()
    }

    fn now(&mut self, clock: Clock) -> u64 {
        match clock {
            Clock::Realtime => wall_clock::Host::now(&mut self.clocks()).map_or(0, nanos),
            Clock::Monotonic => monotonic_clock::Host::now(&mut self.clocks()).unwrap_or(0),
        }
    }

    fn resolution(&mut self, clock: Clock) -> u64 {
        match clock {
            Clock::Realtime => wall_clock::Host::resolution(&mut self.clocks()).map_or(1, nanos),
            Clock::Monotonic => monotonic_clock::Host::resolution(&mut self.clocks()).unwrap_or(1),
        }
    }

    fn fill_random(&mut self, buf: &mut [u8]) -> Result<(), Fail> {
        for part in buf.chunks_mut(CHUNK_LEN) {
            // OK: a chunk's length fits in 64 bits.
            let bytes = self.ctx.random().get_random_bytes(part.len() as u64).map_err(|error| broken(&error))?;
            if bytes.len() != part.len() {
                return Err(Errno::Io.into());
            }
            part.copy_from_slice(&bytes);
        }
        Ok(())
    }

    fn is_terminal(&mut self, stream: Stdio) -> bool {
        let mut cli = self.cli();
        match stream {
            Stdio::In => match cli.get_terminal_stdin() {
                Ok(Some(terminal)) => self.table.delete(terminal).is_ok(),
                _ => false,
            },
            Stdio::Out | Stdio::Err => {
                match if stream == Stdio::Out { cli.get_terminal_stdout() } else { cli.get_terminal_stderr() } {
                    Ok(Some(terminal)) => self.table.delete(terminal).is_ok(),
                    _ => false,
                }
            }
        }
    }

    fn read(&mut self, buf: &mut [u8], wait: Wait) -> Result<usize, Fail> {
        let input = self.stdin()?;
        loop {
            if buf.is_empty() || input.at_end {
                return Ok(0);
            }
            match input.stream.read(buf.len().min(CHUNK_LEN)) {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => {
                    buf.get_mut(..bytes.len()).ok_or(Errno::Io)?.copy_from_slice(&bytes);
                    return Ok(bytes.len());
                }
                Err(StreamError::Closed) => {
                    input.at_end = true;
                    return Ok(0);
                }
                Err(error) => return Err(failed(error).into()),
            }
            let Wait::Until(deadline) = wait else { return Err(Errno::Again.into()) };
            block_until(input.stream.ready(), deadline).ok_or(Fail::Stop(Stop::TimedOut))?;
        }
    }

    fn write(&mut self, stream: Stdio, buf: &[u8], wait: Wait) -> Result<usize, Fail> {
        let output = self.output(stream)?;
        let mut rest = buf;
        let mut flushed = false;
        loop {
            let done = buf.len().saturating_sub(rest.len());
            // An error after a part was taken is for the next call to report.
            let short = |errno: Errno| if done > 0 { Ok(done) } else { Err(Fail::Errno(errno)) };
            match output.check_write() {
                Ok(0) => {}
                Ok(_) if rest.is_empty() && flushed => return Ok(done),
                Ok(_) if rest.is_empty() => {
                    // The permit after a flush tells that it is complete.
                    if let Err(error) = output.flush() {
                        return if let StreamError::Closed = error { Ok(done) } else { short(failed(error)) };
                    }
                    flushed = true;
                    continue;
                }
                Ok(permit) => {
                    let (part, after) = rest.split_at(rest.len().min(permit).min(CHUNK_LEN));
                    if let Err(error) = output.write(Bytes::copy_from_slice(part)) {
                        return short(failed(error));
                    }
                    rest = after;
                    continue;
                }
                Err(StreamError::Closed) if rest.is_empty() => return Ok(done),
                Err(error) => return short(failed(error)),
            }
            match wait {
                Wait::Never => return short(Errno::Again),
                Wait::Until(deadline) => {
                    block_until(output.ready(), deadline).ok_or(Fail::Stop(Stop::TimedOut))?;
                }
            }
        }
    }

    fn wait(
        &mut self,
        interest: Interest,
        timeout: Option<Duration>,
        deadline: Option<Instant>,
    ) -> Result<Interest, Fail> {
        let now = Instant::now();
        // A time too far off to be counted is never.
        let until = timeout.and_then(|timeout| now.checked_add(timeout));
        let until = match (until, deadline) {
            (Some(until), Some(deadline)) => Some(until.min(deadline)),
            (until, deadline) => until.or(deadline),
        };
        let virtual_time = self.sleeper.is_some() && timeout.is_some();
        if interest != Interest::NONE {
            for (wanted, stream) in [(interest.stdout, Stdio::Out), (interest.stderr, Stdio::Err)] {
                if wanted {
                    self.output(stream)?;
                }
            }
            if interest.stdin {
                self.stdin()?;
            }
            let Self { stdin, stdout, stderr, .. } = self;
            let mut stdin = stdin.as_mut().filter(|_| interest.stdin).map(|input| input.stream.ready());
            let mut stdout = stdout.as_mut().filter(|_| interest.stdout).map(|output| output.ready());
            let mut stderr = stderr.as_mut().filter(|_| interest.stderr).map(|output| output.ready());
            let ready = poll_fn(|context| {
                let mut is_ready = |future: &mut Option<Pin<Box<dyn Future<Output = ()> + Send + '_>>>| {
                    future.as_mut().is_some_and(|future| future.as_mut().poll(context).is_ready())
                };
                let ready = Interest {
                    stdin: is_ready(&mut stdin),
                    stdout: is_ready(&mut stdout),
                    stderr: is_ready(&mut stderr),
                };
                if ready == Interest::NONE { Poll::Pending } else { Poll::Ready(ready) }
            });
            if let Some(ready) = block_until(ready, if virtual_time { Some(now) } else { until }) {
                return Ok(ready);
            }
        } else if !virtual_time {
            match until {
                Some(until) => thread::sleep(until.saturating_duration_since(now)),
                // Nothing will ever happen, and nobody set a limit.
                None => return Err(Errno::Invalid.into()),
            }
        }
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(Fail::Stop(Stop::TimedOut));
        }
        if let (Some(sleeper), Some(timeout)) = (&mut self.sleeper, timeout) {
            sleeper(timeout);
        }
        Ok(Interest::NONE)
    }
}

const fn nanos(time: wall_clock::Datetime) -> u64 {
    time.seconds.saturating_mul(1_000_000_000).saturating_add(time.nanoseconds as u64)
}

/// What went wrong inside the context is not the guest's business.
#[cold]
fn broken(error: &wasmtime::Error) -> Errno {
    tracing::warn!(%error, "the WASI context failed");
    Errno::Io
}

#[cold]
fn failed(error: StreamError) -> Errno {
    match error {
        StreamError::Closed => Errno::Pipe,
        StreamError::LastOperationFailed(error) | StreamError::Trap(error) => {
            match error.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
                Some(std::io::ErrorKind::BrokenPipe) => Errno::Pipe,
                Some(std::io::ErrorKind::StorageFull) => Errno::NoSpace,
                Some(std::io::ErrorKind::WouldBlock) => Errno::Again,
                Some(std::io::ErrorKind::IsADirectory) => Errno::IsDir,
                _ => broken(&error),
            }
        }
    }
}
