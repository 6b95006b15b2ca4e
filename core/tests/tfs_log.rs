//! The codec of TFS against logs that were written by Nanos and ops, byte by byte.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use mountless::format::tfs::{
    Dictionary, FrameWriter, Item, Key, LINK_ROOM, Link, LogReader, RecordWriter, SECTOR, TfsCorrupt, Token, Uuid,
    ValueReader, Volume, dump, extension_start,
};

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap()).collect()
}

/// A file system of 1100 sectors: sector 0 with a link to sector 1, and the log there.
fn volume(first: &str, log: &str) -> Vec<u8> {
    let mut volume = vec![0; 1100 * 512];
    let (first, log) = (bytes(first), bytes(log));
    volume[..first.len()].copy_from_slice(&first);
    volume[512..512 + log.len()].copy_from_slice(&log);
    volume
}

const FIRST: &str = "4e564d544653050161ca0abe0f4332ca5aa1b02c6947dae364656d6f000501880001";

/// What mkfs makes of `(children:(a:(contents:(host:hd.txt)) d:(children:(l:(linktarget:../a)))) n:[x -y])`.
const MKFS: &str = "4e564d544653 05 8800 02 3030 9288 0863 68696c6472656e92816190816491029181 6c91
    880a 6c696e6b746172676574 c42e2e2f61 816ea2c178c22d79 020b0b11 0587657874656e747390 022525110f81
    309386 6f6666736574b0980188 09616c6c6f6361746564b00186 6c656e677468 b00102101011 05880a66696c656c656e677468 b003";

/// What a kernel adds when it removes `a`, creates `b` with 5 bytes and renames it to `d/c`.
const KERNEL: &str = "04 0204041103048002 2828 1103816293856174696d65b0eb80daccd2e7e7f52d856d74696d65b0eb80dacc
    d2e7e7f52d080e90021e1e111a081094 0812b0980108 13b0018808756e696e69 74656481000814b00102060611170815
    b00502050511 1b081c80023737110881 6314170818b0eb80daccd2e7e7f52d08 19b0eb80daccd2fbafef37080e111a08
    10131b0812b098010813b0010814b001 0815b0050205051103081680";

#[test]
fn a_log_of_mkfs_as_text() {
    insta::assert_snapshot!(dump(&volume(FIRST, &format!("{MKFS} 01"))));
}

#[test]
fn a_log_continued_by_the_kernel_as_text() {
    insta::assert_snapshot!(dump(&volume(FIRST, &format!("{MKFS} {KERNEL} 01"))));
}

#[test]
fn a_log_of_version_4_as_text() {
    let log = "4e564d5446530488 00026b6bc3896172 67756d656e7473c2813081708131817 1
        8b656e7669726f6e6d656e74c1814b81 76886368696c6472656ec18166c28a66 696c656c656e677468813687657874656e
        7473c104c3866c656e6774688131866f 66667365748431303235 89616c6c6f 6361746564813101";
    insta::assert_snapshot!(dump(&volume(&FIRST.replace("4653050161", "4653040161"), log)));
}

#[test]
fn damage_ends_the_text_with_its_place() {
    let text = dump(&volume(FIRST, &format!("{MKFS} 02 02 02 10 63 01")));
    let expected = "0x000285   record 2\n0x000288 damaged: a reference to 99, the dictionary has 1 to 21\n";
    assert!(text.ends_with(expected), "{text}");
}

/// Every record of a log, re-encoded token by token.
fn re_encoded(volume: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut log = LogReader::new(1100, false);
    let (mut dictionary, mut records, mut link) = (Dictionary::default(), Vec::new(), LogReader::FIRST);
    loop {
        let range = log.range(link);
        let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        let (_, mut frames) = log.begin(link, &volume[range]).unwrap();
        link = loop {
            match log.next_item(&mut frames).unwrap() {
                Item::Record(record) => {
                    let original = record.bytes.to_vec();
                    let (mut reader, mut writer) = (ValueReader::new(record, &mut dictionary), RecordWriter::new());
                    while let Some(token) = reader.next_token().unwrap() {
                        write(&mut writer, token);
                    }
                    records.push((original, writer.bytes().to_vec()));
                }
                Item::Segment => {}
                Item::Link(link) => break link,
                Item::End(_) => return records,
            }
        };
    }
}

fn write(writer: &mut RecordWriter, token: Token<'_>) {
    match token {
        Token::Tuple { is_new: true, count, .. } => writer.tuple(count),
        Token::Tuple { index, count, .. } => writer.tuple_ref(index, count),
        Token::Vector { is_new: true, count, .. } => writer.vector(count),
        Token::Key(Key::New { name, .. }) => writer.symbol(name),
        Token::Key(Key::Known { index }) => writer.symbol_ref(index),
        Token::String(bytes) => writer.string(bytes),
        Token::Integer { negative, magnitude } => writer.integer(negative, magnitude),
        Token::Null => writer.null(),
        Token::Delete => writer.delete(),
        Token::End => {}
        Token::Vector { .. } | Token::Buffer(_) | Token::Symbol(_) => panic!("{token:?} in a log of the kernel"),
    }
}

