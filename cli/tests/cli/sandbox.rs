//! Where the command is run.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use mountless::backend::tfs::{NewVolume, TfsVolume};
use mountless::clock::ManualClock;
use mountless::format::tfs::Uuid;
use mountless::source::FileSource;
use mountless_tests::{archive, put};
use tempfile::TempDir;

/// An empty directory to be in, and another one with images and programs.
pub(crate) struct Sandbox {
    here: TempDir,
    inputs: TempDir,
}

/// What a run of the command gave, with the place of the inputs shown as `IN`.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    /// All of it, for snapshots.
    pub(crate) fn shown(&self) -> String {
        format!("{}\n--- stderr, exit code {}\n{}", self.stdout, self.code, self.stderr)
    }
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self { here: tempfile::tempdir().unwrap(), inputs: tempfile::tempdir().unwrap() }
    }

    /// A place for an input.
    pub(crate) fn input(&self, name: &str) -> PathBuf {
        self.inputs.path().join(name)
    }

    /// An input with this content.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        put(self.inputs.path(), name, content);
        self.input(name).to_str().unwrap().to_owned()
    }

    /// An image with these files, packed by GNU cpio.
    pub(crate) fn image(&self, name: &str, files: &[(&str, &[u8])]) -> String {
        self.image_of(name, |dir| files.iter().for_each(|(path, content)| put(dir, path, content)))
    }

    /// An image of the directory that `fill` fills, packed by GNU cpio.
    pub(crate) fn image_of(&self, name: &str, fill: impl FnOnce(&Path)) -> String {
        let dir = tempfile::tempdir().unwrap();
        fill(dir.path());
        self.file(name, archive::pack(dir.path()))
    }

    /// An empty TFS, to be written to.
    pub(crate) fn tfs(&self, name: &str) -> String {
        let path = self.file(name, b"");
        let storage = FileSource::open_exclusive(&path).unwrap();
        let new = NewVolume { len: 4 << 20, label: "test".into(), uuid: Uuid([7; 16]) };
        TfsVolume::make(Arc::new(storage), &new, Arc::new(ManualClock::new(0))).unwrap();
        path
    }

    /// A sample image, where it lies.
    pub(crate) fn sample(&self, name: &str) -> Option<String> {
        let shared =
            std::env::var_os("MOUNTLESS_SHARED").map_or_else(|| xtask::workspace().join("../shared"), PathBuf::from);
        let path = shared.join("images").join(name);
        if !path.exists() {
            assert!(std::env::var_os("CI").is_none(), "no {}", path.display());
            eprintln!("NOT TESTED: no {}; set MOUNTLESS_SHARED", path.display());
            return None;
        }
        Some(path.to_str().unwrap().to_owned())
    }

    /// A sample image of TFS, decompressed.
    pub(crate) fn tfs_sample(&self, name: &str) -> Option<String> {
        let path = self.sample(&format!("tfs/{name}.img.zst"))?;
        let image = Command::new("zstd").arg("-dcq").arg(path).output().unwrap();
        assert!(image.status.success());
        Some(self.file(&format!("{name}.img"), image.stdout))
    }

    /// The command, in the empty directory, which is the one for temporary files too, and without an environment but
    /// for the cache of compiled programs.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = self.prepared(Command::new(env!("CARGO_BIN_EXE_mountless")));
        command.args(arguments);
        command
    }

    /// Another command in the same place, which runs ours.
    pub(crate) fn run_as(&self, command: Command) -> Done {
        self.done(self.prepared(command).output().unwrap())
    }

    fn prepared(&self, mut command: Command) -> Command {
        let cache = std::path::absolute(xtask::guests::dir().join("cache")).unwrap();
        command.env_clear().env("XDG_CACHE_HOME", cache).env("TMPDIR", self.here.path()).current_dir(self.here.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Done {
        self.done(self.command(arguments).output().unwrap())
    }

    /// With something on standard input.
    pub(crate) fn run_with_input<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>, input: &[u8]) -> Done {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        self.done(child.wait_with_output().unwrap())
    }

    fn done(&self, output: Output) -> Done {
        assert_eq!(fs::read_dir(self.here.path()).unwrap().count(), 0, "the host was touched");
        let inputs = self.inputs.path().to_str().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap().replace(inputs, "IN");
        Done { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}
