//! Annotations for GitHub Actions: workflow commands, which show a failure at its line in a pull request.

use std::fmt::Write as _;

use super::{headline, sections};
use crate::diagnostic::Diagnostic;
use crate::run::{RunReport, Verdict};

/// The failures of a run and the mistakes in case files as workflow commands, one a line.
#[must_use]
pub fn annotations(report: &RunReport, mistakes: &[Diagnostic]) -> String {
    let mut text = String::new();
    for mistake in mistakes {
        let (line, column) = mistake.position().unwrap_or((1, 1));
        let path = property(&mistake.path().display().to_string());
        let message = data(mistake.message());
        // OK to ignore, here and below: a String takes everything.
        let _ = writeln!(text, "::error file={path},line={line},col={column},title=broken case file::{message}");
    }
    for result in report.results.iter().filter(|result| result.verdict.is_failure()) {
        let file = property(&result.id.file().display().to_string());
        let title = property(&result.id.text());
        let message = match &result.verdict {
            Verdict::Broken(message) => message.clone(),
            _ => {
                let details = sections(result).into_iter().map(|(_, content)| content);
                let texts = std::iter::once(headline(result)).chain(details.filter(|content| !content.is_empty()));
                texts.collect::<Vec<_>>().join("\n")
            }
        };
        // GitHub cuts annotations off behind 64 KiB.
        let message: String = message.chars().take(4000).collect();
        let line = result.id.line().max(1);
        let _ = writeln!(text, "::error file={file},line={line},title={title}::{}", data(&message));
    }
    text
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
