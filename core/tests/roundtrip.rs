//! Any tree, packed and read back, copied, and written down: the same tree, up to what each target can hold.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod listing;

use std::sync::Arc;

use arbitrary::Unstructured;
use mountless::attr::{Device, FileType, SetAttr, SetTime};
use mountless::backend::mem::MemFs;
use mountless::clock::Timestamp;
use mountless::compose::Overlay;
use mountless::format::compress::Compression;
use mountless::fs::{FileSystem, FileSystemExt, NewKind, NewNode, NodeId, NodeRef, WriteAt, XattrMode};
use mountless::name::Name;
use mountless::open::{Format, OpenOptions, format_of, open_source};
use mountless::source::{BytesSource, Source};
use mountless::transfer::diff::{DiffOptions, diff_with};
use mountless::transfer::{
    CopyOptions, Existing, Mtree, MtreeOptions, Owners, PackFormat, PackOptions, PackTarget, Progress, copy_into,
    pack_to_vec, write_layer, write_mtree,
};

use self::listing::{differences, listing};

/// Bytes that depend on the seed alone.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// The same, but quick to compress: the first bytes over and over.
fn patterned(len: usize) -> Vec<u8> {
    let mut bytes = noise(1, 50_000.min(len));
    while bytes.len() < len {
        bytes.extend_from_within(..bytes.len().min(len - bytes.len()));
    }
    bytes
}

type Made = arbitrary::Result<()>;

/// Changes a tree in ways that the bytes choose: makes nodes of every kind, and removes some of what is there.
fn grow(fs: &dyn FileSystem, choices: &mut Unstructured<'_>, count: u32) -> Made {
    let writable = fs.writable().unwrap();
    let mut dirs = vec![fs.root()];
    let mut files: Vec<NodeId> = Vec::new();
    for _ in 0..count {
        let dir = *choices.choose(&dirs)?;
        let name = name(choices)?;
        let Ok(name) = Name::new(&name) else { continue };
        let target: Vec<u8> =
            (0..choices.int_in_range(1..=120)?).map(|_| b'/'.max(choices.arbitrary().unwrap_or(1))).collect();
        let device = Device { major: choices.int_in_range(0..=4095)?, minor: choices.int_in_range(0..=1_048_575)? };
        let kind = match choices.int_in_range(0..=13)? {
            0..=5 => NewKind::File,
            6..=8 => NewKind::Dir,
            9 => NewKind::Symlink(&target),
            10 => NewKind::Char(device),
            11 => NewKind::Block(device),
            12 => NewKind::Fifo,
            _ => NewKind::Socket,
        };
        if choices.ratio(1, 6)? && !files.is_empty() {
            // Another name for something.
            let _ = writable.link(*choices.choose(&files)?, dir, name);
            continue;
        }
        if choices.ratio(1, 12)? {
            let _ = writable.unlink(dir, name);
            continue;
        }
        let mode = match kind {
            // What Linux gives every link.
            NewKind::Symlink(_) => 0o777,
            _ => choices.int_in_range(0..=0o7777)?,
        };
        let new = NewNode { kind, mode, uid: choices.arbitrary()?, gid: choices.arbitrary()? };
        // A name that is taken stays what it is.
        let Ok(entry) = writable.create(dir, name, &new) else { continue };
        match kind {
            NewKind::Dir => dirs.push(entry.node),
            NewKind::File => {
                let len = *choices.choose(&[0_usize, 1, 3, 4, 511, 512, 513, 70_000])?;
                let offset = *choices.choose(&[0_u64, 0, 0, 5, 200_000])?;
                writable.write_at(entry.node, WriteAt::Offset(offset), &noise(entry.node.get(), len)).unwrap();
                if choices.ratio(1, 5)? {
                    let size = Some(offset + 100_000);
                    writable.set_attr(entry.node, &SetAttr { size, ..SetAttr::default() }).unwrap();
                }
                files.push(entry.node);
            }
            _ => files.push(entry.node),
        }
        if choices.ratio(1, 3)? && matches!(kind, NewKind::File | NewKind::Dir) {
            let value: Vec<u8> = choices.arbitrary()?;
            writable.set_xattr(entry.node, b"user.a=b%c", &value, XattrMode::Set).unwrap();
        }
        let secs = *choices.choose(&[0_i64, 1, 1_600_000_000, 4_294_967_295, -1, 4_294_967_296, 1_700_000_000])?;
        let nanos = *choices.choose(&[0_u32, 0, 0, 5, 500_000_000, 999_999_999])?;
        let mtime = Some(SetTime::At(Timestamp { secs, nanos }));
        writable.set_attr(entry.node, &SetAttr { mtime, ..SetAttr::default() }).unwrap();
    }
    let mtime = Some(SetTime::At(Timestamp::from_secs(1_234_567_890)));
    for dir in dirs {
        writable.set_attr(dir, &SetAttr { mtime, ..SetAttr::default() }).unwrap();
    }
    Ok(())
}

