//! Where what is found out about images is kept.

use std::env;
use std::fs::{File, Metadata};
use std::path::PathBuf;

use crate::source::Memo;

/// Files of fewer bytes are opened as quickly without.
const FILE_LEN_MIN: u64 = 8 << 20;

/// Whether what is found out about an image is kept for the next time: where the entries of a large cpio archive are,
/// and what their headers say, so that the next one who opens it need not look for them.
///
/// [`Memo`] tells what can change an image unnoticed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Remember {
    /// It is not.
    #[default]
    Nothing,
    /// In `images` below [`user_cache_dir`].
    InUserCache,
}

impl Remember {
    pub(super) fn memo(self, file: &File, metadata: &Metadata) -> Option<Memo> {
        if self == Self::Nothing || metadata.len() < FILE_LEN_MIN {
            return None;
        }
        Memo::new(file, metadata, &user_cache_dir()?.join("images")).ok()
    }
}

/// The directory of this user for what can be found out again: `mountless` in `$XDG_CACHE_HOME`, or in `~/.cache`;
/// `None` where neither is known.
#[must_use]
pub fn user_cache_dir() -> Option<PathBuf> {
    let variable = |name| env::var_os(name).map(PathBuf::from);
    cache_dir(variable("XDG_CACHE_HOME"), variable("HOME"))
}

/// Relative values of the variables are to be ignored, says their specification.
fn cache_dir(cache_home: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    let base = cache_home.filter(|dir| dir.is_absolute());
    base.or_else(|| home.filter(|dir| dir.is_absolute()).map(|home| home.join(".cache")))
        .map(|dir| dir.join("mountless"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_directory_follows_the_variables() {
        let path = |path: &str| Some(PathBuf::from(path));
        assert_eq!(cache_dir(path("/c"), path("/h")), path("/c/mountless"));
        assert_eq!(cache_dir(path("c"), path("/h")), path("/h/.cache/mountless"));
        assert_eq!(cache_dir(None, path("/h")), path("/h/.cache/mountless"));
        assert_eq!(cache_dir(path(""), path("h")), None);
    }
}
