//! Replays tar archives, plain or compressed: headers, what goes before them, and the data they lead to.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

use super::build::{Meta, TreeBuilder};
use super::build_tar::TarRules;
use super::extras::{Extras, Run, SparseFile};
use super::index::{Content, Index, NodeIndex, Stored};
use super::prefault::{Follower, preceded};
use super::unpack::{UnpackLimits, unpack};
use super::walk::Stop;
use super::window::Window;
use super::{ArchiveOptions, ArchiveReport, LimitExceeded, Part, SkipReason, Skipped, Unpack};
use crate::attr::{Device, FileType};
use crate::checked::{min_len, to_u64, to_usize};
use crate::clock::Timestamp;
use crate::error::{Corrupt, Error, Result};
use crate::format::compress::Compression;
use crate::format::cut_at_nul;
use crate::format::tar::{
    BLOCK, BLOCK_LEN, EntryType, Header, Overrides, PaxSparse, Piece, TarCorrupt, blocks, check_pieces, is_zero,
    mode_of_acl, parse_sparse_1_0, parse_sparse_gnu, parse_sparse_text,
};
use crate::fs::{FileSystem, FileSystemExt};
use crate::limits::{NESTED_COMPRESSIONS_MAX, SKIPPED_KEPT_MAX, SPARSE_MAP_MAX, SYMLINK_MAX, TAR_RECORDS_MAX};
use crate::name::Name;
use crate::source::{BytesSource, Source};

/// The start of the names that hide something of lower layers.
const WHITEOUT: &[u8] = b".wh.";

/// The name that hides everything of lower layers in its directory.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// The start of names that AUFS kept for itself.
const RESERVED: &[u8] = b".wh..wh.";

/// Attributes of overlays, with which an image could reach around its own whiteouts.
const OVERLAY_XATTR: &[u8] = b"trusted.overlay.";

/// What replaying an archive gives.
pub(super) struct ReplayedTar {
    pub(super) index: Index,
    pub(super) sources: Vec<Arc<dyn Source>>,
    pub(super) extras: Extras,
    pub(super) report: ArchiveReport,
}

/// Replays the archive in `source`. `lower` is what hard links of a layer may lead to.
pub(super) fn replay_tar(
    source: Arc<dyn Source>,
    rules: TarRules,
    lower: Option<&dyn FileSystem>,
    options: &ArchiveOptions,
) -> Result<ReplayedTar> {
    let mut report = ArchiveReport::default();
    let as_tools = options.unpack == Unpack::AsLinux;
    let source = unpack_all(source, options, &mut report)?;
    let mut builder = TreeBuilder::new(options.defaults, min_len(16 << 10, source.len() / 2048));
    builder.walker.only_down = rules == TarRules::Tar;
    let number = builder.add_source(Arc::clone(&source));
    let mut replay = Replay {
        builder,
        report,
        window: Window::new(Arc::clone(&source)),
        source: Arc::clone(&source),
        number,
        rules,
        lower,
        as_tools,
        global: Records::default(),
        part: 0,
    };
    replay.part = replay.report.parts.len().saturating_sub(1);
    match preceded(&*source, |ahead| replay.run(ahead)) {
        Ok(()) => {}
        Err(error) if as_tools && error.corrupt().is_some() => replay.report.stopped = Some(error),
        Err(error) => return Err(error),
    }
    let mut builder = replay.builder;
    let extras = core::mem::take(&mut builder.extras);
    let (index, sources) = builder.finish()?;
    Ok(ReplayedTar { index, sources, extras, report: replay.report })
}

