//! `mountless pack`, and what it shares with `mountless convert`.

mod tfs;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use mountless::Stack;
use mountless::backend::tfs::TfsReport;
use mountless::error::Error;
use mountless::format::compress::Compression;
use mountless::fs::FileSystem;
use mountless::name::escape;
use mountless::open::{Format, ImageRef, Location};
use mountless::transfer::{Lost, PackFormat, PackOptions, PackReport, PackTarget, Progress, pack_beside, pack_stream};

use crate::failure::{EXIT_FAILED, EXIT_UNREADABLE, Failure, Result};
use crate::image::{OpenArgs, opening, unreadable};
use crate::json::Object;
use crate::oci::{Content, OciOutput};
use crate::{output, progress};

/// Packs a directory, an image or a stack of images into an image
///
/// The output is written beside its place, made durable and renamed, so a half-written image is never seen.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
What the format cannot hold (extended attributes in cpio, sockets in tar) is told on standard error, and with --json in \
the fields lost_count and lost (path, what). --strict makes it a failure.

Names are sorted and nodes numbered in that order, always; SOURCE_DATE_EPOCH limits times, as reproducible-builds.org \
describes it. In a TFS modes and owners are kept as attributes that Nanos carries along, with --reproducible not at all; \
configuration and label of a TFS that is packed are kept.

A manifest is what Nanos' mkfs takes: (children:(prog:(contents:(host:build/prog))) program:/prog). Paths of the host \
begin from here. Beside sources it gives the configuration, and needs no children. --kernel, --boot and --uefi make a \
disk, with a boot file system in front of the root.

Examples:
  mountless pack rootfs -o initrd.cpio.zst
  mountless pack --reproducible rootfs -o layer.tar.gz
  mountless pack base.cpio.gz changes.tar -o merged.cpio.xz
  mountless pack --format oci rootfs -o layout#v1
  mountless pack --format tfs --size 64M rootfs -o volume.img
  mountless pack --manifest app.manifest --kernel kernel.img --boot boot.img -o disk.img
  mountless pack rootfs -o - --format cpio | ssh host 'cat >/boot/initrd.img'")]
pub(crate) struct Args {
    /// Directories and images, the lowest first; more than one are merged as layers
    #[arg(required_unless_present = "manifest", value_name = "SRC")]
    sources: Vec<OsString>,

    /// The image to write; `-` is standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    #[command(flatten)]
    how: How,

    #[command(flatten)]
    open: OpenArgs,
}

/// How to write an image.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct How {
    /// The format to write [default: what the output's name ends with]
    #[arg(long, value_name = "FORMAT", value_enum)]
    format: Option<FormatName>,

    /// How to compress [default: what the output's name ends with]
    #[arg(short = 'c', long, value_name = "HOW", value_enum)]
    compress: Option<CompressName>,

    /// How hard to compress, as the tool of that name counts
    #[arg(long, value_name = "N")]
    level: Option<u32>,

    /// The same bytes from the same files, on any machine: everything belongs to root, no time is later than
    /// SOURCE_DATE_EPOCH, or 1970 if that is not set, and holes of files are written as zeros
    #[arg(long)]
    reproducible: bool,

    /// Everything belongs to this user and this group
    #[arg(long, value_name = "UID:GID", value_parser = owner)]
    owner: Option<(u32, u32)>,

    #[command(flatten)]
    tfs: tfs::Options,

    /// Fails, and writes nothing, where the format cannot hold something
    #[arg(long)]
    strict: bool,

    /// Prints one JSON object about what was written
    #[arg(long)]
    json: bool,
}

/// A format that can be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum FormatName {
    /// newc, as Linux takes it for an initramfs
    Cpio,
    /// pax, with extended attributes and fractions of times
    Tar,
    /// A container image: an OCI layout in the directory that is the output, called `latest`, or as `DIR#TAG` says; in a
    /// tar archive where the name ends so
    Oci,
    /// The file system of Nanos, or a disk with it; never told by a name
    Tfs,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum CompressName {
    None,
    Gzip,
    Xz,
    Zstd,
    /// The frames that Linux takes for cpio, those of the tool for tar
    Lz4,
    Bzip2,
    Lzma,
}

