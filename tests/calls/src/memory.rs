//! The guest's memory as the model sees it.

use std::ops::Range;

use mountless::errno::Errno;

/// What was in it before a call, and what is expected after it; and what is there.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) expected: Vec<u8>,
    pub(crate) after: Vec<u8>,
}

/// Why a call may be refused: for any of these.
#[derive(Default, Debug)]
pub(crate) struct Faults(pub(crate) Vec<Errno>);

impl Faults {
    pub(crate) fn note(&mut self, errno: Errno) {
        self.0.push(errno);
    }

    pub(crate) fn note_if(&mut self, is_so: bool, errno: Errno) {
        if is_so {
            self.note(errno);
        }
    }

    pub(crate) fn take<T>(&mut self, result: Result<T, Errno>) -> Option<T> {
        result.map_err(|errno| self.note(errno)).ok()
    }

    /// # Errors
    /// The faults, if there are any.
    pub(crate) fn none(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl From<Errno> for Faults {
    fn from(errno: Errno) -> Self {
        Self(vec![errno])
    }
}

impl Memory {
    pub(crate) fn range(&self, ptr: u64, len: u64) -> Result<Range<usize>, Errno> {
        let end = ptr + len;
        if end <= self.expected.len() as u64 { Ok(ptr as usize..end as usize) } else { Err(Errno::Fault) }
    }

    pub(crate) fn get(&self, ptr: u64, len: u64) -> Result<&[u8], Errno> {
        Ok(&self.expected[self.range(ptr, len)?])
    }

    pub(crate) fn u32(&self, ptr: u64) -> u32 {
        u32::from_le_bytes(self.get(ptr, 4).expect("checked").try_into().expect("four bytes"))
    }

    /// A path or a link's target.
    pub(crate) fn text(&self, ptr: u64, len: u64) -> Result<Vec<u8>, Errno> {
        let text = self.get(ptr, len)?;
        if text.len() > 4095 {
            return Err(Errno::NameTooLong);
        }
        if std::str::from_utf8(text).is_err() {
            return Err(Errno::IllegalSequence);
        }
        if text.contains(&0) { Err(Errno::Invalid) } else { Ok(text.to_vec()) }
    }

    /// A scatter-gather list, without empty pieces. No list in so small a memory is cut.
    pub(crate) fn iovecs(&self, ptr: u64, count: u64) -> Result<Vec<(u64, u64)>, Errno> {
        self.range(ptr, count * 8)?;
        let mut list = Vec::new();
        for index in 0..count {
            let (ptr, len) = (self.u32(ptr + 8 * index), self.u32(ptr + 8 * index + 4));
            self.range(ptr.into(), len.into())?;
            if len > 0 {
                list.push((ptr.into(), len.into()));
            }
        }
        list.truncate(1024);
        Ok(list)
    }

    pub(crate) fn put(&mut self, ptr: u64, bytes: &[u8]) {
        let range = self.range(ptr, bytes.len() as u64).expect("checked");
        self.expected[range].copy_from_slice(bytes);
    }

    pub(crate) fn put_u32(&mut self, ptr: u64, value: u64) {
        self.put(ptr, &u32::try_from(value).expect("it fits").to_le_bytes());
    }

    /// What is there now, for a result that the model does not foretell: to be looked at, and expected from now on.
    pub(crate) fn accept(&mut self, ptr: u64, len: u64) -> &[u8] {
        let range = self.range(ptr, len).expect("checked");
        self.expected[range.clone()].copy_from_slice(&self.after[range.clone()]);
        &self.after[range]
    }

    pub(crate) fn accepted_u32(&mut self, ptr: u64) -> u64 {
        u32::from_le_bytes(self.accept(ptr, 4).try_into().expect("four bytes")).into()
    }
}

/// A number out of what a call wrote.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
