//! The same program on our tree and on a host directory, under the WASI host that comes with the engine: what it says,
//! how it ends and what it leaves behind are the same.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod c;
mod compare;
mod components;
mod go;
mod python;
mod rust;
mod sqlite;
mod suite;
