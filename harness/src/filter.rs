//! Expressions that select cases, after those of cargo-nextest.
//!
//! ```text
//! config                     the text is somewhere in the case's name
//! test(config)               the same; test(=NAME) is all of it, test(/REGEX/), test(#GLOB)
//! group(...)                 the same for the file the case stands in, without extension
//! tag(slow)                  the case has the tag; =, ~, / and # as above, = being the default
//! not A    A and B    A or B    ( A )    also !A, A & B, A | B    all()    none()
//! ```

use std::str::FromStr;

use globset::{Glob, GlobMatcher};
use regex::Regex;

use crate::case::Case;
use crate::file::not_a_regex;

/// Which cases to run.
#[derive(Clone, Debug)]
pub enum Filter {
    /// Every case.
    All,
    /// Those that the filter does not select.
    Not(Box<Filter>),
    /// Those that both select.
    And(Box<Filter>, Box<Filter>),
    /// Those that one of the two selects.
    Or(Box<Filter>, Box<Filter>),
    /// By the whole name.
    Name(Matcher),
    /// By the file, without its extension.
    Group(Matcher),
    /// By a tag.
    Tag(Matcher),
}

/// What a text must be.
#[derive(Clone, Debug)]
pub enum Matcher {
    /// Exactly this.
    Equal(String),
    /// Something with this in it.
    Contains(String),
    /// Something in which the expression is found.
    Regex(Regex),
    /// Something that the pattern describes.
    Glob(GlobMatcher),
}

impl Filter {
    /// Whether the case is selected.
    #[must_use]
    pub fn selects(&self, case: &Case) -> bool {
        match self {
            Self::All => true,
            Self::Not(filter) => !filter.selects(case),
            Self::And(one, other) => one.selects(case) && other.selects(case),
            Self::Or(one, other) => one.selects(case) || other.selects(case),
            Self::Name(matcher) => matcher.matches(&case.id().text()),
            Self::Group(matcher) => matcher.matches(case.id().group()),
            Self::Tag(matcher) => case.tags().any(|tag| matcher.matches(tag)),
        }
    }
}

impl Matcher {
    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Equal(whole) => text == whole,
            Self::Contains(part) => text.contains(part),
            Self::Regex(regex) => regex.is_match(text),
            Self::Glob(glob) => glob.is_match(text),
        }
    }

    /// `is_exact`: what a text without a sign in front means.
    fn parse(text: &str, is_exact: bool) -> Result<Self, String> {
        if let Some(whole) = text.strip_prefix('=') {
            return Ok(Self::Equal(whole.to_owned()));
        }
        if let Some(part) = text.strip_prefix('~') {
            return Ok(Self::Contains(part.to_owned()));
        }
        if let Some(pattern) = text.strip_prefix('#') {
            return Ok(Self::Glob(Glob::new(pattern).map_err(|error| error.to_string())?.compile_matcher()));
        }
        if let Some(regex) = text.strip_prefix('/') {
            let regex = regex.strip_suffix('/').ok_or("a regular expression ends with a slash")?;
            return Ok(Self::Regex(Regex::new(regex).map_err(|error| not_a_regex(&error))?));
        }
        Ok(if is_exact { Self::Equal(text.to_owned()) } else { Self::Contains(text.to_owned()) })
    }
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parser = Parser { rest: text.trim_start(), nesting: 0 };
        let filter = parser.either()?;
        match parser.rest {
            "" => Ok(filter),
            rest => Err(format!("{rest:?} is left over; join expressions with `and` or `or`")),
        }
    }
}

/// Parentheses in each other, and `not` before `not`.
const NESTING_MAX: usize = 64;

struct Parser<'a> {
    rest: &'a str,
    nesting: usize,
}

impl<'a> Parser<'a> {
    fn take(&mut self, sign: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(sign) else { return false };
        // A word ends where a letter does not follow: `order` is not `or`.
        let is_word = sign.ends_with(char::is_alphanumeric);
        if is_word && !rest.starts_with(|next: char| next.is_whitespace() || next == '(') {
            return false;
        }
        self.rest = rest.trim_start();
        true
    }

    fn either(&mut self) -> Result<Filter, String> {
        let mut filter = self.both()?;
        while self.take("or") || self.take("|") || self.take("+") {
            filter = Filter::Or(Box::new(filter), Box::new(self.both()?));
        }
        Ok(filter)
    }

