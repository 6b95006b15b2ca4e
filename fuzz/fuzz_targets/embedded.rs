#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use mountless::backend::archive::{ArchiveFs, ArchiveOptions, Unpack};
use mountless::source::{BytesSource, Source};
use mountless_fuzz::read_everything;

fuzz_target!(|data: &[u8]| {
    let source: Arc<dyn Source> = Arc::new(BytesSource::new(bytes::Bytes::copy_from_slice(data)));
    let strict = ArchiveOptions { max_unpacked: 4 << 20, ..ArchiveOptions::default() };
    for unpack in [Unpack::Strict, Unpack::AsLinux] {
        for select in [None, Some(&b".initrd"[..])] {
            if let Ok((fs, _)) =
                ArchiveFs::open_embedded(Arc::clone(&source), select, &ArchiveOptions { unpack, ..strict })
            {
                read_everything(&fs);
            }
        }
    }
});
