//! Lines as cargo-nextest prints them, with a progress bar on terminals.

use std::io::{self, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};

use super::{sections, tried};
use crate::case::CaseId;
use crate::run::{CaseResult, Event, RunReport, Verdict};

/// What to print.
#[derive(Clone, Copy, Debug, Default)]
pub struct HumanOptions {
    /// In colours.
    pub colour: bool,
    /// With a progress bar on standard error, which should be a terminal then.
    pub progress: bool,
    /// No line for cases that pass.
    pub quiet: bool,
}

/// A report for people, as the run goes on.
#[derive(Debug)]
pub struct Human<W> {
    out: W,
    options: HumanOptions,
    bar: ProgressBar,
    done: usize,
    total: usize,
}

const RULE: &str = "────────────";

impl<W: Write> Human<W> {
    /// A report to `out` on `total` cases.
    pub fn new(out: W, total: usize, options: HumanOptions) -> Self {
        let bar = match options.progress {
            true => ProgressBar::new(u64::try_from(total).unwrap_or(u64::MAX)),
            false => ProgressBar::hidden(),
        };
        // The template is one of ours: if it is wrong, the default will do.
        if let Ok(style) = ProgressStyle::with_template("     Running [{elapsed_precise}] {wide_bar} {pos}/{len} {msg}")
        {
            bar.set_style(style);
        }
        Self { out, options, bar, done: 0, total }
    }

    /// Says what is about to happen.
    ///
    /// # Errors
    /// Those of writing.
    pub fn start(&mut self, files: usize, skipped: usize, jobs: usize) -> io::Result<()> {
        let starting = self.styled(AnsiColor::Green.on_default().bold(), "    Starting");
        let left_out = if skipped > 0 { format!(" ({skipped} left out by filters)") } else { String::new() };
        let jobs = plural(jobs, "job");
        writeln!(self.out, "{RULE}")?;
        writeln!(self.out, "{starting} {} from {}, {jobs}{left_out}", plural(self.total, "case"), plural(files, "file"))
    }

