//! JUnit XML, in the form that cargo-nextest writes and CI servers read: a suite a file.
//!
//! Nothing is in it that the schema of Jenkins' xunit plugin (`junit-10.xsd`) does not have: it is the strictest reader.
//! So a case's file stands at its suite, and its line in the text of a failure.

use std::io;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use super::{headline, sections};
use crate::check::shown;
use crate::run::{CaseResult, RunReport, Verdict};

/// The report as JUnit XML.
///
/// # Errors
/// Those of writing; none to memory.
pub fn junit(report: &RunReport) -> io::Result<Vec<u8>> {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 4);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let all: Vec<_> = report.results.iter().collect();
    let mut attributes = vec![("name", "mountless".to_owned())];
    attributes.extend(counts(&all).into_iter().filter(|(name, _)| *name != "skipped"));
    attributes.push(("time", seconds(report.time)));
    element(&mut writer, "testsuites", &attributes, |writer| {
        // The cases of a file stand together.
        for suite in all.chunk_by(|one, other| one.id.group() == other.id.group()) {
            let Some(first) = suite.first() else { continue };
            let mut attributes = vec![("name", first.id.group().to_owned())];
            attributes.extend(counts(suite));
            attributes.push(("time", seconds(suite.iter().map(|result| result.time).sum())));
            attributes.push(("file", first.id.file().display().to_string()));
            element(writer, "testsuite", &attributes, |writer| {
                suite.iter().try_for_each(|result| case(writer, result))
            })?;
        }
        Ok(())
    })?;
    let mut xml = writer.into_inner();
    xml.push(b'\n');
    Ok(xml)
}

type Attributes = Vec<(&'static str, String)>;

fn counts(results: &[&CaseResult]) -> Attributes {
    let count = |is: fn(&Verdict) -> bool| results.iter().filter(|result| is(&result.verdict)).count().to_string();
    vec![
        ("tests", results.len().to_string()),
        ("skipped", count(|verdict| matches!(verdict, Verdict::Skipped(_)))),
        ("errors", count(|verdict| matches!(verdict, Verdict::Broken(_) | Verdict::Interrupted))),
        ("failures", count(|verdict| matches!(verdict, Verdict::Failed(_)))),
    ]
}

fn case(writer: &mut Writer<Vec<u8>>, result: &CaseResult) -> io::Result<()> {
    let name = if result.id.name().is_empty() { result.id.group() } else { result.id.name() };
    let attributes =
        vec![("name", name.to_owned()), ("classname", result.id.group().to_owned()), ("time", seconds(result.time))];
    element(writer, "testcase", &attributes, |writer| {
        let message = ("message", headline(result));
        let place = format!("at {}:{}\n", result.id.file().display(), result.id.line().max(1));
        let told = sections(result).into_iter().map(|(title, content)| format!("{title}\n{content}\n"));
        let body: String = std::iter::once(place).chain(told).collect();
        match &result.verdict {
            Verdict::Passed => {}
            Verdict::Skipped(_) => empty(writer, "skipped", &[message])?,
            Verdict::Failed(_) => text(writer, "failure", &[message, ("type", "test failure".to_owned())], &body)?,
            Verdict::Broken(_) | Verdict::Interrupted => {
                text(writer, "error", &[message, ("type", "test error".to_owned())], &body)?;
            }
        }
        // Jenkins' name for attempts that failed before one passed.
        for attempt in 1..=if result.is_flaky() { result.failed_attempts } else { 0 } {
            let attributes = [("message", format!("attempt {attempt} failed")), ("type", "test failure".to_owned())];
            empty(writer, "flakyFailure", &attributes)?;
        }
        for (name, bytes) in [("system-out", &result.stdout), ("system-err", &result.stderr)] {
            if !bytes.is_empty() {
                text(writer, name, &[], &shown(bytes))?;
            }
        }
        Ok(())
    })
}

fn element(
    writer: &mut Writer<Vec<u8>>,
    name: &str,
    attributes: &[(&str, String)],
    content: impl FnOnce(&mut Writer<Vec<u8>>) -> io::Result<()>,
) -> io::Result<()> {
    start(writer, name, attributes).write_inner_content(content).map(drop)
}

fn empty(writer: &mut Writer<Vec<u8>>, name: &str, attributes: &[(&str, String)]) -> io::Result<()> {
    start(writer, name, attributes).write_empty().map(drop)
}

fn text(writer: &mut Writer<Vec<u8>>, name: &str, attributes: &[(&str, String)], text: &str) -> io::Result<()> {
    start(writer, name, attributes).write_text_content(BytesText::new(&allowed(text))).map(drop)
}

fn start<'w>(
    writer: &'w mut Writer<Vec<u8>>,
    name: &str,
    attributes: &[(&str, String)],
) -> quick_xml::writer::ElementWriter<'w, Vec<u8>> {
    let allowed: Vec<_> = attributes.iter().map(|(name, value)| (*name, allowed(value))).collect();
    let attributes = allowed.iter().map(|(name, value)| (*name, &**value));
    writer.create_element(name.to_owned()).with_attributes(attributes)
}

/// XML has no way to write some characters, programs do not care.
fn allowed(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'.. => c,
            _ => '\u{fffd}',
        })
        .collect()
}

fn seconds(time: std::time::Duration) -> String {
    format!("{:.3}", time.as_secs_f64())
}
