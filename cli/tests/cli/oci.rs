//! Container images that we write: umoci unpacks them, and we read them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::pack::tree;
use crate::sandbox::Sandbox;

fn umoci(arguments: &[&str]) -> String {
    let output = Command::new("umoci").args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("umoci: {error}; `cargo xtask guests` installs it"));
    assert!(output.status.success(), "umoci {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Compares a tree with what umoci makes of an image, and with what we read of it.
fn assert_holds(sandbox: &Sandbox, layout: &Path, tag: &str, expected: &str) {
    let bundle = sandbox.input(&format!("bundle-{tag}"));
    let reference = format!("{}:{tag}", layout.display());
    umoci(&["unpack", "--rootless", "--image", &reference, bundle.to_str().unwrap()]);
    let theirs = bundle.join("rootfs").to_str().unwrap().to_owned();
    for image in [format!("oci:{}#{tag}", layout.display()), theirs] {
        let compared = sandbox.run(["diff", "--no-times", expected, &image]);
        let lines: Vec<_> = compared.stdout.lines().filter(|line| !line.contains("(owner ")).collect();
        assert_eq!((lines, &*compared.stderr), (Vec::new(), ""), "{image}");
    }
}

fn blobs(layout: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(layout.join("blobs/sha256")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn root(sandbox: &Sandbox) -> String {
    let dir = sandbox.input("root");
    fs::create_dir(&dir).unwrap();
    tree(&dir);
    // umoci cannot make names that are no text, nor give them to Go.
    fs::remove_file(
        dir.join("etc").join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"not\xffutf8")),
    )
    .unwrap();
    dir.to_str().unwrap().to_owned()
}

#[test]
fn a_tree_becomes_an_image_that_umoci_unpacks() {
    let sandbox = Sandbox::new();
    let root = root(&sandbox);
    let layout = sandbox.input("layout");
    let output = layout.to_str().unwrap();
    for (tag, arguments) in [("latest", &[][..]), ("plain", &["-c", "none"])] {
        let output = if tag == "latest" { output.to_owned() } else { format!("{output}#{tag}") };
        let done = sandbox.run([&["pack", "--format", "oci", &root, "-o", &output], arguments].concat());
        assert_eq!((done.code, &*done.stdout, &*done.stderr), (0, "", ""));
        assert_holds(&sandbox, &layout, tag, &root);
    }
    assert_eq!(umoci(&["list", "--layout", output]).lines().collect::<BTreeSet<_>>(), ["latest", "plain"].into());
    // A name is given anew, and the other image stays.
    fs::write(Path::new(&root).join("new"), "new\n").unwrap();
    let done = sandbox.run(["pack", "-c", "zstd", &root, "-o", &format!("oci:{output}")]);
    assert_eq!((done.code, &*done.stderr), (0, ""));
    assert_eq!(umoci(&["list", "--layout", output]).lines().count(), 2);
    assert_eq!(sandbox.run(["cat", &format!("oci:{output}#latest:/new")]).stdout, "new\n");
    assert_eq!(sandbox.run(["cat", &format!("oci:{output}#plain:/new")]).code, 1);
    // In one file.
    let archive = sandbox.input("image.tar").to_str().unwrap().to_owned();
    let done = sandbox.run(["pack", "--format", "oci", &root, "-o", &archive]);
    assert_eq!((done.code, &*done.stderr), (0, ""));
    assert_eq!(sandbox.run(["diff", "--no-times", &root, &archive]).stdout, "");
    assert!(sandbox.run(["info", &archive]).stdout.contains("oci"));
}

#[test]
fn images_are_reproducible() {
    let sandbox = Sandbox::new();
    let root = root(&sandbox);
    let packed = |name: &str| {
        let layout = sandbox.input(name);
        let done = sandbox.run(["pack", "--format", "oci", "--reproducible", &root, "-o", layout.to_str().unwrap()]);
        assert_eq!(done.code, 0, "{}", done.stderr);
        (fs::read(layout.join("index.json")).unwrap(), blobs(&layout))
    };
    let first = packed("one");
    let motd = fs::File::options().write(true).open(sandbox.input("root/etc/motd")).unwrap();
    motd.set_modified(std::time::SystemTime::now()).unwrap();
    assert_eq!(packed("two"), first);
}

#[test]
fn what_a_program_changed_is_one_more_layer() {
    let sandbox = Sandbox::new();
    let root = root(&sandbox);
    let layout = sandbox.input("layout");
    let base = format!("oci:{}#base", layout.display());
    assert_eq!(sandbox.run(["pack", &root, "-o", &base]).code, 0);
    let before = blobs(&layout);
    // What writes /out.
    let program = sandbox.file(
        "program.wasm",
        wat::parse_str(
            r#"(module
                (import "wasi_snapshot_preview1" "path_open" (func $open
                    (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
                (import "wasi_snapshot_preview1" "path_unlink_file" (func $unlink (param i32 i32 i32) (result i32)))
                (memory (export "memory") 1)
                (data (i32.const 100) "outempty")
                (func (export "_start")
                    (drop (call $open (i32.const 3) (i32.const 0) (i32.const 100) (i32.const 3)
                        (i32.const 1) (i64.const 64) (i64.const 64) (i32.const 0) (i32.const 0)))
                    (drop (call $unlink (i32.const 3) (i32.const 103) (i32.const 5)))))"#,
        )
        .unwrap(),
    );
    let changed = format!("oci:{}#changed", layout.display());
    let done = sandbox.run(["run", "-i", &base, "--diff", "--save", &changed, &program]);
    assert_eq!((done.code, &*done.stderr), (0, "D /empty\nA /out\n"));
    // The base's layer, as it is, and the changes: one more layer, configuration and manifest.
    let after = blobs(&layout);
    assert_eq!(after.difference(&before).count(), 3);
    assert!(before.is_subset(&after));
    let expected = sandbox.input("expected");
    mountless_tests::copy_tree(Path::new(&root), &expected);
    let listed = sandbox.run(["find", &changed]).stdout;
    assert!(listed.contains("\n/out\n") && !listed.contains("\n/empty\n"), "{listed}");
    assert_eq!(sandbox.run(["diff", &base, &changed]).stdout.lines().count(), 3, "and the root's time");
    assert_eq!(sandbox.run(["du", "--layers", &changed]).stdout.lines().count(), 2);
    let whole = sandbox.input("whole.cpio").to_str().unwrap().to_owned();
    assert_eq!(sandbox.run(["convert", &changed, &whole]).code, 0);
    assert_holds(&sandbox, &layout, "changed", &whole);
    // The same from two images, into another layout, on what is no container image.
    let other = sandbox.input("other");
    let reference = format!("oci:{}", other.display());
    let done = sandbox.run(["diff", "--layer", &reference, &root, &whole]);
    assert_eq!((done.code, &*done.stdout, &*done.stderr), (0, "", ""));
    assert_eq!(sandbox.run(["du", "--layers", &reference]).stdout.lines().count(), 2);
    assert_holds(&sandbox, &other, "latest", &whole);
}

#[test]
fn mistakes_leave_what_was_there() {
    let sandbox = Sandbox::new();
    let image = sandbox.image("in.cpio", &[("a", b"content")]);
    let full = sandbox.file("full/file", "content");
    let full = full.strip_suffix("/file").unwrap();
    let mut shown = String::new();
    for arguments in [
        &["pack", "--format", "oci", &image, "-o", full][..],
        &["pack", "--format", "oci", "-c", "xz", &image, "-o", full],
    ] {
        let done = sandbox.run(arguments);
        assert_ne!(done.code, 0);
        shown += &done.stderr;
    }
    insta::assert_snapshot!(shown, @"
    mountless: cannot write: IN/full: the directory holds something else than an OCI image layout
    mountless: cannot write: IN/full: no such layers exist
      next: --compress takes gzip, zstd or none for container images
    ");
    assert_eq!(fs::read_dir(full).unwrap().count(), 1);
}

/// Layers are counted as `#layer=N` does, from 1 on, and are objects in JSON.
#[test]
fn what_layers_take_is_told_by_the_numbers_that_select_them() {
    let sandbox = Sandbox::new();
    let layout = sandbox.input("layout").to_str().unwrap().to_owned();
    let [one, other] = ["one", "other"].map(|name| {
        mountless_tests::put(&sandbox.input(name), name, name);
        sandbox.input(name).to_str().unwrap().to_owned()
    });
    let tag = |number: u32| format!("oci:{layout}#{number}");
    assert_eq!(sandbox.run(["pack", "--reproducible", "--format", "oci", "-c", "none", &one, "-o", &tag(1)]).code, 0);
    assert_eq!(sandbox.run(["diff", "--no-times", "--layer", &tag(2), &tag(1), &other]).code, 0);
    let lines = sandbox.run(["du", "--layers", "--json", &tag(2)]).stdout;
    let numbers: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(numbers.iter().map(|line| line["layer"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(sandbox.run(["ls", &format!("{},layer=1", tag(2))]).stdout, "one\n");
    let info: serde_json::Value = serde_json::from_str(&sandbox.run(["info", "--json", &tag(2)]).stdout).unwrap();
    for (layer, line) in info["layers"].as_array().unwrap().iter().zip(&numbers) {
        for key in ["digest", "stored_bytes", "unpacked_bytes", "entries"] {
            assert!(!layer[key].is_null() && layer[key] == line[key], "{key}: {info}");
        }
    }
    let refused = sandbox.run(["du", "--layers", &one]);
    assert_eq!((refused.code, &*refused.stdout), (1, ""));
    assert!(refused.stderr.contains("it has none"), "{}", refused.stderr);
}
