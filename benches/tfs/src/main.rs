//! TFS images of 100,000 files of 1,000 bytes: made, opened, listed, filled and compacted:
//! `cargo run --release -p mountless-bench-tfs`. A crate of its own, so that measuring needs no engine built.
//!
//! With `NANOS_DUMP` naming the `dump` tool of the Nanos sources, opening and listing is measured beside `dump -t` on the
//! same image: processes that begin and end, by turns, their output going to `/dev/null`.

mod image;
mod process;

use std::error::Error;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mountless::attr::FileType;
use mountless::backend::tfs::{NewVolume, TfsFs, TfsOptions, TfsReport, TfsVolume};
use mountless::clock::SystemClock;
use mountless::format::tfs::{SECTOR, Uuid};
use mountless::fs::{
    FileSystem, FileSystemExt as _, NewKind, NewNode, NodeId, NodeRef, SyncScope, WritableFileSystem as _, WriteAt,
};
use mountless::name::Name;
use mountless::source::{FileSource, MmapSource, Source, Storage};
use mountless::transfer::{ExtractOptions, Progress, extract};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Files of the large image.
const FILES: usize = 100_000;

/// Bytes of each.
const FILE_LEN: usize = 1000;

/// Files in a directory.
const DIR_FILES: usize = 1000;

/// Processes of each side.
const RUNS: usize = 21;

/// Turns of what is measured within a process.
const TURNS: usize = 7;

const USAGE: &str = "usage: mountless-bench-tfs \
    [list FILE | open FILE [TURNS] | memory FILE | extract FILE DIR | make FILE | profile open|append|compact|make]";

fn main() -> Result<()> {
    let mut args = std::env::args_os().skip(1);
    match (args.next().and_then(|word| word.into_string().ok()).as_deref(), args.next()) {
        (None, _) => compare(),
        (Some("list"), Some(file)) => list_all(Path::new(&file)),
        (Some("open"), Some(file)) => open_alone(Path::new(&file), args.next().as_deref()),
        (Some("memory"), Some(file)) => memory(Path::new(&file)),
        (Some("extract"), Some(file)) => extract_all(Path::new(&file), args.next().as_deref().ok_or(USAGE)?),
        (Some("make"), Some(file)) => image::make(&image::tree(FILES)?, Path::new(&file)).map(drop),
        (Some("profile"), Some(what)) => profile(&what.to_string_lossy()),
        _ => Err(USAGE.into()),
    }
}

fn compare() -> Result<()> {
    let dir =
        tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() { Path::new("/dev/shm") } else { Path::new("/tmp") })?;
    println!("{FILES} files of {FILE_LEN} bytes, {DIR_FILES} in a directory, all on tmpfs");
    let image = dir.path().join("image");
    making(&image)?;
    opening(&image, dir.path())?;
    beside_dump(&image)?;
    extracting(&image, dir.path())?;
    appending(&dir.path().join("volume"))?;
    logs(dir.path())
}

fn making(path: &Path) -> Result<()> {
    let took = best(|| {
        let tree = image::tree(FILES)?;
        let begun = Instant::now();
        let made = image::make(&tree, path)?;
        Ok((begun.elapsed(), made))
    })?;
    let (time, made) = took;
    let bytes = made.root.content_bytes + made.root.log_bytes;
    println!("make: {time:.1?}, {}, {} log", rate(bytes, time), mib(made.root.log_bytes));
    Ok(())
}

