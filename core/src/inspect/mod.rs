//! What is known about images besides their trees: whether they are sound, and what their logs say.

mod check;
mod log;
mod usage;

pub use self::check::{Checked, Problem, check};
pub use self::log::{LogEvent, LogLine, for_each_log_line};
pub use self::usage::{Usage, usage};
