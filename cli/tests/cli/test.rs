//! `mountless test`: exit codes, reports, snapshots, and an interruption.

use std::fs;
use std::time::{Duration, Instant};

use crate::sandbox::Sandbox;

const GREETING: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\08\00\00\00\06\00\00\00hello\n")
  (func (export "_start") (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 100)))))"#;

/// Inputs with a program that says hello, and this case file.
fn sandbox(cases: &str) -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    sandbox.file("cases/greet.wasm", wat::parse_str(GREETING).unwrap());
    sandbox.file("cases/greet.toml", format!("program = \"greet.wasm\"\n{cases}"));
    let dir = sandbox.input("cases").to_str().unwrap().to_owned();
    (sandbox, dir)
}

#[test]
fn exit_codes_tell_what_happened() {
    for (cases, code, said) in [
        ("expect.stdout = \"hello\\n\"\n", 0, "1 case run: 1 passed"),
        ("expect.stdout = \"bye\\n\"\n", 1, "stdout differs"),
        ("expect.stdin = \"bye\\n\"\n", 2, "unknown field `stdin`"),
        ("tags = \"x\"\n[[case]]\nname = \"a\"\nskip = \"not yet\"\n", 0, "1 skipped"),
    ] {
        let (sandbox, dir) = sandbox(cases);
        let done = sandbox.run(["test", &dir]);
        assert_eq!(done.code, code, "{}", done.shown());
        assert!(done.shown().contains(said), "{}", done.shown());
    }
    let (sandbox, dir) = sandbox("");
    let none = sandbox.run(["test", &dir, "--filter", "no-such-case"]);
    assert_eq!(none.code, 4);
    assert!(none.stderr.contains("none of 1 is selected"), "{}", none.stderr);
    assert_eq!(sandbox.run(["test"]).code, 4);
}

#[test]
fn snapshots_are_made_on_request_and_never_in_ci() {
    let (sandbox, dir) = sandbox("[[case]]\nname = \"Says hello\"\nexpect.stdout = { snapshot = true }\n");
    let snapshot = sandbox.input("cases/snapshots/greet__says-hello-stdout.snap");
    let in_ci = sandbox.command(["test", &dir]).env("CI", "true").output().unwrap();
    assert_eq!(in_ci.status.code(), Some(1));
    assert!(!snapshot.parent().unwrap().exists());
    assert_eq!(sandbox.run(["test", &dir]).code, 1);
    assert!(snapshot.with_extension("snap.new").exists());
    assert_eq!(sandbox.run(["test", &dir, "--update"]).code, 0);
    assert!(!snapshot.with_extension("snap.new").exists());
    assert!(fs::read_to_string(&snapshot).unwrap().ends_with("---\nhello\n"));
    let in_ci = sandbox.command(["test", &dir]).env("CI", "true").output().unwrap();
    assert_eq!(in_ci.status.code(), Some(0));
}

#[test]
fn a_broken_case_file_is_in_the_reports() {
    let (sandbox, dir) = sandbox("");
    sandbox.file("cases/broken.toml", "program = \"greet.wasm\"\nlimits.time = 5\n");
    let (junit, html) = (sandbox.input("junit.xml"), sandbox.input("report.html"));
    let reports = ["--junit", junit.to_str().unwrap(), "--html", html.to_str().unwrap()];
    let done = sandbox.run([&["test", &dir][..], &reports].concat());
    assert_eq!(done.code, 2, "{}", done.shown());
    assert!(done.stdout.contains("1 passed") && done.stderr.contains("broken.toml:2:"), "{}", done.shown());
    let junit = fs::read_to_string(&junit).unwrap();
    assert!(junit.contains("tests=\"2\" errors=\"1\"") && junit.contains("greet"), "{junit}");
    assert!(fs::read_to_string(&html).unwrap().contains("1 of 2 failed"));
    let github = sandbox.command(["test", &dir]).env("GITHUB_ACTIONS", "true").output().unwrap();
    let github = String::from_utf8(github.stdout).unwrap();
    assert!(github.contains("broken.toml,line=2,col=15,title=broken case file::"), "{github}");
}

#[test]
fn lists_are_for_programs_too() {
    let (sandbox, dir) = sandbox("[[case]]\nname = \"a\"\ntags = [\"x\"]\n[[case]]\nname = \"b\"\nskip = true\n");
    let list = sandbox.run(["test", &dir, "--list"]);
    assert_eq!(list.stdout, "IN/cases/greet::a  [x]\nIN/cases/greet::b  (skipped: skip = true)\n");
    let json = sandbox.run(["test", &dir, "--list", "--json", "--filter", "tag(x)"]);
    let case: serde_json::Value = serde_json::from_str(json.stdout.trim()).unwrap();
    assert_eq!((case["name"].as_str(), case["line"].as_u64()), (Some("a"), Some(3)));
}

#[test]
fn an_interruption_leaves_a_report_of_what_was_done() {
    let (sandbox, dir) = sandbox("[[case]]\nname = \"done\"\n");
    let spin = r#"(module (memory (export "memory") 1) (func (export "_start") (loop $ever (br $ever))))"#;
    sandbox.file("cases/spin.wasm", wat::parse_str(spin).unwrap());
    sandbox.file("cases/spin.toml", "program = \"spin.wasm\"\nlimits.time = \"1h\"\n");
    let junit = sandbox.input("reports/junit.xml");
    let arguments = ["test", &dir, "--jobs", "2", "--slow", "200ms", "--junit", junit.to_str().unwrap()];
    let started = Instant::now();
    let mut child = sandbox.command(arguments).stdout(std::process::Stdio::piped()).spawn().unwrap();
    // Long enough for the one case, even on a busy machine; the other one never ends.
    std::thread::sleep(Duration::from_secs(3));
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    assert!(started.elapsed() < Duration::from_secs(30));
    let report = fs::read_to_string(&junit).unwrap();
    assert!(report.contains("<testcase name=\"done\"") && report.contains("message=\"interrupted\""), "{report}");
}
