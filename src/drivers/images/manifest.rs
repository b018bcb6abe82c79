//! Indexes and manifests, as OCI and as Docker (schema 2) write them.

use std::fmt;

use mill_model::{Digest, ImageRef, limits};
use serde::Deserialize;

use super::error::{PullError, Unusable};

/// What a registry is asked to answer with.
pub(super) const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json";

const INDEXES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
const MANIFESTS: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];

/// Layers that containerd's diff service unpacks: 1.6.20 knows plain, gzip and zstd.
const LAYERS: [&str; 8] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
];

/// A blob that a document names.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    /// What it is.
    pub(super) media_type: String,
    /// Which.
    pub(super) digest: Digest,
    /// Its bytes.
    pub(super) size: u64,
    /// For what machine; in an index only.
    pub(super) platform: Option<Platform>,
}

/// A kind of machine.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Platform {
    pub(super) os: String,
    pub(super) architecture: String,
    pub(super) variant: Option<String>,
}

impl Platform {
    /// What this node runs.
    pub(super) fn here() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "aarch64" => ("arm64", Some("v8".to_owned())),
            other => (other, None),
        };
        Self { os: "linux".to_owned(), architecture: architecture.to_owned(), variant }
    }

    /// Whether an image for this kind runs on `machine`. amd64's variants are levels: only a plain one, or v1, runs
    /// everywhere. arm64 has one.
    fn runs_on(&self, machine: &Self) -> bool {
        let same = self.os == machine.os && self.architecture == machine.architecture;
        let variant = match (self.variant.as_deref(), machine.architecture.as_str()) {
            (None | Some(""), _) => true,
            (Some(variant), "amd64") => variant == "v1",
            (Some(variant), _) => machine.variant.as_deref() == Some(variant),
        };
        same && variant
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)
    }
}

/// What a manifest digest names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Document {
    /// One image.
    Manifest(Manifest),
    /// The same image for several machines.
    Index(Vec<Descriptor>),
}

/// One image for one kind of machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) config: Descriptor,
    /// The lowest first.
    pub(super) layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: u32,
    media_type: Option<String>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    manifests: Option<Vec<Descriptor>>,
}

/// Reads a manifest or an index and checks that all of it can be used. The body's own media type counts, then
/// the header's, then its shape: registries are known to send neither.
pub(super) fn read(image: &ImageRef, header: Option<&str>, body: &[u8]) -> Result<Document, PullError> {
    let unusable =
        |reason| PullError::Unusable { image: image.clone().into(), subject: "the manifest", reason };
    let raw: Raw = serde_json::from_slice(body).map_err(|error| unusable(not_json(&error)))?;
    let media_type = raw.media_type.as_deref().or(header).unwrap_or_default();
    if raw.schema_version != 2 {
        return Err(unusable(Unusable::MediaType { found: format!("schema {}", raw.schema_version) }));
    }
    let known = |kinds: &[&str]| {
        kinds.contains(&media_type) || !INDEXES.iter().chain(&MANIFESTS).any(|k| *k == media_type)
    };
    match (raw.manifests, raw.config) {
        (Some(manifests), None) if known(&INDEXES) => Ok(Document::Index(manifests)),
        (None, Some(config)) if known(&MANIFESTS) => {
            let strange = raw.layers.iter().find(|layer| !LAYERS.contains(&layer.media_type.as_str()));
            if let Some(layer) = strange {
                return Err(PullError::Unusable {
                    image: image.clone().into(),
                    subject: "a layer",
                    reason: Unusable::MediaType { found: layer.media_type.clone() },
                });
            }
            if raw.layers.len() > limits::IMAGE_LAYERS_MAX {
                return Err(unusable(Unusable::Layers { found: raw.layers.len() }));
            }
            Ok(Document::Manifest(Manifest { config, layers: raw.layers }))
        }
        _ => Err(unusable(Unusable::MediaType { found: media_type.to_owned() })),
    }
}

