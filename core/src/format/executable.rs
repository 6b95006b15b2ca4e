//! Archives inside programs: ELF kernels, Linux's own images, unified kernel images.
//!
//! ELF is taken apart by `object`; what is looked for in them is described by Unikraft's `ukcpio`, by Linux's
//! `usr/initramfs_data.S` and `Documentation/arch/x86/boot.rst`, and by the UAPI group's specification of unified
//! kernel images.

use alloc::vec::Vec;
use core::ops::Range;

use object::read::{File, Object, ObjectSection, ObjectSegment, ObjectSymbol};
use object::{SectionFlags, SegmentFlags, elf};

use super::compress::Compression;
use super::cpio::{HEADER_LEN, LONGEST_HEAD, NAME_SIZE_MAX, read_entry};
use crate::checked::to_u64;

/// What is wrong with a program.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ExecutableCorrupt {
    /// It cannot be taken apart.
    #[error("{message}")]
    Invalid {
        /// What the parser says.
        message: String,
    },
    /// A part lies outside of the file.
    #[error("{what}: {len} bytes, the file ends after {available}")]
    BeyondEnd {
        /// Which part.
        what: &'static str,
        /// Its length.
        len: u64,
        /// Bytes from its start to the file's end.
        available: u64,
    },
}

/// A place in a program where an archive is, or may be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Embedded {
    /// What a reference selects it by: `initrd`, `ucode`, `einitrd`, `initramfs`, `vmlinux`.
    pub name: &'static str,
    /// Where it is in the file.
    pub range: Range<u64>,
    /// What it is known to be.
    pub kind: EmbeddedKind,
}

/// How sure a place is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EmbeddedKind {
    /// An archive that fills the range, plain or compressed.
    Archive,
    /// Something compressed begins here that may be an archive; the range goes on to the end of what it lies in.
    Maybe(Compression),
    /// A compressed program, to look into; bytes may follow it in the range.
    Program,
}

/// Compressed data found by its first bytes is looked into at most so often.
const MAYBE_MAX: usize = 64;

/// Entries followed in the search for archives that are none in the end.
const SEARCH_ENTRIES_MAX: u64 = 1 << 20;

/// Finds archives in the program `bytes`, the surest first.
///
/// # Errors
/// What is wrong with the program, and at which byte.
pub fn find_embedded(bytes: &[u8]) -> Result<Vec<Embedded>, (u64, ExecutableCorrupt)> {
    if let Some(payload) = linux_payload(bytes) {
        return payload.map(|range| alloc::vec![Embedded { name: "vmlinux", range, kind: EmbeddedKind::Program }]);
    }
    if bytes.starts_with(b"MZ") {
        return sections_of_pe(bytes);
    }
    let file = File::parse(bytes).map_err(|error| (0, ExecutableCorrupt::Invalid { message: error.to_string() }))?;
    let mut found = Vec::new();
    found.extend(unikraft(bytes, &file));
    found.extend(linux(bytes, &file));
    if found.is_empty() {
        let data = data_ranges(&file);
        found.extend(search(bytes, &data));
        if found.is_empty() {
            found.extend(search_compressed(bytes, &data));
        }
    }
    Ok(found)
}

/// Whether `head`, the first 0x206 bytes of a file or more, begins an image of Linux for x86.
#[must_use]
pub fn is_linux(head: &[u8]) -> bool {
    head.get(0x1fe..0x200) == Some(&[0x55, 0xaa]) && head.get(0x202..0x206) == Some(b"HdrS")
}

/// The compressed kernel in an image of Linux.
fn linux_payload(bytes: &[u8]) -> Option<Result<Range<u64>, (u64, ExecutableCorrupt)>> {
    if !is_linux(bytes) {
        return None;
    }
    let word = |at: usize| {
        bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()).map_or(0, |word| u64::from(u32::from_le_bytes(*word)))
    };
    let version = word(0x206) & 0xffff;
    if version < 0x0208 {
        let message = format!("boot protocol {version:#06x} does not say where the kernel is, 0x0208 does");
        return Some(Err((0x206, ExecutableCorrupt::Invalid { message })));
    }
    let sectors = match word(0x1f1) & 0xff {
        0 => 4,
        sectors => sectors,
    };
    let start = sectors.saturating_add(1).saturating_mul(512).saturating_add(word(0x248));
    Some(within(bytes, "the compressed kernel", start, word(0x24c)).map_err(|corrupt| (0x248, corrupt)))
}