fn owner(text: &str) -> std::result::Result<(u32, u32), String> {
    let numbers = text.split_once(':').and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)));
    numbers.ok_or_else(|| "an owner is UID:GID, two numbers".to_owned())
}

pub(crate) fn run(args: &Args) -> Result {
    let options = args.open.options();
    if args.sources.is_empty() {
        return args.how.write_manifest(&args.output);
    }
    let shown = args.sources.iter().map(|source| source.to_string_lossy()).collect::<Vec<_>>().join(", ");
    let opened = opening(&shown, &options, || {
        let stack = Stack::open_with(&args.sources, &options)?;
        // What is above hides what is below.
        let report = stack.facts().filter_map(|facts| facts.tfs.as_ref()).last().cloned();
        Ok((stack.read_only()?, report))
    });
    let (fs, report) = opened.map_err(|error| unreadable(&error))?;
    let image = args.how.oci(&args.output);
    let place = image.as_ref().map_or(&*args.output, OciOutput::path);
    let leave_out = if place == Path::new("-") { None } else { inside(&args.sources, place) };
    args.how.write(fs, &args.output, None, report.as_ref(), leave_out)
}

/// Where the output lies in a directory that is packed.
fn inside(sources: &[OsString], output: &Path) -> Option<Box<[u8]>> {
    let dir = output.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let output = dir.canonicalize().ok()?.join(output.file_name()?);
    sources.iter().find_map(|source| {
        let Location::Path(path) = ImageRef::parse(source).location else { return None };
        let path = path.canonicalize().ok().filter(|path| path.is_dir())?;
        Some(output.strip_prefix(path).ok()?.as_os_str().as_encoded_bytes().into())
    })
}

impl How {
    /// What to write, from the options, the name of the output, and the format of the input.
    pub(crate) fn target(&self, output: &Path, like: Option<Format>) -> Result<PackTarget> {
        let (told_format, told_compression) = PackTarget::told_by(output);
        let like = match like {
            Some(Format::Cpio | Format::Elf) => Some(PackFormat::Cpio),
            Some(Format::Tar | Format::Oci | Format::Docker) => Some(PackFormat::Tar),
            _ => None,
        };
        let format = match self.format {
            Some(FormatName::Cpio) => Some(PackFormat::Cpio),
            Some(FormatName::Tar) => Some(PackFormat::Tar),
            // Written in another way.
            Some(FormatName::Tfs | FormatName::Oci) | None => told_format.or(like),
        };
        let Some(format) = format else {
            let message = format!("cannot write: {}: its name does not tell the format", output.display());
            return Err(
                Failure::new(EXIT_UNREADABLE, message).next("--format FORMAT tells it, for example cpio or tar")
            );
        };
        let compression = match (self.compress, format) {
            (None, _) => told_compression,
            (Some(CompressName::None), _) => None,
            (Some(CompressName::Gzip), _) => Some(Compression::Gzip),
            (Some(CompressName::Xz), _) => Some(Compression::Xz),
            (Some(CompressName::Zstd), _) => Some(Compression::Zstd),
            (Some(CompressName::Lz4), PackFormat::Cpio) => Some(Compression::Lz4Legacy),
            (Some(CompressName::Lz4), _) => Some(Compression::Lz4Frame),
            (Some(CompressName::Bzip2), _) => Some(Compression::Bzip2),
            (Some(CompressName::Lzma), _) => Some(Compression::Lzma),
        };
        if self.level.is_some() && compression.is_none() {
            let failure = Failure::new(EXIT_UNREADABLE, "cannot write: --level without compression");
            return Err(failure.next("--compress HOW asks for it, or an ending like .gz"));
        }
        Ok(PackTarget::new(format, compression, self.level))
    }

