//! The commands, one file each.

pub(crate) mod cat;
pub(crate) mod check;
pub(crate) mod chmod;
pub(crate) mod convert;
pub(crate) mod cp;
pub(crate) mod diff;
pub(crate) mod du;
pub(crate) mod extract;
pub(crate) mod find;
pub(crate) mod info;
pub(crate) mod klog;
pub(crate) mod ln;
pub(crate) mod log;
pub(crate) mod ls;
pub(crate) mod mkdir;
pub(crate) mod mtree;
pub(crate) mod mv;
pub(crate) mod pack;
pub(crate) mod rm;
pub(crate) mod run;
pub(crate) mod stat;
pub(crate) mod touch;
pub(crate) mod tree;
pub(crate) mod write;
