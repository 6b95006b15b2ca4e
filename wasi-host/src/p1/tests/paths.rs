//! Paths: escapes, links, trailing slashes, flags of an open.

use super::*;
use mountless::namespace::MountOptions;

/// `/top/sub/file`, `/top/file`, `/secret`, and `/top` as descriptor 4.
fn with_preopened_top() -> Guest {
    let mut guest = Guest::new();
    let namespace = guest.namespace();
    namespace.create_dir_all("/top/sub").unwrap();
    for path in ["/top/sub/file", "/top/file", "/secret"] {
        namespace.write(path, path.as_bytes()).unwrap();
    }
    let top = namespace.locate("/top", mountless::namespace::Follow::Yes).unwrap();
    assert_eq!(guest.process.preopen("/top", &top).unwrap(), 4);
    guest
}

#[test]
fn nothing_above_a_preopen_is_reached() {
    let mut guest = with_preopened_top();
    for path in [
        "../secret",
        "..",
        "sub/../../secret",
        "sub/../../top/file",
        "./..",
        "sub/../..//secret",
        "../top/file",
        "/secret",
        "//secret",
        "/",
        "../",
        "sub/./../../",
    ] {
        assert_eq!(guest.stat_at(4, path, 1), Err(Errno::NotPermitted), "{path}");
        assert_eq!(guest.open_with(4, path, 1, 0, READ, 0), Err(Errno::NotPermitted), "{path}");
        assert_eq!(guest.open_with(4, path, 1, CREATE, WRITE, 0), Err(Errno::NotPermitted), "{path}");
    }
    for path in ["sub/../file", "sub/.././/file", "./sub/../sub/../file"] {
        assert_eq!(guest.stat_at(4, path, 1).unwrap().size, 9, "{path}");
    }
    // A file is no directory to go up from.
    assert_eq!(guest.stat_at(4, "file/..", 1), Err(Errno::NotDir));
    assert_eq!(guest.stat_at(4, "file/.", 1), Err(Errno::NotDir));
}

#[test]
fn links_do_not_lead_out_either() {
    let mut guest = with_preopened_top();
    let namespace = guest.namespace();
    for (target, link) in [
        ("../secret", "/top/up"),
        ("sub/../../secret", "/top/around"),
        ("/secret", "/top/absolute"),
        ("..", "/top/parent"),
        ("/", "/top/root"),
    ] {
        namespace.symlink(target, link).unwrap();
    }
    for path in ["up", "around", "absolute", "parent/secret", "parent/", "root/secret", "root/"] {
        assert_eq!(guest.stat_at(4, path, 1), Err(Errno::NotPermitted), "{path}");
        assert_eq!(guest.open_with(4, path, 1, 0, READ, 0), Err(Errno::NotPermitted), "{path}");
    }
    assert_eq!(guest.open_with(4, "up", 0, 0, READ, 0), Err(Errno::Loop));
    // The same links below the root preopen stay inside.
    assert_eq!(guest.stat("top/up").unwrap().size, 7);
    assert_eq!(guest.stat("top/absolute").unwrap().size, 7);
    assert_eq!(guest.stat("top/root/secret").unwrap().size, 7);

    assert_eq!(guest.symlink_at("/secret", 4, "new"), Err(Errno::NotPermitted));
    assert_eq!(guest.symlink_at("../secret", 4, "new"), Ok(()), "a relative target is data");
    assert_eq!(guest.symlink("/secret", "new"), Ok(()));
    assert_eq!(guest.symlink("", "empty"), Err(Errno::NotFound));
}

#[test]
fn a_renamed_directory_does_not_lead_out() {
    let mut guest = with_preopened_top();
    let sub = guest.open_with(4, "sub", 1, DIRECTORY, READ, 0).unwrap();
    guest.rename("top/sub", "moved").unwrap();
    assert_eq!(guest.stat_at(sub, "../secret", 1), Err(Errno::NotPermitted));
    assert_eq!(guest.stat_at(sub, "file", 1).unwrap().size, 13);
}

