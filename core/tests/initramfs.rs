//! Every sample initial RAM filesystem against the tree that a Linux kernel unpacked from it.
//!
//! The table is the directory itself: `INDEX.tsv` names the images and the listings, and what the kernel said stands in
//! the listings.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod listing;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mountless::error::{Corrupt, Error};
use mountless::open::{ImageRef, OpenOptions, OpenedImage, UnknownFormat, open, open_source};
use mountless::source::BytesSource;

use self::listing::{detail, differences, listing};

fn samples() -> Option<PathBuf> {
    listing::samples("images/initramfs")
}

struct Sample {
    file: String,
    listing: Vec<String>,
    kernel_failed: bool,
}

fn table(folder: &Path) -> Vec<Sample> {
    let index = std::fs::read_to_string(folder.join("INDEX.tsv")).unwrap();
    let lines = index.lines().filter(|line| !line.starts_with('#'));
    let samples: Vec<_> = lines
        .map(|line| {
            let fields: Vec<_> = line.split('\t').collect();
            let listing = std::fs::read_to_string(folder.join(fields[2])).unwrap();
            assert!(listing.ends_with("# end\n"), "{line}");
            let kernel_failed = listing.lines().any(|line| line.starts_with("# kernel:"));
            let listing = listing.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
            Sample { file: fields[0].to_owned(), listing, kernel_failed }
        })
        .collect();
    assert!(samples.len() >= 90, "{} samples", samples.len());
    samples
}

fn open_sample(folder: &Path, file: &str, as_linux: bool) -> Result<OpenedImage, Error> {
    open(&ImageRef::from_path(folder.join(file)), &OpenOptions { as_linux, ..OpenOptions::default() })
}

