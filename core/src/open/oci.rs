//! Container images: finds the layers, checks them against their digests, merges them.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::{
    Format, ImageFacts, ImageRef, LayerFacts, Location, OpenOptions, OpenedImage, Remember, archive_options, followed,
    from_io, source_of, starts_compressed,
};
use crate::backend::archive::ArchiveFs;
use crate::checked::to_u64;
use crate::compose::Overlay;
use crate::errno::Errno;
use crate::error::{Corrupt, Error, Result};
use crate::format::oci::{
    Algorithm, Config, Descriptor, Digest, Document, OciCorrupt, SavedImage, is_named, own_architecture, parse,
};
use crate::fs::{Entry, FileSystem};
use crate::limits::{LAYERS_MAX, OCI_JSON_MAX, SYMLINK_HOPS_MAX};
use crate::name::{Name, escape};
use crate::source::Source;

/// Indexes in indexes that are followed.
const INDEX_DEPTH_MAX: usize = 4;

/// Bytes hashed at once.
const HASH_STEP: u64 = 1 << 20;

/// What a directory is, by what stands in it.
pub(super) fn is_layout(path: &Path) -> bool {
    path.join("oci-layout").is_file() || is_skopeo_dir(path)
}

fn is_skopeo_dir(path: &Path) -> bool {
    let version = std::fs::read(path.join("version")).unwrap_or_default();
    version.starts_with(b"Directory Transport Version:") && path.join("manifest.json").is_file()
}

/// What a tar archive is, besides an archive.
pub(super) fn format_of(archive: &ArchiveFs) -> Format {
    let has = |name: &str| find(archive, name).is_ok_and(|found| found.is_some());
    // What Docker writes is often both; the result is the same.
    match () {
        () if has("manifest.json") && images(archive).is_ok() => Format::Docker,
        () if has("oci-layout") && has("index.json") => Format::Oci,
        () => Format::Tar,
    }
}

/// Opens a layout in a directory.
pub(super) fn open_dir(path: &Path, select: Option<&OsStr>, options: &OpenOptions) -> Result<OpenedImage> {
    let select = Select::parse(select)?;
    let store = if is_skopeo_dir(path) { Store::Skopeo(path.into()) } else { Store::Dir(path.into()) };
    let image = match store {
        Store::Skopeo(_) => store.manifest(&store.json("manifest.json", None)?)?,
        _ => store.choose(&select, 0, &store.json::<Document>("index.json", None)?)?,
    };
    merge(&store, &image, &select, Format::Oci, 0, options)
}

/// A configuration, and layers.
pub type StoredLayers = (Bytes, Vec<Arc<dyn Source>>);

/// The configuration and the layers of the image that a reference means, as they are stored, the lowest layer first;
/// `None` if it is no layout in a directory, or not all of an image.
///
/// # Errors
/// As [`open`](super::open()).
pub fn stored_layers(reference: &ImageRef) -> Result<Option<StoredLayers>> {
    let Location::Path(path) = &reference.location else { return Ok(None) };
    let select = Select::parse(reference.select.as_deref())?;
    let is_other = reference.format.is_some_and(|format| format != Format::Oci);
    if is_other || !path.is_dir() || !is_layout(path) || is_skopeo_dir(path) || select.layer.is_some() {
        return Ok(None);
    }
    let store = Store::Dir(path.clone());
    let image = store.choose(&select, 0, &store.json::<Document>("index.json", None)?)?;
    let config = store.file(&image.config)?;
    let config = config.bytes_at(0..config.len().min(OCI_JSON_MAX))?;
    if image.layers.iter().any(|layer| layer.diff_id.is_none()) {
        return Ok(None);
    }
    let layers = image.layers.iter().map(|layer| store.file(&layer.path)).collect::<Result<_>>()?;
    Ok(Some((config, layers)))
}

/// Opens an image in an archive.
pub(super) fn open_archive(
    archive: ArchiveFs,
    format: Format,
    stored_len: u64,
    select: Option<&OsStr>,
    options: &OpenOptions,
) -> Result<OpenedImage> {
    let select = Select::parse(select)?;
    let image = if format == Format::Docker { Some(saved(&archive, &select)?) } else { None };
    let store = Store::Archive(Box::new(archive));
    let image = match image {
        Some(image) => store.saved_image(&image)?,
        None => store.choose(&select, 0, &store.json::<Document>("index.json", None)?)?,
    };
    merge(&store, &image, &select, format, stored_len, options)
}

