//! What a case is: what to run, on what, and what must come out.
//!
//! Files of cases are read into these by [`file`](crate::file); in Rust they are built by hand:
//!
//! ```no_run
//! use mountless_test::Case;
//!
//! # fn main() -> Result<(), mountless_test::CannotRun> {
//! let ran = Case::new("target/wasm32-wasip1/debug/app.wasm").image("base.cpio.gz").arg("--check").run()?;
//! ran.assert_exit(0).assert_stdout("ok\n").assert_file("/etc/app.conf", "verbose=1\n");
//! # Ok(()) }
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mountless::attr::FileType;
use mountless::compose::crash::Promises;
use mountless::compose::fault::Fault;
use mountless::open::{ImageRef, split_path};
use mountless_wasi::run::Preopen;
use regex::Regex;

/// A program, what it is run on, and what must come out.
#[derive(Clone, Debug)]
pub struct Case {
    pub(crate) id: CaseId,
    pub(crate) program: ProgramAt,
    pub(crate) images: Vec<ImageRef>,
    pub(crate) args: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) stdin: Input,
    pub(crate) workdir: Option<String>,
    pub(crate) volumes: Vec<Volume>,
    /// `/` as itself, if nothing is said.
    pub(crate) preopens: Option<Vec<Preopen>>,
    pub(crate) files: BTreeMap<String, NewFile>,
    pub(crate) tags: BTreeSet<String>,
    /// Why it is left out.
    pub(crate) skip: Option<String>,
    /// How often it is tried again, if not as often as all the others.
    pub(crate) retries: Option<u32>,
    pub(crate) limits: Limits,
    /// Clocks and random bytes that repeat, from this seed.
    pub(crate) deterministic: Option<u64>,
    /// Calls that fail on purpose.
    pub(crate) faults: Vec<Fault>,
    /// Power cuts to try.
    pub(crate) crash: Option<Crash>,
    pub(crate) expect: Expect,
}

/// Where a case stands and what it is called.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CaseId {
    /// The file it stands in, without its extension: what groups cases in reports.
    pub(crate) group: String,
    /// Its name in the file; empty if the file is one case.
    pub(crate) name: String,
    /// The file it stands in.
    pub(crate) file: PathBuf,
    /// Its line there, from 1 on; 0 if unknown.
    pub(crate) line: usize,
}

impl CaseId {
    /// The file's name without its extension, as a path from where discovery began.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    /// The case's name in its file; empty if the file is one case.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file it stands in.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Its line in the file, counted from 1; 0 if unknown.
    #[must_use]
    pub const fn line(&self) -> usize {
        self.line
    }

    /// What must be unique: the bytes by which cases are shared out among machines.
    #[must_use]
    pub fn text(&self) -> String {
        self.to_string()
    }

    /// The base of names of this case's snapshots.
    pub(crate) fn slug(&self) -> String {
        let slug: String = self.name.chars().map(|c| if c.is_alphanumeric() || c == '.' { c } else { '-' }).collect();
        slug.trim_matches('-').to_lowercase()
    }
}

impl std::fmt::Display for CaseId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name.as_str() {
            "" => f.write_str(&self.group),
            name => write!(f, "{}::{name}", self.group),
        }
    }
}

/// Where a program is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum ProgramAt {
    Host(PathBuf),
    InImage(String),
}

impl ProgramAt {
    pub(crate) fn parse(text: &str, base: &Path) -> Self {
        match text.strip_prefix("image:").filter(|path| path.starts_with('/')) {
            Some(path) => Self::InImage(path.to_owned()),
            None => Self::Host(base.join(text)),
        }
    }

    /// What the program sees as its name.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Host(path) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            Self::InImage(path) => path.clone(),
        }
    }
}

impl std::fmt::Display for ProgramAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Host(path) => path.display().fmt(f),
            Self::InImage(path) => write!(f, "image:{path}"),
        }
    }
}

/// Standard input.
#[derive(Clone, Debug, Default)]
pub(crate) enum Input {
    #[default]
    Empty,
    Text(Vec<u8>),
    File(PathBuf),
}

/// An image or a host directory at a path.
#[derive(Clone, Debug)]
pub(crate) struct Volume {
    pub(crate) image: ImageRef,
    pub(crate) path: String,
    pub(crate) read_only: bool,
}

