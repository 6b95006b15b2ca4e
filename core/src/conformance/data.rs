//! Content of files.

use bytes::Bytes;

use super::{Random, Tree, group};
use crate::errno::Errno;
use crate::fs::WriteAt;

group! { "data":
    written_and_read_back,
    reading_at_and_behind_the_end,
    overwriting_in_the_middle,
    appending,
    writing_nothing_changes_nothing,
    a_gap_reads_as_zeros,
    shrinking_and_growing_shows_zeros,
    cut_to_nothing,
    shared_reads_agree,
    shared_writes,
    shared_writes_do_not_alias,
    shared_writes_over_owned_bytes,
    only_files_have_content,
    long_pieces_across_borders,
    random_operations,
    an_open_file_is_the_node,
    two_appending_threads,
    threads_in_different_parts,
    reads_see_whole_appends,
}

/// Where the filesystem lends it. What is done in one way shows in the other, also after the last name is gone.
fn an_open_file_is_the_node(t: &Tree) {
    let file = t.file_with(&t.root, "f", b"0123456789");
    let Some(open) = t.writable().open_file(file.node()).unwrap() else { return };
    let read = || {
        let mut buf = [0; 64];
        let count = open.read_at(0, &mut buf).unwrap();
        buf[..count].to_vec()
    };
    let written = open.write_at(WriteAt::Offset(8), b"abcd").unwrap();
    assert_eq!((written.count, written.end), (4, 12));
    assert_eq!((t.read(&file), t.attr(&file).size), (b"01234567abcd".to_vec(), 12));
    t.write(&file, 0, b"xy");
    assert_eq!(open.write_at(WriteAt::End, b"!").unwrap().end, 13);
    assert_eq!(read(), b"xy234567abcd!");
    t.resize(&file, 3).unwrap();
    let before = t.attr(&file);
    assert_eq!(open.write_at(WriteAt::End, b"").unwrap().count, 0);
    assert_eq!((read(), t.attr(&file)), (b"xy2".to_vec(), before), "nothing written, nothing changed");
    open.write_at(WriteAt::End, b"?").unwrap();
    let after = t.attr(&file);
    assert!(after.mtime > before.mtime && after.ctime == after.mtime, "{after:?}");
    assert_eq!(open.write_at(WriteAt::Offset(crate::limits::FILE_SIZE_MAX), b"x").unwrap_err(), Errno::FileTooBig);
    t.writable().unlink(t.root.node(), crate::name::Name::new(b"f").unwrap()).unwrap();
    open.write_at(WriteAt::Offset(0), b"open").unwrap();
    assert_eq!((read(), t.read(&file)), (b"open".to_vec(), b"open".to_vec()));
}

fn written_and_read_back(t: &Tree) {
    let file = t.file(&t.root, "f");
    let all: Vec<u8> = (0..=255).collect();
    let written = t.writable().write_at(file.node(), WriteAt::Offset(0), &all).unwrap();
    assert_eq!((written.count, written.end), (256, 256));
    assert_eq!((t.read(&file), t.attr(&file).size), (all, 256));
    assert_eq!(t.read_part(&file, 10, 3), [10, 11, 12]);
    assert!(t.attr(&file).allocated > 0);
}

fn reading_at_and_behind_the_end(t: &Tree) {
    let file = t.file_with(&t.root, "f", b"12345");
    assert_eq!(t.read_part(&file, 3, 10), b"45");
    for offset in [5, 6, 1 << 40, i64::MAX as u64, u64::MAX] {
        let mut buf = [7; 4];
        assert_eq!(t.fs().read_at(file.node(), offset, &mut buf).unwrap(), 0, "at {offset}");
        assert_eq!(buf, [7; 4]);
        assert_eq!(t.fs().read_shared(file.node(), offset, 4).unwrap(), "", "at {offset}");
    }
    assert_eq!(t.fs().read_at(file.node(), 0, &mut []).unwrap(), 0);
}

fn overwriting_in_the_middle(t: &Tree) {
    let file = t.file_with(&t.root, "f", b"0123456789");
    t.write(&file, 3, b"abc");
    assert_eq!(t.read(&file), b"012abc6789");
    t.write(&file, 8, b"XYZ");
    assert_eq!(t.read(&file), b"012abc67XYZ");
}

fn appending(t: &Tree) {
    let file = t.file(&t.root, "f");
    assert_eq!(t.append(&file, b"one").end, 3);
    assert_eq!(t.append(&file, b"two").end, 6);
    t.resize(&file, 4).unwrap();
    assert_eq!(t.append(&file, b"!").end, 5);
    assert_eq!(t.read(&file), b"onet!");
    t.resize(&file, 7).unwrap();
    assert_eq!(t.append(&file, b"?").end, 8);
    assert_eq!(t.read(&file), b"onet!\0\0?");
}