/// What a reference asks for: `[TAG][,OS/ARCHITECTURE[/VARIANT]][,layer=N]`.
#[derive(Debug, Default)]
struct Select {
    tag: Option<String>,
    platform: Option<String>,
    /// From 1, the lowest.
    layer: Option<usize>,
}

impl Select {
    fn parse(select: Option<&OsStr>) -> Result<Self> {
        let mut parsed = Self::default();
        let Some(select) = select else { return Ok(parsed) };
        let unknown = |part: &[u8]| {
            let part = escape(part);
            let sentence = format!("\"{part}\" selects nothing in an image; give [TAG][,OS/ARCHITECTURE][,layer=N]");
            Error::new(Errno::Invalid, sentence)
        };
        let text = core::str::from_utf8(select.as_bytes()).map_err(|_| unknown(select.as_bytes()))?;
        for (number, part) in text.split(',').enumerate() {
            if let Some(layer) = part.strip_prefix("layer=") {
                parsed.layer =
                    Some(layer.parse().ok().filter(|layer| *layer > 0).ok_or_else(|| unknown(part.as_bytes()))?);
            } else if number == 0 {
                parsed.tag = Some(part).filter(|tag| !tag.is_empty()).map(String::from);
            } else if part.contains('/') {
                parsed.platform = Some(part.into());
            } else {
                return Err(unknown(part.as_bytes()));
            }
        }
        Ok(parsed)
    }
}

/// An image, found: its layers and what they must be.
struct Image {
    layers: Vec<Layer>,
    /// Path of the configuration.
    config: String,
}

struct Layer {
    path: String,
    blob: Option<Descriptor>,
    diff_id: Option<Digest>,
}

/// Where blobs are.
#[derive(Debug)]
enum Store {
    /// A layout.
    Dir(PathBuf),
    /// What skopeo writes into a directory: blobs without their folders.
    Skopeo(PathBuf),
    /// Any of them in a tar archive.
    Archive(Box<ArchiveFs>),
}

fn corrupt(what: &'static str, at: usize, corrupt: OciCorrupt) -> Error {
    Corrupt::new(what, to_u64(at), corrupt).into()
}

fn inside(what: &str, error: Error) -> Error {
    Error::new(error.errno(), InBlob { what: what.into(), error })
}

#[derive(Debug, thiserror::Error)]
#[error("{what}: {error}")]
struct InBlob {
    what: String,
    #[source]
    error: Error,
}

impl Store {
    fn file(&self, path: &str) -> Result<Arc<dyn Source>> {
        let found = match self {
            Self::Dir(dir) | Self::Skopeo(dir) => {
                File::open(dir.join(path)).map_err(from_io).and_then(|file| source_of(file, Remember::Nothing))
            }
            Self::Archive(archive) => match find(archive, path)? {
                Some(entry) => archive.source_of_file(entry.node),
                None => Err(Error::from(Errno::NotFound)),
            },
        };
        found.map_err(|error| inside(path, error))
    }

    fn path_of(&self, digest: &Digest) -> String {
        match self {
            Self::Skopeo(_) => digest.hex().into(),
            _ => format!("blobs/{}/{}", digest.algorithm, digest.hex()),
        }
    }

    /// A document, checked against its descriptor.
    fn json<T: serde::de::DeserializeOwned>(&self, path: &str, descriptor: Option<&Descriptor>) -> Result<T> {
        let source = self.file(path)?;
        if source.len() > OCI_JSON_MAX {
            let sentence = format!("{path}: {} bytes of JSON, at most {OCI_JSON_MAX} are taken", source.len());
            return Err(Error::new(Errno::FileTooBig, sentence));
        }
        if let Some(descriptor) = descriptor {
            check(&*source, descriptor).map_err(|error| inside(path, error))?;
        }
        let bytes = source.bytes_at(0..source.len())?;
        parse(&bytes).map_err(|(at, error)| inside(path, corrupt("image", at, error)))
    }

