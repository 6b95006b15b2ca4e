//! Manifests: what Nanos' mkfs is told to make an image of.
//!
//! A tuple of names and values, in the language that mkfs reads. Where mkfs stops without a word, goes on for ever or
//! drops something, the answer here is an error, or at least a remark, with line and column. No recursion, so that
//! depth is bounded by [`TFS_MANIFEST_DEPTH_MAX`] alone.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::errno::Errno;
use crate::error::Error;
use crate::limits::{SKIPPED_KEPT_MAX, TFS_MANIFEST_DEPTH_MAX};

/// A place in a manifest, both counted from 1; a column is a character.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Position {
    /// Line.
    pub line: u32,
    /// Character of the line.
    pub column: u32,
}

impl Position {
    const START: Self = Self { line: 1, column: 1 };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// What is wrong with a manifest, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{position}: {reason}")]
pub struct ManifestError {
    /// Where.
    pub position: Position,
    /// What.
    pub reason: ManifestFault,
}

impl From<ManifestError> for Error {
    fn from(error: ManifestError) -> Self {
        Self::new(Errno::Invalid, error)
    }
}

/// See [`ManifestError`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestFault {
    /// Bytes that are no text.
    #[error("this is not UTF-8")]
    NotUtf8,
    /// The manifest does not begin with a tuple, or something else follows it.
    #[error("expected \"(\", found {0}")]
    NoTuple(Found),
    /// The manifest ends inside of something.
    #[error("the manifest ends inside the {what} that begins at {begins}: \"{missing}\" is missing")]
    Unclosed {
        /// What is not closed.
        what: &'static str,
        /// Where it was opened.
        begins: Position,
        /// What would close it.
        missing: char,
    },
    /// There is nothing at all.
    #[error("the manifest is empty; the least is \"(children:())\"")]
    Empty,
    /// A name or a closing parenthesis is missing.
    #[error("expected a name or \")\", found {0}")]
    NoName(Found),
    /// The name is not followed by a colon.
    #[error(
        "expected \":\" behind the name \"{name}\", found {found}; put names with blanks, \"/\" or \"|\" in quotes"
    )]
    NoColon {
        /// The name.
        name: String,
        /// What follows it.
        found: Found,
    },
    /// The wrong parenthesis in a vector.
    #[error("expected a value or \"]\", found {0}")]
    NoElement(Found),
    /// A name that stands for nothing.
    #[error("an empty name")]
    EmptyName,
    /// Tuples in tuples without end.
    #[error("more than {max} tuples or vectors inside one another")]
    TooDeep {
        /// The limit.
        max: usize,
    },
    /// The value has no meaning here. Told by whoever gives meaning to manifests.
    #[error("{0}")]
    Meaning(String),
}

/// A character, or the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found(pub Option<char>);

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(found) => write!(f, "\"{}\"", found.escape_debug()),
            None => f.write_str("the end"),
        }
    }
}

/// Something that mkfs does too, but that is hardly meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ManifestRemark {
    /// Where.
    pub position: Position,
    /// What.
    pub what: Remark,
}

impl fmt::Display for ManifestRemark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.position, self.what)
    }
}

/// See [`ManifestRemark`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Remark {
    /// Blanks at the end of a vector.
    #[error("blanks in front of \"]\" make an empty element, as they do for Nanos")]
    EmptyElement,
    /// The same name twice in a tuple.
    #[error("\"{0}\" is given again further down, this one does not count")]
    Overridden(String),
    /// A manifest in front of the one that counts.
    #[error("another tuple follows, this one does not count")]
    Replaced,
}

/// A value, and where it begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ManifestValue {
    /// Where.
    pub position: Position,
    /// What.
    pub kind: ManifestKind,
}

/// What a value is. Everything that is neither tuple nor vector is a string.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ManifestKind {
    /// A string.
    String(String),
    /// Names and values, sorted by name, each name once.
    Tuple(Vec<ManifestEntry>),
    /// Values.
    Vector(Vec<ManifestValue>),
}

/// A name of a tuple.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ManifestEntry {
    /// Where the name begins.
    pub position: Position,
    /// The name.
    pub name: String,
    /// What it stands for.
    pub value: ManifestValue,
}

