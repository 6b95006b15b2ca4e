//! The error numbers that filesystems speak.
//!
//! One exhaustive enum of POSIX names, without numbers: every adapter (WASI, FUSE, 9P, the host backend) has exactly
//! one total `match` from or to its own numbering, and a name added here stops it from compiling until it is answered.

use core::fmt;

macro_rules! errnos {
    ($($variant:ident $name:literal $message:literal,)*) => {
        /// A POSIX error name.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Errno {
            $(#[doc = concat!("`", $name, "`: ", $message, ".")] $variant,)*
        }

        impl Errno {
            /// Every variant, in declaration order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The symbolic name, for example `"ENOENT"`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// A short description for people, in lower case and without a full stop.
            #[must_use]
            pub const fn message(self) -> &'static str {
                match self { $(Self::$variant => $message,)* }
            }

            /// The variant with this symbolic name, as written in fault specifications.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

errnos! {
    Access "EACCES" "permission denied",
    Again "EAGAIN" "resource temporarily unavailable",
    BadFd "EBADF" "bad file descriptor",
    Busy "EBUSY" "resource busy",
    Quota "EDQUOT" "quota exceeded",
    Exists "EEXIST" "file exists",
    Fault "EFAULT" "bad address",
    FileTooBig "EFBIG" "file too large",
    IllegalSequence "EILSEQ" "name is not valid UTF-8",
    Interrupted "EINTR" "interrupted",
    Invalid "EINVAL" "invalid argument",
    Io "EIO" "input/output error",
    IsDir "EISDIR" "is a directory",
    Loop "ELOOP" "too many levels of symbolic links",
    TooManyFiles "EMFILE" "too many open files",
    TooManyLinks "EMLINK" "too many links",
    NameTooLong "ENAMETOOLONG" "name too long",
    NoAttribute "ENODATA" "no such attribute",
    NoDevice "ENODEV" "no such device",
    NotFound "ENOENT" "no such file or directory",
    NoMemory "ENOMEM" "out of memory",
    NoSpace "ENOSPC" "no space left on device",
    NotImplemented "ENOSYS" "function not implemented",
    NotDir "ENOTDIR" "not a directory",
    NotEmpty "ENOTEMPTY" "directory not empty",
    NotSocket "ENOTSOCK" "not a socket",
    NotSupported "ENOTSUP" "operation not supported",
    NoSuchDevice "ENXIO" "no such device or address",
    Overflow "EOVERFLOW" "value too large",
    NotPermitted "EPERM" "operation not permitted",
    Pipe "EPIPE" "broken pipe",
    Range "ERANGE" "result too large",
    ReadOnly "EROFS" "read-only file system",
    IllegalSeek "ESPIPE" "illegal seek",
    Stale "ESTALE" "stale node",
    TextBusy "ETXTBSY" "text file busy",
    CrossDevice "EXDEV" "cross-device link",
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl core::error::Error for Errno {}
