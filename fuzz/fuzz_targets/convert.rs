#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use mountless::backend::tfs::{ImageOptions, KeepOptions, NewTree, TfsOptions, check, make_image};
use mountless::fs::FileSystem;
use mountless::open::{Format, OpenOptions, open_source};
use mountless::source::{BytesSource, MemStorage, Source};
use mountless::transfer::{PackFormat, PackOptions, PackTarget, pack_to_vec};
use mountless_fuzz::{content_len, seen, try_seen};

/// More content than this is not written three times over.
const CONTENT_MAX: u64 = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let source: Arc<dyn Source> = Arc::new(BytesSource::new(bytes::Bytes::copy_from_slice(data)));
    for as_linux in [false, true] {
        let options = OpenOptions { max_unpacked: 1 << 20, as_linux, ..OpenOptions::default() };
        let Ok(image) = open_source(Arc::clone(&source), None, &options) else { continue };
        if content_len(&*image.fs).is_none_or(|len| len > CONTENT_MAX) {
            continue;
        }
        for (format, name) in [(PackFormat::Cpio, Format::Cpio), (PackFormat::Tar, Format::Tar)] {
            archive(&image.fs, format, name);
        }
        volume(&image.fs);
    }
});

/// What was packed opens, and packs to the same bytes from then on.
fn archive(fs: &Arc<dyn FileSystem>, format: PackFormat, name: Format) {
    let target = PackTarget::new(format, None, None);
    // Names and targets may be longer than the format holds, and files of TFS damaged.
    let Ok((packed, _)) = pack_to_vec(fs, target, &PackOptions::default()) else { return };
    let source: Arc<dyn Source> = Arc::new(BytesSource::new(packed.clone().into()));
    let again = open_source(source, Some(name), &OpenOptions::default()).expect("what was packed opens");
    let (twice, report) = pack_to_vec(&again.fs, target, &PackOptions::default()).expect("and packs");
    assert_eq!(report.lost_count, 0, "{:?}", report.lost);
    assert!(packed == twice, "{:?} and {:?}", seen(&**fs), seen(&*again.fs));
}

/// What a file system is made of is in it, and it is sound.
fn volume(fs: &Arc<dyn FileSystem>) {
    let Ok((tree, report)) = NewTree::from_fs(fs, &KeepOptions::default()) else { return };
    let storage = MemStorage::new();
    if make_image(&storage, &tree, None, &ImageOptions::default()).is_err() {
        return;
    }
    let image: Arc<dyn Source> = Arc::new(storage);
    let checked = check(&image, &TfsOptions::default()).expect("memory can be read");
    assert!(checked.is_sound(), "{:?}", checked.faults);
    let made = open_source(image, Some(Format::Tfs), &OpenOptions::default()).expect("what was made opens");
    // A file of no bytes is made without looking at what else is wrong with it.
    if report.lost.iter().all(|lost| lost.to_string().contains("it is kept"))
        && let Ok(before) = try_seen(&**fs)
    {
        assert_eq!(seen(&*made.fs), before);
    }
}
