//! Traces and faults over a memory filesystem.

use std::io::{self, Write};
use std::sync::Mutex;

use super::*;
use crate::backend::mem::MemFs;
use crate::compose::fault::{Fault, Faults};
use crate::compose::trace::{TraceFormat, Tracer};
use crate::errno::Errno;
use crate::namespace::{Namespace, OpenHow, WalkCache};

fn memory() -> Arc<dyn FileSystem> {
    Arc::new(MemFs::new())
}

fn faulty(specs: &[&str]) -> Namespace {
    let faults = Faults::new(specs.iter().map(|spec| spec.parse().unwrap()));
    Namespace::new(Arc::new(faults.over(memory())))
}

fn errno<T: Debug>(result: Result<T>) -> Errno {
    result.unwrap_err().errno()
}

/// Lines for all to see.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn traced(format: TraceFormat, act: impl FnOnce(&Namespace)) -> String {
    let lines = Lines::default();
    act(&Namespace::new(Arc::new(Tracer::new(Box::new(lines.clone()), format).without_times().over(memory()))));
    let bytes = lines.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

fn a_little_of_everything(namespace: &Namespace) {
    namespace.create_dir("dir").unwrap();
    namespace.write("dir/a \"b\"\n", "hello").unwrap();
    assert_eq!(namespace.read("dir/a \"b\"\n").unwrap(), b"hello");
    namespace.rename("dir", "moved").unwrap();
    namespace.symlink("moved", "link").unwrap();
    assert_eq!(errno(namespace.read("link/none")), Errno::NotFound);
    namespace.remove_file("moved/a \"b\"\n").unwrap();
}

#[test]
fn a_trace_reads_like_strace() {
    insta::assert_snapshot!(traced(TraceFormat::Text, a_little_of_everything));
}

#[test]
fn a_trace_in_json_has_the_same_calls() {
    insta::assert_snapshot!(traced(TraceFormat::Json, a_little_of_everything));
}

#[test]
fn an_open_file_is_called_by_its_new_name_when_its_directory_moves() {
    let trace = traced(TraceFormat::Text, |namespace| {
        namespace.create_dir_all("a/b").unwrap();
        namespace.write("a/b/f", "x").unwrap();
        let file = namespace.open_at(namespace.root(), b"a/b/f", &OpenHow::READ).unwrap();
        namespace.rename("a", "z").unwrap();
        assert_eq!(file.read_at(0, &mut [0; 4]).unwrap(), 1);
    });
    assert_eq!(trace.lines().last().unwrap(), "read(\"/z/b/f\", 0, 4) = 1");
}

#[test]
fn nothing_is_remembered_of_what_is_forgotten() {
    let watched = Arc::new(Tracer::new(Box::new(io::sink()), TraceFormat::Text).over(memory()));
    let namespace = Namespace::new(Arc::<Watched>::clone(&watched));
    namespace.create_dir_all("a/b/c").unwrap();
    let file = namespace.open_at(namespace.root(), b"a/b/c/f", &OpenHow::WRITE).unwrap();
    assert_eq!(watched.places.count(), 5, "the root, three directories, a file");
    drop(file);
    assert_eq!(watched.places.count(), 1);
}

#[test]
fn a_disk_gets_full_in_the_middle_of_a_write() {
    let namespace = faulty(&["op=write,path=/var/**,after_bytes=10,error=ENOSPC"]);
    namespace.create_dir_all("var/log").unwrap();
    namespace.write("elsewhere", [0; 100]).unwrap();
    let mut file = namespace.open_at(namespace.root(), b"var/log/x", &OpenHow::WRITE).unwrap();
    assert_eq!(file.write(b"123456").unwrap(), 6);
    assert_eq!(file.write(b"789abc").unwrap(), 4, "what fits");
    assert_eq!(errno(file.write(b"!")), Errno::NoSpace);
    assert_eq!(namespace.read("var/log/x").unwrap(), b"123456789a");
}

#[test]
fn the_third_sync_fails_and_only_that() {
    let namespace = faulty(&["op=sync,nth=3"]);
    let file = namespace.open_at(namespace.root(), b"f", &OpenHow::WRITE).unwrap();
    let answers: Vec<bool> = (0..5).map(|_| file.sync(true).is_ok()).collect();
    assert_eq!(answers, [true, true, false, true, true]);
}

#[test]
fn reads_are_cut_short_and_seen_though_the_image_could_be_held() {
    let namespace = faulty(&["op=read,short=3"]);
    namespace.write("f", "abcdefgh").unwrap();
    let mut file = namespace.open_at(namespace.root(), b"f", &OpenHow::READ).unwrap();
    let mut buf = [0; 8];
    assert_eq!((file.read(&mut buf).unwrap(), file.read(&mut buf).unwrap()), (3, 3));
    assert_eq!(&buf[..3], b"def");
}

#[test]
fn lookups_fail_even_for_who_remembers_walks() {
    let namespace = faulty(&["op=lookup,path=/f,nth=2,error=EACCES"]);
    namespace.write("f", "").unwrap();
    // Writing asked once.
    let mut cache = WalkCache::default();
    let follow = crate::namespace::Follow::Yes;
    assert_eq!(errno(cache.walk(&namespace, namespace.root(), b"f", follow)), Errno::Access);
    assert!(cache.walk(&namespace, namespace.root(), b"f", follow).is_ok());
}

#[test]
fn chance_repeats_with_its_seed() {
    let pattern = |seed: u32| {
        let namespace = faulty(&[&format!("op=create,probability=0.5,seed={seed}")]);
        (0..64).map(|number| namespace.create_dir(format!("{number}")).is_ok()).collect::<Vec<_>>()
    };
    let (one, again, other) = (pattern(1), pattern(1), pattern(2));
    assert_eq!(one, again);
    assert_ne!(one, other);
    let share = one.iter().filter(|ok| **ok).count();
    assert!((16..48).contains(&share), "{share} of 64");
}

#[test]
fn a_specification_says_what_is_wrong_with_it() {
    for (spec, said) in [
        ("op=wriet", "op: \"wriet\" is no kind of call; there are change, lookup, attr"),
        ("error=NOSPC", "error: \"NOSPC\" is no error known here; write it like ENOSPC"),
        ("nth=0", "nth: counts from 1"),
        ("probability=2", "probability: \"2\" is not between 0 and 1"),
        ("ENOSPC", "ENOSPC: expected key=value"),
        ("what=1", "what: no such key; there are op, path"),
        ("after_bytes=x", "after_bytes: \"x\" is not a size"),
        ("path=/a[", "path: "),
    ] {
        let error = spec.parse::<Fault>().unwrap_err().to_string();
        assert!(error.starts_with(said), "{spec}: {error}");
    }
    let fault: Fault = "op=change|read,path=/{a,b}/*".parse().unwrap();
    let calls = |path: &'static [u8], kind| fault_meets(&fault, path, kind);
    assert!(calls(b"/b/x", OpKind::Write) && calls(b"/a/x", OpKind::Read));
    assert!(!calls(b"/c/x", OpKind::Read) && !calls(b"/a/x/y", OpKind::Read) && !calls(b"/a/x", OpKind::Attr));
}

fn fault_meets(fault: &Fault, path: &[u8], kind: OpKind) -> bool {
    let faults = Faults::new([fault.clone()]);
    faults.before(&Op { kind, path, args: Args::None }).is_err()
}
