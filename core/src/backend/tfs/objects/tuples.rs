//! All entries of a log's dictionary, by number.
//!
//! Most logs are trees of many files, whose numbers come in long runs: a name and a tuple, a name and a tuple; a tuple of
//! extents and an extent, a tuple of extents and an extent. Of a run little is kept, and what is changed later is kept
//! beside it.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::Cell;

use super::tuple::{Form, NONE, Tuple, TupleId};
use crate::backend::tfs::nodes::NewFileList;
use crate::backend::tfs::symbols::Symbol;
use crate::format::tfs::NewFile;

/// Numbers in pairs, one behind the other.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// The first.
    first: u32,
    /// How many pairs there are.
    pairs: u32,
    /// How many numbers are in the runs before.
    before: u32,
    kind: Pairs,
}

#[derive(Clone, Copy, Debug)]
enum Pairs {
    /// Symbols, of which this is the first, and tuples, of which this is the first in the list of those.
    Names { symbol: u32, named: u32 },
    /// Tuples of extents and extents of files, of which this is the first in the list of those, with the symbol of the
    /// only extent.
    Files { file: u32, block: u32 },
}

/// Where an entry is.
#[derive(Clone, Copy, Debug)]
enum Place {
    List(u32),
    Name { symbol: u32 },
    Named(u32),
    Extents { file: u32, block: u32 },
    Extent { file: u32 },
}

/// A run found last: the next entry that is looked for mostly is in the same.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::backend::tfs) struct Hint(usize);

/// What a run says of a tuple that has a name.
#[derive(Clone, Copy, Debug)]
enum State {
    Empty,
    /// A file, with this tuple of extents, which is in a run too.
    File(u32),
    /// It is in this place among those that have changed.
    Changed(u32),
}

/// The same in 4 bytes.
#[derive(Clone, Copy, Debug)]
struct PackedState(u32);

impl PackedState {
    const EMPTY: Self = Self(NONE);
    /// Set for those that have changed. OK: more than there can be numbers in a dictionary.
    const CHANGED: u32 = 1 << 31;

    #[inline(always)]
    const fn state(self) -> State {
        match self.0 {
            NONE => State::Empty,
            place if place & Self::CHANGED != 0 => State::Changed(place ^ Self::CHANGED),
            extents => State::File(extents),
        }
    }
}

/// In the place of a file's tuple: its tuple of extents, or its extent, has changed. Both are among those that have, the
/// first in the place that stands for the sector.
const CHANGED_FILE: u32 = 0;

/// The entries of a dictionary.
#[derive(Debug, Default)]
pub(super) struct Tuples {
    /// Those that are in no run.
    list: Vec<Tuple>,
    runs: Vec<Run>,
    named: Vec<PackedState>,
    files: Arc<NewFileList>,
    changed: Vec<Tuple>,
    len: u32,
    /// The end of the last run.
    runs_end: u32,
    last: Cell<Hint>,
}

fn at<T: Copy>(list: &[T], position: u32) -> Option<T> {
    list.get(usize::try_from(position).ok()?).copied()
}

fn at_mut<T>(list: &mut [T], position: u32) -> Option<&mut T> {
    list.get_mut(usize::try_from(position).ok()?)
}

impl Run {
    /// The place of an entry that is not before the run, and before the next.
    #[inline(always)]
    const fn place(self, id: u32) -> Place {
        // OK: the caller has seen to it; and numbers are below the limit of a dictionary.
        let within = id.wrapping_sub(self.first);
        let pair = within / 2;
        if pair >= self.pairs {
            return Place::List(id.wrapping_sub(self.before).wrapping_sub(self.pairs.wrapping_mul(2)));
        }
        match (self.kind, within.is_multiple_of(2)) {
            (Pairs::Names { symbol, .. }, true) => Place::Name { symbol: symbol.wrapping_add(pair) },
            (Pairs::Names { named, .. }, false) => Place::Named(named.wrapping_add(pair)),
            (Pairs::Files { file, block }, true) => Place::Extents { file: file.wrapping_add(pair), block },
            (Pairs::Files { file, .. }, false) => Place::Extent { file: file.wrapping_add(pair) },
        }
    }
}

impl Tuples {
    pub(super) const fn new_files(&self) -> &Arc<NewFileList> {
        &self.files
    }

    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    /// Makes room for so many more outside of runs.
    pub(super) fn reserve(&mut self, more: usize) {
        self.list.reserve(more);
    }