    /// The image that an index leads to.
    fn choose(&self, select: &Select, depth: usize, document: &Document) -> Result<Image> {
        let Some(manifests) = &document.manifests else { return self.manifest(document) };
        if depth >= INDEX_DEPTH_MAX {
            return Err(corrupt("image", 0, OciCorrupt::Nesting { max: INDEX_DEPTH_MAX }));
        }
        let chosen = choose(manifests, select, depth)?;
        let document = self.json::<Document>(&self.path_of(&chosen.digest), Some(chosen))?;
        // Names stand in the outermost index only.
        self.choose(select, depth.saturating_add(1), &document)
    }

    fn manifest(&self, document: &Document) -> Result<Image> {
        let (Some(config), Some(layers)) = (&document.config, &document.layers) else {
            return Err(corrupt("image", 0, OciCorrupt::NeitherIndexNorManifest));
        };
        let diff_ids = self.json::<Config>(&self.path_of(&config.digest), Some(config))?.rootfs.diff_ids;
        let layer =
            |blob: &Descriptor| Layer { path: self.path_of(&blob.digest), blob: Some(blob.clone()), diff_id: None };
        with_diff_ids(layers.iter().map(layer).collect(), diff_ids, self.path_of(&config.digest))
    }

    fn saved_image(&self, image: &SavedImage) -> Result<Image> {
        let diff_ids = self.json::<Config>(&image.config, None)?.rootfs.diff_ids;
        let layer = |path: &String| Layer { path: path.clone(), blob: None, diff_id: None };
        with_diff_ids(image.layers.iter().map(layer).collect(), diff_ids, image.config.clone())
    }
}

fn with_diff_ids(mut layers: Vec<Layer>, diff_ids: Vec<Digest>, config: String) -> Result<Image> {
    // Other things than images, which have no such list, use the same manifests.
    if !diff_ids.is_empty() && diff_ids.len() != layers.len() {
        let counts = OciCorrupt::LayerCount { diff_ids: diff_ids.len(), layers: layers.len() };
        return Err(corrupt("image", 0, counts));
    }
    for (layer, diff_id) in layers.iter_mut().zip(diff_ids) {
        layer.diff_id = Some(diff_id);
    }
    Ok(Image { layers, config })
}

/// The manifest of an index that is asked for, or the only one there can be.
fn choose<'a>(manifests: &'a [Descriptor], select: &Select, depth: usize) -> Result<&'a Descriptor> {
    let nothing = |what: &str, there: Vec<String>| {
        let there = if there.is_empty() { "none".into() } else { there.join(", ") };
        Error::new(Errno::NotFound, format!("{what}; there are: {there}"))
    };
    let mut found: Vec<&Descriptor> = manifests.iter().filter(|one| !is_attestation(one)).collect();
    if depth == 0 {
        let names = || found.iter().filter_map(|one| one.name().map(String::from)).collect();
        let named = |tag: &str| -> Vec<&'a Descriptor> {
            found.iter().filter(|one| one.name().is_some_and(|name| is_named(name, tag))).copied().collect()
        };
        found = match &select.tag {
            Some(tag) => match named(tag) {
                named if named.is_empty() => return Err(nothing(&format!("no image is called {tag:?}"), names())),
                named => named,
            },
            None => match named("latest") {
                latest if !latest.is_empty() => latest,
                _ if found.iter().filter(|one| one.name() != found.first().and_then(|first| first.name())).count()
                    == 0 =>
                {
                    found
                }
                _ => return Err(nothing("several images, select one by its name", names())),
            },
        };
    }
    if let [only] = &*found
        && (only.platform.is_none() || select.platform.is_none())
    {
        return Ok(only);
    }
    let wanted = select.platform.clone().unwrap_or_else(own_platform);
    let fits = found.iter().find(|one| one.platform.as_ref().is_some_and(|platform| platform.is(&wanted)));
    fits.copied().ok_or_else(|| {
        let there = found.iter().filter_map(|one| one.platform.as_ref()).map(ToString::to_string).collect();
        nothing(&format!("no image for {wanted}"), there)
    })
}

