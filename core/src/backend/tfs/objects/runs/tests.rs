//! What comes in runs has to show the same as if it were read one by one, whatever is done to it later.

use alloc::format;
use alloc::vec::Vec;

use crate::backend::tfs::objects::Objects;
use crate::backend::tfs::objects::tuple::{Form, TupleId};
use crate::format::tfs::{FrameWriter, Item, Link, LogReader, NewFiles, RecordWriter, Volume, extension_start};

const NAMES: u32 = 40;
const SECTORS: u64 = 64;

/// Numbers of the dictionary: names and their tuples, then the keys of a file.
const DIR: u32 = 3;
const fn name(at: u32) -> u32 {
    DIR + 1 + 2 * at
}
const fn node(at: u32) -> u32 {
    name(at) + 1
}
/// `extents`, `0`, `offset`, `allocated`, `length` and `filelength`, and `mtime`.
const fn key(at: u32) -> u32 {
    node(NAMES) + 1 + at
}
const fn extents(file: u32) -> u32 {
    key(7) + 2 * file
}

/// A tree of names, and keys.
fn tree() -> RecordWriter {
    let mut record = RecordWriter::new();
    record.tuple(2); // #1
    record.symbol(b"children"); // #2
    record.tuple(NAMES.into()); // #3
    for at in 0..NAMES {
        record.symbol(format!("file {at}").as_bytes());
        record.tuple(0);
    }
    record.symbol(b"keys");
    record.tuple(7);
    for name in [&b"extents"[..], b"0", b"offset", b"allocated", b"length", b"filelength", b"mtime"] {
        record.symbol(name);
        record.number(1);
    }
    record
}

fn set(tuple: u32, key: u32, value: impl FnOnce(&mut RecordWriter)) -> RecordWriter {
    let mut record = RecordWriter::new();
    record.tuple_ref(tuple, 1);
    record.symbol_ref(key);
    value(&mut record);
    record
}

/// The records of file `file` of a run, which is the node `at`.
fn file(file: u32, at: u32) -> [RecordWriter; 3] {
    let extent = |record: &mut RecordWriter| {
        record.tuple(3);
        for (at, value) in [(2, 100 + 10 * file), (3, 2), (4, 2)] {
            record.symbol_ref(key(at));
            record.number(value.into());
        }
    };
    [
        set(node(at), key(0), |record| record.tuple(0)),
        set(extents(file), key(1), extent),
        set(node(at), key(5), |record| record.number(1000 + u64::from(file))),
    ]
}

/// Everything that can be seen of a log, and how many files of it were read as a run.
fn seen(records: &[RecordWriter], in_runs: bool) -> (alloc::string::String, usize) {
    let len = usize::try_from(SECTORS * 512).unwrap();
    let mut frames = FrameWriter::new(extension_start(SECTORS, Some(&Volume::default())), len);
    for record in records {
        assert_eq!(frames.record(record.bytes(), 0), record.bytes().len());
    }
    let mut bytes = frames.end();
    bytes.resize(len, 0);
    let (mut log, mut objects) = (LogReader::new(SECTORS, false), Objects::new());
    let (_, mut frames) = log.begin(Link { sector: 0, count: SECTORS }, &bytes).unwrap();
    let mut files = 0;
    loop {
        if in_runs {
            let (mut run, begin) = (NewFiles::default(), frames);
            log.next_files(&mut frames, u64::MAX, &mut run);
            let count = run.files.len();
            if count > 0 && objects.apply_files(run) {
                files += count;
                continue;
            }
            frames = begin;
        }
        match log.next_item(&mut frames) {
            Ok(Item::Record(record)) => assert!(objects.apply(record).is_ok()),
            Ok(_) => break,
            Err(damage) => panic!("{damage}"),
        }
    }
    if !in_runs {
        // One by one, and none of them in a form for many.
        for id in 0..objects.tuples.len() {
            if objects.tuple(TupleId(id)).is_some_and(|tuple| tuple.form == Form::Runs) {
                objects.expand(TupleId(id)).unwrap();
            }
        }
    }
    let ids = || (0..objects.tuples.len()).map(TupleId);
    let entries: Vec<Vec<_>> = ids().map(|id| objects.entries(id).collect()).collect();
    let found: Vec<Vec<_>> =
        ids().map(|id| objects.entries(id).map(|(key, _)| objects.get(id, super::Symbol(key))).collect()).collect();
    let values: Vec<Vec<_>> =
        entries.iter().map(|entries| entries.iter().map(|(_, value)| Some(*value)).collect()).collect();
    assert_eq!(found, values);
    let symbols: Vec<_> = objects.tuples.iter().map(|tuple| (tuple.form == Form::Symbol, tuple.is_vector)).collect();
    assert_eq!(objects.count(), usize::try_from(objects.dictionary.count()).unwrap());
    let Objects { total, obsolete, repeated_symbols, .. } = &objects;
    let orphans = objects.orphans([1].into_iter());
    let numbers = objects.symbol_numbers();
    (format!("{entries:?} {symbols:?} {numbers:?} {total} {obsolete} {repeated_symbols} {orphans}"), files)
}

