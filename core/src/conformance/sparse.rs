//! Holes: a terabyte of nothing costs nothing.

use super::{Tree, group};
use crate::errno::Errno;
use crate::fs::{Allocate, Extent, NodeRef};

group! { "sparse":
    a_terabyte_costs_nothing,
    data_behind_a_terabyte,
    extents_cover_the_file,
    no_extent_behind_the_end,
    an_unaligned_hole,
    a_whole_hole,
    a_hole_behind_the_end,
    reserving_extends,
    reserving_keeps_the_size,
    reserving_keeps_the_content,
    wrong_ranges,
}

const TERABYTE: u64 = 1 << 40;

/// Every run of the file, checked to be gapless and forward.
fn extents(t: &Tree, file: &NodeRef) -> Vec<Extent> {
    let (size, mut at, mut all) = (t.attr(file).size, 0, Vec::new());
    while at < size {
        let extent = t.fs().extent_at(file.node(), at).unwrap();
        assert!(extent.end() > at && extent.end() <= size, "{extent:?} at {at} of {size}");
        at = extent.end();
        all.push(extent);
        assert!(all.len() < 10_000);
    }
    all
}

/// Runs `allocate`, or checks that it is refused as declared.
fn allocate(t: &Tree, file: &NodeRef, what: Allocate, range: core::ops::Range<u64>) -> bool {
    let old = t.attr(file);
    match t.writable().allocate(file.node(), what, range) {
        Ok(()) => {
            assert!(t.can.allocate);
            true
        }
        Err(error) => {
            assert!(!t.can.allocate && error == Errno::NotSupported, "{error:?}");
            assert_eq!(t.attr(file), old);
            false
        }
    }
}

fn a_terabyte_costs_nothing(t: &Tree) {
    let file = t.file(&t.root, "f");
    t.resize(&file, TERABYTE).unwrap();
    let attr = t.attr(&file);
    assert_eq!(attr.size, TERABYTE);
    assert_eq!(t.read_part(&file, TERABYTE - 7, 100), [0; 7]);
    assert_eq!(t.read_part(&file, TERABYTE / 2, 100), [0; 100]);
    let run = t.fs().read_shared(file.node(), TERABYTE / 3, usize::MAX).unwrap();
    assert!(!run.is_empty() && run.iter().all(|byte| *byte == 0));
    if t.can.holes {
        assert!(attr.allocated < 1 << 20, "{} bytes", attr.allocated);
        assert!(extents(t, &file).iter().all(|extent| matches!(extent, Extent::Hole { .. })));
    }
}

fn data_behind_a_terabyte(t: &Tree) {
    let file = t.file(&t.root, "f");
    t.write(&file, TERABYTE, b"far away");
    t.write(&file, TERABYTE / 2, b"half-way");
    assert_eq!(t.attr(&file).size, TERABYTE + 8);
    assert_eq!(t.read_part(&file, TERABYTE - 2, 100), b"\0\0far away");
    assert_eq!(t.read_part(&file, TERABYTE / 2 - 1, 10), b"\0half-way\0");
    if t.can.holes {
        assert!(t.attr(&file).allocated < 1 << 20);
        assert!(
            matches!(t.fs().extent_at(file.node(), TERABYTE + 3).unwrap(), Extent::Data { end } if end == TERABYTE + 8)
        );
    }
    t.resize(&file, 10).unwrap();
    t.resize(&file, TERABYTE + 8).unwrap();
    assert_eq!(t.read_part(&file, TERABYTE, 100), [0; 8], "nothing left of it");
}

fn extents_cover_the_file(t: &Tree) {
    let file = t.file(&t.root, "f");
    let mut wanted = vec![0; 3 << 20];
    for at in [0, 1 << 20, (1 << 20) + (64 << 10), 2 << 20] {
        t.write(&file, at as u64, &[1; 64 << 10]);
        wanted[at..at + (64 << 10)].fill(1);
    }
    t.resize(&file, 3 << 20).unwrap();
    let mut at = 0;
    let mut holes = 0;
    for extent in extents(t, &file) {
        let end = usize::try_from(extent.end()).unwrap();
        match extent {
            Extent::Hole { .. } => {
                holes += end - at;
                assert!(wanted[at..end].iter().all(|byte| *byte == 0), "data in a hole {at}..{end}");
            }
            Extent::Data { .. } => assert!(t.read_part(&file, at as u64, end - at) == wanted[at..end]),
        }
        at = end;
    }
    if t.can.holes {
        assert!(holes >= 2 << 20, "holes of {holes} bytes seen");
    }
}

