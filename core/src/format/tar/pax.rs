//! pax records: what overrides the fields of a header.

use alloc::borrow::ToOwned;
use core::ops::Range;

use super::TarCorrupt;
use super::acl::parse_acl;
use crate::clock::Timestamp;
use crate::format::cut_at_nul;

/// An extended attribute; the value lies in the records, or was put together from them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Xattr {
    /// The name.
    pub name: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
}

/// The sparse file that records describe.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PaxSparse {
    /// Version 1.0: the map stands before the data.
    pub map_in_data: bool,
    /// Versions 0.0 and 0.1: offsets and lengths in turn.
    pub numbers: Vec<u64>,
    /// Bytes of the file.
    pub real_size: Option<u64>,
    /// The name that the header's stands in for.
    pub name: Option<Vec<u8>>,
}

/// What records say. `None` leaves what the header says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Overrides {
    /// The name.
    pub path: Option<Vec<u8>>,
    /// Where the link's target stands in the records.
    pub linkpath: Option<Range<usize>>,
    /// Bytes of data.
    pub size: Option<u64>,
    /// Owner.
    pub uid: Option<u64>,
    /// Group.
    pub gid: Option<u64>,
    /// Last change of content.
    pub mtime: Option<Timestamp>,
    /// Extended attributes, in the order in which they come; later ones win.
    pub xattrs: Vec<Xattr>,
    /// A sparse file.
    pub sparse: Option<PaxSparse>,
}

impl Overrides {
    /// Reads records on top of what earlier ones say. Keys that mean nothing here are passed over.
    ///
    /// # Errors
    /// What is wrong, and at which byte of `records`; what came before is read.
    pub fn read(&mut self, records: &[u8]) -> Result<(), (usize, TarCorrupt)> {
        let mut at = 0;
        // Some writers pad with NULs.
        while let Some(rest) = records.get(at..).filter(|rest| rest.first().is_some_and(|byte| *byte != 0)) {
            let broken = || {
                let found = rest.get(..rest.len().min(40)).unwrap_or_default().to_owned();
                (at, TarCorrupt::PaxRecord { found })
            };
            let (key, value, len) = split_record(rest).ok_or_else(broken)?;
            let value_at = at.saturating_add(len).saturating_sub(value.len()).saturating_sub(1);
            self.set(key, value, value_at).ok_or_else(|| {
                let text = |bytes: &[u8]| crate::name::escape(bytes).to_string();
                (at, TarCorrupt::PaxValue { key: text(key), value: text(value) })
            })?;
            at = at.saturating_add(len);
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8], value_at: usize) -> Option<()> {
        // An empty value takes back what an earlier record said.
        let given = (!value.is_empty()).then_some(value);
        match key {
            b"path" => self.path = given.map(|value| cut_at_nul(value).to_owned()),
            b"linkpath" => {
                self.linkpath = given.map(|value| value_at..value_at.saturating_add(cut_at_nul(value).len()));
            }
            b"size" => self.size = optional(given, decimal)?,
            b"uid" => self.uid = optional(given, decimal)?,
            b"gid" => self.gid = optional(given, decimal)?,
            b"mtime" => self.mtime = optional(given, time)?,
            b"RHT.security.selinux" => {
                // The kernel's value ends with a NUL, this record's does not; the raw one under the other key is exact.
                if let Some(value) = given.filter(|_| self.xattrs.iter().all(|xattr| xattr.name != SELINUX)) {
                    self.xattr(SELINUX.to_vec(), [value, &[0]].concat());
                }
            }
            b"SCHILY.acl.access" => self.acl(b"system.posix_acl_access", given)?,
            b"SCHILY.acl.default" => self.acl(b"system.posix_acl_default", given)?,
            _ => {
                // libarchive writes a name in its own way under both keys; the one that only it reads is exact.
                if let Some(escaped) = key.strip_prefix(b"SCHILY.xattr.") {
                    let (name, other) = (unescape_gnu(escaped), unescape_url(escaped));
                    if name == other || !self.xattrs.iter().any(|xattr| xattr.name == other) {
                        self.xattr(name, value.to_owned());
                    }
                } else if let Some(escaped) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
                    let (name, other) = (unescape_url(escaped), unescape_gnu(escaped));
                    self.xattrs.retain(|xattr| name == other || xattr.name != other);
                    self.xattr(name, base64(value)?);
                } else if let Some(rest) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse(rest, value)?;
                }
            }
        }
        Some(())
    }

    fn acl(&mut self, name: &[u8], text: Option<&[u8]>) -> Option<()> {
        // A list that says no more than the mode is not kept, as in the kernel.
        if let Some(acl) = parse_acl(text.unwrap_or_default()).filter(|acl| acl.len() > 4 + 3 * 8) {
            self.xattr(name.to_vec(), acl);
        }
        text.is_none_or(|text| parse_acl(text).is_some()).then_some(())
    }

    fn xattr(&mut self, name: Vec<u8>, value: Vec<u8>) {
        // bsdtar writes a value in two forms, of which one is empty where it cannot say it.
        match self.xattrs.iter_mut().find(|xattr| xattr.name == name) {
            Some(xattr) => xattr.value = value,
            None => self.xattrs.push(Xattr { name, value }),
        }
    }

    fn sparse(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let sparse = self.sparse.get_or_insert_default();
        match key {
            b"major" => sparse.map_in_data = decimal(value)? == 1,
            b"size" | b"realsize" => sparse.real_size = Some(decimal(value)?),
            b"offset" | b"numbytes" => sparse.numbers.push(decimal(value)?),
            b"map" => sparse.numbers = numbers(value)?,
            b"name" => sparse.name = Some(cut_at_nul(value).to_owned()),
            _ => {}
        }
        Some(())
    }
}

