//! Filesystems made of filesystems.

pub mod overlay;

pub use self::overlay::Overlay;
