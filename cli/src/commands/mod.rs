//! The commands, one file each.

pub(crate) mod cat;
#[cfg(target_os = "linux")]
pub(crate) mod exec;
pub(crate) mod find;
pub(crate) mod info;
pub(crate) mod ls;
#[cfg(target_os = "linux")]
pub(crate) mod mount;
pub(crate) mod run;
pub(crate) mod stat;
pub(crate) mod test;
pub(crate) mod tree;
