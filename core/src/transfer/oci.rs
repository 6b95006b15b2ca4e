//! Container images written as an OCI image layout: layers, a configuration, a manifest, and an index with its name.
//!
//! Blobs have the names of their content, so whatever was there stays valid; the index, which names the image, is
//! replaced last and at once. Specified by the OCI image format specification (`image-layout.md`, `manifest.md`,
//! `config.md`, `layer.md`).

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::compress::{Compress, Compressor};
use super::diff::DiffOptions;
use super::layer::{large_holes, write_layer};
use super::pack::{PackFormat, PackOptions, PackReport, collect, from_io, pack_found};
use crate::checked::to_u64;
use crate::errno::Errno;
use crate::error::{Error, Result};
use crate::format::compress::Compression;
use crate::format::oci::{own_architecture, parse};
use crate::fs::FileSystem;
use crate::progress::Progress;
use crate::source::{Replacement, Source, WriteBehind};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const NAME: &str = "org.opencontainers.image.ref.name";

/// Bytes copied at once.
const STEP: u64 = 1 << 20;

/// What a container image is to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OciOptions {
    /// Its name in the layout.
    pub tag: String,
    /// How layers are compressed: gzip, zstd, or not at all.
    pub compression: Option<Compression>,
    /// How hard.
    pub level: Option<u32>,
    /// When it was made, as RFC 3339 writes it; left out if that shall make no difference.
    pub created: Option<String>,
}

/// An image whose layers another one begins with.
#[derive(Clone, Debug)]
pub struct OciBase {
    /// Its configuration, as it is stored.
    pub config: Bytes,
    /// Its layers, as they are stored, the lowest first.
    pub layers: Vec<Arc<dyn Source>>,
}

/// An image being written.
#[derive(Debug)]
pub struct OciWriter {
    dir: PathBuf,
    options: OciOptions,
    config: Value,
    layers: Vec<Value>,
}

