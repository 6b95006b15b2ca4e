//! Every sample container image against what real consumers unpacked from it.
//!
//! The table is the folder of listings: `NAME.TAG.tsv` or `NAME.tsv`, beside them listings of other consumers. A tree
//! must be that of one of them.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod listing;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mountless::attr::FileType;
use mountless::errno::Errno;
use mountless::error::Error;
use mountless::fs::{FileSystem, FileSystemExt};
use mountless::open::{Format, ImageRef, LayerFacts, OpenOptions, OpenedImage, open};
use mountless::transfer::Progress;

use self::listing::{differences, listing, read_listing, samples};

/// Consumers whose listings stand beside the first one.
const OTHERS: &[&str] = &["storage-overlay", "storage-vfs", "umoci"];

fn open_image(folder: &Path, name: &str, select: &str) -> Result<OpenedImage, Error> {
    let select = Some(select).filter(|select| !select.is_empty()).map(Into::into);
    open(&ImageRef { select, ..ImageRef::from_path(folder.join(name)) }, &OpenOptions::default())
}

/// Image and tag, with their listings, the first consumer's first.
fn table(folder: &Path) -> BTreeMap<(String, String), Vec<PathBuf>> {
    let mut samples: BTreeMap<_, Vec<PathBuf>> = BTreeMap::new();
    let mut files: Vec<_> =
        std::fs::read_dir(folder.join("expected")).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    for path in files {
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let of = OTHERS.iter().find_map(|other| stem.strip_suffix(&format!(".{other}")));
        let is_other = of.is_some();
        let of = of.unwrap_or(&stem).to_owned();
        let (name, tag) = match of.split_once('.') {
            Some((name, "tar")) => (format!("{name}.tar"), String::new()),
            Some((name, tag)) => (name.to_owned(), tag.to_owned()),
            None => (of, String::new()),
        };
        let listings = samples.entry((name, tag)).or_default();
        if is_other { listings.push(path) } else { listings.insert(0, path) }
    }
    assert!(samples.len() >= 50, "{} images", samples.len());
    samples
}

/// Fields that differ from the listings for a reason: tag, path, field from 0, value.
const KNOWN: &[(&str, &str, usize, &str)] = &[
    // The other names of a lower group keep the lower layer's count, as in overlays.
    ("wh-file-new-same-layer", "c-link", 5, "2"),
    ("wh-file-new-same-layer", "c-link", 10, "c-link"),
    // A link to a lower file makes both names one file of the upper layer; what else was linked to it stays below.
    ("hardlink-lower", "c", 5, "2"),
    ("hardlink-lower", "c2", 5, "2"),
    ("hardlink-lower", "c-link", 5, "2"),
    ("hardlink-lower", "c-link", 10, "c-link"),
];

/// The expected lines, with what is known to differ, and times that the consumer left to chance, put in their place.
fn known(tag: &str, lines: Vec<String>, found: &[String]) -> Vec<String> {
    let replace = |line: String| {
        let mut fields: Vec<_> = line.split('\t').collect();
        let same = found.iter().map(|line| line.split('\t').collect::<Vec<_>>()).find(|other| other[0] == fields[0]);
        if let Some(same) = same.filter(|_| fields[8] == "-") {
            fields[8] = same[8];
        }
        for (of, path, field, value) in KNOWN {
            if *of == tag && fields[0] == *path {
                fields[*field] = value;
            }
        }
        fields.join("\t")
    };
    lines.into_iter().map(replace).collect()
}

#[test]
fn every_image_gives_what_a_consumer_unpacks() {
    let Some(folder) = samples("images/layers/oci") else { return };
    let mut failures = String::new();
    let mut trees = 0;
    let mut refused = Vec::new();
    for ((name, tag), listings) in table(&folder) {
        // Those that every consumer refuses have tests of their own.
        if !listings.iter().any(|path| is_tree(path)) || name == "bad-digest" {
            refused.push(format!("{name} {tag}"));
            continue;
        }
        // The machine that made the listing.
        let select = if name == "multi-arch" { format!("{tag},linux/amd64") } else { tag.clone() };
        let problem = match open_image(&folder, &name, &select) {
            Ok(image) => {
                trees += 1;
                let mut found = listing(&image.fs);
                // What unpacks an image makes the root itself.
                found.retain(|line| !line.starts_with(".\t"));
                let problems = listings.iter().filter(|path| is_tree(path)).map(|path| {
                    let mut expected = known(&tag, read_listing(path), &found);
                    expected.retain(|line| !line.starts_with(".\t"));
                    differences(&expected, &found)
                });
                problems.min_by_key(String::len).unwrap()
            }
            Err(error) => format!("{error}\n"),
        };
        if !problem.is_empty() {
            write!(failures, "{name} {tag}\n{problem}").unwrap();
        }
    }
    println!("{trees} trees as listed");
    assert!(failures.is_empty(), "\n{failures}");
    assert_eq!(refused, ["bad-digest x", "stacks wh-empty-name"]);
}

