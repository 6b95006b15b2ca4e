//! What only a TFS has: manifests and disks, configuration, compaction, and what a kernel leaves behind.

use std::fs;
use std::sync::Arc;

use insta::assert_snapshot;
use mountless::backend::tfs::{Part, TfsFs, TfsOptions, TfsReport};
use mountless::source::{BytesSource, FileSource};

use crate::sandbox::Sandbox;

/// Bytes of the second stage of the loader below.
const STAGE_2: usize = 4096;

/// A boot loader as Nanos builds it, without code: a first sector that says how long the rest is, and the rest.
fn loader() -> Vec<u8> {
    let mut loader = vec![0x90; 512 + STAGE_2];
    loader[426..434].copy_from_slice(&0x8000_u64.to_le_bytes());
    loader[434..442].copy_from_slice(&(STAGE_2 as u64).to_le_bytes());
    loader[442..446].copy_from_slice(&12_u32.to_le_bytes());
    loader[446..510].fill(0);
    loader[510..512].copy_from_slice(&[0x55, 0xaa]);
    loader
}

fn output(sandbox: &Sandbox, name: &str) -> String {
    sandbox.input(name).to_str().unwrap().to_owned()
}

fn report(image: &str, part: Option<Part>) -> TfsReport {
    let source = Arc::new(BytesSource::new(fs::read(image).unwrap().into()));
    TfsFs::open(source, &TfsOptions { part, ..TfsOptions::default() }).unwrap().1
}