fn name(choices: &mut Unstructured<'_>) -> arbitrary::Result<Vec<u8>> {
    Ok(match choices.int_in_range(0..=9)? {
        // So that names meet.
        0..=5 => choices.choose(&[&b"a"[..], b"b", b"c", b"a-b", b"TRAILER!!!", b".wh", b" "])?.to_vec(),
        6 => vec![b'x'; choices.int_in_range(90..=255)?],
        7 => "grün \u{1f333}".as_bytes().to_vec(),
        _ => choices.arbitrary::<[u8; 6]>()?.to_vec(),
    })
}

/// A tree that depends on the seed alone.
fn tree(seed: u64) -> Arc<dyn FileSystem> {
    let fs = MemFs::new();
    let bytes = noise(seed, 6000);
    // It ends when the bytes do.
    let _ = grow(&fs, &mut Unstructured::new(&bytes), 60);
    Arc::new(fs)
}

/// The fields that a format holds, of the nodes it holds.
fn held(lines: &[String], format: PackFormat) -> Vec<String> {
    let lines = lines.iter().filter_map(|line| {
        let mut fields: Vec<_> = line.split('\t').map(str::to_owned).collect();
        match format {
            PackFormat::Tar if fields[1] == "sock" => return None,
            PackFormat::Tar => {}
            PackFormat::Cpio => {
                fields[11] = "-".to_owned();
                let secs = fields[8].split('.').next().unwrap().parse::<i64>().unwrap();
                fields[8] = secs.clamp(0, u32::MAX.into()).to_string();
                if fields[1] == "link" {
                    fields[5] = "1".to_owned();
                    fields[10] = "-".to_owned();
                }
            }
        }
        Some(fields.join("\t"))
    });
    lines.collect()
}

const SEEDS: std::ops::Range<u64> = 0..60;

#[test]
fn archives_hold_any_tree() {
    for seed in SEEDS {
        let fs = tree(seed);
        let before = listing(&fs);
        for format in [PackFormat::Cpio, PackFormat::Tar] {
            let (bytes, report) =
                pack_to_vec(&fs, PackTarget::new(format, None, None), &PackOptions::default()).unwrap();
            assert_eq!(report.stored_len, bytes.len() as u64);
            let after = reopen(bytes, format);
            let problem = differences(&held(&before, format), &held(&listing(&after), format));
            assert!(problem.is_empty(), "seed {seed} as {format:?}\n{problem}");
            // The way from X' on loses nothing more.
            let (again, lost) =
                pack_to_vec(&after, PackTarget::new(format, None, None), &PackOptions::default()).unwrap();
            assert_eq!(lost.lost_count, 0, "seed {seed} as {format:?}: {:?}", lost.lost);
            let twice = listing(&reopen(again, format));
            assert_eq!(differences(&listing(&after), &twice), "", "seed {seed} as {format:?}");
        }
    }
}

