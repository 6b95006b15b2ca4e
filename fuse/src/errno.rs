//! Our error names in the kernel's numbers: the only such table of this crate.

use mountless::{Errno, Error};

pub(crate) fn number(error: &Error) -> fuser::Errno {
    use fuser::Errno as Raw;

    match error.errno() {
        Errno::Access => Raw::EACCES,
        Errno::Again => Raw::EAGAIN,
        Errno::BadFd => Raw::EBADF,
        Errno::Busy => Raw::EBUSY,
        Errno::Quota => Raw::EDQUOT,
        Errno::Exists => Raw::EEXIST,
        Errno::Fault => Raw::EFAULT,
        Errno::FileTooBig => Raw::EFBIG,
        Errno::IllegalSequence => Raw::EILSEQ,
        Errno::Interrupted => Raw::EINTR,
        Errno::Invalid => Raw::EINVAL,
        Errno::Io => Raw::EIO,
        Errno::IsDir => Raw::EISDIR,
        Errno::Loop => Raw::ELOOP,
        Errno::TooManyFiles => Raw::EMFILE,
        Errno::TooManyLinks => Raw::EMLINK,
        Errno::NameTooLong => Raw::ENAMETOOLONG,
        Errno::NoAttribute => Raw::ENODATA,
        Errno::NoDevice => Raw::ENODEV,
        Errno::NotFound => Raw::ENOENT,
        Errno::NoMemory => Raw::ENOMEM,
        Errno::NoSpace => Raw::ENOSPC,
        // To the kernel ENOSYS means "never ask again", which is not what a tree says.
        Errno::NotImplemented | Errno::NotSupported => Raw::EOPNOTSUPP,
        Errno::NotDir => Raw::ENOTDIR,
        Errno::NotEmpty => Raw::ENOTEMPTY,
        Errno::NotSocket => Raw::ENOTSOCK,
        Errno::NoSuchDevice => Raw::ENXIO,
        Errno::Overflow => Raw::EOVERFLOW,
        Errno::NotPermitted => Raw::EPERM,
        Errno::Pipe => Raw::EPIPE,
        Errno::Range => Raw::ERANGE,
        Errno::ReadOnly => Raw::EROFS,
        Errno::IllegalSeek => Raw::ESPIPE,
        Errno::Stale => Raw::ESTALE,
        Errno::TextBusy => Raw::ETXTBSY,
        Errno::CrossDevice => Raw::EXDEV,
    }
}
