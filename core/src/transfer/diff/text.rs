//! The content of files that differ, line by line, as `diff -u` and git show it.
//!
//! The algorithm is Myers', with git's heuristics for where it would take too long and for where a change looks best.

use alloc::vec::Vec;
use core::ops::Range;
use std::io::{self, Write};

use bytes::Bytes;
use imara_diff::{Algorithm, Diff, InternedInput};

use super::Side;
use crate::attr::FileType;
use crate::checked::{min_len, to_u64};
use crate::error::Result;
use crate::limits::{DIFF_LINES_MAX, DIFF_TEXT_MAX, READ_SHARED_MAX};

/// How the content of two files differs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ContentDiff {
    /// In lines of text.
    Text(TextDiff),
    /// In bytes that are no text: there is a NUL among the first of one of them.
    Binary,
    /// One of them has more than [`DIFF_TEXT_MAX`] bytes.
    TooLong,
}

/// How two texts differ.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TextDiff {
    before: Text,
    after: Text,
    /// Lines that are not the same, in order; between them as many lines are on either side.
    edits: Vec<Edit>,
}

/// Lines of one text that stand for lines of another.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Edit {
    before: Range<u32>,
    after: Range<u32>,
}

/// Lines that differ close to each other, and some around them that do not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hunk<'a> {
    /// Which lines of the text before they are, counted from 0.
    pub before: Range<u32>,
    /// Which lines of the text after.
    pub after: Range<u32>,
    /// The lines of both.
    pub lines: Vec<Line<'a>>,
}

/// A line of a [`Hunk`], with the newline at its end if it has one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Line<'a> {
    /// It is in both texts.
    Same(&'a [u8]),
    /// It is in the text before.
    Removed(&'a [u8]),
    /// It is in the text after.
    Added(&'a [u8]),
}

impl<'a> Line<'a> {
    /// What stands in front of it: a space, `-` or `+`.
    #[must_use]
    pub const fn sign(self) -> char {
        match self {
            Self::Same(_) => ' ',
            Self::Removed(_) => '-',
            Self::Added(_) => '+',
        }
    }

    /// The line itself.
    #[must_use]
    pub const fn text(self) -> &'a [u8] {
        match self {
            Self::Same(text) | Self::Removed(text) | Self::Added(text) => text,
        }
    }
}

/// Compares the content of two nodes, or shows that of one that came or went; what is no file has none. `None` where
/// neither is a file, or both hold the same.
///
/// # Errors
/// Those of reading them.
pub fn content_diff(before: Option<&Side>, after: Option<&Side>) -> Result<Option<ContentDiff>> {
    let is_file = |side: &&Side| side.attr.file_type == FileType::File;
    let (before, after) = (before.filter(is_file), after.filter(is_file));
    if before.is_none() && after.is_none() {
        return Ok(None);
    }
    for side in [before, after].into_iter().flatten() {
        if is_binary(&side.node.fs().read_shared(side.node.node(), 0, TEXT_PROBE_LEN)?) {
            return Ok(Some(ContentDiff::Binary));
        }
    }
    let (Some(before), Some(after)) = (text(before)?, text(after)?) else { return Ok(Some(ContentDiff::TooLong)) };
    let diff = TextDiff::new(before, after);
    Ok((!diff.edits.is_empty()).then_some(ContentDiff::Text(diff)))
}

/// Bytes that tell whether it is text, as for git.
const TEXT_PROBE_LEN: usize = 8000;

fn is_binary(head: &[u8]) -> bool {
    head.contains(&0)
}

/// The whole content, none where there is no file; `None` if it is too long.
fn text(side: Option<&Side>) -> Result<Option<Bytes>> {
    let Some(side) = side else { return Ok(Some(Bytes::new())) };
    if side.attr.size > DIFF_TEXT_MAX {
        return Ok(None);
    }
    let mut text = Vec::new();
    loop {
        let (len, left) = (to_u64(text.len()), DIFF_TEXT_MAX.saturating_sub(to_u64(text.len())));
        // One more than there may be: files may be longer than they say.
        let run =
            side.node.fs().read_shared(side.node.node(), len, min_len(READ_SHARED_MAX, left.saturating_add(1)))?;
        if to_u64(run.len()) > left {
            return Ok(None);
        }
        match (run.is_empty(), text.is_empty()) {
            (true, _) => return Ok(Some(text.into())),
            // Often all is there at once, and need not be copied.
            (false, true) if to_u64(run.len()) == side.attr.size => return Ok(Some(run)),
            _ => text.extend_from_slice(&run),
        }
    }
}

impl TextDiff {
    /// Compares two texts.
    #[must_use]
    pub fn new(before: impl Into<Bytes>, after: impl Into<Bytes>) -> Self {
        let (before, after) = (Text::new(before.into()), Text::new(after.into()));
        let edits = edits(&before, &after);
        Self { before, after, edits }
    }

    /// What differs, each with so many lines around it as they are `context`, unless there are none.
    pub fn hunks(&self, context: u32) -> impl Iterator<Item = Hunk<'_>> {
        let mut rest = &*self.edits;
        core::iter::from_fn(move || {
            let first = rest.first()?;
            // Those that are so close that the lines around them would meet are one.
            let reach = |edit: &Edit| edit.before.end.saturating_add(context.saturating_mul(2));
            let count = rest.windows(2).position(|two| match two {
                [one, next] => next.before.start > reach(one),
                _ => false,
            });
            let (these, later) = rest.split_at_checked(count.map_or(rest.len(), |count| count.saturating_add(1)))?;
            rest = later;
            Some(self.hunk(these, first, these.last()?, context))
        })
    }

    fn hunk(&self, edits: &[Edit], first: &Edit, last: &Edit, context: u32) -> Hunk<'_> {
        let above = context.min(first.before.start);
        let below = context.min(self.before.count().saturating_sub(last.before.end));
        let before = first.before.start.saturating_sub(above)..last.before.end.saturating_add(below);
        let after = first.after.start.saturating_sub(above)..last.after.end.saturating_add(below);
        let mut lines = Vec::new();
        let mut at = before.start;
        for edit in edits {
            lines.extend(self.before.lines(at..edit.before.start).map(Line::Same));
            lines.extend(self.before.lines(edit.before.clone()).map(Line::Removed));
            lines.extend(self.after.lines(edit.after.clone()).map(Line::Added));
            at = edit.before.end;
        }
        lines.extend(self.before.lines(at..before.end).map(Line::Same));
        Hunk { before, after, lines }
    }

    /// Writes all hunks, with `context` lines around each, as `diff -u` does.
    ///
    /// # Errors
    /// What `out` answers.
    pub fn write(&self, mut out: impl Write, context: u32) -> io::Result<()> {
        for hunk in self.hunks(context) {
            writeln!(out, "{}", hunk.head())?;
            for line in &hunk.lines {
                write!(out, "{}", line.sign())?;
                out.write_all(line.text())?;
                if !line.text().ends_with(b"\n") {
                    writeln!(out, "\n{NO_NEWLINE}")?;
                }
            }
        }
        Ok(())
    }
}