/// The manifest of an index that runs on `machine`, the first of several.
pub(super) fn choose(
    image: &ImageRef,
    index: &[Descriptor],
    machine: &Platform,
) -> Result<Descriptor, PullError> {
    let fits = |entry: &&Descriptor| {
        // Build tools list attestations as manifests for `unknown/unknown`.
        MANIFESTS.contains(&entry.media_type.as_str())
            && entry.platform.as_ref().is_none_or(|platform| platform.runs_on(machine))
    };
    index.iter().find(fits).cloned().ok_or_else(|| {
        let offered = index.iter().filter_map(|entry| entry.platform.as_ref());
        let offered: Vec<String> =
            offered.filter(|platform| platform.os != "unknown").map(ToString::to_string).collect();
        PullError::NoSuchPlatform {
            image: image.clone().into(),
            wanted: machine.to_string(),
            found: match offered.is_empty() {
                true => "no machine at all".to_owned(),
                false => offered.join(", "),
            },
        }
    })
}

/// Where reading stopped; the rest of serde's words names Rust types.
pub(super) fn not_json(error: &serde_json::Error) -> Unusable {
    Unusable::Json { line: error.line(), column: error.column() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> ImageRef {
        "registry.example.com/web:v1".parse().unwrap()
    }

    fn digest(n: u8) -> String {
        format!("sha256:{}", format!("{n:02x}").repeat(32))
    }

    fn entry(n: u8, os: &str, arch: &str, variant: &str) -> String {
        let variant = match variant {
            "" => String::new(),
            v => format!(r#","variant":"{v}""#),
        };
        format!(
            r#"{{"mediaType":"{}","digest":"{}","size":7,"platform":{{"os":"{os}","architecture":"{arch}"{variant}}}}}"#,
            MANIFESTS[0],
            digest(n)
        )
    }

    #[test]
    fn the_manifest_for_this_machine_is_chosen() {
        let entries = [
            entry(1, "unknown", "unknown", ""),
            entry(2, "linux", "arm", "v7"),
            entry(3, "linux", "amd64", "v3"),
            entry(4, "linux", "amd64", ""),
            entry(5, "linux", "arm64", "v8"),
        ];
        let body = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","));
        let Document::Index(index) = read(&image(), None, body.as_bytes()).unwrap() else {
            panic!("not an index");
        };
        for (arch, variant, wanted) in [("amd64", None, 4), ("arm64", Some("v8".to_owned()), 5)] {
            let machine = Platform { os: "linux".into(), architecture: arch.into(), variant };
            assert_eq!(choose(&image(), &index, &machine).unwrap().digest.to_string(), digest(wanted));
        }
        let machine = Platform { os: "linux".into(), architecture: "riscv64".into(), variant: None };
        let error = choose(&image(), &index, &machine).unwrap_err();
        assert!(error.is_permanent());
        assert_eq!(
            error.to_string(),
            "`registry.example.com/web:v1` isn't made for this machine (linux/riscv64), only for linux/arm, \
             linux/amd64, linux/amd64, linux/arm64"
        );
    }

    #[test]
    fn what_is_no_manifest_is_refused_with_the_reason() {
        let config = format!(r#"{{"mediaType":"c","digest":"{}","size":7}}"#, digest(1));
        let layer = format!(r#"{{"mediaType":"application/x-encrypted","digest":"{}","size":7}}"#, digest(2));
        let table = [
            ("{".to_owned(), "can't be read"),
            (r#"{"schemaVersion":1,"layers":[]}"#.to_owned(), "schema 1"),
            (r#"{"schemaVersion":2}"#.to_owned(), "media type is ``"),
            (
                format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}]}}"#),
                "application/x-encrypted",
            ),
            (format!(r#"{{"schemaVersion":2,"mediaType":"{}","config":{config}}}"#, INDEXES[0]), INDEXES[0]),
        ];
        for (body, reason) in table {
            let error = read(&image(), None, body.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(reason), "{body}: {error}");
            assert!(error.is_permanent(), "{body}");
        }
    }
}
