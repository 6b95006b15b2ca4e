//! The suite on an overlay whose changes are recorded; made again on another one, they lead to the same tree.

use std::sync::Arc;

use mountless::compose::crash::{Fate, Recorder, Replay};
use mountless::conformance::{Capabilities, Case};
use mountless::fs::FileSystem;
use mountless::transfer::diff::diff;

/// Runs a case on `fs`, and makes what was recorded again on `again`, which holds the same.
pub(crate) fn run(case: Case, can: Capabilities, fs: Arc<dyn FileSystem>, again: Arc<dyn FileSystem>) {
    let recorder = Arc::new(Recorder::new(Arc::clone(&fs), || 0));
    case.run(Arc::clone(&recorder) as Arc<dyn FileSystem>, can);
    let recording = recorder.take();
    let mut replay = Replay::new(&recording, again);
    for step in 0..recording.steps().len() {
        replay.apply(step, Fate::Kept).unwrap_or_else(|error| panic!("{}: {error}", recording.describe(step)));
    }
    let mut paths = Vec::new();
    diff(&fs, replay.fs(), |change| {
        paths.push(String::from_utf8_lossy(&change.path).into_owned());
        Ok(())
    })
    .unwrap();
    assert!(paths.is_empty(), "{paths:?} after {:#?}", recording.steps());
}
