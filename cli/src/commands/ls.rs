//! `mountless ls`.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::process::ExitCode;

use mountless::attr::FileType;
use mountless::name::escape;
use mountless::namespace::Follow;

use crate::failure::Result;
use crate::image::{Images, OpenArgs, Target};
use crate::json::Object;
use crate::output::{self, Out, Styled};
use crate::record::{Mode, Moment, Record};
use crate::walk::{Child, children};

/// Lists directories
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --json each line is an object with the fields that `mountless find --json` has.

Examples:
  mountless ls base.cpio.gz
  mountless ls -l base.cpio.gz:/etc base.cpio.gz:/bin/sh")]
pub(crate) struct Args {
    /// Directories, or single files, in images
    #[arg(required = true, value_name = "IMAGE[:/PATH]")]
    paths: Vec<OsString>,

    /// Shows kind, mode, links, owner, size, time and link targets
    #[arg(short, long)]
    long: bool,

    /// Shows names that begin with a dot too
    #[arg(short, long)]
    all: bool,

    /// Prints one JSON object a line, for all names
    #[arg(long, conflicts_with = "long")]
    json: bool,

    #[command(flatten)]
    open: OpenArgs,
}

/// A line of the listing.
struct Row {
    name: Box<[u8]>,
    record: Record,
}

pub(crate) fn run(args: &Args) -> Result {
    let mut out = output::stdout();
    let mut images = Images::new(args.open);
    let (mut files, mut dirs) = (Vec::new(), Vec::new());
    for path in &args.paths {
        let target = images.find(path, Follow::Yes)?;
        if target.location.file_type().is_dir() {
            dirs.push(target);
        } else {
            files.push(one_row(&target, args.json).map_err(|error| target.failed(&error))?);
        }
    }
    // As in ls(1), what is no directory comes first, as one listing.
    write(&mut out, b"", &files, args)?;
    let mut parted = !files.is_empty();
    for target in &dirs {
        let rows = rows_of(target, args).map_err(|error| target.failed(&error))?;
        if args.paths.len() > 1 && !args.json {
            writeln!(out, "{}{}:", if parted { "\n" } else { "" }, target.shown().to_string_lossy())?;
            parted = true;
        }
        write(&mut out, &target.path, &rows, args)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn write(out: &mut Out, top: &[u8], rows: &[Row], args: &Args) -> io::Result<()> {
    let colour = output::colour(&io::stdout());
    if args.json {
        write_json(out, top, rows)
    } else if args.long {
        write_long(out, rows, colour)
    } else {
        rows.iter().try_for_each(|row| writeln!(out, "{}", name(row, colour)))
    }
}

fn rows_of(target: &Target, args: &Args) -> mountless::error::Result<Vec<Row>> {
    let fs = target.location.fs();
    let mut rows = Vec::new();
    for Child { name, node, .. } in children(fs, target.location.node())? {
        if args.all || args.json || !name.starts_with(b".") {
            rows.push(Row { name, record: Record::read(fs, node, false)? });
        }
        fs.forget(node, 1);
    }
    Ok(rows)
}

/// A target that is no directory: named as it was given, and in JSON by its path as everything is.
fn one_row(target: &Target, json: bool) -> mountless::error::Result<Row> {
    let record = Record::read(target.location.fs(), target.location.node(), false)?;
    let name = if json { &*target.path } else { target.shown().as_bytes() };
    Ok(Row { name: name.into(), record })
}

fn name(row: &Row, colour: bool) -> impl std::fmt::Display {
    Styled(output::of_type(colour, row.record.attr.file_type), escape(&row.name))
}

fn write_json(out: &mut Out, top: &[u8], rows: &[Row]) -> io::Result<()> {
    let slash = if top.ends_with(b"/") || top.is_empty() { &b""[..] } else { b"/" };
    for Row { name, record } in rows {
        let mut object = Object::begin(out)?;
        record.write_json(&mut object, &[top, slash, name].concat())?;
        object.end()?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

fn write_long(out: &mut Out, rows: &[Row], colour: bool) -> io::Result<()> {
    let columns = |row: &Row| {
        let attr = &row.record.attr;
        // A dash is what the image does not say.
        let owner = |id: u32| if attr.recorded.owner { id.to_string() } else { "-".to_owned() };
        let time = if attr.recorded.mtime { Moment(attr.mtime).to_string() } else { "-".to_owned() };
        let size = match (attr.rdev, attr.file_type) {
            (Some(device), _) => format!("{},{}", device.major, device.minor),
            (None, FileType::File | FileType::Symlink) => attr.size.to_string(),
            (None, _) => "-".to_owned(),
        };
        [attr.nlink.to_string(), owner(attr.uid), owner(attr.gid), size, time]
    };
    let table: Vec<_> = rows.iter().map(columns).collect();
    let width = |column: usize| table.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2), width(3), width(4)];
    for (row, columns) in rows.iter().zip(&table) {
        write!(out, "{}", Mode(&row.record.attr))?;
        for (text, width) in columns.iter().zip(widths) {
            write!(out, " {text:>width$}")?;
        }
        write!(out, " {}", name(row, colour))?;
        match &row.record.target {
            Some(target) => writeln!(out, " -> {}", escape(target))?,
            None => writeln!(out)?,
        }
    }
    Ok(())
}
