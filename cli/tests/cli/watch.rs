//! `mountless run`: runs that repeat, calls that fail on purpose, traces, limits.

use std::fs;

use insta::assert_snapshot;
use mountless_tests::{c_guest, component};

use crate::sandbox::Sandbox;

fn wasm(name: &str) -> String {
    c_guest(name).to_str().unwrap().to_owned()
}

fn with_tmp(sandbox: &Sandbox) -> String {
    sandbox.image("base.cpio", &[("tmp/there", b"already")])
}

#[test]
fn deterministic_runs_are_alike() {
    let sandbox = Sandbox::new();
    let image = with_tmp(&sandbox);
    let trace = sandbox.input("trace");
    let run = |flag: &str| {
        let arguments = ["run", "-i", &image, flag, "--trace", trace.to_str().unwrap(), &wasm("moments"), "/tmp"];
        let done = sandbox.run(arguments);
        assert_eq!((done.code, &*done.stderr), (0, ""));
        (done.stdout, fs::read_to_string(&trace).unwrap())
    };
    let (stdout, calls) = run("--deterministic");
    assert_eq!(run("--deterministic=0"), (stdout.clone(), calls.clone()));
    assert_snapshot!(stdout, @"
    now 1000000000.000005000
    random 6c67375fe6327ca47967bdcb3c9dba7d
    made 1000000000.000011000
    ino 15111065706836454662
    slept for an hour: yes
    ");
    assert_snapshot!(calls, @r#"
    lookup("/tmp") = dir
    lookup("/tmp/made") = ENOENT (no such file or directory)
    create("/tmp/made", file, 0644) = file
    attr("/tmp/made") = file of 0
    "#);
    let other = run("--deterministic=7").0;
    assert_ne!(other, stdout, "another seed");
    assert_eq!(other.lines().count(), stdout.lines().count());
}

/// The program asks for the time, for random bytes, and sleeps for an hour.
#[test]
fn deterministic_runs_save_the_same_image() {
    let sandbox = Sandbox::new();
    let image = with_tmp(&sandbox);
    let component = component::from_module(&c_guest("moments"));
    for (number, wasm) in [wasm("moments"), component.to_str().unwrap().to_owned()].into_iter().enumerate() {
        let run = |turn: u32| {
            let trace = sandbox.input(&format!("trace-{number}-{turn}"));
            let saved = sandbox.input(&format!("saved-{number}-{turn}.tar"));
            let done = sandbox.run([
                "run",
                "-i",
                &image,
                "--deterministic=3",
                "--timeout",
                "5m",
                "--trace",
                trace.to_str().unwrap(),
                "--save",
                saved.to_str().unwrap(),
                &wasm,
                "/tmp",
            ]);
            assert_eq!((done.code, &*done.stderr), (0, ""));
            (done.stdout, fs::read_to_string(&trace).unwrap(), fs::read(&saved).unwrap())
        };
        let first = run(0);
        assert!(first.0.ends_with("slept for an hour: yes\n"), "{}", first.0);
        assert!(first.1.contains("create(\"/tmp/made\""), "{}", first.1);
        assert!(first == run(1), "{wasm}");
    }
}

#[test]
fn a_disk_gets_full_where_it_is_told_to() {
    let sandbox = Sandbox::new();
    let image = with_tmp(&sandbox);
    let run = |flags: &[&str]| {
        let arguments = ["run", "-i", &image].into_iter().chain(flags.iter().copied());
        sandbox.run(arguments.chain([&*wasm("fill"), "/tmp/big", "100"])).shown()
    };
    assert_snapshot!(run(&[]), @"
    100000 bytes

    --- stderr, exit code 0
    ");
    assert_snapshot!(run(&["--disk", "10K"]), @"
    10240 bytes, then: No space left on device

    --- stderr, exit code 1
    ");
    assert_snapshot!(run(&["--fault", "op=write,path=/tmp/**,after_bytes=2500,error=EDQUOT"]), @"
    2500 bytes, then: Quota exceeded

    --- stderr, exit code 1
    ");
    assert_snapshot!(run(&["--fault", "op=create,error=EROFS"]), @"
    open: Read-only file system

    --- stderr, exit code 1
    ");
    assert_snapshot!(run(&["--fault", "op=write,nth=3"]), @"
    2000 bytes, then: I/O error

    --- stderr, exit code 1
     WARN the program is told: input/output error
    ");
    assert_snapshot!(run(&["--fault", "op=wriet"]), @r#"
    --- stderr, exit code 125
    error: invalid value 'op=wriet' for '--fault <SPEC>': op: "wriet" is no kind of call; there are change, lookup, attr, readlink, readdir, read, xattr, xattrs, create, link, unlink, rmdir, rename, write, setattr, allocate, setxattr, rmxattr, sync

    For more information, try '--help'.
    "#);
}

#[test]
fn a_trace_in_json_is_an_object_a_line() {
    let sandbox = Sandbox::new();
    let image = with_tmp(&sandbox);
    let done =
        sandbox.run(["run", "-i", &image, "--trace", "-", "--trace-format", "json", &wasm("fill"), "/tmp/f", "1"]);
    assert_eq!((done.code, &*done.stdout), (0, "1000 bytes\n"));
    let calls: Vec<serde_json::Value> = done.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let write = calls.iter().find(|call| call["op"] == "write").unwrap();
    assert_eq!((&write["path"], &write["len"], &write["result"]), (&"/tmp/f".into(), &1000.into(), &1000.into()));
    assert!(calls.iter().all(|call| call["seconds"].is_number()));
}

#[test]
fn fuel_runs_out() {
    let sandbox = Sandbox::new();
    let image = with_tmp(&sandbox);
    let spun = sandbox.run(["run", "-i", &image, "--fuel", "1000000", &wasm("spin")]);
    assert_eq!((spun.code, &*spun.stdout), (124, ""));
    assert!(spun.stderr.ends_with("spin.wasm: not done after 1000000 instructions\n"), "{}", spun.stderr);
    let enough = sandbox.run(["run", "-i", &image, "--fuel", "100000000", &wasm("fill"), "/tmp/f", "3"]);
    assert_eq!((enough.code, &*enough.stdout), (0, "3000 bytes\n"));
}