    fn both(&mut self) -> Result<Filter, String> {
        let mut filter = self.one()?;
        loop {
            if self.take("and") || self.take("&") {
                filter = Filter::And(Box::new(filter), Box::new(self.one()?));
            } else if self.take("- ") {
                filter = Filter::And(Box::new(filter), Box::new(Filter::Not(Box::new(self.one()?))));
            } else {
                return Ok(filter);
            }
        }
    }

    fn one(&mut self) -> Result<Filter, String> {
        self.nesting = self.nesting.saturating_add(1);
        if self.nesting > NESTING_MAX {
            return Err(format!("more than {NESTING_MAX} expressions in each other"));
        }
        let filter = self.inner();
        self.nesting = self.nesting.saturating_sub(1);
        filter
    }

    fn inner(&mut self) -> Result<Filter, String> {
        if self.take("not") || self.take("!") {
            return Ok(Filter::Not(Box::new(self.one()?)));
        }
        if self.take("(") {
            let filter = self.either()?;
            return if self.take(")") { Ok(filter) } else { Err("a parenthesis is not closed".to_owned()) };
        }
        for (name, make) in [
            ("test(", (|text| Matcher::parse(text, false).map(Filter::Name)) as fn(&str) -> Result<Filter, String>),
            ("group(", |text| Matcher::parse(text, false).map(Filter::Group)),
            ("tag(", |text| Matcher::parse(text, true).map(Filter::Tag)),
            ("all(", |_| Ok(Filter::All)),
            ("none(", |_| Ok(Filter::Not(Box::new(Filter::All)))),
        ] {
            if let Some(rest) = self.rest.strip_prefix(name) {
                let (argument, rest) = argument(rest)?;
                self.rest = rest.trim_start();
                return make(argument.trim());
            }
        }
        let end = self.rest.find(|c: char| c.is_whitespace() || "()&|!".contains(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        if word.is_empty() {
            return Err(match self.rest.chars().next() {
                Some(found) => format!("{found:?} stands where an expression should begin"),
                None => "an expression is missing at the end".to_owned(),
            });
        }
        if rest.starts_with('(') {
            return Err(format!("there is no {word}(); there are test, group, tag, all and none"));
        }
        self.rest = rest.trim_start();
        Ok(Filter::Name(Matcher::Contains(word.to_owned())))
    }
}

/// What stands before the parenthesis that closes, and what behind. In a regular expression there may be others.
fn argument(text: &str) -> Result<(&str, &str), String> {
    let from = match text.strip_prefix('/') {
        Some(regex) => regex.find("/)").map(|end| end.saturating_add(2)),
        None => text.find(')'),
    };
    let end = from.ok_or("a parenthesis is not closed")?;
    Ok((text.get(..end).unwrap_or_default(), text.get(end.saturating_add(1)..).unwrap_or_default()))
}

/// A share of the cases: those of one machine of several.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Partition {
    kind: PartitionKind,
    /// From 1 on.
    index: u64,
    count: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum PartitionKind {
    Hash,
    Count,
}

impl Partition {
    /// Keeps this share's cases. By hash, a case stays in its share when others come and go; by count, the shares are
    /// of one size.
    pub fn keep(&self, cases: &mut Vec<Case>) {
        let mut at: u64 = 0;
        cases.retain(|case| {
            let number = match self.kind {
                PartitionKind::Hash => fnv1a(case.id().text().as_bytes()),
                PartitionKind::Count => at,
            };
            at = at.wrapping_add(1);
            number % self.count == self.index.wrapping_sub(1)
        });
    }
}

/// The same on every machine and in every version, unlike the hashes of the standard library.
fn fnv1a(bytes: &[u8]) -> u64 {
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    // The low bits alone are poor.
    hash ^ (hash >> 32)
}

impl FromStr for Partition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a share; write hash:1/3 or count:1/3, or 1/3 for the former");
        let (kind, share) = text.split_once(':').unwrap_or(("hash", text));
        let kind = match kind {
            "hash" => PartitionKind::Hash,
            "count" => PartitionKind::Count,
            _ => return Err(wrong()),
        };
        let (index, count) = share.split_once('/').ok_or_else(wrong)?;
        let (index, count): (u64, u64) = (index.parse().map_err(|_| wrong())?, count.parse().map_err(|_| wrong())?);
        if index == 0 || index > count {
            return Err(format!("share {index} of {count}: the first is 1 and the last {count}"));
        }
        Ok(Self { kind, index, count })
    }
}
