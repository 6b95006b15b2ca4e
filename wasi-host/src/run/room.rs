//! What the memories and tables of a run may have together.

use wasmtime::{ResourceLimiter, Result};

/// Elements of all tables; CPython has some ten thousand.
const TABLE_ELEMENTS_MAX: usize = 10_000_000;

/// Counts what a guest takes, whatever it takes it for: a module may have thousands of memories and tables, and a
/// component thousands of modules, and each of them is the host's memory.
///
/// Nothing is given back: an instance has its memories until its store goes. What was granted and could not be had, which
/// is when the host has no more, stays counted too.
pub(super) struct Room {
    memory_bytes: Left,
    table_elements: Left,
}

struct Left(usize);

impl Left {
    /// Whether what is there may grow from `current` to `desired`; it has then.
    fn take(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> bool {
        let left = self.0.checked_sub(desired.saturating_sub(current));
        match left.filter(|_| maximum.is_none_or(|maximum| desired <= maximum)) {
            Some(left) => {
                self.0 = left;
                true
            }
            None => false,
        }
    }
}

impl Room {
    /// At most `memory_max` bytes of memory, if there is a limit, and as many of tables.
    pub(super) fn new(memory_max: Option<usize>) -> Self {
        let memory_max = memory_max.unwrap_or(usize::MAX);
        let elements = memory_max / size_of::<usize>();
        Self { memory_bytes: Left(memory_max), table_elements: Left(elements.min(TABLE_ELEMENTS_MAX)) }
    }
}

impl ResourceLimiter for Room {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        Ok(self.memory_bytes.take(current, desired, maximum))
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        Ok(self.table_elements.take(current, desired, maximum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_counts_together_and_what_is_refused_does_not() {
        let mut room = Room::new(Some(100));
        assert!(room.memory_growing(0, 40, None).unwrap());
        assert!(room.memory_growing(0, 40, Some(40)).unwrap());
        assert!(!room.memory_growing(40, 50, Some(40)).unwrap(), "more than the memory's own maximum");
        assert!(!room.memory_growing(40, 61, None).unwrap());
        assert!(room.memory_growing(40, 60, None).unwrap());
        assert!(!room.memory_growing(0, 1, None).unwrap());
        assert!(room.memory_growing(40, 40, None).unwrap());
        assert!(room.table_growing(0, 12, None).unwrap(), "96 bytes");
        assert!(!room.table_growing(0, 1, None).unwrap());
    }
}
