//! What the guest gets besides files: the same each time, and said twice, to the process and to the model.

use std::time::{Duration, Instant};

use mountless::errno::Errno;
use mountless_wasi::host::{Clock, Fail, Host, Interest, Stdio, StringList, Wait};

pub(crate) const ARGS: [&str; 2] = ["program", "--flag"];
pub(crate) const ENV: [&str; 1] = ["NAME=value"];
/// Bytes of standard input.
pub(crate) const INPUT_LEN: usize = 10_000;

/// What there is of it.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) now: u64,
    pub(crate) input_read: usize,
    random: u8,
    args: StringList,
    env: StringList,
}

impl Given {
    pub(crate) fn new() -> Self {
        Self {
            now: 1_000_000_000_000_000_000,
            input_read: 0,
            random: 0,
            args: ARGS.iter().collect(),
            env: ENV.iter().collect(),
        }
    }

    pub(crate) fn random(&mut self, buf: &mut [u8]) {
        for byte in buf {
            self.random = self.random.wrapping_mul(5).wrapping_add(1);
            *byte = self.random;
        }
    }

    pub(crate) fn input(&mut self, buf: &mut [u8]) -> usize {
        let count = buf.len().min(INPUT_LEN - self.input_read);
        for byte in &mut buf[..count] {
            *byte = (self.input_read % 251) as u8;
            self.input_read += 1;
        }
        count
    }
}

impl Host for Given {
    fn args(&mut self) -> &StringList {
        &self.args
    }

    fn env(&mut self) -> &StringList {
        &self.env
    }

    fn now(&mut self, _clock: Clock) -> u64 {
        self.now
    }

    fn resolution(&mut self, _clock: Clock) -> u64 {
        1000
    }

    fn fill_random(&mut self, buf: &mut [u8]) -> Result<(), Fail> {
        self.random(buf);
        Ok(())
    }

    fn is_terminal(&mut self, stream: Stdio) -> bool {
        stream == Stdio::Out
    }

    fn read(&mut self, buf: &mut [u8], _wait: Wait) -> Result<usize, Fail> {
        Ok(self.input(buf))
    }

    fn write(&mut self, stream: Stdio, buf: &[u8], _wait: Wait) -> Result<usize, Fail> {
        if stream == Stdio::In { Err(Errno::BadFd.into()) } else { Ok(buf.len()) }
    }

    /// All streams are always ready, and waiting for nothing but time takes none.
    fn wait(
        &mut self,
        interest: Interest,
        timeout: Option<Duration>,
        _deadline: Option<Instant>,
    ) -> Result<Interest, Fail> {
        if interest == Interest::NONE {
            let time = timeout.expect("there is something to wait for");
            self.now = self.now.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        }
        Ok(interest)
    }
}