/// Changes of what is in runs.
fn change(random: u32) -> RecordWriter {
    let (at, file, what) = (random % NAMES, random / 7 % 30, random / 211 % 13);
    match what {
        0 => set(node(at), key(5), |record| record.number(7)),
        1 => set(node(at), key(6), |record| record.number(7)),
        2 => set(node(at), key(5), RecordWriter::delete),
        3 => set(node(at), key(0), |record| record.tuple(0)),
        4 => set(extents(file), key(1), RecordWriter::delete),
        5 => set(extents(file), name(at), |record| record.tuple_ref(extents(file) + 1, 0)),
        6 => set(extents(file) + 1, key(4), |record| record.number(1)),
        7 => set(extents(file) + 1, key(2), RecordWriter::delete),
        8 => set(DIR, name(at), RecordWriter::delete),
        9 => set(DIR, name(at), |record| record.tuple_ref(node(file), 0)),
        10 => set(DIR, key(1), |record| record.tuple_ref(node(file), 0)),
        11 => set(DIR, name(at), |record| record.number(3)),
        _ => {
            let mut record = RecordWriter::new();
            record.tuple_ref(DIR, 1);
            record.symbol(format!("file {at}").as_bytes());
            record.tuple(0);
            record
        }
    }
}

#[test]
fn runs_show_what_their_records_say_whatever_changes_later() {
    let mut random = 1_u32;
    let mut next = move || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        random >> 8
    };
    for _ in 0..300 {
        let mut records = alloc::vec![tree()];
        records.extend((0..30).flat_map(|number| file(number, number)));
        let before = seen(&records, true);
        assert_eq!((before.0.clone(), before.1), (seen(&records, false).0, 30));
        for _ in 0..next() % 8 {
            records.push(change(next()));
            let (quick, files) = seen(&records, true);
            assert_eq!((quick, files), (seen(&records, false).0, 30));
        }
    }
}

#[test]
fn files_that_are_not_new_are_read_one_by_one() {
    let whole = |second: [RecordWriter; 3]| {
        let mut records = alloc::vec![tree()];
        records.extend(file(0, 0));
        records.extend(second);
        records
    };
    assert_eq!(seen(&whole(file(1, 1)), true), (seen(&whole(file(1, 1)), false).0, 2));
    // The same node once more: of the run nothing may be done then, and no trace of it may be left.
    let again = whole(file(1, 0));
    assert_eq!(seen(&again, true), (seen(&again, false).0, 0));
    let mut changed = alloc::vec![tree(), set(node(1), key(6), |record| record.number(7))];
    changed.extend([0, 1].into_iter().flat_map(|number| file(number, number)));
    let (quick, _) = seen(&changed, true);
    assert_eq!(quick, seen(&changed, false).0);
    // Keys that mean something else.
    let mut other = alloc::vec![tree(), set(node(0), key(6), |record| record.tuple(0))];
    other.push(set(key(7), key(1), |record| {
        record.tuple(3);
        for at in [2, 3, 4] {
            record.symbol_ref(key(at));
            record.number(2);
        }
    }));
    other.push(set(node(0), key(5), |record| record.number(9)));
    assert_eq!(seen(&other, true), (seen(&other, false).0, 0));
}
