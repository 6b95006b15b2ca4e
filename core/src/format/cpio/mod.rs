//! cpio archives as initial RAM filesystems use them: entry after entry, each a header, a name and data.
//!
//! The layouts read and written here are "newc" (magic `070701`) and "crc" (`070702`). The older ones, octal "odc" and
//! 16-bit binary, are read too ([`read_old_entry`]); Linux knows neither.
//!
//! Specified by the Linux kernel's `Documentation/driver-api/early-userspace/buffer-format.rst` and by what
//! `init/initramfs.c` makes of it; where the two differ, the code counts, because it is what boots.

mod corrupt;
mod dump;
mod layout;
mod old;
mod read;
mod write;

pub use self::corrupt::CpioCorrupt;
pub use self::dump::dump;
pub use self::layout::{
    ALIGN, FIELDS, HEADER_LEN, Header, Magic, NAME_SIZE_MAX, TARGET_SIZE_MAX, TRAILER, Variant, align, checksum,
    mode_of,
};
pub use self::old::{OldEntry, read_old_entry};
pub use self::read::{EntryRef, LONGEST_HEAD, read_entry};
pub use self::write::{CpioWriter, NewEntry, WriteRefused};
