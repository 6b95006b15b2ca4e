//! Values that can be written in more than one way, each with its place in the JSON Schema.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use mountless::compose::fault::Fault;
use mountless::size::Size;
use regex::Regex;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::raw::{RawFile, RawFileExpect, RawInput, RawText};
use crate::case::CrashAt;

/// One value, or a list of them.
#[derive(Clone, Debug)]
pub(crate) struct List<T>(pub(crate) Vec<T>);

impl<'de> Deserialize<'de> for List<String> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;

        impl<'de> Visitor<'de> for Words {
            type Value = List<String>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(List(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = list.next_element()? {
                    words.push(word);
                }
                Ok(List(words))
            }
        }

        deserializer.deserialize_any(Words)
    }
}

impl JsonSchema for List<String> {
    fn schema_name() -> Cow<'static, str> {
        "OneOrMore".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
    }
}

/// A table that has a short form: a text, or a truth value where that means something.
#[derive(Clone, Debug)]
pub(crate) struct Short<T>(pub(crate) T);

/// What a table's short forms mean.
pub(crate) trait ShortForm: DeserializeOwned + JsonSchema {
    const EXPECTING: &str;
    const TAKES_BOOL: bool = false;

    fn from_text(text: &str) -> Self;

    fn from_bool(_: bool) -> Option<Self> {
        None
    }
}

impl ShortForm for RawText {
    const EXPECTING: &str = "the text itself, true for any, or a table with exact, contains, regex, file or snapshot";
    const TAKES_BOOL: bool = true;

    fn from_text(text: &str) -> Self {
        Self { exact: Some(text.to_owned()), ..Self::default() }
    }

    fn from_bool(any: bool) -> Option<Self> {
        any.then(Self::default)
    }
}

impl ShortForm for RawFileExpect {
    const EXPECTING: &str = "the file's text, true, false, or a table";
    const TAKES_BOOL: bool = true;

    fn from_text(text: &str) -> Self {
        Self { exact: Some(text.to_owned()), ..Self::default() }
    }

    fn from_bool(present: bool) -> Option<Self> {
        Some(Self { absent: !present, ..Self::default() })
    }
}

impl ShortForm for RawFile {
    const EXPECTING: &str = "the file's text, false for no such file, or a table with text, file, dir or symlink";
    const TAKES_BOOL: bool = true;

    fn from_text(text: &str) -> Self {
        Self { text: Some(text.to_owned()), ..Self::default() }
    }

    fn from_bool(present: bool) -> Option<Self> {
        (!present).then(|| Self { absent: true, ..Self::default() })
    }
}

impl ShortForm for RawInput {
    const EXPECTING: &str = "the text itself, or a table with file";

    fn from_text(text: &str) -> Self {
        Self { text: Some(text.to_owned()), file: None }
    }
}

impl<'de, T: ShortForm> Deserialize<'de> for Short<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms<T>(PhantomData<T>);

        impl<'de, T: ShortForm> Visitor<'de> for Forms<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::EXPECTING)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
                Ok(T::from_text(text))
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<T, E> {
                T::from_bool(value).ok_or_else(|| E::invalid_type(serde::de::Unexpected::Bool(value), &self))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_any(Forms(PhantomData)).map(Self)
    }
}

impl<T: ShortForm> JsonSchema for Short<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<T>();
        let mut forms = vec![serde_json::json!({ "type": "string" }), table.into()];
        if T::TAKES_BOOL {
            forms.insert(1, serde_json::json!({ "type": "boolean" }));
        }
        json_schema!({ "anyOf": forms })
    }
}

/// `true`, or `true` with something to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Flag {
    Off,
    On,
    Named(String),
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;

        impl Visitor<'_> for Forms {
            type Value = Flag;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or a string")
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Flag, E> {
                Ok(if value { Flag::On } else { Flag::Off })
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Flag, E> {
                Ok(Flag::Named(text.to_owned()))
            }
        }

        deserializer.deserialize_any(Forms)
    }
}

impl JsonSchema for Flag {
    fn schema_name() -> Cow<'static, str> {
        "Flag".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["boolean", "string"] })
    }
}

