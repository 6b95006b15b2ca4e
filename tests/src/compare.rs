//! One program on two hosts: ours, on an image, and the one that comes with the engine, on a directory in memory.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::archive;
use crate::reference::{self, Ran};
use mountless::attr::{Device, FileType};
use mountless::format::cpio::{CpioWriter, NewEntry};
use mountless::{Namespace, Stack};
use mountless_wasi::run::{Cache, Outcome, Output, Preopen, RunOptions, Runner};
use tempfile::TempDir;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;

/// Kind and content by path. Times, owners and modes are not comparable: the image has them, WASI has not.
pub type Tree = BTreeMap<Vec<u8>, (FileType, Vec<u8>)>;

/// A program, and what it is given.
#[derive(Clone, Copy, Debug, Default)]
pub struct Job<'a> {
    /// Its arguments, its name first.
    pub arguments: &'a [&'a str],
    /// Its environment: names and values.
    pub environment: &'a [(&'a str, &'a str)],
    /// The directories that it gets; `/` if none is named.
    pub preopens: &'a [&'a str],
    /// Whether it gets `/dev` with the devices that every system has.
    pub has_devices: bool,
    /// Whether the tree is a directory of the image instead of the image: absolute links are refused then, as they are
    /// on a host directory.
    pub is_below: bool,
}

/// The directory that holds the tree where it is not the image itself.
const BELOW: &str = "below";

impl<'a> Job<'a> {
    fn preopens(self) -> impl Iterator<Item = &'a str> {
        let preopens = if self.preopens.is_empty() { &["/"] } else { self.preopens };
        preopens.iter().copied().chain(self.has_devices.then_some("/dev"))
    }

    /// Where its `/` is in the namespace.
    fn top(self) -> String {
        if self.is_below { format!("/{BELOW}") } else { String::new() }
    }
}

/// What the program did on both hosts.
#[derive(Debug)]
pub struct Both {
    /// On our tree.
    pub ours: Ran,
    /// On a host directory.
    pub theirs: Ran,
    our_tree: Tree,
    their_tree: Tree,
}

impl Both {
    /// Runs `wasm` on both, on the tree that `fill` makes.
    #[must_use]
    pub fn of(wasm: &Path, job: Job<'_>, fill: impl FnOnce(&Path)) -> Self {
        Self::by(job, fill, |namespace| run_ours(wasm, job, namespace), |host| run_theirs(wasm, job, host))
    }

    /// The same, for who knows how to run it.
    #[must_use]
    pub fn by(
        job: Job<'_>,
        fill: impl FnOnce(&Path),
        run_ours: impl FnOnce(&Namespace) -> Ran,
        run_theirs: impl FnOnce(&Path) -> Ran,
    ) -> Self {
        let dir = host_dir();
        let host = dir.path().join(BELOW);
        fs::create_dir(&host).unwrap();
        fill(&host);
        let (image, our_top) = (if job.is_below { dir.path() } else { &host }, job.top());
        let namespace = if job.has_devices {
            fs::create_dir(host.join("dev")).unwrap();
            namespace_of(&[archive::pack(image), devices(&our_top)])
        } else {
            namespace_of(&[archive::pack(image)])
        };
        assert_same_tree(&our_tree(&namespace, &our_top), &host_tree(&host), "before");
        let (ours, theirs) = (run_ours(&namespace), run_theirs(&host));
        Self { ours, theirs, our_tree: our_tree(&namespace, &our_top), their_tree: host_tree(&host) }
    }

    /// What it said, how it ended and what it left behind were the same.
    pub fn same(self) -> Ran {
        assert_eq!(String::from_utf8_lossy(&self.ours.stdout), String::from_utf8_lossy(&self.theirs.stdout));
        assert_eq!(String::from_utf8_lossy(&self.ours.stderr), String::from_utf8_lossy(&self.theirs.stderr));
        assert_eq!(self.ours.code, self.theirs.code);
        self.same_tree();
        self.ours
    }

    /// Whether it left something behind on ours.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        self.our_tree.contains_key(path.as_bytes())
    }

    /// A file that it left behind on ours.
    #[must_use]
    pub fn content(&self, path: &str) -> &[u8] {
        &self.our_tree[path.as_bytes()].1
    }

    /// What it left behind was the same.
    pub fn same_tree(&self) {
        assert_same_tree(&self.our_tree, &self.their_tree, "after");
    }

    /// What it left behind was the same but for the digits in the names of what is in `/tmp`, which are random.
    pub fn same_tree_but_for_random_names(&self) {
        let masked = |tree: &Tree| {
            let named = |(path, node): (&Vec<u8>, &(FileType, Vec<u8>))| {
                let is_random = |byte: &u8| path.starts_with(b"/tmp/") && byte.is_ascii_digit();
                let mut name: Vec<u8> = path.iter().copied().filter(|byte| !is_random(byte)).collect();
                // Several may have the same name now.
                name.push(b'=');
                name.extend(&node.1);
                (name, node.clone())
            };
            tree.iter().map(named).collect()
        };
        assert_eq!(self.our_tree.len(), self.their_tree.len());
        assert_same_tree(&masked(&self.our_tree), &masked(&self.their_tree), "after");
    }
}

