//! What is mounted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fuser::{BackgroundSession, Config, MountOption};
use mountless::backend::tfs::{NewVolume, TfsVolume};
use mountless::clock::SystemClock;
use mountless::format::tfs::Uuid;
use mountless::fs::FileSystem;
use mountless::source::MemStorage;
use mountless::{Namespace, Stack};
use mountless_fuse::{MountOptions, Session};
use tempfile::TempDir;

use crate::Result;
use crate::passthrough::PassThrough;

/// A file of this length,
pub(crate) const BIG: &str = "big";
pub(crate) const BIG_LEN: usize = 256 << 20;
/// and so many small ones below `tree`, a hundred to a directory.
pub(crate) const FILES: usize = 20_000;

pub(crate) const PASS_THROUGH: &str = "pass-through on fuser";

/// Something mounted; unmounted when dropped, before its directory goes.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) writable: bool,
    _mounted: Mounted,
    pub(crate) dir: TempDir,
    _kept: Option<TempDir>,
}

enum Mounted {
    No,
    Ours { _session: Session },
    PassThrough { _session: BackgroundSession },
    Other(PathBuf),
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Self::Other(dir) = self {
            // OK to ignore: nothing is left to do about it.
            let _ = Command::new("umount").arg(dir).status();
        }
    }
}

/// The tree that everything holds, on tmpfs.
pub(crate) struct Base {
    dir: TempDir,
    archives: TempDir,
}

impl Base {
    pub(crate) fn new() -> Result<Self> {
        let base = Self { dir: on_tmpfs()?, archives: on_tmpfs()? };
        fill(base.dir.path())?;
        for (archive, pack) in
            [("base.tar", "tar -cf \"$0\" ."), ("base.cpio", "find . | cpio --quiet -o -H newc > \"$0\"")]
        {
            let mut command = Command::new("sh");
            command.args(["-c", pack]).arg(base.archives.path().join(archive)).current_dir(base.dir.path());
            if !command.status()?.success() {
                return Err("tar and cpio are needed".into());
            }
        }
        Ok(base)
    }

    fn archive(&self, name: &str) -> PathBuf {
        self.archives.path().join(name)
    }
}

fn on_tmpfs() -> Result<TempDir> {
    Ok(TempDir::new_in("/dev/shm")?)
}

fn fill(dir: &Path) -> Result {
    let noise: Vec<u8> = (0..BIG_LEN).map(|at| (at.wrapping_mul(0x9e37_79b1) >> 7).to_le_bytes()[0]).collect();
    fs::write(dir.join(BIG), noise)?;
    for number in 0..FILES {
        let dir = dir.join(format!("tree/{:03}", number / 100));
        if number % 100 == 0 {
            fs::create_dir_all(&dir)?;
        }
        fs::write(dir.join(format!("file-{number:05}")), [0x5a; 1000])?;
    }
    Ok(())
}

/// Everything that can be mounted here.
pub(crate) fn all(base: &Base) -> Result<Vec<Target>> {
    let mut targets = vec![tmpfs()?, pass_through()?];
    targets.push(ours("mountless, memory", Stack::from_images(Vec::new()).with_memory_upper()?, true)?);
    let stack = Stack::open([base.archive("base.cpio")])?;
    targets.push(ours("mountless, memory over a cpio", stack.with_memory_upper()?, false)?);
    let new = NewVolume { len: 2 << 30, uuid: Uuid::default(), label: Vec::new() };
    let volume = TfsVolume::make(Arc::new(MemStorage::new()), &new, Arc::new(SystemClock))?;
    targets.push(ours("mountless, TFS in memory", Arc::new(volume), true)?);
    let (upper, lower) = (on_tmpfs()?, base.dir.path().display());
    let changes = upper.path().display().to_string();
    fs::create_dir(upper.path().join("upper"))?;
    fs::create_dir(upper.path().join("work"))?;
    let options = format!("lowerdir={lower},upperdir={changes}/upper,workdir={changes}/work");
    targets.extend(other("fuse-overlayfs", true, &["-o", &options], None, Some(upper))?);
    targets.extend(other("archivemount", false, &["-o", "readonly"], Some(&base.archive("base.tar")), None)?);
    targets.extend(other("ratarmount", false, &[], Some(&base.archive("base.tar")), None)?);
    Ok(targets)
}

fn tmpfs() -> Result<Target> {
    let dir = on_tmpfs()?;
    fill(dir.path())?;
    Ok(Target { name: "tmpfs, no FUSE", writable: true, _mounted: Mounted::No, dir, _kept: None })
}

fn pass_through() -> Result<Target> {
    let (dir, below) = (TempDir::new()?, on_tmpfs()?);
    fill(below.path())?;
    let mut config = Config::default();
    config.mount_options = vec![MountOption::DefaultPermissions, MountOption::RW];
    config.n_threads = Some(std::thread::available_parallelism()?.get());
    config.clone_fd = true;
    let session = fuser::spawn_mount(PassThrough::new(below.path()), dir.path(), &config)?;
    let mounted = Mounted::PassThrough { _session: session };
    Ok(Target { name: PASS_THROUGH, writable: true, _mounted: mounted, dir, _kept: Some(below) })
}

fn ours(name: &'static str, tree: Arc<dyn FileSystem>, empty: bool) -> Result<Target> {
    let dir = TempDir::new()?;
    let session = Session::mount(Namespace::new(tree), dir.path(), &MountOptions::new())?;
    if empty {
        fill(dir.path())?;
    }
    Ok(Target { name, writable: true, _mounted: Mounted::Ours { _session: session }, dir, _kept: None })
}

/// Somebody else's, if its program is there.
fn other(
    program: &'static str,
    writable: bool,
    options: &[&str],
    archive: Option<&Path>,
    kept: Option<TempDir>,
) -> Result<Option<Target>> {
    let dir = TempDir::new()?;
    let mut command = Command::new(program);
    command.args(options).args(archive).arg(dir.path()).stdin(Stdio::null()).stdout(Stdio::null());
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => return Err(format!("{program}: {status}").into()),
        Err(error) => {
            eprintln!("NOT MEASURED: {program}: {error}");
            return Ok(None);
        }
    }
    let begun = Instant::now();
    while !dir.path().join(BIG).exists() {
        if begun.elapsed() > Duration::from_secs(60) {
            return Err(format!("{program} shows nothing").into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let mounted = Mounted::Other(dir.path().to_owned());
    Ok(Some(Target { name: program, writable, _mounted: mounted, dir, _kept: kept }))
}
