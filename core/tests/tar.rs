//! Every sample tar archive against what GNU tar or bsdtar unpacked from it.
//!
//! The table is the directory itself: `INDEX.tsv` names the archives and their listings.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod listing;

use std::fmt::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use mountless::errno::Errno;
use mountless::error::{Corrupt, Error};
use mountless::format::compress::Compression;
use mountless::open::{Format, ImageRef, OpenOptions, OpenedImage, open, open_source};
use mountless::source::{BytesSource, Source};

use self::listing::{differences, listing, read_listing, samples};

fn open_sample(folder: &Path, file: &str, format: Option<Format>, as_linux: bool) -> Result<OpenedImage, Error> {
    let reference = ImageRef { format, ..ImageRef::from_path(folder.join(file)) };
    open(&reference, &OpenOptions { as_linux, ..OpenOptions::default() })
}

/// Name, and listings of the tools: GNU tar's, and bsdtar's where it differs.
fn table(folder: &Path) -> Vec<(String, Vec<PathBuf>)> {
    let index = std::fs::read_to_string(folder.join("INDEX.tsv")).unwrap();
    let lines = index.lines().filter(|line| !line.starts_with('#'));
    let samples: Vec<_> = lines
        .map(|line| {
            let fields: Vec<_> = line.split('\t').collect();
            let listings = fields[2].split(' ').map(|listing| folder.join(listing)).collect();
            (fields[0].to_owned(), listings)
        })
        .collect();
    assert!(samples.len() >= 54, "{} samples", samples.len());
    samples
}

/// Damage, and where.
fn damage(file: &str) -> Option<(&'static str, u64)> {
    Some(match file {
        "bad-checksum.tar" => ("tar", 1024),
        "bad-huge-size.tar" => ("tar", 1024),
        "bad-longlink-size.tar" => ("tar", 0),
        "bad-negative-size.tar" => ("tar", 1024),
        "bad-pax-records.tar" => ("tar", 512),
        "bad-sparse-map.tar" => ("tar", 1024),
        "bad-truncated-header.tar" => ("tar", 3784),
        "bad-truncated.tar" => ("tar", 60_928),
        _ => return None,
    })
}

/// Fields that differ from the tools' for a reason: archive, path, field from 0, value.
const KNOWN: &[(&str, &str, usize, &str)] = &[
    // The value in the archive; the filesystem that GNU tar unpacked into ends in 2446.
    ("odd-numbers.tar", "big-mtime", 8, "17179869184"),
    // GNU tar loses the directory's time to the file that goes into it through a link.
    ("odd-traversal.tar", "d", 8, "1700000000"),
    // bsdtar leaves the time of the directory that it unpacks into, and undoes GNU tar's escapes only half; GNU tar adds
    // a NUL to another attribute.
    ("gnutar-pax-xattrs.tar", ".", 8, "1612345678"),
    ("gnutar-pax-xattrs.tar", "bin", 11, "user.bin=0001ff0a3d00,user.empty=,user.we\\040ird=name=78"),
    // bsdtar escapes the name, each tool undoes that only half; this is the name that was archived.
    ("bsdtar-xattrs.tar", "bin", 11, "user.bin=0001ff0a3d00,user.empty=,user.we\\040ird=name=78"),
];

#[test]
fn every_archive_gives_what_the_tools_unpack_or_its_damage_with_its_place() {
    let Some(folder) = samples("images/layers/tar") else { return };
    let mut failures = String::new();
    let (mut trees, mut errors) = (0, 0);
    for (file, listings) in table(&folder) {
        // Nothing but zeros could be anything.
        let format = matches!(&*file, "empty.tar" | "zero.tar").then_some(Format::Tar);
        let problem = match (damage(&file), open_sample(&folder, &file, format, false)) {
            (None, Ok(image)) => {
                trees += 1;
                assert_eq!(image.facts.format, Format::Tar, "{file}");
                let found = listing(&image.fs);
                let problems = listings.iter().map(|path| differences(&known(&file, &read_listing(path)), &found));
                problems.min_by_key(String::len).unwrap()
            }
            (Some(expected), Err(error)) => {
                errors += 1;
                match error.corrupt().map(|corrupt: &Corrupt| (corrupt.format(), corrupt.offset())) {
                    Some(found) if found == expected => String::new(),
                    _ => format!("expected {expected:?}, got {error}\n"),
                }
            }
            (_, Err(error)) => format!("{error}\n"),
            (Some(_), Ok(_)) => "opens, but is damaged\n".to_owned(),
        };
        if !problem.is_empty() {
            write!(failures, "{file}\n{problem}").unwrap();
        }
    }
    println!("{trees} trees as listed, {errors} errors located");
    assert!(failures.is_empty(), "\n{failures}");
}

