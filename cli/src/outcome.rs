//! What to do with a tree when the program that worked on it has ended.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use mountless::fs::FileSystem;
use mountless::transfer::diff::{DiffOptions, find_moves};

use crate::commands::diff::{self, Form, Show};
use crate::commands::pack::How;
use crate::failure::{EXIT_FAILED, Failure, Result};
use crate::image::unreadable;
use crate::oci::Content;
use crate::stack::Trees;

/// See the module.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct OutcomeArgs {
    /// Writes the whole tree as it is when the program has ended into an image, in the format that the name ends with,
    /// for example out.cpio.zst; as oci:DIR#TAG into a container image, with the changes as a layer above those of the
    /// image; without volumes, and not if the program trapped or its time was up
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,

    /// Tells on standard error what the program changed, as `mountless diff` does
    #[arg(long)]
    diff: bool,
}

impl OutcomeArgs {
    /// Looks whether all of it will be possible, before anything runs for nothing.
    pub(crate) fn prepare(&self, trees: &Trees) -> Result<()> {
        if let Some(path) = &self.save {
            if How::default().oci(path).is_some() {
                images(trees)?;
            } else {
                How::default().target(path, None)?;
            }
        }
        if self.diff {
            images(trees)?;
        }
        Ok(())
    }

    /// Does it; nothing is saved unless the program `exited` by itself.
    pub(crate) fn show(&self, trees: &Trees, exited: bool) -> Result<()> {
        if self.diff {
            tell_changes(trees)?;
        }
        if let (Some(path), true) = (&self.save, exited) {
            let how = How::default();
            match how.oci(path) {
                None => how.write(Arc::clone(&trees.after), path, None, None, None)?,
                Some(image) => {
                    let before = images(trees)?;
                    let options = DiffOptions { times: true, xattrs: true, ..DiffOptions::VIEW };
                    let changes = Content::Changes(trees.base.as_ref(), before, &trees.after, options);
                    how.write_oci(&image, &changes, path, None)?
                }
            };
        }
        Ok(())
    }
}

/// The images as they are without the program.
fn images(trees: &Trees) -> Result<&Arc<dyn FileSystem>> {
    trees.before.as_ref().ok_or_else(|| {
        let failure = Failure::new(EXIT_FAILED, "cannot compare: the only image is the one that is changed");
        failure.next("--diff compares with the images given with -i")
    })
}

/// Says on stderr what the program changed.
fn tell_changes(trees: &Trees) -> Result<()> {
    let before = images(trees)?;
    let options = DiffOptions { xattrs: true, ..DiffOptions::VIEW };
    let changes = diff::changes(before, &trees.after, options).map_err(|error| unreadable(&error))?;
    let moves = find_moves(&changes).map_err(|error| unreadable(&error))?;
    let show = Show { form: Form::text(&io::stderr()), context: None };
    diff::print(&mut io::stderr().lock(), &changes, &moves, options, show)?;
    Ok(())
}
