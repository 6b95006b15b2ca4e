use super::*;
use crate::format::tfs::{FrameWriter, Item, LogReader, RecordWriter, Volume, extension_start};

/// What a log of one record gives, on top of three: a tuple with two symbols, and an entry that is a tuple.
fn applied(record: &RecordWriter, apply: impl Fn(&mut Objects, Record<'_>) -> Result<(), Stop>) -> String {
    let mut first = RecordWriter::new(); // #1
    first.tuple(2);
    first.symbol(b"a"); // #2
    first.number(5);
    first.symbol(b""); // #3
    first.vector(0); // #4
    let mut second = RecordWriter::new();
    second.tuple_ref(1, 1);
    second.symbol(b"b"); // #5
    second.tuple(0); // #6
    let mut frames = FrameWriter::new(extension_start(1, Some(&Volume::default())), 512);
    for record in [&first, &second, record] {
        assert_eq!(frames.record(record.bytes(), 0), record.bytes().len());
    }
    let bytes = frames.end();
    let mut log = LogReader::new(100, false);
    let mut objects = Objects::new();
    let (_, mut frames) = log.begin(LogReader::FIRST, &bytes).unwrap();
    let mut result = "sound".to_owned();
    while let Ok(Item::Record(record)) = log.next_item(&mut frames) {
        if let Err(Stop::Damage(damage)) = apply(&mut objects, record) {
            result = damage.to_string();
        }
    }
    // Of a record that is damaged a part may have been done.
    if result != "sound" {
        return result;
    }
    let Objects { dictionary, numbers, tuples, total, obsolete, .. } = &objects;
    let entries: Vec<Vec<_>> =
        (0..tuples.len()).map(|id| objects.entries(TupleId(u32::try_from(id).unwrap())).collect()).collect();
    let tuples: Vec<_> = tuples.iter().map(|tuple| (tuple.index, tuple.offset, tuple.count)).collect();
    format!("{} {numbers:?} {tuples:?} {entries:?} {total} {obsolete}", dictionary.count())
}

#[test]
fn the_quick_way_is_the_same_as_the_long_way() {
    let mut quick = 0;
    let values: [&dyn Fn(&mut RecordWriter); 9] = [
        &|record| record.number(7),
        &|record| record.number(u64::MAX),
        &|record| record.integer(true, 7),
        &|record| record.string(b"x"),
        &|record| record.delete(),
        &|record| record.null(),
        &|record| record.tuple(0),
        &|record| {
            record.tuple(2);
            for (key, value) in [(2, 300), (5, u64::MAX >> 2)] {
                record.symbol_ref(key);
                record.number(value);
            }
        },
        &|record| {
            record.tuple(3);
            for key in [2, 5, 2] {
                record.symbol_ref(key);
                record.number(key.into());
            }
        },
    ];
    for tuple in 0..9 {
        for key in [0, 1, 2, 3, 4, 5, 6, 7, 9, 200, 100_000] {
            for value in values {
                let mut record = RecordWriter::new();
                record.tuple_ref(tuple, 1);
                record.symbol_ref(key);
                value(&mut record);
                let long = applied(&record, Objects::apply_any);
                assert_eq!(applied(&record, Objects::apply), long, "{tuple} {key}");
                quick += usize::from(!long.contains("byte"));
            }
        }
    }
    assert!(quick > 50, "{quick}");
}
