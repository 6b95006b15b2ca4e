//! What opening found out about an image besides its tree.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use super::Format;
use crate::backend::archive::ArchiveReport;
use crate::backend::tfs::{LogExtension, TfsReport};
use crate::name::escape;

/// What is known about an image besides its tree.
#[derive(Debug)]
pub struct ImageFacts {
    /// Its format.
    pub format: Format,
    /// Bytes of the image as it is stored; 0 for what is not stored as one run of bytes.
    pub stored_len: u64,
    /// For archives: parts, compressions, counts, and entries left out.
    pub archive: Option<ArchiveReport>,
    /// For container images: the layers, lowest first.
    pub layers: Vec<LayerFacts>,
    /// For TFS: what its log says besides the tree.
    pub tfs: Option<TfsReport>,
}

/// What is known about a layer of a container image.
#[derive(Debug)]
pub struct LayerFacts {
    /// The digest of its content, if the image records one; the content has it.
    pub digest: Option<String>,
    /// Bytes as it is stored.
    pub stored_len: u64,
    /// Its archive.
    pub archive: ArchiveReport,
}

impl fmt::Display for LayerFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = if self.archive.entries == 1 { "entry" } else { "entries" };
        write!(f, "{} bytes, {} {entries}", self.stored_len, self.archive.entries)?;
        if let Some(digest) = &self.digest {
            write!(f, ", {digest}")?;
        }
        match self.archive.skipped_count {
            0 => Ok(()),
            count => write!(f, ", {count} skipped"),
        }
    }
}

/// Something that is known about an image: a line for people, or a field of a JSON object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fact {
    /// What it is about, in snake case.
    pub key: &'static str,
    /// What it is.
    pub value: FactValue,
}

/// What a [`Fact`] is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FactValue {
    /// A number.
    Number(u64),
    /// A text.
    Text(String),
    /// Several texts, or none.
    List(Vec<String>),
}

impl ImageFacts {
    pub(super) const fn new(format: Format, stored_len: u64) -> Self {
        Self { format, stored_len, archive: None, layers: Vec::new(), tfs: None }
    }

    /// What is special to the format and can be said in a word each, in an order fit to be shown. Keys are unique.
    #[must_use]
    pub fn details(&self) -> Vec<Fact> {
        let layers = (!self.layers.is_empty()).then(|| {
            let lines = self.layers.iter().map(ToString::to_string).collect();
            Fact { key: "layers", value: FactValue::List(lines) }
        });
        layers.into_iter().chain(self.tfs.as_ref().map(of_tfs).unwrap_or_default()).collect()
    }
}

fn of_tfs(report: &TfsReport) -> Vec<Fact> {
    let text = |text: &dyn fmt::Display| FactValue::Text(text.to_string());
    let damage = report.lost.iter().chain(&report.faults).map(|damage| damage.in_image(report.start).to_string());
    let extension = |LogExtension { sector, count, version }: &LogExtension| {
        format!("{count} sectors at sector {sector}, version {}", version.number())
    };
    let attributes = report.root_attributes.iter().map(|(name, value)| format!("{}:{value}", escape(name)));
    let facts = [
        ("part", report.part.word().map(|word| text(&word))),
        ("start", Some(FactValue::Number(report.start))),
        ("volume_bytes", Some(FactValue::Number(report.len))),
        ("uuid", Some(text(&report.uuid))),
        ("label", Some(text(&escape(&report.label)))),
        ("log_extensions", Some(FactValue::List(report.extensions.iter().map(extension).collect()))),
        ("log_records", Some(FactValue::Number(report.records))),
        ("log_segments", Some(FactValue::Number(report.segments))),
        ("log_end", Some(FactValue::Number(report.start.saturating_add(report.log_end)))),
        ("dictionary_entries", Some(FactValue::Number(report.dictionary_len.into()))),
        ("entries_set", Some(FactValue::Number(report.entries_set))),
        ("entries_dead", Some(FactValue::Number(report.entries_dead))),
        ("log_live_percent", Some(FactValue::Number(report.log_size().live_percent()))),
        ("compaction_pays", report.log_size().is_mostly_dead().then(|| text(&"yes"))),
        ("attributes", Some(FactValue::List(attributes.collect()))),
        ("damage", Some(FactValue::List(damage.collect()))),
    ];
    facts.into_iter().filter_map(|(key, value)| Some(Fact { key, value: value? })).collect()
}
