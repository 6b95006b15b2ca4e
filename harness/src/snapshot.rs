//! Snapshots in the files of insta: `snapshots/FILE__NAME.snap` beside the case file, pending ones with `.new` behind,
//! for `cargo insta review` to accept or reject.
//!
//! As insta does, texts are compared without blank ends.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What to do with a text that differs from its snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Update {
    /// Fail, and put the new text beside the snapshot for a review.
    Pending,
    /// Fail, and write nothing.
    No,
    /// Take the new text.
    Always,
}

impl Update {
    /// As `INSTA_UPDATE` says; else nothing is written where `CI` is set, and pending snapshots elsewhere.
    #[must_use]
    pub fn from_env() -> Self {
        let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
        Self::from_values(set("INSTA_UPDATE").as_deref(), set("CI").as_deref())
    }

    fn from_values(update: Option<&str>, ci: Option<&str>) -> Self {
        match update {
            Some("always" | "force") => Self::Always,
            Some("no") => Self::No,
            Some("new" | "unseen") => Self::Pending,
            _ if ci.is_some_and(|ci| ci != "0" && ci != "false") => Self::No,
            _ => Self::Pending,
        }
    }
}

/// Where a case's snapshot is.
pub(crate) fn path_of(case_file: &Path, name: &str) -> PathBuf {
    let stem = case_file.file_stem().unwrap_or_default().to_string_lossy();
    let name: String =
        name.chars().map(|c| if "/\\:*?\"<>|".contains(c) || c.is_control() { '-' } else { c }).collect();
    let dir = case_file.parent().unwrap_or(Path::new("")).join("snapshots");
    dir.join(format!("{stem}__{name}.snap"))
}

/// What became of a comparison.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Compared {
    /// It is what the snapshot holds, now at least.
    Same,
    /// The snapshot holds this instead, or there is none. The new text is pending at the path, if one was written.
    Differs { expected: Option<String>, pending: Option<PathBuf> },
}

/// Compares a text with its snapshot; `source` and `expression` tell reviewers where it comes from.
pub(crate) fn compare(path: &Path, text: &str, update: Update, source: &str, expression: &str) -> io::Result<Compared> {
    let pending = path.with_extension("snap.new");
    let expected = match fs::read_to_string(path) {
        Ok(file) => Some(content(&file).to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if expected.as_deref().is_some_and(|expected| normal(expected) == normal(text)) {
        // What was pending is no longer true.
        if update != Update::No && pending.exists() {
            fs::remove_file(&pending)?;
        }
        return Ok(Compared::Same);
    }
    match update {
        Update::Always => {
            write(path, text, source, expression)?;
            if pending.exists() {
                fs::remove_file(&pending)?;
            }
            Ok(Compared::Same)
        }
        Update::Pending => {
            write(&pending, text, source, expression)?;
            Ok(Compared::Differs { expected, pending: Some(pending) })
        }
        Update::No => Ok(Compared::Differs { expected, pending: None }),
    }
}

fn normal(text: &str) -> String {
    text.replace("\r\n", "\n").trim_end().to_owned()
}

/// What stands behind the metadata.
fn content(file: &str) -> &str {
    let Some(rest) = file.strip_prefix("---\n").or_else(|| file.strip_prefix("---\r\n")) else { return file };
    let mut start: usize = 0;
    for line in rest.split_inclusive('\n') {
        start = start.saturating_add(line.len());
        if line.trim_end() == "---" {
            return rest.get(start..).unwrap_or_default();
        }
    }
    ""
}

/// Written beside and moved into place: several cases may share a snapshot, and a run may be cut off.
fn write(path: &Path, text: &str, source: &str, expression: &str) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(dir)?;
    // JSON strings are YAML strings.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let text = text.replace("\r\n", "\n");
    let file =
        format!("---\nsource: {}\nexpression: {}\n---\n{}\n", quoted(source), quoted(expression), text.trim_end());
    let mut making = tempfile::Builder::new().prefix(".mountless-").tempfile_in(dir)?;
    io::Write::write_all(&mut making, file.as_bytes())?;
    making.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn insta_accepts_what_is_written_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = path_of(&dir.path().join("cases.toml"), "out");
        assert_eq!(path, dir.path().join("snapshots/cases__out.snap"));
        let text = "line\n  indented: \"quoted\"\n---\nlast\n\n";
        assert_eq!(compare(&path, text, Update::Always, "cases.toml", "a \"case\"").unwrap(), Compared::Same);
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(path.parent().unwrap());
        settings.set_prepend_module_to_snapshot(false);
        settings.bind(|| insta::assert_snapshot!("cases__out", text));
        // Nothing of what insta might have written if it had not been so.
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_difference_is_pending_until_it_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("snapshots/cases__out.snap");
        let new = path.with_extension("snap.new");
        let now = |text: &str, update| compare(&path, text, update, "cases.toml", "case").unwrap();
        let differs = |expected: Option<&str>, pending: Option<&PathBuf>| Compared::Differs {
            expected: expected.map(str::to_owned),
            pending: pending.cloned(),
        };
        assert_eq!(now("one", Update::No), differs(None, None));
        assert!(!path.parent().unwrap().exists(), "nothing is written where nobody would see it");
        assert_eq!(now("one", Update::Pending), differs(None, Some(&new)));
        fs::rename(&new, &path).unwrap();
        assert_eq!(now("one\n", Update::Pending), Compared::Same);
        assert_eq!(now("two", Update::Pending), differs(Some("one\n"), Some(&new)));
        assert_eq!(now("one", Update::Pending), Compared::Same);
        assert!(!new.exists());
        assert_eq!(now("two", Update::Always), Compared::Same);
        assert_eq!(now("two", Update::No), Compared::Same);
    }

    #[test]
    fn the_environment_decides_as_for_insta() {
        for (update, ci, expected) in [
            (None, None, Update::Pending),
            (None, Some("true"), Update::No),
            (None, Some("false"), Update::Pending),
            (Some("always"), Some("true"), Update::Always),
            (Some("no"), None, Update::No),
            (Some("new"), Some("true"), Update::Pending),
        ] {
            assert_eq!(Update::from_values(update, ci), expected, "{update:?} {ci:?}");
        }
    }
}