#[test]
fn what_is_read_is_written_back_byte_for_byte() {
    let records = re_encoded(&volume(FIRST, &format!("{MKFS} {KERNEL} 01")));
    assert_eq!(records.len(), 11);
    for (original, written) in records {
        assert_eq!(original, written);
    }
}

#[test]
fn the_first_sector_is_written_as_mkfs_writes_it() {
    let uuid: Uuid = "61ca0abe-0f43-32ca-5aa1-b02c6947dae3".parse().unwrap();
    assert_eq!(uuid.to_string(), "61ca0abe-0f43-32ca-5aa1-b02c6947dae3");
    let start = extension_start(1, Some(&Volume { uuid, label: b"demo".to_vec() }));
    let sector = FrameWriter::new(start, 512).link(Link { sector: 1, count: 1024 });
    assert_eq!(sector, bytes(FIRST));
}

#[test]
fn records_are_split_over_extensions_and_joined_again() {
    // 3 sectors an extension; records of all sizes around a piece's limits.
    for len in (1..400).chain(1400..1600).chain([5000, 20_000]) {
        let mut record = RecordWriter::new();
        record.tuple(1);
        record.symbol(b"k");
        record.string(&vec![b'x'; len]);
        let mut volume = vec![0; 1100 * 512];
        let mut put = |sector: usize, bytes: &[u8]| {
            assert!(bytes.len() <= 3 * 512);
            volume[sector * 512..sector * 512 + bytes.len()].copy_from_slice(bytes);
        };
        put(0, &FrameWriter::new(extension_start(1, Some(&Volume::default())), 512).link(Link { sector: 1, count: 3 }));
        let mut sector = 1;
        let mut writer = FrameWriter::new(extension_start(3, None), 3 * 512);
        for _ in 0..5 {
            let mut done = 0;
            loop {
                done = writer.record(record.bytes(), done);
                if done == record.bytes().len() {
                    break;
                }
                let full = core::mem::replace(&mut writer, FrameWriter::new(extension_start(3, None), 3 * 512));
                put(sector, &full.link(Link { sector: sector as u64 + 3, count: 3 }));
                sector += 3;
            }
        }
        put(sector, &writer.end());
        let mut log = LogReader::new(1100, false);
        let mut link = LogReader::FIRST;
        let mut count = 0;
        'log: loop {
            let start = usize::try_from(link.sector * SECTOR).unwrap();
            let (_, mut frames) =
                log.begin(link, &volume[start..start + usize::try_from(link.count).unwrap() * 512]).unwrap();
            loop {
                match log.next_item(&mut frames).unwrap() {
                    Item::Record(found) => {
                        assert_eq!(found.bytes, record.bytes());
                        count += 1;
                    }
                    Item::Segment => panic!("no segments were written"),
                    Item::Link(next) => {
                        link = next;
                        break;
                    }
                    Item::End(_) => break 'log,
                }
            }
        }
        assert_eq!(count, 5, "{len}");
    }
    assert_eq!(LINK_ROOM, 22);
}

#[test]
fn links_stay_inside_and_apart() {
    let link = |hex: &str| {
        let volume = volume(&format!("4e564d5446530501 00000000000000000000000000000000 00 {hex}"), "");
        let mut log = LogReader::new(1100, false);
        let (_, mut frames) = log.begin(LogReader::FIRST, &volume[..512]).unwrap();
        match log.next_item(&mut frames) {
            Ok(Item::Link(link)) => Ok(link),
            Ok(item) => panic!("{item:?}"),
            Err(damage) => {
                assert_eq!(damage.offset, 25);
                Err(damage.reason)
            }
        }
    };
    assert_eq!(link("05 01 8800"), Ok(Link { sector: 1, count: 1024 }));
    assert_eq!(link("05 01 00"), Err(TfsCorrupt::LinkEmpty));
    assert_eq!(link("05 00 01"), Err(TfsCorrupt::LinkOverlaps { sector: 0, count: 1 }));
    let beyond = |sector, count| Err(TfsCorrupt::LinkBeyondEnd { sector, count, end: 1100 });
    assert_eq!(link("05 884c 01"), beyond(1100, 1));
    assert_eq!(link("05 01 884c"), beyond(1, 1100));
    assert_eq!(link("05 81ffffffffffffffff7f 02"), beyond(u64::MAX, 2));
}
