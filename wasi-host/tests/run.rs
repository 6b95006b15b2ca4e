//! Small guests on the engine: entry, exit, traps, time limits, streams.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use mountless::backend::mem::MemFs;
use mountless::namespace::Namespace;
use mountless_wasi::run::{Cache, Outcome, Output, Preopen, Program, RunError, RunOptions, Runner, Stdin};
use wasmtime_wasi::p2::pipe::{ClosedOutputStream, MemoryOutputPipe};

/// The functions that the guests use, and a memory.
const IMPORTS: &str = r#"
    (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_prestat_get" (func $prestat (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_create_directory" (func $mkdir (param i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_filestat_get" (func $stat (param i32 i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 2)
"#;

fn runner() -> Runner {
    Runner::new(&Cache::Off).unwrap()
}

fn wasm(body: &str) -> Vec<u8> {
    wat::parse_str(format!("(module {IMPORTS} {body})")).unwrap()
}

fn program(runner: &Runner, body: &str) -> Program {
    runner.compile(&wasm(body)).unwrap()
}

fn namespace() -> Namespace {
    Namespace::new(Arc::new(MemFs::new()))
}

fn run_with(body: &str, options: RunOptions) -> Outcome {
    let runner = runner();
    runner.run(&program(&runner, body), &namespace(), options).unwrap()
}

fn run(body: &str) -> Outcome {
    run_with(body, RunOptions::default())
}

#[test]
fn a_runner_without_time_limits_runs_all_the_same() {
    let runner = Runner::uninterruptible(&Cache::Off).unwrap();
    let program = program(&runner, r#"(func (export "_start") (call $exit (i32.const 7)))"#);
    assert_eq!(runner.run(&program, &namespace(), RunOptions::default()).unwrap(), Outcome::Exited(7));
    let limited = RunOptions { timeout: Some(Duration::from_secs(1)), ..RunOptions::default() };
    assert!(matches!(runner.run(&program, &namespace(), limited), Err(RunError::Uninterruptible)));
}

#[test]
fn exit_codes_are_passed_on_as_they_are() {
    assert_eq!(run(r#"(func (export "_start"))"#), Outcome::Exited(0));
    for code in [0, 1, 3, 126, 134, 255, 300, -1] {
        let body = format!(r#"(func (export "_start") (call $exit (i32.const {code})) unreachable)"#);
        assert_eq!(run(&body), Outcome::Exited(code));
    }
}

#[test]
fn traps_tell_what_and_where() {
    let Outcome::Trapped(message) = run(r#"(func $culprit unreachable) (func (export "_start") (call $culprit))"#)
    else {
        panic!("no trap")
    };
    assert!(message.contains("unreachable") && message.contains("culprit"), "{message}");
    let Outcome::Trapped(message) = run(r#"(func $deep (export "_start") (call $deep))"#) else { panic!("no trap") };
    assert!(message.contains("stack"), "{message}");
    assert!(matches!(run(r#"(func $s unreachable) (start $s) (func (export "_start"))"#), Outcome::Trapped(_)));
}

#[test]
fn reactors_are_initialized() {
    assert_eq!(run(r#"(func (export "_initialize") (call $exit (i32.const 7)))"#), Outcome::Exited(7));
    let both = r#"(func (export "_initialize") (call $exit (i32.const 7))) (func (export "_start"))"#;
    assert_eq!(run(both), Outcome::Exited(0));
    let runner = runner();
    let library = program(&runner, r#"(func (export "main"))"#);
    let neither = runner.run(&library, &namespace(), RunOptions::default()).unwrap_err();
    assert!(matches!(neither, RunError::NoEntry), "{neither}");
    assert!(neither.to_string().contains("_initialize"));
}

#[test]
fn the_time_limit_ends_loops_and_waits() {
    let runner = runner();
    let sleep = r#"(data (i32.const 24) "\ff\ff\ff\ff\ff\ff\ff\7f")
        (func (export "_start") (drop (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128))))"#;
    for body in [
        r#"(func (export "_start") (loop $l (br $l)))"#,
        r#"(func $s (loop $l (br $l))) (start $s) (func (export "_start"))"#,
        sleep,
    ] {
        let program = program(&runner, body);
        let started = Instant::now();
        let options = RunOptions { timeout: Some(Duration::from_millis(50)), ..RunOptions::default() };
        assert_eq!(runner.run(&program, &namespace(), options).unwrap(), Outcome::TimedOut, "{body}");
        assert!(started.elapsed() >= Duration::from_millis(50), "too early: {body}");
        assert!(started.elapsed() < Duration::from_secs(20), "too late: {body}");
    }
}

#[test]
fn a_time_limit_is_the_runs_own() {
    let runner = runner();
    let endless = program(&runner, r#"(func (export "_start") (loop $l (br $l)))"#);
    // Counts for a while, across the deadlines of the others.
    let busy = program(
        &runner,
        r#"(func (export "_start") (local i64)
            (loop $l (br_if $l (i64.lt_u (local.tee 0 (i64.add (local.get 0) (i64.const 1))) (i64.const 100000000)))))"#,
    );
    let limited = |timeout| RunOptions { timeout, ..RunOptions::default() };
    std::thread::scope(|scope| {
        let unlimited = scope.spawn(|| runner.run(&busy, &namespace(), limited(None)).unwrap());
        let generous = scope.spawn(|| runner.run(&busy, &namespace(), limited(Some(Duration::from_secs(60)))).unwrap());
        for millis in [5, 10, 15] {
            let options = limited(Some(Duration::from_millis(millis)));
            assert_eq!(runner.run(&endless, &namespace(), options).unwrap(), Outcome::TimedOut);
        }
        assert_eq!(unlimited.join().unwrap(), Outcome::Exited(0));
        assert_eq!(generous.join().unwrap(), Outcome::Exited(0));
    });
}

/// Copies input to output until it ends or fails, and exits with the error of the write.
const COPY: &str = r#"
    (data (i32.const 0) "\00\01\00\00\00\10\00\00")
    (func (export "_start") (local i32)
        (loop $more
            (i32.store (i32.const 4) (i32.const 4096))
            (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 4)))
            (if (i32.eqz (i32.load (i32.const 4))) (then (return)))
            (local.set 0 (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
            (if (local.get 0) (then (call $exit (local.get 0))))
            (br $more)))"#;

#[test]
fn input_reaches_output() {
    let input: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let out = MemoryOutputPipe::new(1 << 20);
    let options = RunOptions {
        stdin: Stdin::Bytes(input.clone()),
        stdout: Output::Stream(Box::new(out.clone())),
        ..RunOptions::default()
    };
    assert_eq!(run_with(COPY, options), Outcome::Exited(0));
    assert_eq!(out.contents(), input);
}

#[test]
fn a_closed_pipe_is_the_guests_to_handle() {
    let options = RunOptions {
        stdin: Stdin::Bytes(b"x".to_vec()),
        stdout: Output::Stream(Box::new(ClosedOutputStream)),
        ..RunOptions::default()
    };
    assert_eq!(run_with(COPY, options), Outcome::Exited(64), "EPIPE");
}

#[test]
fn the_tree_is_the_root_preopen() {
    let runner = runner();
    let program = program(
        &runner,
        r#"(data (i32.const 0) "made")
        (func (export "_start") (call $exit (call $mkdir (i32.const 3) (i32.const 0) (i32.const 4))))"#,
    );
    let namespace = namespace();
    assert_eq!(runner.run(&program, &namespace, RunOptions::default()).unwrap(), Outcome::Exited(0));
    assert_eq!(runner.run(&program, &namespace, RunOptions::default()).unwrap(), Outcome::Exited(20), "EEXIST");
    assert!(namespace.exists("/made").unwrap());
}

#[test]
fn the_working_directory_is_the_first_preopen() {
    let runner = runner();
    // Whether `here` is in descriptor 3 and descriptor 4 is there too: 0, else an error.
    let program = program(
        &runner,
        r#"(data (i32.const 0) "here")
        (func (export "_start")
            (call $exit (i32.or
                (call $stat (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 64))
                (call $prestat (i32.const 4) (i32.const 64)))))"#,
    );
    let namespace = namespace();
    namespace.create_dir_all("/app/here").unwrap();
    let at = |workdir: &str| RunOptions { workdir: Some(workdir.to_owned()), ..RunOptions::default() };
    assert_eq!(runner.run(&program, &namespace, at("/app")).unwrap(), Outcome::Exited(0));
    assert_ne!(runner.run(&program, &namespace, at("/")).unwrap(), Outcome::Exited(0), "nothing is added for /");
    let error = runner.run(&program, &namespace, at("/missing")).unwrap_err();
    assert!(matches!(&error, RunError::Preopen { path, .. } if path == "/missing"), "{error}");
    let preopens = vec![Preopen::new("x", "/app")];
    let options = RunOptions { preopens, ..RunOptions::default() };
    assert_eq!(runner.run(&program, &namespace, options).unwrap(), Outcome::Exited(8), "only one descriptor");
}

#[test]
fn nothing_is_changed_through_a_read_only_preopen() {
    let runner = runner();
    // Descriptor 3 is read-only, 4 is not, and both are the same directory.
    let imports = r#"
        (import "wasi_snapshot_preview1" "path_link" (func $link (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_rename" (func $rename (param i32 i32 i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_create_directory" (func $mkdir (param i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_open"
            (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_filestat_set_times" (func $times (param i32 i64 i64 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "file") (data (i32.const 8) "made") (data (i32.const 16) "link")
        (func $expect (param i32) (param i32)
            (if (i32.ne (local.get 0) (local.get 1)) (then (call $exit (i32.add (local.get 0) (i32.const 100))))))"#;
    let body = r#"(func (export "_start")
        (call $expect (call $mkdir (i32.const 3) (i32.const 8) (i32.const 4)) (i32.const 69))
        (call $expect (call $link (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 4) (i32.const 16)
            (i32.const 4)) (i32.const 69))
        (call $expect (call $link (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 3) (i32.const 16)
            (i32.const 4)) (i32.const 69))
        (call $expect (call $rename (i32.const 3) (i32.const 0) (i32.const 4) (i32.const 4) (i32.const 16)
            (i32.const 4)) (i32.const 69))
        (call $expect (call $rename (i32.const 4) (i32.const 0) (i32.const 4) (i32.const 3) (i32.const 16)
            (i32.const 4)) (i32.const 69))
        (call $expect (call $open (i32.const 3) (i32.const 1) (i32.const 0) (i32.const 4) (i32.const 8) (i64.const 64)
            (i64.const 0) (i32.const 0) (i32.const 32)) (i32.const 69))
        (call $expect (call $open (i32.const 3) (i32.const 1) (i32.const 0) (i32.const 4) (i32.const 0) (i64.const 2)
            (i64.const 0) (i32.const 0) (i32.const 32)) (i32.const 0))
        (call $expect (call $times (i32.load (i32.const 32)) (i64.const 0) (i64.const 0) (i32.const 4)) (i32.const 69))
        ;; What was walked to read-only is not remembered for the other.
        (call $expect (call $open (i32.const 4) (i32.const 1) (i32.const 0) (i32.const 4) (i32.const 0) (i64.const 64)
            (i64.const 0) (i32.const 0) (i32.const 32)) (i32.const 0))
        (call $expect (call $open (i32.const 3) (i32.const 1) (i32.const 0) (i32.const 4) (i32.const 0) (i64.const 64)
            (i64.const 0) (i32.const 0) (i32.const 32)) (i32.const 69))
        (call $expect (call $mkdir (i32.const 4) (i32.const 8) (i32.const 4)) (i32.const 0)))"#;
    let program = runner.compile(&wat::parse_str(format!("(module {imports} {body})")).unwrap()).unwrap();
    let namespace = namespace();
    namespace.create_dir("dir").unwrap();
    namespace.write("dir/file", "content").unwrap();
    let preopens = vec![Preopen { read_only: true, ..Preopen::new("/r", "/dir") }, Preopen::new("/w", "/dir")];
    let options = RunOptions { preopens, ..RunOptions::default() };
    assert_eq!(runner.run(&program, &namespace, options).unwrap(), Outcome::Exited(0));
    assert_eq!(namespace.read("dir/file").unwrap(), b"content");
    assert!(namespace.exists("dir/made").unwrap() && !namespace.exists("dir/link").unwrap());
}

#[test]
fn what_cannot_run_is_refused_with_a_reason() {
    let runner = runner();
    let refused = |wasm: &[u8]| runner.compile(wasm).unwrap_err().to_string();
    assert!(refused(b"#!/bin/sh\n").contains("script"));
    assert!(refused(b"\x7fELF").contains("ELF"));
    assert!(refused(b"(module)").contains("text format"));
    assert!(refused(&wat::parse_str(r#"(component (import "x" (func)))"#).unwrap()).contains("does not link"));
    assert!(refused(b"\0asm\x01\0\0\0\xff").contains("does not compile"));

    let module = |text: &str| wat::parse_str(text).unwrap();
    let preview0 = r#"(module (import "wasi_unstable" "fd_close" (func (param i32) (result i32))))"#;
    assert!(refused(&module(preview0)).contains("preview 0"));
    let unknown = r#"(module (import "wasi_snapshot_preview1" "fd_frob" (func)))"#;
    assert!(refused(&module(unknown)).contains("fd_frob"));
    let foreign = r#"(module (import "env" "f" (func)) (func (export "_start")))"#;
    assert!(refused(&module(foreign)).contains("env"));
    let threads = r#"(module (memory (export "memory") 1 1 shared) (func (export "_start")))"#;
    let threads = refused(&module(threads));
    assert!(threads.contains("shared") || threads.contains("threads"), "{threads}");
}

#[test]
fn a_call_without_a_memory_is_a_trap() {
    let runner = runner();
    let no_memory = r#"(module (import "wasi_snapshot_preview1" "sched_yield" (func $f (result i32)))
        (func (export "_start") (drop (call $f))))"#;
    let program = runner.compile(&wat::parse_str(no_memory).unwrap()).unwrap();
    let outcome = runner.run(&program, &namespace(), RunOptions::default()).unwrap();
    assert!(matches!(&outcome, Outcome::Trapped(message) if message.contains("memory")), "{outcome:?}");
}

#[test]
fn memory_is_limited_as_asked() {
    let grow = r#"(func (export "_start") (call $exit (memory.grow (i32.const 100))))"#;
    assert_eq!(run(grow), Outcome::Exited(2));
    let limited = || RunOptions { memory_max: Some(1 << 20), ..RunOptions::default() };
    assert_eq!(run_with(grow, limited()), Outcome::Exited(-1));
    let runner = runner();
    let large = wat::parse_str(r#"(module (memory (export "memory") 100) (func (export "_start")))"#).unwrap();
    let error = runner.run(&runner.compile(&large).unwrap(), &namespace(), limited()).unwrap_err();
    assert!(matches!(error, RunError::Instantiate(_)), "{error}");
}

#[test]
fn memory_grows_under_the_remembered_handle() {
    // The new page is where the path lies and the second call's result goes.
    let body = r#"(func (export "_start")
        (if (call $args_sizes (i32.const 0) (i32.const 4)) (then unreachable))
        (if (i32.ne (memory.grow (i32.const 100)) (i32.const 2)) (then unreachable))
        (call $exit (call $args_sizes (i32.const 6000000) (i32.const 6000004))))"#;
    assert_eq!(run(body), Outcome::Exited(0));
}

#[test]
fn compiled_code_is_kept_in_the_directory_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::Dir(dir.path().join("deep/cache"));
    let files = || walk(dir.path());
    for _ in 0..2 {
        let runner = Runner::new(&cache).unwrap();
        let program = program(&runner, r#"(func (export "_start") (call $exit (i32.const 5)))"#);
        assert_eq!(runner.run(&program, &namespace(), RunOptions::default()).unwrap(), Outcome::Exited(5));
    }
    assert!(files() > 0);
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(matches!(Runner::new(&Cache::Dir(file)), Err(RunError::Engine(_))));
}

fn walk(dir: &std::path::Path) -> usize {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| if entry.file_type().unwrap().is_dir() { walk(&entry.path()) } else { 1 })
        .sum()
}
