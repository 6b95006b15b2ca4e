//! Images that a command changes: opened once each, saved together at the end, or not at all.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;
use std::sync::Arc;

use mountless::clock::{Clock, ManualClock, SystemClock};
use mountless::edit::Editor;
use mountless::errno::Errno;
use mountless::error::Error;
use mountless::namespace::Namespace;
use mountless::open::{ImageRef, split_path};
use mountless::transfer::Progress;

use crate::commands::pack::{source_date_epoch, tell};
use crate::failure::{EXIT_FAILED, EXIT_UNREADABLE, Failure, Result};
use crate::image::{OpenArgs, opening, unreadable};
use crate::progress;

/// The images that one command line changes.
pub(crate) struct Edits {
    args: OpenArgs,
    clock: Arc<dyn Clock>,
    open: Vec<(OsString, Editor)>,
}

/// A path in an image, as it was given.
pub(crate) struct Place<'a> {
    pub(crate) argument: &'a OsStr,
    pub(crate) reference: &'a OsStr,
    /// Absolute.
    pub(crate) path: &'a [u8],
}

impl<'a> Place<'a> {
    /// Takes `IMAGE:/PATH` apart.
    pub(crate) fn parse(argument: &'a OsStr) -> Result<Self> {
        match split_path(argument) {
            (reference, Some(path)) => Ok(Self { argument, reference, path }),
            (_, None) => {
                let message = format!("cannot change: {}: no path in an image", argument.to_string_lossy());
                Err(Failure::new(EXIT_UNREADABLE, message).next("a path in an image is written IMAGE:/PATH"))
            }
        }
    }

    /// A failure here.
    pub(crate) fn failed(&self, error: &Error) -> Failure {
        let argument = self.argument.to_string_lossy();
        if error.corrupt().is_some() {
            return Failure::new(EXIT_UNREADABLE, format!("cannot read image: {argument}: {error}"));
        }
        let failure = Failure::new(EXIT_FAILED, format!("cannot change: {argument}: {error}"));
        match error.errno() {
            Errno::NotFound => {
                failure.next("`mountless find IMAGE` lists all paths; `mountless mkdir -p` makes directories")
            }
            Errno::IsDir | Errno::NotEmpty => failure.next("-r includes what is in a directory"),
            Errno::NoSpace => failure.next("the image is full"),
            _ => failure,
        }
    }

    /// The last name of the path; nothing for the root.
    pub(crate) fn name(&self) -> &'a [u8] {
        last_name(self.path)
    }
}

/// The last component of a path that is not a slash.
pub(crate) fn last_name(path: &[u8]) -> &[u8] {
    path.split(|byte| *byte == b'/').rfind(|name| !name.is_empty()).unwrap_or_default()
}

impl Edits {
    pub(crate) fn new(args: OpenArgs) -> Result<Self> {
        let clock: Arc<dyn Clock> = match source_date_epoch()? {
            // Nanoseconds since 1970 end in the year 2554.
            Some(secs) => Arc::new(ManualClock::new(u64::try_from(secs).unwrap_or(0).saturating_mul(1_000_000_000))),
            None => Arc::new(SystemClock),
        };
        Ok(Self { args, clock, open: Vec::new() })
    }

    /// The image to change, opened if it is not.
    pub(crate) fn editor(&mut self, reference: &OsStr) -> Result<&Editor> {
        let at = match self.open.iter().position(|(open, _)| open == reference) {
            Some(at) => at,
            None => {
                let shown = reference.to_string_lossy();
                let (options, clock) = (self.args.options(), Arc::clone(&self.clock));
                let opened = opening(&shown, &options, || Editor::open(&ImageRef::parse(reference), &options, clock));
                let editor = opened.map_err(|error| match error.errno() {
                    Errno::NotSupported | Errno::Busy => {
                        let message = format!("cannot change: {shown}: {error}");
                        Failure::new(EXIT_FAILED, message)
                    }
                    _ => unreadable(&error),
                })?;
                self.open.push((reference.to_owned(), editor));
                self.open.len().saturating_sub(1)
            }
        };
        // OK: found or just pushed.
        let editor = self.open.get(at).map(|(_, editor)| editor);
        editor.ok_or_else(|| Failure::new(EXIT_FAILED, "an image that was opened is gone"))
    }

    /// Changes something at a place.
    pub(crate) fn change<T>(
        &mut self,
        place: &Place<'_>,
        change: impl FnOnce(&Namespace, &[u8]) -> mountless::Result<T>,
    ) -> Result<T> {
        let namespace = self.editor(place.reference)?.namespace();
        change(namespace, place.path).map_err(|error| place.failed(&error))
    }

    /// Makes everything durable.
    pub(crate) fn save(self) -> Result {
        for (reference, editor) in self.open {
            let shown = reference.to_string_lossy();
            let progress = Progress::new();
            let saved = progress::watch("writing", &shown, &progress, || editor.save(&progress));
            let report = saved.map_err(|error| {
                let failure = Failure::new(EXIT_FAILED, format!("cannot save: {shown}: {error}"));
                failure.next("the image is as it was before")
            })?;
            if let Some(report) = report {
                tell(&report.lost, report.lost_count);
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
