use super::crew::BATCH_FILES_MIN;
use super::*;
use crate::backend::host::HostFs;
use crate::backend::mem::MemFs;
use crate::fs::{FileSystem, WritableFileSystem, WriteAt};
use crate::transfer::diff::{DiffOptions, diff_with};

const FILES: usize = 30 * BATCH_FILES_MIN;

fn make(fs: &MemFs, dir: NodeId, name: &str, kind: NewKind<'_>, mode: u16) -> NodeId {
    fs.create(dir, Name::new(name.as_bytes()).unwrap(), &NewNode { kind, mode, uid: 0, gid: 0 }).unwrap().node
}

/// More files than fit into the queue, links between directories, holes, and times and modes of full directories.
fn tree() -> Arc<NodeRef> {
    let fs = MemFs::new();
    let (outer, inner) =
        (make(&fs, fs.root(), "a", NewKind::Dir, 0o755), make(&fs, fs.root(), "b", NewKind::Dir, 0o500));
    let deep = make(&fs, outer, "deep", NewKind::Dir, 0o711);
    for number in 0..FILES {
        let dir = [outer, inner, deep][number % 3];
        let node =
            make(&fs, dir, &format!("file-{number}"), NewKind::File, if number % 2 == 0 { 0o640 } else { 0o755 });
        let content = vec![b'x'; number % 2000];
        fs.write_at(node, WriteAt::Offset(if number % 7 == 0 { 100_000 } else { 0 }), &content).unwrap();
        fs.set_xattr(node, b"user.number", number.to_string().as_bytes(), XattrMode::Set).unwrap();
        if number % 100 == 0 {
            let name = format!("link-{number}");
            fs.link(node, [inner, deep, outer][number % 3], Name::new(name.as_bytes()).unwrap()).unwrap();
            make(&fs, dir, &format!("symlink-{number}"), NewKind::Symlink(b"../b"), 0o777);
        }
    }
    for (node, seconds) in [(outer, 1_000), (inner, 2_000), (deep, 3_000)] {
        let mtime = Some(SetTime::At(crate::clock::Timestamp::from_secs(seconds)));
        fs.set_attr(node, &SetAttr { mtime, ..SetAttr::default() }).unwrap();
    }
    Arc::new(NodeRef::root(Arc::new(fs)))
}

fn target() -> Arc<NodeRef> {
    Arc::new(NodeRef::root(Arc::new(MemFs::new())))
}

const OPTIONS: CopyOptions = CopyOptions { owners: Owners::Kept, existing: Existing::Refuse, keep_times: true };

#[test]
fn many_copy_the_same_as_one() {
    let from = tree();
    let alone = copy_into(&from, &target(), &OPTIONS, &Progress::new()).unwrap();
    for workers in [1, 3] {
        let to = target();
        let report = copy_into_by_many(&from, &to, &OPTIONS, &Progress::new(), workers, None).unwrap();
        assert_eq!((report.entries, report.content_len), (alone.entries, alone.content_len));
        assert_eq!((report.lost_count, alone.lost_count), (0, 0));
        let mut found = Vec::new();
        diff_with(from.fs(), to.fs(), DiffOptions::IMAGES, |difference| {
            found.push(format!("{difference:?}"));
            Ok(())
        })
        .unwrap();
        assert!(found.is_empty(), "{workers} workers: {found:?}");
    }
}

#[test]
fn an_error_of_one_of_many_ends_all() {
    let from = tree();
    for workers in [1, 3] {
        for number in [0, 1, FILES / 2, FILES - 1] {
            let to = target();
            let fs = to.fs().writable().unwrap();
            let new = NewNode { kind: NewKind::Dir, mode: 0o755, uid: 0, gid: 0 };
            let create = |dir, name: &str, new| fs.create(dir, Name::new(name.as_bytes()).unwrap(), new).unwrap().node;
            let dirs = [("a", ""), ("b", ""), ("a", "deep")];
            let (outer, inner) = dirs[number % 3];
            let mut dir = create(to.node(), outer, &new);
            if !inner.is_empty() {
                dir = create(dir, inner, &new);
            }
            let name = format!("file-{number}");
            create(dir, &name, &NewNode { kind: NewKind::File, ..new });
            let error = copy_into_by_many(&from, &to, &OPTIONS, &Progress::new(), workers, None).unwrap_err();
            assert_eq!(error.errno(), Errno::Exists);
            assert!(error.to_string().contains(&name), "{error}");
        }
    }
}

