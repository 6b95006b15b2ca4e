//! `mountless run` as cargo's runner, for the tests of a crate built for WASI.

use std::fs;
use std::process::Command;

use crate::sandbox::Sandbox;

const CRATE: &str = r#"
fn main() {
    println!("{:?}", std::env::args().skip(1).collect::<Vec<_>>());
}

#[cfg(test)]
mod tests {
    #[test]
    fn reads_the_image() {
        assert_eq!(std::fs::read_to_string("/etc/motd").unwrap(), "welcome\n");
    }

    #[test]
    fn writes_to_memory() {
        std::fs::write("/out", "x").unwrap();
        assert_eq!(std::fs::read("/out").unwrap(), b"x");
    }
}
"#;

#[test]
fn cargo_runs_the_tests_of_a_crate_on_an_image() {
    if let Err(error) = xtask::guests::has_rust_target() {
        eprintln!("NOT TESTED: mountless as cargo's runner: {error}");
        return;
    }
    let sandbox = Sandbox::new();
    let image = sandbox.image("base.cpio", &[("etc/motd", b"welcome\n")]);
    let manifest = "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[workspace]\n";
    let manifest = sandbox.file("app/Cargo.toml", manifest);
    sandbox.file("app/src/main.rs", CRATE);
    let runner = format!("{} run --image {image}", env!("CARGO_BIN_EXE_mountless"));
    let cargo = |arguments: &[&str]| {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(arguments).args([
            "--offline",
            "--quiet",
            "--target",
            xtask::guests::RUST_TARGET,
            "--manifest-path",
        ]);
        command.arg(&manifest).env("CARGO_TARGET_WASM32_WASIP1_RUNNER", &runner);
        command.env("CARGO_TARGET_DIR", sandbox.input("target")).env_remove("RUSTFLAGS");
        command
    };
    let tested = cargo(&["test"]).output().unwrap();
    let stdout = String::from_utf8_lossy(&tested.stdout);
    assert!(
        tested.status.success() && stdout.contains("2 passed"),
        "{stdout}{}",
        String::from_utf8_lossy(&tested.stderr)
    );
    let ran = cargo(&["run"]).args(["--", "a", "--flag"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "[\"a\", \"--flag\"]\n");
    assert!(!fs::exists(sandbox.input("app/out")).unwrap());
}
