//! Names of images, as the OCI distribution specification and Docker's short forms write them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The registry meant by a name that names none.
pub const DEFAULT_REGISTRY: &str = "docker.io";
/// The tag meant by a name that names neither tag nor digest.
pub const DEFAULT_TAG: &str = "latest";

/// The SHA-256 of a blob or manifest: `sha256:…`. Other algorithms are refused; registries use none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// Why a text names no image.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ImageError {
    /// Nothing where the repository should be.
    #[error("an image name can't be empty")]
    Empty,
    /// A repository path that no registry accepts.
    #[error(
        "`{repository}` is no repository: lower-case letters, digits and single `.`, `_`, `-`, `/` between them"
    )]
    Repository {
        /// As written.
        repository: String,
    },
    /// A tag that no registry accepts.
    #[error(
        "`{tag}` is no tag: at most 128 letters, digits, `.`, `_`, `-`, starting with none of the last two signs"
    )]
    Tag {
        /// As written.
        tag: String,
    },
    /// A digest that isn't `sha256:` and 64 digits.
    #[error("`{digest}` is no digest: `sha256:` and 64 hexadecimal digits")]
    Digest {
        /// As written.
        digest: String,
    },
    /// A registry that is no `host` or `host:port`.
    #[error("`{registry}` is no registry: a host name or address, with a port if need be")]
    Registry {
        /// As written.
        registry: String,
    },
}

impl Digest {
    /// The digest as text, with its algorithm.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The hexadecimal digits alone.
    pub fn hex(&self) -> &str {
        self.0.strip_prefix("sha256:").unwrap_or(&self.0)
    }
}

impl FromStr for Digest {
    type Err = ImageError;
    fn from_str(text: &str) -> Result<Self, ImageError> {
        let wrong = || ImageError::Digest { digest: text.to_owned() };
        let hex = text.strip_prefix("sha256:").ok_or_else(wrong)?;
        let lower_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        if hex.len() != 64 || !hex.chars().all(lower_hex) {
            return Err(wrong());
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Digest {
    type Error = ImageError;
    fn try_from(text: String) -> Result<Self, ImageError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A registry by its host, with a port if need be: `ghcr.io`, `registry.example.com:5000`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RegistryHost(String);

impl RegistryHost {
    /// The host as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RegistryHost {
    type Err = ImageError;

    /// What may stand before an image's repository, and so can hold images.
    fn from_str(text: &str) -> Result<Self, ImageError> {
        let wrong = || ImageError::Registry { registry: text.to_owned() };
        let image: ImageRef = format!("{text}/image").parse().map_err(|_| wrong())?;
        match image.registry == text && image.repository == "image" {
            true => Ok(Self(image.registry)),
            // Docker's own registry has images without a folder in one named `library`.
            false if text == DEFAULT_REGISTRY => Ok(Self(text.to_owned())),
            false => Err(wrong()),
        }
    }
}

impl TryFrom<String> for RegistryHost {
    type Error = ImageError;
    fn try_from(text: String) -> Result<Self, ImageError> {
        text.parse()
    }
}

impl From<RegistryHost> for String {
    fn from(host: RegistryHost) -> Self {
        host.0
    }
}

impl fmt::Display for RegistryHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Where an image is: `registry.example.com:5000/team/web:v1`, or with `@sha256:…`.
///
/// Docker's short forms are understood: `nginx` is `docker.io/library/nginx:latest`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageRef {
    /// Host, with port if one was given.
    pub registry: String,
    /// Path within the registry.
    pub repository: String,
    /// The tag, if one was given or meant.
    pub tag: Option<String>,
    /// The digest, if pinned.
    pub digest: Option<Digest>,
}

impl ImageRef {
    /// The same image, pinned to `digest`. The tag stays, for people to read.
    #[must_use]
    pub fn pinned(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    /// The same image without its tag: what is kept of it on a node goes by registry, repository and digest.
    #[must_use]
    pub fn untagged(&self) -> Self {
        Self { tag: None, ..self.clone() }
    }

    /// What to ask the registry for: the digest where there is one, else the tag.
    pub fn reference(&self) -> &str {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.as_str(),
            (None, Some(tag)) => tag,
            (None, None) => DEFAULT_TAG,
        }
    }
}

impl FromStr for ImageRef {
    type Err = ImageError;
    fn from_str(text: &str) -> Result<Self, ImageError> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (text, None),
        };
        let (registry, path) = match rest.split_once('/') {
            Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
            _ => (DEFAULT_REGISTRY, rest),
        };
        let (repository, tag) = match path.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(check_tag(tag)?)),
            None if digest.is_none() => (path, Some(DEFAULT_TAG.to_owned())),
            None => (path, None),
        };
        check_registry(registry)?;
        check_repository(repository)?;
        let repository = match registry == DEFAULT_REGISTRY && !repository.contains('/') {
            true => format!("library/{repository}"),
            false => repository.to_owned(),
        };
        Ok(Self { registry: registry.to_owned(), repository, tag, digest })
    }
}

