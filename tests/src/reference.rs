//! The reference: the same program on a host directory, under the WASI host that comes with the engine.

use std::path::{Path, PathBuf};

use wasmtime::component::{self, Component, ResourceTable};
use wasmtime::{Cache, CacheConfig, Config, Engine, Linker, Module, Store};
use wasmtime_wasi::p1::{self, WasiP1Ctx};
use wasmtime_wasi::p2::{self, pipe::MemoryOutputPipe};
use wasmtime_wasi::p3;
use wasmtime_wasi::runtime::in_tokio;
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

/// What a program said and how it ended.
#[derive(Debug)]
pub struct Ran {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

/// Runs `wasm` with `dir` preopened as `name`.
#[must_use]
pub fn run_at(wasm: &Path, arguments: &[&str], environment: &[(&str, &str)], dir: &Path, name: &str) -> Ran {
    run(wasm, arguments, environment, &[(dir, name)])
}

/// Runs `wasm` with directories preopened under names, on the thread that asks.
#[must_use]
pub fn run(wasm: &Path, arguments: &[&str], environment: &[(&str, &str)], preopens: &[(&Path, &str)]) -> Ran {
    let (stdout, stderr) = (MemoryOutputPipe::new(1 << 24), MemoryOutputPipe::new(1 << 24));
    let mut wasi = WasiCtxBuilder::new();
    wasi.args(arguments).envs(environment).stdout(stdout.clone()).stderr(stderr.clone());
    wasi.allow_blocking_current_thread(true);
    for (dir, name) in preopens {
        wasi.preopened_dir(dir, name, FsPerms::ReadWrite).unwrap();
    }
    let code = start(wasm, wasi);
    Ran { code, stdout: stdout.contents().into(), stderr: stderr.contents().into() }
}

/// Runs `wasm` with `dir` as its `/` and this process's output, in the host's fastest way: file operations block the
/// thread that asks, instead of going to others.
#[must_use]
pub fn run_inherited(wasm: &Path, arguments: &[&str], environment: &[(&str, &str)], dir: &Path) -> i32 {
    let mut wasi = WasiCtxBuilder::new();
    wasi.args(arguments).envs(environment).inherit_stdout().inherit_stderr();
    wasi.allow_blocking_current_thread(true).preopened_dir(dir, "/", FsPerms::ReadWrite).unwrap();
    start(wasm, wasi)
}

/// What a component's store holds.
struct Parts {
    ctx: WasiCtx,
    table: ResourceTable,
}

impl WasiView for Parts {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.ctx, table: &mut self.table }
    }
}

/// Where compiled guests are kept: by the reference and by whoever sets its engine up in the same way.
#[must_use]
pub fn compiled_dir() -> PathBuf {
    xtask::guests::dir().join("compiled")
}

/// The engine of the reference, and of whoever drives a guest.
#[must_use]
pub fn engine() -> Engine {
    let mut cache = CacheConfig::new();
    cache.with_directory(compiled_dir());
    let mut config = Config::new();
    config.cache(Some(Cache::new(cache).unwrap())).wasm_component_model_async(true);
    Engine::new(&config).unwrap()
}

fn start(wasm: &Path, mut wasi: WasiCtxBuilder) -> i32 {
    let engine = engine();
    if wasm.to_str().unwrap().ends_with(".component.wasm") {
        return start_component(&engine, wasm, wasi);
    }
    let module = Module::from_file(&engine, wasm).unwrap();

    let mut store = Store::new(&engine, wasi.build_p1());
    let mut linker: Linker<WasiP1Ctx> = Linker::new(&engine);
    p1::add_to_linker_sync(&mut linker, |wasi| wasi).unwrap();
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let start = instance.get_typed_func::<(), ()>(&mut store, "_start").unwrap();
    code(start.call(&mut store, ()).map(Ok))
}

fn start_component(engine: &Engine, wasm: &Path, mut wasi: WasiCtxBuilder) -> i32 {
    let component = Component::from_file(engine, wasm).unwrap();
    let mut store = Store::new(engine, Parts { ctx: wasi.build(), table: ResourceTable::new() });
    let mut linker: component::Linker<Parts> = component::Linker::new(engine);
    p2::add_to_linker_async(&mut linker).unwrap();
    p3::add_to_linker(&mut linker).unwrap();
    let linked = linker.instantiate_pre(&component).unwrap();
    in_tokio(async {
        if let Ok(command) = p2::bindings::CommandPre::new(linked.clone()) {
            let command = command.instantiate_async(&mut store).await.unwrap();
            return code(command.wasi_cli_run().call_run(&mut store).await);
        }
        let command = p3::bindings::CommandPre::new(linked).unwrap().instantiate_async(&mut store).await.unwrap();
        let ran = store.run_concurrent(async |store| command.wasi_cli_run().call_run(store).await).await;
        code(ran.and_then(|ran| ran))
    })
}

fn code(ended: wasmtime::Result<Result<(), ()>>) -> i32 {
    match ended {
        Ok(Ok(())) => 0,
        Ok(Err(())) => 1,
        Err(error) => error.downcast_ref::<I32Exit>().unwrap_or_else(|| panic!("{error:?}")).0,
    }
}
