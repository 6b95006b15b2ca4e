#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use mountless::backend::tfs::{Part, TfsFs, TfsOptions, check, crash_log, repair};
use mountless::format::tfs::dump;
use mountless::source::{BytesSource, MemStorage, Source};
use mountless_fuzz::read_what_can_be_read;

fuzz_target!(|data: &[u8]| {
    let image: Arc<dyn Source> = Arc::new(BytesSource::new(bytes::Bytes::copy_from_slice(data)));
    for part in [None, Some(Part::Boot)] {
        let strict = TfsOptions { part, ..TfsOptions::default() };
        let opened = TfsFs::open(Arc::clone(&image), &strict);
        if let Ok((fs, report)) = &opened {
            assert!(report.lost.is_none());
            read_what_can_be_read(fs);
        }
        match TfsFs::open(Arc::clone(&image), &TfsOptions { recover: true, ..strict }) {
            Ok((fs, report)) => {
                assert!(opened.is_err() || report.lost.is_none());
                read_what_can_be_read(&fs);
            }
            Err(_) => assert!(opened.is_err(), "what opens strictly can be recovered"),
        }
    }
    let _ = crash_log(&image);
    let _ = check(&image, &TfsOptions::default());
    let storage = Arc::new(MemStorage::new());
    if repair(&image, &*storage).is_ok() {
        let repaired: Arc<dyn Source> = storage;
        assert!(check(&repaired, &TfsOptions::default()).is_ok_and(|report| report.is_sound()));
    }
    let _ = dump(data);
});