fn check_registry(registry: &str) -> Result<(), ImageError> {
    let (host, port) = match registry.rsplit_once(':') {
        Some((host, port)) if !registry.ends_with(']') => (host, Some(port)),
        _ => (registry, None),
    };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let host_good = match bracketed {
        true => host.chars().all(|c| c.is_ascii_hexdigit() || matches!(c, ':' | '[' | ']' | '.')),
        false => {
            host.starts_with(|c: char| c.is_ascii_alphanumeric())
                && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'))
        }
    };
    let port_good = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    match host_good && port_good {
        true => Ok(()),
        false => Err(ImageError::Registry { registry: registry.to_owned() }),
    }
}

fn check_repository(repository: &str) -> Result<(), ImageError> {
    if repository.is_empty() {
        return Err(ImageError::Empty);
    }
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let component = |part: &str| {
        part.starts_with(letter)
            && part.ends_with(letter)
            && part.chars().all(|c| letter(c) || matches!(c, '.' | '_' | '-'))
            && !part.contains("..")
    };
    match repository.len() <= 255 && repository.split('/').all(component) {
        true => Ok(()),
        false => Err(ImageError::Repository { repository: repository.to_owned() }),
    }
}

fn check_tag(tag: &str) -> Result<String, ImageError> {
    let sign = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let good = !tag.is_empty() && tag.len() <= 128 && tag.chars().all(sign) && !tag.starts_with(['.', '-']);
    match good {
        true => Ok(tag.to_owned()),
        false => Err(ImageError::Tag { tag: tag.to_owned() }),
    }
}

impl TryFrom<String> for ImageRef {
    type Error = ImageError;
    fn try_from(text: String) -> Result<Self, ImageError> {
        text.parse()
    }
}

impl From<ImageRef> for String {
    fn from(image: ImageRef) -> Self {
        image.to_string()
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_mean_what_docker_means() {
        let hex = "a".repeat(64);
        for (short, full) in [
            ("nginx", "docker.io/library/nginx:latest".to_owned()),
            ("bitnami/redis:7", "docker.io/bitnami/redis:7".to_owned()),
            ("localhost/x", "localhost/x:latest".to_owned()),
            ("127.0.0.1:5000/a/b:v1", "127.0.0.1:5000/a/b:v1".to_owned()),
            ("[::1]:5000/a", "[::1]:5000/a:latest".to_owned()),
            (&format!("r.example/x@sha256:{hex}"), format!("r.example/x@sha256:{hex}")),
            (&format!("r.example/x:v1@sha256:{hex}"), format!("r.example/x:v1@sha256:{hex}")),
        ] {
            let image: ImageRef = short.parse().unwrap();
            assert_eq!(image.to_string(), full);
            assert_eq!(full.parse(), Ok(image));
        }
    }

    #[test]
    fn what_no_registry_accepts_is_refused() {
        for bad in [
            "",
            "Nginx",
            "a//b",
            "a:",
            "a:-x",
            "a@sha256:12",
            "a@md5:12",
            "../x",
            "a b",
            "x.y:0/z",
            "a..b",
            ":5000/x",
        ] {
            assert!(bad.parse::<ImageRef>().is_err(), "{bad}");
        }
    }
}
