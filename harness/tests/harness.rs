//! Case files, what comes out of them, and what is said about mistakes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use insta::assert_snapshot;
use mountless_test::report::{Human, HumanOptions, annotations, html, junit};
use mountless_test::{
    Case, CaseResult, Discovered, Engine, Filter, Limits, Partition, RunConfig, RunReport, Update, Verdict,
    discover_from, run_cases,
};
use mountless_wasi::run::Cache;

/// A guest that writes its first argument to standard output and has its second one's first digit as exit code; without
/// arguments it says hello. `spin` never ends, `trap` traps, `flood` writes for ever, `make` makes a directory.
const GUEST: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_create_directory" (func $mkdir (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 2)
  (data (i32.const 100) "hello\n")
  (data (i32.const 120) "made")
  (func $print (param $text i32) (param $len i32)
    (i32.store (i32.const 0) (local.get $text))
    (i32.store (i32.const 4) (local.get $len))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
  (func $len (param $text i32) (result i32)
    (local $at i32)
    (local.set $at (local.get $text))
    (loop $next (if (i32.load8_u (local.get $at)) (then
      (local.set $at (i32.add (local.get $at) (i32.const 1))) (br $next))))
    (i32.sub (local.get $at) (local.get $text)))
  (func (export "_start")
    (local $arg i32)
    (drop (call $args_sizes_get (i32.const 16) (i32.const 20)))
    (if (i32.lt_u (i32.load (i32.const 16)) (i32.const 2)) (then
      (call $print (i32.const 100) (i32.const 6)) (return)))
    (drop (call $args_get (i32.const 1024) (i32.const 4096)))
    (local.set $arg (i32.load (i32.const 1028)))
    ;; The first four bytes tell the words apart.
    (if (i32.eq (i32.load (local.get $arg)) (i32.const 0x6e697073)) (then (loop $ever (br $ever))))
    (if (i32.eq (i32.load (local.get $arg)) (i32.const 0x70617274)) (then unreachable))
    (if (i32.eq (i32.load (local.get $arg)) (i32.const 0x6f6f6c66)) (then
      (loop $ever
        (br_if $ever (i32.eqz (block (result i32)
          (i32.store (i32.const 0) (i32.const 65536))
          (i32.store (i32.const 4) (i32.const 65536))
          (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))))))
    (if (i32.eq (i32.load (local.get $arg)) (i32.const 0x656b616d)) (then
      (drop (call $mkdir (i32.const 3) (i32.const 120) (i32.const 4)))))
    (call $print (local.get $arg) (call $len (local.get $arg)))
    (if (i32.gt_u (i32.load (i32.const 16)) (i32.const 2)) (then
      (call $exit (i32.sub (i32.load8_u (i32.load (i32.const 1032))) (i32.const 48)))))))"#;

/// A directory with the guest and these files.
fn dir(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("guest.wasm"), wat::parse_str(GUEST).unwrap()).unwrap();
    for (path, content) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    dir
}

fn found(dir: &Path) -> Discovered {
    discover_from(dir, [""])
}

fn config() -> RunConfig {
    RunConfig { jobs: 2, update: Update::No, ..RunConfig::default() }
}

fn run_with(cases: Vec<Case>, config: &RunConfig) -> RunReport {
    run_cases(&Arc::new(Engine::new(&Cache::Off).unwrap()), cases, config, |_| {})
}

fn run(dir: &Path) -> RunReport {
    let found = found(dir);
    assert!(found.mistakes.is_empty(), "{}", found.mistakes[0]);
    run_with(found.cases, &config())
}

/// One case from the lines that say what to expect.
fn verdict(lines: &str) -> String {
    let dir = dir(&[("case.toml", &format!("program = \"guest.wasm\"\nlimits.time = \"300ms\"\n{lines}"))]);
    match &run(dir.path()).results[0].verdict {
        Verdict::Failed(mismatches) => {
            mismatches.iter().map(|mismatch| mismatch.what.clone()).collect::<Vec<_>>().join("; ")
        }
        other => format!("{other:?}"),
    }
}

