//! What all cases of a run share, and how one of them is run.
//!
//! Images are opened once and programs compiled once, by whichever case needs them first. A case then costs an empty
//! upper layer and an instance.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::hash::Hash;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use mountless::attr::SetAttr;
use mountless::backend::mem::MemOptions;
use mountless::compose::Overlay;
use mountless::fs::FileSystem;
use mountless::namespace::{Follow, MountOptions, Namespace};
use mountless::open::{ImageRef, OpenOptions};
use mountless::{Errno, Stack};
use mountless_wasi::run::{Cache, Outcome, Output, Preopen, Program, RunOptions, Runner, Stdin};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;

use crate::case::{Case, Input, NewFile, NewFileKind, ProgramAt};

/// Why a case could not be run: the case, not the program, is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CannotRun {
    message: String,
    help: Option<&'static str>,
}

impl CannotRun {
    fn new(message: impl Into<String>) -> Self {
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
}

/// What all cases share: the engine, open images, compiled programs. Cheap to make: everything happens on first use.
#[derive(Debug)]
pub struct Engine {
    runner: Runner,
    open: OpenOptions,
    stacks: Once<Vec<ImageRef>, Arc<Stack>>,
    programs: Once<(ProgramAt, Vec<ImageRef>), Program>,
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
        let stack = self.stack(&case.images)?;
        let before = prepare(&stack, case)?;
        let upper = Arc::new(MemOptions::new().max_bytes(case.limits.disk).build());
        let after: Arc<dyn FileSystem> = match case.files.is_empty() {
            true => stack.with_upper(upper).map_err(|error| CannotRun::new(error.to_string()))?,
            false => Arc::new(
                Overlay::with_upper(vec![Arc::clone(&before)], upper)
                    .map_err(|error| CannotRun::new(error.to_string()))?,
            ),
        };
        let namespace = Namespace::new(Arc::clone(&after));
        for volume in &case.volumes {
            let image = self.stack(std::slice::from_ref(&volume.image))?;
            let mounted = image.with_memory_upper().and_then(|fs| {
                namespace.create_dir_all(&volume.path)?;
                namespace.mount(&volume.path, fs, MountOptions { read_only: volume.read_only })
            });
            mounted.map_err(|error| CannotRun::new(format!("cannot mount volume: {}: {error}", volume.path)))?;
        }
        let program = self.program(case, &namespace)?;
        let options_of = |(stdout, stderr): (&MemoryOutputPipe, &MemoryOutputPipe)| options(case, stdout, stderr);
        let output_max = usize::try_from(case.limits.output).unwrap_or(usize::MAX);
        let (stdout, stderr) = (MemoryOutputPipe::new(output_max), MemoryOutputPipe::new(output_max));
        let options = options_of((&stdout, &stderr))?;
        let started = Instant::now();
        let outcome = self.runner.run(&program, &namespace, options);
        let time = started.elapsed();
        let outcome =
            outcome.map_err(|error| CannotRun::new(format!("cannot run: {}: {error}", case.program.name())))?;
        let (stdout, stderr) = (stdout.contents().to_vec(), stderr.contents().to_vec());
        let overflowed = [("stdout", &stdout), ("stderr", &stderr)]
            .into_iter()
            .find_map(|(name, bytes)| (bytes.len() >= output_max).then_some(name));
        Ok(Ran { outcome, stdout, stderr, time, before, after, namespace, overflowed })
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

    fn program(&self, case: &Case, namespace: &Namespace) -> Result<Program, CannotRun> {
        let failed = |error: &dyn fmt::Display| {
            CannotRun::new(format!(
                "cannot read program: {}: {error}",
                match &case.program {
                    ProgramAt::Host(path) => path.display().to_string(),
                    ProgramAt::InImage(path) => format!("image:{path}"),
                }
            ))
        };
        let compile = || {
            let wasm = match &case.program {
                ProgramAt::Host(path) => fs::read(path).map_err(|error| {
                    failed(&error).help("build it first; paths in a case file are relative to that file")
                })?,
                ProgramAt::InImage(path) => namespace
                    .read(path)
                    .map_err(|error| failed(&error).help("`mountless find IMAGE` lists what an image holds"))?,
            };
            let compiled = self.runner.compile(&wasm);
            compiled.map_err(|error| CannotRun::new(format!("cannot run: {}: {error}", case.program.name())))
        };
        match &case.program {
            ProgramAt::Host(_) => self.programs.get((case.program.clone(), Vec::new()), compile),
            // A case's own files may be programs, and volumes may hold them.
            ProgramAt::InImage(_) if !case.files.is_empty() || !case.volumes.is_empty() => compile(),
            ProgramAt::InImage(_) => self.programs.get((case.program.clone(), case.images.clone()), compile),
        }
    }
}

/// Makes values once each, however many threads ask for one at the same time.
#[derive(Debug)]
struct Once<K, V>(Mutex<HashMap<K, Arc<OnceLock<Result<V, CannotRun>>>>>);

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
    if case.files.is_empty() {
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
            namespace.write(path, fs::read(from).map_err(|error| format!("{}: {error}", Path::new(from).display()))?)?
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

fn options(case: &Case, stdout: &MemoryOutputPipe, stderr: &MemoryOutputPipe) -> Result<RunOptions, CannotRun> {
    let stdin = match &case.stdin {
        Input::Empty => Stdin::Empty,
        Input::Text(bytes) => Stdin::Bytes(bytes.clone()),
        Input::File(path) => Stdin::Bytes(
            fs::read(path)
                .map_err(|error| CannotRun::new(format!("cannot read standard input: {}: {error}", path.display())))?,
        ),
    };
    let root = || vec![Preopen { name: "/".to_owned(), path: "/".to_owned() }];
    Ok(RunOptions {
        args: std::iter::once(case.program.name()).chain(case.args.iter().cloned()).collect(),
        env: case.env.clone().into_iter().collect(),
        preopens: case.preopens.clone().unwrap_or_else(root),
        workdir: case.workdir.clone(),
        timeout: Some(case.limits.time),
        memory_max: Some(usize::try_from(case.limits.memory).unwrap_or(usize::MAX)),
        stdin,
        stdout: Output::Stream(Box::new(stdout.clone())),
        stderr: Output::Stream(Box::new(stderr.clone())),
    })
}