/// The expected lines, with what is known to differ put in its place.
fn known(file: &str, lines: &[String]) -> Vec<String> {
    let replace = |line: &String| {
        let mut fields: Vec<_> = line.split('\t').collect();
        for (of, path, field, value) in KNOWN {
            if *of == file && fields[0] == *path {
                fields[*field] = value;
            }
        }
        fields.join("\t")
    };
    lines.iter().map(replace).collect()
}

#[test]
fn damage_is_passed_over_as_the_tools_do_when_asked() {
    let Some(folder) = samples("images/layers/tar") else { return };
    for file in ["bad-checksum.tar", "bad-negative-size.tar", "bad-pax-records.tar", "bad-truncated.tar"] {
        let image = open_sample(&folder, file, Some(Format::Tar), true).unwrap();
        let expected = read_listing(&folder.join(format!("expected/{file}.tsv")));
        assert_eq!(differences(&expected, &listing(&image.fs)), "", "{file}");
    }
}

#[test]
fn decompression_stops_at_the_limit() {
    let Some(folder) = samples("images/layers/tar") else { return };
    let options = OpenOptions { max_unpacked: 1 << 20, ..OpenOptions::default() };
    let error = open(&ImageRef::from_path(folder.join("bomb-64m.tar.gz")), &options).unwrap_err();
    assert_eq!(error, Errno::FileTooBig);
}

/// Bytes that nobody can look at as a whole, so that no thread goes ahead in them.
#[derive(Debug)]
struct Unmapped(BytesSource);

impl Source for Unmapped {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        self.0.read_exact_at(offset, buf)
    }

    fn bytes_at(&self, range: Range<u64>) -> Result<Bytes, Error> {
        self.0.bytes_at(range)
    }

    fn release(&self, range: Range<u64>) {
        self.0.release(range);
    }
}

#[test]
fn a_thread_ahead_of_large_archives_changes_nothing() {
    let Some(folder) = samples("images/layers/tar") else { return };
    // Behind a large file, every sample is part of a large archive; twice, so that there is something to be ahead of.
    let mut large = [0; 512];
    for (at, text) in
        [(0, "large"), (100, "0000644"), (124, "00240000000"), (148, "        "), (156, "0"), (257, "ustar")]
    {
        large[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    let sum = format!("{:06o}\0", large.iter().map(|byte| u32::from(*byte)).sum::<u32>());
    large[148..155].copy_from_slice(sum.as_bytes());
    let mut compared = 0;
    for (file, _) in table(&folder) {
        let sample = std::fs::read(folder.join(&file)).unwrap();
        if !sample.len().is_multiple_of(512) || Compression::detect(&sample).is_some() {
            continue;
        }
        let end = sample.chunks(512).rposition(|block| block.iter().any(|byte| *byte != 0)).map_or(0, |at| at + 1);
        let mut bytes = sample.get(..end * 512).unwrap().to_vec();
        bytes.extend_from_slice(&large);
        bytes.resize(bytes.len() + 0o240_000_000, 0);
        bytes.extend_from_slice(&sample);
        let bytes = Bytes::from(bytes);
        let open = |source: Arc<dyn Source>| {
            let opened = open_source(source, Some(Format::Tar), &OpenOptions::default());
            opened.map(|image| listing(&image.fs)).map_err(|error| format!("{error:?}"))
        };
        let led = open(Arc::new(BytesSource::new(bytes.clone())));
        assert_eq!(led, open(Arc::new(Unmapped(BytesSource::new(bytes)))), "{file}");
        compared += 1;
    }
    assert!(compared >= 40, "{compared} samples");
}