impl Volume {
    pub(crate) fn parse(text: &str, base: &Path) -> Option<Self> {
        let (rest, read_only) = text.strip_suffix(":ro").map_or((text, false), |rest| (rest, true));
        let (source, path) = split_path(rest.as_ref());
        let path = String::from_utf8(path?.to_vec()).ok()?;
        (!source.is_empty()).then(|| Self { image: image_ref(source, base), path, read_only })
    }
}

/// A file to be there before the program starts.
#[derive(Clone, Debug)]
pub(crate) struct NewFile {
    pub(crate) kind: NewFileKind,
    pub(crate) mode: Option<u16>,
}

#[derive(Clone, Debug)]
pub(crate) enum NewFileKind {
    Text(Vec<u8>),
    Copy(PathBuf),
    Dir,
    Symlink(String),
    Absent,
}

/// Bounds on what a program may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Longest time it may run.
    pub time: Duration,
    /// Largest size of its memory, in bytes.
    pub memory: u64,
    /// Bytes to standard output, and to standard error.
    pub output: u64,
    /// Bytes that the files it writes may hold.
    pub disk: u64,
}

impl Default for Limits {
    /// One minute, 1 GiB of memory, 16 MiB of output, 1 GiB of files.
    fn default() -> Self {
        Self { time: Duration::from_mins(1), memory: 1 << 30, output: 16 << 20, disk: 1 << 30 }
    }
}

/// Power cuts while the program runs, and who says whether what is left is right.
#[derive(Clone, Debug)]
pub(crate) struct Crash {
    pub(crate) at: CrashAt,
    pub(crate) verify: Vec<Verify>,
    pub(crate) promises: Promises,
    /// Random states a cut.
    pub(crate) random: u32,
    pub(crate) seed: u64,
    /// Most states to try.
    pub(crate) states_max: u64,
}

impl Crash {
    /// With the defaults, and nobody to check.
    pub(crate) const fn at(at: CrashAt) -> Self {
        Self { at, verify: Vec::new(), promises: Promises::Posix, random: 8, seed: 0, states_max: 10_000 }
    }
}

/// Where the power is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CrashAt {
    /// Before each sync, when most is at stake, and at the end.
    EverySync,
    /// After each change.
    EveryWrite,
    /// After so many of all changes.
    Sample(u64),
}

/// A program that is run on what a power cut left, and fails if that is wrong.
#[derive(Clone, Debug)]
pub(crate) struct Verify {
    pub(crate) program: ProgramAt,
    pub(crate) args: Vec<String>,
}

/// What must come out; without anything said: exit code 0.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expect {
    pub(crate) end: End,
    pub(crate) stdout: Option<TextExpect>,
    pub(crate) stderr: Option<TextExpect>,
    pub(crate) diff: Option<TextExpect>,
    pub(crate) files: BTreeMap<String, FileExpect>,
}

/// How the program must end.
#[derive(Clone, Debug)]
pub(crate) enum End {
    Codes(Vec<i32>),
    /// Any code but 0.
    Failure,
    /// Any code.
    AnyCode,
    /// Any code but 0, or a trap; with this in standard error or the trap's message.
    Fail(TextExpect),
    Trap(TextExpect),
    Timeout,
}

impl Default for End {
    fn default() -> Self {
        Self::Codes(vec![0])
    }
}

/// What a text must be; everything said must hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct TextExpect {
    pub(crate) exact: Option<Vec<u8>>,
    pub(crate) file: Option<PathBuf>,
    pub(crate) contains: Vec<String>,
    pub(crate) excludes: Vec<String>,
    pub(crate) regex: Option<Regex>,
    /// The snapshot's name, if there is one.
    pub(crate) snapshot: Option<String>,
    pub(crate) redact: Vec<(Regex, String)>,
}

impl TextExpect {
    pub(crate) fn exact(text: impl Into<Vec<u8>>) -> Self {
        Self { exact: Some(text.into()), ..Self::default() }
    }
}

/// A file after the run.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileExpect {
    pub(crate) absent: bool,
    pub(crate) file_type: Option<FileType>,
    pub(crate) mode: Option<u16>,
    pub(crate) size: Option<u64>,
    pub(crate) target: Option<String>,
    pub(crate) content: Option<TextExpect>,
}

