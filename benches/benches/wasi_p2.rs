//! What a call of preview 2 costs: our tree beside wasmtime-wasi's own preopen of the same files on tmpfs, in its
//! fastest mode. The guest is a component written by hand, so that little but the host is measured. Only the calls whose
//! names have the argument in them, if there is one.
//!
//! The same component is called by `mountless run --invoke` too, often and once: the difference is what the calls cost
//! there, and tells whether the command sets up its engine as well as this.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mountless::backend::mem::MemFs;
use mountless::namespace::Namespace;
use mountless_benches::{MANY, image, image_namespace, populate, populate_host};
use mountless_tests::component::{Preview, of_world};
use mountless_wasi::files::{Files, View};
use wasmtime::component::{Component, Instance, Linker, ResourceTable};
use wasmtime::{Config, Engine, Result, Store};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

const GUEST: &str = include_str!("../src/guest_p2.wat");
const WORLD: &str = include_str!("../src/guest_p2.wit");

struct State {
    ctx: WasiCtx,
    table: ResourceTable,
    files: Files,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.ctx, table: &mut self.table }
    }
}

struct Guest {
    store: Store<State>,
    instance: Instance,
}

fn instantiate(component: &[u8], ctx: WasiCtx, ours: Option<Namespace>) -> Result<Guest> {
    // Neither needs concurrent tasks, which the engine would keep account of at each call.
    let engine = Engine::new(Config::new().concurrency_support(false))?;
    let mut linker = Linker::<State>::new(&engine);
    wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
    if ours.is_some() {
        mountless_wasi::p2::add_to_linker(&mut linker, |state: &mut State| View {
            files: &mut state.files,
            table: &mut state.table,
        })?;
    }
    let mut files = Files::new(ours.unwrap_or_else(|| Namespace::new(Arc::new(MemFs::new()))));
    files.preopen("/", "/")?;
    let mut store = Store::new(&engine, State { ctx, table: ResourceTable::new(), files });
    let instance = linker.instantiate(&mut store, &Component::from_binary(&engine, component)?)?;
    Ok(Guest { store, instance })
}

fn theirs(component: &[u8], dir: &Path) -> Result<Guest> {
    let mut ctx = WasiCtxBuilder::new();
    ctx.allow_blocking_current_thread(true).preopened_dir(dir, "/", FsPerms::ReadWrite)?;
    instantiate(component, ctx.build(), None)
}

/// What the command is given.
struct Commanded {
    mountless: PathBuf,
    image: PathBuf,
    component: PathBuf,
}

impl Commanded {
    fn time(&self, call: Call, count: u32) -> std::result::Result<Duration, Box<dyn std::error::Error>> {
        let mut command = Command::new(&self.mountless);
        command.args(["run", "--invoke", call.name(), "--image"]).arg(&self.image).arg(&self.component);
        command.arg(count.to_string());
        if let Call::Sized(_, size) = call {
            command.arg(size.to_string());
        }
        let start = Instant::now();
        let done = command.output()?;
        let time = start.elapsed();
        if !done.status.success() {
            return Err(String::from_utf8_lossy(&done.stderr).into());
        }
        Ok(time)
    }
}

#[derive(Clone, Copy)]
enum Call {
    Counted(&'static str),
    Sized(&'static str, u32),
    List,
}

const CALLS: &[(&str, Call)] = &[
    ("read 4 KiB of 16 KiB", Call::Sized("read-tiny", 4 << 10)),
    ("read 4 KiB of 256 KiB", Call::Sized("read-data", 4 << 10)),
    ("read 64 KiB of 256 KiB", Call::Sized("read-data", 64 << 10)),
    ("open-at + drop", Call::Counted("open-close")),
    ("stat-at", Call::Counted("stat")),
    ("list 1000", Call::List),
];

impl Call {
    const fn name(self) -> &'static str {
        match self {
            Self::Counted(name) | Self::Sized(name, _) => name,
            Self::List => "list",
        }
    }

    fn time(self, Guest { store, instance }: &mut Guest, count: u32) -> Result<Duration> {
        let start = Instant::now();
        match self {
            Self::Counted(name) => {
                instance.get_typed_func::<(u32,), ()>(&mut *store, name)?.call(store, (count,))?;
            }
            Self::Sized(name, size) => {
                instance.get_typed_func::<(u32, u32), ()>(&mut *store, name)?.call(store, (count, size))?;
            }
            Self::List => {
                let function = instance.get_typed_func::<(u32,), (u32,)>(&mut *store, "list")?;
                let (entries,) = function.call(store, (count,))?;
                assert_eq!(usize::try_from(entries)?, MANY, "a listing is complete");
            }
        }
        Ok(start.elapsed())
    }

    /// Enough calls for the clock.
    fn count(self, guest: &mut Guest) -> Result<u32> {
        let mut count = 1;
        while self.time(guest, count)? < Duration::from_millis(20) {
            count *= 2;
        }
        Ok(count)
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let component = of_world(Preview::Two, wat::parse_str(GUEST)?, WORLD);
    let tmpfs = tempfile::tempdir_in("/dev/shm")?;
    let files = tmpfs.path().join("files");
    fs::create_dir(&files)?;
    populate_host(&files)?;
    let commanded = Commanded {
        mountless: xtask::release_command().map_err(|error| error as Box<dyn std::error::Error>)?,
        image: tmpfs.path().join("image.cpio"),
        component: tmpfs.path().join("guest.wasm"),
    };
    fs::write(&commanded.image, image()?)?;
    fs::write(&commanded.component, &component)?;
    let memory = Namespace::new(Arc::new(MemFs::new()));
    populate(&memory)?;
    let mut guests = [
        instantiate(&component, WasiCtx::default(), Some(image_namespace(image()?)?))?,
        instantiate(&component, WasiCtx::default(), Some(memory))?,
        theirs(&component, &files)?,
    ];

    println!(
        "{:<26} {:>10} {:>10} {:>14} {:>8} {:>14} {:>8}",
        "ns a call", "image", "memory", "wasmtime-wasi", "ratio", "mountless run", "ratio"
    );
    let part = std::env::args().skip(1).find(|arg| !arg.starts_with("--")).unwrap_or_default();
    for &(name, call) in CALLS.iter().filter(|(name, _)| name.contains(&part)) {
        let mut counts = [0; 3];
        for (count, guest) in counts.iter_mut().zip(&mut guests) {
            *count = call.count(guest)?;
        }
        let mut best = [f64::INFINITY; 3];
        // Long enough for the start of a process not to count.
        let often = counts[0] * 16;
        let (mut once, mut whole) = (Duration::MAX, Duration::MAX);
        // By turns, so that what else the machine does falls on all.
        for _ in 0..9 {
            for ((best, &count), guest) in best.iter_mut().zip(&counts).zip(&mut guests) {
                *best = best.min(call.time(guest, count)?.as_secs_f64() * 1e9 / f64::from(count));
            }
            once = once.min(commanded.time(call, 1)?);
            whole = whole.min(commanded.time(call, often)?);
        }
        let [image, memory, host] = best;
        let run = whole.saturating_sub(once).as_secs_f64() * 1e9 / f64::from(often - 1);
        let (ratio, run_ratio) = (host / image, host / run);
        println!("{name:<26} {image:>10.0} {memory:>10.0} {host:>14.0} {ratio:>7.1}x {run:>14.0} {run_ratio:>7.1}x");
    }
    Ok(())
}
