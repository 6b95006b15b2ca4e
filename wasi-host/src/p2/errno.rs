//! The one table from our errors to the codes of preview 2.

use mountless::errno::Errno;
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;

/// The preview 2 code of an error.
#[must_use]
pub const fn code(errno: Errno) -> ErrorCode {
    match errno {
        Errno::Access => ErrorCode::Access,
        Errno::Again => ErrorCode::WouldBlock,
        Errno::BadFd | Errno::NotSocket => ErrorCode::BadDescriptor,
        Errno::Busy => ErrorCode::Busy,
        Errno::Quota => ErrorCode::Quota,
        Errno::Exists => ErrorCode::Exist,
        Errno::FileTooBig => ErrorCode::FileTooLarge,
        Errno::IllegalSequence => ErrorCode::IllegalByteSequence,
        Errno::Interrupted => ErrorCode::Interrupted,
        // There are no addresses in preview 2.
        Errno::Invalid | Errno::Fault => ErrorCode::Invalid,
        // A stale node is our own mistake.
        Errno::Io | Errno::Stale => ErrorCode::Io,
        Errno::IsDir => ErrorCode::IsDirectory,
        Errno::Loop => ErrorCode::Loop,
        Errno::TooManyLinks => ErrorCode::TooManyLinks,
        Errno::NameTooLong => ErrorCode::NameTooLong,
        Errno::NoDevice => ErrorCode::NoDevice,
        // Preview 2 has no extended attributes: what is asked for is not there.
        Errno::NotFound | Errno::NoAttribute => ErrorCode::NoEntry,
        // Open nodes are memory of the host's, and there is no code for too many of them.
        Errno::NoMemory | Errno::TooManyFiles => ErrorCode::InsufficientMemory,
        Errno::NoSpace => ErrorCode::InsufficientSpace,
        Errno::NotImplemented | Errno::NotSupported => ErrorCode::Unsupported,
        Errno::NotDir => ErrorCode::NotDirectory,
        Errno::NotEmpty => ErrorCode::NotEmpty,
        Errno::NoSuchDevice => ErrorCode::NoSuchDevice,
        Errno::Overflow | Errno::Range => ErrorCode::Overflow,
        Errno::NotPermitted => ErrorCode::NotPermitted,
        Errno::Pipe => ErrorCode::Pipe,
        Errno::ReadOnly => ErrorCode::ReadOnly,
        Errno::IllegalSeek => ErrorCode::InvalidSeek,
        Errno::TextBusy => ErrorCode::TextFileBusy,
        Errno::CrossDevice => ErrorCode::CrossDevice,
    }
}
