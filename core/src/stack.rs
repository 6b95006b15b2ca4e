//! The front door: images by reference, stacked into one tree.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::backend::mem::MemFs;
use crate::compose::Overlay;
use crate::error::Result;
use crate::fs::FileSystem;
use crate::open::{ImageFacts, ImageRef, OpenOptions, OpenedImage, open};

/// Opened images, lowest first, that become one tree.
///
/// Nothing is extracted: files are read from the images' own bytes.
#[derive(Debug)]
pub struct Stack {
    images: Vec<OpenedImage>,
}

impl Stack {
    /// Opens images, lowest first, with default options.
    ///
    /// # Errors
    /// Those of [`open`](crate::open::open) for the first image that does not open.
    pub fn open<R: Into<ImageRef>>(references: impl IntoIterator<Item = R>) -> Result<Self> {
        Self::open_with(references, &OpenOptions::default())
    }

    /// Opens images, lowest first.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with<R: Into<ImageRef>>(
        references: impl IntoIterator<Item = R>,
        options: &OpenOptions,
    ) -> Result<Self> {
        let images = references.into_iter().map(|reference| open(&reference.into(), options));
        Ok(Self { images: images.collect::<Result<_>>()? })
    }

    /// A stack of images that are open already, lowest first.
    #[must_use]
    pub const fn from_images(images: Vec<OpenedImage>) -> Self {
        Self { images }
    }

    /// What is known about each image, lowest first.
    pub fn facts(&self) -> impl Iterator<Item = &ImageFacts> {
        self.images.iter().map(|image| &image.facts)
    }

    fn filesystems(&self) -> Vec<Arc<dyn FileSystem>> {
        self.images.iter().map(|image| Arc::clone(&image.fs)).collect()
    }

    /// The merged tree, read-only. A single image is itself.
    ///
    /// # Errors
    /// `EINVAL` without images, and those of the layers.
    pub fn read_only(&self) -> Result<Arc<dyn FileSystem>> {
        match &*self.images {
            [only] => Ok(Arc::clone(&only.fs)),
            _ => Ok(Arc::new(Overlay::read_only(self.filesystems())?)),
        }
    }

    /// The merged tree with a new, empty upper layer in memory: changes are gone with the last user of the tree. Each
    /// call makes another view of the same images, at next to no cost.
    ///
    /// # Errors
    /// As [`with_upper`](Self::with_upper).
    pub fn with_memory_upper(&self) -> Result<Arc<dyn FileSystem>> {
        self.with_upper(Arc::new(MemFs::new()))
    }

    /// The merged tree with changes going to `upper`.
    ///
    /// # Errors
    /// `EROFS` if `upper` is not writable, `EINVAL` with too many images, and those of the layers.
    pub fn with_upper(&self, upper: Arc<dyn FileSystem>) -> Result<Arc<dyn FileSystem>> {
        Ok(Arc::new(Overlay::with_upper(self.filesystems(), upper)?))
    }
}