/// A directory in memory, where there is such a place.
#[must_use]
pub fn host_dir() -> TempDir {
    match Path::new("/dev/shm") {
        memory if memory.is_dir() => tempfile::tempdir_in(memory).unwrap(),
        _ => tempfile::tempdir().unwrap(),
    }
}

/// A namespace over images, the first one lowest, with memory for the changes.
#[must_use]
pub fn namespace_of(archives: &[Vec<u8>]) -> Namespace {
    let images: Vec<_> = archives
        .iter()
        .map(|archive| {
            let image = tempfile::NamedTempFile::new().unwrap();
            fs::write(image.path(), archive).unwrap();
            image
        })
        .collect();
    // Images stay mapped when their names are gone.
    Namespace::new(Stack::open(images.iter().map(tempfile::NamedTempFile::path)).unwrap().with_memory_upper().unwrap())
}

/// An image with `dev/null` and `dev/zero` in the directory `top`.
fn devices(top: &str) -> Vec<u8> {
    let mut image = CpioWriter::new(Vec::new());
    let mut put = |name: &str, file_type, mode, minor, ino| {
        let (name, rdev) = (format!(".{top}/{name}"), Device { major: 1, minor });
        let name = name.trim_end_matches('/').as_bytes();
        let entry = NewEntry { name, file_type, mode, uid: 0, gid: 0, nlink: 1, ino, mtime: 0, rdev };
        image.entry(&entry, b"").unwrap();
    };
    put("", FileType::Dir, 0o755, 0, 1);
    put("dev", FileType::Dir, 0o755, 0, 2);
    put("dev/null", FileType::Char, 0o666, 3, 3);
    put("dev/zero", FileType::Char, 0o666, 5, 4);
    image.finish().unwrap()
}

/// Runs `wasm` on our tree alone.
#[must_use]
pub fn run_ours(wasm: &Path, job: Job<'_>, namespace: &Namespace) -> Ran {
    // The reference's, whose engine is set up alike: every guest is compiled once.
    let runner = Runner::uninterruptible(&Cache::Dir(reference::compiled_dir())).unwrap();
    let program = runner.compile(&fs::read(wasm).unwrap()).unwrap();
    let (stdout, stderr) = (MemoryOutputPipe::new(1 << 24), MemoryOutputPipe::new(1 << 24));
    let options = RunOptions {
        args: job.arguments.iter().map(ToString::to_string).collect(),
        env: job.environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        preopens: job.preopens().map(|name| Preopen::new(name, &(job.top() + name))).collect(),
        stdout: Output::Stream(Box::new(stdout.clone())),
        stderr: Output::Stream(Box::new(stderr.clone())),
        ..RunOptions::default()
    };
    let code = match runner.run(&program, namespace, options).unwrap() {
        Outcome::Exited(code) => code,
        other => panic!("{other:?}"),
    };
    Ran { code, stdout: stdout.contents().into(), stderr: stderr.contents().into() }
}

fn run_theirs(wasm: &Path, job: Job<'_>, host: &Path) -> Ran {
    let dirs: Vec<_> = job
        .preopens()
        .map(|name| match name {
            // Nodes of our own would need root, and a file system that lets them be opened.
            "/dev" => Path::new(name).to_owned(),
            _ => host.join(name.trim_start_matches('/')),
        })
        .collect();
    let preopens: Vec<_> = dirs.iter().map(AsRef::as_ref).zip(job.preopens()).collect();
    reference::run(wasm, job.arguments, job.environment, &preopens)
}

fn our_tree(namespace: &Namespace, top: &str) -> Tree {
    let mut tree = Tree::new();
    let mut todo = vec![Vec::new()];
    while let Some(dir) = todo.pop() {
        for entry in namespace.read_dir([top.as_bytes(), &dir, b"/"].concat()).unwrap() {
            let path = [&dir, &b"/"[..], &entry.name].concat();
            let at = [top.as_bytes(), &path].concat();
            let content = match entry.file_type {
                FileType::File => namespace.read(&at).unwrap(),
                FileType::Symlink => namespace.read_link(&at).unwrap().into(),
                FileType::Dir => {
                    todo.push(path.clone());
                    Vec::new()
                }
                // Only the host's root makes those on a host.
                FileType::Char if dir == b"/dev" => continue,
                other => panic!("{}: {other:?}", path.escape_ascii()),
            };
            tree.insert(path, (entry.file_type, content));
        }
    }
    tree
}

fn host_tree(top: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut todo = vec![top.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = [b"/", path.strip_prefix(top).unwrap().as_os_str().as_bytes()].concat();
            let kind = path.symlink_metadata().unwrap().file_type();
            let node = if kind.is_symlink() {
                (FileType::Symlink, fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec())
            } else if kind.is_dir() {
                todo.push(path);
                (FileType::Dir, Vec::new())
            } else {
                (FileType::File, fs::read(&path).unwrap())
            };
            tree.insert(name, node);
        }
    }
    tree
}

fn assert_same_tree(ours: &Tree, theirs: &Tree, when: &str) {
    for path in ours.keys().chain(theirs.keys()) {
        let (ours, theirs) = (ours.get(path), theirs.get(path));
        let shown = |node: Option<&(FileType, Vec<u8>)>| node.map(|(kind, content)| (*kind, content.len()));
        assert!(ours == theirs, "{when}: {}: {:?}, host {:?}", path.escape_ascii(), shown(ours), shown(theirs));
    }
}