#[test]
fn trailing_slashes_mean_a_directory() {
    let mut guest = Guest::new();
    guest.create("file");
    guest.mkdir("dir").unwrap();
    guest.symlink("dir", "link").unwrap();
    guest.symlink("file/", "bad").unwrap();

    assert_eq!(guest.open("file/", 0, READ), Err(Errno::NotDir));
    assert_eq!(guest.open("bad", 0, READ), Err(Errno::NotDir));
    assert_eq!(guest.open("missing/", 0, READ), Err(Errno::NotFound));
    assert_eq!(guest.open("missing/", CREATE, WRITE), Err(Errno::IsDir));
    assert!(guest.open("dir/", 0, READ).is_ok());
    assert!(guest.open_with(ROOT, "link/", 0, 0, READ, 0).is_ok(), "followed without being told");

    assert_eq!(guest.mkdir("new/"), Ok(()));
    for path in ["file/", "dir/", "link/"] {
        assert_eq!(guest.mkdir(path), Err(Errno::Exists), "{path}");
    }
    assert_eq!(guest.rmdir("file/"), Err(Errno::NotDir));
    assert_eq!(guest.rmdir("missing/"), Err(Errno::NotFound));
    assert_eq!(guest.rmdir("link/"), Err(Errno::NotDir));
    assert_eq!(guest.rmdir("new/"), Ok(()));

    assert_eq!(guest.unlink("file/"), Err(Errno::NotDir));
    assert_eq!(guest.unlink("dir/"), Err(Errno::IsDir));
    assert_eq!(guest.unlink("missing/"), Err(Errno::NotFound));

    assert_eq!(guest.rename("file/", "x"), Err(Errno::NotDir));
    assert_eq!(guest.rename("file", "x/"), Err(Errno::NotDir));
    assert_eq!(guest.rename("dir/", "moved/"), Ok(()));
    assert_eq!(guest.rename("moved", "dir/"), Ok(()));

    assert_eq!(guest.symlink("x", "missing/"), Err(Errno::NotFound));
    assert_eq!(guest.symlink("x", "dir/"), Err(Errno::Exists));
    assert_eq!(guest.link("file", "missing/"), Err(Errno::NotFound));
    assert_eq!(guest.stat("file/"), Err(Errno::NotDir));
    assert_eq!(guest.stat_at(ROOT, "link/", 0).unwrap().file_type, 3);
}

#[test]
fn the_flags_of_an_open() {
    let mut guest = Guest::new();
    guest.mkdir("dir").unwrap();
    guest.create("file");
    guest.symlink("made", "dangling").unwrap();
    guest.symlink("file", "link").unwrap();
    for flags in [CREATE, EXCLUSIVE, TRUNCATE] {
        assert_eq!(guest.open("dir", DIRECTORY | flags, READ), Err(Errno::Invalid));
    }
    assert_eq!(guest.open("file", 16, READ), Err(Errno::Invalid));
    assert_eq!(guest.open_with(ROOT, "file", 2, 0, READ, 0), Err(Errno::Invalid));
    assert_eq!(guest.open_with(ROOT, "file", 0, 0, READ, 32), Err(Errno::Invalid));
    assert!(guest.open("dir", 0, READ).is_ok(), "no flag needed");
    assert_eq!(guest.open("dir", 0, READ | WRITE), Err(Errno::IsDir));
    assert_eq!(guest.open("dir", TRUNCATE, READ), Err(Errno::IsDir));
    assert_eq!(guest.open("dir", CREATE, READ), Err(Errno::IsDir));
    assert_eq!(guest.open("file", DIRECTORY, READ), Err(Errno::NotDir));
    assert_eq!(guest.open_with(ROOT, "link", 0, 0, READ, 0), Err(Errno::Loop));
    assert_eq!(guest.open("link", CREATE | EXCLUSIVE, WRITE), Err(Errno::Exists));
    assert_eq!(guest.open("dangling", CREATE | EXCLUSIVE, WRITE), Err(Errno::Exists));
    assert!(guest.open("dangling", CREATE, WRITE).is_ok());
    assert_eq!(guest.stat("made").unwrap().file_type, 4);
    let file = guest.open("file", 0, READ).unwrap();
    assert_eq!(guest.open_with(file, "x", 0, 0, READ, 0), Err(Errno::NotDir));
    assert_eq!(guest.open_with(1, "x", 0, 0, READ, 0), Err(Errno::BadFd));
    assert_eq!(guest.open_with(99, "x", 0, 0, READ, 0), Err(Errno::BadFd));
    assert_eq!(guest.open("", 0, READ), Err(Errno::NotFound));
}

#[test]
fn links_and_their_text() {
    let mut guest = Guest::new();
    guest.create("f");
    guest.mkdir("d").unwrap();
    guest.symlink("some/target", "l").unwrap();
    assert_eq!(guest.readlink("l", 100).unwrap(), b"some/target");
    assert_eq!(guest.readlink("l", 4).unwrap(), b"some");
    assert_eq!(guest.readlink("f", 100), Err(Errno::Invalid));
    assert_eq!(guest.symlink("x", "l"), Err(Errno::Exists));
    assert_eq!(guest.link("d", "e"), Err(Errno::NotPermitted));
    assert_eq!(guest.link("f", "l"), Err(Errno::Exists));
    let (path, len) = guest.put(PATH, b"f");
    let (to, to_len) = guest.put(PATH2, b"g");
    let memory = &mut guest.memory;
    assert_eq!(errno(guest.process.path_link(memory, ROOT, 1, path, len, ROOT, to, to_len)), Err(Errno::Invalid));
    guest.symlink("loop", "loop").unwrap();
    assert_eq!(guest.stat("loop"), Err(Errno::Loop));
    assert_eq!(guest.open("loop/x", CREATE, WRITE), Err(Errno::Loop));
}

