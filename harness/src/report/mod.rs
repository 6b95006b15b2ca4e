//! Reports: lines for people, JUnit XML for CI servers, a page for a browser, annotations for GitHub.

mod github;
mod html;
mod human;
mod junit;

pub use self::github::annotations;
pub use self::html::html;
pub use self::human::{Human, HumanOptions};
pub use self::junit::junit;

use crate::check::shown;
use crate::run::{CaseResult, Tried, Verdict};

/// What went wrong, in one line.
fn headline(result: &CaseResult) -> String {
    match &result.verdict {
        Verdict::Passed => "passed".to_owned(),
        Verdict::Failed(mismatches) => {
            let all: Vec<_> = mismatches.iter().map(|mismatch| &*mismatch.what).collect();
            all.join("; ")
        }
        Verdict::Broken(message) => message.lines().next().unwrap_or_default().to_owned(),
        Verdict::Skipped(reason) => reason.clone(),
        Verdict::Interrupted => "interrupted".to_owned(),
    }
}

/// What went wrong, in full: sections with a title and text.
fn sections(result: &CaseResult) -> Vec<(String, String)> {
    let mut sections = Vec::new();
    match &result.verdict {
        Verdict::Failed(mismatches) => {
            sections.extend(mismatches.iter().map(|mismatch| (mismatch.what.clone(), mismatch.detail.clone())));
            // What the program said explains most failures, unless it stands in the difference already.
            for (name, bytes) in [("stdout", &result.stdout), ("stderr", &result.stderr)] {
                let is_told =
                    mismatches.iter().any(|mismatch| mismatch.what.starts_with(name) && !mismatch.detail.is_empty());
                if !bytes.is_empty() && !is_told {
                    sections.push((name.to_owned(), crate::check::excerpt(&shown(bytes))));
                }
            }
            if !result.diff.is_empty() && !mismatches.iter().any(|mismatch| mismatch.what.starts_with("diff")) {
                sections.push(("what it changed".to_owned(), crate::check::excerpt(&result.diff)));
            }
        }
        Verdict::Broken(message) => sections.push(("it could not be run".to_owned(), message.clone())),
        Verdict::Passed | Verdict::Skipped(_) | Verdict::Interrupted => {}
    }
    sections
}

/// What was tried besides running the case, if anything was.
fn tried(result: &CaseResult) -> Option<String> {
    let count = |done: usize, of: usize, what: &str| match (done, of) {
        (_, 0) => None,
        (1, 1) => Some(format!("1 {what}")),
        (done, of) if done == of => Some(format!("{done} {what}s")),
        (done, of) => Some(format!("{done} of {of} {what}s")),
    };
    let Tried { states, states_of, faults, faults_of } = result.tried;
    let parts = [count(states, states_of, "power-cut state"), count(faults, faults_of, "failing call")];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}
