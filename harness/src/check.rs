//! Comparing what a program did with what it should have done.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::fs;

use mountless::Errno;
use mountless::attr::FileType;
use mountless::name::escape;
use mountless_wasi::run::Outcome;
use similar::TextDiff;

use crate::case::{Case, End, Expect, FileExpect, TextExpect};
use crate::engine::Ran;
use crate::snapshot::{self, Compared, Update};
use crate::trap::readable;
use crate::tree::tree_diff;

/// Something that is not as expected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mismatch {
    /// What, in one line: `stdout differs`.
    pub what: String,
    /// The difference, in as many lines as it takes; may be empty.
    pub detail: String,
}

impl Mismatch {
    fn new(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { what: what.into(), detail: detail.into() }
    }
}

/// All that is not as the case expects; nothing if it is.
pub(crate) fn check(case: &Case, ran: &Ran, update: Update) -> Vec<Mismatch> {
    let Expect { end, stdout, stderr, diff, files } = &case.expect;
    let mut checker = Checker { case, update, found: Vec::new() };
    checker.end(end, ran);
    if let Some(name) = ran.overflowed {
        let limit = case.limits.output;
        checker.found.push(Mismatch::new(
            format!("{name} is too long"),
            format!("The program wrote {limit} bytes and was cut off; `limits.output` sets the limit."),
        ));
    }
    if let Some(expect) = stdout {
        checker.text("stdout", expect, &ran.stdout);
    }
    if let Some(expect) = stderr {
        checker.text("stderr", expect, &ran.stderr);
    }
    for (path, expect) in files {
        checker.file(path, expect, ran);
    }
    if let Some(expect) = diff {
        match tree_diff(&ran.before, &ran.after) {
            Ok(text) => checker.text("diff", expect, text.as_bytes()),
            Err(error) => checker.found.push(Mismatch::new("the trees cannot be compared", error.to_string())),
        }
    }
    checker.found
}

/// One text against one expectation; for the assertions in Rust.
pub(crate) fn check_text(what: &str, expect: &TextExpect, text: &[u8]) -> Vec<Mismatch> {
    let case = Case::new("");
    let mut checker = Checker { case: &case, update: Update::No, found: Vec::new() };
    checker.text(what, expect, text);
    checker.found
}

/// One file against one expectation.
pub(crate) fn check_file(path: &str, expect: &FileExpect, ran: &Ran) -> Vec<Mismatch> {
    let case = Case::new("");
    let mut checker = Checker { case: &case, update: Update::No, found: Vec::new() };
    checker.file(path, expect, ran);
    checker.found
}

/// How a program ended, in words.
pub(crate) fn ended(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Exited(code) => format!("exit code {code}"),
        Outcome::Trapped(_) => "a trap".to_owned(),
        Outcome::TimedOut => "no end in time".to_owned(),
        Outcome::OutOfFuel => "no end before its fuel was used up".to_owned(),
    }
}

struct Checker<'a> {
    case: &'a Case,
    update: Update,
    found: Vec<Mismatch>,
}