/// What is said about a case file, without the directory it is in.
fn mistake(file: &str) -> String {
    let dir = dir(&[("case.toml", file)]);
    let found = discover_from(dir.path(), ["case.toml"]);
    assert_eq!((found.cases.len(), found.mistakes.len()), (0, 1));
    found.mistakes[0].to_string().replace(&format!("{}/", dir.path().display()), "")
}

#[test]
fn each_expectation_can_hold_and_fail() {
    for (lines, expected) in [
        ("", "Passed"),
        ("args = [\"x\", \"3\"]", "expected exit code 0, found exit code 3"),
        ("args = [\"x\", \"3\"]\nexpect.exit = 3", "Passed"),
        ("args = [\"x\", \"3\"]\nexpect.exit = [1, 3]", "Passed"),
        ("args = [\"x\", \"3\"]\nexpect.exit = \"failure\"", "Passed"),
        ("args = [\"x\", \"3\"]\nexpect.fail = true", "Passed"),
        ("expect.exit = \"any\"", "Passed"),
        ("expect.fail = true", "expected a failure, found exit code 0"),
        ("args = [\"trap\"]", "expected exit code 0, found a trap"),
        ("args = [\"trap\"]\nexpect.trap = \"unreachable\"", "Passed"),
        ("args = [\"trap\"]\nexpect.fail = \"unreachable\"", "Passed"),
        ("args = [\"trap\"]\nexpect.trap = \"stack\"", "message of the trap does not contain \"stack\""),
        ("args = [\"spin\"]", "expected exit code 0, found no end in time"),
        ("args = [\"spin\"]\nexpect.timeout = true", "Passed"),
        ("expect.timeout = true", "expected to run out of time, found exit code 0"),
        ("args = [\"flood\"]\nlimits.output = \"64K\"", "stdout is too long"),
        ("expect.stdout = \"hello\\n\"", "Passed"),
        ("expect.stdout = \"hello\"", "stdout differs"),
        ("expect.stdout = { contains = [\"hell\", \"o\"], excludes = \"x\", regex = '(?m)^h.*o$' }", "Passed"),
        ("expect.stdout = { contains = [\"x\"] }", "stdout does not contain \"x\""),
        ("expect.stdout = { excludes = \"ell\" }", "stdout contains \"ell\""),
        ("expect.stdout = { regex = \"^el\" }", "stdout does not match /^el/"),
        ("expect.stdout = { exact = \"hi\\n\", redact = [{ regex = \"h(.)llo\", with = \"hi\" }] }", "Passed"),
        ("expect.stdout = { file = \"case.toml\" }", "stdout differs"),
        ("expect.stderr = \"\"", "Passed"),
        ("expect.diff = \"\"", "Passed"),
        ("args = [\"make\"]\nexpect.diff = \"A /made dir 0755\\n\"", "Passed"),
        ("args = [\"make\"]\nexpect.diff = \"\"", "diff differs"),
        ("args = [\"make\"]\nexpect.files = { \"/made\" = { type = \"dir\", mode = \"0755\" } }", "Passed"),
        ("args = [\"make\"]\nexpect.files = { \"/made\" = false }", "/made is there"),
        ("expect.files = { \"/made\" = true }", "/made is not there"),
        ("files = { \"/a/b\" = \"text\" }\nexpect = { diff = \"\", files = { \"/a/b\" = \"text\" } }", "Passed"),
        ("files = { \"/a\" = \"text\" }\nexpect.files = { \"/a\" = { size = 3 } }", "/a: expected 3 bytes, found 4"),
        ("files = { \"/l\" = { symlink = \"x\" } }\nexpect.files = { \"/l\" = { target = \"x\" } }", "Passed"),
        ("skip = \"not today\"", "Skipped(\"not today\")"),
    ] {
        assert_eq!(verdict(lines), expected, "{lines}");
    }
}

