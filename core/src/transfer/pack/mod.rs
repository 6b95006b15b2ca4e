//! A tree into an archive, reproducibly: directories before their content, names in the order of their bytes, nodes
//! numbered in that order, nothing that depends on the machine.

mod ahead;
mod cpio;
mod feed;
mod found;
mod tar;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use std::io::Write;
use std::thread;

pub(super) use self::feed::busy_threads;
use self::feed::{Feed, How, Reader, Ready};
pub(super) use self::found::{Found, collect};
use self::found::{Groups, groups};
use crate::attr::{Attr, FileType};
use crate::checked::to_u64;
use crate::clock::Timestamp;
use crate::errno::Errno;
use crate::error::{Error, Result};
use crate::fs::{FileSystem, shared_zeros};
use crate::limits::SKIPPED_KEPT_MAX;
use crate::path::shorten;
use crate::progress::Progress;

/// What to pack into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PackFormat {
    /// cpio, in the layout newc that Linux takes for an initial RAM filesystem.
    Cpio,
    /// tar, in the layout pax.
    Tar,
}

impl PackFormat {
    /// The word used in references: `cpio tar`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Cpio => "cpio",
            Self::Tar => "tar",
        }
    }
}

/// How to pack.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PackOptions {
    /// Times after this one, in seconds since 1970, become this one: what `SOURCE_DATE_EPOCH` asks for.
    pub latest_mtime: Option<i64>,
    /// Everything belongs to this user and this group.
    pub owner: Option<(u32, u32)>,
    /// What is at this path (without slashes around it) is left out, with what is below it: for an output that lies
    /// in the tree.
    pub leave_out: Option<Box<[u8]>>,
    /// A tar archive is a layer of a container image: whiteouts are files `.wh.NAME`, and an opaque directory has one
    /// called `.wh..wh..opq`.
    pub as_layer: bool,
    /// Holes of files stay holes where the format can say so. They depend on where the tree is stored, and layers should
    /// have none: not all who read them know them.
    pub holes: bool,
}

/// What became of a tree.
#[derive(Debug, Default)]
pub struct PackReport {
    /// Entries written.
    pub entries: u64,
    /// Bytes of content written.
    pub content_len: u64,
    /// Bytes of the image, compressed if it is; known where more than an uncompressed stream is written.
    pub stored_len: u64,
    /// How often something could not be held by the format.
    pub lost_count: u64,
    /// The first [`SKIPPED_KEPT_MAX`] of them.
    pub lost: Vec<Lost>,
}

/// Something that the format cannot hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lost {
    /// Path of the node, `.` for the root.
    pub path: Box<[u8]>,
    /// What.
    pub what: Loss,
}

impl core::fmt::Display for Lost {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}: {}", shorten(&self.path), self.what)
    }
}

/// See [`Lost`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Loss {
    /// The whole node.
    #[error("the format has no {}, it is left out", in_words(*.0))]
    Node(FileType),
    /// Extended attributes.
    #[error("{} lost", xattrs(*.0))]
    Xattrs(usize),
    /// The fraction of a time.
    #[error("the fraction of its time is lost")]
    TimeFraction,
    /// A time before 1970 or after 2106, which becomes the nearest that the format holds.
    #[error("its time is out of range")]
    TimeRange,
    /// That a directory hides those below it.
    #[error("that it hides the directories below it is lost")]
    Opaque,
    /// The whole node, whose name would hide another one in a layer.
    #[error("a name that begins with .wh. hides others in a layer, it is left out")]
    Name,
    /// The whole node, which the target refused to make.
    #[error("the {} cannot be made here: {}", in_words(*.0), .1)]
    NotMade(FileType, Errno),
    /// Whom it belongs to.
    #[error("that it belongs to {0}:{1} is lost: only root may say so")]
    Owner(u32, u32),
    /// That it runs as somebody else, who it would not be.
    #[error("set-user-ID and set-group-ID are left out, as it belongs to another user here")]
    SetId,
    /// That it is another name of the same file; it is a copy now.
    #[error("it is a copy, no link: the target refused one")]
    Link,
    /// Mode and time.
    #[error("mode and time cannot be set: {0}")]
    Attributes(Errno),
    /// Extended attributes that the target does not take.
    #[error("{} lost: {}", xattrs(*.0), .1)]
    XattrsRefused(usize, Errno),
    /// That it has holes, as there are none in layers: all of it is written.
    #[error("layers have no holes: {0} bytes of zeros are written for them")]
    Holes(u64),
    /// The content has another length than the node said: somebody changes the file. It is cut, or filled up with zeros.
    #[error("it changed while it was read: {found} bytes instead of {expected}")]
    Changed {
        /// Bytes that the node said.
        expected: u64,
        /// Bytes found; more are not looked for.
        found: u64,
    },
}