fn reopen(bytes: Vec<u8>, format: PackFormat) -> Arc<dyn FileSystem> {
    let source: Arc<dyn Source> = Arc::new(BytesSource::new(bytes.into()));
    let expected = match format {
        PackFormat::Cpio => Format::Cpio,
        PackFormat::Tar => Format::Tar,
    };
    assert_eq!(format_of(&source).unwrap(), expected);
    open_source(source, None, &OpenOptions::default()).unwrap().fs
}

#[test]
fn every_compression_gives_the_same_tree_and_the_same_bytes_each_time() {
    use Compression::{Bzip2, Gzip, Lz4Frame, Lz4Legacy, Lzma, Xz, Zstd};
    let fs = tree(7);
    // More than a piece of any compression.
    let big = fs.writable().unwrap();
    let new = NewNode { kind: NewKind::File, mode: 0o600, uid: 0, gid: 0 };
    let entry = big.create(fs.root(), Name::new(b"big").unwrap(), &new).unwrap();
    let content = patterned(17 << 20);
    big.write_at(entry.node, WriteAt::Offset(0), &content).unwrap();
    let before = listing(&fs);
    for format in [PackFormat::Cpio, PackFormat::Tar] {
        for (compression, level) in [
            (Gzip, None),
            (Gzip, Some(1)),
            (Zstd, None),
            (Zstd, Some(9)),
            (Lz4Legacy, None),
            (Lz4Frame, None),
            (Bzip2, Some(1)),
            (Xz, Some(0)),
            (Lzma, Some(0)),
        ] {
            let target = PackTarget::new(format, Some(compression), level);
            let (bytes, _) = pack_to_vec(&fs, target, &PackOptions::default()).unwrap();
            assert_eq!(Compression::detect(&bytes), Some(compression));
            assert_eq!(pack_to_vec(&fs, target, &PackOptions::default()).unwrap().0, bytes, "{compression}");
            let after = listing(&reopen(bytes, format));
            assert_eq!(differences(&held(&before, format), &held(&after, format)), "", "{format:?} {compression}");
        }
    }
}

#[test]
fn what_is_empty_compresses_too() {
    for compression in [
        Compression::Gzip,
        Compression::Zstd,
        Compression::Lz4Legacy,
        Compression::Lz4Frame,
        Compression::Bzip2,
        Compression::Xz,
        Compression::Lzma,
    ] {
        for one_frame in [false, true] {
            let how = mountless::transfer::Compress { compression, level: None, one_frame };
            for len in [0, 1, 512 << 10, 8 << 20] {
                let data = patterned(len);
                let packed = mountless::transfer::compress(&data, how).unwrap();
                assert_eq!(unpacked(compression, &packed), data, "{compression} of {len} bytes");
            }
        }
    }
    for (compression, level) in [(Compression::Gzip, 10), (Compression::Zstd, 0), (Compression::Lz4Frame, 1)] {
        let how = mountless::transfer::Compress { compression, level: Some(level), one_frame: false };
        assert_eq!(mountless::transfer::compress(b"", how).unwrap_err(), mountless::Errno::Invalid, "{compression}");
    }
    let lzop = mountless::transfer::Compress { compression: Compression::Lzop, level: None, one_frame: false };
    assert_eq!(mountless::transfer::compress(b"", lzop).unwrap_err(), mountless::Errno::NotSupported);
}

/// Undone by the tool of that name.
fn unpacked(compression: Compression, packed: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    let (program, arguments) = match compression {
        Compression::Gzip => ("gzip", "-dcq"),
        Compression::Zstd => ("zstd", "-dcq"),
        Compression::Lz4Legacy | Compression::Lz4Frame => ("lz4", "-dcq"),
        Compression::Bzip2 => ("bzip2", "-dcq"),
        Compression::Xz => ("xz", "-dcq"),
        Compression::Lzma => ("lzma", "-dcq"),
        Compression::Lzop => ("lzop", "-dcq"),
    };
    let mut child = Command::new(program)
        .arg(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} is needed: {error}; `cargo xtask guests` installs it"));
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(packed).unwrap());
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "{program} does not take it");
    output.stdout
}