fn attributes(report: &TfsReport) -> Vec<String> {
    report.root_attributes.iter().map(|(name, value)| format!("{}:{value}", name.escape_ascii())).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_manifest_becomes_the_bytes_that_mkfs_writes() {
    let sandbox = Sandbox::new();
    let file = sandbox.file("hd.txt", "hi\n");
    let manifest = format!("(children:(a:(contents:(host:\"{file}\")) d:(children:(l:(linktarget:../a)))) n:[x -y])\n");
    let (manifest, image) = (sandbox.file("m", manifest), output(&sandbox, "image"));
    let uuid = "61ca0abe-0f43-32ca-5aa1-b02c6947dae3";
    let done = sandbox.run(["pack", "--manifest", &manifest, "--label", "demo", "--uuid", uuid, "-o", &image]);
    assert_eq!((done.code, &*done.shown()), (0, "\n--- stderr, exit code 0\n"));
    let image = fs::read(image).unwrap();
    assert_eq!(image.len(), 2_621_440);
    assert_eq!(hex(&image[..0x22]), "4e564d544653050161ca0abe0f4332ca5aa1b02c6947dae364656d6f000501880001");
    assert_eq!(
        hex(&image[0x200..0x286]),
        "4e564d5446530588000230309288086368696c6472656e928161908164910291816c91880a6c696e6b746172676574c42e2e2f61816ea2\
         c178c22d79020b0b110587657874656e747390022525110f81309386 6f6666736574b098018809616c6c6f6361746564b001866c656e\
         677468b0010210101105880a66696c656c656e677468b00301"
            .replace(' ', "")
    );
    assert_eq!(image[3073 * 512..3073 * 512 + 4], *b"hi\n\0");
}

#[test]
fn a_manifest_a_kernel_and_a_loader_become_a_disk() {
    let sandbox = Sandbox::new();
    let (kernel, boot) = (sandbox.file("kernel.img", "the kernel"), sandbox.file("boot.img", loader()));
    fs::create_dir(sandbox.input("target")).unwrap();
    sandbox.file("target/prog", "the program");
    let manifest = sandbox.file(
        "app.manifest",
        "(children:(prog:(contents:(host:prog)) tmp:(children:()) sh:(linktarget:/prog))\n \
           program:/prog arguments:[prog --flag \"two words\"] environment:(HOME:/ PATH:\"/bin\") imagesize:20m)",
    );
    let target = output(&sandbox, "target");
    let pack = |image: &str| {
        let image = output(&sandbox, image);
        let arguments = ["pack", "--reproducible", "--json", "--manifest", &manifest, "--target-root", &target];
        let disk = ["--kernel", &kernel, "--boot", &boot, "--label", "app", "--size", "8M", "-o", &image];
        let done = sandbox.run(arguments.into_iter().chain(disk));
        assert_eq!((done.code, &*done.stderr), (0, ""), "{}", done.shown());
        (image, done.stdout)
    };
    let (disk, json) = pack("disk.img");
    let (again, _) = pack("again.img");
    let bytes = fs::read(&disk).unwrap();
    assert!(bytes == fs::read(again).unwrap(), "not the same bytes again");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let number = |key: &str| json[key].as_u64().unwrap();
    let root_start = 512 + STAGE_2 as u64 + 4096 + (12 << 20);
    assert_eq!((number("root_offset"), number("entries"), number("boot_entries")), (root_start, 4, 2));
    assert!(bytes.len() as u64 == number("stored_bytes") && bytes.len() > 20 << 20, "{} bytes", bytes.len());

    // The loader around the partitions, which are those of mkfs for a loader of this length.
    assert!(bytes[..446] == loader()[..446] && bytes[510..512 + STAGE_2] == loader()[510..]);
    assert_eq!(hex(&bytes[446..462]), "80001200838717011100000000600000");
    assert_eq!(hex(&bytes[462..467]) + &hex(&bytes[470..474]), "808718018311600000");

    let found = report(&disk, None);
    assert_eq!((&*found.label, found.uuid.to_string()), (&b"app"[..], json["uuid"].as_str().unwrap().to_owned()));
    assert_eq!(
        attributes(&found),
        ["arguments:[prog --flag two words]", "environment:(HOME:/ PATH:/bin)", "program:/prog"]
    );
    assert_eq!(sandbox.run(["cat", &format!("{disk}:/prog")]).stdout, "the program");
    assert_eq!(sandbox.run(["cat", &format!("{disk}#boot:/kernel")]).stdout, "the kernel");
    let checked = sandbox.run(["check", &disk]);
    assert_eq!(checked.code, 0, "{}", checked.shown());
}

#[test]
fn beside_sources_a_manifest_configures() {
    let sandbox = Sandbox::new();
    let archive = sandbox.image("image.cpio", &[("prog", b"the program")]);
    let manifest = sandbox.file("m", "(children:() program:/prog debug:t boot:(children:(klib:(children:()))))");
    let image = output(&sandbox, "image");
    let done = sandbox.run(["pack", &archive, "--manifest", &manifest, "-o", &image]);
    assert_snapshot!(done.shown(), @"
    --- stderr, exit code 0
    note: the boot file system of the manifest is left out: --boot FILE makes a disk
    ");
    assert_eq!(attributes(&report(&image, None)), ["debug:t", "program:/prog"]);
    assert_eq!(sandbox.run(["cat", &format!("{image}:/prog")]).stdout, "the program");

    // What is packed again keeps what is configured, and its label; a manifest goes before it.
    let manifest = sandbox.file("other", "(debug:no cwd:/)");
    let (again, converted) = (output(&sandbox, "again"), output(&sandbox, "converted"));
    let done = sandbox.run(["pack", &image, "--manifest", &manifest, "--label", "x", "-o", &again]);
    assert_eq!(done.code, 0, "{}", done.shown());
    assert_eq!(attributes(&report(&again, None)), ["cwd:/", "debug:no", "program:/prog"]);
    let done = sandbox.run(["convert", &again, &converted, "--format", "tfs", "--reproducible"]);
    assert_eq!(done.code, 0, "{}", done.shown());
    let converted = report(&converted, None);
    assert_eq!((attributes(&converted), &*converted.label), (attributes(&report(&again, None)), &b"x"[..]));
}

#[test]
fn images_of_nanos_keep_their_configuration_when_packed() {
    let sandbox = Sandbox::new();
    for name in ["basic", "ops-v5", "partitioned", "kernel-edits"] {
        let Some(image) = sandbox.tfs_sample(name) else { return };
        let packed = output(&sandbox, "packed");
        let done = sandbox.run(["pack", "--format", "tfs", &image, "-o", &packed]);
        assert_eq!(done.code, 0, "{name}: {}", done.shown());
        let (before, after) = (report(&image, None), report(&packed, None));
        assert_eq!((attributes(&after), &after.label), (attributes(&before), &before.label), "{name}");
        assert_ne!(after.uuid, before.uuid, "{name}: two file systems with one identity");
        let compared = sandbox.run(["diff", &image, &packed]);
        assert_eq!((compared.code, &*compared.stdout), (0, ""), "{name}: {}", compared.stderr);
        let checked = sandbox.run(["check", &packed]);
        assert_eq!(checked.code, 0, "{name}: {}", checked.shown());
    }
}

#[test]
fn what_makes_no_disk_is_told() {
    let sandbox = Sandbox::new();
    let archive = sandbox.image("image.cpio", &[("prog", b"the program")]);
    let typo = sandbox.file("typo", "(children:(\n  prog:(content:(host:prog))\n))");
    let open = sandbox.file("open", "(children:(prog:(contents:(host:x))");
    let gone = sandbox.file("gone", "(children:(prog:(contents:(host:/nowhere/prog))))");
    let full = sandbox.file("full", "(children:(tmp:(children:())))");
    let (kernel, boot) = (sandbox.file("kernel", "k"), sandbox.file("boot.img", loader()));
    let image = output(&sandbox, "image");
    let out = ["-o", &image];
    let runs: [&[&str]; 11] = [
        &["--manifest", &typo],
        &["--manifest", &open],
        &["--manifest", &gone],
        &["--manifest", "/nowhere/manifest"],
        &["--manifest", &full, &archive],
        &["--manifest", &full, "--format", "tar"],
        &["--boot", &kernel, "--kernel", &kernel, &archive],
        &["--boot", "/nowhere/boot.img", "--kernel", &kernel, &archive],
        &["--boot", &boot, &archive],
        &["--uefi", &kernel, "--kernel", &kernel, &archive],
        &["--uuid", "12-34", &archive],
    ];
    let shown: Vec<_> = runs
        .iter()
        .map(|run| {
            let done = sandbox.run(["pack"].iter().chain(*run).chain(&out));
            assert!(!sandbox.input("image").exists(), "{run:?}");
            done.shown()
        })
        .collect();
    assert_snapshot!(shown.join(""), @r#"
    --- stderr, exit code 2
    mountless: cannot read manifest: IN/typo: line 2, column 8: a node needs children, contents or linktarget; Nanos stops at one without

    --- stderr, exit code 2
    mountless: cannot read manifest: IN/open: line 1, column 36: the manifest ends inside the tuple that begins at line 1, column 11: ")" is missing

    --- stderr, exit code 2
    mountless: cannot read manifest: IN/gone: line 1, column 33: cannot read /nowhere/prog: no such file or directory

    --- stderr, exit code 2
    mountless: cannot read manifest: /nowhere/manifest: no such file or directory

    --- stderr, exit code 2
    mountless: cannot read manifest: IN/full: line 1, column 11: files of a manifest, and files from elsewhere: beside those it gives the configuration

    --- stderr, exit code 2
    mountless: cannot write: --manifest is for TFS, another format is named
      next: --format tfs writes one

    --- stderr, exit code 2
    mountless: cannot make a disk: IN/kernel: a boot loader of 1 bytes, the least is 512

    --- stderr, exit code 2
    mountless: cannot make a disk: /nowhere/boot.img: no such file or directory

    --- stderr, exit code 2
    mountless: cannot make a disk: a disk that boots needs a kernel
      next: --kernel FILE, or in the manifest boot:(children:(kernel:(contents:(host:FILE))))

    --- stderr, exit code 2
    mountless: cannot make a disk: IN/kernel: for which machine, its name does not tell
      next: the loader is called bootx64.efi or bootaa64.efi

    --- stderr, exit code 2
    error: invalid value '12-34' for '--uuid <UUID>': a UUID is 32 hexadecimal digits

    For more information, try '--help'.
    "#);
}

#[test]
fn compacting_keeps_everything_but_what_is_dead() {
    let sandbox = Sandbox::new();
    for name in ["kernel-edits", "fuse-edits", "kernel-log-extended", "ops-v4-continued", "partitioned"] {
        let Some(image) = sandbox.tfs_sample(name) else { return };
        let listing = || sandbox.run(["find", "--json", "--sha256", &image]).stdout;
        let (tree, before) = (listing(), report(&image, None));
        let done = sandbox.run(["compact", "--json", &image]);
        let checked = sandbox.run(["check", &image]);
        assert_eq!((done.code, checked.code), (0, 0), "{name}: {}{}", done.shown(), checked.shown());
        let after = report(&image, None);
        assert_eq!((attributes(&after), &after.label, after.uuid), (attributes(&before), &before.label, before.uuid));
        assert!(tree.len() > 100 && listing() == tree, "{name}: not the same tree");
        let told: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
        let sectors: u64 = after.extensions.iter().map(|extension| extension.count).sum();
        assert_eq!((told["after"]["dead"].as_u64(), told["after"]["sectors"].as_u64()), (Some(0), Some(sectors)));
        assert_eq!(told["before"]["dead"].as_u64(), Some(before.entries_dead), "{name}");
        assert!(after.entries_dead == 0 && after.records < before.records, "{name}: {} records", after.records);
    }
}

#[test]
fn what_cannot_be_compacted_stays_as_it_is() {
    let sandbox = Sandbox::new();
    let archive = sandbox.image("image.cpio", &[("a", b"b")]);
    let volume = sandbox.tfs("volume");
    let bytes = fs::read(&volume).unwrap();
    assert_snapshot!(sandbox.run(["compact", &volume]).shown(), @"
    IN/volume: the log had 1025 sectors, 100% of it live, and has 1025

    --- stderr, exit code 0
    ");
    // No gap of two extensions, which a log and its compaction need.
    let small = sandbox.file("small", &bytes[..(1 << 20) - 512]);
    let damaged = sandbox.file("damaged", [&bytes[..522], &[0xee; 8], &bytes[530..]].concat());
    let mut shown = String::new();
    for image in [&archive, &damaged, &small, &output(&sandbox, "missing")] {
        let before = fs::read(image).ok();
        shown += &sandbox.run(["compact", image]).shown();
        assert!(fs::read(image).ok() == before, "{image} was changed");
    }
    let held = FileSource::open_exclusive(&volume).unwrap();
    shown += &sandbox.run(["compact", &volume]).shown();
    drop(held);
    assert_snapshot!(shown, @"
    --- stderr, exit code 1
    mountless: cannot compact: IN/image.cpio: it is cpio, and no TFS

    --- stderr, exit code 2
    mountless: cannot read image: IN/damaged: damaged tfs data at byte 632: frame type 0x00, expected 1 to 5
      next: `mountless check IMAGE --repair OUT` writes what can be read of it anew

    --- stderr, exit code 1
    mountless: cannot compact: IN/small: no space left on device
      next: `mountless convert --format tfs --size SIZE IMAGE OUT` writes a larger one

    --- stderr, exit code 2
    mountless: cannot read image: IN/missing: no such file or directory
      next: check the name; `-` reads standard input

    --- stderr, exit code 1
    mountless: cannot compact: IN/volume: another process, or another part of this one, has it open for writing
    ");
}

#[test]
fn the_crash_log_of_a_disk_is_printed() {
    let sandbox = Sandbox::new();
    let Some(disk) = sandbox.tfs_sample("crash-log") else { return };
    assert_snapshot!(sandbox.run(["klog", &disk]).shown(), @"
    boot id: 0
    exit code: 3

    [0.448100] NET: no network interface found
    ECHO line-0-g
    ECHO line-1-g
    ECHO line-2-g
    ECHO line-3-g
    ECHO line-4-g
    EXITING

    --- stderr, exit code 0
    ");
    let json: serde_json::Value = serde_json::from_str(&sandbox.run(["klog", "--json", &disk]).stdout).unwrap();
    assert_eq!((json["offset"].as_u64(), json["exit_code"].as_i64()), (Some(4608), Some(3)));
    assert_eq!(json["boot_id"], "0");
    assert_eq!(json["text"].as_str().unwrap().len(), 121);
    let Some(disk) = sandbox.tfs_sample("partitioned") else { return };
    assert_snapshot!(sandbox.run(["klog", &disk]).shown(), @"
    --- stderr, exit code 1
    mountless: no crash log: IN/partitioned.img
      next: Nanos leaves one when it stops with an exit code other than 0
    ");
}
