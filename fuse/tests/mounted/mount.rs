//! Trees to mount and directories to mount them on.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use mountless::Namespace;
use mountless::attr::{Device, FileType};
use mountless::backend::archive::{ArchiveFs, ArchiveOptions};
use mountless::backend::mem::MemFs;
use mountless::backend::tfs::{NewVolume, TfsVolume};
use mountless::clock::SystemClock;
use mountless::compose::Overlay;
use mountless::format::cpio::{CpioWriter, NewEntry};
use mountless::format::tfs::Uuid;
use mountless::fs::FileSystem;
use mountless::source::{BytesSource, MemStorage};
use mountless_fuse::{MountOptions, Session};

pub(crate) struct TreeKind {
    pub(crate) name: &'static str,
    make: fn() -> Arc<dyn FileSystem>,
    options: fn() -> MountOptions,
}

pub(crate) const TREES: &[TreeKind] = &[
    TreeKind { name: "mem", make: memory, options: MountOptions::new },
    TreeKind { name: "mem_write_through", make: memory, options: || MountOptions::new().cache_writes(false) },
    TreeKind { name: "mem_shared", make: memory, options: || MountOptions::new().shared(true) },
    TreeKind { name: "overlay", make: overlay, options: MountOptions::new },
    TreeKind { name: "tfs", make: tfs, options: MountOptions::new },
    TreeKind { name: "overlay_shared", make: overlay, options: || MountOptions::new().shared(true) },
];

pub(crate) fn memory() -> Arc<dyn FileSystem> {
    Arc::new(MemFs::new())
}

/// A volume with room for what the suites do.
fn tfs() -> Arc<dyn FileSystem> {
    let new = NewVolume { len: 1 << 30, uuid: Uuid::default(), label: Vec::new() };
    Arc::new(TfsVolume::make(Arc::new(MemStorage::new()), &new, Arc::new(SystemClock)).unwrap())
}

/// Memory over a small archive, which has the directory for work already, with something in it.
fn overlay() -> Arc<dyn FileSystem> {
    let mut archive = CpioWriter::new(Vec::new());
    let entries: [(&str, FileType, &[u8]); 4] = [
        ("work", FileType::Dir, b""),
        ("work/lower", FileType::Dir, b""),
        ("work/lower/file", FileType::File, b"from below"),
        ("work/lower/link", FileType::Symlink, b"file"),
    ];
    for (ino, (name, file_type, data)) in (1..).zip(entries) {
        let entry = NewEntry {
            name: name.as_bytes(),
            file_type,
            mode: if file_type.is_dir() { 0o777 } else { 0o644 },
            uid: 0,
            gid: 0,
            nlink: 1,
            ino,
            mtime: 1_700_000_000,
            rdev: Device::default(),
        };
        archive.entry(&entry, data).unwrap();
    }
    let source = BytesSource::new(archive.finish().unwrap().into());
    let (lower, _) = ArchiveFs::open_cpio(Arc::new(source), &ArchiveOptions::default()).unwrap();
    Arc::new(Overlay::with_upper(vec![Arc::new(lower)], Arc::new(MemFs::new())).unwrap())
}

/// A mounted tree with a directory for work that everybody may write to.
pub(crate) struct Mount {
    // Unmounted before the directory is removed.
    _session: Session,
    dir: tempfile::TempDir,
    pub(crate) finds_holes: bool,
}

/// Whether this process may mount: root in a container often may not, although it may open the device.
pub(crate) fn may_mount() -> bool {
    let dir = tempfile::tempdir().unwrap();
    rustix::process::geteuid().is_root()
        && Session::mount(Namespace::new(Arc::new(MemFs::new())), dir.path(), &MountOptions::default()).is_ok()
}

impl Mount {
    pub(crate) fn new(kind: &TreeKind) -> Self {
        use std::os::unix::fs::PermissionsExt;

        let dir = tempfile::tempdir().unwrap();
        let options = (kind.options)().allow_other(true).name(format!("test {}", kind.name));
        let session = Session::mount(Namespace::new((kind.make)()), dir.path(), &options).unwrap();
        let mount = Self { _session: session, dir, finds_holes: !["mem", "overlay", "tfs"].contains(&kind.name) };
        if !mount.work().exists() {
            std::fs::create_dir(mount.work()).unwrap();
        }
        for open in [mount.dir.path(), &mount.work()] {
            std::fs::set_permissions(open, std::fs::Permissions::from_mode(0o777)).unwrap();
        }
        mount
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// Runs a script in the directory for work, and fails with all it printed.
    pub(crate) fn run(&self, script: &str, arguments: &[&Path]) -> String {
        shell(&self.work(), script, arguments)
    }
}

pub(crate) fn shell(dir: &Path, script: &str, arguments: &[&Path]) -> String {
    // The time is for a mount that hangs.
    let mut command = Command::new("timeout");
    command.args(["300", "sh", "-euc", script, "sh"]).args(arguments).current_dir(dir);
    let output = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{stdout}{stderr}", output.status);
    stdout.into_owned()
}