/// What stands below the last line of a text that does not end with a newline.
pub const NO_NEWLINE: &str = "\\ No newline at end of file";

impl Hunk<'_> {
    /// Its first line, `@@ -1,4 +1,5 @@`.
    #[must_use]
    pub fn head(&self) -> String {
        // A count of one is left out, and no lines are behind the one before them.
        let range = |lines: &Range<u32>| match lines.len() {
            0 => format!("{},0", lines.start),
            1 => format!("{}", lines.end),
            count => format!("{},{count}", lines.start.saturating_add(1)),
        };
        format!("@@ -{} +{} @@", range(&self.before), range(&self.after))
    }
}

/// A text and where its lines end.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Text {
    bytes: Bytes,
    ends: Vec<u32>,
}

impl Text {
    fn new(bytes: Bytes) -> Self {
        let mut ends: Vec<u32> = Vec::new();
        let mut end: usize = 0;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            end = end.saturating_add(line.len());
            // OK: a longer text would be all one line from there on; `content_diff` has none.
            ends.push(u32::try_from(end).unwrap_or(u32::MAX));
        }
        Self { bytes, ends }
    }

    fn count(&self) -> u32 {
        u32::try_from(self.ends.len()).unwrap_or(u32::MAX)
    }

    fn line(&self, number: u32) -> &[u8] {
        let end = |number: usize| self.ends.get(number).and_then(|end| usize::try_from(*end).ok());
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        let start = number.checked_sub(1).and_then(end).unwrap_or(0);
        self.bytes.get(start..end(number).unwrap_or(start)).unwrap_or_default()
    }

    fn lines(&self, numbers: Range<u32>) -> impl DoubleEndedIterator<Item = &[u8]> + Clone {
        numbers.map(|number| self.line(number))
    }
}

