//! What a WASI call costs: our tree (an image under a memory layer, and memory alone) beside wasmtime-wasi's own
//! preopen of the same files on tmpfs, in its fastest mode. Ends with a table of the ratios, and of what copying alone
//! takes; with `--table` there is only that, and with a part of a call's name after it only that call's line.

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::Criterion;
use mountless::backend::mem::MemFs;
use mountless::namespace::Namespace;
use mountless_benches::copy::Copies;
use mountless_benches::hosts::{self, Guest};
use mountless_benches::{MANY, image, image_namespace, populate, populate_host};

/// An export of the guest with its size argument, if it takes one.
#[derive(Clone, Copy)]
struct Call {
    name: &'static str,
    export: &'static str,
    size: Option<u32>,
    copied: Option<Copied>,
}

/// Pieces one behind the other of a file of this many bytes.
#[derive(Clone, Copy)]
enum Copied {
    From(usize),
    Into(usize),
}

const CALLS: &[Call] = &[
    Call::sized("fd_read 4 KiB of 16 KiB", "read_tiny", 4 << 10).copying(Copied::From(16 << 10)),
    Call::sized("fd_read 4 KiB of 256 KiB", "read_data", 4 << 10).copying(Copied::From(256 << 10)),
    Call::sized("fd_read 4 KiB of 32 MiB", "read_huge", 4 << 10).copying(Copied::From(32 << 20)),
    Call::sized("fd_read 64 KiB of 256 KiB", "read_data", 64 << 10).copying(Copied::From(256 << 10)),
    Call::sized("fd_pwrite 4 KiB of 16 KiB", "pwrite_tiny", 4 << 10).copying(Copied::Into(16 << 10)),
    Call::sized("fd_pwrite 4 KiB of 256 KiB", "pwrite_data", 4 << 10).copying(Copied::Into(256 << 10)),
    Call::sized("fd_write 4 KiB at the end", "append", 4 << 10),
    Call::sized("fd_write 128 B at the end", "append", 128),
    Call::counted("path_open + fd_close", "open_close"),
    Call::counted("path_filestat_get", "stat"),
    Call::counted("path_filestat_get, written", "stat_written"),
    Call::sized("list 1000, 4 KiB buffer", "list", 4 << 10),
    Call::sized("list 1000, 64 KiB buffer", "list", 64 << 10),
];

impl Call {
    const fn counted(name: &'static str, export: &'static str) -> Self {
        Self { name, export, size: None, copied: None }
    }

    const fn sized(name: &'static str, export: &'static str, size: u32) -> Self {
        Self { size: Some(size), ..Self::counted(name, export) }
    }

    const fn copying(self, copied: Copied) -> Self {
        Self { copied: Some(copied), ..self }
    }

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

    /// The copy that the call cannot do without, as something to be timed.
    fn copies(self) -> Option<impl FnMut(u64) -> Duration> {
        let (span, into_file) = match self.copied? {
            Copied::From(span) => (span, false),
            Copied::Into(span) => (span, true),
        };
        let size = usize::try_from(self.size?).ok()?;
        let mut copies = Copies::new(size, span);
        Some(move |count| copies.time(size, into_file, count))
    }
}

/// Nanoseconds of each: the best of several turns, each long enough for the clock. By turns, so that what else the
/// machine does falls on all.
fn nanos<const N: usize>(mut timed: [&mut dyn FnMut(u64) -> Duration; N]) -> [f64; N] {
    let counts = timed.each_mut().map(|time| {
        let mut count = 1;
        while time(count) < Duration::from_millis(20) {
            count *= 2;
        }
        count
    });
    let mut best = [f64::INFINITY; N];
    for _ in 0..9 {
        for ((best, &count), time) in best.iter_mut().zip(&counts).zip(&mut timed) {
            *best = best.min(time(count).as_secs_f64() * 1e9 / count as f64);
        }
    }
    best
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
    println!(
        "\n{:<26} {:>10} {:>10} {:>14} {:>8} {:>12}",
        "ns a call", "image", "memory", "wasmtime-wasi", "ratio", "copy alone"
    );
    for call in calls {
        let mut image = |count| call.time(on_image, count);
        let mut memory = |count| call.time(on_memory, count);
        let mut host = |count| call.time(on_host, count);
        let ours = |[image, memory, host]: [f64; 3]| {
            format!("{:<26} {image:>10.0} {memory:>10.0} {host:>14.0} {:>7.1}x", call.name, host / image)
        };
        if let Some(mut copy) = call.copies() {
            let [image, memory, host, copy] = nanos([&mut image, &mut memory, &mut host, &mut copy]);
            println!("{} {copy:>5.0} {:>5.1}x", ours([image, memory, host]), host / copy);
        } else {
            println!("{}", ours(nanos([&mut image, &mut memory, &mut host])));
        }
    }
}