/// Exit codes that are right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Codes(Vec<i32>),
    Failure,
    Any,
}

impl<'de> Deserialize<'de> for Exit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;

        impl<'de> Visitor<'de> for Forms {
            type Value = Exit;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an exit code, a list of them, \"failure\" or \"any\"")
            }

            fn visit_i64<E: Error>(self, code: i64) -> Result<Exit, E> {
                let code = i32::try_from(code).map_err(|_| E::custom("an exit code has 32 bits"))?;
                Ok(Exit::Codes(vec![code]))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Exit, E> {
                match text {
                    "failure" => Ok(Exit::Failure),
                    "any" => Ok(Exit::Any),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Exit, A::Error> {
                let mut codes = Vec::new();
                while let Some(code) = list.next_element()? {
                    codes.push(code);
                }
                Ok(Exit::Codes(codes))
            }
        }

        deserializer.deserialize_any(Forms)
    }
}

impl JsonSchema for Exit {
    fn schema_name() -> Cow<'static, str> {
        "Exit".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "integer" }, { "type": "array", "items": { "type": "integer" } }, { "enum": ["failure", "any"] }
        ]})
    }
}

/// Reads a string and makes something of it; the reason why not is for the reader of the file.
fn parsed<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, D::Error> {
    let text = Cow::<'de, str>::deserialize(deserializer)?;
    parse(&text).map_err(D::Error::custom)
}

/// A length of time, as `humantime` reads it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time(pub(crate) Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parse = |text: &str| {
            let time = humantime::parse_duration(text);
            time.map_err(|_| format!("{text:?} is not a time; write it like 5s or 500ms"))
        };
        parsed(deserializer, parse).map(Self)
    }
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["5s", "500ms", "2m 30s"] })
    }
}

/// A count of bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ByteCount(pub(crate) u64);

impl<'de> Deserialize<'de> for ByteCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;

        impl Visitor<'_> for Forms {
            type Value = ByteCount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a count of bytes, like 4096 or \"64 MiB\"")
            }

            fn visit_i64<E: Error>(self, bytes: i64) -> Result<ByteCount, E> {
                u64::try_from(bytes)
                    .map(ByteCount)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(bytes), &self))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<ByteCount, E> {
                text.parse().map(|Size(bytes)| ByteCount(bytes)).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Forms)
    }
}

impl JsonSchema for ByteCount {
    fn schema_name() -> Cow<'static, str> {
        "ByteCount".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["integer", "string"], "minimum": 0, "examples": ["64 MiB", 4096] })
    }
}

/// Permission bits, in octal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mode(pub(crate) u16);

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parse = |text: &str| match u16::from_str_radix(text, 8) {
            Ok(mode) if mode <= 0o7777 => Ok(Self(mode)),
            _ => Err(format!("{text:?} is not a mode; write permission bits in octal, like \"0644\"")),
        };
        parsed(deserializer, parse)
    }
}

impl JsonSchema for Mode {
    fn schema_name() -> Cow<'static, str> {
        "Mode".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-7]{1,5}$", "examples": ["0644"] })
    }
}

/// What is wrong with a regular expression, in one line; where stands in the file.
pub(crate) fn not_a_regex(error: &regex::Error) -> String {
    let text = error.to_string();
    let reason = text.lines().last().unwrap_or_default();
    format!("not a regular expression: {}", reason.strip_prefix("error: ").unwrap_or(reason))
}

/// A regular expression.
#[derive(Clone, Debug)]
pub(crate) struct Pattern(pub(crate) Regex);

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, |text| Regex::new(text).map_err(|error| not_a_regex(&error))).map(Self)
    }
}

impl JsonSchema for Pattern {
    fn schema_name() -> Cow<'static, str> {
        "Pattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "regex" })
    }
}

/// `true`, or the seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed(pub(crate) Option<u64>);