    #[inline]
    pub(super) fn push(&mut self, tuple: Tuple) {
        self.list.push(tuple);
        self.len = self.len.saturating_add(1);
    }

    /// Adds symbols, each with an empty tuple behind it.
    pub(super) fn push_pairs(&mut self, pairs: impl Iterator<Item = (u32, TupleId)>) {
        for (symbol, _) in pairs {
            self.push(Tuple::symbol(Symbol(symbol)));
            self.push(Tuple::new(false));
        }
    }

    /// Adds so many symbols, each with an empty tuple behind it.
    pub(super) fn push_named(&mut self, symbol: u32, count: u32) {
        let named = u32::try_from(self.named.len()).unwrap_or(u32::MAX);
        self.add_run(count, Pairs::Names { symbol, named });
        let count = usize::try_from(count).unwrap_or(0);
        self.named.resize(self.named.len().saturating_add(count), PackedState::EMPTY);
    }

    fn add_run(&mut self, pairs: u32, kind: Pairs) {
        let before = self.runs.last().map_or(0, |run| run.before.saturating_add(run.pairs.saturating_mul(2)));
        self.runs.push(Run { first: self.len, pairs, before, kind });
        self.len = self.len.saturating_add(pairs.saturating_mul(2));
        self.runs_end = self.len;
    }

    /// Adds the tuples of files with their only extents, which are at `block`, and makes what they are tuples of. `false`,
    /// and nothing is done, if one of these is none, or has entries already.
    pub(super) fn push_files(&mut self, block: u32, files: Vec<NewFile>) -> bool {
        let Ok(count) = u32::try_from(files.len()) else { return false };
        let Some(Ok(before)) = Arc::get_mut(&mut self.files).map(|list| u32::try_from(list.files.len())) else {
            return false;
        };
        let mut hint = Hint::default();
        for (done, file) in files.iter().enumerate() {
            let extents = u32::try_from(done).map_or(u32::MAX, |done| self.len.saturating_add(done.saturating_mul(2)));
            if !self.begin_file(file, extents, &mut hint) {
                for file in files.iter().take(done) {
                    self.undo_file(file);
                }
                return false;
            }
        }
        // OK: it was to be had above.
        if let Some(list) = Arc::get_mut(&mut self.files) {
            list.runs.push((before, self.len.saturating_add(1)));
            if before == 0 {
                list.files = files;
            } else {
                list.files.extend_from_slice(&files);
            }
        }
        self.add_run(count, Pairs::Files { file: before, block });
        true
    }

    #[inline]
    fn begin_file(&mut self, file: &NewFile, extents: u32, hint: &mut Hint) -> bool {
        let Some(id) = file.tuple.checked_sub(1).filter(|id| *id < self.len) else { return false };
        match self.place(id, hint) {
            Place::Named(named) => match at_mut(&mut self.named, named) {
                Some(state) if matches!(state.state(), State::Empty) => {
                    *state = PackedState(extents);
                    true
                }
                _ => false,
            },
            Place::List(position) => match at_mut(&mut self.list, position) {
                Some(tuple) if tuple.form == Form::Chain && tuple.first() == NONE && !tuple.is_vector => {
                    *tuple = Tuple::file(extents, file.size);
                    true
                }
                _ => false,
            },
            _ => false,
        }
    }

    fn undo_file(&mut self, file: &NewFile) {
        let Some(id) = file.tuple.checked_sub(1) else { return };
        match self.place(id, &mut Hint::default()) {
            Place::Named(named) => {
                if let Some(state) = at_mut(&mut self.named, named) {
                    *state = PackedState::EMPTY;
                }
            }
            Place::List(position) => {
                if let Some(tuple) = at_mut(&mut self.list, position) {
                    *tuple = Tuple::new(false);
                }
            }
            _ => {}
        }
    }

    #[inline(always)]
    fn place(&self, id: u32, hint: &mut Hint) -> Place {
        if id >= self.runs_end {
            // OK: the list has all that are in no run.
            let behind = self.len.wrapping_sub(id);
            return Place::List(u32::try_from(self.list.len()).unwrap_or(0).wrapping_sub(behind));
        }
        let Hint(hint) = hint;
        if self.runs.first().is_none_or(|run| id < run.first) {
            return Place::List(id);
        }
        let ends_behind = |at: usize| self.runs.get(at.wrapping_add(1)).is_none_or(|next| id < next.first);
        match self.runs.get(*hint) {
            Some(run) if run.first <= id && ends_behind(*hint) => run.place(id),
            _ => {
                *hint = self.runs.partition_point(|run| run.first <= id).saturating_sub(1);
                self.runs.get(*hint).map_or(Place::List(id), |run| run.place(id))
            }
        }
    }

