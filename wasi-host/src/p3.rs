//! WASI preview 3: the filesystem of components that run concurrently.
//!
//! The engine calls its support unstable, so this is the cargo feature `p3`. As with [preview 2](crate::p2), only
//! `wasi:filesystem` is ours: call wasmtime-wasi's `p3::add_to_linker` first, then [`add_to_linker`].
//!
//! ```
//! # use mountless_wasi::files::{Files, View};
//! # use wasmtime::component::{Linker, ResourceTable};
//! # use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
//! # struct State { wasi: WasiCtx, table: ResourceTable, files: Files }
//! # impl WasiView for State {
//! #     fn ctx(&mut self) -> WasiCtxView<'_> {
//! #         WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
//! #     }
//! # }
//! # fn main() -> wasmtime::Result<()> {
//! let mut config = wasmtime::Config::new();
//! config.wasm_component_model_async(true);
//! let engine = wasmtime::Engine::new(&config)?;
//! let mut linker = Linker::new(&engine);
//! wasmtime_wasi::p3::add_to_linker(&mut linker)?;
//! mountless_wasi::p3::add_to_linker(&mut linker, |state: &mut State| View {
//!     files: &mut state.files,
//!     table: &mut state.table,
//! })?;
//! # Ok(()) }
//! ```

mod errno;
mod host;
mod stream;
#[cfg(test)]
mod tests;

use wasmtime::component::Linker;
use wasmtime_wasi::p3::bindings::filesystem::{preopens, types};

pub use self::errno::code;
use crate::files::{HasFiles, View};

/// Adds `wasi:filesystem` to a linker, in place of what may be there.
///
/// # Errors
/// None that a linker of components is known to have.
pub fn add_to_linker<T: Send + 'static>(linker: &mut Linker<T>, view: fn(&mut T) -> View<'_>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let added = types::add_to_linker::<T, HasFiles>(linker, view)
        .and_then(|()| preopens::add_to_linker::<T, HasFiles>(linker, view));
    linker.allow_shadowing(false);
    added
}
