//! System calls that the suites leave out.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{CWD, FallocateFlags, RenameFlags, SeekFrom, XattrFlags};
use rustix::io::Errno;

use super::Check;
use super::mount::Mount;

pub(crate) const CHECKS: &[(&str, Check)] = &[
    ("holes_and_ranges", holes_and_ranges),
    ("copying_a_range_copies_holes", copying_a_range_copies_holes),
    ("renaming_in_all_ways", renaming_in_all_ways),
    ("extended_attributes", extended_attributes),
    ("unlinked_but_open", unlinked_but_open),
    ("appending_through_two_handles", appending_through_two_handles),
    ("times_before_1970", times_before_1970),
    ("listings_agree_with_stat", listings_agree_with_stat),
    ("removing_while_listing", removing_while_listing),
    ("group_of_the_directory", group_of_the_directory),
    ("many_threads", many_threads),
];

fn holes_and_ranges(mount: &Mount) {
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(mount.work().join("f")).unwrap();
    file.write_all_at(&[7; 4096], 1 << 20).unwrap();
    // Data is found at once, also while the kernel holds it.
    let data = rustix::fs::seek(&file, SeekFrom::Data(0)).unwrap();
    assert_eq!(data, if mount.finds_holes { 1 << 20 } else { 0 });
    assert_eq!(rustix::fs::seek(&file, SeekFrom::Hole(1 << 20)).unwrap(), (1 << 20) + 4096);
    assert_eq!(rustix::fs::seek(&file, SeekFrom::Data(2 << 20)).unwrap_err(), Errno::NXIO);
    rustix::fs::fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, (1 << 20) + 100, 200).unwrap();
    let mut content = [0; 4096];
    file.read_exact_at(&mut content, 1 << 20).unwrap();
    assert!(content[..100].iter().chain(&content[300..]).all(|byte| *byte == 7));
    assert_eq!(content[100..300], [0; 200]);
    rustix::fs::fallocate(&file, FallocateFlags::ZERO_RANGE, 1 << 20, 50).unwrap();
    file.read_exact_at(&mut content, 1 << 20).unwrap();
    assert_eq!(content[..50], [0; 50]);
    rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 4 << 20, 4096).unwrap();
    assert_eq!(file.metadata().unwrap().len(), (1 << 20) + 4096);
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 2 << 20, 4096).unwrap();
    assert_eq!(file.metadata().unwrap().len(), (2 << 20) + 4096);
    assert_eq!(rustix::fs::fallocate(&file, FallocateFlags::COLLAPSE_RANGE, 0, 4096).unwrap_err(), Errno::OPNOTSUPP);
}

fn copying_a_range_copies_holes(mount: &Mount) {
    let (from, to) = (mount.work().join("from"), mount.work().join("to"));
    let source = OpenOptions::new().read(true).write(true).create_new(true).open(&from).unwrap();
    source.write_all_at(b"start", 0).unwrap();
    source.write_all_at(b"end", 5 << 20).unwrap();
    fs::write(&to, vec![1; 100]).unwrap();
    let target = OpenOptions::new().write(true).open(&to).unwrap();
    let (mut in_offset, mut out_offset) = (0, 0);
    while rustix::fs::copy_file_range(&source, Some(&mut in_offset), &target, Some(&mut out_offset), 8 << 20).unwrap()
        > 0
    {}
    assert!(fs::read(&from).unwrap() == fs::read(&to).unwrap());
    target.sync_all().unwrap();
    assert!(to.metadata().unwrap().blocks() < 2048, "{} blocks", to.metadata().unwrap().blocks());
    // The two are apart from now on.
    target.write_all_at(b"other", 0).unwrap();
    assert_eq!(fs::read(&from).unwrap()[..5], *b"start");
}

fn renaming_in_all_ways(mount: &Mount) {
    let at = |name: &str| mount.work().join(name);
    fs::write(at("a"), "a").unwrap();
    fs::create_dir(at("d")).unwrap();
    fs::write(at("d/b"), "b").unwrap();
    let rename = |from: &str, to: &str, flags| rustix::fs::renameat_with(CWD, at(from), CWD, at(to), flags);
    assert_eq!(rename("a", "d/b", RenameFlags::NOREPLACE).unwrap_err(), Errno::EXIST);
    rename("a", "c", RenameFlags::NOREPLACE).unwrap();
    assert_eq!(rename("c", "missing", RenameFlags::EXCHANGE).unwrap_err(), Errno::NOENT);
    rename("c", "d", RenameFlags::EXCHANGE).unwrap();
    assert_eq!((fs::read(at("d")).unwrap(), fs::read(at("c/b")).unwrap()), (b"a".to_vec(), b"b".to_vec()));
    assert_eq!(rename("c", "c/inside", RenameFlags::empty()).unwrap_err(), Errno::INVAL);
    rename("c/b", "d", RenameFlags::empty()).unwrap();
    assert_eq!(fs::read(at("d")).unwrap(), b"b");
    assert_eq!(fs::read_dir(at("c")).unwrap().count(), 0);
}