    fn options(&self, leave_out: Option<Box<[u8]>>) -> Result<PackOptions> {
        let epoch = source_date_epoch()?.or(self.reproducible.then_some(0));
        let owner = self.owner.or(self.reproducible.then_some((0, 0)));
        Ok(PackOptions { latest_mtime: epoch, owner, leave_out, as_layer: false, holes: !self.reproducible })
    }

    /// Writes the tree of `fs` to `output` and tells about it. What a TFS has besides a tree stands in `like_tfs`.
    pub(crate) fn write(
        &self,
        fs: Arc<dyn FileSystem>,
        output: &Path,
        like: Option<Format>,
        like_tfs: Option<&TfsReport>,
        leave_out: Option<Box<[u8]>>,
    ) -> Result {
        if self.is_tfs()? {
            return self.write_tfs(&fs, output, like_tfs);
        }
        if let Some(image) = self.oci(output) {
            return self.write_oci(&image, &Content::Tree(&fs), output, leave_out);
        }
        let target = self.target(output, like)?;
        let options = self.options(leave_out)?;
        let progress = Progress::new();
        let shown = output.display().to_string();
        let report = if output == Path::new("-") {
            self.write_to_stdout(&fs, target, &options)?
        } else {
            let failed = |error: Error| failed(&shown, &error);
            let packed = progress::watch("packing", &shown, &progress, || {
                let (replacement, report) = pack_beside(&fs, output, target, &options, &progress)?;
                if self.strict && report.lost_count > 0 { Ok((None, report)) } else { Ok((Some(replacement), report)) }
            });
            let (replacement, report) = packed.map_err(failed)?;
            tell(&report.lost, report.lost_count);
            // Giving its pages back takes a while in which the medium works on.
            drop(fs);
            match replacement {
                Some(replacement) => replacement.commit().map_err(failed)?,
                None => {
                    let message = format!("not written: {shown}: {} cannot hold all of it", target.format.word());
                    return Err(Failure::new(EXIT_FAILED, message).next("another format may, or go without --strict"));
                }
            }
            report
        };
        if self.json {
            let mut out = output::stdout();
            write_json(&mut out, &shown, target.format.word(), target.compress.map(|how| how.compression), &report)?;
            out.flush()?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The container image that `output` is to be, if it is.
    pub(crate) fn oci(&self, output: &Path) -> Option<OciOutput> {
        OciOutput::parse(output, self.format == Some(FormatName::Oci))
    }

    /// Writes a container image and tells about it.
    pub(crate) fn write_oci(
        &self,
        image: &OciOutput,
        content: &Content<'_>,
        output: &Path,
        leave_out: Option<Box<[u8]>>,
    ) -> Result {
        let shown = output.display().to_string();
        let compression = match self.compress {
            None | Some(CompressName::Gzip) => Some(Compression::Gzip),
            Some(CompressName::Zstd) => Some(Compression::Zstd),
            Some(CompressName::None) => None,
            Some(_) => {
                let failure = Failure::new(EXIT_UNREADABLE, format!("cannot write: {shown}: no such layers exist"));
                return Err(failure.next("--compress takes gzip, zstd or none for container images"));
            }
        };
        if self.strict {
            let failure = Failure::new(EXIT_UNREADABLE, format!("cannot write: {shown}: --strict is for archives"));
            return Err(failure.next("what is lost is told on standard error"));
        }
        let (options, progress) = (self.options(leave_out)?, Progress::new());
        let written = progress::watch("packing", &shown, &progress, || {
            image.write(content, (compression, self.level), &options, &progress)
        });
        let report = written.map_err(|error| failed(&shown, &error))?;
        tell(&report.lost, report.lost_count);
        if self.json {
            let mut out = output::stdout();
            write_json(&mut out, &shown, "oci", compression, &report)?;
            out.flush()?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn write_to_stdout(
        &self,
        fs: &Arc<dyn FileSystem>,
        target: PackTarget,
        options: &PackOptions,
    ) -> Result<PackReport> {
        if io::stdout().is_terminal() {
            let failure = Failure::new(EXIT_FAILED, "cannot write: standard output is a terminal");
            return Err(failure.next("redirect it, or name a file with -o"));
        }
        if self.json || self.strict {
            let failure = Failure::new(EXIT_UNREADABLE, "cannot write: standard output takes the image alone");
            return Err(failure.next("--json and --strict need a file"));
        }
        let packed = pack_stream(fs, output::stdout(), target, options, &Progress::new());
        let (_, report) = packed.map_err(|error| match error.errno() {
            mountless::Errno::Pipe => Failure::new(0, ""),
            _ => failed("standard output", &error),
        })?;
        tell(&report.lost, report.lost_count);
        Ok(report)
    }
}

/// The time in `SOURCE_DATE_EPOCH`, in seconds since 1970.
pub(crate) fn source_date_epoch() -> Result<Option<i64>> {
    let Some(epoch) = std::env::var_os("SOURCE_DATE_EPOCH").filter(|epoch| !epoch.is_empty()) else { return Ok(None) };
    let secs = epoch.to_str().and_then(|epoch| epoch.parse().ok());
    secs.map(Some).ok_or_else(|| {
        let message = format!("SOURCE_DATE_EPOCH is {}, no count of seconds", epoch.display());
        Failure::new(EXIT_UNREADABLE, message)
    })
}

/// Why an image cannot be written.
fn failed(output: &str, error: &Error) -> Failure {
    if error.corrupt().is_some() {
        return Failure::unreadable(error);
    }
    let failure = Failure::new(EXIT_FAILED, format!("cannot write: {output}: {error}"));
    match error.errno() {
        mountless::Errno::NotFound => failure.next("its directory must exist"),
        mountless::Errno::FileTooBig => failure.next("--format tar holds larger files"),
        _ => failure,
    }
}

/// Says on stderr what was lost: each thing once, with the first paths.
pub(crate) fn tell(lost: &[Lost], count: u64) {
    tell_each(lost.iter().map(|lost| (&*lost.path, lost.what.to_string())), count);
}

fn tell_each<'a>(lost: impl Iterator<Item = (&'a [u8], String)>, count: u64) {
    const NAMED_MAX: usize = 3;
    let mut kinds: Vec<(String, Vec<&[u8]>)> = Vec::new();
    let mut told: u64 = 0;
    for (path, what) in lost {
        told = told.saturating_add(1);
        match kinds.iter_mut().find(|(known, _)| *known == what) {
            Some((_, paths)) => paths.push(path),
            None => kinds.push((what, vec![path])),
        }
    }
    for (what, paths) in kinds {
        let named: Vec<_> = paths.iter().take(NAMED_MAX).map(|path| escape(path).to_string()).collect();
        let more = match paths.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        output::note(&format!("{}{more}: {what}", named.join(", ")));
    }
    match count.saturating_sub(told) {
        0 => {}
        more => output::note(&format!("{more} more of these and others")),
    }
}

fn write_json(
    out: &mut impl Write,
    name: &str,
    format: &str,
    compression: Option<Compression>,
    report: &PackReport,
) -> io::Result<()> {
    let mut object = Object::begin(out)?;
    object.text("image", name)?;
    object.text("format", format)?;
    if let Some(compression) = compression {
        object.text("compression", compression.name())?;
    }
    object.number("entries", report.entries)?;
    object.number("content_bytes", report.content_len)?;
    object.number("stored_bytes", report.stored_len)?;
    object.number("lost_count", report.lost_count)?;
    object.array("lost", &report.lost, |lost, object| {
        object.text("path", escape(&lost.path))?;
        object.text("what", lost.what)
    })?;
    object.end()?;
    out.write_all(b"\n")
}