#[test]
fn copies_are_the_same_tree() {
    let options = CopyOptions { owners: Owners::Kept, existing: Existing::Refuse, keep_times: true };
    for seed in SEEDS {
        let from = tree(seed);
        let to: Arc<dyn FileSystem> = Arc::new(MemFs::new());
        let top = Arc::new(NodeRef::root(Arc::clone(&from)));
        let progress = Progress::new();
        let report = copy_into(&top, &Arc::new(NodeRef::root(Arc::clone(&to))), &options, &progress).unwrap();
        assert_eq!(report.lost_count, 0, "{:?}", report.lost);
        let skip_root =
            |lines: Vec<String>| lines.into_iter().filter(|line| !line.starts_with(".\t")).collect::<Vec<_>>();
        let problem = differences(&skip_root(listing(&from)), &skip_root(listing(&to)));
        assert!(problem.is_empty(), "seed {seed}\n{problem}");
        // Again: everything is in the way, unless it may be replaced.
        let refused = copy_into(&top, &Arc::new(NodeRef::root(Arc::clone(&to))), &options, &progress);
        if listing(&from).iter().any(|line| line.split('\t').nth(1) != Some("dir")) {
            assert_eq!(refused.unwrap_err(), mountless::Errno::Exists);
        }
        let replacing = CopyOptions { existing: Existing::Replace, ..options };
        copy_into(&top, &Arc::new(NodeRef::root(Arc::clone(&to))), &replacing, &progress).unwrap();
        let problem = differences(&skip_root(listing(&from)), &skip_root(listing(&to)));
        assert!(problem.is_empty(), "seed {seed}\n{problem}");
    }
}

/// cpio, of which the writer once was given what a file with holes has in between, and no more.
#[test]
fn files_with_holes_are_whole_in_every_format() {
    let fs: Arc<dyn FileSystem> = Arc::new(MemFs::new());
    let new = NewNode { kind: NewKind::File, mode: 0o644, uid: 0, gid: 0 };
    let writable = fs.writable().unwrap();
    let file = writable.create(fs.root(), Name::new(b"sparse").unwrap(), &new).unwrap();
    writable.write_at(file.node, WriteAt::Offset(1_000_000), b"data").unwrap();
    writable.set_attr(file.node, &SetAttr { size: Some(3_000_000), ..SetAttr::default() }).unwrap();
    for format in [PackFormat::Cpio, PackFormat::Tar] {
        for (holes, as_layer) in [(false, false), (true, false), (true, true)] {
            let options = PackOptions { holes, as_layer, ..PackOptions::default() };
            let (bytes, _) = pack_to_vec(&fs, PackTarget::new(format, None, None), &options).unwrap();
            assert_eq!(bytes.len() < 100_000, format == PackFormat::Tar && holes && !as_layer, "{format:?} {holes}");
            let source: Arc<dyn Source> = Arc::new(BytesSource::new(bytes.into()));
            let packed = open_source(source, None, &OpenOptions::default()).unwrap().fs;
            let node = packed.lookup(packed.root(), Name::new(b"sparse").unwrap()).unwrap().node;
            assert!(packed.read_to_vec(node).unwrap() == fs.read_to_vec(file.node).unwrap(), "{format:?} {holes}");
        }
    }
}

#[test]
fn specifications_say_what_trees_are() {
    for seed in SEEDS {
        let fs = tree(seed);
        let top = Arc::new(NodeRef::root(Arc::clone(&fs)));
        let text = write_mtree(&top, Vec::new(), MtreeOptions { sha256: true, xattrs: true }).unwrap();
        let specification = Mtree::parse(&text).unwrap();
        assert_eq!(specification.len(), listing(&fs).len());
        let deviations = |of: &Arc<NodeRef>| -> mountless::Result<_> {
            let mut found = Vec::new();
            specification.compare(of, |deviation| {
                found.push(format!("{}: {}", mountless::name::escape(&deviation.path), deviation.what));
                Ok(())
            })?;
            Ok(found)
        };
        assert_eq!(deviations(&top).unwrap(), [""; 0], "seed {seed}\n{}", String::from_utf8_lossy(&text));
        let other = tree(seed + 1);
        assert!(!deviations(&Arc::new(NodeRef::root(other))).unwrap().is_empty(), "seed {seed}");
    }
}