/// So many extended attributes, as a sentence begins about them.
fn xattrs(count: usize) -> String {
    if count == 1 { String::from("1 extended attribute is") } else { format!("{count} extended attributes are") }
}

/// What a kind of node is called in a sentence.
const fn in_words(file_type: FileType) -> &'static str {
    match file_type {
        FileType::Char => "character device",
        FileType::Block => "block device",
        FileType::Dir => "directory",
        FileType::Symlink => "symbolic link",
        other => other.word(),
    }
}

/// Writes the tree of `fs` to `out`, which should be buffered.
///
/// # Errors
/// What `fs` answers; what the writers of the formats refuse, as `EFBIG` and `ENAMETOOLONG`; `EIO`, `ENOSPC` and `EPIPE`
/// from `out`.
pub fn pack<W: Write>(
    fs: &Arc<dyn FileSystem>,
    out: W,
    format: PackFormat,
    options: &PackOptions,
) -> Result<(W, PackReport)> {
    pack_found(collect(fs, options)?, out, format, options, &Progress::new())
}

/// Writes these names.
pub(super) fn pack_found<W: Write>(
    found: Vec<Found>,
    out: W,
    format: PackFormat,
    options: &PackOptions,
    progress: &Progress,
) -> Result<(W, PackReport)> {
    let groups = groups(&found);
    progress.expect(found.iter().map(|one| one.attr.size).fold(0, u64::saturating_add));
    let how = How { format, holes: format == PackFormat::Tar && options.holes && !options.as_layer };
    thread::scope(|scope| {
        let feed = Feed::new(found, Reader { groups: &groups, how }, scope);
        let mut packing = Packing { feed, groups: &groups, options, progress, report: PackReport::default() };
        let out = match format {
            PackFormat::Cpio => packing.write_cpio(out)?,
            PackFormat::Tar => packing.write_tar(out)?,
        };
        Ok((out, packing.report))
    })
}

impl PackReport {
    /// Adds what was lost besides.
    pub(super) fn lose_all(&mut self, lost: Vec<Lost>) {
        self.lost_count = self.lost_count.saturating_add(to_u64(lost.len()));
        let left = SKIPPED_KEPT_MAX.saturating_sub(self.lost.len());
        self.lost.extend(lost.into_iter().take(left));
    }

    fn lose(&mut self, path: &[u8], what: Loss) {
        self.lost_count = self.lost_count.saturating_add(1);
        if self.lost.len() < SKIPPED_KEPT_MAX {
            self.lost.push(Lost { path: path.into(), what });
        }
    }
}

/// What is being packed, and what became of it so far.
struct Packing<'a> {
    feed: Feed<'a>,
    groups: &'a Groups,
    options: &'a PackOptions,
    progress: &'a Progress,
    report: PackReport,
}

impl Packing<'_> {
    fn time(&self, attr: &Attr) -> Timestamp {
        match self.options.latest_mtime {
            Some(latest) if attr.mtime > Timestamp::from_secs(latest) => Timestamp::from_secs(latest),
            _ => attr.mtime,
        }
    }

    fn owner(&self, attr: &Attr) -> (u32, u32) {
        self.options.owner.unwrap_or((attr.uid, attr.gid))
    }

    /// Hands the content to `write`: as many bytes as the node says, whatever there is by now.
    fn content(&mut self, ready: &Ready, mut write: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let expected = ready.content_len();
        let (progress, mut count) = (self.progress, 0);
        self.feed.content(ready, |run| {
            write(run)?;
            count = to_u64(run.len()).saturating_add(count);
            progress.advance(to_u64(run.len()));
            Ok(())
        })?;
        if count < expected {
            self.report.lose(&ready.path, Loss::Changed { expected, found: count });
        }
        while count < expected {
            let zeros = shared_zeros(expected.saturating_sub(count));
            write(&zeros)?;
            count = count.saturating_add(to_u64(zeros.len()));
        }
        self.report.content_len = self.report.content_len.saturating_add(ready.attr.size);
        Ok(())
    }
}

pub(in crate::transfer) fn from_io(error: std::io::Error) -> Error {
    let errno = match error.kind() {
        std::io::ErrorKind::StorageFull => Errno::NoSpace,
        std::io::ErrorKind::BrokenPipe => Errno::Pipe,
        _ => Errno::Io,
    };
    Error::new(errno, error)
}
