#![no_main]

use std::fmt::Write;
use std::sync::Arc;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mountless::attr::Device;
use mountless::clock::Timestamp;
use mountless::format::compress::Compression;
use mountless::format::tar::{NewTarEntry, NewTarKind, TarWriter};
use mountless::open::{Format, OpenOptions, open_source};
use mountless::source::{BytesSource, Source};
use mountless::transfer::{Compress, compress};
use mountless_fuzz::read_everything;
use sha2::{Digest, Sha256};

/// An image of few names, so that layers meet; its documents may be damaged.
#[derive(Debug, Arbitrary)]
struct Input {
    docker: bool,
    layers: Vec<Layer>,
    damage: Vec<(u8, u16, u8)>,
}

#[derive(Debug, Arbitrary)]
struct Layer {
    entries: Vec<Entry>,
    gzip: bool,
    raw: Option<Vec<u8>>,
    wrong_size: bool,
    wrong_digest: bool,
}

#[derive(Debug, Arbitrary)]
struct Entry {
    name: u8,
    kind: Kind,
    mode: u16,
}

#[derive(Debug, Arbitrary)]
enum Kind {
    File(Vec<u8>),
    Dir,
    Symlink(u8),
    HardLink(u8),
    Char,
    Fifo,
}

const NAMES: [&str; 20] = [
    "a",
    "b",
    "a/b",
    "a/b/c",
    "b/a",
    ".wh.a",
    ".wh.b",
    "a/.wh.b",
    ".wh..wh..opq",
    "a/.wh..wh..opq",
    "b/.wh..wh..opq",
    ".wh..wh.aufs",
    "../a",
    "/a",
    "a/../b",
    "./a",
    "a/",
    ".",
    ".wh.",
    "a/b/.wh.c",
];

fn name(index: u8) -> &'static str {
    NAMES[usize::from(index) % NAMES.len()]
}

fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new());
    for entry in entries.iter().take(40) {
        let kind = match &entry.kind {
            Kind::File(data) => NewTarKind::File(data.len() as u64),
            Kind::Dir => NewTarKind::Dir,
            Kind::Symlink(to) => NewTarKind::Symlink(name(*to).as_bytes()),
            Kind::HardLink(to) => NewTarKind::HardLink(name(*to).as_bytes()),
            Kind::Char => NewTarKind::Char(Device { major: 0, minor: u32::from(entry.mode & 1) }),
            Kind::Fifo => NewTarKind::Fifo,
        };
        let path = name(entry.name).as_bytes();
        let mtime = Timestamp::from_secs(1);
        let mode = entry.mode & 0o7777;
        writer.begin(&NewTarEntry { path, kind, mode, uid: 1, gid: 2, mtime, xattrs: &[] }).unwrap();
        if let Kind::File(data) = &entry.kind {
            writer.data(data).unwrap();
        }
    }
    writer.finish().unwrap()
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A list in JSON.
fn list(items: &[String]) -> String {
    format!("[{}]", items.join(","))
}

/// The documents and blobs of an image, by name.
fn image(input: &Input) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let (mut layers, mut diff_ids, mut paths) = (Vec::new(), Vec::new(), Vec::new());
    for layer in input.layers.iter().take(6) {
        let plain = layer.raw.clone().unwrap_or_else(|| archive(&layer.entries));
        let gzip = Compress { compression: Compression::Gzip, level: None, one_frame: false };
        let blob = if layer.gzip { compress(&plain, gzip).unwrap() } else { plain.clone() };
        let hex = digest(if layer.wrong_digest { b"" } else { &blob });
        let size = blob.len() + usize::from(layer.wrong_size);
        layers.push(format!(
            r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:{hex}","size":{size}}}"#
        ));
        diff_ids.push(format!(r#""sha256:{}""#, digest(&plain)));
        paths.push(format!(r#""blobs/sha256/{hex}""#));
        files.push((format!("blobs/sha256/{hex}"), blob));
    }
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":{}}}}}"#,
        list(&diff_ids)
    );
    let config_hex = digest(config.as_bytes());
    let config_len = config.len();
    files.push((format!("blobs/sha256/{config_hex}"), config.into_bytes()));
    if input.docker {
        let saved =
            format!(r#"[{{"Config":"blobs/sha256/{config_hex}","RepoTags":["x:y"],"Layers":{}}}]"#, list(&paths));
        files.push(("manifest.json".into(), saved.into_bytes()));
        return files;
    }
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:{config_hex}","size":{config_len}}},"layers":{}}}"#,
        list(&layers)
    );
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:{}","size":{}}}]}}"#,
        digest(manifest.as_bytes()),
        manifest.len()
    );
    files.push((format!("blobs/sha256/{}", digest(manifest.as_bytes())), manifest.into_bytes()));
    files.push(("index.json".into(), index.into_bytes()));
    files.push(("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()));
    files
}

fuzz_target!(|input: Input| {
    let mut files = image(&input);
    let count = files.len();
    for (file, at, byte) in &input.damage {
        let (_, bytes) = &mut files[usize::from(*file) % count];
        let at = usize::from(*at) % bytes.len().max(1);
        if let Some(found) = bytes.get_mut(at) {
            *found ^= byte;
        }
    }
    let mut writer = TarWriter::new(Vec::new());
    for (path, bytes) in &files {
        let (path, kind) = (path.as_bytes(), NewTarKind::File(bytes.len() as u64));
        let entry =
            NewTarEntry { path, kind, mode: 0o644, uid: 0, gid: 0, mtime: Timestamp::from_secs(0), xattrs: &[] };
        writer.begin(&entry).unwrap();
        writer.data(bytes).unwrap();
    }
    let source: Arc<dyn Source> = Arc::new(BytesSource::new(writer.finish().unwrap().into()));
    let is_sound = input.damage.is_empty()
        && input.layers.iter().take(6).all(|layer| layer.raw.is_none() && !layer.wrong_size && !layer.wrong_digest);
    let options = OpenOptions { max_unpacked: 4 << 20, ..OpenOptions::default() };
    for format in [None, Some(Format::Oci), Some(Format::Docker), Some(Format::Tar)] {
        match open_source(Arc::clone(&source), format, &options) {
            Ok(image) => read_everything(&*image.fs),
            Err(error) => {
                let is_asked_for_what_it_is = match format {
                    None | Some(Format::Tar) => true,
                    Some(format) => (format == Format::Docker) == input.docker,
                };
                assert!(!is_sound || !is_asked_for_what_it_is, "{error}");
            }
        }
    }
});
