//! Every sample TFS image against what its JSON says that a reader must find.
//!
//! The table is the directory itself, so that new images are tried as they come.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod tfs_support;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use mountless::attr::FileType;
use mountless::backend::tfs::{Part, TfsFs, TfsOptions, TfsReport, crash_log};
use mountless::clock::Timestamp;
use mountless::errno::Errno;
use mountless::error::Error;
use mountless::fs::{FileSystem, FileSystemExt, NodeId};
use mountless::source::{BytesSource, Source};
use serde_json::Value;
use sha2::{Digest, Sha256};

use self::tfs_support::samples;

struct Sample {
    name: String,
    json: Value,
    image: Arc<dyn Source>,
}

/// Every sample, one at a time: together they are too large.
fn each_sample(folder: &Path, mut check: impl FnMut(&Sample) -> Result<(), String>) {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| Some(entry.unwrap().file_name().to_str()?.strip_suffix(".json")?.to_owned()))
        .collect();
    names.sort();
    assert!(names.len() >= 50, "{} samples", names.len());
    let mut failures = String::new();
    for name in names {
        let json: Value = serde_json::from_slice(&std::fs::read(folder.join(format!("{name}.json"))).unwrap()).unwrap();
        let packed = std::fs::read(folder.join(format!("{name}.img.zst"))).unwrap();
        let image = zstd::decode_all(&*packed).unwrap();
        assert_eq!(hex(&Sha256::digest(&image)), json["image_sha256"].as_str().unwrap(), "{name}");
        let image = Arc::new(BytesSource::new(image.into()));
        let sample = Sample { name, json, image };
        if let Err(problem) = check(&sample) {
            writeln!(failures, "{}\n{problem}", sample.name).unwrap();
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn open(sample: &Sample, part: Option<Part>, recover: bool) -> Result<(TfsFs, TfsReport), Error> {
    TfsFs::open(Arc::clone(&sample.image), &TfsOptions { part, recover, ..TfsOptions::default() })
}

/// Every path and its node.
fn paths(fs: &TfsFs) -> Result<BTreeMap<Vec<u8>, NodeId>, Error> {
    let mut found = BTreeMap::new();
    let mut pending = vec![(b"/".to_vec(), fs.root())];
    while let Some((path, dir)) = pending.pop() {
        fs.for_each_entry(dir, |entry| {
            let looked_up = fs.lookup(dir, entry.name)?;
            assert_eq!((looked_up.file_type, looked_up.node.get()), (entry.file_type, entry.ino));
            let mut below = path.clone();
            if below != b"/" {
                below.push(b'/');
            }
            below.extend_from_slice(entry.name.as_bytes());
            if entry.file_type.is_dir() {
                pending.push((below, looked_up.node));
            } else {
                assert!(found.insert(below, looked_up.node).is_none(), "a path twice");
            }
            Ok(())
        })?;
        assert!(found.insert(path, dir).is_none(), "a path twice");
    }
    Ok(found)
}

fn content(fs: &TfsFs, node: NodeId) -> Result<Vec<u8>, Error> {
    let content = fs.read_to_vec(node)?;
    assert_eq!(content.len() as u64, fs.attr(node)?.size);
    let mut copied = vec![0xee; content.len() + 1];
    assert_eq!(fs.read_at(node, 0, &mut copied)?, content.len());
    assert!(copied.starts_with(&content));
    Ok(content)
}

fn time(raw: u64) -> Timestamp {
    let nanos = ((raw & 0xffff_ffff) * 1_000_000_000) >> 32;
    Timestamp { secs: i64::try_from(raw >> 32).unwrap(), nanos: u32::try_from(nanos).unwrap() }
}

/// The tree in the form of the JSON.
fn tree(fs: &TfsFs) -> Result<Vec<String>, Error> {
    let paths = paths(fs)?;
    let mut first: BTreeMap<NodeId, String> = BTreeMap::new();
    let mut lines = Vec::new();
    for (path, &node) in &paths {
        let attr = fs.attr(node)?;
        let path = String::from_utf8(path.clone()).unwrap();
        let mut line = format!("{path} {} mtime={:?}", attr.file_type.word(), attr.mtime);
        match attr.file_type {
            FileType::File => {
                write!(line, " size={} sha256={}", attr.size, hex(&Sha256::digest(content(fs, node)?))).unwrap();
            }
            FileType::Symlink => {
                let target = fs.read_link(node)?;
                assert_eq!(target.len() as u64, attr.size);
                write!(line, " target={}", String::from_utf8(target.to_vec()).unwrap()).unwrap();
            }
            _ => {}
        }
        if !attr.file_type.is_dir() {
            match first.get(&node) {
                Some(first) => {
                    assert!(attr.nlink > 1, "{path}");
                    write!(line, " same_node_as={first}").unwrap();
                }
                None => drop(first.insert(node, path)),
            }
        }
        lines.push(line);
    }
    Ok(lines)
}

fn expected_tree(tree: &Value) -> Vec<String> {
    let mut lines: Vec<_> = tree
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let text = |key: &str| entry[key].as_str();
            let mut line = format!("{} {}", text("path").unwrap(), text("type").unwrap());
            write!(line, " mtime={:?}", time(entry["mtime_raw"].as_u64().unwrap())).unwrap();
            if text("type") == Some("file") {
                write!(line, " size={} sha256={}", entry["size"], text("sha256").unwrap()).unwrap();
            }
            for key in ["target", "same_node_as"] {
                if let Some(value) = text(key) {
                    write!(line, " {key}={value}").unwrap();
                }
            }
            (text("path").unwrap().as_bytes().to_vec(), line)
        })
        .collect();
    lines.sort();
    lines.into_iter().map(|(_, line)| line).collect()
}

