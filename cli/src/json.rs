//! JSON objects, written field by field in an order that stays, without a copy of them in memory.

use std::fmt::Display;
use std::io::{Result, Write};

use mountless::name::escape;

/// Objects with strings, numbers and what is written by hand in between.
pub(crate) struct Object<'w, W: Write> {
    out: &'w mut W,
    empty: bool,
}

impl<'w, W: Write> Object<'w, W> {
    pub(crate) fn begin(out: &'w mut W) -> Result<Self> {
        out.write_all(b"{")?;
        Ok(Self { out, empty: true })
    }

    /// Starts a field whose value the caller writes.
    pub(crate) fn key(&mut self, key: &str) -> Result<&mut W> {
        if !self.empty {
            self.out.write_all(b",")?;
        }
        self.empty = false;
        string(self.out, key)?;
        self.out.write_all(b":")?;
        Ok(self.out)
    }

    pub(crate) fn number(&mut self, key: &str, value: impl Display) -> Result<()> {
        write!(self.key(key)?, "{value}")
    }

    /// A text that needs no escapes but JSON's.
    pub(crate) fn text(&mut self, key: &str, value: impl Display) -> Result<()> {
        string(self.key(key)?, &value.to_string())
    }

    /// A list of texts.
    pub(crate) fn texts(&mut self, key: &str, values: &[String]) -> Result<()> {
        Ok(serde_json::to_writer(self.key(key)?, values)?)
    }

    /// A list of objects.
    pub(crate) fn array<T>(
        &mut self,
        key: &str,
        items: &[T],
        mut write: impl FnMut(&T, &mut Object<'_, W>) -> Result<()>,
    ) -> Result<()> {
        let out = self.key(key)?;
        out.write_all(b"[")?;
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                out.write_all(b",")?;
            }
            let mut object = Object::begin(out)?;
            write(item, &mut object)?;
            object.end()?;
        }
        out.write_all(b"]")
    }

    /// Bytes, as listings show them.
    pub(crate) fn bytes(&mut self, key: &str, value: &[u8]) -> Result<()> {
        let out = self.key(key)?;
        // Most names are plain, and go out as they are.
        if value.iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')) {
            out.write_all(b"\"")?;
            out.write_all(value)?;
            out.write_all(b"\"")
        } else {
            string(out, &escape(value).to_string())
        }
    }

    pub(crate) fn end(self) -> Result<()> {
        self.out.write_all(b"}")
    }
}

fn string(out: &mut impl Write, text: &str) -> Result<()> {
    Ok(serde_json::to_writer(out, text)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn fields_keep_their_order_and_are_escaped() {
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out).unwrap();
        object.bytes("z", b"plain").unwrap();
        object.bytes("a", "\"grün\\\n\"".as_bytes()).unwrap();
        object.bytes("invalid", b"\xff").unwrap();
        object.number("n", -1).unwrap();
        object.text("t", "q\"").unwrap();
        object.texts("l", &["a".to_owned(), "\"".to_owned()]).unwrap();
        object.end().unwrap();
        let text = String::from_utf8(out).unwrap();
        let expected = r#"{"z":"plain","a":"\"grün\\134\\012\"","invalid":"\\377","n":-1,"t":"q\"","l":["a","\""]}"#;
        assert_eq!(text, expected);
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
    }
}
