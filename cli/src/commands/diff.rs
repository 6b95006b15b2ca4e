//! `mountless diff`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use mountless::error::Error;
use mountless::fs::FileSystem;
use mountless::name::escape;
use mountless::open::ImageRef;
use mountless::transfer::diff::{Change, DiffOptions, Differences, Side, diff_with, xattrs_differ};
use mountless::transfer::{PackOptions, PackTarget, Progress, find_moves, write_layer_file};

use crate::commands::pack::{How, tell};
use crate::failure::{EXIT_FAILED, Failure, Result};
use crate::image::{OpenArgs, open_image, patiently, unreadable};
use crate::json::Object;
use crate::oci::{Content, OciOutput};
use crate::output::{self, Styled};

/// Tells in what two images differ: what was added, removed, moved or changed
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A line begins with A (added), D (removed), R (moved) or M (changed), and ends with what changed: type, content (with \
the sizes), mode, owner, time, xattrs. Attributes that one of the images does not record are no difference.

With --json each line is an object with change (added removed moved changed), path, from (where it was moved from), type, \
what (the list of what changed), and before and after (type, mode, uid, gid, size, mtime).

Exit codes: 0 no difference; 1 differences; 2 an image that cannot be read.

Examples:
  mountless diff --no-times old.cpio.gz new.cpio.gz
  mountless diff --layer changes.tar.gz base.tar rootfs")]
pub(crate) struct Args {
    /// The image before
    #[arg(value_name = "A")]
    before: OsString,

    /// The image after
    #[arg(value_name = "B")]
    after: OsString,

    /// Times alone are no difference
    #[arg(long)]
    no_times: bool,

    /// Shows files that were moved as removed and added
    #[arg(long)]
    no_moves: bool,

    /// Writes what makes B out of A as a layer of a container image, with whiteouts, and prints nothing; as oci:DIR#TAG
    /// into a container image above the layers of A
    #[arg(long, value_name = "OUT.tar", conflicts_with = "json")]
    layer: Option<PathBuf>,

    /// Prints one JSON object a line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    open: OpenArgs,
}

pub(crate) fn run(args: &Args) -> Result {
    let before = open_image(&args.before, args.open)?.fs;
    let after = open_image(&args.after, args.open)?.fs;
    let options = DiffOptions { times: !args.no_times, ..DiffOptions::IMAGES };
    let options = options.for_trees(&*before, &*after);
    if let Some(image) = args.layer.as_deref().and_then(|layer| OciOutput::parse(layer, false)) {
        let base = ImageRef::parse(&args.before);
        let output = args.layer.as_deref().unwrap_or(Path::new(""));
        return How::default().write_oci(
            &image,
            &Content::Changes(Some(&base), &before, &after, options),
            output,
            None,
        );
    }
    if let Some(layer) = &args.layer {
        return write_layer(&before, &after, options, layer);
    }
    let shown = format!("{} and {}", args.before.to_string_lossy(), args.after.to_string_lossy());
    let compared = patiently("comparing", &shown, || {
        let changes = changes(&before, &after, options)?;
        let moves = if args.no_moves { Vec::new() } else { find_moves(&changes)? };
        Ok((changes, moves))
    });
    let (changes, moves) = compared.map_err(|error: Error| unreadable(&error))?;
    let mut out = output::stdout();
    let style = if args.json { Show::Json } else { Show::Text { colour: output::colour(&io::stdout()) } };
    let count = print(&mut out, &changes, &moves, options, style)?;
    out.flush()?;
    Ok(if count == 0 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) })
}

/// All differences.
pub(crate) fn changes(
    before: &Arc<dyn FileSystem>,
    after: &Arc<dyn FileSystem>,
    options: DiffOptions,
) -> mountless::Result<Vec<Change>> {
    let mut changes = Vec::new();
    diff_with(before, after, options, |change| {
        changes.push(change);
        Ok(())
    })?;
    Ok(changes)
}

fn write_layer(before: &Arc<dyn FileSystem>, after: &Arc<dyn FileSystem>, options: DiffOptions, path: &Path) -> Result {
    let (_, compression) = PackTarget::told_by(path);
    let shown = path.display().to_string();
    let progress = Progress::new();
    let written = crate::progress::watch("writing", &shown, &progress, || {
        write_layer_file(before, after, options, path, compression, &PackOptions::default(), &progress)
    });
    let report = written.map_err(|error| Failure::new(EXIT_FAILED, format!("cannot write: {shown}: {error}")))?;
    tell(&report.lost, report.lost_count);
    Ok(ExitCode::SUCCESS)
}

/// How differences are shown.
#[derive(Clone, Copy)]
pub(crate) enum Show {
    Text { colour: bool },
    Json,
}