fn within(bytes: &[u8], what: &'static str, start: u64, len: u64) -> Result<Range<u64>, ExecutableCorrupt> {
    let available = to_u64(bytes.len()).saturating_sub(start);
    if len > available {
        return Err(ExecutableCorrupt::BeyondEnd { what, len, available });
    }
    Ok(start..start.saturating_add(len))
}

/// The sections of a unified kernel image. Only the section table counts: such images need no machine to be read.
fn sections_of_pe(bytes: &[u8]) -> Result<Vec<Embedded>, (u64, ExecutableCorrupt)> {
    const COFF_LEN: u64 = 24;
    const SECTION_LEN: u64 = 40;

    let word = |at: u64| -> Option<u64> {
        let at = usize::try_from(at).ok()?;
        Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk::<4>()?).into())
    };
    let invalid = |at: u64, message: &str| (at, ExecutableCorrupt::Invalid { message: message.into() });
    let header = word(0x3c).ok_or_else(|| invalid(0x3c, "the MS-DOS header is cut short"))?;
    if word(header) != Some(u64::from(u32::from_le_bytes(*b"PE\0\0"))) {
        return Err(invalid(header, "no PE header where the MS-DOS header says"));
    }
    let short = || invalid(header, "the PE header is cut short");
    let count = word(header.saturating_add(4)).ok_or_else(short)? >> 16;
    let optional_len = word(header.saturating_add(20)).ok_or_else(short)? & 0xffff;
    let table = header.saturating_add(COFF_LEN).saturating_add(optional_len);
    let mut found: Vec<Embedded> = Vec::new();
    for number in 0..count {
        let at = table.saturating_add(number.saturating_mul(SECTION_LEN));
        let field = |offset: u64| word(at.saturating_add(offset)).ok_or_else(short);
        let (what, name, kind) = match &((field(4)? << 32) | field(0)?).to_le_bytes() {
            b".initrd\0" => (".initrd", "initrd", EmbeddedKind::Archive),
            b".ucode\0\0" => (".ucode", "ucode", EmbeddedKind::Archive),
            b".linux\0\0" => (".linux", "linux", EmbeddedKind::Program),
            _ => continue,
        };
        // The first of several profiles counts.
        if found.iter().any(|other| other.name == name) {
            continue;
        }
        // The stored length is padded, and the one in memory is that of the archive; some linkers leave either out.
        let len = match (field(8)?, field(16)?) {
            (0, len) | (len, 0) => len,
            (in_memory, stored) => in_memory.min(stored),
        };
        let range = within(bytes, what, field(20)?, len).map_err(|corrupt| (at, corrupt))?;
        found.push(Embedded { name, range, kind });
    }
    found.sort_by_key(|embedded| match embedded.name {
        "initrd" => 0,
        "linux" => 1,
        _ => 2,
    });
    Ok(found)
}

/// The archive that Unikraft puts between two symbols.
fn unikraft(bytes: &[u8], file: &File<'_>) -> Option<Embedded> {
    let start = file.symbol_by_name("vfscore_einitrd_start")?.address();
    let len = file.symbol_by_name("vfscore_einitrd_end")?.address().checked_sub(start)?;
    let range = file_range(bytes, file, start, len)?;
    Some(Embedded { name: "einitrd", range, kind: EmbeddedKind::Archive })
}

/// The archive that Linux has built in, of which a word behind it tells the length.
fn linux(bytes: &[u8], file: &File<'_>) -> Option<Embedded> {
    let start = file.symbol_by_name("__initramfs_start")?.address();
    let size = file.symbol_by_name("__initramfs_size")?.address();
    let word_len = if file.is_64() { 8 } else { 4 };
    let at = file_range(bytes, file, size, word_len)?;
    let word = bytes.get(usize::try_from(at.start).ok()?..usize::try_from(at.end).ok()?)?;
    let little = file.is_little_endian();
    let fold = |len: u64, byte: &u8| (len << 8) | u64::from(*byte);
    let len = if little { word.iter().rev().fold(0, fold) } else { word.iter().fold(0, fold) };
    let range = file_range(bytes, file, start, len)?;
    Some(Embedded { name: "initramfs", range, kind: EmbeddedKind::Archive })
}

/// Where in the file `len` bytes at `address` are.
fn file_range(bytes: &[u8], file: &File<'_>, address: u64, len: u64) -> Option<Range<u64>> {
    let place = |base: u64, (start, stored): (u64, u64)| {
        let inside = address.checked_sub(base)?;
        let end = inside.checked_add(len)?;
        let from = start.checked_add(inside)?;
        (end <= stored && from.checked_add(len)? <= to_u64(bytes.len())).then(|| from..from.saturating_add(len))
    };
    let in_section = file.sections().find_map(|section| place(section.address(), section.file_range()?));
    in_section.or_else(|| file.segments().find_map(|segment| place(segment.address(), segment.file_range())))
}