/// A layer with the changes on the image gives the changed image.
#[test]
fn layers_turn_one_tree_into_the_other() {
    for seed in SEEDS {
        // Kinds that layers hold, and times that survive.
        let (one, other) = (tree(seed), tree(seed + 1000));
        let one = reopen(
            pack_to_vec(&one, PackTarget::new(PackFormat::Tar, None, None), &PackOptions::default()).unwrap().0,
            PackFormat::Tar,
        );
        let other = reopen(
            pack_to_vec(&other, PackTarget::new(PackFormat::Tar, None, None), &PackOptions::default()).unwrap().0,
            PackFormat::Tar,
        );
        let (layer, report) =
            write_layer(&one, &other, DiffOptions::IMAGES, Vec::new(), &PackOptions::default(), &Progress::new())
                .unwrap();
        assert_eq!(report.lost_count, 0, "{:?}", report.lost);
        let merged = merged(&one, layer);
        let mut found = Vec::new();
        diff_with(&other, &merged, DiffOptions { times: false, ..DiffOptions::IMAGES }, |change| {
            found.push(mountless::name::escape(&change.path).to_string());
            Ok(())
        })
        .unwrap();
        assert_eq!(found, [""; 0], "seed {seed}");
    }
}

/// The image under the layer, as a runtime would have it: a container image of two layers.
fn merged(base: &Arc<dyn FileSystem>, layer: Vec<u8>) -> Arc<dyn FileSystem> {
    let (options, plain) = (PackOptions::default(), PackTarget::new(PackFormat::Tar, None, None));
    let base = pack_to_vec(base, plain, &options).unwrap().0;
    let layout: Arc<dyn FileSystem> = Arc::new(MemFs::new());
    let ns = mountless::Namespace::new(Arc::clone(&layout));
    ns.write("/0.tar", base).unwrap();
    ns.write("/1.tar", layer).unwrap();
    ns.write("/config.json", r#"{"architecture":"amd64","os":"linux"}"#).unwrap();
    ns.write("/manifest.json", r#"[{"Config":"config.json","RepoTags":["a:b"],"Layers":["0.tar","1.tar"]}]"#).unwrap();
    let saved = pack_to_vec(&layout, plain, &options).unwrap().0;
    let opened = open_source(Arc::new(BytesSource::new(saved.into())), None, &OpenOptions::default()).unwrap();
    assert_eq!(opened.facts.format, Format::Docker);
    opened.fs
}

#[test]
fn a_view_of_an_image_is_packed_as_it_is() {
    for seed in SEEDS {
        let image = tree(seed);
        let view: Arc<dyn FileSystem> = Arc::new(Overlay::with_upper(vec![image], Arc::new(MemFs::new())).unwrap());
        let bytes = noise(seed + 5000, 3000);
        let _ = grow(&*view, &mut Unstructured::new(&bytes), 30);
        let before = listing(&view);
        let (bytes, _) =
            pack_to_vec(&view, PackTarget::new(PackFormat::Tar, None, None), &PackOptions::default()).unwrap();
        let after = listing(&reopen(bytes, PackFormat::Tar));
        assert_eq!(differences(&held(&before, PackFormat::Tar), &held(&after, PackFormat::Tar)), "", "seed {seed}");
        assert!(before.iter().all(|line| !line.contains("whiteout")));
    }
}

#[test]
fn the_types_are_all_there() {
    let mut kinds: Vec<FileType> = Vec::new();
    for seed in SEEDS {
        let fs = tree(seed);
        fs.for_each_entry(fs.root(), |entry| {
            kinds.push(entry.file_type);
            Ok(())
        })
        .unwrap();
    }
    kinds.sort();
    kinds.dedup();
    assert_eq!(kinds.len(), 7, "{kinds:?}");
}
