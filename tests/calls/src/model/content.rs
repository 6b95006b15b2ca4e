//! The calls that read and write.

use mountless::errno::Errno;

use super::{APPEND, Checked, Model, Open};
use crate::memory::Faults;
use crate::tree::{Kind, SIZE_MAX};

impl Model {
    pub(super) fn read(&mut self, fd: u64, iovs: (u64, u64), at: Option<u64>, count: u64) -> Checked {
        let mut faults = Faults::default();
        faults.take(self.memory.range(count, 4));
        let iovecs = faults.take(self.memory.iovecs(iovs.0, iovs.1));
        let slot = faults.take(self.slot(fd).cloned());
        match slot.as_ref().map(|slot| slot.open) {
            Some(Open::Dir(_)) => faults.note(Errno::BadFd),
            Some(Open::File { read, .. }) => faults.note_if(!read, Errno::BadFd),
            Some(Open::Stdio(_)) if at.is_some() => faults.note(Errno::IllegalSeek),
            Some(Open::Stdio(stream)) => faults.note_if(stream != 0, Errno::BadFd),
            None => {}
        }
        faults.none()?;
        let (iovecs, slot) = (iovecs.expect("checked"), slot.expect("checked"));
        let mut done = 0;
        for (ptr, len) in iovecs {
            let bytes = match slot.open {
                Open::File { node, .. } => {
                    let Kind::File(content) = &self.tree.node(node).kind else { panic!("no file") };
                    content.read(at.unwrap_or(slot.position).saturating_add(done), len as usize)
                }
                Open::Stdio(_) | Open::Dir(_) => {
                    let mut bytes = vec![0; len as usize];
                    let count = self.given.input(&mut bytes);
                    bytes.truncate(count);
                    bytes
                }
            };
            self.memory.put(ptr, &bytes);
            done += bytes.len() as u64;
            if (bytes.len() as u64) < len {
                break;
            }
        }
        if let Open::File { node, .. } = slot.open {
            self.tree.node_mut(node).atim = None;
            if at.is_none() {
                self.slot_mut(fd).position += done;
            }
        }
        self.memory.put_u32(count, done);
        Ok(())
    }

    pub(super) fn write(&mut self, fd: u64, iovs: (u64, u64), at: Option<u64>, count: u64) -> Checked {
        let mut faults = Faults::default();
        faults.take(self.memory.range(count, 4));
        let iovecs = faults.take(self.memory.iovecs(iovs.0, iovs.1));
        let slot = faults.take(self.slot(fd).cloned());
        let bytes: Vec<u8> = iovecs
            .iter()
            .flatten()
            .flat_map(|&(ptr, len)| self.memory.get(ptr, len).expect("checked").to_vec())
            .collect();
        let mut start = 0;
        match slot.as_ref().map(|slot| (slot.open, slot)) {
            Some((Open::Dir(_), _)) => faults.note(Errno::BadFd),
            Some((Open::File { write, node, .. }, slot)) => {
                faults.note_if(!write, Errno::BadFd);
                let append = slot.flags & APPEND != 0;
                start = if append { self.size(node) } else { at.unwrap_or(slot.position) };
                faults.note_if(!bytes.is_empty() && start >= SIZE_MAX, Errno::FileTooBig);
            }
            Some((Open::Stdio(_), _)) if at.is_some() => faults.note(Errno::IllegalSeek),
            Some((Open::Stdio(stream), _)) => faults.note_if(stream == 0, Errno::BadFd),
            None => {}
        }
        faults.none()?;
        let slot = slot.expect("checked");
        let done = self.memory.accepted_u32(count) as usize;
        assert!(done <= bytes.len() && (done > 0 || bytes.is_empty()), "{done} of {} bytes written", bytes.len());
        if let Open::File { node, .. } = slot.open {
            // Short only in front of the largest offset, and above what is gathered for appending.
            let room = usize::try_from(SIZE_MAX - start.min(SIZE_MAX)).unwrap_or(usize::MAX);
            assert!(done == bytes.len() || done >= (1 << 20).min(room), "{done} of {} bytes written", bytes.len());
            if done > 0 {
                let node = self.tree.node_mut(node);
                node.mtim = None;
                let Kind::File(content) = &mut node.kind else { panic!("no file") };
                content.write(start, &bytes[..done]);
                if at.is_none() {
                    self.slot_mut(fd).position = start + done as u64;
                }
            }
        }
        Ok(())
    }
}
