//! Files, descriptors and sequences of calls on them.

use super::*;

#[test]
fn positions_belong_to_the_open() {
    let mut guest = Guest::new();
    let (a, b) = (guest.create("f"), guest.create("f"));
    assert_eq!((a, b), (4, 5));
    assert_eq!(guest.write(a, b"hello").unwrap(), 5);
    assert_eq!(guest.read(b, 3).unwrap(), b"hel");
    assert_eq!(guest.tell(a).unwrap(), 5);
    assert_eq!(guest.tell(b).unwrap(), 3);
    assert_eq!(guest.pread(a, 1, 100).unwrap(), b"ello");
    assert_eq!(guest.pread(a, 5, 100).unwrap(), b"");
    assert_eq!(guest.pread(a, u64::MAX, 1).unwrap(), b"");
    assert_eq!(guest.tell(a).unwrap(), 5);
    assert_eq!(guest.read(a, 1).unwrap(), b"");
    assert_eq!(guest.pwrite(b, 7, b"x").unwrap(), 1);
    assert_eq!(guest.read(b, 100).unwrap(), b"lo\0\0x");
}

#[test]
fn lists_of_buffers_are_gathered_and_scattered() {
    let mut guest = Guest::new();
    let fd = guest.create("f");
    guest.put(DATA, b"abcdefghij");
    let count = guest.iovecs(&[3, 0, 2, 5]);
    guest.process.fd_write(&mut guest.memory, fd, IOVS, count, OUT).unwrap();
    assert_eq!(guest.u32_at(OUT), 10);
    guest.seek(fd, 0, 0).unwrap();
    assert_eq!(guest.readv(fd, &[1, 0, 4, 100, 7]).unwrap(), b"abcdefghij");
    guest.put(DATA, b"abcdefghij");
    let count = guest.iovecs(&[3, 4]);
    guest.process.fd_pwrite(&mut guest.memory, fd, IOVS, count, 8, OUT).unwrap();
    assert_eq!(guest.pread(fd, 0, 100).unwrap(), b"abcdefghabcdefg");
    assert_eq!(guest.readv(fd, &[]).unwrap(), b"");
}

#[test]
fn appending_goes_to_the_end_whatever_the_position() {
    let mut guest = Guest::new();
    let open = |guest: &mut Guest| guest.open_with(ROOT, "f", 0, CREATE, READ | WRITE, APPEND).unwrap();
    let (a, b) = (open(&mut guest), open(&mut guest));
    guest.write(a, b"one ").unwrap();
    guest.write(b, b"two ").unwrap();
    guest.seek(a, 0, 0).unwrap();
    guest.write(a, b"three ").unwrap();
    assert_eq!(guest.tell(a).unwrap(), 14);
    guest.pwrite(b, 0, b"four ").unwrap();
    guest.put(DATA, b"five six");
    let count = guest.iovecs(&[5, 3]);
    guest.process.fd_write(&mut guest.memory, b, IOVS, count, OUT).unwrap();
    assert_eq!(guest.u32_at(OUT), 8);
    assert_eq!(guest.pread(a, 0, 100).unwrap(), b"one two three four five six");
    // Switched off, the offset counts again.
    assert_eq!(guest.fdstat(b).unwrap().1, 1);
    errno(guest.process.fd_fdstat_set_flags(&mut guest.memory, b, 0)).unwrap();
    guest.pwrite(b, 0, b"ONE").unwrap();
    assert_eq!(guest.pread(a, 0, 3).unwrap(), b"ONE");
}

#[test]
fn seeking_keeps_to_what_an_offset_can_be() {
    let mut guest = Guest::new();
    let fd = guest.create("f");
    guest.write(fd, b"12345").unwrap();
    assert_eq!(guest.seek(fd, -2, 2).unwrap(), 3);
    assert_eq!(guest.seek(fd, -4, 1), Err(Errno::Invalid));
    assert_eq!(guest.seek(fd, i64::MAX, 1), Err(Errno::Invalid));
    assert_eq!(guest.seek(fd, -1, 0), Err(Errno::Invalid), "an offset near 2^64");
    assert_eq!(guest.seek(fd, 0, 3), Err(Errno::Invalid));
    assert_eq!(guest.tell(fd).unwrap(), 3);
    assert_eq!(guest.seek(fd, i64::MAX, 0).unwrap(), i64::MAX as u64);
    assert_eq!(guest.write(fd, b"x"), Err(Errno::FileTooBig));
    assert_eq!(guest.seek(ROOT, 0, 0), Err(Errno::BadFd));
    assert_eq!(guest.seek(1, 0, 0), Err(Errno::IllegalSeek));
    assert_eq!(guest.tell(0), Err(Errno::IllegalSeek));
    assert_eq!(guest.pread(0, 0, 1), Err(Errno::IllegalSeek));
    assert_eq!(guest.pwrite(1, 0, b"x"), Err(Errno::IllegalSeek));
}

