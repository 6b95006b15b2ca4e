//! The content of files that differ: unified diffs, as git and `diff -u` print them and patch(1) takes them.

use std::borrow::Cow;
use std::io::{self, Write};

use mountless::attr::FileType;
use mountless::limits::DIFF_TEXT_MAX;
use mountless::name::escape;
use mountless::transfer::diff::{ContentDiff, Hunk, NO_NEWLINE, Side};

use crate::json::Object;
use crate::output::{self, Styled};

/// Two sides of a file, either of which may be missing, and how they differ.
pub(super) struct Content<'a> {
    /// Where it was.
    pub(super) from: &'a [u8],
    /// Where it is.
    pub(super) to: &'a [u8],
    pub(super) before: Option<&'a Side>,
    pub(super) after: Option<&'a Side>,
    pub(super) diff: ContentDiff,
    /// Lines shown around what differs.
    pub(super) context: u32,
}

impl Content<'_> {
    /// As lines below the one that tells of the change. What would do something to a terminal is shown by its number
    /// there; elsewhere every byte stays what it is.
    pub(super) fn show(&self, out: &mut impl Write, colour: bool, is_terminal: bool) -> io::Result<()> {
        let (from, to) = (self.name(self.before, b'a', self.from), self.name(self.after, b'b', self.to));
        let text = match &self.diff {
            ContentDiff::Text(text) => text,
            ContentDiff::Binary => return writeln!(out, "Binary files {from} and {to} differ"),
            ContentDiff::TooLong => {
                let max = DIFF_TEXT_MAX >> 20;
                return writeln!(out, "Files {from} and {to} differ, one has more than {max} MiB");
            }
        };
        let bold = output::bold(colour);
        writeln!(out, "{}", Styled(bold, format_args!("--- {from}{}", tab(&from))))?;
        writeln!(out, "{}", Styled(bold, format_args!("+++ {to}{}", tab(&to))))?;
        for hunk in text.hunks(self.context) {
            writeln!(out, "{}", Styled(output::of_change(colour, 'R'), hunk.head()))?;
            for line in &hunk.lines {
                let style = output::of_line(colour, line.sign());
                let text = line.text().strip_suffix(b"\n");
                write!(out, "{style}{}", line.sign())?;
                out.write_all(&shown(text.unwrap_or(line.text()), is_terminal))?;
                writeln!(out, "{style:#}")?;
                if text.is_none() {
                    writeln!(out, "{NO_NEWLINE}")?;
                }
            }
        }
        Ok(())
    }

    /// As fields of the change.
    pub(super) fn write_json<W: Write>(&self, object: &mut Object<'_, W>) -> io::Result<()> {
        let text = match &self.diff {
            ContentDiff::Text(text) => text,
            ContentDiff::Binary => return object.text("content", "binary"),
            ContentDiff::TooLong => return object.text("content", "too long"),
        };
        object.text("content", "text")?;
        let hunks: Vec<Hunk<'_>> = text.hunks(self.context).collect();
        object.array("hunks", &hunks, |hunk, object| {
            object.text("head", hunk.head())?;
            let mut lines = Vec::new();
            for line in &hunk.lines {
                let text = line.text().strip_suffix(b"\n");
                lines.push(format!("{}{}", line.sign(), escape(text.unwrap_or(line.text()))));
                if text.is_none() {
                    lines.push(NO_NEWLINE.to_owned());
                }
            }
            object.texts("lines", &lines)
        })
    }

    fn name(&self, side: Option<&Side>, letter: u8, path: &[u8]) -> String {
        if side.is_none_or(|side| side.attr.file_type != FileType::File) {
            return "/dev/null".to_owned();
        }
        quoted(&[&[letter][..], path].concat())
    }
}

/// A name with blanks ends with a tab, or who reads it would not know where it ends.
fn tab(name: &str) -> &'static str {
    if name.contains(' ') { "\t" } else { "" }
}

/// A path as git writes it: in quotes where it has something that a line cannot hold.
fn quoted(path: &[u8]) -> String {
    let is_plain = |text: &str| !text.chars().any(|char| char.is_control() || matches!(char, '"' | '\\'));
    match core::str::from_utf8(path) {
        Ok(text) if is_plain(text) => text.to_owned(),
        _ => {
            // Backslashes are among what is escaped by number.
            let inner = escape(path).to_string().replace('"', "\\\"");
            format!("\"{inner}\"")
        }
    }
}

/// A line, on a terminal without what the terminal would take for commands.
fn shown(line: &[u8], is_terminal: bool) -> Cow<'_, [u8]> {
    if !is_terminal {
        return Cow::Borrowed(line);
    }
    let mut shown = Vec::with_capacity(line.len());
    for chunk in line.utf8_chunks() {
        for character in chunk.valid().split_inclusive(|char: char| char.is_control()) {
            let last = character.chars().next_back().filter(|last| last.is_control() && *last != '\t');
            let plain = character.len().saturating_sub(last.map_or(0, char::len_utf8));
            let (plain, command) = character.split_at_checked(plain).unwrap_or((character, ""));
            shown.extend_from_slice(plain.as_bytes());
            shown.extend_from_slice(escape(command.as_bytes()).to_string().as_bytes());
        }
        shown.extend_from_slice(escape(chunk.invalid()).to_string().as_bytes());
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_as_git_does() {
        assert_eq!(quoted("a/grün b".as_bytes()), "a/grün b");
        assert_eq!(quoted(b"a/\"b\"\\\n\xff"), r#""a/\"b\"\134\012\377""#);
    }

    #[test]
    fn a_terminal_is_given_no_commands() {
        let line = "\ta\\ \x1b[31mred grün\u{9b}0m".as_bytes();
        assert_eq!(shown(line, false), line);
        assert_eq!(String::from_utf8_lossy(&shown(line, true)), "\ta\\ \\033[31mred grün\\302\\2330m");
        assert_eq!(&*shown(b"a\xffb\r", true), b"a\\377b\\015");
    }
}
