//! Power cuts, with the example and with SQLite.

use std::fs;
use std::path::Path;

use crate::sandbox::{Done, Sandbox};

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
    // One after the other, so that they are told in their order.
    let caught = sandbox.run([Path::new("test"), Path::new("-j1"), &sandbox.input("crash/caught.toml")]);
    assert_eq!(caught.code, 1, "{}", caught.shown());
    // Times and cases a second differ; the places of the failures do not.
    let shown: Vec<&str> =
        caught.stdout.lines().filter(|line| !line.contains("s]") && !line.contains("Starting")).collect();
    insta::assert_snapshot!(shown.join("\n"));
}

/// Case files with a bank, each case a hundred transactions with the power cut at every sync.
struct Bank {
    sandbox: Sandbox,
}

impl Bank {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let wasm = xtask::guests::sqlite_program("bank").unwrap_or_else(|error| panic!("{error}"));
        copy(&sandbox, "bank/bank.wasm", &wasm);
        Self { sandbox }
    }

    /// Runs cases: name, journal, `synchronous`, transactions that may be lost though they were done, promises.
    fn run(&self, cases: &[(&str, &str, &str, u32, &str)]) -> Done {
        // All of them take a minute; the shares are spread over the run.
        let states = if std::env::var_os("MOUNTLESS_SUITES").is_some() { 100_000 } else { 600 };
        let mut file = "program = \"bank.wasm\"\nfiles = { \"/db\" = { dir = true } }\n".to_owned();
        for (name, journal, synchronous, slack, promises) in cases {
            file.push_str(&format!(
                "[[case]]\nname = \"{name}\"\nargs = [\"run\", \"{journal}\", \"{synchronous}\", \"100\"]\n\
                 crash = {{ at = \"every-sync\", promises = \"{promises}\", states = {states}, \
                 verify = {{ program = \"bank.wasm\", args = [\"check\", \"{slack}\"] }} }}\n"
            ));
        }
        let file = self.sandbox.file("bank/bank.toml", file);
        self.sandbox.run(["test", &file])
    }
}

#[test]
fn sqlite_survives_power_cuts() {
    // A journal that is removed may come back, as only `extra` syncs the directory then; the last transaction goes.
    let done = Bank::new().run(&[
        ("rollback journal", "delete", "full", 1, "posix"),
        ("rollback journal, where names keep their order", "delete", "full", 1, "journal"),
        ("rollback journal, synced twice", "delete", "extra", 0, "posix"),
        ("write-ahead log", "wal", "full", 0, "posix"),
    ]);
    assert_eq!(done.code, 0, "{}", done.shown());
    assert!(done.stdout.contains("4 passed"), "{}", done.stdout);
}

#[test]
fn sqlite_that_does_not_sync_is_caught() {
    // However many transactions may go: what is there is broken.
    let done = Bank::new()
        .run(&[("rollback journal", "delete", "off", 100, "posix"), ("write-ahead log", "wal", "off", 100, "posix")]);
    assert_eq!(done.code, 1, "{}", done.shown());
    assert!(done.stdout.contains("2 failed"), "{}", done.stdout);
    assert!(done.stdout.contains("integrity: *** in database main ***"), "{}", done.stdout);
    // A transaction that was done and is not there, as the journal that was removed may come back.
    let done = Bank::new().run(&[("rollback journal", "delete", "full", 0, "posix")]);
    assert!(done.stdout.contains("transactions were done, but there are"), "{}", done.stdout);
}

#[test]
fn cases_in_rust_can_cut_the_power() {
    use mountless_test::{Case, CrashAt};

    let guest = |name: &str| xtask::guests::crash_example(name).unwrap().to_str().unwrap().to_owned();
    let case = |how: &str| {
        let case = Case::new(guest("save")).args([how, "green"]).file("/etc/app.conf", "blue");
        case.power_cuts(CrashAt::Sample(100), guest("check"), ["blue", "green"])
    };
    assert!(case("synced").assert_survives_power_cuts().unwrap() > 3);
    let wrong = std::panic::catch_unwind(|| case("renamed").assert_survives_power_cuts().map(drop));
    let message = *wrong.unwrap_err().downcast::<String>().unwrap();
    assert!(message.starts_with("a power cut after 3 calls, with 1 call lost"), "{message}");
}
