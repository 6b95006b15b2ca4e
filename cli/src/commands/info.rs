//! `mountless info`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use mountless::attr::FileType;
use mountless::backend::archive::ArchiveReport;
use mountless::error::Error;
use mountless::limits::SKIPPED_KEPT_MAX;
use mountless::name::escape;
use mountless::open::{FactValue, ImageFacts};

use crate::failure::Result;
use crate::image::{Image, OpenArgs, open_image, unreadable};
use crate::json::Object;
use crate::{output, walk};

/// Tells what an image is: format, sizes, counts, compression, damage
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --json each line is an object with: image, format, stored_bytes, nodes (count by type), content_bytes, and for \
archives embedded (name, offset, bytes; where they are in a program), unpacked_bytes, entries, trailers, parts (offset, \
bytes, within, compression, unpacked_bytes, entries), skipped_count, skipped (path, part, offset, reason) and stopped; for \
TFS uuid, label, start, volume_bytes, log_extensions, log_records, log_segments, log_end, dictionary_entries, \
entries_set, entries_dead, attributes, damage.

Exit codes: 0 all could be read; 2 one could not.

Example:
  mountless info initrd.img")]
pub(crate) struct Args {
    /// Images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<OsString>,

    /// Prints one JSON object a line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    open: OpenArgs,
}

/// Counts over a tree.
#[derive(Default)]
struct Counts {
    by_type: BTreeMap<FileType, u64>,
    content_bytes: u64,
}

pub(crate) fn run(args: &Args) -> Result {
    let mut out = output::stdout();
    let mut worst = ExitCode::SUCCESS;
    for name in &args.images {
        match open_image(name, args.open).and_then(|image| Ok((count(&image)?, image.facts))) {
            Ok((counts, facts)) if args.json => write_json(&mut out, &name.to_string_lossy(), &facts, &counts)?,
            Ok((counts, facts)) => show(&mut out, &name.to_string_lossy(), &facts, &counts)?,
            // The others are told all the same.
            Err(failure) => {
                out.flush()?;
                worst = failure.report();
            }
        }
    }
    out.flush()?;
    Ok(worst)
}

fn count(image: &Image) -> Result<Counts> {
    let root = image.namespace.root();
    let mut counts = Counts::default();
    let visit = |_: &[u8], node, file_type| {
        let attr = root.fs().attr(node)?;
        let count = counts.by_type.entry(file_type).or_default();
        *count = count.saturating_add(1);
        if file_type == FileType::File {
            counts.content_bytes = counts.content_bytes.saturating_add(attr.size);
        }
        Ok::<(), Error>(())
    };
    walk::in_path_order(root.fs(), root.node(), FileType::Dir, b"/", visit, |_, error| error)
        .map_err(|error| unreadable(&error))?;
    Ok(counts)
}

fn show(out: &mut impl Write, name: &str, facts: &ImageFacts, counts: &Counts) -> io::Result<()> {
    let mut lines = vec![("format".to_owned(), facts.format.to_string())];
    let mut line = |label: &str, text: String| lines.push((label.replace('_', " "), text));
    if facts.stored_len > 0 {
        line("size", format!("{} bytes", facts.stored_len));
    }
    let kinds: Vec<_> =
        counts.by_type.iter().map(|(kind, count)| format!("{count} {}", plural(*kind, *count))).collect();
    line("nodes", kinds.join(", "));
    line("content", format!("{} bytes in files", counts.content_bytes));
    for fact in facts.details() {
        match fact.value {
            FactValue::Number(number) => line(fact.key, number.to_string()),
            FactValue::Text(text) => line(fact.key, text),
            // One a line.
            FactValue::List(texts) => {
                let label = fact.key.strip_suffix('s').unwrap_or(fact.key);
                texts.into_iter().for_each(|text| line(label, text));
            }
        }
    }
    if let Some(report) = &facts.archive {
        archive_lines(report, &mut line);
    }
    writeln!(out, "{name}")?;
    let width = lines.iter().map(|(label, _)| label.len()).max().unwrap_or_default();
    lines.iter().try_for_each(|(label, text)| writeln!(out, "  {label:<width$}  {text}"))
}

