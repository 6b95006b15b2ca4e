//! One node of a tree as listings show it: the fields of `find --json`, and `ls -l`.

use std::fmt;
use std::io::{self, Write};

use mountless::attr::{Attr, FileType};
use mountless::clock::Timestamp;
use mountless::error::Result;
use mountless::fs::{FileSystem, NodeId};
use mountless::transfer::sha256;

use crate::json::Object;

/// What is known about a node.
pub(crate) struct Record {
    pub(crate) attr: Attr,
    pub(crate) target: Option<bytes::Bytes>,
    pub(crate) xattrs: Vec<(bytes::Bytes, bytes::Bytes)>,
    sha256: Option<[u8; 32]>,
}

impl Record {
    pub(crate) fn read(fs: &dyn FileSystem, node: NodeId, hash: bool) -> Result<Self> {
        let attr = fs.attr(node)?;
        let target = (attr.file_type == FileType::Symlink).then(|| fs.read_link(node)).transpose()?;
        let xattrs = fs.xattr_names(node)?.into_iter().map(|name| {
            let value = fs.xattr(node, &name)?;
            Ok((name, value))
        });
        let xattrs = xattrs.collect::<Result<_>>()?;
        let sha256 = (hash && attr.file_type == FileType::File).then(|| sha256(fs, node)).transpose()?;
        Ok(Self { attr, target, xattrs, sha256 })
    }

    /// The fields, in the order of the documentation; what the image does not record is absent.
    pub(crate) fn write_json(&self, object: &mut Object<'_, impl Write>, path: &[u8]) -> io::Result<()> {
        let Self { attr, .. } = self;
        object.bytes("path", path)?;
        object.text("type", attr.file_type.word())?;
        if attr.recorded.mode {
            write!(object.key("mode")?, "\"{:04o}\"", attr.mode)?;
        }
        if attr.recorded.owner {
            object.number("uid", attr.uid)?;
            object.number("gid", attr.gid)?;
        }
        // A directory whose links nobody counted has 1.
        if !(attr.file_type.is_dir() && attr.nlink == 1) {
            object.number("nlink", attr.nlink)?;
        }
        if attr.file_type == FileType::File {
            object.number("size", attr.size)?;
        }
        if attr.recorded.mtime {
            object.number("mtime", Seconds(attr.mtime))?;
        }
        if let Some(device) = attr.rdev {
            write!(object.key("rdev")?, "\"{}:{}\"", device.major, device.minor)?;
        }
        if let Some(target) = &self.target {
            object.bytes("target", target)?;
        }
        object.number("ino", attr.ino)?;
        if !self.xattrs.is_empty() {
            let mut xattrs = Object::begin(object.key("xattrs")?)?;
            for (name, value) in &self.xattrs {
                let name = mountless::name::escape(name).to_string();
                write!(xattrs.key(&name)?, "\"{}\"", Hex(value))?;
            }
            xattrs.end()?;
        }
        if let Some(sha256) = &self.sha256 {
            write!(object.key("sha256")?, "\"{}\"", Hex(sha256))?;
        }
        Ok(())
    }
}

/// Lower-case hexadecimal digits.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Seconds since 1970, with nine decimals if they are not whole. The decimals count upwards, before 1970 too.
pub(crate) struct Seconds(pub(crate) Timestamp);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Timestamp { secs, nanos: 0 } => write!(f, "{secs}"),
            Timestamp { secs, nanos } => write!(f, "{secs}.{nanos:09}"),
        }
    }
}

/// `drwxr-sr-t`, as ls(1) writes it.
pub(crate) struct Mode<'a>(pub(crate) &'a Attr);

impl fmt::Display for Mode<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Attr { mode, file_type, .. } = *self.0;
        f.write_str(match file_type {
            FileType::File => "-",
            FileType::Dir => "d",
            FileType::Symlink => "l",
            FileType::Char => "c",
            FileType::Block => "b",
            FileType::Fifo => "p",
            FileType::Socket => "s",
            FileType::Whiteout => "w",
        })?;
        for (shift, special, with, without) in [(6, 0o4000, "s", "S"), (3, 0o2000, "s", "S"), (0, 0o1000, "t", "T")] {
            let bits = mode >> shift;
            f.write_str(if bits & 4 == 0 { "-" } else { "r" })?;
            f.write_str(if bits & 2 == 0 { "-" } else { "w" })?;
            f.write_str(match (bits & 1 != 0, mode & special != 0) {
                (true, false) => "x",
                (false, false) => "-",
                (true, true) => with,
                (false, true) => without,
            })?;
        }
        Ok(())
    }
}

/// `2024-02-29T12:00:00Z`, or seconds where that does not reach.
pub(crate) struct Moment(pub(crate) Timestamp);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// The end of the year 9999, where four digits end.
        const LAST: u64 = 253_402_300_799;
        match u64::try_from(self.0.secs) {
            Ok(secs @ 0..=LAST) => {
                let time = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(secs));
                time.map_or(Err(fmt::Error), |time| humantime::format_rfc3339_seconds(time).fmt(f))
            }
            _ => write!(f, "@{}", self.0.secs),
        }
    }
}

#[cfg(test)]
mod tests {
    use mountless::attr::Recorded;

    use super::*;

    fn attr(file_type: FileType, mode: u16) -> Attr {
        let time = Timestamp::EPOCH;
        Attr {
            ino: 1,
            file_type,
            mode,
            nlink: 1,
            uid: 0,
            gid: 0,
            size: 0,
            allocated: 0,
            rdev: None,
            atime: time,
            mtime: time,
            ctime: time,
            opaque: false,
            recorded: Recorded::ALL,
        }
    }

    #[test]
    fn modes_look_as_in_ls() {
        for (file_type, mode, shown) in [
            (FileType::File, 0o644, "-rw-r--r--"),
            (FileType::Dir, 0o1777, "drwxrwxrwt"),
            (FileType::File, 0o4755, "-rwsr-xr-x"),
            (FileType::File, 0o6644, "-rwSr-Sr--"),
            (FileType::Char, 0o000, "c---------"),
            (FileType::Dir, 0o1000, "d--------T"),
        ] {
            assert_eq!(Mode(&attr(file_type, mode)).to_string(), shown);
        }
    }

    #[test]
    fn times_are_shown_with_what_they_have() {
        assert_eq!(Seconds(Timestamp { secs: 5, nanos: 0 }).to_string(), "5");
        assert_eq!(Seconds(Timestamp { secs: -6, nanos: 750_000_000 }).to_string(), "-6.750000000");
        assert_eq!(Moment(Timestamp::from_secs(1_709_208_000)).to_string(), "2024-02-29T12:00:00Z");
        assert_eq!(Moment(Timestamp::from_secs(-1)).to_string(), "@-1");
        assert_eq!(Moment(Timestamp::from_secs(253_402_300_800)).to_string(), "@253402300800");
    }
}