impl Checker<'_> {
    fn end(&mut self, expect: &End, ran: &Ran) {
        let outcome = &ran.outcome;
        let is_right = match (expect, outcome) {
            (End::Codes(codes), Outcome::Exited(code)) => codes.contains(code),
            (End::Failure, Outcome::Exited(code)) => *code != 0,
            (End::AnyCode, Outcome::Exited(_)) | (End::Timeout, Outcome::TimedOut) => true,
            (End::Fail(text), Outcome::Exited(code)) if *code != 0 => {
                self.text("stderr of the failure", text, &ran.stderr);
                true
            }
            (End::Fail(text), Outcome::Trapped(message)) => {
                // Some say it before they abort, some leave it to the trap.
                let all = [&*ran.stderr, message.as_bytes()].concat();
                self.text("stderr and message of the trap", text, &all);
                true
            }
            (End::Trap(text), Outcome::Trapped(message)) => {
                self.text("message of the trap", text, message.as_bytes());
                true
            }
            _ => false,
        };
        if is_right {
            return;
        }
        let expected = match expect {
            End::Codes(codes) => {
                let codes: Vec<_> = codes.iter().map(ToString::to_string).collect();
                format!("exit code {}", codes.join(" or "))
            }
            End::Failure => "an exit code other than 0".to_owned(),
            End::AnyCode => "an exit code".to_owned(),
            End::Fail(_) => "a failure".to_owned(),
            End::Trap(_) => "a trap".to_owned(),
            End::Timeout => "to run out of time".to_owned(),
        };
        let detail = match outcome {
            Outcome::Trapped(message) => readable(message),
            Outcome::TimedOut => {
                let limit = humantime::format_duration(self.case.limits.time);
                format!("It was still running after {limit}; `limits.time` sets the limit.")
            }
            Outcome::Exited(_) | Outcome::OutOfFuel => String::new(),
        };
        self.found.push(Mismatch::new(format!("expected {expected}, found {}", ended(outcome)), detail));
    }

    fn text(&mut self, what: &str, expect: &TextExpect, bytes: &[u8]) {
        let actual = redacted(expect, bytes);
        if let Some(exact) = &expect.exact {
            self.same(what, exact, &actual);
        }
        if let Some(path) = &expect.file {
            match fs::read(path) {
                Ok(exact) => self.same(what, &exact, &actual),
                Err(error) => self.found.push(Mismatch::new(
                    format!("{what} has nothing to be compared with"),
                    format!("{}: {error}", path.display()),
                )),
            }
        }
        let text = shown(&actual);
        for part in expect.contains.iter().filter(|part| !contains(&actual, part.as_bytes())) {
            self.found.push(Mismatch::new(format!("{what} does not contain {part:?}"), excerpt(&text)));
        }
        for part in expect.excludes.iter().filter(|part| contains(&actual, part.as_bytes())) {
            self.found.push(Mismatch::new(format!("{what} contains {part:?}"), excerpt(&text)));
        }
        if let Some(regex) = expect.regex.as_ref().filter(|regex| !regex.is_match(&text)) {
            self.found.push(Mismatch::new(format!("{what} does not match /{regex}/"), excerpt(&text)));
        }
        if let Some(name) = &expect.snapshot {
            self.snapshot(what, name, &text);
        }
    }

    fn same(&mut self, what: &str, expected: &[u8], actual: &[u8]) {
        if expected != actual {
            self.found.push(Mismatch::new(format!("{what} differs"), difference(&shown(expected), &shown(actual))));
        }
    }

    fn snapshot(&mut self, what: &str, name: &str, text: &str) {
        let file = &self.case.id.file;
        let path = snapshot::path_of(file, name);
        let source = file.file_name().unwrap_or_default().to_string_lossy();
        let compared = snapshot::compare(&path, text, self.update, &source, &format!("{}: {what}", self.case.id.name));
        let mismatch = match compared {
            Ok(Compared::Same) => return,
            Ok(Compared::Differs { expected, pending }) => {
                let what = match &expected {
                    Some(_) => format!("{what} differs from the snapshot {name}"),
                    None => format!("{what} has no snapshot {name} yet"),
                };
                // Blank ends do not count.
                let ended =
                    |text: &str| if text.trim().is_empty() { String::new() } else { format!("{}\n", text.trim_end()) };
                let mut detail = difference(&ended(expected.as_deref().unwrap_or_default()), &ended(text));
                let next = match pending {
                    Some(pending) => format!(
                        "next: `--update` or `cargo insta review` takes the new text, now in {}",
                        pending.display()
                    ),
                    None => "next: run it where CI is not set, and commit the snapshot after a review".to_owned(),
                };
                let _ = write!(detail, "{next}");
                Mismatch::new(what, detail)
            }
            Err(error) => Mismatch::new(format!("the snapshot {name} fails"), format!("{}: {error}", path.display())),
        };
        self.found.push(mismatch);
    }

    fn file(&mut self, path: &str, expect: &FileExpect, ran: &Ran) {
        let mut wrong = |what: String| self.found.push(Mismatch::new(what, ""));
        let attr = match ran.namespace.symlink_metadata(path) {
            Ok(_) if expect.absent => return wrong(format!("{path} is there")),
            Ok(attr) => attr,
            Err(error) if matches!(error.errno(), Errno::NotFound | Errno::NotDir) => {
                if !expect.absent {
                    wrong(format!("{path} is not there"));
                }
                return;
            }
            Err(error) => return wrong(format!("{path} cannot be looked at: {error}")),
        };
        if let Some(file_type) = expect.file_type.filter(|&file_type| file_type != attr.file_type) {
            wrong(format!("{path}: expected {}, found {}", file_type.word(), attr.file_type.word()));
        }
        if let Some(mode) = expect.mode.filter(|&mode| mode != attr.mode) {
            wrong(format!("{path}: expected mode {mode:04o}, found {:04o}", attr.mode));
        }
        if let Some(size) = expect.size.filter(|&size| size != attr.size) {
            wrong(format!("{path}: expected {size} bytes, found {}", attr.size));
        }
        if let Some(target) = &expect.target {
            match ran.namespace.read_link(path) {
                Ok(found) if *found == *target.as_bytes() => {}
                Ok(found) => wrong(format!("{path}: expected a link to {target}, found one to {}", escape(&found))),
                Err(_) => wrong(format!("{path}: expected a link to {target}, found a {}", attr.file_type.word())),
            }
        }
        if let Some(content) = &expect.content {
            match ran.namespace.read(path) {
                Ok(bytes) => self.text(path, content, &bytes),
                Err(_) if attr.file_type != FileType::File => {
                    wrong(format!("{path}: expected a file, found a {}", attr.file_type.word()));
                }
                Err(error) => wrong(format!("{path} cannot be read: {error}")),
            }
        }
    }
}

