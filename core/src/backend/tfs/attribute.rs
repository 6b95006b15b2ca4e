//! Values that are carried along for others.

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use super::objects::{Objects, TupleId, Value};
use super::symbols::Symbol;
use crate::limits::TFS_ATTRIBUTE_VALUES_MAX;

/// The value of an attribute. Shown in the language of Nanos manifests, in which numbers and strings look alike.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Attribute {
    /// There, without content.
    Null,
    /// A number from 0 on.
    Integer(u64),
    /// A number below 0, and how far.
    Negative(u64),
    /// Bytes.
    String(Bytes),
    /// Keys and values, sorted by key.
    Tuple(Vec<(Bytes, Attribute)>),
    /// Values by position; some may be missing.
    Vector(Vec<Option<Attribute>>),
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use crate::name::escape;

        match self {
            Self::Null => f.write_str("<null>"),
            Self::Integer(number) => number.fmt(f),
            Self::Negative(number) => write!(f, "-{number}"),
            Self::String(bytes) => escape(bytes).fmt(f),
            Self::Tuple(entries) => {
                f.write_str("(")?;
                for (at, (key, value)) in entries.iter().enumerate() {
                    let space = if at > 0 { " " } else { "" };
                    write!(f, "{space}{}:{value}", escape(key))?;
                }
                f.write_str(")")
            }
            Self::Vector(elements) => {
                f.write_str("[")?;
                for (at, element) in elements.iter().enumerate() {
                    f.write_str(if at > 0 { " " } else { "" })?;
                    if let Some(element) = element {
                        element.fmt(f)?;
                    }
                }
                f.write_str("]")
            }
        }
    }
}

/// Takes values out of a replayed log, within limits: tuples may be shared, or contain themselves.
pub(super) struct Collector<'a> {
    objects: &'a Objects,
    left: u32,
}

/// Tuples in tuples that are followed.
pub(super) const DEPTH_MAX: usize = 64;

impl<'a> Collector<'a> {
    pub(super) const fn new(objects: &'a Objects) -> Self {
        Self { objects, left: TFS_ATTRIBUTE_VALUES_MAX }
    }

    /// The value, or `None` if it is too large or contains itself.
    pub(super) fn collect(&mut self, value: Value) -> Option<Attribute> {
        self.collect_below(value, &mut Vec::new())
    }

    fn collect_below(&mut self, value: Value, above: &mut Vec<TupleId>) -> Option<Attribute> {
        self.left = self.left.checked_sub(1)?;
        let id = match value {
            Value::Absent => return None,
            Value::Null => return Some(Attribute::Null),
            Value::Integer(number) => return Some(Attribute::Integer(number)),
            Value::Negative(number) => return Some(Attribute::Negative(number)),
            Value::String { .. } | Value::Symbol(_) => {
                return Some(Attribute::String(Bytes::copy_from_slice(self.objects.bytes_of(value)?)));
            }
            Value::Tuple(id) => id,
        };
        if above.contains(&id) || above.len() >= DEPTH_MAX {
            return None;
        }
        above.push(id);
        let objects = self.objects;
        let collected = if objects.tuple(id)?.is_vector {
            let mut elements = Vec::new();
            for (position, value) in objects.entries(id) {
                let position = usize::try_from(position).ok()?;
                let missing = position.saturating_add(1).saturating_sub(elements.len());
                // Removed elements count too: they take a byte in the log, but more here.
                self.left = self.left.checked_sub(u32::try_from(missing).ok()?)?;
                elements.resize(elements.len().saturating_add(missing), None);
                *elements.get_mut(position)? = Some(self.collect_below(value, above)?);
            }
            Attribute::Vector(elements)
        } else {
            let mut entries = Vec::new();
            for (key, value) in objects.entries(id) {
                let key = Symbol(key);
                if key != Symbol::PARENT {
                    let value = self.collect_below(value, above)?;
                    entries.push((Bytes::copy_from_slice(objects.symbols.name(key)), value));
                }
            }
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Attribute::Tuple(entries)
        };
        above.pop();
        Some(collected)
    }
}