#[test]
fn a_hole_costs_nothing_and_reads_as_zeros() {
    let mut guest = Guest::new();
    let fd = guest.create("f");
    guest.seek(fd, 1 << 40, 0).unwrap();
    guest.write(fd, b"end").unwrap();
    assert_eq!(guest.fstat(fd).unwrap().size, (1 << 40) + 3);
    assert_eq!(guest.pread(fd, (1 << 40) - 2, 9).unwrap(), b"\0\0end");
    errno(guest.process.fd_filestat_set_size(&mut guest.memory, fd, 4)).unwrap();
    assert_eq!(guest.pread(fd, 0, 9).unwrap(), b"\0\0\0\0");
    errno(guest.process.fd_allocate(&mut guest.memory, fd, 2, 4)).unwrap();
    assert_eq!(guest.fstat(fd).unwrap().size, 6);
    errno(guest.process.fd_allocate(&mut guest.memory, fd, 0, 1)).unwrap();
    assert_eq!(guest.fstat(fd).unwrap().size, 6, "allocating never shrinks");
    assert_eq!(errno(guest.process.fd_allocate(&mut guest.memory, fd, 0, 0)), Err(Errno::Invalid));
    assert_eq!(errno(guest.process.fd_allocate(&mut guest.memory, fd, u64::MAX, 2)), Err(Errno::FileTooBig));
}

#[test]
fn access_is_what_was_opened_for() {
    let mut guest = Guest::new();
    guest.create("f");
    let reader = guest.open("f", 0, READ).unwrap();
    let writer = guest.open("f", 0, WRITE).unwrap();
    let neither = guest.open("f", 0, 0).unwrap();
    let truncating = guest.open("f", TRUNCATE, 0).unwrap();
    assert_eq!(guest.write(reader, b"x"), Err(Errno::BadFd));
    assert_eq!(guest.write(reader, b""), Err(Errno::BadFd));
    assert_eq!(guest.write(neither, b"x"), Err(Errno::BadFd));
    assert_eq!(guest.read(writer, 1), Err(Errno::BadFd));
    assert_eq!(guest.readv(writer, &[]), Err(Errno::BadFd));
    assert_eq!(guest.read(neither, 1).unwrap(), b"");
    assert_eq!(guest.write(truncating, b"x").unwrap(), 1);
    let set_size = |guest: &mut Guest, fd| errno(guest.process.fd_filestat_set_size(&mut guest.memory, fd, 9));
    assert_eq!(set_size(&mut guest, reader), Err(Errno::Invalid));
    assert_eq!(set_size(&mut guest, ROOT), Err(Errno::BadFd));
    assert_eq!(set_size(&mut guest, 1), Err(Errno::BadFd));
    assert_eq!(guest.read(ROOT, 1), Err(Errno::BadFd));
    assert_eq!(guest.write(ROOT, b"x"), Err(Errno::BadFd));
    assert_eq!(guest.read(1, 1), Err(Errno::BadFd));
    assert_eq!(guest.write(0, b"x"), Err(Errno::BadFd));
    assert_eq!(guest.read(99, 1), Err(Errno::BadFd));
}

#[test]
fn rights_tell_the_access() {
    let mut guest = Guest::new();
    guest.create("f");
    let (reader, writer) = (guest.open("f", 0, READ).unwrap(), guest.open("f", 0, WRITE).unwrap());
    let (file_type, _, base, _) = guest.fdstat(reader).unwrap();
    assert_eq!((file_type, base & (READ | WRITE)), (4, READ));
    assert_eq!(guest.fdstat(writer).unwrap().2 & (READ | WRITE), WRITE);
    let (file_type, _, base, inheriting) = guest.fdstat(ROOT).unwrap();
    assert_eq!(file_type, 3);
    // What wasi-libc asks a preopen for: path_open, readdir, filestat, and to read and write below.
    assert_eq!(base & (1 << 13 | 1 << 14 | 1 << 18), 1 << 13 | 1 << 14 | 1 << 18);
    assert_eq!(inheriting & (READ | WRITE | 1 << 2), READ | WRITE | 1 << 2);
    assert_eq!(base & (1 << 2), 0, "directories have no seek");
    let (file_type, _, base, _) = guest.fdstat(1).unwrap();
    assert_eq!((file_type, base & (WRITE | 1 << 2 | 1 << 5)), (0, WRITE));
    assert_eq!(errno(guest.process.fd_fdstat_set_rights(&mut guest.memory, 1, 0, 0)), Err(Errno::NotSupported));
    assert_eq!(errno(guest.process.fd_fdstat_set_rights(&mut guest.memory, 9, 0, 0)), Err(Errno::BadFd));
}