/// Whether a consumer unpacked anything.
fn is_tree(path: &Path) -> bool {
    !std::fs::read_to_string(path).unwrap().contains("# failed:")
}

#[test]
fn a_blob_that_is_not_what_its_digest_says_is_refused() {
    let Some(folder) = samples("images/layers/oci") else { return };
    let error = open_image(&folder, "bad-digest", "x").unwrap_err();
    assert_eq!(error, Errno::Io);
    assert_eq!(error.corrupt().unwrap().format(), "image");
    assert!(error.to_string().contains("the content's sha256 is "), "{error}");
}

#[test]
fn a_whiteout_of_nothing_hides_nothing() {
    let Some(folder) = samples("images/layers/oci") else { return };
    let image = open_image(&folder, "stacks", "wh-empty-name").unwrap();
    let skipped: Vec<_> = image.facts.layers.iter().flat_map(|layer| &layer.archive.skipped).collect();
    assert_eq!(skipped.len(), 1);
    assert!(skipped[0].to_string().ends_with("a whiteout of nothing"), "{}", skipped[0]);
    assert!(listing(&image.fs).len() > 5);
}

/// Names of a layer with their types; opaque directories with a `!`.
fn names_of(fs: &dyn FileSystem) -> Vec<String> {
    let mut names = Vec::new();
    let mut pending = vec![(String::new(), fs.root())];
    while let Some((path, dir)) = pending.pop() {
        fs.for_each_entry(dir, |entry| {
            let below = format!("{path}{}", entry.name);
            let node = fs.lookup(dir, entry.name)?.node;
            let opaque = if fs.attr(node)?.opaque { "!" } else { "" };
            if entry.file_type == FileType::Dir {
                pending.push((format!("{below}/"), node));
            }
            names.push(format!("{below} {}{opaque}", entry.file_type.word()));
            Ok(())
        })
        .unwrap();
    }
    names.sort();
    names
}

#[test]
fn single_layers_show_what_they_hide() {
    let Some(folder) = samples("images/layers/oci") else { return };
    for (tag, expected) in [
        ("wh-file", &["c whiteout"][..]),
        ("wh-then-new", &["a dir!", "a/new file"]),
        ("new-then-wh", &["a dir!", "a/new file"]),
        ("opq-last", &["a dir!", "a/new file", "a/sub dir", "a/sub/y file"]),
    ] {
        let image = open_image(&folder, "stacks", &format!("{tag},layer=2")).unwrap();
        let found = names_of(&*image.fs);
        assert_eq!(found, expected, "{tag}");
    }
    let error = open_image(&folder, "stacks", "wh-file,layer=3").unwrap_err();
    assert!(error.to_string().ends_with("no layer 3; there are 2, the lowest is 1"), "{error}");
}

#[test]
fn images_are_selected_by_name_and_platform() {
    let Some(folder) = samples("images/layers/oci") else { return };
    for (name, select, format) in [
        ("umoci", "l2", Format::Oci),
        ("docker-archive.tar", "example.test/app:v2", Format::Docker),
        ("docker-archive.tar", "v2", Format::Docker),
        ("docker-save-oci.tar", "", Format::Docker),
        ("oci-archive.tar", "", Format::Oci),
        ("dir", "", Format::Oci),
    ] {
        let image = open_image(&folder, name, select).unwrap();
        assert_eq!(image.facts.format, format, "{name}");
        assert!(!image.facts.layers.is_empty(), "{name}");
        let error = open_image(&folder, name, "nothing-called-so");
        assert!(error.is_err() || name == "dir", "{name}");
    }
    for (name, select, sentence) in [
        ("umoci", "l9", "no image is called \"l9\"; there are: "),
        ("umoci", "", "several images, select one by its name; there are: "),
        ("multi-arch", "multi,plan9/mips", "no image for plan9/mips; there are: linux/arm64/v8, linux/amd64"),
        ("umoci", "l1,nonsense", "\"nonsense\" selects nothing in an image"),
    ] {
        let error = open_image(&folder, name, select).unwrap_err();
        assert!(error.to_string().contains(sentence), "{error}");
    }
}

#[test]
fn what_is_decompressed_is_told_to_its_end() {
    let Some(folder) = samples("images/layers/oci") else { return };
    let mut counted = 0;
    for (name, tag) in table(&folder).keys() {
        let progress = Arc::new(Progress::new());
        let options = OpenOptions { progress: Some(Arc::clone(&progress)), ..OpenOptions::default() };
        let select = Some(tag).filter(|tag| !tag.is_empty()).map(Into::into);
        let reference = ImageRef { select, ..ImageRef::from_path(folder.join(name)) };
        let Ok(image) = open(&reference, &options) else { continue };
        let is_packed = |layer: &&LayerFacts| layer.archive.parts.iter().any(|part| part.compression.is_some());
        let stored: u64 = image.facts.layers.iter().filter(is_packed).map(|layer| layer.stored_len).sum();
        assert_eq!(progress.get(), (stored, stored), "{name} {tag}");
        counted += usize::from(stored > 0);
    }
    assert!(counted > 10, "{counted} images with compressed layers");
}
