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
    /// New files in front of the records, instead of the root.
    files: Option<Files>,
}

/// A root with files, as mkfs writes it: a record with all names, then three for each file. Readers take such runs at a
/// time, so one file may differ from the others.
#[derive(Debug, Arbitrary)]
struct Files {
    count: u8,
    odd_file: u8,
    odd: Odd,
}

#[derive(Debug, Arbitrary)]
enum Odd {
    Nothing,
    /// Only one of its records is left out.
    LeavesOut(u8),
    /// One of its records comes twice.
    Twice(u8),
    /// Its records are those of another file.
    OfFile(u8),
    /// Its extents are those of another file.
    ExtentsOf(u8),
    Sector(u64),
    Count(u32, u32),
    Size(u64),
    /// A key is another symbol.
    Key(u8, u8),
    /// Something between its records.
    Between(Vec<Piece>),
}

impl Files {
    fn records(&self) -> Vec<RecordWriter> {
        let count = u32::from(self.count);
        let mut root = RecordWriter::new();
        root.tuple(1); // #1
        root.symbol(b"children"); // #2
        root.tuple(count.into()); // #3
        for file in 0..count {
            root.symbol(format!("{file}.").as_bytes());
            root.tuple(0);
        }
        let mut records = vec![root];
        // The symbols of the first file stand between its tuple of extents and those of the second.
        let spelled = 4 + 2 * count;
        for file in 0..count {
            let odd = if u32::from(self.odd_file) == file { &self.odd } else { &Odd::Nothing };
            let key = |record: &mut RecordWriter, at: u8, name: &[u8], number: u32| match odd {
                Odd::Key(odd, other) if odd % 6 == at => record.symbol_ref((*other).into()),
                _ if file == 0 => record.symbol(name),
                _ => record.symbol_ref(number),
            };
            let own = if let Odd::OfFile(other) = odd { u32::from(*other) } else { file };
            let of = if let Odd::ExtentsOf(other) = odd { u32::from(*other) } else { file };
            let (tuple, extents) = (5 + 2 * own, if of == 0 { spelled + 1 } else { spelled + 6 + 2 * of });
            let (sector, size) = (u64::from(20 + 2 * file), u64::from(600 + file));
            let (sector, size) = match odd {
                Odd::Sector(sector) => (*sector, size),
                Odd::Size(size) => (sector, *size),
                _ => (sector, size),
            };
            let (allocated, length) =
                if let Odd::Count(allocated, length) = odd { (*allocated, *length) } else { (2, 2) };
            let mut of_file = [const { RecordWriter::new() }; 3];
            let [first, second, third] = &mut of_file;
            first.tuple_ref(tuple, 1);
            key(first, 0, b"extents", spelled);
            first.tuple(0);
            second.tuple_ref(extents, 1);
            key(second, 1, b"0", spelled + 2);
            second.tuple(3);
            key(second, 2, b"offset", spelled + 4);
            second.number(sector);
            key(second, 3, b"allocated", spelled + 5);
            second.number(allocated.into());
            key(second, 4, b"length", spelled + 6);
            second.number(length.into());
            third.tuple_ref(tuple, 1);
            key(third, 5, b"filelength", spelled + 7);
            third.number(size);
            for (at, of_file) in of_file.into_iter().enumerate() {
                match odd {
                    Odd::LeavesOut(odd) if usize::from(odd % 3) == at => continue,
                    Odd::Twice(odd) if usize::from(odd % 3) == at => records.push(of_file.clone()),
                    Odd::Between(pieces) if at == 1 => records.push(record(pieces)),
                    _ => {}
                }
                records.push(of_file);
            }
        }
        records
    }
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
    if let Some(files) = &log.files {
        records.splice(0..0, files.records());
    } else if log.rooted {
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
