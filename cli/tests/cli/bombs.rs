//! Small archives that say they are huge: every command ends soon, with what it was asked for or with an error that says
//! which limit was met, and takes no more memory than the limit that the kernel sets it here.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use mountless::attr::FileType;
use mountless::clock::Timestamp;
use mountless::format::compress::Compression;
use mountless::format::cpio::{CpioWriter, NewEntry};
use mountless::format::tar::{NewTarEntry, NewTarKind, Piece, TarWriter};
use mountless::transfer::{Compress, Compressor};
use mountless_tests::put;

use crate::sandbox::{Done, Sandbox};

/// Seconds of processor time, so that other work on the machine does not count: for the slowest of the commands, not
/// optimized.
const TIME_MAX: u64 = 180;

/// Runs the command with so much memory, in MiB, besides the files that it maps. Too much of it, or too long, ends it.
fn bounded(sandbox: &Sandbox, memory_mib: u64, arguments: &[&str]) -> Done {
    let mut shell = std::process::Command::new("sh");
    let limited = format!("ulimit -d {}; ulimit -t {TIME_MAX}; exec \"$0\" \"$@\"", memory_mib << 10);
    shell.args(["-c", &limited, env!("CARGO_BIN_EXE_mountless")]).args(arguments);
    let done = sandbox.run_as(shell);
    assert!([0, 1, 2].contains(&done.code), "{arguments:?}: {}: {}", done.code, done.stderr);
    assert!(done.stderr.len() < 4000, "{arguments:?}: {}", done.stderr);
    done
}

fn gzip(write: impl FnOnce(&mut dyn std::io::Write)) -> Vec<u8> {
    let fast = Compress { compression: Compression::Gzip, level: Some(1), one_frame: true };
    let mut compressor = Compressor::new(Vec::new(), Some(fast)).unwrap();
    write(&mut compressor);
    compressor.finish().unwrap()
}

const FILE: NewEntry<'_> = NewEntry {
    name: b"",
    file_type: FileType::File,
    mode: 0o644,
    uid: 0,
    gid: 0,
    nlink: 1,
    ino: 1,
    mtime: 0,
    rdev: mountless::attr::Device { major: 0, minor: 0 },
};

const TAR_FILE: NewTarEntry<'_> = NewTarEntry {
    path: b"",
    kind: NewTarKind::File(1),
    mode: 0o644,
    uid: 0,
    gid: 0,
    mtime: Timestamp::EPOCH,
    xattrs: &[],
};

/// Entries `d000` to `d999`, and in each `f000` to `f999`.
fn million(mut entry: impl FnMut(&[u8], bool)) {
    for dir in 0..1000 {
        entry(format!("d{dir:03}").as_bytes(), true);
        for file in 0..1000 {
            entry(format!("d{dir:03}/f{file:03}").as_bytes(), false);
        }
    }
}

fn million_cpio(sandbox: &Sandbox) -> String {
    let mut writer = CpioWriter::new(Vec::new());
    million(|name, is_dir| {
        let file_type = if is_dir { FileType::Dir } else { FileType::File };
        writer.entry(&NewEntry { name, file_type, ..FILE }, if is_dir { b"" } else { b"x" }).unwrap();
    });
    sandbox.file("million.cpio", writer.finish().unwrap())
}

