//! Power cuts, with the example and with SQLite.

use std::fs;
use std::path::Path;

use crate::sandbox::Sandbox;

/// The inputs hold `examples/crash`, built.
fn example() -> Sandbox {
    let sandbox = Sandbox::new();
    let from = xtask::workspace().join("examples/crash");
    for name in ["fixed.toml", "caught.toml"] {
        sandbox.file(&format!("crash/{name}"), fs::read(from.join(name)).unwrap());
    }
    for name in xtask::guests::CRASH_EXAMPLE {
        let wasm = xtask::guests::crash_example(name).unwrap_or_else(|error| panic!("{error}"));
        copy(&sandbox, &format!("crash/{name}.wasm"), &wasm);
    }
    sandbox
}

fn copy(sandbox: &Sandbox, name: &str, from: &Path) {
    sandbox.file(name, fs::read(from).unwrap());
}

#[test]
fn the_example_is_caught_and_the_fixed_one_passes() {
    let sandbox = example();
    let fixed = sandbox.run([Path::new("test"), &sandbox.input("crash/fixed.toml")]);
    assert_eq!(fixed.code, 0, "{}", fixed.shown());
    assert!(fixed.stdout.contains("power-cut states)"), "{}", fixed.stdout);
    let caught = sandbox.run([Path::new("test"), &sandbox.input("crash/caught.toml")]);
    assert_eq!(caught.code, 1, "{}", caught.shown());
    // Times and cases a second differ; the places of the failures do not.
    let shown: Vec<&str> =
        caught.stdout.lines().filter(|line| !line.contains("s]") && !line.contains("Starting")).collect();
    insta::assert_snapshot!(shown.join("\n"));
}

/// One case of the bank, with the tree's directory for the database.
fn bank(name: &str, journal: &str, synchronous: &str, slack: u32, promises: &str) -> String {
    format!(
        "[[case]]\nname = \"{name}\"\nargs = [\"run\", \"{journal}\", \"{synchronous}\", \"100\"]\n\
         crash = {{ at = \"every-sync\", promises = \"{promises}\", states = 100_000, \
         verify = {{ program = \"bank.wasm\", args = [\"check\", \"{slack}\"] }} }}\n"
    )
}

#[test]
fn sqlite_survives_power_cuts_unless_told_not_to_sync() {
    let sandbox = Sandbox::new();
    let wasm = xtask::guests::sqlite_bank().unwrap_or_else(|error| panic!("{error}"));
    copy(&sandbox, "bank/bank.wasm", &wasm);
    let head = "program = \"bank.wasm\"\nfiles = { \"/db\" = { dir = true } }\n";
    // A journal that is removed may come back, as only `extra` syncs the directory then; the last transaction goes.
    let safe = [
        bank("rollback journal", "delete", "full", 1, "posix"),
        bank("rollback journal, ext4 and others", "delete", "full", 1, "journal"),
        bank("rollback journal, synced twice", "delete", "extra", 0, "posix"),
        bank("write-ahead log", "wal", "full", 0, "posix"),
    ];
    let safe = sandbox.file("bank/safe.toml", format!("{head}{}", safe.concat()));
    let done = sandbox.run(["test", &safe]);
    assert_eq!(done.code, 0, "{}", done.shown());
    let unsafe_ =
        [bank("rollback journal", "delete", "off", 1, "posix"), bank("write-ahead log", "wal", "off", 1, "posix")];
    let unsafe_ = sandbox.file("bank/unsafe.toml", format!("{head}{}", unsafe_.concat()));
    let done = sandbox.run(["test", &unsafe_]);
    assert_eq!(done.code, 1, "{}", done.shown());
    assert!(done.stdout.contains("2 failed") && done.stdout.contains("a power cut after"), "{}", done.stdout);
}
