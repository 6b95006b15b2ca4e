#![no_main]

use std::sync::Arc;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mountless::format::compress::Compression;
use mountless::open::{Format, OpenOptions, open_source};
use mountless::source::{BytesSource, Source};
use mountless::transfer::{Compress, compress};
use mountless_fuzz::read_everything;

/// An archive, compressed, and damaged.
#[derive(Debug, Arbitrary)]
struct Input {
    with: u8,
    twice: Option<u8>,
    one_frame: bool,
    content: Vec<u8>,
    zeros: u16,
    /// Bytes that are changed.
    damage: Vec<(u16, u8)>,
    cut: Option<u16>,
    behind: Vec<u8>,
}

const ALL: [Compression; 7] = [
    Compression::Gzip,
    Compression::Bzip2,
    Compression::Xz,
    Compression::Lzma,
    Compression::Zstd,
    Compression::Lz4Legacy,
    Compression::Lz4Frame,
];

fn pack(with: u8, one_frame: bool, bytes: &[u8]) -> Vec<u8> {
    let compression = ALL[usize::from(with) % ALL.len()];
    compress(bytes, Compress { compression, level: None, one_frame }).expect("memory takes it")
}

fuzz_target!(|input: Input| {
    let zeros = vec![0; input.zeros.into()];
    let content = [&input.content[..], &zeros].concat();
    let mut bytes = pack(input.with, input.one_frame, &content);
    if let Some(with) = input.twice {
        bytes = pack(with, input.one_frame, &bytes);
    }
    for (at, byte) in &input.damage {
        let at = usize::from(*at) % bytes.len();
        bytes[at] ^= byte;
    }
    bytes.truncate(input.cut.map_or(usize::MAX, usize::from));
    bytes.extend(&input.behind);
    let source: Arc<dyn Source> = Arc::new(BytesSource::new(bytes.into()));
    for as_linux in [false, true] {
        let options = OpenOptions { max_unpacked: 1 << 20, as_linux, ..OpenOptions::default() };
        for format in [None, Some(Format::Cpio), Some(Format::Tar)] {
            match open_source(Arc::clone(&source), format, &options) {
                Ok(image) => read_everything(&*image.fs),
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
    }
});
