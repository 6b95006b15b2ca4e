//! File systems of Nanos, and disks with them.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use mountless::backend::tfs::{
    BootOptions, EfiLoader, HostFiles, ImageOptions, KeepOptions, KeepReport, MadeImage, ManifestTrees, NewTree,
    TfsReport, configuration_from_manifest, from_manifest, make_image, random_uuid,
};
use mountless::error::Error;
use mountless::format::tfs::{BootSector, Manifest, Uuid};
use mountless::fs::FileSystem;
use mountless::name::{Name, escape};
use mountless::size::Size;
use mountless::source::{BytesSource, Replacement};

use super::{CompressName, FormatName, How, failed, source_date_epoch, tell_each};
use crate::failure::{EXIT_FAILED, EXIT_UNREADABLE, Failure, Result, plainly};
use crate::json::Object;
use crate::output;
use crate::progress::patiently;

/// What only a TFS has.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Options of TFS")]
pub(super) struct Options {
    /// Bytes that the image shall have at least, so that there is room for more
    #[arg(long, value_name = "SIZE")]
    size: Option<Size>,

    /// What the file system is called
    #[arg(long, value_name = "NAME")]
    label: Option<String>,

    /// What identifies the file system [default: a random one, with --reproducible one that follows from the files]
    #[arg(long, value_name = "UUID", value_parser = uuid)]
    uuid: Option<Uuid>,

    /// A manifest of Nanos' mkfs: files and configuration, or beside sources the configuration alone
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,

    /// The directory in which files that the manifest names are looked for first, as if it were /
    #[arg(long, value_name = "DIR", requires = "manifest")]
    target_root: Option<PathBuf>,

    /// Makes a disk, and this file the kernel in its boot file system
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,

    /// Makes a disk that machines with a BIOS boot from, by this loader: Nanos' boot.img
    #[arg(long, value_name = "FILE")]
    boot: Option<PathBuf>,

    /// Makes a disk that machines with UEFI boot from, by this loader: Nanos' bootx64.efi or bootaa64.efi
    #[arg(long, value_name = "FILE")]
    uefi: Option<PathBuf>,
}

fn uuid(text: &str) -> std::result::Result<Uuid, String> {
    text.parse().map_err(|_| "a UUID is 32 hexadecimal digits".to_owned())
}

/// What is to be written.
struct Contents {
    root: NewTree,
    report: KeepReport,
    boot: Option<BootOptions>,
    /// Bytes that the image shall have at least.
    size: u64,
    label: String,
}

impl Options {
    /// The option that makes no sense for another format, if there is one.
    fn given(&self) -> Option<&'static str> {
        let given = [
            (self.manifest.is_some(), "--manifest"),
            (self.kernel.is_some(), "--kernel"),
            (self.boot.is_some(), "--boot"),
            (self.uefi.is_some(), "--uefi"),
            (self.uuid.is_some(), "--uuid"),
        ];
        given.into_iter().find(|(is_given, _)| *is_given).map(|(_, option)| option)
    }

    const fn makes_disk(&self) -> bool {
        self.kernel.is_some() || self.boot.is_some() || self.uefi.is_some()
    }

    /// Reads the manifest, if there is one, and gives it its meaning.
    fn trees(
        &self,
        meaning: fn(&Manifest, &HostFiles) -> mountless::Result<ManifestTrees>,
    ) -> Result<Option<ManifestTrees>> {
        let Some(path) = &self.manifest else { return Ok(None) };
        let failed = |error: &dyn std::fmt::Display| {
            Failure::new(EXIT_UNREADABLE, format!("cannot read manifest: {}: {error}", path.display()))
        };
        let text = fs::read(path).map_err(|error| failed(&plainly(&error)))?;
        let manifest = Manifest::parse(&text).map_err(|error| failed(&error))?;
        let files = HostFiles { base: PathBuf::new(), target_root: self.target_root.clone() };
        let trees = meaning(&manifest, &files).map_err(|error| failed(&error))?;
        for remark in &trees.remarks {
            output::note(&format!("{}: {remark}", path.display()));
        }
        Ok(Some(trees))
    }

    /// What is in front of the root file system.
    fn disk(&self, tree: Option<NewTree>) -> Result<Option<BootOptions>> {
        if !self.makes_disk() {
            if tree.is_some() {
                output::note("the boot file system of the manifest is left out: --boot FILE makes a disk");
            }
            return Ok(None);
        }
        let loader = self.boot.as_deref().map(loader).transpose()?;
        let efi = self.uefi.as_deref().map(uefi).transpose()?;
        if tree.is_none() && self.kernel.is_none() {
            let failure = Failure::new(EXIT_UNREADABLE, "cannot make a disk: a disk that boots needs a kernel");
            return Err(
                failure.next("--kernel FILE, or in the manifest boot:(children:(kernel:(contents:(host:FILE))))")
            );
        }
        let mut tree = tree.unwrap_or_default();
        if let Some(kernel) = &self.kernel {
            let mut put = |content: Bytes| tree.put_file(Name::new(b"kernel")?, Arc::new(BytesSource::new(content)));
            put(read(kernel)?).map_err(|error| unusable(kernel, &error))?;
        }
        Ok(Some(BootOptions { loader, efi, tree }))
    }
}