/// The lines that differ.
fn edits(before: &Text, after: &Text) -> Vec<Edit> {
    let (before_count, after_count) = (before.count(), after.count());
    let shorter = before_count.min(after_count);
    let count = |same: usize| u32::try_from(same).unwrap_or(u32::MAX);
    let above = before.lines(0..shorter).zip(after.lines(0..shorter)).take_while(|(one, other)| one == other);
    let above = count(above.count());
    let (one, other) = (before.lines(above..before_count).rev(), after.lines(above..after_count).rev());
    let below = count(one.zip(other).take_while(|(one, other)| one == other).count());
    let middle =
        Edit { before: above..before_count.saturating_sub(below), after: above..after_count.saturating_sub(below) };
    if middle.before.is_empty() && middle.after.is_empty() {
        return Vec::new();
    }
    // Of long texts that have little in common every line would be compared with every other.
    if middle.before.len().min(middle.after.len()) > DIFF_LINES_MAX {
        return Vec::from([middle]);
    }
    let mut input = InternedInput::default();
    input.update_before(before.lines(0..before_count));
    input.update_after(after.lines(0..after_count));
    let mut diff = Diff::compute(Algorithm::Myers, &input);
    diff.postprocess_lines(&input);
    diff.hunks().map(|hunk| Edit { before: hunk.before, after: hunk.after }).collect()
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn shown(before: &str, after: &str, context: u32) -> String {
        let mut out = Vec::new();
        TextDiff::new(before.to_owned(), after.to_owned()).write(&mut out, context).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn numbers(range: Range<u32>) -> String {
        range.fold(String::new(), |mut text, number| {
            writeln!(text, "{number}").unwrap();
            text
        })
    }

    #[test]
    fn hunks_have_lines_around_them_and_are_joined_where_those_meet() {
        let before = numbers(1..30);
        let after = before.replace("\n4\n", "\nfour\n").replace("\n11\n", "\n").replace("\n20\n", "\n20\n20 1/2\n");
        insta::assert_snapshot!(shown(&before, &after, 3), @"
        @@ -1,14 +1,13 @@
         1
         2
         3
        -4
        +four
         5
         6
         7
         8
         9
         10
        -11
         12
         13
         14
        @@ -18,6 +17,7 @@
         18
         19
         20
        +20 1/2
         21
         22
         23
        ");
        insta::assert_snapshot!(shown(&before, &after, 0), @"
        @@ -4 +4 @@
        -4
        +four
        @@ -11 +10,0 @@
        -11
        @@ -20,0 +20 @@
        +20 1/2
        ");
    }

    #[test]
    fn texts_that_came_went_or_end_without_a_newline() {
        assert_eq!(shown("", "", 3), "");
        assert_eq!(shown("a\n", "a\n", 3), "");
        assert_eq!(shown("", "a\nb\n", 3), "@@ -0,0 +1,2 @@\n+a\n+b\n");
        assert_eq!(shown("a", "", 3), "@@ -1 +0,0 @@\n-a\n\\ No newline at end of file\n");
        let cut = "@@ -1,2 +1,2 @@\n a\n-b\n+b\n\\ No newline at end of file\n";
        assert_eq!(shown("a\nb\n", "a\nb", 3), cut);
    }

    /// A change is put where people would see it, as git does: at blocks, not across them.
    #[test]
    fn a_function_that_came_is_one_block() {
        let one = "fn a() {\n    x();\n}\n";
        let two = "fn a() {\n    x();\n}\n\nfn b() {\n    x();\n}\n";
        assert_eq!(shown(one, two, 0), "@@ -3,0 +4,4 @@\n+\n+fn b() {\n+    x();\n+}\n");
    }

    /// What git and we say of texts is applied by hand, and gives the other one, whatever they are.
    #[test]
    fn hunks_turn_one_text_into_the_other() {
        let bytes: Vec<u8> =
            (0..60_000_u64).map(|at| at.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()[5]).collect();
        for seed in bytes.chunks(60) {
            let mut choices = arbitrary::Unstructured::new(seed);
            let mut text = || {
                let lines = choices.int_in_range(0..=12).unwrap();
                let line = |_| *choices.choose(&["a\n", "b\n", "\n", "  c\n", "d d\n", "e"]).unwrap();
                (0..lines).map(line).collect::<String>()
            };
            let (before, after) = (text(), text());
            for context in [0, 1, 3, u32::MAX] {
                assert_eq!(applied(&before, &TextDiff::new(before.clone(), after.clone()), context), after);
            }
        }
    }

    fn applied(before: &str, diff: &TextDiff, context: u32) -> String {
        let lines: Vec<_> = before.split_inclusive('\n').collect();
        let (mut made, mut at) = (Vec::new(), 0);
        for hunk in diff.hunks(context) {
            let start = usize::try_from(hunk.before.start).unwrap();
            made.extend(lines[at..start].iter().map(|line| line.as_bytes()));
            assert_eq!(made.len(), usize::try_from(hunk.after.start).unwrap());
            at = start;
            for line in hunk.lines {
                if line.sign() != '+' {
                    assert_eq!(line.text(), lines[at].as_bytes());
                    at += 1;
                }
                if line.sign() != '-' {
                    made.push(line.text());
                }
            }
            assert_eq!((at, made.len()), (hunk.before.end.try_into().unwrap(), hunk.after.end.try_into().unwrap()));
        }
        made.extend(lines[at..].iter().map(|line| line.as_bytes()));
        String::from_utf8(made.concat()).unwrap()
    }

    /// Lines of two kinds in no order are the worst that there is.
    #[test]
    fn long_texts_without_anything_in_common_take_no_time_to_speak_of() {
        let noise = |seed: u64| -> String {
            let bit = |at: u64| (at ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_mul(at | 1) >> 63;
            (0..400_000).map(|at| if bit(at) == 0 { "0\n" } else { "1\n" }).collect()
        };
        let start = std::time::Instant::now();
        let diff = TextDiff::new(noise(1), noise(2));
        assert_eq!(diff.hunks(3).count(), 1);
        assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    }
}
