//! Case files in TOML.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use mountless::attr::FileType;
use mountless::compose::crash::Promises;
use toml::Spanned;

use super::raw::{
    CaseFile, RawCrash, RawExpect, RawFile, RawFileExpect, RawInput, RawLimits, RawPromises, RawText, RawVerifies,
    RawVerify, Settings,
};
use super::value::{Exit, Flag, List, RawFault, Seed, Short};
use crate::case::{
    Case, CaseId, Crash, End, Expect, FileExpect, Input, Limits, NewFile, NewFileKind, ProgramAt, TextExpect, Verify,
    Volume, image_ref,
};
use crate::diagnostic::Diagnostic;

/// Whether a TOML file that nobody named holds cases: it has a program or a list of cases at its top.
pub(crate) fn is_case_file(text: &str) -> bool {
    match text.parse::<toml::Table>() {
        Ok(table) => ["case", "program"].iter().any(|key| table.contains_key(*key)),
        // Whoever writes a case file wants to hear about this mistake.
        Err(_) => ["[[case", "program"].iter().any(|start| text.lines().any(|line| line.starts_with(start))),
    }
}

/// Reads a case file; `group` is what its cases are called together.
pub(crate) fn read_toml(path: &Path, group: &str) -> Result<Vec<Case>, Diagnostic> {
    let text = fs::read_to_string(path)
        .map_err(|error| Diagnostic::in_file(path, format!("cannot read the case file: {error}")))?;
    let file: CaseFile = toml::from_str(&text).map_err(|error| broken(path, &text, &error))?;
    let (shared, cases) = file.into_parts();
    let lines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect();
    Reader { path, base: path.parent().unwrap_or(Path::new("")), text: &text, lines, group }.cases(shared, cases)
}

fn broken(path: &Path, text: &str, error: &toml::de::Error) -> Diagnostic {
    let message = error.message().to_owned();
    let span = error.span().unwrap_or(0..0);
    let is_dotted = message.contains("cannot extend value of type inline table") || message.contains("duplicate key");
    let diagnostic = Diagnostic::at(path, text, span, message);
    if is_dotted && text.contains("expect") {
        return diagnostic.help(
            "a table in braces is complete: write `expect.exit = 0` and `expect.diff = …` on lines of their own, \
             or everything in the braces",
        );
    }
    diagnostic
}

struct Reader<'a> {
    path: &'a Path,
    base: &'a Path,
    text: &'a str,
    /// Where they end: a file may have thousands of cases.
    lines: Vec<usize>,
    group: &'a str,
}