#[test]
fn sync_flags_are_kept_and_reported() {
    let mut guest = Guest::new();
    let fd = guest.open_with(ROOT, "f", 0, CREATE, WRITE, 2 | 8 | 16 | 4).unwrap();
    assert_eq!(guest.fdstat(fd).unwrap().1, 2 | 8 | 16 | 4);
    assert_eq!(guest.write(fd, b"x").unwrap(), 1);
    let set = |guest: &mut Guest, fd, flags| errno(guest.process.fd_fdstat_set_flags(&mut guest.memory, fd, flags));
    set(&mut guest, fd, 1 | 16).unwrap();
    assert_eq!(guest.fdstat(fd).unwrap().1, 1 | 2 | 8 | 16);
    let plain = guest.open("f", 0, WRITE).unwrap();
    assert_eq!(set(&mut guest, plain, 16), Err(Errno::Invalid));
    assert_eq!(set(&mut guest, plain, 32), Err(Errno::Invalid));
    assert_eq!(set(&mut guest, ROOT, 1), Err(Errno::BadFd));
    for call in [Process::fd_sync, Process::fd_datasync] {
        assert_eq!(errno(call(&mut guest.process, &mut guest.memory, fd)), Ok(()));
        assert_eq!(errno(call(&mut guest.process, &mut guest.memory, ROOT)), Ok(()));
        assert_eq!(errno(call(&mut guest.process, &mut guest.memory, 1)), Err(Errno::BadFd));
    }
}

#[test]
fn a_file_lives_until_its_last_handle_closes() {
    let mut guest = Guest::new();
    let fd = guest.create("f");
    guest.write(fd, b"still here").unwrap();
    guest.unlink("f").unwrap();
    assert_eq!(guest.stat("f"), Err(Errno::NotFound));
    assert_eq!(guest.fstat(fd).unwrap().nlink, 0);
    assert_eq!(guest.pread(fd, 0, 100).unwrap(), b"still here");

    let old = guest.create("a");
    guest.write(old, b"old").unwrap();
    let new = guest.create("b");
    guest.write(new, b"new").unwrap();
    guest.rename("b", "a").unwrap();
    assert_eq!(guest.pread(old, 0, 9).unwrap(), b"old");
    let again = guest.open("a", 0, READ).unwrap();
    assert_eq!(guest.read(again, 9).unwrap(), b"new");
    assert_eq!(guest.fstat(again).unwrap().ino, guest.fstat(new).unwrap().ino);
}

#[test]
fn closed_numbers_are_taken_again_from_the_lowest() {
    let mut guest = Guest::new();
    for expected in 4..8 {
        assert_eq!(guest.create("f"), expected);
    }
    guest.close(6).unwrap();
    guest.close(4).unwrap();
    assert_eq!(guest.close(4), Err(Errno::BadFd));
    assert_eq!(guest.create("f"), 4);
    assert_eq!(guest.create("f"), 6);
    assert_eq!(guest.create("f"), 8);
    // A failed open takes none.
    assert_eq!(guest.open("missing", 0, READ), Err(Errno::NotFound));
    guest.close(0).unwrap();
    assert_eq!(guest.create("f"), 0, "as a shell redirects");
}

