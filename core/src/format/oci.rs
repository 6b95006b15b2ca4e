//! Container images: the JSON that says which layers make one up.
//!
//! Specified by the OCI image format specification (`image-layout.md`, `image-index.md`, `manifest.md`, `config.md`);
//! the archives of `docker save` by what Docker writes.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::de::{Deserialize, DeserializeOwned, Deserializer};

/// Where the name of an image stands among the annotations of its manifest.
const NAME_ANNOTATIONS: [&str; 2] = ["org.opencontainers.image.ref.name", "io.containerd.image.name"];

/// What can be wrong with an image.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OciCorrupt {
    /// The JSON is not what it should be.
    #[error("{message}")]
    Json {
        /// What the parser says.
        message: String,
    },
    /// The content of a blob is not what its name says.
    #[error("the content's {algorithm} is {computed}, it should be {expected}", algorithm = .expected.algorithm)]
    Digest {
        /// As recorded.
        expected: Digest,
        /// What the content gives.
        computed: String,
    },
    /// A blob is not as long as its descriptor says.
    #[error("{found} bytes, its descriptor says {expected}")]
    Size {
        /// As recorded.
        expected: u64,
        /// As stored.
        found: u64,
    },
    /// Neither an index nor a manifest.
    #[error("neither a list of manifests nor of layers")]
    NeitherIndexNorManifest,
    /// The configuration lists other layers than the manifest.
    #[error("the configuration knows {diff_ids} layers, the manifest {layers}")]
    LayerCount {
        /// Layers in the configuration.
        diff_ids: usize,
        /// Layers in the manifest.
        layers: usize,
    },
    /// Indexes in indexes without end.
    #[error("an index in more than {max} others")]
    Nesting {
        /// The limit.
        max: usize,
    },
}

/// How a digest is computed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Algorithm {
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// Its name in digests.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    const fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A digest, proven to be one: its text can be part of a path.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Digest {
    /// How it is computed.
    pub algorithm: Algorithm,
    /// Lower-case hexadecimal digits.
    hex: String,
}

impl Digest {
    /// Parses `ALGORITHM:HEX`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (name, hex) = text.split_once(':')?;
        let algorithm =
            [Algorithm::Sha256, Algorithm::Sha512].into_iter().find(|algorithm| algorithm.name() == name)?;
        let is_hex =
            hex.len() == algorithm.hex_len() && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_hex.then(|| Self { algorithm, hex: hex.into() })
    }

    /// The digits.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.hex
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.hex)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no sha256 or sha512 digest")))
    }
}

/// What the processor of this machine is called in images.
#[must_use]
pub fn own_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// What an image runs on.
#[derive(Clone, PartialEq, Eq, Debug, serde::Deserialize)]
pub struct Platform {
    /// For example `linux`.
    pub os: String,
    /// For example `amd64`.
    pub architecture: String,
    /// For example `v7`.
    pub variant: Option<String>,
}

impl Platform {
    /// Whether `wanted`, in the form `OS/ARCHITECTURE[/VARIANT]`, asks for this one.
    #[must_use]
    pub fn is(&self, wanted: &str) -> bool {
        let mut parts = wanted.split('/');
        let same = parts.next() == Some(&*self.os) && parts.next() == Some(&*self.architecture);
        same && parts.next().is_none_or(|variant| self.variant.as_deref() == Some(variant))
    }

    /// What attestations have: nothing to run.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" || self.architecture == "unknown"
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// A reference to a blob.
#[derive(Clone, PartialEq, Eq, Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    #[serde(default)]
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// What it runs on, in an index.
    pub platform: Option<Platform>,
    /// Anything else.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// The name that an index gives it.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        NAME_ANNOTATIONS.iter().find_map(|key| self.annotations.get(*key)).map(String::as_str)
    }
}

/// An index or a manifest: which of the two, its media type does not always tell.
#[derive(Clone, PartialEq, Eq, Debug, serde::Deserialize)]
pub struct Document {
    /// An index: images to choose from.
    pub manifests: Option<Vec<Descriptor>>,
    /// A manifest: its configuration.
    pub config: Option<Descriptor>,
    /// A manifest: its layers, lowest first.
    pub layers: Option<Vec<Descriptor>>,
}

/// The configuration of an image, as far as it is of interest here.
#[derive(Clone, PartialEq, Eq, Debug, serde::Deserialize)]
pub struct Config {
    /// What the image consists of.
    #[serde(default)]
    pub rootfs: RootFs,
}

/// See [`Config`].
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Deserialize)]
pub struct RootFs {
    /// Digests of the layers, decompressed, lowest first.
    #[serde(default)]
    pub diff_ids: Vec<Digest>,
}

/// An image in an archive of `docker save`.
#[derive(Clone, PartialEq, Eq, Debug, serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SavedImage {
    /// Path of the configuration in the archive.
    pub config: String,
    /// Names.
    pub repo_tags: Option<Vec<String>>,
    /// Paths of the layers in the archive, lowest first.
    pub layers: Vec<String>,
}

/// Reads JSON.
///
/// # Errors
/// [`OciCorrupt::Json`], and at which byte.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, (usize, OciCorrupt)> {
    serde_json::from_slice(bytes).map_err(|error| {
        let lines = bytes.split_inclusive(|byte| *byte == b'\n').take(error.line().saturating_sub(1));
        let at = lines.map(<[u8]>::len).sum::<usize>().saturating_add(error.column());
        (at.min(bytes.len()), OciCorrupt::Json { message: error.to_string() })
    })
}

/// Whether `name` is what somebody means by `wanted`: all of it, or its tag.
#[must_use]
pub fn is_named(name: &str, wanted: &str) -> bool {
    name == wanted || name.rsplit_once(':').is_some_and(|(_, tag)| tag == wanted && !tag.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_proven() {
        let hex = "a".repeat(64);
        assert_eq!(Digest::parse(&format!("sha256:{hex}")).unwrap().hex(), hex);
        for text in ["", "sha256:", "sha256:ab", &format!("sha256:{}", "A".repeat(64)), &format!("md5:{hex}"), &hex] {
            assert_eq!(Digest::parse(text), None, "{text}");
        }
        assert_eq!(Digest::parse(&format!("sha256:../{}", "a".repeat(61))), None);
    }

    #[test]
    fn json_errors_are_located() {
        let (at, error) = parse::<Document>(b"{\"manifests\":\n [{\"digest\": 5}]}").unwrap_err();
        assert!((26..=28).contains(&at), "{at}: {error}");
        assert!(parse::<Document>(b"[]").is_err());
    }

    #[test]
    fn platforms_and_names_are_matched() {
        let platform = Platform { os: "linux".into(), architecture: "arm".into(), variant: Some("v7".into()) };
        for (wanted, is) in [("linux/arm", true), ("linux/arm/v7", true), ("linux/arm/v6", false), ("linux", false)] {
            assert_eq!(platform.is(wanted), is, "{wanted}");
        }
        for (name, wanted, is) in [
            ("latest", "latest", true),
            ("example.test/app:v2", "v2", true),
            ("example.test/app:v2", "example.test/app:v2", true),
            ("localhost:5000/app", "5000/app", false),
        ] {
            assert_eq!(is_named(name, wanted), is, "{name} {wanted}");
        }
    }
}
