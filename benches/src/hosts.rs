//! One guest, on our tree and on wasmtime-wasi's host directory.

use std::path::Path;

use mountless::namespace::Namespace;
use mountless_wasi::p1::{self, WasiP1};
use wasmtime::{Engine, Linker, Module, Store};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

/// The guest, instantiated.
pub struct Guest<T: 'static> {
    store: Store<T>,
    instance: wasmtime::Instance,
}

const GUEST: &str = include_str!("guest.wat");

fn module(engine: &Engine) -> wasmtime::Result<Module> {
    Module::new(engine, wat::parse_str(GUEST)?)
}

/// The guest with `namespace` as `/`.
///
/// # Errors
/// Those of wasmtime.
pub fn ours(namespace: Namespace) -> wasmtime::Result<Guest<WasiP1>> {
    let engine = Engine::default();
    let mut linker = Linker::new(&engine);
    p1::add_to_linker(&mut linker, |wasi: &mut WasiP1| wasi)?;
    let mut wasi = WasiP1::new(namespace, WasiCtxBuilder::new().build());
    wasi.preopen("/", "/")?;
    let mut store = Store::new(&engine, wasi);
    let instance = linker.instantiate(&mut store, &module(&engine)?)?;
    WasiP1::use_memory_of(wasmtime::AsContextMut::as_context_mut(&mut store), &instance, |wasi| wasi);
    Ok(Guest { store, instance })
}

/// The guest with the host directory `dir` as `/`, wasmtime-wasi set up in its fastest way.
///
/// # Errors
/// Those of wasmtime.
pub fn theirs(dir: &Path) -> wasmtime::Result<Guest<WasiP1Ctx>> {
    let engine = Engine::default();
    let mut linker = Linker::new(&engine);
    wasmtime_wasi::p1::add_to_linker_sync(&mut linker, |wasi: &mut WasiP1Ctx| wasi)?;
    let mut builder = WasiCtxBuilder::new();
    builder.allow_blocking_current_thread(true).preopened_dir(dir, "/", FsPerms::all())?;
    let mut store = Store::new(&engine, builder.build_p1());
    let instance = linker.instantiate(&mut store, &module(&engine)?)?;
    Ok(Guest { store, instance })
}

impl<T> Guest<T> {
    /// Calls an export that takes a count.
    ///
    /// # Errors
    /// If the guest traps, which it does on any errno.
    pub fn call(&mut self, name: &str, count: u32) -> wasmtime::Result<()> {
        self.instance.get_typed_func::<u32, ()>(&mut self.store, name)?.call(&mut self.store, count)
    }

    /// Calls an export that takes a count and a size in bytes.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn call_sized(&mut self, name: &str, count: u32, size: u32) -> wasmtime::Result<()> {
        let function = self.instance.get_typed_func::<(u32, u32), ()>(&mut self.store, name)?;
        function.call(&mut self.store, (count, size))
    }

    /// Lists `many` `count` times through a buffer of `size` bytes, and returns how many entries it has.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn list(&mut self, count: u32, size: u32) -> wasmtime::Result<u32> {
        let function = self.instance.get_typed_func::<(u32, u32), u32>(&mut self.store, "list")?;
        function.call(&mut self.store, (count, size))
    }
}
