//! Namespaces of the kernel: a place where mounting needs no root, and a root directory of one's own.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind_recursive, mount_change, unmount};
use rustix::process::{getgid, getuid, pivot_root};

/// What did not work, and what to do about it.
#[derive(Debug)]
pub(crate) struct Refused {
    /// What was tried.
    pub(crate) tried: &'static str,
    pub(crate) error: io::Error,
    /// The switch that is off.
    pub(crate) next: Option<String>,
}

/// Gives this process mounts of its own, and, unless it may mount already, a user namespace in which the user is root.
///
/// Has to be called while the process has one thread.
pub(crate) fn enter() -> Result<(), Refused> {
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    if unshare(CloneFlags::CLONE_NEWNS).is_err() {
        new_user_namespace().map_err(|error| Refused {
            tried: "cannot make a user namespace",
            error: error.into(),
            next: switch_that_is_off(),
        })?;
        let refused = |error| Refused { tried: "cannot become root in the user namespace", error, next: None };
        // Without this an unprivileged user may not map groups: a group can be what keeps somebody out.
        fs::write("/proc/self/setgroups", "deny").map_err(refused)?;
        fs::write("/proc/self/uid_map", format!("0 {uid} 1")).map_err(refused)?;
        fs::write("/proc/self/gid_map", format!("0 {gid} 1")).map_err(refused)?;
    }
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(|error| Refused {
        tried: "cannot keep mounts to itself",
        error: error.into(),
        next: None,
    })
}

fn new_user_namespace() -> nix::Result<()> {
    /// A thread that was waited for may still be on its way out, for a moment.
    const PATIENCE: Duration = Duration::from_millis(200);
    let begun = Instant::now();
    loop {
        match unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS) {
            Err(Errno::EINVAL) if begun.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(1)),
            other => return other,
        }
    }
}

/// Which of the kernel's switches forbids user namespaces.
fn switch_that_is_off() -> Option<String> {
    let value = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let switches = [
        ("/proc/sys/kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        ("/proc/sys/user/max_user_namespaces", "0", "user.max_user_namespaces=10000"),
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ];
    let off = switches.into_iter().find(|(path, off, _)| value(path).as_deref() == Some(*off));
    let next = off.map(|(_, _, setting)| format!("an administrator can allow it: sysctl -w {setting}"));
    next.or_else(|| Some("a container's seccomp filter may forbid unshare(2); as root none is needed".to_owned()))
}

/// What a program expects to find besides its files; taken from the host.
pub(crate) const FROM_HOST: [&CStr; 3] = [c"/proc", c"/dev", c"/sys"];

/// Makes `root` the root directory of this process, with [`FROM_HOST`] on it, and goes to `workdir` there.
pub(crate) fn change_root(root: &Path, workdir: &Path) -> Result<(), Refused> {
    let refused = |tried| move |error: io::Error| Refused { tried, error, next: None };
    unshare(CloneFlags::CLONE_NEWNS).map_err(|error| refused("cannot have mounts of its own")(error.into()))?;
    std::env::set_current_dir(root).map_err(refused("cannot enter the tree"))?;
    for dir in FROM_HOST {
        // OK: all begin with a slash.
        let inside = Path::new(".").join(dir.to_str().unwrap_or_default().trim_start_matches('/'));
        mount_bind_recursive(dir, &inside)
            .map_err(|error| refused("cannot put the host's /proc, /dev and /sys into the tree")(error.into()))?;
    }
    // The old root is put on top of the new one, and taken away from there: nothing needs a directory to stand in.
    pivot_root(".", ".").map_err(|error| refused("cannot make the tree the root directory")(error.into()))?;
    unmount(".", UnmountFlags::DETACH).map_err(|error| refused("cannot leave the host's files")(error.into()))?;
    std::env::set_current_dir(workdir).map_err(refused("cannot enter the working directory"))
}