/// The attribute that has a key of its own.
const SELINUX: &[u8] = b"security.selinux";

/// Key, value and whole length of the record at the start of `records`.
fn split_record(records: &[u8]) -> Option<(&[u8], &[u8], usize)> {
    let digits = records.iter().position(|byte| *byte == b' ')?;
    let len = usize::try_from(decimal(records.get(..digits)?)?).ok()?;
    let record = records.get(digits.checked_add(1)?..len)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    let (key, value) = record.split_at_checked(equals)?;
    (!key.is_empty()).then_some((key, value.get(1..)?, len))
}

fn optional<T>(value: Option<&[u8]>, parse: impl Fn(&[u8]) -> Option<T>) -> Option<Option<T>> {
    match value {
        None => Some(None),
        Some(value) => parse(value).map(Some),
    }
}

pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, digit| match digit {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(digit.wrapping_sub(b'0'))),
        _ => None,
    })
}

fn numbers(text: &[u8]) -> Option<Vec<u64>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    text.split(|byte| *byte == b',').map(decimal).collect()
}

/// Seconds with a fraction, of which nine digits count.
fn time(text: &[u8]) -> Option<Timestamp> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let point = text.iter().position(|byte| *byte == b'.').unwrap_or(text.len());
    let (whole, fraction) = text.split_at_checked(point)?;
    let secs = i64::try_from(decimal(whole)?).ok()?;
    let digits = fraction.strip_prefix(b".").unwrap_or(fraction);
    let mut nanos: u32 = 0;
    for place in 0..9 {
        let digit = match digits.get(place) {
            None => 0,
            Some(digit @ b'0'..=b'9') => u32::from(digit.wrapping_sub(b'0')),
            Some(_) => return None,
        };
        // OK: nine digits.
        nanos = nanos.wrapping_mul(10).wrapping_add(digit);
    }
    Some(match (negative, nanos) {
        (false, _) => Timestamp { secs, nanos },
        (true, 0) => Timestamp { secs: secs.checked_neg()?, nanos: 0 },
        // Fractions count upwards.
        (true, _) => {
            Timestamp { secs: secs.checked_neg()?.checked_sub(1)?, nanos: 1_000_000_000_u32.wrapping_sub(nanos) }
        }
    })
}

/// GNU tar writes `=` as `%3D` and `%` as `%25`, and nothing else.
fn unescape_gnu(name: &[u8]) -> Vec<u8> {
    replace_escapes(name, |code| matches!(code, b'=' | b'%'))
}

fn unescape_url(name: &[u8]) -> Vec<u8> {
    replace_escapes(name, |_| true)
}

