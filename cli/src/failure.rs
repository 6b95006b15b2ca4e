//! What went wrong, in the words for a person, with the exit code for a program.

use std::io;
use std::process::ExitCode;

use crate::output;

/// Something is not there, or not possible.
pub(crate) const EXIT_FAILED: u8 = 1;
/// An image that cannot be read.
pub(crate) const EXIT_UNREADABLE: u8 = 2;

/// What every command returns.
pub(crate) type Result<T = ExitCode> = std::result::Result<T, Failure>;

/// Why a command stops.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    /// `WHAT: WHERE: WHY`; empty for the reader of a pipe that has gone, who does not want to hear about it.
    message: String,
    /// What to do next.
    next: Option<String>,
}

impl Failure {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), next: None }
    }

    /// An image that cannot be read; `error` names it.
    pub(crate) fn unreadable(error: &mountless::error::Error) -> Self {
        Self::new(EXIT_UNREADABLE, format!("cannot read image: {error}"))
    }

    #[must_use]
    pub(crate) fn next(self, next: impl Into<String>) -> Self {
        Self { next: Some(next.into()), ..self }
    }

    /// The same, for a command that has another code for it.
    #[must_use]
    pub(crate) fn with_code(self, code: u8) -> Self {
        Self { code, ..self }
    }

    /// Says it on stderr.
    pub(crate) fn report(self) -> ExitCode {
        ExitCode::from(self.report_code())
    }

    /// The same, with the code as a number.
    pub(crate) fn report_code(self) -> u8 {
        if !self.message.is_empty() {
            output::complain(&self.message, self.next.as_deref());
        }
        self.code
    }
}

/// What the host says, in the way the rest is said: `no such file or directory`.
pub(crate) fn plainly(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let first_len = text.chars().next().map_or(0, char::len_utf8);
    let (first, rest) = text.split_at(first_len);
    first.to_lowercase() + rest
}

impl From<io::Error> for Failure {
    /// Standard output is the only thing that commands do I/O on themselves.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(0, ""),
            _ => Self::new(EXIT_FAILED, format!("cannot write: standard output: {}", plainly(&error))),
        }
    }
}
