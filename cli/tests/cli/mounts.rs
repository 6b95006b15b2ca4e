//! `mount` and `exec`: real programs on the tree. They need root, `/dev/fuse` and namespaces; where these are missing the
//! tests say so.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use insta::assert_snapshot;
use mountless_tests::{copy_host_program, put};

use crate::sandbox::Sandbox;

/// Whether this machine lets its root mount; not asked of `mountless` itself, whose failures are to be seen.
fn may_mount() -> bool {
    let fuse = fs::File::options().read(true).write(true).open("/dev/fuse").is_ok();
    let may = fuse && quietly("unshare", &["--mount", "true"]);
    if !may {
        eprintln!("NOT TESTED: mounting needs root, /dev/fuse and unshare(1)");
    }
    may
}

fn quietly(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// A directory with a small Linux in it: a shell, the programs named, and their libraries.
fn fill_rootfs(dir: &Path) {
    for program in ["sh", "cat", "id", "ls", "touch", "rm", "chmod"] {
        copy_host_program(program, dir);
    }
    put(dir, "etc/motd", "welcome\n");
    fs::create_dir(dir.join("tmp")).unwrap();
}

/// The same as a tar archive of everything owned by root.
fn rootfs(sandbox: &Sandbox) -> String {
    let dir = tempfile::tempdir().unwrap();
    fill_rootfs(dir.path());
    let tar = sandbox.input("rootfs.tar");
    let mut pack = Command::new("tar");
    pack.args(["--owner=0", "--group=0", "-cf"]).arg(&tar).arg("-C").arg(dir.path()).arg(".");
    assert!(pack.status().unwrap().success());
    tar.to_str().unwrap().to_owned()
}

fn mount_point(sandbox: &Sandbox) -> PathBuf {
    let dir = sandbox.input("mnt");
    fs::create_dir(&dir).unwrap();
    dir
}

fn is_mounted(dir: &Path) -> bool {
    let shown = dir.to_str().unwrap();
    fs::read_to_string("/proc/self/mounts").unwrap().lines().any(|line| line.split(' ').nth(1) == Some(shown))
}

fn soon(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(20), "not after 20 seconds: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_daemon_serves_until_it_is_unmounted_and_the_image_stays() {
    if !may_mount() {
        return;
    }
    let sandbox = Sandbox::new();
    let image = sandbox.image("base.cpio", &[("etc/motd", b"welcome\n")]);
    let (before, dir) = (fs::read(&image).unwrap(), mount_point(&sandbox));
    let shown = dir.to_str().unwrap();
    let done = sandbox.run(["mount", "-i", &image, "--daemon", shown]);
    assert_eq!((done.code, done.shown().as_str()), (0, "\n--- stderr, exit code 0\n"));
    assert_eq!(fs::read(dir.join("etc/motd")).unwrap(), b"welcome\n");
    fs::write(dir.join("etc/motd"), "changed\n").unwrap();
    fs::create_dir(dir.join("new")).unwrap();
    fs::rename(dir.join("etc"), dir.join("new/etc")).unwrap();
    assert_eq!(fs::read(dir.join("new/etc/motd")).unwrap(), b"changed\n");
    assert!(quietly("umount", &[shown]));
    assert!(!is_mounted(&dir));
    assert_eq!(fs::read(&image).unwrap(), before, "changes were in memory");
}

#[test]
fn what_is_written_to_a_mounted_tfs_is_in_the_image() {
    if !may_mount() {
        return;
    }
    let sandbox = Sandbox::new();
    let image = sandbox.tfs("disk.img");
    let dir = mount_point(&sandbox);
    let shown = dir.to_str().unwrap();
    let mut serving = sandbox.command(["mount", "--upper", &image, shown]).spawn().unwrap();
    soon("mounted", || is_mounted(&dir));
    fs::write(dir.join("written"), "kept\n").unwrap();
    let second = sandbox.run(["run", "--upper", &image, "image:/nothing"]);
    assert_snapshot!(second.shown(), @"
    --- stderr, exit code 125
    mountless: cannot change image: IN/disk.img: another process, or another part of this one, has it open for writing
      next: unmount it, or end the program that has it open
    ");
    assert!(quietly("kill", &["-TERM", &serving.id().to_string()]));
    assert_eq!(serving.wait().unwrap().code(), Some(0), "ends cleanly when asked to");
    assert!(!is_mounted(&dir));
    assert_eq!(sandbox.run(["cat", &format!("{image}:/written")]).stdout, "kept\n");
}

#[test]
fn read_only_mounts_refuse_changes() {
    if !may_mount() {
        return;
    }
    let sandbox = Sandbox::new();
    let (image, dir) = (sandbox.image("base.cpio", &[("file", b"x")]), mount_point(&sandbox));
    let shown = dir.to_str().unwrap();
    assert_eq!(sandbox.run(["mount", "-i", &image, "--daemon", "--read-only", shown]).code, 0);
    let refused = fs::write(dir.join("file"), "y").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    assert!(quietly("umount", &[shown]));
}

#[test]
fn what_cannot_be_mounted_is_said() {
    let sandbox = Sandbox::new();
    let image = sandbox.image("base.cpio", &[("file", b"x")]);
    let missing = sandbox.input("missing");
    assert_snapshot!(sandbox.run(["mount", "/mnt"]).shown(), @"
    --- stderr, exit code 1
    mountless: nothing to mount: no image is given
      next: -i IMAGE names one, --upper IMAGE one to be changed
    ");
    assert_snapshot!(sandbox.run(["mount", "-i", &image, missing.to_str().unwrap()]).shown(), @"
    --- stderr, exit code 1
    mountless: cannot mount: IN/missing: no such file or directory
      next: make the directory first
    ");
    assert_snapshot!(sandbox.run(["mount", "-i", &image, "--daemon", missing.to_str().unwrap()]).shown(), @"
    --- stderr, exit code 1
    mountless: cannot mount: IN/missing: no such file or directory
      next: make the directory first
    ");
    assert_snapshot!(sandbox.run(["mount", "--upper", &image, "/mnt"]).shown(), @"
    --- stderr, exit code 2
    mountless: cannot change image: IN/base.cpio: cpio does not take changes as an upper layer
      next: --upper takes a directory, a TFS image, or `mem:` for memory
    ");
}

fn exec(sandbox: &Sandbox, image: &str, script: &str) -> crate::sandbox::Done {
    sandbox.run(["exec", "-i", image, "--env", "PATH=/bin", "--", "sh", "-c", script])
}

#[test]
fn programs_of_linux_run_on_the_stack() {
    if !may_mount() {
        return;
    }
    let sandbox = Sandbox::new();
    let image = rootfs(&sandbox);
    let done = exec(&sandbox, &image, "cat /etc/motd; ls /etc; id -u; echo new > /etc/motd; cat /etc/motd; exit 7");
    assert_snapshot!(done.shown(), @"
    welcome
    motd
    0
    new

    --- stderr, exit code 7
    ");
    assert_eq!(exec(&sandbox, &image, "cat /etc/motd").stdout, "welcome\n", "changes were in memory");
    let seen = exec(&sandbox, &image, "cat /proc/self/status > /dev/null && ls /dev/null && cat /proc/$$/comm");
    assert_eq!(seen.shown(), "/dev/null\nsh\n\n--- stderr, exit code 0\n");
    assert_eq!(exec(&sandbox, &image, "kill -KILL $$").code, 128 + 9);
}

#[test]
fn what_a_program_of_linux_changed_is_told_and_saved() {
    if !may_mount() {
        return;
    }
    let sandbox = Sandbox::new();
    let (image, saved) = (rootfs(&sandbox), sandbox.input("saved.cpio.gz"));
    let saved = saved.to_str().unwrap();
    let script = "echo new > /made; rm /etc/motd";
    let words = ["exec", "-i", &image, "--diff", "--save", saved, "--env", "PATH=/bin", "--", "sh", "-c", script];
    assert_snapshot!(sandbox.run(words).shown(), @"
    --- stderr, exit code 0
    D /etc/motd
    A /made
    note: ., etc, made: the fraction of its time is lost
    ");
    assert_eq!(sandbox.run(["cat", &format!("{saved}:/made")]).stdout, "new\n");
    assert_eq!(sandbox.run(["ls", &format!("{saved}:/etc")]).stdout, "");
}

/// `mount` by the helper that is there for users; it needs no user namespace.
#[test]
fn a_user_mounts_with_fusermount() {
    if !may_mount() || !quietly("fusermount3", &["--version"]) {
        eprintln!("NOT TESTED: mounting as a user needs fusermount3");
        return;
    }
    let sandbox = Sandbox::new();
    let image = sandbox.image("base.cpio", &[("motd", b"welcome\n")]);
    // The files are root's, so they are only read.
    let script = "mkdir dir && /mnt/mountless mount -i /mnt/image --daemon dir && cat dir/motd && fusermount3 -u dir && \
                  ls dir && echo unmounted";
    let done = as_nobody(&image, &["sh", "-c", script]);
    let (stdout, stderr) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert_eq!((&*stdout, &*stderr, done.status.code()), ("welcome\nunmounted\n", "", Some(0)));
}

#[test]
fn the_end_of_a_program_that_cannot_run_is_as_in_a_shell() {
    if !may_mount() {
        return;
    }
    let sandbox = Sandbox::new();
    let image = rootfs(&sandbox);
    assert_snapshot!(sandbox.run(["exec", "-i", &image, "--", "/bin/none"]).shown(), @"
    --- stderr, exit code 127
    mountless: cannot run: /bin/none: no such file or directory
    ");
    assert_snapshot!(sandbox.run(["exec", "-i", &image, "--", "/etc/motd"]).shown(), @"
    --- stderr, exit code 126
    mountless: cannot run: /etc/motd: permission denied
    ");
    assert_snapshot!(sandbox.run(["exec", "-i", &image, "--workdir", "/none", "--", "/bin/sh"]).shown(), @"
    --- stderr, exit code 125
    mountless: cannot enter the working directory: no such file or directory
    ");
    assert_snapshot!(sandbox.run(["exec", "--", "/bin/sh"]).shown(), @"
    --- stderr, exit code 125
    mountless: nothing to run on: no image is given
      next: -i IMAGE names one, --upper IMAGE one to be changed
    ");
    assert_eq!(sandbox.run(["exec", "--nonsense"]).code, 125);
}

#[test]
fn what_a_program_wrote_to_a_tfs_is_in_the_image() {
    if !may_mount() {
        return;
    }
    let sandbox = Sandbox::new();
    let (image, disk) = (rootfs(&sandbox), sandbox.tfs("disk.img"));
    let script = "echo kept > /written; rm /etc/motd; chmod 600 /written";
    let done = sandbox.run(["exec", "-i", &image, "--upper", &disk, "--env", "PATH=/bin", "--", "sh", "-c", script]);
    assert_eq!(done.shown(), "\n--- stderr, exit code 0\n");
    assert_eq!(sandbox.run(["cat", &format!("{disk}:/upper/written")]).stdout, "kept\n");
    let again =
        ["exec", "-i", &image, "--upper", &disk, "--env", "PATH=/bin", "--", "sh", "-c", "ls /etc; cat /written"];
    assert_eq!(sandbox.run(again).shown(), "kept\n\n--- stderr, exit code 0\n", "and hides what was removed");
}

/// Runs words as a user whom the machine gives nothing but `/dev/fuse`, as most do: `/mnt/mountless` and `/mnt/image` are
/// there, and a directory to be in.
fn as_nobody(image: &str, words: &[&str]) -> Output {
    let prepare = "
        set -e
        mount -t tmpfs none /mnt
        mknod /mnt/fuse c 10 229
        chmod 666 /mnt/fuse
        mount --bind /mnt/fuse /dev/fuse
        touch /mnt/mountless /mnt/image
        mount --bind \"$1\" /mnt/mountless
        cp \"$2\" /mnt/image
        chmod 644 /mnt/image
        mkdir -m 1777 /mnt/tmp
        shift 2
        cd /mnt/tmp
        export TMPDIR=/mnt/tmp PATH=/usr/bin:/bin
        exec setpriv --reuid=65534 --regid=65534 --clear-groups \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", prepare, "sh"]);
    command.arg(env!("CARGO_BIN_EXE_mountless")).arg(image).args(words).output().unwrap()
}

#[test]
fn no_root_is_needed() {
    if !may_mount() {
        return;
    }
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    if !quietly("setpriv", &[&nobody[..], &["unshare", "--user", "--map-root-user", "true"]].concat()) {
        eprintln!("NOT TESTED: this machine gives no user namespaces to users");
        return;
    }
    let sandbox = Sandbox::new();
    let image = rootfs(&sandbox);
    let run = |words: &[&str]| as_nobody(&image, words);
    let script = "id -u; cat /etc/motd; echo mine > /etc/motd; cat /etc/motd; touch /new && ls -ln /new | cut -c1-10";
    let script = script.replace(" | cut -c1-10", "> /dev/null");
    let done = run(&["/mnt/mountless", "exec", "-i", "/mnt/image", "--", "/bin/sh", "-c", &script]);
    let (stdout, stderr) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert_eq!((&*stdout, &*stderr, done.status.code()), ("0\nwelcome\nmine\n", "", Some(0)));
    let left = run(&["sh", "-c", "/mnt/mountless exec -i /mnt/image -- /bin/sh -c true; ls -A /mnt/tmp"]);
    assert_eq!(String::from_utf8_lossy(&left.stdout), "", "nothing is left behind");
}
