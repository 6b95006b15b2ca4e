//! The JSON specifications of wasi-testsuite, beside the programs they are about.
//!
//! Both forms are read: the flat one (`args`, `dirs`, `env`, `exit_code`, `stdout`, `stderr`) and the list of
//! `operations` (`run`, `read`, `wait`). The layout is that of the suite's `doc/specification.md`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use mountless::open::ImageRef;
use mountless_wasi::run::Preopen;
use serde::Deserialize;

use crate::case::{Case, CaseId, End, Input, ProgramAt, TextExpect, Volume};
use crate::diagnostic::Diagnostic;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Spec {
    args: Vec<String>,
    dirs: Vec<String>,
    root: Option<String>,
    env: BTreeMap<String, String>,
    exit_code: Option<i32>,
    stdout: Option<String>,
    stderr: Option<String>,
    proposals: Vec<String>,
    #[serde(rename = "world")]
    _world: Option<String>,
    operations: Vec<Operation>,
    servers: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Operation {
    Run {
        #[serde(default)]
        args: Vec<String>,
        #[serde(default)]
        env: BTreeMap<String, String>,
        #[serde(default)]
        dirs: Vec<String>,
        root: Option<String>,
    },
    Read {
        #[serde(default)]
        id: String,
        #[serde(default)]
        payload: String,
    },
    Write {
        #[serde(default)]
        payload: String,
    },
    Wait {
        #[serde(default)]
        exit_code: i32,
    },
    #[serde(other)]
    Other,
}

/// The case of the program at `wasm`, as the specification beside it says if there is one.
pub(crate) fn read_wasi(wasm: &Path, group: &str) -> Result<Case, Diagnostic> {
    let json = wasm.with_extension("json");
    let id = |file: &Path| CaseId { group: group.to_owned(), name: String::new(), file: file.to_owned(), line: 1 };
    let program = ProgramAt::Host(wasm.to_owned());
    let text = match fs::read_to_string(&json) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut case = Case::at(id(wasm), program);
            case.preopens = Some(Vec::new());
            return Ok(case);
        }
        Err(error) => return Err(Diagnostic::in_file(&json, format!("cannot read the specification: {error}"))),
    };
    let spec: Spec = serde_json::from_str(&text).map_err(|error| {
        let line_start = text.lines().take(error.line().saturating_sub(1)).map(|line| line.len().saturating_add(1));
        let at = line_start.sum::<usize>().saturating_add(error.column().saturating_sub(1));
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or(&message).to_owned();
        Diagnostic::at(&json, &text, at..at.saturating_add(1), message)
    })?;
    let mut case = Case::at(id(&json), program);
    apply(&mut case, spec, json.parent().unwrap_or(Path::new("")));
    Ok(case)
}

fn apply(case: &mut Case, spec: Spec, base: &Path) {
    let mut dirs = spec.dirs;
    let mut root = spec.root;
    case.args = spec.args;
    case.env = spec.env;
    let mut code = spec.exit_code;
    let (mut stdout, mut stderr) = (spec.stdout, spec.stderr);
    let mut stdin = String::new();
    // The suite's proposals (http, sockets) need a server to talk to.
    let mut unsupported = spec.proposals.first().map(|proposal| format!("needs the proposal {proposal}"));
    if !spec.servers.is_empty() {
        unsupported = Some("needs a server to talk to".to_owned());
    }
    for operation in spec.operations {
        match operation {
            Operation::Run { args, env, dirs: more, root: other } => {
                case.args = args;
                case.env = env;
                dirs = more;
                root = other.or(root);
            }
            Operation::Read { id, payload } => {
                let stream = if id == "stderr" { &mut stderr } else { &mut stdout };
                stream.get_or_insert_default().push_str(&payload);
            }
            Operation::Write { payload } => stdin.push_str(&payload),
            Operation::Wait { exit_code } => code = Some(exit_code),
            Operation::Other => unsupported = Some("needs a server to talk to".to_owned()),
        }
    }
    case.skip = unsupported;
    case.expect.end = End::Codes(vec![code.unwrap_or(0)]);
    case.expect.stdout = stdout.map(TextExpect::exact);
    case.expect.stderr = stderr.map(TextExpect::exact);
    case.stdin = if stdin.is_empty() { Input::Empty } else { Input::Text(stdin.into_bytes()) };
    let mut preopens = Vec::new();
    if let Some(root) = root {
        case.images.push(ImageRef::from_path(base.join(root)));
        preopens.push(Preopen::new("/", "/"));
    }
    for dir in &dirs {
        let path = format!("/{}", dir.trim_matches('/'));
        let image = ImageRef::from_path(base.join(dir));
        case.volumes.push(Volume { image, path: path.clone(), read_only: false });
        preopens.push(Preopen::new(dir, &path));
    }
    case.preopens = Some(preopens);
}
