//! Bytes that nobody vouches for: images, and programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use insta::assert_snapshot;

use crate::sandbox::{Done, Sandbox};

/// The folder of sample images, or `None`, said aloud, where there is none.
fn samples() -> Option<PathBuf> {
    let shared =
        std::env::var_os("MOUNTLESS_SHARED").map_or_else(|| xtask::workspace().join("../shared"), PathBuf::from);
    let folder = shared.join("images/initramfs");
    if folder.join("INDEX.tsv").is_file() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "no sample images in {}", folder.display());
    eprintln!("NOT TESTED: no sample images in {}; set MOUNTLESS_SHARED", folder.display());
    None
}

/// Whether a message says where: `byte 120`.
fn has_offset(message: &str) -> bool {
    message.split("byte ").skip(1).any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn is_one_message(done: &Done) -> bool {
    done.stderr.starts_with("mountless: ") && !done.stderr.contains("panicked") && done.stdout.is_empty()
}

#[test]
fn every_sample_image_is_read_or_refused_with_its_offset() {
    let Some(folder) = samples() else { return };
    let sandbox = Sandbox::new();
    let index = fs::read_to_string(folder.join("INDEX.tsv")).unwrap();
    let (mut read, mut refused, mut failures) = (0, 0, String::new());
    for file in index.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split('\t').next()) {
        let image = folder.join(file);
        let image = image.to_str().unwrap();
        let start = Instant::now();
        let info = sandbox.run(["info", image]);
        let run = sandbox.run(["run", "-i", image, "image:/no-such-program"]);
        // Linux alone does not take the old layouts.
        let broken = file.starts_with("bad-") && file != "bad-first-odc.cpio" || file == "crc-bad.cpio";
        let as_expected = match info.code {
            0 => {
                read += 1;
                !broken && run.stderr.contains("image:/no-such-program: no such file or directory")
            }
            2 => {
                refused += 1;
                is_one_message(&info)
                    && info.stderr.contains(file)
                    && has_offset(&info.stderr)
                    && run.stderr == info.stderr
            }
            _ => false,
        };
        if !(as_expected && run.code == 125 && is_one_message(&run) && start.elapsed() < Duration::from_secs(20)) {
            failures += &format!("{file}: {:?}\ninfo: {}\nrun: {}\n", start.elapsed(), info.shown(), run.shown());
        }
    }
    println!("{read} read, {refused} refused");
    assert!(failures.is_empty(), "\n{failures}");
    assert!(read + refused >= 90, "{read} read, {refused} refused");
}

#[test]
fn an_image_cut_anywhere_is_refused_with_an_offset() {
    let sandbox = Sandbox::new();
    let whole = fs::read(sandbox.image("whole.cpio", &[("a", b"a\n"), ("dir/file", &[7; 300])])).unwrap();
    let end = whole.len() - whole.iter().rev().take_while(|byte| **byte == 0).count();
    // Each size of a cut once: in magics, fields, names, padding and data. Without a trailer an archive is whole too.
    let mut whole_count = 0;
    for len in (1..end).step_by(23) {
        let image = sandbox.file("cut.cpio", &whole[..len]);
        let done = sandbox.run(["info", &image]);
        match done.code {
            0 => whole_count += 1,
            code => assert!(code == 2 && is_one_message(&done) && has_offset(&done.stderr), "{len}: {}", done.shown()),
        }
    }
    assert!(whole_count <= 2, "{whole_count}");
}

#[test]
fn what_would_not_fit_is_refused_before_it_is_there() {
    let sandbox = Sandbox::new();
    let Some(folder) = samples() else { return };
    let bomb = folder.join("bomb-64m.cpio.gz");
    let bomb = bomb.to_str().unwrap();
    let info = sandbox.run(["info", "--max-unpacked", "1M", bomb]);
    let run = sandbox.run(["run", "--max-unpacked", "1M", "-i", bomb, "image:/x"]);
    assert_eq!((info.code, run.code), (2, 125));
    assert!(info.stderr.contains("more than 1048576 bytes when decompressed"), "{}", info.stderr);
    assert_eq!(info.stderr, run.stderr);
}

