//! A log as text for people and for golden tests.

use core::fmt::Write;

use super::corrupt::Damage;
use super::layout::{ExtensionHeader, sectors};
use super::log::{Dictionary, Item, LogReader, Record};
use super::value::{Key, Token, ValueReader};
use crate::checked::{to_u64, to_usize};
use crate::name::escape;

/// Describes the log of a file system in memory, a line for each extension, record, mark and link, each with its
/// offset; stops with a line that says why at the first thing that is damaged.
///
/// In records, `#N` is a number of the dictionary, and behind `=` stands what gets it; `@N(…)` changes tuple N.
#[must_use]
pub fn dump(volume: &[u8]) -> String {
    let mut text = String::new();
    if let Err(damage) = extensions(volume, &mut text) {
        let _ = writeln!(text, "{:#08x} damaged: {}", damage.offset, damage.reason);
    }
    text
}

fn extensions(volume: &[u8], text: &mut String) -> Result<(), Damage> {
    let mut log = LogReader::new(sectors(to_u64(volume.len())), true);
    let mut dictionary = Dictionary::default();
    let mut link = LogReader::FIRST;
    loop {
        let range = log.range(link);
        let bytes = to_usize(range.start).ok().and_then(|start| volume.get(start..)).unwrap_or_default();
        let len = to_usize(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        let (header, mut frames) = log.begin(link, bytes.get(..len).unwrap_or(bytes))?;
        extension(&header, range.start, text);
        link = loop {
            let offset = frames.offset();
            match log.next_item(&mut frames)? {
                Item::Record(record) => {
                    let _ = write!(text, "{:#08x}   record {}", record.offset, record.bytes.len());
                    if record.piece_count() > 1 {
                        let _ = write!(text, " in {} pieces", record.piece_count());
                    }
                    values(record, &mut dictionary, text)?;
                    text.push('\n');
                }
                Item::Segment => {
                    let _ = writeln!(text, "{offset:#08x}   segment");
                }
                Item::Link(link) => {
                    let _ = writeln!(text, "{offset:#08x}   link to {} sectors at {}", link.count, link.sector);
                    break link;
                }
                Item::End(offset) => {
                    let _ = writeln!(text, "{offset:#08x}   end");
                    return Ok(());
                }
            }
        };
    }
}

fn extension(header: &ExtensionHeader, offset: u64, text: &mut String) {
    let _ = write!(text, "{offset:#08x} extension version={} sectors={}", header.version.number(), header.sectors);
    if let Some(volume) = &header.volume {
        let _ = write!(text, " uuid={} label=\"{}\"", volume.uuid, escape(&volume.label));
    }
    text.push('\n');
}

fn values(record: Record<'_>, dictionary: &mut Dictionary, text: &mut String) -> Result<(), Damage> {
    let mut reader = ValueReader::new(record, dictionary);
    let mut closings = Vec::new();
    let next = |reader: &mut ValueReader<'_, '_>, text: &mut String, closings: &mut Vec<char>| {
        let Some(token) = reader.next_token()? else { return Ok(false) };
        if token != Token::End && !text.ends_with([':', '(', '[']) {
            text.push(' ');
        }
        let _ = match token {
            Token::Tuple { index, is_new: true, .. } => write!(text, "#{index}=("),
            Token::Tuple { index, is_new: false, .. } => write!(text, "@{index}("),
            Token::Vector { index, is_new: true, .. } => write!(text, "#{index}=["),
            Token::Vector { index, is_new: false, .. } => write!(text, "@{index}["),
            Token::Key(Key::New { index, name }) => write!(text, "#{index}={}:", escape(name)),
            Token::Key(Key::Known { index }) => write!(text, "#{index}:"),
            Token::String(bytes) => write!(text, "\"{}\"", escape(bytes)),
            Token::Buffer(bytes) => write!(text, "buffer \"{}\"", escape(bytes)),
            Token::Symbol(index) => write!(text, "symbol #{index}"),
            Token::Integer { negative, magnitude } => write!(text, "{}{magnitude}", if negative { "-" } else { "" }),
            Token::Null => write!(text, "null"),
            Token::Delete => write!(text, "delete"),
            Token::End => write!(text, "{}", closings.pop().unwrap_or(')')),
        };
        match token {
            Token::Tuple { .. } => closings.push(')'),
            Token::Vector { .. } => closings.push(']'),
            _ => {}
        }
        Ok(true)
    };
    loop {
        match next(&mut reader, text, &mut closings) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(damage) => {
                text.push('\n');
                return Err(damage);
            }
        }
    }
}