fn no_extent_behind_the_end(t: &Tree) {
    let file = t.file_with(&t.root, "f", b"12345");
    assert_eq!(t.fs().extent_at(file.node(), 4).unwrap().end(), 5);
    for offset in [5, 6, TERABYTE, u64::MAX] {
        assert_eq!(t.fs().extent_at(file.node(), offset).unwrap_err(), Errno::NoSuchDevice, "{offset}");
    }
    t.resize(&file, 0).unwrap();
    assert_eq!(t.fs().extent_at(file.node(), 0).unwrap_err(), Errno::NoSuchDevice);
    let link = t.symlink(&t.root, "l", b"f");
    assert_eq!(t.fs().extent_at(link.node(), 0).unwrap_err(), Errno::Invalid);
}

fn an_unaligned_hole(t: &Tree) {
    for range in [5000..70_001, 1..2, 0..4096, 4095..4097, 8192..99_999] {
        let file = t.file_with(&t.root, "f", &[7; 100_000]);
        if allocate(t, &file, Allocate::PunchHole, range.start as u64..range.end as u64) {
            let mut wanted = vec![7; 100_000];
            wanted[range.clone()].fill(0);
            assert!(t.read(&file) == wanted, "{range:?}");
        }
        t.unlink(&t.root, "f").unwrap();
    }
}

fn a_whole_hole(t: &Tree) {
    let file = t.file_with(&t.root, "f", &[7; 1 << 20]);
    let full = t.attr(&file).allocated;
    if allocate(t, &file, Allocate::PunchHole, 0..1 << 20) {
        assert_eq!(t.attr(&file).size, 1 << 20);
        assert!(t.read(&file).iter().all(|byte| *byte == 0));
        if t.can.holes {
            assert!(t.attr(&file).allocated < full);
            assert!(extents(t, &file).iter().all(|extent| matches!(extent, Extent::Hole { .. })));
        }
        t.write(&file, 500_000, b"back");
        assert_eq!(t.read_part(&file, 499_999, 6), b"\0back\0");
    }
}

fn a_hole_behind_the_end(t: &Tree) {
    let file = t.file_with(&t.root, "f", b"12345");
    for range in [10..20, 3..1000, 5..TERABYTE] {
        if allocate(t, &file, Allocate::PunchHole, range) {
            assert_eq!(t.attr(&file).size, 5);
        }
    }
    let wanted = if t.can.allocate { b"123\0\0" } else { b"12345" };
    assert_eq!(t.read(&file), wanted);
}

fn reserving_extends(t: &Tree) {
    let file = t.file_with(&t.root, "f", b"12345");
    if allocate(t, &file, Allocate::Extend, 3..100_000) {
        assert_eq!(t.attr(&file).size, 100_000);
        let content = t.read(&file);
        assert!(content.starts_with(b"12345") && content[5..].iter().all(|byte| *byte == 0));
        assert!(allocate(t, &file, Allocate::Extend, 0..10));
        assert_eq!(t.attr(&file).size, 100_000, "never shrinks");
    }
}

fn reserving_keeps_the_size(t: &Tree) {
    let file = t.file_with(&t.root, "f", b"12345");
    if allocate(t, &file, Allocate::KeepSize, 0..100_000) {
        assert_eq!((t.attr(&file).size, t.read(&file)), (5, b"12345".to_vec()));
        t.resize(&file, 50_000).unwrap();
        assert!(t.read(&file)[5..].iter().all(|byte| *byte == 0));
        t.append(&file, b"end");
        assert_eq!(t.read_part(&file, 49_999, 10), b"\0end");
    }
}

fn reserving_keeps_the_content(t: &Tree) {
    let file = t.file_with(&t.root, "f", &[3; 100_000]);
    t.writable().write_shared(file.node(), 200_000, vec![4; 100_000].into()).unwrap();
    let old = t.read(&file);
    if allocate(t, &file, Allocate::Extend, 10..299_000) {
        assert!(t.read(&file) == old);
        t.write(&file, 150_000, &[5; 60_000]);
        let wanted = [&old[..150_000], &[5; 60_000][..], &old[210_000..]].concat();
        assert!(t.read(&file) == wanted);
    }
}

fn wrong_ranges(t: &Tree) {
    let file = t.file_with(&t.root, "f", b"x");
    let dir = t.dir(&t.root, "d");
    let old = t.attr(&file);
    for what in [Allocate::Extend, Allocate::KeepSize, Allocate::PunchHole] {
        for (node, range, errno) in [(&file, 5..5, Errno::Invalid), (&dir, 0..10, Errno::IsDir)] {
            let error = t.writable().allocate(node.node(), what, range).unwrap_err();
            assert!(error == errno || (!t.can.allocate && error == Errno::NotSupported), "{what:?}: {error:?}");
        }
    }
    let error = t.writable().allocate(file.node(), Allocate::Extend, 0..u64::MAX).unwrap_err();
    assert!(error == Errno::FileTooBig || (!t.can.allocate && error == Errno::NotSupported), "{error:?}");
    assert_eq!(t.attr(&file), old);
}