fn redacted<'a>(expect: &TextExpect, bytes: &'a [u8]) -> Cow<'a, [u8]> {
    if expect.redact.is_empty() {
        return Cow::Borrowed(bytes);
    }
    let mut text = shown(bytes).into_owned();
    for (regex, with) in &expect.redact {
        text = regex.replace_all(&text, with).into_owned();
    }
    Cow::Owned(text.into_bytes())
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    part.is_empty() || bytes.windows(part.len()).any(|window| window == part)
}

/// Bytes as text: as they are, or else with what is not UTF-8 escaped.
pub(crate) fn shown(bytes: &[u8]) -> Cow<'_, str> {
    match str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => {
            let lines: Vec<_> = bytes.split(|&byte| byte == b'\n').map(|line| escape(line).to_string()).collect();
            Cow::Owned(lines.join("\n"))
        }
    }
}

/// Most lines and bytes of a text that are shown where it went wrong.
const LINES_MAX: usize = 40;
const BYTES_MAX: usize = 8 << 10;

/// The end of a text: programs say last why they stop.
pub(crate) fn excerpt(text: &str) -> String {
    let mut start = text.len().saturating_sub(BYTES_MAX);
    while !text.is_char_boundary(start) {
        start = start.saturating_add(1);
    }
    let lines = text.get(start..).unwrap_or_default().lines().rev().take(LINES_MAX).map(str::len);
    let kept = lines.fold(0_usize, |sum, len| sum.saturating_add(len).saturating_add(1));
    let mut from = text.len().saturating_sub(kept).max(start);
    while !text.is_char_boundary(from) {
        from = from.saturating_add(1);
    }
    let end = text.get(from..).unwrap_or_default();
    if from == 0 { end.to_owned() } else { format!("… {from} bytes before\n{}", end.trim_start_matches('\n')) }
}

/// The difference of two texts, line by line, with a little around it.
fn difference(expected: &str, actual: &str) -> String {
    // The algorithm is quadratic at worst, and nobody reads on.
    if expected.len().max(actual.len()) > 1 << 20 {
        return format!(
            "expected {} bytes, found {}; they differ from byte {} on\n",
            expected.len(),
            actual.len(),
            expected.bytes().zip(actual.bytes()).take_while(|(one, other)| one == other).count()
        );
    }
    let diff = TextDiff::configure().timeout(std::time::Duration::from_secs(2)).diff_lines(expected, actual);
    let mut text = "--- expected\n+++ found\n".to_owned();
    let mut lines: usize = 0;
    for hunk in diff.unified_diff().context_radius(3).iter_hunks() {
        let _ = writeln!(text, "{}", hunk.header());
        for change in hunk.iter_changes() {
            lines = lines.saturating_add(1);
            if lines > 5 * LINES_MAX {
                text.push_str("… and more\n");
                return text;
            }
            let _ = write!(text, "{}{}", change.tag(), change.value());
            if change.missing_newline() {
                text.push_str("\n\\ no newline at the end\n");
            }
        }
    }
    text
}
