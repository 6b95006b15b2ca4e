//! WASI programs on a [`mountless`] namespace, with wasmtime.
//!
//! In a wasmtime host, build a `WasiCtx` for arguments, environment, streams, clocks and random numbers as usual, and
//! let the files come from a namespace instead of the host:
//!
//! ```
//! use mountless::backend::mem::MemFs;
//! use mountless::namespace::Namespace;
//! use mountless_wasi::p1::{WasiP1, add_to_linker};
//! use wasmtime::{Engine, Linker, Module, Store};
//! use wasmtime_wasi::WasiCtx;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let wasm = wat::parse_str(r#"(module
//! #   (import "wasi_snapshot_preview1" "path_create_directory" (func $mkdir (param i32 i32 i32) (result i32)))
//! #   (memory (export "memory") 1) (data (i32.const 0) "made")
//! #   (func (export "_start") (drop (call $mkdir (i32.const 3) (i32.const 0) (i32.const 4)))))"#)?;
//! let namespace = Namespace::new(std::sync::Arc::new(MemFs::new()));
//! let engine = Engine::default();
//! let mut linker = Linker::new(&engine);
//! add_to_linker(&mut linker, |wasi: &mut WasiP1| wasi)?;
//!
//! let mut wasi = WasiP1::new(namespace.clone(), WasiCtx::builder().inherit_stdio().arg("app").build());
//! wasi.preopen("/", "/")?;
//! let mut store = Store::new(&engine, wasi);
//! let instance = linker.instantiate(&mut store, &Module::new(&engine, &wasm)?)?;
//! instance.get_typed_func::<(), ()>(&mut store, "_start")?.call(&mut store, ())?;
//! assert!(namespace.exists("/made")?);
//! # Ok(()) }
//! ```
//!
//! # Layers
//! - [`p1::Process`]: the calls of preview 1, without an engine; all there is without the feature `engine`, for a host
//!   on another one.
//! - [`p1::add_to_linker`]: the same for modules on wasmtime.
//! - [`run::Runner`]: engine, compilation cache, time limits; a program in, an [`run::Outcome`] out.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        reason = "tests"
    )
)]

pub mod errno;
#[cfg(feature = "engine")]
pub mod files;
pub mod host;
pub mod p1;
#[cfg(feature = "engine")]
pub mod p2;
#[cfg(feature = "p3")]
pub mod p3;
#[cfg(feature = "engine")]
pub mod run;