impl ManifestValue {
    /// The value of `name`, if this is a tuple that has it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        let ManifestKind::Tuple(entries) = &self.kind else { return None };
        let at = entries.binary_search_by(|entry| entry.name.as_str().cmp(name)).ok()?;
        entries.get(at).map(|entry| &entry.value)
    }

    /// The string, if it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            ManifestKind::String(string) => Some(string),
            _ => None,
        }
    }

    /// An error at this value.
    #[must_use]
    pub fn error(&self, meaning: impl Into<String>) -> ManifestError {
        ManifestError { position: self.position, reason: ManifestFault::Meaning(meaning.into()) }
    }
}

/// A manifest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// The root: always a tuple.
    pub root: ManifestValue,
    /// What is hardly meant; the first [`SKIPPED_KEPT_MAX`].
    pub remarks: Vec<ManifestRemark>,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Self, ManifestError> {
        let text = core::str::from_utf8(text).map_err(|error| {
            let valid = text.get(..error.valid_up_to()).and_then(|valid| core::str::from_utf8(valid).ok());
            let mut cursor = Cursor::new(valid.unwrap_or_default());
            while cursor.bump().is_some() {}
            cursor.error(ManifestFault::NotUtf8)
        })?;
        let mut parser = Parser { cursor: Cursor::new(text), open: Vec::new(), remarks: Vec::new() };
        let mut root: Option<ManifestValue> = None;
        loop {
            parser.cursor.skip_blanks();
            match (parser.cursor.peek(), root.take()) {
                (None, Some(root)) => return Ok(Self { root, remarks: parser.remarks }),
                (None, None) => return Err(parser.cursor.error(ManifestFault::Empty)),
                (Some('('), before) => {
                    if let Some(before) = before {
                        parser.remark(before.position, Remark::Replaced);
                    }
                    root = Some(parser.tuple()?);
                }
                (found, _) => return Err(parser.cursor.error(ManifestFault::NoTuple(Found(found)))),
            }
        }
    }

    /// Adds the entries of another manifest's root, in the place of those with the same name.
    pub fn extend(&mut self, other: Self) {
        let (ManifestKind::Tuple(entries), ManifestKind::Tuple(added)) = (&mut self.root.kind, other.root.kind) else {
            return;
        };
        entries.retain(|entry| added.binary_search_by(|other| other.name.cmp(&entry.name)).is_err());
        entries.extend(added);
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        self.remarks.extend(other.remarks);
    }
}

/// Where reading has come to.
#[derive(Clone, Copy, Debug)]
struct Cursor<'a> {
    rest: &'a str,
    position: Position,
}

impl<'a> Cursor<'a> {
    const fn new(text: &'a str) -> Self {
        Self { rest: text, position: Position::START }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next()?;
        self.rest = chars.as_str();
        let Position { line, column } = &mut self.position;
        if next == '\n' {
            (*line, *column) = (line.saturating_add(1), 1);
        } else {
            *column = column.saturating_add(1);
        }
        Some(next)
    }

    /// Skips blanks and comments; whether there were any.
    fn skip_blanks(&mut self) -> bool {
        let before = self.rest.len();
        while let Some(next) = self.peek() {
            match next {
                ' ' | '\t' | '\r' | '\n' => drop(self.bump()),
                '#' => while self.bump().is_some_and(|next| next != '\n') {},
                _ => break,
            }
        }
        self.rest.len() != before
    }

    const fn error(&self, reason: ManifestFault) -> ManifestError {
        ManifestError { position: self.position, reason }
    }

    /// Text up to a character that ends it.
    fn bare(&mut self, ends: impl Fn(char) -> bool) -> String {
        let begin = self.rest;
        while self.peek().is_some_and(|next| !ends(next)) {
            self.bump();
        }
        let len = begin.len().saturating_sub(self.rest.len());
        begin.get(..len).unwrap_or_default().into()
    }

    /// Text in quotes, of which the first is next.
    fn quoted(&mut self) -> Result<String, ManifestError> {
        let begins = self.position;
        let mut text = String::new();
        self.bump();
        loop {
            match self.bump() {
                Some('"') => return Ok(text),
                Some('\\') => text.extend(self.bump()),
                Some(other) => text.push(other),
                None => {
                    let reason = ManifestFault::Unclosed { what: "text in quotes", begins, missing: '"' };
                    return Err(self.error(reason));
                }
            }
        }
    }
}

