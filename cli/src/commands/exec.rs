//! `mountless exec`.
//!
//! Two processes: this one makes the namespaces, serves the tree and waits; the other one, this same program called
//! with [`Inside`], makes the tree its root directory and becomes the command. A server cannot live in the tree it
//! serves.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::sync::Arc;

use mountless::backend::mem::MemOptions;
use mountless::namespace::{Follow, Namespace};
use mountless_fuse::{MountOptions, Session};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::commands::run::{EXIT_FAILED, variable};
use crate::failure::{Failure, Result, plainly};
use crate::outcome::OutcomeArgs;
use crate::sandbox::{self, FROM_HOST, Refused};
use crate::stack::StackArgs;

/// As chroot(1) and env(1) end.
const EXIT_NOT_EXECUTABLE: u8 = 126;
const EXIT_NOT_FOUND: u8 = 127;

/// What a program finds its programs by, if nobody says.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs a program of Linux on a stack of images, without root
///
/// The program sees the merged images as its root directory, writable, with the host's /proc, /dev and /sys, in user
/// and mount namespaces of its own, where the user who runs it is root. Changes go to memory, or to the image that
/// --upper names. Network, processes and users' ids are the host's: this is no prison.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: the program's own, or 128 and the number of the signal that ended it; 127 when there is no such program, 126 \
when it is none; 125 when nothing was run, because an image or the command line is wrong or the kernel forbids it.

Examples:
  mountless exec -i rootfs.tar -- /bin/sh -c 'cat /etc/os-release'
  mountless exec -i rootfs.tar --diff --save out.tar -- /bin/sh -c 'apt-get install -y hello'
  mountless exec -i layout#latest --volume .:/work --workdir /work -- make test
  mountless exec --upper disk.img -- /bin/sh")]
pub(crate) struct Args {
    #[command(flatten)]
    stack: StackArgs,

    #[command(flatten)]
    outcome: OutcomeArgs,

    /// Sets a variable of the program's environment, which is that of the caller
    #[arg(short, long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,

    /// Where the program starts
    #[arg(short, long, value_name = "/PATH", default_value = "/")]
    workdir: PathBuf,

    /// Program and its arguments: a path in the stack, or a name to be looked for as PATH says
    #[arg(required = true, trailing_var_arg = true, num_args = 1.., value_names = ["CMD", "ARG"])]
    command: Vec<OsString>,
}

pub(crate) fn run(args: &Args) -> Result {
    start(args).map_err(|failure| failure.with_code(EXIT_FAILED))
}

fn start(args: &Args) -> Result {
    if args.stack.is_empty() {
        let failure = Failure::new(EXIT_FAILED, "nothing to run on: no image is given");
        return Err(failure.next("-i IMAGE names one, --upper IMAGE one to be changed"));
    }
    // First of all: it is possible as long as there is one thread only.
    sandbox::enter().map_err(failure)?;
    let trees = args.stack.trees(MemOptions::new())?;
    args.outcome.prepare(&trees)?;
    let namespace = Namespace::new(Arc::clone(&trees.after));
    args.stack.mount_volumes(&namespace)?;
    let made = make_mount_points(&namespace)?;
    let dir = tempfile::Builder::new().prefix("mountless-").tempdir();
    let dir =
        dir.map_err(|error| Failure::new(EXIT_FAILED, format!("cannot make a directory: {}", plainly(&error))))?;
    let options = MountOptions::new().name(args.stack.name()).set_user_ids(true).allow_other(true);
    let session = Session::mount(namespace.clone(), dir.path(), &options).map_err(|error| no_fuse(&error))?;
    let status = run_inside(args, dir.path());
    let ended = session.unmount().and_then(|()| {
        // Not if something was put there meanwhile.
        made.iter().for_each(|path| drop(namespace.remove_dir(path)));
        Ok(namespace.sync()?)
    });
    let status = status.map_err(|error| Failure::new(EXIT_FAILED, format!("cannot run: {}", plainly(&error))))?;
    ended.map_err(|error| Failure::new(EXIT_FAILED, format!("cannot keep the changes: {}", plainly(&error))))?;
    args.outcome.show(&trees, status.code().is_some())?;
    Ok(ExitCode::from(code(status)))
}

