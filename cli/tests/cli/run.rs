//! `mountless run`: real programs, and everything that can be wrong with one.

use std::fs;
use std::time::{Duration, Instant};

use insta::assert_snapshot;
use mountless_tests::{c_guest, component, put, put_files_tree, python};

use crate::sandbox::Sandbox;

fn wasm(name: &str) -> String {
    c_guest(name).to_str().unwrap().to_owned()
}

#[test]
fn the_demo_runs_as_the_readme_says() {
    let demo = xtask::demo::path();
    let built = xtask::demo::build().unwrap();
    assert!(fs::read(&demo).unwrap() == built, "run `cargo xtask demo-image`: the image differs from its sources");
    let done = Sandbox::new().run(["run", "-i", demo.to_str().unwrap(), "image:/bin/demo.wasm"]);
    assert_snapshot!(done.shown(), @"
    / holds: bin etc tmp
    Hello from inside an image.
    written to memory: the image stays as it is

    --- stderr, exit code 0
    ");
}

#[test]
fn a_c_program_has_nothing_but_the_image() {
    let sandbox = Sandbox::new();
    let image = sandbox.image_of("base.cpio", |dir| {
        put_files_tree(dir);
        put(dir, "bin/files.wasm", fs::read(c_guest("files")).unwrap());
    });
    let before = fs::read(&image).unwrap();
    let done = sandbox.run(["run", "-i", &image, "image:/bin/files.wasm", "/", "7"]);
    assert_eq!((done.code, &*done.stderr), (7, ""));
    assert!(
        done.stdout.starts_with("list .: ../ ./ bin/ etc/ share/\netc/motd: 8 bytes: welcome\n"),
        "{}",
        done.stdout
    );
    assert!(before == fs::read(&image).unwrap(), "the image was changed");
}

#[test]
fn cpython_has_its_library_in_the_image_and_changes_it() {
    let sandbox = Sandbox::new();
    let (interpreter, library) = python::interpreter_and_library();
    let image = sandbox.image_of("python.cpio", |dir| {
        mountless_tests::copy_tree(&library, &dir.join("py312"));
        put(dir, "py312/lib/python3.12/marker_in_image.py", "VALUE = 'from the image'\n");
        put(dir, "walk.py", fs::read(xtask::workspace().join("tests/guests/walk.py")).unwrap());
    });
    let before = fs::read(&image).unwrap();
    let home = format!("PYTHONHOME={}", python::HOME);
    let environment = ["--env", &home, "--env", "PYTHONDONTWRITEBYTECODE=1", "--env", "GREETING=hello"];
    let done = sandbox.run(["run", "-i", &image].into_iter().chain(environment).chain([
        interpreter.to_str().unwrap(),
        "/walk.py",
        "/py312/lib/python3.12",
        "9",
    ]));
    // What is walked depends on the wheel alone; `elsewhere []`: no module came from the interpreter's own copy.
    assert_snapshot!(done.shown(), @"
    prefix /py312
    walked 34 462 8493974 1289e31b4674ac69
    imported 68 elsewhere []
    wrote /tmp/work 39555 file  100 ['a', 'copy']
    wrote /new 39555 file  100 ['a', 'copy']
    wrote /py312/lib/python3.12/new 39555 file  100 ['a', 'copy']
    changed from the image True 42 False
    environment hello arguments 3

    --- stderr, exit code 9
    ");
    assert!(before == fs::read(&image).unwrap(), "the image was changed");

    let done = sandbox.run_with_input(
        ["run", "-i", &image, "--env", &home, interpreter.to_str().unwrap(), "-c", "print(input()[::-1])"],
        b"standard input\n",
    );
    assert_snapshot!(done.shown(), @"
    tupni dradnats

    --- stderr, exit code 0
    ");
}

#[test]
fn higher_layers_win_and_directories_merge() {
    let sandbox = Sandbox::new();
    let base = sandbox.image("base.cpio", &[("etc/motd", b"base\n"), ("etc/base", b"b\n"), ("share/doc", b"doc\n")]);
    let app = sandbox.image("app.cpio", &[("etc/motd", b"from app\n"), ("opt/app", b"a\n")]);
    let done = sandbox.run(["run", "-i", &base, "-i", &app, &wasm("files"), "/", "0"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(
        done.stdout.starts_with("list .: ../ ./ etc/ opt/ share/\netc/motd: 9 bytes: from app\n"),
        "{}",
        done.stdout
    );
    assert!(done.stdout.contains("list etc: ../ ./ base motd\n"), "{}", done.stdout);
}

#[test]
fn an_image_is_a_volume_too() {
    let sandbox = Sandbox::new();
    let image = sandbox.image_of("data.cpio", put_files_tree);
    for (volume, expected) in [
        // Changes go to memory.
        (format!("{image}:/mnt/data"), "etc/motd: 24 bytes: welcome\n"),
        (format!("{image}:/mnt/data:ro"), "FAILED: append to etc/motd: Read-only file system\n"),
    ] {
        let done = sandbox.run(["run", "--volume", &volume, &wasm("files"), "/mnt/data", "0"]);
        assert!(done.stdout.contains(expected), "{volume}: {}", done.shown());
    }
}

#[test]
fn a_program_that_never_ends_is_stopped() {
    let sandbox = Sandbox::new();
    let start = Instant::now();
    let done = sandbox.run(["run", "--timeout", "300ms", &wasm("spin")]);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    let message = done.stderr.replace(&wasm("spin"), "spin.wasm");
    assert_eq!((done.code, &*message), (124, "mountless: stopped: spin.wasm: not done after 300ms\n"));
}

#[test]
fn the_time_limit_holds_while_the_host_moves_the_bytes() {
    let sandbox = Sandbox::new();
    let component = component::of_preview3("pipe");
    let run = |limits: &[&str]| sandbox.run(["run"].iter().chain(limits).chain([&component.to_str().unwrap()]));
    let done = run(&["--disk", "512M", "--timeout", "20ms"]);
    assert_eq!(done.code, 124, "not when the disk is full: {}", done.shown());
    assert_eq!(run(&["--disk", "1M"]).code, 3);
}

#[test]
fn exceptions_are_thrown_and_caught() {
    let wasm = xtask::guests::zig_cpp_program("throws").unwrap_or_else(|error| panic!("{error}"));
    let done = Sandbox::new().run(["run", wasm.to_str().unwrap()]);
    assert_eq!((done.code, &*done.stdout), (0, "caught after 10 frames\n"), "{}", done.shown());
}

#[test]
fn a_trap_tells_where_and_has_its_own_exit_code() {
    let done = Sandbox::new().run(["run", &wasm("trap")]);
    assert_eq!((done.code, &*done.stdout), (134, "about to trap\n"));
    for part in ["mountless: trapped: ", "__original_main", "wasm `unreachable` instruction executed"] {
        assert!(done.stderr.contains(part), "{part}: {}", done.stderr);
    }
}

#[test]
fn what_cannot_be_run_says_why_with_125() {
    let sandbox = Sandbox::new();
    let demo = fs::read(xtask::demo::path()).unwrap();
    let good = sandbox.file("good.cpio.gz", &demo);
    let cut = sandbox.file("cut.cpio.gz", &demo[..demo.len() / 2]);
    let text = sandbox.file("text", "#!/bin/sh\n");
    let missing = sandbox.input("missing").to_str().unwrap().to_owned();
    let mut shown = String::new();
    assert_eq!(sandbox.run(["-v", "run", "-i", &good]).code, 125);
    for arguments in [
        &["-i", &missing, "image:/bin/demo.wasm"][..],
        &["-i", &cut, "image:/bin/demo.wasm"],
        &["-i", &text, "image:/bin/demo.wasm"],
        &["-i", &good, "image:/bin/nothing.wasm"],
        &["-i", &good, &missing],
        &["-i", &good, "image:/etc/motd"],
        &["-i", &good, &text],
        &["-i", &good, "image:/bin"],
        &["-i", &good, "--max-unpacked", "1K", "image:/bin/demo.wasm"],
        &["-i", &good, "--workdir", "/nowhere", "image:/bin/demo.wasm"],
        &["-i", &good, "--volume", &format!("{good}:/etc/motd"), "image:/bin/demo.wasm"],
        &["-i", &good, "--volume", &format!("{missing}:/data"), "image:/bin/demo.wasm"],
        &["-i", &good, "--volume", "data", "image:/bin/demo.wasm"],
        &["-i", &good, "--timeout", "soon", "image:/bin/demo.wasm"],
        &["-i", &good, "--workdir", "etc", "image:/bin/demo.wasm"],
        &["-i", &good, "--descriptors", "3", "image:/bin/demo.wasm"],
        &["-i", &good, "--memory", "1K", "image:/bin/demo.wasm"],
        &["-i", &good, "--trace", &format!("{missing}/trace"), "image:/bin/demo.wasm"],
        &["-i", &good],
    ] {
        let done = sandbox.run(["run"].iter().chain(arguments));
        assert_eq!((done.code, &*done.stdout), (125, ""), "{arguments:?}: {}", done.shown());
        shown += &done.stderr;
        shown += "\n";
    }
    assert_snapshot!(shown, @r##"
    mountless: cannot read image: IN/missing: no such file or directory
      next: check the name; `-` reads standard input

    mountless: cannot read image: IN/cut.cpio.gz: damaged gzip data at byte 378: the stream ends too early, inside its data
      next: compare the file with its source; --as-linux shows what Linux would boot with

    mountless: cannot read image: IN/text: no known format begins with "#!/bin/s" (byte 0); expected cpio, tar, TFS, a program with an archive inside, or something compressed
      next: `mountless --help` names what can be read

    mountless: cannot read program: image:/bin/nothing.wasm: no such file or directory
      next: `mountless find IMAGE` lists what an image holds

    mountless: cannot read program: IN/missing: no such file or directory
      next: a program inside the stack is written image:/PATH

    mountless: cannot run: image:/etc/motd: not a WebAssembly module or component: it starts with the bytes 48 65 6c 6c, not with 00 61 73 6d

    mountless: cannot run: IN/text: not a WebAssembly module or component: it is a script; run its interpreter, compiled to WebAssembly, with the script

    mountless: cannot read program: image:/bin: is a directory

    mountless: cannot read image: IN/good.cpio.gz: more than 1024 bytes when decompressed
      next: --max-unpacked SIZE raises the limit, if you trust the image

    mountless: cannot run: image:/bin/demo.wasm: preopen ".": /nowhere: no such file or directory
      next: --workdir and --preopen take directories of the stack

    mountless: cannot mount volume: /etc/motd: file exists
      next: a volume's path must be a directory, or free, and below the root

    mountless: cannot read image: IN/missing: no such file or directory
      next: check the name; `-` reads standard input

    error: invalid value 'data' for '--volume <SRC:/PATH[:ro]>': a volume is SRC:/PATH or SRC:/PATH:ro, with an absolute path

    For more information, try '--help'.

    error: invalid value 'soon' for '--timeout <TIME>': expected number at 0

    For more information, try '--help'.

    error: invalid value 'etc' for '--workdir </PATH>': a path of the stack begins with `/`

    For more information, try '--help'.

    mountless: cannot run: image:/bin/demo.wasm: preopen "/": /: too many open files
      next: each directory that a program is given counts; --descriptors COUNT allows more

    mountless: cannot run: image:/bin/demo.wasm: it cannot be instantiated: memory minimum size of 1 pages exceeds memory limits
      next: --memory SIZE allows more

    mountless: cannot write the trace: IN/missing/trace: no such file or directory

    error: the following required arguments were not provided:
      <PROGRAM> [ARG]...

    Usage: mountless run --image <IMAGE> <PROGRAM> [ARG]...

    For more information, try '--help'.
    "##);
}

#[test]
fn what_the_engine_and_the_host_do_not_have_is_told_with_what_they_have() {
    let sandbox = Sandbox::new();
    let mut shown = String::new();
    for text in [
        r#"(module (tag $gone) (func (export "_start") try throw $gone catch_all end))"#,
        r#"(module (memory (export "memory") 1 1 shared) (func (export "_start")))"#,
        r#"(module (import "env" "puts" (func)) (func (export "_start")))"#,
        r#"(module (import "wasi_unstable" "fd_close" (func (param i32) (result i32))) (func (export "_start")))"#,
        r#"(component (import "wasi:keyvalue/store@0.2.0" (instance (export "open" (func)))))"#,
    ] {
        let done = sandbox.run(["run", &sandbox.file("guest.wasm", wat::parse_str(text).unwrap())]);
        assert_eq!(done.code, 125, "{text}: {}", done.shown());
        shown += &done.stderr;
        shown += "\n";
    }
    assert_snapshot!(shown, @r#"
    mountless: cannot run: IN/guest.wasm: it does not compile: failed to compile: wasm[0]::function[0]: WebAssembly translation error: Invalid input WebAssembly code at offset 40: legacy_exceptions feature required for try instruction
      next: the engine takes WebAssembly 3.0, and no threads; of exceptions the standard's, which clang writes with -mllvm -wasm-use-legacy-eh=false

    mountless: cannot run: IN/guest.wasm: it does not compile: failed to parse WebAssembly module: threads must be enabled for shared memories (at offset 0x15)
      next: the engine takes WebAssembly 3.0, and no threads; of exceptions the standard's, which clang writes with -mllvm -wasm-use-legacy-eh=false

    mountless: cannot run: IN/guest.wasm: it does not link: unknown import: `env::puts` has not been defined
      next: a program may import WASI, previews 1, 2 and 3, and wasi:http

    mountless: cannot run: IN/guest.wasm: it does not link: the module is built for WASI preview 0 (it imports from "wasi_unstable"), which is not supported: rebuild it with a current toolchain, for preview 1
      next: a program may import WASI, previews 1, 2 and 3, and wasi:http

    mountless: cannot run: IN/guest.wasm: it does not link: component imports instance `wasi:keyvalue/store@0.2.0`, but a matching implementation was not found in the linker: instance export `open` has the wrong type: function implementation is missing
      next: a program may import WASI, previews 1, 2 and 3, and wasi:http
    "#);
}

#[test]
fn what_the_engine_has_by_default_can_be_used() {
    let sandbox = Sandbox::new();
    for (what, text) in [
        ("tail calls", r#"(func $next) (func (export "_start") (return_call $next))"#),
        (
            "typed function references",
            r#"(type $f (func)) (func $g) (elem declare func $g)
               (func (export "_start") (call_ref $f (ref.func $g)))"#,
        ),
        ("several memories", r#"(memory 1) (memory $more 1) (func (export "_start") (drop (memory.size $more)))"#),
        ("64-bit memories", r#"(memory i64 1) (func (export "_start") (drop (i64.load (i64.const 8))))"#),
        ("relaxed SIMD", r#"(func (export "_start") (drop (i32x4.relaxed_trunc_f32x4_s (v128.const f32x4 1 2 3 4))))"#),
    ] {
        let done =
            sandbox.run(["run", &sandbox.file("guest.wasm", wat::parse_str(format!("(module {text})")).unwrap())]);
        assert_eq!(done.code, 0, "{what}: {}", done.shown());
    }
}

/// The program makes a file in /tmp, and exits with 4 if it cannot.
#[test]
fn a_program_has_what_is_preopened_and_no_more() {
    let sandbox = Sandbox::new();
    let image = sandbox.image("base.cpio", &[("tmp/there", b"already"), ("etc/motd", b"")]);
    let run = |preopens: &[&str]| {
        let flags = preopens.iter().flat_map(|preopen| ["--preopen", preopen]);
        let arguments = ["run", "-i", &image, "--deterministic"].into_iter().chain(flags);
        sandbox.run(arguments.chain([&*wasm("moments"), "/tmp"])).code
    };
    assert_eq!(run(&[]), 0);
    assert_eq!(run(&["/tmp"]), 0);
    assert_eq!(run(&["/:ro", "/tmp"]), 0, "the longest name counts");
    assert_eq!(run(&["/tmp=/etc"]), 0, "another directory under the name");
    assert_eq!(run(&["/tmp:ro"]), 4);
    assert_eq!(run(&["/", "/tmp:ro"]), 4);
    assert_eq!(run(&["/etc"]), 4);
    assert_eq!(run(&["tmp"]), 125);
    assert_eq!(run(&["/none"]), 125);
}

#[test]
fn descriptors_and_sizes_of_files_are_limited_as_asked() {
    let sandbox = Sandbox::new();
    let image = sandbox.image("base.cpio", &[("tmp/there", b"already")]);
    // Standard streams and / are four descriptors; the program needs one more.
    let code = |count: &str| {
        let arguments = ["run", "-i", &image, "--deterministic", "--descriptors", count, &wasm("moments"), "/tmp"];
        sandbox.run(arguments).code
    };
    assert_eq!((code("4"), code("5")), (4, 0));
    let done = sandbox.run(["run", "-i", &image, "--file-size", "20K", &wasm("fill"), "/tmp/big", "100"]);
    assert!(done.code != 0 && done.shown().contains("20480 bytes"), "{}", done.shown());
}

#[test]
fn arguments_of_the_program_are_its_own() {
    let sandbox = Sandbox::new();
    let (interpreter, _) = python::interpreter_and_library();
    let script = "import sys; print(sys.argv)";
    let done = sandbox.run(["run", interpreter.to_str().unwrap(), "-c", script, "-i", "--help", "--", "-"]);
    assert_snapshot!(done.shown(), @"
    ['-c', '-i', '--help', '--', '-']

    --- stderr, exit code 0
    ");
}

#[test]
fn the_environment_is_only_what_is_given() {
    let sandbox = Sandbox::new();
    let (interpreter, _) = python::interpreter_and_library();
    let script = "import os; print(sorted(os.environ.items()))";
    let mut command = sandbox.command(["run", "--env", "A=1=2", "--env", "FROM_HOST", "--env", "E="]);
    command.args([interpreter.to_str().unwrap(), "-c", script]).env("FROM_HOST", "host").env("SECRET", "no");
    let stdout = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert_eq!(stdout, "[('A', '1=2'), ('E', ''), ('FROM_HOST', 'host')]\n");
}

#[test]
fn what_a_program_changed_is_told_and_kept() {
    let sandbox = Sandbox::new();
    let demo = xtask::demo::path();
    let saved = sandbox.input("saved.tar.gz").to_str().unwrap().to_owned();
    let done = sandbox.run(["run", "-i", demo.to_str().unwrap(), "--diff", "--save", &saved, "image:/bin/demo.wasm"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    let changes: Vec<_> = done.stderr.lines().collect();
    assert_snapshot!(changes.join("\n"), @"A /tmp/note");
    let compared = sandbox.run(["diff", "--no-times", demo.to_str().unwrap(), &saved]);
    assert_snapshot!(compared.stdout, @"A /tmp/note");
    let unclear = sandbox.run(["run", "-i", demo.to_str().unwrap(), "--save", "image", "image:/bin/demo.wasm"]);
    assert_eq!((unclear.code, &*unclear.stdout), (125, ""), "{}", unclear.stderr);
}
