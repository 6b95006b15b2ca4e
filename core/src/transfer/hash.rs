//! The hash of a file's content.

use sha2::{Digest, Sha256};

use crate::checked::to_u64;
use crate::errno::Errno;
use crate::error::Result;
use crate::fs::{Extent, FileSystem, NodeId, shared_zeros};
use crate::limits::READ_SHARED_MAX;

/// The SHA-256 of a file, which is not copied for it. Holes are not read: their zeros come from memory that stays in the
/// processor's cache.
///
/// # Errors
/// As [`FileSystem::read_shared`].
pub fn sha256(fs: &dyn FileSystem, node: NodeId) -> Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let (mut offset, mut data_end): (u64, u64) = (0, 0);
    loop {
        if offset >= data_end {
            match fs.extent_at(node, offset) {
                Ok(Extent::Data { end }) => data_end = end,
                Ok(Extent::Hole { end }) => {
                    while offset < end {
                        let zeros = shared_zeros(end.saturating_sub(offset));
                        hash.update(&zeros);
                        offset = offset.saturating_add(to_u64(zeros.len()));
                    }
                    continue;
                }
                // The end, or a file that does not say how long it is.
                Err(error) if error == Errno::NoSuchDevice => {}
                Err(error) => return Err(error),
            }
        }
        let run = fs.read_shared(node, offset, READ_SHARED_MAX)?;
        if run.is_empty() {
            return Ok(hash.finalize().into());
        }
        hash.update(&run);
        offset = offset.checked_add(to_u64(run.len())).ok_or(Errno::Overflow)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::mem::MemFs;
    use crate::fs::FileSystemExt;
    use crate::namespace::{Follow, Namespace, OpenHow};

    #[test]
    fn holes_count_as_the_zeros_that_they_are() {
        let ns = Namespace::new(alloc::sync::Arc::new(MemFs::new()));
        for pieces in [&[][..], &[0], &[100_000], &[0, 300_000], &[70_000, 70_002, 5_000_000]] {
            let file = ns.open("/file", &OpenHow::WRITE).unwrap();
            for &offset in pieces {
                file.write_at(offset, b"data").unwrap();
            }
            file.set_len(pieces.last().map_or(1_000_000, |last| last + 200_000)).unwrap();
            let location = ns.locate("/file", Follow::Yes).unwrap();
            let (fs, node) = (location.fs(), location.node());
            let read: [u8; 32] = Sha256::digest(fs.read_to_vec(node).unwrap()).into();
            assert_eq!(sha256(fs, node).unwrap(), read, "{pieces:?}");
            drop(file);
            ns.remove_file("/file").unwrap();
        }
    }
}
