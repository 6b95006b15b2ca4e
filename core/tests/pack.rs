//! Every sample archive packed again, in both formats: what is read back is the same tree, but for what is reported.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod listing;
mod tfs_support;

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use mountless::errno::Errno;
use mountless::format::tfs::RecordWriter;
use mountless::fs::FileSystem;
use mountless::open::{Format, ImageRef, OpenOptions, open, open_source};
use mountless::source::BytesSource;
use mountless::transfer::{Loss, PackFormat, PackOptions, PackReport, pack};

use self::listing::{differences, listing, samples};

fn pack_all(fs: &Arc<dyn FileSystem>, format: PackFormat, latest_mtime: Option<i64>) -> (Vec<u8>, PackReport) {
    pack(fs, Vec::new(), format, &PackOptions { latest_mtime, ..PackOptions::default() }).unwrap()
}

fn reopen(bytes: Vec<u8>, format: Format) -> Arc<dyn FileSystem> {
    open_source(Arc::new(BytesSource::new(bytes.into())), Some(format), &OpenOptions::default()).unwrap().fs
}

/// Archives that open, with their trees.
fn images() -> Option<Vec<(PathBuf, Arc<dyn FileSystem>)>> {
    let mut images = Vec::new();
    for folder in ["images/initramfs", "images/layers/tar"] {
        let folder = samples(folder)?;
        let index = std::fs::read_to_string(folder.join("INDEX.tsv")).unwrap();
        for line in index.lines().filter(|line| !line.starts_with('#')) {
            let path = folder.join(line.split('\t').next().unwrap());
            if let Ok(image) = open(&ImageRef::from_path(&path), &OpenOptions::default()) {
                images.push((path, image.fs));
            }
        }
    }
    assert!(images.len() >= 110, "{} images", images.len());
    Some(images)
}

/// The fields that a format holds, of the nodes it holds. Attributes that were never recorded are made up when packed.
fn held(lines: &[String], format: PackFormat) -> Vec<String> {
    let lines = lines.iter().filter(|line| !line.starts_with(".\t")).filter_map(|line| {
        let mut fields: Vec<_> = line.split('\t').map(str::to_owned).collect();
        if fields[8] == "-" {
            fields[8] = "0".to_owned();
        }
        match format {
            PackFormat::Tar if fields[1] == "sock" => return None,
            PackFormat::Tar => {}
            PackFormat::Cpio => {
                fields[11] = "-".to_owned();
                let whole = fields[8].split('.').next().unwrap().parse::<i64>().unwrap();
                fields[8] = whole.clamp(0, u32::MAX.into()).to_string();
                if fields[1] == "link" {
                    fields[5] = "1".to_owned();
                    fields[10] = "-".to_owned();
                }
            }
        }
        Some(fields.join("\t"))
    });
    lines.collect()
}

#[test]
fn what_is_packed_is_read_back() {
    let Some(images) = images() else { return };
    let mut failures = String::new();
    let mut count = 0;
    for (path, fs) in images {
        let before = listing(&fs);
        if before.iter().any(|line| line.contains("!big")) {
            continue;
        }
        for (format, read) in [(PackFormat::Cpio, Format::Cpio), (PackFormat::Tar, Format::Tar)] {
            count += 1;
            let (bytes, report) = pack_all(&fs, format, None);
            assert_eq!(pack_all(&fs, format, None).0, bytes, "the same bytes again");
            let after = listing(&reopen(bytes, read));
            let problem = differences(&held(&before, format), &held(&after, format));
            if !problem.is_empty() {
                write!(failures, "{} as {format:?}\n{problem}", path.display()).unwrap();
            }
            // Whatever is missing is reported.
            let lost_xattrs = report.lost.iter().filter(|lost| matches!(lost.what, Loss::Xattrs(_))).count();
            let has_xattrs = before.iter().filter(|line| line.split('\t').next_back() != Some("-")).count();
            assert_eq!(lost_xattrs, if format == PackFormat::Cpio { has_xattrs } else { 0 }, "{}", path.display());
            let lost_nodes = report.lost.iter().filter(|lost| matches!(lost.what, Loss::Node(_))).count();
            let sockets = before.iter().filter(|line| line.split('\t').nth(1) == Some("sock")).count();
            assert_eq!(lost_nodes, if format == PackFormat::Tar { sockets } else { 0 }, "{}", path.display());
        }
    }
    println!("{count} archives packed and read back");
    assert!(failures.is_empty(), "\n{failures}");
}

#[test]
fn times_after_the_latest_become_the_latest() {
    let Some(folder) = samples("images/layers/tar") else { return };
    let image = open(&ImageRef::from_path(folder.join("gnutar-pax.tar")), &OpenOptions::default()).unwrap();
    let latest = 1_000_000_000;
    for (format, read) in [(PackFormat::Cpio, Format::Cpio), (PackFormat::Tar, Format::Tar)] {
        let (bytes, _) = pack_all(&image.fs, format, Some(latest));
        for line in listing(&reopen(bytes, read)) {
            let time: f64 = line.split('\t').nth(8).unwrap().parse().unwrap();
            assert!(time <= 1e9, "{line}");
        }
    }
}

#[test]
fn a_file_without_bytes_that_cannot_be_read_is_not_packed_as_an_empty_one() {
    let mut record = RecordWriter::new();
    record.tuple(1);
    record.symbol(b"children");
    record.tuple(1);
    record.symbol(b"broken");
    record.tuple(1);
    record.symbol(b"extents");
    record.string(b"not a tuple");
    let fs = reopen(tfs_support::of_record(&record).to_vec(), Format::Tfs);
    for format in [PackFormat::Cpio, PackFormat::Tar] {
        let error = pack(&fs, Vec::new(), format, &PackOptions::default()).unwrap_err();
        assert_eq!(error.errno(), Errno::Io, "{error}");
        assert!(error.to_string().contains("broken"), "{error}");
    }
}
