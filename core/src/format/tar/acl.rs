//! Access control lists: from the text in pax records to the bytes of the extended attribute.

use super::pax::decimal;

/// The version that the attribute begins with.
const VERSION: u32 = 2;

const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// In the place of an id where there is none.
const NO_ID: u32 = u32::MAX;

/// The value of `system.posix_acl_access` or `_default`. Entries name users by number, or by name with the number in a
/// fourth field; a name alone cannot be told and makes the list void.
pub(super) fn parse_acl(text: &[u8]) -> Option<Vec<u8>> {
    let mut entries = Vec::new();
    for entry in text.split(|byte| matches!(byte, b',' | b'\n')) {
        let entry = entry.trim_ascii();
        let entry = entry.split(|byte| *byte == b'#').next().unwrap_or_default().trim_ascii();
        if entry.is_empty() {
            continue;
        }
        let mut fields = entry.split(|byte| *byte == b':');
        let (kind, name, permissions) = (fields.next()?, fields.next()?, fields.next()?);
        let number = fields.next();
        let (tag, id) = match (kind, name) {
            (b"user" | b"u", b"") => (USER_OBJ, NO_ID),
            (b"user" | b"u", name) => (USER, id(name, number)?),
            (b"group" | b"g", b"") => (GROUP_OBJ, NO_ID),
            (b"group" | b"g", name) => (GROUP, id(name, number)?),
            (b"mask" | b"m", _) => (MASK, NO_ID),
            (b"other" | b"o", _) => (OTHER, NO_ID),
            _ => return None,
        };
        let bits = permissions.iter().try_fold(0_u16, |bits, letter| match letter {
            b'r' => Some(bits | 4),
            b'w' => Some(bits | 2),
            b'x' => Some(bits | 1),
            b'-' => Some(bits),
            _ => None,
        })?;
        entries.push((tag, id, bits));
    }
    // The kernel insists on this order.
    entries.sort_unstable();
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for (tag, id, bits) in entries {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&bits.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    Some(bytes)
}

/// The permission bits that go with a list: where it has a mask, that stands for the group.
#[must_use]
pub fn mode_of_acl(acl: &[u8]) -> Option<u16> {
    let (entries, _) = acl.get(4..)?.as_chunks::<8>();
    let bits = |tag: u16| {
        let found = entries.iter().find(|[t0, t1, ..]| u16::from_le_bytes([*t0, *t1]) == tag);
        found.map(|[_, _, p0, p1, ..]| u16::from_le_bytes([*p0, *p1]) & 7)
    };
    let group = bits(MASK).or_else(|| bits(GROUP_OBJ))?;
    Some((bits(USER_OBJ)? << 6) | (group << 3) | bits(OTHER)?)
}

fn id(name: &[u8], number: Option<&[u8]>) -> Option<u32> {
    let number = number.and_then(decimal).or_else(|| decimal(name))?;
    u32::try_from(number).ok()
}

/// The text for pax records of an attribute's bytes, if they are a list as the kernel keeps them.
pub(super) fn show_acl(bytes: &[u8]) -> Option<Vec<u8>> {
    let (version, rest) = bytes.split_first_chunk::<4>()?;
    let (entries, behind) = rest.as_chunks::<8>();
    if u32::from_le_bytes(*version) != VERSION || !behind.is_empty() {
        return None;
    }
    let mut text = Vec::new();
    for [t0, t1, p0, p1, id @ ..] in entries {
        let id = u32::from_le_bytes(*id);
        let (word, id) = match u16::from_le_bytes([*t0, *t1]) {
            USER_OBJ => ("user", None),
            USER => ("user", Some(id)),
            GROUP_OBJ => ("group", None),
            GROUP => ("group", Some(id)),
            MASK => ("mask", None),
            OTHER => ("other", None),
            _ => return None,
        };
        let bits = u16::from_le_bytes([*p0, *p1]);
        let letter = |bit: u16, letter: char| if bits & bit == 0 { '-' } else { letter };
        if !text.is_empty() {
            text.push(b',');
        }
        let id = id.map(|id| id.to_string()).unwrap_or_default();
        text.extend(format!("{word}:{id}:{}{}{}", letter(4, 'r'), letter(2, 'w'), letter(1, 'x')).into_bytes());
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_become_what_the_kernel_keeps() {
        let text = b"user::rw-,group::r--,other::r--,user:1234:rw-,group:99:r--,mask::rw-";
        let bytes = parse_acl(text).unwrap();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "0200000001000600ffffffff02000600d204000004000400ffffffff080004006300000010000600ffffffff20000400ffffffff"
        );
        let shown = show_acl(&bytes).unwrap();
        assert_eq!(shown, b"user::rw-,user:1234:rw-,group::r--,group:99:r--,mask::rw-,other::r--");
        assert_eq!(parse_acl(&shown).unwrap(), bytes);
        assert_eq!(mode_of_acl(&bytes), Some(0o664));
        assert_eq!(parse_acl(b"user:joe:rw-:1000").unwrap(), parse_acl(b"user:1000:rw-").unwrap());
        assert_eq!(parse_acl(b"user:joe:rw-"), None);
    }
}
