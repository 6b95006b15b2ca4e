//! Calls on a filesystem, described.

use core::ops::Range;

use crate::attr::{FileType, SetAttr};
use crate::fs::{Allocate, Cookie, NewNode, RenameMode, WriteAt};

macro_rules! kinds {
    ($($variant:ident $word:literal $changes:literal,)*) => {
        /// What kind of call.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum OpKind {
            $(#[doc = concat!("`", $word, "`.")] $variant,)*
        }

        impl OpKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word for it in traces and fault specifications.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// The kind with this word.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }

            /// Whether such a call changes the tree.
            #[must_use]
            pub const fn changes(self) -> bool {
                match self { $(Self::$variant => $changes,)* }
            }
        }
    };
}

kinds! {
    Lookup "lookup" false,
    Attr "attr" false,
    ReadLink "readlink" false,
    ReadDir "readdir" false,
    Read "read" false,
    Xattr "xattr" false,
    XattrNames "xattrs" false,
    Create "create" true,
    Link "link" true,
    Unlink "unlink" true,
    RemoveDir "rmdir" true,
    Rename "rename" true,
    Write "write" true,
    SetAttr "setattr" true,
    Allocate "allocate" true,
    SetXattr "setxattr" true,
    RemoveXattr "rmxattr" true,
    Sync "sync" false,
}

/// A call.
#[derive(Clone, Copy, Debug)]
pub struct Op<'a> {
    /// Its kind.
    pub kind: OpKind,
    /// What it is about: a path from the root of the filesystem, by the name that was used last.
    pub path: &'a [u8],
    /// The rest of its arguments.
    pub args: Args<'a>,
}

/// Arguments of a call besides its path.
#[derive(Clone, Copy, Debug)]
pub enum Args<'a> {
    /// There are none.
    None,
    /// From where a listing goes on.
    From(Cookie),
    /// Bytes of a file to read: offset and length.
    Read(u64, usize),
    /// Bytes to write: where, and how many.
    Write(WriteAt, usize),
    /// Name of an extended attribute.
    Xattr(&'a [u8]),
    /// What is created.
    New(&'a NewNode<'a>),
    /// A second path.
    To(&'a [u8]),
    /// A second path, and what happens to what is there.
    Rename(&'a [u8], RenameMode),
    /// Changes of attributes.
    Changes(&'a SetAttr),
    /// A range of a file's store.
    Allocate(Allocate, &'a Range<u64>),
    /// `data`, `node` or `all`.
    Scope(&'static str),
}

/// What a call that went well answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Done<'a> {
    /// That it is done.
    Nothing,
    /// A count of bytes or entries.
    Count(u64),
    /// The type of a node.
    Type(FileType),
    /// Type and size in bytes of a node.
    Attr(FileType, u64),
    /// Bytes: the target of a link.
    Bytes(&'a [u8]),
}
