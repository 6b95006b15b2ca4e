//! The rules of walking, on a memory filesystem.

use alloc::sync::Arc;

use super::{Descriptor, Follow, Location, MountOptions, Namespace, OpenHow};
use crate::backend::mem::MemFs;
use crate::errno::Errno;
use crate::error::Result;
use crate::fs::{FileSystem, RenameMode};

/// A file, a directory with a file in it, a link to each, and links that point outside in every way.
fn namespace() -> Namespace {
    let namespace = Namespace::new(Arc::new(MemFs::new()));
    namespace.create_dir_all("dir/sub").unwrap();
    namespace.write("file", "content").unwrap();
    namespace.write("dir/inner", "inner").unwrap();
    for (target, link) in [
        ("file", "to-file"),
        ("dir", "to-dir"),
        ("dir/", "to-dir-slash"),
        ("file/", "to-file-slash"),
        ("missing", "dangling"),
        ("loop", "loop"),
        ("/file", "dir/absolute"),
        ("../file", "dir/up"),
        ("../../file", "dir/out"),
        ("sub/../../../file", "dir/out-and-back"),
    ] {
        namespace.symlink(target, link).unwrap();
    }
    namespace
}

fn errno<T>(result: Result<T>) -> Option<Errno> {
    result.err().map(|error| error.errno())
}

/// The table of `wasi-host`'s guide, "Trailing slashes": what each call answers, on a fresh tree.
#[test]
fn a_trailing_slash_demands_a_directory() {
    use Errno::{Exists, IsDir, NotDir, NotFound};

    type Call = fn(&Namespace, &Location, &[u8]) -> Result<()>;
    let calls: [(&str, Call, [Option<Errno>; 4]); 10] = [
        (
            "open",
            |ns, at, path| ns.open_at(at, path, &OpenHow::READ).map(drop),
            [Some(NotDir), None, Some(NotFound), None],
        ),
        (
            "open creating",
            |ns, at, path| ns.open_at(at, path, &OpenHow { write: true, create: true, ..OpenHow::READ }).map(drop),
            [Some(NotDir), Some(IsDir), Some(IsDir), Some(IsDir)],
        ),
        ("mkdir", |ns, at, path| ns.create_dir_at(at, path, 0o755), [Some(Exists), Some(Exists), None, Some(Exists)]),
        ("rmdir", Namespace::remove_dir_at, [Some(NotDir), None, Some(NotFound), Some(NotDir)]),
        ("unlink", Namespace::unlink_at, [Some(NotDir), Some(IsDir), Some(NotFound), Some(NotDir)]),
        (
            "rename from",
            |ns, at, path| ns.rename_at(at, path, at, b"new", RenameMode::Replace),
            [Some(NotDir), None, Some(NotFound), Some(NotDir)],
        ),
        (
            "rename a directory to",
            |ns, at, path| ns.rename_at(at, b"other", at, path, RenameMode::Replace),
            [Some(NotDir), None, None, Some(NotDir)],
        ),
        (
            "rename a file to",
            |ns, at, path| ns.rename_at(at, b"file", at, path, RenameMode::Replace),
            [Some(NotDir), Some(NotDir), Some(NotDir), Some(NotDir)],
        ),
        (
            "symlink",
            |ns, at, path| ns.symlink_at(b"x", at, path),
            [Some(Exists), Some(Exists), Some(NotFound), Some(Exists)],
        ),
        ("stat", |ns, at, path| ns.attr_at(at, path, Follow::No).map(drop), [Some(NotDir), None, Some(NotFound), None]),
    ];
    for (name, call, expected) in calls {
        for (path, expected) in ["file/", "empty/", "missing/", "to-empty/"].into_iter().zip(expected) {
            let namespace = namespace();
            namespace.create_dir("empty").unwrap();
            namespace.create_dir("other").unwrap();
            namespace.symlink("empty", "to-empty").unwrap();
            let result = errno(call(&namespace, namespace.root(), path.as_bytes()));
            assert_eq!(result, expected, "{name} {path}");
        }
    }
}