fn opening(path: &Path, dir: &Path) -> Result<()> {
    let source = mapped(path)?;
    let (time, report) = best(|| {
        let begun = Instant::now();
        let (fs, report) = TfsFs::open(Arc::clone(&source), &TfsOptions::default())?;
        let took = begun.elapsed();
        drop(fs);
        Ok((took, report))
    })?;
    let (records, log) = (report.records, log_bytes(&report));
    println!("open: {time:.1?}, {:.1} M records/s, {}", per_second(records, time) / 1e6, rate(log, time));
    // The bytes of the log alone, as a process would pass them on.
    let only = dir.join("log");
    let mut out = File::create(&only)?;
    for extension in report.extensions {
        out.write_all(&source.bytes_at(extension.sector * SECTOR..(extension.sector + extension.count) * SECTOR)?)?;
    }
    drop(out);
    let copy = dir.join("copy");
    let (read, _) = best(|| {
        let (mut file, mut buf, mut sum) = (File::open(&only)?, vec![0; 128 << 10], 0);
        let begun = Instant::now();
        loop {
            match file.read(&mut buf)? {
                0 => return Ok((begun.elapsed(), sum)),
                count => sum += count,
            }
        }
    })?;
    let cat_to = |out: &Path| best(|| Ok((process::run_into("cat".as_ref(), &[only.as_os_str()], out)?, ())));
    let (null, file) = (cat_to(Path::new("/dev/null"))?.0, cat_to(&copy)?.0);
    for (what, cat) in [("reading it", read), ("cat to /dev/null", null), ("cat to a file", file)] {
        println!("{what}, the log's extensions: {cat:.1?}, ratio {:.1}", time.as_secs_f64() / cat.as_secs_f64());
    }
    let own = std::env::current_exe()?;
    let memory = process::memory(own.as_os_str(), &["memory".as_ref(), path.as_os_str()])?;
    println!("memory: {}", memory.trim());
    Ok(())
}

fn beside_dump(path: &Path) -> Result<()> {
    let Some(dump) = std::env::var_os("NANOS_DUMP") else {
        println!("dump -t: not measured, NANOS_DUMP does not name it");
        return Ok(());
    };
    let own = std::env::current_exe()?;
    let small = tempfile::NamedTempFile::new_in(path.parent().ok_or("no folder")?)?;
    image::make(&image::tree(FILES / 10)?, small.path())?;
    for (files, path) in [(FILES, path), (FILES / 10, small.path())] {
        let (mut theirs, mut ours) = (Vec::new(), Vec::new());
        let mut ticks = [0, 0];
        for _ in 0..RUNS {
            let begun = process::children_ticks()?;
            theirs.push(process::run(&dump, &["-t".as_ref(), path.as_os_str()])?);
            let between = process::children_ticks()?;
            ours.push(process::run(own.as_os_str(), &["list".as_ref(), path.as_os_str()])?);
            ticks = [ticks[0] + between - begun, ticks[1] + process::children_ticks()? - between];
        }
        let (theirs, ours) = (median(theirs), median(ours));
        let (ratio, of_ticks) = (theirs.as_secs_f64() / ours.as_secs_f64(), ticks[0] as f64 / ticks[1] as f64);
        println!(
            "{files} files, whole processes: dump -t {theirs:.1?}, list {ours:.1?}, ratio {ratio:.1}, of processor time {of_ticks:.1}"
        );
    }
    Ok(())
}

fn extracting(path: &Path, dir: &Path) -> Result<()> {
    let Some(dump) = std::env::var_os("NANOS_DUMP") else {
        println!("dump -d: not measured, NANOS_DUMP does not name it");
        return Ok(());
    };
    let own = std::env::current_exe()?;
    let out = dir.join("out");
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        let sides: [(&OsStr, &Words<'_>, &mut Vec<Duration>); 2] = [
            (&dump, &["-d".as_ref(), out.as_os_str(), path.as_os_str()], &mut theirs),
            (own.as_os_str(), &["extract".as_ref(), path.as_os_str(), out.as_os_str()], &mut ours),
        ];
        for (program, args, times) in sides {
            std::fs::create_dir(&out)?;
            times.push(process::run(program, args)?);
            std::fs::remove_dir_all(&out)?;
        }
    }
    let (theirs, ours) = (median(theirs), median(ours));
    let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
    println!("{FILES} files, whole processes: dump -d {theirs:.2?}, extract {ours:.2?}, ratio {ratio:.1}");
    Ok(())
}

/// A new volume in a file.
fn volume(path: &Path) -> Result<TfsVolume> {
    File::create(path)?;
    let storage: Arc<dyn Storage> = Arc::new(FileSource::open_exclusive(path)?);
    let new = NewVolume { len: 256 << 20, uuid: Uuid::default(), label: Vec::new() };
    Ok(TfsVolume::make(storage, &new, Arc::new(SystemClock))?)
}

