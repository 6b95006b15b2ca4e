//! Finds file systems on a disk.

use alloc::sync::Arc;

use super::report::Part;
use crate::errno::Errno;
use crate::error::{Error, Result};
use crate::format::tfs::{CrashLog, Disk, KLOG_LEN, SECTOR};
use crate::source::{Source, WindowSource};

/// A file system of an image.
#[derive(Clone, Debug)]
pub struct Found {
    /// Which.
    pub part: Part,
    /// Where it begins, in bytes of the image.
    pub start: u64,
    /// Its bytes.
    pub source: Arc<dyn Source>,
}

fn disk(image: &dyn Source) -> Result<Option<Disk>> {
    let sector = image.bytes_at(0..image.len().min(SECTOR))?;
    Ok(Disk::from_bytes(&sector))
}

/// Finds a file system of `image`; without `part`, the root file system.
///
/// As Nanos does, an image without a partition table, or without the partition wanted, is taken for a bare file system,
/// and the root file system has everything up to the end of the disk.
///
/// # Errors
/// `EINVAL` for the boot file system of an image that has none, and for a partition behind the end of the image.
pub fn find_part(image: &Arc<dyn Source>, part: Option<Part>) -> Result<Found> {
    let whole = Found { part: Part::Whole, start: 0, source: Arc::clone(image) };
    let Some(disk) = disk(&**image)? else {
        return match part {
            None | Some(Part::Whole | Part::Root) => Ok(whole),
            Some(Part::Boot) => {
                Err(Error::new(Errno::Invalid, "no boot file system: the image has no partition table"))
            }
        };
    };
    let (part, partition) = match part {
        Some(Part::Boot) => (Part::Boot, disk.boot),
        Some(Part::Whole) => return Ok(whole),
        None | Some(Part::Root) => (Part::Root, disk.root),
    };
    let Some(partition) = partition else {
        return match part {
            Part::Boot => Err(Error::new(Errno::Invalid, "the partition table has no boot file system")),
            _ => Ok(whole),
        };
    };
    let start = partition.first.saturating_mul(SECTOR);
    let end = match part {
        Part::Boot => start.saturating_add(partition.count.saturating_mul(SECTOR)),
        _ => image.len(),
    };
    if start >= image.len() || end > image.len() {
        let sentence = format!("the partition from byte {start} to {end} passes the end at {}", image.len());
        return Err(Error::new(Errno::Invalid, sentence));
    }
    let source = Arc::new(WindowSource::new(Arc::clone(image), start..end)?);
    Ok(Found { part, start, source })
}

/// The crash log that a Nanos kernel left on the disk in `image`, and the byte at which it begins.
///
/// It is searched for in front of the first partition, at most as far as Nanos' own tool does: down to the start.
///
/// # Errors
/// `EINVAL` for an image without partitions, and those of the source.
pub fn crash_log(image: &Arc<dyn Source>) -> Result<Option<(u64, CrashLog)>> {
    let first = disk(&**image)?.and_then(|disk| disk.first_partition());
    let first = first.ok_or_else(|| Error::new(Errno::Invalid, "a crash log needs a partitioned disk"))?;
    let end = first.saturating_mul(SECTOR).min(image.len());
    // OK: bounded; boot loaders have less than a hundred sectors.
    const SECTORS_MAX: u64 = 4096;
    for back in 1..=first.min(SECTORS_MAX) {
        let Some(start) = end.checked_sub(back.saturating_mul(SECTOR)) else { break };
        let region = image.bytes_at(start..end.min(start.saturating_add(KLOG_LEN.max(back.saturating_mul(SECTOR)))))?;
        if let Some(found) = CrashLog::from_bytes(&region) {
            return Ok(Some((start, found)));
        }
    }
    Ok(None)
}
