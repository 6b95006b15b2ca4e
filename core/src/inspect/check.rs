//! Looks for everything that is wrong with an image.

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::attr::FileType;
use crate::backend::archive::ArchiveReport;
use crate::backend::tfs::{self, Part, TfsOptions, find_part};
use crate::error::{Error, Result};
use crate::fs::{FileSystem, FileSystemExt, NodeRef};
use crate::limits::SKIPPED_KEPT_MAX;
use crate::name::escape;
use crate::open::{Format, ImageRef, OpenOptions, OpenedImage, format_of, open, open_stored, stored_bytes, with_image};
use crate::path::TreePath;
use crate::source::Source;

/// What a check found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checked {
    /// What the image is.
    pub format: Format,
    /// Everything that is wrong, in the order of places for each part.
    pub problems: Vec<Problem>,
}

impl Checked {
    /// Whether nothing is lost and everything works; what is only odd does not count.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        !self.problems.iter().any(|problem| problem.is_damage)
    }
}

/// Something that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// In what: `log dictionary tree extents space` of TFS, `archive`, `entry` or `content`.
    pub class: &'static str,
    /// The format that has the fault, where it is not the image's own: a compression, a layer.
    pub within: Option<String>,
    /// Where, in bytes: of the image, or for what was compressed, of what came out.
    pub offset: Option<u64>,
    /// In which file or directory.
    pub path: Option<Vec<u8>>,
    /// What.
    pub what: String,
    /// Whether something is lost or does not work; else it is only odd.
    pub is_damage: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.class)?;
        if let Some(within) = &self.within {
            write!(f, " ({within})")?;
        }
        if let Some(offset) = self.offset {
            write!(f, " at byte {offset}")?;
        }
        if let Some(path) = &self.path {
            write!(f, ": {}", escape(path))?;
        }
        write!(f, ": {}", self.what)
    }
}

/// Checks an image: what reading it meets, the content of all files included, and for TFS everything that can be wrong.
/// Of a disk of Nanos without a selection, both file systems are checked.
///
/// # Errors
/// What is not there, is no image or beyond the limits. Damage is no error, however great.
pub fn check(reference: &ImageRef, options: &OpenOptions) -> Result<Checked> {
    let strict = OpenOptions { as_linux: false, recover: false, ..options.clone() };
    // A directory (an image layout, or just files) has none.
    let source = stored_bytes(reference, options)?;
    let format = match (reference.format, &source) {
        (Some(format), _) => format,
        (None, Some(source)) => format_of(source).map_err(|error| with_image(error, reference))?,
        (None, None) => Format::Oci,
    };
    match source {
        Some(source) if format == Format::Tfs => {
            let problems = check_tfs(&source, reference.select.as_deref(), &strict);
            Ok(Checked { format, problems: problems.map_err(|error| with_image(error, reference))? })
        }
        source => check_tree(format, reference, source, &strict),
    }
}

fn check_tfs(image: &Arc<dyn Source>, select: Option<&OsStr>, options: &OpenOptions) -> Result<Vec<Problem>> {
    let parts = match select.map(OsStr::as_bytes) {
        Some(b"boot") => Vec::from([Part::Boot]),
        Some(_) => Vec::from([Part::Root]),
        None if find_part(image, Some(Part::Boot)).is_ok() => Vec::from([Part::Boot, Part::Root]),
        None => Vec::from([Part::Root]),
    };
    let many = parts.len() > 1;
    let mut problems = Vec::new();
    for part in parts {
        let options = TfsOptions { part: Some(part), recover: false, defaults: options.defaults };
        let report = tfs::check(image, &options)?;
        problems.extend(report.faults.into_iter().map(|fault| Problem {
            class: fault.class.word(),
            within: part.word().filter(|_| many).map(str::to_owned),
            offset: Some(fault.offset),
            path: fault.path,
            what: fault.reason.to_string(),
            is_damage: fault.is_damage,
        }));
    }
    Ok(problems)
}

fn check_tree(
    format: Format,
    reference: &ImageRef,
    source: Option<Arc<dyn Source>>,
    options: &OpenOptions,
) -> Result<Checked> {
    let mut problems = Vec::new();
    let open = |options: &OpenOptions| match &source {
        Some(source) => open_stored(reference, Arc::clone(source), options),
        None => open(reference, options),
    };
    let opened = match open(options) {
        Ok(opened) => Some(opened),
        Err(error) => {
            problems.push(damage(&error).ok_or(error)?);
            // What Linux takes of it, and what not.
            let lenient = OpenOptions { as_linux: true, ..options.clone() };
            open(&lenient).ok()
        }
    };
    let Some(OpenedImage { fs, facts }) = opened else {
        return Ok(Checked { format, problems });
    };
    if let Some(report) = &facts.archive {
        skipped(report, None, &mut problems);
    }
    for (at, layer) in facts.layers.iter().enumerate() {
        let name = layer.digest.clone().unwrap_or_else(|| format!("layer {at}"));
        skipped(&layer.archive, Some(&name), &mut problems);
    }
    read_all(&fs, &mut problems)?;
    Ok(Checked { format: facts.format, problems })
}

/// The damage that an error tells of, if it does.
fn damage(error: &Error) -> Option<Problem> {
    let corrupt = error.corrupt()?;
    let reason = core::error::Error::source(corrupt).map(ToString::to_string).unwrap_or_default();
    Some(Problem {
        class: "archive",
        within: Some(corrupt.format().to_owned()),
        offset: Some(corrupt.offset()),
        path: None,
        what: reason,
        is_damage: true,
    })
}

/// Entries that left nothing in the tree.
fn skipped(report: &ArchiveReport, within: Option<&str>, problems: &mut Vec<Problem>) {
    let problem = |offset, path, what| Problem {
        class: "entry",
        within: within.map(str::to_owned),
        offset,
        path,
        what,
        is_damage: true,
    };
    for skipped in &report.skipped {
        problems.push(problem(Some(skipped.offset), Some(skipped.name.to_vec()), skipped.reason.to_string()));
    }
    let kept = crate::checked::to_u64(SKIPPED_KEPT_MAX);
    if let Some(more) = report.skipped_count.checked_sub(kept).filter(|more| *more > 0) {
        problems.push(problem(None, None, format!("{more} more entries leave nothing in the tree")));
    }
}

/// Reads the content of every file.
fn read_all(fs: &Arc<dyn FileSystem>, problems: &mut Vec<Problem>) -> Result<()> {
    let mut todo = Vec::from([(TreePath::top(), NodeRef::root(Arc::clone(fs)))]);
    while let Some((path, node)) = todo.pop() {
        let path = Arc::new(path);
        let visited = match node.file_type() {
            FileType::Dir => fs.for_each_entry(node.node(), |entry| {
                todo.push((
                    TreePath::below(&path, entry.name.as_bytes())?,
                    NodeRef::lookup(fs, node.node(), entry.name)?,
                ));
                Ok(())
            }),
            FileType::File => fs.for_each_run(node.node(), |_| Ok(())),
            _ => Ok(()),
        };
        if let Err(error) = visited {
            let problem = damage(&error).ok_or(error)?;
            problems.push(Problem { class: "content", path: Some(path.after(b"/")), ..problem });
        }
    }
    Ok(())
}
