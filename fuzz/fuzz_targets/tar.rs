#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use mountless::backend::archive::{ArchiveFs, ArchiveOptions, Unpack};
use mountless::source::{BytesSource, Source};
use mountless_fuzz::read_everything;

fuzz_target!(|data: &[u8]| {
    let source: Arc<dyn Source> = Arc::new(BytesSource::new(bytes::Bytes::copy_from_slice(data)));
    let strict = ArchiveOptions { max_unpacked: 4 << 20, ..ArchiveOptions::default() };
    let as_tools = ArchiveOptions { unpack: Unpack::AsLinux, ..strict };
    for options in [strict, as_tools] {
        if let Ok((fs, report)) = ArchiveFs::open_tar(Arc::clone(&source), &options) {
            assert!(report.skipped_count <= report.entries);
            read_everything(&fs);
        }
        if let Ok((fs, report)) = ArchiveFs::open_layer(Arc::clone(&source), None, &options) {
            assert!(report.skipped_count <= report.entries);
            read_everything(&fs);
        }
    }
});
