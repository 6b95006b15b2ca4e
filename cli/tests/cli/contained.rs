//! `mountless run`: a program has what it was given, and no more.

use mountless_tests::component::{Preview, of_world};

use crate::sandbox::{Done, Sandbox};

fn wasm(sandbox: &Sandbox, text: &str) -> String {
    sandbox.file("guest.wasm", wat::parse_str(text).unwrap())
}

fn run(limits: &[&str], text: &str) -> Done {
    let sandbox = Sandbox::new();
    let wasm = wasm(&sandbox, text);
    sandbox.run(["run", "--timeout", "100s"].iter().chain(limits).chain([&&*wasm]))
}

#[test]
fn many_memories_have_together_what_one_may_have() {
    let memories = |count: usize| {
        let memories = "(memory 16)".repeat(count);
        format!(r#"(module (memory (export "memory") 1) {memories} (func (export "_start")))"#)
    };
    assert_eq!(run(&["--memory", "4M"], &memories(3)).code, 0);
    let done = run(&["--memory", "4M"], &memories(4));
    assert_eq!(done.code, 125, "{}", done.shown());
    assert!(done.stderr.contains("memory limits") && done.stderr.contains("next: --memory SIZE"), "{}", done.stderr);
    // Those of all instances of a component.
    let component = |count: usize| {
        let instances = "(core instance (instantiate $part))".repeat(count);
        format!(
            r#"(component (core module $part (memory 16)) {instances}
                (core module $code (func (export "run")))
                (core instance $code (instantiate $code))
                (func (export "run") (canon lift (core func $code "run"))))"#
        )
    };
    let run = |count| run(&["--memory", "4M", "--invoke", "run"], &component(count)).code;
    assert_eq!((run(4), run(5)), (0, 125));
}

#[test]
fn tables_are_memory_too() {
    let tables = |count: usize| {
        let tables = "(table 100000 funcref)".repeat(count);
        format!(r#"(module (memory (export "memory") 1) {tables} (func (export "_start")))"#)
    };
    assert_eq!(run(&["--memory", "4M"], &tables(5)).code, 0);
    let done = run(&["--memory", "4M"], &tables(6));
    assert_eq!(done.code, 125, "{}", done.shown());
    assert!(done.stderr.contains("table limits"), "{}", done.stderr);
    // Without a limit there is one all the same.
    let large = format!(r#"(module {} (func (export "_start")))"#, "(table 2000000 funcref)".repeat(6));
    assert_eq!(run(&[], &large).code, 125);
}

#[test]
fn empty_files_fill_a_disk_too() {
    // Makes directories of ever new names until it cannot, and ends with the errno.
    let text = r#"(module
        (import "wasi_snapshot_preview1" "path_create_directory" (func $mkdir (param i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (func (export "_start") (local $number i32) (local $at i32) (local $errno i32)
            (loop $next
                (local.set $number (i32.add (local.get $number) (i32.const 1)))
                (local.set $at (i32.const 8))
                ;; Eight digits from `a` on.
                (loop $digit
                    (local.set $at (i32.sub (local.get $at) (i32.const 1)))
                    (i32.store8 (local.get $at) (i32.add (i32.const 97)
                        (i32.and (i32.const 15) (i32.shr_u (local.get $number) (i32.shl (local.get $at) (i32.const 2))))))
                    (br_if $digit (local.get $at)))
                (local.set $errno (call $mkdir (i32.const 3) (i32.const 0) (i32.const 8)))
                (br_if $next (i32.eqz (local.get $errno))))
            (call $exit (local.get $errno))))"#;
    let done = run(&["--disk", "1M"], text);
    assert_eq!(done.code, 51, "ENOSPC: {}", done.shown());
}

/// Starts `count` listings of its root and ends none.
fn lists(count: u32) -> Vec<u8> {
    let module = format!(
        r#"(module
            (import "wasi:filesystem/preopens@0.2.12" "get-directories" (func $directories (param i32)))
            (import "wasi:filesystem/types@0.2.12" "[method]descriptor.read-directory" (func $list (param i32 i32)))
            (memory (export "memory") 1)
            ;; The list at 1024, and its only name behind it.
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (select (i32.const 1024) (i32.const 2048) (i32.eq (local.get 2) (i32.const 4))))
            (func (export "wasi:cli/run@0.2.12#run") (result i32) (local $left i32)
                (call $directories (i32.const 0))
                (local.set $left (i32.const {count}))
                (loop $next
                    (call $list (i32.load (i32.const 1024)) (i32.const 0))
                    (if (i32.load8_u (i32.const 0)) (then (return (i32.const 1))))
                    (br_if $next (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
                (i32.const 0)))"#
    );
    let world = "package mountless:guest;
        world lists {
            import wasi:filesystem/types@0.2.12;
            import wasi:filesystem/preopens@0.2.12;
            export wasi:cli/run@0.2.12;
        }";
    of_world(Preview::Two, wat::parse_str(module).unwrap(), world)
}

#[test]
fn what_a_component_has_open_is_bounded() {
    let sandbox = Sandbox::new();
    let run = |descriptors: &str, count| {
        sandbox.run(["run", "--descriptors", descriptors, &sandbox.file("lists.wasm", lists(count))])
    };
    let few = run("10", 1000);
    assert_eq!(few.code, 0, "{}", few.shown());
    let done = run("10", 2000);
    assert_eq!(done.code, 134, "{}", done.shown());
    assert!(done.stderr.contains("resource table"), "{}", done.stderr);
    let more = run("2000", 2000);
    assert_eq!(more.code, 0, "{}", more.shown());
}

/// Allocates arrays of 1 KiB for ever, and keeps as many as it is told.
const COLLECTED: &str = r#"(module
    (type $bytes (array (mut i8)))
    (type $kept (array (mut (ref null $bytes))))
    (func (export "collect") (param $kept i32) (param $made i32)
        (local $all (ref $kept)) (local $next i32)
        (local.set $all (array.new_default $kept (local.get $kept)))
        (loop $again
            (array.set $kept (local.get $all) (i32.rem_u (local.get $next) (local.get $kept))
                (array.new_default $bytes (i32.const 1024)))
            (local.set $next (i32.add (local.get $next) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $next) (local.get $made))))))"#;

#[test]
fn what_the_engine_collects_for_a_program_is_its_memory_too() {
    let collect = |kept, made| {
        let sandbox = Sandbox::new();
        let wasm = wasm(&sandbox, COLLECTED);
        sandbox.run(["run", "--timeout", "100s", "--memory", "16M", "--invoke", "collect", &wasm, kept, made])
    };
    let done = collect("1000", "100000");
    assert_eq!(done.code, 0, "{}", done.shown());
    let done = collect("20000", "100000");
    assert_eq!(done.code, 134, "{}", done.shown());
    assert!(done.stderr.contains("GC heap out of memory"), "{}", done.stderr);
}