fn is_attestation(descriptor: &Descriptor) -> bool {
    descriptor.platform.as_ref().is_some_and(crate::format::oci::Platform::is_unknown)
}

/// What programs of this machine run on, in the words of images.
fn own_platform() -> String {
    format!("linux/{}", own_architecture())
}

/// Opens the layers, lowest first, and merges them.
fn merge(
    store: &Store,
    image: &Image,
    select: &Select,
    format: Format,
    stored_len: u64,
    options: &OpenOptions,
) -> Result<OpenedImage> {
    let count = image.layers.len();
    if count >= LAYERS_MAX {
        return Err(Error::new(Errno::Invalid, format!("{count} layers, at most {} are taken", LAYERS_MAX - 1)));
    }
    if let Some(layer) = select.layer.filter(|layer| *layer > count) {
        return Err(Error::new(Errno::NotFound, format!("no layer {layer}; there are {count}, the lowest is 1")));
    }
    let mut opened: Vec<Arc<dyn FileSystem>> = Vec::new();
    let mut facts = Vec::new();
    let mut left = options.clone();
    for (number, layer) in (1_usize..).zip(&image.layers) {
        // What is above one layer says nothing about it.
        if select.layer.is_some_and(|wanted| number > wanted) {
            break;
        }
        let lower = match opened.is_empty() {
            true => None,
            false => Some(Overlay::read_only(opened.clone())?),
        };
        let lower = lower.as_ref().map(|lower| lower as &dyn FileSystem);
        let (fs, layer) = open_layer(store, layer, lower, &left)
            .map_err(|error| inside(&format!("layer {number} of {count}"), error))?;
        // The limits are for the whole image.
        if layer.archive.parts.iter().any(|part| part.compression.is_some()) {
            left.max_unpacked = left.max_unpacked.saturating_sub(layer.archive.unpacked_len);
            // More than that is in a file.
            if let Some(in_memory) = left.max_in_memory.checked_sub(layer.archive.unpacked_len) {
                left.max_in_memory = in_memory;
            }
        }
        opened.push(Arc::new(fs));
        facts.push(layer);
    }
    let fs: Arc<dyn FileSystem> = match (select.layer, opened.pop()) {
        (Some(_), Some(layer)) => layer,
        (_, Some(only)) if opened.is_empty() => match facts.first() {
            // A lone layer may still hide things, of which there are none below.
            Some(_) => Arc::new(Overlay::read_only(alloc::vec![only])?),
            None => only,
        },
        (_, Some(top)) => {
            opened.push(top);
            Arc::new(Overlay::read_only(opened)?)
        }
        (_, None) => Arc::new(Overlay::read_only(alloc::vec![Arc::new(ArchiveFs::empty(&archive_options(options))?)])?),
    };
    let stored_len = match stored_len {
        0 => facts.iter().fold(0, |sum: u64, layer| sum.saturating_add(layer.stored_len)),
        len => len,
    };
    Ok(OpenedImage { fs, facts: ImageFacts { layers: facts, ..ImageFacts::new(format, stored_len) } })
}

fn open_layer(
    store: &Store,
    layer: &Layer,
    lower: Option<&dyn FileSystem>,
    options: &OpenOptions,
) -> Result<(ArchiveFs, LayerFacts)> {
    let source = store.file(&layer.path)?;
    let stored_len = source.len();
    if let Some(blob) = &layer.blob {
        check(&*source, blob).map_err(|error| inside(&layer.path, error))?;
    }
    let source = if starts_compressed(&source)? { followed(source, options) } else { source };
    let (fs, archive) = ArchiveFs::open_layer(source, lower, &archive_options(options))?;
    if let Some(diff_id) = &layer.diff_id {
        // An uncompressed layer was checked as a blob, if both digests are of one kind.
        let is_plain = archive.parts.iter().all(|part| part.compression.is_none());
        if !(is_plain && layer.blob.as_ref().is_some_and(|blob| blob.digest == *diff_id)) {
            check_digest(&**fs.archive_source()?, diff_id)?;
        }
    }
    let digest = layer.diff_id.as_ref().or(layer.blob.as_ref().map(|blob| &blob.digest)).map(ToString::to_string);
    Ok((fs, LayerFacts { digest, stored_len, archive }))
}

