//! Strings with references in them: `postgres://app:${secret(db.password)}@${service.db.address}/shop`.
//!
//! `src/config` reads and prints them, a node fills them in when it starts a container.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::{PortName, ProjectName, WorkloadName};

/// A string, cut at its references. Empty means the empty string.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Template {
    /// Texts and references in order. Two texts are never neighbours, and no text is empty.
    pub parts: Vec<Part>,
}

/// A piece of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Plain text, dollars already single.
    Text(String),
    /// `${secret(NAME)}`: the value of a secret, in the version that the deploy pinned.
    Secret(String),
    /// `${service.NAME.address}` and its kin.
    Service(ServiceRef),
    /// `${alloc.id}`
    AllocId,
    /// `${alloc.index}`: the replica's number, from 0.
    AllocIndex,
    /// `${node.name}`
    NodeName,
}

/// What is asked of another service.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ServiceRef {
    /// Its project, if not the same: `${service.PROJECT/NAME.…}`.
    pub project: Option<ProjectName>,
    /// Its name.
    pub name: WorkloadName,
    /// Which part of its address.
    pub field: ServiceField,
}

/// A part of a service's address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServiceField {
    /// `HOST:PORT` of the first port.
    Address,
    /// The host alone.
    Host,
    /// The first port alone.
    Port,
    /// `port(NAME)`: a named port.
    NamedPort(PortName),
}

impl Template {
    /// A template without references.
    pub fn text(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { parts: if text.is_empty() { vec![] } else { vec![Part::Text(text)] } }
    }

    /// The text, if there is no reference in it.
    pub fn as_text(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The references in it, in order.
    pub fn references(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(|part| !matches!(part, Part::Text(_)))
    }
}
