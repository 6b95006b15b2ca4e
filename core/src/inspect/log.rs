//! The log of a TFS, record by record.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write as _;

use crate::backend::tfs::{Part, find_part};
use crate::checked::to_usize;
use crate::error::Result;
use crate::format::tfs::{Damage, Dictionary, Item, Key, LogReader, Record, TfsCorrupt, Token, ValueReader, sectors};
use crate::name::escape;
use crate::source::Source;

/// Something in a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogLine {
    /// Where, in bytes of the image.
    pub offset: u64,
    /// What.
    pub event: LogEvent,
}

/// See [`LogLine`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogEvent {
    /// An extension begins.
    Extension {
        /// How its records are encoded.
        version: u8,
        /// Its length in sectors.
        sectors: u64,
        /// Identifies the file system; in the first extension only.
        uuid: Option<String>,
        /// Names the file system.
        label: Option<Vec<u8>>,
    },
    /// A record.
    Record {
        /// Bytes of it.
        len: u64,
        /// How many pieces it was written in.
        pieces: u64,
        /// What it says: `#N(` begins a new tuple that others may change as `@N(`, `[` a list; names are keys, text in
        /// quotes is a value.
        text: String,
    },
    /// A mark without meaning: a mount that wrote something.
    Segment,
    /// The log goes on elsewhere.
    Link {
        /// From this sector on.
        sector: u64,
        /// In so many sectors.
        count: u64,
    },
    /// The end.
    End,
    /// What follows cannot be read.
    Damaged {
        /// Why.
        reason: TfsCorrupt,
    },
}

impl LogEvent {
    /// The word for it.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Extension { .. } => "extension",
            Self::Record { .. } => "record",
            Self::Segment => "segment",
            Self::Link { .. } => "link",
            Self::End => "end",
            Self::Damaged { .. } => "damaged",
        }
    }
}

/// Calls `visit` with everything in the log of a file system, in order; damage is the last.
///
/// # Errors
/// Those of [`find_part`] and of the source; what `visit` answers.
pub fn for_each_log_line(
    image: &Arc<dyn Source>,
    part: Option<Part>,
    mut visit: impl FnMut(LogLine) -> Result<()>,
) -> Result<()> {
    let found = find_part(image, part)?;
    let in_image = |offset: u64| found.start.saturating_add(offset);
    match lines(&*found.source, |offset, event| visit(LogLine { offset: in_image(offset), event }))? {
        None => Ok(()),
        Some(Damage { offset, reason }) => {
            visit(LogLine { offset: in_image(offset), event: LogEvent::Damaged { reason } })
        }
    }
}

/// Tells of the damage that ended the log, if any.
fn lines(source: &dyn Source, mut visit: impl FnMut(u64, LogEvent) -> Result<()>) -> Result<Option<Damage>> {
    let mut log = LogReader::new(sectors(source.len()), true);
    let mut names = Names::default();
    let mut link = LogReader::FIRST;
    loop {
        let range = log.range(link);
        let bytes = source.bytes_at(range.start..range.end.min(source.len()))?;
        let (header, mut frames) = match log.begin(link, &bytes) {
            Ok(begun) => begun,
            Err(damage) => return Ok(Some(damage)),
        };
        let event = LogEvent::Extension {
            version: header.version.number(),
            sectors: header.sectors,
            uuid: header.volume.as_ref().map(|volume| format!("{}", volume.uuid)),
            label: header.volume.as_ref().map(|volume| volume.label.clone()),
        };
        visit(range.start, event)?;
        link = loop {
            let offset = frames.offset();
            match log.next_item(&mut frames) {
                Ok(Item::Record(record)) => {
                    let text = match names.show(record) {
                        Ok(text) => text,
                        Err(damage) => return Ok(Some(damage)),
                    };
                    let (len, pieces) = (crate::checked::to_u64(record.bytes.len()), record.piece_count());
                    let pieces = crate::checked::to_u64(pieces);
                    visit(record.offset, LogEvent::Record { len, pieces, text })?;
                }
                Ok(Item::Segment) => visit(offset, LogEvent::Segment)?,
                Ok(Item::Link(link)) => {
                    visit(offset, LogEvent::Link { sector: link.sector, count: link.count })?;
                    break link;
                }
                Ok(Item::End(offset)) => {
                    visit(offset, LogEvent::End)?;
                    return Ok(None);
                }
                Err(damage) => return Ok(Some(damage)),
            }
        };
    }
}

/// What records refer to by number, with the names that were spelled out.
#[derive(Default)]
struct Names {
    dictionary: Dictionary,
    /// By number; empty for tuples.
    names: Vec<Vec<u8>>,
}

impl Names {
    fn learn(&mut self, index: u32, name: &[u8]) {
        let Ok(at) = to_usize(index.into()) else { return };
        // OK to grow: the dictionary has a limit, and each number was read.
        if self.names.len() <= at {
            self.names.resize(at.saturating_add(1), Vec::new());
        }
        if let Some(slot) = self.names.get_mut(at) {
            *slot = name.to_vec();
        }
    }

    fn name(&self, index: u32) -> String {
        let name = to_usize(index.into()).ok().and_then(|at| self.names.get(at)).map(Vec::as_slice).unwrap_or_default();
        if name.is_empty() { format!("#{index}") } else { format!("{}", escape(name)) }
    }

    fn show(&mut self, record: Record<'_>) -> core::result::Result<String, Damage> {
        let mut text = String::new();
        let mut closings: Vec<char> = Vec::new();
        let mut dictionary = core::mem::take(&mut self.dictionary);
        let mut reader = ValueReader::new(record, &mut dictionary);
        let result = loop {
            let token = match reader.next_token() {
                Ok(Some(token)) => token,
                Ok(None) => break Ok(()),
                Err(damage) => break Err(damage),
            };
            if token != Token::End && !text.is_empty() && !text.ends_with([':', '(', '[']) {
                text.push(' ');
            }
            // OK to ignore: a string takes everything.
            let _ = match token {
                Token::Tuple { index, is_new, .. } => {
                    closings.push(')');
                    write!(text, "{}{index}(", if is_new { '#' } else { '@' })
                }
                Token::Vector { index, is_new, .. } => {
                    closings.push(']');
                    write!(text, "{}{index}[", if is_new { '#' } else { '@' })
                }
                Token::Key(Key::New { index, name }) => {
                    self.learn(index, name);
                    write!(text, "{}:", escape(name))
                }
                Token::Key(Key::Known { index }) => write!(text, "{}:", self.name(index)),
                Token::String(bytes) | Token::Buffer(bytes) => write!(text, "\"{}\"", escape(bytes)),
                Token::Symbol(index) => write!(text, "{}", self.name(index)),
                Token::Integer { negative, magnitude } => {
                    write!(text, "{}{magnitude}", if negative { "-" } else { "" })
                }
                Token::Null => write!(text, "null"),
                Token::Delete => write!(text, "delete"),
                Token::End => write!(text, "{}", closings.pop().unwrap_or(')')),
            };
        };
        self.dictionary = dictionary;
        result.map(|()| text)
    }
}
