use super::*;
use crate::format::tfs::{FrameWriter, Item, LogReader, RecordWriter, Volume, extension_start};

/// What a log of one record gives, on top of three: a tuple with two symbols, and an entry that is a tuple.
fn applied(record: &RecordWriter, quickly: bool) -> (String, bool) {
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
    let mut bytes = frames.end();
    bytes.resize(512, 0);
    let mut log = LogReader::new(100, false);
    let mut objects = Objects::new();
    let (_, mut frames) = log.begin(LogReader::FIRST, &bytes).unwrap();
    let mut is_quick = false;
    for _ in 0..3 {
        is_quick =
            quickly && log.next_changes(&mut frames, u64::MAX, |change| objects.apply_change(change)).unwrap() > 0;
        if is_quick {
            continue;
        }
        let Ok(Item::Record(record)) = log.next_item(&mut frames) else { panic!("no record") };
        if let Err(Stop::Damage(damage)) = objects.apply(record) {
            // Of a record that is damaged a part may have been done.
            return (damage.to_string(), is_quick);
        }
    }
    let Objects { dictionary, tuples, total, obsolete, .. } = &objects;
    let entries: Vec<Vec<_>> = (0..tuples.len()).map(|id| objects.entries(TupleId(id)).collect()).collect();
    let symbol = |entry: Tuple| Some(entry.pair).filter(|_| entry.form == Form::Symbol);
    let tuples: Vec<_> = tuples.iter().map(|entry| (symbol(entry), entry.is_vector, entry.count)).collect();
    assert_eq!(objects.count(), usize::try_from(dictionary.count()).unwrap());
    (format!("{tuples:?} {entries:?} {total} {obsolete}"), is_quick)
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
                let (long, _) = applied(&record, false);
                let (short, is_quick) = applied(&record, true);
                assert_eq!(short, long, "{tuple} {key}");
                quick += usize::from(is_quick);
            }
        }
    }
    assert_eq!(quick, 8, "two values for two tuples and two keys");
}

/// Entries as lists, which [`Objects`] must always show.
#[derive(Default)]
struct Model {
    entries: Vec<(u32, Option<Value>)>,
    obsolete: u64,
}

impl Model {
    fn set(&mut self, key: u32, value: Value) {
        let value = Some(value).filter(|value| *value != Value::Absent);
        match self.entries.iter_mut().find(|(found, _)| *found == key) {
            Some((_, old)) => {
                self.obsolete += match (&old, &value) {
                    (None, _) => 0,
                    (Some(_), Some(_)) => 1,
                    (Some(_), None) => 2,
                };
                *old = value;
            }
            None if value.is_some() => self.entries.push((key, value)),
            None => {}
        }
    }
}

#[test]
fn tuples_show_the_same_whatever_form_they_have() {
    let other = Symbol::PARENT.0;
    let keys = [Symbol::EXTENTS.0, Symbol::FILELENGTH.0, Symbol::OFFSET.0, other];
    let values = [Value::Tuple(TupleId(0)), Value::Integer(7), Value::Integer(1 << 40), Value::Absent];
    let steps: Vec<_> = keys.iter().flat_map(|key| values.map(|value| (*key, value))).collect();
    let mut compact = 0;
    for sequence in 0..steps.len().pow(4) {
        let (mut objects, mut model) = (Objects::new(), Model::default());
        let id = objects.new_tuple(1, sequence % 5 == 0);
        for step in 0..4_u32 {
            let (key, value) = steps[sequence / steps.len().pow(step) % steps.len()];
            objects.set(id, key, false, value).unwrap();
            model.set(key, value);
        }
        let wanted: Vec<_> = model.entries.iter().filter_map(|(key, value)| Some((*key, (*value)?))).collect();
        assert_eq!(objects.entries(id).collect::<Vec<_>>(), wanted, "{sequence}");
        assert_eq!((objects.total, objects.obsolete), (4, model.obsolete), "{sequence}");
        for key in keys {
            let found = wanted.iter().find(|(wanted, _)| *wanted == key).map(|(_, value)| *value);
            assert_eq!(objects.get(id, Symbol(key)), found, "{sequence}");
        }
        compact += usize::from(objects.entries.is_empty() && !wanted.is_empty());
    }
    assert!(compact > 100, "{compact}");
}

#[test]
fn extents_need_no_entries_until_they_change() {
    for (allocated, in_arena) in [(5, 0), (6, 3)] {
        let mut first = RecordWriter::new();
        first.tuple(3);
        for key in [&b"offset"[..], b"allocated", b"length"] {
            first.symbol(key); // #2, #3, #4
            first.number(1);
        }
        let mut second = RecordWriter::new();
        second.tuple_ref(1, 1);
        second.symbol_ref(2);
        second.tuple(3); // #5
        for (key, value) in [(2, 9), (3, allocated), (4, 5)] {
            second.symbol_ref(key);
            second.number(value);
        }
        let mut frames = FrameWriter::new(extension_start(1, Some(&Volume::default())), 512);
        for record in [&first, &second] {
            assert_eq!(frames.record(record.bytes(), 0), record.bytes().len());
        }
        let mut bytes = frames.end();
        bytes.resize(512, 0);
        let (mut log, mut objects) = (LogReader::new(100, false), Objects::new());
        let (_, mut frames) = log.begin(LogReader::FIRST, &bytes).unwrap();
        loop {
            if log.next_changes(&mut frames, u64::MAX, |change| objects.apply_change(change)).unwrap() > 0 {
                continue;
            }
            let Ok(Item::Record(record)) = log.next_item(&mut frames) else { break };
            assert!(objects.apply(record).is_ok());
        }
        let extent = TupleId::of(5);
        let entries = |objects: &Objects| objects.entries(extent).collect::<Vec<_>>();
        let (offset, length) = ((Symbol::OFFSET.0, Value::Integer(9)), (Symbol::LENGTH.0, Value::Integer(5)));
        let of = |allocated| (Symbol::ALLOCATED.0, Value::Integer(allocated));
        assert_eq!(entries(&objects), [offset, of(allocated), length]);
        assert_eq!(objects.entries.len(), 3 + in_arena, "those of the first record, and what does not fit");
        let before = objects.total;
        objects.set(extent, Symbol::ALLOCATED.0, false, Value::Integer(8)).unwrap();
        assert_eq!(entries(&objects), [offset, of(8), length]);
        assert_eq!((objects.total, objects.obsolete), (before + 1, 2), "an entry of each tuple was set anew");
    }
}
