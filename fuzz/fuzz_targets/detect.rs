#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use mountless::open::{ImageRef, OpenOptions, open_source, split_path};
use mountless::source::{BytesSource, Source};

fuzz_target!(|data: &[u8]| {
    let source: Arc<dyn Source> = Arc::new(BytesSource::new(bytes::Bytes::copy_from_slice(data)));
    let options = OpenOptions { max_unpacked: 1 << 20, ..OpenOptions::default() };
    if let Err(error) = open_source(source, None, &options) {
        assert!(!error.to_string().is_empty());
    }
    if let Ok(text) = core::str::from_utf8(data) {
        assert_eq!(ImageRef::parse(text), ImageRef::parse(text));
        let (image, path) = split_path(text.as_ref());
        assert_eq!(image.len() + path.map_or(0, |path| path.len() + 1), text.len());
    }
});
