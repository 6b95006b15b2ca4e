//! An archive as text for people and for golden tests.

use core::fmt::Write;

use super::{HEADER_LEN, Variant, read_entry};
use crate::attr::FileType;
use crate::checked::{to_u64, to_usize};
use crate::name::escape;

/// Describes an uncompressed archive in memory, one line an entry, each with its offset; stops with a line that says
/// why at the first thing that is neither an entry nor zeros.
#[must_use]
pub fn dump(archive: &[u8]) -> String {
    let mut text = String::new();
    let mut offset = 0;
    while let Some(rest) = archive.get(offset..).filter(|rest| !rest.is_empty()) {
        let zeros = rest.iter().take_while(|byte| **byte == 0).count();
        if zeros > 0 {
            let _ = writeln!(text, "{offset:#08x} {zeros} zero bytes");
            offset = offset.saturating_add(zeros);
            continue;
        }
        let entry = match read_entry(rest).and_then(|entry| entry.check_complete(to_u64(rest.len())).map(|()| entry)) {
            Ok(entry) => entry,
            Err(corrupt) => {
                let _ = writeln!(text, "{offset:#08x} {corrupt}");
                break;
            }
        };
        let header = &entry.header;
        let kind = header.file_type().map_or("unknown", FileType::word);
        let _ = write!(
            text,
            "{offset:#08x} {kind} {:04o} {}:{} \"{}\" ino={} nlink={} mtime={}",
            header.permissions(),
            header.uid,
            header.gid,
            escape(entry.name()),
            header.ino,
            header.nlink,
            header.mtime,
        );
        if header.file_type().is_some_and(FileType::is_device) {
            let _ = write!(text, " rdev={}:{}", header.rdev_major, header.rdev_minor);
        }
        if header.dev_major != 0 || header.dev_minor != 0 {
            let _ = write!(text, " dev={}:{}", header.dev_major, header.dev_minor);
        }
        if header.variant == Variant::Crc {
            let _ = write!(text, " check={:#010x}", header.check);
        }
        let name_end = HEADER_LEN.saturating_add(entry.name_field.len());
        let padding = header.data_offset().saturating_sub(to_u64(name_end));
        let _ = write!(text, " name+{padding}");
        if header.filesize != 0 {
            let start = header.data_offset();
            let _ = write!(text, " data={} at {:#x}", header.filesize, to_u64(offset).saturating_add(start));
            let range = to_usize(start).ok().zip(to_usize(header.data_end()).ok());
            let data = range.and_then(|(start, end)| rest.get(start..end)).unwrap_or_default();
            let _ = write!(text, " \"{}\"", escape(data.get(..24).unwrap_or(data)));
        }
        text.push('\n');
        // The last entry's padding may be missing.
        offset = to_usize(header.entry_len()).map_or(archive.len(), |len| offset.saturating_add(len));
    }
    text
}