const fn ends_string(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n' | '(' | ')' | '[' | ']')
}

const fn ends_name(character: char) -> bool {
    ends_string(character) || matches!(character, ':' | '|' | '/')
}

/// A tuple or vector that is not complete.
enum Open {
    Tuple {
        position: Position,
        entries: Vec<ManifestEntry>,
        /// A name whose value comes next.
        name: Option<(Position, String)>,
    },
    Vector {
        position: Position,
        elements: Vec<ManifestValue>,
    },
}

struct Parser<'a> {
    cursor: Cursor<'a>,
    open: Vec<Open>,
    remarks: Vec<ManifestRemark>,
}

impl Parser<'_> {
    fn remark(&mut self, position: Position, what: Remark) {
        if self.remarks.len() < SKIPPED_KEPT_MAX {
            self.remarks.push(ManifestRemark { position, what });
        }
    }

    /// A tuple, of which the parenthesis is next.
    fn tuple(&mut self) -> Result<ManifestValue, ManifestError> {
        self.begin(true)?;
        loop {
            let complete = match self.open.last_mut() {
                Some(Open::Tuple { name, .. }) if name.is_none() => self.name()?,
                Some(Open::Tuple { .. }) => {
                    self.cursor.skip_blanks();
                    self.value()?
                }
                Some(Open::Vector { .. }) => self.element()?,
                // Never: what is complete is handed out below.
                None => return Err(self.cursor.error(ManifestFault::Empty)),
            };
            let Some(complete) = complete else { continue };
            match self.open.last_mut() {
                None => return Ok(complete),
                Some(Open::Vector { elements, .. }) => elements.push(complete),
                Some(Open::Tuple { entries, name, .. }) => {
                    if let Some((position, name)) = name.take() {
                        entries.push(ManifestEntry { position, name, value: complete });
                    }
                }
            }
        }
    }

    fn begin(&mut self, is_tuple: bool) -> Result<(), ManifestError> {
        let position = self.cursor.position;
        if self.open.len() >= TFS_MANIFEST_DEPTH_MAX {
            return Err(self.cursor.error(ManifestFault::TooDeep { max: TFS_MANIFEST_DEPTH_MAX }));
        }
        self.cursor.bump();
        if is_tuple {
            self.open.push(Open::Tuple { position, entries: Vec::new(), name: None });
        } else {
            self.open.push(Open::Vector { position, elements: Vec::new() });
            self.cursor.skip_blanks();
        }
        Ok(())
    }

    /// The end of the innermost tuple or vector.
    fn end(&mut self) -> Option<ManifestValue> {
        self.cursor.bump();
        let (position, kind) = match self.open.pop()? {
            Open::Tuple { position, entries, .. } => (position, ManifestKind::Tuple(self.unique(entries))),
            Open::Vector { position, elements } => (position, ManifestKind::Vector(elements)),
        };
        Some(ManifestValue { position, kind })
    }

    /// Sorts by name; of equal names the last counts.
    fn unique(&mut self, mut entries: Vec<ManifestEntry>) -> Vec<ManifestEntry> {
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        let mut unique: Vec<ManifestEntry> = Vec::with_capacity(entries.len());
        for entry in entries {
            match unique.last_mut().filter(|last| last.name == entry.name) {
                Some(last) => {
                    let before = core::mem::replace(last, entry);
                    self.remark(before.position, Remark::Overridden(before.name));
                }
                None => unique.push(entry),
            }
        }
        unique
    }

    fn unclosed(&self) -> ManifestError {
        let (what, begins, missing) = match self.open.last() {
            Some(Open::Vector { position, .. }) => ("vector", *position, ']'),
            Some(Open::Tuple { position, .. }) => ("tuple", *position, ')'),
            None => ("manifest", Position::START, ')'),
        };
        self.cursor.error(ManifestFault::Unclosed { what, begins, missing })
    }

    /// A name with its colon, or the end of the tuple.
    fn name(&mut self) -> Result<Option<ManifestValue>, ManifestError> {
        self.cursor.skip_blanks();
        let position = self.cursor.position;
        let found = match self.cursor.peek() {
            None => return Err(self.unclosed()),
            Some(')') => return Ok(self.end()),
            Some('"') => self.cursor.quoted()?,
            Some(other) if ends_name(other) && other != ':' => {
                return Err(self.cursor.error(ManifestFault::NoName(Found(Some(other)))));
            }
            Some(_) => self.cursor.bare(ends_name),
        };
        if found.is_empty() {
            return Err(ManifestError { position, reason: ManifestFault::EmptyName });
        }
        self.cursor.skip_blanks();
        match self.cursor.peek() {
            Some(':') => drop(self.cursor.bump()),
            None => return Err(self.unclosed()),
            other => return Err(self.cursor.error(ManifestFault::NoColon { name: found, found: Found(other) })),
        }
        if let Some(Open::Tuple { name, .. }) = self.open.last_mut() {
            *name = Some((position, found));
        }
        Ok(None)
    }

    /// An element, or the end of the vector. Blanks in front of elements are left to them: in front of the end they are
    /// an element.
    fn element(&mut self) -> Result<Option<ManifestValue>, ManifestError> {
        match self.cursor.peek() {
            None => return Err(self.unclosed()),
            Some(']') => return Ok(self.end()),
            Some(_) => {}
        }
        let position = self.cursor.position;
        self.cursor.skip_blanks();
        match self.cursor.peek() {
            None => Err(self.unclosed()),
            Some(']') => {
                self.remark(position, Remark::EmptyElement);
                Ok(Some(ManifestValue { position, kind: ManifestKind::String(String::new()) }))
            }
            Some(')') => Err(self.cursor.error(ManifestFault::NoElement(Found(Some(')'))))),
            Some(_) => self.value(),
        }
    }

    /// A string; or begins a tuple or vector.
    fn value(&mut self) -> Result<Option<ManifestValue>, ManifestError> {
        let position = self.cursor.position;
        let string = match self.cursor.peek() {
            None => return Err(self.unclosed()),
            Some('(') => return self.begin(true).map(|()| None),
            Some('[') => return self.begin(false).map(|()| None),
            Some('"') => self.cursor.quoted()?,
            // A closing parenthesis right here: the empty string.
            Some(_) => self.cursor.bare(ends_string),
        };
        Ok(Some(ManifestValue { position, kind: ManifestKind::String(string) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A value as the shortest text that gives it.
    fn text(value: &ManifestValue) -> String {
        match &value.kind {
            ManifestKind::String(string) => format!("{string:?}"),
            ManifestKind::Tuple(entries) => {
                let entries: Vec<_> = entries.iter().map(|it| format!("{}:{}", it.name, text(&it.value))).collect();
                format!("({})", entries.join(" "))
            }
            ManifestKind::Vector(elements) => {
                format!("[{}]", elements.iter().map(text).collect::<Vec<_>>().join(" "))
            }
        }
    }

    fn parsed(manifest: &str) -> String {
        text(&Manifest::parse(manifest.as_bytes()).unwrap_or_else(|error| panic!("{manifest}: {error}")).root)
    }

    #[test]
    fn manifests_mean_what_they_mean_to_mkfs() {
        for (manifest, expected) in [
            ("()", "()"),
            (" # comment\n( a : b )", r#"(a:"b")"#),
            ("(a:1#x b:c:d/e|f)", r#"(a:"1#x" b:"c:d/e|f")"#),
            ("(a:x#y\nb:z)", r#"(a:"x#y" b:"z")"#),
            ("(a#b:c)", r#"(a#b:"c")"#),
            (r#"("a b/c":"x \"y\" \\ \n")"#, r#"(a b/c:"x \"y\" \\ n")"#),
            ("(a:\"two\nlines\")", r#"(a:"two\nlines")"#),
            ("(a:)", r#"(a:"")"#),
            ("(a:() b:[])", "(a:() b:[])"),
            ("(a:[x [y z] (k:v)])", r#"(a:["x" ["y" "z"] (k:"v")])"#),
            ("(a:[ x y])", r#"(a:["x" "y"])"#),
            ("(a:[x y ])", r#"(a:["x" "y" ""])"#),
            ("(a:[(b:c) # d\n])", r#"(a:[(b:"c") ""])"#),
            ("(a:[ ])", "(a:[])"),
            ("(a:1 b:2 a:3)", r#"(a:"3" b:"2")"#),
            ("(a:1)(b:2) # the end", r#"(b:"2")"#),
            ("(ключ:значение)", r#"(ключ:"значение")"#),
            ("(a:b\tc:d\r\ne:f)", r#"(a:"b" c:"d" e:"f")"#),
            ("(a:x(b:y))", "ERROR"),
        ] {
            match Manifest::parse(manifest.as_bytes()) {
                Ok(found) => assert_eq!(text(&found.root), expected, "{manifest}"),
                Err(error) => assert_eq!(expected, "ERROR", "{manifest}: {error}"),
            }
        }
    }

    #[test]
    fn a_mistyped_manifest_is_told_by_line_and_column() {
        for (manifest, message) in [
            ("", "line 1, column 1: the manifest is empty; the least is \"(children:())\""),
            ("children:()", "line 1, column 1: expected \"(\", found \"c\""),
            ("(a:b) c", "line 1, column 7: expected \"(\", found \"c\""),
            (
                "(\n  a:(b:c\n",
                "line 3, column 1: the manifest ends inside the tuple that begins at line 2, column 5: \")\" is missing",
            ),
            (
                "(a:[b",
                "line 1, column 6: the manifest ends inside the vector that begins at line 1, column 4: \"]\" is missing",
            ),
            (
                "(a:\"b)",
                "line 1, column 7: the manifest ends inside the text in quotes that begins at line 1, column 4: \
                 \"\"\" is missing",
            ),
            ("(a:[b)]", "line 1, column 6: expected a value or \"]\", found \")\""),
            ("(ü:x\n ])", "line 2, column 2: expected a name or \")\", found \"]\""),
            ("(/bin:x)", "line 1, column 2: expected a name or \")\", found \"/\""),
            (
                "(usr/bin:x)",
                "line 1, column 5: expected \":\" behind the name \"usr\", found \"/\"; put names with blanks, \"/\" or \
                 \"|\" in quotes",
            ),
            (
                "(a b:c)",
                "line 1, column 4: expected \":\" behind the name \"a\", found \"b\"; put names with blanks, \"/\" or \
                 \"|\" in quotes",
            ),
            ("(:x)", "line 1, column 2: an empty name"),
            ("(\"\":x)", "line 1, column 2: an empty name"),
        ] {
            assert_eq!(Manifest::parse(manifest.as_bytes()).unwrap_err().to_string(), message, "{manifest}");
        }
        let error = Manifest::parse(b"(a:b\n \xff)").unwrap_err();
        assert_eq!(error.to_string(), "line 2, column 2: this is not UTF-8");
        let deep = "(a:".repeat(TFS_MANIFEST_DEPTH_MAX + 1);
        let reason = ManifestFault::TooDeep { max: TFS_MANIFEST_DEPTH_MAX };
        assert_eq!(Manifest::parse(deep.as_bytes()).unwrap_err().reason, reason);
        let deep = format!("{}{}", "(a:".repeat(TFS_MANIFEST_DEPTH_MAX), ")".repeat(TFS_MANIFEST_DEPTH_MAX));
        Manifest::parse(deep.as_bytes()).unwrap();
    }

    #[test]
    fn what_is_hardly_meant_is_remarked() {
        let manifest = Manifest::parse(b"(a:1)\n(b:[x ]\n b:2)").unwrap();
        let remarks: Vec<_> = manifest.remarks.iter().map(|remark| format!("{remark}")).collect();
        assert_eq!(
            remarks,
            [
                "line 1, column 1: another tuple follows, this one does not count",
                "line 2, column 6: blanks in front of \"]\" make an empty element, as they do for Nanos",
                "line 2, column 2: \"b\" is given again further down, this one does not count",
            ]
        );
    }

    #[test]
    fn further_tuples_replace_attributes() {
        let mut manifest = Manifest::parse(b"(a:1 b:2 d:3)").unwrap();
        manifest.extend(Manifest::parse(b"(b:(x:y) c:4)").unwrap());
        assert_eq!(text(&manifest.root), r#"(a:"1" b:(x:"y") c:"4" d:"3")"#);
        assert_eq!(manifest.root.get("c").and_then(ManifestValue::as_str), Some("4"));
        assert_eq!(parsed("(c:4)"), r#"(c:"4")"#);
    }
}
