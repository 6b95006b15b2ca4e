//! Components: programs of preview 1 by the adapter that comes with the engine, and modules written for a world.

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
    let world = fs::read_to_string(xtask::guests::preview3_world(name)).unwrap();
    write(&wasm, &of_world(Preview::Three, fs::read(&wasm).unwrap(), &world))
}

/// Whose interfaces a world names.
#[derive(Clone, Copy, Debug)]
pub enum Preview {
    /// `wasi:…@0.2.…`
    Two,
    /// `wasi:…@0.3.…`
    Three,
}

/// The component made of a module that was written for a world: the world's text in WIT.
#[must_use]
pub fn of_world(preview: Preview, mut module: Vec<u8>, world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let interfaces = xtask::guests::wasi_interfaces(match preview {
        Preview::Two => "p2",
        Preview::Three => "p3",
    });
    resolve.push_dir(interfaces.unwrap_or_else(|error| panic!("{error}"))).unwrap();
    let package = resolve.push_str("world.wit", world).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let mut encoder = ComponentEncoder::default().validate(true).module(&module).unwrap();
    encoder.encode().unwrap()
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
