use super::*;

#[test]
fn numbers_have_the_most_significant_group_first() {
    for (value, bytes) in [
        (0, &[0][..]),
        (127, &[0x7f]),
        (128, &[0x81, 0]),
        (1024, &[0x88, 0]),
        (3073, &[0x98, 1]),
        (65536, &[0x84, 0x80, 0]),
        (u64::MAX, &[0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
    ] {
        let mut out = Vec::new();
        put_varint(&mut out, value);
        assert_eq!(out, bytes, "{value}");
        assert_eq!(varint(bytes), Ok((value, bytes.len())));
        assert_eq!(varint(&bytes[..bytes.len() - 1]), Err(NumberError::Short));
    }
    assert_eq!(varint(&[0x80, 0x80, 5, 9]), Ok((5, 3)), "longer forms are taken");
    assert_eq!(varint(&[0x82, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0]), Err(NumberError::TooLong));
    assert_eq!(varint(&[0x80; 20]), Err(NumberError::TooLong));
}

#[test]
fn lengths_continue_below_the_bits_of_the_header() {
    for (bytes, len) in [(&[0x85][..], 5), (&[0x88, 8], 8), (&[0x89, 0], 128), (&[0x88, 0x88, 0], 1024)] {
        let (header, used) = Header::read(bytes, Version::V5).unwrap();
        assert_eq!((header, used), (Header { immediate: true, kind: 0, len }, bytes.len()));
    }
    let (header, used) = Header::read(&[0xe1, 0x02], Version::V4).unwrap();
    assert_eq!((header, used), (Header { immediate: true, kind: 1, len: 130 }, 2));
}

/// What is read of a log of one record, up to damage, entries taken at once or not.
fn tokens(bytes: &[u8], at_once: bool) -> (Vec<String>, u32, usize) {
    use crate::format::tfs::{FrameWriter, Item, LogReader, Volume, extension_start};

    let mut frames = FrameWriter::new(extension_start(1, Some(&Volume::default())), 512);
    assert_eq!(frames.record(bytes, 0), bytes.len());
    let log = frames.end();
    let (mut reader, mut dictionary) = (LogReader::new(1, false), Dictionary::default());
    let (_, mut frames) = reader.begin(LogReader::FIRST, &log).unwrap();
    let Ok(Item::Record(record)) = reader.next_item(&mut frames) else { panic!("no record") };
    let mut values = ValueReader::new(record, &mut dictionary);
    let (mut found, mut taken) = (Vec::new(), 0);
    loop {
        while at_once && let Some(NewEmpty { key: index, name, tuple }) = values.next_new_empty() {
            found.push(format!("{} {:?}", values.token_offset(), Token::Key(Key::New { index, name })));
            let token = Token::Tuple { index: tuple, is_new: true, count: 0 };
            found.push(format!("{token:?}"));
            found.push(format!("{:?}", Token::End));
            taken += 1;
        }
        match values.next_token() {
            // Where these stand is not told of what is taken at once.
            Ok(Some(token @ (Token::End | Token::Tuple { is_new: true, count: 0, .. }))) => {
                found.push(format!("{token:?}"));
            }
            Ok(Some(token)) => found.push(format!("{} {token:?}", values.token_offset())),
            Ok(None) => break,
            Err(damage) => {
                found.push(damage.to_string());
                break;
            }
        }
    }
    (found, dictionary.count(), taken)
}

#[test]
fn entries_that_are_taken_at_once_are_the_same_tokens() {
    let entries: [&[u8]; 10] = [
        b"\x81a\x90",
        b"\x80\x90",
        b"\x88\x09long name\x90",
        b"\x88\x02xy\x90",
        b"\x81b\xc1c",
        b"\x81d\x91\x81e\x90",
        b"\x81f\xa1\x90",
        b"\x02\x90",
        b"\x81g\x10\x01",
        b"\x89\x00\x90",
    ];
    let mut taken = 0;
    for first in entries {
        for second in entries {
            for count in [0x91, 0x92, 0x93] {
                let record = [&[count], first, second].concat();
                for len in 1..=record.len() {
                    let (all, defined, _) = tokens(&record[..len], false);
                    let (found, also_defined, here) = tokens(&record[..len], true);
                    assert_eq!(found, all, "{record:02x?}");
                    assert!(defined == also_defined || all.last().is_some_and(|it| it.contains("byte")));
                    taken += here;
                }
            }
        }
    }
    assert!(taken > 500, "{taken}");
}
