//! Where compiled code is kept.

use std::path::{Path, PathBuf};

use mountless::open::user_cache_dir;
use wasmtime::CacheConfig;

/// The compilation cache: what was compiled once, here or by another process, is loaded instead. Loading runs native
/// code, so the directory must be the user's own.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Cache {
    /// The [user's](user_cache_dir). Without one, or if it cannot be written, there is no cache.
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
            Self::User => user_cache_dir(),
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

pub(super) fn open(dir: &Path) -> wasmtime::Result<wasmtime::Cache> {
    let mut config = CacheConfig::new();
    config.with_directory(std::path::absolute(dir)?);
    wasmtime::Cache::new(config)
}
