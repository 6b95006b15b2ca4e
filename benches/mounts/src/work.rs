//! What is measured.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};

use crate::Result;
use crate::targets::{BIG, BIG_LEN, FILES};

const PIECE: usize = 1 << 20;
const RANDOM_READS: u32 = 20_000;
/// Some filesystems read everything before each piece.
const READING_MAX: Duration = Duration::from_secs(2);
const SMALL_FILES: usize = 10_000;

/// One column.
pub(crate) struct Work {
    pub(crate) name: &'static str,
    pub(crate) writes: bool,
    /// What it does so many of in a second.
    pub(crate) unit: &'static str,
    pub(crate) run: fn(&Path) -> Result<f64>,
}

pub(crate) const ALL: &[Work] = &[
    Work { name: "write 1 MiB pieces", writes: true, unit: "MiB/s", run: sequential_write },
    Work { name: "read 1 MiB pieces", writes: false, unit: "MiB/s", run: sequential_read },
    Work { name: "read 4 KiB at random", writes: false, unit: "/s", run: random_reads },
    Work { name: "create 10,000 files", writes: true, unit: "/s", run: create },
    Work { name: "unlink them", writes: true, unit: "/s", run: unlink },
    Work { name: "find 20,000 files", writes: false, unit: "/s", run: find },
];

fn rate(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// Lets the kernel forget names and attributes that it need not keep.
pub(crate) fn forget_names() -> Result {
    Ok(fs::write("/proc/sys/vm/drop_caches", "2")?)
}

fn sequential_write(dir: &Path) -> Result<f64> {
    let path = dir.join("written");
    let piece = vec![0x5a; PIECE];
    let begun = Instant::now();
    let mut file = File::create(&path)?;
    for _ in 0..BIG_LEN / PIECE {
        file.write_all(&piece)?;
    }
    // What the kernel still holds of it is not written yet.
    file.sync_all()?;
    drop(file);
    let took = begun.elapsed();
    fs::remove_file(path)?;
    Ok(rate(BIG_LEN >> 20, took))
}

/// Content that is to be read from the filesystem, not from what the kernel kept of it.
fn cold(dir: &Path) -> Result<File> {
    let file = File::open(dir.join(BIG))?;
    fadvise(&file, 0, None, Advice::DontNeed)?;
    Ok(file)
}

fn sequential_read(dir: &Path) -> Result<f64> {
    let mut file = cold(dir)?;
    let mut piece = vec![0; PIECE];
    let begun = Instant::now();
    let mut total = 0;
    while begun.elapsed() < READING_MAX {
        match file.read(&mut piece)? {
            0 if total < BIG_LEN => return Err("a short file".into()),
            0 => break,
            count => total += count,
        }
    }
    Ok(rate(total >> 20, begun.elapsed()))
}

fn random_reads(dir: &Path) -> Result<f64> {
    let file = cold(dir)?;
    fadvise(&file, 0, None, Advice::Random)?;
    let mut piece = vec![0; 4096];
    let pieces = (BIG_LEN / piece.len()) as u64;
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let begun = Instant::now();
    let mut done = 0;
    while done < RANDOM_READS && begun.elapsed() < READING_MAX {
        done += 1;
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        file.read_exact_at(&mut piece, random % pieces * 4096)?;
    }
    Ok(f64::from(done) / begun.elapsed().as_secs_f64())
}

fn create(dir: &Path) -> Result<f64> {
    let dir = dir.join("small");
    let begun = Instant::now();
    fs::create_dir(&dir)?;
    for number in 0..SMALL_FILES {
        fs::write(dir.join(number.to_string()), [0x5a; 100])?;
    }
    Ok(rate(SMALL_FILES, begun.elapsed()))
}

fn unlink(dir: &Path) -> Result<f64> {
    let dir = dir.join("small");
    let begun = Instant::now();
    for number in 0..SMALL_FILES {
        fs::remove_file(dir.join(number.to_string()))?;
    }
    fs::remove_dir(&dir)?;
    Ok(rate(SMALL_FILES, begun.elapsed()))
}

/// Lists all directories and asks for the attributes of everything, as find(1) does with `-size`.
fn find(dir: &Path) -> Result<f64> {
    let begun = Instant::now();
    let (mut todo, mut files) = (vec![dir.join("tree")], 0);
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            match path.symlink_metadata()?.is_dir() {
                true => todo.push(path),
                false => files += 1,
            }
        }
    }
    let took = begun.elapsed();
    if files == FILES { Ok(rate(FILES, took)) } else { Err(format!("{files} files instead of {FILES}").into()) }
}
