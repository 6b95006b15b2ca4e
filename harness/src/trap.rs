//! What the engine says of a trap, for people: why first, then where, without what panicking and aborting are made of.

use std::fmt::Write as _;

use rustc_demangle::demangle;

/// Places that are shown.
const FRAMES_MAX: usize = 12;

/// What a program goes through on its way from a mistake to the trap.
const ENDING: [&str; 9] = [
    "abort",
    "__rust",
    "rust_begin_unwind",
    "core::option::",
    "core::panicking::",
    "core::result::",
    "std::panicking::",
    "std::process::abort",
    "std::sys::",
];

/// What is called before anything of the program's own is.
const BEGINNING: [&str; 8] = [
    "_start",
    "__main_void",
    "__original_main",
    "_start_command",
    "std::rt::",
    "std::sys::backtrace::__rust_begin_short_backtrace",
    "core::ops::function::FnOnce::call_once",
    "std::panic",
];

/// The message in another order; as it is, if it does not look as expected.
pub(crate) fn readable(message: &str) -> String {
    let (place, reason) = message.split_once("Caused by:").unwrap_or((message, ""));
    let frames: Vec<(String, String)> = place.lines().filter_map(frame).collect();
    if frames.is_empty() || reason.trim().is_empty() {
        return message.to_owned();
    }
    let starts = |name: &str, words: &[&str]| words.iter().any(|word| name.starts_with(word));
    let ending = frames.iter().take_while(|(name, _)| starts(name, &ENDING)).count();
    let beginning = frames.iter().rev().take_while(|(name, _)| starts(name, &BEGINNING)).count();
    let own = frames.get(ending..frames.len().saturating_sub(beginning)).filter(|own| !own.is_empty());
    let shown = own.unwrap_or(&frames);
    let mut text: String = reason.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
    for (name, at) in shown.iter().take(FRAMES_MAX) {
        // OK to ignore, here and below: a String takes everything.
        let _ = write!(text, "\n  in {name} ({at})");
    }
    if let Some(more) = shown.len().checked_sub(FRAMES_MAX).filter(|more| *more > 0) {
        let _ = write!(text, "\n  and {more} more");
    }
    text
}

/// Name and place of a line like `  3:  0x2b31 - app.wasm!_RNv…`.
fn frame(line: &str) -> Option<(String, String)> {
    let (number, rest) = line.trim().split_once(':')?;
    number.parse::<u32>().ok()?;
    let (offset, name) = rest.trim().split_once(" - ")?;
    let (module, name) = name.split_once('!').unwrap_or(("", name));
    let name = format!("{:#}", demangle(name));
    // Nobody looks for the hash of a crate.
    Some((name, [module, offset].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_shown_and_the_way_to_the_trap_is_not() {
        let message = "error while executing at wasm backtrace:\n    \
            0:   0x6aba - hello.wasm!abort\n    \
            1:   0x2b31 - hello.wasm!_RNvNtCset5xJoy1xWQ_3std7process5abort\n    \
            2:   0x2ecc - hello.wasm!_RNvCsfLfy6EI15iL_7___rustc10rust_panic\n    \
            3:   0xad9f - hello.wasm!_RNvNtCsdHhIpgkcIfN_4core9panicking9panic_fmt\n    \
            4:   0x11ec - hello.wasm!_ZN5hello4main17hfdaa59868da6cbf8E\n    \
            5:    0x78e - hello.wasm!_ZN4core3ops8function6FnOnce9call_once17hb7bbe7d2d7cfbdb8E\n    \
            6:    0x733 - hello.wasm!_ZN3std2rt10lang_start17h2f4ebc4de6abde15E\n    \
            7:   0x1308 - hello.wasm!__main_void\n\n\
            Caused by:\n    wasm trap: wasm `unreachable` instruction executed";
        let expected = "wasm trap: wasm `unreachable` instruction executed\n  in hello::main (hello.wasm 0x11ec)";
        assert_eq!(readable(message), expected);
    }

    #[test]
    fn other_messages_stay_and_nothing_is_left_without_a_place() {
        assert_eq!(readable("out of memory"), "out of memory");
        let message =
            "error while executing at wasm backtrace:\n    0: 0x1 - <unknown>!_start\n\nCaused by:\n    wasm trap: x";
        assert_eq!(readable(message), "wasm trap: x\n  in _start (<unknown> 0x1)");
    }
}