/// Decompresses what is compressed, however often.
fn unpack_all(
    mut source: Arc<dyn Source>,
    options: &ArchiveOptions,
    report: &mut ArchiveReport,
) -> Result<Arc<dyn Source>> {
    let mut limits = UnpackLimits { as_linux: false, ..UnpackLimits::new(options) };
    for depth in 0..=NESTED_COMPRESSIONS_MAX {
        let head = source.bytes_at(0..source.len().min(16))?;
        let mut part = Part {
            offset: 0,
            len: source.len(),
            within: report.parts.len().checked_sub(1),
            compression: Compression::detect(&head),
            unpacked_len: source.len(),
            entries: 0,
        };
        let Some(compression) = part.compression else {
            if report.parts.is_empty() {
                report.parts.push(part);
                report.unpacked_len = source.len();
            }
            return Ok(source);
        };
        if depth == NESTED_COMPRESSIONS_MAX {
            break;
        }
        let unpacked = unpack(&mut Window::new(Arc::clone(&source)), 0, compression, &limits)?;
        source = unpacked.source;
        limits.spend(source.len());
        part.unpacked_len = source.len();
        part.len = unpacked.end;
        report.unpacked_len = report.unpacked_len.saturating_add(source.len());
        report.parts.push(part);
    }
    Err(LimitExceeded::Nesting { max: NESTED_COMPRESSIONS_MAX }.into())
}

/// Records, and where they stand.
#[derive(Clone, Debug, Default)]
struct Records {
    overrides: Overrides,
    /// Of the block of records that `linkpath` counts from.
    link_base: u64,
}

/// What stood before an entry and is about it.
#[derive(Debug)]
struct Before {
    long_name: Option<Bytes>,
    long_link: Option<Stored>,
    /// The global records, and those of this entry on top.
    records: Records,
}

/// Where an entry's data is.
#[derive(Clone, Copy, Debug)]
struct Data {
    at: u64,
    len: u64,
    next: u64,
}

struct Replay<'a> {
    builder: TreeBuilder,
    report: ArchiveReport,
    window: Window,
    source: Arc<dyn Source>,
    number: u32,
    rules: TarRules,
    lower: Option<&'a dyn FileSystem>,
    /// Go on where GNU tar goes on.
    as_tools: bool,
    global: Records,
    part: usize,
}

fn damaged(at: u64, corrupt: TarCorrupt) -> Error {
    Corrupt::new("tar", at, corrupt).into()
}

