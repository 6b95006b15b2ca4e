//! A tree as tar, or as a layer of a container image.

use std::io::Write;

use super::{Loss, Packing, Ready};
use crate::attr::FileType;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::format::tar::{NewTarEntry, NewTarKind, TarWriter};

impl Packing<'_> {
    pub(super) fn write_tar<W: Write>(&mut self, out: W) -> Result<W> {
        let mut writer = TarWriter::new(out);
        while let Some(ready) = self.feed.next()? {
            let Ready { index, attr, path, xattrs, target, pieces, .. } = &ready;
            if attr.file_type == FileType::Whiteout && self.options.as_layer {
                self.mark(&mut writer, path, b".wh.")?;
                continue;
            }
            let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
            if self.options.as_layer && name.starts_with(b".wh.") {
                self.report.lose(path, Loss::Name);
                continue;
            }
            let group = self.groups.get(&attr.ino).filter(|_| attr.is_linked());
            let first = group.filter(|group| group.first != *index).map(|group| group.path.to_vec());
            let device = attr.rdev.unwrap_or_default();
            let kind = match (first.as_deref(), attr.file_type) {
                (_, FileType::Whiteout | FileType::Socket) => {
                    self.report.lose(path, Loss::Node(attr.file_type));
                    continue;
                }
                (_, FileType::Dir) => NewTarKind::Dir,
                (Some(first), _) => NewTarKind::HardLink(first),
                (None, FileType::File) => match pieces {
                    Some(pieces) => NewTarKind::Sparse(attr.size, pieces),
                    None => NewTarKind::File(attr.size),
                },
                (None, FileType::Symlink) => NewTarKind::Symlink(target),
                (None, FileType::Char) => NewTarKind::Char(device),
                (None, FileType::Block) => NewTarKind::Block(device),
                (None, FileType::Fifo) => NewTarKind::Fifo,
            };
            if attr.opaque && !self.options.as_layer {
                self.report.lose(path, Loss::Opaque);
            }
            let ((uid, gid), mtime) = (self.owner(attr), self.time(attr));
            writer.begin(&NewTarEntry { path, kind, mode: attr.mode, uid, gid, mtime, xattrs })?;
            if ready.has_content {
                self.content(&ready, |run| writer.data(run))?;
            }
            self.report.entries = self.report.entries.saturating_add(1);
            if attr.opaque && self.options.as_layer {
                let mark = if *path == b"." { b"opq".to_vec() } else { [path, &b"/opq"[..]].concat() };
                self.mark(&mut writer, &mark, b".wh..wh..")?;
            }
        }
        writer.finish()
    }

    /// Writes an empty file whose name, behind `prefix`, hides what is in the layers below.
    fn mark<W: Write>(&mut self, writer: &mut TarWriter<W>, path: &[u8], prefix: &[u8]) -> Result<()> {
        let at = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash.saturating_add(1));
        let (dir, name) = path.split_at(at);
        let path = [dir, prefix, name].concat();
        let mtime = Timestamp::EPOCH;
        let kind = NewTarKind::File(0);
        writer.begin(&NewTarEntry { path: &path, kind, mode: 0o644, uid: 0, gid: 0, mtime, xattrs: &[] })?;
        self.report.entries = self.report.entries.saturating_add(1);
        Ok(())
    }
}