#[test]
fn what_cannot_be_run_says_what_to_do() {
    let all = "program = \"guest.wasm\"\n[[case]]\nname = \"a\"\nimage = \"no.cpio\"\n\
        [[case]]\nname = \"b\"\nprogram = \"no.wasm\"\n[[case]]\nname = \"c\"\nprogram = \"case.toml\"\n";
    let dir = dir(&[("case.toml", all)]);
    let report = run(dir.path());
    let said: Vec<_> = report
        .results
        .iter()
        .map(|result| match &result.verdict {
            Verdict::Broken(message) => message.replace(&format!("{}/", dir.path().display()), ""),
            other => format!("{other:?}"),
        })
        .collect();
    assert_snapshot!(said.join("\n"));
}

#[test]
fn mistakes_in_case_files_have_a_place() {
    let files = [
        "program = \"a.wasm\"\nexpekt.exit = 1\n",
        "program = \"a.wasm\"\n[[case]]\nname = \"x\"\nexpect = { exit = \"none\" }\n",
        "program = \"a.wasm\"\n[[case]]\nname = \"x\"\nexpect = { exit = 1 }\nexpect.diff = \"\"\n",
        "program = \"a.wasm\"\n[[case]]\nname = \"x\"\n[[case]]\nname = \"x\"\n",
        "program = \"a.wasm\"\n[[case]]\nname = \"x\"\nexpect.stdout.regex = \"(\"\n",
        "program = \"a.wasm\"\nlimits.time = \"5 parsecs\"\n",
        "[[case]]\nname = \"x\"\nargs = []\n",
        "program = \"a.wasm\"\nfiles = { \"etc/motd\" = \"x\" }\n",
        "program = \"a.wasm\"\n[[case]]\nname = \"x\"\nexpect = { exit = 1, timeout = true }\n",
    ];
    assert_snapshot!(files.map(mistake).join("\n\n"));
}

#[test]
fn all_three_kinds_are_found_and_others_left_out() {
    let dir = dir(&[
        ("app/cases.toml", "program = \"../guest.wasm\"\n[[case]]\nname = \"one\"\n[[case]]\nname = \"two\"\n"),
        ("single.toml", "program = \"guest.wasm\"\n"),
        ("Cargo.toml", "[package]\nname = \"not-a-case\"\n"),
        ("snapshots/old.toml", "program = \"guest.wasm\"\n"),
        (".hidden/case.toml", "program = \"guest.wasm\"\n"),
        ("plain.stdout", "hello\n"),
        ("spec.json", "{\"args\": [\"said\", \"3\"], \"exit_code\": 3, \"stdout\": \"said\"}"),
        ("dirs.json", "{\"dirs\": [\"fs-tests.dir\"], \"args\": [\"make\"]}"),
        ("rooted.json", "{\"root\": \"fs-tests.dir\", \"args\": [\"make\"]}"),
        (
            "stream.json",
            "{\"operations\": [{\"type\": \"run\"}, {\"type\": \"read\", \"id\": \"stdout\", \
            \"payload\": \"hello\\n\"}, {\"type\": \"wait\"}]}",
        ),
        ("server.json", "{\"proposals\": [\"http\"], \"operations\": [{\"type\": \"run\"}, {\"type\": \"connect\"}]}"),
        ("fs-tests.dir/.keep", ""),
    ]);
    for name in ["plain", "spec", "dirs", "rooted", "stream", "server", "unused"] {
        fs::copy(dir.path().join("guest.wasm"), dir.path().join(name).with_extension("wasm")).unwrap();
    }
    let report = run(dir.path());
    let said: Vec<_> = report.results.iter().map(|result| format!("{} {:?}", result.id, result.verdict)).collect();
    assert_eq!(
        said,
        [
            "app/cases::one Passed",
            "app/cases::two Passed",
            "dirs Passed",
            "plain Passed",
            "rooted Passed",
            "server Skipped(\"needs a server to talk to\")",
            "single Passed",
            "spec Passed",
            "stream Passed",
        ]
    );
    assert!(!dir.path().join("fs-tests.dir/made").exists(), "the host's directory was changed");
}

