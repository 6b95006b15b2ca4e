//! Trees in the form of the listings that real consumers of the sample images made.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mountless::attr::FileType;
use mountless::clock::Timestamp;
use mountless::error::Error;
use mountless::fs::{FileSystem, FileSystemExt, NodeId};
use sha2::{Digest, Sha256};

/// A folder of sample images, or `None`, said aloud, where there is none.
pub fn samples(folder: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("MOUNTLESS_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let folder = shared.join(folder);
    if folder.join("INDEX.tsv").is_file() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "no sample images in {}", folder.display());
    eprintln!("NOT TESTED: no sample images in {}; set MOUNTLESS_SHARED", folder.display());
    None
}

/// The lines of a listing that are not remarks.
pub fn read_listing(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(text.ends_with("# end\n"), "{}", path.display());
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

/// A typed error somewhere in the chain.
pub fn detail<T: std::error::Error + 'static>(error: &Error) -> Option<&T> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// Bytes as the listings write them.
pub fn octal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, &byte| {
        if byte <= 0x20 || byte >= 0x7f || byte == b'\\' {
            write!(text, "\\{byte:03o}").unwrap();
        } else {
            text.push(char::from(byte));
        }
        text
    })
}

/// The tree in the form of the listings.
pub fn listing(fs: &Arc<dyn FileSystem>) -> Vec<String> {
    let mut found: BTreeMap<Vec<u8>, NodeId> = BTreeMap::new();
    let mut pending = vec![(Vec::new(), fs.root())];
    while let Some((path, dir)) = pending.pop() {
        fs.for_each_entry(dir, |entry| {
            let mut below: Vec<u8> = path.clone();
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend_from_slice(entry.name.as_bytes());
            let looked_up = fs.lookup(dir, entry.name)?;
            assert_eq!(looked_up.file_type, entry.file_type);
            assert_eq!(fs.attr(looked_up.node)?.ino, entry.ino);
            if entry.file_type.is_dir() {
                pending.push((below.clone(), looked_up.node));
            }
            assert!(found.insert(below, looked_up.node).is_none(), "the same name twice");
            Ok(())
        })
        .unwrap();
        found.insert(path, dir);
    }
    let mut first_names: BTreeMap<u64, String> = BTreeMap::new();
    for (path, node) in &found {
        first_names.entry(fs.attr(*node).unwrap().ino).or_insert_with(|| octal(path));
    }
    found.iter().filter_map(|(path, node)| line(fs, path, *node, &first_names)).collect()
}

fn line(fs: &Arc<dyn FileSystem>, path: &[u8], node: NodeId, first: &BTreeMap<u64, String>) -> Option<String> {
    let attr = fs.attr(node).unwrap();
    let is_root = node == fs.root();
    if is_root && !attr.recorded.mode {
        return None;
    }
    let (word, data) = match attr.file_type {
        FileType::File if attr.size > 256 << 20 => ("file", "!big".to_owned()),
        FileType::File => ("file", sha256(fs, node, attr.size)),
        FileType::Dir => ("dir", "-".to_owned()),
        FileType::Symlink => ("link", octal(&fs.read_link(node).unwrap())),
        FileType::Char => ("char", "-".to_owned()),
        FileType::Block => ("block", "-".to_owned()),
        FileType::Fifo => ("fifo", "-".to_owned()),
        FileType::Socket => ("sock", "-".to_owned()),
        FileType::Whiteout => panic!("a whiteout in a merged tree"),
    };
    let has_size = matches!(attr.file_type, FileType::File | FileType::Symlink);
    let is_dir = attr.file_type.is_dir();
    let dash = "-".to_owned();
    Some(
        [
            if is_root { ".".to_owned() } else { octal(path) },
            word.to_owned(),
            format!("{:04o}", attr.mode),
            attr.uid.to_string(),
            attr.gid.to_string(),
            if is_dir { dash.clone() } else { attr.nlink.to_string() },
            if has_size { attr.size.to_string() } else { dash.clone() },
            attr.rdev.map_or(dash.clone(), |rdev| format!("{}:{}", rdev.major, rdev.minor)),
            if attr.recorded.mtime { time(attr.mtime) } else { dash.clone() },
            data,
            if !is_dir && attr.nlink > 1 { first[&attr.ino].clone() } else { dash.clone() },
            xattrs(fs, node),
        ]
        .join("\t"),
    )
}

/// The content's hash, read in both ways.
fn sha256(fs: &Arc<dyn FileSystem>, node: NodeId, size: u64) -> String {
    let content = fs.read_to_vec(node).unwrap();
    assert_eq!(content.len() as u64, size);
    let mut copied = vec![0xee; content.len() + 1];
    assert_eq!(fs.read_at(node, 0, &mut copied).unwrap(), content.len());
    assert!(copied.starts_with(&content));
    Sha256::digest(&content).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// Says how a tree differs from its listing; empty if it does not.
pub fn differences(expected: &[String], found: &[String]) -> String {
    let mut text = String::new();
    for line in expected.iter().filter(|line| !found.contains(line)) {
        writeln!(text, "  - {}", &line[..line.len().min(400)]).unwrap();
    }
    for line in found.iter().filter(|line| !expected.contains(line)) {
        writeln!(text, "  + {}", &line[..line.len().min(400)]).unwrap();
    }
    text
}

fn time(time: Timestamp) -> String {
    match time.nanos {
        0 => time.secs.to_string(),
        nanos => format!("{}.{nanos:09}", time.secs),
    }
}

fn xattrs(fs: &Arc<dyn FileSystem>, node: NodeId) -> String {
    let names = fs.xattr_names(node).unwrap();
    let values = names.iter().map(|name| {
        let value = fs.xattr(node, name).unwrap();
        let hex = value.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        });
        format!("{}={hex}", octal(name))
    });
    let values: Vec<_> = values.collect();
    if values.is_empty() { "-".to_owned() } else { values.join(",") }
}