impl Reader<'_> {
    fn wrong<T>(&self, at: &Spanned<T>, message: impl Into<String>) -> Diagnostic {
        Diagnostic::at(self.path, self.text, at.span(), message)
    }

    /// The line, from 1 on, that holds the byte at `offset`.
    fn line(&self, offset: usize) -> usize {
        self.lines.partition_point(|&end| end < offset).saturating_add(1)
    }

    /// The first place where `text` stands in quotes: what serde has no place for.
    fn find(&self, text: &str) -> Spanned<()> {
        let start = self.text.find(text).unwrap_or(0);
        Spanned::new(start..start.saturating_add(text.len()), ())
    }

    fn cases(&self, shared: Settings, cases: Vec<(Spanned<String>, Settings)>) -> Result<Vec<Case>, Diagnostic> {
        if cases.is_empty() {
            return Ok(vec![self.case(None, &shared, &Settings::default())?]);
        }
        let mut names: BTreeMap<String, usize> = BTreeMap::new();
        let mut read = Vec::with_capacity(cases.len());
        for (name, settings) in cases {
            if name.get_ref().trim().is_empty() {
                return Err(self.wrong(&name, "a case needs a name"));
            }
            let line = self.line(name.span().start);
            if let Some(first) = names.insert(name.get_ref().clone(), line) {
                let message = format!("there is a case {:?} already, in line {first}", name.get_ref());
                return Err(self.wrong(&name, message).help("names tell cases apart in reports and filters"));
            }
            read.push(self.case(Some(&name), &shared, &settings)?);
        }
        Ok(read)
    }

    /// A case: what it says itself, and else what the file says.
    fn case(&self, name: Option<&Spanned<String>>, shared: &Settings, own: &Settings) -> Result<Case, Diagnostic> {
        let id = CaseId {
            group: self.group.to_owned(),
            name: name.map(|name| name.get_ref().clone()).unwrap_or_default(),
            file: self.path.to_owned(),
            line: name.map_or(1, |name| self.line(name.span().start)),
        };
        let both = [shared, own];
        let Some(program) = own.program.as_ref().or(shared.program.as_ref()) else {
            let at = name.map_or(0..0, Spanned::span);
            let message = match name {
                Some(name) => format!("the case {:?} has no program", name.get_ref()),
                None => "the file has neither a program nor cases".to_owned(),
            };
            let help = "write `program = \"app.wasm\"` in the case, or at the top for all cases of the file";
            return Err(Diagnostic::at(self.path, self.text, at, message).help(help));
        };
        if program.get_ref().is_empty() {
            return Err(self.wrong(program, "the program has no name"));
        }
        let mut case = Case::at(id, ProgramAt::parse(program.get_ref(), self.base));
        let images = own.image.as_ref().or(shared.image.as_ref());
        case.images = images
            .map_or_else(Vec::new, |List(images)| images.iter().map(|image| image_ref(image, self.base)).collect());
        case.args = own.args.as_ref().or(shared.args.as_ref()).cloned().unwrap_or_default();
        case.env = both.iter().flat_map(|settings| settings.env.clone()).collect();
        if let Some(Short(input)) = own.stdin.as_ref().or(shared.stdin.as_ref()) {
            case.stdin = self.input(input)?;
        }
        case.workdir = own.workdir.as_ref().or(shared.workdir.as_ref()).cloned();
        if let Some(dir) = case.workdir.as_ref().filter(|dir| !dir.starts_with('/')) {
            return Err(self.wrong(&self.find(dir), "the working directory is an absolute path"));
        }
        for volume in own.volumes.iter().chain(own.volumes.is_none().then_some(&shared.volumes).into_iter().flatten()) {
            for text in &volume.0 {
                let volume = Volume::parse(text, self.base).ok_or_else(|| {
                    self.wrong(&self.find(text), "a volume is SRC:/PATH or SRC:/PATH:ro, with an absolute path")
                })?;
                case.volumes.push(volume);
            }
        }
        for (path, Short(file)) in both.iter().flat_map(|settings| &settings.files) {
            case.files.insert(self.absolute(path)?.to_owned(), self.new_file(path, file)?);
        }
        case.tags = both.iter().flat_map(|settings| &settings.tags).flat_map(|List(tags)| tags.clone()).collect();
        case.skip = match own.skip.as_ref().or(shared.skip.as_ref()) {
            None | Some(Flag::Off) => None,
            Some(Flag::On) => Some("skip = true".to_owned()),
            Some(Flag::Named(reason)) => Some(reason.clone()),
        };
        case.retries = own.retries.or(shared.retries);
        case.limits = limits(&shared.limits, &own.limits);
        case.deterministic = own.deterministic.or(shared.deterministic).and_then(|Seed(seed)| seed);
        let faults = own.faults.as_ref().or(shared.faults.as_ref());
        case.faults = faults.iter().flat_map(|faults| faults.iter()).map(|RawFault(fault)| fault.clone()).collect();
        if let Some(crash) = own.crash.as_ref().or(shared.crash.as_ref()) {
            case.crash = Some(self.crash(crash)?);
        }
        case.expect = self.expect(&case.id, &shared.expect, &own.expect)?;
        Ok(case)
    }

    fn crash(&self, crash: &RawCrash) -> Result<Crash, Diagnostic> {
        let one = |verify: &RawVerify| match verify {
            RawVerify::Program(program) => Verify { program: ProgramAt::parse(program, self.base), args: Vec::new() },
            RawVerify::Table { program, args } => {
                Verify { program: ProgramAt::parse(program, self.base), args: args.clone() }
            }
        };
        let verify: Vec<Verify> = match crash.verify.get_ref() {
            RawVerifies::One(verify) => vec![one(verify)],
            RawVerifies::Many(list) => list.iter().map(one).collect(),
        };
        if verify.is_empty() {
            let help = "name a program that exits with 0 if what it finds is right";
            return Err(self.wrong(&crash.verify, "nobody says whether what a power cut left is right").help(help));
        }
        let default = Crash::at(crash.at.0);
        Ok(Crash {
            at: default.at,
            verify,
            promises: match crash.promises {
                RawPromises::Posix => Promises::Posix,
                RawPromises::Journal => Promises::Journal,
            },
            random: crash.random.unwrap_or(default.random),
            seed: crash.seed,
            states_max: crash.states.unwrap_or(default.states_max),
        })
    }

    fn absolute<'p>(&self, path: &'p str) -> Result<&'p str, Diagnostic> {
        match path.starts_with('/') {
            true => Ok(path),
            false => Err(self
                .wrong(&self.find(path), format!("{path:?} is not an absolute path"))
                .help("paths inside the images start with a slash")),
        }
    }

    fn input(&self, input: &RawInput) -> Result<Input, Diagnostic> {
        match (&input.text, &input.file) {
            (Some(text), None) => Ok(Input::Text(text.clone().into_bytes())),
            (None, Some(file)) => Ok(Input::File(self.base.join(file))),
            _ => Err(self.wrong(&self.find("stdin"), "standard input needs a text or a file")),
        }
    }

    fn new_file(&self, path: &str, file: &RawFile) -> Result<NewFile, Diagnostic> {
        let mut kinds = Vec::new();
        kinds.extend(file.text.as_ref().map(|text| NewFileKind::Text(text.clone().into_bytes())));
        kinds.extend(file.file.as_ref().map(|file| NewFileKind::Copy(self.base.join(file))));
        kinds.extend(file.dir.then_some(NewFileKind::Dir));
        kinds.extend(file.symlink.clone().map(NewFileKind::Symlink));
        kinds.extend(file.absent.then_some(NewFileKind::Absent));
        match (kinds.pop(), kinds.is_empty()) {
            (Some(kind), true) => Ok(NewFile { kind, mode: file.mode.map(|mode| mode.0) }),
            _ => Err(self.wrong(&self.find(path), "a file needs one of text, file, dir, symlink and absent")),
        }
    }

    fn expect(&self, id: &CaseId, shared: &RawExpect, own: &RawExpect) -> Result<Expect, Diagnostic> {
        let text = |own: &Option<Short<RawText>>, shared: &Option<Short<RawText>>, what: &str| {
            let text = own.as_ref().or(shared.as_ref())?;
            Some(self.text(id, &text.0, what))
        };
        let mut expect = Expect {
            end: self.end(id, own)?.map_or_else(|| self.end(id, shared), |end| Ok(Some(end)))?.unwrap_or_default(),
            stdout: text(&own.stdout, &shared.stdout, "stdout"),
            stderr: text(&own.stderr, &shared.stderr, "stderr"),
            diff: text(&own.diff, &shared.diff, "diff"),
            files: BTreeMap::new(),
        };
        for (path, Short(file)) in shared.files.iter().chain(&own.files) {
            expect.files.insert(self.absolute(path)?.to_owned(), self.file_expect(id, path, file)?);
        }
        Ok(expect)
    }

    fn end(&self, id: &CaseId, expect: &RawExpect) -> Result<Option<End>, Diagnostic> {
        let mut ends = Vec::new();
        ends.extend(expect.exit.as_ref().map(|exit| match exit {
            Exit::Codes(codes) => End::Codes(codes.clone()),
            Exit::Failure => End::Failure,
            Exit::Any => End::AnyCode,
        }));
        let contains = |text: &RawText, what: &str| {
            // A text alone is what the message must have in it; nobody writes a whole trap.
            let mut expect = self.text(id, text, what);
            expect.contains.extend(expect.exact.take().and_then(|text| String::from_utf8(text).ok()));
            expect
        };
        ends.extend(expect.fail.as_ref().map(|Short(text)| End::Fail(contains(text, "fail"))));
        ends.extend(expect.trap.as_ref().map(|Short(text)| End::Trap(contains(text, "trap"))));
        ends.extend(expect.timeout.filter(|&timeout| timeout).map(|_| End::Timeout));
        if ends.len() > 1 {
            let at = Diagnostic::at(self.path, self.text, self.place(id), "a program ends in one way");
            return Err(at.help("of exit, fail, trap and timeout, say one"));
        }
        Ok(ends.pop())
    }

    /// Where a case stands.
    fn place(&self, id: &CaseId) -> core::ops::Range<usize> {
        self.find(&format!("{:?}", id.name)).span()
    }

    fn text(&self, id: &CaseId, text: &RawText, what: &str) -> TextExpect {
        let list = |list: &Option<List<String>>| list.as_ref().map(|List(texts)| texts.clone()).unwrap_or_default();
        TextExpect {
            exact: text.exact.clone().map(String::into_bytes),
            file: text.file.as_ref().map(|file| self.base.join(file)),
            contains: list(&text.contains),
            excludes: list(&text.excludes),
            regex: text.regex.as_ref().map(|pattern| pattern.0.clone()),
            snapshot: match &text.snapshot {
                None | Some(Flag::Off) => None,
                Some(Flag::On) => Some([&*id.slug(), what].iter().filter(|part| !part.is_empty()).fold(
                    String::new(),
                    |name, part| if name.is_empty() { (*part).to_owned() } else { format!("{name}-{part}") },
                )),
                Some(Flag::Named(name)) => Some(name.clone()),
            },
            redact: text.redact.iter().map(|redact| (redact.regex.0.clone(), redact.with.clone())).collect(),
        }
    }

    fn file_expect(&self, id: &CaseId, path: &str, file: &RawFileExpect) -> Result<FileExpect, Diagnostic> {
        let file_type = match &file.file_type {
            None => None,
            Some(word) => Some(file_type(word).ok_or_else(|| {
                let message = format!("{word:?} is not a type of file");
                let help = "the types are file, dir, symlink, char, block, fifo and socket";
                self.wrong(&self.find(word), message).help(help)
            })?),
        };
        let name: String = path.trim_start_matches('/').replace('/', "-");
        let content = file.content().map(|text| self.text(id, &text, &name));
        let says = content.is_some() || file_type.is_some() || file.mode.is_some() || file.size.is_some();
        if file.absent && (says || file.target.is_some()) {
            return Err(self.wrong(&self.find(path), "what is absent has no content and no attributes"));
        }
        Ok(FileExpect {
            absent: file.absent,
            file_type,
            mode: file.mode.map(|mode| mode.0),
            size: file.size,
            target: file.target.clone(),
            content,
        })
    }
}

fn file_type(word: &str) -> Option<FileType> {
    use FileType as T;
    [T::File, T::Dir, T::Symlink, T::Char, T::Block, T::Fifo, T::Socket].into_iter().find(|kind| kind.word() == word)
}

fn limits(shared: &RawLimits, own: &RawLimits) -> Limits {
    let default = Limits::default();
    Limits {
        time: own.time.or(shared.time).map_or(default.time, |time| time.0),
        memory: own.memory.or(shared.memory).map_or(default.memory, |size| size.0),
        output: own.output.or(shared.output).map_or(default.output, |size| size.0),
        disk: own.disk.or(shared.disk).map_or(default.disk, |size| size.0),
    }
}
