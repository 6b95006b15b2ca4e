//! Cases by convention: a program and, beside it, files of the same name that say what goes in and what comes out.
//!
//! `NAME.stdin`, `NAME.args` (one a line) and `NAME.env` (`NAME=VALUE`, one a line) go in; `NAME.stdout`, `NAME.stderr`
//! and `NAME.exit` (a number) must come out.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::case::{Case, CaseId, End, Input, ProgramAt, TextExpect};
use crate::diagnostic::Diagnostic;

const COMPANIONS: [&str; 6] = ["stdout", "stderr", "exit", "stdin", "args", "env"];

/// Whether there is anything beside the program that makes it a case.
pub(crate) fn has_companion(wasm: &Path) -> bool {
    COMPANIONS.iter().any(|extension| wasm.with_extension(extension).is_file())
}

/// The case of the program at `wasm`.
pub(crate) fn read_plain(wasm: &Path, group: &str) -> Result<Case, Diagnostic> {
    let id = CaseId { group: group.to_owned(), name: String::new(), file: wasm.to_owned(), line: 1 };
    let mut case = Case::at(id, ProgramAt::Host(wasm.to_owned()));
    let companion = |extension: &str| Some(wasm.with_extension(extension)).filter(|path| path.is_file());
    let exactly = |file: PathBuf| TextExpect { file: Some(file), ..TextExpect::default() };
    case.stdin = companion("stdin").map_or(Input::Empty, Input::File);
    case.expect.stdout = companion("stdout").map(exactly);
    case.expect.stderr = companion("stderr").map(exactly);
    if let Some(text) = read(companion("exit"))? {
        let code = text.trim().parse().map_err(|_| {
            let message = format!("{:?} is not an exit code", text.trim());
            Diagnostic::at(&wasm.with_extension("exit"), &text, 0..text.trim_end().len(), message)
        })?;
        case.expect.end = End::Codes(vec![code]);
    }
    if let Some(text) = read(companion("args"))? {
        case.args = text.lines().map(str::to_owned).collect();
    }
    if let Some(text) = read(companion("env"))? {
        let mut start: usize = 0;
        for line in text.lines() {
            let Some((name, value)) = line.split_once('=') else {
                let span = start..start.saturating_add(line.len());
                let message = "a variable is written NAME=VALUE";
                return Err(Diagnostic::at(&wasm.with_extension("env"), &text, span, message));
            };
            case.env.insert(name.to_owned(), value.to_owned());
            start = start.saturating_add(line.len()).saturating_add(1);
        }
    }
    Ok(case)
}

fn read(path: Option<PathBuf>) -> Result<Option<String>, Diagnostic> {
    let Some(path) = path else { return Ok(None) };
    let text: io::Result<_> = fs::read_to_string(&path);
    text.map(Some).map_err(|error| Diagnostic::in_file(&path, format!("cannot read it: {error}")))
}
