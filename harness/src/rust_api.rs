//! Cases in Rust: run one, and say what must have come out.

use std::sync::{Arc, Mutex, PoisonError};

use mountless_wasi::run::{Cache, Outcome};

use crate::case::{Case, FileExpect, TextExpect};
use crate::check::{Mismatch, check_file, check_text, ended, excerpt, shown};
use crate::crash;
use crate::engine::{CannotRun, Engine, Ran};
use crate::trap::readable;
use crate::tree::tree_diff;

/// The engine of all cases of this process that are run by [`Case::run`].
fn engine() -> Result<Arc<Engine>, CannotRun> {
    static ENGINE: Mutex<Option<Arc<Engine>>> = Mutex::new(None);
    let mut engine = ENGINE.lock().unwrap_or_else(PoisonError::into_inner);
    match &*engine {
        Some(engine) => Ok(Arc::clone(engine)),
        None => Ok(Arc::clone(engine.insert(Arc::new(Engine::new(&Cache::User)?)))),
    }
}

impl Case {
    /// Runs the program on a view of its own. Nothing is compared yet: see the assertions of [`Ran`]. Images and
    /// compiled programs are shared by all cases of the process.
    ///
    /// # Errors
    /// If it cannot be run: an image or the program is missing or broken.
    pub fn run(&self) -> Result<Ran, CannotRun> {
        engine()?.run(self)
    }

    /// Runs the program, and checks what the disk may hold after each of the case's
    /// [`power_cuts`](Self::power_cuts). How many states that were; panics if one is wrong, and if there are no cuts.
    ///
    /// # Errors
    /// If it cannot be run.
    #[track_caller]
    #[expect(clippy::panic, reason = "assertions panic; that is how a test in Rust fails")]
    pub fn assert_survives_power_cuts(&self) -> Result<usize, CannotRun> {
        let Some(crash) = &self.crash else { panic!("the case has no power cuts") };
        let engine = engine()?;
        let (ran, recording) = crash::record(&engine, self)?;
        let explored = crash::explore(&engine, self, crash, (&ran, &recording), 1)?;
        match explored.failure {
            None => Ok(explored.states),
            Some(Mismatch { what, detail }) => panic!("{what}\n{detail}"),
        }
    }
}

/// Assertions. Each panics if it does not hold, with what the program said, and else gives the same back.
#[expect(clippy::panic, reason = "assertions panic; that is how a test in Rust fails")]
impl Ran {
    #[track_caller]
    fn assert(&self, mismatches: &[Mismatch]) -> &Self {
        let Some(first) = mismatches.first() else { return self };
        let stderr = shown(&self.stderr);
        panic!("{}\n{}\nended with {}; stderr:\n{}", first.what, first.detail, ended(&self.outcome), excerpt(&stderr))
    }

    /// It returned or exited with this code.
    #[track_caller]
    pub fn assert_exit(&self, code: i32) -> &Self {
        if self.outcome == Outcome::Exited(code) {
            return self;
        }
        let detail = if let Outcome::Trapped(message) = &self.outcome { readable(message) } else { String::new() };
        let what = format!("expected exit code {code}, found {}", ended(&self.outcome));
        self.assert(&[Mismatch { what, detail }])
    }

    /// It trapped.
    #[track_caller]
    pub fn assert_trap(&self) -> &Self {
        match &self.outcome {
            Outcome::Trapped(_) => self,
            other => {
                let what = format!("expected a trap, found {}", ended(other));
                self.assert(&[Mismatch { what, detail: String::new() }])
            }
        }
    }

    /// Standard output is exactly this.
    #[track_caller]
    pub fn assert_stdout(&self, text: impl AsRef<[u8]>) -> &Self {
        self.assert(&check_text("stdout", &TextExpect::exact(text.as_ref()), &self.stdout))
    }

    /// Standard error is exactly this.
    #[track_caller]
    pub fn assert_stderr(&self, text: impl AsRef<[u8]>) -> &Self {
        self.assert(&check_text("stderr", &TextExpect::exact(text.as_ref()), &self.stderr))
    }

    /// Standard output has this in it.
    #[track_caller]
    pub fn assert_stdout_contains(&self, part: impl Into<String>) -> &Self {
        let expect = TextExpect { contains: vec![part.into()], ..TextExpect::default() };
        self.assert(&check_text("stdout", &expect, &self.stdout))
    }

    /// Standard error has this in it.
    #[track_caller]
    pub fn assert_stderr_contains(&self, part: impl Into<String>) -> &Self {
        let expect = TextExpect { contains: vec![part.into()], ..TextExpect::default() };
        self.assert(&check_text("stderr", &expect, &self.stderr))
    }

    /// A file holds exactly this after the run.
    #[track_caller]
    pub fn assert_file(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        let content = Some(TextExpect::exact(content.as_ref()));
        self.assert(&check_file(path, &FileExpect { content, ..FileExpect::default() }, self))
    }

    /// Nothing has this name after the run.
    #[track_caller]
    pub fn assert_absent(&self, path: &str) -> &Self {
        self.assert(&check_file(path, &FileExpect { absent: true, ..FileExpect::default() }, self))
    }

    /// What the program changed is exactly this, in the form of [`diff`](Self::diff); nothing for the empty text.
    #[track_caller]
    pub fn assert_diff(&self, text: impl AsRef<[u8]>) -> &Self {
        let diff = self.diff().unwrap_or_else(|error| panic!("the trees cannot be compared: {error}"));
        self.assert(&check_text("diff", &TextExpect::exact(text.as_ref()), diff.as_bytes()))
    }

    /// What the program changed, as text: a line a path, `A` for added, `M` for modified and `D` for deleted, and text
    /// that is short with a bar in front. Volumes are not in it.
    ///
    /// # Errors
    /// Those of reading the trees.
    pub fn diff(&self) -> mountless::Result<String> {
        tree_diff(&self.before, &self.after)
    }
}
