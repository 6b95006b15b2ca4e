//! The table of file descriptors.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use mountless::errno::Errno;
use mountless::namespace::Descriptor;

use super::abi::fdflags;
use crate::host::Stdio;

/// What a number stands for.
#[derive(Debug)]
pub(super) enum Handle {
    Stdio(Stdio),
    File(Descriptor),
    Dir(Descriptor),
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) handle: Handle,
    /// Flags without `APPEND`, which the descriptor keeps.
    pub(super) flags: u16,
    /// Few descriptors are preopens, and all are moved when they are opened and closed: this is small.
    pub(super) preopen: Option<Box<Preopen>>,
}

#[derive(Debug)]
pub(super) struct Preopen {
    /// By which the guest finds it.
    pub(super) name: Box<str>,
}

impl Slot {
    pub(super) const fn new(handle: Handle, flags: u16) -> Self {
        Self { handle, flags: flags & !fdflags::APPEND, preopen: None }
    }
}

/// Numbers to handles. A new one gets the lowest free number, which shells and libcs count on.
#[derive(Debug)]
pub(super) struct Table {
    slots: Vec<Option<Slot>>,
    /// Every free number below `slots.len()`, once.
    free: BinaryHeap<Reverse<u32>>,
    /// Descriptors open at once; beyond it is `EMFILE`.
    open_max: usize,
}

impl Table {
    pub(super) const fn new(open_max: usize) -> Self {
        Self { slots: Vec::new(), free: BinaryHeap::new(), open_max }
    }

    pub(super) const fn set_open_max(&mut self, open_max: usize) {
        self.open_max = open_max;
    }

    /// # Errors
    /// `EMFILE` if [`insert`](Self::insert) would refuse.
    #[inline]
    pub(super) fn check_room(&self) -> Result<(), Errno> {
        let open = self.slots.len().saturating_sub(self.free.len());
        if open >= self.open_max { Err(Errno::TooManyFiles) } else { Ok(()) }
    }

    /// # Errors
    /// `EMFILE`.
    #[inline]
    pub(super) fn insert(&mut self, slot: Slot) -> Result<u32, Errno> {
        self.check_room()?;
        if let Some(Reverse(fd)) = self.free.pop() {
            *self.place(fd)? = Some(slot);
            return Ok(fd);
        }
        let fd = u32::try_from(self.slots.len()).map_err(|_| Errno::TooManyFiles)?;
        self.slots.push(Some(slot));
        Ok(fd)
    }

    fn place(&mut self, fd: u32) -> Result<&mut Option<Slot>, Errno> {
        usize::try_from(fd).ok().and_then(|index| self.slots.get_mut(index)).ok_or(Errno::BadFd)
    }

    /// # Errors
    /// `EBADF`.
    #[inline]
    pub(super) fn get(&self, fd: u32) -> Result<&Slot, Errno> {
        let slot = usize::try_from(fd).ok().and_then(|index| self.slots.get(index));
        slot.and_then(Option::as_ref).ok_or(Errno::BadFd)
    }

    /// # Errors
    /// `EBADF`.
    #[inline]
    pub(super) fn get_mut(&mut self, fd: u32) -> Result<&mut Slot, Errno> {
        self.place(fd)?.as_mut().ok_or(Errno::BadFd)
    }

    /// # Errors
    /// `EBADF`, `ENOTDIR` for a file.
    #[inline]
    pub(super) fn dir(&self, fd: u32) -> Result<&Descriptor, Errno> {
        match &self.get(fd)?.handle {
            Handle::Dir(dir) => Ok(dir),
            Handle::File(_) => Err(Errno::NotDir),
            Handle::Stdio(_) => Err(Errno::BadFd),
        }
    }

    /// A file or directory.
    ///
    /// # Errors
    /// `EBADF`, for stdio too.
    #[inline]
    pub(super) fn node(&self, fd: u32) -> Result<&Descriptor, Errno> {
        match &self.get(fd)?.handle {
            Handle::Dir(node) | Handle::File(node) => Ok(node),
            Handle::Stdio(_) => Err(Errno::BadFd),
        }
    }

    /// A file, to be read, written or sized.
    ///
    /// # Errors
    /// `EBADF`, for directories too; `on_stdio` for stdio.
    #[inline]
    pub(super) fn file(&mut self, fd: u32, on_stdio: Errno) -> Result<&mut Descriptor, Errno> {
        match &mut self.get_mut(fd)?.handle {
            Handle::File(file) => Ok(file),
            Handle::Dir(_) => Err(Errno::BadFd),
            Handle::Stdio(_) => Err(on_stdio),
        }
    }

    /// # Errors
    /// `EBADF`.
    #[inline]
    pub(super) fn remove(&mut self, fd: u32) -> Result<Slot, Errno> {
        let slot = self.place(fd)?.take().ok_or(Errno::BadFd)?;
        self.free.push(Reverse(fd));
        Ok(slot)
    }

    /// Closes `to`, gives its number to what `from` stands for, and frees `from`.
    ///
    /// # Errors
    /// `EBADF` if one of them is not open.
    pub(super) fn renumber(&mut self, from: u32, to: u32) -> Result<(), Errno> {
        self.get(to)?;
        self.get(from)?;
        if from != to {
            let moved = self.remove(from)?;
            *self.place(to)? = Some(moved);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot() -> Slot {
        Slot::new(Handle::Stdio(Stdio::In), 0)
    }

    #[test]
    fn the_lowest_free_number_is_taken() {
        let mut table = Table::new(100);
        for fd in 0..6 {
            assert_eq!(table.insert(slot()), Ok(fd));
        }
        for fd in [4, 1, 3] {
            table.remove(fd).unwrap();
        }
        assert_eq!(table.remove(3).unwrap_err(), Errno::BadFd);
        assert_eq!(table.insert(slot()), Ok(1));
        table.renumber(5, 0).unwrap();
        assert_eq!(table.renumber(5, 0), Err(Errno::BadFd));
        assert_eq!(table.renumber(0, 5), Err(Errno::BadFd));
        for fd in [3, 4, 5, 6] {
            assert_eq!(table.insert(slot()), Ok(fd));
        }
    }

    #[test]
    fn the_table_is_bounded() {
        let mut table = Table::new(100);
        for _ in 0..100 {
            table.insert(slot()).unwrap();
        }
        assert_eq!(table.insert(slot()), Err(Errno::TooManyFiles));
        table.remove(77).unwrap();
        assert_eq!(table.insert(slot()), Ok(77));
    }
}
