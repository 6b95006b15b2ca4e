//! Every sample image, checked: sound ones are, damaged ones say where.
//!
//! The tables are the directories themselves, so that new images are tried as they come.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod listing;

use std::fmt::Write;

use mountless::inspect::check;
use mountless::open::{ImageRef, OpenOptions, open};

use self::listing::samples;

#[test]
fn archives_are_sound_or_say_where_they_are_not() {
    let (mut failures, mut sound, mut damaged) = (String::new(), 0, 0);
    for folder in ["images/initramfs", "images/layers/tar"] {
        let Some(folder) = samples(folder) else { return };
        let index = std::fs::read_to_string(folder.join("INDEX.tsv")).unwrap();
        for line in index.lines().filter(|line| !line.starts_with('#')) {
            let path = folder.join(line.split('\t').next().unwrap());
            let reference = ImageRef::from_path(&path);
            let opened = open(&reference, &OpenOptions::default());
            let mut fail = |what: &str| writeln!(failures, "{}: {what}", path.display()).unwrap();
            match (check(&reference, &OpenOptions::default()), opened) {
                // What is no image at all.
                (Err(error), Err(other)) => {
                    if error.to_string() != other.to_string() {
                        fail(&format!("checked: {error}; opened: {other}"));
                    }
                }
                (Err(error), Ok(_)) => fail(&format!("opens, but: {error}")),
                (Ok(checked), Err(error)) => {
                    damaged += 1;
                    let offset = error.corrupt().map(mountless::error::Corrupt::offset);
                    let first = checked.problems.first();
                    if checked.is_sound() || first.is_none_or(|first| first.offset != offset || first.what.is_empty()) {
                        fail(&format!("{error}, but {:?}", checked.problems));
                    }
                }
                (Ok(checked), Ok(image)) => {
                    let skipped = image.facts.archive.map_or(0, |report| report.skipped_count);
                    if checked.is_sound() != (skipped == 0) {
                        fail(&format!("{skipped} skipped, {:?}", checked.problems));
                    }
                    sound += u32::from(checked.is_sound());
                }
            }
        }
    }
    println!("{sound} sound, {damaged} damaged");
    assert!(sound >= 90 && damaged >= 20, "{sound} sound, {damaged} damaged");
    assert!(failures.is_empty(), "\n{failures}");
}
