//! Ruby: a library that its host drives, as embedders do who keep a linker and a store of their own.

use std::fs;
use std::path::Path;

use mountless_tests::compare::{Both, Job};
use mountless_tests::reference::{self, Ran};
use mountless_tests::{put, put_files_tree};
use mountless_wasi::p1::WasiP1;
use wasmtime::{Instance, Linker, Memory, Module, Store};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder};

/// Nobody sees what an exception says, nor what is in buffers at the end.
const SCRIPT: &str = "
    $stdout.sync = true
    begin
        load '/files.rb'
    rescue Exception => error
        puts error.full_message(highlight: false)
    end
";

pub(crate) fn with_files() {
    let engine = reference::engine();
    let wasm = xtask::guests::ruby().unwrap_or_else(|error| panic!("{error}"));
    let module = Module::from_file(&engine, &wasm).unwrap();
    let fill = |dir: &Path| {
        put_files_tree(dir);
        put(dir, "files.rb", fs::read(xtask::workspace().join("tests/guests/heavy/files.rb")).unwrap());
        put(dir, "tmp/.keep", "");
    };
    let ours = |namespace: &mountless::Namespace| {
        said(|ctx| {
            let mut linker = Linker::new(&engine);
            mountless_wasi::p1::add_to_linker(&mut linker, |wasi: &mut WasiP1| wasi).unwrap();
            let mut wasi = WasiP1::new(namespace.clone(), ctx.build());
            wasi.preopen("/", "/").unwrap();
            evaluate(Store::new(&engine, wasi), linker, &module)
        })
    };
    let theirs = |host: &Path| {
        said(|ctx| {
            let mut linker = Linker::new(&engine);
            wasmtime_wasi::p1::add_to_linker_sync(&mut linker, |wasi: &mut WasiP1Ctx| wasi).unwrap();
            ctx.preopened_dir(host, "/", FsPerms::ReadWrite).unwrap();
            evaluate(Store::new(&engine, ctx.build_p1()), linker, &module)
        })
    };
    let ran = Both::by(Job::default(), fill, ours, theirs).same();
    let stdout = String::from_utf8(ran.stdout).unwrap();
    assert_eq!((ran.code, stdout.lines().count()), (0, 25), "{stdout}{}", String::from_utf8_lossy(&ran.stderr));
}

/// What is said by a guest with such a context.
fn said(run: impl FnOnce(&mut WasiCtxBuilder) -> i32) -> Ran {
    let (stdout, stderr) = (MemoryOutputPipe::new(1 << 20), MemoryOutputPipe::new(1 << 20));
    let mut ctx = WasiCtx::builder();
    ctx.arg("ruby").stdout(stdout.clone()).stderr(stderr.clone());
    let code = run(&mut ctx);
    Ran { code, stdout: stdout.contents().into(), stderr: stderr.contents().into() }
}

/// Starts the interpreter and has it run [`SCRIPT`]; returns its state, which is 0 unless an exception was left.
fn evaluate<T: 'static>(mut store: Store<T>, mut linker: Linker<T>, module: &Module) -> i32 {
    for name in ["resource_new_rb-abi-value", "resource_get_rb-abi-value"] {
        linker.func_wrap("canonical_abi", name, |value: i32| value).unwrap();
    }
    // There is no JavaScript.
    linker.define_unknown_imports_as_traps(module).unwrap();
    let instance = linker.instantiate(&mut store, module).unwrap();
    let mut ruby = Ruby { memory: instance.get_memory(&mut store, "memory").unwrap(), instance, store };
    ruby.call::<(), ()>("_initialize", ());
    let words = [ruby.put(b"ruby\0"), ruby.put(b"-EUTF-8\0"), ruby.put(b"-e_=0\0")];
    let list: Vec<u8> = words.iter().flat_map(|(at, len)| [at.to_le_bytes(), len.to_le_bytes()].concat()).collect();
    let (list, _) = ruby.put(&list);
    ruby.call::<(i32, i32), ()>("ruby-init: func(args: list<string>) -> ()", (list, 3));
    let script = ruby.put(SCRIPT.as_bytes());
    let eval = "rb-eval-string-protect: func(str: string) -> tuple<handle<rb-abi-value>, s32>";
    let result: i32 = ruby.call(eval, script);
    let mut state = [0; 4];
    ruby.memory.read(&ruby.store, usize::try_from(result).unwrap() + 4, &mut state).unwrap();
    i32::from_le_bytes(state)
}

struct Ruby<T: 'static> {
    store: Store<T>,
    instance: Instance,
    memory: Memory,
}

impl<T> Ruby<T> {
    fn call<P: wasmtime::WasmParams, R: wasmtime::WasmResults>(&mut self, name: &str, arguments: P) -> R {
        let function = self.instance.get_typed_func::<P, R>(&mut self.store, name).unwrap();
        function.call(&mut self.store, arguments).unwrap()
    }

    /// Bytes in the guest's memory: where, and how many.
    fn put(&mut self, bytes: &[u8]) -> (i32, i32) {
        let len = i32::try_from(bytes.len()).unwrap();
        let at: i32 = self.call("cabi_realloc", (0, 0, 4, len));
        self.memory.write(&mut self.store, usize::try_from(at).unwrap(), bytes).unwrap();
        (at, len)
    }
}
