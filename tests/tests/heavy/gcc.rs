//! GCC's compiler, assembler and linker, on a tree of headers and libraries.

use std::fs;
use std::path::{Path, PathBuf};

use mountless_tests::compare::{Both, Job};
use mountless_tests::{copy_tree, put};

const PROGRAM: &str = "
#include <avr/io.h>
#include <math.h>
#include <stdlib.h>
#include <util/delay.h>
int main(void) { for (;;) { PORTB ^= (unsigned char)(sqrt(PINB) * 2); _delay_ms(5); } }
";

const SCRIPT: &str = "SECTIONS { .text : { *(.vectors) *(.text*) *(.progmem*) } .data : { *(.data*) *(.bss*) } }\n";

const FLAGS: [&str; 12] = [
    "-quiet",
    "-nostdinc",
    "-isystem",
    "/include/gcc",
    "-isystem",
    "/include/avr",
    "-D__AVR_ATmega328P__",
    "-DF_CPU=16000000UL",
    "-DBAUD=9600",
    "-mn-flash=1",
    "-mmcu=avr5",
    "-Os",
];

fn root() -> PathBuf {
    xtask::guests::gcc().unwrap_or_else(|error| panic!("{error}"))
}

fn fill(dir: &Path) {
    copy_tree(&root().join("include"), &dir.join("include"));
    copy_tree(&root().join("sysroot"), &dir.join("lib"));
    put(dir, "all.c", all_headers(&dir.join("include/avr")));
    put(dir, "program.c", PROGRAM);
    put(dir, "script.ld", SCRIPT);
    fs::create_dir(dir.join("tmp")).unwrap();
}

/// Includes every header, also those of other devices, which refuse to be second.
fn all_headers(dir: &Path) -> String {
    let mut todo = vec![dir.to_owned()];
    let mut headers = Vec::new();
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { todo.push(path) } else { headers.push(path) }
        }
    }
    headers.sort();
    let include =
        |path: &PathBuf| format!("#undef _AVR_IOXXX_H_\n#include <{}>\n", path.strip_prefix(dir).unwrap().display());
    ["#include <avr/io.h>\n".to_owned()].into_iter().chain(headers.iter().map(include)).collect()
}

fn run(tool: &str, arguments: &[&str], fill: impl FnOnce(&Path)) -> Both {
    let wasm = root().join(format!("wasm/{tool}.wasm"));
    Both::of(&wasm, Job { arguments: &[&[tool], arguments].concat(), ..Job::default() }, fill)
}

pub(crate) fn with_hundreds_of_headers() {
    let arguments = [&FLAGS[..], &["-E", "-w", "-H", "/all.c", "-o", "/all.i"]].concat();
    let ran = run("cc1", &arguments, fill).same();
    let said = String::from_utf8(ran.stderr).unwrap();
    let headers: std::collections::BTreeSet<_> =
        said.lines().filter_map(|line| line.split_once(". /include/")).collect();
    assert!(headers.len() > 390, "{} {said}", headers.len());

    let both = run("cc1", &[&FLAGS[..], &["/program.c", "-o", "/program.s"]].concat(), fill);
    let assembler = both.content("/program.s").to_vec();
    assert_eq!(both.same().code, 0);
    let with_assembler = |dir: &Path| {
        fill(dir);
        put(dir, "program.s", assembler);
    };
    let both = run("avr-as", &["-mmcu=avr5", "-o", "/program.o", "/program.s"], with_assembler);
    let object = both.content("/program.o").to_vec();
    assert_eq!(both.same().code, 0);
    let with_object = |dir: &Path| {
        fill(dir);
        put(dir, "program.o", object);
    };
    let arguments = [
        "-m",
        "avr5",
        "-T",
        "/script.ld",
        "-e",
        "main",
        "-o",
        "/program.elf",
        "/program.o",
        "-L/lib/avr5",
        "-lm",
        "-lgcc",
        "-Map",
        "/program.map",
    ];
    let both = run("avr-ld", &arguments, with_object);
    assert!(both.content("/program.elf").starts_with(b"\x7fELF"));
    assert_eq!(both.same().code, 0);
}
