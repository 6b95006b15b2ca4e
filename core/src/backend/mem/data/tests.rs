use super::*;
use crate::testing::Random;

/// A file, its quota, and what it should read as.
struct Checked {
    data: FileData,
    quota: Quota,
    model: Vec<u8>,
}

impl Checked {
    fn new(limit: Option<u64>) -> Self {
        Self { data: FileData::default(), quota: Quota::new(limit), model: Vec::new() }
    }

    fn check_invariants(&self) {
        let (mut end, mut stored, mut charged) = (0, 0, 0);
        for (&start, extent) in &self.data.extents {
            assert!(start >= end, "overlap at {start}");
            assert!(extent.len() > 0, "empty extent at {start}");
            end = start + extent.len();
            if extent.data().is_some() {
                assert!(end <= self.data.size, "data up to {end} behind the end {}", self.data.size);
                stored += extent.len();
            }
            charged += extent.charge_of(extent.len());
            if let Extent::Owned(bytes) = extent {
                assert_eq!(start / SEGMENT, (end - 1) / SEGMENT, "owned extent {start}..{end} crosses a segment");
                assert!(to_u64(bytes.capacity()) < SEGMENT + 64, "a segment wastes no more than a line");
            }
        }
        assert_eq!((stored, charged), (self.data.stored, self.data.charged));
        if let (Some(limit), Some(free)) = (self.quota.limit(), self.quota.free()) {
            assert_eq!(limit - free, charged, "what is charged to the filesystem");
        }
    }

    fn check_content(&self) {
        assert_eq!(self.data.size(), to_u64(self.model.len()));
        let mut all = vec![0xaa; self.model.len() + 10];
        assert_eq!(self.data.read(0, &mut all), self.model.len());
        assert!(all[..self.model.len()] == self.model, "read");
        let mut at = 0;
        while let Some(run) = Some(self.data.read_shared(at, 100_000)).filter(|run| !run.is_empty()) {
            let from = usize::try_from(at).unwrap();
            assert!(run == self.model[from..from + run.len()], "read_shared at {at}");
            at += to_u64(run.len());
        }
        assert_eq!(at, self.data.size());
        let mut at = 0;
        while at < self.data.size() {
            let extent = self.data.extent_at(at).unwrap();
            assert!(extent.end() > at && extent.end() <= self.data.size());
            if matches!(extent, fs::Extent::Hole { .. }) {
                let range = usize::try_from(at).unwrap()..usize::try_from(extent.end()).unwrap();
                assert!(self.model[range.clone()].iter().all(|byte| *byte == 0), "data in hole {range:?}");
            }
            at = extent.end();
        }
        assert_eq!(self.data.extent_at(at).unwrap_err(), Errno::NoSuchDevice);
    }

    fn model_write(&mut self, offset: u64, bytes: &[u8]) {
        let from = usize::try_from(offset).unwrap();
        if self.model.len() < from + bytes.len() {
            self.model.resize(from + bytes.len(), 0);
        }
        self.model[from..from + bytes.len()].copy_from_slice(bytes);
    }
}

/// An offset or a length that likes borders.
fn position(random: &mut Random) -> u64 {
    let near = random.pick(&[0, PAGE, 3 * PAGE, SEGMENT, 2 * SEGMENT, 3 * SEGMENT + PAGE]);
    match random.below(4) {
        0 => near,
        1 => near + random.below(20),
        2 => near.saturating_sub(random.below(20)),
        _ => random.below(4 * SEGMENT),
    }
}

fn filled(random: &mut Random, len: u64) -> Vec<u8> {
    let mut byte = random.below(200);
    (0..len)
        .map(|_| {
            byte = byte % 250 + 1;
            u8::try_from(byte).unwrap()
        })
        .collect()
}

#[test]
fn random_operations_match_a_plain_vector() {
    for seed in 0..100 {
        let random = &mut Random(seed);
        let limit = (seed % 3 == 0).then_some(5 * SEGMENT / 2);
        let mut file = Checked::new(limit);
        for _ in 0..60 {
            let offset = position(random);
            let len = if random.below(2) == 0 { random.below(50) } else { position(random) / 2 };
            let before = file.data.charged();
            match random.below(10) {
                0..=3 => {
                    let offset = if random.below(3) == 0 { file.data.size() } else { offset };
                    let bytes = filled(random, len);
                    match file.data.write(offset, &bytes, &file.quota) {
                        Ok(count) => {
                            assert!(count == bytes.len() || (limit.is_some() && count > 0), "{count} of {len}");
                            if count > 0 {
                                file.model_write(offset, &bytes[..count]);
                            }
                        }
                        Err(error) => {
                            assert_eq!(error, Errno::NoSpace);
                            assert!(limit.is_some(), "no limit, no ENOSPC");
                            assert_eq!(file.data.charged(), before);
                        }
                    }
                }
                4 | 5 => {
                    let bytes = filled(random, len);
                    match file.data.write_shared(offset, bytes.clone().into(), &file.quota) {
                        Ok(()) if !bytes.is_empty() => file.model_write(offset, &bytes),
                        Ok(()) => {}
                        Err(error) => assert!(limit.is_some() && error == Errno::NoSpace && len < PAGE),
                    }
                }
                6 => {
                    file.data.set_size(offset, &file.quota).unwrap();
                    file.model.resize(usize::try_from(offset).unwrap(), 0);
                }
                7 => {
                    file.data.punch(offset..offset + len + 1, &file.quota);
                    let range = file.model.len().min(usize::try_from(offset).unwrap())
                        ..file.model.len().min(usize::try_from(offset + len + 1).unwrap());
                    file.model[range].fill(0);
                }
                _ => {
                    let (extend, range) = (random.below(2) == 0, offset..offset + len + 1);
                    match file.data.reserve(range.clone(), extend, &file.quota) {
                        Ok(()) => {
                            if extend && range.end > file.data.size().min(to_u64(file.model.len())) {
                                let end = usize::try_from(range.end).unwrap().max(file.model.len());
                                file.model.resize(end, 0);
                            }
                            // The promise: writing it now takes nothing more.
                            let (charged, bytes) = (file.data.charged(), filled(random, len));
                            assert_eq!(file.data.write(offset, &bytes, &file.quota).unwrap(), bytes.len());
                            assert_eq!(file.data.charged(), charged);
                            if !bytes.is_empty() {
                                file.model_write(offset, &bytes);
                            }
                        }
                        Err(error) => {
                            assert_eq!(error, Errno::NoSpace);
                            assert_eq!(file.data.charged(), before);
                        }
                    }
                }
            }
            file.check_invariants();
            file.check_content();
        }
        file.data.set_size(0, &file.quota).unwrap();
        file.model.clear();
        assert!(file.data.extents.is_empty());
        file.check_invariants();
    }
}