#[test]
fn filters_and_shares_select() {
    let cases: String = (0..100).map(|n| format!("[[case]]\nname = \"case {n}\"\ntags = \"t{}\"\n", n % 3)).collect();
    let dir = dir(&[("many.toml", &format!("program = \"guest.wasm\"\n{cases}"))]);
    let count = |filter: &str| {
        let filter: Filter = filter.parse().unwrap_or_else(|error| panic!("{filter}: {error}"));
        found(dir.path()).cases.iter().filter(|case| filter.selects(case)).count()
    };
    for (filter, expected) in [
        ("all()", 100),
        ("none()", 0),
        ("99", 1),
        ("test(case 9)", 11),
        ("test(=many::case 9)", 1),
        ("test(/case \\d$/)", 10),
        ("test(#*[05])", 20),
        ("tag(t1)", 33),
        ("tag(~t)", 100),
        ("group(many) and not tag(t0)", 66),
        ("tag(t1) or tag(t2) and test(99)", 33),
        ("(tag(t1) | tag(t2)) & !99", 66),
    ] {
        assert_eq!(count(filter), expected, "{filter}");
    }
    for (filter, error) in [
        ("", "missing"),
        ("tag(t1", "not closed"),
        ("(99", "not closed"),
        ("foo(1)", "there is no foo()"),
        ("a b", "left over"),
        ("test(/(/)", "unclosed group"),
    ] {
        let found = filter.parse::<Filter>().unwrap_err();
        assert!(found.contains(error), "{filter}: {found}");
    }
    for kind in ["hash", "count"] {
        let shares: Vec<usize> = (1..=3)
            .map(|index| {
                let mut cases = found(dir.path()).cases;
                format!("{kind}:{index}/3").parse::<Partition>().unwrap().keep(&mut cases);
                cases.len()
            })
            .collect();
        assert_eq!(shares.iter().sum::<usize>(), 100);
        assert!(shares.iter().all(|&len| len > 20), "{shares:?}");
    }
    for text in ["0/3", "4/3", "x", "size:1/2"] {
        assert!(text.parse::<Partition>().is_err(), "{text}");
    }
}

#[test]
fn ten_thousand_cases_are_no_more_than_ten_thousand_times_one() {
    let cases: String =
        (0..10_000).map(|n| format!("[[case]]\nname = \"case {n}\"\nargs = [\"{n}\", \"{}\"]\n", n % 2)).collect();
    let dir = dir(&[("many.toml", &format!("program = \"guest.wasm\"\n{cases}"))]);
    let started = Instant::now();
    let report = run(dir.path());
    assert_eq!((report.results.len(), report.count(|result| result.verdict == Verdict::Passed)), (10_000, 5_000));
    assert_eq!(report.results[9_999].id.line(), 30_000);
    let junit = junit(&report).unwrap();
    assert!(junit.len() < 20 << 20 && html(&report).len() < 20 << 20);
    // It takes some seconds, and hours if anything is quadratic.
    assert!(started.elapsed() < Duration::from_secs(120), "{:?}", started.elapsed());
}

#[test]
fn stops_when_told_and_reports_what_was_done() {
    let dir = dir(&[(
        "case.toml",
        "program = \"guest.wasm\"\n[[case]]\nname = \"quick\"\n[[case]]\nname = \"endless\"\nargs = [\"spin\"]\n\
         limits.time = \"1h\"\n[[case]]\nname = \"never begun\"\n",
    )]);
    let config = RunConfig { jobs: 1, slow: Duration::from_millis(100), ..config() };
    let engine = Arc::new(Engine::new(&Cache::Off).unwrap());
    let started = Instant::now();
    let report = run_cases(&engine, found(dir.path()).cases, &config, |event| {
        if let mountless_test::Event::Slow(id, _) = event {
            assert_eq!(id.name(), "endless");
            config.stop.store(true, Ordering::Relaxed);
        }
    });
    assert!(started.elapsed() < Duration::from_secs(20));
    assert!(report.interrupted && !report.is_success());
    let verdicts: Vec<_> = report.results.iter().map(|result| format!("{:?}", result.verdict)).collect();
    assert_eq!(verdicts, ["Passed", "Interrupted", "Skipped(\"the run was interrupted\")"]);
}