impl<'de> Deserialize<'de> for Seed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;

        impl Visitor<'_> for Forms {
            type Value = Seed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or a seed, which is a number from 0 on")
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Seed, E> {
                Ok(Seed(value.then_some(0)))
            }

            fn visit_i64<E: Error>(self, seed: i64) -> Result<Seed, E> {
                let wrong = |_| E::invalid_value(serde::de::Unexpected::Signed(seed), &self);
                u64::try_from(seed).map(|seed| Seed(Some(seed))).map_err(wrong)
            }
        }

        deserializer.deserialize_any(Forms)
    }
}

impl JsonSchema for Seed {
    fn schema_name() -> Cow<'static, str> {
        "Seed".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["boolean", "integer"], "minimum": 0 })
    }
}

/// Where the power is cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut(pub(crate) CrashAt);

impl<'de> Deserialize<'de> for Cut {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;

        impl<'de> Visitor<'de> for Forms {
            type Value = Cut;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"every-sync\", \"every-write\" or { sample = N }")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Cut, E> {
                match text {
                    "every-sync" => Ok(Cut(CrashAt::EverySync)),
                    "every-write" => Ok(Cut(CrashAt::EveryWrite)),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Cut, A::Error> {
                #[derive(Deserialize)]
                #[serde(deny_unknown_fields)]
                struct Sample {
                    sample: u64,
                }

                let Sample { sample } = Sample::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Cut(CrashAt::Sample(sample)))
            }
        }

        deserializer.deserialize_any(Forms)
    }
}

impl JsonSchema for Cut {
    fn schema_name() -> Cow<'static, str> {
        "Cut".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "enum": ["every-sync", "every-write"] },
            {
                "type": "object",
                "properties": { "sample": { "type": "integer", "minimum": 1 } },
                "required": ["sample"],
                "additionalProperties": false
            }
        ]})
    }
}

/// A call that fails on purpose: a table, or text as on the command line.
#[derive(Clone, Debug)]
pub(crate) struct RawFault(pub(crate) Fault);

/// What keys of a fault mean; the library reads their values.
const FAULT_KEYS: [(&str, &str); 10] = [
    ("op", "kinds of calls, separated by |, like write or create|rename; change for all that change the tree"),
    ("path", "a glob: * within a name, ** across"),
    ("error", "a name like ENOSPC; EIO if neither short nor delay is given"),
    ("short", "at most so many bytes are read or written by a call"),
    ("delay", "how long a call waits first, like 50ms"),
    ("nth", "only the so-manieth call met, from 1"),
    ("after_bytes", "only when so many bytes were read or written by calls met"),
    ("times", "at most so often"),
    ("probability", "0 to 1"),
    ("seed", "for the probability"),
];

impl<'de> Deserialize<'de> for RawFault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;

        impl<'de> Visitor<'de> for Forms {
            type Value = RawFault;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table with op, path, error and so on")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<RawFault, E> {
                text.parse().map(RawFault).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawFault, A::Error> {
                let mut fault = Fault::default();
                while let Some(key) = map.next_key::<String>()? {
                    map.next_value_seed(FaultValue { fault: &mut fault, key: &key })?;
                }
                Ok(RawFault(fault))
            }
        }

        deserializer.deserialize_any(Forms)
    }
}

/// Sets a key of a fault, so that what is wrong has the place of the value.
struct FaultValue<'f> {
    fault: &'f mut Fault,
    key: &'f str,
}

impl<'de> DeserializeSeed<'de> for FaultValue<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for FaultValue<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a number")
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.fault.set(self.key, value).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.visit_str(&value.to_string())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.visit_str(&value.to_string())
    }
}

impl JsonSchema for RawFault {
    fn schema_name() -> Cow<'static, str> {
        "Fault".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let key = |(key, meaning): (&str, &str)| {
            (key.to_owned(), serde_json::json!({ "type": ["string", "number"], "description": meaning }))
        };
        let keys: serde_json::Map<_, _> = FAULT_KEYS.into_iter().map(key).collect();
        json_schema!({ "anyOf": [
            { "type": "string", "examples": ["op=write,path=/var/**,error=ENOSPC"] },
            { "type": "object", "properties": keys, "additionalProperties": false }
        ]})
    }
}