fn fill(fs: &TfsVolume, files: usize, per_sync: usize) -> Result<()> {
    let content = [b'x'; FILE_LEN];
    let mut dir = fs.root();
    let new = |kind| NewNode { kind, mode: 0o644, uid: 0, gid: 0 };
    for number in 0..files {
        if number % DIR_FILES == 0 {
            let node = NewNode { mode: 0o755, ..new(NewKind::Dir) };
            dir = fs.create(fs.root(), Name::new(image::dir(number).as_bytes())?, &node)?.node;
        }
        let node = fs.create(dir, Name::new(image::file(number).as_bytes())?, &new(NewKind::File))?.node;
        fs.write_at(node, WriteAt::Offset(0), &content)?;
        fs.forget(node, 1);
        if number % per_sync == per_sync - 1 {
            fs.sync(SyncScope::All)?;
        }
    }
    fs.sync(SyncScope::All)?;
    Ok(())
}

fn appending(path: &Path) -> Result<()> {
    for per_sync in [FILES, 1000, 100] {
        let (time, ()) = best(|| {
            let fs = volume(path)?;
            let begun = Instant::now();
            fill(&fs, FILES, per_sync)?;
            Ok((begun.elapsed(), ()))
        })?;
        println!("append, a sync every {per_sync} files: {time:.1?}, {:.0} files/s", per_second(to_u64(FILES), time));
    }
    let (time, compaction) = best(|| {
        let fs = volume(path)?;
        fill(&fs, FILES, FILES)?;
        let begun = Instant::now();
        let compaction = fs.compact()?;
        Ok((begun.elapsed(), compaction))
    })?;
    let (before, after) = (compaction.before, compaction.after);
    println!(
        "compact: {time:.1?}, {:.1} M entries/s, from {} entries in {} sectors to {} in {}",
        per_second(after.entries, time) / 1e6,
        before.entries,
        before.sectors,
        after.entries,
        after.sectors
    );
    Ok(())
}

/// Logs of many records: files made, written and removed again.
fn logs(dir: &Path) -> Result<()> {
    for files in [10_000 / 3, 100_000 / 3, 1_000_000 / 3] {
        let path = dir.join("records");
        image::make(&image::tree(files)?, &path)?;
        let source = mapped(&path)?;
        let (time, report) = best(|| {
            let begun = Instant::now();
            let (_fs, report) = TfsFs::open(Arc::clone(&source), &TfsOptions::default())?;
            Ok((begun.elapsed(), report))
        })?;
        let log = log_bytes(&report);
        let records = per_second(report.records, time) / 1e6;
        println!(
            "replay of {} records, {}: {time:.1?}, {records:.1} M records/s, {}",
            report.records,
            mib(log),
            rate(log, time)
        );
    }
    Ok(())
}

/// Bytes of the log, as far as it is written.
fn log_bytes(report: &TfsReport) -> u64 {
    let sectors: u64 = report.extensions.iter().map(|extension| extension.count).sum();
    let last = report.extensions.last().map_or(0, |last| (last.sector + last.count) * SECTOR - report.log_end);
    sectors * SECTOR - last
}

fn mapped(path: &Path) -> Result<Arc<dyn Source>> {
    Ok(Arc::new(MmapSource::new(&File::open(path)?)?))
}

/// What is measured beside `dump -t`: opens, and writes a tree to standard output.
fn list_all(path: &Path) -> Result<()> {
    let (fs, _) = TfsFs::open(mapped(path)?, &TfsOptions::default())?;
    let mut out = std::io::BufWriter::with_capacity(64 << 10, std::io::stdout().lock());
    list(&fs, &mut out)?;
    out.flush()?;
    Ok(())
}

