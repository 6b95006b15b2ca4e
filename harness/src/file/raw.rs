//! What a case file may say, as serde reads it. The doc comments here are what the JSON Schema shows to editors.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

use super::value::{ByteCount, Cut, Exit, Flag, List, Mode, Pattern, RawFault, Seed, Short, Time};

/// Declares a file's top level and a case of it: both take the same settings, and serde's `flatten` would lose the
/// places of mistakes.
macro_rules! settings {
    ($($(#[$doc:meta])* $field:ident: $type:ty,)*) => {
        /// Test cases for `mountless test`: settings that all cases share, and the cases. Without `[[case]]`, the file
        /// is one case.
        #[derive(Debug, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
        #[derive(Default)]
        pub(crate) struct CaseFile {
            /// Where this file's JSON Schema is, for editors.
            #[serde(rename = "$schema")]
            pub(crate) schema: Option<String>,
            /// The cases.
            pub(crate) case: Vec<CaseTable>,
            $($(#[$doc])* pub(crate) $field: $type,)*
        }

        /// One case; what it does not say, the top of the file says.
        #[derive(Debug, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case")]
        pub(crate) struct CaseTable {
            /// What the case is called; unique in its file.
            #[schemars(with = "String")]
            pub(crate) name: Spanned<String>,
            $($(#[$doc])* #[serde(default)] pub(crate) $field: $type,)*
        }

        impl CaseFile {
            /// The cases, and the settings they share.
            pub(crate) fn into_parts(self) -> (Settings, Vec<(Spanned<String>, Settings)>) {
                let cases = self.case.into_iter().map(|case| (case.name, Settings { $($field: case.$field,)* }));
                (Settings { $($field: self.$field,)* }, cases.collect())
            }
        }

        /// What both levels may say.
        #[derive(Debug, Default)]
        pub(crate) struct Settings {
            $(pub(crate) $field: $type,)*
        }
    };
}

settings! {
    /// Images that are merged into the program's file system, the lowest first; relative to this file.
    image: Option<List<String>>,
    /// The program: a `.wasm` file relative to this file, or `image:/path` for one in the images.
    #[schemars(with = "Option<String>")]
    program: Option<Spanned<String>>,
    /// Arguments, without the program's name.
    args: Option<Vec<String>>,
    /// Variables of the environment, which starts empty. A case adds to those of the file.
    env: BTreeMap<String, String>,
    /// What the program reads from standard input.
    stdin: Option<Short<RawInput>>,
    /// Where the program starts: an absolute path.
    workdir: Option<String>,
    /// Host directories and images at paths below the root, as `SRC:/PATH` or `SRC:/PATH:ro`. They never change: each
    /// case sees its own copy.
    volumes: Option<List<String>>,
    /// Files to be there before the program starts. A case adds to those of the file.
    files: BTreeMap<String, Short<RawFile>>,
    /// Words to select cases by. A case adds to those of the file.
    tags: Option<List<String>>,
    /// Leaves the case out: `true`, or why.
    skip: Option<Flag>,
    /// How often a failing case is tried again.
    retries: Option<u32>,
    /// Bounds on what the program may use.
    limits: RawLimits,
    /// Makes runs repeat: clocks start at a fixed time and never wait, random bytes follow from a seed. `true`, or the
    /// seed.
    deterministic: Option<Seed>,
    /// Calls on the file system that fail on purpose. Each must strike.
    faults: Option<Vec<RawFault>>,
    /// Power cuts while the program runs: what the disk may hold after each is checked by other programs.
    crash: Option<RawCrash>,
    /// What must come out. Without it: exit code 0.
    expect: RawExpect,
}

/// Power cuts while the program runs.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(rename = "Crash")]
#[serde(deny_unknown_fields)]
pub(crate) struct RawCrash {
    /// Where the power is cut: `"every-sync"`, `"every-write"`, or `{ sample = N }` for N of all places.
    pub(crate) at: Cut,
    /// Programs that are run on what is left, one after the other; each must exit with 0. What the program had printed
    /// by then is their standard input.
    #[schemars(with = "RawVerifies")]
    pub(crate) verify: Spanned<RawVerifies>,
    /// What the file system promises: `"posix"` (the default), or `"journal"` for what ext4, XFS and btrfs do.
    #[serde(default)]
    pub(crate) promises: RawPromises,
    /// Random mixtures of lost writes to try at each cut, besides those that are always tried; 8 if nothing is said.
    #[serde(default)]
    pub(crate) random: Option<u32>,
    /// What the mixtures follow from.
    #[serde(default)]
    pub(crate) seed: u64,
    /// Most states to try; 10,000 if nothing is said. If there are more, those that are tried are spread over the run.
    #[serde(default)]
    pub(crate) states: Option<u64>,
}

/// See `docs/crash.md`.
#[derive(Debug, Default, Clone, Copy, Deserialize, JsonSchema)]
#[schemars(rename = "Promises")]
#[serde(rename_all = "lowercase")]
pub(crate) enum RawPromises {
    /// Content by syncing the file, names by syncing the directory.
    #[default]
    Posix,
    /// Names in their order, any sync makes all earlier names durable.
    Journal,
}

/// A program, or a list of programs.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(rename = "Verifies")]
#[serde(untagged, expecting = "expected a program, a table with program and args, or a list of these")]
pub(crate) enum RawVerifies {
    /// One.
    One(RawVerify),
    /// Several.
    Many(Vec<RawVerify>),
}

/// A program that says whether what is left is right.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(rename = "Verify")]
#[serde(untagged, expecting = "expected a program, or a table with program and args")]
pub(crate) enum RawVerify {
    /// Without arguments.
    Program(String),
    /// With arguments.
    Table {
        /// The program: a `.wasm` file relative to this file, or `image:/path` for one in the images.
        program: String,
        /// Its arguments.
        #[serde(default)]
        args: Vec<String>,
    },
}

/// Bounds on what a program may use.
#[derive(Debug, Default, Clone, Deserialize, JsonSchema)]
#[schemars(rename = "Limits")]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawLimits {
    /// Longest time it may run, for example `5s` or `500ms`; one minute if nothing is said.
    pub(crate) time: Option<Time>,
    /// Largest size of its memory, for example `64 MiB`; 1 GiB if nothing is said.
    pub(crate) memory: Option<ByteCount>,
    /// Most that it may write to standard output, and to standard error; 16 MiB if nothing is said.
    pub(crate) output: Option<ByteCount>,
    /// Most that the files it writes may hold together; 1 GiB if nothing is said.
    pub(crate) disk: Option<ByteCount>,
}

/// What must come out.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(rename = "Expect")]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawExpect {
    /// Exit code: a number, a list of numbers, `"failure"` for any but 0, or `"any"`.
    pub(crate) exit: Option<Exit>,
    /// The program must fail: exit with any code but 0, or trap. A text must be in its standard error, or in the
    /// message of the trap.
    pub(crate) fail: Option<Short<RawText>>,
    /// The program must trap, with this in the message.
    pub(crate) trap: Option<Short<RawText>>,
    /// The program must still be running when its time is up.
    pub(crate) timeout: Option<bool>,
    /// Standard output.
    pub(crate) stdout: Option<Short<RawText>>,
    /// Standard error.
    pub(crate) stderr: Option<Short<RawText>>,
    /// What the program changed in the file system, as text; the empty text for nothing.
    pub(crate) diff: Option<Short<RawText>>,
    /// Files after the run, by absolute path: their text, `true` for being there, `false` for not being there, or more.
    pub(crate) files: BTreeMap<String, Short<RawFileExpect>>,
}

/// What a text must be; everything said must hold.
#[derive(Debug, Default, Clone, Deserialize, JsonSchema)]
#[schemars(rename = "Text")]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawText {
    /// It is exactly this.
    pub(crate) exact: Option<String>,
    /// It is exactly what this file holds; relative to the case file.
    pub(crate) file: Option<String>,
    /// It contains this, or all of these.
    pub(crate) contains: Option<List<String>>,
    /// It contains this not, or none of these.
    pub(crate) excludes: Option<List<String>>,
    /// This regular expression is found in it; `^` and `$` match at its ends, with `(?m)` at those of lines.
    pub(crate) regex: Option<Pattern>,
    /// It is what the snapshot holds: `true`, or the snapshot's name.
    pub(crate) snapshot: Option<Flag>,
    /// What to replace before anything is compared.
    pub(crate) redact: Vec<RawRedaction>,
}

/// A replacement of what differs from run to run.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(rename = "Redaction")]
#[serde(deny_unknown_fields)]
pub(crate) struct RawRedaction {
    /// What to replace.
    pub(crate) regex: Pattern,
    /// What to put there; `$1` is the first group.
    pub(crate) with: String,
}

/// A file after the run; everything said must hold.
#[derive(Debug, Default, Clone, Deserialize, JsonSchema)]
#[schemars(rename = "FileExpect")]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawFileExpect {
    /// Nothing has this name.
    pub(crate) absent: bool,
    /// `file`, `dir`, `symlink` and so on.
    #[serde(rename = "type")]
    pub(crate) file_type: Option<String>,
    /// Permission bits in octal, for example `"0644"`.
    pub(crate) mode: Option<Mode>,
    /// Bytes.
    pub(crate) size: Option<u64>,
    /// Where a symbolic link leads.
    pub(crate) target: Option<String>,
    /// Its content is exactly this.
    pub(crate) exact: Option<String>,
    /// Its content is exactly what this file holds; relative to the case file.
    pub(crate) file: Option<String>,
    /// Its content contains this, or all of these.
    pub(crate) contains: Option<List<String>>,
    /// Its content contains this not, or none of these.
    pub(crate) excludes: Option<List<String>>,
    /// This regular expression is found in its content.
    pub(crate) regex: Option<Pattern>,
    /// Its content is what the snapshot holds: `true`, or the snapshot's name.
    pub(crate) snapshot: Option<Flag>,
    /// What to replace before anything is compared.
    pub(crate) redact: Vec<RawRedaction>,
}

impl RawFileExpect {
    /// What is said of the content, if anything is.
    pub(crate) fn content(&self) -> Option<RawText> {
        let Self { exact, file, contains, excludes, regex, snapshot, redact, .. } = self.clone();
        let says = exact.is_some() || file.is_some() || contains.is_some() || excludes.is_some() || regex.is_some();
        (says || snapshot.is_some()).then_some(RawText { exact, file, contains, excludes, regex, snapshot, redact })
    }
}

/// Standard input from a file.
#[derive(Debug, Default, Clone, Deserialize, JsonSchema)]
#[schemars(rename = "Input")]
#[serde(deny_unknown_fields)]
pub(crate) struct RawInput {
    /// The file; relative to the case file.
    #[serde(default)]
    pub(crate) file: Option<String>,
    /// The text itself.
    #[serde(default)]
    pub(crate) text: Option<String>,
}

/// A file to be there before the program starts.
#[derive(Debug, Default, Clone, Deserialize, JsonSchema)]
#[schemars(rename = "File")]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawFile {
    /// Its content.
    pub(crate) text: Option<String>,
    /// A file that holds its content; relative to the case file.
    pub(crate) file: Option<String>,
    /// A directory instead.
    pub(crate) dir: bool,
    /// A symbolic link to there instead.
    pub(crate) symlink: Option<String>,
    /// Nothing: what the images have there is removed.
    pub(crate) absent: bool,
    /// Permission bits in octal, for example `"0755"`.
    pub(crate) mode: Option<Mode>,
}