#[test]
fn a_million_files_are_listed() {
    let sandbox = Sandbox::new();
    let image = million_cpio(&sandbox);
    let listed = bounded(&sandbox, 300, &["find", &image]).stdout;
    assert_eq!(listed.lines().count(), 1_001_001);
    let usage = bounded(&sandbox, 300, &["du", "-s", &image]).stdout;
    assert_eq!(usage.trim_start(), "1000000 /\n");
    assert_eq!(bounded(&sandbox, 300, &["ls", &image]).stdout.lines().count(), 1000);
    let program = sandbox.file("program.wasm", wat::parse_str(r#"(module (func (export "_start")))"#).unwrap());
    assert_eq!(bounded(&sandbox, 600, &["run", "-i", &image, &program]).shown(), "\n--- stderr, exit code 0\n");
}

#[test]
fn a_million_files_are_compared_and_converted() {
    let sandbox = Sandbox::new();
    let image = million_cpio(&sandbox);
    let empty = sandbox.image("empty.cpio", &[]);
    let changes = bounded(&sandbox, 800, &["diff", "--no-times", &empty, &image]);
    assert_eq!((changes.code, changes.stdout.lines().count()), (1, 1_001_000), "{}", changes.stderr);
    let tar = sandbox.input("million.tar.zst").to_str().unwrap().to_owned();
    assert_eq!(bounded(&sandbox, 800, &["convert", &image, &tar]).code, 0);
    // A gigabyte, when it is unpacked: half of that is kept in memory at most, beside the names.
    let tree = bounded(&sandbox, 1500, &["tree", &tar]).stdout;
    assert!(tree.ends_with("1000 directories, 1000000 files, 1000000 bytes in files\n"));
}

#[test]
fn a_name_of_a_gigabyte_is_an_error_with_its_offset() {
    const GIB: usize = 1 << 30;
    let sandbox = Sandbox::new();
    let mut cpio = CpioWriter::new(Vec::new());
    cpio.entry(&NewEntry { name: b"ok", ..FILE }, b"x").unwrap();
    cpio.entry(&NewEntry { name: b"long", ..FILE }, b"x").unwrap();
    let mut cpio = cpio.finish().unwrap();
    let second = 110 + 6 + 4;
    cpio[second + 94..second + 102].copy_from_slice(format!("{GIB:08X}").as_bytes());
    // A header with a sum, of a kind that says how the next file is called.
    let tar_name = |kind: u8| {
        let mut tar = TarWriter::new(Vec::new());
        let kind_of_file = NewTarKind::File(u64::try_from(GIB).unwrap());
        tar.begin(&NewTarEntry { path: b"name", kind: kind_of_file, ..TAR_FILE }).unwrap();
        let mut block = tar.into_inner();
        block[148..156].fill(b' ');
        block[156] = kind;
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    };
    for (name, head, place) in [
        ("cpio", cpio, "byte 1073742060"),
        ("gnu.tar", tar_name(b'L'), "byte 0"),
        ("pax.tar", tar_name(b'x'), "byte 0"),
    ] {
        let cut = sandbox.file(&format!("cut.{name}"), &head);
        // As much as it says. Linux passes an entry of cpio over whose name is too long.
        let whole = gzip(|out| {
            out.write_all(&head).unwrap();
            (0..1024).for_each(|_| out.write_all(&vec![b'a'; 1 << 20]).unwrap());
        });
        let whole = sandbox.file(&format!("whole.{name}.gz"), whole);
        for command in [&["find"][..], &["du"], &["mtree"], &["tree"], &["info"]] {
            let done = bounded(&sandbox, 100, &[command, &[&cut]].concat());
            assert_eq!((done.code, &*done.stdout), (2, ""), "{name}: {}", done.stderr);
            assert!(done.stderr.contains("1073741824 bytes") && done.stderr.contains("byte "), "{}", done.stderr);
        }
        let done = bounded(&sandbox, 300, &["find", "--max-unpacked", "100M", &whole]);
        assert_eq!(done.code, 2, "{}", done.stderr);
        assert!(done.stderr.contains("more than 104857600 bytes when decompressed"), "{}", done.stderr);
        let done = bounded(&sandbox, 1500, &["find", &whole]);
        assert_eq!(done.code, 2, "{name}: {}", done.stdout);
        assert!(done.stderr.contains(place), "{name}: {}", done.stderr);
    }
}

/// Files of 10 GB with one block of data, as each of GNU tar's layouts has them.
fn sparse_tars() -> Vec<(&'static str, Vec<u8>)> {
    const SIZE: u64 = 10 << 30;
    let mut new = TarWriter::new(Vec::new());
    let kind = NewTarKind::Sparse(SIZE, &[Piece { offset: 0, len: 512 }]);
    new.begin(&NewTarEntry { path: b"sparse", kind, ..TAR_FILE }).unwrap();
    new.data(&[b'd'; 512]).unwrap();
    let mut old = TarWriter::new(Vec::new());
    old.begin(&NewTarEntry { path: b"sparse", kind: NewTarKind::File(512), ..TAR_FILE }).unwrap();
    old.data(&[b'd'; 512]).unwrap();
    let mut old = old.finish().unwrap();
    let number = |value: u64| [&[0x80, 0, 0, 0][..], &value.to_be_bytes()].concat();
    for (at, bytes) in [
        (156, b"S".to_vec()),
        (257, b"ustar  \0".to_vec()),
        (386, number(0)),
        (398, number(512)),
        (410, number(SIZE)),
        (422, number(0)),
        (483, number(SIZE)),
        (148, b"        ".to_vec()),
    ] {
        old[at..at + bytes.len()].copy_from_slice(&bytes);
    }
    let sum: u32 = old[..512].iter().map(|byte| u32::from(*byte)).sum();
    old[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    vec![("1.0", new.finish().unwrap()), ("old", old)]
}

/// What a layer unpacks to lies in a file when it is long, and so do layers that are so many together.
#[test]
fn layers_of_more_than_a_gigabyte_do_not_fill_the_memory() {
    const MIB: u64 = 1 << 20;
    let sandbox = Sandbox::new();
    let dirs = [("one", 1100), ("a", 300), ("b", 300), ("c", 300)].map(|(name, mib)| {
        let dir = sandbox.input(name);
        put(&dir, "small", format!("beside {mib} MiB"));
        fs::File::create(dir.join(name)).unwrap().set_len(mib * MIB).unwrap();
        dir.to_str().unwrap().to_owned()
    });
    let layout = sandbox.input("layout").to_str().unwrap().to_owned();
    for how in ["gzip", "zstd"] {
        let tag = format!("{layout}#{how}");
        let packed = bounded(&sandbox, 400, &["pack", "--format", "oci", "-c", how, &dirs[0], "-o", &tag]);
        let told = "note: one: layers have no holes: 1153433600 bytes of zeros are written for them\n";
        assert_eq!((packed.code, &*packed.stderr), (0, told));
        let found = bounded(&sandbox, 750, &["find", "--json", &tag]);
        assert!(found.stdout.contains(&format!("\"size\":{}", 1100 * MIB)), "{}", found.shown());
        let text = bounded(&sandbox, 750, &["cat", &format!("{tag}:/small")]);
        assert_eq!(text.stdout, "beside 1100 MiB", "{}", text.shown());
    }
    for (number, dir) in dirs.iter().enumerate().skip(1) {
        let (before, tag) = (format!("oci:{layout}#{}", number - 1), format!("oci:{layout}#{number}"));
        let done = if number == 1 {
            bounded(&sandbox, 400, &["pack", "--format", "oci", dir, "-o", &format!("{layout}#1")])
        } else {
            bounded(&sandbox, 750, &["diff", "--layer", &tag, &before, dir])
        };
        assert_eq!(done.code, 0, "{}", done.stderr);
    }
    let info = bounded(&sandbox, 750, &["du", "--layers", &format!("{layout}#3")]);
    assert_eq!((info.code, info.stdout.lines().count()), (0, 3), "{}", info.shown());
    let refused = bounded(&sandbox, 750, &["find", "--max-unpacked", "800M", &format!("{layout}#3")]);
    assert!(refused.stderr.contains("layer 3 of 3"), "{}", refused.shown());
}

#[test]
fn a_sparse_file_of_10_gigabytes_stays_sparse() {
    let sandbox = Sandbox::new();
    for (name, bytes) in sparse_tars() {
        let plain = sandbox.file(&format!("{name}.tar"), &bytes);
        let packed = sandbox.file(&format!("{name}.tar.gz"), gzip(|out| out.write_all(&bytes).unwrap()));
        for image in [&plain, &packed, &layer(&sandbox, name, &bytes)] {
            for command in ["find", "du", "tree", "info"] {
                assert_eq!(bounded(&sandbox, 50, &[command, image]).code, 0, "{command} {image}");
            }
            assert_eq!(bounded(&sandbox, 50, &["diff", image, &plain]).shown(), "\n--- stderr, exit code 0\n");
            let out = |ending: &str| sandbox.input(&format!("out{ending}")).to_str().unwrap().to_owned();
            assert_eq!(bounded(&sandbox, 50, &["convert", image, &out(".tar")]).code, 0);
            assert!(fs::metadata(out(".tar")).unwrap().len() < 10_000);
            let refused = bounded(&sandbox, 50, &["convert", image, &out(".cpio")]);
            assert!(refused.stderr.contains("sparse: 10737418240 bytes, cpio holds 4294967295"), "{}", refused.stderr);
            assert_eq!(bounded(&sandbox, 50, &["extract", image, &out("")]).code, 0);
            let extracted = fs::metadata(sandbox.input("out/sparse")).unwrap();
            assert_eq!(extracted.len(), 10 << 30);
            assert!(extracted.blocks() < 100, "{} blocks", extracted.blocks());
            fs::remove_dir_all(out("")).unwrap();
        }
    }
}

/// An archive as `docker save` writes it, with one layer.
fn layer(sandbox: &Sandbox, name: &str, tar: &[u8]) -> String {
    let mut image = TarWriter::new(Vec::new());
    let manifest = br#"[{"Config":"config.json","RepoTags":["bomb:latest"],"Layers":["layer.tar"]}]"#;
    let config = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
    for (path, content) in [(&b"manifest.json"[..], &manifest[..]), (b"config.json", config), (b"layer.tar", tar)] {
        let kind = NewTarKind::File(u64::try_from(content.len()).unwrap());
        image.begin(&NewTarEntry { path, kind, ..TAR_FILE }).unwrap();
        image.data(content).unwrap();
    }
    sandbox.file(&format!("{name}.docker"), image.finish().unwrap())
}

/// Directories 80,000 deep, by names that go through symbolic links: as deep as Linux goes, which follows 40.
fn deep_cpio() -> Vec<u8> {
    let mut writer = CpioWriter::new(Vec::new());
    let mut put = |name: &[u8], file_type, data: &[u8]| {
        writer.entry(&NewEntry { name, file_type, mode: 0o755, ..FILE }, data).unwrap();
    };
    let mut above = b"d".to_vec();
    put(&above, FileType::Dir, b"");
    for link in 0..39 {
        let mut path = above.clone();
        for _ in 0..2040 {
            path.extend_from_slice(b"/a");
            put(&path, FileType::Dir, b"");
        }
        above = format!("l{link}").into_bytes();
        put(&above, FileType::Symlink, &path);
    }
    for file in 0..1000 {
        put(&[&above, format!("/f{file}").as_bytes()].concat(), FileType::File, b"x");
    }
    writer.finish().unwrap()
}

#[test]
fn directories_80_000_deep_end_no_command_but_with_an_error() {
    let sandbox = Sandbox::new();
    let image = sandbox.file("deep.cpio.gz", gzip(|out| out.write_all(&deep_cpio()).unwrap()));
    let empty = sandbox.image("empty.cpio", &[]);
    let out = |name: &str| sandbox.input(name).to_str().unwrap().to_owned();
    let (tar, cpio, dir, layer) = (out("out.tar"), out("out.cpio"), out("out"), out("layer.tar"));
    for arguments in [
        &["find", &image][..],
        &["tree", &image],
        &["du", &image],
        &["mtree", &image],
        &["diff", &empty, &image],
        &["diff", "--layer", &layer, &empty, &image],
        &["convert", &image, &tar],
        &["convert", &image, &cpio],
        &["extract", &image, &dir],
        &["check", &image],
        &["info", &image],
    ] {
        let done = bounded(&sandbox, 500, arguments);
        assert_ne!(done.code, 0, "{arguments:?}");
        assert!(done.stderr.contains("longer than 4095 bytes"), "{arguments:?}: {}", done.stderr);
        assert!(done.stdout.len() < 20 << 20, "{arguments:?}: {} bytes", done.stdout.len());
    }
    for left in [tar, cpio, layer] {
        assert!(!fs::exists(&left).unwrap(), "{left}");
    }
    // What needs no path of them works.
    let program = sandbox.file("program.wasm", wat::parse_str(r#"(module (func (export "_start")))"#).unwrap());
    assert_eq!(bounded(&sandbox, 600, &["run", "-i", &image, &program]).code, 0);
    assert_eq!(bounded(&sandbox, 500, &["ls", &image]).stdout.lines().count(), 1 + 39);
    assert_eq!(bounded(&sandbox, 500, &["stat", &format!("{image}:/l38")]).code, 0);
    let volume = out("out.img");
    assert_eq!(bounded(&sandbox, 750, &["pack", "--format", "tfs", &image, "-o", &volume]).code, 0);
    // The last file is there, 80,000 directories down.
    assert_eq!(bounded(&sandbox, 500, &["cat", &format!("{image}:/l38/f999")]).stdout, "x");
    assert_eq!(bounded(&sandbox, 500, &["rm", &format!("{volume}:/l38/f999")]).code, 0);
}

#[test]
fn a_path_100_000_directories_long_is_told_and_left_out() {
    let sandbox = Sandbox::new();
    let mut tar = TarWriter::new(Vec::new());
    for path in [&[b"a/".repeat(100_000), b"f".to_vec()].concat()[..], b"b"] {
        tar.begin(&NewTarEntry { path, ..TAR_FILE }).unwrap();
        tar.data(b"x").unwrap();
    }
    let tar = tar.finish().unwrap();
    let images =
        [sandbox.file("deep.tar", &tar), sandbox.file("deep.tar.gz", gzip(|out| out.write_all(&tar).unwrap()))];
    for image in images.iter().chain([&layer(&sandbox, "deep", &tar)]) {
        assert_eq!(bounded(&sandbox, 100, &["find", image]).stdout, "/\n/b\n");
        let checked = bounded(&sandbox, 100, &["check", image]);
        assert_eq!(checked.code, 1, "{}", checked.stdout);
    }
}
