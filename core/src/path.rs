//! Paths as walks of a tree find them.
//!
//! A tree may be deeper than any path is long, and a small archive can say so: by symbolic links through which names are
//! made. Whatever names each node of such a tree by its path would need time and memory that grow with the square of the
//! archive's size. So a walk ends with an error where a path would be longer than [`PATH_MAX`], which no system call
//! takes either; and the names in one directory share its path instead of each holding a copy.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::errno::Errno;
use crate::error::{Error, Result};
use crate::limits::PATH_MAX;
use crate::name::escape;

/// A path from the top of a walk, as a chain of names.
#[derive(Clone, Debug)]
pub struct TreePath {
    /// `None` at the top.
    above: Option<Arc<TreePath>>,
    name: Box<[u8]>,
    /// Bytes of the whole path, without a slash in front.
    len: usize,
}

impl TreePath {
    /// The top itself, whose path is empty.
    #[must_use]
    pub fn top() -> Self {
        Self { above: None, name: Box::default(), len: 0 }
    }

    /// What is called `name` in `dir`.
    ///
    /// # Errors
    /// `ENAMETOOLONG` for a path of more than [`PATH_MAX`] bytes.
    pub fn below(dir: &Arc<Self>, name: &[u8]) -> Result<Self> {
        let slash = usize::from(!dir.is_top());
        let len = dir.len.saturating_add(slash).saturating_add(name.len());
        check_len(len)?;
        Ok(Self { above: Some(Arc::clone(dir)), name: name.into(), len })
    }

    /// The chain of a path that is written out.
    ///
    /// # Errors
    /// As [`below`](Self::below).
    pub fn parse(path: &[u8]) -> Result<Self> {
        let mut names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
        names.try_fold(Self::top(), |dir, name| Self::below(&Arc::new(dir), name))
    }

    /// Whether it is the top.
    #[must_use]
    pub const fn is_top(&self) -> bool {
        self.above.is_none()
    }

    /// The last name, empty for the top.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Its bytes, without slashes around; none for the top.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        self.after(b"")
    }

    /// Its bytes behind those of `prefix`.
    #[must_use]
    pub fn after(&self, prefix: &[u8]) -> Vec<u8> {
        let mut bytes = alloc::vec![b'/'; prefix.len().saturating_add(self.len)];
        let mut end = bytes.len();
        if let Some(start) = bytes.get_mut(..prefix.len()) {
            start.copy_from_slice(prefix);
        }
        let mut next = Some(self);
        while let Some(TreePath { above, name, .. }) = next {
            let start = end.saturating_sub(name.len());
            if let Some(place) = bytes.get_mut(start..end) {
                place.copy_from_slice(name);
            }
            end = start.saturating_sub(1);
            next = above.as_deref();
        }
        // The top has no name, and takes no slash either.
        bytes
    }
}

/// A path for people, without the middle of what would fill a screen.
#[must_use]
pub const fn shorten(path: &[u8]) -> Shortened<'_> {
    Shortened(path)
}

/// What [`shorten`] returns.
#[derive(Clone, Copy, Debug)]
pub struct Shortened<'a>(&'a [u8]);

/// Bytes that are shown whole; half of them of each end of what is longer.
const SHOWN_MAX: usize = 400;

impl fmt::Display for Shortened<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.len() <= SHOWN_MAX {
            return escape(self.0).fmt(f);
        }
        let start = self.0.get(..SHOWN_MAX / 2).unwrap_or_default();
        let end = self.0.get(self.0.len().saturating_sub(SHOWN_MAX / 2)..).unwrap_or_default();
        write!(f, "{}[...]{}", escape(start), escape(end))
    }
}

/// Refuses a path of so many bytes, but for a slash in front, if it is longer than [`PATH_MAX`].
///
/// # Errors
/// `ENAMETOOLONG`.
pub fn check_len(len: usize) -> Result<()> {
    if len <= PATH_MAX { Ok(()) } else { Err(Error::new(Errno::NameTooLong, PathTooLong)) }
}

/// See [`check_len`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a path is longer than {PATH_MAX} bytes; no program could open it")]
pub struct PathTooLong;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_chains_of_names() {
        let top = Arc::new(TreePath::top());
        assert_eq!((top.to_vec(), top.after(b"/"), top.is_top()), (b"".to_vec(), b"/".to_vec(), true));
        let dir = Arc::new(TreePath::below(&top, b"dir").unwrap());
        let file = TreePath::below(&dir, b"f").unwrap();
        assert_eq!((dir.to_vec(), file.to_vec()), (b"dir".to_vec(), b"dir/f".to_vec()));
        assert_eq!((file.after(b"/"), file.name()), (b"/dir/f".to_vec(), &b"f"[..]));
        assert_eq!(dir.after(b"./"), b"./dir");
    }

    #[test]
    fn long_paths_do_not_fill_the_screen() {
        assert_eq!(shorten(b"a\\b").to_string(), "a\\134b");
        let long = shorten(&[b"start".as_slice(), &[b'/'; 4000], b"end"].concat()).to_string();
        assert!(long.len() < 420 && long.starts_with("start//") && long.ends_with("//end"), "{long}");
    }

    #[test]
    fn the_longest_path_is_that_of_a_system_call() {
        let mut dir = Arc::new(TreePath::top());
        for _ in 0..2048 {
            dir = Arc::new(TreePath::below(&dir, b"d").unwrap());
        }
        assert_eq!(dir.to_vec().len(), PATH_MAX);
        assert_eq!(TreePath::below(&dir, b"d").unwrap_err(), Errno::NameTooLong);
    }
}