fn replace_escapes(name: &[u8], takes: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, behind)) = rest.split_first() {
        let code = behind.first_chunk::<2>().filter(|_| *first == b'%').and_then(|digits| {
            let digits = core::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 16).ok().filter(|code| takes(*code))
        });
        plain.push(code.unwrap_or(*first));
        rest = if code.is_some() { behind.get(2..).unwrap_or_default() } else { behind };
    }
    plain
}

/// RFC 4648, with or without padding.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let end = text.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last.saturating_add(1));
    let mut plain = Vec::with_capacity(text.len());
    for group in text.get(..end)?.chunks(4) {
        let mut value: u32 = 0;
        for place in 0..4 {
            let sextet = match group.get(place) {
                None => 0,
                Some(letter @ b'A'..=b'Z') => letter.wrapping_sub(b'A'),
                Some(letter @ b'a'..=b'z') => letter.wrapping_sub(b'a').wrapping_add(26),
                Some(digit @ b'0'..=b'9') => digit.wrapping_sub(b'0').wrapping_add(52),
                Some(b'+') => 62,
                Some(b'/') => 63,
                Some(_) => return None,
            };
            value = (value << 6) | u32::from(sextet);
        }
        let [_, bytes @ ..] = value.to_be_bytes();
        plain.extend_from_slice(bytes.get(..group.len().checked_sub(1)?)?);
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_hold_anything() {
        let mut overrides = Overrides::default();
        overrides.read(b"31 SCHILY.xattr.user.a=b=v\0\n=1\n18 path=\xff\xfe-binary\n13 mtime=1.5\n").unwrap();
        assert_eq!(overrides.xattrs, [Xattr { name: b"user.a".into(), value: b"b=v\0\n=1".into() }]);
        assert_eq!(overrides.path.as_deref(), Some(&b"\xff\xfe-binary"[..]));
        assert_eq!(overrides.mtime, Some(Timestamp { secs: 1, nanos: 500_000_000 }));
        overrides.read(b"9 mtime=\n").unwrap();
        assert_eq!(overrides.mtime, None);
    }

    #[test]
    fn names_end_at_a_nul_as_for_the_tools() {
        let mut overrides = Overrides::default();
        overrides.read(b"14 path=ab\0cd\n18 linkpath=ab\0cd\n25 GNU.sparse.name=ab\0cd\n").unwrap();
        assert_eq!(overrides.path.as_deref(), Some(&b"ab"[..]));
        assert_eq!(overrides.linkpath, Some(26..28));
        assert_eq!(overrides.sparse.unwrap().name.as_deref(), Some(&b"ab"[..]));
    }

    #[test]
    fn wrong_lengths_are_located() {
        for (records, at) in
            [(&b"99 path=x\n"[..], 0), (b"path=x\n", 0), (b"8 path=x\n", 0), (b"10 path=x\n5 xy\n", 10), (b"4 =\n", 0)]
        {
            let (found, error) = Overrides::default().read(records).unwrap_err();
            assert_eq!(found, at, "{error}");
        }
        assert!(Overrides::default().read(b"11 size=-1\n").is_err());
    }

    #[test]
    fn times_count_upwards() {
        assert_eq!(time(b"-5.25"), Some(Timestamp { secs: -6, nanos: 750_000_000 }));
        assert_eq!(time(b"-5"), Some(Timestamp::from_secs(-5)));
        assert_eq!(time(b"7.0000000019"), Some(Timestamp { secs: 7, nanos: 1 }));
        assert_eq!(time(b"1.x"), None);
        assert_eq!(time(b""), None);
    }

    #[test]
    fn names_and_values_are_unescaped() {
        assert_eq!(unescape_gnu(b"user.a%3Db%25%20"), b"user.a=b%%20");
        assert_eq!(unescape_url(b"user.we%20ird%3Dname%"), b"user.we ird=name%");
        assert_eq!(base64(b"AAEC/w").unwrap(), [0, 1, 2, 255]);
        assert_eq!(base64(b"AAEC/w==").unwrap(), [0, 1, 2, 255]);
        assert_eq!(base64(b"").unwrap(), b"");
        assert_eq!(base64(b"A?"), None);
    }
}