    /// Says what happened.
    ///
    /// # Errors
    /// Those of writing.
    pub fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        match event {
            Event::Started(id) => {
                if self.options.progress {
                    self.bar.set_message(id.to_string());
                }
                Ok(())
            }
            Event::Slow(id, time) => {
                let line = self.line(AnsiColor::Yellow, "SLOW", &format!(">{:>7.3}s", time.as_secs_f64()), None, id);
                self.print(&line)
            }
            Event::Retrying(id, attempt) => {
                let line = self.line(AnsiColor::Yellow, &format!("TRY {attempt} FAIL"), "        ", None, id);
                self.print(&line)
            }
            Event::Done(result) => {
                self.done = self.done.saturating_add(1);
                self.bar.inc(1);
                if self.options.quiet && matches!(result.verdict, Verdict::Passed | Verdict::Skipped(_)) {
                    return Ok(());
                }
                let mut text = self.result_line(result, Some(self.done));
                if result.verdict.is_failure() {
                    text.push_str(&self.detail(result));
                }
                self.print(&text)
            }
        }
    }

    /// Says how it all went.
    ///
    /// # Errors
    /// Those of writing.
    pub fn finish(&mut self, report: &RunReport) -> io::Result<()> {
        self.bar.finish_and_clear();
        let passed = report.count(|result| result.verdict == Verdict::Passed);
        let failed = report.count(|result| matches!(result.verdict, Verdict::Failed(_)));
        let broken = report.count(|result| matches!(result.verdict, Verdict::Broken(_)));
        let skipped = report.count(|result| matches!(result.verdict, Verdict::Skipped(_)));
        let interrupted = report.count(|result| result.verdict == Verdict::Interrupted);
        let flaky = report.count(CaseResult::is_flaky);
        let run = passed.saturating_add(failed).saturating_add(broken).saturating_add(interrupted);

        let green = AnsiColor::Green.on_default().bold();
        let red = AnsiColor::Red.on_default().bold();
        let yellow = AnsiColor::Yellow.on_default().bold();
        let mut parts = vec![format!("{passed} {}", self.styled(green, "passed"))];
        if flaky > 0 {
            parts.push(format!("{flaky} {}", self.styled(yellow, "flaky")));
        }
        for (count, word) in [(failed, "failed"), (broken, "could not be run"), (interrupted, "interrupted")] {
            if count > 0 {
                parts.push(format!("{count} {}", self.styled(red, word)));
            }
        }
        if skipped > 0 {
            parts.push(format!("{skipped} {}", self.styled(yellow, "skipped")));
        }
        let seconds = report.time.as_secs_f64();
        let speed = run as f64 / seconds.max(0.001);
        // Of a few long cases it says nothing.
        let speed = if speed >= 10.0 { format!("; {speed:.0} cases/s") } else { String::new() };
        let summary = self.styled(if report.is_success() { green } else { red }, "     Summary");
        let mut text =
            format!("{RULE}\n{summary} [{seconds:>8.3}s] {} run: {}{speed}\n", plural(run, "case"), parts.join(", "));
        for result in report.results.iter().filter(|result| result.verdict.is_failure() || result.is_flaky()) {
            text.push_str(&self.result_line(result, None));
        }
        if report.interrupted {
            text.push_str("The run was interrupted; this report is of what was done by then.\n");
        }
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    fn print(&mut self, text: &str) -> io::Result<()> {
        let Self { bar, out, .. } = self;
        bar.suspend(|| {
            out.write_all(text.as_bytes())?;
            // On a terminal people watch; else a large buffer is quicker.
            if self.options.progress { out.flush() } else { Ok(()) }
        })
    }

    fn styled(&self, style: Style, text: &str) -> String {
        if self.options.colour { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    fn line(&self, colour: AnsiColor, word: &str, time: &str, at: Option<usize>, id: &CaseId) -> String {
        let word = self.styled(colour.on_default().bold(), &format!("{word:>12}"));
        let width = self.total.to_string().len();
        let at = at.map_or_else(String::new, |at| format!(" ({at:>width$}/{})", self.total));
        let dim = AnsiColor::Magenta.on_default().bold();
        let name = match id.name() {
            "" => self.styled(dim, id.group()),
            name => format!("{}::{name}", self.styled(dim, id.group())),
        };
        format!("{word} [{time}]{at} {name}\n")
    }

    fn result_line(&self, result: &CaseResult, at: Option<usize>) -> String {
        let (colour, word) = match &result.verdict {
            Verdict::Passed if result.is_flaky() => (AnsiColor::Yellow, "FLAKY"),
            Verdict::Passed => (AnsiColor::Green, "PASS"),
            Verdict::Failed(_) => (AnsiColor::Red, "FAIL"),
            Verdict::Broken(_) => (AnsiColor::Red, "ERROR"),
            Verdict::Skipped(_) => (AnsiColor::Yellow, "SKIP"),
            Verdict::Interrupted => (AnsiColor::Red, "SIGINT"),
        };
        let mut line = self.line(colour, word, &time(result.time), at, &result.id);
        if let Some(tried) = tried(result) {
            line.truncate(line.trim_end().len());
            line.push_str(&format!(" ({tried})\n"));
        }
        line
    }

    fn detail(&self, result: &CaseResult) -> String {
        let mut text = String::new();
        let file = result.id.file().display();
        let place = match result.id.line() {
            0 | 1 => format!("  at {file}\n"),
            line => format!("  at {file}:{line}\n"),
        };
        text.push_str(&place);
        for (title, content) in sections(result) {
            let title = self.styled(AnsiColor::Red.on_default(), &title);
            text.push_str(&format!("  {title}{}\n", if content.is_empty() { "" } else { ":" }));
            for line in content.lines() {
                let line = line.replace('\r', "\\r");
                let styled = match line.as_bytes().first() {
                    Some(b'+') => self.styled(AnsiColor::Green.on_default(), &line),
                    Some(b'-') => self.styled(AnsiColor::Red.on_default(), &line),
                    _ => line,
                };
                text.push_str(&format!("    {styled}\n"));
            }
        }
        text.push('\n');
        text
    }
}

fn time(time: Duration) -> String {
    format!("{:>8.3}s", time.as_secs_f64())
}

fn plural(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
