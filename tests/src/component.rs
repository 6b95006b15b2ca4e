//! Programs of preview 1 as components of preview 2, by the adapter that comes with the engine.

use std::fs;
use std::path::{Path, PathBuf};

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
};
use wit_component::ComponentEncoder;

/// The module `wasm` as a component, beside it.
#[must_use]
pub fn from_module(wasm: &Path) -> PathBuf {
    let mut encoder = ComponentEncoder::default()
        .validate(true)
        .module(&fs::read(wasm).unwrap())
        .unwrap()
        .adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER)
        .unwrap();
    let component = wasm.with_extension("component.wasm");
    // Others may read it, or make it as well.
    let making = tempfile::NamedTempFile::new_in(wasm.parent().unwrap()).unwrap();
    fs::write(making.path(), encoder.encode().unwrap()).unwrap();
    making.persist(&component).unwrap();
    component
}
