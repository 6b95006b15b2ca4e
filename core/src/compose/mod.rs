//! Filesystems made of filesystems.

#[cfg(feature = "watch")]
pub mod crash;
#[cfg(feature = "watch")]
pub mod fault;
mod linux_upper;
pub mod overlay;
#[cfg(feature = "watch")]
pub mod trace;
#[cfg(feature = "watch")]
pub mod watch;

pub use self::linux_upper::LinuxUpper;
pub use self::overlay::Overlay;
