//! Looking ahead changes nothing: archives replayed with and without scouts give the same tree, report and errors.

use core::fmt::Write as _;
use std::io::Write as _;

use bytes::BytesMut;

use super::cpio::replay_by_plan;
use super::heads::LANES;
use super::known::HeadsToKeep;
use super::scouts::Plan;
use super::*;
use crate::format::cpio::{Header, TRAILER, Variant, align};
use crate::fs::FileSystemExt as _;
use crate::limits::HEADS_PER_LANE_MAX;
use crate::source::BytesSource;

const IN_ORDER: Plan = Plan { archive_len_min: u64::MAX, ..Plan::DEFAULT };

const fn ahead(segment_len: u64, threads: usize) -> Plan {
    Plan { archive_len_min: 0, segment_len, sample: 0, entry_len_max: 0, threads }
}

/// From segments shorter than a header to one for all.
const PLANS: &[Plan] = &[ahead(100, 1), ahead(512, 2), ahead(4096, 3), ahead(5000, 1), ahead(1 << 20, 4)];

/// Archives to try in each test.
const ROUNDS: u64 = 150;

/// Pseudo-random numbers: the same ones each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(to_u64(from.len()))).unwrap()]
    }

    fn bytes(&mut self, max: u64) -> Vec<u8> {
        (0..self.below(max)).map(|_| self.below(256) as u8).collect()
    }
}

fn entry(archive: &mut Vec<u8>, header: Header, name: &[u8], data: &[u8]) {
    let header = Header { namesize: name.len() as u32, filesize: data.len() as u32, ..header };
    let start = archive.len();
    archive.extend_from_slice(&header.encode());
    archive.extend_from_slice(name);
    archive.resize(start + header.data_offset() as usize, 0);
    archive.extend_from_slice(data);
    archive.resize(align(archive.len() as u64) as usize, 0);
}

fn trailer(archive: &mut Vec<u8>) {
    entry(archive, Header { nlink: 1, ..Header::default() }, &[TRAILER, b"\0"].concat(), b"");
}

/// Data of a file: noise, an archive, things that look like one, and headers that lead far away.
fn tempting_data(dice: &mut Dice, depth: u32) -> Vec<u8> {
    match dice.below(6) {
        0 if depth > 0 => archive(dice, depth - 1),
        1 => b"070701".repeat(dice.below(100) as usize),
        2 => {
            let mut data = vec![0; dice.below(64) as usize];
            let header = Header {
                namesize: dice.pick(&[0, 1, 2, 5, 4096, u32::MAX]),
                filesize: dice.pick(&[0, 1, 300, 5000, u32::MAX]),
                mode: dice.pick(&[0o100_644, 0o120_777, 0o040_755]),
                ..Header::default()
            };
            data.extend_from_slice(&header.encode());
            data.extend_from_slice(&dice.bytes(200));
            data
        }
        3 => vec![0; dice.below(3000) as usize],
        _ => dice.bytes(2000),
    }
}

/// A sound archive of all kinds of entries.
fn archive(dice: &mut Dice, depth: u32) -> Vec<u8> {
    let mut archive = Vec::new();
    let mut dirs: Vec<Vec<u8>> = vec![Vec::new()];
    for number in 0..dice.below(40) {
        let dir = dirs[dice.below(dirs.len() as u64) as usize].clone();
        let mut name =
            [&dir[..], format!("{}{number}", "n".repeat(dice.pick(&[1, 1, 9, 240, 260]))).as_bytes()].concat();
        let mode = dice.pick(&[0o100_644, 0o100_600, 0o040_755, 0o120_777, 0o020_600, 0o010_644, 0]);
        let header = Header {
            mode,
            variant: Variant::Newc,
            ino: dice.below(8) as u32,
            nlink: dice.pick(&[1, 1, 1, 2]),
            mtime: number as u32,
            ..Header::default()
        };
        if mode == 0o040_755 {
            dirs.push([&name[..], b"/"].concat());
        }
        let data = match mode >> 12 {
            0o10 => tempting_data(dice, depth),
            0o12 => dice.pick(&[&b"n1"[..], b"/n2/n3", b"nowhere\0more", &[b'x'; 5000]]).to_vec(),
            _ => Vec::new(),
        };
        name.extend_from_slice(dice.pick(&[&b"\0"[..], b"\0", b"\0", b"\0\0\0\0\0"]));
        entry(&mut archive, header, &name, &data);
        if dice.below(20) == 0 {
            trailer(&mut archive);
            archive.resize(archive.len() + 4 * dice.below(300) as usize, 0);
        }
    }
    trailer(&mut archive);
    archive
}

