//! `mountless mount`.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use mountless::backend::mem::MemOptions;
use mountless::namespace::Namespace;
use mountless_fuse::{MountOptions, mount_and_say};

use crate::failure::{EXIT_FAILED, Failure, Result, plainly};
use crate::stack::StackArgs;

/// Mounts a stack of images with FUSE
///
/// For programs that need a mount after all. The merged images are one writable tree; changes go to memory, or to the
/// image that --upper names. Serves until somebody unmounts or Ctrl-C is pressed, and then unmounts cleanly. As root
/// the kernel is asked directly, otherwise `fusermount3` has to be installed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mountless mount -i base.cpio.gz -i app.tar /mnt
  mountless mount --upper disk.img --daemon /mnt     changes a TFS image; `umount /mnt` ends it
  mountless mount -i layout#latest --read-only /mnt")]
pub(crate) struct Args {
    #[command(flatten)]
    stack: StackArgs,

    /// Refuses every change
    #[arg(long)]
    read_only: bool,

    /// Lets other users in, as far as modes and owners do; without root `/etc/fuse.conf` has to allow it
    #[arg(long)]
    allow_other: bool,

    /// The tree is changed from elsewhere too, as a host directory may be: the kernel keeps nothing for long
    #[arg(long)]
    shared: bool,

    /// Returns as soon as the tree is there, and serves it in the background
    #[arg(long)]
    daemon: bool,

    /// Tells the one who waits for it, with a line on standard output, when the tree is there
    #[arg(long, hide = true)]
    says_when_ready: bool,

    /// Directory to mount on
    dir: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result {
    if args.stack.is_empty() {
        let failure = Failure::new(EXIT_FAILED, "nothing to mount: no image is given");
        return Err(failure.next("-i IMAGE names one, --upper IMAGE one to be changed"));
    }
    if args.daemon {
        return in_background(&args.dir);
    }
    let namespace = Namespace::new(args.stack.tree(MemOptions::new())?);
    args.stack.mount_volumes(&namespace)?;
    let options = MountOptions::new()
        .name(args.stack.name())
        .read_only(args.read_only)
        .shared(args.shared)
        .allow_other(args.allow_other);
    let mut mounted = false;
    let says = args.says_when_ready;
    let served = mount_and_say(namespace.clone(), &args.dir, &options, || {
        mounted = true;
        if says { writeln!(io::stdout()) } else { Ok(()) }
    });
    match served.and_then(|()| Ok(namespace.sync()?)) {
        Err(error) if !mounted => return Err(not_mounted(&args.dir, &error)),
        Err(error) => {
            return Err(Failure::new(EXIT_FAILED, format!("ended: {}: {}", args.dir.display(), plainly(&error))));
        }
        Ok(()) => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs this same command as a process of its own, and returns when it says that the tree is there.
fn in_background(dir: &Path) -> Result {
    let failed = |error: io::Error| {
        Failure::new(EXIT_FAILED, format!("cannot go on in the background: {}: {}", dir.display(), plainly(&error)))
    };
    let words = std::env::args_os().skip(1).filter(|word| word != "--daemon");
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    // In a process group of its own: Ctrl-C in the terminal is for whatever runs there then.
    let command = std::os::unix::process::CommandExt::process_group(command.args(words).arg("--says-when-ready"), 0);
    // Nothing of ours stays open in it: whoever waits for the end of our output shall not wait for its.
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).map_err(failed)?;
    }
    if !line.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(mut stderr) = child.stderr.take() {
        io::copy(&mut stderr, &mut io::stderr()).map_err(failed)?;
    }
    let code = child.wait().map_err(failed)?.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(EXIT_FAILED)))
}

/// Why there is no mount, and what to do about it.
fn not_mounted(dir: &Path, error: &io::Error) -> Failure {
    let failure = Failure::new(EXIT_FAILED, format!("cannot mount: {}: {}", dir.display(), plainly(error)));
    match error.kind() {
        io::ErrorKind::NotFound if !dir.exists() => failure.next("make the directory first"),
        _ if !Path::new("/dev/fuse").exists() => failure.next("there is no /dev/fuse; `modprobe fuse` may help"),
        io::ErrorKind::PermissionDenied => {
            failure.next("mounting needs root, or /dev/fuse open to you and `fusermount3` installed")
        }
        io::ErrorKind::NotFound => failure.next("without root `fusermount3` is needed: install fuse3"),
        _ => failure,
    }
}