/// A reference whose path is relative to `base`.
pub(crate) fn image_ref(reference: impl AsRef<std::ffi::OsStr>, base: &Path) -> ImageRef {
    let mut image = ImageRef::parse(reference);
    if let mountless::open::Location::Path(path) = &mut image.location {
        *path = base.join(&*path);
    }
    image
}

impl Case {
    /// A case that runs `program`: a `.wasm` file, or `image:/path` for one in the images. Paths are relative to the
    /// current directory, which under cargo is that of the package.
    #[must_use]
    pub fn new(program: impl AsRef<str>) -> Self {
        let program = ProgramAt::parse(program.as_ref(), Path::new(""));
        let id = CaseId { group: program.name(), name: String::new(), file: PathBuf::new(), line: 0 };
        Self::at(id, program)
    }

    pub(crate) fn at(id: CaseId, program: ProgramAt) -> Self {
        Self {
            id,
            program,
            images: Vec::new(),
            args: Vec::new(),
            env: BTreeMap::new(),
            stdin: Input::Empty,
            workdir: None,
            volumes: Vec::new(),
            preopens: None,
            files: BTreeMap::new(),
            tags: BTreeSet::new(),
            skip: None,
            retries: None,
            limits: Limits::default(),
            deterministic: None,
            faults: Vec::new(),
            crash: None,
            expect: Expect::default(),
        }
    }

    /// Whether its tree is that of the images, with nothing of its own.
    pub(crate) fn is_bare(&self) -> bool {
        self.files.is_empty() && self.volumes.is_empty()
    }

    /// Where the case stands and what it is called.
    #[must_use]
    pub const fn id(&self) -> &CaseId {
        &self.id
    }

    /// The words it can be selected by.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.tags.iter().map(String::as_str)
    }

    /// Why it is left out, if it is.
    #[must_use]
    pub fn skipped(&self) -> Option<&str> {
        self.skip.as_deref()
    }

    /// Adds an image on top of those added before.
    #[must_use]
    pub fn image(mut self, reference: impl Into<OsString>) -> Self {
        self.images.push(ImageRef::parse(reference.into()));
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of the environment, which starts empty.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// What the program reads from standard input.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Input::Text(bytes.into());
        self
    }

    /// Where the program starts.
    #[must_use]
    pub fn workdir(mut self, path: impl Into<String>) -> Self {
        self.workdir = Some(path.into());
        self
    }

    /// Writes a file, and the directories above it, before the program starts.
    #[must_use]
    pub fn file(mut self, path: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        let kind = NewFileKind::Text(content.into());
        self.files.insert(path.into(), NewFile { kind, mode: None });
        self
    }

    /// Puts an image or a host directory at a path. It never changes: the program sees a copy.
    #[must_use]
    pub fn volume(mut self, reference: impl Into<OsString>, path: impl Into<String>) -> Self {
        let image = ImageRef::parse(reference.into());
        self.volumes.push(Volume { image, path: path.into(), read_only: false });
        self
    }

    /// Makes calls on the file system fail on purpose. A fault that never strikes fails the case.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// Lets [`assert_survives_power_cuts`](Self::assert_survives_power_cuts) cut the power at these places, and run
    /// `verify` on what is left; it must exit with 0. What the program had printed by then is its standard input.
    #[must_use]
    pub fn power_cuts<S: Into<String>>(
        mut self,
        at: CrashAt,
        verify: impl AsRef<str>,
        args: impl IntoIterator<Item = S>,
    ) -> Self {
        let program = ProgramAt::parse(verify.as_ref(), Path::new(""));
        let verify = Verify { program, args: args.into_iter().map(Into::into).collect() };
        match &mut self.crash {
            Some(crash) => {
                crash.at = at;
                crash.verify.push(verify);
            }
            None => self.crash = Some(Crash { verify: vec![verify], ..Crash::at(at) }),
        }
        self
    }

    /// Makes runs repeat: clocks start at a fixed time and never wait, random bytes follow from the seed.
    #[must_use]
    pub const fn deterministic(mut self, seed: u64) -> Self {
        self.deterministic = Some(seed);
        self
    }

    /// Sets the bounds on what the program may use.
    #[must_use]
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}