/// Checks a blob against its descriptor.
fn check(source: &dyn Source, descriptor: &Descriptor) -> Result<()> {
    if source.len() != descriptor.size {
        let sizes = OciCorrupt::Size { expected: descriptor.size, found: source.len() };
        return Err(corrupt("image", 0, sizes));
    }
    check_digest(source, &descriptor.digest)
}

fn check_digest(source: &dyn Source, expected: &Digest) -> Result<()> {
    let computed = match expected.algorithm {
        Algorithm::Sha256 => hash::<sha2::Sha256>(source)?,
        Algorithm::Sha512 => hash::<sha2::Sha512>(source)?,
    };
    if computed != expected.hex() {
        return Err(corrupt("image", 0, OciCorrupt::Digest { expected: expected.clone(), computed }));
    }
    Ok(())
}

fn hash<H: sha2::Digest>(source: &dyn Source) -> Result<String> {
    use core::fmt::Write;

    let mut hasher = H::new();
    let mut at = 0;
    while at < source.len() {
        let end = source.len().min(at.saturating_add(HASH_STEP));
        hasher.update(source.bytes_at(at..end)?);
        at = end;
    }
    Ok(hasher.finalize().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    }))
}

/// The images in an archive of `docker save`.
fn images(archive: &ArchiveFs) -> Result<Vec<SavedImage>> {
    let entry = find(archive, "manifest.json")?.ok_or(Errno::NotFound)?;
    let source = archive.source_of_file(entry.node)?;
    if source.len() > OCI_JSON_MAX {
        return Err(Errno::FileTooBig.into());
    }
    let bytes = source.bytes_at(0..source.len())?;
    parse(&bytes).map_err(|(at, error)| inside("manifest.json", corrupt("image", at, error)))
}

fn saved(archive: &ArchiveFs, select: &Select) -> Result<SavedImage> {
    let images = images(archive)?;
    let all = |tags: &SavedImage| tags.repo_tags.clone().unwrap_or_default();
    let there = || images.iter().flat_map(all).collect::<Vec<_>>().join(", ");
    let found = match (&select.tag, &*images) {
        (Some(tag), _) => images.iter().find(|image| all(image).iter().any(|name| is_named(name, tag))),
        (None, [only]) => Some(only),
        (None, _) => images.iter().find(|image| all(image).iter().any(|name| is_named(name, "latest"))),
    };
    found.cloned().ok_or_else(|| {
        let sentence = match &select.tag {
            Some(tag) => format!("no image is called {tag:?}; there are: {}", there()),
            None => format!("several images, select one by its name; there are: {}", there()),
        };
        Error::new(Errno::NotFound, sentence)
    })
}

/// What `path` leads to in an archive, symbolic links followed.
fn find(archive: &ArchiveFs, path: &str) -> Result<Option<Entry>> {
    // What is still to be walked, the next component last.
    let mut rest: Vec<Vec<u8>> = components(path.as_bytes());
    let mut above: Vec<Entry> = Vec::new();
    let mut hops = 0;
    while let Some(component) = rest.pop() {
        if component == b".." {
            above.pop();
            continue;
        }
        let dir = above.last().map_or_else(|| archive.root(), |entry| entry.node);
        let Ok(name) = Name::new(&component) else { return Ok(None) };
        let entry = match archive.lookup(dir, name) {
            Ok(entry) => entry,
            Err(error) if error == Errno::NotFound || error == Errno::NotDir => return Ok(None),
            Err(error) => return Err(error),
        };
        if entry.file_type == crate::attr::FileType::Symlink {
            hops = u32::saturating_add(hops, 1);
            if hops > SYMLINK_HOPS_MAX {
                return Err(Errno::Loop.into());
            }
            let target = archive.read_link(entry.node)?;
            if target.starts_with(b"/") {
                above.clear();
            }
            rest.extend(components(&target));
        } else {
            above.push(entry);
        }
    }
    Ok(above.pop())
}

/// Components, the last one first.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".");
    names.rev().map(<[u8]>::to_vec).collect()
}