fn writing_nothing_changes_nothing(t: &Tree) {
    let file = t.file_with(&t.root, "f", b"x");
    let old = t.attr(&file);
    std::thread::sleep(core::time::Duration::from_millis(20));
    for at in [WriteAt::Offset(0), WriteAt::Offset(100), WriteAt::End] {
        assert_eq!(t.writable().write_at(file.node(), at, b"").unwrap().count, 0);
    }
    t.writable().write_shared(file.node(), 50, Bytes::new()).unwrap();
    assert_eq!(t.attr(&file), old);
}

fn a_gap_reads_as_zeros(t: &Tree) {
    let file = t.file_with(&t.root, "f", b"start");
    t.write(&file, 100_000, b"end");
    let content = t.read(&file);
    assert_eq!((content.len(), &content[..5], &content[100_000..]), (100_003, &b"start"[..], &b"end"[..]));
    assert!(content[5..100_000].iter().all(|byte| *byte == 0));
}

fn shrinking_and_growing_shows_zeros(t: &Tree) {
    for cut in [0, 1, 4095, 4096, 5000, 65_536, 70_000] {
        let file = t.file_with(&t.root, "f", &[0xff; 80_000]);
        t.resize(&file, cut).unwrap();
        t.resize(&file, 80_000).unwrap();
        let content = t.read(&file);
        let cut = usize::try_from(cut).unwrap();
        assert!(content[..cut].iter().all(|byte| *byte == 0xff), "kept to {cut}");
        assert!(content[cut..].iter().all(|byte| *byte == 0), "zeros from {cut}");
        // The same when the growth is a write further on.
        t.write(&file, 0, &[0xff; 80_000]);
        t.resize(&file, cut as u64).unwrap();
        t.write(&file, 79_999, &[0xff]);
        assert!(t.read(&file)[cut..79_999].iter().all(|byte| *byte == 0), "zeros from {cut}");
        t.unlink(&t.root, "f").unwrap();
    }
}

fn cut_to_nothing(t: &Tree) {
    let file = t.file_with(&t.root, "f", &[1; 100_000]);
    t.resize(&file, 0).unwrap();
    assert_eq!((t.attr(&file).size, t.attr(&file).allocated, t.read(&file)), (0, 0, vec![]));
}

fn shared_reads_agree(t: &Tree) {
    let file = t.file(&t.root, "f");
    let mut random = Random(1);
    let content: Vec<u8> = (0..200_000).map(|_| random.byte()).collect();
    t.write(&file, 50_000, &content);
    let whole = t.read(&file);
    let mut at = 0;
    while at < whole.len() {
        let run = t.fs().read_shared(file.node(), at as u64, 1 + at % 77_777).unwrap();
        assert!(!run.is_empty() && run.len() <= 1 + at % 77_777);
        assert!(run == whole[at..at + run.len()], "at {at}");
        at += run.len();
    }
    assert_eq!(t.fs().read_shared(file.node(), 10, 0).unwrap(), "");
    let early = t.fs().read_shared(file.node(), 50_000, 100).unwrap();
    t.write(&file, 50_000, &[0; 100]);
    assert!(early == content[..early.len()], "what was handed out does not change");
}

fn shared_writes(t: &Tree) {
    let file = t.file(&t.root, "f");
    let mut random = Random(2);
    let content: Vec<u8> = (0..300_000).map(|_| random.byte()).collect();
    let data = Bytes::from(content.clone());
    t.writable().write_shared(file.node(), 0, data.slice(..100_001)).unwrap();
    t.writable().write_shared(file.node(), 100_001, data.slice(100_001..100_011)).unwrap();
    t.writable().write_shared(file.node(), 100_011, data.slice(100_011..)).unwrap();
    drop(data);
    assert!(t.read(&file) == content);
    t.resize(&file, 150_000).unwrap();
    t.append(&file, b"tail");
    assert!(t.read(&file) == [&content[..150_000], b"tail"].concat());
}

fn shared_writes_do_not_alias(t: &Tree) {
    let (a, b) = (t.file(&t.root, "a"), t.file(&t.root, "b"));
    let data = Bytes::from(vec![1; 50_000]);
    for file in [&a, &b] {
        t.writable().write_shared(file.node(), 0, data.clone()).unwrap();
    }
    t.write(&a, 10_000, &[2; 100]);
    assert!(data.iter().all(|byte| *byte == 1) && t.read(&b).iter().all(|byte| *byte == 1));
    let changed = t.read(&a);
    assert_eq!(changed.iter().filter(|byte| **byte == 2).count(), 100);
    assert_eq!(changed[9_999..10_001], [1, 2]);
}

fn shared_writes_over_owned_bytes(t: &Tree) {
    let file = t.file_with(&t.root, "f", &[1; 100_000]);
    t.writable().write_shared(file.node(), 30_000, Bytes::from(vec![2; 40_000])).unwrap();
    t.writable().write_shared(file.node(), 99_990, Bytes::from(vec![3; 20])).unwrap();
    let wanted = [vec![1; 30_000], vec![2; 40_000], vec![1; 29_990], vec![3; 20]].concat();
    assert!(t.read(&file) == wanted);
}

