//! Jobs of every day, by programs that know nothing of us.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::Check;
use super::mount::{Mount, shell};

pub(crate) const CHECKS: &[(&str, Check)] = &[
    ("git_clones_and_checks", git_clones_and_checks),
    ("two_processes_share_a_database", two_processes_share_a_database),
    ("rsync_there_and_back", rsync_there_and_back),
    ("cargo_builds_a_crate", cargo_builds_a_crate),
];

/// Files in a few hundred directories.
fn make_tree(dir: &Path, directories: usize, files: usize) {
    for directory in 0..directories {
        let dir = dir.join(format!("dir-{}/sub-{directory}", directory % 20));
        fs::create_dir_all(&dir).unwrap();
        for file in 0..files {
            let content = format!("{directory} {file}\n").repeat(1 + (directory * files + file) % 200);
            fs::write(dir.join(format!("file-{file}.txt")), content).unwrap();
        }
    }
}

fn git_clones_and_checks(mount: &Mount) {
    let source = tempfile::tempdir().unwrap();
    make_tree(source.path(), 150, 20);
    let identity = "-c user.name=test -c user.email=test@example.org -c commit.gpgsign=false";
    shell(source.path(), &format!("git init -q; git add .; git {identity} commit -qm first"), &[]);
    mount.run(
        &format!(
            r#"git clone -q --no-local "$1" clone; cd clone
            git fsck --full --strict
            test -z "$(git status --porcelain)"
            test "$(git ls-files | wc -l)" = 3000
            git checkout -q -b other; git mv dir-1 moved; git {identity} commit -qm moved
            git checkout -q -; git gc -q; git fsck --full --strict
            test -z "$(git status --porcelain)""#
        ),
        &[source.path()],
    );
}

fn two_processes_share_a_database(mount: &Mount) {
    let printed = mount.run(
        r#"sqlite3 db 'PRAGMA journal_mode=WAL; CREATE TABLE t (writer, number)'
        writer() {
            for number in $(seq 1 100); do
                sqlite3 -cmd '.timeout 60000' db "INSERT INTO t VALUES ($1, $number)"
            done
        }
        writer 1 & one=$!
        # One connection for all, so that both keep the shared memory mapped at the same time.
        (echo '.timeout 60000'; for number in $(seq 1 300); do echo "INSERT INTO t VALUES (2, $number);"; done) |
            sqlite3 db
        wait $one
        sqlite3 db 'PRAGMA integrity_check; SELECT count(*) FROM t'"#,
        &[],
    );
    assert!(printed.ends_with("ok\n400\n"), "{printed}");
}

fn rsync_there_and_back(mount: &Mount) {
    let source = tempfile::tempdir().unwrap();
    make_tree(source.path(), 40, 10);
    let first = source.path().join("dir-0/sub-0/file-0.txt");
    fs::hard_link(&first, source.path().join("linked")).unwrap();
    symlink("dir-0/sub-0", source.path().join("pointer")).unwrap();
    symlink("nowhere", source.path().join("dangling")).unwrap();
    let sparse = fs::File::create(source.path().join("sparse")).unwrap();
    sparse.set_len(3 << 20).unwrap();
    rustix::fs::setxattr(&first, "user.colour", b"blue", rustix::fs::XattrFlags::empty()).unwrap();
    rustix::fs::chown(&first, Some(rustix::fs::Uid::from_raw(65534)), None).unwrap();
    let back = tempfile::tempdir().unwrap();
    let printed = mount.run(
        r#"rsync -aHAXS "$1/" copy; rsync -aHAXS copy/ "$2/back"
        rsync -aHAXnci --delete "$1/" copy; rsync -aHAXnci --delete copy/ "$2/back"
        test "$(stat -c %h copy/linked)" = 2; test copy/linked -ef copy/dir-0/sub-0/file-0.txt"#,
        &[source.path(), back.path()],
    );
    assert_eq!(printed, "", "nothing differs");
}

fn cargo_builds_a_crate(mount: &Mount) {
    let printed = mount.run(
        r#"unset CARGO_TARGET_DIR; "$1" init -q --vcs none --name hello hello; cd hello
        "$1" build -q --offline; touch src/main.rs; "$1" build -q --offline; ./target/debug/hello"#,
        &[Path::new(env!("CARGO"))],
    );
    assert_eq!(printed, "Hello, world!\n");
}
