//! Finding cases in directories.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::case::Case;
use crate::diagnostic::Diagnostic;
use crate::file::{has_companion, is_case_file, read_plain, read_toml, read_wasi};

/// What was found.
#[derive(Debug, Default)]
pub struct Discovered {
    /// The cases, in the order of their files and in these from top to bottom.
    pub cases: Vec<Case>,
    /// What is wrong with files; their cases are not among the others.
    pub mistakes: Vec<Diagnostic>,
    /// TOML files without a program or cases: somebody else's.
    pub left_out: Vec<PathBuf>,
}

/// Finds the cases in files and, recursively, in directories. Hidden directories, `target` and `snapshots` are left out
/// below those that are named.
///
/// In a directory, these are cases: TOML files with `program` or `[[case]]` at the top; programs (`.wasm`) with a JSON
/// specification of wasi-testsuite beside them, or in a directory with the suite's `manifest.json`; programs with a file
/// of the same name that says what goes in or comes out (`NAME.stdout` and so on). A file that is named is a case
/// whatever is beside it.
#[must_use]
pub fn discover<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Discovered {
    discover_from(Path::new(""), paths)
}

/// The same, with paths from `base`, which the names of cases leave out.
#[must_use]
pub fn discover_from<P: AsRef<Path>>(base: &Path, paths: impl IntoIterator<Item = P>) -> Discovered {
    let mut search = Search { base, seen: BTreeSet::new(), found: Discovered::default() };
    for path in paths {
        search.named(&base.join(path));
    }
    search.found
}

struct Search<'a> {
    base: &'a Path,
    /// Files may be named twice, and lie in a directory that is named.
    seen: BTreeSet<PathBuf>,
    found: Discovered,
}

impl Search<'_> {
    fn named(&mut self, path: &Path) {
        if path.is_dir() {
            return self.dir(path);
        }
        match path.extension().and_then(|extension| extension.to_str()) {
            _ if !path.exists() => self.mistake(Diagnostic::in_file(path, "there is no such file or directory")),
            Some("toml") => self.toml(path),
            Some("wasm") => self.program(path),
            Some("json") if path.with_extension("wasm").is_file() => self.program(&path.with_extension("wasm")),
            _ => self.mistake(
                Diagnostic::in_file(path, "this is not a case file")
                    .help("cases are .toml files, or .wasm files with what they must print beside them"),
            ),
        }
    }

    fn dir(&mut self, path: &Path) {
        let entries = fs::read_dir(path).and_then(|entries| {
            let names: Result<Vec<_>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
            names
        });
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(error) => {
                return self.mistake(Diagnostic::in_file(path, format!("cannot list the directory: {error}")));
            }
        };
        entries.sort();
        // As people write it: `cases/x.toml`, not `./cases/x.toml`.
        let plain = |path: PathBuf| path.strip_prefix(".").map(Path::to_owned).unwrap_or(path);
        let entries: Vec<PathBuf> = entries.into_iter().map(plain).collect();
        let is_suite = path.join("manifest.json").is_file();
        for entry in entries {
            let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let extension = entry.extension().and_then(|extension| extension.to_str());
            if entry.is_dir() {
                // A link may lead back up; what is linked is found where it is.
                let is_left_out = name.starts_with('.') || name == "target" || name == "snapshots";
                if !is_left_out && !entry.is_symlink() {
                    self.dir(&entry);
                }
            } else if extension == Some("toml") {
                match fs::read_to_string(&entry) {
                    Ok(text) if !is_case_file(&text) => self.found.left_out.push(entry),
                    _ => self.toml(&entry),
                }
            } else if extension == Some("wasm")
                && (is_suite || entry.with_extension("json").is_file() || has_companion(&entry))
            {
                self.program(&entry);
            }
        }
    }

    fn mistake(&mut self, mistake: Diagnostic) {
        self.found.mistakes.push(mistake);
    }

    /// What a file's cases are called together: its path without the extension.
    fn group(&self, path: &Path) -> String {
        let path = path.strip_prefix(self.base).unwrap_or(path).with_extension("");
        let path = path.strip_prefix(".").map(Path::to_path_buf).unwrap_or(path);
        path.to_string_lossy().into_owned()
    }

    fn is_new(&mut self, path: &Path) -> bool {
        self.seen.insert(fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()))
    }

    fn toml(&mut self, path: &Path) {
        if self.is_new(path) {
            match read_toml(path, &self.group(path)) {
                Ok(cases) => self.found.cases.extend(cases),
                Err(mistake) => self.mistake(mistake),
            }
        }
    }

    fn program(&mut self, wasm: &Path) {
        if self.is_new(wasm) {
            let group = self.group(wasm);
            let is_plain = !wasm.with_extension("json").is_file() && has_companion(wasm);
            match if is_plain { read_plain(wasm, &group) } else { read_wasi(wasm, &group) } {
                Ok(case) => self.found.cases.push(case),
                Err(mistake) => self.mistake(mistake),
            }
        }
    }
}
