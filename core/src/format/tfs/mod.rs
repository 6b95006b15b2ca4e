//! TFS, the Tuple File System of the Nanos unikernel.
//!
//! All there is on disk besides file data is a log: records that change one tree of tuples, split over extensions. Its
//! layers, each a file here: extension headers and disks ([`layout`](ExtensionHeader)), frames ([`FrameReader`]),
//! values ([`ValueReader`]), the log that joins them ([`LogReader`]), and the way back ([`RecordWriter`],
//! [`FrameWriter`]). Besides, what images are made of: manifests ([`Manifest`]) and boot sectors ([`BootSector`]).
//!
//! Nanos publishes no specification; what is read and written here is what its sources of early 2026 do, versions 4
//! and 5. Offsets are bytes from the start of the file system.

mod boot;
mod change;
mod corrupt;
mod dump;
mod files;
mod frame;
mod layout;
mod log;
mod manifest;
mod value;
mod write;

pub use self::boot::{BootFault, BootSector};
pub use self::change::{Change, NewValue, SymbolRef};
pub use self::corrupt::{Damage, TfsCorrupt};
pub use self::dump::dump;
pub(crate) use self::files::FileRecords;
pub use self::files::{FileKeys, NewFile, NewFiles};
pub use self::frame::{Frame, FrameKind, FrameReader, Link};
pub use self::layout::{
    CrashLog, Disk, EXTENSION_SECTORS, ExtensionHeader, KLOG_LEN, LABEL_MAX, MAGIC, NO_ENCODE, Partition, SECTOR, Uuid,
    Version, Volume, sectors,
};
pub use self::log::{Dictionary, Item, Kind, LogReader, Record};
pub use self::manifest::{
    Found, Manifest, ManifestEntry, ManifestError, ManifestFault, ManifestKind, ManifestRemark, ManifestValue,
    Position, Remark,
};
pub use self::value::{Key, NewEmpty, Token, ValueReader, put_varint, varint};
pub use self::write::{FrameWriter, LINK_ROOM, RecordWriter, extension_start};
