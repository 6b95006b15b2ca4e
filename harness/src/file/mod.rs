//! Files of cases: TOML, the JSON of wasi-testsuite, and plain files beside a program.

mod plain;
mod raw;
mod toml;
mod value;
mod wasi;

pub(crate) use self::plain::{has_companion, read_plain};
pub use self::raw_schema::schema;
pub(crate) use self::toml::{is_case_file, read_toml};
pub(crate) use self::value::not_a_regex;
pub(crate) use self::wasi::read_wasi;

mod raw_schema {
    use super::raw::CaseFile;

    /// The JSON Schema of case files, for editors and checks.
    #[must_use]
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(CaseFile).into()
    }
}