#[test]
fn what_is_no_program_is_refused_by_name() {
    let sandbox = Sandbox::new();
    let module = |text: &str| wat::parse_str(text).unwrap();
    let whole = module("(module (memory (export \"memory\") 1) (func (export \"_start\")))");
    let mut shown = String::new();
    for (name, content) in [
        ("empty.wasm", Vec::new()),
        ("elf.wasm", b"\x7fELF\x02\x01\x01".to_vec()),
        ("noise.wasm", (0..4096_u32).map(|at| ((at * at) >> 5).to_le_bytes()[0]).collect()),
        ("cut.wasm", whole[..whole.len() - 3].to_vec()),
        ("invalid.wasm", module("(module (func (export \"_start\") (drop (i64.add (i32.const 1) (i64.const 1)))))")),
        ("component.wasm", module("(component)")),
        ("no-start.wasm", module("(module (memory (export \"memory\") 1))")),
        ("unknown-import.wasm", module("(module (import \"env\" \"system\" (func)) (func (export \"_start\")))")),
        ("huge-memory.wasm", module("(module (memory (export \"memory\") 65536) (func (export \"_start\")))")),
        ("huge-table.wasm", module("(module (table 0xffffffff funcref) (func (export \"_start\")))")),
    ] {
        let path = sandbox.file(name, content);
        let done = sandbox.run(["run", "--memory", "64M", &path]);
        assert!(done.code == 125 && is_one_message(&done), "{name}: {}", done.shown());
        // What the engine says about damage is its own affair.
        shown += done.stderr.lines().next().unwrap().split(" (at offset").next().unwrap();
        shown += "\n";
    }
    assert_snapshot!(shown, @"
    mountless: cannot run: IN/empty.wasm: not a WebAssembly module or component: the file is empty
    mountless: cannot run: IN/elf.wasm: not a WebAssembly module or component: it is an ELF executable; programs must be compiled to WebAssembly (wasm32-wasip1)
    mountless: cannot run: IN/noise.wasm: not a WebAssembly module or component: it starts with the bytes 00 00 00 00, not with 00 61 73 6d
    mountless: cannot run: IN/cut.wasm: it does not compile: failed to parse WebAssembly module: unexpected end-of-file
    mountless: cannot run: IN/invalid.wasm: it does not compile: failed to compile: wasm[0]::function[0]: WebAssembly translation error: Invalid input WebAssembly code at offset 39: type mismatch: expected i64, found i32
    mountless: cannot run: IN/component.wasm: it is no program: a module exports `_start` or `_initialize`, a component `wasi:cli/run`
    mountless: cannot run: IN/no-start.wasm: it is no program: a module exports `_start` or `_initialize`, a component `wasi:cli/run`
    mountless: cannot run: IN/unknown-import.wasm: it does not link: unknown import: `env::system` has not been defined
    mountless: cannot run: IN/huge-memory.wasm: it cannot be instantiated: memory minimum size of 65536 pages exceeds memory limits
    mountless: cannot run: IN/huge-table.wasm: it cannot be instantiated: table minimum size of 4294967295 elements exceeds table limits
    ");
}

#[test]
fn a_program_that_asks_for_too_much_is_refused_or_stopped() {
    let sandbox = Sandbox::new();
    // Grows until it is told no, then exits with the number of pages it has.
    let greedy = sandbox.file(
        "greedy.wasm",
        wat::parse_str(
            "(module
                (import \"wasi_snapshot_preview1\" \"proc_exit\" (func $exit (param i32)))
                (memory (export \"memory\") 1)
                (func (export \"_start\")
                    (loop (br_if 0 (i32.ge_s (memory.grow (i32.const 1)) (i32.const 0))))
                    (call $exit (memory.size))))",
        )
        .unwrap(),
    );
    assert_eq!(sandbox.run(["run", "--memory", "1M", &greedy]).code, 16);

    // Calls itself for ever.
    let deep = sandbox.file(
        "deep.wasm",
        wat::parse_str("(module (memory (export \"memory\") 1) (func $f (export \"_start\") (call $f)))").unwrap(),
    );
    let done = sandbox.run(["run", &deep]);
    assert!(done.code == 134 && done.stderr.contains("call stack exhausted"), "{}", done.shown());

    // Waits for ever, which is not computing.
    let sleeper = sandbox.file("sleeper.wasm", wat::parse_str(SLEEPER).unwrap());
    let start = Instant::now();
    let done = sandbox.run(["run", "--timeout", "300ms", &sleeper]);
    assert!(done.code == 124 && start.elapsed() < Duration::from_secs(20), "{:?} {}", start.elapsed(), done.shown());
    let stopped = "mountless: stopped: IN/sleeper.wasm: not done after 300ms\n";
    assert_eq!((&*done.stdout, &*done.stderr), ("", stopped));
}

/// Sleeps for a day of the monotonic clock.
const SLEEPER: &str = "(module
    (import \"wasi_snapshot_preview1\" \"poll_oneoff\" (func $poll (param i32 i32 i32 i32) (result i32)))
    (memory (export \"memory\") 1)
    (func (export \"_start\")
        (i32.store offset=16 (i32.const 0) (i32.const 1))
        (i64.store offset=24 (i32.const 0) (i64.const 86400000000000))
        (drop (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))))";

#[test]
fn a_name_that_no_shell_would_write_is_shown_escaped() {
    let sandbox = Sandbox::new();
    let name = Path::new("tab\tand\nnewline.cpio");
    let image = sandbox.input(name.to_str().unwrap());
    fs::write(&image, "no image").unwrap();
    let done = sandbox.run([std::ffi::OsStr::new("info"), image.as_os_str()]);
    assert_eq!(done.code, 2);
    assert!(
        done.stderr.starts_with("mountless: cannot read image: IN/tab\\011and\\012newline.cpio: "),
        "{}",
        done.stderr
    );
}
