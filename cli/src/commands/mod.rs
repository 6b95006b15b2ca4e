//! The commands, one file each.

pub(crate) mod cat;
pub(crate) mod find;
pub(crate) mod info;
pub(crate) mod ls;
pub(crate) mod run;
pub(crate) mod stat;
pub(crate) mod test;
pub(crate) mod tree;