#[test]
fn fail_fast_starts_nothing_more_and_retries_are_counted() {
    let cases: String = (0..50).map(|n| format!("[[case]]\nname = \"case {n}\"\nexpect.exit = 1\n")).collect();
    let dir = dir(&[("many.toml", &format!("program = \"guest.wasm\"\n{cases}"))]);
    let config = RunConfig { fail_fast: true, retries: 2, ..config() };
    let report = run_with(found(dir.path()).cases, &config);
    let failed = report.count(|result| matches!(result.verdict, Verdict::Failed(_)));
    assert!((1..40).contains(&failed), "{failed}");
    assert_eq!(report.results[0].failed_attempts, 2);
}

/// A report with one of each, and no time that differs.
fn one_of_each() -> (tempfile::TempDir, RunReport) {
    let dir = dir(&[(
        "case.toml",
        "program = \"guest.wasm\"\n[[case]]\nname = \"right\"\n[[case]]\nname = \"wrong\"\n\
         args = [\"make\", \"3\"]\nexpect.stdout = \"<made>\\n\"\n[[case]]\nname = \"broken\"\nprogram = \"no.wasm\"\n\
         [[case]]\nname = \"left out\"\nskip = true\n",
    )]);
    let mut report = run(dir.path());
    report.time = Duration::from_millis(1500);
    let fixed = |result: CaseResult| CaseResult { time: Duration::from_millis(12), ..result };
    report.results = report.results.into_iter().map(fixed).collect();
    (dir, report)
}

#[test]
fn reports_tell_the_same_to_everyone() {
    let (dir, report) = one_of_each();
    let place = format!("{}/", dir.path().display());
    let mut lines = Vec::new();
    let mut human = Human::new(&mut lines, 4, HumanOptions::default());
    human.start(1, 2, 2).unwrap();
    for result in &report.results {
        human.event(&mountless_test::Event::Done(result)).unwrap();
    }
    human.finish(&report).unwrap();
    assert_snapshot!(String::from_utf8(lines).unwrap().replace(&place, ""));
    assert_snapshot!(String::from_utf8(junit(&report).unwrap()).unwrap().replace(&place, ""));
    let place = place.replace(':', "%3A");
    assert_snapshot!(annotations(&report, &[]).replace(&place, ""));
    let html = html(&report);
    assert!(html.contains("&lt;made&gt;") && !html.contains("<made>") && !html.contains("<script"), "{html}");
    assert_eq!(html.matches("<details").count(), html.matches("</details>").count());
}

#[test]
fn cases_in_rust_share_an_engine_and_assert() {
    let dir = dir(&[]);
    let guest = dir.path().join("guest.wasm");
    let case = || Case::new(guest.to_str().unwrap()).limits(Limits::default());
    case().run().unwrap().assert_exit(0).assert_stdout("hello\n").assert_stderr("").assert_diff("");
    let ran = case().args(["make", "2"]).file("/etc/app.conf", "x=1\n").run().unwrap();
    ran.assert_exit(2).assert_stdout_contains("ma").assert_diff("A /made dir 0755\n");
    ran.assert_file("/etc/app.conf", "x=1\n").assert_absent("/etc/other");
    let wrong = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ran.assert_stdout("hello\n").outcome.clone()));
    let message = *wrong.unwrap_err().downcast::<String>().unwrap();
    assert!(message.starts_with("stdout differs\n--- expected\n+++ found\n"), "{message}");
    case().arg("trap").run().unwrap().assert_trap();
    assert!(Case::new("no.wasm").run().unwrap_err().to_string().contains("no.wasm"));
}

#[test]
fn the_schema_of_case_files_is_checked_in() {
    let schema = format!("{:#}\n", mountless_test::schema());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("case.schema.json");
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        fs::write(&path, &schema).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap_or_default(), schema, "run it with UPDATE_SCHEMA=1, and commit");
}
