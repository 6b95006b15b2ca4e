//! Calls of WASI preview 1 out of any bytes, made to a [`Process`] without an engine and checked against a model.
//!
//! [`run`] takes bytes for a list of calls: paths from a tiny alphabet, descriptors that are open and that are not,
//! pointers, lengths and offsets at every edge. After each call the errno and all of the guest's memory must be what the
//! model says, and in the end the tree. Whatever the guest does, nothing may panic. The fuzz target `wasi_p1` has the
//! bytes from libFuzzer, the tests here from seeds.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::cast_lossless,
    trivial_numeric_casts,
    reason = "a test: what is unexpected shall end it"
)]

mod draw;
mod host;
mod memory;
mod model;
mod tree;

use std::collections::BTreeMap;
use std::sync::Arc;

use arbitrary::Unstructured;
use mountless::backend::mem::MemFs;
use mountless::compose::overlay::Overlay;
use mountless::fs::FileSystem;
use mountless::namespace::{Follow, Namespace};
use mountless_wasi::host::Fail;
use mountless_wasi::p1::{CallResult, Process};

use self::host::Given;
use self::memory::Faults;
use self::model::Model;
use self::tree::{Id, Kind, ROOT, Tree};

/// Most calls of one run.
const CALLS_MAX: usize = 200;

/// What the calls are made on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum On {
    /// A filesystem in memory.
    Memory,
    /// An overlay: what was there at first is in a lower layer.
    Overlay,
    /// An overlay in which nothing may be changed.
    ReadOnly,
}

impl On {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Memory, Self::Overlay, Self::ReadOnly];

    fn namespace(self) -> Namespace {
        let memory = || Arc::new(MemFs::new()) as Arc<dyn FileSystem>;
        let lower = memory();
        fill(&Namespace::new(Arc::clone(&lower)));
        match self {
            Self::Memory => Namespace::new(lower),
            Self::Overlay => Namespace::new(Arc::new(Overlay::with_upper(vec![lower], memory()).unwrap())),
            Self::ReadOnly => Namespace::new(Arc::new(Overlay::read_only(vec![lower]).unwrap())),
        }
    }
}

/// What is there at first.
const FILES: [(&str, usize); 3] = [("a/a", 5), ("a/b", 10_000), ("b", 3)];
/// Links, with their targets; only the root's preopen may follow those that are absolute, and those out of `a`.
const LINKS: [(&str, &str); 6] =
    [("l", "a/b"), ("m", "/b"), ("s", "s"), ("a/l", "../b"), ("a/m", "/a/a"), ("a/s", "./b/")];

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index % 253) as u8).collect()
}

fn fill(namespace: &Namespace) {
    namespace.create_dir("a").unwrap();
    for (path, len) in FILES {
        namespace.write(path, content(len)).unwrap();
    }
    for (path, target) in LINKS {
        namespace.symlink(target, path).unwrap();
    }
}

/// The same once more.
fn filled() -> (Tree, Id) {
    let mut tree = Tree::new();
    let dir = tree.create(ROOT, b"a", Kind::Dir(BTreeMap::new()));
    let at = |path: &'static str| match path.strip_prefix("a/") {
        Some(name) => (dir, name.as_bytes()),
        None => (ROOT, path.as_bytes()),
    };
    for (path, len) in FILES {
        let mut file = tree::Content::default();
        file.write(0, &content(len));
        tree.create(at(path).0, at(path).1, Kind::File(file));
    }
    for (path, target) in LINKS {
        tree.create(at(path).0, at(path).1, Kind::Symlink(target.into()));
    }
    (tree, dir)
}

