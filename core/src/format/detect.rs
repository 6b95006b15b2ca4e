//! What an image is, from its first bytes.

use super::compress::Compression;
use super::cpio::Magic;

/// What the first bytes of an image say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signature {
    /// A cpio archive.
    Cpio(Magic),
    /// Something compressed: look again inside.
    Compressed(Compression),
    /// A tar archive.
    Tar,
    /// The filesystem of Nanos, or a disk that begins with its boot sector.
    Tfs,
    /// An ELF file, which may have an archive inside.
    Elf,
    /// A PE file, as unified kernel images are.
    Pe,
    /// An image of Linux for x86, which may be a PE file too.
    Linux,
}

/// Bytes that [`detect`] looks at.
pub const HEAD_LEN: usize = 1024;

/// Recognises what begins with `head`: [`HEAD_LEN`] bytes, or all there are.
#[must_use]
pub fn detect(head: &[u8]) -> Option<Signature> {
    // The only format whose start is proven by a sum, so its names may look like anything.
    if head.first_chunk().is_some_and(|block| super::tar::Header::decode(block).is_ok()) {
        return Some(Signature::Tar);
    }
    if let Some(magic) = Magic::detect(head) {
        return Some(Signature::Cpio(magic));
    }
    if let Some(compression) = Compression::detect(head) {
        return Some(Signature::Compressed(compression));
    }
    match head {
        [b'N', b'V', b'M', b'T', b'F', b'S', ..] => Some(Signature::Tfs),
        _ if super::executable::is_linux(head) => Some(Signature::Linux),
        [0x7f, b'E', b'L', b'F', ..] => Some(Signature::Elf),
        [b'M', b'Z', ..] => Some(Signature::Pe),
        _ if head.get(257..262) == Some(b"ustar") => Some(Signature::Tar),
        // A disk with a partition table: the only disks read here are those of Nanos.
        _ if head.get(510..512) == Some(&[0x55, 0xaa]) => Some(Signature::Tfs),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_of_signed_bytes_that_is_0_makes_no_archive_of_a_file_system() {
        // The magic makes 478, the eight blanks of the sum itself 256, an identifier with these bytes takes them back.
        let mut sector = [0; HEAD_LEN];
        sector[..6].copy_from_slice(b"NVMTFS");
        sector[8..14].copy_from_slice(&[0x80, 0x80, 0x80, 0x80, 0x80, 0xa2]);
        assert_eq!(sector[..512].iter().map(|byte| i32::from(byte.cast_signed())).sum::<i32>() + 256, 0);
        assert_eq!(detect(&sector), Some(Signature::Tfs));
        for blank in [b' ', 0] {
            sector[148..156].fill(blank);
            assert_eq!(detect(&sector), Some(Signature::Tfs));
        }
        // What says so is one.
        sector[148..156].copy_from_slice(b"0000000\0");
        assert_eq!(detect(&sector), Some(Signature::Tar));
    }
}
