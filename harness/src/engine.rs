//! What all cases of a run share, and how one of them is run.
//!
//! Images are opened once and programs compiled once, by whichever case needs them first. A case then costs an empty
//! upper layer and an instance.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use mountless::attr::SetAttr;
use mountless::backend::mem::MemOptions;
use mountless::compose::Overlay;
use mountless::compose::fault::Faults;
use mountless::compose::watch::{Watched, Watcher};
use mountless::fs::FileSystem;
use mountless::namespace::{Follow, MountOptions, Namespace};
use mountless::open::{ImageRef, OpenOptions};
use mountless::{Errno, Stack};
use mountless_wasi::run::{Cache, Deterministic, Outcome, Output, Preopen, Program, RunOptions, Runner, Stdin};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;

use crate::case::{Case, Input, NewFile, NewFileKind, ProgramAt};

/// Why a case could not be run: the case, not the program, is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CannotRun {
    message: String,
    help: Option<&'static str>,
}

impl CannotRun {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
    }

    fn help(self, help: &'static str) -> Self {
        Self { help: Some(help), ..self }
    }
}

impl fmt::Display for CannotRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match self.help {
            Some(help) => write!(f, "\n  next: {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for CannotRun {}

/// What a program did.
#[derive(Debug)]
pub struct Ran {
    /// How it ended.
    pub outcome: Outcome,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
    /// How long it ran.
    pub time: Duration,
    /// The tree before.
    pub before: Arc<dyn FileSystem>,
    /// The tree after.
    pub after: Arc<dyn FileSystem>,
    /// The tree after with the volumes, by path.
    pub namespace: Namespace,
    /// The stream that was cut off because it got too long.
    pub(crate) overflowed: Option<&'static str>,
    /// Faults that never struck though they should, counted from 1.
    pub(crate) idle_faults: Vec<usize>,
}

/// How a run differs from what its case says.
#[derive(Default)]
pub(crate) struct Variation<'a> {
    /// What to put over the tree that the program sees.
    pub(crate) put_over: Option<Box<PutOver<'a>>>,
    /// A limit of time other than the case's.
    pub(crate) time: Option<Duration>,
    /// With clocks and random bytes that repeat, whatever the case says.
    pub(crate) repeats: bool,
}

type PutOver<'a> = dyn Fn(Arc<dyn FileSystem>, &Streams) -> Arc<dyn FileSystem> + 'a;

/// What a program writes to.
pub(crate) struct Streams {
    pub(crate) stdout: MemoryOutputPipe,
    pub(crate) stderr: MemoryOutputPipe,
}

/// A program to run, and what differs from program to program.
pub(crate) struct Guest<'a> {
    pub(crate) program: &'a Program,
    pub(crate) name: String,
    pub(crate) args: &'a [String],
    pub(crate) stdin: Vec<u8>,
    pub(crate) time: Duration,
    pub(crate) deterministic: Option<Deterministic>,
}

/// What all cases share: the engine, open images, compiled programs. Cheap to make: everything happens on first use.
#[derive(Debug)]
pub struct Engine {
    runner: Runner,
    open: OpenOptions,
    stacks: Once<Vec<ImageRef>, Arc<Stack>>,
    programs: Once<ProgramKey, Program>,
}

impl Engine {
    /// An engine with this cache of compiled programs.
    ///
    /// # Errors
    /// If the engine or its cache cannot be set up.
    pub fn new(cache: &Cache) -> Result<Self, CannotRun> {
        let runner = Runner::new(cache).map_err(|error| CannotRun::new(error.to_string()))?;
        Ok(Self { runner, open: OpenOptions::default(), stacks: Once::default(), programs: Once::default() })
    }

    /// Opens images with these options.
    #[must_use]
    pub fn open_options(mut self, options: OpenOptions) -> Self {
        self.open = options;
        self
    }

    /// Runs a case's program on a view of its own. What comes out is not compared with anything.
    ///
    /// # Errors
    /// If it cannot be run: an image or the program is missing or broken, or a file cannot be put in place.
    pub fn run(&self, case: &Case) -> Result<Ran, CannotRun> {
        self.run_varied(case, &Variation::default())
    }