#[test]
fn paths_below_a_directory_cannot_leave_it() {
    let namespace = namespace();
    let dir = namespace.locate("dir", Follow::Yes).unwrap();
    let root = namespace.root();
    for (start, path, expected) in [
        (&dir, "inner", None),
        (&dir, "sub/../inner", None),
        (&dir, "./sub/.././inner", None),
        (&dir, "..", Some(Errno::NotPermitted)),
        (&dir, "../dir/inner", Some(Errno::NotPermitted)),
        (&dir, "sub/../../dir/inner", Some(Errno::NotPermitted)),
        (&dir, "/inner", Some(Errno::NotPermitted)),
        (&dir, "absolute", Some(Errno::NotPermitted)),
        (&dir, "up", Some(Errno::NotPermitted)),
        (&dir, "out-and-back", Some(Errno::NotPermitted)),
        (root, "dir/absolute", None),
        (root, "dir/up", None),
        (root, "dir/out", Some(Errno::NotPermitted)),
        (root, "/file", Some(Errno::NotPermitted)),
        (root, "dir/../../file", Some(Errno::NotPermitted)),
        (root, "file/..", Some(Errno::NotDir)),
        (root, "file/.", Some(Errno::NotDir)),
        (root, "file/x", Some(Errno::NotDir)),
        (root, "missing/../file", Some(Errno::NotFound)),
        (root, "", Some(Errno::NotFound)),
        (root, "loop", Some(Errno::Loop)),
        (root, "dangling", Some(Errno::NotFound)),
        (root, "to-dir-slash/inner", None),
        (root, "to-file-slash", Some(Errno::NotDir)),
        (root, "a\0b", Some(Errno::Invalid)),
        (root, &"x".repeat(256), Some(Errno::NameTooLong)),
        (root, &"dir/../".repeat(600), Some(Errno::NameTooLong)),
    ] {
        assert_eq!(errno(namespace.walk(start, path.as_bytes(), Follow::Yes)), expected, "{path}");
    }
}

#[test]
fn seen_from_the_root_there_is_no_outside() {
    let namespace = namespace();
    for path in ["/file", "//file", "../file", "dir/../../file", "/dir/out", "/dir/absolute", "dir/./up"] {
        assert_eq!(namespace.read(path).unwrap(), b"content", "{path}");
    }
    assert!(namespace.locate("/", Follow::No).unwrap().is_same(namespace.root()));
    assert!(namespace.locate("..", Follow::No).unwrap().is_same(namespace.root()));
}

#[test]
fn forty_links_are_followed_and_no_more() {
    let namespace = namespace();
    namespace.symlink("file", "link-1").unwrap();
    for number in 2..=41 {
        namespace.symlink(format!("link-{}", number - 1), format!("link-{number}")).unwrap();
    }
    assert_eq!(namespace.read("link-40").unwrap(), b"content");
    assert_eq!(namespace.read("link-41").unwrap_err(), Errno::Loop);
}

#[test]
fn creating_through_a_dangling_link_makes_its_target() {
    let namespace = namespace();
    let exclusive = OpenHow { exclusive: true, ..OpenHow::WRITE };
    assert_eq!(errno(namespace.open("dangling", &exclusive)), Some(Errno::Exists));
    assert_eq!(errno(namespace.open("dangling", &OpenHow { follow: Follow::No, ..OpenHow::WRITE })), Some(Errno::Loop));
    namespace.write("dangling", "made").unwrap();
    assert_eq!(namespace.read("missing").unwrap(), b"made");
}

#[test]
fn opening_checks_what_it_opens() {
    let namespace = namespace();
    let write = OpenHow { write: true, ..OpenHow::READ };
    let directory = OpenHow { directory: true, ..OpenHow::READ };
    for (path, how, expected) in [
        ("dir", write, Some(Errno::IsDir)),
        ("dir", directory, None),
        ("file", directory, Some(Errno::NotDir)),
        ("dir", OpenHow { create: true, ..directory }, Some(Errno::Invalid)),
        ("to-file", OpenHow { follow: Follow::No, ..OpenHow::READ }, Some(Errno::Loop)),
        ("to-file", write, None),
        ("file", OpenHow { exclusive: true, ..OpenHow::WRITE }, Some(Errno::Exists)),
        (".", OpenHow::WRITE, Some(Errno::IsDir)),
    ] {
        assert_eq!(errno(namespace.open(path, &how)), expected, "{path} {how:?}");
    }
}

