//! Guests that take minutes to compile, compared as those of `guests` are: GCC, Ruby and Yosys. They run where the
//! environment says `MOUNTLESS_SUITES`, as `cargo xtask test --all` does, and are shown as ignored elsewhere.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod gcc;
mod ruby;
mod yosys;

use libtest_mimic::{Arguments, Trial};

const TESTS: [(&str, fn()); 3] = [
    ("gcc_with_hundreds_of_headers", gcc::with_hundreds_of_headers),
    ("ruby_with_files", ruby::with_files),
    ("yosys_with_its_data", yosys::with_its_data),
];

fn main() {
    let all = std::env::var_os("MOUNTLESS_SUITES").is_some();
    let trials = TESTS.map(|(name, test)| {
        let run = move || {
            test();
            Ok(())
        };
        Trial::test(name, run).with_ignored_flag(!all)
    });
    if !all {
        let names = TESTS.map(|(name, _)| name).join(", ");
        eprintln!("NOT TESTED: {names}; set MOUNTLESS_SUITES=1 for them");
    }
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit();
}