    /// The same, a little different.
    pub(crate) fn run_varied(&self, case: &Case, variation: &Variation<'_>) -> Result<Ran, CannotRun> {
        let seed = case.deterministic.or(variation.repeats.then_some(0));
        let deterministic = seed.map(Deterministic::new);
        let stack = self.stack(&case.images)?;
        let before = prepare(&stack, case)?;
        let mut upper = MemOptions::new().disk(case.limits.disk);
        if let Some(deterministic) = &deterministic {
            upper = upper.clock(deterministic.clock());
        }
        let mut tree: Arc<dyn FileSystem> = match case.is_bare() {
            true => stack.with_upper(Arc::new(upper.build())).map_err(|error| CannotRun::new(error.to_string()))?,
            false => over(&before, upper)?,
        };
        // Before anybody watches: reading the program is none of its own calls.
        let program = self.program(&case.program, case, &tree)?;
        let output_max = usize::try_from(case.limits.output).unwrap_or(usize::MAX);
        let streams = Streams { stdout: MemoryOutputPipe::new(output_max), stderr: MemoryOutputPipe::new(output_max) };
        if let Some(put_over) = &variation.put_over {
            tree = put_over(tree, &streams);
        }
        let after = Arc::clone(&tree);
        let faults = Arc::new(Faults::new(case.faults.iter().cloned()));
        if !case.faults.is_empty() {
            tree = Arc::new(Watched::new(tree, Arc::clone(&faults) as Arc<dyn Watcher>));
        }
        let namespace = self.namespace(case, tree)?;
        let guest = Guest {
            program: &program,
            name: case.program.name(),
            args: &case.args,
            stdin: stdin(case)?,
            time: variation.time.unwrap_or(case.limits.time),
            deterministic,
        };
        let (outcome, time) = self.execute(case, guest, &namespace, &streams)?;
        let (stdout, stderr) = (streams.stdout.contents().to_vec(), streams.stderr.contents().to_vec());
        let overflowed = [("stdout", &stdout), ("stderr", &stderr)]
            .into_iter()
            .find_map(|(name, bytes)| (bytes.len() >= output_max).then_some(name));
        let idle_faults = (1..).zip(case.faults.iter().zip(faults.struck()));
        let idle_faults = idle_faults.filter(|(_, (fault, struck))| *struck == 0 && fault.is_certain());
        let idle_faults = idle_faults.map(|(number, _)| number).collect();
        Ok(Ran { outcome, stdout, stderr, time, before, after, namespace, overflowed, idle_faults })
    }

    /// What a case's programs see: a tree, and the volumes on it.
    pub(crate) fn namespace(&self, case: &Case, tree: Arc<dyn FileSystem>) -> Result<Namespace, CannotRun> {
        let namespace = Namespace::new(tree);
        for volume in &case.volumes {
            let image = self.stack(std::slice::from_ref(&volume.image))?;
            let options = MountOptions { read_only: volume.read_only };
            let mounted = image.with_memory_upper().and_then(|fs| namespace.mount(&volume.path, fs, options));
            mounted.map_err(|error| CannotRun::new(format!("cannot mount volume: {}: {error}", volume.path)))?;
        }
        Ok(namespace)
    }

    /// Runs a program with a case's environment and limits; how it ended, and after which time.
    pub(crate) fn execute(
        &self,
        case: &Case,
        guest: Guest<'_>,
        namespace: &Namespace,
        streams: &Streams,
    ) -> Result<(Outcome, Duration), CannotRun> {
        let Guest { program, name, args, stdin, time, deterministic } = guest;
        let root = || vec![Preopen::new("/", "/")];
        let options = RunOptions {
            args: std::iter::once(name.clone()).chain(args.iter().cloned()).collect(),
            env: case.env.clone().into_iter().collect(),
            preopens: case.preopens.clone().unwrap_or_else(root),
            workdir: case.workdir.clone(),
            timeout: Some(time),
            memory_max: Some(usize::try_from(case.limits.memory).unwrap_or(usize::MAX)),
            deterministic,
            stdin: if stdin.is_empty() { Stdin::Empty } else { Stdin::Bytes(stdin) },
            stdout: Output::Stream(Box::new(streams.stdout.clone())),
            stderr: Output::Stream(Box::new(streams.stderr.clone())),
            ..RunOptions::default()
        };
        let started = Instant::now();
        let outcome = self.runner.run(program, namespace, options);
        let time = started.elapsed();
        Ok((outcome.map_err(|error| CannotRun::new(format!("cannot run: {name}: {error}")))?, time))
    }

    fn stack(&self, images: &[ImageRef]) -> Result<Arc<Stack>, CannotRun> {
        self.stacks.get(images.to_vec(), || {
            let stack = Stack::open_with(images.iter().cloned(), &self.open);
            stack.map(Arc::new).map_err(|error| {
                let failure = CannotRun::new(format!("cannot open image: {error}"));
                match error.errno() {
                    Errno::NotFound => failure.help("paths in a case file are relative to that file"),
                    _ => failure,
                }
            })
        })
    }

    /// A program of a case, compiled at most once; `tree` is where a program in the images is read.
    pub(crate) fn program(
        &self,
        program: &ProgramAt,
        case: &Case,
        tree: &Arc<dyn FileSystem>,
    ) -> Result<Program, CannotRun> {
        let failed = |error: &dyn fmt::Display| CannotRun::new(format!("cannot read program: {program}: {error}"));
        let compile = |wasm: &[u8]| {
            let compiled = self.runner.compile(wasm);
            compiled.map_err(|error| CannotRun::new(format!("cannot run: {}: {error}", program.name())))
        };
        let read_in_image = |path: &str| {
            let read = self.namespace(case, Arc::clone(tree))?.read(path);
            read.map_err(|error| failed(&error).help("`mountless find IMAGE` lists what an image holds"))
        };
        match program {
            ProgramAt::Host(path) => self.programs.get(ProgramKey::Host(path.clone()), || {
                let help = "build it first; paths in a case file are relative to that file";
                compile(&fs::read(path).map_err(|error| failed(&plainly(&error)).help(help))?)
            }),
            ProgramAt::InImage(path) if case.is_bare() => {
                let key = ProgramKey::InImage(path.clone(), case.images.clone());
                self.programs.get(key, || compile(&read_in_image(path)?))
            }
            // A case's own files may be programs, and volumes may hold them.
            ProgramAt::InImage(path) => {
                let wasm = read_in_image(path)?;
                let mut hasher = DefaultHasher::new();
                wasm.hash(&mut hasher);
                self.programs.get(ProgramKey::Bytes(wasm.len(), hasher.finish()), || compile(&wasm))
            }
        }
    }
}