#[test]
fn renumbering_works_onto_streams_and_preopens() {
    let mut guest = Guest::new();
    let fd = guest.create("f");
    let renumber = |guest: &mut Guest, from, to| errno(guest.process.fd_renumber(&mut guest.memory, from, to));
    renumber(&mut guest, fd, 1).unwrap();
    assert_eq!(guest.write(fd, b"x"), Err(Errno::BadFd));
    assert_eq!(guest.write(1, b"to a file").unwrap(), 9);
    assert_eq!(guest.namespace().read("/f").unwrap(), b"to a file");
    renumber(&mut guest, 1, 1).unwrap();
    assert_eq!(renumber(&mut guest, 1, 77), Err(Errno::BadFd));
    assert_eq!(renumber(&mut guest, 77, 1), Err(Errno::BadFd));
    assert_eq!(renumber(&mut guest, 77, 77), Err(Errno::BadFd));

    // The preopen takes its name along.
    renumber(&mut guest, ROOT, 2).unwrap();
    errno(guest.process.fd_prestat_get(&mut guest.memory, 2, OUT)).unwrap();
    assert_eq!((guest.u32_at(OUT), guest.u32_at(OUT + 4)), (0, 1));
    errno(guest.process.fd_prestat_dir_name(&mut guest.memory, 2, DATA, 1)).unwrap();
    assert_eq!(guest.memory[DATA as usize], b'/');
    assert_eq!(guest.open_with(2, "f", 0, 0, READ, 0), Ok(ROOT));
    assert_eq!(errno(guest.process.fd_prestat_get(&mut guest.memory, ROOT, OUT)), Err(Errno::BadFd));
    assert_eq!(errno(guest.process.fd_prestat_dir_name(&mut guest.memory, 2, DATA, 0)), Err(Errno::NameTooLong));
}

#[test]
fn times_are_set_as_asked() {
    let mut guest = Guest::new();
    let fd = guest.create("f");
    let set = |guest: &mut Guest, fd, atim, mtim, flags| {
        errno(guest.process.fd_filestat_set_times(&mut guest.memory, fd, atim, mtim, flags))
    };
    set(&mut guest, fd, 11, 22_000_000_033, 1 | 4).unwrap();
    let stat = guest.fstat(fd).unwrap();
    assert_eq!((stat.atim, stat.mtim), (11, 22_000_000_033));
    set(&mut guest, fd, 99, 99, 8).unwrap();
    let now = guest.fstat(fd).unwrap();
    assert_eq!(now.atim, 11);
    assert!(now.mtim > 1_600_000_000_000_000_000);
    assert_eq!(set(&mut guest, fd, 0, 0, 1 | 2), Err(Errno::Invalid));
    assert_eq!(set(&mut guest, fd, 0, 0, 4 | 8), Err(Errno::Invalid));
    assert_eq!(set(&mut guest, fd, 0, 0, 16), Err(Errno::Invalid));
    set(&mut guest, ROOT, 0, 5, 4).unwrap();
    assert_eq!(guest.fstat(ROOT).unwrap().mtim, 5);
    assert_eq!(set(&mut guest, 1, 0, 0, 1), Err(Errno::BadFd));

    // A link's own time, and its target's.
    guest.symlink("f", "l").unwrap();
    for (follow, mtim) in [(0, 7), (1, 8)] {
        let (path, len) = guest.put(PATH, b"l");
        errno(guest.process.path_filestat_set_times(&mut guest.memory, ROOT, follow, path, len, 0, mtim, 4)).unwrap();
    }
    assert_eq!(guest.stat_at(ROOT, "l", 0).unwrap().mtim, 7);
    assert_eq!(guest.stat("l").unwrap().mtim, 8);
}

#[test]
fn numbers_identify_nodes() {
    let mut guest = Guest::new();
    let fd = guest.create("f");
    guest.link("f", "g").unwrap();
    let (f, g) = (guest.stat("f").unwrap(), guest.stat("g").unwrap());
    assert_eq!((f.ino, f.nlink), (g.ino, 2));
    assert_eq!(f.ino, guest.fstat(fd).unwrap().ino);
    guest.create("h");
    assert_ne!(guest.stat("h").unwrap().ino, f.ino);
    guest.symlink("longer", "l").unwrap();
    let link = guest.stat_at(ROOT, "l", 0).unwrap();
    assert_eq!((link.file_type, link.size), (7, 6));
    assert_eq!(guest.stat(".").unwrap().file_type, 3);
    for dev in [f.dev, link.dev] {
        assert_eq!(dev, 1);
    }
    assert_ne!(f.ino, 0);
}

#[test]
fn advice_is_checked_and_ignored() {
    let mut guest = Guest::new();
    let fd = guest.create("f");
    let advise = |guest: &mut Guest, fd, advice| errno(guest.process.fd_advise(&mut guest.memory, fd, 0, 1, advice));
    assert_eq!(advise(&mut guest, fd, 5), Ok(()));
    assert_eq!(advise(&mut guest, fd, 6), Err(Errno::Invalid));
    assert_eq!(advise(&mut guest, ROOT, 0), Err(Errno::BadFd));
    assert_eq!(advise(&mut guest, 0, 0), Err(Errno::IllegalSeek));
}