impl OciWriter {
    /// Begins an image in the layout at `dir`, which is made if it is missing; an image of the same name is replaced.
    ///
    /// # Errors
    /// `ENOTEMPTY` for a directory that holds something else; `EINVAL` for another compression; those of the host.
    pub fn begin(dir: &Path, options: OciOptions) -> Result<Self> {
        if !matches!(options.compression, None | Some(Compression::Gzip | Compression::Zstd)) {
            return Err(Error::new(Errno::Invalid, "layers are compressed with gzip or zstd, or not at all"));
        }
        let is_layout = dir.join("oci-layout").is_file();
        if !is_layout && fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(Error::new(Errno::NotEmpty, "the directory holds something else than an OCI image layout"));
        }
        fs::create_dir_all(dir.join("blobs/sha256")).map_err(from_io)?;
        if !is_layout {
            write_file(&dir.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        let config = json!({
            "architecture": own_architecture(),
            "os": "linux",
            "config": {},
            "rootfs": { "type": "layers", "diff_ids": [] },
            "history": [],
        });
        Ok(Self { dir: dir.into(), options, config, layers: Vec::new() })
    }

    /// Begins with the layers of `base`, and its configuration.
    ///
    /// # Errors
    /// `EINVAL` for a configuration that is none; those of reading and of the host.
    pub fn begin_with(&mut self, base: &OciBase) -> Result<()> {
        let config: Value = parse(&base.config).map_err(|(_, error)| Error::new(Errno::Invalid, error))?;
        if config["rootfs"]["diff_ids"].as_array().is_none_or(|ids| ids.len() != base.layers.len()) {
            return Err(Error::new(Errno::Invalid, "the configuration of the base image does not tell its layers"));
        }
        self.config = config;
        for layer in &base.layers {
            let head = layer.bytes_at(0..layer.len().min(16))?;
            let compression = Compression::detect(&head);
            let mut out = self.blob()?;
            let mut at = 0;
            while at < layer.len() {
                let end = layer.len().min(at.saturating_add(STEP));
                out.write_all(&layer.bytes_at(at..end)?).map_err(from_io)?;
                at = end;
            }
            let descriptor = self.keep(out, &layer_type(compression)?)?;
            self.layers.push(descriptor);
        }
        Ok(())
    }

    /// Adds a layer with all that is in `fs`.
    ///
    /// # Errors
    /// As [`pack`](super::pack()).
    pub fn add_tree(
        &mut self,
        fs: &Arc<dyn FileSystem>,
        options: &PackOptions,
        progress: &Progress,
    ) -> Result<PackReport> {
        let options = PackOptions { as_layer: true, ..options.clone() };
        let found = collect(fs, &options)?;
        let holes = large_holes(&found);
        let mut report = self.add_layer(|out| pack_found(found, out, PackFormat::Tar, &options, progress))?;
        report.lose_all(holes);
        Ok(report)
    }

    /// Adds a layer with what makes `after` out of `before`.
    ///
    /// # Errors
    /// As [`write_layer`].
    pub fn add_changes(
        &mut self,
        before: &Arc<dyn FileSystem>,
        after: &Arc<dyn FileSystem>,
        diff: DiffOptions,
        options: &PackOptions,
        progress: &Progress,
    ) -> Result<PackReport> {
        self.add_layer(|out| write_layer(before, after, diff, out, options, progress))
    }

    fn add_layer(&mut self, write: impl FnOnce(Layer) -> Result<(Layer, PackReport)>) -> Result<PackReport> {
        let OciOptions { compression, level, .. } = self.options;
        let compress = compression.map(|compression| Compress { compression, level, one_frame: false });
        let out = Hashing::new(Compressor::new(self.blob()?, compress)?);
        let (out, mut report) = write(out)?;
        let (compressor, diff_id, _) = out.finish();
        let blob = compressor.finish()?;
        report.stored_len = blob.count;
        let descriptor = self.keep(blob, &layer_type(compression)?)?;
        self.layers.push(descriptor);
        if let Some(ids) = self.config["rootfs"]["diff_ids"].as_array_mut() {
            ids.push(diff_id.into());
        }
        if let Some(history) = self.config["history"].as_array_mut() {
            let mut step = json!({ "created_by": "mountless" });
            if let Some(created) = &self.options.created {
                step["created"] = created.as_str().into();
            }
            history.push(step);
        }
        Ok(report)
    }

    /// Writes configuration and manifest, and enters the image in the index.
    ///
    /// # Errors
    /// `EINVAL` if the layout's index is none; those of the host.
    pub fn finish(mut self) -> Result<()> {
        if let Some(created) = &self.options.created {
            self.config["created"] = created.as_str().into();
        }
        let config = self.keep_bytes(self.config.to_string().as_bytes(), CONFIG)?;
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": self.layers }).to_string();
        let mut manifest = self.keep_bytes(manifest.as_bytes(), MANIFEST)?;
        manifest["platform"] = json!({ "architecture": self.config["architecture"], "os": self.config["os"] });
        manifest["annotations"] = json!({ NAME: self.options.tag });

        let path = self.dir.join("index.json");
        let mut index: Value = match fs::read(&path) {
            Ok(bytes) => parse(&bytes).map_err(|(_, error)| Error::new(Errno::Invalid, error))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [] })
            }
            Err(error) => return Err(from_io(error)),
        };
        let Some(manifests) = index.get_mut("manifests").and_then(Value::as_array_mut) else {
            return Err(Error::new(Errno::Invalid, "index.json lists no manifests"));
        };
        manifests.retain(|other| other["annotations"][NAME] != *self.options.tag);
        manifests.push(manifest);
        write_file(&path, index.to_string().as_bytes())
    }

    /// A blob to be written.
    fn blob(&self) -> Result<Hashing<WriteBehind<tempfile::NamedTempFile>>> {
        let file = tempfile::NamedTempFile::new_in(self.dir.join("blobs/sha256")).map_err(from_io)?;
        Ok(Hashing::new(WriteBehind::new(file, 1)))
    }

    fn keep_bytes(&self, bytes: &[u8], media_type: &str) -> Result<Value> {
        let mut blob = self.blob()?;
        blob.write_all(bytes).map_err(from_io)?;
        self.keep(blob, media_type)
    }

    /// Makes a blob durable under the name of its content, and describes it.
    fn keep(&self, blob: Hashing<WriteBehind<tempfile::NamedTempFile>>, media_type: &str) -> Result<Value> {
        let (out, digest, size) = blob.finish();
        let file = out.into_inner().map_err(from_io)?;
        // Temporary files are their maker's alone, blobs everybody's to read.
        file.as_file().set_permissions(fs::Permissions::from_mode(0o644)).map_err(from_io)?;
        file.as_file().sync_all().map_err(from_io)?;
        let name = digest.trim_start_matches("sha256:");
        file.persist(self.dir.join("blobs/sha256").join(name)).map_err(|error| from_io(error.error))?;
        Ok(json!({ "mediaType": media_type, "digest": digest, "size": size }))
    }
}

/// Where the tar of a layer goes: its own digest is of interest, and that of what is stored.
type Layer = Hashing<Compressor<Hashing<WriteBehind<tempfile::NamedTempFile>>>>;

fn layer_type(compression: Option<Compression>) -> Result<String> {
    match compression {
        None => Ok(LAYER.to_string()),
        Some(Compression::Gzip) => Ok(format!("{LAYER}+gzip")),
        Some(Compression::Zstd) => Ok(format!("{LAYER}+zstd")),
        Some(_) => Err(Error::new(Errno::Invalid, "a layer of the base image is compressed in a way that OCI has not")),
    }
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = Replacement::create(path)?;
    file.write_all(bytes).map_err(from_io)?;
    file.commit()
}

/// Hashes and counts what passes.
#[derive(Debug)]
struct Hashing<W> {
    out: W,
    hash: Sha256,
    count: u64,
}

impl<W> Hashing<W> {
    fn new(out: W) -> Self {
        Self { out, hash: Sha256::new(), count: 0 }
    }

    /// The writer, the digest, and how many bytes it was.
    fn finish(self) -> (W, String, u64) {
        use core::fmt::Write;

        let digest = self.hash.finalize().iter().fold(String::from("sha256:"), |mut hex, byte| {
            // OK to ignore: a string takes everything.
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        (self.out, digest, self.count)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let count = self.out.write(buf)?;
        self.hash.update(buf.get(..count).unwrap_or_default());
        self.count = self.count.saturating_add(to_u64(count));
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