/// What a compiled program is known by.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum ProgramKey {
    Host(PathBuf),
    InImage(String, Vec<ImageRef>),
    /// Length and hash.
    Bytes(usize, u64),
}

/// Makes values once each, however many threads ask for one at the same time.
#[derive(Debug)]
struct Once<K, V>(Mutex<HashMap<K, Arc<Made<V>>>>);

/// A value that is made once, or why it cannot be.
type Made<V> = OnceLock<Result<V, CannotRun>>;

impl<K, V> Default for Once<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V: Clone> Once<K, V> {
    fn get(&self, key: K, make: impl FnOnce() -> Result<V, CannotRun>) -> Result<V, CannotRun> {
        // A map is never half-way, whatever a thread died of.
        let cell = Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default());
        cell.get_or_init(make).clone()
    }
}

/// The tree before the program starts: the images, with the case's files on them.
fn prepare(stack: &Stack, case: &Case) -> Result<Arc<dyn FileSystem>, CannotRun> {
    let failed = |error: mountless::Error| CannotRun::new(error.to_string());
    if case.is_bare() {
        return match case.images.is_empty() {
            true => Ok(Arc::new(MemOptions::new().build())),
            false => stack.read_only().map_err(failed),
        };
    }
    let fs = stack.with_memory_upper().map_err(failed)?;
    let namespace = Namespace::new(Arc::clone(&fs));
    for (path, file) in &case.files {
        put(&namespace, path, file)
            .map_err(|error| CannotRun::new(format!("cannot put the case's file in place: {path}: {error}")))?;
    }
    // Where volumes go is no change of the program's.
    for volume in &case.volumes {
        namespace
            .create_dir_all(&volume.path)
            .map_err(|error| CannotRun::new(format!("cannot mount volume: {}: {error}", volume.path)))?;
    }
    Ok(fs)
}

fn put(namespace: &Namespace, path: &str, file: &NewFile) -> Result<(), Box<dyn std::error::Error>> {
    if let Some((parent, _)) = path.trim_end_matches('/').rsplit_once('/')
        && !parent.is_empty()
    {
        namespace.create_dir_all(parent)?;
    }
    match &file.kind {
        NewFileKind::Text(content) => namespace.write(path, content)?,
        NewFileKind::Copy(from) => {
            let content = fs::read(from).map_err(|error| format!("{}: {}", from.display(), plainly(&error)))?;
            namespace.write(path, content)?;
        }
        NewFileKind::Dir => namespace.create_dir_all(path)?,
        NewFileKind::Symlink(target) => namespace.symlink(target, path)?,
        NewFileKind::Absent => match namespace.symlink_metadata(path) {
            Ok(attr) if attr.file_type.is_dir() => namespace.remove_dir_all(path)?,
            Ok(_) => namespace.remove_file(path)?,
            Err(error) if error == Errno::NotFound => {}
            Err(error) => return Err(error.into()),
        },
    }
    if let Some(mode) = file.mode {
        namespace.set_attr(path, Follow::Yes, &SetAttr { mode: Some(mode), ..SetAttr::default() })?;
    }
    Ok(())
}

fn stdin(case: &Case) -> Result<Vec<u8>, CannotRun> {
    match &case.stdin {
        Input::Empty => Ok(Vec::new()),
        Input::Text(bytes) => Ok(bytes.clone()),
        Input::File(path) => fs::read(path).map_err(|error| failed_read("standard input", path, &error)),
    }
}

fn failed_read(what: &str, path: &Path, error: &io::Error) -> CannotRun {
    let failure = CannotRun::new(format!("cannot read {what}: {}: {}", path.display(), plainly(error)));
    failure.help("paths in a case file are relative to that file")
}

/// What the host says, in the way the rest is said: `no such file or directory`.
pub(crate) fn plainly(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

/// A view of a tree, with memory for the changes.
pub(crate) fn over(tree: &Arc<dyn FileSystem>, upper: MemOptions) -> Result<Arc<dyn FileSystem>, CannotRun> {
    let view = Overlay::with_upper(vec![Arc::clone(tree)], Arc::new(upper.build()));
    Ok(Arc::new(view.map_err(|error| CannotRun::new(error.to_string()))?))
}
