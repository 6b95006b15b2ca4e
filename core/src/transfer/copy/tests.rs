use super::*;
use crate::backend::mem::MemFs;
use crate::fs::{FileSystem, WritableFileSystem, WriteAt};
use crate::transfer::diff::{DiffOptions, diff_with};

const FILES: usize = 3 * BATCH_FILES + 100;

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
        let report = copy_into_by_many(&from, &to, &OPTIONS, &Progress::new(), workers).unwrap();
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
            let error = copy_into_by_many(&from, &to, &OPTIONS, &Progress::new(), workers).unwrap_err();
            assert_eq!(error.errno(), Errno::Exists);
            assert!(error.to_string().contains(&name), "{error}");
        }
    }
}