fn only_files_have_content(t: &Tree) {
    for (node, errno) in [(t.dir(&t.root, "d"), Errno::IsDir), (t.symlink(&t.root, "l", b"x"), Errno::Invalid)] {
        let id = node.node();
        assert_eq!(t.fs().read_at(id, 0, &mut [0]).unwrap_err(), errno);
        assert_eq!(t.fs().read_shared(id, 0, 1).unwrap_err(), errno);
        assert_eq!(t.writable().write_at(id, WriteAt::Offset(0), b"x").unwrap_err(), errno);
        assert_eq!(t.writable().write_at(id, WriteAt::End, b"x").unwrap_err(), errno);
        assert_eq!(t.writable().write_shared(id, 0, Bytes::from_static(b"x")).unwrap_err(), errno);
        assert_eq!(t.resize(&node, 0).unwrap_err(), errno);
    }
}

fn long_pieces_across_borders(t: &Tree) {
    let file = t.file(&t.root, "f");
    let mut wanted = Vec::new();
    for (turn, len) in [1, 4095, 4097, 65_535, 65_537, 130_000, 3, 262_144].into_iter().enumerate() {
        let piece = vec![u8::try_from(turn).unwrap() + 1; len];
        t.append(&file, &piece);
        wanted.extend(piece);
    }
    assert!(t.read(&file) == wanted);
    t.write(&file, 60_000, &[9; 200_000]);
    wanted[60_000..260_000].fill(9);
    assert!(t.read(&file) == wanted);
}

/// Writes, shared writes, cuts and growth, against a plain vector.
fn random_operations(t: &Tree) {
    for seed in 0..8 {
        let random = &mut Random(seed);
        let file = t.file(&t.root, "f");
        let mut model: Vec<u8> = Vec::new();
        for _ in 0..60 {
            let offset = random.index(150_000);
            let len = if random.below(2) == 0 { random.index(100) } else { random.index(70_000) };
            let piece = vec![random.byte() | 1; len];
            let into = |model: &mut Vec<u8>, offset: usize| {
                if !piece.is_empty() {
                    model.resize(model.len().max(offset + len), 0);
                    model[offset..offset + len].copy_from_slice(&piece);
                }
            };
            match random.below(5) {
                0 | 1 => {
                    t.write(&file, offset as u64, &piece);
                    into(&mut model, offset);
                }
                2 => {
                    t.writable().write_shared(file.node(), offset as u64, piece.clone().into()).unwrap();
                    into(&mut model, offset);
                }
                3 => {
                    t.append(&file, &piece);
                    let end = model.len();
                    into(&mut model, end);
                }
                _ => {
                    t.resize(&file, offset as u64).unwrap();
                    model.resize(offset, 0);
                }
            }
            assert_eq!(t.attr(&file).size, model.len() as u64);
        }
        assert!(t.read(&file) == model, "seed {seed}");
        t.unlink(&t.root, "f").unwrap();
    }
}

fn two_appending_threads(t: &Tree) {
    let file = t.file(&t.root, "f");
    std::thread::scope(|scope| {
        for writer in 1..=2_u8 {
            let file = &file;
            scope.spawn(move || {
                for _ in 0..300 {
                    assert_eq!(t.append(file, &[writer; 117]).count, 117);
                }
            });
        }
    });
    let content = t.read(&file);
    assert_eq!(content.len(), 2 * 300 * 117);
    let records: Vec<&[u8]> = content.chunks(117).collect();
    assert!(records.iter().all(|record| record.iter().all(|byte| *byte == record[0])), "no record is torn");
    assert_eq!(records.iter().filter(|record| record[0] == 1).count(), 300);
}

fn threads_in_different_parts(t: &Tree) {
    let file = t.file(&t.root, "f");
    std::thread::scope(|scope| {
        for part in 0..4_u8 {
            let file = &file;
            scope.spawn(move || {
                let start = u64::from(part) * 30_001;
                for turn in 0..30 {
                    t.write(file, start + turn * 1000, &[part + 1; 1000]);
                    assert!(t.read_part(file, start, 1000).iter().all(|byte| *byte == part + 1));
                }
            });
        }
    });
    let content = t.read(&file);
    for part in 0..4 {
        assert!(content[part * 30_001..][..30_000].iter().all(|byte| usize::from(*byte) == part + 1));
    }
}

fn reads_see_whole_appends(t: &Tree) {
    let file = t.file(&t.root, "f");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..200 {
                t.append(&file, &[5; 100]);
            }
        });
        scope.spawn(|| {
            for _ in 0..200 {
                let size = t.attr(&file).size;
                let mut content = vec![0; usize::try_from(size).unwrap()];
                assert_eq!(t.fs().read_at(file.node(), 0, &mut content).unwrap(), content.len());
                assert!(content.iter().all(|byte| *byte == 5), "zeros before the bytes arrive");
            }
        });
    });
}
