//! A page for a browser, complete in one file: no scripts, nothing loaded from elsewhere.

use std::fmt::Write as _;

use super::{headline, sections, tried};
use crate::run::{CaseResult, RunReport, Verdict};

const STYLE: &str = "\
body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:72em;padding:0 1em;color:#222;background:#fff}
h1{font-size:1.4em}summary{cursor:pointer;padding:.2em 0}pre{background:#f6f6f6;padding:.7em;overflow:auto;font-size:13px}
.t{color:#777;font-variant-numeric:tabular-nums}.passed b{color:#17772b}.failed b{color:#b3161c}.skipped b{color:#8a6100}
.add{color:#17772b}.del{color:#b3161c}p.counts span{margin-right:1.5em}h3{font-size:1em;margin:.5em 0 .2em}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#1b1b1b}pre{background:#262626}
.passed b,.add{color:#6cc17a}.failed b,.del{color:#f0787d}.skipped b{color:#d9b24c}}";

/// The report as one HTML file.
#[must_use]
pub fn html(report: &RunReport) -> String {
    let failed = report.count(|result| result.verdict.is_failure());
    let passed = report.count(|result| result.verdict == Verdict::Passed);
    let skipped = report.count(|result| matches!(result.verdict, Verdict::Skipped(_)));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>mountless test: {} of {} failed</title>\
         <style>{STYLE}</style></head><body>\n<h1>mountless test</h1>\n<p class=\"counts\">\
         <span>{passed} passed</span><span>{failed} failed</span><span>{skipped} skipped</span>\
         <span class=\"t\">{:.3} s</span></p>\n",
        failed,
        report.results.len(),
        report.time.as_secs_f64()
    );
    if report.interrupted {
        page.push_str("<p><b>The run was interrupted; this is what was done by then.</b></p>\n");
    }
    // What failed comes first.
    let (failures, others): (Vec<_>, Vec<_>) = report.results.iter().partition(|result| result.verdict.is_failure());
    for result in failures.into_iter().chain(others) {
        entry(&mut page, result);
    }
    page.push_str("</body></html>\n");
    page
}

fn entry(page: &mut String, result: &CaseResult) {
    let (class, word) = match &result.verdict {
        Verdict::Passed if result.is_flaky() => ("skipped", "FLAKY"),
        Verdict::Passed => ("passed", "PASS"),
        Verdict::Failed(_) => ("failed", "FAIL"),
        Verdict::Broken(_) => ("failed", "ERROR"),
        Verdict::Interrupted => ("failed", "SIGINT"),
        Verdict::Skipped(_) => ("skipped", "SKIP"),
    };
    let line = format!(
        "<b>{word}</b> <span class=\"t\">{:.3} s</span> {}",
        result.time.as_secs_f64(),
        escape(&result.id.text())
    );
    let line = tried(result).map_or(line.clone(), |tried| format!("{line} <span class=\"t\">({tried})</span>"));
    // OK to ignore, here and below: a String takes everything.
    let _ = match &result.verdict {
        Verdict::Passed => writeln!(page, "<div class=\"{class}\">{line}</div>"),
        Verdict::Skipped(reason) => writeln!(page, "<div class=\"{class}\">{line}: {}</div>", escape(reason)),
        _ => {
            let _ = writeln!(page, "<details class=\"{class}\" open><summary>{line}</summary>");
            let _ = writeln!(
                page,
                "<p>{} <span class=\"t\">{}:{}</span></p>",
                escape(&headline(result)),
                escape(&result.id.file().display().to_string()),
                result.id.line()
            );
            for (title, content) in sections(result) {
                let _ = write!(page, "<h3>{}</h3>", escape(&title));
                if !content.is_empty() {
                    page.push_str("<pre>");
                    content.lines().for_each(|line| diff_line(page, line));
                    page.push_str("</pre>\n");
                }
            }
            writeln!(page, "</details>")
        }
    };
}

fn diff_line(page: &mut String, line: &str) {
    let class = match line.as_bytes().first() {
        Some(b'+') => "add",
        Some(b'-') => "del",
        _ => "",
    };
    let _ = match class {
        "" => writeln!(page, "{}", escape(line)),
        class => writeln!(page, "<span class=\"{class}\">{}</span>", escape(line)),
    };
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