#[test]
fn descriptors_keep_to_their_access_mode() {
    let namespace = namespace();
    let mut reader = namespace.open("file", &OpenHow::READ).unwrap();
    let mut writer = namespace.open("file", &OpenHow { read: false, write: true, ..OpenHow::READ }).unwrap();
    let mut buf = [0; 4];
    assert_eq!(reader.write(b"x").unwrap_err(), Errno::BadFd);
    assert_eq!(reader.set_len(1).unwrap_err(), Errno::Invalid);
    assert_eq!(writer.read(&mut buf).unwrap_err(), Errno::BadFd);
    assert_eq!((reader.read(&mut buf).unwrap(), reader.tell()), (4, 4));
    assert_eq!(reader.seek(std::io::SeekFrom::End(-1)).unwrap(), 6);
    assert_eq!(reader.seek(std::io::SeekFrom::Current(-7)).unwrap_err(), Errno::Invalid);
    assert_eq!(reader.tell(), 6, "a seek that failed moves nothing");
    writer.set_append(true);
    assert_eq!((writer.write(b"!!").unwrap(), writer.tell()), (2, 9));
    assert_eq!(writer.write_at(0, b"?").unwrap(), 1, "appends whatever the offset");
    assert_eq!(namespace.read("file").unwrap(), b"content!!?");
}

#[test]
fn mounts_are_crossed_by_walking_and_by_nothing_else() {
    let namespace = namespace();
    let volume = || -> Arc<dyn FileSystem> {
        let fs = Arc::new(MemFs::new());
        let inner = Namespace::new(Arc::clone(&fs) as Arc<dyn FileSystem>);
        inner.write("inside", "volume").unwrap();
        inner.symlink("../file", "up").unwrap();
        fs
    };
    namespace.mount("dir", volume(), MountOptions::default()).unwrap();
    namespace.create_dir("readonly").unwrap();
    namespace.mount("readonly", volume(), MountOptions { read_only: true }).unwrap();

    assert_eq!(namespace.read("dir/inside").unwrap(), b"volume");
    assert_eq!(namespace.read("dir/../dir/inside").unwrap(), b"volume");
    assert_eq!(namespace.read("dir/up").unwrap(), b"content", "`..` of a mount's root is where it is mounted");
    assert_eq!(namespace.read("dir/inner").unwrap_err(), Errno::NotFound, "what is below is hidden");
    assert_eq!(namespace.rename("dir/inside", "moved").unwrap_err(), Errno::CrossDevice);
    assert_eq!(namespace.hard_link("dir/inside", "linked").unwrap_err(), Errno::CrossDevice);
    assert_eq!(namespace.rename("dir", "elsewhere").unwrap_err(), Errno::Busy);
    assert_eq!(namespace.remove_dir("readonly").unwrap_err(), Errno::Busy);
    assert_eq!(namespace.mount("dir", volume(), MountOptions::default()).unwrap_err(), Errno::Busy);
    for result in [
        namespace.write("readonly/new", ""),
        namespace.write("readonly/inside", ""),
        namespace.create_dir("readonly/new"),
        namespace.remove_file("readonly/inside"),
        namespace.rename("readonly/inside", "readonly/other"),
        namespace.symlink("x", "readonly/new"),
    ] {
        assert_eq!(errno(result), Some(Errno::ReadOnly));
    }
    let inos = ["dir/inside", "readonly/inside"].map(|path| namespace.metadata(path).unwrap().ino);
    assert_ne!(inos[0], inos[1], "numbers are unique in the namespace");
}

