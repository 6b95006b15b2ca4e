//! `mountless diff`.

mod content;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use mountless::attr::FileType;
use mountless::error::Error;
use mountless::fs::FileSystem;
use mountless::name::escape;
use mountless::open::ImageRef;
use mountless::transfer::diff::{
    Change, DiffOptions, Differences, Move, MoveKind, Side, content_diff, diff_with, find_moves, xattrs_differ,
};
use mountless::transfer::{PackOptions, PackTarget, Progress, write_layer_file};

use self::content::Content as FileContent;
use crate::commands::pack::{How, tell};
use crate::failure::{EXIT_FAILED, Failure, Result};
use crate::image::{OpenArgs, open_image, unreadable};
use crate::json::Object;
use crate::oci::{Content, OciOutput};
use crate::output::{self, Styled};
use crate::progress::patiently;

/// Tells in what two images differ: what was added, removed, moved or changed
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A line begins with A (added), D (removed), R (moved) or M (changed), and ends with what changed: type, content (with \
the sizes), target, device, mode, owner, time, xattrs. Attributes that one of the images does not record are no difference. \
A directory that moved is one line, followed by what in it is not as it was.

With --json each line is an object with change (added removed moved changed), path, from (where it was, if it moved or is \
in a directory that moved), what (the list of what changed), files_moved and files_changed (of a directory that moved: \
how many are in it with the same content and with another), and before and after (type, mode, uid, gid, size, mtime, target, \
rdev). With --content files have content, too: text, with a list of hunks (head, lines), binary or too long.

Exit codes: 0 no difference; 1 differences; 2 an image that cannot be read.

Examples:
  mountless diff --no-times old.cpio.gz new.cpio.gz
  mountless diff --no-times --content -U 1 base.tar oci:layout#latest
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

    /// Shows files and directories that were moved as removed and added
    #[arg(long)]
    no_moves: bool,

    /// Shows how the text of files differs, in a form that patch(1) and `git apply` take
    #[arg(long, conflicts_with = "layer")]
    content: bool,

    /// How many lines are shown around those that differ
    #[arg(short = 'U', long, value_name = "N", default_value_t = 3, requires = "content")]
    unified: u32,

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
    let form = if args.json { Form::Json } else { Form::text(&io::stdout()) };
    let show = Show { form, context: args.content.then_some(args.unified) };
    let count = print(&mut out, &changes, &moves, options, show)?;
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
pub(crate) struct Show {
    pub(crate) form: Form,
    /// The content of files is shown, with so many lines around what differs.
    pub(crate) context: Option<u32>,
}

#[derive(Clone, Copy)]
pub(crate) enum Form {
    Text { colour: bool, is_terminal: bool },
    Json,
}

impl Form {
    /// Lines for people, with colours if `stream` shows them.
    pub(crate) fn text(stream: &impl io::IsTerminal) -> Self {
        Self::Text { colour: output::colour(stream), is_terminal: stream.is_terminal() }
    }
}