/// The data of a program: what is loaded and not executed. Linux's own comes first.
fn data_ranges(file: &File<'_>) -> Vec<Range<u64>> {
    let mut first = Vec::new();
    let mut ranges = Vec::new();
    for section in file.sections() {
        let SectionFlags::Elf { sh_flags } = section.flags() else { continue };
        let is_data = sh_flags & u64::from(elf::SHF_ALLOC) != 0 && sh_flags & u64::from(elf::SHF_EXECINSTR) == 0;
        let Some((start, len)) = section.file_range().filter(|_| is_data) else { continue };
        let range = start..start.saturating_add(len);
        if section.name_bytes() == Ok(b".init.data") { first.push(range) } else { ranges.push(range) }
    }
    if first.is_empty() && ranges.is_empty() {
        for segment in file.segments() {
            let SegmentFlags::Elf { p_flags } = segment.flags() else { continue };
            let (start, len) = segment.file_range();
            if p_flags & elf::PF_X == 0 {
                ranges.push(start..start.saturating_add(len));
            }
        }
    }
    first.extend(ranges);
    first
}

fn slice(bytes: &[u8], range: &Range<u64>) -> Option<(usize, usize)> {
    let start = usize::try_from(range.start).ok()?;
    let end = usize::try_from(range.end).ok()?.min(bytes.len());
    (start < end).then_some((start, end))
}

/// The first complete plain archive: at the alignment that linkers give it, or at any that an archive has.
fn search(bytes: &[u8], data: &[Range<u64>]) -> Option<Embedded> {
    let mut left = SEARCH_ENTRIES_MAX;
    for step in [16, 4] {
        for (start, end) in data.iter().filter_map(|range| slice(bytes, range)) {
            let mut at = start.next_multiple_of(step);
            while at < end {
                let rest = bytes.get(at..end).unwrap_or_default();
                if rest.starts_with(b"07070")
                    && let Some(len) = archive_len(rest, &mut left)
                {
                    let range = to_u64(at)..to_u64(at).saturating_add(len);
                    return Some(Embedded { name: "initramfs", range, kind: EmbeddedKind::Archive });
                }
                at = at.saturating_add(step);
            }
        }
    }
    None
}

/// Bytes of the archive at the start of `bytes` up to its trailer, if every entry is what it should be.
fn archive_len(bytes: &[u8], left: &mut u64) -> Option<u64> {
    let mut at: usize = 0;
    loop {
        *left = left.checked_sub(1)?;
        let rest = bytes.get(at..)?;
        let entry = read_entry(rest.get(..rest.len().min(LONGEST_HEAD))?).ok()?;
        let header = entry.header;
        let digits = rest.get(6..HEADER_LEN)?;
        let plausible = digits.iter().all(u8::is_ascii_hexdigit)
            && (1..=NAME_SIZE_MAX).contains(&header.namesize)
            && entry.check_terminated().is_ok()
            && entry.check_complete(to_u64(rest.len())).is_ok();
        if !plausible {
            return None;
        }
        let next = at.checked_add(usize::try_from(header.entry_len()).ok()?)?;
        if entry.is_trailer() {
            return Some(to_u64(next.min(bytes.len())));
        }
        header.file_type()?;
        at = next;
    }
}

/// Whatever compressed data begins at a multiple of 4, to be looked into.
fn search_compressed(bytes: &[u8], data: &[Range<u64>]) -> Vec<Embedded> {
    let mut found = Vec::new();
    for (start, end) in data.iter().filter_map(|range| slice(bytes, range)) {
        let mut at = start.next_multiple_of(4);
        while at < end && found.len() < MAYBE_MAX {
            let rest = bytes.get(at..end).unwrap_or_default();
            // Where everything looks like LZMA, which has no magic, it would only waste tries.
            match Compression::detect(rest.get(..rest.len().min(16)).unwrap_or_default()) {
                None | Some(Compression::Lzma) => {}
                Some(Compression::Gzip) if rest.get(2) != Some(&8) => {}
                Some(compression) => {
                    let range = to_u64(at)..to_u64(end);
                    found.push(Embedded { name: "initramfs", range, kind: EmbeddedKind::Maybe(compression) });
                }
            }
            at = at.saturating_add(4);
        }
    }
    found
}
