#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use mountless::backend::archive::{ArchiveFs, ArchiveOptions, Unpack};
use mountless::format::cpio::dump;
use mountless::source::{BytesSource, Source};
use mountless_fuzz::read_everything;

fuzz_target!(|data: &[u8]| {
    let source: Arc<dyn Source> = Arc::new(BytesSource::new(bytes::Bytes::copy_from_slice(data)));
    let strict = ArchiveOptions { max_unpacked: 4 << 20, ..ArchiveOptions::default() };
    if let Ok((fs, report)) = ArchiveFs::open_cpio(Arc::clone(&source), &strict) {
        assert!(report.stopped.is_none());
        assert!(report.skipped_count <= report.entries);
        read_everything(&fs);
    }
    if let Ok((fs, _)) = ArchiveFs::open_cpio(source, &ArchiveOptions { unpack: Unpack::AsLinux, ..strict }) {
        read_everything(&fs);
    }
    let _ = dump(data);
});
