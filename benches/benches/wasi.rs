//! What a WASI call costs: our tree (an image under a memory layer, and memory alone) beside wasmtime-wasi's own
//! preopen of the same files on tmpfs, in its fastest mode. Ends with a table of the ratios; with `--table` there is only
//! that, and with a part of a call's name after it only that call's line.

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::Criterion;
use mountless::backend::mem::MemFs;
use mountless::namespace::Namespace;
use mountless_benches::hosts::{self, Guest};
use mountless_benches::{MANY, image, image_namespace, populate, populate_host};

/// An export of the guest with its size argument, if it takes one.
#[derive(Clone, Copy)]
struct Call {
    name: &'static str,
    export: &'static str,
    size: Option<u32>,
}

const CALLS: &[Call] = &[
    Call { name: "fd_read 4 KiB of 16 KiB", export: "read_tiny", size: Some(4 << 10) },
    Call { name: "fd_read 4 KiB of 256 KiB", export: "read_data", size: Some(4 << 10) },
    Call { name: "fd_read 4 KiB of 32 MiB", export: "read_huge", size: Some(4 << 10) },
    Call { name: "fd_read 64 KiB of 256 KiB", export: "read_data", size: Some(64 << 10) },
    Call { name: "fd_pwrite 4 KiB of 16 KiB", export: "pwrite_tiny", size: Some(4 << 10) },
    Call { name: "fd_pwrite 4 KiB of 256 KiB", export: "pwrite_data", size: Some(4 << 10) },
    Call { name: "fd_write 4 KiB at the end", export: "append", size: Some(4 << 10) },
    Call { name: "fd_write 128 B at the end", export: "append", size: Some(128) },
    Call { name: "path_open + fd_close", export: "open_close", size: None },
    Call { name: "path_filestat_get", export: "stat", size: None },
    Call { name: "list 1000, 4 KiB buffer", export: "list", size: Some(4 << 10) },
    Call { name: "list 1000, 64 KiB buffer", export: "list", size: Some(64 << 10) },
];

impl Call {
    fn run<T>(self, guest: &mut Guest<T>, count: u64) -> wasmtime::Result<()> {
        let count = u32::try_from(count)?;
        match (self.export, self.size) {
            ("list", Some(size)) => {
                // `.` and `..` are entries too.
                let entries = guest.list(count, size)?;
                assert_eq!(usize::try_from(entries)?, MANY + 2, "a listing is complete");
                Ok(())
            }
            (export, Some(size)) => guest.call_sized(export, count, size),
            (export, None) => guest.call(export, count),
        }
    }

    fn time<T>(self, guest: &mut Guest<T>, count: u64) -> Duration {
        let start = Instant::now();
        match self.run(guest, count) {
            Ok(()) => start.elapsed(),
            Err(error) => panic!("{}: {error:?}", self.name),
        }
    }

    /// Nanoseconds a call: the best of several turns, each long enough for the clock.
    fn nanos<T>(self, guest: &mut Guest<T>) -> f64 {
        let mut count = 1;
        while self.time(guest, count) < Duration::from_millis(20) {
            count *= 2;
        }
        let turns = (0..7).map(|_| self.time(guest, count).as_secs_f64());
        turns.fold(f64::INFINITY, f64::min) * 1e9 / f64::from(u32::try_from(count).unwrap_or(u32::MAX))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let tmpfs = tempfile::tempdir_in("/dev/shm")?;
    populate_host(tmpfs.path())?;
    let memory = Namespace::new(Arc::new(MemFs::new()));
    populate(&memory)?;
    let mut on_image = hosts::ours(image_namespace(image()?)?)?;
    let mut on_memory = hosts::ours(memory)?;
    let mut on_host = hosts::theirs(tmpfs.path())?;

    let mut args = std::env::args().skip_while(|arg| arg != "--table");
    if args.next().is_some() {
        let part = args.next().unwrap_or_default();
        table(CALLS.iter().filter(|call| call.name.contains(&part)), &mut on_image, &mut on_memory, &mut on_host);
        return Ok(());
    }
    let mut criterion = Criterion::default().configure_from_args();
    for call in CALLS {
        let mut group = criterion.benchmark_group(format!("wasi p1, {}", call.name));
        group.sample_size(20);
        group.bench_function("image", |bench| bench.iter_custom(|count| call.time(&mut on_image, count)));
        group.bench_function("memory", |bench| bench.iter_custom(|count| call.time(&mut on_memory, count)));
        group.bench_function("wasmtime-wasi", |bench| bench.iter_custom(|count| call.time(&mut on_host, count)));
        group.finish();
    }
    criterion.final_summary();
    table(CALLS.iter(), &mut on_image, &mut on_memory, &mut on_host);
    Ok(())
}

fn table<'c, O, T>(
    calls: impl Iterator<Item = &'c Call>,
    on_image: &mut Guest<O>,
    on_memory: &mut Guest<O>,
    on_host: &mut Guest<T>,
) {
    println!("\n{:<26} {:>10} {:>10} {:>14} {:>8}", "ns a call", "image", "memory", "wasmtime-wasi", "ratio");
    for call in calls {
        let (image, memory, host) = (call.nanos(on_image), call.nanos(on_memory), call.nanos(on_host));
        println!("{:<26} {image:>10.0} {memory:>10.0} {host:>14.0} {:>7.1}x", call.name, host / image);
    }
}