/// Everything there is to see of a tree, or why there is none.
fn describe(archive: &[u8], unpack: Unpack, plan: &Plan) -> (String, u64) {
    let (text, found_ahead, _) = describe_with(archive, unpack, plan, None);
    (text, found_ahead)
}

/// The same, with heads that are known; and the heads to keep, where there is a tree.
fn describe_with(archive: &[u8], unpack: Unpack, plan: &Plan, known: Option<Bytes>) -> (String, u64, Option<Vec<u8>>) {
    let source = Arc::new(BytesSource::new(BytesMut::from(archive).freeze()));
    let options = ArchiveOptions { unpack, max_unpacked: 1 << 20, ..ArchiveOptions::default() };
    let (replayed, kept) = match replay_by_plan(source, &options, plan, known, true) {
        Ok(replayed) => replayed,
        Err(error) => return (format!("{error:?}"), 0, None),
    };
    let found_ahead = replayed.found_ahead;
    let mut text = format!("{:?}\n", replayed.report);
    let sources = replayed.sources.into();
    let fs = ArchiveFs { index: replayed.index, sources, extras: Extras::default(), kind: "cpio", total_bytes: 0 };
    for node in 1..=fs.index.node_count() {
        let id = NodeId::new(node);
        let Ok(attr) = fs.attr(id) else { continue };
        writeln!(text, "{attr:?} {:?} {:?}", fs.read_link(id), fs.read_shared(id, 0, usize::MAX)).unwrap();
        let _ = fs.for_each_entry(id, |entry| {
            let found = fs.lookup(id, entry.name).unwrap();
            writeln!(text, "{entry:?} {found:?}").unwrap();
            Ok(())
        });
    }
    (text, found_ahead, kept.map(HeadsToKeep::finish))
}

/// Checks that all plans lead to the same, and returns how many heads were found ahead in all.
fn check(archive: &[u8]) -> u64 {
    let mut found_ahead = 0;
    for unpack in [Unpack::Strict, Unpack::AsLinux] {
        let (expected, none) = describe(archive, unpack, &IN_ORDER);
        assert_eq!(none, 0);
        for plan in PLANS {
            let (described, found) = describe(archive, unpack, plan);
            assert_eq!(described, expected, "{unpack:?} {plan:?}");
            found_ahead += found;
        }
        check_known(archive, unpack, &expected);
    }
    found_ahead
}

/// Checks that heads which were kept lead to the same, and that those of other archives do no harm.
fn check_known(archive: &[u8], unpack: Unpack, expected: &str) {
    let (_, _, Some(kept)) = describe_with(archive, unpack, &IN_ORDER, None) else { return };
    for plan in PLANS {
        let again = describe_with(archive, unpack, plan, None).2;
        assert!(again.as_ref() == Some(&kept), "the same heads are kept by {plan:?}");
    }
    let (described, found_ahead, kept_again) = describe_with(archive, unpack, &IN_ORDER, Some(kept.clone().into()));
    assert_eq!(described, expected, "{unpack:?} with known heads");
    assert!(kept_again.as_ref() == Some(&kept) && (found_ahead > 0 || kept.is_empty()));
    let cut = Bytes::from(kept).slice(..kept_again.map_or(0, |kept| kept.len() / 2));
    assert_eq!(describe_with(archive, unpack, &IN_ORDER, Some(cut.clone())).0, expected, "with half of them");
    let shorter = &archive[..archive.len() / 3];
    describe_with(shorter, unpack, &IN_ORDER, Some(cut));
}