/// Directories for what comes from the host, where the images have none; returns those it made.
fn make_mount_points(namespace: &Namespace) -> Result<Vec<&'static [u8]>> {
    let mut made = Vec::new();
    for path in FROM_HOST.map(std::ffi::CStr::to_bytes) {
        if namespace.locate(path, Follow::Yes).is_ok() {
            continue;
        }
        namespace.create_dir(path).map_err(|error| {
            let path = String::from_utf8_lossy(path);
            Failure::new(EXIT_FAILED, format!("cannot make a directory for the host's: {path}: {error}"))
        })?;
        made.push(path);
    }
    Ok(made)
}

/// Runs the command in the mounted tree and waits for it.
fn run_inside(args: &Args, root: &Path) -> io::Result<ExitStatus> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let handle = signals.handle();
    // Not by its path, which may mean nothing in the new namespace.
    let mut command = Command::new("/proc/self/exe");
    command.arg(Inside::NAME).arg(root).arg(&args.workdir).args(&args.command);
    if std::env::var_os("PATH").is_none() {
        command.env("PATH", DEFAULT_PATH);
    }
    command.envs(args.env.iter().map(|(name, value)| (name, value)));
    let mut child = command.spawn()?;
    let pid = pid_of(&child);
    let passing_on = std::thread::spawn(move || {
        for signal in signals.forever() {
            // Ctrl-C reaches the program by itself: the terminal tells the whole group.
            if let (Some(pid), SIGTERM | SIGHUP) = (pid, signal) {
                let signal = if signal == SIGTERM { Signal::TERM } else { Signal::HUP };
                // OK to ignore: it has ended by then.
                let _ = kill_process(pid, signal);
            }
        }
    });
    let status = child.wait();
    handle.close();
    // OK to ignore: the thread only passes signals on.
    let _ = passing_on.join();
    status
}

fn pid_of(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

/// As shells show it.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| signal.saturating_add(128)));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(EXIT_FAILED)
}

fn failure(refused: Refused) -> Failure {
    let failure = Failure::new(EXIT_FAILED, format!("{}: {}", refused.tried, plainly(&refused.error)));
    match refused.next {
        Some(next) => failure.next(next),
        None => failure,
    }
}

fn no_fuse(error: &io::Error) -> Failure {
    let failure = Failure::new(EXIT_FAILED, format!("cannot mount the tree: {}", plainly(error)));
    match error.kind() {
        io::ErrorKind::NotFound => failure.next("there is no /dev/fuse; `modprobe fuse`, as root, makes it"),
        io::ErrorKind::PermissionDenied => failure.next("/dev/fuse is not open to you; as root: chmod 666 /dev/fuse"),
        _ => failure,
    }
}

/// The second process; not for people.
#[derive(Debug, clap::Args)]
pub(crate) struct Inside {
    root: PathBuf,
    workdir: PathBuf,
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, num_args = 1..)]
    command: Vec<OsString>,
}

impl Inside {
    pub(crate) const NAME: &str = "exec-inside";
}

pub(crate) fn run_second(args: &Inside) -> Result {
    sandbox::change_root(&args.root, &args.workdir).map_err(|refused| failure(refused).with_code(EXIT_FAILED))?;
    let mut words = args.command.iter();
    // OK: clap wants at least one.
    let program = words.next().cloned().unwrap_or_default();
    let error = Command::new(&program).args(words).exec();
    let code = if error.kind() == io::ErrorKind::NotFound { EXIT_NOT_FOUND } else { EXIT_NOT_EXECUTABLE };
    Err(Failure::new(code, format!("cannot run: {}: {}", program.display(), plainly(&error))))
}