    pub(super) fn get(&self, id: u32) -> Option<Tuple> {
        let mut hint = self.last.get();
        let found = self.get_near(id, &mut hint);
        self.last.set(hint);
        found
    }

    /// The same, where the run is likely to be that of the entry that was asked for last.
    #[inline]
    pub(super) fn get_near(&self, id: u32, hint: &mut Hint) -> Option<Tuple> {
        match self.place(id, hint) {
            Place::List(position) => at(&self.list, position),
            Place::Name { symbol } => Some(Tuple::symbol(Symbol(symbol))),
            Place::Named(named) => match at(&self.named, named)?.state() {
                State::Empty => Some(Tuple::new(false)),
                State::Changed(position) => at(&self.changed, position),
                State::File(extents) => Some(Tuple::file(extents, self.file_of(extents, &mut Hint::default())?.size)),
            },
            Place::Extents { file, block } => match at(&self.files.files, file)? {
                NewFile { tuple: CHANGED_FILE, sector: position, .. } => at(&self.changed, position),
                _ => Some(Tuple::one(block, TupleId(id.saturating_add(1)))),
            },
            Place::Extent { file } => match at(&self.files.files, file)? {
                NewFile { tuple: CHANGED_FILE, sector: position, .. } => at(&self.changed, position.checked_add(1)?),
                NewFile { sector, count, .. } => Some(Tuple::extent(sector, count)),
            },
        }
    }

    /// Of a file as it was when it was new: its number in the list of those, and the symbol of its only extent.
    #[inline]
    pub(super) fn new_file(&self, id: u32, hints: &mut [Hint; 2]) -> Option<(u32, u32)> {
        let [of_file, of_extents] = hints;
        let Place::Named(named) = self.place(id, of_file) else { return None };
        let State::File(extents) = at(&self.named, named)?.state() else { return None };
        let Place::Extents { file, block } = self.place(extents, of_extents) else { return None };
        at(&self.files.files, file).filter(|file| file.tuple != CHANGED_FILE).map(|_| (file, block))
    }

    /// The file with a tuple of extents.
    #[inline]
    fn file_of(&self, extents: u32, hint: &mut Hint) -> Option<NewFile> {
        match self.place(extents, hint) {
            Place::Extents { file, .. } => at(&self.files.files, file),
            _ => None,
        }
    }

    /// An entry that may be changed; symbols may not.
    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Tuple> {
        let mut hint = self.last.get();
        let place = self.place(id, &mut hint);
        self.last.set(hint);
        let position = match place {
            Place::List(position) => return at_mut(&mut self.list, position),
            Place::Name { .. } => return None,
            Place::Named(named) => match at(&self.named, named)?.state() {
                State::Changed(position) => position,
                _ => {
                    let position = self.set_apart(&[id])?;
                    *at_mut(&mut self.named, named)? = PackedState(PackedState::CHANGED | position);
                    position
                }
            },
            Place::Extents { file, .. } => self.set_file_apart(file, id)?,
            Place::Extent { file } => self.set_file_apart(file, id.checked_sub(1)?)?.checked_add(1)?,
        };
        at_mut(&mut self.changed, position)
    }

    /// Puts the tuple of extents of a file and its extent with those that have changed.
    fn set_file_apart(&mut self, file: u32, extents: u32) -> Option<u32> {
        if let NewFile { tuple: CHANGED_FILE, sector: position, .. } = at(&self.files.files, file)? {
            return Some(position);
        }
        let position = self.set_apart(&[extents, extents.checked_add(1)?])?;
        let file = at_mut(&mut Arc::get_mut(&mut self.files)?.files, file)?;
        (file.tuple, file.sector) = (CHANGED_FILE, position);
        Some(position)
    }

    /// Copies entries to those that have changed; the place of the first.
    fn set_apart(&mut self, ids: &[u32]) -> Option<u32> {
        // OK: there are never more than numbers in a dictionary.
        let position = u32::try_from(self.changed.len()).ok()?;
        for id in ids {
            let tuple = self.get(*id)?;
            self.changed.push(tuple);
        }
        Some(position)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Tuple> + '_ {
        let mut hint = Hint::default();
        (0..self.len).filter_map(move |id| self.get_near(id, &mut hint))
    }
}
