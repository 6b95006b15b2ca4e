//! Opening and listing a cpio archive of 20,000 files and 200 MB, beside `cpio -t` on the same file:
//! `cargo run --release -p mountless-bench-open`. A crate of its own, so that measuring needs no engine built.
//!
//! Both are processes that begin and end, and write the names to `/dev/null`; they take turns, so that whatever else
//! the machine does falls on both. Each turn is two runs, of which the second counts: the first finds the processor's
//! caches full of what the other side had there. The archive is in the page cache each time, in one of the ways it gets
//! there, which differ in the size of the pieces that the kernel keeps it in.
//!
//! Ours comes three times: keeping nothing, as the library does unless asked; as the command does, which keeps what it
//! found in the user's cache directory; and again, with what was kept.

mod archive;
mod peer;

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use mountless::Stack;
use mountless::attr::FileType;
use mountless::fs::{FileSystem, FileSystemExt as _, NodeId};
use mountless::open::{ImageRef, OpenOptions, Remember};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Runs of each side.
const RUNS: usize = 41;

/// How much faster than `cpio -t` it has to be.
const RATIO_WANTED: f64 = 20.0;

/// Bytes of memory, at most.
const PEAK_MAX: u64 = 40_000_000;

fn main() -> Result<()> {
    let mut args = std::env::args_os().skip(1);
    match (args.next().and_then(|word| word.into_string().ok()).as_deref(), args.next()) {
        (None, _) => compare(),
        (Some("list"), Some(file)) => list_all(Path::new(&file), Remember::Nothing),
        (Some("again"), Some(file)) => list_all(Path::new(&file), Remember::InUserCache),
        (Some("profile"), Some(file)) => profile(Path::new(&file)),
        _ => Err("usage: mountless-bench-open [list FILE | again FILE | profile FILE]".into()),
    }
}

/// The measurement.
fn compare() -> Result<()> {
    let own = std::env::current_exe()?;
    let dirs = [std::env::temp_dir(), "/dev/shm".into()];
    println!("{} files of {} bytes, {RUNS} runs of each, medians", archive::FILES, archive::FILE_LEN);
    println!("archive in the page cache | opened | cpio -t | ours | ratio | within it: opened | listed | peak");
    for dir in dirs.iter().filter(|dir| dir.is_dir()) {
        let file = tempfile::NamedTempFile::new_in(dir)?;
        archive::write(file.as_file())?;
        measure(&format!("{}, as written", dir.display()), file.path(), own.as_os_str())?;
        if archive::read_in_again(file.as_file())? {
            measure(&format!("{}, as read from disk", dir.display()), file.path(), own.as_os_str())?;
        }
    }
    Ok(())
}

fn measure(what: &str, file: &Path, own: &OsStr) -> Result<()> {
    // A file that has just changed is not remembered.
    std::thread::sleep(Duration::from_secs(4));
    let cache = tempfile::tempdir()?;
    let theirs = [OsString::from("--quiet"), "-t".into(), "-F".into(), file.into()];
    let names = sorted_names("cpio".as_ref(), &theirs, cache.path())?;
    for (how, word, forgets) in
        [("keeping nothing", "list", false), ("for the first time", "again", true), ("again", "again", false)]
    {
        let ours = [OsString::from(word), file.into()];
        for _ in 0..2 {
            if sorted_names(own, &ours, cache.path())? != names {
                return Err("the two lists differ".into());
            }
        }
        let (mut times, mut peak) = (<[Vec<Duration>; 4]>::default(), 0);
        for _ in 0..RUNS {
            // Theirs first: it reads all, and so brings back what the kernel may have dropped meanwhile.
            let cpio = second_run("cpio".as_ref(), &theirs, cache.path())?.took;
            peer::run(own, &ours, cache.path(), false)?;
            if forgets {
                std::fs::remove_dir_all(cache.path().join("mountless"))?;
            }
            let list = peer::run(own, &ours, cache.path(), false)?;
            let report = list.report.ok_or("no report")?;
            for (times, took) in times.iter_mut().zip([cpio, list.took, report.opened, report.listed]) {
                times.push(took);
            }
            peak = peak.max(report.peak);
        }
        let [cpio, list, opened, listed] = times.map(median);
        let ratio = cpio.as_secs_f64() / list.as_secs_f64();
        println!(
            "{what} | {how} | {cpio:.1?} | {list:.2?} | {ratio:.1}{} | {opened:.2?} | {listed:.2?} | {:.1} MB{}",
            if ratio < RATIO_WANTED { " (too slow)" } else { "" },
            peak as f64 / 1e6,
            if peak > PEAK_MAX { " (too much)" } else { "" },
        );
    }
    Ok(())
}

fn sorted_names(program: &OsStr, args: &[OsString], cache: &Path) -> Result<Vec<Vec<u8>>> {
    let listed = peer::run(program, args, cache, true)?.names;
    let names = listed.split(|byte| *byte == b'\n').filter(|name| !name.is_empty());
    let mut names: Vec<_> = names.map(<[u8]>::to_vec).collect();
    names.sort_unstable();
    Ok(names)
}

fn second_run(program: &OsStr, args: &[OsString], cache: &Path) -> Result<peer::Run> {
    peer::run(program, args, cache, false)?;
    peer::run(program, args, cache, false)
}

/// What is measured: opens, and writes every path to standard output. How it went goes to standard error.
fn list_all(file: &Path, remember: Remember) -> Result<()> {
    let begun = Instant::now();
    let options = OpenOptions { remember, ..OpenOptions::default() };
    let fs = Stack::open_with([ImageRef::from_path(file)], &options)?.read_only()?;
    let opened = begun.elapsed();
    let mut out = std::io::BufWriter::with_capacity(64 << 10, std::io::stdout().lock());
    list(&*fs, &mut out)?;
    out.flush()?;
    eprintln!("{}", peer::Report { opened, listed: begun.elapsed(), peak: peer::peak()? });
    Ok(())
}

/// Opens and lists again and again, for a profiler.
fn profile(file: &Path) -> Result<()> {
    let mut best = (Duration::MAX, Duration::MAX);
    for _ in 0..100 {
        let begun = Instant::now();
        let fs = Stack::open([ImageRef::from_path(file)])?.read_only()?;
        let opened = begun.elapsed();
        list(&*fs, &mut std::io::sink())?;
        best = best.min((opened, begun.elapsed()));
    }
    println!("best: opened in {:?}, listed in {:?}", best.0, best.1);
    Ok(())
}

/// Writes the path of everything but the root, without the slash in front, as the archive's names are.
fn list(fs: &dyn FileSystem, out: &mut impl Write) -> Result<()> {
    let mut todo: Vec<(NodeId, Vec<u8>)> = vec![(fs.root(), Vec::new())];
    let mut lines = Vec::new();
    while let Some((dir, path)) = todo.pop() {
        fs.for_each_entry(dir, |entry| {
            let name = entry.name.as_bytes();
            lines.extend_from_slice(&path);
            lines.extend_from_slice(name);
            lines.push(b'\n');
            if entry.file_type == FileType::Dir {
                todo.push((fs.lookup(dir, entry.name)?.node, [&path, name, b"/"].concat()));
            }
            Ok(())
        })?;
        out.write_all(&lines)?;
        lines.clear();
    }
    Ok(())
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or_default()
}