fn archive_lines(report: &ArchiveReport, line: &mut impl FnMut(&str, String)) {
    for (depth, place) in report.embedded.iter().enumerate() {
        let within = if depth > 0 { " of that, decompressed" } else { "" };
        line("program", format!("{}: {} bytes at byte {}{within}", place.name, place.len, place.offset));
    }
    line("archive", format!("{}, {} bytes when decompressed", entries(report.entries), report.unpacked_len));
    for (at, part) in report.parts.iter().enumerate() {
        let compression = part.compression.map_or("plain", |compression| compression.name());
        let within = part.within.map(|within| format!(" of part {within}, decompressed")).unwrap_or_default();
        let unpacked = part.compression.map(|_| format!(", {} decompressed", part.unpacked_len)).unwrap_or_default();
        let (len, offset, entries) = (part.len, part.offset, entries(part.entries));
        line(
            &format!("part {at}"),
            format!("{compression}, {len} bytes at byte {offset}{within}{unpacked}, {entries}"),
        );
    }
    for skipped in &report.skipped {
        line("skipped", skipped.to_string());
    }
    if let Some(more) = report.skipped_count.checked_sub(SKIPPED_KEPT_MAX as u64).filter(|more| *more > 0) {
        line("skipped", format!("{more} more"));
    }
    if let Some(stopped) = &report.stopped {
        line("stopped", stopped.to_string());
    }
}

fn entries(count: u64) -> String {
    format!("{count} {}", if count == 1 { "entry" } else { "entries" })
}

/// The name of a kind of node, for this many of them.
fn plural(kind: FileType, count: u64) -> &'static str {
    let (one, more) = match kind {
        FileType::File => ("file", "files"),
        FileType::Dir => ("directory", "directories"),
        FileType::Symlink => ("symlink", "symlinks"),
        FileType::Char => ("character device", "character devices"),
        FileType::Block => ("block device", "block devices"),
        FileType::Fifo => ("fifo", "fifos"),
        FileType::Socket => ("socket", "sockets"),
        FileType::Whiteout => ("whiteout", "whiteouts"),
    };
    if count == 1 { one } else { more }
}

fn write_json(out: &mut impl Write, name: &str, facts: &ImageFacts, counts: &Counts) -> io::Result<()> {
    let mut object = Object::begin(out)?;
    object.text("image", name)?;
    object.text("format", facts.format)?;
    object.number("stored_bytes", facts.stored_len)?;
    let mut nodes = Object::begin(object.key("nodes")?)?;
    for (kind, count) in &counts.by_type {
        nodes.number(kind.word(), count)?;
    }
    nodes.end()?;
    object.number("content_bytes", counts.content_bytes)?;
    for fact in facts.details() {
        match fact.value {
            FactValue::Number(number) => object.number(fact.key, number)?,
            FactValue::Text(text) => object.text(fact.key, text)?,
            // As objects, below.
            FactValue::List(_) if fact.key == "layers" => {}
            FactValue::List(lines) => object.texts(fact.key, &lines)?,
        }
    }
    if !facts.layers.is_empty() {
        object.array("layers", &facts.layers, |layer, object| {
            if let Some(digest) = &layer.digest {
                object.text("digest", digest)?;
            }
            object.number("stored_bytes", layer.stored_len)?;
            object.number("unpacked_bytes", layer.archive.unpacked_len)?;
            object.number("entries", layer.archive.entries)
        })?;
    }
    if let Some(report) = &facts.archive {
        write_archive(&mut object, report)?;
    }
    object.end()?;
    out.write_all(b"\n")
}

fn write_archive(object: &mut Object<'_, impl Write>, report: &ArchiveReport) -> io::Result<()> {
    if !report.embedded.is_empty() {
        object.array("embedded", &report.embedded, |place, object| {
            object.text("name", place.name)?;
            object.number("offset", place.offset)?;
            object.number("bytes", place.len)
        })?;
    }
    object.number("unpacked_bytes", report.unpacked_len)?;
    object.number("entries", report.entries)?;
    object.number("trailers", report.trailers)?;
    object.array("parts", &report.parts, |part, object| {
        object.number("offset", part.offset)?;
        object.number("bytes", part.len)?;
        if let Some(within) = part.within {
            object.number("within", within)?;
        }
        if let Some(compression) = part.compression {
            object.text("compression", compression.name())?;
        }
        object.number("unpacked_bytes", part.unpacked_len)?;
        object.number("entries", part.entries)
    })?;
    object.number("skipped_count", report.skipped_count)?;
    object.array("skipped", &report.skipped, |skipped, object| {
        object.text("path", escape(&skipped.name))?;
        object.number("part", skipped.part)?;
        object.number("offset", skipped.offset)?;
        object.text("reason", skipped.reason)
    })?;
    match &report.stopped {
        Some(stopped) => object.text("stopped", stopped),
        None => Ok(()),
    }
}
