//! WASI programs on a [`mountless`] namespace, with wasmtime.
//!
//! In a wasmtime host, build a `WasiCtx` for arguments, environment, streams, clocks and random numbers as usual, and
//! let the files come from a namespace instead of the host:
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # mod host { pub fn namespace() -> mountless::namespace::Namespace { todo!() } }
//! # Ok(()) }
//! ```
//!
//! # Layers
//! - [`p1::Process`]: the calls of preview 1, without an engine.
//! - [`p1::add_to_linker`]: the same for modules on wasmtime.
//! - [`run::Runner`]: engine, compilation cache, time limits; a program in, an [`run::Outcome`] out.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests"))]

pub mod errno;
pub mod host;
pub mod p1;
