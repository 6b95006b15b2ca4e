//! `mountless check`.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use mountless::backend::tfs::repair;
use mountless::error::Error;
use mountless::fs::NodeRef;
use mountless::inspect::{Checked, Problem, check};
use mountless::name::escape;
use mountless::open::ImageRef;
use mountless::source::Replacement;
use mountless::transfer::{Deviation, DeviationKind, Mtree};

use crate::failure::{EXIT_FAILED, EXIT_UNREADABLE, Failure, Result, plainly};
use crate::image::{OpenArgs, open_image, tfs_bytes, unreadable};
use crate::json::Object;
use crate::output;
use crate::progress::patiently;

/// Looks for everything that is wrong with images, or compares one with a specification
///
/// All content is read, every sum checked. Of a disk of Nanos both file systems are checked, unless one is selected.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each problem is a line: in what, at which byte, in which file, what. With --json each image is an object with image, \
format, sound and problems (class, within, offset, path, what, damage); with --against the problems have path, keyword, \
found and expected, or path and what; with --repair there is another object with image, out, stored_bytes, lost_count \
and lost (part, offset, path, what).

Exit codes: 0 sound, or as specified; 1 problems, or with --repair something is lost; 2 an image that cannot be read.

Examples:
  mountless check disk.img
  mountless check disk.img --repair repaired.img
  mountless mtree base.cpio.gz >base.mtree && mountless check --against base.mtree other.tar")]
pub(crate) struct Args {
    /// Images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<OsString>,

    /// Compares with this mtree(5) specification, as `mountless mtree` prints it
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,

    /// Writes what can be read of a damaged TFS as a sound image, and says what is lost
    #[arg(long, value_name = "OUT", conflicts_with = "against")]
    repair: Option<PathBuf>,

    /// Prints one JSON object a line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    open: OpenArgs,
}

pub(crate) fn run(args: &Args) -> Result {
    let mut out = output::stdout();
    if let (Some(path), [image]) = (&args.repair, &*args.images) {
        let is_complete = repair_to(&mut out, image, path, args)?;
        out.flush()?;
        return Ok(if is_complete { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) });
    }
    if args.repair.is_some() {
        let failure = Failure::new(EXIT_UNREADABLE, "cannot repair: several images, and one output");
        return Err(failure.next("repair one after the other"));
    }
    let specification = args.against.as_deref().map(read_specification).transpose()?;
    let mut code = 0;
    for image in &args.images {
        let checked = match &specification {
            None => check_one(&mut out, image, args),
            Some(specification) => compare(&mut out, image, specification, args),
        };
        code = code.max(match checked {
            Ok(true) => 0,
            Ok(false) => EXIT_FAILED,
            // The others are told all the same.
            Err(failure) => {
                out.flush()?;
                failure.report_code()
            }
        });
    }
    out.flush()?;
    Ok(ExitCode::from(code))
}

fn check_one(out: &mut impl Write, image: &OsString, args: &Args) -> Result<bool> {
    let options = args.open.options();
    let name = image.to_string_lossy();
    let checked = patiently("checking", &name, || check(&ImageRef::parse(image), &options));
    let checked = checked.map_err(|error| unreadable(&error))?;
    if args.json {
        write_json(out, &name, &checked)?;
    } else {
        for problem in &checked.problems {
            writeln!(out, "{name}: {}{problem}", if problem.is_damage { "" } else { "odd: " })?;
        }
        let odd = if checked.problems.is_empty() { "" } else { ", but odd" };
        if checked.is_sound() {
            writeln!(out, "{name}: sound{odd}")?;
        }
    }
    Ok(checked.is_sound())
}

