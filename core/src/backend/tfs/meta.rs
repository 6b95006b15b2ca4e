//! Attributes that TFS has no field for, kept as extended attributes, which Nanos carries along unharmed.
//!
//! `mountless.mode` is octal, `mountless.owner` is `UID:GID`, `mountless.node` is `char MAJOR:MINOR`, `block
//! MAJOR:MINOR`, `fifo` or `whiteout`, `mountless.opaque` is empty, `mountless.mtime` and `mountless.atime` are nanoseconds since 1970 for
//! times before that year and after 2106. They are not shown as extended attributes.

use alloc::string::String;

use super::time::Time;
use super::tree::{Meta, Special};
use crate::attr::Device;

/// What the names of all of them begin with.
pub(super) const PREFIX: &[u8] = b"mountless.";

pub(super) const MODE: &[u8] = b"mountless.mode";
pub(super) const OWNER: &[u8] = b"mountless.owner";
pub(super) const NODE: &[u8] = b"mountless.node";
/// Nanoseconds since 1970, where [`Time`](super::time::Time) does not fit.
pub(super) const MTIME: &[u8] = b"mountless.mtime";
pub(super) const ATIME: &[u8] = b"mountless.atime";
/// Nanoseconds since 1970, of change times that were given and not overtaken since.
pub(super) const CTIME: &[u8] = b"mountless.ctime";

pub(super) const OPAQUE: &[u8] = b"mountless.opaque";

/// Takes an attribute into `meta` or `special`; `false` if it is none of these, or makes no sense.
pub(super) fn take(name: &[u8], value: &[u8], meta: &mut Meta, special: &mut Option<Special>) -> bool {
    let Ok(value) = core::str::from_utf8(value) else { return false };
    match name {
        MODE => {
            let mode = u16::from_str_radix(value, 8).ok().filter(|mode| *mode <= 0o7777);
            meta.mode = mode;
            mode.is_some()
        }
        OWNER => {
            let Some((uid, gid)) = pair(value) else { return false };
            (meta.uid, meta.gid) = (Some(uid), Some(gid));
            true
        }
        NODE => {
            *special = parse_special(value);
            special.is_some()
        }
        OPAQUE => {
            meta.opaque = true;
            true
        }
        CTIME => {
            meta.ctime = Time::from_nanos(value.as_bytes());
            meta.ctime.is_some()
        }
        _ => false,
    }
}

fn pair(value: &str) -> Option<(u32, u32)> {
    let (left, right) = value.split_once(':')?;
    Some((left.parse().ok()?, right.parse().ok()?))
}

fn parse_special(value: &str) -> Option<Special> {
    let device = |value| pair(value).map(|(major, minor)| Device { major, minor });
    match value.split_once(' ') {
        Some(("char", value)) => Some(Special::Char(device(value)?)),
        Some(("block", value)) => Some(Special::Block(device(value)?)),
        None if value == "fifo" => Some(Special::Fifo),
        None if value == "whiteout" => Some(Special::Whiteout),
        _ => None,
    }
}

/// The value of `mountless.node`.
pub(super) fn special(special: Special) -> String {
    match special {
        Special::Char(device) => format!("char {}:{}", device.major, device.minor),
        Special::Block(device) => format!("block {}:{}", device.major, device.minor),
        Special::Fifo => "fifo".into(),
        Special::Whiteout => "whiteout".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back() {
        let device = Device { major: 4, minor: 64 };
        for kind in [Special::Char(device), Special::Block(device), Special::Fifo, Special::Whiteout] {
            let mut found = None;
            assert!(take(NODE, special(kind).as_bytes(), &mut Meta::default(), &mut found));
            assert_eq!(found, Some(kind));
        }
        let mut meta = Meta::default();
        assert!(take(MODE, b"4755", &mut meta, &mut None));
        assert!(take(OWNER, b"1000:5", &mut meta, &mut None));
        assert_eq!(meta, Meta { mode: Some(0o4755), uid: Some(1000), gid: Some(5), ..Meta::default() });
        for (name, value) in [(MODE, "17777"), (MODE, "rw"), (OWNER, "1"), (NODE, "char"), (NODE, "door"), (b"x.y", "")]
        {
            assert!(!take(name, value.as_bytes(), &mut Meta::default(), &mut None), "{value}");
        }
    }
}