fn read(path: &Path) -> Result<Bytes> {
    Ok(fs::read(path).map_err(|error| unusable(path, &plainly(&error)))?.into())
}

fn unusable(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(EXIT_UNREADABLE, format!("cannot make a disk: {}: {error}", path.display()))
}

/// A loader for machines with a BIOS.
fn loader(path: &Path) -> Result<Bytes> {
    let loader = read(path)?;
    match BootSector::of_loader(&loader) {
        Ok(_) => Ok(loader),
        Err(fault) => Err(unusable(path, &fault)),
    }
}

/// A loader, for the machine that its name tells.
fn uefi(path: &Path) -> Result<EfiLoader> {
    let name = path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    match &*name {
        "bootx64.efi" => read(path).map(EfiLoader::X64),
        "bootaa64.efi" => read(path).map(EfiLoader::Aa64),
        _ => Err(unusable(path, &"for which machine, its name does not tell")
            .next("the loader is called bootx64.efi or bootaa64.efi")),
    }
}

impl How {
    /// Whether a TFS is to be written.
    pub(super) fn is_tfs(&self) -> Result<bool> {
        match (self.format, self.tfs.given()) {
            (Some(FormatName::Tfs), _) | (None, Some(_)) => Ok(true),
            (_, None) => Ok(false),
            (Some(_), Some(option)) => {
                let message = format!("cannot write: {option} is for TFS, another format is named");
                Err(Failure::new(EXIT_UNREADABLE, message).next("--format tfs writes one"))
            }
        }
    }

    /// Writes what the manifest says.
    pub(super) fn write_manifest(&self, output: &Path) -> Result {
        if !self.is_tfs()? {
            return Err(Failure::new(EXIT_UNREADABLE, "cannot write: there is nothing to pack"));
        }
        self.refuse(output)?;
        let trees = self.tfs.trees(from_manifest)?.unwrap_or_default();
        let (boot, report) = (self.tfs.disk(trees.boot)?, KeepReport::default());
        let label = self.tfs.label.clone().unwrap_or_default();
        self.make(Contents { root: trees.root, report, boot, size: trees.size, label }, output)
    }

