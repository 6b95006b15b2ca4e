//! `mountless tree`.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::vec::IntoIter;

use mountless::attr::{Attr, FileType};
use mountless::fs::{FileSystem, NodeId};
use mountless::name::escape;
use mountless::namespace::Follow;
use mountless::path::check_len;

use crate::failure::Result;
use crate::image::{Images, OpenArgs, Target};
use crate::json::Object;
use crate::output::{self, Styled};
use crate::record::Record;
use crate::walk::{Child, children};

/// Draws a tree, with the sizes of files
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --json it is one object a tree, with the fields that `mountless find --json` has and, for directories, `entries`.

Example:
  mountless tree --depth 2 base.cpio.gz:/etc")]
pub(crate) struct Args {
    /// Images, or directories in them
    #[arg(required = true, value_name = "IMAGE[:/PATH]")]
    images: Vec<OsString>,

    /// Shows only this many levels below the top
    #[arg(short = 'L', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    depth: Option<u32>,

    /// Prints one JSON object a line: a whole tree
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    open: OpenArgs,
}

pub(crate) fn run(args: &Args) -> Result {
    let mut out = output::stdout();
    let mut images = Images::new(args.open);
    for (at, image) in args.images.iter().enumerate() {
        let target = images.find(image, Follow::Yes)?;
        if args.json {
            write_json(&mut out, &target, args.depth)?;
            continue;
        }
        if args.images.len() > 1 {
            writeln!(out, "{}{}:", if at > 0 { "\n" } else { "" }, target.shown().to_string_lossy())?;
        }
        draw(&mut out, &target, args.depth)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// What the walk meets.
enum Event<'a> {
    /// A node; if it `opens`, what is in it comes next, and then a `Close`.
    Node {
        path: &'a [u8],
        name: &'a [u8],
        record: &'a Record,
        opens: bool,
        /// For each level, the top's entries first, whether more entries follow.
        more: &'a [bool],
    },
    /// A directory has no more entries.
    Close,
}

/// A directory whose entries are being visited.
struct Level {
    rest: IntoIter<Child>,
    /// Bytes of the path above its entries.
    path_len: usize,
    dir: NodeId,
}

/// Visits the top and what is below it, depth first, names sorted.
fn visit(target: &Target, depth: Option<u32>, mut each: impl FnMut(Event<'_>) -> io::Result<()>) -> Result<()> {
    let fs = target.location.fs();
    let mut path = target.path.clone();
    let mut levels: Vec<Level> = Vec::new();
    let mut more = Vec::new();
    let top = Child { name: Box::from(&*path), node: target.location.node(), file_type: target.location.file_type() };
    let mut next = Some(top);
    loop {
        if let Some(Child { name, node, file_type }) = next.take() {
            let failed = |error| target.failed_at(&path, &error);
            let record = Record::read(fs, node, false).map_err(failed)?;
            let opens = file_type.is_dir()
                && depth.is_none_or(|depth| u32::try_from(levels.len()).is_ok_and(|level| level < depth));
            each(Event::Node { path: &path, name: &name, record: &record, opens, more: &more })?;
            if opens {
                let rest = children(fs, node).map_err(failed)?.into_iter();
                levels.push(Level { rest, path_len: path.len(), dir: node });
            } else {
                give_back(fs, target, node);
            }
        }
        let Some(level) = levels.last_mut() else { return Ok(()) };
        match level.rest.next() {
            Some(child) => {
                path.truncate(level.path_len);
                if !path.ends_with(b"/") {
                    path.push(b'/');
                }
                path.extend_from_slice(&child.name);
                check_len(path.len().saturating_sub(1)).map_err(|error| target.failed_at(&path, &error))?;
                next = Some(child);
                more.clear();
                more.extend(levels.iter().map(|level| !level.rest.as_slice().is_empty()));
            }
            None => {
                each(Event::Close)?;
                give_back(fs, target, level.dir);
                levels.pop();
            }
        }
    }
}

/// The top is the target's own.
fn give_back(fs: &dyn FileSystem, target: &Target, node: NodeId) {
    if node != target.location.node() {
        fs.forget(node, 1);
    }
}

fn draw(out: &mut impl Write, target: &Target, depth: Option<u32>) -> Result<()> {
    let colour = output::colour(&io::stdout());
    let (mut dirs, mut others, mut bytes) = (0_u64, 0_u64, 0_u64);
    visit(target, depth, |event| {
        let Event::Node { name, record, more, .. } = event else { return Ok(()) };
        if let Some((&last, above)) = more.split_last() {
            for &more in above {
                out.write_all(if more { "│   " } else { "    " }.as_bytes())?;
            }
            out.write_all(if last { "├── " } else { "└── " }.as_bytes())?;
        }
        let Attr { file_type, size, rdev, .. } = record.attr;
        write!(out, "{}", Styled(output::of_type(colour, file_type), escape(name)))?;
        match (file_type, &record.target, rdev) {
            (FileType::Dir, ..) => writeln!(out)?,
            (FileType::File, ..) => writeln!(out, "  {size}")?,
            (_, Some(target), _) => writeln!(out, " -> {}", escape(target))?,
            (_, None, Some(device)) => writeln!(out, "  {} {}:{}", file_type.word(), device.major, device.minor)?,
            (_, None, None) => writeln!(out, "  {}", file_type.word())?,
        }
        match file_type {
            // The top is not counted.
            FileType::Dir => dirs = dirs.saturating_add(u64::from(!more.is_empty())),
            FileType::File => (others, bytes) = (others.saturating_add(1), bytes.saturating_add(size)),
            _ => others = others.saturating_add(1),
        }
        Ok(())
    })?;
    let directories = if dirs == 1 { "directory" } else { "directories" };
    let files = if others == 1 { "file" } else { "files" };
    Ok(writeln!(out, "\n{dirs} {directories}, {others} {files}, {bytes} bytes in files")?)
}

fn write_json(out: &mut impl Write, target: &Target, depth: Option<u32>) -> Result<()> {
    let mut first = true;
    visit(target, depth, |event| match event {
        Event::Node { path, record, opens, .. } => {
            if !first {
                out.write_all(b",")?;
            }
            let mut object = Object::begin(out)?;
            record.write_json(&mut object, path)?;
            first = opens;
            if !opens {
                return object.end();
            }
            // Stays open for its entries.
            object.key("entries")?.write_all(b"[")
        }
        Event::Close => {
            first = false;
            out.write_all(b"]}")
        }
    })?;
    Ok(out.write_all(b"\n")?)
}