impl Replay<'_> {
    fn run(&mut self, ahead: &mut Follower<'_>) -> Result<()> {
        let end = self.window.len();
        let mut at = 0;
        let mut before = self.nothing_before();
        // Records without the entry that they are about.
        let mut dangling = false;
        while at < end {
            ahead.tell(at);
            self.builder.grant(BLOCK);
            let block = self.window.at(at, BLOCK_LEN)?;
            let Some(block) = block.first_chunk::<BLOCK_LEN>() else {
                return Err(damaged(at, TarCorrupt::HeaderBeyondEnd { available: to_u64(block.len()) }));
            };
            if is_zero(block) {
                dangling = false;
                break;
            }
            let block = *block;
            let header = match Header::decode(&block) {
                Ok(header) => header,
                // The next header that is one.
                Err(_) if self.as_tools => {
                    at = at.saturating_add(BLOCK);
                    continue;
                }
                Err(corrupt) => return Err(damaged(at, corrupt)),
            };
            let data = self.data(at, &header, &before)?;
            dangling = matches!(header.entry_type, EntryType::Pax | EntryType::LongName | EntryType::LongLink);
            match header.entry_type {
                EntryType::Pax | EntryType::PaxGlobal => self.records(&header, &data, &mut before)?,
                EntryType::LongName => before.long_name = Some(self.text(&data, "a long name")?),
                EntryType::LongLink => {
                    let len = to_u64(self.text(&data, "a long link")?.len());
                    before.long_link = Some(Stored { source: self.number, offset: data.at, len });
                }
                EntryType::Ignored => before = self.nothing_before(),
                _ => {
                    let before = core::mem::replace(&mut before, self.nothing_before());
                    at = self.entry(at, &block, &header, &data, before)?;
                    continue;
                }
            }
            at = data.next;
        }
        if dangling {
            return Err(damaged(end, TarCorrupt::HeaderBeyondEnd { available: 0 }));
        }
        self.window.release(at);
        Ok(())
    }

    fn nothing_before(&self) -> Before {
        Before { long_name: None, long_link: None, records: self.global.clone() }
    }

    /// Where the data of the entry at `at` is. All of it must be there; padding behind the last may be missing.
    fn data(&mut self, at: u64, header: &Header, before: &Before) -> Result<Data> {
        let is_meta = matches!(
            header.entry_type,
            EntryType::Pax | EntryType::PaxGlobal | EntryType::LongName | EntryType::LongLink
        );
        let claimed = before.records.overrides.size.filter(|_| !is_meta).unwrap_or(header.size);
        let start = at.saturating_add(BLOCK);
        let len = match header.data_len() {
            // Links and special files should have none. Some writers store links with data, others leave a size that
            // means nothing: the next header tells.
            0 if claimed > 0 && header.size != 0 => match self.is_header(start)? {
                true => 0,
                false if self.is_header(start.saturating_add(blocks(claimed)))? => claimed,
                false => 0,
            },
            _ if matches!(header.entry_type, EntryType::HardLink | EntryType::Symlink) => 0,
            _ => claimed,
        };
        let available = self.window.len().saturating_sub(start);
        if len > available {
            return Err(damaged(at, TarCorrupt::DataBeyondEnd { what: "data", size: len, available }));
        }
        let next = start.saturating_add(blocks(len)).min(self.window.len());
        Ok(Data { at: start, len, next })
    }

    /// Whether a header, or the end, stands at `at`.
    fn is_header(&mut self, at: u64) -> Result<bool> {
        let block = self.window.at(at, BLOCK_LEN)?;
        let end = at >= self.source.len();
        Ok(block.first_chunk().map_or(end, |block| is_zero(block) || Header::decode(block).is_ok()))
    }

    fn records(&mut self, header: &Header, data: &Data, before: &mut Before) -> Result<()> {
        let bytes = self.bounded(data, "pax records")?;
        let is_global = header.entry_type == EntryType::PaxGlobal;
        let records = if is_global { &mut self.global } else { &mut before.records };
        let had_link = records.overrides.linkpath.take();
        let read = records.overrides.read(&bytes);
        match records.overrides.linkpath {
            Some(_) => records.link_base = data.at,
            None => records.overrides.linkpath = had_link,
        }
        if is_global {
            before.records = self.global.clone();
        }
        match read {
            // The rest of these records is left out, as GNU tar does.
            Err(_) if self.as_tools => Ok(()),
            Err((place, corrupt)) => Err(damaged(data.at.saturating_add(to_u64(place)), corrupt)),
            Ok(()) => Ok(()),
        }
    }

    fn bounded(&mut self, data: &Data, what: &'static str) -> Result<Bytes> {
        if data.len > TAR_RECORDS_MAX {
            let corrupt = TarCorrupt::TooLong { what, size: data.len, max: TAR_RECORDS_MAX };
            return Err(damaged(data.at.saturating_sub(BLOCK), corrupt));
        }
        self.source.bytes_at(data.at..data.at.saturating_add(data.len))
    }

    /// The text in an entry's data, up to its NUL.
    fn text(&mut self, data: &Data, what: &'static str) -> Result<Bytes> {
        let bytes = self.bounded(data, what)?;
        Ok(bytes.slice(..cut_at_nul(&bytes).len()))
    }

    /// Replays an entry, and says where the next header is.
    fn entry(
        &mut self,
        at: u64,
        block: &[u8; BLOCK_LEN],
        header: &Header,
        data: &Data,
        mut before: Before,
    ) -> Result<u64> {
        let overrides = &mut before.records.overrides;
        let sparse = overrides.sparse.take();
        let sparse_name = sparse.as_ref().and_then(|sparse| sparse.name.clone());
        let name: Bytes = match (sparse_name, overrides.path.take(), before.long_name.take()) {
            (Some(name), ..) | (None, Some(name), _) => name.into(),
            (None, None, Some(name)) => name,
            (None, None, None) => header.name.clone().into(),
        };
        let link = match (&overrides.linkpath, before.long_link) {
            (Some(range), _) => Stored {
                source: self.number,
                offset: before.records.link_base.saturating_add(to_u64(range.start)),
                len: to_u64(range.len()),
            },
            (None, Some(link)) => link,
            (None, None) => Stored {
                source: self.number,
                offset: at.saturating_add(to_u64(Header::LINK_OFFSET)),
                len: to_u64(header.link_len),
            },
        };
        // As in the kernel, setting a list sets the permissions with it.
        let acl = overrides.xattrs.iter().find(|xattr| xattr.name == b"system.posix_acl_access");
        let mode = match acl.and_then(|acl| mode_of_acl(&acl.value)) {
            _ if header.entry_type == EntryType::Symlink => 0o777,
            Some(bits) => (header.mode & 0o7000) | bits,
            None => header.mode,
        };
        let meta = Meta {
            mode,
            uid: Some(id(at, "owner", overrides.uid.unwrap_or(header.uid))?),
            gid: Some(id(at, "group", overrides.gid.unwrap_or(header.gid))?),
            mtime: Some(overrides.mtime.unwrap_or(Timestamp::from_secs(header.mtime))),
        };
        let mut next = data.next;
        let content = match header.entry_type {
            EntryType::Sparse => {
                let (content, behind) = self.sparse_gnu(at, block, data)?;
                next = behind;
                Some(content)
            }
            EntryType::File if name.ends_with(b"/") => Some(Content::EMPTY_DIR),
            EntryType::File => Some(match sparse {
                Some(sparse) => self.sparse_pax(at, data, &sparse)?,
                None => Content::File {
                    data: Stored { source: self.number, offset: data.at, len: data.len },
                    size: data.len,
                },
            }),
            EntryType::Dir => Some(Content::EMPTY_DIR),
            EntryType::Symlink => Some(Content::Symlink(link)),
            EntryType::Char => Some(Content::Char(Device { major: header.dev_major, minor: header.dev_minor })),
            EntryType::Block => Some(Content::Block(Device { major: header.dev_major, minor: header.dev_minor })),
            EntryType::Fifo => Some(Content::Fifo),
            _ => None,
        };
        self.report.entries = self.report.entries.saturating_add(1);
        if let Some(part) = self.report.parts.get_mut(self.part) {
            part.entries = part.entries.saturating_add(1);
        }
        self.builder.grant(data.next.saturating_sub(at));
        let made = match content {
            _ if self.rules == TarRules::Layer && is_marker(&name) => self.marker(&name),
            Some(Content::Symlink(link)) if link.len > to_u64(SYMLINK_MAX) => {
                Err(Stop::Skip(SkipReason::TargetSize { size: link.len }))
            }
            Some(content) => {
                let made = self.builder.put(self.rules, &name, content, &meta);
                made.map(|node| self.set_xattrs(node, &mut before.records.overrides))
            }
            None => {
                // A target is a path like a name, and as long at most.
                let target = self.bounded(&Data { at: link.offset, len: link.len, next: 0 }, "a link's target")?;
                self.hard_link(&name, &target)
            }
        };
        match made {
            Ok(()) => {}
            Err(Stop::Fail(error)) => return Err(error),
            Err(Stop::Skip(reason)) => {
                self.report.skipped_count = self.report.skipped_count.saturating_add(1);
                if self.report.skipped.len() < SKIPPED_KEPT_MAX {
                    let name = name.get(..name.len().min(4096)).unwrap_or_default().into();
                    self.report.skipped.push(Skipped { part: self.part, offset: at, name, reason });
                }
            }
        }
        Ok(next)
    }

    fn set_xattrs(&mut self, node: NodeIndex, overrides: &mut Overrides) {
        let given = core::mem::take(&mut overrides.xattrs);
        let kept =
            given.into_iter().filter(|xattr| self.rules == TarRules::Tar || !xattr.name.starts_with(OVERLAY_XATTR));
        let xattrs = kept.map(|xattr| (Box::from(xattr.name), Bytes::from(xattr.value))).collect();
        self.builder.extras.set_xattrs(node, xattrs);
    }

    fn hard_link(&mut self, name: &[u8], target: &[u8]) -> Result<(), Stop> {
        match (self.builder.put_link(self.rules, name, target), self.lower) {
            (Err(Stop::Skip(SkipReason::LinkTargetGone)), Some(lower)) => {
                if self.builder.decides(target) || !self.adopt(lower, target)? {
                    return Err(Stop::Skip(SkipReason::LinkTargetGone));
                }
                self.builder.put_link(self.rules, name, target)
            }
            (made, _) => made,
        }
    }

    /// Makes what lower layers have at `path` a node of this one, so that it can be linked; both names then show it.
    fn adopt(&mut self, lower: &dyn FileSystem, path: &[u8]) -> Result<bool, Stop> {
        let mut node = lower.root();
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".") {
            let Ok(name) = Name::new(name) else { return Ok(false) };
            match lower.lookup(node, name) {
                // The references are given back with the tree, which ends with this layer's opening.
                Ok(entry) => node = entry.node,
                Err(_) => return Ok(false),
            }
        }
        let attr = lower.attr(node)?;
        let mut keep = |bytes: Bytes| {
            let len = to_u64(bytes.len());
            let source = self.builder.add_source(Arc::new(BytesSource::new(bytes)));
            Stored { source, offset: 0, len }
        };
        let content = match attr.file_type {
            FileType::File => Content::File { data: keep(whole(lower, node)?), size: attr.size },
            FileType::Symlink => Content::Symlink(keep(lower.read_link(node)?)),
            FileType::Char => Content::Char(attr.rdev.unwrap_or_default()),
            FileType::Block => Content::Block(attr.rdev.unwrap_or_default()),
            FileType::Fifo => Content::Fifo,
            FileType::Socket => Content::Socket,
            FileType::Dir | FileType::Whiteout => return Ok(false),
        };
        let meta = Meta { mode: attr.mode, uid: Some(attr.uid), gid: Some(attr.gid), mtime: Some(attr.mtime) };
        let made = self.builder.put(self.rules, path, content, &meta)?;
        let mut xattrs = Vec::new();
        for name in lower.xattr_names(node)? {
            xattrs.push((Box::from(&*name), lower.xattr(node, &name)?));
        }
        self.builder.extras.set_xattrs(made, xattrs);
        Ok(true)
    }

    /// Turns the name that marks something hidden into what hides it.
    fn marker(&mut self, path: &[u8]) -> Result<(), Stop> {
        let trimmed = path.strip_suffix(b"/").unwrap_or(path);
        let start = trimmed.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash.saturating_add(1));
        let (dir, name) = trimmed.split_at_checked(start).unwrap_or_default();
        let mut components = dir.split(|byte| *byte == b'/');
        match name.strip_prefix(WHITEOUT) {
            _ if name == OPAQUE => self.builder.opaque(dir),
            _ if name.starts_with(RESERVED) || components.any(|name| name.starts_with(RESERVED)) => Ok(()),
            Some(hidden) if Name::new(hidden).is_ok() => self.builder.whiteout(&[dir, hidden].concat()),
            _ => Err(Stop::Skip(SkipReason::WhiteoutOfNothing)),
        }
    }

    /// A sparse file of GNU's old form: its map stands in the header and in blocks behind it.
    fn sparse_gnu(&mut self, at: u64, block: &[u8; BLOCK_LEN], data: &Data) -> Result<(Content, u64)> {
        let broken = |corrupt| damaged(at, corrupt);
        let mut pieces = Vec::new();
        let (mut more, size) = parse_sparse_gnu(block, true, &mut pieces).map_err(broken)?;
        let mut start = data.at;
        while more {
            let bytes = self.window.at(start, BLOCK_LEN)?;
            let Some(block) = bytes.first_chunk::<BLOCK_LEN>() else {
                return Err(damaged(start, TarCorrupt::HeaderBeyondEnd { available: to_u64(bytes.len()) }));
            };
            (more, _) = parse_sparse_gnu(block, false, &mut pieces).map_err(|corrupt| damaged(start, corrupt))?;
            start = start.saturating_add(BLOCK);
            if start.saturating_sub(data.at) > SPARSE_MAP_MAX {
                let size = start.saturating_sub(data.at);
                return Err(broken(TarCorrupt::TooLong { what: "a sparse map", size, max: SPARSE_MAP_MAX }));
            }
        }
        let available = self.window.len().saturating_sub(start);
        if data.len > available {
            return Err(broken(TarCorrupt::DataBeyondEnd { what: "data", size: data.len, available }));
        }
        let content = self.sparse(at, pieces, size, start, data.len)?;
        Ok((content, start.saturating_add(blocks(data.len)).min(self.window.len())))
    }

    /// A sparse file of one of the forms with pax records.
    fn sparse_pax(&mut self, at: u64, data: &Data, sparse: &PaxSparse) -> Result<Content> {
        let broken = |corrupt| damaged(at, corrupt);
        let size = sparse.real_size.unwrap_or(data.len);
        if !sparse.map_in_data {
            let pieces = parse_sparse_text(&sparse.numbers).map_err(broken)?;
            return self.sparse(at, pieces, size, data.at, data.len);
        }
        let mut want = BLOCK;
        loop {
            let len = want.min(data.len);
            let text = self.source.bytes_at(data.at..data.at.saturating_add(len))?;
            if let Some((pieces, map_len)) = parse_sparse_1_0(&text).map_err(|corrupt| damaged(data.at, corrupt))? {
                let map_len = blocks(to_u64(map_len)).min(data.len);
                let stored = data.len.saturating_sub(map_len);
                return self.sparse(at, pieces, size, data.at.saturating_add(map_len), stored);
            }
            if len == data.len || len >= SPARSE_MAP_MAX {
                return Err(damaged(data.at, TarCorrupt::SparseText));
            }
            want = want.saturating_mul(4);
        }
    }

    fn sparse(&mut self, at: u64, mut pieces: Vec<Piece>, size: u64, start: u64, stored: u64) -> Result<Content> {
        check_pieces(&mut pieces, size, stored).map_err(|corrupt| damaged(at, corrupt))?;
        let mut place = start;
        let runs = pieces.iter().map(|&Piece { offset, len }| {
            let at = place;
            place = place.saturating_add(len);
            Run { offset, len, at }
        });
        let file = SparseFile { source: self.number, runs: runs.collect(), size };
        let table = self.builder.extras.add_sparse(file)?;
        Ok(Content::Sparse { table, size })
    }
}

/// Whether a name marks something hidden, or lies below one that does.
fn is_marker(path: &[u8]) -> bool {
    let mut components = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).rev();
    components.next().is_some_and(|name| name.starts_with(WHITEOUT))
        || components.any(|name| name.starts_with(RESERVED))
}

/// The content of a lower file: shared where it is one run.
fn whole(lower: &dyn FileSystem, node: crate::fs::NodeId) -> Result<Bytes> {
    let first = lower.read_shared(node, 0, usize::MAX)?;
    let size = lower.attr(node)?.size;
    if to_u64(first.len()) == size {
        return Ok(first);
    }
    to_usize(size)?;
    Ok(lower.read_to_vec(node)?.into())
}

fn id(at: u64, field: &'static str, value: u64) -> Result<u32> {
    u32::try_from(value).map_err(|_| damaged(at, TarCorrupt::Range { field, value: value.into() }))
}