    /// Makes a file system of Nanos of the tree of `fs`, with what else is in `like`.
    pub(super) fn write_tfs(&self, fs: &Arc<dyn FileSystem>, output: &Path, like: Option<&TfsReport>) -> Result {
        self.refuse(output)?;
        let trees = self.tfs.trees(configuration_from_manifest)?;
        // Nanos knows no owners and modes: what shall be the same everywhere has none.
        let keep = KeepOptions { attributes: !self.reproducible, latest_mtime: source_date_epoch()? };
        let shown = output.display().to_string();
        let tree = patiently("listing", &shown, || NewTree::from_fs(fs, &keep));
        let (mut root, report) = tree.map_err(|error| failed(&shown, &error))?;
        // Those with a dot are extended attributes, and came with the tree.
        let configuration = like.map(|report| &*report.root_attributes).unwrap_or_default().iter();
        for (name, value) in configuration.filter(|(name, _)| !name.contains(&b'.')) {
            if root.set_attribute(name.clone(), value.clone()).is_err() {
                output::note(&format!("/: the attribute {} cannot be kept", escape(name)));
            }
        }
        let (mut boot, mut size) = (None, 0);
        if let Some(trees) = trees {
            for (name, value) in trees.root.attributes() {
                root.set_attribute(name.clone(), value.clone()).map_err(|error| failed(&shown, &error))?;
            }
            (boot, size) = (trees.boot, trees.size);
        }
        let label = self.tfs.label.clone();
        let label = label.or_else(|| Some(String::from_utf8_lossy(&like?.label).into_owned())).unwrap_or_default();
        let boot = self.tfs.disk(boot)?;
        self.make(Contents { root, report, boot, size, label }, output)
    }

    /// What does not go with a TFS.
    fn refuse(&self, output: &Path) -> Result<()> {
        let unusable = [
            (output == Path::new("-"), "standard output, for it is not written from front to back"),
            (self.compress.is_some_and(|how| how != CompressName::None), "a compression, for it is changed in place"),
            (self.owner.is_some(), "--owner"),
        ];
        match unusable.iter().find(|(is_given, _)| *is_given) {
            None => Ok(()),
            Some((_, what)) => {
                let message = format!("cannot write: {}: tfs does not take {what}", output.display());
                Err(Failure::new(EXIT_UNREADABLE, message).next("leave it out"))
            }
        }
    }

    fn make(&self, contents: Contents, output: &Path) -> Result {
        let Contents { root, report, boot, size, label } = contents;
        let shown = output.display().to_string();
        tell_each(report.lost.iter().map(|lost| (&*lost.path, lost.what.to_string())), report.lost_count);
        if self.strict && report.lost_count > 0 {
            let message = format!("not written: {shown}: tfs cannot hold all of it");
            return Err(Failure::new(EXIT_FAILED, message).next("another format may, or go without --strict"));
        }
        let failed = |error: Error| failed(&shown, &error);
        let random = || if self.reproducible { Ok(None) } else { random_uuid().map(Some) };
        let options = ImageOptions {
            size: size.max(self.tfs.size.map_or(0, |Size(bytes)| bytes)),
            label: label.into_bytes(),
            uuid: self.tfs.uuid.map_or_else(random, |uuid| Ok(Some(uuid))).map_err(failed)?,
        };
        let made = patiently("packing", &shown, || {
            let replacement = Replacement::create(output)?;
            let made = make_image(&replacement.storage()?, &root, boot.as_ref(), &options)?;
            replacement.commit()?;
            Ok(made)
        });
        let made = made.map_err(failed)?;
        if self.json {
            write_json(&shown, &made, &report)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn write_json(shown: &str, made: &MadeImage, report: &KeepReport) -> Result<()> {
    let mut out = output::stdout();
    let mut object = Object::begin(&mut out)?;
    object.text("image", shown)?;
    object.text("format", "tfs")?;
    object.text("uuid", made.uuid)?;
    object.number("root_offset", made.root_start)?;
    object.number("entries", made.root.nodes)?;
    if let Some(boot) = &made.boot {
        object.number("boot_entries", boot.nodes)?;
    }
    object.number("content_bytes", made.root.content_bytes)?;
    object.number("stored_bytes", made.len)?;
    object.number("lost_count", report.lost_count)?;
    object.array("lost", &report.lost, |lost, object| {
        object.text("path", escape(&lost.path))?;
        object.text("what", &lost.what)
    })?;
    object.end()?;
    out.write_all(b"\n")?;
    out.flush()?;
    Ok(())
}