#[test]
fn changing_a_huge_shared_file_copies_only_what_is_touched() {
    let quota = Quota::new(Some(3 * PAGE));
    let gigabyte = Bytes::from_owner(vec![7_u8; 64 << 20]);
    let mut data = FileData::default();
    for piece in 0..16 {
        data.write_shared(piece * (64 << 20), gigabyte.clone(), &quota).unwrap();
    }
    data.set_size((1 << 30) - 5, &quota).unwrap();
    assert_eq!(data.charged(), 0, "cutting copies nothing");
    data.write((1 << 30) - 5, b"tail", &quota).unwrap();
    data.write(500_000_000, &[1; 4096], &quota).unwrap();
    assert!(data.charged() <= 3 * PAGE, "{}", data.charged());
    let run = data.read_shared(0, 1000);
    assert_eq!(run.as_ptr(), gigabyte.as_ptr(), "the bytes themselves, not a copy");
}

#[test]
fn a_sequential_writer_fills_whole_segments() {
    let quota = Quota::new(None);
    let mut data = FileData::default();
    for _ in 0..1000 {
        let at = data.size();
        assert_eq!(data.write(at, &[1; 1000], &quota).unwrap(), 1000);
    }
    assert_eq!(data.extents.len(), 1_000_000_usize.div_ceil(64 << 10));
}

#[test]
fn scattered_bytes_do_not_leave_an_extent_each() {
    let quota = Quota::new(None);
    let mut data = FileData::default();
    for at in (0..SEGMENT).rev().step_by(2) {
        data.write(at, b"x", &quota).unwrap();
    }
    assert!(data.extents.len() <= 16, "{}", data.extents.len());
}

#[test]
fn a_hole_costs_nothing_and_ends_where_it_says() {
    let quota = Quota::new(Some(10));
    let mut data = FileData::default();
    data.set_size(1 << 40, &quota).unwrap();
    assert_eq!((data.stored(), data.charged(), data.extents.len()), (0, 0, 0));
    assert_eq!(data.extent_at(1 << 39).unwrap(), fs::Extent::Hole { end: 1 << 40 });
    assert_eq!(data.read_shared(1 << 39, 1 << 30).len(), 64 << 10);
    let mut buf = [1; 100];
    assert_eq!(data.read((1 << 40) - 50, &mut buf), 50);
    assert_eq!(buf[..50], [0; 50]);
}

#[test]
fn the_greatest_size_is_a_wall() {
    let quota = Quota::new(None);
    let mut data = FileData::default();
    assert_eq!(data.write(FILE_SIZE_MAX - 3, b"abcdef", &quota).unwrap(), 3);
    assert_eq!(data.size(), FILE_SIZE_MAX);
    for at in [FILE_SIZE_MAX, FILE_SIZE_MAX + 1, u64::MAX] {
        assert_eq!(data.write(at, b"x", &quota).unwrap_err(), Errno::FileTooBig);
        assert_eq!(data.write_shared(at, Bytes::from_static(b"x"), &quota).unwrap_err(), Errno::FileTooBig);
        let range = 0..at.saturating_add(1);
        assert_eq!(data.reserve(range, true, &quota).unwrap_err(), Errno::FileTooBig);
        data.punch(at..u64::MAX, &quota);
    }
    assert_eq!(data.write_shared(FILE_SIZE_MAX - 1, Bytes::from_static(b"xy"), &quota).unwrap_err(), Errno::FileTooBig);
    assert_eq!(data.set_size(FILE_SIZE_MAX + 1, &quota).unwrap_err(), Errno::FileTooBig);
    data.punch(0..u64::MAX, &quota);
    assert_eq!((data.stored(), data.size()), (0, FILE_SIZE_MAX));
}

#[test]
fn the_last_bytes_of_space_are_used() {
    let quota = Quota::new(Some(PAGE + 100));
    let mut data = FileData::default();
    assert_eq!(data.write(0, &[1; 10_000], &quota).unwrap(), 4196, "short, not refused");
    assert_eq!(data.write(4196, b"x", &quota).unwrap_err(), Errno::NoSpace);
    assert_eq!(data.write(4000, &[2; 196], &quota).unwrap(), 196, "overwriting needs no space");
    assert_eq!((data.size(), quota.free()), (4196, Some(0)));
}