/// Prints differences and tells how many lines they took.
pub(crate) fn print(
    out: &mut impl Write,
    changes: &[Change],
    moves: &[(usize, usize)],
    options: DiffOptions,
    show: Show,
) -> Result<u64> {
    let moved_from: BTreeMap<usize, usize> = moves.iter().map(|(from, to)| (*to, *from)).collect();
    let moved_away: BTreeMap<usize, usize> = moves.iter().copied().collect();
    let mut count = 0_u64;
    for (at, change) in changes.iter().enumerate() {
        if moved_away.contains_key(&at) {
            continue;
        }
        let from = moved_from.get(&at).and_then(|from| changes.get(*from));
        let before = from.map_or(&change.before, |from| &from.before);
        let what = what(before.as_ref(), change.after.as_ref(), change.content && from.is_none(), options)
            .map_err(|error| unreadable(&error))?;
        count = count.saturating_add(1);
        let line = Line { change, before: before.as_ref(), from: from.map(|from| &*from.path), what };
        match show {
            Show::Text { colour } => line.show(out, colour)?,
            Show::Json => line.write_json(out)?,
        }
    }
    Ok(count)
}

/// What changed, in words; nothing for what came or went.
fn what(
    before: Option<&Side>,
    after: Option<&Side>,
    content: bool,
    options: DiffOptions,
) -> mountless::Result<Vec<&'static str>> {
    let (Some(before), Some(after)) = (before, after) else { return Ok(Vec::new()) };
    if before.attr.file_type != after.attr.file_type {
        return Ok(vec!["type"]);
    }
    let Differences { mode, owner, time } = Differences::between(&before.attr, &after.attr);
    let xattrs = options.xattrs && xattrs_differ(before, after)?;
    let words =
        [(content, "content"), (mode, "mode"), (owner, "owner"), (time && options.times, "time"), (xattrs, "xattrs")];
    Ok(words.into_iter().filter(|(differs, _)| *differs).map(|(_, word)| word).collect())
}

struct Line<'a> {
    change: &'a Change,
    before: Option<&'a Side>,
    from: Option<&'a [u8]>,
    what: Vec<&'static str>,
}

impl Line<'_> {
    fn word(&self) -> &'static str {
        match (self.from, self.before, &self.change.after) {
            (Some(_), ..) => "moved",
            (_, None, _) => "added",
            (_, _, None) => "removed",
            _ => "changed",
        }
    }

    fn show(&self, out: &mut impl Write, colour: bool) -> Result<()> {
        let word = self.word();
        let letter = match word {
            "moved" => 'R',
            "added" => 'A',
            "removed" => 'D',
            _ => 'M',
        };
        write!(out, "{} ", Styled(output::of_change(colour, letter), letter))?;
        if let Some(from) = self.from {
            write!(out, "{} -> ", escape(from))?;
        }
        write!(out, "{}", escape(&self.change.path))?;
        if let (Some(before), Some(after), false) = (self.before, &self.change.after, self.what.is_empty()) {
            let details = self.what.iter().map(|word| detail(word, before, after)).collect::<Vec<_>>();
            write!(out, "  ({})", details.join(", "))?;
        }
        Ok(writeln!(out)?)
    }

    fn write_json(&self, out: &mut impl Write) -> Result<()> {
        let mut object = Object::begin(out)?;
        object.text("change", self.word())?;
        object.bytes("path", &self.change.path)?;
        if let Some(from) = self.from {
            object.bytes("from", from)?;
        }
        if !self.what.is_empty() {
            let what: Vec<_> = self.what.iter().map(|word| (*word).to_owned()).collect();
            object.texts("what", &what)?;
        }
        for (key, side) in [("before", self.before), ("after", self.change.after.as_ref())] {
            if let Some(side) = side {
                write_side(&mut object, key, side)?;
            }
        }
        object.end()?;
        Ok(out.write_all(b"\n")?)
    }
}

fn write_side<W: Write>(object: &mut Object<'_, W>, key: &str, side: &Side) -> io::Result<()> {
    let attr = &side.attr;
    let mut inner = Object::begin(object.key(key)?)?;
    inner.text("type", attr.file_type.word())?;
    if attr.recorded.mode {
        inner.text("mode", format_args!("{:04o}", attr.mode))?;
    }
    if attr.recorded.owner {
        inner.number("uid", attr.uid)?;
        inner.number("gid", attr.gid)?;
    }
    if attr.file_type == mountless::attr::FileType::File {
        inner.number("size", attr.size)?;
    }
    if attr.recorded.mtime {
        inner.number("mtime", crate::record::Seconds(attr.mtime))?;
    }
    inner.end()
}

/// A word with what was before and what is now.
fn detail(word: &str, before: &Side, after: &Side) -> String {
    let (old, new) = (&before.attr, &after.attr);
    match word {
        "type" => format!("type {} -> {}", old.file_type.word(), new.file_type.word()),
        "content" if old.size != new.size => format!("content {} -> {} bytes", old.size, new.size),
        "mode" => format!("mode {:04o} -> {:04o}", old.mode, new.mode),
        "owner" => format!("owner {}:{} -> {}:{}", old.uid, old.gid, new.uid, new.gid),
        other => other.to_owned(),
    }
}