/// Makes the calls that `bytes` say, and returns how many there were and how many of them succeeded.
///
/// # Panics
/// If a call panics, or does what the model does not expect: the message has the calls that led there.
pub fn run(on: On, bytes: &[u8]) -> (usize, usize) {
    let namespace = on.namespace();
    let (tree, dir) = filled();
    let mut model = Model::new(tree, on == On::ReadOnly);
    let mut process = Process::new(namespace.clone(), Box::new(Given::new()));
    for (name, path, node, read_only) in [("/", "/", ROOT, false), ("/sub", "a", dir, false), ("/r", "a", dir, true)] {
        let location = namespace.locate(path, Follow::Yes).unwrap();
        process.preopen(name, &if read_only { location.read_only() } else { location }).unwrap();
        model.preopen(name.as_bytes(), node, read_only);
    }

    let mut bytes = Unstructured::new(bytes);
    let mut memory = model.memory.expected.clone();
    let mut beginning = draw::beginning();
    let mut log = Vec::new();
    let mut successes = 0;
    while log.len() < CALLS_MAX
        && !model.lost_track
        && let Some(call) = beginning.next().or_else(|| draw::next(&mut bytes))
    {
        for (ptr, poked) in &call.pokes {
            for memory in [&mut memory, &mut model.memory.expected] {
                memory[*ptr as usize..*ptr as usize + poked.len()].copy_from_slice(poked);
            }
        }
        let answer = call.function.call(&mut process, &mut memory, &call.args);
        successes += usize::from(answer.is_ok());
        log.push((call, answer));
        let (call, answer) = &log[log.len() - 1];
        model.memory.after.clone_from(&memory);
        Log(on, &log).blamed(|| {
            let expected = model.call(call.function, &call.args);
            if model.lost_track {
                return;
            }
            assert!(is_expected(&expected, *answer), "the last call: the model says {expected:?}");
            // Looked at byte by byte only when it differs.
            if memory != model.memory.expected {
                let at = memory.iter().zip(&model.memory.expected).position(|(is, expected)| is != expected);
                panic!("memory after the last call differs first at {at:#x?}");
            }
        });
    }
    if !model.lost_track {
        Log(on, &log).blamed(|| same(&model.tree, ROOT, &namespace, ""));
    }
    (log.len(), successes)
}

fn is_expected(expected: &Result<(), Faults>, answer: CallResult) -> bool {
    match (expected, answer) {
        (Ok(()), Ok(())) => true,
        (Err(faults), Err(Fail::Errno(errno))) => faults.0.contains(&errno),
        _ => false,
    }
}

/// Compares all of a directory.
fn same(tree: &Tree, dir: Id, namespace: &Namespace, path: &str) {
    let listed = namespace.read_dir(if path.is_empty() { "/" } else { path }).unwrap();
    let mut names: Vec<_> = listed.iter().map(|entry| entry.name.to_vec()).collect();
    names.sort();
    assert_eq!(names, tree.entries(dir).keys().cloned().collect::<Vec<_>>(), "entries of {path:?}");
    for (name, &id) in tree.entries(dir) {
        let path = format!("{path}/{}", String::from_utf8_lossy(name));
        match &tree.node(id).kind {
            Kind::Dir(_) => same(tree, id, namespace, &path),
            Kind::Symlink(target) => assert_eq!(&namespace.read_link(&path).unwrap()[..], target, "{path}"),
            Kind::File(content) => {
                assert_eq!(namespace.metadata(&path).unwrap().size, content.size, "{path}");
                if content.size < 1 << 20 {
                    assert_eq!(namespace.read(&path).unwrap(), content.read(0, 1 << 20), "{path}");
                }
            }
        }
    }
}

/// The calls so far, for messages.
struct Log<'a>(On, &'a [(draw::Call, CallResult)]);

impl Log<'_> {
    /// Shows the calls if `work` panics.
    fn blamed<T>(&self, work: impl FnOnce() -> T) -> T {
        struct Blame<'a>(&'a Log<'a>);
        impl Drop for Blame<'_> {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    eprintln!("{}", self.0);
                }
            }
        }
        let _blame = Blame(self);
        work()
    }
}

impl std::fmt::Display for Log<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "on {:?}:", self.0)?;
        for (call, answer) in self.1 {
            let pokes: Vec<_> = call.pokes.iter().map(|(_, bytes)| bytes.escape_ascii().to_string()).collect();
            writeln!(f, "  {:?}({:x?}) {pokes:?} = {answer:?}", call.function, call.args)?;
        }
        Ok(())
    }
}