/// What every image must give when damage is an error.
enum Strict {
    /// The tree of its listing.
    Listing,
    /// The tree of another image's listing: what Linux stops at is sound.
    ListingOf(&'static str),
    /// These names; there is no listing.
    Names(&'static [&'static str]),
    /// Damage, in this format at this byte.
    Corrupt(&'static str, u64),
    /// No image at all.
    Unknown,
}

fn strict(sample: &Sample) -> Strict {
    use Strict::{Corrupt, Listing, ListingOf, Names, Unknown};
    match sample.file.as_str() {
        "bad-gz-crc.cpio.gz" => Corrupt("gzip", 638),
        "bad-gz-truncated.cpio.gz" => Corrupt("gzip", 188_293),
        "bad-junk-after.cpio" => Corrupt("cpio", 2048),
        "bad-magic.cpio" => Corrupt("cpio", 384),
        "bad-misaligned.cpio" => Corrupt("cpio", 1573),
        "bad-name-no-nul.cpio" => Corrupt("cpio", 120),
        "bad-namesize-0.cpio" => Corrupt("cpio", 120),
        "bad-namesize-4g.cpio" => Corrupt("cpio", 120),
        "bad-size-4g.cpio" => Corrupt("cpio", 120),
        "bad-truncated-data.cpio" => Corrupt("cpio", 2484),
        "bad-truncated-header.cpio" => Corrupt("cpio", 112),
        "cat-gz-then-plain-unaligned.img" => Corrupt("cpio", 649),
        "crc-bad.cpio" => Corrupt("cpio", 124),
        "bad-random.img" => Unknown,
        "medium-2members.cpio.gz" => ListingOf("medium.cpio"),
        "bad-odc-in-newc.cpio" => Corrupt("cpio", 1448),
        "bad-xz-flip.cpio.xz" => Corrupt("xz", 122_913),
        "bad-zst-truncated.cpio.zst" => Corrupt("zstd", 117_928),
        // The end of the lz4 part can be told, but what follows it is not aligned.
        "cat-lz4-then-plain.img" => Corrupt("cpio", 1007),
        // Sound, but not for Linux.
        "bad-first-odc.cpio" => Names(&["o"]),
        "medium-2frames.cpio.zst" | "medium-2streams.cpio.xz" | "medium-crc64.cpio.xz" | "medium-frame.cpio.lz4" => {
            ListingOf("medium.cpio")
        }
        _ => Listing,
    }
}

/// Linux knows none of these layouts; their listings are another program's.
fn is_foreign(file: &str) -> bool {
    ["odc", "bin", "pwb"].iter().any(|layout| file.contains(layout) && !file.starts_with("bad-"))
}

#[test]
fn strict_reading_gives_the_listing_or_says_what_is_wrong_and_where() {
    let Some(folder) = samples() else { return };
    let mut failures = String::new();
    let (mut trees, mut errors) = (0, 0);
    for sample in table(&folder) {
        let opened = open_sample(&folder, &sample.file, false);
        let problem = match (strict(&sample), opened) {
            (Strict::Listing, Ok(image)) if !sample.kernel_failed => {
                trees += 1;
                let mut found = listing(&image.fs);
                // What the other tool unpacked into tells nothing about the root.
                found.retain(|line| !line.starts_with(".\t") || !is_foreign(&sample.file));
                differences(&sample.listing, &found)
            }
            (Strict::Listing, Ok(_)) => "opens, but the kernel failed\n".to_owned(),
            (Strict::ListingOf(other), Ok(image)) => {
                trees += 1;
                let other = table(&folder).into_iter().find(|sample| sample.file == other).unwrap();
                differences(&other.listing, &listing(&image.fs))
            }
            (Strict::Names(names), Ok(image)) => {
                trees += 1;
                let found = listing(&image.fs);
                let found: Vec<_> = found.iter().map(|line| line.split('\t').next().unwrap()).collect();
                if found == names { String::new() } else { format!("{found:?}\n") }
            }
            (Strict::Corrupt(format, offset), Err(error)) => {
                errors += 1;
                match error.corrupt().map(|corrupt: &Corrupt| (corrupt.format(), corrupt.offset())) {
                    Some(found) if found == (format, offset) => String::new(),
                    _ => format!("expected {format} damage at {offset}, got {error:?}\n"),
                }
            }
            (Strict::Unknown, Err(error)) => {
                errors += 1;
                match detail::<UnknownFormat>(&error) {
                    Some(UnknownFormat { offset: 0, .. }) => String::new(),
                    _ => format!("{error:?}\n"),
                }
            }
            (_, Err(error)) => format!("{error}\n"),
            (_, Ok(_)) => "opens, but is expected not to\n".to_owned(),
        };
        if !problem.is_empty() {
            write!(failures, "{}\n{problem}", sample.file).unwrap();
        }
    }
    println!("{trees} trees as listed, {errors} errors located");
    assert!(failures.is_empty(), "\n{failures}");
}

#[test]
fn reading_as_linux_gives_the_listing_of_every_image() {
    let Some(folder) = samples() else { return };
    let mut failures = String::new();
    let mut trees = 0;
    for sample in table(&folder) {
        let foreign = is_foreign(&sample.file);
        let expected = if foreign { &[][..] } else { &sample.listing };
        let reference = ImageRef {
            format: match sample.file.ends_with(".elf") || sample.file.ends_with(".efi") {
                true => None,
                false => Some(mountless::open::Format::Cpio),
            },
            ..ImageRef::from_path(folder.join(&sample.file))
        };
        let opened = open(&reference, &OpenOptions { as_linux: true, ..OpenOptions::default() });
        let problem = match opened {
            Ok(image) => {
                trees += 1;
                let stopped = image.facts.archive.unwrap().stopped;
                // The kernel says nothing about a checksum that gzip itself would refuse.
                if !foreign && stopped.is_some() != sample.kernel_failed {
                    format!("stopped: {stopped:?}\n")
                } else {
                    differences(expected, &listing(&image.fs))
                }
            }
            Err(error) => format!("{error}\n"),
        };
        if !problem.is_empty() {
            write!(failures, "{}\n{problem}", sample.file).unwrap();
        }
    }
    println!("{trees} trees as listed");
    assert!(failures.is_empty(), "\n{failures}");
}

#[test]
fn what_is_left_out_is_reported_with_its_place() {
    let Some(folder) = samples() else { return };
    let report = open_sample(&folder, "names-paths.cpio", false).unwrap().facts.archive.unwrap();
    let skipped: Vec<_> = report.skipped.iter().map(ToString::to_string).collect();
    assert_eq!(
        skipped,
        [
            "noparent/file (entry at byte 1368): a directory on its path does not exist at this point of the archive",
            "trailing/ (entry at byte 1640): a slash at the end of a name that is not a directory's",
            "loop1/x (entry at byte 2796): more than 40 symbolic links on its path",
            "dangling/x (entry at byte 3052): a directory on its path does not exist at this point of the archive",
            "after/x (entry at byte 3328): something on its path is not a directory",
        ]
    );
    assert_eq!(report.skipped_count, 5);
}

#[test]
fn parts_are_reported_with_their_places() {
    let Some(folder) = samples() else { return };
    let report = open_sample(&folder, "early-then-gz.img", false).unwrap().facts.archive.unwrap();
    let parts: Vec<_> = report.parts.iter().map(|part| (part.offset, part.compression.map(|it| it.name()))).collect();
    assert_eq!(parts.len(), 2);
    assert_eq!(parts[0], (0, None));
    assert_eq!(parts[1].1, Some("gzip"));
    let len = std::fs::metadata(folder.join("early-then-gz.img")).unwrap().len();
    assert_eq!(report.parts[1].offset + report.parts[1].len, len);
    assert_eq!(report.entries, report.parts.iter().map(|part| part.entries).sum::<u64>());
    assert_eq!(report.parts[1].unpacked_len, 355_328);
}

#[test]
fn decompression_stops_at_the_limit() {
    let Some(folder) = samples() else { return };
    let options = OpenOptions { max_unpacked: 1 << 20, ..OpenOptions::default() };
    for compression in ["gz", "zst"] {
        let file = format!("bomb-64m.cpio.{compression}");
        let error = open(&ImageRef::from_path(folder.join(file)), &options).unwrap_err();
        assert_eq!(error, mountless::errno::Errno::FileTooBig);
        assert!(error.to_string().contains("more than 1048576 bytes when decompressed"), "{error}");
    }
}

#[test]
fn archives_in_programs_are_selected_by_name() {
    let Some(folder) = samples() else { return };
    let select = |file: &str, select: &str| {
        let reference = ImageRef { select: Some(select.into()), ..ImageRef::from_path(folder.join(file)) };
        open(&reference, &OpenOptions::default())
    };
    for (file, name) in [("einitrd.elf", "einitrd"), ("vmlinux-like.elf", "initramfs"), ("uki-like.efi", "initrd")] {
        assert!(listing(&select(file, name).unwrap().fs).len() > 1, "{file}");
        let error = select(file, "ucode").unwrap_err();
        let sentence = format!("no ucode in this program; found {name}");

        assert!(error.to_string().contains(&sentence), "{error}");
    }
}

#[test]
fn where_an_archive_is_in_a_program_is_known() {
    let Some(folder) = samples() else { return };
    let archive = std::fs::read(folder.join("einitrd.expected.cpio")).unwrap();
    for (file, name) in [("einitrd.elf", "einitrd"), ("vmlinux-like.elf", "initramfs"), ("uki-like.efi", "initrd")] {
        let image = open(&ImageRef::from_path(folder.join(file)), &OpenOptions::default()).unwrap();
        let [place] = *image.facts.archive.unwrap().embedded else { panic!("{file}: one place") };
        assert_eq!(place.name, name, "{file}");
        let start = usize::try_from(place.offset).unwrap();
        let stored = &std::fs::read(folder.join(file)).unwrap()[start..][..usize::try_from(place.len).unwrap()];
        let source = Arc::new(BytesSource::new(stored.to_vec().into()));
        let found = open_source(source, None, &OpenOptions::default()).unwrap();
        let expected = BytesSource::new(archive.clone().into());
        let expected = open_source(Arc::new(expected), None, &OpenOptions::default()).unwrap();
        assert_eq!(listing(&found.fs), listing(&expected.fs), "{file}");
    }
}
