//! Components: programs of preview 1 by the adapter that comes with the engine, and programs of preview 3.

use std::fs;
use std::path::{Path, PathBuf};

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The component made of `tests/guests/preview3/NAME.c`.
#[must_use]
pub fn of_preview3(name: &str) -> PathBuf {
    let wasm = xtask::guests::preview3_module(name).unwrap_or_else(|error| panic!("{error}"));
    let world = xtask::guests::preview3_world(name);
    let mut resolve = Resolve::default();
    let interfaces = xtask::guests::wasi_interfaces("p3").unwrap_or_else(|error| panic!("{error}"));
    resolve.push_dir(interfaces).unwrap();
    let package = resolve.push_str(&world, &fs::read_to_string(&world).unwrap()).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    let mut module = fs::read(&wasm).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let mut encoder = ComponentEncoder::default().validate(true).module(&module).unwrap();
    write(&wasm, &encoder.encode().unwrap())
}

/// The module `wasm` as a component, beside it.
#[must_use]
pub fn from_module(wasm: &Path) -> PathBuf {
    let mut encoder = ComponentEncoder::default()
        .validate(true)
        .module(&fs::read(wasm).unwrap())
        .unwrap()
        .adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER)
        .unwrap();
    write(wasm, &encoder.encode().unwrap())
}

fn write(wasm: &Path, bytes: &[u8]) -> PathBuf {
    let component = wasm.with_extension("component.wasm");
    // Others may read it, or make it as well.
    let making = tempfile::NamedTempFile::new_in(wasm.parent().unwrap()).unwrap();
    fs::write(making.path(), bytes).unwrap();
    making.persist(&component).unwrap();
    component
}