/// The JSON does not tell of every hard link: it may leave out that a file is the same node as another.
fn unless_expected(found: Vec<String>, expected: &[String]) -> Vec<String> {
    let without = |line: String| match line.split_once(" same_node_as=") {
        Some((without, _)) if !expected.contains(&line) => without.to_owned(),
        _ => line,
    };
    found.into_iter().map(without).collect()
}

/// Says how a list differs from what is expected.
fn same(what: &str, expected: &[String], found: &[String]) -> Result<(), String> {
    if expected == found {
        return Ok(());
    }
    let mut text = format!("  {what}:\n");
    for line in expected.iter().filter(|line| !found.contains(line)).take(5) {
        writeln!(text, "  - {line:.300}").unwrap();
    }
    for line in found.iter().filter(|line| !expected.contains(line)).take(5) {
        writeln!(text, "  + {line:.300}").unwrap();
    }
    Err(text)
}

/// Compares a file system with its part of the JSON.
fn compare(fs: &TfsFs, report: &TfsReport, json: &Value) -> Result<(), String> {
    let found = tree(fs).map_err(|error| format!("  {error}\n"))?;
    let expected = expected_tree(&json["tree"]);
    same("tree", &expected, &unless_expected(found, &expected))?;
    if let Some(info) = json.get("info") {
        let extensions = |list: Vec<(u64, u64, u64)>| format!("{list:?}");
        let expected = info["log_extensions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| (it[0].as_u64().unwrap(), it[1].as_u64().unwrap(), it[2].as_u64().unwrap()));
        let found = report.extensions.iter().map(|it| (it.sector, it.count, u64::from(it.version.number())));
        let list = |uuid: String, label: String, extensions, numbers: [u64; 3]| {
            vec![format!("{uuid} {label} {extensions} {numbers:?}")]
        };
        let number = |key: &str| info[key].as_u64().unwrap();
        let text = |key: &str| info[key].as_str().unwrap().to_owned();
        same(
            "info",
            &list(
                text("uuid"),
                text("label"),
                extensions(expected.collect()),
                [number("dictionary_size"), number("records"), number("segments")],
            ),
            &list(
                report.uuid.to_string().replace('-', ""),
                String::from_utf8(report.label.clone()).unwrap(),
                extensions(found.collect()),
                [report.dictionary_len.into(), report.records, report.segments],
            ),
        )?;
    }
    if let Some(attributes) = json.get("root_attributes") {
        // Times are shown as those of the root.
        let expected = attributes.as_object().unwrap().iter().filter(|(key, _)| !["mtime", "atime"].contains(&&***key));
        let expected: Vec<_> = expected.map(|(key, value)| format!("{key}:{}", value.as_str().unwrap())).collect();
        let found = report.root_attributes.iter();
        let found: Vec<_> = found.map(|(key, value)| format!("{}:{value}", key.escape_ascii())).collect();
        same("root attributes", &expected, &found)?;
    }
    if let Some(extents) = json.get("extents") {
        let expected: Vec<_> = extents
            .as_object()
            .unwrap()
            .iter()
            .map(|(path, list)| (path.as_bytes().to_vec(), format!("{path} {}", list.to_string().replace(',', ", "))))
            .collect::<BTreeMap<_, _>>()
            .into_values()
            .collect();
        let mut found = Vec::new();
        for (path, node) in paths(fs).unwrap() {
            if let Ok(extents) = fs.extents(node)
                && !extents.is_empty()
            {
                let list: Vec<_> = extents
                    .iter()
                    .map(|it| [it.block, it.count.into(), it.sector, it.allocated.into(), it.uninited.into()])
                    .collect();
                found.push(format!("{} {list:?}", String::from_utf8(path).unwrap()));
            }
        }
        same("extents", &expected, &found)?;
    }
    Ok(())
}

#[test]
fn sound_images_give_exactly_what_is_expected() {
    let Some(folder) = samples() else { return };
    let mut trees = 0;
    each_sample(&folder, |sample| {
        if sample.json.get("tree").is_none() {
            return Ok(());
        }
        let (fs, report) = open(sample, None, false).map_err(|error| format!("  {error}\n"))?;
        compare(&fs, &report, &sample.json)?;
        assert!(report.lost.is_none() && report.faults.is_empty(), "{}: {report:?}", sample.name);
        trees += 1;
        // Recovering loses nothing where nothing is lost.
        let (fs, report) = open(sample, None, true).map_err(|error| format!("  {error}\n"))?;
        compare(&fs, &report, &sample.json)?;
        match sample.json.get("bootfs") {
            Some(boot) => {
                let (fs, report) = open(sample, Some(Part::Boot), false).map_err(|error| format!("  {error}\n"))?;
                assert_eq!((report.part, report.start % 512), (Part::Boot, 0));
                trees += 1;
                compare(&fs, &report, boot)
            }
            None => {
                assert_eq!(open(sample, Some(Part::Boot), false).unwrap_err(), Errno::Invalid, "{}", sample.name);
                Ok(())
            }
        }
    });
    println!("{trees} trees as expected");
    assert!(trees >= 30);
}

#[test]
fn damage_in_the_log_is_an_error_with_its_place_and_the_state_before_it_can_be_recovered() {
    let Some(folder) = samples() else { return };
    let mut recovered = 0;
    each_sample(&folder, |sample| {
        if sample.json["log_decodes"] != Value::Bool(false) {
            return Ok(());
        }
        let error = open(sample, None, false).err().ok_or("  opens\n")?;
        let corrupt = error.corrupt().ok_or_else(|| format!("  no damage: {error}\n"))?;
        assert!(corrupt.offset() <= sample.image.len(), "{error}");
        println!("{}: {error}", sample.name);
        let Some(frame) = sample.json.get("first_bad_frame") else {
            // Whatever there is to recover, it can be read or not, but without panic.
            if let Ok((fs, _)) = open(sample, None, true) {
                let _ = tree(&fs);
            }
            return Ok(());
        };
        let frame = frame["sector"].as_u64().unwrap() * 512 + frame["offset"].as_u64().unwrap();
        let (fs, report) = open(sample, None, true).map_err(|error| format!("  {error}\n"))?;
        if report.log_end != frame || report.lost.is_none() {
            return Err(format!("  ends at {}, expected {frame}\n", report.log_end));
        }
        let found = tree(&fs).map_err(|error| format!("  {error}\n"))?;
        recovered += 1;
        same("tree", &expected_tree(&sample.json["tree_before_first_bad_frame"]), &found)
    });
    println!("{recovered} recovered");
    assert!(recovered >= 7);
}

#[test]
fn damage_in_the_tree_is_found_when_opened_or_when_read() {
    let Some(folder) = samples() else { return };
    let mut found = BTreeMap::new();
    each_sample(&folder, |sample| {
        if sample.json.get("tree").is_some() || sample.json["log_decodes"] == Value::Bool(false) {
            return Ok(());
        }
        let strict = match open(sample, None, false) {
            Ok((fs, _)) => tree(&fs).map(|lines| format!("{} paths", lines.len())),
            Err(error) => Err(error),
        };
        let strict = match strict {
            Ok(text) => text,
            Err(error) => {
                let corrupt = error.corrupt().ok_or_else(|| format!("  no damage: {error:?}\n"))?;
                format!("{}", std::error::Error::source(corrupt).unwrap())
            }
        };
        let (fs, report) = open(sample, None, true).map_err(|error| format!("  {error}\n"))?;
        assert!(!paths(&fs).unwrap().is_empty());
        found.insert(sample.name.clone(), format!("{strict}; {} faults", report.faults.len()));
        Ok(())
    });
    let lines: Vec<_> = found.iter().map(|(name, text)| format!("{name}: {text}")).collect();
    println!("{}", lines.join("\n"));
    for (name, text) in [
        ("corrupt-dir-cycle", "a directory contains one of the directories it lies in; 1 faults"),
        ("corrupt-extent-no-allocated", "an extent without a valid allocated; 1 faults"),
    ] {
        assert_eq!(found.get(name).map(String::as_str), Some(text), "{name}");
    }
    assert!(found["corrupt-extent-overlap"].starts_with("two extents of one file hold its block "));
    assert!(found["corrupt-extent-out-of-range"].starts_with("an extent of "));
    assert!(found["corrupt-file-cut-in-data"].starts_with("an extent of "));
}

#[test]
fn crash_logs_are_found_where_the_kernel_left_them() {
    let Some(folder) = samples() else { return };
    let mut logs = 0;
    each_sample(&folder, |sample| {
        let partitioned = sample.json.get("bootfs").is_some();
        let found = crash_log(&sample.image);
        match sample.json.get("klog") {
            Some(klog) => {
                logs += 1;
                let (offset, log) = found.unwrap().ok_or("  no crash log\n")?;
                assert_eq!(offset, klog["offset"].as_u64().unwrap());
                assert_eq!(log.boot_id, klog["boot_id"].as_u64().unwrap());
                assert_eq!(i64::from(log.exit_code), klog["exit_code"].as_i64().unwrap());
                assert_eq!(log.text.len() as u64, klog["text_length"].as_u64().unwrap());
                assert_eq!(hex(&Sha256::digest(&log.text)), klog["text_sha256"].as_str().unwrap());
            }
            None if partitioned => assert_eq!(found.unwrap(), None),
            None => assert_eq!(found.unwrap_err(), Errno::Invalid),
        }
        Ok(())
    });
    assert!(logs > 0);
}

#[test]
fn references_select_a_file_system_of_a_disk() {
    use mountless::open::{FactValue, Format, ImageRef, OpenOptions};

    let Some(folder) = samples() else { return };
    let packed = std::fs::read(folder.join("partitioned.img.zst")).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), zstd::decode_all(&*packed).unwrap()).unwrap();
    let opened = |select: &str| {
        let reference = ImageRef::parse(format!("{}{select}", file.path().display()));
        mountless::open::open(&reference, &OpenOptions::default())
    };
    let uuid = |select| {
        let image = opened(select).unwrap();
        assert_eq!(image.facts.format, Format::Tfs);
        let uuid = image.facts.details().into_iter().find(|fact| fact.key == "uuid").unwrap().value;
        let FactValue::Text(uuid) = uuid else { panic!("{uuid:?}") };
        uuid.replace('-', "")
    };
    let json: Value = serde_json::from_slice(&std::fs::read(folder.join("partitioned.json")).unwrap()).unwrap();
    assert_eq!(uuid(""), json["info"]["uuid"]);
    assert_eq!(uuid("#root"), json["info"]["uuid"]);
    assert_eq!(uuid("#boot"), json["bootfs"]["info"]["uuid"]);
    assert_eq!(opened("#swap").unwrap_err(), Errno::Invalid);
}

