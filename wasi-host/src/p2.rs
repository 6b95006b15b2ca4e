//! WASI preview 2: the filesystem of components.
//!
//! Only `wasi:filesystem` is ours. Everything else a component imports stays wasmtime-wasi's, and so do arguments,
//! environment, streams, clocks and sockets of its `WasiCtx`: add its functions first, then [`add_to_linker`], which
//! replaces the ones about files.
//!
//! ```
//! use mountless::backend::mem::MemFs;
//! use mountless::namespace::Namespace;
//! use mountless_wasi::files::{Files, View};
//! use wasmtime::component::{Component, Linker, ResourceTable};
//! use wasmtime::{Engine, Store};
//! use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
//!
//! struct State { wasi: WasiCtx, table: ResourceTable, files: Files }
//!
//! impl WasiView for State {
//!     fn ctx(&mut self) -> WasiCtxView<'_> {
//!         WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let wasm = wat::parse_str("(component)")?;
//! let mut files = Files::new(Namespace::new(std::sync::Arc::new(MemFs::new())));
//! files.preopen("/", "/")?;
//! let engine = Engine::default();
//! let mut linker = Linker::new(&engine);
//! wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
//! mountless_wasi::p2::add_to_linker(&mut linker, |state: &mut State| View {
//!     files: &mut state.files,
//!     table: &mut state.table,
//! })?;
//! let state = State { wasi: WasiCtx::default(), table: ResourceTable::new(), files };
//! let component = Component::new(&engine, &wasm)?;
//! linker.instantiate(&mut Store::new(&engine, state), &component)?;
//! # Ok(()) }
//! ```
//!
//! The functions are synchronous and fit an async linker as well: nothing of a namespace waits, except for the files of
//! a host directory.

mod errno;
mod host;
mod stream;
#[cfg(test)]
pub(crate) mod tests;

use wasmtime::component::Linker;
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::sync::filesystem::types;

pub use self::errno::code;
use crate::files::{HasFiles, View};

/// Adds `wasi:filesystem` to a linker, in place of what may be there.
///
/// # Errors
/// None that a linker of components is known to have.
pub fn add_to_linker<T: Send + 'static>(linker: &mut Linker<T>, view: fn(&mut T) -> View<'_>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let added = types::add_to_linker::<T, HasFiles>(linker, view)
        .and_then(|()| host::add_read(linker, view))
        .and_then(|()| preopens::add_to_linker::<T, HasFiles>(linker, view));
    linker.allow_shadowing(false);
    added
}
