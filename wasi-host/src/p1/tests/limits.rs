//! Pointers, lengths and lists that no sane guest passes.

use super::*;

#[test]
fn a_bad_pointer_changes_nothing() {
    let mut guest = Guest::new();
    let fd = guest.create("f");
    guest.write(fd, b"content").unwrap();
    guest.seek(fd, 0, 0).unwrap();

    // The count's place is checked before the data moves.
    let count = guest.iovecs(&[4]);
    guest.put(DATA, b"----");
    for bad in [END, END - 3, u32::MAX] {
        assert_eq!(errno(guest.process.fd_read(&mut guest.memory, fd, IOVS, count, bad)), Err(Errno::Fault));
        assert_eq!(errno(guest.process.fd_write(&mut guest.memory, fd, IOVS, count, bad)), Err(Errno::Fault));
    }
    // So is the last element of the list.
    let count = guest.iovecs(&[4, u32::MAX - DATA]);
    assert_eq!(errno(guest.process.fd_read(&mut guest.memory, fd, IOVS, count, OUT)), Err(Errno::Fault));
    assert_eq!(errno(guest.process.fd_write(&mut guest.memory, fd, IOVS, count, OUT)), Err(Errno::Fault));
    assert_eq!(errno(guest.process.fd_read(&mut guest.memory, fd, END - 4, 1, OUT)), Err(Errno::Fault));
    assert_eq!(errno(guest.process.fd_read(&mut guest.memory, fd, IOVS, u32::MAX, OUT)), Err(Errno::Fault));
    assert_eq!(&guest.memory[DATA as usize..DATA as usize + 4], b"----");
    assert_eq!(guest.tell(fd).unwrap(), 0);
    assert_eq!(guest.namespace().read("/f").unwrap(), b"content");

    // Nothing is made when its descriptor could not be told.
    let (path, len) = guest.put(PATH, b"new");
    let memory = &mut guest.memory;
    assert_eq!(errno(guest.process.path_open(memory, ROOT, 0, path, len, CREATE, 0, 0, 0, END)), Err(Errno::Fault));
    assert_eq!(errno(guest.process.path_create_directory(memory, ROOT, END, 1)), Err(Errno::Fault));
    assert_eq!(guest.stat("new"), Err(Errno::NotFound));
    assert_eq!(guest.create("other"), fd + 1);
}

#[test]
fn every_call_checks_its_results_place() {
    let mut guest = Guest::new();
    let fd = guest.create("f");
    guest.symlink("t", "l").unwrap();
    let (path, len) = guest.put(PATH, b"l");
    let Guest { process, memory } = &mut guest;
    let bad = END - 1;
    for (name, result) in [
        ("args_sizes_get", process.args_sizes_get(memory, OUT, bad)),
        ("environ_sizes_get", process.environ_sizes_get(memory, bad, OUT)),
        ("clock_res_get", process.clock_res_get(memory, 0, bad)),
        ("clock_time_get", process.clock_time_get(memory, 0, 0, bad)),
        ("fd_fdstat_get", process.fd_fdstat_get(memory, fd, bad)),
        ("fd_filestat_get", process.fd_filestat_get(memory, fd, bad)),
        ("fd_prestat_get", process.fd_prestat_get(memory, ROOT, bad)),
        ("fd_prestat_dir_name", process.fd_prestat_dir_name(memory, ROOT, END, 1)),
        ("fd_readdir", process.fd_readdir(memory, ROOT, DATA, 10, 0, bad)),
        ("fd_readdir", process.fd_readdir(memory, ROOT, bad, 10, 0, OUT)),
        ("fd_seek", process.fd_seek(memory, fd, 0, 0, bad)),
        ("fd_tell", process.fd_tell(memory, fd, bad)),
        ("path_filestat_get", process.path_filestat_get(memory, ROOT, 0, path, len, bad)),
        ("path_readlink", process.path_readlink(memory, ROOT, path, len, DATA, 10, bad)),
        ("path_readlink", process.path_readlink(memory, ROOT, path, len, bad, 10, OUT)),
        ("poll_oneoff", process.poll_oneoff(memory, DATA, DATA, 1, bad)),
        ("poll_oneoff", process.poll_oneoff(memory, bad, DATA, 1, OUT)),
        ("poll_oneoff", process.poll_oneoff(memory, DATA, bad, 1, OUT)),
        ("poll_oneoff", process.poll_oneoff(memory, DATA, DATA, u32::MAX, OUT)),
        ("random_get", process.random_get(memory, bad, 10)),
    ] {
        assert_eq!(errno(result), Err(Errno::Fault), "{name}");
    }
}

#[test]
fn overlapping_pointers_stay_within_memory() {
    let mut guest = Guest::new();
    let fd = guest.create("f");
    guest.write(fd, &[0xff; 4096]).unwrap();
    guest.seek(fd, 0, 0).unwrap();
    // The data goes over the list itself, and the count over the data.
    for index in 0..4 {
        guest.put(IOVS + 8 * index, &IOVS.to_le_bytes());
        guest.put(IOVS + 8 * index + 4, &64_u32.to_le_bytes());
    }
    errno(guest.process.fd_read(&mut guest.memory, fd, IOVS, 4, IOVS)).unwrap();
    assert_eq!(guest.u32_at(IOVS), 256, "the list was read before it was overwritten");
    assert_eq!(guest.u32_at(IOVS + 4), u32::MAX);

    // Events over subscriptions.
    guest.memory[DATA as usize..DATA as usize + 48 * 8].fill(0);
    let result = guest.process.poll_oneoff(&mut guest.memory, DATA, DATA + 8, 8, OUT);
    assert!(matches!(errno(result), Ok(()) | Err(Errno::Invalid)));
}

#[test]
fn long_lists_and_large_buffers_make_short_counts() {
    let mut guest = Guest::new();
    let fd = guest.create("f");
    // 1,500 elements of one byte: 1,024 are taken.
    let lens = vec![1; 1500];
    let count = guest.iovecs(&lens);
    errno(guest.process.fd_write(&mut guest.memory, fd, IOVS, count, OUT)).unwrap();
    assert_eq!(guest.u32_at(OUT), 1024);

    // Many elements over the same megabyte: more than 4 GiB asked for, all the file has is given.
    errno(guest.process.fd_filestat_set_size(&mut guest.memory, fd, 3 << 20)).unwrap();
    guest.seek(fd, 0, 0).unwrap();
    for index in 0..1024 {
        guest.put(IOVS + 8 * index, &0x10_0000_u32.to_le_bytes());
        guest.put(IOVS + 8 * index + 4, &0x10_0000_u32.to_le_bytes());
    }
    let list = IOVS;
    errno(guest.process.fd_read(&mut guest.memory, fd, list, 1024, OUT)).unwrap();
    assert_eq!(guest.u32_at(OUT), 3 << 20);
}

#[test]
fn memory_may_grow_between_calls() {
    let mut guest = Guest::new();
    let fd = guest.create("f");
    let count = guest.iovecs(&[4]);
    assert_eq!(errno(guest.process.fd_write(&mut guest.memory, fd, IOVS, count, END)), Err(Errno::Fault));
    guest.memory.resize(MEMORY_LEN + 0x1_0000, 0);
    assert_eq!(errno(guest.process.fd_write(&mut guest.memory, fd, IOVS, count, END)), Ok(()));
    assert_eq!(guest.u32_at(END), 4);
}
