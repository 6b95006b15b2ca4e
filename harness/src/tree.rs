//! What a program changed, as text that people review.
//!
//! One line a path, sorted, with `A` for added, `M` for modified and `D` for deleted; text that is short follows with a
//! bar in front. Times, owners that stay and link counts are left out: they would differ from run to run or say nothing.

use std::fmt::Write as _;
use std::sync::Arc;

use mountless::attr::{Attr, FileType};
use mountless::fs::{FileSystem, FileSystemExt as _};
use mountless::name::escape;
use mountless::transfer::diff::{Change, Side, diff};

/// Longest text of a file that is shown, in bytes.
const SHOWN_MAX: u64 = 4096;

/// Most paths that are shown; a program that unpacks an archive changes many.
const PATHS_MAX: usize = 10_000;

/// The changes from one tree to the other.
///
/// # Errors
/// Those of reading the trees.
pub(crate) fn tree_diff(before: &Arc<dyn FileSystem>, after: &Arc<dyn FileSystem>) -> mountless::Result<String> {
    let mut text = String::new();
    let mut count: usize = 0;
    diff(before, after, |change| {
        count = count.saturating_add(1);
        if count <= PATHS_MAX {
            push(&mut text, &change)?;
        }
        Ok(())
    })?;
    if count > PATHS_MAX {
        // OK to ignore, here and below: a String takes everything.
        let _ = writeln!(text, "and {} more", count.saturating_sub(PATHS_MAX));
    }
    Ok(text)
}

fn push(text: &mut String, change: &Change) -> mountless::Result<()> {
    let path = escape(&change.path);
    match (&change.before, &change.after) {
        (None, Some(after)) => {
            let _ = writeln!(text, "A {path} {}", described(&after.attr, after)?);
            if let Some(content) = short_text(after)? {
                bar(text, "", &content);
            }
        }
        (Some(before), None) => {
            let _ = writeln!(text, "D {path} {}", before.attr.file_type.word());
        }
        (Some(before), Some(after)) => {
            let _ = writeln!(text, "M {path} {}", differences(change, before, after)?.join(", "));
            if change.content
                && let (Some(before), Some(after)) = (short_text(before)?, short_text(after)?)
            {
                let lines = similar::TextDiff::from_lines(&before, &after);
                for hunk in lines.unified_diff().context_radius(1).iter_hunks() {
                    for line in hunk.iter_changes() {
                        bar(text, &line.tag().to_string(), line.value());
                    }
                }
            }
        }
        (None, None) => {}
    }
    Ok(())
}

fn bar(text: &mut String, sign: &str, content: &str) {
    for line in content.lines() {
        let _ = writeln!(text, "  |{sign}{}{line}", if sign.is_empty() && !line.is_empty() { " " } else { "" });
    }
}

fn described(attr: &Attr, side: &Side) -> mountless::Result<String> {
    let word = attr.file_type.word();
    Ok(match attr.file_type {
        FileType::File => format!("{word} {:04o}, {} bytes", attr.mode, attr.size),
        FileType::Symlink => format!("{word} to {}", escape(&side.node.fs().read_link(side.node.node())?)),
        _ => format!("{word} {:04o}", attr.mode),
    })
}

fn differences(change: &Change, before: &Side, after: &Side) -> mountless::Result<Vec<String>> {
    let (old, new) = (&before.attr, &after.attr);
    if old.file_type != new.file_type {
        return Ok(vec![format!("{} becomes {}", old.file_type.word(), described(new, after)?)]);
    }
    let mut said = Vec::new();
    if change.content {
        said.push(match new.file_type {
            FileType::Symlink => described(new, after)?,
            _ if old.size != new.size => format!("{} becomes {} bytes", old.size, new.size),
            _ => "content".to_owned(),
        });
    }
    if old.mode != new.mode {
        said.push(format!("mode {:04o} becomes {:04o}", old.mode, new.mode));
    }
    if (old.uid, old.gid) != (new.uid, new.gid) {
        said.push(format!("owner {}:{} becomes {}:{}", old.uid, old.gid, new.uid, new.gid));
    }
    Ok(said)
}

/// A file's content, if it is text and not long.
fn short_text(side: &Side) -> mountless::Result<Option<String>> {
    if side.attr.file_type != FileType::File || side.attr.size > SHOWN_MAX {
        return Ok(None);
    }
    let content = side.node.fs().read_to_vec(side.node.node())?;
    Ok(String::from_utf8(content).ok().filter(|text| !text.contains(|c: char| c.is_control() && !"\n\t\r".contains(c))))
}
