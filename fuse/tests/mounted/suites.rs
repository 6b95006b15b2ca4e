//! The test suites of the field, from the package registry by name.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Check;
use super::mount::Mount;

pub(crate) const CHECKS: &[(&str, Check)] = &[("pjdfstest", pjdfstest), ("fsx", fsx)];

/// A program of a crate, installed beside what cargo builds if it is not there yet.
fn installed(name: &str, version: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("suites");
    let program = root.join("bin").join(name);
    if !program.exists() {
        let mut install = Command::new(env!("CARGO"));
        install.args(["install", "--quiet", "--locked", "--root"]).arg(&root).args([name, "--version", version]);
        install.env_remove("CARGO_TARGET_DIR");
        let status = install.status().unwrap();
        assert!(status.success() && program.exists(), "{name} {version} cannot be installed: {status}");
    }
    program
}

/// Every case passes that passes on tmpfs. On both, four cases of read-only mounts fail: the suite cannot remount while
/// another of its own cases holds the mount.
fn pjdfstest(mount: &Mount) {
    let settings = "
        [features]
        posix_fallocate = {}
        rename_ctime = {}
        utime_now = {}
        utimensat = {}
        [settings]
        naptime = 0.01
        allow_remount = false
        [dummy_auth]
        entries = [ [\"nobody\", \"nogroup\"], [\"daemon\", \"daemon\"] ]
    ";
    let config = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(config.path(), settings).unwrap();
    // Another filesystem, to be refused as a target.
    let second = tempfile::tempdir().unwrap();
    let suite = installed("pjdfstest", "0.2.2");
    let printed = mount.run(
        r#"mkdir pjd; chmod 777 pjd "$3"; exec "$1" -c "$2" -p pjd -s "$3""#,
        &[&suite, config.path(), second.path()],
    );
    let summary = printed.lines().rev().find(|line| line.starts_with("Summary")).unwrap().to_owned();
    assert!(summary.starts_with("Summary: 0 failed, 14 skipped, 384 passed"), "{summary}");
}

fn fsx(mount: &Mount) {
    let weights = "
        flen = 1048576
        [weights]
        close_open = 2
        invalidate = 1
        truncate = 5
        fsync = 1
        fdatasync = 1
        posix_fallocate = 3
        punch_hole = 5
        sendfile = 3
        posix_fadvise = 2
        copy_file_range = 5
    ";
    let config = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(config.path(), weights).unwrap();
    let artifacts = tempfile::tempdir().unwrap();
    let suite = installed("fsx", "0.3.2");
    let script = r#"exec "$1" -f "$2" -N 50000 -S 7 -P "$3" fsx"#;
    mount.run(script, &[&suite, config.path(), artifacts.path()]);
}