#[test]
fn names_are_text() {
    let mut guest = Guest::new();
    let open = |guest: &mut Guest, path: &[u8]| {
        let (path, len) = guest.put(PATH, path);
        errno(guest.process.path_open(&mut guest.memory, ROOT, 0, path, len, CREATE, WRITE, 0, 0, OUT))
    };
    assert_eq!(open(&mut guest, b"a\0b"), Err(Errno::Invalid));
    assert_eq!(open(&mut guest, b"\xff"), Err(Errno::IllegalSequence));
    assert_eq!(open(&mut guest, &[b'x'; 256]), Err(Errno::NameTooLong));
    assert_eq!(open(&mut guest, &[b'x'; 255]), Ok(()));
    assert_eq!(open(&mut guest, "grün".as_bytes()), Ok(()));
    assert_eq!(open(&mut guest, "./".repeat(3000).as_bytes()), Err(Errno::NameTooLong));
}

#[test]
fn directories_are_moved_and_removed_by_the_rules() {
    let mut guest = Guest::new();
    for dir in ["d", "d/sub", "e"] {
        guest.mkdir(dir).unwrap();
    }
    guest.create("f");
    assert_eq!(guest.rename("d", "f"), Err(Errno::NotDir));
    assert_eq!(guest.rename("f", "d"), Err(Errno::IsDir));
    assert_eq!(guest.rename("e", "d"), Err(Errno::NotEmpty));
    assert_eq!(guest.rename("d", "d/sub/x"), Err(Errno::Invalid));
    assert_eq!(guest.rename("f", "f"), Ok(()));
    assert_eq!(guest.rename("d/.", "x"), Err(Errno::Busy));
    assert_eq!(guest.rmdir("d"), Err(Errno::NotEmpty));
    assert_eq!(guest.rmdir("d/."), Err(Errno::Invalid));
    assert_eq!(guest.rmdir("f"), Err(Errno::NotDir));
    assert_eq!(guest.unlink("d"), Err(Errno::IsDir));
    let sub = guest.open("d/sub", DIRECTORY, READ).unwrap();
    guest.rmdir("d/sub").unwrap();
    assert_eq!(guest.open_with(sub, "new", 0, CREATE, WRITE, 0), Err(Errno::NotFound));
    assert_eq!(guest.rename("d", "e"), Ok(()), "over an empty directory");
}

#[test]
fn a_read_only_tree_refuses_every_change() {
    let mut guest = Guest::new();
    let namespace = guest.namespace();
    namespace.create_dir("/ro").unwrap();
    let inner = Arc::new(MemFs::new());
    Namespace::new(inner.clone()).write("/file", "x").unwrap();
    namespace.mount("/ro", inner, MountOptions { read_only: true }).unwrap();

    assert!(guest.open("ro/file", 0, READ).is_ok());
    assert_eq!(guest.open("ro/file", 0, WRITE), Err(Errno::ReadOnly));
    assert_eq!(guest.open("ro/file", TRUNCATE, READ), Err(Errno::ReadOnly));
    assert_eq!(guest.open("ro/new", CREATE, READ), Err(Errno::ReadOnly));
    assert_eq!(guest.mkdir("ro/new"), Err(Errno::ReadOnly));
    assert_eq!(guest.unlink("ro/file"), Err(Errno::ReadOnly));
    assert_eq!(guest.symlink("x", "ro/new"), Err(Errno::ReadOnly));
    assert_eq!(guest.link("ro/file", "ro/new"), Err(Errno::ReadOnly));
    assert_eq!(guest.rename("ro/file", "ro/new"), Err(Errno::ReadOnly));
    assert_eq!(guest.rename("ro/file", "out"), Err(Errno::CrossDevice));
    let fd = guest.open("ro/file", 0, READ).unwrap();
    let memory = &mut guest.memory;
    assert_eq!(errno(guest.process.fd_filestat_set_times(memory, fd, 0, 0, 1)), Err(Errno::ReadOnly));
    assert_eq!(namespace.read("/ro/file").unwrap(), b"x");
}
