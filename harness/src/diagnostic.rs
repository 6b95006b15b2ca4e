//! Mistakes in case files, shown as rustc shows those in programs.

use core::ops::Range;
use std::fmt;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// A mistake in a case file, with the place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    message: String,
    path: PathBuf,
    source: String,
    span: Option<Range<usize>>,
    help: Option<String>,
}

impl Diagnostic {
    /// A mistake in the file at `path`, as a whole.
    pub(crate) fn in_file(path: &Path, message: impl Into<String>) -> Self {
        Self { message: message.into(), path: path.to_owned(), source: String::new(), span: None, help: None }
    }

    /// A mistake at the bytes `span` of `source`, the text of the file at `path`.
    pub(crate) fn at(path: &Path, source: &str, span: Range<usize>, message: impl Into<String>) -> Self {
        // The end of the text is a place, too; what is behind it is not.
        let end = span.end.min(source.len());
        let span = Some(span.start.min(end)..end);
        Self { source: source.to_owned(), span, ..Self::in_file(path, message) }
    }

    #[must_use]
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is wrong, without the place.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Line and column, both from 1 on and in characters, if the mistake has a place in the file.
    #[must_use]
    pub fn position(&self) -> Option<(usize, usize)> {
        let before = self.source.get(..self.span.as_ref()?.start)?;
        let line_start = before.rfind('\n').map_or(0, |at| at.saturating_add(1));
        let column = before.get(line_start..)?.chars().count();
        Some((line_of(before, before.len()), column.saturating_add(1)))
    }

    /// As text, with the line in question; in colours for a terminal.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let path = self.path.display().to_string();
        let title = Level::ERROR.primary_title(&*self.message);
        let group = match &self.span {
            Some(span) => title.element(
                Snippet::source(&*self.source).path(path).annotation(AnnotationKind::Primary.span(span.clone())),
            ),
            None => title.element(annotate_snippets::Origin::path(path)),
        };
        let group = match &self.help {
            Some(help) => group.element(Level::HELP.message(&**help)),
            None => group,
        };
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group])
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostic {}

/// The line, from 1 on, that holds the byte at `offset`.
fn line_of(source: &str, offset: usize) -> usize {
    let before = source.as_bytes().get(..offset.min(source.len())).unwrap_or_default();
    before.iter().filter(|&&byte| byte == b'\n').count().saturating_add(1)
}