#[test]
fn a_directory_that_was_removed_takes_no_names() {
    let namespace = namespace();
    let dir = namespace.locate("dir/sub", Follow::Yes).unwrap();
    namespace.remove_dir("dir/sub").unwrap();
    assert_eq!(errno(namespace.open_at(&dir, b"new", &OpenHow::WRITE)), Some(Errno::NotFound));
    assert_eq!(errno(namespace.create_dir_at(&dir, b"new", 0o755)), Some(Errno::NotFound));
    assert!(Descriptor::open_dir(dir).unwrap().attr().unwrap().nlink < 2);
}

#[test]
fn whole_trees_go() {
    let namespace = namespace();
    let deep = vec!["d"; 500].join("/");
    namespace.create_dir_all(format!("dir/{deep}")).unwrap();
    namespace.remove_dir_all("dir").unwrap();
    assert!(!namespace.exists("dir").unwrap());
    assert_eq!(namespace.read("file").unwrap(), b"content", "what links pointed to stays");
}

/// A reader that holds the bytes of an image sees what another descriptor writes over them.
#[test]
fn what_was_read_from_a_lower_is_not_held_past_copy_up() {
    use crate::attr::{Device, FileType};
    use crate::format::cpio::{CpioWriter, NewEntry};

    let archive = {
        let mut writer = CpioWriter::new(Vec::new());
        let (file_type, rdev) = (FileType::File, Device::default());
        let entry = NewEntry { name: b"f", file_type, mode: 0o644, uid: 0, gid: 0, nlink: 1, ino: 1, mtime: 0, rdev };
        writer.entry(&entry, b"below").unwrap();
        writer.finish().unwrap()
    };
    let source = Arc::new(crate::source::BytesSource::new(archive.into()));
    let image = crate::open::open_source(source, None, &crate::open::OpenOptions::default()).unwrap();
    let file = image.fs.lookup(image.fs.root(), crate::name::Name::new(b"f").unwrap()).unwrap();
    assert!(image.fs.snapshot(file.node).unwrap().is_some(), "the image lies in memory");
    let namespace = Namespace::new(crate::Stack::from_images(vec![image]).with_memory_upper().unwrap());
    let mut reader = namespace.open_at(namespace.root(), b"f", &OpenHow::READ).unwrap();
    let mut buf = [0; 8];
    assert_eq!((reader.read(&mut buf).unwrap(), &buf[..5]), (5, &b"below"[..]));
    assert_eq!(reader.read(&mut buf).unwrap(), 0, "the end");
    let writer = namespace.open_at(namespace.root(), b"f", &OpenHow { write: true, ..OpenHow::READ }).unwrap();
    assert_eq!(writer.write_at(3, b"ABOVE").unwrap(), 5);
    assert_eq!((reader.read_at(0, &mut buf).unwrap(), &buf), (8, b"belABOVE"));
}

#[test]
fn a_read_only_location_keeps_what_is_mounted_below() {
    let namespace = Namespace::new(Arc::new(MemFs::new()));
    namespace.create_dir("a").unwrap();
    namespace.mount("a", Arc::new(MemFs::new()), MountOptions::default()).unwrap();
    namespace.write("a/f", "1").unwrap();
    let view = namespace.root().read_only();
    assert!(view.is_same(namespace.root()));
    for path in [&b"b"[..], b"a/b"] {
        assert_eq!(namespace.create_dir_at(&view, path, 0o755).unwrap_err(), Errno::ReadOnly);
    }
    let write = OpenHow { write: true, ..OpenHow::READ };
    assert_eq!(namespace.open_at(&view, b"a/f", &write).unwrap_err(), Errno::ReadOnly);
    let file = namespace.walk(&view, b"a/f", Follow::Yes).unwrap();
    assert_eq!(file.writable().err().map(|error| error.errno()), Some(Errno::ReadOnly));
    let mut content = [0; 1];
    assert_eq!(namespace.open_at(&view, b"a/f", &OpenHow::READ).unwrap().read(&mut content).unwrap(), 1);
    namespace.open_at(namespace.root(), b"a/f", &write).unwrap();
}