#[test]
fn content_is_not_copied() {
    let Some(folder) = samples() else { return };
    let packed = std::fs::read(folder.join("basic.img.zst")).unwrap();
    let image = bytes::Bytes::from(zstd::decode_all(&*packed).unwrap());
    let source: Arc<dyn Source> = Arc::new(BytesSource::new(image.clone()));
    let (fs, _) = TfsFs::open(source, &TfsOptions::default()).unwrap();
    let node = *paths(&fs).unwrap().get(&b"/var/data/big.bin"[..]).unwrap();
    let shared = fs.read_shared(node, 1000, 50_000).unwrap();
    assert_eq!(shared.len(), 50_000);
    assert_eq!(shared.as_ptr(), image[3074 * 512 + 1000..].as_ptr());
}

#[test]
fn checks_find_nothing_in_sound_images_and_something_in_damaged_ones() {
    use mountless::backend::tfs::check;

    let Some(folder) = samples() else { return };
    each_sample(&folder, |sample| {
        let report = check(&sample.image, &TfsOptions::default()).unwrap();
        let faults: String = report.faults.iter().map(|fault| format!("  {fault}\n")).collect();
        print!("{}: {} orphans\n{faults}", sample.name, report.orphans);
        // Nothing can tell that these are not as they were.
        let unnoticed = ["corrupt-base", "corrupt-data-flip", "corrupt-early-end", "corrupt-non-tuple-record"];
        let harmless = ["corrupt-log-flip"];
        let sound = !sample.name.starts_with("corrupt-") || unnoticed.contains(&&*sample.name);
        if harmless.contains(&&*sample.name) || report.is_sound() == sound { Ok(()) } else { Err(faults) }
    });
}
