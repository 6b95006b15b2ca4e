//! Power cuts: what a disk may hold afterwards, built from a recording of what a program changed.
//!
//! A [`Recorder`] writes down every change of a tree. [`Durability`] follows the recording and knows at each point which
//! changes no sync has made durable yet; a cut may [lose](Fate) any of them. [`Replay`] makes the changes again on
//! another tree, as such a cut would have left them. `docs/crash.md` says which states are legal and why.

mod durable;
mod record;
mod replay;
#[cfg(test)]
mod tests;

pub use self::durable::{Durability, Fate, Loss, Promises};
pub use self::record::{Change, Kind, NodeNumber, Recorder, Recording, Step, Synced};
pub use self::replay::Replay;