fn extended_attributes(mount: &Mount) {
    let path = mount.work().join("f");
    fs::write(&path, "").unwrap();
    rustix::fs::setxattr(&path, "user.a", b"one", XattrFlags::CREATE).unwrap();
    assert_eq!(rustix::fs::setxattr(&path, "user.a", b"two", XattrFlags::CREATE).unwrap_err(), Errno::EXIST);
    assert_eq!(rustix::fs::setxattr(&path, "user.b", b"two", XattrFlags::REPLACE).unwrap_err(), Errno::NODATA);
    rustix::fs::setxattr(&path, "user.b", &[9; 5000], XattrFlags::empty()).unwrap();
    let mut value = [0; 6000];
    assert_eq!(rustix::fs::getxattr(&path, "user.a", &mut value[..2]).unwrap_err(), Errno::RANGE);
    assert_eq!(rustix::fs::getxattr_query(&path, "user.b").unwrap(), 5000);
    assert_eq!(rustix::fs::getxattr(&path, "user.b", &mut value).unwrap(), 5000);
    let mut names = [0_u8; 64];
    let count = rustix::fs::listxattr(&path, &mut names).unwrap();
    assert_eq!(names[..count], *b"user.a\0user.b\0");
    rustix::fs::removexattr(&path, "user.a").unwrap();
    assert_eq!(rustix::fs::getxattr(&path, "user.a", &mut value).unwrap_err(), Errno::NODATA);
}

fn unlinked_but_open(mount: &Mount) {
    let path = mount.work().join("f");
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
    file.write_all(b"kept").unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "another").unwrap();
    assert_eq!(file.metadata().unwrap().nlink(), 0);
    file.write_all_at(b"K", 0).unwrap();
    let mut content = [0; 4];
    file.read_exact_at(&mut content, 0).unwrap();
    assert_eq!(content, *b"Kept");
    let dir = mount.work().join("d");
    fs::create_dir(&dir).unwrap();
    let handle = File::open(&dir).unwrap();
    fs::remove_dir(&dir).unwrap();
    assert_eq!(handle.metadata().unwrap().nlink(), 0);
    assert_eq!(rustix::fs::mkdirat(&handle, "x", 0o755.into()).unwrap_err(), Errno::NOENT);
}

fn appending_through_two_handles(mount: &Mount) {
    let path = mount.work().join("log");
    let open = || OpenOptions::new().append(true).create(true).open(&path).unwrap();
    std::thread::scope(|scope| {
        for writer in [b'a', b'b', b'c'] {
            scope.spawn(move || {
                let mut file = open();
                for _ in 0..100 {
                    file.write_all(&[writer; 50]).unwrap();
                }
            });
        }
    });
    let mut content = Vec::new();
    File::open(&path).unwrap().read_to_end(&mut content).unwrap();
    assert_eq!(content.len(), 15_000);
    assert!(content.chunks(50).all(|record| record.iter().all(|byte| *byte == record[0])));
}

fn times_before_1970(mount: &Mount) {
    let path = mount.work().join("f");
    let file = File::create(&path).unwrap();
    let early = UNIX_EPOCH - Duration::from_millis(1250);
    let late = UNIX_EPOCH + Duration::new(1 << 33, 999_999_999);
    file.set_times(fs::FileTimes::new().set_accessed(early).set_modified(late)).unwrap();
    drop(file);
    let metadata = path.metadata().unwrap();
    assert_eq!((metadata.accessed().unwrap(), metadata.modified().unwrap()), (early, late));
}

fn listings_agree_with_stat(mount: &Mount) {
    let dir = mount.work().join("many");
    fs::create_dir(&dir).unwrap();
    let names: BTreeSet<String> = (0..3000).map(|number| format!("{number}-{}", "x".repeat(number % 60))).collect();
    for name in &names {
        fs::write(dir.join(name), "").unwrap();
    }
    for turn in 0..2 {
        let listed: Vec<_> = fs::read_dir(&dir).unwrap().map(Result::unwrap).collect();
        assert_eq!(listed.len(), names.len(), "turn {turn}");
        for entry in &listed {
            use std::os::unix::fs::DirEntryExt;
            assert!(names.contains(entry.file_name().to_str().unwrap()));
            assert_eq!(entry.ino(), entry.metadata().unwrap().ino());
        }
    }
    let printed = mount.run("ls -a many | head -2; ls -f many | grep -cx '\\.\\.*'; find many -type f | wc -l", &[]);
    assert_eq!(printed, ".\n..\n2\n3000\n");
    let lower = mount.work().join("lower");
    if lower.exists() {
        assert_eq!(fs::read(lower.join("link")).unwrap(), b"from below");
        fs::rename(&lower, mount.work().join("moved")).unwrap();
        assert_eq!(mount.run("ls moved; cat moved/file", &[]), "file\nlink\nfrom below");
    }
}

fn removing_while_listing(mount: &Mount) {
    let printed = mount.run(
        "mkdir -p a/b; for n in $(seq 1 2000); do : > a/b/$n; done; rm -r a; test ! -e a; ls -A | grep -vc '^lower$' || true",
        &[],
    );
    assert_eq!(printed, "0\n");
}

fn group_of_the_directory(mount: &Mount) {
    let printed = mount.run(
        "mkdir d; chgrp 65534 d; chmod 2775 d; mkdir d/sub; : > d/file; ln -s x d/link
        stat -c '%g %a' d/sub d/file; stat -c %g d/link",
        &[],
    );
    assert_eq!(printed, "65534 2755\n65534 644\n65534\n");
}

fn many_threads(mount: &Mount) {
    let work = mount.work();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let dir = work.join(format!("t{}", thread % 4));
            scope.spawn(move || {
                let _ = fs::create_dir(&dir);
                for number in 0..100 {
                    let (path, other) = (dir.join(format!("{thread}-{number}")), dir.join(format!("o{thread}")));
                    fs::write(&path, [thread; 3000]).unwrap();
                    fs::rename(&path, &other).unwrap();
                    assert_eq!(fs::read(&other).unwrap(), [thread; 3000]);
                    assert!(fs::read_dir(&dir).unwrap().count() >= 1);
                }
            });
        }
    });
    assert_eq!((0..4).map(|dir| fs::read_dir(work.join(format!("t{dir}"))).unwrap().count()).sum::<usize>(), 8);
}
