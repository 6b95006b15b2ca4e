//! Packing, converting, extracting and comparing a tree of 20,000 files and 200 MB, beside the tools for it:
//! `cargo run --release -p mountless-bench-transfer`. A crate of its own, so that measuring needs no engine built.
//!
//! All are processes that begin and end, and take turns, so that whatever else the machine does falls on all; what each
//! wrote is removed before its next turn. The input is in the page cache. Ours makes its output durable before it gives
//! it its name, which the others do not: `cat` and `sync` of its output is there for that.

use std::error::Error;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mountless::fs::NodeRef;
use mountless::open::{ImageRef, OpenOptions, open};
use mountless::transfer::diff::{DiffOptions, diff_with};
use mountless::transfer::{ExtractOptions, PackOptions, PackTarget, Progress, extract, pack_beside};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Turns of each side; the first is not counted.
const TURNS: usize = 8;
const FILES: usize = 20_000;
const FILE_LEN: usize = 10_240;

fn main() -> Result<()> {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let words: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
    let path = |at: usize| args.get(at).map(PathBuf::from).ok_or("a path is missing");
    match words.first().map(AsRef::as_ref) {
        None => compare(),
        Some("pack") => pack(&path(1)?, &path(2)?),
        Some("extract") => {
            let image = open(&ImageRef::from_path(path(1)?), &OpenOptions::default())?;
            let top = Arc::new(NodeRef::root(image.fs));
            extract(&top, &path(2)?, ExtractOptions::default(), &Progress::new())?;
            Ok(())
        }
        Some("diff") => diff(&path(1)?, &path(2)?),
        Some(_) => Err("usage: mountless-bench-transfer [pack IN OUT | extract IN DIR | diff A B]".into()),
    }
}

fn pack(input: &Path, output: &Path) -> Result<()> {
    let image = open(&ImageRef::from_path(input), &OpenOptions::default())?;
    let (format, compression) = PackTarget::told_by(output);
    let target = PackTarget::new(format.ok_or("no format")?, compression, None);
    let (replacement, _) = pack_beside(&image.fs, output, target, &PackOptions::default(), &Progress::new())?;
    // As the command does.
    drop(image);
    replacement.commit()?;
    Ok(())
}

fn diff(before: &Path, after: &Path) -> Result<()> {
    let open = |path: &Path| open(&ImageRef::from_path(path), &OpenOptions::default());
    let (before, after) = (open(before)?.fs, open(after)?.fs);
    let mut count = 0_u64;
    let options = DiffOptions { times: false, ..DiffOptions::IMAGES };
    diff_with(&before, &after, options, |_| {
        count += 1;
        Ok(())
    })?;
    if count == 0 { Ok(()) } else { Err(format!("{count} differences").into()) }
}

/// A job that one side does: a name, and a line for the shell.
type Side = (&'static str, String);

fn compare() -> Result<()> {
    let own = std::env::current_exe()?.display().to_string();
    for base in [std::env::temp_dir(), "/dev/shm".into()] {
        let dir = tempfile::tempdir_in(&base)?;
        let at = |name: &str| dir.path().join(name).display().to_string();
        make_tree(&dir.path().join("tree"))?;
        let (tree, tar, cpio) = (at("tree"), at("in.tar"), at("in.cpio"));
        shell(&format!("tar -cf {tar} -C {tree} . && {own} pack {tree} {cpio}"))?;
        println!("\n{FILES} files of {FILE_LEN} bytes on {}, median of {} turns", base.display(), TURNS - 1);
        let (out, out_dir) = (at("out"), at("out.dir"));
        let jobs: [(&str, Vec<Side>); 6] = [
            (
                "convert tar to cpio",
                vec![
                    ("ours", format!("{own} pack {tar} {out}.cpio")),
                    ("cat", format!("cat {tar} >{out}.cpio")),
                    ("cat and sync", format!("cat {tar} >{out}.cpio && sync -d {out}.cpio")),
                ],
            ),
            (
                "pack a directory as cpio",
                vec![
                    ("ours", format!("{own} pack {tree} {out}.cpio")),
                    ("GNU cpio", format!("cd {tree} && find . -print0 | cpio -0 -o -H newc --quiet >{out}.cpio")),
                    ("bsdtar", format!("bsdtar -cf {out}.cpio --format newc -C {tree} .")),
                ],
            ),
            (
                "pack a directory as tar",
                vec![
                    ("ours", format!("{own} pack {tree} {out}.tar")),
                    ("GNU tar", format!("tar -cf {out}.tar -C {tree} .")),
                    ("bsdtar", format!("bsdtar -cf {out}.tar -C {tree} .")),
                ],
            ),
            (
                "convert tar to cpio.gz",
                vec![
                    ("ours", format!("{own} pack {tar} {out}.cpio.gz")),
                    ("gzip alone", format!("gzip -c {tar} >{out}.cpio.gz")),
                ],
            ),
            (
                "extract a tar",
                vec![
                    ("ours", format!("{own} extract {tar} {out_dir}")),
                    ("GNU tar", format!("mkdir {out_dir} && tar -xf {tar} -C {out_dir}")),
                    ("bsdtar", format!("mkdir {out_dir} && bsdtar -xf {tar} -C {out_dir}")),
                ],
            ),
            (
                "compare two images",
                vec![("ours", format!("{own} diff {tar} {cpio}")), ("cmp", format!("cmp {tar} {tar}.copy"))],
            ),
        ];
        fs::copy(&tar, format!("{tar}.copy"))?;
        for (job, sides) in jobs {
            measure(job, &sides, &out)?;
        }
    }
    Ok(())
}

/// 200 directories with 100 files each, no two alike.
fn make_tree(dir: &Path) -> Result<()> {
    let mut state = 1_u64;
    for number in 0..FILES {
        let below = dir.join(format!("directory-{:03}", number / 100));
        fs::create_dir_all(&below)?;
        let mut content = Vec::with_capacity(FILE_LEN);
        while content.len() < FILE_LEN {
            // Half noise, half the same: so that compressing has something to do.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            content.extend_from_slice(&state.to_be_bytes());
            content.extend_from_slice(b"as usual");
        }
        content.truncate(FILE_LEN);
        fs::write(below.join(format!("a-file-with-a-name-{number:05}")), content)?;
    }
    Ok(())
}

fn shell(line: &str) -> Result<()> {
    let status = Command::new("sh").arg("-c").arg(line).stdin(Stdio::null()).stderr(Stdio::inherit()).status()?;
    if status.success() { Ok(()) } else { Err(format!("{line}: {status}").into()) }
}

fn measure(job: &str, sides: &[Side], out: &str) -> Result<()> {
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); sides.len()];
    for _ in 0..TURNS {
        for ((_, line), times) in sides.iter().zip(&mut times) {
            shell(&format!("rm -rf {out} {out}.*"))?;
            // What others left to write is not to be ours.
            File::open(std::env::temp_dir())?.sync_all()?;
            let start = Instant::now();
            shell(line)?;
            times.push(start.elapsed());
        }
    }
    let medians = times.iter_mut().map(|times| {
        let mut times = times.split_off(1);
        times.sort();
        times.get(times.len() / 2).copied().unwrap_or_default()
    });
    let medians: Vec<_> = medians.collect();
    let first = medians.first().copied().unwrap_or_default();
    println!("{job}");
    for ((name, _), median) in sides.iter().zip(&medians) {
        let ratio = median.as_secs_f64() / first.as_secs_f64();
        println!("  {name:<14} {:>7.1} ms  {ratio:>5.2} of ours", median.as_secs_f64() * 1e3);
    }
    Ok(())
}
