//! What is known about a node besides its content.

use crate::clock::Timestamp;

/// The kind of a node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FileType {
    /// Regular file.
    File,
    /// Directory.
    Dir,
    /// Symbolic link.
    Symlink,
    /// Character device.
    Char,
    /// Block device.
    Block,
    /// Named pipe.
    Fifo,
    /// Socket in the file system.
    Socket,
    /// Hides a name of the layers below; exists in layers only, never in a merged tree.
    Whiteout,
}

impl FileType {
    /// The word used in listings: `file dir symlink char block fifo socket whiteout`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Dir => "dir",
            Self::Symlink => "symlink",
            Self::Char => "char",
            Self::Block => "block",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
            Self::Whiteout => "whiteout",
        }
    }

    /// Whether this is a directory.
    #[must_use]
    pub const fn is_dir(self) -> bool {
        matches!(self, Self::Dir)
    }

    /// Whether this is a character or a block device.
    #[must_use]
    pub const fn is_device(self) -> bool {
        matches!(self, Self::Char | Self::Block)
    }
}

/// The number of a device node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Device {
    /// Which driver.
    pub major: u32,
    /// Which of its devices.
    pub minor: u32,
}

/// Which attributes an image really records. The others hold [`Defaults`], and a listing leaves them out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recorded {
    /// `mode`.
    pub mode: bool,
    /// `uid` and `gid`.
    pub owner: bool,
    /// `mtime`.
    pub mtime: bool,
}

impl Recorded {
    /// Everything is recorded.
    pub const ALL: Self = Self { mode: true, owner: true, mtime: true };
    /// Nothing is recorded.
    pub const NONE: Self = Self { mode: false, owner: false, mtime: false };
}

/// What stands in for attributes that an image does not record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Defaults {
    /// Permission bits of directories.
    pub dir_mode: u16,
    /// Permission bits of everything else but symbolic links, which have all of them, as in Linux.
    pub file_mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// All times.
    pub time: Timestamp,
}

impl Default for Defaults {
    /// Mode 0755 for directories, 0644 for others, owned by 0:0, times at 1970.
    fn default() -> Self {
        Self { dir_mode: 0o755, file_mode: 0o644, uid: 0, gid: 0, time: Timestamp::EPOCH }
    }
}

impl Defaults {
    /// Permission bits of a node of this kind.
    ///
    /// ```
    /// use mountless::attr::{Defaults, FileType};
    /// let defaults = Defaults::default();
    /// assert_eq!(defaults.mode(FileType::Symlink), 0o777);
    /// assert_eq!((defaults.mode(FileType::Dir), defaults.mode(FileType::Fifo)), (0o755, 0o644));
    /// ```
    #[must_use]
    pub const fn mode(&self, file_type: FileType) -> u16 {
        match file_type {
            FileType::Dir => self.dir_mode,
            FileType::Symlink => 0o777,
            _ => self.file_mode,
        }
    }
}

/// Attributes of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attr {
    /// The number shown to guests: never 0, equal for hard links, stable while the node is referenced.
    pub ino: u64,
    /// Kind.
    pub file_type: FileType,
    /// Permission bits with set-uid, set-gid and sticky: 0 to 0o7777.
    pub mode: u16,
    /// Names of the node; 0 when unlinked but open. Directories: 1 if unknown, else 2 + subdirectories.
    pub nlink: u64,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of a file, or of a link's target; 0 for others.
    pub size: u64,
    /// Bytes that the node occupies in its store; less than `size` when sparse.
    pub allocated: u64,
    /// Number of a device node.
    pub rdev: Option<Device>,
    /// Last access.
    pub atime: Timestamp,
    /// Last change of content.
    pub mtime: Timestamp,
    /// Last change of content or attributes.
    pub ctime: Timestamp,
    /// For directories of a layer: the directories below it are hidden.
    pub opaque: bool,
    /// Which of the above the image records.
    pub recorded: Recorded,
}

impl Attr {
    /// Whether it has several names. A directory, whatever it counts as links, has one.
    #[must_use]
    pub const fn is_linked(&self) -> bool {
        self.nlink > 1 && !self.file_type.is_dir()
    }
}

/// Changes to attributes; `None` leaves one as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SetAttr {
    /// New permission bits: 0 to 0o7777.
    pub mode: Option<u16>,
    /// New owner.
    pub uid: Option<u32>,
    /// New group.
    pub gid: Option<u32>,
    /// New length in bytes: cuts, or extends with a hole.
    pub size: Option<u64>,
    /// New access time.
    pub atime: Option<SetTime>,
    /// New modification time.
    pub mtime: Option<SetTime>,
    /// Exact change time; only copies of trees set it, otherwise it follows the clock.
    pub ctime: Option<Timestamp>,
    /// For directories of a layer: hide the directories below.
    pub opaque: Option<bool>,
}

/// A time to set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetTime {
    /// What the filesystem's clock says.
    Now,
    /// This time.
    At(Timestamp),
}
