//! Arrows point down only: between the folders of the core, and between the crates.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What each folder or file at the top of `core/src` may use, besides [`BASE`], which all may.
const MAY_USE: &[(&str, &[&str])] = &[
    ("lib", &["*"]),
    ("stack", &["open", "compose", "backend", "fs"]),
    ("vfs", &["namespace", "fs"]),
    ("conformance", &["namespace", "fs", "testing"]),
    ("testing", &[]),
    ("edit", &["open", "compose", "backend", "fs", "namespace", "source", "transfer"]),
    ("inspect", &["open", "backend", "format", "fs", "source"]),
    ("open", &["compose", "backend", "format", "fs", "source"]),
    ("transfer", &["backend", "fs", "format", "source"]),
    ("namespace", &["fs"]),
    ("compose", &["fs"]),
    ("backend", &["fs", "format", "source"]),
    ("format", &[]),
    ("source", &[]),
    ("fs", &[]),
];

/// Uses nothing but itself.
const BASE: &[&str] = &["errno", "error", "name", "attr", "clock", "limits", "checked", "path", "size", "progress"];

/// What each crate may use of the others. Those that are not published may use all, and no other may use them.
const CRATES_MAY_USE: &[(&str, &[&str])] = &[
    ("mountless", &[]),
    ("mountless-wasi", &["mountless"]),
    ("mountless-fuse", &["mountless"]),
    ("mountless-9p", &["mountless"]),
    ("mountless-test", &["mountless", "mountless-wasi"]),
    ("mountless-cli", &["mountless", "mountless-wasi", "mountless-test", "mountless-fuse", "mountless-9p"]),
];

#[test]
fn folders_of_the_core_use_only_what_stands_under_them() {
    let src = xtask::workspace().join("core/src");
    let mut arrows = BTreeMap::new();
    for file in rust_files(&src) {
        // Tests may build what they test on from anywhere.
        if file.file_name().is_some_and(|name| name == "tests.rs" || name == "testing.rs") {
            continue;
        }
        let from = first_component(file.strip_prefix(&src).unwrap());
        for to in modules_used(&std::fs::read_to_string(&file).unwrap()) {
            if to != from {
                arrows.entry((from.clone(), to)).or_insert(file.clone());
            }
        }
    }
    let known = ("fs".to_owned(), "attr".to_owned());
    assert!(arrows.contains_key(&known), "fs.rs uses attr.rs, and this test does not see it: {arrows:?}");
    let upward: Vec<_> = arrows.iter().filter(|((from, to), _)| !may_use(from, to)).collect();
    assert!(upward.is_empty(), "not allowed by the table in this file: {upward:#?}");
}

fn may_use(from: &str, to: &str) -> bool {
    if BASE.contains(&from) {
        return BASE.contains(&to);
    }
    let Some((_, allowed)) = MAY_USE.iter().find(|(folder, _)| *folder == from) else { return false };
    BASE.contains(&to) || allowed.contains(&to) || allowed.contains(&"*")
}

#[test]
fn crates_use_only_what_stands_under_them() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(xtask::workspace())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let names: Vec<_> = packages.iter().map(|package| package["name"].as_str().unwrap()).collect();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let unpublished = package["publish"].as_array().is_some_and(Vec::is_empty);
        let allowed = CRATES_MAY_USE.iter().find(|(of, _)| *of == name).map(|(_, allowed)| *allowed);
        assert!(unpublished != allowed.is_some(), "{name}: published crates, and only they, stand in the table");
        // Tests may use what they like.
        let shipped = |dependency: &&serde_json::Value| dependency["kind"] != "dev";
        for dependency in package["dependencies"].as_array().unwrap().iter().filter(shipped) {
            let dependency = dependency["name"].as_str().unwrap();
            let fine = allowed.is_none_or(|allowed| allowed.contains(&dependency));
            assert!(fine || !names.contains(&dependency), "{name} may not use {dependency}");
        }
    }
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

fn first_component(path: &Path) -> String {
    Path::new(path.components().next().unwrap().as_os_str()).file_stem().unwrap().to_str().unwrap().to_owned()
}

/// The modules at the top of the crate that the code names, in `use` lines or on the spot. Comments and the tests at
/// the end of a file may name any.
fn modules_used(source: &str) -> Vec<String> {
    let code = source.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
    let code = lines.collect::<Vec<_>>().join("\n");
    let mut modules = Vec::new();
    for (at, matched) in code.match_indices("crate::") {
        let rest = &code[at + matched.len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let group = group.split_inclusive(['{', '}', ',']);
            // Only names at the group's own level are modules.
            let mut depth = 0;
            for piece in group {
                let name = word(piece);
                if depth == 0 && !name.is_empty() {
                    modules.push(name);
                }
                match piece.chars().last() {
                    Some('{') => depth += 1,
                    Some('}') if depth == 0 => break,
                    Some('}') => depth -= 1,
                    _ => {}
                }
            }
        } else {
            modules.push(word(rest));
        }
    }
    modules
}

/// The module name at the start of `text`; empty for types, macros and functions re-exported at the top.
fn word(text: &str) -> String {
    let name: String = text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    if name.starts_with(char::is_uppercase) { "lib".to_owned() } else { name }
}

#[test]
fn the_scan_sees_groups_and_skips_comments_and_tests() {
    let source = "use crate::a::B;\nuse crate::{c::{D, e}, f::g};\n// crate::h\nfn i() { crate::j::k() }\n\
                  #[cfg(test)]\nmod tests { use crate::l; }\n";
    assert_eq!(modules_used(source), ["a", "c", "f", "j"]);
}
