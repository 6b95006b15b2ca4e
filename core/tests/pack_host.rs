//! Directories of the host packed, which are read ahead of what is written: whatever happens to them meanwhile.
#![cfg(feature = "host")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use mountless::backend::host::HostFs;
use mountless::errno::Errno;
use mountless::fs::{FileSystem, FileSystemExt, NodeRef};
use mountless::name::Name;
use mountless::open::{Format, OpenOptions, open_source};
use mountless::source::BytesSource;
use mountless::transfer::{Loss, PackFormat, PackOptions, pack};

/// More than is read ahead, so that the last file is not read yet when the first byte is written.
const FILES: usize = 300;
const FILE_LEN: usize = 20_000;

const FORMATS: [(PackFormat, Format); 2] = [(PackFormat::Cpio, Format::Cpio), (PackFormat::Tar, Format::Tar)];

fn content(number: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from((at * 7 + number) % 251).unwrap()).collect()
}

/// [`FILES`] files `f000` and on, and one called `last`, of a length of its own.
fn tree(last_len: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..FILES {
        fs::write(dir.path().join(format!("f{number:03}")), content(number, FILE_LEN)).unwrap();
    }
    fs::write(dir.path().join("last"), content(FILES, last_len)).unwrap();
    dir
}

fn host(dir: &Path) -> Arc<dyn FileSystem> {
    Arc::new(HostFs::open(dir).unwrap())
}

fn read(fs: &Arc<dyn FileSystem>, name: &str) -> Vec<u8> {
    let node = NodeRef::lookup(fs, fs.root(), Name::new(name.as_bytes()).unwrap()).unwrap();
    let mut content = vec![0; usize::try_from(fs.attr(node.node()).unwrap().size).unwrap()];
    assert_eq!(fs.read_at(node.node(), 0, &mut content).unwrap(), content.len());
    content
}

fn reopen(bytes: Vec<u8>, format: Format) -> Arc<dyn FileSystem> {
    open_source(Arc::new(BytesSource::new(bytes.into())), Some(format), &OpenOptions::default()).unwrap().fs
}

/// Does something when the first byte is written, and takes no more than so many.
struct Out<F> {
    bytes: Vec<u8>,
    at_first: Option<F>,
    max: usize,
}

impl<F: FnOnce()> Write for Out<F> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if let Some(at_first) = self.at_first.take() {
            at_first();
        }
        if self.bytes.len() + buf.len() > self.max {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn out<F: FnOnce()>(at_first: F) -> Out<F> {
    Out { bytes: Vec::new(), at_first: Some(at_first), max: usize::MAX }
}

#[test]
fn all_content_arrives_whatever_its_length() {
    // Files that fill what is read at once exactly, and those around it.
    for last_len in [0, 1, (256 << 10) - 1, 256 << 10, (256 << 10) + 1, 3_000_000] {
        let dir = tree(last_len);
        for (format, reopened) in FORMATS {
            let (bytes, report) = pack(&host(dir.path()), Vec::new(), format, &PackOptions::default()).unwrap();
            let packed = reopen(bytes, reopened);
            for number in 0..FILES {
                assert!(read(&packed, &format!("f{number:03}")) == content(number, FILE_LEN), "{number} {format:?}");
            }
            assert!(read(&packed, "last") == content(FILES, last_len), "{last_len} {format:?}");
            assert_eq!(report.content_len, u64::try_from(FILES * FILE_LEN + last_len).unwrap());
        }
    }
}

#[test]
fn content_that_no_format_wants_is_passed_over() {
    let dir = tree(5);
    fs::write(dir.path().join(".wh.name"), content(1, 700_000)).unwrap();
    let options = PackOptions { as_layer: true, ..PackOptions::default() };
    let (bytes, report) = pack(&host(dir.path()), Vec::new(), PackFormat::Tar, &options).unwrap();
    assert!(report.lost.iter().any(|lost| lost.what == Loss::Name && *lost.path == *b".wh.name"), "{:?}", report.lost);
    let packed = reopen(bytes, Format::Tar);
    assert!(read(&packed, "f000") == content(0, FILE_LEN));
    assert!(read(&packed, "last") == content(FILES, 5));
    let mut count = 0;
    let visit = |_: mountless::fs::DirEntry<'_>| {
        count += 1;
        Ok(())
    };
    packed.for_each_entry(packed.root(), visit).unwrap();
    assert_eq!(count, FILES + 1);
}

#[test]
fn a_file_that_becomes_shorter_meanwhile_is_filled_up_and_told() {
    for (format, reopened) in FORMATS {
        let dir = tree(50_000);
        let last = dir.path().join("last");
        let out = out(|| fs::File::options().write(true).open(&last).unwrap().set_len(1_000).unwrap());
        let (out, report) = pack(&host(dir.path()), out, format, &PackOptions::default()).unwrap();
        let lost = report.lost.iter().find(|lost| *lost.path == *b"last" && matches!(lost.what, Loss::Changed { .. }));
        assert_eq!(lost.unwrap().to_string(), "last: it changed while it was read: 1000 bytes instead of 50000");
        let mut expected = content(FILES, 50_000);
        expected[1_000..].fill(0);
        assert!(read(&reopen(out.bytes, reopened), "last") == expected);
    }
}

#[test]
fn a_file_that_goes_meanwhile_is_an_error_that_names_it() {
    let dir = tree(10);
    let last = dir.path().join("last");
    let out = out(|| fs::remove_file(&last).unwrap());
    let error = pack(&host(dir.path()), out, PackFormat::Tar, &PackOptions::default()).map(|_| ()).unwrap_err();
    assert_eq!(error.errno(), Errno::Stale);
    assert!(error.to_string().contains("last"), "{error}");
}

#[test]
fn a_full_output_ends_the_reading() {
    let dir = tree(10);
    for max in [0, 300, 100_000, 5_000_000] {
        let out = Out { max, ..out(|| ()) };
        let error = pack(&host(dir.path()), out, PackFormat::Cpio, &PackOptions::default()).map(|_| ()).unwrap_err();
        assert_eq!(error.errno(), Errno::NoSpace);
    }
}
