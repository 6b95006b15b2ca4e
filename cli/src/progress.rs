//! A bar for what takes longer than a second, on terminals only.

use std::io::IsTerminal as _;
use std::sync::mpsc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mountless::transfer::Progress;

const BAR: &str = "{msg} [{bar:30}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
const COUNT: &str = "{msg} {bytes} {bytes_per_sec} {spinner}";
const SPINNER: &str = "{msg} {spinner}";

/// Does `work` and shows, from the second second on, how far it is.
pub(crate) fn watch<T>(doing: &'static str, what: &str, progress: &Progress, work: impl FnOnce() -> T) -> T {
    if !std::io::stderr().is_terminal() {
        return work();
    }
    progress.want_total();
    let (done, waiting) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let waited = |time| waiting.recv_timeout(time) == Err(mpsc::RecvTimeoutError::Timeout);
            if !waited(Duration::from_secs(1)) {
                return;
            }
            // Nothing is drawn before it is known what.
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
            bar.set_message(format!("{doing} {what}"));
            let mut shown = "";
            while waited(Duration::from_millis(100)) {
                let (done, total) = progress.get();
                bar.set_length(total);
                bar.set_position(done);
                let template = match (done, total) {
                    (0, 0) => SPINNER,
                    (_, 0) => COUNT,
                    _ => BAR,
                };
                if shown != template {
                    let is_first = shown.is_empty();
                    shown = template;
                    // OK to go without: the style is what the bar looks like, and checked by a test.
                    if let Ok(style) = ProgressStyle::with_template(template) {
                        bar.set_style(style);
                    }
                    if is_first {
                        bar.set_draw_target(ProgressDrawTarget::stderr());
                    }
                }
                bar.tick();
            }
            bar.finish_and_clear();
        });
        let result = work();
        drop(done);
        result
    })
}

/// The same for work that cannot say how far it is.
pub(crate) fn patiently<T>(doing: &'static str, what: &str, work: impl FnOnce() -> T) -> T {
    watch(doing, what, &Progress::new(), work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_styles_are_styles() {
        for style in [BAR, COUNT, SPINNER] {
            assert!(ProgressStyle::with_template(style).is_ok(), "{style}");
        }
    }
}
