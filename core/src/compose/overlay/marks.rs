//! What an upper layer says about itself in extended attributes, in the words of Linux overlayfs.
//!
//! They are the overlay's own: nobody sees or sets them through the merged tree, and copy-up does not take them along.

use alloc::boxed::Box;

use smallvec::SmallVec;

use super::merge::lowers_of;
use super::table::{LowerRef, Node};
use crate::errno::Errno;
use crate::error::{Error, Result};
use crate::fs::{NodeRef, WritableFileSystem, XattrMode};
use crate::name::Name;

/// Names that are not the users'.
const OWN: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

/// Where the lowers have a directory that was renamed: a path from the root with a slash in front, or a name in the
/// directory that it is in.
const REDIRECT: &[u8] = b"trusted.overlay.redirect";

pub(super) fn is_own(name: &[u8]) -> bool {
    OWN.iter().any(|own| name.starts_with(own))
}

/// Refuses the overlay's own names, as Linux does.
///
/// # Errors
/// `EPERM`.
pub(super) fn refuse_own(name: &[u8]) -> Result<()> {
    if is_own(name) { Err(Errno::NotPermitted.into()) } else { Ok(()) }
}

/// What is called `name` below `origin`.
pub(super) fn below(origin: &[u8], name: &[u8]) -> Box<[u8]> {
    if origin.is_empty() { name.into() } else { [origin, b"/", name].concat().into() }
}

/// Where the lowers have a directory of the upper.
#[derive(Debug)]
pub(super) enum Redirect {
    /// From the root, without the slash.
    Path(Box<[u8]>),
    /// In the directory it is in.
    Name(Box<[u8]>),
}

impl Redirect {
    fn parse(value: &[u8]) -> Option<Self> {
        let redirect = match value.strip_prefix(b"/") {
            Some(path) => Self::Path(path.into()),
            None => Self::Name(value.into()),
        };
        let names_hold = match &redirect {
            Self::Path(path) => path.split(|byte| *byte == b'/').all(|name| Name::new(name).is_ok()),
            Self::Name(name) => Name::new(name).is_ok(),
        };
        names_hold.then_some(redirect)
    }

    /// The directories it leads to, in the layers of `root` or in those of the directory that has it.
    pub(super) fn lowers(&self, root: &[LowerRef], dir: &[LowerRef]) -> Result<SmallVec<[LowerRef; 1]>> {
        let path = match self {
            Self::Name(name) => return lowers_of(dir, Name::new(name)?, true),
            Self::Path(path) => path,
        };
        let mut found: Option<SmallVec<[LowerRef; 1]>> = None;
        for name in path.split(|byte| *byte == b'/') {
            let dirs = found.as_deref().unwrap_or(root);
            found = Some(lowers_of(dirs, Name::new(name)?, true)?);
        }
        Ok(found.unwrap_or_default())
    }

    /// The same path, from the root; `dir` is that of the directory that has it.
    pub(super) fn origin(self, dir: &[u8]) -> Box<[u8]> {
        match self {
            Self::Path(path) => path,
            Self::Name(name) => below(dir, &name),
        }
    }
}

/// Where an upper directory says that the lowers have it; `None` if it says nothing: where it is itself.
///
/// # Errors
/// `EIO` for what is no path.
pub(super) fn redirect(dir: &NodeRef) -> Result<Option<Redirect>> {
    let value = match dir.fs().xattr(dir.node(), REDIRECT) {
        Ok(value) => value,
        Err(error) if [Errno::NoAttribute, Errno::NotSupported].contains(&error.errno()) => return Ok(None),
        Err(error) => return Err(error),
    };
    let redirect = Redirect::parse(&value);
    let sentence = "the upper layer says that a directory was renamed, but not from which path";
    redirect.map(Some).ok_or_else(|| Error::new(Errno::Io, sentence))
}

/// Before a directory moves away from where the lowers have it: says where that is. Kept by the upper, so that it holds
/// for whoever opens the layers next.
///
/// # Errors
/// `EXDEV` if the upper cannot keep it; those of the upper.
pub(super) fn keep_origin(node: &Node, upper: &dyn WritableFileSystem) -> Result<()> {
    let (Some(inner), false) = (node.upper(), node.origin.is_empty()) else { return Ok(()) };
    let value = [b"/", &*node.origin].concat();
    upper.set_xattr(inner, REDIRECT, &value, XattrMode::Set).map_err(|error| match error.errno() {
        Errno::NotSupported | Errno::Range => Errno::CrossDevice.into(),
        _ => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_names_are_told_apart_and_nothing_else_is_taken() {
        let shown = |value: &[u8]| Redirect::parse(value).map(|redirect| format!("{redirect:?}").contains("Path"));
        assert_eq!(shown(b"/a/b"), Some(true));
        assert_eq!(shown(b"a"), Some(false));
        for bad in [&b""[..], b"/", b"a/b", b"/a//b", b"/a/../b", b".", b"/a/"] {
            assert_eq!(shown(bad), None, "{}", bad.escape_ascii());
        }
    }
}
