//! Where compiled code is kept.

use std::env;
use std::path::{Path, PathBuf};

use wasmtime::CacheConfig;

/// The compilation cache: what was compiled once, here or by another process, is loaded instead. Loading runs native
/// code, so the directory must be the user's own.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Cache {
    /// `mountless` in the user's cache directory: `$XDG_CACHE_HOME`, or `~/.cache`. Without one, or if it cannot be
    /// written, there is no cache.
    #[default]
    User,
    /// This directory.
    Dir(PathBuf),
    /// None: every program is compiled anew.
    Off,
}

impl Cache {
    /// The directory, if there is to be one.
    #[must_use]
    pub fn dir(&self) -> Option<PathBuf> {
        match self {
            Self::User => {
                user_dir(env::var_os("XDG_CACHE_HOME").map(PathBuf::from), env::var_os("HOME").map(PathBuf::from))
            }
            Self::Dir(dir) => Some(dir.clone()),
            Self::Off => None,
        }
    }

    pub(super) fn open(&self) -> wasmtime::Result<Option<wasmtime::Cache>> {
        let Some(dir) = self.dir() else { return Ok(None) };
        match open(&dir) {
            Ok(cache) => Ok(Some(cache)),
            Err(error) if *self == Self::User => {
                tracing::warn!(dir = %dir.display(), %error, "no compilation cache");
                Ok(None)
            }
            Err(error) => Err(error.context(format!("compilation cache {}", dir.display()))),
        }
    }
}

fn open(dir: &Path) -> wasmtime::Result<wasmtime::Cache> {
    let mut config = CacheConfig::new();
    config.with_directory(std::path::absolute(dir)?);
    wasmtime::Cache::new(config)
}

/// Relative values of the variables are to be ignored, says their specification.
fn user_dir(cache_home: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
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
        assert_eq!(user_dir(path("/c"), path("/h")), path("/c/mountless"));
        assert_eq!(user_dir(path("c"), path("/h")), path("/h/.cache/mountless"));
        assert_eq!(user_dir(None, path("/h")), path("/h/.cache/mountless"));
        assert_eq!(user_dir(path(""), path("h")), None);
    }
}
