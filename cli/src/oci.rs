//! Container images as an output of commands: a layout in a directory, or in a tar archive.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mountless::backend::host::HostFs;
use mountless::format::compress::Compression;
use mountless::fs::FileSystem;
use mountless::open::{Format, ImageRef, Location, stored_layers};
use mountless::transfer::diff::DiffOptions;
use mountless::transfer::{
    OciBase, OciOptions, OciWriter, PackFormat, PackOptions, PackReport, PackTarget, Progress, pack_file,
};

/// Where an image goes, and what it is called there.
#[derive(Clone, Debug)]
pub(crate) struct OciOutput {
    path: PathBuf,
    tag: String,
}

/// What an image is to hold.
pub(crate) enum Content<'a> {
    /// All of a tree, as one layer.
    Tree(&'a Arc<dyn FileSystem>),
    /// The layers of the first image, or the first tree as one layer, and above them what makes the second tree of it.
    Changes(Option<&'a ImageRef>, &'a Arc<dyn FileSystem>, &'a Arc<dyn FileSystem>, DiffOptions),
}

impl OciOutput {
    /// What `output` says, `[oci:]PATH[#TAG]`, if it is an image that is asked for.
    pub(crate) fn parse(output: &Path, is_asked_for: bool) -> Option<Self> {
        let reference = ImageRef::parse(output);
        let is_oci = is_asked_for || reference.format == Some(Format::Oci);
        match reference.location {
            Location::Path(path) if is_oci => {
                let tag = reference.select.map(|tag| tag.to_string_lossy().into_owned());
                Some(Self { path, tag: tag.filter(|tag| !tag.is_empty()).unwrap_or_else(|| "latest".to_owned()) })
            }
            _ => None,
        }
    }

    /// The directory, or the archive.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the image. Of a layout in a directory it is the index that is replaced, at the end.
    pub(crate) fn write(
        &self,
        content: &Content<'_>,
        (compression, level): (Option<Compression>, Option<u32>),
        options: &PackOptions,
        progress: &Progress,
    ) -> mountless::Result<PackReport> {
        let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let latest = options.latest_mtime.map(|secs| Duration::from_secs(secs.try_into().unwrap_or_default()));
        let created = SystemTime::UNIX_EPOCH + latest.unwrap_or_else(now);
        let created = Some(humantime::format_rfc3339_seconds(created).to_string());
        let oci = OciOptions { tag: self.tag.clone(), compression, level, created };
        let (Some(PackFormat::Tar), outer) = PackTarget::told_by(&self.path) else {
            return fill(&self.path, oci, content, options, progress);
        };
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let layout = tempfile::tempdir_in(parent).map_err(|error| mountless::Error::new(errno_of(&error), error))?;
        let report = fill(layout.path(), oci, content, options, progress)?;
        let layout: Arc<dyn FileSystem> = Arc::new(HostFs::open(layout.path())?);
        let plain = PackOptions { latest_mtime: Some(0), owner: Some((0, 0)), ..PackOptions::default() };
        pack_file(&layout, &self.path, PackTarget::new(PackFormat::Tar, outer, None), &plain, &Progress::new())?;
        Ok(report)
    }
}

fn errno_of(error: &std::io::Error) -> mountless::Errno {
    match error.kind() {
        std::io::ErrorKind::NotFound => mountless::Errno::NotFound,
        std::io::ErrorKind::PermissionDenied => mountless::Errno::Access,
        _ => mountless::Errno::Io,
    }
}

fn fill(
    dir: &Path,
    oci: OciOptions,
    content: &Content<'_>,
    options: &PackOptions,
    progress: &Progress,
) -> mountless::Result<PackReport> {
    let mut image = OciWriter::begin(dir, oci)?;
    let report = match content {
        Content::Tree(fs) => image.add_tree(fs, options, progress)?,
        Content::Changes(base, before, after, diff) => {
            let stored = base.map(stored_layers).transpose()?.flatten();
            match stored {
                Some((config, layers)) => image.begin_with(&OciBase { config, layers })?,
                None => drop(image.add_tree(before, options, &Progress::new())?),
            }
            image.add_changes(before, after, *diff, options, progress)?
        }
    };
    image.finish()?;
    Ok(report)
}