#[test]
fn sound_archives_are_the_same_with_scouts() {
    let mut dice = Dice(1);
    let mut found_ahead = 0;
    for _ in 0..ROUNDS {
        found_ahead += check(&archive(&mut dice, 2));
    }
    assert!(found_ahead > 10 * ROUNDS, "only {found_ahead} heads were found ahead");
}

#[test]
fn damaged_archives_give_the_same_errors_with_scouts() {
    let mut dice = Dice(2);
    for _ in 0..ROUNDS {
        let mut archive = archive(&mut dice, 1);
        for _ in 0..dice.below(4) {
            let at = dice.below(to_u64(archive.len())) as usize;
            archive[at] = dice.pick(&[0, b'0', b'7', b'f', b'g', 0xff]);
        }
        if dice.below(2) == 0 {
            archive.truncate(dice.below(to_u64(archive.len())) as usize);
        }
        check(&archive);
    }
}

#[test]
fn compressed_parts_between_others_are_the_same_with_scouts() {
    let mut dice = Dice(3);
    for _ in 0..ROUNDS / 3 {
        let mut whole = archive(&mut dice, 1);
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&archive(&mut dice, 1)).unwrap();
        whole.extend(encoder.finish().unwrap());
        whole.resize(align(whole.len() as u64) as usize, 0);
        whole.extend(archive(&mut dice, 1));
        check(&whole);
    }
}

#[test]
fn an_archive_inside_a_file_is_not_taken_for_the_outer_one() {
    let mut inner = Vec::new();
    for number in 0..50 {
        let name = format!("inner-{number}\0");
        entry(&mut inner, Header { mode: 0o100_644, nlink: 1, ..Header::default() }, name.as_bytes(), b"data");
    }
    let mut outer = Vec::new();
    for number in 0..20 {
        let name = format!("outer-{number}\0");
        entry(&mut outer, Header { mode: 0o100_644, nlink: 1, ..Header::default() }, name.as_bytes(), &inner);
    }
    trailer(&mut outer);
    let (described, found_ahead) = describe(&outer, Unpack::Strict, &ahead(4096, 2));
    assert_eq!(described, describe(&outer, Unpack::Strict, &IN_ORDER).0);
    assert_eq!(described.matches("Name(outer-").count(), 20);
    assert!(!described.contains("Name(inner-"));
    assert!(found_ahead > 0, "chains of the outer archive are followed too");
}

#[test]
fn more_heads_than_are_kept_are_read_in_order() {
    let mut archive = Vec::new();
    let count = HEADS_PER_LANE_MAX * (LANES + 1);
    for number in 0..count {
        let name = format!("{number}\0");
        entry(&mut archive, Header { mode: 0o100_644, nlink: 1, ..Header::default() }, name.as_bytes(), b"");
    }
    let (described, found_ahead) = describe(&archive, Unpack::Strict, &ahead(1 << 30, 1));
    assert_eq!(described, describe(&archive, Unpack::Strict, &IN_ORDER).0);
    assert_eq!(found_ahead, to_u64(HEADS_PER_LANE_MAX * LANES));
}

#[test]
fn only_long_archives_of_short_entries_are_scouted() {
    let archive = |count: usize, len: usize| {
        let mut archive = Vec::new();
        for number in 0..count {
            let header = Header { mode: 0o100_644, nlink: 1, ..Header::default() };
            entry(&mut archive, header, format!("{number}\0").as_bytes(), &vec![1; len]);
        }
        trailer(&mut archive);
        archive
    };
    let found = |archive: &[u8]| describe(archive, Unpack::Strict, &Plan::DEFAULT).1;
    let (short, long) = (10 << 10, 200 << 10);
    assert_eq!(found(&archive(100, short)), 0, "1 MB");
    assert_eq!(found(&archive(60, long)), 0, "12 MB in long entries");
    assert!(found(&archive(1200, short)) > 1100, "12 MB in short entries");
}