/// Prints differences and tells how many lines they took, those of content not counted.
pub(crate) fn print(
    out: &mut impl Write,
    changes: &[Change],
    moves: &[Move],
    options: DiffOptions,
    show: Show,
) -> Result<u64> {
    let moved_here: BTreeMap<usize, &Move> = moves.iter().map(|one| (one.to, one)).collect();
    let moved_away: BTreeSet<usize> = moves.iter().map(|one| one.from).collect();
    let mut count = 0_u64;
    for (at, change) in changes.iter().enumerate().filter(|(at, _)| !moved_away.contains(at)) {
        let moved = moved_here.get(&at).and_then(|one| Some((changes.get(one.from)?, one.kind)));
        let line = Line::new(change, moved, options).map_err(|error| unreadable(&error))?;
        // Most that is in a directory that moved is as it was.
        if matches!(moved, Some((_, MoveKind::Within { .. }))) && line.what.is_empty() {
            continue;
        }
        count = count.saturating_add(1);
        let content = show.context.map_or(Ok(None), |context| line.content(context));
        let content = content.map_err(|error| unreadable(&error))?;
        match show.form {
            Form::Text { colour, is_terminal } => {
                line.show(out, colour)?;
                if let Some(content) = content {
                    content.show(out, colour, is_terminal)?;
                }
            }
            Form::Json => line.write_json(out, content.as_ref())?,
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
    let content_word = match after.attr.file_type {
        FileType::Symlink => "target",
        FileType::Char | FileType::Block => "device",
        _ => "content",
    };
    let words = [
        (content, content_word),
        (mode, "mode"),
        (owner, "owner"),
        (time && options.times, "time"),
        (xattrs, "xattrs"),
    ];
    Ok(words.into_iter().filter(|(differs, _)| *differs).map(|(_, word)| word).collect())
}

/// What is told of one path.
struct Line<'a> {
    change: &'a Change,
    before: Option<&'a Side>,
    from: Option<&'a [u8]>,
    kind: Option<MoveKind>,
    what: Vec<&'static str>,
    is_content_different: bool,
}

impl<'a> Line<'a> {
    fn new(change: &'a Change, moved: Option<(&'a Change, MoveKind)>, options: DiffOptions) -> mountless::Result<Self> {
        let (from, kind) = moved.unzip();
        let before = from.map_or(&change.before, |from| &from.before).as_ref();
        let is_content_different = match kind {
            None => change.content,
            Some(MoveKind::Within { content }) => content,
            Some(MoveKind::File | MoveKind::Dir { .. }) => false,
        };
        let what = what(before, change.after.as_ref(), is_content_different, options)?;
        Ok(Self { change, before, from: from.map(|from| &*from.path), kind, what, is_content_different })
    }

    fn word(&self) -> &'static str {
        match (self.kind, self.before, &self.change.after) {
            (Some(MoveKind::File | MoveKind::Dir { .. }), ..) => "moved",
            (_, None, _) => "added",
            (_, _, None) => "removed",
            _ => "changed",
        }
    }

    fn content(&self, context: u32) -> mountless::Result<Option<FileContent<'a>>> {
        if !self.is_content_different {
            return Ok(None);
        }
        let (before, after) = (self.before, self.change.after.as_ref());
        let Some(diff) = content_diff(before, after)? else { return Ok(None) };
        let (to, from) = (&*self.change.path, self.from.unwrap_or(&self.change.path));
        Ok(Some(FileContent { from, to, before, after, diff, context }))
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
        // A directory that moved is one line for all that is in it.
        let slash = if matches!(self.kind, Some(MoveKind::Dir { .. })) { "/" } else { "" };
        if let (Some(from), "moved") = (self.from, word) {
            write!(out, "{}{slash} -> ", escape(from))?;
        }
        write!(out, "{}{slash}", escape(&self.change.path))?;
        let mut details = Vec::new();
        if let Some(MoveKind::Dir { moved_count, changed_count }) = self.kind {
            let files = if moved_count == 1 { "file" } else { "files" };
            details.push(format!("{moved_count} {files} moved"));
            if changed_count > 0 {
                details.push(format!("{changed_count} changed"));
            }
        }
        if let (Some(before), Some(after)) = (self.before, &self.change.after) {
            for word in &self.what {
                details.push(detail(word, before, after).map_err(|error| unreadable(&error))?);
            }
        }
        if !details.is_empty() {
            write!(out, "  ({})", details.join(", "))?;
        }
        Ok(writeln!(out)?)
    }

    fn write_json(&self, out: &mut impl Write, content: Option<&FileContent<'_>>) -> Result<()> {
        let mut object = Object::begin(out)?;
        object.text("change", self.word())?;
        object.bytes("path", &self.change.path)?;
        if let Some(from) = self.from {
            object.bytes("from", from)?;
        }
        if let Some(MoveKind::Dir { moved_count, changed_count }) = self.kind {
            object.number("files_moved", moved_count)?;
            object.number("files_changed", changed_count)?;
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
        if let Some(content) = content {
            content.write_json(&mut object)?;
        }
        object.end()?;
        Ok(out.write_all(b"\n")?)
    }
}

fn write_side<W: Write>(object: &mut Object<'_, W>, key: &str, side: &Side) -> Result<()> {
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
    if attr.file_type == FileType::File {
        inner.number("size", attr.size)?;
    }
    if attr.recorded.mtime {
        inner.number("mtime", crate::record::Seconds(attr.mtime))?;
    }
    if attr.file_type == FileType::Symlink {
        inner.bytes("target", &target(side).map_err(|error| unreadable(&error))?)?;
    }
    if let Some(device) = attr.rdev {
        inner.text("rdev", format_args!("{}:{}", device.major, device.minor))?;
    }
    Ok(inner.end()?)
}

fn target(side: &Side) -> mountless::Result<bytes::Bytes> {
    side.node.fs().read_link(side.node.node())
}

/// A word with what was before and what is now.
fn detail(word: &str, before: &Side, after: &Side) -> mountless::Result<String> {
    let (old, new) = (&before.attr, &after.attr);
    let device = |side: &Side| side.attr.rdev.map_or(String::new(), |rdev| format!("{}:{}", rdev.major, rdev.minor));
    Ok(match word {
        "type" => format!("type {} -> {}", old.file_type.word(), new.file_type.word()),
        "content" if old.size != new.size => format!("content {} -> {} bytes", old.size, new.size),
        "target" => format!("target {} -> {}", escape(&target(before)?), escape(&target(after)?)),
        "device" => format!("device {} -> {}", device(before), device(after)),
        "mode" => format!("mode {:04o} -> {:04o}", old.mode, new.mode),
        "owner" => format!("owner {}:{} -> {}:{}", old.uid, old.gid, new.uid, new.gid),
        other => other.to_owned(),
    })
}