fn list(fs: &dyn FileSystem, out: &mut impl Write) -> Result<u64> {
    let mut todo: Vec<(NodeId, usize)> = vec![(fs.root(), 0)];
    let (mut lines, mut names) = (Vec::new(), 0);
    while let Some((dir, depth)) = todo.pop() {
        fs.for_each_entry(dir, |entry| {
            lines.resize(lines.len() + depth * 4, b' ');
            lines.extend_from_slice(entry.name.as_bytes());
            lines.push(b'\n');
            names += to_u64(entry.name.as_bytes().len());
            if entry.file_type == FileType::Dir {
                todo.push((fs.lookup(dir, entry.name)?.node, depth + 1));
            }
            Ok(())
        })?;
        out.write_all(&lines)?;
        lines.clear();
    }
    Ok(names)
}

/// What is measured beside `dump -d`: opens, and writes all of it into a directory.
fn extract_all(path: &Path, dir: &OsStr) -> Result<()> {
    let (fs, _) = TfsFs::open(mapped(path)?, &TfsOptions::default())?;
    let top = Arc::new(NodeRef::root(Arc::new(fs)));
    extract(&top, Path::new(dir), ExtractOptions::default(), &Progress::new())?;
    Ok(())
}

/// Opens an image some times, and says how long that took each time.
fn open_alone(path: &Path, turns: Option<&OsStr>) -> Result<()> {
    let turns: usize = turns.map_or(Ok(1), |turns| turns.to_string_lossy().parse())?;
    let (mut opened, mut dropped) = (Vec::new(), Vec::new());
    for _ in 0..turns {
        let source = mapped(path)?;
        let begun = Instant::now();
        let open = TfsFs::open(source, &TfsOptions::default())?;
        opened.push(begun.elapsed());
        drop(open);
        dropped.push(begun.elapsed() - opened[opened.len() - 1]);
    }
    println!(
        "opened in {:.2?} at best, {:.2?} usually; dropped in {:.2?}",
        opened.iter().min(),
        median(opened.clone()),
        median(dropped)
    );
    Ok(())
}

/// Memory of the process before and after opening, without pages of the image.
fn memory(path: &Path) -> Result<()> {
    let before = process::anonymous_memory()?;
    let (fs, _) = TfsFs::open(mapped(path)?, &TfsOptions::default())?;
    let after = process::anonymous_memory()?;
    let peak = process::peak_memory()?;
    let names = list(&fs, &mut std::io::sink())?;
    let nodes = fs.info().total_nodes.unwrap_or(1);
    let open = after.saturating_sub(before);
    println!(
        "{} for {nodes} nodes, {names} bytes of names: {} bytes a node beyond them; the most while opening {}",
        mib(open),
        open.saturating_sub(names) / nodes,
        mib(peak.saturating_sub(before)),
    );
    Ok(())
}

/// Does one thing again and again, for a profiler.
fn profile(what: &str) -> Result<()> {
    let dir = tempfile::tempdir_in("/dev/shm")?;
    let path = dir.path().join("image");
    let tree = image::tree(FILES)?;
    image::make(&tree, &path)?;
    for _ in 0..30 {
        match what {
            "open" => drop(TfsFs::open(mapped(&path)?, &TfsOptions::default())?),
            "append" => fill(&volume(&path)?, FILES, 1000)?,
            "compact" => {
                let fs = volume(&path)?;
                fill(&fs, FILES, 1000)?;
                for _ in 0..10 {
                    fs.compact()?;
                }
            }
            "make" => drop(image::make(&tree, &path)?),
            other => return Err(format!("nothing to profile is called {other}").into()),
        }
    }
    Ok(())
}

/// The best of some turns.
fn best<T>(mut turn: impl FnMut() -> Result<(Duration, T)>) -> Result<(Duration, T)> {
    let mut best = turn()?;
    for _ in 1..TURNS {
        let other = turn()?;
        if other.0 < best.0 {
            best = other;
        }
    }
    Ok(best)
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or_default()
}

fn per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

fn rate(bytes: u64, time: Duration) -> String {
    format!("{:.0} MB/s", per_second(bytes, time) / 1e6)
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

const fn to_u64(value: usize) -> u64 {
    value as u64
}

/// The words of a command line.
type Words<'a> = [&'a OsStr];
