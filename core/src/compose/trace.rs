//! Every call on a filesystem, written down: as text in the manner of strace, or as one JSON object a line.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use core::fmt::{self, Write as _};
use core::time::Duration;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value, json};

use super::watch::{Args, Done, Op, OpKind, Watched, Watcher};
use crate::error::{Error, Result};
use crate::fs::{FileSystem, RenameMode, WriteAt};
use crate::name::escape;

/// How a trace is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TraceFormat {
    /// `read("/etc/motd", 0, 4096) = 28 <0.000012>`
    #[default]
    Text,
    /// One JSON object a line, with `op`, `path`, the arguments by name, `result` or `error`, and `seconds`.
    Json,
}

/// Writes calls down. A trace that cannot be written ends silently: the program matters more.
pub struct Tracer {
    out: Mutex<Box<dyn Write + Send>>,
    format: TraceFormat,
    times: bool,
}

impl Tracer {
    /// Writes to `out`, line by line.
    #[must_use]
    pub fn new(out: Box<dyn Write + Send>, format: TraceFormat) -> Self {
        Self { out: Mutex::new(out), format, times: true }
    }

    /// Leaves out how long calls took, so that two runs give the same trace.
    #[must_use]
    pub fn without_times(mut self) -> Self {
        self.times = false;
        self
    }

    /// `fs`, traced.
    #[must_use]
    pub fn over(self, fs: Arc<dyn FileSystem>) -> Watched {
        Watched::new(fs, Arc::new(self))
    }

    fn text(&self, op: &Op<'_>, result: core::result::Result<Done<'_>, &Error>, took: Duration) -> String {
        let mut line = String::new();
        // Writing to a string does not fail.
        let _ = write!(line, "{}({}", op.kind.word(), Quoted(op.path));
        for (_, value) in arguments(op) {
            let _ = match value {
                Value::String(text) if is_word(&text) => write!(line, ", {text}"),
                Value::String(text) => write!(line, ", \"{}\"", text.replace('"', "\\042")),
                value => write!(line, ", {value}"),
            };
        }
        let _ = match result {
            Ok(Done::Nothing) => write!(line, ") = 0"),
            Ok(Done::Count(count)) => write!(line, ") = {count}"),
            Ok(Done::Type(file_type)) => write!(line, ") = {}", file_type.word()),
            Ok(Done::Attr(file_type, size)) => write!(line, ") = {} of {size}", file_type.word()),
            Ok(Done::Bytes(bytes)) => write!(line, ") = {}", Quoted(bytes)),
            Err(error) => write!(line, ") = {} ({})", error.errno().name(), error.errno().message()),
        };
        if self.times {
            let _ = write!(line, " <{:.6}>", took.as_secs_f64());
        }
        line
    }

    fn json(&self, op: &Op<'_>, result: core::result::Result<Done<'_>, &Error>, took: Duration) -> String {
        let mut line = Map::new();
        line.insert("op".into(), op.kind.word().into());
        line.insert("path".into(), text(op.path).into());
        line.extend(arguments(op).map(|(name, value)| (name.to_string(), value)));
        match result {
            Ok(Done::Nothing) => {}
            Ok(Done::Count(count)) => drop(line.insert("result".into(), count.into())),
            Ok(Done::Type(file_type)) => drop(line.insert("result".into(), file_type.word().into())),
            Ok(Done::Attr(file_type, size)) => {
                line.insert("result".into(), json!({ "type": file_type.word(), "size": size }));
            }
            Ok(Done::Bytes(bytes)) => drop(line.insert("result".into(), text(bytes).into())),
            Err(error) => drop(line.insert("error".into(), error.errno().name().into())),
        }
        if self.times {
            line.insert("seconds".into(), took.as_secs_f64().into());
        }
        Value::Object(line).to_string()
    }
}

impl Watcher for Tracer {
    fn watches(&self, _kind: OpKind) -> bool {
        true
    }

    fn before(&self, _op: &Op<'_>) -> Result<usize> {
        Ok(usize::MAX)
    }

    fn after(&self, op: &Op<'_>, result: core::result::Result<Done<'_>, &Error>, took: Duration) {
        let mut line = match self.format {
            TraceFormat::Text => self.text(op, result, took),
            TraceFormat::Json => self.json(op, result, took),
        };
        line.push('\n');
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // See the type.
        let _ = out.write_all(line.as_bytes());
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.out.get_mut().unwrap_or_else(PoisonError::into_inner).flush();
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tracer({:?})", self.format)
    }
}

/// The arguments besides the path, by name.
fn arguments<'a>(op: &Op<'a>) -> impl Iterator<Item = (&'static str, Value)> + use<'a> {
    let at = |at: WriteAt| match at {
        WriteAt::Offset(offset) => Value::from(offset),
        WriteAt::End => "end".into(),
    };
    let pairs = match op.args {
        Args::None => [None, None],
        Args::From(cookie) => [Some(("from", cookie.get().into())), None],
        Args::Read(offset, len) => [Some(("offset", offset.into())), Some(("len", len.into()))],
        Args::Write(to, len) => [Some(("offset", at(to))), Some(("len", len.into()))],
        Args::Xattr(name) => [Some(("name", text(name).into())), None],
        Args::New(node) => [
            Some(("type", node.kind.file_type().word().into())),
            Some(("mode", alloc::format!("{:04o}", node.mode).into())),
        ],
        Args::To(to) => [Some(("to", text(to).into())), None],
        Args::Rename(to, mode) => {
            let how = match mode {
                RenameMode::Replace => "replace",
                RenameMode::NoReplace => "noreplace",
                RenameMode::Exchange => "exchange",
            };
            [Some(("to", text(to).into())), Some(("how", how.into()))]
        }
        Args::Changes(changes) => [
            changes.size.map(|size| ("size", size.into())),
            changes.mode.map(|mode| ("mode", alloc::format!("{mode:04o}").into())),
        ],
        Args::Allocate(what, range) => [
            Some(("what", alloc::format!("{what:?}").to_lowercase().into())),
            Some(("range", alloc::format!("{}..{}", range.start, range.end).into())),
        ],
        Args::Scope(scope) => [Some(("scope", scope.into())), None],
    };
    pairs.into_iter().flatten()
}

fn text(bytes: &[u8]) -> String {
    escape(bytes).to_string()
}

/// Whether text can do without quotes: our own words, numbers and ranges; paths have a slash.
fn is_word(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.')
}

struct Quoted<'a>(&'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", text(self.0).replace('"', "\\042"))
    }
}