/// Files of all the kinds that are made quickly, and of those that are not, mixed.
fn odd_files() -> Arc<NodeRef> {
    let fs = MemFs::new();
    let (uid, gid) = crate::transfer::own_ids();
    let dirs = [make(&fs, fs.root(), "a", NewKind::Dir, 0o755), make(&fs, fs.root(), "b", NewKind::Dir, 0o2770)];
    for number in 0..400_usize {
        let mode = [0o644, 0o640, 0o600, 0o664, 0o4755, 0o666, 0o444, 0o1777][number / 2 % 8];
        let name = format!("file-{number}");
        let new = NewNode { kind: NewKind::File, mode, uid, gid };
        let (dir, other) = (dirs[number % 2], dirs[(number + 1) % 2]);
        let node = fs.create(dir, Name::new(name.as_bytes()).unwrap(), &new).unwrap().node;
        let len = [0, 1, 1000, 4096, 70_000][number % 5];
        // A hole in front, behind, or none.
        let start = if number % 11 == 3 { 1 << 20 } else { 0 };
        fs.write_at(node, WriteAt::Offset(start), &vec![b'x'; len]).unwrap();
        let size = (number % 13 == 5).then_some(1 << 20);
        let mtime = (number % 3 > 0).then_some(SetTime::At(crate::clock::Timestamp { secs: number as i64, nanos: 7 }));
        fs.set_attr(node, &SetAttr { size, mtime, ..SetAttr::default() }).unwrap();
        if number % 17 == 0 {
            fs.set_xattr(node, b"user.number", name.as_bytes(), XattrMode::Set).unwrap();
        }
        if number % 19 == 0 {
            fs.link(node, other, Name::new(format!("link-{number}").as_bytes()).unwrap()).unwrap();
        }
    }
    Arc::new(NodeRef::root(Arc::new(fs)))
}

#[test]
fn what_is_made_quickly_comes_out_like_all_else() {
    let from = odd_files();
    let (uid, gid) = crate::transfer::own_ids();
    let options = CopyOptions { owners: Owners::KeptIfPermitted(uid, gid), ..OPTIONS };
    let (plain, quick) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let open = |dir: &tempfile::TempDir| Arc::new(HostFs::open(dir.path()).unwrap());
    let root = |host: &Arc<HostFs>| Arc::new(NodeRef::root(Arc::clone(host) as Arc<dyn FileSystem>));
    let expected = copy_into(&from, &root(&open(&plain)), &options, &Progress::new()).unwrap();
    let host = open(&quick);
    let found = copy_into_by_many(&from, &root(&host), &options, &Progress::new(), 3, Some(&host)).unwrap();
    let counts = |report: &CopyReport| (report.entries, report.content_len, report.lost_count);
    assert_eq!(counts(&found), counts(&expected));
    let (one, other) = (open(&plain), open(&quick));
    let mut differences = Vec::new();
    diff_with(&(Arc::clone(&one) as _), &(Arc::clone(&other) as _), DiffOptions::IMAGES, |difference| {
        differences.push(format!("{difference:?}"));
        Ok(())
    })
    .unwrap();
    assert_eq!(differences, Vec::<String>::new());
    let mut compared = 0;
    for dir in ["a", "b"] {
        for entry in std::fs::read_dir(plain.path().join(dir)).unwrap() {
            let (one, name) = (entry.as_ref().unwrap().metadata().unwrap(), entry.as_ref().unwrap().file_name());
            let other = quick.path().join(dir).join(name).metadata().unwrap();
            let shown = |it: &std::fs::Metadata| {
                use std::os::unix::fs::MetadataExt;
                (it.mode(), it.uid(), it.gid(), it.nlink(), it.len(), it.blocks(), it.mtime(), it.mtime_nsec())
            };
            assert_eq!(shown(&other), shown(&one), "{entry:?}");
            compared += 1;
        }
    }
    assert_eq!(compared, 400 + 400_usize.div_ceil(19));
}

#[test]
fn what_is_in_the_way_of_a_quick_file_is_named_and_stays() {
    let from = odd_files();
    for target in ["file-0", "file-12"] {
        let (temp, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let host = Arc::new(HostFs::open(temp.path()).unwrap());
        let victim = outside.path().join("victim");
        std::fs::create_dir(temp.path().join("a")).unwrap();
        std::os::unix::fs::symlink(&victim, temp.path().join("a").join(target)).unwrap();
        let to = Arc::new(NodeRef::root(Arc::clone(&host) as Arc<dyn FileSystem>));
        let error = copy_into_by_many(&from, &to, &OPTIONS, &Progress::new(), 2, Some(&host)).unwrap_err();
        assert_eq!(error.errno(), Errno::Exists);
        assert!(error.to_string().contains(target), "{error}");
        assert!(!victim.exists(), "a link was followed");
    }
}
