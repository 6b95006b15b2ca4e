//! The cases of `tests/cases` under cargo, as users have theirs.

fn main() -> std::process::ExitCode {
    mountless_test::main("tests/cases")
}
