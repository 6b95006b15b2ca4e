//! Filesystems mounted side by side: `cargo run --release -p mountless-bench-mounts`, as root.
//!
//! Each holds the same tree, and all take turns at the same work, so that whatever else the machine does falls on all.
//! What is compared: a plain tmpfs, which no FUSE filesystem can reach; an empty pass-through on `fuser`, which does as
//! little as a FUSE filesystem can, over that tmpfs; ours; and others, where their programs are installed
//! (`fuse-overlayfs`, `archivemount`, `ratarmount`).
#![cfg_attr(not(target_os = "linux"), allow(unused, reason = "there is no FUSE to measure"))]

#[cfg(target_os = "linux")]
mod passthrough;
#[cfg(target_os = "linux")]
mod targets;
#[cfg(target_os = "linux")]
mod work;

use std::error::Error;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

#[cfg(not(target_os = "linux"))]
fn main() -> Result {
    Err("FUSE mounts are for Linux".into())
}

#[cfg(target_os = "linux")]
fn main() -> Result {
    /// Turns of each; the median counts.
    const TURNS: usize = 5;

    let base = targets::Base::new()?;
    let targets = targets::all(&base)?;
    let mut rates: Vec<Vec<Vec<f64>>> = vec![vec![Vec::new(); work::ALL.len()]; targets.len()];
    for _ in 0..TURNS {
        for (target, rates) in targets.iter().zip(&mut rates) {
            for (work, rates) in work::ALL.iter().zip(rates) {
                if target.writable || !work.writes {
                    work::forget_names()?;
                    rates.push((work.run)(target.dir.path())?);
                }
            }
        }
    }
    let medians: Vec<Vec<Option<f64>>> =
        rates.into_iter().map(|rates| rates.into_iter().map(median).collect()).collect();
    print!("| |");
    work::ALL.iter().for_each(|work| print!(" {} |", work.name));
    print!("\n|---|");
    work::ALL.iter().for_each(|_| print!("---|"));
    println!();
    let yardstick = targets.iter().position(|target| target.name == targets::PASS_THROUGH).unwrap_or_default();
    for (target, row) in targets.iter().zip(&medians) {
        print!("| {} |", target.name);
        for ((work, rate), yardstick) in work::ALL.iter().zip(row).zip(medians.get(yardstick).into_iter().flatten()) {
            match (rate, yardstick) {
                (Some(rate), Some(yardstick)) => print!(" {rate:.0} {} ({:.2}) |", work.unit, rate / yardstick),
                _ => print!(" – |"),
            }
        }
        println!();
    }
    println!("In brackets: speed against the pass-through.");
    drop(targets);
    Ok(())
}

#[cfg(target_os = "linux")]
fn median(mut rates: Vec<f64>) -> Option<f64> {
    rates.sort_unstable_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied()
}
