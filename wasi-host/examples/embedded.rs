//! A host with a `WasiCtx` of its own: arguments, environment, streams and clocks are set up as in any host of wasmtime,
//! and only the files come from an image.
//!
//! ```sh
//! cargo run -p mountless-wasi --example embedded -- base.cpio.gz app.wasm ARGUMENT
//! ```
//!
//! The image is at `/`, read-only, and what the program writes to `/tmp` stays in memory and is listed in the end.

use std::env;
use std::error::Error;
use std::sync::Arc;

use mountless::Stack;
use mountless::backend::mem::MemFs;
use mountless::namespace::{MountOptions, Namespace};
use mountless_wasi::host::Limits;
use mountless_wasi::p1::{Exit, WasiP1, add_to_linker, check_imports};
use wasmtime::{Engine, Linker, Module, Store};
use wasmtime_wasi::WasiCtx;

/// What this host keeps for a program; the files are a part of it.
struct State {
    wasi: WasiP1,
    greeting: &'static str,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = env::args().skip(1);
    let (Some(image), Some(program)) = (words.next(), words.next()) else {
        return Err("usage: embedded IMAGE PROGRAM.wasm [ARGUMENT...]".into());
    };

    let namespace = Namespace::new(Stack::open([image.as_str()])?.with_memory_upper()?);
    namespace.create_dir_all("/tmp")?;
    namespace.mount("/tmp", Arc::new(MemFs::new()), MountOptions::default())?;

    let mut ctx = WasiCtx::builder();
    ctx.inherit_stdio().env("HOME", "/tmp").arg(&program).args(&words.collect::<Vec<_>>());
    let mut wasi = WasiP1::new(namespace.clone(), ctx.build());
    let (root, tmp) = (namespace.root().read_only(), namespace.locate("/tmp", mountless::namespace::Follow::Yes)?);
    wasi.process().preopen("/", &root)?;
    wasi.process().preopen("/tmp", &tmp)?;
    wasi.process().set_limits(Limits { descriptors: 100, file_bytes: 1 << 20 });

    let engine = Engine::default();
    let module = Module::from_file(&engine, &program)?;
    check_imports(&module)?;
    let mut linker = Linker::new(&engine);
    add_to_linker(&mut linker, |state: &mut State| &mut state.wasi)?;
    // The host's own functions stand beside those of WASI.
    linker.func_wrap("host", "greet", |caller: wasmtime::Caller<'_, State>| println!("{}", caller.data().greeting))?;

    let mut store = Store::new(&engine, State { wasi, greeting: "hello from the host" });
    let instance = linker.instantiate(&mut store, &module)?;
    let ran = instance.get_typed_func::<(), ()>(&mut store, "_start")?.call(&mut store, ());
    match ran.map_err(|error| error.downcast::<Exit>()) {
        Ok(()) | Err(Ok(wasmtime_wasi::I32Exit(0))) => {}
        Err(Ok(wasmtime_wasi::I32Exit(code))) => println!("it exited with {code}"),
        Err(Err(trap)) => return Err(trap.into()),
    }
    for entry in namespace.read_dir("/tmp")? {
        println!("/tmp/{}", entry.name.escape_ascii());
    }
    Ok(())
}