/// Checks, and writes what can be read; tells whether everything is there.
fn repair_to(out: &mut impl Write, image: &OsString, path: &Path, args: &Args) -> Result<bool> {
    let (source, _) = tfs_bytes(image, args.open)?;
    // What is wrong with it is known of what cannot be repaired, too.
    check_one(out, image, args)?;
    out.flush()?;
    let (name, shown) = (image.to_string_lossy(), path.display().to_string());
    let failed = |error: Error| match error.corrupt() {
        Some(_) => Failure::new(EXIT_UNREADABLE, format!("cannot repair: {name}: {error}")),
        None => Failure::new(EXIT_FAILED, format!("cannot write: {shown}: {error}")),
    };
    let repaired = patiently("repairing", &name, || {
        let replacement = Replacement::create(path)?;
        let report = repair(&source, &replacement.storage()?)?;
        replacement.commit()?;
        Ok(report)
    });
    let report = repaired.map_err(failed)?;
    let lost: Vec<_> = report.parts.iter().flat_map(|part| part.lost.iter().map(move |lost| (part, lost))).collect();
    let lost_count = report.parts.iter().map(|part| part.lost_count).fold(0, u64::saturating_add);
    if args.json {
        let mut object = Object::begin(out)?;
        object.text("image", &name)?;
        object.text("out", &shown)?;
        object.number("stored_bytes", report.len)?;
        object.number("lost_count", lost_count)?;
        object.array("lost", &lost, |(part, lost), object| {
            if let Some(part) = part.part.word() {
                object.text("part", part)?;
            }
            object.number("offset", lost.offset)?;
            if let Some(path) = &lost.path {
                object.text("path", escape(path))?;
            }
            object.text("what", &lost.what)
        })?;
        object.end()?;
        out.write_all(b"\n")?;
    } else {
        for (part, lost) in &lost {
            let part = part.part.word().map(|word| format!("{word}: ")).unwrap_or_default();
            writeln!(out, "{shown}: {part}{lost}")?;
        }
        let told = u64::try_from(lost.len()).unwrap_or(u64::MAX);
        match lost_count.saturating_sub(told) {
            0 => {}
            more => writeln!(out, "{shown}: {more} more")?,
        }
        let nodes = report.parts.iter().map(|part| part.nodes).fold(0, u64::saturating_add);
        let losses = if lost_count == 1 { "loss" } else { "losses" };
        writeln!(out, "{shown}: written, {nodes} nodes, {lost_count} {losses}")?;
    }
    Ok(report.is_complete())
}

fn write_json(out: &mut impl Write, name: &str, checked: &Checked) -> io::Result<()> {
    let mut object = Object::begin(out)?;
    object.text("image", name)?;
    object.text("format", checked.format)?;
    write!(object.key("sound")?, "{}", checked.is_sound())?;
    object.array("problems", &checked.problems, |problem: &Problem, object| {
        object.text("class", problem.class)?;
        if let Some(within) = &problem.within {
            object.text("within", within)?;
        }
        if let Some(offset) = problem.offset {
            object.number("offset", offset)?;
        }
        if let Some(path) = &problem.path {
            object.text("path", escape(path))?;
        }
        object.text("what", &problem.what)?;
        write!(object.key("damage")?, "{}", problem.is_damage)
    })?;
    object.end()?;
    out.write_all(b"\n")
}

fn read_specification(path: &Path) -> Result<Mtree> {
    let shown = path.display();
    let text = fs::read(path).map_err(|error| {
        Failure::new(EXIT_UNREADABLE, format!("cannot read specification: {shown}: {}", plainly(&error)))
    })?;
    Mtree::parse(&text).map_err(|error| {
        let failure = Failure::new(EXIT_UNREADABLE, format!("cannot read specification: {shown}: {error}"));
        failure.next("`mountless mtree IMAGE` prints one")
    })
}

fn compare(out: &mut impl Write, image: &OsString, specification: &Mtree, args: &Args) -> Result<bool> {
    let name = image.to_string_lossy();
    let fs = open_image(image, args.open)?.fs;
    let top = Arc::new(NodeRef::root(fs));
    let mut deviations = Vec::new();
    let compared = patiently("comparing", &name, || {
        specification.compare(&top, |deviation| {
            deviations.push(deviation);
            Ok(())
        })
    });
    compared.map_err(|error| unreadable(&error))?;
    if args.json {
        let mut object = Object::begin(out)?;
        object.text("image", &name)?;
        write!(object.key("sound")?, "{}", deviations.is_empty())?;
        object.array("problems", &deviations, |Deviation { path, what }, object| {
            object.bytes("path", &[b"/", &**path].concat())?;
            match what {
                DeviationKind::Differs { keyword, found, expected } => {
                    object.text("keyword", keyword)?;
                    object.text("found", found)?;
                    object.text("expected", expected)
                }
                other => object.text("what", other),
            }
        })?;
        object.end()?;
        out.write_all(b"\n")?;
    } else {
        for Deviation { path, what } in &deviations {
            writeln!(out, "{name}:/{}: {what}", escape(path))?;
        }
        if deviations.is_empty() {
            writeln!(out, "{name}: as specified, {} paths", specification.len())?;
        }
    }
    Ok(deviations.is_empty())
}
