#![no_main]

use std::sync::Arc;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mountless::backend::tfs::{TfsFs, TfsOptions, TfsVolume, check, repair};
use mountless::clock::ManualClock;
use mountless::format::tfs::{FrameWriter, Link, RecordWriter, Volume, dump, extension_start};
use mountless::source::{BytesSource, MemStorage, Source, Storage};
use mountless_fuzz::read_what_can_be_read;

/// A piece of a record: mostly what makes sense in the place, as the names of attributes are few.
#[derive(Debug, Arbitrary)]
enum Piece {
    Tuple(u8),
    TupleRef(u8, u8),
    Vector(u8),
    Known(u8),
    Spelled(Word),
    Symbol(u8),
    Text(Word),
    Number(u32),
    Large(u64),
    Negative(u16),
    Null,
    Delete,
    /// A file with an extent.
    File {
        sector: u16,
        count: u8,
        allocated: u8,
        len: u16,
    },
    /// An entry of tuple `of`: a directory, a link, a file.
    Entry {
        of: u8,
        name: u8,
        kind: u8,
    },
}

#[derive(Debug, Arbitrary)]
enum Word {
    Attribute(u8),
    Block(u8),
    Name([u8; 2]),
}

impl Word {
    fn bytes(&self) -> Vec<u8> {
        const WORDS: [&str; 16] = [
            "children",
            "extents",
            "filelength",
            "linktarget",
            "socket",
            "mtime",
            "atime",
            "nlink",
            "offset",
            "length",
            "allocated",
            "uninited",
            "..",
            "mountless.mode",
            "mountless.node",
            "no_encode",
        ];
        match self {
            Self::Attribute(at) => WORDS[usize::from(at % 16)].into(),
            Self::Block(block) => block.to_string().into(),
            Self::Name(name) => name.map(|byte| byte % 3 + b'.').to_vec(),
        }
    }
}

#[derive(Debug, Arbitrary)]
struct Log {
    /// A root with children in front.
    rooted: bool,
    records: Vec<Vec<Piece>>,
    /// Bytes of each extension.
    room: u16,
}

fn record(pieces: &[Piece]) -> RecordWriter {
    let mut record = RecordWriter::new();
    for piece in pieces {
        match piece {
            Piece::Tuple(count) => record.tuple((*count).into()),
            Piece::TupleRef(index, count) => record.tuple_ref((*index).into(), (*count).into()),
            Piece::Vector(count) => record.vector((*count).into()),
            Piece::Known(index) => record.symbol_ref((*index).into()),
            Piece::Spelled(word) => record.symbol(&word.bytes()),
            Piece::Symbol(byte) => record.symbol(&[*byte]),
            Piece::Text(word) => record.string(&word.bytes()),
            Piece::Number(number) => record.number((*number).into()),
            Piece::Large(number) => record.number(*number),
            Piece::Negative(number) => record.integer(true, (*number).into()),
            Piece::Null => record.null(),
            Piece::Delete => record.delete(),
            Piece::File { sector, count, allocated, len } => {
                record.tuple(2);
                record.symbol(b"extents");
                record.tuple(1);
                record.symbol(b"0");
                record.tuple(3);
                for (key, value) in
                    [("offset", *sector), ("length", (*count).into()), ("allocated", (*allocated).into())]
                {
                    record.symbol(key.as_bytes());
                    record.number(value.into());
                }
                record.symbol(b"filelength");
                record.number((*len).into());
            }
            Piece::Entry { of, name, kind } => {
                record.tuple_ref((*of).into(), 1);
                record.symbol(&[name % 4 + b'a']);
                record.tuple(1);
                match kind % 3 {
                    0 => {
                        record.symbol(b"children");
                        record.tuple(0);
                    }
                    1 => {
                        record.symbol(b"linktarget");
                        record.string(b"x");
                    }
                    _ => {
                        record.symbol(b"extents");
                        record.tuple(0);
                    }
                }
            }
        }
    }
    record
}

/// Sectors of an extension.
const SECTORS: u64 = 8;

fn image(log: &Log) -> Vec<u8> {
    let mut records: Vec<_> = log.records.iter().take(64).map(|pieces| record(pieces)).collect();
    if log.rooted {
        records.insert(0, record(&[Piece::Tuple(1), Piece::Spelled(Word::Attribute(0)), Piece::Tuple(0)]));
    }
    let mut image = vec![0; 512 * 512];
    let mut put = |sector: u64, bytes: &[u8]| {
        let at = usize::try_from(sector * 512).unwrap();
        if let Some(place) = image.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    let room = usize::from(log.room).clamp(128, 4096);
    let extension = || FrameWriter::new(extension_start(SECTORS, None), room);
    put(
        0,
        &FrameWriter::new(extension_start(1, Some(&Volume::default())), 512).link(Link { sector: 1, count: SECTORS }),
    );
    let (mut sector, mut writer) = (1, extension());
    for record in &records {
        let mut done = 0;
        loop {
            done = writer.record(record.bytes(), done);
            if done == record.bytes().len() || sector > 400 {
                break;
            }
            let full = std::mem::replace(&mut writer, extension());
            put(sector, &full.link(Link { sector: sector + SECTORS, count: SECTORS }));
            sector += SECTORS;
        }
    }
    put(sector, &writer.end());
    image
}

fuzz_target!(|log: Log| {
    let bytes = image(&log);
    let _ = dump(&bytes);
    let image: Arc<dyn Source> = Arc::new(BytesSource::new(bytes.clone().into()));
    let report = check(&image, &TfsOptions::default()).expect("memory can be read");
    let opened = TfsFs::open(Arc::clone(&image), &TfsOptions::default());
    if let Ok((fs, _)) = &opened {
        read_what_can_be_read(fs);
    }
    let storage = Arc::new(MemStorage::new());
    match repair(&image, &*storage) {
        Ok(_) => {
            let repaired: Arc<dyn Source> = storage;
            assert!(check(&repaired, &TfsOptions::default()).expect("memory can be read").is_sound());
            let (fs, _) = TfsFs::open(repaired, &TfsOptions::default()).expect("what was repaired opens");
            read_what_can_be_read(&fs);
        }
        Err(error) => assert!(error.corrupt().is_some(), "{error:?}"),
    }
    // What opens for writing is sound, and so it is when compacted.
    let storage = Arc::new(MemStorage::new());
    storage.write_at(0, &bytes).expect("memory takes it");
    storage.set_len(3 << 20).expect("memory takes it");
    let clock = Arc::new(ManualClock::new(0));
    if let Ok(volume) = TfsVolume::open(Arc::clone(&storage) as Arc<dyn Storage>, &TfsOptions::default(), clock) {
        assert!(opened.is_ok());
        if volume.compact().is_ok() {
            let compacted: Arc<dyn Source> = storage;
            let after = check(&compacted, &TfsOptions::default()).expect("memory can be read");
            assert!(after.is_sound() || !report.is_sound(), "{:?}", after.faults);
        }
    }
});
