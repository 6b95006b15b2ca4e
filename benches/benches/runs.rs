//! How many short runs a process makes: a small guest, each time in a new instance on its own view of one image of
//! 200 MB, on two threads; and what a thousand views hold that have been used and are idle.

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mountless::Stack;
use mountless::namespace::Namespace;
use mountless::open::{OpenOptions, open_source};
use mountless::source::BytesSource;
use mountless_benches::large_image;
use mountless_wasi::run::{Cache, Outcome, RunOptions, Runner};

const THREADS: usize = 2;
const VIEWS: usize = 1000;
const ROUNDS: usize = 9;

/// Reads a file of the image, writes one of its own, and exits with 0 if both succeeded.
const GUEST: &str = r#"(module
    (import "wasi_snapshot_preview1" "path_open"
        (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (data (i32.const 16) "\00\10\00\00\00\10\00\00")
    (data (i32.const 64) "usr/lib/package-0003/module-00301.so")
    (data (i32.const 128) "result")
    (func $check (param i32) (if (local.get 0) (then (call $exit (local.get 0)))))
    (func (export "_start")
        (call $check (call $open (i32.const 3) (i32.const 1) (i32.const 64) (i32.const 36) (i32.const 0) (i64.const 2)
            (i64.const 0) (i32.const 0) (i32.const 0)))
        (call $check (call $read (i32.load (i32.const 0)) (i32.const 16) (i32.const 1) (i32.const 4)))
        (if (i32.ne (i32.load (i32.const 4)) (i32.const 4096)) (then (call $exit (i32.const 99))))
        (call $check (call $open (i32.const 3) (i32.const 1) (i32.const 128) (i32.const 6) (i32.const 9) (i64.const 64)
            (i64.const 0) (i32.const 0) (i32.const 0)))
        (call $check (call $write (i32.load (i32.const 0)) (i32.const 16) (i32.const 1) (i32.const 4)))))"#;

/// Bytes of memory that the process holds.
fn resident() -> Result<usize, Box<dyn std::error::Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse::<usize>()? << 10)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let archive = large_image(20_000, 10_000)?;
    println!("an image of {} MB", archive.len() / 1_000_000);
    let source = Arc::new(BytesSource::new(archive.into()));
    let stack = Stack::from_images(vec![open_source(source, None, &OpenOptions::default())?]);
    let runner = Runner::new(&Cache::Off)?;
    let program = runner.compile(&wat::parse_str(GUEST)?)?;
    let run = || {
        let view = Namespace::new(stack.with_memory_upper().unwrap_or_else(|error| panic!("{error}")));
        match runner.run(&program, &view, RunOptions::default()) {
            Ok(Outcome::Exited(0)) => view,
            other => panic!("{other:?}"),
        }
    };
    let views = || -> Vec<Namespace> {
        thread::scope(|scope| {
            let work = || (0..VIEWS / THREADS).map(|_| run()).collect::<Vec<_>>();
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
        })
    };

    // The first round also fills what is there once for all; it is kept, so that nothing of it is used again.
    let first = views();
    let before = resident()?;
    let kept = views();
    assert_eq!((first.len(), kept.len()), (VIEWS, VIEWS), "no run panicked");
    let grown = resident()?.saturating_sub(before);
    println!("an idle view holds {:.1} KiB, of which its own file is 4", kib(grown) / count(VIEWS));
    assert!(kept.iter().all(|view| view.metadata("result").is_ok_and(|attr| attr.size == 4096)));
    drop((first, kept));

    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let kept = views();
        best = best.min(start.elapsed());
        drop(kept);
    }
    println!("{:.0} runs a second on {THREADS} threads", count(VIEWS) / best.as_secs_f64());
    Ok(())
}

fn kib(bytes: usize) -> f64 {
    count(bytes) / 1024.0
}

fn count(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
