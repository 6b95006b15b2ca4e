//! A program: compiled, linked and known to have something to call.

use wasmtime::component::{self, Component};
use wasmtime::{Engine, InstancePre, Linker, Module};

use super::component::{Entry, Parts};
use super::{Guest, RunError};
use crate::p1::check_imports;

/// A program, ready to be run any number of times, by several threads at once. It is cheap to clone.
#[derive(Clone)]
pub struct Program(Kind);

/// What the bytes are, linked. Without an entry there are only exports to call.
#[derive(Clone)]
pub(super) enum Kind {
    /// A core module, for preview 1.
    Module { linked: InstancePre<Guest>, entry: Option<&'static str> },
    /// A component, for previews 2 and 3.
    Component { linked: component::InstancePre<Parts>, entry: Option<Entry> },
}

impl core::fmt::Debug for Program {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self.0 {
            Kind::Module { .. } => "Program(module)",
            Kind::Component { .. } => "Program(component)",
        })
    }
}

impl Program {
    pub(super) fn module(engine: &Engine, linker: &Linker<Guest>, wasm: &[u8]) -> Result<Self, RunError> {
        let module = Module::from_binary(engine, wasm).map_err(RunError::Compile)?;
        check_imports(&module).map_err(RunError::Link)?;
        // A reactor's `_initialize` is all there is to run when it has no `_start`.
        let is_function = |name: &&'static str| module.get_export(name).is_some_and(|export| export.func().is_some());
        let entry = ["_start", INITIALIZE].into_iter().find(is_function);
        let linked = linker.instantiate_pre(&module).map_err(RunError::Link)?;
        Ok(Self(Kind::Module { linked, entry }))
    }

    /// A linker has hundreds of functions, of no use to modules: it is made only here.
    pub(super) fn component(
        engine: &Engine,
        linker: fn(&Engine) -> wasmtime::Result<component::Linker<Parts>>,
        wasm: &[u8],
    ) -> Result<Self, RunError> {
        let component = Component::from_binary(engine, wasm).map_err(RunError::Compile)?;
        let linker = linker(engine).map_err(RunError::Engine)?;
        let linked = linker.instantiate_pre(&component).map_err(RunError::Link)?;
        Ok(Self(Kind::Component { entry: Entry::find(&linked), linked }))
    }

    pub(super) const fn kind(&self) -> &Kind {
        &self.0
    }
}

/// What the first bytes say.
pub(super) enum Encoding {
    Module,
    Component,
}

impl Encoding {
    pub(super) fn of(wasm: &[u8]) -> Result<Self, RunError> {
        match wasm {
            [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => Ok(Self::Module),
            [0, b'a', b's', b'm', _, _, 1, 0, ..] => Ok(Self::Component),
            _ => Err(RunError::NotWasm { found: describe(wasm) }),
        }
    }
}

/// What a reactor wants to be called first.
pub(super) const INITIALIZE: &str = "_initialize";

/// What bytes seem to be that are no module.
fn describe(bytes: &[u8]) -> String {
    let text = || core::str::from_utf8(bytes).ok().map(str::trim_start);
    match bytes {
        [] => "the file is empty".to_owned(),
        [0x7f, b'E', b'L', b'F', ..] => {
            "it is an ELF executable; programs must be compiled to WebAssembly (wasm32-wasip1)".to_owned()
        }
        [b'M', b'Z', ..] => "it is a Windows executable; programs must be compiled to WebAssembly".to_owned(),
        [b'#', b'!', ..] => "it is a script; run its interpreter, compiled to WebAssembly, with the script".to_owned(),
        [0x1f, 0x8b, ..] => "it is compressed with gzip; decompress it first".to_owned(),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "it is compressed with zstd; decompress it first".to_owned(),
        [0, b'a', b's', b'm', version @ ..] => match version.first_chunk::<4>() {
            Some(version) => format!("its version is {}, not 1", u32::from_le_bytes(*version)),
            None => format!("it is cut off after {} bytes", bytes.len()),
        },
        _ if text().is_some_and(|text| text.starts_with("(module") || text.starts_with("(component")) => {
            "it is WebAssembly's text format; convert it with wat2wasm or wasm-tools first".to_owned()
        }
        _ => {
            let hex: Vec<_> = bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
            format!("it starts with the bytes {}, not with 00 61 73 6d", hex.join(" "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_the_bytes_are() {
        for (bytes, found) in [
            (&b""[..], "empty"),
            (b"\x7fELF\x02\x01", "ELF executable"),
            (b"#!/bin/sh\n", "script"),
            (b"  (module)", "text format"),
            (b"\x1f\x8b\x08", "gzip"),
            (b"\0asm", "cut off after 4 bytes"),
            (b"\0asm\x02\0\0\0", "version is 2"),
            (b"\x01\x02", "01 02"),
        ] {
            assert!(describe(bytes).contains(found), "{}", describe(bytes));
        }
    }
}
